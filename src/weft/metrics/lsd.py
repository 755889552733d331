"""Log-spectral distance: how far apart two spectra are, in units of log10 power, 0 is equal.

Conventions
-----------
Log-spectral distance is not one metric: window, hop, floor and choice of frames change the number,
and published code disagrees on all four. A setting is therefore an `LsdConfig` with a name, and a
table names the setting. Two are for filled gaps:

* `GAP`: frames whose centre lies in a gap. It does not depend on how much intact sound stands
  around the gap.
* `EXCERPT`: all frames, intact ones included, as the literature on inpainting does. It grows with
  the share of the gap in the excerpt; never compare it across excerpt lengths.

Power is that of a periodic Hann window, scaled so that a full-scale sine on a bin has power 1, and
is raised to at least the floor in both signals: below the floor all is silence.

Source: the distance is that of Gray & Markel 1976 in log10 of power, root mean square over bins,
mean over frames; the publications on inpainting do not state their transform.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from weft.audio.spectral import stft
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics.pairs import Estimate, frames_in, validate, validate_gaps
from weft.shapes import Samples


@final
@dataclass(frozen=True, kw_only=True)
class LsdConfig:
    """One setting of the log-spectral distance."""

    name: str
    """What tables call it."""
    frames: Literal["all", "gap"]
    """Which frames count: all, or those whose centre lies in a gap."""
    n_fft: int = 2048
    """Window and transform length, in samples, even."""
    hop_length: int = 512
    """Distance of frames, in samples."""
    floor_db: float = -120.0
    """Power of silence, in dB below that of a full-scale sine, < 0. The default stands just above
    the rounding noise of 16-bit samples, which has -126 dB in a bin of 2048."""

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.n_fft % 2:
            raise ConfigError(f"n_fft must be even and >= 2 samples, got {self.n_fft}")
        if not 1 <= self.hop_length <= self.n_fft:
            raise ConfigError(f"hop_length must be in [1, n_fft] samples, got {self.hop_length}")
        if not self.floor_db < 0 or math.isinf(self.floor_db):
            raise ConfigError(f"floor_db must be finite and < 0 dB, got {self.floor_db}")


GAP = LsdConfig(name="gap", frames="gap")
"""Frames centred in the gap."""
EXCERPT = LsdConfig(name="excerpt", frames="all")
"""All frames of the excerpt."""


def log_spectral_distance(
    reference: Samples,
    estimate: Estimate,
    gaps: Sequence[Region] = (),
    *,
    config: LsdConfig = GAP,
) -> float:
    """Return the log-spectral distance.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where the fills are; not used by settings that count all frames.
        config: transform, floor and choice of frames.

    Returns:
        Mean over channels and frames of the root mean square over bins of the difference of log10
        power; >= 0, at most ``-floor_db / 10`` for signals within full scale; 0 for equal signals,
        two silent ones included. Multiply by 10 for dB.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: the setting counts frames of gaps, and there is no gap, or one outside.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 8000))
        >>> round(log_spectral_distance(x, x * 0.1, config=EXCERPT), 3)
        2.0
    """
    validate(reference, estimate)
    truth, fill = (_log_power(samples, config) for samples in (reference, estimate))
    difference = np.sqrt(np.mean((truth - fill) ** 2, axis=1))  # c l
    if config.frames == "gap":
        validate_gaps(gaps, reference.shape[1])
        difference = difference[:, frames_in(gaps, difference.shape[1], config.hop_length)]
    return float(difference.mean())


def _log_power(samples: Samples, config: LsdConfig) -> Float[np.ndarray, "c f l"]:
    """Return log10 power, 0 for a full-scale sine on a bin, floored."""
    spectrum = stft(samples, n_fft=config.n_fft, hop_length=config.hop_length)
    power = np.abs(spectrum) ** 2 * (4 / config.n_fft) ** 2
    return np.log10(np.maximum(power, 10 ** (config.floor_db / 10)))
