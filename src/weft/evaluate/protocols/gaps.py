"""Gaps: cut stretches out of recordings, fill them, and compare with what was there.

Rows that are always there: ``original``, what the measures say of a perfect fill; ``vorbis``, of
one that went through a lossy codec; and ``silence``, of none. With several takes a row
``NAME (best of K)`` picks, knowing the truth, the take with the least log-spectral distance: a
ceiling for choosing among takes, not a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from weft.audio.audio import Audio, Patch
from weft.canvas.canvas import Canvas, Region
from weft.data.corpora import open_entry
from weft.errors import ConfigError
from weft.evaluate.measures import GAP_MEASURES, extra_measures, measure_extras, measure_gap
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import (
    ORIGINAL,
    SILENCE,
    Case,
    Job,
    Measured,
    Protocol,
    Row,
    RunConfig,
    Spot,
    values_of,
)
from weft.evaluate.runner import round_trip
from weft.evaluate.vorbis import vorbis_round_trip
from weft.metrics.pairs import Estimate
from weft.shapes import Samples

GAP_MS = (50.0, 150.0, 300.0, 375.0, 750.0)
"""Lengths of the literature: AIDD's and CQT-Diff's short ones, GACELA's long ones."""

VORBIS = "vorbis"
SIDE_S = 0.5
"""Sound on each side of a gap that embedders hear."""

BASELINES = (
    Row(name=ORIGINAL, kind="reference"),
    Row(name=VORBIS, kind="reference"),
    Row(name=SILENCE, kind="baseline"),
)


@final
@dataclass(frozen=True, kw_only=True)
class GapsConfig:
    """What is cut."""

    gap_ms: tuple[float, ...] = GAP_MS
    """Lengths of gaps, each > 0."""
    gaps_per_file: int = 3
    """Gaps of each length in each recording, >= 1; short recordings get fewer."""
    is_multi: bool = False
    """Cut all gaps of a recording at once, inside one excerpt; else one at a time."""
    excerpt_s: float = 5.0
    """Length of the excerpt around a gap over which excerpt metrics run, in [1, 60]."""

    def __post_init__(self) -> None:
        if not self.gap_ms or not all(0 < ms <= 10000 for ms in self.gap_ms):
            raise ConfigError(f"gap_ms must be lengths in (0, 10000] ms, got {self.gap_ms}")
        if self.gaps_per_file < 1:
            raise ConfigError(f"gaps_per_file must be >= 1, got {self.gaps_per_file}")
        if not 1 <= self.excerpt_s <= 60:
            raise ConfigError(f"excerpt_s must be in [1, 60] s, got {self.excerpt_s}")
        if max(self.gap_ms) / 1000 > self.excerpt_s / 2:
            raise ConfigError(
                f"gap_ms {max(self.gap_ms):g} needs an excerpt of at least twice its length, "
                f"got excerpt_s {self.excerpt_s:g}"
            )


