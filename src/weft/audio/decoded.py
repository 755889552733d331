"""Compressed files: through libsndfile, or through the ffmpeg program."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, final, runtime_checkable

import numpy as np

from weft.audio.audio import BLOCK_SAMPLES
from weft.audio.encoding import SampleEncoding
from weft.audio.flac import FlacHeader, count_bytes
from weft.audio.handle import FileHandle, PatchedFile, scratch_error, scratch_file
from weft.errors import AudioFormatError, MissingDependencyError
from weft.shapes import Samples

if TYPE_CHECKING:
    import soundfile

FFMPEG_DEMUXERS = {"M4A": "mov", "AAC": "aac", "MATROSKA": "matroska", "ASF": "asf", "MP3": "mp3"}
"""The formats that are given to ffmpeg, and what it must take them for."""
FFMPEG_TIMEOUT_S = 3600.0

_SUBTYPE_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "ALAC_16": 16,
    "ULAW": 16,
    "ALAW": 16,
    "IMA_ADPCM": 16,
    "MS_ADPCM": 16,
    "GSM610": 16,
    "DWVW_16": 16,
    "DWVW_12": 16,
    "ALAC_20": 32,
    "ALAC_24": 32,
    "ALAC_32": 32,
    "PCM_24": 32,
    "PCM_32": 32,
    "DWVW_24": 32,
}


@runtime_checkable
class SampleReader(Protocol):
    """Something that returns any range of samples, the same whatever was read before."""

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop)."""


@final
class StoredReader:
    """Reads samples that are stored one by one."""

    def __init__(
        self, handle: FileHandle, offset: int, encoding: SampleEncoding, num_channels: int
    ) -> None:
        self._handle = handle
        self._offset = offset
        self._encoding = encoding
        self._num_channels = num_channels

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop)."""
        frame = self._encoding.num_bytes * self._num_channels
        stored = self._handle.read_at(self._offset + start * frame, (stop - start) * frame)
        if len(stored) != (stop - start) * frame:
            raise AudioFormatError(
                f"the file became shorter while it was read: samples {start}-{stop} are gone; "
                "let the other program finish, then start again"
            )
        return self._encoding.decode(stored, self._num_channels)


@final
class FlacReader:
    """Decodes ranges of a FLAC file, which seeks to the exact sample."""

    def __init__(self, handle: FileHandle, header: FlacHeader, num_samples: int) -> None:
        self._handle = handle
        self._header = header
        self._num_samples = num_samples
        self._file: soundfile.SoundFile | None = None
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop)."""
        samples = np.empty((self._header.num_channels, stop - start))
        with self._lock:
            for first in range(start, stop, BLOCK_SAMPLES):
                last = min(first + BLOCK_SAMPLES, stop)
                samples[:, first - start : last - start] = self._read_block(first, last)
        return samples

    def _read_block(self, start: int, stop: int) -> Samples:
        import soundfile

        try:
            if self._file is None:
                self._file = soundfile.SoundFile(self._stream())
            if self._file.tell() != start:
                self._file.seek(start)
            block = self._file.read(stop - start, dtype="int32", always_2d=True)
        except soundfile.SoundFileError as error:
            self._file = None  # libFLAC does not recover from an error
            raise AudioFormatError(
                f"samples {start}-{stop} of {self._num_samples} cannot be decoded ({error}); the "
                "file is damaged there"
            ) from None
        if len(block) != stop - start:
            self._file = None
            raise AudioFormatError(
                f"samples {start + len(block)}-{stop} of {self._num_samples} are missing; the file "
                "is damaged there"
            )
        return block.T * 2.0**-31

    def _stream(self) -> PatchedFile:
        """Return the file with the true number of samples in its header."""
        count = count_bytes(self._header, self._num_samples)
        return PatchedFile(self._handle, self._header.count_offset, count)


