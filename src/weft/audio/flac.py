"""FLAC: metadata blocks, and the true length of a stream.

Decoding is libFLAC's; what stands here is what libsndfile drops or believes without looking.
"""

import struct
from dataclasses import dataclass
from typing import final

import numpy as np

from weft.audio.containers import MAX_CHUNKS, Bytes, Chunk, check_header
from weft.errors import AudioFormatError

STREAMINFO, PADDING, SEEKTABLE = 0, 1, 3
BLOCK_NAMES = {
    0: "STREAMINFO",
    1: "PADDING",
    2: "APPLICATION",
    3: "SEEKTABLE",
    4: "VORBIS_COMMENT",
    5: "CUESHEET",
    6: "PICTURE",
}
_TAIL_BYTES = 1 << 21
"""Where the last frame is looked for; the largest legal frames of 24-bit 8-channel sound fit."""
_MAX_CANDIDATES = 8
"""How many frame headers are tried: sound can look like one, about once in ten million bytes."""
_BLOCK_SIZES = {1: 192, 6: -1, 7: -2} | {i: 144 << i for i in range(2, 6)}
_BLOCK_SIZES |= {i: 1 << i for i in range(8, 16)}


@final
@dataclass(frozen=True, kw_only=True)
class FlacBlock:
    """A metadata block."""

    kind: int
    """Number of the block type, 0-126."""
    offset: int
    """First byte of its content in the file."""
    num_bytes: int
    """Bytes of content."""


