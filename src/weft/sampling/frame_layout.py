"""Layouts: which frames of a codec a gap touches, and which around it are known.

Positions are samples at the codec's rate, counted from the first sample of the window; sample k
lies at ``k * sample_rate / codec_rate`` samples of the window, exactly. The grid of frames is not
fixed: one of its lines meets the beginning of the gap (its end, where nothing is known before it),
which keeps the number of frames that touch the gap smallest.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from weft.audio.fades import fade_in
from weft.audio.resample import resample
from weft.canvas.canvas import Window
from weft.shapes import Known, Samples

LEAST_RUN = 3
"""Known runs of fewer frames are too short to be encoded alone, and count as unknown."""
_BRIDGE_S = 0.02
"""How far a bridge reaches into the unknown: further than the resampler's filter."""


@final
@dataclass(frozen=True, kw_only=True)
class FrameLayout:
    """The frames of one sequence."""

    start: int
    """Where frame 0 begins; may be before the window where the gap begins the recording."""
    hop_length: int
    """Samples of a frame, >= 1."""
    known: Bool[np.ndarray, " l"]
    """True where a frame and its guard hold known samples only."""
    hole: tuple[int, int]
    """First frame that touches the gap, and one past the last."""

    @property
    def num_frames(self) -> int:
        """Frames of the sequence."""
        return len(self.known)

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Known runs of frames (first, one past the last), each to be encoded alone."""
        return find_runs(self.known)

    def span(self, first: int, stop: int) -> tuple[int, int]:
        """Return where frames begin and end, in samples."""
        return self.start + first * self.hop_length, self.start + stop * self.hop_length


@final
@dataclass(frozen=True, kw_only=True)
class CodecView:
    """A window at the rate of a codec."""

    samples: Float[np.ndarray, "c m"]
    """Resampled; what is unknown holds a bridge between its sides."""
    known: Bool[np.ndarray, " m"]
    """True where the samples of the window on both sides of a sample are known."""
    gap: tuple[int, int]
    """First sample that the gap touches, and one past the last; at least one sample."""
    sample_rate: int
    """Of the codec."""


def find_runs(flags: Bool[np.ndarray, " n"]) -> tuple[tuple[int, int], ...]:
    """Return (first, one past the last) of every run of True.

    Example:
        >>> find_runs(np.array([True, True, False, True]))
        ((0, 2), (3, 4))
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def view_at(window: Window, codec_rate: int) -> CodecView:
    """Resample a window, each side as if nothing were missing beside it.

    Args:
        window: any rate and channels.
        codec_rate: in Hz, >= 1.
    """
    rate, num = window.sample_rate, window.samples.shape[1]
    samples = resample_bridged(window, codec_rate)
    k = np.arange(samples.shape[1])
    left = np.minimum(k * rate // codec_rate, num - 1)
    right = np.minimum(-(-k * rate // codec_rate), num - 1)
    known = window.known[left] & window.known[right]
    last = max(0, len(k) - 1)
    first = min(max(0, (window.gap.start - 1) * codec_rate // rate + 1), last)
    stop = min(max(first + 1, -(-window.gap.stop * codec_rate // rate)), len(k))
    known[first:stop] = False
    return CodecView(samples=samples, known=known, gap=(first, stop), sample_rate=codec_rate)


def resample_bridged(
    window: Window, codec_rate: int, draft: Float[np.ndarray, "c g"] | None = None
) -> Float[np.ndarray, "c m"]:
    """Resample a window, with bridges over what is unknown.

    Args:
        window: any rate and channels.
        codec_rate: in Hz, >= 1.
        draft: what stands in the gap, as if it were known; None: a bridge.
    """
    reach = max(1, round(_BRIDGE_S * window.sample_rate))
    samples, known = window.samples, window.known
    if draft is not None:
        inside = slice(window.gap.start, window.gap.stop)
        samples, known = samples.copy(), known.copy()
        samples[:, inside], known[inside] = draft, True
    return resample(bridge(samples, known, reach), window.sample_rate, codec_rate)


def bridge(samples: Samples, known: Known, reach: int) -> Float[np.ndarray, "c n"]:
    """Mirror both sides into what is unknown, so that a filter does not hear an edge.

    Args:
        samples: zeros where unknown.
        known: which samples are not to be changed.
        reach: how far into the unknown, in samples, >= 0.

    Example:
        >>> bridge(np.array([[1.0, 2.0, 0, 0, 0, 0]]), np.arange(6) < 2, 2).round(2).tolist()
        [[1.0, 2.0, 1.92, 0.69, 0.0, 0.0]]
    """
    bridged = samples.copy()
    for first, stop in find_runs(~known):
        length = min(reach, stop - first)
        weight = fade_in(stop - first)
        before = samples[:, max(0, first - length) : first][:, ::-1]
        after = samples[:, stop : stop + length][:, ::-1]
        num_before, num_after = before.shape[1], after.shape[1]
        bridged[:, first : first + num_before] += before * weight[::-1][:num_before]
        if num_after:
            bridged[:, stop - num_after : stop] += after * weight[-num_after:]
    return bridged


def lay_out(view: CodecView, *, hop_length: int, num_frames: int, guard: int) -> FrameLayout:
    """Choose the frames around a gap.

    Every frame that an unknown sample touches is unknown, and so are ``guard`` frames on each side
    of it: what an encoder makes of the last frames beside a hole is not what it makes of them
    without one. The context is shared evenly between both sides; what one side lacks, at the end of
    a recording or where all is unknown, the other gets. Unknown frames at either end of the
    sequence are left out, except those of the gap and its guard.

    Args:
        view: the window.
        hop_length: samples of a frame, >= 1.
        num_frames: longest sequence; a gap that needs more gets it, with `LEAST_RUN` frames each
            side.
        guard: >= 0.
    """
    gap_first, gap_stop = view.gap
    has_before = gap_first > 0 and bool(view.known[gap_first - 1])
    has_after = gap_stop < len(view.known) and bool(view.known[gap_stop])
    origin = gap_stop if has_after and not has_before else gap_first
    low, high = -(origin // hop_length), (len(view.known) - origin) // hop_length
    first = (gap_first - origin) // hop_length
    stop = -(-(gap_stop - origin) // hop_length)
    low, high = min(low, first), max(high, stop)  # a gap may need frames beyond the recording
    known = _known_frames(view.known, origin + low * hop_length, hop_length, high - low, guard)
    first, stop = first - low, stop - low
    where = np.flatnonzero(known)
    hole = max(0, first - guard), min(len(known), stop + guard)
    left_most = min(hole[0], int(where[0]) if len(where) else hole[0])
    right_most = max(hole[1], int(where[-1]) + 1 if len(where) else hole[1])
    room = max(num_frames - (hole[1] - hole[0]), 2 * LEAST_RUN)
    num_left, num_right = hole[0] - left_most, right_most - hole[1]
    left = min(num_left, max(room // 2, room - num_right))
    right = min(num_right, room - left)
    begin, end = hole[0] - left, hole[1] + right
    begin, end = _trimmed(known, begin, end, hole)
    return FrameLayout(
        start=origin + (low + begin) * hop_length,
        hop_length=hop_length,
        known=_without_short_runs(known[begin:end]),
        hole=(first - begin, stop - begin),
    )


def _known_frames(
    known: Bool[np.ndarray, " m"], start: int, hop_length: int, num_frames: int, guard: int
) -> Bool[np.ndarray, " l"]:
    """Return which frames hold known samples only, those beside unknown ones left out."""
    counts = np.concatenate([[0], np.cumsum(known)])
    edges = start + hop_length * np.arange(num_frames + 1)
    inside = counts[np.clip(edges, 0, len(known))]
    whole = np.diff(inside) == hop_length
    for shift in range(1, guard + 1):
        touched = np.diff(inside) != hop_length
        whole[shift:] &= ~touched[:-shift]
        whole[:-shift] &= ~touched[shift:]
    return _without_short_runs(whole)


def _without_short_runs(known: Bool[np.ndarray, " l"]) -> Bool[np.ndarray, " l"]:
    kept = known.copy()
    for first, stop in find_runs(known):
        if stop - first < LEAST_RUN:
            kept[first:stop] = False
    return kept


def _trimmed(
    known: Bool[np.ndarray, " l"], begin: int, end: int, hole: tuple[int, int]
) -> tuple[int, int]:
    """Leave out what is unknown, or too short a run, at both ends of a stretch."""
    where = np.flatnonzero(_without_short_runs(known[begin:end]))
    if not len(where):
        return hole
    return min(hole[0], begin + int(where[0])), max(hole[1], begin + int(where[-1]) + 1)
