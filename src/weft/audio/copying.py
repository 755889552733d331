"""Bytes into files: copying, replacing, counting what was clipped."""

import errno
import os
import warnings
from pathlib import Path
from typing import BinaryIO, final

import numpy as np

from weft.audio.encoding import SampleEncoding
from weft.audio.handle import FileHandle, shown
from weft.errors import ClippingWarning, OutputError
from weft.shapes import Samples

_COPY_BYTES = 1 << 22
_NOT_IN_KERNEL = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EBADF,
    errno.EPERM,
}


@final
class Clipping:
    """Encodes samples, and remembers how many were clipped and the highest level seen."""

    def __init__(self) -> None:
        self.num_clipped = 0
        self.peak = 0.0

    def encode(self, encoding: SampleEncoding, samples: Samples) -> bytes:
        """Return the samples as stored.

        Raises:
            OutputError: a sample that is not finite cannot be stored as an integer.
        """
        if not encoding.is_float and not np.isfinite(samples).all():
            raise OutputError(
                f"NaN and infinite samples cannot be stored as {encoding.subtype}; write 32-bit "
                "float WAV, or repair them first"
            )
        stored, num_clipped = encoding.encode(samples)
        if num_clipped:
            self.num_clipped += num_clipped
            self.peak = max(self.peak, float(np.abs(samples).max()))
        return stored

    def warn(self, path: Path, stacklevel: int) -> None:
        """Warn if anything was clipped."""
        if self.num_clipped:
            warnings.warn(
                f"{shown(path)}: {self.num_clipped} samples were clipped to full scale, the peak "
                f"is {20 * np.log10(self.peak):+.2f} dB; write 32-bit float WAV to keep it",
                ClippingWarning,
                stacklevel=stacklevel + 1,
            )


def write_all(file: BinaryIO, content: bytes) -> None:
    """Write all bytes to an unbuffered file."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def write_at(file: BinaryIO, offset: int, content: bytes) -> None:
    """Replace bytes of an unbuffered file."""
    file.seek(offset)
    write_all(file, content)


def copy_range(source: FileHandle, offset: int, num_bytes: int, target: BinaryIO) -> None:
    """Append bytes of ``source`` to an unbuffered file, inside the kernel where that works.

    Raises:
        OutputError: the source became shorter meanwhile.
    """
    copy_in_kernel = getattr(os, "copy_file_range", None)
    stop = offset + num_bytes
    while copy_in_kernel is not None and offset < stop:
        count = min(stop - offset, 1 << 30)
        try:
            copied = copy_in_kernel(source.descriptor, target.fileno(), count, offset)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
            break
        if not copied:
            break
        offset += copied
    while offset < stop:
        content = source.read_at(offset, min(_COPY_BYTES, stop - offset))
        if not content:
            raise OutputError("the source became shorter while it was copied; start again")
        write_all(target, content)
        offset += len(content)
