"""Fit what `auto` expects of each model, on recordings that are neither trained nor tested on.

    WEFT_DATA=corpora python benchmarks/fit_auto.py [--gaps 6] [--write]

Cuts gaps into the `valid` split of music, rendered piano, environment and speech, lets every model
propose fills, measures how far each is from the truth, and fits one linear prediction a model by
ridge regression. Prints what choosing by prediction reaches, each recording judged by a fit that
has not seen it, beside every single model and the best choice that knows the truth. `--write`
stores the weights, fitted on all recordings, in src/weft/auto.json.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft import auto
from weft.audio.audio import Audio
from weft.auto import FEATURES, SHORT_MS, Auto, propose, short_features
from weft.canvas.canvas import Region, Window
from weft.canvas.filler import Fill
from weft.canvas.windows import context_samples, read_window
from weft.data.corpora import find_corpus, open_entry
from weft.data.manifest import Entry
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.metrics.lsd import log_spectral_distance
from weft.rng import Rng
from weft.shapes import Samples

RATE = 24000
LENGTHS_MS = (20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 225.0, 300.0, 450.0, 600.0, 750.0, 1100.0)
SHORT_LENGTHS_MS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
CORPORA = ("music", "piano", "environment", "speech")
RIDGE = 150.0
"""Chosen from 3, 30 and 150 by cross-validation on the same recordings: 0.921, 0.919, 0.914."""
LONGEST_S = 120.0
TARGET = Path(auto.__file__).with_name("auto.json")


@dataclass(frozen=True)
class Row:
    """One fill of one gap."""

    corpus: str
    file: str
    gap_ms: float
    start: int
    model: str
    features: np.ndarray
    distance: float
    cost: float


def windows_of(
    audio: Audio, name: str, lengths_ms: tuple[float, ...], num_gaps: int
) -> Iterator[tuple[float, Window]]:
    """Yield gaps of all lengths at seeded positions."""
    for gap_ms in lengths_ms:
        config = PositionConfig(num_gaps=num_gaps)
        gaps = draw_gaps(audio.samples, RATE, gap_ms=gap_ms, name=name, seed=11, config=config)
        for gap in gaps:
            yield gap_ms, read_window(audio, gap, [], context_samples(Auto(), gap, RATE))


def distance(audio: Audio, gap: Region, fill: Samples) -> float:
    """Return the distance of a fill from the truth."""
    side = audio.sample_rate // 2
    first = max(0, gap.start - side)
    truth = audio.read(first, min(audio.num_samples, gap.stop + side))
    inside = gap.shifted(-first)
    estimate = truth.copy()
    estimate[:, inside.start : inside.stop] = fill
    return log_spectral_distance(truth, estimate, [inside])


def collect_from(corpus: str, entry: Entry, num_gaps: int) -> list[Row]:
    """Fill gaps of one recording, by all models."""
    rng = Rng(0)
    audio = open_entry(entry, sample_rate=RATE, is_mono=True)
    audio = Audio.from_samples(audio.read(0, min(audio.num_samples, round(LONGEST_S * RATE))), RATE)
    rows: list[Row] = []

    def add(
        gap_ms: float, window: Window, model: str, fill: Fill, values: np.ndarray, cost: float
    ) -> None:
        rows.append(
            Row(
                corpus,
                entry.path.name,
                gap_ms,
                window.start + window.gap.start,
                model,
                values,
                distance(audio, window.gap.shifted(window.start), fill.samples),
                cost,
            )
        )

    for gap_ms, window in windows_of(audio, entry.path.name, LENGTHS_MS, num_gaps):
        for p in propose(window, num_takes=1, rng=rng):
            add(gap_ms, window, p.fill.model, p.fill, p.features, p.cost)
    for gap_ms, window in windows_of(audio, entry.path.name, SHORT_LENGTHS_MS, num_gaps):
        fill = auto.SHORT_FILLER().fill([window], num_takes=1, rng=rng)[0][0]
        add(gap_ms, window, "short", fill, short_features(window, fill), 0.0)
    return rows


def collect(num_gaps: int, num_jobs: int) -> list[Row]:
    """Fill gaps of all recordings, by all models."""
    tasks = [
        (corpus, entry, num_gaps)
        for corpus in CORPORA
        for entry in find_corpus(corpus).select("valid")
    ]
    with ProcessPoolExecutor(num_jobs) as pool:
        futures = [pool.submit(collect_from, *task) for task in tasks]
        return [row for future in futures for row in future.result()]


def fit(rows: list[Row]) -> dict[str, np.ndarray]:
    """Fit weights for each model; features are standardised for the ridge only."""
    weights = {}
    for model in sorted({row.model for row in rows}):
        chosen = [row for row in rows if row.model == model]
        features = np.stack([row.features for row in chosen])
        wanted = np.array([row.distance for row in chosen])
        scale = features.std(axis=0)
        scale[0] = 1.0
        used = scale > 1e-9
        scaled = features[:, used] / scale[used]
        middle = scaled.mean(axis=0)
        middle[0] = 0.0
        centred = scaled - middle
        penalty = RIDGE * np.eye(used.sum())
        penalty[0, 0] = 0.0
        solution = np.linalg.solve(centred.T @ centred + penalty, centred.T @ wanted)
        full = np.zeros(len(FEATURES))
        full[used] = solution / scale[used]
        full[0] -= float(middle @ solution)
        weights[model] = full
    return weights


Key = tuple[str, float, int]
"""File, length and position of a gap."""


def cross_validate(rows: list[Row]) -> tuple[dict[str, float], dict[Key, tuple[float, Row]]]:
    """Predict every recording by a fit without it.

    Returns the root mean square error by model, and for each gap the cost and the row chosen.
    """
    errors: dict[str, list[float]] = {}
    chosen: dict[Key, tuple[float, Row]] = {}
    for file in sorted({row.file for row in rows}):
        weights = fit([row for row in rows if row.file != file])
        for row in (row for row in rows if row.file == file):
            expected = max(0.0, float(row.features @ weights[row.model]))
            errors.setdefault(row.model, []).append(expected - row.distance)
            key = (row.file, row.gap_ms, row.start)
            expected += row.cost
            if row.model != "short" and (key not in chosen or expected < chosen[key][0]):
                chosen[key] = (expected, row)
    spreads = {model: float(np.sqrt(np.mean(np.square(e)))) for model, e in errors.items()}
    return spreads, chosen


def calibration(spreads: dict[str, float], chosen: dict[Key, tuple[float, Row]]) -> str:
    """Return what became of the confidences stated, as Markdown."""
    stated, near = [], []
    for cost, row in chosen.values():
        judge = auto.Predictor(weights=np.zeros(1), spread=spreads[row.model])
        stated.append(judge.confidence(cost - row.cost))
        near.append(row.distance < auto.NEAR)
    return calibration_table(np.array(stated), np.array(near))


def calibration_table(stated: np.ndarray, near: np.ndarray) -> str:
    """Return confidences by fifths, and the share of fills that were near, as Markdown."""
    places = np.minimum(stated * 5, 4).astype(int)
    lines = ["| confidence | gaps | mean confidence | share nearer |", "|---|---:|---:|---:|"]
    for place in range(5):
        inside = places == place
        if inside.any():
            values = f"{stated[inside].mean():.2f} | {near[inside].mean():.2f}"
            lines.append(f"| {place / 5:.1f}-{place / 5 + 0.2:.1f} | {inside.sum()} | {values} |")
    return "\n".join(lines)


def table(rows: list[Row], chosen: dict[Key, tuple[float, Row]]) -> str:
    """Return mean distances by material and length, as Markdown."""
    models = sorted({row.model for row in rows} - {"short"})
    header = ["material", "gap ms", "n", *models, "auto", "best, knowing the truth"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    gaps: dict[tuple[str, float], dict[tuple[str, float, int], list[Row]]] = {}
    for row in rows:
        if row.model != "short":
            group = gaps.setdefault((row.corpus, row.gap_ms), {})
            group.setdefault((row.file, row.gap_ms, row.start), []).append(row)
    for (corpus, gap_ms), group in gaps.items():
        first = {
            model: np.mean(
                [next(r.distance for r in g if r.model == model) for g in group.values()]
            )
            for model in models
        }
        auto_mean = np.mean([chosen[key][1].distance for key in group])
        best = np.mean([min(row.distance for row in g) for g in group.values()])
        values = [*first.values(), auto_mean, best]
        cells = [corpus, f"{gap_ms:g}", str(len(group)), *(f"{value:.2f}" for value in values)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaps", type=int, default=6, help="gaps a recording and length")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--write", action="store_true", help=f"store the weights in {TARGET.name}")
    options = parser.parse_args()
    rows = collect(options.gaps, options.jobs)
    spreads, chosen = cross_validate(rows)
    print(table(rows, chosen))
    print(calibration(spreads, chosen))
    print({model: round(spread, 3) for model, spread in spreads.items()})
    if options.write:
        weights = fit(rows)
        content = {
            "about": "Fitted by benchmarks/fit_auto.py on the valid splits; see weft.auto.",
            "features": list(FEATURES),
            "num_recordings": len({row.file for row in rows}),
            "num_gaps": len({(row.file, row.gap_ms, row.start) for row in rows}),
            "short_ms": SHORT_MS,
            "predictors": {
                model: {
                    "weights": [round(float(w), 5) for w in values],
                    "spread": round(spreads[model], 4),
                }
                for model, values in weights.items()
            },
        }
        TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
