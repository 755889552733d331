"""Reading files: only what is asked for is decoded, and nothing a header says is believed."""

import os
import warnings
from pathlib import Path
from typing import final

import numpy as np

from weft.audio.audio import Audio, AudioFormat, Source
from weft.audio.containers import Chunk, Layout, check_header, parse, sniff
from weft.audio.decoded import (
    Decoded,
    FlacReader,
    SampleReader,
    StoredReader,
    decode_with_ffmpeg,
    decode_with_sndfile,
    sndfile,
)
from weft.audio.flac import FlacEnd, FlacHeader, find_end, parse_flac
from weft.audio.handle import FileHandle, shown
from weft.errors import AudioFormatError, FormatWarning
from weft.shapes import Samples

MAX_LEVEL = 1e10
"""Largest magnitude that is taken for sound: 200 dB over full scale."""
MAX_CHUNK_BYTES = 1 << 24
"""Most bytes that `FileSource.read_chunk` returns."""

_MP3_SLACK = 2304
"""Samples by which the length in an MP3 file may be wrong: two frames."""
_SALVAGE = "copy the file again, or read what is there with salvage"


@final
class FileSource(Source):
    """Samples in a file, read when they are asked for.

    The file stays open, so that the source stays readable when the file's name is given to another
    file, for example to the edited one.
    """

    def __init__(
        self,
        *,
        path: Path,
        handle: FileHandle,
        format: AudioFormat,
        sample_rate: int,
        num_channels: int,
        num_samples: int,
        reader: SampleReader,
        layout: Layout | None = None,
        flac: FlacHeader | None = None,
        remarks: tuple[str, ...] = (),
        allow_nonfinite: bool = False,
    ) -> None:
        """Describe an open file; `read_audio` makes these."""
        self._path = path
        self._format = format
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._num_samples = num_samples
        self._reader = reader
        self._allow_nonfinite = allow_nonfinite
        self.handle = handle
        self.layout = layout
        """Where the samples are, if they are stored one by one."""
        self.flac = flac
        """Metadata blocks of a FLAC file."""
        self.remarks = remarks
        """What was not quite right with the file."""

    @property
    def sample_rate(self) -> int:
        """Return samples per second."""
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        """Return the audio channels."""
        return self._num_channels

    @property
    def num_samples(self) -> int:
        """Return samples a channel."""
        return self._num_samples

    @property
    def format(self) -> AudioFormat:
        """Return how the samples are stored."""
        return self._format

    @property
    def path(self) -> Path | None:
        """Return the file."""
        return self._path

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Chunks or metadata blocks in the order of the file."""
        if self.flac is not None:
            return self.flac.chunks
        return self.layout.chunks if self.layout is not None else ()

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop).

        Raises:
            AudioFormatError: they cannot be decoded, or are not finite numbers of a sane size.
        """
        try:
            samples = self._reader.read(start, stop)
        except AudioFormatError as error:
            raise AudioFormatError(f"{shown(self._path)}: {error}") from None
        if not self._allow_nonfinite:
            self._check(samples, start)
        return samples

    def read_chunk(self, name: str) -> bytes | None:
        """Return the content of the first chunk of that name, None if there is none.

        Args:
            name: four letters, such as ``"cue "``, or the name of a FLAC metadata block.

        Raises:
            AudioFormatError: the chunk has more than 16 MiB.
        """
        chunk = next((chunk for chunk in self.chunks if chunk.name == name), None)
        if chunk is None:
            return None
        if chunk.num_bytes > MAX_CHUNK_BYTES:
            raise AudioFormatError(
                f"{shown(self._path)}: the chunk {name!r} has {chunk.num_bytes} bytes, at most "
                f"{MAX_CHUNK_BYTES} are read"
            )
        return self.handle.read_at(chunk.offset, chunk.num_bytes)

    def _check(self, samples: Samples, start: int) -> None:
        if samples.size == 0 or max(samples.max(), -samples.min()) < MAX_LEVEL:
            return
        bad = ~(np.abs(samples) < MAX_LEVEL)
        positions = np.flatnonzero(bad.any(axis=0))
        runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
        places = [f"{start + run[0]}-{start + run[-1] + 1}" for run in runs[:5]]
        more = f" and {len(runs) - 5} more places" if len(runs) > 5 else ""
        raise AudioFormatError(
            f"{shown(self._path)}: {int(bad.sum())} samples are not usable numbers (NaN, infinite "
            f"or beyond {MAX_LEVEL:g}), at samples {', '.join(places)}{more} (from "
            f"{(start + positions[0]) / self._sample_rate:.3f} s on); mark them as gaps and allow "
            "non-finite samples, or export the file again"
        )


