"""Style: what a fill should sound like, beside belonging to its surroundings."""

import math
from dataclasses import dataclass
from typing import final

from weft.audio.audio import Audio
from weft.errors import ConfigError

MAX_WEIGHT = 1000.0
"""Largest weight of a style."""


@final
@dataclass(frozen=True, kw_only=True)
class Style:
    """Recordings that a fill should sound like, and names of what should be heard in it.

    A style is a wish: it pulls a fill towards it, while the known samples stay as they are.
    """

    references: tuple[Audio, ...] = ()
    """Recordings of any rate and number of channels; all count alike."""
    tags: tuple[str, ...] = ()
    """Names of classes, such as ``rain``; which ones are known is the model's matter."""
    weight: float = 1.0
    """How strong the pull is, in 0-1000; 1 is the strength that a model was tuned with, 0 none."""

    def __post_init__(self) -> None:
        if not self.references and not self.tags:
            raise ConfigError("a style needs at least one reference or one tag; neither was given")
        if not (math.isfinite(self.weight) and 0 <= self.weight <= MAX_WEIGHT):
            raise ConfigError(
                f"the weight of a style must be in 0-{MAX_WEIGHT:g}, got {self.weight}"
            )
        for tag in self.tags:
            if not tag.strip():
                raise ConfigError(f"a tag must be a word, got {tag!r}; leave it out")
        for reference in self.references:
            if reference.num_samples == 0:
                where = "" if reference.path is None else f"{reference.path.name}: "
                raise ConfigError(
                    f"{where}a reference of a style holds no samples; give a recording with sound"
                )
