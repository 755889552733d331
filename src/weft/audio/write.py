"""Writing files: what was not edited stays as it was, and that is checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from weft.audio.audio import Audio, AudioFormat
from weft.audio.copying import Clipping, copy_range, write_at
from weft.audio.formats import (
    SUBTYPES,
    default_format,
    default_suffix,
    format_for_path,
    holds_exactly,
    is_writable,
)
from weft.audio.handle import FileHandle, shown
from weft.audio.proof import Proof, edited_ranges, edited_samples, prove_copy, prove_samples
from weft.audio.publish import publish
from weft.audio.read import FileSource, read_audio
from weft.audio.transcode import rounding_encoding, transcode
from weft.errors import ConfigError, OutputError

__all__ = ["Proof", "Written", "default_format", "default_suffix", "format_for_path", "write_audio"]


@final
@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that was written."""

    path: Path
    """Where it is."""
    format: AudioFormat
    """How its samples are stored."""
    proof: Proof
    """What the comparison with the source found."""
    num_clipped: int
    """Samples that went over full scale and were clipped, counted in every channel."""
    notes: tuple[str, ...]
    """What is different from the source's file, in words."""


def write_audio(
    audio: Audio, path: str | Path, *, overwrite: bool = False, format: AudioFormat | None = None
) -> Written:
    """Write to a file, atomically, and prove that nothing but the edits has changed.

    An uncompressed file that keeps its format is copied byte for byte, with all its chunks, and
    only the edited samples are replaced. FLAC is decoded and encoded again without loss, and keeps
    its metadata. A file that was compressed with a loss is written as 32-bit float WAV. The
    finished file is read again and compared with the source before it gets its name.

    Args:
        audio: what to write. Samples beyond full scale are clipped in integer formats, with a
            warning; integers are rounded to nearest, without dither.
        path: where to. Its ending chooses the container; the source's own stays as it is.
        overwrite: whether a file of that name is replaced.
        format: how to store the samples instead.

    Raises:
        OutputError: the file exists or cannot be written; nothing was left under its name.
        ConfigError: the ending or the format is lossy or not known.

    Warns:
        ClippingWarning: samples went over full scale.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> tone = Audio.from_samples(0.5 * np.sin(np.arange(800) * 0.1), 8000)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(write_audio(tone, Path(folder, "tone.flac")).proof)
        800 samples outside the edited regions: all identical to the source rounded to PCM_24
    """
    path = Path(path)
    target = format_for_path(path, audio) if format is None else format
    if not is_writable(target):
        raise ConfigError(
            f"{shown(path)}: {target.container} {target.subtype} cannot be written without a loss; "
            f"choose one of {', '.join(SUBTYPES)}, and a sample encoding that it has"
        )
    clipping, source = Clipping(), audio.source
    is_stored = isinstance(source, FileSource) and source.layout is not None
    with publish(path, overwrite=overwrite) as temporary:
        if isinstance(source, FileSource) and is_stored and target == source.format:
            notes: tuple[str, ...] = ()
            proof = _write_copy(audio, source, temporary, clipping)
        else:
            target, notes = transcode(audio, temporary, target, clipping)
            proof = _prove(audio, temporary, target)
        if not proof.is_identical:
            raise OutputError(f"{shown(path)}: not written, the check failed: {proof}")
    clipping.warn(path, stacklevel=2)
    return Written(
        path=path, format=target, proof=proof, num_clipped=clipping.num_clipped, notes=notes
    )


def _write_copy(audio: Audio, source: FileSource, path: Path, clipping: Clipping) -> Proof:
    """Copy the file and replace the edited samples in the copy."""
    layout = source.layout
    assert layout is not None
    assert layout.encoding is not None
    frame = layout.frame_bytes
    with open(path, "r+b", buffering=0) as copy:
        copy_range(source.handle, 0, source.handle.size, copy)
        for offset, content in layout.repairs:
            write_at(copy, offset, content)
        for start, samples in edited_samples(audio):
            stored = clipping.encode(layout.encoding, samples)
            write_at(copy, layout.data_offset + start * frame, stored)
    return prove_copy(source.handle, layout, FileHandle.open(path), edited_ranges(audio))


def _prove(audio: Audio, path: Path, target: AudioFormat) -> Proof:
    """Read the new file again and compare it with the source, rounded if it has to be."""
    is_exact = isinstance(audio.source, FileSource) and holds_exactly(audio.format, target)
    written = read_audio(path, allow_nonfinite=True)
    return prove_samples(audio, written, None if is_exact else rounding_encoding(target))
