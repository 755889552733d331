"""From eleven model output variables to a grade.

Constants are those of BS.1387-1, Annex 2, tables 13 to 16 (basic version).
"""

import math
from dataclasses import astuple, dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, kw_only=True)
class Movs:
    """Model output variables of the basic version, in the order of the network's inputs."""

    bandwidth_reference: float
    """Mean bandwidth of the reference, in FFT lines of 23.4 Hz, in [0, 921]."""
    bandwidth_estimate: float
    """Mean bandwidth of the estimate, in FFT lines of 23.4 Hz, in [0, 921]."""
    total_nmr_db: float
    """Ratio of the error to the masked threshold, mean over bands and frames, in dB."""
    windowed_modulation_difference: float
    """Difference of the envelopes' modulation, averaged over windows of 4 frames, >= 0."""
    average_distorted_block: float
    """log10 of the mean steps above threshold in frames that are probably heard as distorted; 0
    without any such frame, -0.5 where their steps are all 0."""
    harmonic_structure: float
    """Strength of a harmonic pattern in the error's spectrum, >= 0."""
    modulation_difference_1: float
    """Difference of the envelopes' modulation, weighted by level, >= 0."""
    modulation_difference_2: float
    """The same with more weight on modulation that was added, >= 0."""
    noise_loudness: float
    """Root mean square of the partial loudness of added noise, in sone, >= 0."""
    detection_probability: float
    """Largest of the smoothed probabilities that a frame is heard as distorted, in [0, 1]."""
    disturbed_frames: float
    """Share of frames with a band 1.5 dB above its masked threshold, in [0, 1]."""


MINIMA = np.array(
    [
        *(393.916656, 361.965332, -24.045116, 1.110661, -0.206623, 0.074318),
        *(1.113683, 0.950345, 0.029985, 0.000101, 0.0),
    ]
)
"""Input of the network that is scaled to 0."""
MAXIMA = np.array(
    [
        *(921.0, 881.131226, 16.212030, 107.137772, 2.886017, 13.933351),
        *(63.257874, 1145.018555, 14.819740, 1.0, 1.0),
    ]
)
"""Input of the network that is scaled to 1."""
_HIDDEN = np.array(
    [
        [-0.502657, 0.436333, 1.219602],
        [4.307481, 3.246017, 1.123743],
        [4.984241, -2.211189, -0.192096],
        [0.051056, -1.762424, 4.331315],
        [2.321580, 1.789971, -0.754560],
        [-5.303901, -3.452257, -10.814982],
        [2.730991, -6.111805, 1.519223],
        [0.624950, -1.331523, -5.955151],
        [3.102889, 0.871260, -5.922878],
        [-1.051468, -0.939882, -0.142913],
        [-1.804679, -0.503610, -0.620456],
    ]
)
_HIDDEN_BIAS = np.array([-2.518254, 0.654841, -2.207228])
_OUTPUT = np.array([-3.817048, 4.107138, 4.629582])
_OUTPUT_BIAS = -0.307594
_ODG_RANGE = (-3.98, 0.22)


def distortion_index(movs: Movs, *, clamp: bool = False) -> float:
    """Return the distortion index: higher is better, about 3.5 at most, never below -4.2.

    Args:
        movs: the network's inputs.
        clamp: hold the inputs within the ranges of the training.

    Source: BS.1387-1, Annex 2, section 6.
    """
    scaled = (np.array(astuple(movs)) - MINIMA) / (MAXIMA - MINIMA)
    if clamp:
        scaled = np.clip(scaled, 0, 1)
    hidden = _sigmoid(scaled @ _HIDDEN + _HIDDEN_BIAS)
    return float(hidden @ _OUTPUT + _OUTPUT_BIAS)


def grade(index: float) -> float:
    """Return the objective difference grade of a distortion index, in [-3.98, 0.22].

    Source: BS.1387-1, Annex 2, section 6.

    Example:
        >>> round(grade(1.304), 2)
        -0.68
    """
    low, high = _ODG_RANGE
    return low + (high - low) / (1 + math.exp(-index))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logistic function without overflow."""
    return 0.5 * (1 + np.tanh(x / 2))
