"""Audio: recorded sound, and edits laid over it."""

import abc
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float

from weft.audio.buffers import release
from weft.errors import ShapeError
from weft.shapes import Samples

if TYPE_CHECKING:
    from weft.audio.write import Written

BLOCK_SAMPLES = 1 << 18
"""Samples a channel that streaming code holds at a time (6 s at 44.1 kHz)."""


LOSSY_CONTAINERS = {"OGG", "MP3", "MPEG", "M4A", "AAC", "MATROSKA", "ASF"}
LOSSY_SUBTYPES = {
    "VORBIS",
    "OPUS",
    "MPEG_LAYER_I",
    "MPEG_LAYER_II",
    "MPEG_LAYER_III",
    "AAC",
    "IMA_ADPCM",
    "MS_ADPCM",
    "VOX_ADPCM",
    "NMS_ADPCM_16",
    "NMS_ADPCM_24",
    "NMS_ADPCM_32",
    "GSM610",
    "G721_32",
    "G723_24",
    "G723_40",
}


@final
@dataclass(frozen=True, kw_only=True)
class AudioFormat:
    """How samples are stored in a file, in libsndfile's terms."""

    container: str = "WAV"
    """Major format: WAV, WAVEX, RF64, W64, AIFF, CAF, FLAC, OGG, MP3 …"""
    subtype: str = "FLOAT"
    """Sample encoding: PCM_16, PCM_24, PCM_32, PCM_U8, FLOAT, DOUBLE, VORBIS …"""
    endian: str = "FILE"
    """FILE (the container's own), LITTLE or BIG."""

    @property
    def is_lossy(self) -> bool:
        """Whether decoding and encoding again changes samples."""
        return self.container in LOSSY_CONTAINERS or self.subtype in LOSSY_SUBTYPES

    @property
    def is_float(self) -> bool:
        """Whether values beyond full scale survive."""
        return self.subtype in {"FLOAT", "DOUBLE"}


