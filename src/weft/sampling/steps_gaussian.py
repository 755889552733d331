"""Steps of Gaussian samplers: from a noisy sequence at time ``t`` to a less noisy one at ``s < t``.

All steps are functions of their arguments: the denoised estimate is made, and changed by guidance,
by the caller. All work at t = 1, where no signal is left, and at s = 0, where no noise is.

At t = 1 exactly the ancestral step (`ddpm_step`) forgets what it started from: the sequence has no
part in the result but through the estimate. A draft that is mixed into the start is lost there;
start at a time below 1 (`GaussianSamplerConfig.first_time`) to keep it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.gaussian import GaussianSchedule, expand_time

DenoiseFn: TypeAlias = Callable[[Float[Tensor, "b l d"], Float[Tensor, " b"]], Tensor]
"""``(x, t) -> x0hat``: the expected clean sequence ``b l d`` given a noisy one and its time."""

GaussianSamplerKind: TypeAlias = Literal["ddpm", "ddim", "dpmpp-2m", "euler", "heun"]
Spacing: TypeAlias = Literal["uniform", "quadratic", "logit"]

_LOGIT_EDGE = 1e-3
"""How near the logit of a time is taken to 0 and 1."""


@final
@dataclass(frozen=True, kw_only=True)
class GaussianSamplerConfig:
    """Which steps a sampler takes.

    Source: seed 001, section "Experiments": DDPM and DDIM with 50 steps, DDPM with 500.
    """

    kind: GaussianSamplerKind = "ddpm"
    """``heun`` calls the network twice a step, but in a last step to t = 0."""
    steps: int = 50
    """Steps, in [1, 100000]."""
    spacing: Spacing = "uniform"
    """Times of the steps: evenly, their square roots evenly (more steps near the clean end), or
    their logits evenly (more steps near both ends)."""
    first_time: float = 1.0
    """Where sampling starts, in (0, 1]; see the top of this module on t = 1."""
    last_time: float = 0.0
    """Where it ends, in [0, first_time); noise of this time is left in the result."""

    def __post_init__(self) -> None:
        for name, kinds in (("kind", GaussianSamplerKind), ("spacing", Spacing)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}"
                )
        if not 1 <= self.steps <= 100_000:
            raise ConfigError(f"steps must be in [1, 100000], got {self.steps}")
        if not 0 <= self.last_time < self.first_time <= 1:
            raise ConfigError(
                "times must be 0 <= last_time < first_time <= 1, got "
                f"{self.last_time} and {self.first_time}"
            )


def time_grid(config: GaussianSamplerConfig) -> Float64[Tensor, " m"]:
    """Return ``steps + 1`` falling times, from ``first_time`` to ``last_time`` exactly.

    Example:
        >>> time_grid(GaussianSamplerConfig(steps=4))
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    first, last = config.first_time, config.last_time
    even = torch.linspace(1, 0, config.steps + 1, dtype=torch.float64)
    if config.spacing == "quadratic":
        times = (last**0.5 + (first**0.5 - last**0.5) * even) ** 2
    elif config.spacing == "logit":
        ends = torch.tensor([first, last], dtype=torch.float64)
        # Ends nearer to 0 or 1 than the edge are put back below.
        high, low = torch.logit(ends.clamp(_LOGIT_EDGE, 1 - _LOGIT_EDGE)).tolist()
        times = torch.sigmoid(low + (high - low) * even)
    else:
        times = last + (first - last) * even
    times[0], times[-1] = first, last
    return times


def draw_noise(
    rngs: Sequence[np.random.Generator], shape_per_item: Sequence[int], like: Tensor
) -> Float[Tensor, "b *rest"]:
    """Draw standard normal noise, each item from its own generator.

    Drawn in 64 bits on the CPU and then cast: an item's noise depends on its generator only, not on
    its neighbours, on the device or the floating type.

    Args:
        rngs: one generator an item.
        shape_per_item: shape without the batch axis.
        like: what the result's floating type and device are taken from.
    """
    shape = tuple(shape_per_item)
    drawn = np.stack([rng.standard_normal(shape) for rng in rngs])
    return torch.from_numpy(drawn).to(like.dtype).to(like.device)