@final
@dataclass(frozen=True, kw_only=True)
class FlacHeader:
    """The stream information and where things are."""

    sample_rate: int
    num_channels: int
    num_bits: int
    claimed_samples: int
    """Samples a channel that the header promises; 0 if it does not say."""
    max_block: int
    """Most samples a channel in a frame."""
    count_offset: int
    """First of the 8 bytes that hold the rate, channels, bits and number of samples."""
    frames_offset: int
    """First byte of the first frame."""
    blocks: tuple[FlacBlock, ...]

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The metadata blocks by name."""
        return tuple(
            Chunk(
                name=BLOCK_NAMES.get(block.kind, f"block {block.kind}"),
                offset=block.offset,
                num_bytes=block.num_bytes,
            )
            for block in self.blocks
        )


@final
@dataclass(frozen=True, kw_only=True)
class FlacEnd:
    """Where the stream really ends."""

    num_samples: int
    """Samples a channel in whole frames, as far as the last frames tell."""
    is_whole: bool
    """Whether the file ends with the last byte of a frame."""
    next_samples: int = 0
    """Samples in the frame that begins after these, if the file does not end well."""


def parse_flac(file: Bytes) -> FlacHeader:
    """Return the metadata blocks of a FLAC file.

    Raises:
        AudioFormatError: the stream information is missing or cannot be.
    """
    position, blocks, is_last = 4, list[FlacBlock](), False
    while not is_last:
        head = file.read_at(position, 4)
        if len(head) < 4:
            raise AudioFormatError(
                f"truncated header: the file ends after {file.size} bytes, inside its metadata; "
                "copy it again"
            )
        is_last, kind = bool(head[0] & 0x80), head[0] & 0x7F
        num_bytes = int.from_bytes(head[1:], "big")
        if position + 4 + num_bytes > file.size or kind == 127 or len(blocks) > MAX_CHUNKS:
            raise AudioFormatError(
                f"damaged header: the metadata block at byte {position} does not fit into the "
                "file; copy it again"
            )
        blocks.append(FlacBlock(kind=kind, offset=position + 4, num_bytes=num_bytes))
        position += 4 + num_bytes
    if blocks[0].kind != STREAMINFO or blocks[0].num_bytes != 34:
        raise AudioFormatError("damaged header: the stream information is missing")
    info = file.read_at(blocks[0].offset, 34)
    packed = int.from_bytes(info[10:18], "big")
    channels, rate = (packed >> 41 & 7) + 1, packed >> 44
    return FlacHeader(
        sample_rate=check_header(channels, rate),
        num_channels=channels,
        num_bits=(packed >> 36 & 31) + 1,
        claimed_samples=packed & (1 << 36) - 1,
        max_block=struct.unpack(">H", info[2:4])[0],
        count_offset=blocks[0].offset + 10,
        frames_offset=position,
        blocks=tuple(blocks),
    )


def count_bytes(header: FlacHeader, num_samples: int) -> bytes:
    """Return the 8 bytes at ``count_offset`` of a header with another number of samples."""
    packed = header.sample_rate << 44 | header.num_channels - 1 << 41 | header.num_bits - 1 << 36
    return (packed | num_samples).to_bytes(8, "big")


def find_end(file: Bytes, header: FlacHeader) -> FlacEnd:
    """Return how many samples the stream holds, from its last frame, without decoding.

    The last frame's header has the position of its first sample and its length, and both its
    header and the whole frame carry a checksum.

    Source: RFC 9639, section 9.
    """
    start = max(header.frames_offset, file.size - _TAIL_BYTES)
    tail = file.read_at(start, file.size - start)
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    codes = np.frombuffer(tail, np.uint8)
    starts = np.flatnonzero((codes[:-1] == 0xFF) & (codes[1:] & 0xFE == 0xF8))
    broken: list[FlacEnd] = []
    for position in starts[::-1]:
        frame = _parse_frame(tail[position : position + 16], header)
        if frame is None:
            continue
        first, length = frame
        if _crc16(tail[position:]) == 0:
            return FlacEnd(num_samples=first + length, is_whole=True)
        broken.append(FlacEnd(num_samples=first, is_whole=False, next_samples=length))
        if len(broken) == _MAX_CANDIDATES:
            break
    if broken:
        return broken[0]
    return FlacEnd(num_samples=0, is_whole=header.frames_offset >= file.size)


def _parse_frame(head: bytes, header: FlacHeader) -> tuple[int, int] | None:
    """Return (first sample, samples) of the frame that begins here, or None if none does."""
    if len(head) < 6 or head[3] & 1:
        return None
    size_code, rate_code, channel_code = head[2] >> 4, head[2] & 15, head[3] >> 4
    num_channels = 2 if channel_code > 7 else channel_code + 1
    if size_code == 0 or rate_code == 15 or channel_code > 10:
        return None
    coded = _coded_number(head[4:])
    if coded is None or num_channels != header.num_channels:
        return None
    number, position = coded[0], 4 + coded[1]
    length = _BLOCK_SIZES[size_code]
    if length < 0:
        length, position = (
            int.from_bytes(head[position : position - length], "big") + 1,
            position - length,
        )
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(head) or _crc8(head[:position]) != head[position]:
        return None
    is_variable = bool(head[1] & 1)
    return (number if is_variable else number * header.max_block), length


def _coded_number(head: bytes) -> tuple[int, int] | None:
    """Return the number stored like a UTF-8 character, and its bytes."""
    lead = head[0]
    extra = 0 if lead < 0x80 else 8 - (~lead & 0xFF).bit_length()
    if extra == 0:
        return (lead, 1) if lead < 0x80 else None
    if not 1 < extra <= 7 or len(head) < extra:
        return None
    number = lead & (0x7F >> extra)
    for letter in head[1:extra]:
        if letter & 0xC0 != 0x80:
            return None
        number = number << 6 | letter & 0x3F
    return number, extra


def _crc_table(polynomial: int, bits: int) -> tuple[int, ...]:
    table = []
    for value in range(256):
        rest = value << bits - 8
        for _ in range(8):
            rest = rest << 1 ^ (polynomial if rest >> bits - 1 else 0)
        table.append(rest & (1 << bits) - 1)
    return tuple(table)


_CRC8 = _crc_table(0x107, 8)
_CRC16 = _crc_table(0x18005, 16)


def _crc8(content: bytes) -> int:
    rest = 0
    for letter in content:
        rest = _CRC8[rest ^ letter]
    return rest


def _crc16(content: bytes) -> int:
    rest = 0
    for letter in content:
        rest = rest << 8 & 0xFFFF ^ _CRC16[rest >> 8 ^ letter]
    return rest


def carried_head(source: Bytes, header: FlacHeader, encoded: Bytes, new: FlacHeader) -> bytes:
    """Return the head of a FLAC file: a new stream's information, an old file's other metadata.

    Seek tables and padding are left out: the first would be wrong, the second is of no use.

    Args:
        source: the file whose blocks are carried over, in their order.
        header: its header.
        encoded: a file just encoded.
        new: the header of that.
    """
    carried = [
        block for block in header.blocks if block.kind not in {STREAMINFO, PADDING, SEEKTABLE}
    ]
    info = encoded.read_at(new.blocks[0].offset, 34)
    parts = [b"fLaC", _block_head(STREAMINFO, 34, is_last=not carried), info]
    for i, block in enumerate(carried):
        parts.append(_block_head(block.kind, block.num_bytes, is_last=i == len(carried) - 1))
        parts.append(source.read_at(block.offset, block.num_bytes))
    return b"".join(parts)


def _block_head(kind: int, num_bytes: int, *, is_last: bool) -> bytes:
    return bytes([kind | is_last << 7]) + num_bytes.to_bytes(3, "big")
