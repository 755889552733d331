"""Results: what came of a canvas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.audio.proof import Proof, prove_edit
from weft.canvas.canvas import Canvas, Region
from weft.canvas.windows import read_window
from weft.errors import WeftWarning
from weft.takes import SIDE_MS, score_take

SCORED_S = 30.0
"""Regions longer than this are scored by half of it at each end."""


@final
@dataclass(frozen=True, kw_only=True)
class GapTake:
    """One fill of one gap, joined to its surroundings."""

    samples: Float[np.ndarray, "c g"] = field(repr=False)
    """What stands in the gap; that of a long gap stands in a temporary file."""
    model: str
    """Which model made it."""
    confidence: float
    """How sure the model is, in [0, 1]."""
    details: Mapping[str, float | str]
    """Facts the model tells."""
    max_hz: float | None = None
    """Highest frequency that the fill can hold; None: as wide as the recording."""


@final
@dataclass(frozen=True, kw_only=True)
class GapFill:
    """All that happened to one gap."""

    region: Region
    """The gap, in samples of the recording."""
    takes: tuple[GapTake, ...]
    """Different fills, best first."""
    is_left_alone: bool
    """Whether no fill was confident enough and the recording stays as it was there."""


@final
@dataclass(frozen=True)
class FillResult:
    """A filled canvas."""

    audio: Audio
    """The recording that was given, with what the task added to it."""
    gaps: tuple[GapFill, ...]
    """What happened to each gap, in order of time."""
    takes: tuple[Audio, ...]
    """The recording with every gap filled, best first; take i holds every gap's i-th fill."""
    warnings: tuple[WeftWarning, ...]
    """What one should know before using it."""
    is_loop: bool = False
    """Whether the recording is played in a circle."""

    @property
    def best(self) -> Audio:
        """The best take."""
        return self.takes[0]

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """How well each take belongs, in dB, <= 0: mean of its gaps; see `weft.takes`.

        Measured at the seams and sides only; models rank by more than that.
        """
        filled = [gap for gap in self.gaps if not gap.is_left_alone]
        return tuple(
            float(np.mean([self._score(take, gap.region) for gap in filled] or [0.0]))
            for take in self.takes
        )

    def _score(self, take: Audio, region: Region) -> float:
        side = round(SIDE_MS * take.sample_rate / 1000)
        half = round(SCORED_S / 2 * take.sample_rate)
        ends = [region]
        if region.num_samples > 2 * half:  # a long one is not read whole
            ends = [
                Region(start=region.start, stop=region.start + half),
                Region(start=region.stop - half, stop=region.stop),
            ]
        canvas = Canvas(audio=take, gaps=(region,), is_loop=self.is_loop)
        return float(
            np.mean(
                [
                    score_take(
                        read_window(take, end, canvas.gaps, side, canvas=canvas),
                        take.read(end.start, end.stop),
                    ).total
                    for end in ends
                ]
            )
        )

    @cached_property
    def proof(self) -> Proof:
        """Comparison of all samples outside the gaps with the recording that was given.

        Reads the whole recording once; `Audio.write` proves the written file in the same way.
        """
        return prove_edit(
            self.audio, self.best, [(gap.region.start, gap.region.stop) for gap in self.gaps]
        )
