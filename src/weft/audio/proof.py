"""The proof that an edit changed nothing but what it was to change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from weft.audio.audio import BLOCK_SAMPLES, Audio
from weft.audio.buffers import release
from weft.audio.containers import Layout
from weft.audio.encoding import SampleEncoding
from weft.audio.handle import FileHandle
from weft.errors import OutputError
from weft.shapes import Samples

_BLOCK_BYTES = 1 << 20


@final
@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a comparison of the written file with its source found.

    Example:
        >>> print(Proof(num_outside=5_291_000, num_identical=5_291_000, first_difference=None))
        5,291,000 samples outside the edited regions: all identical
    """

    num_outside: int
    """Samples outside the edits, counted in every channel."""
    num_identical: int
    """How many of them are the same number in the file as in the source."""
    first_difference: int | None
    """Position of the first sample that differs, in any channel."""
    rounding: str = ""
    """What the source was rounded to before it was compared; empty if it was not."""

    @property
    def is_identical(self) -> bool:
        """Whether all samples outside the edits are the source's."""
        return self.num_identical == self.num_outside

    def __str__(self) -> str:
        to = f" to the source rounded to {self.rounding}" if self.rounding else ""
        if self.is_identical:
            return f"{self.num_outside:,} samples outside the edited regions: all identical{to}"
        return (
            f"{self.num_outside:,} samples outside the edited regions: "
            f"{self.num_outside - self.num_identical:,} differ{to and ' from' + to[3:]}, "
            f"the first at sample {self.first_difference}"
        )


