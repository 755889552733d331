"""Patterns that remember: smearing over time, adaptation of levels, modulation.

All are first-order filters over frames, one a band. Each filter takes its state and returns the
next one, so that a long recording passes in blocks with the same result. Patterns are
``c l d``: channels, frames, bands.

Source: BS.1387-1, Annex 2, sections 2.1.8, 3.1 and 3.2.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

from weft.metrics.peaq import ear
from weft.metrics.peaq.config import RATE

Pattern: TypeAlias = Float[np.ndarray, "c l d"]
State: TypeAlias = Float[np.ndarray, "c d"]

SMEARING_S = 0.030
"""Time constant of smearing at 100 Hz, in seconds."""
ADAPTING_S = 0.050
"""Time constant of adaptation and modulation at 100 Hz, in seconds."""
_NEIGHBOURS_BELOW, _NEIGHBOURS_ABOVE = 3, 4


@final
@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the filters of a pair of signals know of the frames before; all start at 0."""

    reference_smear: State
    """Smeared excitation of the reference."""
    estimate_smear: State
    """Smeared excitation of the estimate."""
    reference_level: State
    """Smoothed excitation of the reference, for the adaptation of levels."""
    estimate_level: State
    """Smoothed excitation of the estimate, for the adaptation of levels."""
    product: State
    """Sum of products of both excitations."""
    square: State
    """Sum of squares of the reference's excitation."""
    reference_gain: State
    """Smoothed correction of the reference."""
    estimate_gain: State
    """Smoothed correction of the estimate."""
    reference_modulation: Float[np.ndarray, "3 c d"]
    """Loudness of the last frame, smoothed loudness, smoothed change of loudness."""
    estimate_modulation: Float[np.ndarray, "3 c d"]
    """The same of the estimate."""

    @staticmethod
    def empty(num_channels: int) -> "Memory":
        """Return the state before the first frame."""
        state = np.zeros((num_channels, ear.NUM_BANDS))
        triple = np.zeros((3, num_channels, ear.NUM_BANDS))
        return Memory(
            reference_smear=state,
            estimate_smear=state,
            reference_level=state,
            estimate_level=state,
            product=state,
            square=state,
            reference_gain=state,
            estimate_gain=state,
            reference_modulation=triple,
            estimate_modulation=triple,
        )


@cache
def _retentions() -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return what the filters of smearing and of adaptation keep."""
    return ear.retention(SMEARING_S), ear.retention(ADAPTING_S)


def accumulate(
    values: Pattern, keep: Float[np.ndarray, " d"], state: State
) -> tuple[Pattern, State]:
    """Return ``y[l] = keep * y[l - 1] + values[l]`` and the last frame of it."""
    result = np.empty_like(values)
    for frame in range(values.shape[1]):
        state = state * keep + values[:, frame]
        result[:, frame] = state
    return result, state


def smooth(values: Pattern, keep: Float[np.ndarray, " d"], state: State) -> tuple[Pattern, State]:
    """Return a running mean that keeps a share of its past, and its state."""
    return accumulate(values * (1 - keep), keep, state)


def smear(pattern: Pattern, state: State) -> tuple[Pattern, State]:
    """Return the excitation: what just sounds, or what still rings of earlier frames."""
    ringing, state = smooth(pattern, _retentions()[0], state)
    return np.maximum(ringing, pattern), state


def modulation(
    pattern: Pattern, state: Float[np.ndarray, "3 c d"]
) -> tuple[Pattern, Pattern, Float[np.ndarray, "3 c d"]]:
    """Return how much the envelope of each band moves.

    Args:
        pattern: excitation before smearing.
        state: last loudness, smoothed loudness, smoothed change.

    Returns:
        Modulation, smoothed loudness, next state.

    Source: BS.1387-1, Annex 2, equations 54 to 57.
    """
    keep = _retentions()[1]
    level = pattern**0.3
    before = np.concatenate([state[0][:, None], level[:, :-1]], axis=1)
    change = RATE / ear.HOP * np.abs(level - before)
    mean, last_mean = smooth(level, keep, state[1])
    moving, last_moving = smooth(change, keep, state[2])
    return moving / (1 + mean / 0.3), mean, np.stack([level[:, -1], last_mean, last_moving])


def adapt(
    reference: Pattern, estimate: Pattern, memory: Memory
) -> tuple[Pattern, Pattern, dict[str, State]]:
    """Take differences of level and of slow frequency response out of two excitations.

    Args:
        reference: excitation of the reference.
        estimate: excitation of the estimate.
        memory: state before these frames.

    Returns:
        Adapted excitations of both, and the fields of the next state.

    Source: BS.1387-1, Annex 2, section 3.1. The corrections start at 0 as in its formulas.
    """
    keep = _retentions()[1]
    loud, reference_level = smooth(reference, keep, memory.reference_level)
    fill, estimate_level = smooth(estimate, keep, memory.estimate_level)
    level = (np.sqrt(loud * fill).sum(axis=-1) / fill.sum(axis=-1))[..., None] ** 2
    reference = reference / np.maximum(level, 1)
    estimate = estimate * np.minimum(level, 1)
    product, last_product = accumulate(reference * estimate, keep, memory.product)
    square, last_square = accumulate(reference * reference, keep, memory.square)
    ratio = product / square
    reference_gain, last_reference = smooth(
        _average_bands(np.minimum(ratio, 1)), keep, memory.reference_gain
    )
    estimate_gain, last_estimate = smooth(
        _average_bands(np.minimum(1 / ratio, 1)), keep, memory.estimate_gain
    )
    return (
        reference * reference_gain,
        estimate * estimate_gain,
        {
            "reference_level": reference_level,
            "estimate_level": estimate_level,
            "product": last_product,
            "square": last_square,
            "reference_gain": last_reference,
            "estimate_gain": last_estimate,
        },
    )


def _average_bands(pattern: Pattern) -> Pattern:
    """Return the mean over 3 bands below to 4 above, cut at the ends."""
    margins = ((0, 0), (0, 0), (_NEIGHBOURS_BELOW, _NEIGHBOURS_ABOVE))
    size = _NEIGHBOURS_BELOW + 1 + _NEIGHBOURS_ABOVE
    total = sliding_window_view(np.pad(pattern, margins), size, axis=-1).sum(axis=-1)
    index = np.arange(ear.NUM_BANDS)
    below = np.minimum(index, _NEIGHBOURS_BELOW)
    above = np.minimum(index[::-1], _NEIGHBOURS_ABOVE)
    return total / (below + 1 + above)
