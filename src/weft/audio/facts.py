"""What a file holds, without reading all of it."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

from weft.audio.containers import Chunk
from weft.audio.read import FileSource, read_audio
from weft.errors import FormatWarning


@final
@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What `describe` found."""

    path: Path
    num_bytes: int
    """Size of the file."""
    container: str
    """WAV, FLAC … in libsndfile's terms."""
    subtype: str
    """Sample encoding in libsndfile's terms."""
    endian: str
    """FILE (the container's own), LITTLE or BIG."""
    sample_rate: int
    """In Hz."""
    num_channels: int
    num_samples: int
    """Samples a channel that the file really holds."""
    is_lossy: bool
    """Whether the samples were compressed with a loss."""
    chunks: tuple[Chunk, ...]
    """Chunks or metadata blocks in the order of the file; empty for OGG, MP3 and others."""
    warnings: tuple[str, ...]
    """What is not quite right with the file."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def describe(path: str | Path, *, salvage: bool = False) -> FileFacts:
    """Return what a file holds; its warnings are returned, not issued.

    Args:
        path: the file.
        salvage: describe what is left of a file that was cut off, instead of refusing it.

    Raises:
        AudioFormatError: the file cannot be read.
        MissingDependencyError: the format needs ffmpeg, and it was not found.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from weft.audio.audio import Audio
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "tone.wav")
        ...     _ = Audio.from_samples(np.zeros((2, 800)), 8000).write(file)
        ...     facts = describe(file)
        >>> facts.container, facts.subtype, facts.duration_s, [c.name for c in facts.chunks]
        ('WAV', 'FLOAT', 0.1, ['fmt ', 'fact', 'data'])
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FormatWarning)
        source = read_audio(path, allow_nonfinite=True, salvage=salvage).source
    assert isinstance(source, FileSource)
    return FileFacts(
        path=Path(path),
        num_bytes=source.handle.size,
        container=source.format.container,
        subtype=source.format.subtype,
        endian=source.format.endian,
        sample_rate=source.sample_rate,
        num_channels=source.num_channels,
        num_samples=source.num_samples,
        is_lossy=source.format.is_lossy,
        chunks=source.chunks,
        warnings=source.remarks,
    )
