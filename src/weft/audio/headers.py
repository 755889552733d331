"""Headers of new WAV, RF64, W64, AIFF and CAF files."""

import struct

from weft.audio.audio import AudioFormat
from weft.audio.encoding import NUM_BYTES, SampleEncoding
from weft.audio.riff import GUID_TAILS, W64_RIFF, W64_TAIL, W64_WAVE
from weft.errors import OutputError

_WIDE = 0xFFFFFFFF
_MASKS = {1: 0x4, 2: 0x3, 4: 0x33, 6: 0x3F, 8: 0x63F}
_AIFF_CODECS = {
    "FLOAT": b"fl32",
    "DOUBLE": b"fl64",
    "ULAW": b"ulaw",
    "ALAW": b"alaw",
    "PCM_U8": b"raw ",
}


def make_encoding(format: AudioFormat) -> SampleEncoding:
    """Return the sample encoding of a new file of this format."""
    is_natively_big = format.container in {"AIFF", "CAF", "FLAC"}
    is_big = format.endian == "BIG" or (is_natively_big and format.endian != "LITTLE")
    return SampleEncoding(subtype=format.subtype, is_big_endian=is_big)


def make_head(
    format: AudioFormat, sample_rate: int, num_channels: int, num_samples: int, other_bytes: int
) -> tuple[bytes, bytes, AudioFormat]:
    """Return what stands before the carried chunks, what follows them, and the format as written.

    A WAV file that would be larger than 4 GiB becomes RF64.

    Args:
        format: WAV, WAVEX, RF64, W64, AIFF or CAF.
        sample_rate: in Hz.
        num_channels: audio channels.
        num_samples: samples a channel.
        other_bytes: bytes of all carried chunks, their headers and padding among them.

    Raises:
        OutputError: the container cannot hold so much.
    """
    data_bytes = num_samples * num_channels * NUM_BYTES[format.subtype]
    total = other_bytes + data_bytes + 256
    if format.container in {"WAV", "WAVEX"} and total > _WIDE:
        format = AudioFormat(container="RF64", subtype=format.subtype)
    if format.container == "AIFF" and total > _WIDE:
        raise OutputError(
            f"AIFF holds at most 4 GiB, {total / 2**30:.1f} GiB are needed; write .caf or .w64"
        )
    make = {"W64": _w64, "AIFF": _aiff, "CAF": _caf}.get(format.container, _riff)
    head, data_head = make(format, sample_rate, num_channels, num_samples, other_bytes)
    return head, data_head, format


def _format_chunk(format: AudioFormat, sample_rate: int, num_channels: int, order: str) -> bytes:
    width = NUM_BYTES[format.subtype]
    tag = {"FLOAT": 3, "DOUBLE": 3, "ALAW": 6, "ULAW": 7}.get(format.subtype, 1)
    frame = width * num_channels
    rate_bytes = min(sample_rate * frame, _WIDE)
    is_wide = format.container == "WAVEX"
    numbers = (0xFFFE if is_wide else tag, num_channels, sample_rate, rate_bytes, frame, 8 * width)
    content = struct.pack(order + "HHIIHH", *numbers)
    if is_wide:
        extra = struct.pack(order + "HHIH", 22, 8 * width, _MASKS.get(num_channels, 0), tag)
        return content + extra + GUID_TAILS[0]
    return content if tag == 1 else content + struct.pack(order + "H", 0)


def _riff(
    format: AudioFormat, sample_rate: int, num_channels: int, num_samples: int, other_bytes: int
) -> tuple[bytes, bytes]:
    order = ">" if format.endian == "BIG" else "<"
    content = _format_chunk(format, sample_rate, num_channels, order)
    chunks = struct.pack(order + "4sI", b"fmt ", len(content)) + content
    if len(content) != 16:
        chunks += struct.pack(order + "4sII", b"fact", 4, min(num_samples, _WIDE))
    data_bytes = num_samples * num_channels * NUM_BYTES[format.subtype]
    after = 8 + data_bytes + data_bytes % 2 + other_bytes
    if format.container == "RF64":
        size = 4 + 36 + len(chunks) + after
        wide = struct.pack("<4sIQQQI", b"ds64", 28, size, data_bytes, num_samples, 0)
        head = struct.pack("<4sI4s", b"RF64", _WIDE, b"WAVE") + wide + chunks
        return head, struct.pack("<4sI", b"data", _WIDE)
    magic = b"RIFX" if order == ">" else b"RIFF"
    head = struct.pack(order + "4sI4s", magic, 4 + len(chunks) + after, b"WAVE") + chunks
    return head, struct.pack(order + "4sI", b"data", data_bytes)


def _w64(
    format: AudioFormat, sample_rate: int, num_channels: int, num_samples: int, other_bytes: int
) -> tuple[bytes, bytes]:
    content = _format_chunk(format, sample_rate, num_channels, "<")
    padded = content + bytes(-len(content) % 8)
    data_bytes = num_samples * num_channels * NUM_BYTES[format.subtype]
    chunks = b"fmt " + W64_TAIL + struct.pack("<Q", 24 + len(content)) + padded
    total = 40 + len(chunks) + 24 + data_bytes
    head = W64_RIFF + struct.pack("<Q", total) + W64_WAVE + chunks
    return head, b"data" + W64_TAIL + struct.pack("<Q", 24 + data_bytes)


def _aiff(
    format: AudioFormat, sample_rate: int, num_channels: int, num_samples: int, other_bytes: int
) -> tuple[bytes, bytes]:
    codec = _AIFF_CODECS.get(format.subtype, b"sowt" if format.endian == "LITTLE" else b"")
    width = NUM_BYTES[format.subtype]
    exponent = sample_rate.bit_length() - 1
    rate = struct.pack(">HQ", 16383 + exponent, sample_rate << 63 - exponent)
    common = struct.pack(">HIH", num_channels, num_samples, 8 * width) + rate
    chunks = b""
    if codec:
        chunks = struct.pack(">4sII", b"FVER", 4, 0xA2805140)
        common += codec + b"\0\0"
    chunks += struct.pack(">4sI", b"COMM", len(common)) + common
    data_bytes = num_samples * num_channels * width
    total = 4 + len(chunks) + 16 + data_bytes + data_bytes % 2 + other_bytes
    head = struct.pack(">4sI4s", b"FORM", total, b"AIFC" if codec else b"AIFF") + chunks
    return head, struct.pack(">4sIII", b"SSND", 8 + data_bytes, 0, 0)


def _caf(
    format: AudioFormat, sample_rate: int, num_channels: int, num_samples: int, other_bytes: int
) -> tuple[bytes, bytes]:
    width = NUM_BYTES[format.subtype]
    codec = {"ULAW": b"ulaw", "ALAW": b"alaw"}.get(format.subtype, b"lpcm")
    flags = format.is_float | (2 if format.endian == "LITTLE" else 0)
    numbers = (flags, width * num_channels, 1, num_channels, 8 * width)
    content = struct.pack(">d4sIIIII", sample_rate, codec, *numbers)
    head = struct.pack(">4sHH4sQ", b"caff", 1, 0, b"desc", len(content)) + content
    data_bytes = num_samples * num_channels * width
    return head, struct.pack(">4sQI", b"data", 4 + data_bytes, 0)
