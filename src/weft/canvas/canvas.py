"""Canvas: audio with parts missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.canvas.style import Style
from weft.errors import RegionError, ShapeError
from weft.shapes import Known


@final
@dataclass(frozen=True, kw_only=True, order=True)
class Region:
    """A half-open range of samples, optionally limited to a band of frequencies."""

    start: int
    """First sample, >= 0."""
    stop: int
    """One past the last sample, > start."""
    low_hz: float | None = field(default=None, compare=False)
    """Lower edge of the band; None: no limit."""
    high_hz: float | None = field(default=None, compare=False)
    """Upper edge of the band; None: no limit."""
    label: str = field(default="", compare=False)
    """The user's text for it."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise RegionError(
                f"a region must have 0 <= start < stop, got samples {self.start}-{self.stop}"
            )

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self.stop - self.start

    def shifted(self, num_samples: int) -> "Region":
        """Return the same region, moved."""
        return Region(
            start=self.start + num_samples,
            stop=self.stop + num_samples,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
            label=self.label,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Audio with parts missing: what a model fills.

    Samples outside `gaps` are known and come back bit for bit. Samples inside are unknown: empty,
    or a draft where `draft_strength` is given.
    """

    audio: Audio
    """The recording, draft included where there is one."""
    gaps: tuple[Region, ...]
    """The unknown regions: sorted, disjoint, inside the recording."""
    draft_strength: float | None = None
    """None: what stands in the gaps is meaningless. In [0, 1]: it is a draft, and 1 means it may be
    changed completely, 0 that it is returned as it is."""
    text: str | None = None
    """What the user says should be heard."""
    low_band_hz: float | None = None
    """Below this frequency all is known, at all times (super-resolution); None: no such band."""
    style: Style | None = None
    """What the fills should sound like; None: only like what is around them."""
    is_loop: bool = False
    """Whether the recording is played in a circle, so that its beginning follows its end."""

    def __post_init__(self) -> None:
        previous = 0
        for gap in self.gaps:
            if gap.start < previous:
                raise RegionError(
                    f"gaps must be sorted and must not overlap; the one at sample {gap.start} "
                    f"begins before sample {previous}"
                )
            previous = gap.stop
        if previous > self.audio.num_samples:
            raise RegionError(
                f"a gap ends at sample {previous}, the recording has {self.audio.num_samples}"
            )
        if self.draft_strength is not None and not 0 <= self.draft_strength <= 1:
            raise RegionError(f"draft_strength must be in [0, 1], got {self.draft_strength}")

    @property
    def num_unknown(self) -> int:
        """Samples a channel that are to be filled."""
        return sum(gap.num_samples for gap in self.gaps)


@final
@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of the recording around one gap: all that a filler sees of it.

    `samples` hold the recording, earlier fills included; unknown samples hold zeros.
    """

    samples: Float[np.ndarray, "c n"]
    """The stretch; zeros where unknown."""
    known: Known
    """True where `samples` may be trusted."""
    gap: Region
    """The gap to fill, in samples of the window. Nothing in it is known. It may touch either end
    of the window, when the recording begins or ends there."""
    start: int
    """Position of the window in the recording, in samples; negative where a loop is heard from
    before its beginning."""
    sample_rate: int
    """Samples per second."""
    draft: Float[np.ndarray, "c g"] | None = None
    """What may stand in the gap; None: there is no draft."""
    draft_strength: float | None = None
    """How far the draft may be changed, in [0, 1]; given exactly where there is a draft."""
    style: Style | None = None
    """What the fill should sound like; None: only like what is around it."""

    def __post_init__(self) -> None:
        if (self.draft is None) != (self.draft_strength is None):
            raise ShapeError("a window holds both a draft and its strength, or neither")
        if self.draft is not None and self.draft.shape[1] != self.gap.num_samples:
            raise ShapeError(
                f"the draft has {self.draft.shape[1]} samples, the gap {self.gap.num_samples}"
            )

    @property
    def num_channels(self) -> int:
        """Audio channels."""
        return int(self.samples.shape[0])

    @property
    def gap_ms(self) -> float:
        """Length of the gap."""
        return 1000 * self.gap.num_samples / self.sample_rate

    def before(self, limit: int | None = None) -> Float[np.ndarray, "c a"]:
        """Return the known samples that end where the gap begins, ``limit`` at the most."""
        unknown = np.flatnonzero(~self.known[: self.gap.start])
        first = int(unknown[-1]) + 1 if len(unknown) else 0
        if limit is not None:
            first = max(first, self.gap.start - limit)
        return self.samples[:, first : self.gap.start]

    def after(self, limit: int | None = None) -> Float[np.ndarray, "c a"]:
        """Return the known samples that begin where the gap ends, ``limit`` at the most."""
        unknown = np.flatnonzero(~self.known[self.gap.stop :])
        last = self.gap.stop + int(unknown[0]) if len(unknown) else self.samples.shape[1]
        if limit is not None:
            last = min(last, self.gap.stop + limit)
        return self.samples[:, self.gap.stop : last]


def merge_regions(regions: Sequence[Region]) -> tuple[Region, ...]:
    """Sort regions and join those that overlap or touch, where their bands agree.

    Raises:
        RegionError: two regions overlap in time with different bands.
    """
    merged: list[Region] = []
    for region in sorted(regions):
        last = merged[-1] if merged else None
        if last is None or region.start > last.stop:
            merged.append(region)
            continue
        same_band = (last.low_hz, last.high_hz) == (region.low_hz, region.high_hz)
        if same_band:
            labels = [text for text in (last.label, region.label) if text]
            merged[-1] = Region(
                start=last.start,
                stop=max(last.stop, region.stop),
                low_hz=last.low_hz,
                high_hz=last.high_hz,
                label=" + ".join(dict.fromkeys(labels)),
            )
        elif region.start == last.stop:
            merged.append(region)
        else:
            raise RegionError(
                f"the regions at samples {last.start}-{last.stop} and {region.start}-{region.stop} "
                "overlap but ask for different bands; make them meet, or give them one band"
            )
    return tuple(merged)
