"""Both sides of a gap: what a local model learns from."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.fades import fade_in
from weft.audio.prediction import usable_order
from weft.canvas.canvas import Window

LEVEL_MS = 50.0
"""How much of each side tells its level."""
MAX_RAISE_DB = 12.0
"""Most that `match_level` raises."""


@final
@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is known on both sides of a gap, without its constant offset."""

    before: Float[np.ndarray, "c a"]
    """Samples up to the gap."""
    after: Float[np.ndarray, "c z"]
    """Samples from the end of the gap."""
    offset: Float[np.ndarray, "c 1"]
    """What was taken off: the mean of both."""
    num_samples: int
    """Length of the gap."""
    order: int
    """Order of the model that the longer side carries; 0: too short for any."""

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Samples before, in and after the gap."""
        return self.before.shape[1], self.num_samples, self.after.shape[1]


def take_sides(window: Window, span_ms: float, context_ms: float) -> Sides:
    """Take the context of a gap.

    Where less is known than asked for, what is taken is shortened to a length from a ladder of
    quarter octaves, so that many gaps have contexts of equal length and are computed together.

    Args:
        window: the gap and its surroundings.
        span_ms: how long the model should reach back.
        context_ms: context wanted on each side.
    """
    wanted = max(3, round(context_ms * window.sample_rate / 1000))
    before, after = window.before(wanted), window.after(wanted)
    before = before[:, before.shape[1] - _step_down(before.shape[1], wanted) :]
    after = after[:, : _step_down(after.shape[1], wanted)]
    count = before.shape[1] + after.shape[1]
    offset = (before.sum(1, keepdims=True) + after.sum(1, keepdims=True)) / max(1, count)
    order = max(1, round(span_ms * window.sample_rate / 1000))
    return Sides(
        before=before - offset,
        after=after - offset,
        offset=offset,
        num_samples=window.gap.num_samples,
        order=usable_order(max(before.shape[1], after.shape[1]), order),
    )


def confidence(
    sides: Sides,
    forward: Float[np.ndarray, "c g"] | None,
    backward: Float[np.ndarray, "c g"] | None,
    lost: float,
) -> float:
    """Return how sure an autoregressive fill is, in [0, 1].

    One minus the larger of two estimates of the error in the middle of the gap, both relative to
    the power of the surroundings: what the models say they cannot predict that far, which rises
    with the gap and with noise, and half the squared difference of the predictions from both
    sides, which tells where the sound changes within the gap. With one side only, half of what
    the first estimate leaves. Silence is certain.

    Args:
        sides: what surrounds the gap.
        forward: prediction from the left, if there is one.
        backward: prediction from the right, if there is one.
        lost: share of power that cannot be predicted over half the gap, in [0, 1].
    """
    power = _power(np.concatenate((sides.before, sides.after), axis=1))
    if forward is None and backward is None:
        return 0.0
    if power == 0:
        return 1.0
    if forward is None or backward is None:
        return 0.5 * (1 - lost)
    weight = fade_in(sides.num_samples)
    weight = weight * (1 - weight)
    difference = float((((forward - backward) ** 2).mean(0) * weight).sum() / weight.sum())
    return min(1.0, max(0.0, 1 - max(lost, difference / (2 * power))))


def match_level(
    samples: Float[np.ndarray, "c g"], sides: Sides, sample_rate: int
) -> Float[np.ndarray, "c g"]:
    """Raise a fill where it is quieter than the line, in dB, from one side's level to the other's.

    One gain for all channels keeps the image. Levels are measured over 50 ms of each side and over
    20 ms of the fill.
    """
    num_level = max(1, round(LEVEL_MS * sample_rate / 1000))
    levels = [_power(side) for side in (sides.before[:, -num_level:], sides.after[:, :num_level])]
    levels = [level for level in levels if level > 0]
    num_samples = samples.shape[1]
    if not levels or num_samples == 0:
        return samples
    wanted = np.exp(
        np.interp(np.linspace(0, 1, num_samples), [0, 1], np.log([levels[0], levels[-1]]))
    )
    reach = min(round(0.01 * sample_rate), num_samples)
    sums = np.cumsum(np.concatenate(([0.0], (samples**2).mean(0))))
    stop = np.minimum(np.arange(num_samples) + reach + 1, num_samples)
    start = np.maximum(np.arange(num_samples) - reach, 0)
    found = np.maximum((sums[stop] - sums[start]) / (stop - start), 1e-30)
    return samples * np.sqrt(np.clip(wanted / found, 1, 10 ** (MAX_RAISE_DB / 10)))


def _power(samples: Float[np.ndarray, "c n"]) -> float:
    """Return the mean square; 0 for none."""
    return float((samples**2).mean()) if samples.size else 0.0


def _step_down(num_samples: int, wanted: int) -> int:
    """Return the largest length of the ladder that is not over ``num_samples``."""
    if num_samples >= wanted or num_samples < 8:
        return num_samples
    return min(num_samples, math.floor(2 ** (math.floor(4 * math.log2(num_samples)) / 4)))
