"""Damage that some training crops get, so that the encoder learns what damage sounds like."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32
from scipy import signal

from weft.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class DamageConfig:
    """How often and how strongly."""

    probability: float = 0.3
    """Share of crops that are damaged, in one of the ways each, in [0, 1]."""
    cutoff_hz: tuple[float, float] = (400.0, 7000.0)
    """Of low-pass filters, drawn on a logarithmic scale, > 0."""
    snr_db: tuple[float, float] = (0.0, 45.0)
    """Of white noise that is added, to the crop's level."""
    drive_db: tuple[float, float] = (3.0, 30.0)
    """How far the crop's peak is over the level where it is clipped."""
    gap_ms: tuple[float, float] = (10.0, 400.0)
    """Length of gaps of silence, of which there are up to `max_gaps`."""
    max_gaps: int = 8
    """Most gaps, >= 1."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.probability <= 1 or self.max_gaps < 1:
            raise ConfigError(
                f"probability must be in [0, 1] and max_gaps >= 1, got {self.probability} and "
                f"{self.max_gaps}"
            )
        for name in ("cutoff_hz", "snr_db", "drive_db", "gap_ms"):
            low, high = getattr(self, name)
            if not (low <= high and (low > 0 or name in ("snr_db", "drive_db"))):
                raise ConfigError(f"{name} must be two values in order, got {low} and {high}")


def damage(
    samples: Float32[np.ndarray, " n"],
    sample_rate: int,
    config: DamageConfig,
    rng: np.random.Generator,
) -> Float32[np.ndarray, " n"]:
    """Return the samples, damaged in one way or not at all.

    Args:
        samples: of one channel.
        sample_rate: in Hz; a cut-off is at most 0.45 of it.
        config: how often and how strongly.
        rng: of this crop.
    """
    if rng.random() >= config.probability:
        return samples
    kind = rng.integers(4)
    if kind == 0:
        low, high = np.log(config.cutoff_hz)
        cutoff = min(float(np.exp(rng.uniform(low, high))), 0.45 * sample_rate)
        sections = signal.butter(int(rng.integers(2, 9)), cutoff, fs=sample_rate, output="sos")
        changed = signal.sosfilt(sections, samples)
    elif kind == 1:
        level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        noise = rng.standard_normal(len(samples))
        changed = samples + noise * level * 10 ** (-rng.uniform(*config.snr_db) / 20)
    elif kind == 2:
        peak = float(np.abs(samples).max(initial=0.0)) * 10 ** (-rng.uniform(*config.drive_db) / 20)
        changed = np.clip(samples, -peak, peak)
    else:
        changed = samples.copy()
        for _ in range(int(rng.integers(1, config.max_gaps + 1))):
            length = round(rng.uniform(*config.gap_ms) / 1000 * sample_rate)
            start = int(rng.integers(max(1, len(samples) - length)))
            changed[start : start + length] = 0
    return np.asarray(changed, dtype=np.float32)
