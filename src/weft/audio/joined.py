"""Recordings made of others: one after another, one into another, silence. Nothing is copied."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import final

import numpy as np

from weft.audio.audio import Audio, AudioFormat, Source
from weft.audio.fades import constant_power_gains
from weft.errors import ShapeError
from weft.shapes import Samples


@final
class SilentSource(Source):
    """Zeros, as many as are wanted."""

    def __init__(
        self, num_channels: int, num_samples: int, sample_rate: int, format: AudioFormat
    ) -> None:
        """Make silence.

        Raises:
            ShapeError: no channel, a negative length, or a rate that is not positive.
        """
        if num_channels < 1 or num_samples < 0 or sample_rate < 1:
            raise ShapeError(
                f"silence needs >= 1 channels, >= 0 samples and >= 1 Hz, got {num_channels}, "
                f"{num_samples} and {sample_rate}"
            )
        self._num_channels = num_channels
        self._num_samples = num_samples
        self._sample_rate = sample_rate
        self._format = format

    @property
    def sample_rate(self) -> int:
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        return self._num_channels

    @property
    def num_samples(self) -> int:
        return self._num_samples

    @property
    def format(self) -> AudioFormat:
        return self._format

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, stop: int) -> Samples:
        return np.zeros((self._num_channels, stop - start))


@final
class PartSource(Source):
    """A stretch of a recording."""

    def __init__(self, audio: Audio, start: int, stop: int) -> None:
        """Show samples [start, stop) of ``audio``.

        Raises:
            ShapeError: the range reaches outside the recording.
        """
        if not 0 <= start <= stop <= audio.num_samples:
            raise ShapeError(
                f"samples {start}-{stop} asked for, the recording has 0-{audio.num_samples}"
            )
        self._audio = audio
        self._start = start
        self._num_samples = stop - start

    @property
    def sample_rate(self) -> int:
        return self._audio.sample_rate

    @property
    def num_channels(self) -> int:
        return self._audio.num_channels

    @property
    def num_samples(self) -> int:
        return self._num_samples

    @property
    def format(self) -> AudioFormat:
        return self._audio.format

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, stop: int) -> Samples:
        return self._audio.read(self._start + start, self._start + stop)


@final
class CrossfadeSource(Source):
    """One recording that gives way to another of the same length, at constant power."""

    def __init__(self, falling: Source, rising: Source) -> None:
        """Fade from ``falling`` to ``rising`` over their whole length; formats as ``falling``.

        Raises:
            ShapeError: they differ in length, rate or channels.
        """
        check_alike((falling, rising))
        if falling.num_samples != rising.num_samples:
            raise ShapeError(
                f"a cross-fade needs two sounds of equal length, got {falling.num_samples} and "
                f"{rising.num_samples} samples"
            )
        self._falling = falling
        self._rising = rising

    @property
    def sample_rate(self) -> int:
        return self._falling.sample_rate

    @property
    def num_channels(self) -> int:
        return self._falling.num_channels

    @property
    def num_samples(self) -> int:
        return self._falling.num_samples

    @property
    def format(self) -> AudioFormat:
        return self._falling.format

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, stop: int) -> Samples:
        falling, rising = constant_power_gains(self.num_samples, start, stop)
        return self._falling.read(start, stop) * falling + self._rising.read(start, stop) * rising


@final
class JoinedSource(Source):
    """Several sources, one after another; stored as the first of them."""

    def __init__(self, parts: Sequence[Source], *, format: AudioFormat | None = None) -> None:
        """Join sources.

        Args:
            parts: at least one; those without samples are left out.
            format: how to store them; as the first part unless told.

        Raises:
            ShapeError: no part, or parts of different rates or channels.
        """
        check_alike(parts)
        self._format = format or parts[0].format
        self._sample_rate = parts[0].sample_rate
        self._num_channels = parts[0].num_channels
        self._parts = [part for part in parts if part.num_samples]
        self._edges = [0, *accumulate(part.num_samples for part in self._parts)]

    @property
    def sample_rate(self) -> int:
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        return self._num_channels

    @property
    def num_samples(self) -> int:
        return self._edges[-1]

    @property
    def format(self) -> AudioFormat:
        return self._format

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, stop: int) -> Samples:
        samples = np.empty((self._num_channels, stop - start))
        position = start
        for i in range(max(0, bisect_right(self._edges, start) - 1), len(self._parts)):
            first, last = self._edges[i], self._edges[i + 1]
            if position >= stop:
                break
            until = min(last, stop)
            samples[:, position - start : until - start] = self._parts[i].read(
                position - first, until - first
            )
            position = until
        return samples


def check_alike(parts: Sequence[Source]) -> None:
    """Raise unless all parts have the rate and the channels of the first, and there is one.

    Raises:
        ShapeError: see above.
    """
    if not parts:
        raise ShapeError("nothing to join: give at least one recording")
    for one, other in pairwise(parts):
        if (one.sample_rate, one.num_channels) != (other.sample_rate, other.num_channels):
            raise ShapeError(
                f"recordings of {one.num_channels} channels at {one.sample_rate} Hz and "
                f"{other.num_channels} at {other.sample_rate} Hz cannot be joined; convert one"
            )
