"""RIFF (WAV), RF64, RIFX and Wave64 headers."""

import struct
from dataclasses import dataclass

from weft.audio.containers import (
    MAX_CHUNKS,
    Bytes,
    Chunk,
    Layout,
    check_header,
    half_frame_remark,
)
from weft.audio.encoding import SampleEncoding
from weft.errors import AudioFormatError

W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_WAVE = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
GUID_TAILS = (
    bytes.fromhex("000000001000800000aa00389b71"),
    bytes.fromhex("00002107d3118644c8c1ca000000"),
)
"""What follows the codec in the identifier of WAVE_FORMAT_EXTENSIBLE: Microsoft's, ambisonics'."""

CODECS = {
    0x0002: "MS_ADPCM",
    0x0011: "IMA_ADPCM",
    0x0031: "GSM610",
    0x0040: "G721_32",
    0x0050: "MPEG_LAYER_II",
    0x0055: "MPEG_LAYER_III",
    0x0161: "WMA",
    0x2000: "AC3",
}


@dataclass(frozen=True, kw_only=True)
class WaveFormat:
    """Content of a ``fmt`` chunk."""

    sample_rate: int
    num_channels: int
    encoding: SampleEncoding | None
    codec: str
    is_extensible: bool
    remarks: tuple[str, ...] = ()


def is_streamed(claim: int) -> bool:
    """Whether a size is one of those that writers leave when they cannot go back to the header."""
    return (
        0x7FFF0000 <= claim <= 0x80000000
        or 0xFFFF0000 <= claim <= 0xFFFFFFFF
        or 0x7FFFFFFFFFFF0000 <= claim < 1 << 63
        or claim >= 0xFFFFFFFFFFFF0000
    )


def parse_format(content: bytes, order: str) -> WaveFormat:
    """Return what a ``fmt`` chunk says.

    Args:
        content: its first 40 bytes, or fewer if it is shorter.
        order: ``<`` or ``>``.

    Raises:
        AudioFormatError: it is too short, or its numbers cannot be.
    """
    if len(content) < 16:
        raise AudioFormatError(
            f"truncated header: the fmt chunk has {len(content)} bytes, 16 are needed; copy the "
            "file again"
        )
    tag, channels, rate, _, align, bits = struct.unpack(order + "HHIIHH", content[:16])
    is_extensible, valid_bits = tag == 0xFFFE, 0
    if is_extensible and len(content) >= 40:
        (valid_bits,) = struct.unpack(order + "H", content[18:20])
        (tag,) = struct.unpack(order + "H", content[24:26])
        if content[26:40] not in GUID_TAILS:
            tag = 0xFFFE
    sample_rate = check_header(channels, rate)
    num_bytes, remarks = (bits + 7) // 8, tuple[str, ...]()
    if align != channels * num_bytes and tag in {1, 3, 6, 7}:
        if tag == 1 and align % channels == 0 and num_bytes <= align // channels <= 4:
            num_bytes, valid_bits = align // channels, bits
        else:
            remarks = (f"the header says {align} bytes a frame, {channels * num_bytes} are meant",)
    encoding = _encoding(tag, bits, num_bytes, valid_bits, order == ">")
    return WaveFormat(
        sample_rate=sample_rate,
        num_channels=channels,
        encoding=encoding,
        codec=encoding.subtype if encoding else CODECS.get(tag, f"codec 0x{tag:04x}, {bits} bits"),
        is_extensible=is_extensible,
        remarks=remarks,
    )


def _encoding(
    tag: int, bits: int, num_bytes: int, valid_bits: int, is_big_endian: bool
) -> SampleEncoding | None:
    if tag == 1 and bits >= 1 and num_bytes in {1, 2, 3, 4}:
        subtype = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}[num_bytes]
        significant = valid_bits if 0 < valid_bits <= 8 * num_bytes else min(bits, 8 * num_bytes)
        return SampleEncoding(subtype=subtype, is_big_endian=is_big_endian, num_bits=significant)
    subtypes = {(3, 32): "FLOAT", (3, 64): "DOUBLE", (6, 8): "ALAW", (7, 8): "ULAW"}
    subtype = subtypes.get((tag, bits), "")
    return SampleEncoding(subtype=subtype, is_big_endian=is_big_endian) if subtype else None


