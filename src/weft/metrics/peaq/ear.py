"""The ear of PEAQ: from samples to patterns of excitation over 109 bands.

Frames of 2048 samples, 1024 apart, at 48 kHz; power in units in which the threshold of a sound
pressure of 0 dB is 1. Letters: ``l`` frames, ``f`` the 1025 lines of the FFT, ``d`` the 109 bands.

Source: BS.1387-1, Annex 2, sections 2.1 and 3.3; the grouping and the order of summation follow
Kabal 2002, sections 2 and 4.
"""

from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
from jaxtyping import Float, Int
from scipy import fft, signal

from weft.metrics.peaq.config import RATE

FRAME = 2048
"""Samples of a frame."""
HOP = 1024
"""Samples between frames."""
NUM_BANDS = 109
"""Bands of a quarter Bark from 80 Hz to 18 kHz."""
BAND_BARK = 0.25
"""Width of a band, in Bark."""
FLOOR = 1e-12
"""Least power of a band (BS.1387-1), and of a line where a ratio of powers is taken."""

_LOW_HZ, _HIGH_HZ = 80.0, 18000.0
_CALIBRATION_HZ = 1019.5
_COMPRESSION = 0.4
_LOWER_SLOPE = 10 ** (-2.7 * BAND_BARK)
_LOUDNESS_SCALE = 1.07664


@final
@dataclass(frozen=True, kw_only=True)
class Bands:
    """Tables, one value a band."""

    low_hz: Float[np.ndarray, " d"]
    """Lower edge."""
    centre_hz: Float[np.ndarray, " d"]
    """Centre on the Bark scale."""
    high_hz: Float[np.ndarray, " d"]
    """Upper edge."""
    internal_noise: Float[np.ndarray, " d"]
    """Power that the ear itself adds."""
    excitation_at_threshold: Float[np.ndarray, " d"]
    """Excitation of a tone that can just be heard."""
    threshold_index: Float[np.ndarray, " d"]
    """Share of the excitation that has to be added to be noticed at threshold."""
    mask_offset: Float[np.ndarray, " d"]
    """Ratio of the excitation to the noise that it masks."""
    upper_slope: Float[np.ndarray, " d"]
    """Factor a band of the spreading upwards, without its dependence on level."""
    lower_sum: Float[np.ndarray, " d"]
    """Sum of the spreading downwards of a unit."""


@cache
def bands() -> Bands:
    """Return the tables of the bands; shared, do not write into them.

    Example:
        >>> [float(round(hz, 2)) for hz in bands().centre_hz[[0, 54, 108]]]
        [91.71, 2532.46, 17690.04]
    """
    first, last = (7 * np.arcsinh(hz / 650) for hz in (_LOW_HZ, _HIGH_HZ))
    edges = np.minimum(first + BAND_BARK * np.arange(NUM_BANDS + 1), last)
    centre_hz = 650 * np.sinh((edges[:-1] + edges[1:]) / 14)
    low_hz, high_hz = 650 * np.sinh(edges[:-1] / 7), 650 * np.sinh(edges[1:] / 7)
    index = np.arange(NUM_BANDS)
    threshold_db = 3.64 * (centre_hz / 1000) ** -0.8
    return Bands(
        low_hz=low_hz,
        centre_hz=centre_hz,
        high_hz=high_hz,
        internal_noise=10 ** (0.04 * threshold_db),
        excitation_at_threshold=10 ** (0.1 * threshold_db),
        threshold_index=10
        ** (
            0.1
            * (-2 - 2.05 * np.arctan(centre_hz / 4000) - 0.75 * np.arctan((centre_hz / 1600) ** 2))
        ),
        mask_offset=10 ** (np.maximum(3, 0.25 * BAND_BARK * index) / 10),
        upper_slope=10 ** ((-2.4 - 23 / centre_hz) * BAND_BARK),
        lower_sum=(1 - _LOWER_SLOPE ** (index + 1)) / (1 - _LOWER_SLOPE),
    )


