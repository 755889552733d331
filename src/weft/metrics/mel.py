"""Mel distance: how far apart two mel spectra are, in magnitude and in log magnitude, 0 is equal.

Conventions
-----------
Magnitudes are those of a periodic Hann window, not normalised; mel filters have unit area (Slaney)
and reach from 0 Hz to half the sample rate. Scales are summed, not averaged, so their number is
part of the unit. Loudness is not normalised: scale both to one loudness first if a comparison asks
for it, and say so.

* `AUDIOTOOLS`: two scales, magnitude and log terms. "MR" of the literature on guided diffusion and
  masked tokens: the evaluation of VampNet, which it names, takes the defaults of audiotools.
* `DAC`: seven scales, log term only, with which DAC and VampNet train their codecs.

The two differ by a factor of several; they never share a column.

Source: MelSpectrogramLoss of descript-audiotools 0.7.2 (`metrics/spectral.py`): its transform has a
periodic Hann window and, without `match_stride` (the default), only the reflected ``n_fft // 2``
samples of a centred transform. VampNet, `scripts/exp/eval.py`; DAC, `conf/base.yml`. Differs: 64
bits. One state of its repository clamps after raising to a power instead
of before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.spectral import mel_filterbank, stft
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics.pairs import Estimate, frames_in, validate, validate_gaps, validate_rate
from weft.shapes import Samples


@final
@dataclass(frozen=True, kw_only=True)
class MelDistanceConfig:
    """One setting of the mel distance."""

    name: str = "custom"
    """What tables call it."""
    num_mels: tuple[int, ...] = (150, 80)
    """Filters of each scale."""
    n_ffts: tuple[int, ...] = (2048, 512)
    """Window of each scale, in samples, divisible by 4; the hop is a quarter of it."""
    floor: float = 1e-5
    """Magnitude of silence in the log term, > 0."""
    log_power: float = 2.0
    """Power to which magnitudes are raised before log10, > 0."""
    magnitude_weight: float = 1.0
    """Weight of the magnitude term, >= 0."""
    log_weight: float = 1.0
    """Weight of the log term, >= 0."""

    def __post_init__(self) -> None:
        if not self.n_ffts or len(self.num_mels) != len(self.n_ffts):
            raise ConfigError(
                f"num_mels and n_ffts must name the same scales, at least one, got {self.num_mels} "
                f"and {self.n_ffts}"
            )
        if any(n < 4 or n % 4 for n in self.n_ffts) or any(m < 1 for m in self.num_mels):
            raise ConfigError(
                f"n_ffts must be divisible by 4 and num_mels >= 1, got {self.n_ffts} samples and "
                f"{self.num_mels}"
            )
        if not (self.floor > 0 and self.log_power > 0):
            raise ConfigError(
                f"floor and log_power must be > 0, got {self.floor}, {self.log_power}"
            )
        if not (self.magnitude_weight >= 0 and self.log_weight >= 0):
            raise ConfigError(
                f"weights must be >= 0, got {self.magnitude_weight} and {self.log_weight}"
            )


AUDIOTOOLS = MelDistanceConfig(name="audiotools")
"""Defaults of audiotools: 150 and 80 filters, windows of 2048 and 512, both terms."""
DAC = MelDistanceConfig(
    name="dac",
    num_mels=(5, 10, 20, 40, 80, 160, 320),
    n_ffts=(32, 64, 128, 256, 512, 1024, 2048),
    log_power=1.0,
    magnitude_weight=0.0,
)
"""Seven scales of DAC: 5 to 320 filters, windows of 32 to 2048, log10 of magnitude only."""


def mel_distance(
    reference: Samples,
    estimate: Estimate,
    sample_rate: int,
    gaps: Sequence[Region] | None = None,
    *,
    config: MelDistanceConfig = AUDIOTOOLS,
) -> float:
    """Return the mel distance.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        sample_rate: of both, in Hz.
        gaps: count only frames whose centre lies in one of these; None counts all frames, as
            audiotools does.
        config: scales, floor and weights.

    Returns:
        Sum over scales of ``mean |m_x - m_y|`` and ``mean |log10 m_x^2 - log10 m_y^2|``, each with
        its weight and power of the setting; >= 0; 0 for equal signals, two silent ones included.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: gaps are given, but none, or one outside the signals.
        ConfigError: the sample rate is not positive.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 8000)) * 0.1
        >>> mel_distance(x, x, 24000)
        0.0
    """
    validate(reference, estimate)
    if gaps is not None:
        validate_gaps(gaps, reference.shape[1])
    validate_rate(sample_rate)
    distance = 0.0
    for num_mels, n_fft in zip(config.num_mels, config.n_ffts, strict=True):
        filters = mel_filterbank(sample_rate, n_fft, num_mels)
        pair = []
        for samples in (reference, estimate):
            magnitudes = np.abs(stft(samples, n_fft=n_fft, hop_length=n_fft // 4))
            if gaps is not None:
                magnitudes = magnitudes[:, :, frames_in(gaps, magnitudes.shape[2], n_fft // 4)]
            pair.append(filters @ magnitudes)
        distance += _scale_distance(pair[0], pair[1], config)
    return distance


def _scale_distance(
    truth: Float[np.ndarray, "c m l"], fill: Float[np.ndarray, "c m l"], config: MelDistanceConfig
) -> float:
    """Return both terms of one scale."""
    logs = [config.log_power * np.log10(np.maximum(mel, config.floor)) for mel in (truth, fill)]
    magnitude_term = float(np.mean(np.abs(truth - fill)))
    log_term = float(np.mean(np.abs(logs[0] - logs[1])))
    return config.magnitude_weight * magnitude_term + config.log_weight * log_term