def read_audio(path: str | Path, *, allow_nonfinite: bool = False, salvage: bool = False) -> Audio:
    """Open an audio file; its samples are read only when they are asked for.

    Uncompressed files and FLAC are read in place. OGG, MP3 and other compressed formats are decoded
    once to a nameless temporary file, because seeking in them is not exact. Formats that libsndfile
    lacks (M4A and others) go through the program ffmpeg, if there is one.

    Args:
        path: the file. Its first bytes say what it is; its name does not matter.
        allow_nonfinite: return samples that are NaN, infinite or absurdly large as they are.
        salvage: use what is left of a file that was cut off, instead of refusing it.

    Raises:
        AudioFormatError: the file cannot be read, or is not what it claims to be.
        MissingDependencyError: the format needs ffmpeg, and it was not found.

    Warns:
        FormatWarning: the file can be read, but is not quite as it claims.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "tone.wav")
        ...     _ = Audio.from_samples(np.zeros((2, 800)), 8000).write(file)
        ...     read_audio(file)
        Audio(0.100 s, 2 channels, 8000 Hz from tone.wav)
    """
    path = Path(path)
    handle = FileHandle.open(path)
    try:
        source = _open(path, handle, allow_nonfinite, salvage)
    except AudioFormatError as error:
        raise AudioFormatError(f"{shown(path)}: {error}") from None
    for remark in source.remarks:
        warnings.warn(f"{shown(path)}: {remark}", FormatWarning, stacklevel=2)
    return Audio(source)


def _open(path: Path, handle: FileHandle, allow_nonfinite: bool, salvage: bool) -> FileSource:
    kind = sniff(handle.read_at(0, 512))
    if kind == "MP3":
        kind, offset = _skip_id3(handle)
        if kind == "FLAC":
            raise AudioFormatError(
                f"ID3 tags of {offset} bytes stand before the FLAC stream, where they do not "
                "belong; remove them with a tag editor"
            )
    if kind == "FLAC":
        return _open_flac(path, handle, allow_nonfinite, salvage)
    if kind in {"RIFF", "W64", "AIFF", "CAF"}:
        layout = parse(handle)
        if layout is not None and layout.encoding is not None:
            return _open_stored(path, handle, layout, allow_nonfinite, salvage)
        return _open_compressed(path, handle, kind, layout, allow_nonfinite, salvage)
    if kind in {"OGG", "MP3", "OTHER"}:
        return _open_compressed(path, handle, kind, None, allow_nonfinite, salvage)
    if kind in {"M4A", "AAC", "MATROSKA", "ASF"}:
        return _open_foreign(path, handle, kind, allow_nonfinite)
    raise AudioFormatError(
        f"is {kind}, not a readable audio file, whatever its name; WAV, RF64, W64, AIFF, CAF, "
        "FLAC, OGG and MP3 can be read, and M4A and others with ffmpeg"
    )


def _skip_id3(handle: FileHandle) -> tuple[str, int]:
    """Return what follows ID3 tags, and where."""
    offset = 0
    while (head := handle.read_at(offset, 10))[:3] == b"ID3" and len(head) == 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        offset += 10 + size + (10 if head[5] & 0x10 else 0)
    return ("FLAC" if handle.read_at(offset, 4) == b"fLaC" else "MP3"), offset


def _open_stored(
    path: Path, handle: FileHandle, layout: Layout, allow_nonfinite: bool, salvage: bool
) -> FileSource:
    assert layout.encoding is not None
    remarks = layout.remarks
    if layout.missing_bytes:
        promised = (layout.data_bytes + layout.missing_bytes) // layout.frame_bytes
        what = (
            f"truncated: the header promises {promised} samples a channel, the file holds "
            f"{layout.num_samples} ({layout.num_samples / layout.sample_rate:.3f} s)"
        )
        if not salvage:
            raise AudioFormatError(f"{what}; {_SALVAGE}")
        remarks = (*remarks, f"{what}; these were salvaged")
    reader = StoredReader(handle, layout.data_offset, layout.encoding, layout.num_channels)
    return FileSource(
        path=path,
        handle=handle,
        format=layout.format,
        sample_rate=layout.sample_rate,
        num_channels=layout.num_channels,
        num_samples=layout.num_samples,
        reader=reader,
        layout=layout,
        remarks=remarks,
        allow_nonfinite=allow_nonfinite,
    )


def _open_flac(path: Path, handle: FileHandle, allow_nonfinite: bool, salvage: bool) -> FileSource:
    header = parse_flac(handle)
    if header.num_bits not in {8, 16, 24}:
        raise AudioFormatError(
            f"has {header.num_bits} bits a sample; FLAC of 8, 16 and 24 bits can be read; convert "
            "the file to WAV with the program flac"
        )
    end, claim = find_end(handle, header), header.claimed_samples
    if not end.is_whole and claim and claim == end.num_samples + end.next_samples:
        end = _decode_end(handle, header, end)
    num_samples, remarks = end.num_samples, tuple[str, ...]()
    what = f"the header promises {claim} samples a channel, the file holds {end.num_samples}"
    if not end.is_whole or claim > end.num_samples:
        broken = "its last frame is cut off" if not end.is_whole else "the rest is missing"
        if claim:
            broken = f"{what}, {broken}"
        if not salvage:
            raise AudioFormatError(f"truncated FLAC: {broken}; {_SALVAGE}")
        num_samples = min(claim, end.num_samples) if claim else end.num_samples
        remarks = (f"truncated FLAC: {broken}; {num_samples} samples were salvaged",)
    elif claim != end.num_samples and claim:
        remarks = (f"{what}; size repaired",)
    return FileSource(
        path=path,
        handle=handle,
        format=AudioFormat(
            container="FLAC", subtype="PCM_S8" if header.num_bits == 8 else f"PCM_{header.num_bits}"
        ),
        sample_rate=header.sample_rate,
        num_channels=header.num_channels,
        num_samples=num_samples,
        reader=FlacReader(handle, header, num_samples),
        flac=header,
        remarks=remarks,
        allow_nonfinite=allow_nonfinite,
    )


