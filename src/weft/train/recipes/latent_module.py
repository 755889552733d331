"""What the training of a latent model optimises: estimates of latents under noise."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.nn.dit import Dit, DitConfig
from weft.process.gaussian import GaussianProcess
from weft.sampling.latent_condition import make_condition
from weft.train.recipe import Batch, Losses


@final
@dataclass(frozen=True, kw_only=True)
class LatentObjectiveConfig:
    """How times are drawn, and what is withheld."""

    time_mean: float = 0.4
    """Of the normal variable whose logistic function is the time, in [-4, 4]: above 0 draws more
    noise, where what fills a gap is decided."""
    time_deviation: float = 1.0
    """Its standard deviation, in (0, 4]."""
    condition_dropout: float = 0.1
    """How often nothing is given and all is to be estimated, in [0, 1]: what guidance needs."""
    known_weight: float = 0.05
    """Weight of known frames in the loss beside unknown ones, in [0, 1]."""

    def __post_init__(self) -> None:
        if not -4 <= self.time_mean <= 4 or not 0 < self.time_deviation <= 4:
            raise ConfigError(
                "time_mean must be in [-4, 4] and time_deviation in (0, 4], got "
                f"{self.time_mean} and {self.time_deviation}"
            )
        for name in ("condition_dropout", "known_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")


@final
class LatentModule(nn.Module):
    """A network over latents, and its loss.

    Source: seed 001, appendix B.1: mean squared error of v. Differs: times are drawn with a
        logistic normal distribution (Esser et al. 2024) instead of evenly; the network is given
        what is known and a draft, and its error counts where nothing is known.
    """

    def __init__(
        self, network: DitConfig, process: GaussianProcess, objective: LatentObjectiveConfig
    ) -> None:
        super().__init__()
        self.config = objective
        self.process = process
        self.network = Dit(network)

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the loss.

        Args:
            batch: ``latents`` "b l d", ``known`` "b l", ``draft`` "b l d", ``confidence`` "b l".
            objective: there is one.
            step: of the run.
            generator: of all draws.
        """
        latents = batch["latents"]
        device = latents.device
        b = latents.shape[0]
        config = self.config
        draws = torch.randn(b, generator=generator, device=device)
        t = torch.sigmoid(config.time_mean + config.time_deviation * draws)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        is_free = torch.rand(b, generator=generator, device=device) < config.condition_dropout
        if not self.training:
            is_free = torch.zeros_like(is_free)
        return self.losses(batch, t, noise, is_free)

    def losses(
        self,
        batch: Batch,
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b l d"],
        is_free: Bool[Tensor, " b"],
    ) -> Losses:
        """Return the loss for given draws; ``is_free`` items are given nothing."""
        latents, known = batch["latents"], batch["known"]
        condition = make_condition(latents, known, batch["draft"], batch["confidence"])
        condition = condition * ~is_free[:, None, None]
        known = known & ~is_free[:, None]
        x = self.process.corrupt(latents, t, noise=noise)
        raw = self.network(x, t, condition=condition)
        error = (raw - self.process.target(latents, noise, t)).square().mean(dim=2)  # b l
        weight = torch.where(known, self.config.known_weight, 1.0)
        each = (error * weight).sum(dim=1) / weight.sum(dim=1)
        has_draft = (batch["confidence"] > 0).any(dim=1) & ~is_free
        parts = {"drafted": has_draft, "plain": ~has_draft & ~is_free, "free": is_free}
        found = {"loss": each.mean()}
        for name, where in parts.items():
            found[name] = (each * where).sum() / where.sum().clamp(min=1)
        return found
