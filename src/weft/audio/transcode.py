"""Writing samples into a new file: another format, or one that is stored compressed."""

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from weft.audio.audio import Audio, AudioFormat
from weft.audio.containers import Chunk
from weft.audio.copying import Clipping, copy_range, write_all
from weft.audio.encoding import NUM_BYTES, SampleEncoding
from weft.audio.flac import carried_head, parse_flac
from weft.audio.formats import SUBTYPES, holds_exactly
from weft.audio.handle import FileHandle
from weft.audio.headers import make_encoding, make_head
from weft.audio.read import FileSource
from weft.errors import OutputError

_FAMILIES = {"WAV": "RIFF", "WAVEX": "RIFF", "RF64": "RIFF"}
_STRUCTURAL = {
    "RIFF": {"fmt ", "data", "fact", "ds64", "PEAK", "JUNK", "PAD ", "FLLR", "junk"},
    "AIFF": {"COMM", "SSND", "FVER", "PEAK"},
    "CAF": {"desc", "data", "pakt", "kuki", "free", "peak"},
    "W64": {"fmt ", "data", "fact", "junk", "riff"},
    "FLAC": {"STREAMINFO", "PADDING", "SEEKTABLE"},
}
"""Parts that describe how the samples are stored; everything else describes the sound."""