def parse_riff(file: Bytes) -> Layout:
    """Return the layout of a WAV, RF64, BW64 or RIFX file.

    Raises:
        AudioFormatError: the format or the samples cannot be found.
    """
    magic = file.read_at(0, 4)
    order = ">" if magic == b"RIFX" else "<"
    is_wide = magic in {b"RF64", b"BW64"}
    walk = _walk(file, order, is_wide)
    if walk.format is None:
        raise AudioFormatError(
            f"truncated or damaged header: no fmt chunk in its {file.size} bytes; copy it again"
        )
    if walk.data is None:
        raise AudioFormatError(
            f"no samples: the file has no data chunk in its {file.size} bytes; it was cut off, or "
            "its recording was never closed; copy it again"
        )
    container = "RF64" if is_wide else "WAVEX" if walk.format.is_extensible else "WAV"
    remarks = (*walk.format.remarks, *walk.remarks)
    repairs, wrong = _repairs(file, walk, order, is_wide)
    if wrong:
        remarks = (*remarks, wrong)
    frame = walk.format.encoding.num_bytes * walk.format.num_channels if walk.format.encoding else 0
    return Layout(
        container=container,
        sample_rate=walk.format.sample_rate,
        num_channels=walk.format.num_channels,
        encoding=walk.format.encoding,
        codec=walk.format.codec,
        endian="BIG" if order == ">" else "FILE",
        data_offset=walk.data.offset,
        data_bytes=walk.data.num_bytes,
        missing_bytes=0 if walk.is_streamed else max(walk.claim - walk.data.num_bytes, 0),
        chunks=tuple(walk.chunks),
        remarks=remarks + half_frame_remark(walk.data.num_bytes, frame),
        repairs=repairs,
    )


@dataclass(kw_only=True)
class _Walk:
    """What a walk over the chunks of a RIFF file found."""

    chunks: list[Chunk]
    remarks: list[str]
    format: WaveFormat | None = None
    data: Chunk | None = None
    claim: int = 0
    is_streamed: bool = False
    wide_offset: int = 0
    wide_sizes: tuple[int, int] = (0, 0)
    end: int = 12


def _walk(file: Bytes, order: str, is_wide: bool) -> _Walk:
    walk = _Walk(chunks=[], remarks=[])
    (riff_size,) = struct.unpack(order + "I", file.read_at(4, 4))
    position = 12
    while position + 8 <= file.size:
        name, num_bytes = struct.unpack(order + "4sI", file.read_at(position, 8))
        if not all(32 <= letter < 127 for letter in name):
            walk.remarks.append(f"{file.size - position} bytes at the end belong to no chunk; kept")
            break
        offset = position + 8
        if name == b"ds64" and not walk.wide_offset:
            content = file.read_at(offset, 24)
            if len(content) >= 16:
                walk.wide_offset, walk.wide_sizes = (
                    offset,
                    struct.unpack(order + "QQ", content[:16]),
                )
        if name == b"data" and walk.data is None:
            num_bytes = _find_data(file, walk, offset, num_bytes, riff_size, is_wide)
        held = min(num_bytes, file.size - offset)
        walk.chunks.append(Chunk(name=name.decode("ascii"), offset=offset, num_bytes=held))
        if name == b"data" and walk.data is None:
            walk.data = walk.chunks[-1]
        elif held < num_bytes:
            walk.remarks.append(f"the chunk {name.decode('ascii')!r} is cut off; kept as it is")
        if name == b"fmt " and walk.format is None:
            walk.format = parse_format(file.read_at(offset, min(num_bytes, 40)), order)
        if len(walk.chunks) > MAX_CHUNKS:
            raise AudioFormatError(f"more than {MAX_CHUNKS} chunks; the file is damaged")
        position = walk.end = _after(file, offset + held)
    return walk


def _after(file: Bytes, position: int) -> int:
    """Return where the next chunk begins; some writers leave out the padding byte."""
    if position % 2 and position < file.size:
        unpadded = file.read_at(position, 4)
        is_name = unpadded[:1] != b"\0" and all(32 <= letter < 127 for letter in unpadded)
        return position if is_name else position + 1
    return position


