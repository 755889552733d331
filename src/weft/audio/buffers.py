"""Room for samples: in memory, or in a temporary file where there are many of them."""

import mmap
import os
import tempfile

import numpy as np

from weft.errors import OutputError
from weft.shapes import Samples

SPILL_BYTES = 1 << 26
"""Buffers larger than this (64 MB: 95 s of stereo at 44.1 kHz) stand in a temporary file."""


def new_samples(num_channels: int, num_samples: int) -> Samples:
    """Return zeros that can be written to; many of them stand in a nameless temporary file.

    Its pages are the system's to write out and to drop, so that an edit of any length fits in
    little memory. The file vanishes with the last array that shows it.

    Raises:
        OutputError: there is no room for the file.

    Example:
        >>> new_samples(2, 3).tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    num_bytes = 8 * num_channels * num_samples
    if num_bytes <= SPILL_BYTES:
        return np.zeros((num_channels, num_samples))
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(prefix="weft-") as file:
            if "posix_fallocate" in dir(os):  # a full disk is an error here, and a crash later
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            return np.memmap(file, np.float64, "w+", shape=(num_channels, num_samples))
    except OSError as error:
        raise OutputError(
            f"{folder}: no room for {num_bytes:,} bytes of samples ({error.strerror}); free space "
            "there, name another directory in TMPDIR, or edit a shorter region"
        ) from None


def release(samples: np.ndarray) -> None:
    """Let the system have the pages of a buffer in a file back; what they hold stays in the file.

    Does nothing to arrays in memory.
    """
    held: object = samples
    while isinstance(held, np.ndarray):
        held = held.base
    if isinstance(held, mmap.mmap) and "MADV_DONTNEED" in dir(mmap) and not held.closed:
        held.madvise(mmap.MADV_DONTNEED)
