"""Stretches: seconds of a clip to be filled, continued or made anew.

* ``infill``: the middle 2 s of a clip of 6 s are missing.
* ``continuation``: all after the first 2.4 s of a clip of 6 s is missing.
* ``regenerate``: the middle 2 s are to be made anew, with what stands there as a draft.

Models get the clip only, unless they may have the whole recording, which those that copy from it
like better.

Source: Levy et al. 2023, Controllable music production with diffusion models and guidance
    gradients, section 4: lengths of clips and of what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region
from weft.data.corpora import open_entry
from weft.errors import ConfigError, UnsupportedCanvasError
from weft.evaluate.measures import (
    GAP_MEASURES,
    SEAM_MEASURES,
    extra_measures,
    measure_seams,
)
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import Case, Job, Measured, Protocol, RunConfig, Spot, values_of
from weft.evaluate.protocols.gaps import BASELINES, blanked, gap_baseline, measure_filled
from weft.evaluate.solvers import Filled, FillFn
from weft.metrics.pairs import Estimate
from weft.shapes import Samples

Kind = Literal["infill", "continuation", "regenerate"]
_TITLES = {
    "infill": "Infill: the middle of a clip",
    "continuation": "Continuation: the end of a clip",
    "regenerate": "Regenerate: the middle of a clip, anew",
}


@final
@dataclass(frozen=True, kw_only=True)
class StretchesConfig:
    """What is taken away."""

    kind: Kind
    """Which of the three."""
    clip_s: float = 6.0
    """Length of a clip, in [1, 60]."""
    known_s: float = 2.4
    """What a continuation is given, in (0, clip_s)."""
    middle_s: float = 2.0
    """What is missing of the others, in (0, clip_s)."""
    strength: float = 0.85
    """How far a draft may be changed, in [0, 1]."""
    clips_per_file: int = 3
    """Clips of each recording, >= 1; short recordings get fewer."""
    is_whole_recording: bool = False
    """Models get the whole recording (of a continuation: all before its end), not the clip."""

    def __post_init__(self) -> None:
        if not 1 <= self.clip_s <= 60:
            raise ConfigError(f"clip_s must be in [1, 60] s, got {self.clip_s}")
        for name in ("known_s", "middle_s"):
            if not 0 < getattr(self, name) < self.clip_s:
                raise ConfigError(
                    f"{name} must be in (0, {self.clip_s:g}) s, the clip; got {getattr(self, name)}"
                )
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength must be in [0, 1], got {self.strength}")
        if self.clips_per_file < 1:
            raise ConfigError(f"clips_per_file must be >= 1, got {self.clips_per_file}")


@final
class Stretches(Protocol):
    """Infill, continuation and regenerate."""

    def __init__(self, run: RunConfig | None = None, *, config: StretchesConfig) -> None:
        self.name = config.kind
        self.title = _TITLES[config.kind]
        self.run = run or RunConfig()
        self.config = config
        missing = f"{config.middle_s:g} of {config.clip_s:g} s"
        names = ["clip_s", "clips_per_file", "is_whole_recording", "middle_s"]
        if config.kind == "continuation":
            missing = f"{config.known_s:g} to {config.clip_s:g} s"
            names[-1] = "known_s"
        if config.kind == "regenerate":
            names.append("strength")
        self.settings = (missing,)
        self.own_settings = values_of(config, *names)
        self.baselines = BASELINES
        self.measures = (*GAP_MEASURES, *SEAM_MEASURES, *extra_measures(self.run.extras))
        self.ranking = "lsd_gap"
        self.spots_per_job = config.clips_per_file

    def cases(self, job: Job) -> Iterator[Case]:
        run, config = self.run, self.config
        (entry,) = job.entries
        audio = open_entry(entry, sample_rate=run.sample_rate, is_mono=run.is_mono, is_whole=True)
        rate = audio.sample_rate
        clips = draw_gaps(
            audio.samples,
            rate,
            gap_ms=1000 * config.clip_s,
            name=f"{job.corpus}/{job.file}",
            seed=run.seed,
            config=PositionConfig(num_gaps=config.clips_per_file, separation_s=0.0),
        )
        for index, clip in enumerate(clips):
            given = clip
            if config.is_whole_recording:
                last = clip.stop if config.kind == "continuation" else audio.num_samples
                given = Region(start=0, stop=last)
            truth = Audio.from_samples(audio.read(given.start, given.stop), rate)
            excerpt = clip.shifted(-given.start)
            gap = self._missing(excerpt, rate)
            yield Case(
                corpus=job.corpus,
                file=job.file,
                setting=self.settings[0],
                canvas=self._canvas(truth, gap),
                truth=truth,
                spots=(Spot(index=index, edited=gap, excerpt=excerpt),),
            )

    def baseline(self, row: str, case: Case) -> Audio:
        return gap_baseline(row, case)

    def fill(self, fill_with: FillFn, case: Case) -> Filled:
        """Ask a model; one that uses no drafts fills the stretch from its surroundings."""
        try:
            return fill_with(case.canvas, takes=self.run.takes, seed=self.run.seed)
        except UnsupportedCanvasError:
            if case.canvas.draft_strength is None:
                raise
        empty = blanked(case.canvas.audio, list(case.canvas.gaps))
        filled = fill_with(empty, takes=self.run.takes, seed=self.run.seed)
        return replace(filled, models=tuple(f"{name}, no draft" for name in filled.models))

    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        measured = measure_filled(case, spot, reference, estimate, self.run.extras)
        assert spot.edited is not None
        gap = spot.edited.shifted(-spot.excerpt.start)
        seams = measure_seams(estimate, gap, case.canvas.audio.sample_rate)
        return replace(measured, metrics={**measured.metrics, **seams})

    def embedded_s(self, setting: str) -> float:
        return self.config.clip_s

    def _missing(self, excerpt: Region, rate: int) -> Region:
        """Return what is missing of a clip."""
        if self.config.kind == "continuation":
            return Region(
                start=excerpt.start + round(self.config.known_s * rate), stop=excerpt.stop
            )
        length = round(self.config.middle_s * rate)
        start = (excerpt.start + excerpt.stop - length) // 2
        return Region(start=start, stop=start + length)

    def _canvas(self, truth: Audio, gap: Region) -> Canvas:
        if self.config.kind == "regenerate":
            return Canvas(audio=truth, gaps=(gap,), draft_strength=self.config.strength)
        return blanked(truth, [gap])
