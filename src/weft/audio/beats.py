"""Beats: where a recording's pulse lies, from the autocorrelation of its onsets."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from scipy.ndimage import maximum_filter1d

from weft.audio.spectral import mel_filterbank, stft
from weft.shapes import Samples

SHORTEST_S, LONGEST_S = 0.3, 1.2
"""Periods that are taken for beats: 200 to 50 a minute."""
LEAST_CLARITY = 0.15
"""Autocorrelation under which there is no beat; 20 s of noise reach 0.06."""
_LIKELY_S = 0.5
_HOP_S = 0.01
_WINDOW_S = 0.023
_NUM_BANDS = 40
_MULTIPLES = (1, 2, 4)
_COMPRESSION = 100.0
_REFINED = 0.03
_FINE_STEPS = 61


@final
@dataclass(frozen=True, kw_only=True)
class Beats:
    """An even pulse: beats lie at ``first + k * period``, for whole k."""

    first: float
    """Position of a beat, in samples, in [0, period)."""
    period: float
    """Distance of beats, in samples, > 0."""
    clarity: float
    """Autocorrelation of the onsets at one period, in [0, 1]."""

    def at_or_before(self, position: int) -> int:
        """Return the last beat that does not come after a position, to the nearest sample."""
        return round(self.first + np.floor((position - self.first) / self.period) * self.period)

    def at_or_after(self, position: int) -> int:
        """Return the first beat that does not come before a position, to the nearest sample."""
        return round(self.first + np.ceil((position - self.first) / self.period) * self.period)


def onset_strength(samples: Samples, sample_rate: int) -> Float[np.ndarray, " l"]:
    """Return how much louder each moment is than the one before, every 10 ms.

    It is the mean rise of the compressed mel spectrum, >= 0. Value ``i`` stands for ``(i + 0.5) *
    10 ms``.
    """
    hop = max(1, round(_HOP_S * sample_rate))
    n_fft = 1 << max(4, round(np.log2(_WINDOW_S * sample_rate)))
    spectrum = np.abs(stft(samples, n_fft=n_fft, hop_length=hop)) ** 2
    mels = mel_filterbank(sample_rate, n_fft, _NUM_BANDS) @ spectrum.mean(axis=0)
    loudest = max(float(mels.max(initial=0.0)), 1e-12)
    rises = np.diff(np.log1p(_COMPRESSION * mels / loudest), axis=1)
    return np.maximum(rises, 0).mean(axis=0)


def find_beats(samples: Samples, sample_rate: int) -> Beats | None:
    """Return the pulse of a stretch of sound, None where there is none that can be relied on.

    The period is that of 0.3 to 1.2 s after which, twice and four times which the onset strength
    correlates most with itself, periods near half a second preferred; then period and phase are
    refined so that the most onsets lie on beats.

    Args:
        samples: at least four of the longest periods (5 s) are needed; 20 s are plenty.
        sample_rate: in Hz.

    Example:
        >>> clicks = np.zeros((1, 80000))
        >>> clicks[:, 1000::4000] = 1.0
        >>> beats = find_beats(clicks, 8000)
        >>> round(beats.period), beats.at_or_before(30000) in range(28900, 29100)
        (4000, True)
    """
    strength = onset_strength(samples, sample_rate)
    longest = round(LONGEST_S / _HOP_S)
    if len(strength) < 4 * longest:
        return None
    hop = max(1, round(_HOP_S * sample_rate))
    centred = strength - np.convolve(strength, np.ones(longest) / longest, mode="same")
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(centred))) ** 2
    correlation = np.fft.irfft(spectrum)[: max(_MULTIPLES) * longest + 9]
    if correlation[0] <= 0:
        return None
    correlation = correlation / correlation[0]
    lags = np.arange(round(SHORTEST_S / _HOP_S), longest + 1)
    likely = np.exp(-0.5 * np.log2(lags * _HOP_S / _LIKELY_S) ** 2)
    repeats = sum(_around(correlation, k)[k * lags] for k in _MULTIPLES)
    lag = int(lags[np.argmax(repeats * likely)])
    clarity = float(correlation[lag - 1 : lag + 2].max())
    if clarity < LEAST_CLARITY:
        return None
    period, phase = _refined(centred, lag)
    return Beats(first=((phase + 0.5) * hop) % (period * hop), period=period * hop, clarity=clarity)


def _around(correlation: Float[np.ndarray, " l"], reach: int) -> Float[np.ndarray, " l"]:
    """Return the largest value within ``reach`` lags: a period is rarely a whole number of them."""
    return maximum_filter1d(correlation, 2 * reach + 1)


def _refined(strength: Float[np.ndarray, " l"], lag: int) -> tuple[float, float]:
    """Return the period near a lag, and the phase, for which the most onsets lie on beats."""
    frames = np.arange(len(strength))
    best = (-np.inf, float(lag), 0.0)
    for period in lag * np.linspace(1 - _REFINED, 1 + _REFINED, _FINE_STEPS):
        phases = np.arange(0, period, 0.5)
        count = int((len(strength) - 1 - period) // period)
        beats = phases[:, None] + np.arange(count) * period
        sums = np.interp(beats, frames, strength).mean(axis=1)
        i = int(np.argmax(sums))
        if sums[i] > best[0]:
            best = (float(sums[i]), float(period), float(phases[i]))
    return best[1], best[2]
