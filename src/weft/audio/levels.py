"""Levels of sound."""

import numpy as np
from jaxtyping import Float

FLOOR_DB = -100.0
"""Level of silence."""


def level_db(samples: Float[np.ndarray, "c n"]) -> float:
    """Return the root mean square level of a stretch, in dB of full scale, >= -100.

    Example:
        >>> round(level_db(np.full((1, 10), 0.1)), 6)
        -20.0
    """
    power = float(np.mean(samples**2)) if samples.size else 0.0
    return max(FLOOR_DB, 10 * float(np.log10(max(power, 1e-30))))
