"""What the training of a VAE optimises: waves and spectra that come back, from little."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.codecs.vae import Vae, VaeConfig
from weft.errors import ConfigError
from weft.losses.spectral import MultiResolutionStftLoss, StftLossConfig
from weft.train.recipe import Batch, Losses
from weft.train.recipes.codec_adversary import AdversarialConfig, Adversary

_QUIET = 0.01
_FOLLOW = 0.02


@final
@dataclass(frozen=True, kw_only=True)
class VaeObjectiveConfig:
    """Weights of the losses; seed 001 names the losses and no weights."""

    stft: StftLossConfig = field(default_factory=StftLossConfig)
    """Resolutions of the spectral distance."""
    stft_weight: float = 1.0
    """Of the distance of spectra, >= 0."""
    l1_weight: float = 1.0
    """Of the mean absolute difference of samples, as a share of the sound's level, >= 0."""
    l2_weight: float = 0.0
    """Of the mean squared difference of samples, as a share of the sound's power, >= 0."""
    kl_weight: float = 1e-4
    """Of the divergence of a frame's latent from a normal distribution, in nats, >= 0."""
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    """The discriminators; bands of spectra alone are the paper's."""
    adversarial_from: int = -1
    """Step from which discriminators learn and are heard and the encoder stays as it is, >= 0;
    -1: there are none."""

    def __post_init__(self) -> None:
        for name in ("stft_weight", "l1_weight", "l2_weight", "kl_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.adversarial_from < -1:
            raise ConfigError(f"adversarial_from must be >= -1, got {self.adversarial_from}")


@final
class VaeModule(nn.Module):
    """A VAE, and what judges it.

    Source: seed 001, appendix B: spectra at several resolutions, absolute and squared differences,
        then a frozen encoder and discriminators. Differs: differences of samples are divided by the
        sound's level, so that soft sound counts as much as loud.
    """

    def __init__(self, config: VaeConfig, objective: VaeObjectiveConfig) -> None:
        super().__init__()
        self.config = objective
        self.vae = Vae(config)
        self.stft = MultiResolutionStftLoss(objective.stft)
        self.adversary = (
            None if objective.adversarial_from < 0 else Adversary(objective.adversarial)
        )

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the losses of the generator or of the discriminators.

        Args:
            batch: ``samples``, "b c n".
            objective: ``generator`` or ``discriminator``.
            step: of the run.
            generator: of all draws.
        """
        samples = batch["samples"]
        is_adversarial = self.adversary is not None and step >= self.config.adversarial_from
        if objective == "discriminator":
            return self._discriminate(samples, is_adversarial, generator)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_adversarial):
            mean, log_variance = self.vae.posterior(samples)
        if self.training and not is_adversarial:
            self.vae.follow(mean, _FOLLOW)
        estimate = self._decode(mean, log_variance, samples.shape[2], generator)
        losses = self._distances(estimate, samples)
        variance = log_variance.exp()
        nats = 0.5 * (mean.square() + variance - log_variance - 1).sum(dim=2).mean()
        total = self.config.kl_weight * nats + sum(
            getattr(self.config, f"{name}_weight") * value for name, value in losses.items()
        )
        losses["kl"] = nats
        if self.adversary is not None and is_adversarial:
            judged, parts = self.adversary.generator_losses(
                estimate.flatten(0, 1), samples.flatten(0, 1)
            )
            losses |= parts
            total = total + judged
        if is_adversarial:  # parameters without a gradient still belong to the objective
            total = total + 0.0 * sum(p.sum() for p in self.vae.encoder.parameters())
        return {"loss": torch.as_tensor(total), **losses}

    def _decode(
        self, mean: Tensor, log_variance: Tensor, num_samples: int, generator: torch.Generator
    ) -> Float[Tensor, "b c n"]:
        """Decode a draw from the posterior; when judged only, its mean."""
        latents = mean
        if self.training:
            noise = torch.randn(
                mean.shape, generator=generator, device=mean.device, dtype=mean.dtype
            )
            latents = mean + (0.5 * log_variance).exp() * noise
        decoded: Tensor = self.vae.decoder(latents)
        return decoded[..., :num_samples]

    def _distances(self, estimate: Tensor, samples: Tensor) -> dict[str, Tensor]:
        with torch.autocast(samples.device.type, enabled=False):
            power = samples.square().mean(dim=(1, 2)).clamp_min(_QUIET**2)
            error = estimate.float() - samples
            return {
                "stft": self.stft(estimate.flatten(0, 1), samples.flatten(0, 1)),
                "l1": (error.abs().mean(dim=(1, 2)) * power.rsqrt()).mean(),
                "l2": (error.square().mean(dim=(1, 2)) / power).mean(),
            }

    def _discriminate(
        self, samples: Tensor, is_adversarial: bool, generator: torch.Generator
    ) -> Losses:
        assert self.adversary is not None  # there is no such objective without discriminators
        if not is_adversarial:
            idle = sum(parameter.sum() for parameter in self.adversary.parameters())
            return {"loss": 0.0 * torch.as_tensor(idle)}
        with torch.no_grad():
            estimate = self._decode(*self.vae.posterior(samples), samples.shape[2], generator)
        return self.adversary.discriminator_losses(estimate.flatten(0, 1), samples.flatten(0, 1))

    def networks(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters of each objective."""
        yield "generator", [*self.vae.parameters()]
        if self.adversary is not None:
            yield "discriminator", [*self.adversary.parameters()]
