"""Fills alone, as Broadcast Wave files that an editor puts where they belong."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from weft.audio.audio import Audio, AudioFormat
from weft.audio.headers import make_encoding, make_head
from weft.audio.proof import Proof
from weft.audio.publish import publish
from weft.audio.read import FileSource, read_audio
from weft.canvas.canvas import Region
from weft.shapes import Samples
from weft.version import __version__

BEXT_BYTES = 602
"""Length of a ``bext`` chunk without coding history. Source: EBU Tech 3285, version 1."""
_TIME_REFERENCE_AT = 338
_STORABLE = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


def fill_format(audio: Audio) -> AudioFormat:
    """Return how fills of a recording are stored: WAV, with its encoding where WAV has it."""
    subtype = audio.format.subtype
    if audio.format.is_lossy or subtype not in _STORABLE:
        subtype = "PCM_16" if subtype == "PCM_S8" else "PCM_24"
    return AudioFormat(container="WAV", subtype=subtype)


def with_handles(region: Region, audio: Audio, handles_ms: float) -> Region:
    """Return a region and what is written on either side of it, inside the recording."""
    handle = round(handles_ms * audio.sample_rate / 1000)
    return Region(
        start=max(0, region.start - handle), stop=min(audio.num_samples, region.stop + handle)
    )


def time_reference(audio: Audio) -> int:
    """Return the position of a recording's first sample since midnight, 0 if it tells none."""
    bext = audio.source.read_chunk("bext") if isinstance(audio.source, FileSource) else None
    if bext is None or len(bext) < _TIME_REFERENCE_AT + 8:
        return 0
    (value,) = struct.unpack_from("<Q", bext, _TIME_REFERENCE_AT)
    return int(value) if value < 1 << 62 else 0


def write_fill(take: Audio, span: Region, path: Path, *, description: str, overwrite: bool) -> int:
    """Write a stretch of a take as a Broadcast Wave file, and return how many samples clipped.

    Its time reference is the stretch's first sample, counted as the recording counts.

    Args:
        take: the recording with its gaps filled.
        span: the gap and its handles.
        path: the file.
        description: up to 256 characters of ASCII.
        overwrite: whether it may exist.

    Raises:
        OutputError: it cannot be written.
    """
    format = fill_format(take)
    data, num_clipped = make_encoding(format).encode(take.read(span.start, span.stop))
    bext = b"bext" + struct.pack("<I", BEXT_BYTES)
    bext += _bext(time_reference(take) + span.start, description)
    head, data_head, _ = make_head(
        format, take.sample_rate, take.num_channels, span.num_samples, len(bext)
    )
    with publish(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        for part in (head, bext, data_head, data, b"\0" * (len(data) % 2)):
            file.write(part)
    return num_clipped


def _bext(reference: int, description: str) -> bytes:
    """Return a ``bext`` chunk; date and time stay empty, so that equal runs give equal files."""
    bext = bytearray(BEXT_BYTES)
    text = description.encode("ascii", "replace")[:256]
    bext[: len(text)] = text
    originator = f"weft {__version__}".encode()[:32]
    bext[256 : 256 + len(originator)] = originator
    struct.pack_into("<QH", bext, _TIME_REFERENCE_AT, reference, 1)
    return bytes(bext)


def prove_handles(original: Audio, written: Iterable[tuple[Path, Region, Region]]) -> Proof:
    """Compare what was written beside the fills with the recording.

    Args:
        original: the recording.
        written: for each file its path, the stretch it holds, and the gap in it.
    """
    num_outside = num_identical = 0
    first_difference = None
    for path, span, gap in written:
        back = read_audio(path).samples
        wanted = _stored(original.read(span.start, span.stop), original)
        outside = np.ones(span.num_samples, dtype=bool)
        outside[gap.start - span.start : gap.stop - span.start] = False
        equal = (back == wanted).all(axis=0)
        num_outside += int(outside.sum()) * original.num_channels
        num_identical += int((back == wanted)[:, outside].sum())
        if first_difference is None and not equal[outside].all():
            first_difference = span.start + int(np.flatnonzero(outside & ~equal)[0])
    return Proof(
        num_outside=num_outside, num_identical=num_identical, first_difference=first_difference
    )


def _stored(samples: Samples, audio: Audio) -> Samples:
    """Return samples as the fills' format holds them; lossy recordings have finer ones."""
    encoding = make_encoding(fill_format(audio))
    return encoding.decode(encoding.encode(samples)[0], audio.num_channels)
