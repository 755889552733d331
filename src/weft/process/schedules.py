"""Noise schedules of the absorbing process: how much is masked at which time.

Time ``t`` is in [0, 1], 0 is clean. A token is masked with the probability
``1 - exp(-total_noise)``; ``noise_rate`` is the derivative of ``total_noise`` by ``t``. Results
have the shape and the floating type of the argument. Arguments are not checked against their range:
these functions run in every step, on any device, without waiting for it.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError


def log_expm1(total_noise: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return ``log(exp(total_noise) - 1)``, accurate for any noise > 0; -inf at 0.

    Neither form of the published code is: it takes ``exp(x) - 1`` from 0.5 on, which overflows in
    32 bits from 89 on.

    Example:
        >>> log_expm1(torch.tensor([1e-6, 1.0, 200.0]))
        tensor([-13.8155,   0.5413, 200.0000])
    """
    return total_noise + torch.log(-torch.expm1(-total_noise))


@final
@dataclass(frozen=True, kw_only=True)
class LogLinearNoise:
    """The share of masked tokens grows linearly with time, up to ``1 - eps``.

    Example:
        >>> noise = LogLinearNoise()
        >>> noise.masked_fraction(torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 0.4995, 0.9990])
        >>> noise.time_at(noise.total_noise(torch.tensor([0.25, 1.0])))
        tensor([0.2500, 1.0000])

    Source: SEDD, "log-linear" noise, and the code of AIDD (seed 000), whose ``eps`` is the default.
    Differs: the surviving share is summed as ``(1 - t) + eps t``, which keeps its digits near 1.
    """

    eps: float = 1e-3
    """Share of tokens that is left at t = 1, in [1e-6, 0.5]."""

    def __post_init__(self) -> None:
        if not 1e-6 <= self.eps <= 0.5:
            raise ConfigError(f"eps must be in [1e-6, 0.5], got {self.eps}")

    def masked_fraction(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the probability that a token is masked, in [0, 1 - eps]."""
        return (1 - self.eps) * t

    def total_noise(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the cumulative noise, in [0, -log(eps)], dimensionless."""
        small = -torch.log1p(-(1 - self.eps) * t.clamp_max(0.5))
        large = -torch.log(self._surviving(t.clamp_min(0.5)))
        return torch.where(t < 0.5, small, large)

    def noise_rate(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the noise per unit of time, in [1 - eps, (1 - eps) / eps]."""
        return (1 - self.eps) / self._surviving(t)

    def time_at(self, total_noise: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which the cumulative noise is that, at most 1."""
        return (-torch.expm1(-total_noise) / (1 - self.eps)).clamp_max(1)

    def _surviving(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the probability that a token is not masked."""
        return (1 - t) + self.eps * t
