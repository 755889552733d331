"""The Gaussian process: noise is mixed in, and networks say what was there before.

A network may predict any of five things, which are each other's linear functions given ``x_t``:

* ``x0``: the clean sequence; ``eps``: the noise;
* ``v = alpha eps - sigma x0``: well-conditioned at every time;
* ``score = -eps / sigma``: the gradient of the log density;
* ``flow = eps - x0``: the velocity of `FlowSchedule`, here for any schedule.

Where a question has no answer, the result is the mean of what is asked for, 0: the clean sequence
from the noise at alpha = 0, and the noise from the clean sequence at sigma = 0.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.gaussian_schedules import (
    CosineSchedule,
    FlowSchedule,
    GaussianSchedule,
    TableSchedule,
)

__all__ = [
    "CosineSchedule",
    "FlowSchedule",
    "GaussianProcess",
    "GaussianSchedule",
    "Prediction",
    "TableSchedule",
    "VarianceKind",
    "expand_time",
]

Prediction: TypeAlias = Literal["x0", "eps", "v", "score", "flow"]
VarianceKind: TypeAlias = Literal["posterior", "forward", "learned-range"]
"""Variance of a step back: that of the posterior given x0 (the least), that of the step forward
(the most), or between the two, on a log scale, where the network says."""


def expand_time(t: Float[Tensor, " b"], x: Float[Tensor, "b *rest"]) -> Float[Tensor, "b *ones"]:
    """Return a value of each item with as many axes as ``x``, and its floating type.

    Raises:
        ShapeError: there is not one value an item.

    Example:
        >>> expand_time(torch.tensor([0.0, 1.0]), torch.zeros(2, 5, 3)).shape
        torch.Size([2, 1, 1])
    """
    if t.shape != x.shape[:1]:
        raise ShapeError(f"{t.numel()} times for {len(x)} items; give one an item")
    return t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


@final
@dataclass(frozen=True, kw_only=True)
class GaussianProcess:
    """How sequences of unit variance are corrupted, and how a network's output is to be read.

    Example:
        >>> process = GaussianProcess(schedule=CosineSchedule(), prediction="v")
        >>> x0, noise = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
        >>> t = torch.tensor([0.2, 0.9])
        >>> x = process.corrupt(x0, t, noise=noise)
        >>> torch.allclose(process.to_x0(process.target(x0, noise, t), x, t), x0, atol=1e-5)
        True

    Source: seed 001, appendix B.1 (cosine, v); Salimans and Ho 2022, appendix D (v). Differs: v is
    divided by ``alpha^2 + sigma^2`` where it is read, which is 1 but for `FlowSchedule`.
    """

    schedule: GaussianSchedule = field(default_factory=CosineSchedule)
    """How much noise there is at which time."""
    prediction: Prediction = "v"
    """What the network puts out."""
    variance: VarianceKind = "posterior"
    """Variance of an ancestral step. With ``learned-range`` the network puts out twice the
    features: the prediction, and values whose -1 is ``posterior`` and whose 1 is ``forward``."""

    def __post_init__(self) -> None:
        for name, kinds in (("prediction", Prediction), ("variance", VarianceKind)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}"
                )

    def corrupt(
        self, x0: Float[Tensor, "b *rest"], t: Float[Tensor, " b"], *, noise: Tensor
    ) -> Float[Tensor, "b *rest"]:
        """Return ``alpha x0 + sigma noise``.

        Args:
            x0: clean, of unit variance.
            t: time of each item, in [0, 1].
            noise: standard normal, of the same shape.
        """
        _check_shapes(noise, x0)
        alpha, sigma = self._scales(t, x0)
        return alpha * x0 + sigma * noise

    def target(
        self, x0: Float[Tensor, "b *rest"], noise: Tensor, t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b *rest"]:
        """Return what the network should put out; the score of t = 0 is given as 0."""
        _check_shapes(noise, x0)
        return _read(self.prediction, x0, noise, *self._scales(t, x0))

    def to_x0(
        self, raw: Float[Tensor, "b *rest"], x: Float[Tensor, "b *rest"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b *rest"]:
        """Return the clean sequence that the network's output means; not clipped."""
        return self.convert(raw, x, t, self.prediction, "x0")

    def to_eps(
        self, raw: Float[Tensor, "b *rest"], x: Float[Tensor, "b *rest"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b *rest"]:
        """Return the noise that the network's output means."""
        return self.convert(raw, x, t, self.prediction, "eps")

    def convert(
        self,
        raw: Float[Tensor, "b *rest"],
        x: Float[Tensor, "b *rest"],
        t: Float[Tensor, " b"],
        source: Prediction,
        target: Prediction,
    ) -> Float[Tensor, "b *rest"]:
        """Return a prediction of one kind as one of another kind.

        Args:
            raw: prediction of kind ``source``.
            x: the noisy sequence it was made for.
            t: its time.
            source: what ``raw`` is.
            target: what is wanted.
        """
        _check_shapes(raw, x)
        if source == target:
            return raw
        alpha, sigma = self._scales(t, x)
        x0, eps = _both(source, raw, x, alpha, sigma)
        return _read(target, x0, eps, alpha, sigma)

    def split(
        self, raw: Float[Tensor, "b *rest"]
    ) -> tuple[Float[Tensor, "b *half"], Float[Tensor, "b *half"] | None]:
        """Return the prediction, and what says the variance if the network does (last axis halved).

        Raises:
            ShapeError: the last axis is odd where it should hold both.
        """
        if self.variance != "learned-range":
            return raw, None
        if raw.shape[-1] % 2:
            raise ShapeError(
                f"the network puts out {raw.shape[-1]} features, but a learned variance needs as "
                "many again as the prediction; is it a network of another process?"
            )
        prediction, variance = raw.chunk(2, dim=-1)
        return prediction, variance

    def step_log_variance(
        self, t: Float[Tensor, " b"], s: Float[Tensor, " b"], like: Float[Tensor, "b *rest"]
    ) -> Float[Tensor, "b *any"]:
        """Return the log variance of an ancestral step from ``t`` back to ``s``, in [-inf, 0].

        -inf at s = 0: a step to the clean end adds no noise, whatever the kind.

        Args:
            t: where the step starts, in (0, 1].
            s: where it ends, in [0, t).
            like: what the network says of the variance, where it is asked (see `split`); otherwise
                any tensor, whose number of axes and type the result gets.

        Source: Nichol and Dhariwal 2021, equation 15, of the respaced chain.
        """
        log_ratio = self.schedule.log_snr(t) - self.schedule.log_snr(s)
        kept = torch.log(-torch.expm1(log_ratio))
        most = expand_time(kept + 2 * self.schedule.sigma(t).log(), like)
        least = expand_time(kept + 2 * self.schedule.sigma(s).log(), like)
        if self.variance == "posterior":
            return least
        share = (like + 1) / 2 if self.variance == "learned-range" else 1.0
        blend = share * most + (1 - share) * least.clamp_min(torch.finfo(like.dtype).min)
        return torch.where(torch.isneginf(least), least, blend)

    def _scales(
        self, t: Float[Tensor, " b"], x: Float[Tensor, "b *rest"]
    ) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
        return expand_time(self.schedule.alpha(t), x), expand_time(self.schedule.sigma(t), x)


def _both(
    source: Prediction, raw: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the clean sequence and the noise."""
    if source == "x0":
        return raw, _divide(x - alpha * raw, sigma)
    if source == "eps":
        return _divide(x - sigma * raw, alpha), raw
    if source == "score":
        eps = -sigma * raw
        return _divide(x - sigma * eps, alpha), eps
    if source == "v":
        power = alpha * alpha + sigma * sigma
        return (alpha * x - sigma * raw) / power, (sigma * x + alpha * raw) / power
    return (x - sigma * raw) / (alpha + sigma), (x + alpha * raw) / (alpha + sigma)


def _read(target: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return a prediction of that kind."""
    if target == "x0":
        return x0
    if target == "eps":
        return eps
    if target == "v":
        return alpha * eps - sigma * x0
    if target == "score":
        return -_divide(eps, sigma)
    return eps - x0


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is 0; gradients stay finite there."""
    is_zero = denominator == 0
    return torch.where(is_zero, 0.0, numerator / torch.where(is_zero, 1.0, denominator))


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ShapeError(
            f"shapes {tuple(a.shape)} and {tuple(b.shape)} differ; noise, sequences and "
            "predictions of one call have the same shape"
        )
