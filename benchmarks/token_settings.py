"""What each setting of a token model is worth, and which part loses how much.

    WEFT_DATA=corpora python benchmarks/token_settings.py MODEL [--split valid] [--gaps 2]
        [--lengths 300] [--only NAME...] [--slow] [-o FILE.md]

Fills gaps with the model as it is and with one setting changed at a time, and measures how far
each fill is from the truth, beside the codec's round trip in the same gaps and the best of eight
fills that one who knew the truth would pick. Every row has the same gaps and the same seeds, so
differences are paired; intervals resample recordings. Prints Markdown.

The shares of the loss: from 0 to the round trip is the codec's; from there to the best of eight is
the network's; from there to the model's own choice is the sampler's.
"""

import argparse
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import weft
from weft.audio.audio import Audio
from weft.auto import Auto
from weft.canvas.canvas import Region, Window
from weft.canvas.compose import compose
from weft.canvas.filler import Fill, Filler
from weft.canvas.windows import context_samples, read_window
from weft.checkpoint import digest_of
from weft.classical.autoregressive import Lpc
from weft.classical.similarity import Similarity
from weft.data.corpora import find_corpus, open_entry
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.statistics import clustered_mean, compare_paired
from weft.metrics.lsd import log_spectral_distance
from weft.rng import Rng
from weft.sampling.steps_masked import MaskedSamplerConfig
from weft.sampling.token_filler import TokenFiller
from weft.sampling.token_model import TokenModel, read_token_model
from weft.sampling.token_settings import TokenFillerConfig

CORPORA = ("music", "piano", "environment")
LONGEST_S = 60.0
NUM_BEST = 8

Settings = tuple[TokenFillerConfig, MaskedSamplerConfig]
FillFn = Callable[["Case", Window], list[np.ndarray]]
"""Proposes joined samples for a gap, the nearest to the truth of which counts."""


@dataclass(frozen=True)
class Case:
    """One gap."""

    corpus: str
    recording: str
    audio: Audio
    gap: Region

    @property
    def cluster(self) -> tuple[str, str]:
        return self.corpus, self.recording


def variants(config: TokenFillerConfig, sampler: MaskedSamplerConfig) -> Mapping[str, Settings]:
    """Return each setting that differs from the model's own in one thing."""
    told: dict[str, Settings] = {}
    for name, value in (("guard", 0), ("guard", 1), ("guard", 2), ("guard", 4)):
        told[f"{name} {value}"] = replace(config, **{name: value}), sampler
    told["known frames: tokens"] = replace(config, known_frames="tokens"), sampler
    told["known frames: features"] = replace(config, known_frames="features"), sampler
    told["sides not extended"] = replace(config, extension_frames=0), sampler
    told["bands not matched"] = replace(config, match_gain_db=0.0), sampler
    told["edges 0 ms"] = replace(config, edge_ms=0.0), sampler
    told["edges 50 ms"] = replace(config, edge_ms=50.0), sampler
    told["best of 4 by likelihood"] = replace(config, num_candidates=4), sampler
    told["best of 4 by seams"] = replace(config, num_candidates=4, ranking="seams"), sampler
    for temperature in (0.0, 0.5, 0.8, 1.0):
        told[f"temperature {temperature:g}"] = config, replace(sampler, temperature=temperature)
    told["top-p 0.9"] = config, replace(sampler, top_p=0.9)
    told["order: confidence"] = config, replace(sampler, order="confidence")
    told["noise: schedule"] = config, replace(sampler, noise="schedule")
    told["8 calls"] = config, replace(sampler, steps=8)
    told["1 call"] = config, replace(sampler, steps=1)
    return {name: pair for name, pair in told.items() if pair != (config, sampler)}


def slow_variants(
    config: TokenFillerConfig, sampler: MaskedSamplerConfig
) -> Mapping[str, Settings]:
    """Return the samplers that call the network at every step of a grid."""
    plain = replace(sampler, order="random")
    return {
        "analytic, 64 steps": (config, replace(plain, kind="analytic", steps=64)),
        "euler, 64 steps": (config, replace(plain, kind="euler", steps=64)),
        "analytic, 64 steps, noise: schedule": (
            config,
            replace(plain, kind="analytic", steps=64, noise="schedule"),
        ),
    }


def find_cases(split: str, lengths_ms: list[float], num_gaps: int) -> dict[float, list[Case]]:
    """Draw the gaps."""
    cases: dict[float, list[Case]] = {gap_ms: [] for gap_ms in lengths_ms}
    for corpus in CORPORA:
        for entry in find_corpus(corpus).select(split):
            audio = open_entry(entry, sample_rate=24000, is_mono=True)
            audio = Audio.from_samples(audio.read(0, min(audio.num_samples, 1440000)), 24000)
            for gap_ms in lengths_ms:
                config = PositionConfig(num_gaps=num_gaps)
                for gap in draw_gaps(
                    audio.samples, 24000, gap_ms=gap_ms, name=entry.file, seed=7, config=config
                ):
                    cases[gap_ms].append(Case(corpus, entry.file, audio, gap))
    return cases


