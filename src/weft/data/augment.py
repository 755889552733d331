"""Augmentation: changes of a crop that leave it a sound one could have recorded.

All functions leave their input alone, keep its float type, and do not clip.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError, ShapeError

_MAX_SEMITONES = 24.0


@final
@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What `augment` may do, and how often."""

    gain_db: tuple[float, float] = (-6.0, 6.0)
    """Lowest and highest gain, in dB, drawn uniformly; (0, 0) leaves the level."""
    polarity_probability: float = 0.5
    """How often all samples change sign, in [0, 1]."""
    swap_probability: float = 0.5
    """How often the order of the channels is turned round, in [0, 1]."""
    speed_semitones: float = 2.0
    """Largest change of pitch and speed together, up or down, in [0, 24]."""
    speed_probability: float = 0.5
    """How often pitch and speed change, in [0, 1]."""
    mix_probability: float = 0.0
    """How often another crop is added, in [0, 1]."""
    mix_ratio_db: tuple[float, float] = (0.0, 15.0)
    """Lowest and highest level of the crop above that of the one added, in dB."""
    max_peak: float = 1.0
    """A result with a larger magnitude is divided down to this one; > 0, inf never divides."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("gain_db", "mix_ratio_db"):
            low, high = getattr(self, name)
            if not -200 <= low <= high <= 200:
                raise ConfigError(
                    f"{name} must be two levels in order, from -200 to 200 dB, got {low} and {high}"
                )
        for name in (
            "polarity_probability",
            "swap_probability",
            "speed_probability",
            "mix_probability",
        ):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {value}")
        if not 0 <= self.speed_semitones <= _MAX_SEMITONES:
            raise ConfigError(
                f"speed_semitones must be in [0, {_MAX_SEMITONES:g}], got {self.speed_semitones}"
            )
        if not self.max_peak > 0:
            raise ConfigError(f"max_peak must be > 0, got {self.max_peak}")

    def num_source_samples(self, num_samples: int) -> int:
        """Return how long a crop must be so that ``num_samples`` are left at the highest speed.

        Example:
            >>> AugmentConfig(speed_semitones=12.0).num_source_samples(1000)
            2001
        """
        if self.speed_probability == 0 or self.speed_semitones == 0:
            return num_samples
        return math.ceil(num_samples * semitones_to_ratio(self.speed_semitones)) + 1


def augment(
    samples: Float[np.ndarray, "c n"],
    config: AugmentConfig,
    rng: np.random.Generator,
    *,
    num_samples: int,
    other_fn: Callable[[], Float[np.ndarray, "c m"]] | None = None,
) -> Float[np.ndarray, "c {num_samples}"]:
    """Change speed, mix, gain, polarity and channels of a crop, as drawn.

    The same numbers are drawn whatever the settings, so that a change of one setting does not
    change what the others do.

    Args:
        samples: at least `AugmentConfig.num_source_samples` of ``num_samples``.
        config: what may be done.
        rng: of this crop.
        num_samples: length of the result; it is taken from the middle.
        other_fn: returns the crop to add, at least ``num_samples`` long; called when it is needed.

    Raises:
        ShapeError: a crop is too short, or the one to add has other channels.
        ConfigError: mixing is asked for, and there is no ``other_fn``.

    Example:
        >>> config = AugmentConfig(speed_semitones=0.0)
        >>> crop = np.random.default_rng(1).uniform(-0.1, 0.1, (2, 64))
        >>> augment(crop, config, np.random.default_rng(7), num_samples=64).shape
        (2, 64)
    """
    needed = config.num_source_samples(num_samples)
    if samples.shape[1] < needed:
        raise ShapeError(
            f"to augment {num_samples} samples takes a crop of {needed}, got {samples.shape[1]}"
        )
    if config.mix_probability > 0 and other_fn is None:
        raise ConfigError("mixing needs crops to mix with; give other_fn or mix_probability=0")
    chances = rng.random(4)
    semitones, gain_db, ratio_db = rng.uniform(
        (-config.speed_semitones, config.gain_db[0], config.mix_ratio_db[0]),
        (config.speed_semitones, config.gain_db[1], config.mix_ratio_db[1]),
    )
    sound = samples
    if config.speed_semitones and chances[0] < config.speed_probability:
        sound = change_speed(sound, semitones_to_ratio(float(semitones)))
    sound = _middle(sound, num_samples)
    if other_fn is not None and chances[1] < config.mix_probability:
        other = other_fn()
        if other.shape[0] != sound.shape[0] or other.shape[1] < num_samples:
            raise ShapeError(
                f"the crop to mix with must be ({sound.shape[0]}, >= {num_samples}), got "
                f"{other.shape}"
            )
        sound = mix(sound, _middle(other, num_samples), float(ratio_db))
    sound = apply_gain(sound, float(gain_db))
    if chances[2] < config.polarity_probability:
        sound = invert_polarity(sound)
    if chances[3] < config.swap_probability:
        sound = swap_channels(sound)
    return limit_peak(sound, config.max_peak)


def apply_gain(samples: Float[np.ndarray, "c n"], gain_db: float) -> Float[np.ndarray, "c n"]:
    """Return the samples at another level.

    Example:
        >>> apply_gain(np.ones((1, 2)), -20.0).tolist()
        [[0.1, 0.1]]
    """
    return _like(samples, samples * 10 ** (gain_db / 20))


def invert_polarity(samples: Float[np.ndarray, "c n"]) -> Float[np.ndarray, "c n"]:
    """Return the samples with the other sign; twice is the identity.

    Example:
        >>> invert_polarity(np.array([[0.5, -0.25]])).tolist()
        [[-0.5, 0.25]]
    """
    return np.negative(samples)


def swap_channels(samples: Float[np.ndarray, "c n"]) -> Float[np.ndarray, "c n"]:
    """Return the channels in the reverse order; twice is the identity.

    Example:
        >>> swap_channels(np.array([[1.0], [2.0]])).tolist()
        [[2.0], [1.0]]
    """
    return samples[::-1].copy()


def change_speed(samples: Float[np.ndarray, "c n"], ratio: float) -> Float[np.ndarray, "c m"]:
    """Return the samples as they sound when played faster: pitch rises and time shrinks alike.

    Played slower, the band above ``ratio`` times half the sample rate stays empty; played faster,
    what would lie above half the sample rate is removed.

    Args:
        samples: any sound.
        ratio: new speed as a multiple of the old one, in [1/4, 4].

    Returns:
        ``n / ratio`` samples, rounded, at the rate of the input.

    Raises:
        ConfigError: the ratio is out of range.

    Example:
        >>> change_speed(np.zeros((2, 1000)), 2.0).shape
        (2, 500)
    """
    if not 0.25 <= ratio <= 4:
        raise ConfigError(f"ratio must be in [1/4, 4], got {ratio}")
    if ratio == 1:
        return samples.copy()
    import soxr

    return np.ascontiguousarray(soxr.resample(samples.T, ratio, 1.0, "HQ").T)


def semitones_to_ratio(semitones: float) -> float:
    """Return the ratio of frequencies of an interval.

    Example:
        >>> semitones_to_ratio(12.0)
        2.0
    """
    return float(2 ** (semitones / 12))


def mix(
    samples: Float[np.ndarray, "c n"], other: Float[np.ndarray, "c n"], ratio_db: float
) -> Float[np.ndarray, "c n"]:
    """Return the sum of two sounds, the second scaled so that it lies below the first.

    Args:
        samples: the sound that keeps its level.
        other: the sound to add.
        ratio_db: rms of ``samples`` above the rms of what is added, in dB.

    Returns:
        The sum; ``samples`` as they are where either of the two is silent.

    Example:
        >>> mix(np.ones((1, 2)), np.array([[5.0, -5.0]]), 20.0).tolist()
        [[1.1, 0.9]]
    """
    rms, other_rms = (
        float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (samples, other)
    )
    if rms == 0 or other_rms == 0:
        return samples.copy()
    return _like(samples, samples + other * (rms / other_rms * 10 ** (-ratio_db / 20)))


def limit_peak(samples: Float[np.ndarray, "c n"], max_peak: float) -> Float[np.ndarray, "c n"]:
    """Return the samples divided so that no magnitude is above ``max_peak``; quieter ones as is.

    Example:
        >>> limit_peak(np.array([[2.0, -4.0]]), 1.0).tolist()
        [[0.5, -1.0]]
    """
    peak = float(np.abs(samples).max(initial=0.0))
    return _like(samples, samples * (max_peak / peak)) if peak > max_peak else samples


def _middle(samples: Float[np.ndarray, "c n"], num_samples: int) -> Float[np.ndarray, "c m"]:
    start = (samples.shape[1] - num_samples) // 2
    return samples[:, start : start + num_samples]


def _like(
    samples: Float[np.ndarray, "c n"], result: Float[np.ndarray, "c n"]
) -> Float[np.ndarray, "c n"]:
    return result.astype(samples.dtype, copy=False)
