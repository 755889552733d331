"""The verbs: a task, a model and a recording in one call."""

from collections.abc import Sequence
from pathlib import Path

from weft import zoo
from weft.audio.audio import Audio
from weft.audio.read import read_audio
from weft.canvas import tasks
from weft.canvas.canvas import Region
from weft.canvas.compose import FADE_MS
from weft.canvas.style import Style
from weft.canvas.tasks import STRENGTH
from weft.errors import ConfigError
from weft.model import FillResult, Model, Progress, keep_draft

EDIT_MODEL = "weft-latent"
"""The model that starts from drafts and from nothing, unless another is named."""


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
    style: Style | None = None,
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
        style: what the fills should sound like, for models that follow a style; see
            `weft.guidance`.
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
    canvas = tasks.inpaint(_opened(audio), gaps)
    return _loaded(model).fill(
        canvas,
        takes=takes,
        seed=seed,
        guidance=style,
        fade_ms=fade_ms,
        min_confidence=min_confidence,
        on_progress=on_progress,
    )


def continuation(
    audio: Audio | str | Path,
    seconds: float,
    *,
    before: bool = False,
    loop: bool = False,
    model: str | Path | Model = "auto",
    takes: int = 1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> FillResult:
    """Let a recording go on after its end, or begin before its beginning.

    Args:
        audio: the recording, or a file of it.
        seconds: length of what is added, > 0.
        before: add it in front.
        loop: let what is added lead back to the recording's other end.
        model: a name of `weft.zoo`, the folder of a trained model, or a model.
        takes: how many different continuations to propose.
        seed: equal seeds give equal output.
        on_progress: called with (gaps done, gaps in all).

    Returns:
        The takes, best first: the whole recording, bit for bit, and what was added.

    Raises:
        ConfigError: ``seconds`` cannot be used.
        RegionError: the recording is empty.
        UnsupportedCanvasError: the model cannot do it.

    Example:
        >>> import numpy as np
        >>> tone = Audio.from_samples(np.sin(np.arange(8000) * 0.3), 8000)
        >>> continuation(tone, 0.05, model="lpc").best
        Audio(1.050 s, 1 channels, 8000 Hz, 1 patches)
    """
    canvas = tasks.continuation(_opened(audio), seconds, before=before, loop=loop)
    return _loaded(model).fill(canvas, takes=takes, seed=seed, on_progress=on_progress)


def regenerate(
    audio: Audio | str | Path,
    regions: Sequence[Region | tuple[float, float]],
    strength: float = STRENGTH,
    *,
    style: Style | None = None,
    model: str | Path | Model = EDIT_MODEL,
    takes: int = 1,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> FillResult:
    """Make regions of a recording anew, starting from what stands there.

    Args:
        audio: the recording, or a file of it.
        regions: (start, stop) in seconds, or regions in samples.
        strength: how far the sound may change, in [0, 1]; with 0 no model is needed.
        style: what it should sound like; see `weft.guidance`.
        model: one that uses drafts: a name, the folder of a trained model, or a model.
        takes: how many different versions to propose.
        seed: equal seeds give equal output.
        on_progress: called with (regions done, regions in all).

    Raises:
        ConfigError: ``strength`` outside its range.
        RegionError: a region cannot be used.
        UnsupportedCanvasError: the model uses no drafts, or no style.

    Example:
        >>> import numpy as np
        >>> tone = Audio.from_samples(np.sin(np.arange(8000) * 0.3), 8000)
        >>> same = regenerate(tone, [(0.2, 0.4)], 0.0).best
        >>> bool((same.samples == tone.samples).all())
        True
    """
    canvas = tasks.regenerate(_opened(audio), regions, strength)
    if strength == 0:
        return keep_draft(canvas)
    return _loaded(model).fill(
        canvas, takes=takes, seed=seed, guidance=style, on_progress=on_progress
    )


def transition(
    first: Audio | str | Path,
    second: Audio | str | Path,
    seconds: float,
    strength: float = STRENGTH,
    *,
    snap_beats: bool = False,
    model: str | Path | Model = EDIT_MODEL,
    takes: int = 1,
    seed: int = 0,
) -> FillResult:
    """Lead from one recording into another.

    Args:
        first: what is heard first, or a file of it.
        second: what is heard then, of the same rate and channels.
        seconds: how long the end of the first and the beginning of the second overlap.
        strength: how far their cross-fade may be changed, in [0, 1]; with 0 no model is needed.
        snap_beats: move both edges to beats.
        model: one that uses drafts: a name, the folder of a trained model, or a model.
        takes: how many different transitions to propose.
        seed: equal seeds give equal output.

    Raises:
        ConfigError: the recordings differ in rate or channels, or a number is outside its range.
        RegionError: the overlap is longer than a recording.
        UnsupportedCanvasError: the model uses no drafts.
    """
    canvas = tasks.transition(
        _opened(first), _opened(second), seconds, strength, snap_beats=snap_beats
    )
    if strength == 0:
        return keep_draft(canvas)
    return _loaded(model).fill(canvas, takes=takes, seed=seed)


def generate(
    text: str | None = None,
    *,
    seconds: float,
    style: Style | None = None,
    sample_rate: int = 44100,
    num_channels: int = 2,
    model: str | Path | Model = EDIT_MODEL,
    takes: int = 1,
    seed: int = 0,
) -> FillResult:
    """Make sound from nothing.

    Args:
        text: for models that take text; there is none yet.
        seconds: length, > 0.
        style: what it should sound like; see `weft.guidance`.
        sample_rate: in Hz.
        num_channels: audio channels.
        model: one that can: a name, the folder of a trained model, or a model.
        takes: how many different versions to make.
        seed: equal seeds give equal output.

    Raises:
        ConfigError: text was given, or a number is outside its range.
        UnsupportedCanvasError: the model needs something known, or follows no style.
    """
    check_text(text)
    canvas = tasks.generate(seconds, sample_rate, num_channels)
    return _loaded(model).fill(canvas, takes=takes, seed=seed, guidance=style)


def check_text(text: str | None) -> None:
    """Refuse a text, as long as no model takes one.

    Raises:
        ConfigError: there is a text.
    """
    if text:
        raise ConfigError(
            f"no model that takes text is there yet ({text!r} was given); leave it out, and say "
            "what it should sound like with a reference (--like) or a class (--tag)"
        )


def _opened(audio: Audio | str | Path) -> Audio:
    return audio if isinstance(audio, Audio) else read(audio)


def _loaded(model: str | Path | Model) -> Model:
    return model if isinstance(model, Model) else zoo.load(model)