def ddpm_step(
    x: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    *,
    schedule: GaussianSchedule,
    noise: Float[Tensor, "b *rest"],
    log_variance: Float[Tensor, "b *any"] | None = None,
) -> Float[Tensor, "b *rest"]:
    """Draw ``x_s`` from its posterior given ``x_t`` and the estimate (ancestral sampling).

    Args:
        x: noisy sequence at time ``t``.
        x0hat: its denoised estimate.
        t: in (0, 1].
        s: in [0, t).
        schedule: of the process.
        noise: standard normal.
        log_variance: of the step, where it is not the posterior's (see
            `GaussianProcess.step_log_variance`).

    Source: seed 001, algorithm 1. Differs: the printed ``sigma_{t->s}`` is the variance of the
    step; its square root multiplies the noise, without which samples collapse to a fifth of their
    variance.
    """
    _check(x, x0hat, noise)
    alpha_t, alpha_s, sigma_t, sigma_s = _scales(x, t, s, schedule)
    # 1 - SNR_t / SNR_s, without the difference of two numbers near 1.
    gain = expand_time(-torch.expm1(schedule.log_snr(t) - schedule.log_snr(s)), x)
    keep = alpha_t / alpha_s * (sigma_s / sigma_t) ** 2
    std = sigma_s * gain.sqrt() if log_variance is None else torch.exp(log_variance / 2)
    return alpha_s * gain * x0hat + keep * x + std * noise


