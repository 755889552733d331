"""Levels: a fill that is far louder or softer than both sides sticks out, whatever it is."""

import numpy as np
from jaxtyping import Float

from weft.audio.fades import fade_in
from weft.audio.levels import level_db
from weft.canvas.canvas import Window

SIDE_MS = 200.0
"""How much of each side tells its level."""
TOLERANCE_DB = 5.0
"""How far from the range of both sides' levels a fill may be."""
MAX_GAIN_DB = 9.0
"""Most that a fill is raised or lowered: a fill that needs more is another sound."""
EDGE_MS = 25.0
"""How much of the gap a change of level takes at each end."""


def level_excess_db(window: Window, fill: Float[np.ndarray, "c g"]) -> float:
    """Return how far a fill's level lies outside the range of both sides' levels.

    Args:
        window: the gap and its surroundings.
        fill: what stands in the gap.

    Returns:
        In dB; > 0 louder than the louder side, < 0 softer than the softer side, 0 between them and
        where no side is known. Below -100 dB of full scale all is silence.
    """
    limit = max(1, round(SIDE_MS * window.sample_rate / 1000))
    sides = [level_db(side) for side in (window.before(limit), window.after(limit)) if side.size]
    if not sides or not fill.size:
        return 0.0
    level = level_db(fill)
    return max(level - max(sides), 0.0) + min(level - min(sides), 0.0)


def hold_level(
    window: Window, fill: Float[np.ndarray, "c g"], tolerance_db: float = TOLERANCE_DB
) -> Float[np.ndarray, "c g"]:
    """Bring a fill that is too loud or too soft near the level of its surroundings.

    One gain for all channels and all of the gap, which leads to 1 at both ends so that the seams
    stay as they are; at most `MAX_GAIN_DB`. A fill within the tolerance comes back as it is.

    Args:
        window: the gap and its surroundings.
        fill: what stands in the gap.
        tolerance_db: how far from the range of both sides' levels it may be, >= 0.
    """
    excess = level_excess_db(window, fill)
    if abs(excess) <= tolerance_db or not np.any(fill):
        return fill
    num_samples = fill.shape[1]
    num_edge = min(round(EDGE_MS * window.sample_rate / 1000), num_samples // 2)
    share = np.ones(num_samples)
    if num_edge:
        share[:num_edge] = fade_in(num_edge)
        share[-num_edge:] = fade_in(num_edge)[::-1]
    wanted_db = float(np.sign(excess)) * tolerance_db - excess
    return fill * 10 ** (_solve_gain(fill, share, wanted_db) * share / 20)


def _solve_gain(
    fill: Float[np.ndarray, "c g"], share: Float[np.ndarray, " g"], wanted_db: float
) -> float:
    """Return the gain in dB that, weighted by ``share``, changes the level by ``wanted_db``."""
    power = (fill**2).mean(axis=0)
    total = float(power.sum())
    low, high = (0.0, MAX_GAIN_DB) if wanted_db > 0 else (-MAX_GAIN_DB, 0.0)
    for _ in range(12):
        gain_db = (low + high) / 2
        reached_db = 10 * np.log10(float((power * 10 ** (gain_db * share / 10)).sum()) / total)
        if reached_db < wanted_db:
            low = gain_db
        else:
            high = gain_db
    return (low + high) / 2
