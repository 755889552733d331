"""Sample encodings: the bytes of a file and the numbers they stand for, exactly."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError
from weft.shapes import Samples

NUM_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
"""Bytes a sample, for every encoding that stores samples one by one."""


@final
@dataclass(frozen=True, kw_only=True)
class SampleEncoding:
    """How one sample is stored: libsndfile's subtype, byte order and significant bits.

    Integers are scaled by 2^(bits - 1), so that every one of them is a float64 exactly.

    Example:
        >>> pcm = SampleEncoding(subtype="PCM_16")
        >>> stored, num_clipped = pcm.encode(np.array([[0.5, -1.0, 2.0]]))
        >>> stored.hex(), num_clipped
        ('00400080ff7f', 1)
        >>> pcm.decode(stored, 1).tolist()
        [[0.5, -1.0, 0.999969482421875]]
    """

    subtype: str
    """A key of `NUM_BYTES`."""
    is_big_endian: bool = False
    """Whether the first byte holds the highest bits."""
    num_bits: int = 0
    """Significant bits of an integer, stored left-justified; 0 stands for all of its bytes."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: an unknown subtype, or more significant bits than are stored.
        """
        if self.subtype not in NUM_BYTES:
            raise ConfigError(f"subtype must be one of {', '.join(NUM_BYTES)}, got {self.subtype}")
        if not 0 <= self.num_bits <= 8 * self.num_bytes:
            raise ConfigError(
                f"num_bits must be in 0-{8 * self.num_bytes} for {self.subtype}, "
                f"got {self.num_bits}"
            )

    @property
    def num_bytes(self) -> int:
        """Bytes a sample of one channel."""
        return NUM_BYTES[self.subtype]

    @property
    def is_float(self) -> bool:
        """Whether NaN, infinity and values beyond full scale can be stored."""
        return self.subtype in {"FLOAT", "DOUBLE"}

    def decode(self, stored: bytes, num_channels: int) -> Samples:
        """Return the samples stored in interleaved ``stored``; a rest below a frame is left out.

        Args:
            stored: bytes as in the file.
            num_channels: channels interleaved, >= 1.
        """
        num_samples = len(stored) // (self.num_bytes * num_channels)
        count = num_samples * num_channels
        order = ">" if self.is_big_endian else "<"
        samples = np.empty((num_channels, num_samples))
        if self.subtype in {"ULAW", "ALAW"}:
            codes = np.frombuffer(stored, np.uint8, count).reshape(num_samples, num_channels)
            samples[:] = _companding_table(self.subtype)[codes].T
        elif self.is_float:
            values = np.frombuffer(stored, f"{order}f{self.num_bytes}", count)
            samples[:] = values.reshape(num_samples, num_channels).T
        else:
            integers, scale = self._integers(stored, count, order)
            np.multiply(integers.reshape(num_samples, num_channels).T, scale, out=samples)
            if self.subtype == "PCM_U8":
                samples -= 1
        return samples

    def _integers(self, stored: bytes, count: int, order: str) -> tuple[np.ndarray, float]:
        if self.subtype == "PCM_24":
            wide = np.zeros((count, 4), np.uint8)
            three = np.frombuffer(stored, np.uint8, 3 * count).reshape(count, 3)
            wide[:, 0:3] = three if self.is_big_endian else three[:, ::-1]
            return wide.view(">i4")[:, 0], 2.0**-31
        kind = "u1" if self.subtype == "PCM_U8" else f"i{self.num_bytes}"
        return np.frombuffer(stored, order + kind, count), 2.0 ** (1 - 8 * self.num_bytes)

    def encode(self, samples: Samples) -> tuple[bytes, int]:
        """Return interleaved bytes, and how many samples were clipped to full scale.

        Integers are rounded to nearest, without dither. Floats beyond the range of the type do not
        occur in sound and are not looked for.
        """
        order = ">" if self.is_big_endian else "<"
        frames = samples.T
        if self.is_float:
            return frames.astype(f"{order}f{self.num_bytes}").tobytes(), 0
        if self.subtype in {"ULAW", "ALAW"}:
            return self._encode_companded(frames)
        bits = 8 * self.num_bytes
        step = 2.0 ** (bits - (self.num_bits or bits))
        full = 2.0 ** (bits - 1)
        scaled = np.rint(frames * (full / step)) * step
        low, high = -full, full - step
        num_clipped = int(np.count_nonzero((scaled < low) | (scaled > high)))
        np.clip(scaled, low, high, out=scaled)
        if self.subtype == "PCM_U8":
            return (scaled + 128).astype(np.uint8).tobytes(), num_clipped
        if self.subtype == "PCM_24":
            quads = np.ascontiguousarray(scaled.astype(f"{order}i4")).view(np.uint8)
            quads = quads.reshape(-1, 4)
            return (quads[:, 1:] if self.is_big_endian else quads[:, :3]).tobytes(), num_clipped
        return scaled.astype(f"{order}i{self.num_bytes}").tobytes(), num_clipped

    def _encode_companded(self, frames: Float[np.ndarray, "n c"]) -> tuple[bytes, int]:
        table = _companding_table(self.subtype)
        codes = np.argsort(table, kind="stable")
        levels = table[codes]
        nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, frames)
        step = levels[-1] - levels[-2]
        num_clipped = int(np.count_nonzero(np.abs(frames) > levels[-1] + step / 2))
        return codes[nearest].astype(np.uint8).tobytes(), num_clipped

    def rounded(self, samples: Samples) -> Samples:
        """Return the samples as they come back from a file of this encoding."""
        return self.decode(self.encode(samples)[0], samples.shape[0])


@lru_cache(maxsize=2)
def _companding_table(subtype: str) -> Float[np.ndarray, "256"]:
    """Return the value of each of the 256 codes.

    Source: ITU-T G.711, tables 1a and 2a, in the 16-bit scaling that is usual in files.
    """
    codes = np.arange(256)
    if subtype == "ULAW":
        inverted = ~codes & 0xFF
        magnitude = ((((inverted & 0x0F) << 3) + 0x84) << ((inverted & 0x70) >> 4)) - 0x84
        values = np.where(inverted & 0x80, -magnitude, magnitude)
    else:
        toggled = codes ^ 0x55
        exponent = (toggled & 0x70) >> 4
        mantissa = ((toggled & 0x0F) << 4) + np.where(exponent > 0, 0x108, 8)
        magnitude = mantissa << np.maximum(exponent - 1, 0)
        values = np.where(toggled & 0x80, magnitude, -magnitude)
    table: np.ndarray = values / 2.0**15
    table.setflags(write=False)
    return table