class Source(abc.ABC):
    """Where samples come from: memory or a file (interface)."""

    @property
    @abc.abstractmethod
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    @abc.abstractmethod
    def num_channels(self) -> int:
        """Audio channels, >= 1."""

    @property
    @abc.abstractmethod
    def num_samples(self) -> int:
        """Samples a channel, >= 0."""

    @property
    @abc.abstractmethod
    def format(self) -> AudioFormat:
        """How the samples are, or should be, stored."""

    @property
    @abc.abstractmethod
    def path(self) -> Path | None:
        """The file behind the source, if there is one."""

    @abc.abstractmethod
    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop), a new array; 0 <= start <= stop <= num_samples."""


@final
class ArraySource(Source):
    """Samples in memory."""

    def __init__(self, samples: Samples, sample_rate: int, format: AudioFormat) -> None:
        self._samples = samples
        self._sample_rate = sample_rate
        self._format = format

    @property
    def sample_rate(self) -> int:
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        return int(self._samples.shape[0])

    @property
    def num_samples(self) -> int:
        return int(self._samples.shape[1])

    @property
    def format(self) -> AudioFormat:
        return self._format

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, stop: int) -> Samples:
        samples = self._samples[:, start:stop].copy()
        release(self._samples)
        return samples


@final
@dataclass(frozen=True, kw_only=True)
class Patch:
    """Samples that replace those of a source from ``start`` on."""

    start: int
    """First sample replaced."""
    samples: Float[np.ndarray, "c g"]
    """The new samples."""

    @property
    def stop(self) -> int:
        """One past the last sample replaced."""
        return self.start + int(self.samples.shape[1])


@final
class Audio:
    """Recorded sound: a source, and patches laid over it.

    An ``Audio`` never changes. An edit is a new ``Audio`` over the same source, so samples outside
    the patches are the source's samples by construction, whatever the length of the file, and
    `write` copies them as they are stored.

    Example:
        >>> import numpy as np
        >>> tone = Audio.from_samples(np.zeros((1, 8)), 8000)
        >>> edited = tone.patched([Patch(start=2, samples=np.ones((1, 3)))])
        >>> edited.samples[0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, source: Source, patches: Iterable[Patch] = ()) -> None:
        """Lay ``patches`` over ``source``; later patches win where they overlap.

        Raises:
            ShapeError: a patch has other channels than the source or reaches outside it.
        """
        self.source = source
        self.patches = tuple(patches)
        self._is_sorted = all(a.stop <= b.start for a, b in pairwise(self.patches))
        for patch in self.patches:
            if patch.samples.shape[0] != source.num_channels:
                raise ShapeError(
                    f"a patch has {patch.samples.shape[0]} channels, "
                    f"the recording has {source.num_channels}"
                )
            if patch.start < 0 or patch.stop > source.num_samples:
                raise ShapeError(
                    f"a patch covers samples {patch.start}-{patch.stop}, "
                    f"the recording has {source.num_samples}"
                )

    @classmethod
    def from_samples(
        cls, samples: np.ndarray, sample_rate: int, *, format: AudioFormat | None = None
    ) -> "Audio":
        """Wrap samples in memory.

        Args:
            samples: ``c n`` or ``n``, any float type; full scale is 1. Copied.
            sample_rate: samples per second, > 0.
            format: how `write` stores them by default; 32-bit float WAV unless told.

        Raises:
            ShapeError: not one or two axes, no channel, or more than 256 channels (then the axes
                are most likely the wrong way round).
        """
        array = np.array(samples, dtype=np.float64, ndmin=2)
        if array.ndim != 2 or not 1 <= array.shape[0] <= 256:
            raise ShapeError(
                f"samples must be (channels, samples) with 1 to 256 channels, got {samples.shape}; "
                "transpose arrays of shape (samples, channels)"
            )
        if sample_rate <= 0:
            raise ShapeError(f"sample_rate must be > 0, got {sample_rate}")
        return cls(ArraySource(array, int(sample_rate), format or AudioFormat()))

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.source.sample_rate

    @property
    def num_channels(self) -> int:
        """Audio channels."""
        return self.source.num_channels

    @property
    def num_samples(self) -> int:
        """Samples a channel."""
        return self.source.num_samples

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def format(self) -> AudioFormat:
        """How `write` stores the samples unless told otherwise."""
        return self.source.format

    @property
    def path(self) -> Path | None:
        """The file it was read from, if any."""
        return self.source.path

    @property
    def samples(self) -> Samples:
        """All samples, a new array; use `read` or `blocks` for long files."""
        return self.read()

    def read(self, start: int = 0, stop: int | None = None) -> Samples:
        """Return samples [start, stop) as a new ``c n`` array; only these are read from the file.

        Raises:
            ShapeError: the range is empty-reversed or reaches outside the recording.
        """
        stop = self.num_samples if stop is None else stop
        if not 0 <= start <= stop <= self.num_samples:
            raise ShapeError(
                f"samples {start}-{stop} asked for, the recording has 0-{self.num_samples}"
            )
        samples = self.source.read(start, stop)
        for patch in self._patches_in(start, stop):
            first, last = max(start, patch.start), min(stop, patch.stop)
            if first < last:
                samples[:, first - start : last - start] = patch.samples[
                    :, first - patch.start : last - patch.start
                ]
                release(patch.samples)
        return samples

    def _patches_in(self, start: int, stop: int) -> tuple[Patch, ...]:
        """Return the patches that touch a range, found by bisection where they are in order."""
        if not self._is_sorted:
            return self.patches
        first = bisect_right(self.patches, start, key=lambda patch: patch.stop)
        last = bisect_left(self.patches, stop, key=lambda patch: patch.start)
        return self.patches[first:last]

    def blocks(self, num_samples: int = BLOCK_SAMPLES) -> Iterator[tuple[int, Samples]]:
        """Yield (start, samples) over the whole recording in constant memory."""
        for start in range(0, self.num_samples, num_samples):
            yield start, self.read(start, min(start + num_samples, self.num_samples))

    def patched(self, patches: Iterable[Patch]) -> "Audio":
        """Return this audio with further patches on top."""
        new = sorted(patches, key=lambda patch: patch.start)
        return Audio(self.source, (*self.patches, *new))

    def write(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        format: AudioFormat | None = None,
    ) -> "Written":
        """Write to a file, atomically, in the source's format unless told otherwise.

        See `weft.audio.write.write_audio`, which this calls.
        """
        from weft.audio.write import write_audio

        return write_audio(self, Path(path), overwrite=overwrite, format=format)

    def __repr__(self) -> str:
        where = f" from {self.path.name}" if self.path else ""
        edits = f", {len(self.patches)} patches" if self.patches else ""
        return (
            f"Audio({self.duration_s:.3f} s, {self.num_channels} channels, "
            f"{self.sample_rate} Hz{where}{edits})"
        )
