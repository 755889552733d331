"""Measurements: what is known of a sequence, and the nearest sequence that agrees with it.

A measurement is linear, ``y = A x`` along the axis of frames. Its projection changes a sequence as
little as possible so that it measures ``y``: ``x + A^T (A A^T)^-1 (y - A x)``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weft.errors import ConfigError, ShapeError

MAX_TAPS = 1 << 16
MAX_DECIMATION = 1 << 10
SMALLEST_GAIN = 3e-5
"""About -90 dB: what a filter passes less of counts as not measured."""


class Operator(ABC):
    """A linear measurement of sequences (interface)."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b m d"]:
        """Measure; differentiable."""

    @abstractmethod
    def project(
        self, x: Float[Tensor, "b l d"], y: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b l d"]:
        """Return the sequence nearest to ``x`` that measures ``y``; not differentiable.

        Args:
            x: any sequence.
            y: what it shall measure, as `apply` would put it.
        """


@final
@dataclass(frozen=True, kw_only=True)
class TimeMask(Operator):
    """Frames are either measured as they are or not at all.

    A measurement has the shape of the sequence, with zeros where nothing is known. ``A A^T`` is the
    identity on what is known, so the projection is a paste, bit for bit.

    Example:
        >>> mask = TimeMask(known=torch.tensor([[True, False]]))
        >>> mask.project(torch.zeros(1, 2, 1), torch.ones(1, 2, 1)).flatten().tolist()
        [1.0, 0.0]

    Source: seed 001, table 2, the operators ``A_L`` and ``[A_L; A_R]``.
    """

    known: Bool[Tensor, "b l"]
    """True where a frame is observed."""

    def apply(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return torch.where(self._of(x), x, 0.0)

    def project(
        self, x: Float[Tensor, "b l d"], y: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        return torch.where(self._of(x), y.to(x), x).detach()

    def _of(self, x: Tensor) -> Bool[Tensor, "b l 1"]:
        if x.shape[:2] != self.known.shape:
            raise ShapeError(
                f"the mask is for {tuple(self.known.shape)} items and frames, but the sequence has "
                f"{tuple(x.shape[:2])}; make the mask from the same canvas"
            )
        return self.known[..., None]


@final
@dataclass(frozen=True, kw_only=True)
class LowPass(Operator):
    """A finite filter, of which every ``decimation``-th output is kept.

    Output j is centred on frame ``j * decimation``; outside the sequence there are zeros. The
    projection is the true pseudo-inverse: what passes the filter becomes as measured, what does not
    stays as it was. A band that the filter holds back by more than 90 dB below its strongest counts
    as not measured. The projection is calculated on the CPU in 64 bits.

    Example:
        >>> half = LowPass(taps=(0.25, 0.5, 0.25), decimation=2)
        >>> y = torch.tensor([1.0, -1.0, 2.0])[None, :, None]
        >>> filled = half.project(torch.zeros(1, 6, 1), y)
        >>> bool(torch.allclose(half.apply(filled), y, atol=1e-6))
        True

    Source: seed 001, appendix A ("data consistency"), the projection for linear A. Differs from
    CQTdiff's code, which adds ``y - A x``: that is a projection only if A is one.
    """

    taps: tuple[float, ...]
    """The impulse response, finite numbers, not all 0; 1 to 65536 of them."""
    decimation: int = 1
    """Which outputs are kept, in [1, 1024]."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.taps) <= MAX_TAPS:
            raise ConfigError(f"taps must be 1 to {MAX_TAPS} numbers, got {len(self.taps)}")
        if not np.isfinite(self.taps).all() or not np.any(self.taps):
            raise ConfigError("taps must be finite numbers, not all 0; design the filter anew")
        if not 1 <= self.decimation <= MAX_DECIMATION:
            raise ConfigError(f"decimation must be in [1, {MAX_DECIMATION}], got {self.decimation}")

    def num_measured(self, num_frames: int) -> int:
        """Return how many outputs a sequence of ``num_frames`` gives."""
        return -(-num_frames // self.decimation)

    def apply(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b m d"]:
        before = (len(self.taps) - 1) // 2
        rows = x.transpose(1, 2).flatten(0, 1)[:, None]  # (b d) 1 l
        padded = torch.nn.functional.pad(rows, (before, len(self.taps) - 1 - before))
        found = torch.nn.functional.conv1d(padded, self._kernel(x), stride=self.decimation)
        return found[:, 0].unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)

    @torch.no_grad()
    def project(
        self, x: Float[Tensor, "b l d"], y: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b l d"]:
        num_measured = self.num_measured(x.shape[1])
        if y.shape != (x.shape[0], num_measured, x.shape[2]):
            raise ShapeError(
                f"a sequence of {x.shape[1]} frames has {num_measured} measured ones at a "
                f"decimation of {self.decimation}, but the measurement has the shape "
                f"{tuple(y.shape)} and the sequence {tuple(x.shape)}; measure with `apply`"
            )
        from scipy import linalg  # slow to import, and needed here only

        factor = _factor(self.taps, self.decimation, x.shape[1])
        exact = x.cpu().double()
        # Twice: what the filter passes then shows no trace of the number added to the diagonal.
        for _ in range(2):
            missing = (y.cpu().double() - self.apply(exact)).transpose(1, 2)  # b d m
            solved = linalg.cho_solve_banded((factor, True), missing.flatten(0, 1).T.numpy())
            exact = exact + self._spread(torch.from_numpy(solved.T).reshape(missing.shape), exact)
        return exact.to(x)

    def _spread(
        self, y: Float[Tensor, "b d m"], like: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """Apply the transpose."""
        before, num_frames = (len(self.taps) - 1) // 2, like.shape[1]
        rows = torch.nn.functional.conv_transpose1d(
            y.flatten(0, 1)[:, None], self._kernel(y), stride=self.decimation
        )[:, 0, before:]
        rows = torch.nn.functional.pad(rows, (0, max(0, num_frames - rows.shape[1])))
        return rows[:, :num_frames].unflatten(0, y.shape[:2]).transpose(1, 2)

    def _kernel(self, like: Tensor) -> Float[Tensor, "1 1 k"]:
        return torch.tensor(self.taps, dtype=like.dtype, device=like.device)[None, None]


@lru_cache(maxsize=4)
def _factor(taps: tuple[float, ...], decimation: int, num_frames: int) -> Float[np.ndarray, "w m"]:
    """Return the Cholesky factor of ``A A^T`` plus a little, as scipy stores banded ones.

    It grows with frames times taps over the square of the decimation; it is never a full matrix.
    """
    from scipy import linalg

    kernel = np.array(taps)
    num_taps, before = len(kernel), (len(kernel) - 1) // 2
    num_measured = -(-num_frames // decimation)
    starts = np.arange(num_measured) * decimation - before  # the frame under the first tap
    first = np.clip(-starts, 0, num_taps)
    last = np.clip(num_frames - starts, 0, num_taps)
    band = np.zeros((min((num_taps - 1) // decimation + 1, num_measured), num_measured))
    for lag in range(len(band)):
        shift = lag * decimation
        product = np.zeros(num_taps)
        product[shift:] = kernel[shift:] * kernel[: num_taps - shift]
        total = np.concatenate([[0.0], np.cumsum(product)])
        rows = num_measured - lag
        # Output j + lag has its first tap where output j has its tap number `shift`; of output j
        # those taps count that lie inside the sequence for both.
        low = np.maximum(first[:rows], shift + first[lag:])
        band[lag, :rows] = np.where(last[:rows] > low, total[last[:rows]] - total[low], 0.0)
    band[0] += SMALLEST_GAIN**2 * float(np.sum(kernel**2))
    return linalg.cholesky_banded(band, lower=True)
