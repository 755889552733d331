"""Schedules of the Gaussian process: how much signal and how much noise there is at which time.

``x_t = alpha(t) x0 + sigma(t) noise``, with time ``t`` in [0, 1]: 0 is clean, 1 is noise. Results
have the shape and the floating type of the argument. Arguments are not checked against their range:
these functions run in every step, on any device, without waiting for it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from weft.errors import ConfigError

BetaKind: TypeAlias = Literal["linear", "scaled-linear", "cosine"]


class GaussianSchedule(ABC):
    """Scales of signal and noise over time (interface).

    ``alpha`` falls and ``sigma`` rises with time; ``alpha(0) = 1`` and ``sigma(0) = 0`` exactly.
    """

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the scale of the signal, in [0, 1]."""

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the scale of the noise, in [0, 1]."""

    @abstractmethod
    def time_at(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which ``log(alpha^2 / sigma^2)`` is that; infinities are allowed."""

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return ``log(alpha^2 / sigma^2)``, in nepers of power; inf at t = 0, may be -inf at 1."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())


@final
@dataclass(frozen=True, kw_only=True)
class CosineSchedule(GaussianSchedule):
    """``alpha = cos(pi t / 2)``, ``sigma = sin(pi t / 2)``: total variance is 1 at all times.

    Example:
        >>> schedule = CosineSchedule()
        >>> schedule.alpha(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.7071, 0.0000])
        >>> schedule.time_at(schedule.log_snr(torch.tensor([0.0, 0.25, 1.0])))
        tensor([0.0000, 0.2500, 1.0000])

    Source: seed 001, appendix B.1.
    """

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # The cosine of 32-bit pi / 2 is not 0, but -4e-8.
        return torch.sin((1 - t) * (pi / 2))

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.sin(t * (pi / 2))

    def time_at(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.atan(torch.exp(-log_snr / 2)) * (2 / pi)


@final
@dataclass(frozen=True, kw_only=True)
class FlowSchedule(GaussianSchedule):
    """``alpha = 1 - t``, ``sigma = t``: straight lines between data and noise.

    Example:
        >>> schedule = FlowSchedule()
        >>> schedule.time_at(schedule.log_snr(torch.tensor([0.0, 0.25, 1.0])))
        tensor([0.0000, 0.2500, 1.0000])

    Source: Liu et al. 2022 (rectified flow), equation 1. Differs: time runs from data to noise.
    """

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 1 - t

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return t.clone()

    def time_at(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.sigmoid(-log_snr / 2)


@final
@dataclass(frozen=True, kw_only=True)
class TableSchedule(GaussianSchedule):
    """Noise added in discrete steps, as published diffusion heads have it; total variance is 1.

    The published step ``i`` in [0, num_steps) stands at the time ``(i + 1) / num_steps``; t = 0 is
    clean. Between two steps the variances of signal and noise are interpolated linearly. Times
    within a thousandth of a step of a table's entry are that entry, so that 32 bits reach it.

    Example:
        >>> schedule = TableSchedule(num_steps=1000, betas="cosine")
        >>> schedule.time_of(torch.tensor([0, 499, 999]))
        tensor([0.0010, 0.5000, 1.0000])
        >>> schedule.respaced_times(4)
        tensor([1.0000, 0.6670, 0.3340, 0.0010, 0.0000], dtype=torch.float64)

    Source: Ho et al. 2020 (``linear``), Rombach et al. 2022 (``scaled-linear``), Nichol and
    Dhariwal 2021, equation 17 (``cosine``, betas at most 0.999). Differs: defined between steps.
    """

    num_steps: int = 1000
    """Steps of the table, in [2, 100000]."""
    betas: BetaKind = "linear"
    """How the variance added in a step grows; ``scaled-linear``: its square root is linear."""
    first_beta: float = 1e-4
    """Variance added in the first step, in (0, 1); ``cosine`` does not use it."""
    last_beta: float = 0.02
    """Variance added in the last step, in [first_beta, 1); ``cosine`` does not use it."""

    def __post_init__(self) -> None:
        if not 2 <= self.num_steps <= 100_000:
            raise ConfigError(f"num_steps must be in [2, 100000], got {self.num_steps}")
        if self.betas not in get_args(BetaKind):
            raise ConfigError(f"betas must be one of {get_args(BetaKind)}, got {self.betas!r}")
        if not 0 < self.first_beta <= self.last_beta < 1:
            raise ConfigError(
                "betas must be 0 < first_beta <= last_beta < 1, got "
                f"{self.first_beta} and {self.last_beta}"
            )

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self._interpolate(t, 0)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self._interpolate(t, 1)

    def time_at(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which the log of the ratio is that, at most 1; not for hot loops."""
        log_ratio = log_snr.detach().cpu().double().numpy()
        signal, noise = _powers(self)
        places = np.arange(self.num_steps + 1)
        with np.errstate(over="ignore"):
            signal_power, noise_power = (1 / (1 + np.exp(z)) for z in (-log_ratio, log_ratio))
        # The smaller of the two powers is the one that has its digits.
        late = np.interp(signal_power, signal[::-1], places[::-1])
        early = np.interp(noise_power, noise, places)
        found = np.where(signal_power < noise_power, late, early) / self.num_steps
        return torch.from_numpy(np.asarray(found)).to(log_snr.dtype).to(log_snr.device)

    def time_of(self, index: Int[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the times of published steps, in 32 bits."""
        return (index + 1).to(torch.float32) / self.num_steps

    def index_at(self, t: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
        """Return the nearest published steps: what such networks are told; 0 at t = 0."""
        wide = t.to(torch.promote_types(t.dtype, torch.float32))
        return (wide * self.num_steps).round().long().sub(1).clamp(0, self.num_steps - 1)

    def respaced_times(self, steps: int) -> Float64[Tensor, " m"]:
        """Return ``steps + 1`` falling times: evenly spread steps of the table, and 0.

        Raises:
            ConfigError: ``steps`` outside [1, num_steps].

        Source: Nichol and Dhariwal 2021, section 4: first and last step of the table are among
        them (with 1, only the last one).
        """
        if not 1 <= steps <= self.num_steps:
            raise ConfigError(f"steps must be in [1, {self.num_steps}], got {steps}")
        # In whole numbers, with halves to the even neighbour, as the published rounding has it.
        stride = (self.num_steps - 1) / max(steps - 1, 1)
        kept = [self.num_steps - 1] if steps == 1 else [round(i * stride) for i in range(steps)]
        times = [(i + 1) / self.num_steps for i in reversed(kept)]
        return torch.tensor([*times, 0.0], dtype=torch.float64)

    def _interpolate(self, t: Float[Tensor, "*b"], row: int) -> Float[Tensor, "*b"]:
        """Return the root of the power of signal (row 0) or noise (row 1)."""
        wide = t.to(torch.promote_types(t.dtype, torch.float32))
        table = _table(self, row, wide.dtype, wide.device)
        place = wide * self.num_steps
        nearest = place.round()
        place = torch.where((place - nearest).abs() < 1e-3, nearest, place)
        below = place.detach().floor().clamp(0, self.num_steps - 1)
        share, index = place - below, below.long()
        power = table[index] * (1 - share) + table[index + 1] * share
        return power.clamp_min(0).sqrt().to(t.dtype)


def _betas(schedule: TableSchedule) -> Float64[np.ndarray, " m"]:
    first, last, number = schedule.first_beta, schedule.last_beta, schedule.num_steps
    if schedule.betas == "linear":
        return np.linspace(first, last, number)
    if schedule.betas == "scaled-linear":
        return np.linspace(first**0.5, last**0.5, number) ** 2

    def left(time: float) -> float:
        return cos((time + 0.008) / 1.008 * pi / 2) ** 2

    pairs = [(left(i / number), left((i + 1) / number)) for i in range(number)]
    return np.array([min(1 - after / before, 0.999) for before, after in pairs])


@lru_cache(maxsize=16)
def _powers(schedule: TableSchedule) -> tuple[np.ndarray, np.ndarray]:
    """Return the power of signal and of noise at ``num_steps + 1`` times, from t = 0."""
    log_signal = np.concatenate([[0.0], np.cumsum(np.log1p(-_betas(schedule)))])
    return np.exp(log_signal), -np.expm1(log_signal)


@lru_cache(maxsize=64)
def _table(schedule: TableSchedule, row: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(_powers(schedule)[row]).to(dtype).to(device)
