"""Log-spectral distance: how far apart two spectra are, in units of log10 power, 0 is equal.

Conventions
-----------
Log-spectral distance is not one metric: window, hop, scale, treatment of silence, choice of frames
and mixing of channels change the number, and published code disagrees on all of them. A setting is
therefore an `LsdConfig` with a name, a table names the setting, and values of two settings never
share a column. All have periodic Hann windows, frame ``i`` centred on sample ``i * hop_length``,
the root mean square over bins and the mean over frames.

For filled gaps, at any rate:

* `GAP`: frames whose centre lies in a gap. It does not depend on how much intact sound stands
  around the gap.
* `EXCERPT`: all frames, intact ones included, as the literature on inpainting does. It grows with
  the share of the gap in the excerpt; never compare it across excerpt lengths.

For bandwidth extension, as the programs that published tables come from compute them:

* `SSR_EVAL`: windows of 46 ms every 10 ms (2229 and 480 samples at 48 kHz), and the logarithm of a
  quotient, ``log10(x^2 / (y + eps)^2 + eps)``, which is not symmetric and says 12 for two silences.
* `APBWE`: 2048 every 512 samples at any rate, power clamped at 1e-8; NU-Wave 2 has the same.
* `UNIVERSR`: 1024 every 256 samples at any rate, power clamped at 1e-6.

Their powers are those of the plain transform, so the clamps of the last two lie 134 and 108 dB
below a full-scale sine: quiet bands of music are under the second and count as equal.

Source: the distance is that of Gray & Markel 1976 in log10 of power. The publications on
inpainting do not state their transform. ssr_eval 0.0.7, `metrics.py`; AP-BWE, `cal_metrics.py`;
UniverSR, `scripts/compute_metrics.py`; gain matching: AudioSR, `lsd_calculation_pitfall`. Differs:
they compute in 32 bits, read and resample files themselves, and cut to the shorter file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float

from weft.audio.resample import to_mono
from weft.audio.spectral import stft
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics.pairs import Estimate, frames_in, validate, validate_gaps, validate_rate
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
    """Window and transform length, in samples, >= 2."""
    hop_length: int = 512
    """Distance of frames, in samples, in [1, n_fft]."""
    design_rate_hz: int | None = None
    """Rate that both lengths are meant for; at others they are scaled and rounded down. None: the
    same number of samples at every rate."""
    floor_db: float = -120.0
    """Power that silence is given, in dB, < 0. The default stands just above the rounding noise of
    16-bit samples, which has -126 dB in a bin of 2048."""
    power: Literal["full_scale", "plain"] = "full_scale"
    """Unit of power: that of a full-scale sine on a bin, or that of the plain transform, where such
    a sine has ``(n_fft / 4)^2``."""
    silence: Literal["clamp", "quotient"] = "clamp"
    """How the floor enters: both powers are raised to at least the floor, or it is added to the
    estimate's magnitude and to the quotient of the powers, as ssr_eval does."""
    padding: Literal["reflect", "constant"] = "reflect"
    """What stands beyond both ends: the signal reflected, or zeros."""
    channels: Literal["each", "mixed"] = "each"
    """Whether channels are measured one by one and averaged, or mixed to one first."""
    match_gain: Literal["none", "lowest_tenth"] = "none"
    """Whether the estimate is first scaled so that the mean magnitude of the lowest tenth of its
    bins is that of the reference. It hides errors of level; a table must say so."""

    def __post_init__(self) -> None:
        if self.n_fft < 2:
            raise ConfigError(f"n_fft must be >= 2 samples, got {self.n_fft}")
        if not 1 <= self.hop_length <= self.n_fft:
            raise ConfigError(f"hop_length must be in [1, n_fft] samples, got {self.hop_length}")
        if self.design_rate_hz is not None and self.design_rate_hz < 1:
            raise ConfigError(f"design_rate_hz must be > 0 Hz or None, got {self.design_rate_hz}")
        if not self.floor_db < 0 or math.isinf(self.floor_db):
            raise ConfigError(f"floor_db must be finite and < 0 dB, got {self.floor_db}")

    def lengths(self, sample_rate: int | None) -> tuple[int, int]:
        """Return window and hop in samples at a rate.

        Raises:
            ConfigError: the setting depends on the rate, and there is none, or it is too low for a
                window of 2 and a hop of 1 sample.

        Example:
            >>> SSR_EVAL.lengths(48000), SSR_EVAL.lengths(44100), APBWE.lengths(48000)
            ((2229, 480), (2048, 441), (2048, 512))
        """
        if self.design_rate_hz is None:
            return self.n_fft, self.hop_length
        if sample_rate is None:
            raise ConfigError(f"setting {self.name!r} depends on the rate; give sample_rate in Hz")
        validate_rate(sample_rate)
        n_fft, hop = (n * sample_rate // self.design_rate_hz for n in (self.n_fft, self.hop_length))
        if n_fft < 2 or hop < 1:
            raise ConfigError(f"{sample_rate} Hz is too low for setting {self.name!r}")
        return n_fft, hop


GAP = LsdConfig(name="gap", frames="gap")
"""Frames centred in the gap."""
EXCERPT = LsdConfig(name="excerpt", frames="all")
"""All frames of the excerpt."""
SSR_EVAL = LsdConfig(
    name="ssr_eval",
    frames="all",
    n_fft=2048,
    hop_length=441,
    design_rate_hz=44100,
    power="plain",
    silence="quotient",
    padding="constant",
    channels="mixed",
)
"""ssr_eval 0.0.7 (NVSR, AudioSR). It pins no librosa: zeros at the ends are those of librosa 0.9
(February 2022) and later; before, the signal was reflected."""
APBWE = LsdConfig(name="apbwe", frames="all", floor_db=-80.0, power="plain")
"""AP-BWE. Its code has no channel mixing (its data are mono)."""
UNIVERSR = LsdConfig(
    name="universr",
    frames="all",
    n_fft=1024,
    hop_length=256,
    floor_db=-60.0,
    power="plain",
    channels="mixed",
)
"""UniverSR, which measures at 48 kHz."""


class BandDistances(NamedTuple):
    """Log-spectral distances of two bands, each over its own bins."""

    low: float
    """Bins below the cut-off, those that the input has."""
    high: float
    """Bins from the cut-off on, those that were made up."""


def log_spectral_distance(
    reference: Samples,
    estimate: Estimate,
    gaps: Sequence[Region] = (),
    *,
    config: LsdConfig = GAP,
    sample_rate: int | None = None,
) -> float:
    """Return the log-spectral distance.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where the fills are; not used by settings that count all frames.
        config: transform, floor and choice of frames.
        sample_rate: of both, in Hz; only settings with a ``design_rate_hz`` need it.

    Returns:
        Mean over channels and frames of the root mean square over bins of the difference of log10
        power; >= 0; 0 for equal signals, two silent ones included (`SSR_EVAL`: 12 for frames of
        two digital silences, as published). `GAP` and `EXCERPT` end at 12 for signals within full
        scale. Multiply by 10 for dB.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: the setting counts frames of gaps, and there is no gap, or one outside.
        ConfigError: the setting depends on the rate, and none is given, or one too low.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 8000))
        >>> round(log_spectral_distance(x, x * 0.1, config=EXCERPT), 3)
        2.0
    """
    difference = _differences(reference, estimate, gaps, config, sample_rate)
    return _distance(difference)


def lsd_split(
    reference: Samples,
    estimate: Estimate,
    sample_rate: int,
    cutoff_hz: float,
    config: LsdConfig,
    *,
    gaps: Sequence[Region] = (),
    top_hz: float | None = None,
) -> BandDistances:
    """Return the log-spectral distances below and above a cut-off.

    The squares of the two, weighted by their bins, do not add up to the square of the whole
    distance: each is a root mean square of its own frames, averaged over frames.

    Args:
        reference: the true samples.
        estimate: the samples to judge.
        sample_rate: of both, in Hz.
        cutoff_hz: where the known band ends, in (0, half the rate); measure it with
            `measure_cutoff_hz` where no filter states it. A bin on the cut-off is high.
        config: transform, floor and choice of frames.
        gaps: where the fills are; not used by settings that count all frames.
        top_hz: where the high band ends, above the cut-off: what the recording has nothing above is
            decided by the floor of the setting; None: half the rate, as published.

    Returns:
        Distances, >= 0, with the conventions of `log_spectral_distance`.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: the setting counts frames of gaps, and there is no gap, or one outside.
        ConfigError: the cut-off leaves a band without a bin, or the rate is too low.

    Source: the split of NU-Wave 2 and AudioLBM at the bin of the cut-off. Differs: NU-Wave 2 rounds
    down ``1025 * cutoff / (rate / 2)``, at most one bin less; UniverSR has a table of bins, with
    80 (3750 Hz) for a cut-off of 4 kHz.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 8000))
        >>> [round(d, 3) for d in lsd_split(x, x * 0.1, 8000, 2000.0, EXCERPT)]
        [2.0, 2.0]
    """
    validate_rate(sample_rate)
    n_fft, _ = config.lengths(sample_rate)
    highest_hz = (n_fft - 1) // 2 * sample_rate / n_fft  # the last bin under half the rate
    if not 0 < cutoff_hz <= highest_hz:
        raise ConfigError(
            f"cutoff_hz must leave bins on both sides, in (0, {highest_hz:.6g}] Hz, got {cutoff_hz}"
        )
    num_low = math.ceil(cutoff_hz * n_fft / sample_rate)
    difference = _differences(reference, estimate, gaps, config, sample_rate)
    num_bins = difference.shape[1]
    num_all = num_bins if top_hz is None else math.ceil(top_hz * n_fft / sample_rate)
    if not num_low < num_all <= num_bins:
        raise ConfigError(
            f"top_hz must leave a bin above the cut-off of {cutoff_hz:g} Hz and reach at most half "
            f"the rate, {sample_rate / 2:g} Hz; got {top_hz}"
        )
    low, high = difference[:, :num_low], difference[:, num_low:num_all]
    return BandDistances(_distance(low), _distance(high))


def _distance(difference: Float[np.ndarray, "m f l"]) -> float:
    """Average the root mean squares of all frames."""
    return float(np.sqrt(np.mean(difference**2, axis=1)).mean())


def _differences(
    reference: Samples,
    estimate: Estimate,
    gaps: Sequence[Region],
    config: LsdConfig,
    sample_rate: int | None,
) -> Float[np.ndarray, "m f l"]:
    """Return the differences of log10 power of frames and channels (m) that count."""
    validate(reference, estimate)
    n_fft, hop_length = config.lengths(sample_rate)
    if config.frames == "gap":
        validate_gaps(gaps, reference.shape[1])
    powers = []
    for samples in (reference, estimate):
        if config.channels == "mixed":
            samples = to_mono(samples)
        spectrum = stft(samples, n_fft=n_fft, hop_length=hop_length, pad_mode=config.padding)
        if config.frames == "gap":
            spectrum = spectrum[:, :, frames_in(gaps, spectrum.shape[2], hop_length)]
        powers.append(spectrum.real**2 + spectrum.imag**2)
    truth, fill = powers
    if config.match_gain == "lowest_tenth":
        fill = fill * _gain(truth, fill) ** 2
    if config.power == "full_scale":
        truth, fill = ((4 / n_fft) ** 2 * power for power in (truth, fill))
    floor = 10 ** (config.floor_db / 10)
    if config.silence == "quotient":
        return np.log10(truth / (np.sqrt(fill) + floor) ** 2 + floor)
    return np.log10(np.maximum(truth, floor) / np.maximum(fill, floor))


def _gain(truth: Float[np.ndarray, "c f l"], fill: Float[np.ndarray, "c f l"]) -> float:
    """Return the gain that gives the lowest tenth of the bins the mean magnitude of the truth."""
    num_low = max(1, truth.shape[1] // 10)
    levels = [float(np.sqrt(power[:, :num_low]).mean()) for power in (truth, fill)]
    return levels[0] / levels[1] if levels[1] > 0 and levels[0] > 0 else 1.0