def distances(cases: list[Case], filler: Filler, fill: FillFn) -> np.ndarray:
    """Return how far the nearest of each gap's fills is from the truth.

    The filler says how much of the recording is heard.
    """
    found = []
    for case in cases:
        context = context_samples(filler, case.gap, case.audio.sample_rate)
        window = read_window(case.audio, case.gap, [], context)
        first = max(0, case.gap.start - 12000)
        truth = case.audio.read(first, min(case.audio.num_samples, case.gap.stop + 12000))
        inside = Region(start=case.gap.start - first, stop=case.gap.stop - first)
        tried = []
        for samples in fill(case, window):
            estimate = truth.copy()
            estimate[:, inside.start : inside.stop] = samples
            tried.append(log_spectral_distance(truth, estimate, [inside]))
        found.append(min(tried))
    return np.array(found)


def fill_with(filler: Filler, num_takes: int = 1) -> FillFn:
    def fill(case: Case, window: Window) -> list[np.ndarray]:
        proposals = filler.fill([window], num_takes=num_takes, rng=Rng(0))[0]
        return [compose(window, proposal) for proposal in proposals]

    return fill


def round_trip_of(filler: TokenFiller) -> FillFn:
    """Return what knows the truth: the codec's round trip of the recording around the gap."""

    def fill(case: Case, window: Window) -> list[np.ndarray]:
        stop = window.start + window.samples.shape[1]
        assert filler.round_trip is not None
        back = filler.round_trip(case.audio.read(window.start, stop), window.sample_rate)
        samples = back[:, window.gap.start : window.gap.stop]
        return [compose(window, Fill(samples=samples, model="codec", confidence=1.0))]

    return fill


def row(name: str, values: np.ndarray, base: np.ndarray, cases: list[Case], cpu_s: float) -> str:
    clusters = [case.cluster for case in cases]
    mean = clustered_mean(values, clusters)
    paired = compare_paired(values, base, clusters)
    difference = "" if values is base else f"{paired.interval.mean:+.3f} {span(paired.interval)}"
    p_value = "" if values is base or paired.p_value is None else f"{paired.p_value:.3f}"
    return (
        f"| {name} | {mean.mean:.3f} {span(mean)} | {difference} | {p_value} | "
        f"{cpu_s / len(cases):.2f} |"
    )


def span(interval: object) -> str:
    low, high = interval.low, interval.high  # type: ignore[attr-defined]
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def table(model: TokenModel, gap_ms: float, cases: list[Case], options: argparse.Namespace) -> str:
    own: Settings = (model.config.filler, model.config.sampler)

    def made(settings: Settings) -> TokenFiller:
        return model.to_filler(config=settings[0], sampler=settings[1])

    base_filler = made(own)
    fills: dict[str, tuple[Filler, FillFn]] = {
        "as it is": (base_filler, fill_with(base_filler)),
        "codec's round trip": (base_filler, round_trip_of(base_filler)),
        f"best of {NUM_BEST}, truth known": (base_filler, fill_with(base_filler, NUM_BEST)),
    }
    for filler in (Lpc(), Similarity(), Auto()):
        fills[filler.name] = filler, fill_with(filler)
    changed = dict(variants(*own))
    if options.slow:
        changed |= slow_variants(*own)
    if options.only is not None:
        changed = {name: pair for name, pair in changed.items() if name in options.only}
    for name, settings in changed.items():
        fills[name] = made(settings), fill_with(made(settings))
    rows, base = [], np.empty(0)
    for name, (filler, fill) in fills.items():
        started = time.process_time()
        values = distances(cases, filler, fill)
        base = values if not rows else base
        rows.append(row(name, values, base, cases, time.process_time() - started))
    num_recordings = len({case.cluster for case in cases})
    head = f"## {gap_ms:g} ms: {len(cases)} gaps in {num_recordings} recordings\n\n"
    head += "| setting | LSD gap | difference | p | CPU s a gap |\n|---|---:|---:|---:|---:|\n"
    return head + "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--gaps", type=int, default=2, help="of each recording and length")
    parser.add_argument("--lengths", type=float, nargs="+", default=[300.0])
    parser.add_argument("--only", nargs="*", help="settings to try; none with no name")
    parser.add_argument("--slow", action="store_true", help="samplers on a grid, too")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = read_token_model(options.model)
    cases = find_cases(options.split, options.lengths, options.gaps)
    text = (
        f"Model {digest_of(options.model)[:12]}, split {options.split}, "
        f"{', '.join(CORPORA)}; 24 kHz mono, first {LONGEST_S:g} s of each recording; weft "
        f"{weft.__version__}, torch {torch.__version__}, {platform.machine()}, one thread.\n"
    )
    for gap_ms, found in cases.items():
        text += "\n" + table(model, gap_ms, found, options) + "\n"
        print(text, flush=True)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