def ddim_step(
    x: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    *,
    schedule: GaussianSchedule,
    eps_hat: Float[Tensor, "b *rest"] | None = None,
) -> Float[Tensor, "b *rest"]:
    """Return ``alpha_s x0hat + sigma_s eps_hat``: a step without noise of its own.

    Args:
        x: noisy sequence at time ``t``.
        x0hat: its denoised estimate.
        t: in (0, 1].
        s: in [0, t).
        schedule: of the process.
        eps_hat: the noise in ``x``, where it is not what the estimate leaves of it: such as
            guidance gives, ``eps_hat - step_size sigma_t grad d``. The minus is right because the
            estimate is not made again from this noise. Who makes it again, as classifier guidance
            does, and gives it as ``x0hat`` needs a plus.

    Source: seed 001, algorithm 2. Its ``sqrt(1 - alpha_s^2)`` is ``sigma_s``, for any schedule.
    """
    _check(x, x0hat)
    alpha_t, alpha_s, sigma_t, sigma_s = _scales(x, t, s, schedule)
    if eps_hat is None:
        eps_hat = (x - alpha_t * x0hat) / sigma_t
    return alpha_s * x0hat + sigma_s * eps_hat


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A denoised estimate, and when it was made."""

    x0hat: Float[Tensor, "b *rest"]
    """The estimate."""
    t: Float[Tensor, " b"]
    """Time of the sequence it was made for."""


def dpmpp_2m_step(
    x: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    previous: Estimate | None,
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    *,
    schedule: GaussianSchedule,
) -> Float[Tensor, "b *rest"]:
    """Return one step of DPM-Solver++(2M): second order at one call a step.

    Of first order, which is `ddim_step`, without a previous estimate, after one made at alpha = 0,
    and to sigma = 0.

    Args:
        x: noisy sequence at time ``t``.
        x0hat: its denoised estimate.
        previous: estimate of the step before, at a time above ``t``; None in the first step.
        t: in (0, 1].
        s: in [0, t).
        schedule: of the process.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """
    _check(x, x0hat)
    alpha_t, alpha_s, sigma_t, sigma_s = _scales(x, t, s, schedule)
    estimate = x0hat
    if previous is not None:
        now = schedule.log_snr(t)
        weight = (schedule.log_snr(s) - now) / (now - schedule.log_snr(previous.t)) / 2
        weight = expand_time(torch.where(schedule.sigma(s) == 0, 0.0, weight), x)
        estimate = x0hat + weight * (x0hat - previous.x0hat)
    # alpha_s (1 - exp(-h)) with h the change of log(alpha / sigma), which is infinite at the ends.
    gain = alpha_s - alpha_t * sigma_s / sigma_t
    return sigma_s / sigma_t * x + gain * estimate


def euler_step(
    x: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    *,
    schedule: GaussianSchedule,
) -> Float[Tensor, "b *rest"]:
    """Return one Euler step of the flow's equation: first order.

    Divided by ``alpha + sigma``, a sequence of any schedule is one of the flow at the time
    ``sigma / (alpha + sigma)``, where its velocity is ``eps - x0``. There an Euler step is what
    `ddim_step` is.

    Args:
        x: noisy sequence at time ``t``.
        x0hat: its denoised estimate.
        t: in (0, 1].
        s: in [0, t).
        schedule: of the process.
    """
    _check(x, x0hat)
    return _along(x, _velocity(x, x0hat, t, schedule), t, s, schedule)


def heun_step(
    x: Float[Tensor, "b *rest"],
    x0hat: Float[Tensor, "b *rest"],
    x_euler: Float[Tensor, "b *rest"],
    x0hat_euler: Float[Tensor, "b *rest"],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    *,
    schedule: GaussianSchedule,
) -> Float[Tensor, "b *rest"]:
    """Return an Euler step corrected by the velocity at its end: second order.

    Args:
        x: noisy sequence at time ``t``.
        x0hat: its denoised estimate.
        x_euler: where `euler_step` led to.
        x0hat_euler: the denoised estimate there; not used where sigma(s) = 0, since a clean
            sequence has no noise to tell the velocity from: such a step stays an Euler step.
        t: in (0, 1].
        s: in [0, t).
        schedule: of the process.

    Source: Karras et al. 2022, algorithm 1, in the variables of the flow.
    """
    _check(x, x0hat, x_euler, x0hat_euler)
    start = _velocity(x, x0hat, t, schedule)
    is_clean = expand_time(schedule.sigma(s), x) == 0
    # Off 0, so that neither the value nor its gradient is 0/0 where it is not used.
    end_time = torch.where(schedule.sigma(s) == 0, t, s)
    end = torch.where(is_clean, start, _velocity(x_euler, x0hat_euler, end_time, schedule))
    return _along(x, (start + end) / 2, t, s, schedule)


def _velocity(
    x: Tensor, x0hat: Tensor, t: Float[Tensor, " b"], schedule: GaussianSchedule
) -> Tensor:
    """Return ``eps - x0``."""
    alpha, sigma = expand_time(schedule.alpha(t), x), expand_time(schedule.sigma(t), x)
    return (x - (alpha + sigma) * x0hat) / sigma


def _along(
    x: Tensor,
    velocity: Tensor,
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
    schedule: GaussianSchedule,
) -> Tensor:
    """Return the end of a straight step in the variables of the flow."""
    alpha_t, alpha_s, sigma_t, sigma_s = _scales(x, t, s, schedule)
    total_t, total_s = alpha_t + sigma_t, alpha_s + sigma_s
    change = sigma_s / total_s - sigma_t / total_t
    return total_s * (x / total_t + change * velocity)


def _scales(
    x: Tensor, t: Float[Tensor, " b"], s: Float[Tensor, " b"], schedule: GaussianSchedule
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return alpha at t and s, and sigma at t and s."""
    alpha_t, alpha_s = (expand_time(schedule.alpha(time), x) for time in (t, s))
    sigma_t, sigma_s = (expand_time(schedule.sigma(time), x) for time in (t, s))
    return alpha_t, alpha_s, sigma_t, sigma_s


def _check(x: Tensor, *others: Tensor) -> None:
    if any(other.shape != x.shape for other in others):
        raise ShapeError(
            f"x has the shape {tuple(x.shape)}, but what belongs to it has "
            f"{[tuple(other.shape) for other in others]}; estimates and noise have x's shape"
        )
