"""What the training of a style head optimises."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.sampling.style_embedder import pool
from weft.sampling.style_head import StyleHead, StyleHeadConfig
from weft.train.recipe import Batch, Losses


@final
@dataclass(frozen=True, kw_only=True)
class StyleObjectiveConfig:
    """What a head learns from."""

    noisy_share: float = 0.6
    """How often latents are estimates out of noise instead of clean, in [0, 1]."""
    max_time: float = 0.75
    """Latest time of the noise that they are estimated out of, in (0, 1)."""
    least_span: float = 0.12
    """Shortest part of a piece over which frames are averaged, as a share of it, in (0, 1]."""
    frame_weight: float = 0.5
    """Weight of the error of single frames beside that of the mean, in [0, 10]."""
    deviation_weight: float = 0.5
    """Weight of the error of the deviation, in [0, 10]."""

    def __post_init__(self) -> None:
        if not 0 <= self.noisy_share <= 1 or not 0 < self.max_time < 1:
            raise ConfigError(
                "noisy_share must be in [0, 1] and max_time in (0, 1), got "
                f"{self.noisy_share} and {self.max_time}"
            )
        if not 0 < self.least_span <= 1:
            raise ConfigError(f"least_span must be in (0, 1], got {self.least_span}")
        for name in ("frame_weight", "deviation_weight"):
            if not 0 <= getattr(self, name) <= 10:
                raise ConfigError(f"{name} must be in [0, 10], got {getattr(self, name)}")


@final
class StyleHeadModule(nn.Module):
    """A head and its loss."""

    def __init__(self, config: StyleHeadConfig, objective: StyleObjectiveConfig) -> None:
        super().__init__()
        self.config = objective
        self.head = StyleHead(config)

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the squared errors of mean, deviation and single frames."""
        latents, features = batch["latents"].float(), batch["features"].float()
        draws = torch.rand(2, len(latents), generator=generator, device=latents.device)
        time = draws[0] * self.config.max_time * (draws[1] < self.config.noisy_share)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        frames = self.head(estimate(latents, time, noise))
        found = pool(frames, batch["head_weights"])
        true = pool(features, batch["frame_weights"])
        # In both, frames lie evenly over the piece.
        wanted = nn.functional.interpolate(
            features.transpose(1, 2), size=frames.shape[1], mode="linear", align_corners=False
        ).transpose(1, 2)
        counted = (batch["head_weights"] > 0).float()[..., None]
        mean = (found.mean - true.mean).square().mean()
        deviation = (found.deviation - true.deviation).square().mean()
        single = (counted * (frames - wanted).square()).mean() / counted.mean().clamp_min(1e-6)
        loss = mean + self.config.deviation_weight * deviation + self.config.frame_weight * single
        return {"loss": loss, "mean": mean, "deviation": deviation, "frames": single}


def estimate(
    latents: Float[Tensor, "b l d"], time: Float[Tensor, " b"], noise: Float[Tensor, "b l d"]
) -> Float[Tensor, "b l d"]:
    """Return what could be told of latents under noise if all of them were independent.

    They have unit variance, so the best estimate of a noisy one is the signal's scale times it
    (cosine schedule): smaller the more noise there is, as a network's estimates are.
    """
    angle = (math.pi / 2 * time)[:, None, None]
    return angle.cos() * (angle.cos() * latents + angle.sin() * noise)
