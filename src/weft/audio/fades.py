"""Fades: the weights with which one sound gives way to another."""

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError
from weft.shapes import Samples


def fade_in(num_samples: int) -> Float[np.ndarray, " n"]:
    """Return a raised-cosine fade from 0 to 1, both excluded; with its reverse it sums to 1.

    Example:
        >>> w = fade_in(5)
        >>> bool(np.allclose(w + w[::-1], 1))
        True
    """
    if num_samples < 0:
        raise ConfigError(f"a fade must have >= 0 samples, got {num_samples}")
    return 0.5 - 0.5 * np.cos(np.pi * (np.arange(num_samples) + 0.5) / max(num_samples, 1))


def crossfade_gains(
    weight: Float[np.ndarray, " n"], correlation: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return gains (falling, rising) that keep the power of a mix of two equally loud sounds.

    Args:
        weight: share of the rising sound, from 0 to 1 along the fade.
        correlation: of the two sounds, in [0, 1]: 1 gives equal gain (linear), 0 equal power.

    Source: power of a weighted sum of two signals of correlation r is a^2 + b^2 + 2 r a b.
    """
    correlation = min(max(correlation, 0.0), 1.0)
    falling, rising = 1 - weight, weight
    power = falling**2 + rising**2 + 2 * correlation * falling * rising
    scale = 1 / np.sqrt(np.maximum(power, 1e-12))
    return falling * scale, rising * scale


def crossfade(
    falling: Float[np.ndarray, "c n"],
    rising: Float[np.ndarray, "c n"],
    weight: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "c n"]:
    """Let one sound give way to another, by gains that follow how much the two agree.

    Where they agree the gains add up to 1, where they do not their powers do, so that there is
    neither a bump nor a dip. One pair of gains for all channels keeps the stereo image.

    Args:
        falling: the sound that ends.
        rising: the sound that begins.
        weight: share of the rising sound, from 0 to 1 along the fade; see `fade_in`.

    Example:
        >>> tone = np.ones((1, 4))
        >>> bool(np.allclose(crossfade(tone, tone, fade_in(4)), tone))
        True
    """
    power = float(np.sqrt((falling**2).sum() * (rising**2).sum()))
    correlation = float((falling * rising).sum()) / power if power > 0 else 1.0
    gain_falling, gain_rising = crossfade_gains(weight, correlation)
    return falling * gain_falling + rising * gain_rising


def constant_power_gains(
    num_samples: int, start: int = 0, stop: int | None = None
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return gains (falling, rising) of a fade whose powers add up to 1, or a stretch of them.

    Args:
        num_samples: length of the whole fade, >= 1.
        start: first sample wanted.
        stop: one past the last; the end unless told.
    """
    stop = num_samples if stop is None else stop
    angle = (np.arange(start, stop) + 0.5) / num_samples * np.pi / 2
    return np.cos(angle), np.sin(angle)


def constant_power_crossfade(
    ending: Float[np.ndarray, "c e"], beginning: Float[np.ndarray, "c b"], length: int
) -> Samples:
    """Join two sounds by a cross-fade whose gains have powers that add up to 1.

    Args:
        ending: its last ``length`` samples fade out.
        beginning: its first ``length`` samples fade in.
        length: in samples, >= 1.

    Example:
        >>> constant_power_crossfade(np.ones((1, 3)), np.ones((1, 3)), 2).shape
        (1, 4)
    """
    falling, rising = constant_power_gains(length)
    faded = ending[:, -length:] * falling + beginning[:, :length] * rising
    return np.concatenate([ending[:, :-length], faded, beginning[:, length:]], axis=1)