@final
class Gaps(Protocol):
    """Gaps in recordings."""

    def __init__(self, run: RunConfig | None = None, config: GapsConfig | None = None) -> None:
        self.name = "gaps"
        self.title = "Filled gaps"
        self.run = run or RunConfig()
        self.config = config = config or GapsConfig()
        self.settings = tuple(_setting(ms) for ms in config.gap_ms)
        self.own_settings = values_of(config, "gaps_per_file", "is_multi", "excerpt_s")
        self.baselines = BASELINES
        self.measures = (*GAP_MEASURES, *extra_measures(self.run.extras))
        self.ranking = "lsd_gap"
        self.spots_per_job = len(config.gap_ms) * config.gaps_per_file

    def cases(self, job: Job) -> Iterator[Case]:
        run = self.run
        (entry,) = job.entries
        audio = open_entry(entry, sample_rate=run.sample_rate, is_mono=run.is_mono, is_whole=True)
        samples = audio.samples
        places = [(ms, *self._place(job, samples, audio, ms)) for ms in self.config.gap_ms]
        del samples  # a copy: models should not be billed for it
        for gap_ms, gaps, excerpt in places:
            together = [tuple(enumerate(gaps))] if gaps else []
            alone = [((i, gap),) for i, gap in enumerate(gaps)]
            for numbered in together if self.config.is_multi else alone:
                yield Case(
                    corpus=job.corpus,
                    file=job.file,
                    setting=_setting(gap_ms),
                    canvas=blanked(audio, [gap for _, gap in numbered]),
                    truth=audio,
                    spots=tuple(
                        Spot(
                            index=i,
                            edited=gap,
                            excerpt=excerpt or excerpt_around(gap, audio, self.config.excerpt_s),
                        )
                        for i, gap in numbered
                    ),
                )

    def baseline(self, row: str, case: Case) -> Audio:
        return gap_baseline(row, case)

    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        return measure_filled(case, spot, reference, estimate, self.run.extras)

    def embedded(self, case: Case, spot: Spot) -> Region:
        return beside(spot, case.canvas.audio, SIDE_S)

    def embedded_s(self, setting: str) -> float:
        return float(setting.removesuffix(" ms")) / 1000 + 2 * SIDE_S

    def _place(
        self, job: Job, samples: Samples, audio: Audio, gap_ms: float
    ) -> tuple[tuple[Region, ...], Region | None]:
        """Return the gaps of a recording, and the one excerpt that holds them if they are many."""
        config, rate, seed = self.config, audio.sample_rate, self.run.seed
        name = f"{job.corpus}/{job.file}"
        wanted = PositionConfig(num_gaps=config.gaps_per_file)
        if not config.is_multi:
            gaps = draw_gaps(samples, rate, gap_ms=gap_ms, name=name, seed=seed, config=wanted)
            return gaps, None
        length = min(samples.shape[1], round(config.excerpt_s * rate))
        middle = draw_gaps(
            samples,
            rate,
            gap_ms=gap_ms,
            name=name + "#excerpt",
            seed=seed,
            config=PositionConfig(num_gaps=1, margin_s=config.excerpt_s / 2),
        )
        if not middle:
            return (), None
        start = (middle[0].start + middle[0].stop - length) // 2
        start = min(max(0, start), samples.shape[1] - length)
        gaps = draw_gaps(
            samples[:, start : start + length],
            rate,
            gap_ms=gap_ms,
            name=name,
            seed=seed,
            config=PositionConfig(num_gaps=config.gaps_per_file, margin_s=0.5),
        )
        return tuple(gap.shifted(start) for gap in gaps), Region(start=start, stop=start + length)


def blanked(audio: Audio, gaps: "list[Region]", **options: Any) -> Canvas:
    """Return a canvas with silence in the gaps: a model must not see what it is to guess."""
    channels = audio.num_channels
    empty = audio.patched(
        Patch(start=gap.start, samples=np.zeros((channels, gap.num_samples))) for gap in gaps
    )
    return Canvas(audio=empty, gaps=tuple(gaps), **options)


def gap_baseline(row: str, case: Case) -> Audio:
    """Return the rows that every protocol with gaps and a truth has."""
    assert case.truth is not None
    if row == ORIGINAL:
        return case.truth
    if row == VORBIS:
        return round_trip(case, vorbis_round_trip)
    if case.canvas.draft_strength is None:
        return case.canvas.audio
    return blanked(case.canvas.audio, list(case.canvas.gaps)).audio


def measure_filled(
    case: Case,
    spot: Spot,
    reference: Samples | None,
    estimate: Estimate,
    extras: tuple[str, ...],
) -> Measured:
    """Return the measures of a filled gap."""
    assert reference is not None and spot.edited is not None  # noqa: PT018
    rate = case.canvas.audio.sample_rate
    gap = spot.edited.shifted(-spot.excerpt.start)
    values = measure_gap(reference, estimate, gap, rate)
    return Measured(metrics=values | measure_extras(reference, estimate, rate, extras, gap))


def excerpt_around(gap: Region, audio: Audio, excerpt_s: float) -> Region:
    """Return the excerpt with the gap in its middle, moved inside the recording."""
    total = audio.num_samples
    length = min(total, round(excerpt_s * audio.sample_rate))
    start = min(max(0, (gap.start + gap.stop - length) // 2), total - length)
    return Region(start=start, stop=start + length)


def beside(spot: Spot, audio: Audio, side_s: float) -> Region:
    """Return what was edited and some sound on both sides."""
    edited = spot.edited or spot.excerpt
    side = round(side_s * audio.sample_rate)
    return Region(
        start=max(0, edited.start - side), stop=min(audio.num_samples, edited.stop + side)
    )


def _setting(gap_ms: float) -> str:
    return f"{gap_ms:g} ms"
