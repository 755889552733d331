"""Settings of PEAQ: where the Recommendation leaves a choice, it is a field here."""

import math
from dataclasses import dataclass
from typing import Literal, final

from weft.errors import ConfigError

RATE = 48000
"""Sample rate of the model, in Hz; the Recommendation knows no other."""


@final
@dataclass(frozen=True, kw_only=True)
class PeaqConfig:
    """Level and readings of BS.1387-1. The defaults reproduce the published pins (see the docs)."""

    playback_level_db: float = 92.0
    """Sound pressure level of a full-scale sine, in dB SPL, in [0, 130]."""
    harmonic_window: Literal["middle", "zero"] = "middle"
    """Where the Hann window over the lags of the error's correlation has its top. The formula of
    the Recommendation puts it on the middle lag; Kabal finds lag zero more sensible. Published
    conformance runs come nearer with the middle."""
    harmonic_mean: Literal["before", "after"] = "before"
    """Whether the mean of the correlation is taken away before that window (Kabal; nearer to the
    conformance values) or after it, which zeroes the constant only (the text)."""
    steps: Literal["trunc", "floor"] = "trunc"
    """How INT rounds the level difference in the steps above threshold: towards zero, which is what
    INT usually means and keeps the two directions alike, or down."""
    clamp: bool = False
    """Whether the network's inputs are held within the ranges of its training. The Recommendation
    does not say so, and its own items leave the ranges."""
    equal_tolerance: float = 1e-9
    """Root mean square of the log spectral ratio under which a frame counts as equal in the error
    harmonic structure, >= 0. That variable is normalised and would rate rounding noise of 1e-15
    like a distortion; the smallest change of a 16-bit sample lies above 1e-7."""

    def __post_init__(self) -> None:
        if not 0 <= self.playback_level_db <= 130:
            raise ConfigError(
                f"playback_level_db must be in [0, 130] dB SPL, got {self.playback_level_db}"
            )
        for name, value, allowed in (
            ("harmonic_window", self.harmonic_window, ("middle", "zero")),
            ("harmonic_mean", self.harmonic_mean, ("before", "after")),
            ("steps", self.steps, ("trunc", "floor")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if not self.equal_tolerance >= 0 or math.isinf(self.equal_tolerance):
            raise ConfigError(
                f"equal_tolerance must be finite and >= 0, got {self.equal_tolerance}"
            )