def rounding_encoding(format: AudioFormat) -> SampleEncoding:
    """Return the encoding that rounds samples as ``format`` does."""
    if format.subtype in NUM_BYTES:
        return SampleEncoding(subtype=format.subtype)
    bits = {"ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}.get(format.subtype, 16)
    return SampleEncoding(subtype="PCM_32", num_bits=bits)


def transcode(
    audio: Audio, path: Path, target: AudioFormat, clipping: Clipping
) -> tuple[AudioFormat, tuple[str, ...]]:
    """Write all samples to an existing empty file.

    Args:
        audio: what to write.
        path: the file.
        target: how to store the samples, not lossy.
        clipping: told of what was clipped.

    Returns:
        The format as written, and notes on what is different from the source.

    Raises:
        OutputError: the container cannot hold the audio.
    """
    carried, left = _carried_chunks(audio, target)
    with open(path, "r+b", buffering=0) as file:
        if target.container == "FLAC":
            _write_flac(audio, file, path, target, clipping)
            written = target
        elif target.subtype in SUBTYPES.get(target.container, set()):
            written = _write_stored(audio, file, target, carried, clipping)
        else:
            _write_sndfile(audio, file.fileno(), target, clipping)
            written = target
    return written, _notes(audio, target, written, left)


def _notes(
    audio: Audio, target: AudioFormat, written: AudioFormat, left: list[str]
) -> tuple[str, ...]:
    notes, source = [], audio.format
    if source.is_lossy and target != source:
        notes.append(
            f"the source is compressed with a loss ({source.container}, {source.subtype}); written "
            f"as {target.container} {target.subtype}, because compressing it again would change "
            "all of it"
        )
    if isinstance(audio.source, FileSource) and not holds_exactly(source, target):
        notes.append(f"{source.subtype} samples were rounded to {target.subtype}")
    if written.container != target.container:
        notes.append(f"written as {written.container}: {target.container} holds at most 4 GiB")
    if left:
        notes.append(f"left behind, {target.container} has no place for it: {', '.join(left)}")
    return tuple(notes)


def _carried_chunks(audio: Audio, target: AudioFormat) -> tuple[list[Chunk], list[str]]:
    """Return the chunks that go into the new file, and the names of those that cannot."""
    source = audio.source
    if not isinstance(source, FileSource) or not source.chunks:
        return [], []
    family = _FAMILIES.get(source.format.container, source.format.container)
    describing = [c for c in source.chunks if c.name not in _STRUCTURAL.get(family, set())]
    is_same = family == _FAMILIES.get(target.container, target.container)
    if family == "RIFF":
        is_same = is_same and (source.format.endian == "BIG") == (target.endian == "BIG")
    if is_same and family in {"RIFF", "AIFF", "CAF"}:
        return describing, []
    if is_same and family == "FLAC":
        return [], []
    return [], list(dict.fromkeys(chunk.name.strip() for chunk in describing))


def _write_stored(
    audio: Audio, file: BinaryIO, target: AudioFormat, carried: list[Chunk], clipping: Clipping
) -> AudioFormat:
    source = audio.source
    header = ">4sQ" if target.container == "CAF" else ">4sI"
    if target.container in {"WAV", "WAVEX", "RF64"} and target.endian != "BIG":
        header = "<4sI"
    pads = target.container != "CAF"
    data_chunk = _data_offset(source.chunks) if isinstance(source, FileSource) else 0
    length = struct.calcsize(header)
    other = sum(length + c.num_bytes + (c.num_bytes % 2 if pads else 0) for c in carried)
    head, data_head, written = make_head(
        target, audio.sample_rate, audio.num_channels, audio.num_samples, other
    )

    def write_chunks(chunks: list[Chunk]) -> None:
        for chunk in chunks:
            assert isinstance(source, FileSource)
            write_all(file, struct.pack(header, chunk.name.encode("ascii"), chunk.num_bytes))
            copy_range(source.handle, chunk.offset, chunk.num_bytes, file)
            write_all(file, bytes(chunk.num_bytes % 2 if pads else 0))

    write_all(file, head)
    write_chunks([chunk for chunk in carried if chunk.offset < data_chunk])
    write_all(file, data_head)
    encoding = make_encoding(written)
    for _, samples in audio.blocks():
        write_all(file, clipping.encode(encoding, samples))
    data_bytes = audio.num_samples * audio.num_channels * encoding.num_bytes
    if written.container not in {"CAF", "W64"}:  # libsndfile takes W64's last padding for sound
        write_all(file, bytes(data_bytes % 2))
    write_chunks([chunk for chunk in carried if chunk.offset >= data_chunk])
    return written


def _data_offset(chunks: tuple[Chunk, ...]) -> int:
    return next((chunk.offset for chunk in chunks if chunk.name in {"data", "SSND"}), 0)


def _write_flac(
    audio: Audio, file: BinaryIO, path: Path, target: AudioFormat, clipping: Clipping
) -> None:
    """Encode to a nameless file, then put the source's metadata and the new frames together."""
    if audio.num_channels > 8 or audio.sample_rate > 655350:
        raise OutputError(
            f"FLAC holds at most 8 channels and 655350 Hz, this is {audio.num_channels} channels "
            f"at {audio.sample_rate} Hz; write .wav"
        )
    with tempfile.TemporaryFile(dir=path.parent, prefix=".weft-") as scratch:
        _write_sndfile(audio, scratch.fileno(), target, clipping)
        encoded = FileHandle(os.dup(scratch.fileno()))
    new = parse_flac(encoded)
    source = audio.source
    if isinstance(source, FileSource) and source.flac is not None:
        write_all(file, carried_head(source.handle, source.flac, encoded, new))
    else:
        copy_range(encoded, 0, new.frames_offset, file)
    copy_range(encoded, new.frames_offset, encoded.size - new.frames_offset, file)


def _write_sndfile(audio: Audio, descriptor: int, target: AudioFormat, clipping: Clipping) -> None:
    import soundfile

    try:
        with soundfile.SoundFile(
            descriptor,
            "w",
            audio.sample_rate,
            audio.num_channels,
            target.subtype,
            target.endian,
            target.container,
            closefd=False,
        ) as opened:
            for block in _integer_blocks(audio, target, clipping):
                opened.write(block)
    except (soundfile.SoundFileError, AssertionError) as error:
        raise OutputError(
            f"{target.container} {target.subtype} with {audio.num_channels} channels at "
            f"{audio.sample_rate} Hz cannot be written ({error or 'short write'}); the disk may be "
            "full, or the format may not hold this: try .wav"
        ) from None


def _integer_blocks(audio: Audio, target: AudioFormat, clipping: Clipping) -> Iterator[np.ndarray]:
    """Yield blocks as libsndfile takes them: 32-bit integers left-justified, or floats."""
    encoding = rounding_encoding(target)
    for _, samples in audio.blocks():
        rounded = encoding.decode(clipping.encode(encoding, samples), audio.num_channels)
        if encoding.is_float:
            yield rounded.T
        else:
            yield (rounded.T * 2.0**31).astype(np.int32)
