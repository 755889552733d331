"""Model output variables: what each frame says of a distortion, before any average over time.

Shapes: spectra ``c l f``, patterns ``c l d``, values of frames ``c l``, or ``l`` where both ears
make one value.

Source: BS.1387-1, Annex 2, section 4.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import fft

from weft.metrics.peaq import ear
from weft.metrics.peaq.config import PeaqConfig
from weft.metrics.peaq.patterns import Pattern

Spectra = Float[np.ndarray, "c l f"]
Values = Float[np.ndarray, "c l"]
Together = Float[np.ndarray, " l"]

_NOISE_LINE, _NYQUIST_LINE = 921, 1024  # 21.6 kHz; beyond it nothing but noise is expected
_LAGS = 256
_ENERGY_THRESHOLD = 8000 / 32768**2


def bandwidths(reference: Spectra, estimate: Spectra) -> tuple[Values, Values]:
    """Return the bandwidths of a pair, in lines.

    The noise floor is the estimate's largest line above 21.6 kHz. The reference reaches to its last
    line 10 dB above it, the estimate to its last line 5 dB above it and not beyond the reference.

    Args:
        reference: power before the ear.
        estimate: power before the ear.

    Returns:
        Number of lines up to and with the last; 0 where none is above the floor.

    Source: BS.1387-1, Annex 2, section 4.4. Differs: lines have at least the power 1e-12, so that
    a frame of digital silence has no bandwidth rather than all of it.
    """
    noise = estimate[..., _NOISE_LINE:_NYQUIST_LINE].max(axis=-1, keepdims=True)
    noise = np.maximum(noise, ear.FLOOR)
    count = np.arange(1, _NOISE_LINE + 1)
    width = np.where(reference[..., :_NOISE_LINE] > 10 * noise, count, 0).max(axis=-1)
    heard = (estimate[..., :_NOISE_LINE] >= 10**0.5 * noise) & (count <= width[..., None])
    return width.astype(float), np.where(heard, count, 0).max(axis=-1).astype(float)


def noise_to_mask(
    reference: Spectra, estimate: Spectra, excitation: Pattern
) -> tuple[Values, Values]:
    """Return the ratio of the error to what the reference masks.

    Args:
        reference: power behind the ear's weighting.
        estimate: power behind the ear's weighting.
        excitation: that of the reference.

    Returns:
        Mean and largest ratio of powers over the bands.

    Source: BS.1387-1, Annex 2, sections 3.4, 4.5 and 4.6. The error is the difference of the
    magnitudes, so it knows nothing of phase.
    """
    error = ear.group((np.sqrt(reference) - np.sqrt(estimate)) ** 2)
    ratio = error * ear.bands().mask_offset / excitation
    return ratio.mean(axis=-1), ratio.max(axis=-1)


def modulation_differences(
    reference: Pattern, estimate: Pattern, loudness: Pattern
) -> tuple[Values, Values, Values]:
    """Return how far two modulations are apart.

    Args:
        reference: modulation of the reference.
        estimate: modulation of the estimate.
        loudness: smoothed loudness of the reference.

    Returns:
        The difference, the one that counts added modulation 10 times, and the weight of the frame.

    Source: BS.1387-1, Annex 2, equations 63 to 65.
    """
    difference = np.abs(reference - estimate)
    first = 100 * np.mean(difference / (1 + reference), axis=-1)
    sign = np.where(estimate >= reference, 1, 0.1)
    second = 100 * np.mean(sign * difference / (0.01 + reference), axis=-1)
    weight = loudness / (loudness + 100 * ear.bands().internal_noise ** 0.3)
    return first, second, weight.sum(axis=-1)


def noise_loudness(
    reference: Pattern,
    estimate: Pattern,
    reference_modulation: Pattern,
    estimate_modulation: Pattern,
) -> Values:
    """Return the partial loudness of what was added to the reference, in sone.

    Args:
        reference: adapted excitation of the reference.
        estimate: adapted excitation of the estimate.
        reference_modulation: modulation of the reference.
        estimate_modulation: modulation of the estimate.

    Source: BS.1387-1, Annex 2, equations 66 to 68, with the constants of the basic version.
    """
    noise = ear.bands().internal_noise
    keep = 0.15 * reference_modulation + 0.5
    hear = 0.15 * estimate_modulation + 0.5
    masking = np.exp(-1.5 * (estimate - reference) / reference)
    added = np.maximum(hear * estimate - keep * reference, 0)
    partial = (noise / hear) ** 0.23 * (
        (1 + added / (noise + keep * reference * masking)) ** 0.23 - 1
    )
    return 24 / ear.NUM_BANDS * partial.sum(axis=-1)


def detection(
    reference: Pattern, estimate: Pattern, steps: Literal["trunc", "floor"]
) -> tuple[Together, Together]:
    """Return how probably both ears together hear a difference.

    Args:
        reference: excitation of the reference.
        estimate: excitation of the estimate.
        steps: how level differences in dB become whole.

    Returns:
        Probability in [0, 1], and the differences in just noticeable steps, summed over bands. The
        ear that hears more counts, band by band.

    Source: BS.1387-1, Annex 2, section 4.7.
    """
    reference, estimate = (10 * np.log10(pattern) for pattern in (reference, estimate))
    level = 0.3 * np.maximum(reference, estimate) + 0.7 * estimate
    audible = level > 0
    level = np.where(audible, level, 1)
    step = 5.95072 * (6.39468 / level) ** 1.71332 + np.polyval(
        [9.01033e-11, 5.05622e-6, -0.00102438, 0.0550197, -0.198719], level
    )
    step = np.where(audible, step, 1e30)
    difference = reference - estimate
    # Half of the listeners hear one step; added sound passes from unheard to heard more steeply.
    exponent = np.where(difference > 0, 4, 6)
    silent = 0.5 ** (np.minimum(np.abs(difference) / step, 1e3) ** exponent)  # c l d
    whole = np.trunc(difference) if steps == "trunc" else np.floor(difference)
    probability = 1 - np.prod(silent.min(axis=0), axis=-1)
    return probability, (np.abs(whole) / step).max(axis=0).sum(axis=-1)


def loud_enough(frames: Float[np.ndarray, "c l n"]) -> Bool[np.ndarray, " l"]:
    """Return where the newer half of a frame has energy, in any channel.

    Source: BS.1387-1, Annex 2, section 5.2.4.3.
    """
    energy = np.sum(frames[..., ear.HOP :] ** 2, axis=-1)
    return np.any(energy >= _ENERGY_THRESHOLD, axis=0)


def harmonic_structure(reference: Spectra, estimate: Spectra, config: PeaqConfig) -> Values:
    """Return how regular the error is along frequency.

    The log ratio of the two spectra is correlated with itself shifted by up to 6 kHz; a harmonic
    error makes that correlation periodic, and the largest peak of its spectrum is the result.

    Args:
        reference: power of the lines.
        estimate: power of the lines.
        config: window, mean and tolerance of equality.

    Returns:
        The peak, times 1000, >= 0; 0 where both spectra are equal.

    Source: BS.1387-1, Annex 2, section 4.8. Differs: lines have at least the power 1e-12, and equal
    frames give 0, where the formula has 0 / 0. The line at 0 Hz, which the ear does not pass,
    counts as equal.
    """
    lines = slice(0, 2 * _LAGS)
    log_ratio = np.log(
        np.maximum(estimate[..., lines], ear.FLOOR) / np.maximum(reference[..., lines], ear.FLOOR)
    )
    log_ratio[..., 0] = 0
    square = np.cumsum(log_ratio**2, axis=-1)
    energy = square[..., _LAGS - 1 : -1].copy()
    energy[..., 1:] -= square[..., : _LAGS - 1]  # of the 256 lines from each lag on
    first = energy[..., :1]
    equal = np.sqrt(first / _LAGS) <= config.equal_tolerance

    size = 4 * _LAGS
    whole = fft.rfft(log_ratio, size, axis=-1)
    part = fft.rfft(log_ratio[..., :_LAGS], size, axis=-1)
    correlation = fft.irfft(whole * np.conj(part), size, axis=-1)[..., :_LAGS]
    norm = np.sqrt(np.maximum(first * energy, 0))
    usable = norm > 0
    correlation = np.where(usable, correlation / np.where(usable, norm, 1), 1)
    if config.harmonic_mean == "before":
        correlation = correlation - correlation.mean(axis=-1, keepdims=True)
    spectrum = np.abs(fft.rfft(correlation * _lag_window(config.harmonic_window), axis=-1)) ** 2
    if config.harmonic_mean == "after":
        spectrum[..., 0] = 0
    rising = spectrum[..., 1:] > spectrum[..., :-1]
    peak = np.where(rising, spectrum[..., 1:], 0).max(axis=-1)
    return np.where(equal[..., 0], 0, 1000 * peak)


def _lag_window(top: Literal["middle", "zero"]) -> Float[np.ndarray, " d"]:
    """Return the scaled Hann window over the lags."""
    lag = np.arange(_LAGS)
    if top == "middle":
        shape = 0.5 - 0.5 * np.cos(2 * np.pi * lag / (_LAGS - 1))
    else:
        shape = 0.5 + 0.5 * np.cos(2 * np.pi * lag / (2 * _LAGS - 1))
    return np.sqrt(8 / 3) / _LAGS * shape
