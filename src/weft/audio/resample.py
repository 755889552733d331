"""Sample rates and channels."""

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError
from weft.shapes import Samples


def resample(samples: Samples, source_rate: int, target_rate: int) -> Float[np.ndarray, "c m"]:
    """Resample with soxr at its highest quality; linear phase, no delay, no clipping.

    Args:
        samples: audio at ``source_rate``.
        source_rate: in Hz.
        target_rate: in Hz; equal to ``source_rate`` returns the samples as they are.

    Raises:
        ConfigError: a rate is not positive.

    Example:
        >>> resample(np.ones((2, 44100)), 44100, 24000).shape
        (2, 24000)
    """
    if source_rate <= 0 or target_rate <= 0:
        raise ConfigError(f"sample rates must be > 0 Hz, got {source_rate} and {target_rate}")
    if source_rate == target_rate:
        return samples
    import soxr

    return np.ascontiguousarray(soxr.resample(samples.T, source_rate, target_rate, "VHQ").T)


def to_mono(samples: Samples) -> Float[np.ndarray, "1 n"]:
    """Return the mean of the channels, ``1 n``."""
    return samples.mean(axis=0, keepdims=True)
