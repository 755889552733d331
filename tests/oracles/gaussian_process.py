"""A stationary Gaussian process whose posteriors are known: what an ideal denoiser would put out.

Sequences are ``b l d``; features are independent draws of the same process along ``l``. Everything
is exact: the denoiser is ``alpha K (alpha^2 K + sigma^2 I)^-1`` for any schedule, and the law of
what is missing given what is known is a Gaussian in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from weft.process.gaussian import GaussianSchedule, expand_time

NUM_FRAMES = 256
GAP = slice(96, 160)


@dataclass(frozen=True)
class GaussianField:
    """Of unit variance; ``covariance`` is ``l l``, float64."""

    covariance: Tensor

    @property
    def num_frames(self) -> int:
        return len(self.covariance)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp_min(1e-12), vectors

    def sample(self, num_items: int, rng: np.random.Generator, *, num_features: int = 1) -> Tensor:
        """Draw sequences ``b l d``, float64."""
        values, vectors = self._eigen
        noise = torch.from_numpy(rng.standard_normal((num_items, self.num_frames, num_features)))
        return vectors @ (values.sqrt()[:, None] * noise)

    def denoise_fn(self, schedule: GaussianSchedule) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the ideal denoiser, differentiable, in the type of its argument."""
        values, vectors = self._eigen

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            power, basis = values.to(x.dtype), vectors.to(x.dtype)
            alpha = expand_time(schedule.alpha(t), x)
            sigma = expand_time(schedule.sigma(t), x)
            gain = alpha * power[:, None] / (alpha**2 * power[:, None] + sigma**2)  # b l 1
            return basis @ (gain * (basis.T @ x))

        return denoise

    def flow_map(self, x: Tensor, t: float, s: float, schedule: GaussianSchedule) -> Tensor:
        """Return where the flow's equation leads to exactly, from time ``t`` to ``s``."""
        values, vectors = self._eigen

        def spread(time: float) -> Tensor:
            at = torch.tensor([time], dtype=torch.float64)
            return (schedule.alpha(at) ** 2 * values + schedule.sigma(at) ** 2).sqrt()

        return vectors @ ((spread(s) / spread(t))[:, None] * (vectors.T @ x))

    def conditional(self, known: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean ``b g d`` and covariance ``g g`` of what is missing.

        Args:
            known: ``l``, True where observed.
            values: sequences ``b l d``; read where known.
        """
        cross = self.covariance[~known][:, known]
        weights = torch.linalg.solve(self.covariance[known][:, known], cross.T).T
        mean = weights @ values[:, known].double()
        return mean, self.covariance[~known][:, ~known] - weights @ cross.T


@dataclass(frozen=True)
class Fit:
    """How draws of a gap compare with their true law."""

    bias: float
    """Root mean square of (mean of draws - true mean) in true standard deviations; draws of the
    true law have 1 / sqrt(draws)."""
    variance: float
    """Mean square deviation from the true mean, less the bias, over the true variance; 1 is right.
    """
    seam: float
    """Root mean square second difference across the gap's edges, over that of true draws; 1 is
    seamless."""


def fit(field: GaussianField, draws: Tensor, known: Tensor, truth: Tensor) -> Fit:
    """Compare draws ``b l d`` of one canvas ``l d`` with the law of its missing part."""
    draws = draws.double()
    mean, covariance = field.conditional(known, truth[None])
    std = covariance.diagonal().clamp_min(1e-12).sqrt()[:, None]
    z = (draws[:, ~known] - mean) / std
    bias = z.mean(dim=0).square().mean().sqrt()
    variance = z.var(dim=0).mean()  # unbiased: divided by draws - 1
    return Fit(bias=float(bias), variance=float(variance), seam=seam(field, draws, known))


def seam(field: GaussianField, draws: Tensor, known: Tensor) -> float:
    """Return the second differences that have samples of both kinds, over their true spread."""
    bends = draws[:, :-2] - 2 * draws[:, 1:-1] + draws[:, 2:]
    sides = torch.stack([known[:-2], known[1:-1], known[2:]])
    across = sides.any(dim=0) & ~sides.all(dim=0)
    k = field.covariance[0]
    true = 6 * k[0] - 8 * k[1] + 2 * k[2]
    return float((bends[:, across].double().square().mean() / true).sqrt())


def make_field(num_frames: int = NUM_FRAMES, *, reach: float = 24.0) -> GaussianField:
    """Return a process of two damped tones and a little that nothing predicts.

    Args:
        num_frames: length.
        reach: frames over which correlations fall to 1/e.
    """
    lag = torch.arange(num_frames, dtype=torch.float64)
    decay = torch.exp(-((lag / reach) ** 2) / 2)
    row = decay * (0.6 * torch.cos(2 * torch.pi * lag / 21) + 0.39 * torch.cos(lag / 2.1))
    row[0] += 0.01
    index = (torch.arange(num_frames)[:, None] - torch.arange(num_frames)).abs()
    return GaussianField(row[index])


def middle_gap(num_frames: int = NUM_FRAMES, gap: slice = GAP) -> Tensor:
    """Return what is known of a canvas with one gap, ``l``."""
    known = torch.ones(num_frames, dtype=torch.bool)
    known[gap] = False
    return known