@cache
def window() -> Float[np.ndarray, " n"]:
    """Return the Hann window whose ends are 0."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / (FRAME - 1))


@cache
def ear_weights() -> Float[np.ndarray, " f"]:
    """Return the power response of the outer and middle ear at the lines of the FFT.

    Source: BS.1387-1, Annex 2, equation 7, squared. The line at 0 Hz has no power.
    """
    khz = np.arange(1, FRAME // 2 + 1) * RATE / FRAME / 1000
    gain_db = -2.184 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) - 1e-3 * khz**3.6
    return np.concatenate([[0.0], 10 ** (gain_db / 10)])


def calibration(level_db: float) -> float:
    """Return the factor from FFT power to that of sound, for a full-scale sine at a level.

    The sine of the Recommendation has 1019.5 Hz, which lies between two lines; the larger of them
    reads 0.8497 of what a line in the middle would, and that one is set to the level.

    Args:
        level_db: sound pressure level of the sine, in dB SPL.

    Source: Kabal 2002, section 2.4, for BS.1387-1, Annex 2, equation 5.
    """
    position = _CALIBRATION_HZ / RATE * FRAME
    distance = abs(position - round(position)) / FRAME * (FRAME - 1)
    scallop = np.sin(np.pi * distance) / (np.pi * distance * (1 - distance**2))
    return float(10 ** (level_db / 10) / (scallop / 4 * (FRAME - 1)) ** 2)


def power_spectra(
    frames: Float[np.ndarray, "c l n"], level_db: float
) -> Float[np.ndarray, "c l f"]:
    """Return the power of the lines of frames, before the ear."""
    spectrum = fft.rfft(frames * window(), axis=-1)
    return (spectrum.real**2 + spectrum.imag**2) * calibration(level_db)


@cache
def shares() -> tuple[Int[np.ndarray, " s"], Float[np.ndarray, " s"], Int[np.ndarray, " d"]]:
    """Return which share of which line falls into which band.

    A line is as wide as the distance of lines; one that an edge cuts goes to both bands.

    Returns:
        Lines and their shares in (0, 1], band after band, and where each band begins in them.
    """
    width = RATE / FRAME
    low_hz, high_hz = bands().low_hz[:, None], bands().high_hz[:, None]
    lines = np.arange(FRAME // 2 + 1)
    common = np.minimum((lines + 0.5) * width, high_hz) - np.maximum((lines - 0.5) * width, low_hz)
    band, line = np.nonzero(common > 0)
    return line, common[band, line] / width, np.searchsorted(band, np.arange(NUM_BANDS))


def group(power: Float[np.ndarray, "... f"]) -> Float[np.ndarray, "... d"]:
    """Return the power in bands, floored."""
    lines, weights, starts = shares()
    return np.maximum(np.add.reduceat(power[..., lines] * weights, starts, axis=-1), FLOOR)


def spread(pattern: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "... d"]:
    """Return what a pattern excites after spreading over the bands.

    Downwards by 27 dB a Bark, upwards by ``24 + 230 Hz / f - 0.2 L`` dB a Bark at level L: louder
    sounds spread further. A pattern of 0 dB everywhere stays as it is.

    Args:
        pattern: power of the bands with the internal noise, > 0.

    Source: BS.1387-1, Annex 2, section 2.1.7.
    """
    return _spread(pattern) / _unit_spread()


@cache
def _unit_spread() -> Float[np.ndarray, " d"]:
    return _spread(np.ones(NUM_BANDS))


def _spread(pattern: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "... d"]:
    """Return the spreading of a pattern before its normalisation."""
    table = bands()
    slope = table.upper_slope * pattern ** (0.2 * BAND_BARK)
    above = np.arange(NUM_BANDS, 0, -1)
    flat = np.abs(1 - slope) < 1e-9  # the geometric sum has its limit there
    upper_sum = np.where(flat, above, (1 - slope**above) / np.where(flat, 1, 1 - slope))
    source = (pattern / (table.lower_sum + upper_sum - 1)) ** _COMPRESSION
    slope = slope**_COMPRESSION
    downwards = [1, -(_LOWER_SLOPE**_COMPRESSION)]
    total = signal.lfilter([1], downwards, source[..., ::-1], axis=-1)[..., ::-1]
    moved = source
    for steps in range(1, NUM_BANDS):
        moved = moved[..., :-1] * slope[..., : NUM_BANDS - steps]
        total[..., steps:] += moved
    return total ** (1 / _COMPRESSION)


def loudness(excitation: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "..."]:
    """Return the loudness of patterns of excitation, in sone.

    Source: BS.1387-1, Annex 2, section 3.3.
    """
    table = bands()
    share, threshold = table.threshold_index, table.excitation_at_threshold
    specific = (threshold / (1e4 * share)) ** 0.23 * (
        (1 - share + share * excitation / threshold) ** 0.23 - 1
    )
    return 24 / NUM_BANDS * _LOUDNESS_SCALE * np.maximum(specific, 0).sum(axis=-1)


def retention(slow_s: float) -> Float[np.ndarray, " d"]:
    """Return what a first-order filter of each band keeps from frame to frame, in (0, 1).

    Args:
        slow_s: time constant at 100 Hz, in seconds; that of high bands is 8 ms.

    Source: BS.1387-1, Annex 2, equations 21 and 22.
    """
    fast_s = 0.008
    constant = fast_s + 100 / bands().centre_hz * (slow_s - fast_s)
    return np.exp(-HOP / RATE / constant)
