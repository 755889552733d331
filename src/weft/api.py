"""The verbs: a task, a model and a recording in one call."""

from collections.abc import Sequence
from pathlib import Path

from weft import zoo
from weft.audio.audio import Audio
from weft.audio.read import read_audio
from weft.canvas import tasks
from weft.canvas.canvas import Region
from weft.canvas.compose import FADE_MS
from weft.model import FillResult, Model, Progress


def read(path: str | Path) -> Audio:
    """Open an audio file; samples are read as they are needed.

    Args:
        path: WAV, RF64, W64, AIFF, CAF, FLAC, OGG, MP3; M4A and others where ffmpeg is installed.

    Raises:
        AudioFormatError: it is not a readable audio file; the message says what it is.
    """
    return read_audio(path)


def inpaint(
    audio: Audio | str | Path,
    gaps: Sequence[Region | tuple[float, float]],
    *,
    model: str | Path | Model = "auto",
    takes: int = 1,
    seed: int = 0,
    fade_ms: float = FADE_MS,
    min_confidence: float = 0.0,
    on_progress: Progress | None = None,
) -> FillResult:
    """Fill gaps in a recording from what is around them.

    Args:
        audio: the recording, or a file of it.
        gaps: (start, stop) in seconds, or regions in samples.
        model: a name of `weft.zoo`, the folder of a trained model, or a model.
        takes: how many different fills to propose.
        seed: equal seeds give equal output.
        fade_ms: cross-fade inside each end of a gap.
        min_confidence: in [0, 1]; gaps that no model fills with this confidence are left alone.
        on_progress: called with (gaps done, gaps in all).

    Returns:
        The takes, best first; everything outside the gaps is the recording's, bit for bit.

    Raises:
        RegionError: a gap cannot be used.
        CheckpointError: no model has this name, or the folder holds none that can be used.
        AudioFormatError: the file cannot be read.

    Example:
        >>> import numpy as np
        >>> tone = Audio.from_samples(np.sin(np.arange(8000) * 0.3), 8000)
        >>> inpaint(tone, [(0.5, 0.505)], model="lpc").gaps[0].takes[0].model
        'lpc'
    """
    recording = audio if isinstance(audio, Audio) else read(audio)
    canvas = tasks.inpaint(recording, gaps)
    loaded = model if isinstance(model, Model) else zoo.load(model)
    return loaded.fill(
        canvas,
        takes=takes,
        seed=seed,
        fade_ms=fade_ms,
        min_confidence=min_confidence,
        on_progress=on_progress,
    )
