"""Guidance: what a fill should sound like, by recordings or by names."""

from pathlib import Path

import numpy as np

from weft.audio.audio import Audio
from weft.audio.levels import FLOOR_DB
from weft.audio.read import read_audio
from weft.canvas.style import Style
from weft.errors import ConfigError


def like(*references: Audio | str | Path, weight: float = 1.0) -> Style:
    """Ask for fills that sound like recordings.

    Args:
        references: at least one recording, or a file of one; of any rate and channels.
        weight: how strong the pull is, in 0-1000; 1 is what the model was tuned with.

    Raises:
        ConfigError: no reference, one without sound, or a weight outside its range.
        AudioFormatError: a file cannot be read.

    Example:
        >>> style = like(Audio.from_samples(np.ones((1, 800)), 8000), weight=0.5)
        >>> len(style.references), style.weight
        (1, 0.5)
    """
    recordings = tuple(
        reference if isinstance(reference, Audio) else read_audio(reference)
        for reference in references
    )
    style = Style(references=recordings, weight=weight) if recordings else None
    if style is None:
        raise ConfigError("name at least one recording that the fills should sound like")
    for recording in recordings:
        _check_sound(recording)
    return style


def tag(*names: str, weight: float = 1.0) -> Style:
    """Ask for fills in which named things are heard; the model says which names it knows.

    Args:
        names: at least one, such as ``"rain"``.
        weight: how strong the pull is, in 0-1000.

    Raises:
        ConfigError: no name, or a weight outside its range.

    Example:
        >>> tag("rain", "wind").tags
        ('rain', 'wind')
    """
    return Style(tags=names, weight=weight)


def _check_sound(audio: Audio) -> None:
    """Raise unless something can be heard; stops reading where it is."""
    for _, samples in audio.blocks():
        if np.abs(samples).max(initial=0.0) > 10 ** (FLOOR_DB / 20):
            return
    name = "a reference" if audio.path is None else audio.path.name
    raise ConfigError(
        f"{name} is silent from beginning to end, and sounds like nothing; give a recording with "
        "sound"
    )
