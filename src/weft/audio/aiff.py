"""AIFF, AIFF-C and CAF headers."""

import struct
from fractions import Fraction

from weft.audio.containers import (
    MAX_CHUNKS,
    MAX_RATE,
    Bytes,
    Chunk,
    Layout,
    check_header,
    half_frame_remark,
)
from weft.audio.encoding import SampleEncoding
from weft.audio.riff import is_streamed
from weft.errors import AudioFormatError

_SWAPPED = {b"sowt", b"42ni", b"42n1", b"23ni"}
"""Codecs with the lowest byte first; libsndfile spells one of them with a digit."""
_PCM = {1: "PCM_S8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}


def parse_aiff(file: Bytes) -> Layout:
    """Return the layout of an AIFF or AIFF-C file.

    Raises:
        AudioFormatError: the format or the samples cannot be found.
    """
    chunks, remarks, claims = _walk(file, 12, ">4sI", pads=True)
    common = next((chunk for chunk in chunks if chunk.name == "COMM"), None)
    sound = next((chunk for chunk in chunks if chunk.name == "SSND"), None)
    if common is None or common.num_bytes < 18:
        raise AudioFormatError("truncated or damaged header: no COMM chunk; copy the file again")
    content = file.read_at(common.offset, min(common.num_bytes, 22))
    channels, num_samples, bits = struct.unpack(">HIH", content[:8])
    sample_rate = check_header(channels, _extended(content[8:18]))
    is_compressed = file.read_at(8, 4) == b"AIFC" and len(content) >= 22
    codec = content[18:22] if is_compressed else b"NONE"
    encoding = _aiff_encoding(codec, bits)
    if sound is None and num_samples:
        raise AudioFormatError(
            f"no samples: the header says {num_samples}, but there is no SSND chunk in the file's "
            f"{file.size} bytes; it was cut off; copy it again"
        )
    skip = 8
    if sound is not None and sound.num_bytes >= 8:
        skip += struct.unpack(">I", file.read_at(sound.offset, 4))[0]
    data_offset = sound.offset + min(skip, sound.num_bytes) if sound else file.size
    held = sound.num_bytes - min(skip, sound.num_bytes) if sound else 0
    missing, frame = 0, encoding.num_bytes * channels if encoding else 0
    if encoding:
        held, missing, remark = _aiff_length(held, num_samples * frame, frame)
        remarks += [remark] if remark else []
    if sound is not None and claims["SSND"] > sound.num_bytes and not is_streamed(claims["SSND"]):
        missing = max(missing, claims["SSND"] - sound.num_bytes)
    return Layout(
        container="AIFF",
        sample_rate=sample_rate,
        num_channels=channels,
        encoding=encoding,
        codec=encoding.subtype if encoding else f"codec {codec.decode('ascii', 'replace')!r}",
        endian="LITTLE" if encoding and codec in _SWAPPED else "FILE",
        data_offset=data_offset,
        data_bytes=held,
        missing_bytes=missing,
        chunks=tuple(chunks),
        remarks=tuple(remarks) + half_frame_remark(held, frame),
    )


def _aiff_length(held: int, claim: int, frame: int) -> tuple[int, int, str]:
    """Return the bytes of samples, how many are missing, and a remark."""
    if claim <= held:
        if claim == 0 and held >= frame:
            return held, 0, "the header leaves the number of samples open; size repaired"
        rest = held - claim
        return (claim if rest >= frame else held), 0, ""
    if is_streamed(claim // frame):
        return held, 0, "the header leaves the number of samples open; size repaired"
    return held, claim - held, ""


def _aiff_encoding(codec: bytes, bits: int) -> SampleEncoding | None:
    floats = {b"fl32": "FLOAT", b"FL32": "FLOAT", b"fl64": "DOUBLE", b"FL64": "DOUBLE"}
    laws = {b"ulaw": "ULAW", b"ULAW": "ULAW", b"alaw": "ALAW", b"ALAW": "ALAW"}
    if codec in floats or codec in laws:
        return SampleEncoding(subtype=(floats | laws)[codec], is_big_endian=True)
    bits = {b"in24": 24, b"42ni": 24, b"42n1": 24, b"in32": 32, b"23ni": 32}.get(codec, bits)
    if codec == b"raw " and 1 <= bits <= 8:
        return SampleEncoding(subtype="PCM_U8", num_bits=bits)
    if codec in {b"NONE", b"twos", b"in24", b"in32"} | _SWAPPED:
        subtype = _PCM.get((bits + 7) // 8)
        if subtype is not None:
            is_big = codec not in _SWAPPED
            return SampleEncoding(subtype=subtype, is_big_endian=is_big, num_bits=bits)
    return None


def _extended(content: bytes) -> float:
    """Return an 80-bit float, 0 for what is not a sample rate."""
    head, mantissa = struct.unpack(">HQ", content)
    exponent = (head & 0x7FFF) - 16383 - 63
    if head & 0x8000 or mantissa == 0 or exponent < -90:
        return 0.0
    if exponent > 0:
        return float(MAX_RATE * 2)
    return float(Fraction(mantissa, 1 << -exponent))


def parse_caf(file: Bytes) -> Layout:
    """Return the layout of a Core Audio file.

    Raises:
        AudioFormatError: the format or the samples cannot be found.
    """
    chunks, remarks, claims = _walk(file, 8, ">4sQ", pads=False)
    described = next((chunk for chunk in chunks if chunk.name == "desc"), None)
    data = next((chunk for chunk in chunks if chunk.name == "data"), None)
    if described is None or described.num_bytes < 32:
        raise AudioFormatError("truncated or damaged header: no desc chunk; copy the file again")
    if data is None or data.num_bytes < 4:
        raise AudioFormatError("no samples: the file has no data chunk; copy it again")
    rate, codec, flags, packet_bytes, _, channels, bits = struct.unpack(
        ">d4sIIIII", file.read_at(described.offset, 32)
    )
    sample_rate = check_header(channels, rate)
    encoding = _caf_encoding(codec, flags, bits, packet_bytes, channels)
    is_little = bool(flags & 2) and codec == b"lpcm"
    held, claim = data.num_bytes - 4, claims["data"] - 4
    frame = encoding.num_bytes * channels if encoding else 0
    return Layout(
        container="CAF",
        sample_rate=sample_rate,
        num_channels=channels,
        encoding=encoding,
        codec=encoding.subtype if encoding else f"codec {codec.decode('ascii', 'replace')!r}",
        endian="LITTLE" if is_little else "FILE",
        data_offset=data.offset + 4,
        data_bytes=held,
        missing_bytes=0 if claims["data"] == (1 << 64) - 1 else max(claim - held, 0),
        chunks=tuple(chunks),
        remarks=tuple(remarks) + half_frame_remark(held, frame),
    )


def _caf_encoding(
    codec: bytes, flags: int, bits: int, packet_bytes: int, channels: int
) -> SampleEncoding | None:
    if codec in {b"ulaw", b"alaw"}:
        return SampleEncoding(subtype="ULAW" if codec == b"ulaw" else "ALAW", is_big_endian=True)
    if codec != b"lpcm" or packet_bytes % channels:
        return None
    num_bytes, is_big = packet_bytes // channels, not flags & 2
    if flags & 1:
        subtype = {4: "FLOAT", 8: "DOUBLE"}.get(num_bytes)
        return SampleEncoding(subtype=subtype, is_big_endian=is_big) if subtype else None
    subtype = _PCM.get(num_bytes)
    if subtype is None or not 1 <= bits <= 8 * num_bytes:
        return None
    return SampleEncoding(subtype=subtype, is_big_endian=is_big, num_bits=bits)


def _walk(
    file: Bytes, position: int, header: str, *, pads: bool
) -> tuple[list[Chunk], list[str], dict[str, int]]:
    """Return the chunks, remarks, and the size that each name's first chunk claims."""
    chunks: list[Chunk] = []
    remarks: list[str] = []
    claims: dict[str, int] = {}
    length = struct.calcsize(header)
    while position + length <= file.size:
        name, num_bytes = struct.unpack(header, file.read_at(position, length))
        if not all(32 <= letter < 127 for letter in name):
            remarks.append(f"{file.size - position} bytes at the end belong to no chunk; kept")
            break
        offset, word = position + length, name.decode("ascii")
        held = min(num_bytes, file.size - offset)
        chunks.append(Chunk(name=word, offset=offset, num_bytes=held))
        claims.setdefault(word, num_bytes)
        if held < num_bytes and word not in {"SSND", "data"}:
            remarks.append(f"the chunk {word!r} is cut off; kept as it is")
        if len(chunks) > MAX_CHUNKS:
            raise AudioFormatError(f"more than {MAX_CHUNKS} chunks; the file is damaged")
        position = offset + held + (held % 2 if pads else 0)
    return chunks, remarks, claims