def edited_ranges(audio: Audio) -> list[tuple[int, int]]:
    """Return the sample ranges that patches cover, in order, merged where they touch.

    Example:
        >>> from weft.audio.audio import Patch
        >>> edit = [Patch(start=start, samples=np.zeros((1, 10))) for start in (40, 5, 12)]
        >>> edited_ranges(Audio.from_samples(np.zeros(100), 8000).patched(edit))
        [(5, 22), (40, 50)]
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted((patch.start, patch.stop) for patch in audio.patches):
        if start == stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def edited_samples(audio: Audio) -> Iterator[tuple[int, Samples]]:
    """Yield (start, samples) of all edited ranges in order, in blocks; the source is not read."""
    ranges = edited_ranges(audio)
    starts = [start for start, _ in ranges]
    inside: list[list[int]] = [[] for _ in ranges]
    for i, patch in enumerate(audio.patches):
        if patch.start < patch.stop:
            inside[int(np.searchsorted(starts, patch.start, side="right")) - 1].append(i)
    for (start, stop), indices in zip(ranges, inside, strict=True):
        for first in range(start, stop, BLOCK_SAMPLES):
            last = min(first + BLOCK_SAMPLES, stop)
            yield first, _edited_block(audio, indices, first, last)


def _edited_block(audio: Audio, indices: list[int], first: int, last: int) -> Samples:
    """Return samples [first, last), all of which are covered by some of these patches."""
    samples = np.empty((audio.num_channels, last - first))
    for i in indices:
        patch = audio.patches[i]
        low, high = max(first, patch.start), min(last, patch.stop)
        if low < high:
            samples[:, low - first : high - first] = patch.samples[
                :, low - patch.start : high - patch.start
            ]
            release(patch.samples)
    if not np.isfinite(samples).all():
        raise OutputError(
            f"the edit of samples {first}-{last} is not finite (NaN or infinite); fill this "
            "gap with another model"
        )
    return samples


def _between(ranges: list[tuple[int, int]], stop: int) -> Iterator[tuple[int, int]]:
    """Yield what lies between ``ranges`` in [0, stop)."""
    position = 0
    for first, last in sorted(ranges):
        if position < first:
            yield position, first
        position = max(position, last)
    if position < stop:
        yield position, stop


def prove_copy(
    source: FileHandle, layout: Layout, written: FileHandle, ranges: list[tuple[int, int]]
) -> Proof:
    """Compare every byte of a patched copy outside the edited ranges with its original.

    Args:
        source: the original.
        layout: its layout.
        written: the copy, read again.
        ranges: sample ranges that were edited, in order.

    Raises:
        OutputError: the files differ in length, or outside the samples.
    """
    frame, offset = layout.frame_bytes, layout.data_offset
    end = offset + layout.num_samples * frame
    excluded = [(offset + start * frame, offset + stop * frame) for start, stop in ranges]
    excluded += [(where, where + len(content)) for where, content in layout.repairs]
    num_outside = layout.num_channels * (layout.num_samples - sum(b - a for a, b in ranges))
    num_different, first = 0, None
    if source.size != written.size:
        raise OutputError(
            f"the copy has {written.size} bytes instead of {source.size}; the disk may be damaged"
        )
    for start, stop in _between(excluded, source.size):
        for position in range(start, stop, _BLOCK_BYTES):
            num_bytes = min(_BLOCK_BYTES, stop - position)
            one = source.read_at(position, num_bytes)
            other = written.read_at(position, num_bytes)
            if one == other:
                continue
            places = position + np.flatnonzero(
                np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)
            )
            if places[0] < offset or places[-1] >= end:
                raise OutputError(
                    f"the copy differs from the original outside the samples, at byte {places[0]}; "
                    "the disk may be damaged, or another program changed the file"
                )
            assert layout.encoding is not None
            different = np.unique((places - offset) // layout.encoding.num_bytes)
            num_different += len(different)
            if first is None:
                first = int(different[0]) // layout.num_channels
    return Proof(
        num_outside=num_outside,
        num_identical=num_outside - num_different,
        first_difference=first,
    )


def prove_samples(audio: Audio, written: Audio, encoding: SampleEncoding | None) -> Proof:
    """Compare the samples of a file with those of its source outside the edited ranges.

    Args:
        audio: what was written.
        written: the file, read again.
        encoding: what the source is rounded to before it is compared, None to compare exactly.

    Raises:
        OutputError: the file does not have the same length, rate or channels.
    """
    shape = (audio.num_channels, audio.num_samples, audio.sample_rate)
    if shape != (written.num_channels, written.num_samples, written.sample_rate):
        raise OutputError(
            f"the written file has {written.num_channels} channels, {written.num_samples} samples "
            f"and {written.sample_rate} Hz instead of {shape[0]}, {shape[1]} and {shape[2]}"
        )
    num_outside, num_identical, first, rounding = 0, 0, None, ""
    for start, stop in _between(edited_ranges(audio), audio.num_samples):
        for position in range(start, stop, BLOCK_SAMPLES):
            last = min(position + BLOCK_SAMPLES, stop)
            expected = audio.source.read(position, last)
            if encoding is not None:
                rounded = encoding.rounded(expected)
                if not rounding and not np.array_equal(rounded, expected, equal_nan=True):
                    rounding = encoding.subtype
                expected = rounded
            found = written.source.read(position, last)
            is_equal = (expected == found) | (np.isnan(expected) & np.isnan(found))
            num_outside += expected.size
            num_identical += int(np.count_nonzero(is_equal))
            if first is None and not is_equal.all():
                first = position + int(np.flatnonzero(~is_equal.all(axis=0))[0])
    return Proof(
        num_outside=num_outside,
        num_identical=num_identical,
        first_difference=first,
        rounding=rounding,
    )


def prove_edit(original: Audio, edited: Audio, ranges: list[tuple[int, int]]) -> Proof:
    """Compare two recordings of equal length outside the ranges where they may differ.

    Args:
        original: what came in.
        edited: what goes out.
        ranges: (start, stop) in samples.
    """
    num_outside, num_identical, first = 0, 0, None
    for start, stop in _between(ranges, original.num_samples):
        for position in range(start, stop, BLOCK_SAMPLES):
            last = min(position + BLOCK_SAMPLES, stop)
            is_equal = original.read(position, last) == edited.read(position, last)
            num_outside += is_equal.size
            num_identical += int(np.count_nonzero(is_equal))
            if first is None and not is_equal.all():
                first = position + int(np.flatnonzero(~is_equal.all(axis=0))[0])
    return Proof(num_outside=num_outside, num_identical=num_identical, first_difference=first)