@final
class Decoded:
    """A compressed file decoded once, from its first sample to its last, to a nameless file."""

    def __init__(
        self, scratch: BinaryIO, encoding: SampleEncoding, num_channels: int, offset: int = 0
    ) -> None:
        handle = FileHandle(os.dup(scratch.fileno()))
        self.num_samples = (handle.size - offset) // (encoding.num_bytes * num_channels)
        self.reader: SampleReader = StoredReader(handle, offset, encoding, num_channels)


@contextmanager
def sndfile(handle: FileHandle) -> "Iterator[soundfile.SoundFile]":
    """Open a file with libsndfile.

    Raises:
        AudioFormatError: libsndfile cannot read it.
    """
    import soundfile

    try:
        with soundfile.SoundFile(PatchedFile(handle)) as opened:
            yield opened
    except soundfile.SoundFileError as error:
        message = str(error).rstrip(".").split(">: ")[-1]
        if "does not exist" in message:  # what libsndfile says when it finds no MPEG frame
            message = "it begins like audio, but is damaged or something else"
        raise AudioFormatError(
            f"libsndfile cannot decode it ({message}); WAV, RF64, W64, AIFF, CAF, "
            "FLAC, OGG and MP3 can be read; convert the file to one of these"
        ) from None


def decode_with_sndfile(opened: "soundfile.SoundFile") -> Decoded:
    """Decode all samples of an open file in constant memory.

    Seeking in OGG and MP3 gives samples that differ from those of a straight run, so there is none.

    Raises:
        OutputError: the temporary directory cannot hold the samples.
    """
    bits = _SUBTYPE_BITS.get(opened.subtype, 0)
    dtype = f"int{bits}" if bits > 8 else "int16" if bits else "float32"
    subtype = "FLOAT" if not bits else "PCM_32" if bits == 32 else "PCM_16"
    if opened.subtype == "DOUBLE":
        dtype, subtype = "float64", "DOUBLE"
    with scratch_file() as scratch:
        try:
            while True:
                block = opened.read(BLOCK_SAMPLES // 4, dtype=dtype, always_2d=True)
                scratch.write(block.astype(block.dtype.newbyteorder("<")).tobytes())
                if len(block) < BLOCK_SAMPLES // 4:
                    break
            scratch.flush()
        except OSError as error:
            raise scratch_error(error) from None
        return Decoded(scratch, SampleEncoding(subtype=subtype), opened.channels)


def decode_with_ffmpeg(handle: FileHandle, path: str, kind: str) -> BinaryIO:
    """Decode with the ffmpeg program to a nameless 32-bit float WAV file.

    The program is told what the format is, and may open no address and no other file.

    Args:
        handle: the file.
        path: its path.
        kind: a key of `FFMPEG_DEMUXERS`.

    Raises:
        MissingDependencyError: there is no ffmpeg.
        AudioFormatError: ffmpeg cannot decode the file.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise MissingDependencyError(
            f"{kind} files are decoded by the program ffmpeg, which was not found; install it (for "
            "example: apt install ffmpeg, or brew install ffmpeg), or convert the file to WAV"
        )
    command = [program, "-nostdin", "-hide_banner", "-v", "error"]
    command += ["-protocol_whitelist", "file,pipe", "-f", FFMPEG_DEMUXERS[kind]]
    command += ["-i", f"file:{os.path.abspath(path)}", "-map", "0:a:0", "-vn", "-sn", "-dn"]
    command += ["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    scratch = scratch_file()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=scratch,
            stderr=subprocess.PIPE,
            timeout=FFMPEG_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        scratch.close()
        raise AudioFormatError(
            f"ffmpeg did not finish in {FFMPEG_TIMEOUT_S:g} s; convert the file to WAV first"
        ) from None
    except BaseException:
        scratch.close()
        raise
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode or os.fstat(scratch.fileno()).st_size == 0:
        scratch.close()
        raise AudioFormatError(
            f"ffmpeg cannot decode it ({said[-1] if said else f'status {done.returncode}'}); "
            "the file is damaged or protected"
        )
    return scratch
