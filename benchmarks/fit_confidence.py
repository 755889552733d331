"""Fit what the confidence of a latent model means, on recordings it was not trained on.

    WEFT_DATA=corpora python benchmarks/fit_confidence.py MODEL [--gaps 2] [--corpora music piano]

Cuts gaps into the `valid` split, fills them, measures how far each fill is from the truth, and fits
the probability of being nearer than `auto.NEAR` by logistic regression on the score of the ranking
and the search's trust in the draft. Prints the settings of the filler, and what became of the
confidences when each recording is judged by a fit that has not seen it.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from fit_auto import calibration_table, distance
from scipy.optimize import minimize

from weft import auto, zoo
from weft.audio.audio import Audio
from weft.data.corpora import find_corpus, open_entry
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocols.gaps import blanked
from weft.sampling.latent_settings import LatentFillerConfig

LENGTHS_MS = (80.0, 200.0, 400.0, 750.0)
LONGEST_S = 60.0
FLOOR_DB = -15.0
"""Scores below tell little: the sides of such gaps are nearly silent."""
RIDGE = 0.5


@dataclass(frozen=True)
class Row:
    """One fill."""

    recording: str
    score: float
    trust: float
    distance: float

    @property
    def is_near(self) -> bool:
        return self.distance < auto.NEAR


def collect(name: str, corpora: list[str], num_gaps: int) -> list[Row]:
    """Fill gaps of all recordings of the valid split."""
    model = zoo.load(name)
    rows = []
    for corpus in corpora:
        for entry in find_corpus(corpus).select("valid"):
            whole = open_entry(entry)
            rate = whole.sample_rate
            last = min(whole.num_samples, round(LONGEST_S * rate))
            audio = Audio.from_samples(whole.read(0, last), rate)
            for gap_ms in LENGTHS_MS:
                gaps = draw_gaps(
                    audio.samples,
                    rate,
                    gap_ms=gap_ms,
                    name=entry.path.name,
                    seed=13,
                    config=PositionConfig(num_gaps=num_gaps),
                )
                for gap in gaps:
                    result = model.fill(blanked(audio, [gap]), seed=0)
                    take = result.gaps[0].takes[0]
                    fill = result.best.read(gap.start, gap.stop)
                    rows.append(
                        Row(
                            recording=f"{corpus}/{entry.file}",
                            score=float(take.details["score_db"]),
                            trust=float(take.details.get("draft_confidence", 0.0)),
                            distance=distance(audio, gap, fill),
                        )
                    )
    return rows


def fit(rows: list[Row]) -> dict[str, float]:
    """Return the settings of the filler."""
    values = np.array([(max(row.score, FLOOR_DB), row.trust) for row in rows])
    near = np.array([row.is_near for row in rows], dtype=float)
    middle, spread = values.mean(axis=0), values.std(axis=0) + 1e-6
    scaled = (values - middle) / spread

    def loss(x: np.ndarray) -> float:
        odds = x[0] + scaled @ x[1:]
        return float(np.sum(np.logaddexp(0, odds) - near * odds) + RIDGE * x[1:] @ x[1:])

    bounds = [(None, None), (1e-3, None), (0, None)]
    level, *rises = minimize(loss, np.array([0.0, 0.1, 0.1]), bounds=bounds).x
    slope, draft = np.array(rises) / spread
    offset = level - slope * middle[0] - draft * (middle[1] - 0.5)
    return {
        "sure_score": float(np.clip(-offset / slope, -100, 0)),
        "sure_slope": float(slope),
        "sure_floor": FLOOR_DB,
        "sure_draft": float(draft),
    }


def table(rows: list[Row]) -> str:
    """Return stated confidences and what became of them, as Markdown."""
    stated = []
    for row in rows:
        others = [other for other in rows if other.recording != row.recording]
        filler = LatentFillerConfig(**fit(others))
        stated.append(filler.confidence_of(row.score, row.trust))
    said, near = np.array(stated), np.array([row.is_near for row in rows])
    lines = [calibration_table(said, near)]
    order = np.mean([a > b for a in said[near] for b in said[~near]]) if near.any() else np.nan
    usual = near.mean()
    lines.append(
        f"\nBrier score {np.mean((said - near) ** 2):.3f}, of always saying {usual:.2f} "
        f"{usual * (1 - usual):.3f}; a nearer fill is trusted more than a farther one in "
        f"{order:.0%} of pairs."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name of a latent model, or its folder")
    parser.add_argument("--gaps", type=int, default=2, help="of each recording and length")
    parser.add_argument("--corpora", nargs="+", default=["music", "piano"])
    options = parser.parse_args()
    rows = collect(options.model, options.corpora, options.gaps)
    settings = ", ".join(f"{name} {value:.3g}" for name, value in fit(rows).items())
    print(f"{len(rows)} gaps; {settings}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