def _decode_end(handle: FileHandle, header: FlacHeader, end: FlacEnd) -> FlacEnd:
    """Return the end of a stream after which something else follows, told by decoding its end."""
    try:
        FlacReader(handle, header, header.claimed_samples).read(
            header.claimed_samples - 1, header.claimed_samples
        )
    except AudioFormatError:
        return end
    return FlacEnd(num_samples=header.claimed_samples, is_whole=True)


def _open_compressed(
    path: Path,
    handle: FileHandle,
    kind: str,
    layout: Layout | None,
    allow_nonfinite: bool,
    salvage: bool,
) -> FileSource:
    try:
        with sndfile(handle) as opened:
            rate = check_header(opened.channels, opened.samplerate)
            claim, channels = opened.frames, opened.channels
            format = AudioFormat(container=opened.format, subtype=opened.subtype)
            decoded = decode_with_sndfile(opened)
    except AudioFormatError as error:
        codec = f"its samples are stored as {layout.codec}; " if layout is not None else ""
        raise AudioFormatError(f"{codec}{error}") from None
    what, is_cut_off = _find_loss(handle, kind, format.container, claim, decoded.num_samples)
    if is_cut_off and not salvage:
        raise AudioFormatError(f"{what}; {_SALVAGE}")
    remarks = (f"{what}; {'these were salvaged' if is_cut_off else 'size repaired'}",)
    return FileSource(
        path=path,
        handle=handle,
        format=format,
        sample_rate=rate,
        num_channels=channels,
        num_samples=decoded.num_samples,
        reader=decoded.reader,
        remarks=remarks if what else (),
        allow_nonfinite=allow_nonfinite,
    )


def _find_loss(
    handle: FileHandle, kind: str, container: str, claim: int, found: int
) -> tuple[str, bool]:
    """Return what is missing of a compressed file, empty if nothing is, and whether it was cut off.

    The length in the last page of an OGG file counts from where the recorder began to count, and
    that of an MP3 file may count the encoder's delay, so that a whole file can hold a little less.
    """
    if kind == "OGG" and not _ends_ogg(handle):
        return (
            f"truncated {container}: {found} samples can be decoded, the last page is missing",
            True,
        )
    if found >= claim:
        return "", False
    if kind == "OGG" or (kind == "MP3" and claim - found <= _MP3_SLACK):
        return f"the header promises {claim} samples a channel, {found} can be decoded", False
    return f"truncated {container}: {found} samples of {claim} promised can be decoded", True


def _ends_ogg(handle: FileHandle) -> bool:
    """Return whether the file ends with a whole page that is marked as the stream's last."""
    start = max(handle.size - (1 << 17), 0)
    tail = handle.read_at(start, handle.size - start)
    position = len(tail)
    while (position := tail.rfind(b"OggS", 0, position)) >= 0:
        segments = tail[position + 26] if position + 27 <= len(tail) else 256
        sizes = tail[position + 27 : position + 27 + segments]
        if len(sizes) == segments and position + 27 + segments + sum(sizes) <= len(tail):
            return bool(tail[position + 5] & 4)
        if position + 27 + segments + sum(sizes) > len(tail):
            return False
    return False


def _open_foreign(path: Path, handle: FileHandle, kind: str, allow_nonfinite: bool) -> FileSource:
    with decode_with_ffmpeg(handle, os.fspath(path), kind) as scratch:
        layout = parse(FileHandle(os.dup(scratch.fileno())))
        if layout is None or layout.encoding is None or layout.encoding.subtype != "FLOAT":
            raise AudioFormatError("ffmpeg returned no samples; convert the file to WAV first")
        decoded = Decoded(scratch, layout.encoding, layout.num_channels, layout.data_offset)
    subtype = {"M4A": "AAC", "AAC": "AAC"}.get(kind, "FLOAT")
    return FileSource(
        path=path,
        handle=handle,
        format=AudioFormat(container=kind, subtype=subtype),
        sample_rate=layout.sample_rate,
        num_channels=layout.num_channels,
        num_samples=decoded.num_samples,
        reader=decoded.reader,
        allow_nonfinite=allow_nonfinite,
    )
