"""Losses of networks that undo Gaussian noise."""

from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ShapeError
from weft.process.gaussian import GaussianProcess, TableSchedule, expand_time


def gaussian_loss(
    raw: Float[Tensor, "b *rest"],
    x0: Float[Tensor, "b *rest"],
    noise: Float[Tensor, "b *rest"],
    t: Float[Tensor, " b"],
    process: GaussianProcess,
    *,
    weight: Float[Tensor, " b"] | None = None,
    counted: Bool[Tensor, "b *lead"] | None = None,
) -> Float[Tensor, " b"]:
    """Return the mean squared error of each item's prediction, in at least 32 bits.

    Args:
        raw: what the network put out for the corrupted sequence (the prediction only, where it
            puts out a variance too).
        x0: clean.
        noise: what it was corrupted with.
        t: time of each item, in [0, 1].
        process: of the network.
        weight: of each item, >= 0; 1 where None. The loss is multiplied by it.
        counted: True where an element counts (such as: valid, or unknown); of the first axes of
            ``x0``, so ``b l`` for ``b l d``. The mean is over these; an item without any has the
            loss 0.

    Raises:
        ShapeError: shapes do not fit each other.

    Source: seed 001, appendix B.1: the plain error of v, without weights.
    """
    if raw.shape != x0.shape:
        raise ShapeError(
            f"the network's output has the shape {tuple(raw.shape)}, but the sequence "
            f"{tuple(x0.shape)}; split off a learned variance first (GaussianProcess.split)"
        )
    wide = torch.promote_types(raw.dtype, torch.float32)
    error = raw.to(wide) - process.target(x0.to(wide), noise.to(wide), t)
    if counted is None:
        losses = error.square().flatten(1).mean(dim=1)
    else:
        losses = _mean_square_where(error, counted)
    return losses if weight is None else losses * weight.to(wide)


def variational_bound(
    raw_variance: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    x0: Float[Tensor, "b *rest"],
    index: Int[Tensor, " b"],
    schedule: TableSchedule,
) -> Float[Tensor, " b"]:
    """Return one term of the variational bound of each item, in bits a feature.

    It trains a learned variance; the estimate gets no gradient from it. The term of the table's
    first step is the cost of a bin of the width 2 / 255 around ``x0``, open beyond -1 and 1: made
    for images, and what published diffusion heads of latents are trained with all the same.

    Args:
        raw_variance: what the network says of the variance: -1 is the least, 1 the most.
        x0hat: the denoised estimate.
        x0: clean.
        index: step of the table, in [0, num_steps).
        schedule: of the process, whose variance is ``learned-range``.

    Source: Nichol and Dhariwal 2021, equations 3 to 6 and 15. Differs: the normal distribution
    function is exact, published code approximates it.
    """
    wide = torch.promote_types(raw_variance.dtype, torch.float32)
    raw_variance, x0hat, x0 = (z.to(wide) for z in (raw_variance, x0hat.detach(), x0))
    # The least variance of the first step is 0; published chains take the second step's there.
    later, is_first = index.clamp_min(1), expand_time(index.to(wide), x0) == 0
    t, s, later_s = (schedule.time_of(i) for i in (index, index - 1, later - 1))
    gain, later_gain = (
        -torch.expm1(schedule.log_snr(end) - schedule.log_snr(start))
        for end, start in ((t, s), (schedule.time_of(later), later_s))
    )
    least = expand_time(later_gain.log() + 2 * schedule.sigma(later_s).log(), x0)
    most = expand_time(gain.log() + 2 * schedule.sigma(t).log(), x0)
    share = (raw_variance + 1) / 2
    log_variance = share * most + (1 - share) * least
    # The means given x0 and given its estimate differ by this.
    error = expand_time(schedule.alpha(s) * gain, x0) * (x0 - x0hat)
    ratio = least - log_variance
    divergence = (torch.expm1(ratio) - ratio + error.square() * torch.exp(-log_variance)) / 2
    cost = torch.where(is_first, _bin_cost(x0 - x0hat, x0, log_variance / 2), divergence)
    return cost.flatten(1).mean(dim=1) / log(2)


def _bin_cost(error: Tensor, x0: Tensor, log_std: Tensor) -> Tensor:
    """Return the negative log probability of the bin that holds x0, in nats, at most 27.6."""
    precision = torch.exp(-log_std)
    above = torch.special.ndtr((error + 1 / 255) * precision)
    below = torch.special.ndtr((error - 1 / 255) * precision)
    above, below = torch.where(x0 > 0.999, 1.0, above), torch.where(x0 < -0.999, 0.0, below)
    return -(above - below).clamp_min(1e-12).log()


def _mean_square_where(error: Tensor, counted: Bool[Tensor, "b *lead"]) -> Float[Tensor, " b"]:
    """Return the mean square of the elements that count, 0 where none does."""
    if counted.shape != error.shape[: counted.ndim]:
        raise ShapeError(
            f"counted has the shape {tuple(counted.shape)}, but the sequence "
            f"{tuple(error.shape)}; give one value for each place of its first axes"
        )
    wanted = counted.reshape(*counted.shape, *[1] * (error.ndim - counted.ndim))
    # Before the square, so that what does not count has a gradient of 0 even if it is infinite.
    total = torch.where(wanted, error, 0.0).square().flatten(1).sum(dim=1)
    number = wanted.expand_as(error).flatten(1).sum(dim=1)
    return total / number.clamp_min(1)
