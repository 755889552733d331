"""Windows: only a stretch around each gap is read, however long the recording is."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region, Window
from weft.canvas.filler import Filler
from weft.errors import AudioFormatError
from weft.shapes import Samples

BATCH_SAMPLES = 1 << 22
"""Samples, channels counted, that the windows of one batch hold together (32 MB)."""
WINDOW_SAMPLES = 24_000_000
"""Samples, channels counted, that the context of one gap holds at the most (192 MB): two minutes of
stereo at 96 kHz."""


def pieces_of(gap: Region, filler: Filler, sample_rate: int) -> tuple[Region, ...]:
    """Cut a gap into the pieces that a filler fills one after another; one that fits stays whole.

    Pieces are filled from left to right: each has earlier fills as its context, and the last one
    meets what is known after the gap.
    """
    max_ms, piece_ms = filler.max_gap_ms, filler.piece_ms
    if max_ms is None or gap.num_samples <= round(max_ms * sample_rate / 1000):
        return (gap,)
    return split_gap(gap, round((max_ms if piece_ms is None else piece_ms) * sample_rate / 1000))


def split_gap(gap: Region, max_samples: int) -> tuple[Region, ...]:
    """Cut a gap into equal pieces no longer than ``max_samples``.

    Example:
        >>> [piece.num_samples for piece in split_gap(Region(start=10, stop=20), 4)]
        [3, 4, 3]
    """
    count = -(-gap.num_samples // max_samples)
    edges = [gap.start + round(i * gap.num_samples / count) for i in range(count + 1)]
    return tuple(
        Region(start=start, stop=stop, low_hz=gap.low_hz, high_hz=gap.high_hz, label=gap.label)
        for start, stop in pairwise(edges)
    )


def read_window(
    audio: Audio,
    gap: Region,
    unknown: Sequence[Region],
    context: int,
    *,
    canvas: Canvas | None = None,
) -> Window:
    """Read the stretch around a gap.

    Args:
        audio: the recording, with earlier fills laid over it.
        gap: what is to be filled, in samples of the recording.
        unknown: all regions not yet filled, sorted and disjoint, ``gap`` among them or not.
        context: samples wanted on each side; fewer at the ends of a recording that is no loop.
        canvas: whose draft and style the window gets, and which says whether the recording is a
            loop; None: none of these.

    Raises:
        AudioFormatError: a known sample of the stretch, or one of the draft, is not finite.
    """
    is_loop = canvas is not None and canvas.is_loop
    start, stop, turns = _span(audio, gap, context, is_loop=is_loop)
    samples = np.concatenate([_read_turn(audio, start, stop, turn) for turn in turns], axis=1)
    known = np.ones(stop - start, dtype=bool)
    for turn in turns:
        first = bisect_right(unknown, start - turn, key=lambda region: region.stop)
        last = bisect_left(unknown, stop - turn, key=lambda region: region.start)
        for region in (*unknown[first:last], gap):
            low, high = region.start + turn - start, region.stop + turn - start
            known[max(0, low) : max(0, high)] = False
    samples[:, ~known] = 0
    draft, strength = None, None if canvas is None else canvas.draft_strength
    if canvas is not None and strength is not None:
        draft = canvas.audio.read(gap.start, gap.stop)
        _check_draft(draft, gap)
    if not np.isfinite(samples).all():
        channel, index = np.argwhere(~np.isfinite(samples))[0]
        raise AudioFormatError(
            f"the recording holds {samples[channel, index]} at sample "
            f"{(start + index) % audio.num_samples}, channel {channel}, beside the gap at sample "
            f"{gap.start}: nothing can be predicted from it; mark that place as a gap too, or "
            "repair the file first"
        )
    return Window(
        samples=samples,
        known=known,
        gap=gap.shifted(-start),
        start=start,
        sample_rate=audio.sample_rate,
        draft=draft,
        draft_strength=strength,
        style=None if canvas is None else canvas.style,
    )


def _span(
    audio: Audio, gap: Region, context: int, *, is_loop: bool
) -> tuple[int, int, tuple[int, ...]]:
    """Return where a window begins and ends, and the turns of the loop that it shows.

    A loop goes on before its beginning and after its end, where turn ``t`` holds sample ``i`` at
    ``i + t``; each side shows every sample once at the most.
    """
    length = audio.num_samples
    if not is_loop:
        return max(0, gap.start - context), min(length, gap.stop + context), (0,)
    start = max(gap.start - context, gap.stop - length)
    stop = min(gap.stop + context, gap.start + length)
    turns = (-length, 0, length)
    return start, stop, tuple(turn for turn in turns if turn < stop and start < turn + length)


def _read_turn(audio: Audio, start: int, stop: int, turn: int) -> Samples:
    """Return what a window from ``start`` to ``stop`` shows of a turn of the loop."""
    return audio.read(max(start - turn, 0), min(stop - turn, audio.num_samples))


def _check_draft(draft: Samples, gap: Region) -> None:
    if not np.isfinite(draft).all():
        channel, index = np.argwhere(~np.isfinite(draft))[0]
        raise AudioFormatError(
            f"the recording holds {draft[channel, index]} at sample {gap.start + index}, channel "
            f"{channel}, where it is to be made anew from what stands there; fill that place "
            "without a draft first ('weft inpaint')"
        )


def context_samples(filler: Filler, gap: Region, sample_rate: int, *, num_channels: int = 1) -> int:
    """Return the context a filler gets on each side of a gap, in samples.

    What the filler wants, but no more than memory allows with many channels at high rates.
    """
    gap_ms = 1000 * gap.num_samples / sample_rate
    wanted = round(filler.context_ms(gap_ms) * sample_rate / 1000)
    return min(wanted, WINDOW_SAMPLES // (2 * num_channels))


def batch_gaps(
    gaps: Sequence[Region], filler: Filler, audio: Audio, max_samples: int = BATCH_SAMPLES
) -> Iterator[tuple[Region, ...]]:
    """Group gaps so that the windows of a group fit in memory together; shortest gaps first.

    Short gaps are filled first because they are filled best, and then are context for the others.
    """
    batch: list[Region] = []
    held = 0
    for gap in sorted(gaps, key=lambda gap: (gap.num_samples, gap.start)):
        context = context_samples(filler, gap, audio.sample_rate, num_channels=audio.num_channels)
        size = (gap.num_samples + 2 * context) * audio.num_channels
        if batch and held + size > max_samples:
            yield tuple(batch)
            batch, held = [], 0
        batch.append(gap)
        held += size
    if batch:
        yield tuple(batch)
