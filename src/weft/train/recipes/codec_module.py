"""What the training of a codec optimises: samples that sound like those that went in."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig
from weft.errors import ConfigError
from weft.losses.spectral import (
    WAVTOKENIZER_MEL,
    MelDistanceLoss,
    MelLossConfig,
    MultiResolutionStftLoss,
    StftLossConfig,
)
from weft.train.recipe import Batch, Losses
from weft.train.recipes.codec_adversary import AdversarialConfig, Adversary


@final
@dataclass(frozen=True, kw_only=True)
class CodecObjectiveConfig:
    """Weights of the losses, and when the codebook comes in; the defaults are WavTokenizer's."""

    mel: MelLossConfig = WAVTOKENIZER_MEL
    """Resolutions of the mel distance."""
    mel_weight: float = 45.0
    """Of the distance of log-mel spectra, >= 0."""
    stft: StftLossConfig = field(default_factory=StftLossConfig)
    """Resolutions of the spectral distance."""
    stft_weight: float = 0.0
    """Of the distance of spectra, >= 0; not in the paper."""
    commitment_weight: float = 1000.0
    """Of the distance of frames to their codes, >= 0."""
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    """The discriminators."""
    adversarial_from: int = 0
    """Step from which discriminators learn and are heard, >= 0; -1: there are none."""
    quantise_from: int = 0
    """Step from which frames are quantised, >= 0: before it, the codec learns what to say."""
    num_first_frames: int = 16384
    """Frames of the steps before, from which the codebook is made, >= 1."""
    gap_probability: float = 0.0
    """Share of crops of which only a stretch is quantised, in [0, 1]: what stands around a gap may
    then be decoded from the encoder's own features. Not in the paper."""
    gap_frames: tuple[int, int] = (8, 60)
    """Shortest and longest such stretch, in frames, >= 1."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("mel_weight", "stft_weight", "commitment_weight", "quantise_from"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.adversarial_from < -1 or not 1 <= self.num_first_frames <= 1 << 20:
            raise ConfigError(
                "adversarial_from must be >= -1 and num_first_frames in [1, 2^20], got "
                f"{self.adversarial_from} and {self.num_first_frames}"
            )
        low, high = self.gap_frames
        if not 0 <= self.gap_probability <= 1 or not 1 <= low <= high:
            raise ConfigError(
                "gap_probability must be in [0, 1] and gap_frames two numbers >= 1 in order, got "
                f"{self.gap_probability} and {self.gap_frames}"
            )


@final
class CodecModule(nn.Module):
    """A codec, and what judges it."""

    def __init__(self, codec: WavTokenizerConfig, objective: CodecObjectiveConfig) -> None:
        super().__init__()
        self.config = objective
        self.codec = WavTokenizer(codec)
        self.mel = MelDistanceLoss(replace(objective.mel, sample_rate=codec.sample_rate))
        self.stft = MultiResolutionStftLoss(objective.stft)
        self.adversary = (
            None if objective.adversarial_from < 0 else Adversary(objective.adversarial)
        )
        # The first frames are kept until the codebook is made of them.
        num_first = objective.num_first_frames if objective.quantise_from else 0
        self.first: Tensor
        self.num_seen: Tensor
        self.register_buffer("first", torch.zeros(num_first, codec.quantiser.width))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.int64))

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the losses of the generator or of the discriminators.

        Args:
            batch: ``samples``, "b n".
            objective: ``generator`` or ``discriminator``.
            step: of the run.
            generator: of all draws.
        """
        samples = batch["samples"]
        if objective == "discriminator":
            return self._discriminate(samples, step, generator)
        is_quantising = step >= self.config.quantise_from
        features = self.codec.encoder(samples)
        if self.training:
            self._prepare(features, is_quantising=is_quantising, generator=generator)
        losses: dict[str, Tensor] = {}
        if is_quantising:
            mixed, losses["commitment"] = self._quantise(features, generator)
            if self.training:
                codes = self.codec.quantiser.encode(features.detach())
                self.codec.quantiser.learn(features.detach(), codes, generator)
        else:
            mixed = features
        estimate = self._decode(mixed, samples.shape[1])
        losses["mel"] = self.mel(estimate, samples)
        losses["stft"] = self.stft(estimate, samples)
        weights = {
            "mel": self.config.mel_weight,
            "stft": self.config.stft_weight,
            "commitment": self.config.commitment_weight,
        }
        total = sum(weights[name] * value for name, value in losses.items())
        if self.adversary is not None and step >= self.config.adversarial_from:
            judged, parts = self.adversary.generator_losses(estimate, samples)
            losses |= parts
            total = total + judged
        return {"loss": torch.as_tensor(total), **losses}

    def _discriminate(self, samples: Tensor, step: int, generator: torch.Generator) -> Losses:
        assert self.adversary is not None  # there is no such objective without discriminators
        if step < self.config.adversarial_from:
            idle = sum(parameter.sum() for parameter in self.adversary.parameters())
            return {"loss": 0.0 * torch.as_tensor(idle)}
        with torch.no_grad():
            features = self.codec.encoder(samples)
            if step >= self.config.quantise_from:
                features, _ = self._quantise(features, generator)
            estimate = self._decode(features, samples.shape[1])
        return self.adversary.discriminator_losses(estimate, samples)

    def _decode(self, features: Tensor, num_samples: int) -> Float[Tensor, "b n"]:
        decoded: Tensor = self.codec.decoder(features)
        return decoded[:, :num_samples]

    def _quantise(
        self, features: Float[Tensor, "b l d"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "b l d"], Tensor]:
        """Quantise crops, or only a stretch of some."""
        quantised, _, commitment = self.codec.quantiser(features)
        if self.config.gap_probability == 0:
            return quantised, commitment
        kept = self._draw_kept(features.shape[0], features.shape[1], generator)
        return torch.where(kept[..., None], features, quantised), commitment

    def _draw_kept(
        self, num_items: int, num_frames: int, generator: torch.Generator
    ) -> Bool[Tensor, "b l"]:
        """Draw the frames that are decoded from the encoder's own features."""
        device = generator.device
        draws = torch.rand(3, num_items, 1, generator=generator, device=device)
        low, high = (min(limit, num_frames) for limit in self.config.gap_frames)
        length = (low + draws[1] * (high - low + 1)).long().clamp(max=high)
        start = (draws[2] * (num_frames - length + 1)).long()
        place = torch.arange(num_frames, device=device)
        is_outside = (place < start) | (place >= start + length)
        return is_outside & (draws[0] < self.config.gap_probability)

    @torch.no_grad()
    def _prepare(
        self, features: Tensor, *, is_quantising: bool, generator: torch.Generator
    ) -> None:
        """Remember frames until the codebook is wanted, then make it of them."""
        quantiser = self.codec.quantiser
        if bool(quantiser.is_started):
            return
        flat = features.detach().reshape(-1, features.shape[-1]).to(self.first.dtype)
        if is_quantising:
            kept = self.first[: int(self.num_seen.clamp(max=len(self.first)))]
            quantiser.start(kept if len(kept) else flat, generator)
            # A moving count of frames a step, where k-means counted all of them.
            if len(kept):
                share = len(flat) / len(kept)
                quantiser.counts.mul_(share)
                quantiser.sums.mul_(share)
            return
        if len(self.first):
            places = torch.arange(len(flat), device=flat.device) + self.num_seen
            self.first[places[-len(self.first) :] % len(self.first)] = flat[-len(self.first) :]
            self.num_seen += len(flat)

    def networks(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters of each objective."""
        codec = [*self.codec.parameters()]
        yield "generator", [p for p in codec if p.requires_grad]
        if self.adversary is not None:
            yield "discriminator", [*self.adversary.parameters()]
