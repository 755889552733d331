"""Band copy: fill the band above a cut-off with copies of the octave below it.

The oldest way to extend a band, and the bar for learned ones: it knows nothing of what belongs
there, but its level and its texture are plausible.

Source: spectral band replication as described by Dietz, Liljeryd, Kjoerling & Kunz 2002, Spectral
    band replication, a novel approach in audio coding. Differs: no side information from an
    encoder; the envelope above the cut-off continues the slope of the two octaves below it.
"""

import numpy as np
from jaxtyping import Complex, Float

from weft.audio.spectral import stft
from weft.errors import ConfigError
from weft.shapes import Samples

_N_FFT, _HOP = 2048, 512
_STEEPEST, _FLATTEST = -8.0, -0.5
"""Bounds of the slope of log power over log frequency; music has about -2."""


def copy_band_up(samples: Samples, sample_rate: int, cutoff_hz: float) -> Samples:
    """Return the samples with the band above the cut-off filled.

    Args:
        samples: of which nothing, or nothing useful, lies above the cut-off.
        sample_rate: in Hz.
        cutoff_hz: in (0, sample_rate / 2).

    Returns:
        As many samples; below the cut-off they are those given, but for rounding.

    Raises:
        ConfigError: the cut-off is outside its range.

    Example:
        >>> low = np.sin(np.arange(8000) * 0.5)[None]
        >>> copy_band_up(low, 8000, 1000.0).shape
        (1, 8000)
    """
    if not 0 < cutoff_hz < sample_rate / 2:
        raise ConfigError(
            f"cutoff_hz must be in (0, {sample_rate / 2:g}) Hz, got {cutoff_hz:g}; nothing is "
            "missing above half the sample rate"
        )
    cut = max(8, round(cutoff_hz * _N_FFT / sample_rate))
    spectrum = stft(samples, n_fft=_N_FFT, hop_length=_HOP)
    num_bins = spectrum.shape[1]
    high = np.zeros_like(spectrum)
    octave = cut // 2
    source = spectrum[:, cut - octave : cut]
    for first in range(cut, num_bins, octave):
        last = min(num_bins, first + octave)
        high[:, first:last] = source[:, : last - first]
    high[:, cut:] *= _envelope(spectrum, cut)
    return samples + _inverse(high, samples.shape[1])


def _envelope(spectrum: Complex[np.ndarray, "c f l"], cut: int) -> Float[np.ndarray, "c g l"]:
    """Return gains that let the copies continue the slope of what is below the cut-off."""
    num_bins = spectrum.shape[1]
    low = max(1, cut // 4)
    power = np.abs(spectrum[:, low:cut]) ** 2 + 1e-12
    x = np.log(np.arange(low, cut))
    x -= x.mean()
    y = np.log(power)
    slope = np.einsum("f,cfl->cl", x, y) / (x @ x)
    slope = np.clip(slope, _STEEPEST, _FLATTEST)[:, None]
    bins = np.arange(cut, num_bins)
    octave = cut // 2
    origin = cut - octave + (bins - cut) % octave
    return np.exp(0.5 * slope * np.log(bins / origin)[None, :, None])


def _inverse(spectrum: Complex[np.ndarray, "c f l"], num_samples: int) -> Samples:
    """Undo `stft` by least squares over the overlapping frames."""
    from weft.audio.spectral import hann_window

    window = hann_window(_N_FFT)
    frames = np.fft.irfft(np.swapaxes(spectrum, 1, 2), _N_FFT, axis=-1) * window
    length = (frames.shape[1] - 1) * _HOP + _N_FFT
    total, weight = np.zeros((spectrum.shape[0], length)), np.zeros(length)
    for i in range(frames.shape[1]):
        place = slice(i * _HOP, i * _HOP + _N_FFT)
        total[:, place] += frames[:, i]
        weight[place] += window**2
    half = _N_FFT // 2
    inside = slice(half, half + num_samples)
    joined: np.ndarray = total[:, inside] / np.maximum(weight[inside], 1e-9)
    return joined