def _find_data(
    file: Bytes, walk: _Walk, offset: int, num_bytes: int, riff_size: int, is_wide: bool
) -> int:
    """Return the bytes of the data chunk, and note what its size field claims."""
    if is_wide and num_bytes == 0xFFFFFFFF and walk.wide_offset:
        num_bytes = walk.wide_sizes[1]
        riff_size = walk.wide_sizes[0]
    walk.claim, held = num_bytes, file.size - offset
    is_open = num_bytes == 0 and held > 0 and (riff_size + 8 <= offset or is_streamed(riff_size))
    walk.is_streamed = is_open or (num_bytes > held and is_streamed(num_bytes))
    return held if walk.is_streamed else num_bytes


def _repairs(
    file: Bytes, walk: _Walk, order: str, is_wide: bool
) -> tuple[tuple[tuple[int, bytes], ...], str]:
    """Return the size fields as they should be, and what is wrong with them, if anything."""
    assert walk.data is not None
    end, data = min(walk.end, file.size), walk.data
    (claim,) = struct.unpack(order + "I", file.read_at(4, 4))
    if is_wide and claim == 0xFFFFFFFF:
        claim = walk.wide_sizes[0]
    is_right = claim + 8 in {end, end - 1, end + 1, file.size}
    if is_right and not walk.is_streamed and walk.claim <= data.num_bytes:
        return (), ""
    if is_wide and walk.wide_offset:
        sizes = struct.pack(order + "QQ", end - 8, data.num_bytes)
        fields: tuple[tuple[int, bytes], ...] = ((walk.wide_offset, sizes),)
    elif end - 8 < 0xFFFFFFFF:
        fields = (
            (4, struct.pack(order + "I", end - 8)),
            (data.offset - 4, struct.pack(order + "I", data.num_bytes)),
        )
    else:
        fields = ()
    if walk.claim > data.num_bytes and not walk.is_streamed:
        return fields, ""  # cut off, which is told elsewhere
    if walk.is_streamed:
        what = "the header leaves the number of samples open (a streamed or unclosed recording)"
    else:
        what = f"the header says the file ends at byte {claim + 8}, it ends at byte {end}"
    return fields, f"{what}; size repaired, {data.num_bytes} bytes of samples found"


def parse_w64(file: Bytes) -> Layout:
    """Return the layout of a Sony Wave64 file.

    Raises:
        AudioFormatError: the format or the samples cannot be found.
    """
    position, chunks, remarks = 40, [], []
    wave: WaveFormat | None = None
    data: Chunk | None = None
    missing = 0
    while position + 24 <= file.size:
        header = file.read_at(position, 24)
        (total,) = struct.unpack("<Q", header[16:24])
        name = header[:4].decode("ascii", "replace")
        if total < 24:
            remarks.append(f"{file.size - position} bytes at the end belong to no chunk; kept")
            break
        offset, num_bytes = position + 24, total - 24
        held = min(num_bytes, file.size - offset)
        chunks.append(Chunk(name=name, offset=offset, num_bytes=held))
        if name == "fmt " and header[4:16] == W64_TAIL and wave is None:
            wave = parse_format(file.read_at(offset, min(num_bytes, 40)), "<")
        if name == "data" and header[4:16] == W64_TAIL and data is None:
            data = chunks[-1]
            if held < num_bytes and is_streamed(total):
                remarks.append("the header leaves the number of samples open; size repaired")
            else:
                missing = num_bytes - held
        if len(chunks) > MAX_CHUNKS:
            raise AudioFormatError(f"more than {MAX_CHUNKS} chunks; the file is damaged")
        position = offset + (held + 7) // 8 * 8
    if wave is None or data is None:
        raise AudioFormatError(
            f"truncated header: no {'data' if wave else 'fmt'} chunk in its {file.size} bytes; "
            "copy it again"
        )
    frame = wave.encoding.num_bytes * wave.num_channels if wave.encoding else 0
    return Layout(
        container="W64",
        sample_rate=wave.sample_rate,
        num_channels=wave.num_channels,
        encoding=wave.encoding,
        codec=wave.codec,
        data_offset=data.offset,
        data_bytes=data.num_bytes,
        missing_bytes=missing,
        chunks=tuple(chunks),
        remarks=(*wave.remarks, *remarks, *half_frame_remark(data.num_bytes, frame)),
    )
