"""The discriminators that a codec is trained against."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.losses.adversarial import (
    Kind,
    Over,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from weft.nn.discriminators import (
    DAC_PERIODS,
    BandConfig,
    BandDiscriminator,
    PeriodConfig,
    PeriodDiscriminator,
    ResolutionConfig,
    ResolutionDiscriminator,
)
from weft.train.recipe import Losses


@final
@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Who judges, and how much it counts; the defaults are WavTokenizer's."""

    periods: PeriodConfig = field(default_factory=PeriodConfig)
    """Of the multi-period discriminator, hinge."""
    resolutions: ResolutionConfig = field(default_factory=ResolutionConfig)
    """Of the multi-resolution discriminator, hinge."""
    has_dac: bool = True
    """Whether the two discriminators of DAC judge, too, with least squares."""
    dac_periods: PeriodConfig = DAC_PERIODS
    """Of its multi-period discriminator."""
    bands: BandConfig = field(default_factory=BandConfig)
    """Of its multi-band discriminator."""
    weight: float = 1.0
    """Of what discriminators say of decoded sound, >= 0."""
    matching_weight: float = 1.0
    """Of the distance of their features, >= 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (self.weight >= 0 and self.matching_weight >= 0):
            raise ConfigError(
                "weight and matching_weight of an adversary must be >= 0, got "
                f"{self.weight} and {self.matching_weight}"
            )

    def scaled(self, num_channels: int) -> "AdversarialConfig":
        """Return discriminators of so many channels in their narrowest layers."""
        widths = tuple(num_channels * factor for factor in (1, 2, 4, 8, 8))
        return replace(
            self,
            periods=replace(self.periods, channels=widths),
            resolutions=replace(self.resolutions, num_channels=num_channels),
            dac_periods=replace(self.dac_periods, channels=widths),
            bands=replace(self.bands, num_channels=num_channels),
        )


@final
@dataclass(frozen=True, kw_only=True)
class _Judge:
    """A discriminator and how its verdicts become losses."""

    name: str
    network: nn.Module
    kind: Kind
    over: Over


@final
class Adversary(nn.Module):
    """All discriminators together.

    Source: WavTokenizer's training code. Differs: its table of four conditions, of which a random
    one was drawn each step, is left out.
    """

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.periods = PeriodDiscriminator(config.periods)
        self.resolutions = ResolutionDiscriminator(config.resolutions)
        self.dac_periods = PeriodDiscriminator(config.dac_periods) if config.has_dac else None
        self.bands = BandDiscriminator(config.bands) if config.has_dac else None

    def _judges(self) -> Iterator[_Judge]:
        yield _Judge(name="periods", network=self.periods, kind="hinge", over="mean")
        yield _Judge(name="resolutions", network=self.resolutions, kind="hinge", over="mean")
        if self.dac_periods is not None and self.bands is not None:
            yield _Judge(
                name="dac_periods", network=self.dac_periods, kind="least_squares", over="sum"
            )
            yield _Judge(name="bands", network=self.bands, kind="least_squares", over="sum")

    def generator_losses(
        self, estimate: Float[Tensor, "b n"], reference: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, ""], Losses]:
        """Return what the codec minimises, and its two parts without their weights.

        Raises:
            ShapeError: the sound is too short for a discriminator.
        """
        fooling, matching = estimate.new_zeros(()), estimate.new_zeros(())
        for judge in self._judges():
            with torch.no_grad():
                real = judge.network(reference)
            fake = judge.network(estimate)
            fooling = fooling + generator_loss(fake, kind=judge.kind, over=judge.over)
            matching = matching + feature_matching_loss(real, fake, over=judge.over)
        total = self.config.weight * fooling + self.config.matching_weight * matching
        return total, {"adversarial": fooling, "matching": matching}

    def discriminator_losses(
        self, estimate: Float[Tensor, "b n"], reference: Float[Tensor, "b n"]
    ) -> Losses:
        """Return what the discriminators minimise, and the part of each.

        Args:
            estimate: decoded sound; no gradient flows into it.
            reference: recorded sound.
        """
        losses: dict[str, Tensor] = {}
        for judge in self._judges():
            real, fake = judge.network(reference), judge.network(estimate.detach())
            losses[judge.name] = discriminator_loss(real, fake, kind=judge.kind, over=judge.over)
        return {"loss": sum(losses.values(), estimate.new_zeros(())), **losses}
