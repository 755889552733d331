"""Tasks: what a user asks for, as a canvas. A task only says what is missing."""

import math
from collections.abc import Sequence

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region, merge_regions
from weft.errors import RegionError


def to_region(gap: Region | tuple[float, float], audio: Audio) -> Region:
    """Turn a range of seconds into samples, to the nearest sample; regions pass as they are.

    Raises:
        RegionError: not a pair, not finite, reversed, shorter than a sample, or outside the audio.
    """
    if not isinstance(gap, Region):
        try:
            start_s, stop_s = (float(value) for value in gap)
        except (TypeError, ValueError):
            raise RegionError(
                f"a gap is a pair of seconds (start, stop) or a Region, got {gap!r}"
            ) from None
        if not (math.isfinite(start_s) and math.isfinite(stop_s)) or start_s < 0:
            raise RegionError(f"a gap needs finite times >= 0 s, got {start_s} s to {stop_s} s")
        start, stop = round(start_s * audio.sample_rate), round(stop_s * audio.sample_rate)
        if stop <= start:
            raise RegionError(
                f"a gap must end after it starts, by at least one sample at {audio.sample_rate} Hz;"
                f" got {start_s:g} s to {stop_s:g} s"
            )
        gap = Region(start=start, stop=stop)
    if gap.stop > audio.num_samples:
        raise RegionError(
            f"the gap at {gap.start / audio.sample_rate:.3f}-{gap.stop / audio.sample_rate:.3f} s "
            f"reaches beyond the end of the recording, {audio.duration_s:.3f} s "
            f"({audio.num_samples} samples); shorten it"
        )
    return gap


def inpaint(
    audio: Audio,
    gaps: Sequence[Region | tuple[float, float]],
    *,
    text: str | None = None,
) -> Canvas:
    """Say that some regions of a recording are to be filled from what is around them.

    Args:
        audio: the recording.
        gaps: seconds (start, stop) or regions in samples; in any order, overlapping ones are one.
        text: what should be heard there, for models that take text.

    Returns:
        A canvas whose gaps are empty: what the recording holds there is not used.

    Raises:
        RegionError: no gap, a gap outside the recording, or nothing known beside the gaps.

    Example:
        >>> import numpy as np
        >>> song = Audio.from_samples(np.zeros((2, 1000)), 1000)
        >>> [gap.start for gap in inpaint(song, [(0.5, 0.6), (0.1, 0.2)]).gaps]
        [100, 500]
    """
    regions = merge_regions([to_region(gap, audio) for gap in gaps])
    if not regions:
        raise RegionError("no gap was given; name at least one, such as (12.3, 12.85) in seconds")
    if sum(region.num_samples for region in regions) >= audio.num_samples:
        raise RegionError(
            f"the gaps cover the whole recording ({audio.duration_s:.3f} s): nothing is left to "
            "fill from; leave some of it outside"
        )
    return Canvas(audio=audio, gaps=regions, text=text)
