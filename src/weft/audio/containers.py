"""Containers: where a file keeps its samples, and what else it carries.

The parsers trust nothing: they read headers a few bytes at a time, never as many bytes as a header
claims, and raise nothing but `AudioFormatError`.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from weft.audio.audio import AudioFormat
from weft.audio.encoding import SampleEncoding
from weft.errors import AudioFormatError

MAX_CHANNELS = 64
"""Most channels a file may have."""
MAX_RATE = 1 << 24
"""Highest sample rate, in Hz; far over any converter, far below a damaged header's nonsense."""
MAX_CHUNKS = 1 << 16
"""Most chunks a file may have."""


@runtime_checkable
@runtime_checkable
class Bytes(Protocol):
    """Random access to the bytes of a file."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return up to ``num_bytes`` bytes from ``offset`` on; fewer at the end of the file."""


@final
@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A named part of a file."""

    name: str
    """Four letters as stored, or the name of a FLAC metadata block."""
    offset: int
    """First byte of its content in the file."""
    num_bytes: int
    """Bytes of content that the file holds."""


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the header of an uncompressed file says, checked against the file."""

    container: str
    """WAV, WAVEX, RF64, W64, AIFF or CAF."""
    sample_rate: int
    num_channels: int
    encoding: SampleEncoding | None
    """None if the samples are compressed."""
    codec: str
    """Name of the encoding for messages."""
    endian: str = "FILE"
    """The byte order in libsndfile's terms: FILE is the container's own."""
    data_offset: int
    """First byte of the samples."""
    data_bytes: int
    """Bytes of samples that the file holds."""
    missing_bytes: int = 0
    """Bytes that the header promises and the file does not hold."""
    chunks: tuple[Chunk, ...] = ()
    """All chunks in the order of the file, the samples' among them."""
    remarks: tuple[str, ...] = ()
    """What was not quite right, in words."""
    repairs: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    """Header fields that are wrong: where they are and what they should be."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels; 0 if compressed."""
        return self.encoding.num_bytes * self.num_channels if self.encoding else 0

    @property
    def num_samples(self) -> int:
        """Whole samples a channel that the file holds; 0 if compressed."""
        return self.data_bytes // self.frame_bytes if self.encoding else 0

    @property
    def format(self) -> AudioFormat:
        """The format in libsndfile's terms."""
        subtype = self.encoding.subtype if self.encoding else self.codec
        return AudioFormat(container=self.container, subtype=subtype, endian=self.endian)


def check_header(num_channels: int, sample_rate: int | float) -> int:
    """Return the sample rate as an integer.

    Raises:
        AudioFormatError: no channels, too many, or a rate that cannot be.

    Example:
        >>> check_header(2, 44100.0)
        44100
    """
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise AudioFormatError(
            f"its header says {num_channels} channels, 1 to {MAX_CHANNELS} can be used; the header "
            "is damaged, or the file is not sound"
        )
    if not (math.isfinite(sample_rate) and 1 <= sample_rate <= MAX_RATE):
        raise AudioFormatError(
            f"impossible sample rate: its header says {sample_rate:g} Hz, 1 to {MAX_RATE} Hz can "
            "be used; the header is damaged"
        )
    return round(sample_rate)


def half_frame_remark(layout_bytes: int, frame_bytes: int) -> tuple[str, ...]:
    """Return a remark if the data end in the middle of a frame."""
    rest = layout_bytes % frame_bytes if frame_bytes else 0
    if not rest:
        return ()
    return (
        f"the samples end in the middle of a frame: the last {rest} of {frame_bytes} bytes are "
        "not used, and are kept when the file is written",
    )


def parse(file: Bytes) -> Layout | None:
    """Return the layout of a WAV, RF64, W64, AIFF or CAF file, None for any other file.

    Args:
        file: the file's bytes.

    Raises:
        AudioFormatError: the file begins like one of these, but its header cannot be used. The
            message does not name the file.
    """
    from weft.audio import aiff, riff

    head = file.read_at(0, 40)
    if head[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64"} and head[8:12] == b"WAVE":
        return riff.parse_riff(file)
    if head[:16] == riff.W64_RIFF and head[24:40] == riff.W64_WAVE:
        return riff.parse_w64(file)
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return aiff.parse_aiff(file)
    if head[:4] == b"caff":
        return aiff.parse_caf(file)
    if len(head) < 12 and head[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"}:
        raise AudioFormatError(
            f"truncated header: the file ends after {len(head)} bytes; copy it again"
        )
    return None


def sniff(head: bytes) -> str:
    """Return what a file is by its first bytes (64 or more), whatever its name.

    Returns:
        A container (RIFF, W64, AIFF, CAF, FLAC, OGG, MP3, M4A, AAC, MATROSKA, ASF, OTHER for what
        only libsndfile knows) or, in lower case, what it is instead of audio.

    Example:
        >>> sniff(b"fLaC" + bytes(60)), sniff(b"<!DOCTYPE html><html>")
        ('FLAC', 'an HTML page')
    """
    for start, kind in _MAGICS:
        if head.startswith(start):
            return kind
    if head[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64"}:
        is_wave = head[8:12] in {b"WAVE", b""} or len(head) < 12
        return "RIFF" if is_wave else f"a RIFF file of type {head[8:12].decode('ascii', 'replace')}"
    if head[:4] == b"FORM":
        return "AIFF" if head[8:12] in {b"AIFF", b"AIFC"} or len(head) < 12 else "OTHER"
    if head[4:8] == b"ftyp":
        return "M4A"
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _sniff_mpeg(head)
    return _sniff_text(head)


_MAGICS = (
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"caff", "CAF"),
    (b"riff\x2e\x91\xcf\x11", "W64"),
    (b"ID3", "MP3"),
    (b"\x1aE\xdf\xa3", "MATROSKA"),
    (b"0&\xb2u\x8ef\xcf\x11", "ASF"),
    (b".snd", "OTHER"),
    (b"dns.", "OTHER"),
    (b"NIST_1A", "OTHER"),
    (b"Creative Voice File", "OTHER"),
    (b" paf", "OTHER"),
    (b"fap ", "OTHER"),
    (b"2BIT", "OTHER"),
    (b"\x64\xa3\x01\0", "OTHER"),
    (b"\x64\xa3\x02\0", "OTHER"),
    (b"\x64\xa3\x03\0", "OTHER"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"MThd", "a MIDI file: notes, not sound"),
    (b"\x7fELF", "a program"),
)


def _sniff_mpeg(head: bytes) -> str:
    layer, bitrate, rate = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if layer == 0 and head[1] & 0xF6 == 0xF0:
        return "AAC"
    return "MP3" if layer and bitrate != 15 and rate != 3 else "no known audio format"


def _sniff_text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head")):
        return "an HTML page"
    if start.startswith((b"#extm3u", b"ffconcat", b"[playlist]")):
        return "a playlist"
    try:
        text = head[: max(len(head) - 3, 1)].decode("utf-8")
    except UnicodeDecodeError:
        return "no known audio format"
    return (
        "text" if all(c.isprintable() or c in "\t\r\n" for c in text) else "no known audio format"
    )
