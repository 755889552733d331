"""Bandwidth: where the content of a recording ends, and one band put in place of another.

Conventions
-----------
Frequencies are in Hz, arrays ``c n``; channels share one cut-off. A level is that of the mean power
of all frames in a bin of 2048 samples, relative to a full-scale sine; below -120 dB, just above the
rounding noise of 16-bit samples, there is no content.

Two rules say where content ends, and they do not agree; a table names the rule.

* `measure_cutoff_hz`: the break. Content ends where the spectrum leaves its own trend for good, or,
  without a break, where it goes under -120 dB.
* `audiosr_cutoff_hz`: below it lie 98.5 % of the sum of magnitudes. It follows the tilt of the
  spectrum as much as a filter: full-band music may have 8 kHz.

What a break says about the filter that made it, measured on 22 recordings (noise, music, speech,
environments, rendered piano) low-passed at 4, 6, 8 and 12 kHz, as a ratio to the filter's own
cut-off, 5 to 95 %: Chebyshev of order 8 0.92-1.07, elliptic of order 8 0.92-1.03, resampling
0.87-0.96, Butterworth of order 8 0.92-1.19. Slow filters have no break; what is found lies above:
Bessel of order 8 1.16-2.2, Butterworth of order 4 0.92-2.6. A spectrum that breaks by itself, such
as that of a soft piano, ends there: a low-pass above goes unseen.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from weft.audio.spectral import stft
from weft.errors import AudioFormatError, ConfigError, ShapeError
from weft.metrics.pairs import Estimate, validate, validate_rate
from weft.shapes import Samples

_N_FFT = 2048
_BLOCK_SAMPLES = 1 << 18  # long recordings are analysed in pieces, so memory stays constant
_FLOOR_DB = -120.0
_FLOOR_MARGIN_DB = 6.0
_LOWEST_HZ = 100.0
_BANDS_PER_OCTAVE = 24
_FALLS = ((6, 20.0), (12, 20.0), (24, 30.0))
"""A break falls by so many dB beyond the trend within so many bands, and never recovers."""
_EDGE_DB = 9.0
_AUDIOSR_SHARE = 0.985


class _Break(NamedTuple):
    """Where a spectrum leaves its trend."""

    band: int
    level_db: float
    """Median of the half octave below."""
    trend_db: float
    """Fall a band of the octave before, >= 0."""


def measure_cutoff_hz(samples: Samples, sample_rate: int) -> float:
    """Return where the content of a recording ends.

    The levels of 1/24 octaves are searched for the band above which everything lies 20 dB (from a
    quarter or half octave on) or 30 dB (from an octave on) under the continued trend of the octave
    below; the cut-off is the highest bin there within 9 dB of that trend.

    Args:
        samples: the recording; a second or more, best all of it.
        sample_rate: in Hz, >= 400.

    Returns:
        Cut-off in Hz, in [0, half the rate]: half the rate where content reaches it, 0 where there
        is no content at all (silence).

    Raises:
        ShapeError: there are no samples.
        AudioFormatError: a sample is NaN or infinite.
        ConfigError: the rate is below 400 Hz.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((1, 48000))
        >>> measure_cutoff_hz(noise, 48000)
        24000.0
        >>> from scipy import signal
        >>> low = signal.sosfilt(signal.cheby1(8, 0.5, 8000, fs=48000, output="sos"), noise)
        >>> 7800 < measure_cutoff_hz(low, 48000) < 8600
        True
    """
    _check(samples, sample_rate)
    power = _mean_power(samples)
    centres_hz, levels_db = _band_levels(power, sample_rate)
    if levels_db.max() <= _FLOOR_DB + _FLOOR_MARGIN_DB:
        return 0.0
    last = int(np.flatnonzero(levels_db > _FLOOR_DB + _FLOOR_MARGIN_DB)[-1])
    found = _find_break(levels_db, last)
    if found is None:
        return sample_rate / 2 if last >= len(levels_db) - 2 else float(centres_hz[last])
    bins_hz = np.arange(len(power)) * sample_rate / _N_FFT
    smooth_db = _to_db(np.convolve(power, np.full(5, 0.2), "same"))
    bands = np.interp(bins_hz, centres_hz, np.arange(len(centres_hz)))
    beyond = np.clip(bands - (found.band - _BANDS_PER_OCTAVE / 4), 0, _BANDS_PER_OCTAVE)
    limit_db = found.level_db - _EDGE_DB - found.trend_db * beyond
    reach_hz = centres_hz[min(len(centres_hz) - 1, found.band + _BANDS_PER_OCTAVE)]
    inside = np.flatnonzero((smooth_db > limit_db) & (bins_hz < reach_hz))
    return float(bins_hz[inside[-1]]) if len(inside) else float(centres_hz[found.band])


def audiosr_cutoff_hz(samples: Samples, sample_rate: int) -> float:
    """Return the frequency under which 98.5 % of the summed magnitudes lie.

    Args:
        samples: the recording.
        sample_rate: in Hz.

    Returns:
        Frequency of the last bin whose cumulative sum is below the share, in [0, half the rate]; 0
        for silence.

    Raises:
        ShapeError: there are no samples.
        AudioFormatError: a sample is NaN or infinite.
        ConfigError: the rate is not positive.

    Source: AudioSR, `utils.py`, which says energy but sums magnitudes. Differs: measured at the
    recording's own rate, without AudioSR's resampling to 48 kHz.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((1, 48000))
        >>> 23500 < audiosr_cutoff_hz(noise, 48000) < 23800
        True
    """
    _check(samples, sample_rate, lowest_hz=1)
    magnitudes = np.abs(stft(samples, n_fft=_N_FFT, hop_length=480)).sum(axis=(0, 2))
    cumulative = np.cumsum(magnitudes)
    below = np.flatnonzero(cumulative < _AUDIOSR_SHARE * cumulative[-1])
    return float(below[-1] * sample_rate / _N_FFT) if len(below) else 0.0


def replace_low_band(
    reference_low: Samples,
    estimate: Estimate,
    sample_rate: int,
    cutoff_hz: float,
    *,
    transition_hz: float = 0.0,
) -> Float[np.ndarray, "c n"]:
    """Put the known low band in place of an estimate's.

    Bins of a short-time transform (2048 every 512 samples) below the cut-off are taken from the
    known recording, the others from the estimate. Only the difference of the two is transformed: an
    estimate that already has the known samples comes back bit for bit. The level is left alone.

    Args:
        reference_low: the known band at the estimate's rate and length.
        estimate: the full-band estimate.
        sample_rate: of both, in Hz.
        cutoff_hz: where the known band ends, in (0, half the rate].
        transition_hz: width of a linear cross-fade of bins below the cut-off, >= 0; for filters
            that are already down there.

    Returns:
        The estimate with the known low band.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        ConfigError: the cut-off or the transition is outside its range.

    Source: AudioSR's post-processing, also used by AudioLBM. Differs: AudioSR divides the copied
    band by a ratio of energies clipped to [0.8, 1.2], because it has changed the level before.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.standard_normal((2, 1, 9000))
        >>> bool(np.array_equal(replace_low_band(x, x, 8000, 2000.0), x))
        True
        >>> bool(np.allclose(replace_low_band(x, y, 8000, 4000.0), x))
        True
    """
    validate(reference_low, estimate)
    validate_rate(sample_rate)
    if not 0 < cutoff_hz <= sample_rate / 2:
        raise ConfigError(f"cutoff_hz must be in (0, {sample_rate / 2:g}] Hz, got {cutoff_hz}")
    if not 0 <= transition_hz <= cutoff_hz:
        raise ConfigError(f"transition_hz must be in [0, {cutoff_hz:g}] Hz, got {transition_hz}")
    from scipy import signal  # slow to import, and needed here only

    num_samples = estimate.shape[1]
    difference = np.pad(
        reference_low - estimate, ((0, 0), (0, max(0, _N_FFT - num_samples)))
    )  # the transform refuses less than a window
    bins_hz, _, spectrum = signal.stft(difference, sample_rate, nperseg=_N_FFT, noverlap=1536)
    width_hz = max(transition_hz, sample_rate / _N_FFT * 1e-6)
    share = np.clip((cutoff_hz - bins_hz) / width_hz, 0.0, 1.0)
    if cutoff_hz == sample_rate / 2 and transition_hz == 0:
        share[-1] = 1.0
    _, low = signal.istft(spectrum * share[:, None], sample_rate, nperseg=_N_FFT, noverlap=1536)
    return estimate + low[:, :num_samples]


def _check(samples: Samples, sample_rate: int, lowest_hz: int = 400) -> None:
    """Check a single recording."""
    if samples.size == 0:
        raise ShapeError(f"there are no samples to measure, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioFormatError("the recording holds NaN or infinite samples; replace them first")
    if sample_rate < lowest_hz:
        raise ConfigError(f"sample_rate must be >= {lowest_hz} Hz, got {sample_rate}")


def _mean_power(samples: Samples) -> Float[np.ndarray, " f"]:
    """Return the mean power of each bin over frames and channels, 1 for a full-scale sine."""
    total, num_frames = np.zeros(_N_FFT // 2 + 1), 0
    for start in range(0, max(1, samples.shape[1] - _N_FFT + 1), _BLOCK_SAMPLES):
        block = samples[:, start : start + _BLOCK_SAMPLES + _N_FFT // 2]  # no frame twice
        frames = stft(block, n_fft=_N_FFT, hop_length=_N_FFT // 2, center=False)
        total += (frames.real**2 + frames.imag**2).sum(axis=(0, 2))
        num_frames += frames.shape[0] * frames.shape[2]
    return total / num_frames * (4 / _N_FFT) ** 2


def _band_levels(
    power: Float[np.ndarray, " f"], sample_rate: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return centres in Hz and levels in dB of 1/24 octaves, floored."""
    num_bands = int(np.log2(sample_rate / 2 / _LOWEST_HZ) * _BANDS_PER_OCTAVE)
    edges_hz = _LOWEST_HZ * 2 ** (np.arange(num_bands + 1) / _BANDS_PER_OCTAVE)
    edges = edges_hz * _N_FFT / sample_rate + 0.5  # in bins; bin i reaches from i to i + 1
    sums = np.interp(edges, np.arange(len(power) + 1), np.concatenate([[0.0], np.cumsum(power)]))
    levels_db = np.maximum(_to_db(np.diff(sums) / np.diff(edges)), _FLOOR_DB)
    return np.sqrt(edges_hz[1:] * edges_hz[:-1]), levels_db


def _find_break(levels_db: Float[np.ndarray, " m"], last: int) -> _Break | None:
    """Return the band up to ``last`` after which the spectrum falls farthest beyond its trend."""
    half = _BANDS_PER_OCTAVE // 2
    num_bands = len(levels_db)
    above_db = np.maximum.accumulate(levels_db[::-1])[::-1]  # the loudest from here on
    best, found = 0.0, None
    for band in range(_BANDS_PER_OCTAVE + half, min(last + 1, num_bands - 1)):
        near = float(np.median(levels_db[band - half : band]))
        octave_down = band - _BANDS_PER_OCTAVE
        before = float(np.median(levels_db[octave_down - half : octave_down]))
        trend = max(0.0, before - near) / _BANDS_PER_OCTAVE
        for num_later, fall_db in _FALLS:
            if band + num_later < num_bands:
                expected = near - trend * (num_later + half / 2)
                surplus = float(expected - above_db[band + num_later]) - fall_db
                if surplus > best:
                    best, found = surplus, _Break(band, near, trend)
    return found


def _to_db(power: Float[np.ndarray, "*d"]) -> Float[np.ndarray, "*d"]:
    """Return decibels, at least -160."""
    return 10 * np.log10(np.maximum(power, 1e-16))
