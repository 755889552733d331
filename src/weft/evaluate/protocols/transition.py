"""Transition: two recordings with a stretch between them that has to lead from one to the other.

The draft is a constant-power cross-fade of the two, which is also the row that all others are
compared with. Models that use no drafts fill the stretch from what is on its sides.

Source: Levy et al. 2023, Controllable music production with diffusion models and guidance
    gradients, section 4 "Transitions" and figure 1.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.audio.fades import constant_power_crossfade
from weft.audio.levels import level_db
from weft.canvas.canvas import Canvas, Region
from weft.data.corpora import open_entry
from weft.data.manifest import Entry, Manifest
from weft.errors import ConfigError, UnsupportedCanvasError
from weft.evaluate.measures import SEAM_MEASURES, measure_seams
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import (
    SILENCE,
    Case,
    Job,
    Measure,
    Measured,
    Protocol,
    Row,
    RunConfig,
    Spot,
    values_of,
)
from weft.evaluate.protocols.gaps import VORBIS, blanked
from weft.evaluate.runner import round_trip
from weft.evaluate.solvers import Filled, FillFn
from weft.evaluate.vorbis import vorbis_round_trip
from weft.metrics.mel import mel_distance
from weft.metrics.pairs import Estimate
from weft.metrics.seams import seam_click_db
from weft.rng import Rng
from weft.shapes import Samples

CROSSFADE, INTACT = "cross-fade", "track 1 alone"
CURVE = "mel distance to track 1"
_SLICES = 25
_LEVEL_MS = 100.0

_MEASURES = (
    Measure(
        name="steepest",
        title="steepest step",
        better="lower",
        digits=2,
        note="largest step of the mel distance to track 1 between two of 25 slices of the "
        "transition: an even transition has many small steps, a cut one large one",
    ),
    Measure(
        name="dip_db",
        title="level dip dB",
        better="lower",
        digits=1,
        note="how far the quietest 100 ms of the transition fall below the quieter of the two "
        "sides' quietest 100 ms",
    ),
    Measure(
        name="no_click",
        title="no click",
        better="higher",
        digits=2,
        note="share of transitions whose seams stay within 6 dB of the cross-fade's own prediction "
        "errors",
    ),
    *SEAM_MEASURES,
)


@final
@dataclass(frozen=True, kw_only=True)
class TransitionConfig:
    """What is joined."""

    transition_s: float = 2.5
    """Length of the transition, > 0."""
    side_s: float = 1.75
    """What is known of each recording, > 0."""
    num_pairs: int = 100
    """Pairs of recordings of each material, >= 1, drawn at random without a pair twice."""
    strength: float = 0.85
    """How far the draft may be changed, in [0, 1]."""

    def __post_init__(self) -> None:
        for name in ("transition_s", "side_s"):
            if not 0 < getattr(self, name) <= 30:
                raise ConfigError(f"{name} must be in (0, 30] s, got {getattr(self, name)}")
        if self.num_pairs < 1:
            raise ConfigError(f"num_pairs must be >= 1, got {self.num_pairs}")
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength must be in [0, 1], got {self.strength}")


@final
class Transition(Protocol):
    """Transitions between two recordings."""

    def __init__(
        self, run: RunConfig | None = None, config: TransitionConfig | None = None
    ) -> None:
        self.name = "transition"
        self.title = "Transitions between two recordings"
        self.run = run or RunConfig()
        self.config = config = config or TransitionConfig()
        self.settings = (f"{config.transition_s:g} s",)
        self.own_settings = values_of(config, "transition_s", "side_s", "strength")
        self.baselines = (
            Row(name=CROSSFADE, kind="reference"),
            Row(name=VORBIS, kind="reference"),
            Row(name=INTACT, kind="reference"),
            Row(name=SILENCE, kind="baseline"),
        )
        self.measures = _MEASURES
        self.ranking = "steepest"
        self.spots_per_job = 1

    def jobs(self, corpora: Sequence[Manifest]) -> list[Job]:
        """Return pairs of different recordings, drawn from the seed and the corpus' name."""
        return [
            Job(corpus=corpus.name, entries=pair)
            for corpus in corpora
            for pair in self._pairs(corpus.name, corpus.select(self.run.split)[: self.run.limit])
        ]

    def cases(self, job: Job) -> Iterator[Case]:
        run, config = self.run, self.config
        first, second = (
            open_entry(entry, sample_rate=run.sample_rate, is_mono=run.is_mono, is_whole=True)
            for entry in job.entries
        )
        if first.sample_rate != second.sample_rate or first.num_channels != second.num_channels:
            first, second = _alike(first, second)
        rate = first.sample_rate
        side, length = round(config.side_s * rate), round(config.transition_s * rate)
        clips = []
        lengths = (2 * side + length, length + side)  # the first also goes on, alone, to compare
        for track, name, wanted in zip((first, second), ("first", "second"), lengths, strict=True):
            found = draw_gaps(
                track.samples,
                rate,
                gap_ms=1000 * wanted / rate,
                name=f"{job.corpus}/{job.file}#{name}",
                seed=run.seed,
                config=PositionConfig(num_gaps=1, margin_s=0.1),
            )
            if not found:
                return
            clips.append(found[0])
        start = clips[0].start
        whole = Audio.from_samples(first.read(start, start + 2 * side + length), rate)
        ending = whole.read(0, side + length)
        beginning = second.read(clips[1].start, clips[1].start + length + side)
        draft = Audio.from_samples(constant_power_crossfade(ending, beginning, length), rate)
        gap = Region(start=side, stop=side + length)
        yield Case(
            corpus=job.corpus,
            file=job.file,
            setting=self.settings[0],
            canvas=Canvas(audio=draft, gaps=(gap,), draft_strength=config.strength),
            truth=None,
            spots=(Spot(index=0, edited=gap, excerpt=Region(start=0, stop=draft.num_samples)),),
            extras={INTACT: whole},
            cluster=job.entries[0].file,
        )

    def baseline(self, row: str, case: Case) -> Audio:
        if row == CROSSFADE:
            return case.canvas.audio
        if row == VORBIS:
            return round_trip(case, vorbis_round_trip)
        if row == INTACT:
            return case.extras[INTACT]
        return blanked(case.canvas.audio, list(case.canvas.gaps)).audio

    def fill(self, fill_with: FillFn, case: Case) -> Filled:
        """Ask a model; one that uses no drafts fills the stretch from its surroundings."""
        try:
            return fill_with(case.canvas, takes=self.run.takes, seed=self.run.seed)
        except UnsupportedCanvasError:
            empty = blanked(case.canvas.audio, list(case.canvas.gaps))
        filled = fill_with(empty, takes=self.run.takes, seed=self.run.seed)
        return replace(filled, models=tuple(f"{name}, no draft" for name in filled.models))

    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        (gap,) = case.canvas.gaps
        rate = case.canvas.audio.sample_rate
        curve = distance_curve(case.extras[INTACT].samples, estimate, rate, gap)
        click = seam_click_db(case.canvas.audio.samples, estimate, [gap], rate)
        return Measured(
            metrics={
                "steepest": float(np.abs(np.diff(curve)).max()),
                "dip_db": _dip_db(estimate, gap, rate),
                "no_click": float(click <= 6.0),
                **measure_seams(estimate, gap, rate),
            },
            curves={CURVE: curve.tolist()},
        )

    def embedded_s(self, setting: str) -> float:
        return self.config.transition_s + 2 * self.config.side_s

    def _pairs(self, name: str, entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
        """Return ordered pairs, none twice."""
        pairs = [(a, b) for a in entries for b in entries if a is not b]
        order = Rng(self.run.seed).stream(zlib.crc32(name.encode())).permutation(len(pairs))
        return [pairs[i] for i in order[: self.config.num_pairs]]


def distance_curve(
    track: Samples, estimate: Estimate, sample_rate: int, gap: Region, num_slices: int = _SLICES
) -> Float[np.ndarray, " s"]:
    """Return the mel distance to a track in slices of a region.

    Args:
        track: what would be heard if the first recording went on.
        estimate: what is heard.
        sample_rate: in Hz.
        gap: the region.
        num_slices: equal parts of it.
    """
    edges = np.linspace(gap.start, gap.stop, num_slices + 1).round().astype(int)
    margin = 2048
    values = []
    for start, stop in pairwise(edges):
        first, last = max(0, int(start) - margin), min(track.shape[1], int(stop) + margin)
        inside = Region(start=int(start) - first, stop=int(stop) - first)
        values.append(
            mel_distance(track[:, first:last], estimate[:, first:last], sample_rate, [inside])
        )
    return np.array(values)


def _dip_db(samples: Samples, gap: Region, sample_rate: int) -> float:
    """Return how far the transition's quietest moment falls below those of its sides."""
    block = round(_LEVEL_MS * sample_rate / 1000)

    def quietest(part: Samples) -> float:
        levels = [level_db(part[:, i : i + block]) for i in range(0, part.shape[1], block)]
        return max(min(levels), -100.0)

    sides = samples[:, : gap.start], samples[:, gap.stop :]
    floor = min(quietest(side) for side in sides)
    return max(0.0, floor - quietest(samples[:, gap.start : gap.stop]))


def _alike(first: Audio, second: Audio) -> tuple[Audio, Audio]:
    """Bring two recordings to the first one's rate, and to one channel where they differ."""
    from weft.audio.resample import resample, to_mono

    rate = first.sample_rate
    samples = [first.samples, resample(second.samples, second.sample_rate, rate)]
    if samples[0].shape[0] != samples[1].shape[0]:
        samples = [to_mono(part) for part in samples]
    return Audio.from_samples(samples[0], rate), Audio.from_samples(samples[1], rate)
