"""Positions: where gaps are cut for an experiment.

Positions are a function of the seed, the name of the file, its length and the length of the gaps.
Only then is sound looked at: sets with gaps in silence are drawn again. The same draws serve all
gap lengths, so gaps of different lengths lie at about the same places.
"""

import zlib
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.rng import Rng
from weft.shapes import Samples

SILENCE = 1e-4
"""A block whose samples all stay below this (-80 dB of full scale) is silent."""

_NUM_ATTEMPTS = 64
_BLOCK_MS = 10.0
_SIDE_MS = 100.0


@final
@dataclass(frozen=True, kw_only=True)
class PositionConfig:
    """What positions are wanted."""

    num_gaps: int
    """Gaps wanted, >= 1; short recordings get fewer."""
    margin_s: float = 1.0
    """Intact sound before the first and after the last gap, where the recording is long enough;
    else a quarter of what is intact, >= 0."""
    separation_s: float = 0.25
    """Least intact sound between two gaps, >= 0."""

    def __post_init__(self) -> None:
        if self.num_gaps < 1:
            raise ConfigError(f"num_gaps must be >= 1, got {self.num_gaps}")
        if not (self.margin_s >= 0 and self.separation_s >= 0):
            raise ConfigError(
                f"margin_s and separation_s must be >= 0, got {self.margin_s} and "
                f"{self.separation_s}"
            )


def draw_gaps(
    samples: Samples,
    sample_rate: int,
    *,
    gap_ms: float,
    name: str,
    seed: int,
    config: PositionConfig,
) -> tuple[Region, ...]:
    """Return gaps for one recording: sorted, apart, away from the ends and from silence.

    Args:
        samples: the recording.
        sample_rate: in Hz.
        gap_ms: length of each gap, > 0.
        name: of the recording; other names give other positions.
        seed: of the experiment.
        config: how many, and how far from each other.

    Returns:
        At most as many as wanted; none where the recording is too short or too silent.

    Raises:
        ConfigError: ``gap_ms`` is not positive.
    """
    if not gap_ms > 0:
        raise ConfigError(f"gap_ms must be > 0, got {gap_ms}")
    gap = max(1, round(gap_ms * sample_rate / 1000))
    num_samples = samples.shape[1]
    separation = round(config.separation_s * sample_rate)
    margin = min(round(config.margin_s * sample_rate), (num_samples - gap) // 4)
    room = num_samples - 2 * margin
    num_gaps = min(config.num_gaps, (room + separation) // (gap + separation))
    if margin < 1 or num_gaps < 1:
        return ()
    free = room - num_gaps * gap - (num_gaps - 1) * separation
    is_loud = _loud_blocks(samples, sample_rate)
    rng = Rng(seed).stream(zlib.crc32(name.encode()))
    best: tuple[Region, ...] = ()
    for _ in range(_NUM_ATTEMPTS):
        offsets = np.floor(np.sort(rng.random(config.num_gaps)[:num_gaps]) * (free + 1))
        starts = margin + offsets.astype(int) + np.arange(num_gaps) * (gap + separation)
        regions = (Region(start=int(start), stop=int(start) + gap) for start in starts)
        usable = tuple(r for r in regions if _is_usable(r, is_loud, sample_rate))
        if len(usable) > len(best):
            best = usable
        if len(best) == num_gaps:
            break
    return best


def _loud_blocks(samples: Samples, sample_rate: int) -> Float[np.ndarray, " l"]:
    """Return 1 for each 10 ms that is not silent, 0 for others."""
    block = max(1, round(_BLOCK_MS * sample_rate / 1000))
    peak = np.abs(samples).max(axis=0)
    peak = np.pad(peak, (0, -len(peak) % block))
    return (peak.reshape(-1, block).max(axis=1) > SILENCE).astype(np.float64)


def _is_usable(region: Region, is_loud: Float[np.ndarray, " l"], sample_rate: int) -> bool:
    """Whether at least half of the gap and of each side's 100 ms is not silent."""
    block = max(1, round(_BLOCK_MS * sample_rate / 1000))
    side = max(1, round(_SIDE_MS / _BLOCK_MS))
    first, last = region.start // block, -(-region.stop // block)
    stretches = (is_loud[first:last], is_loud[max(0, first - side) : first + 1])
    return all(s.mean() >= 0.5 for s in (*stretches, is_loud[last - 1 : last + side]))
