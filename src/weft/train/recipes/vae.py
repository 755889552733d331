"""``weft train vae``: sound as one vector a frame, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from weft.audio.levels import level_db
from weft.codecs.vae import VaeConfig
from weft.data.augment import AugmentConfig
from weft.data.samples import CacheConfig
from weft.errors import ConfigError
from weft.losses.spectral import StftLossConfig
from weft.nn.spectral_vae import SpectralVaeConfig
from weft.nn.strided_vae import StridedVaeConfig
from weft.rng import Rng
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Item, Objective, Recipe, Tell, silence
from weft.train.recipes.codec_adversary import AdversarialConfig
from weft.train.recipes.codec_check import (
    Distances,
    Place,
    find_places,
    linear_prediction,
)
from weft.train.recipes.crops import CorpusCrops
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.vae_card import LINEAR, VAE, write_folder
from weft.train.recipes.vae_check import round_trip
from weft.train.recipes.vae_module import VaeModule, VaeObjectiveConfig

CORPORA = {"music": 0.5, "piano": 0.25, "sounds": 0.15, "environment": 0.1}
"""Share of each corpus in an epoch."""
_NUM_SIGNALS = 3


@final
@dataclass(frozen=True, kw_only=True)
class VaeRecipeConfig:
    """Everything that decides what is learned, beside the loop."""

    codec: VaeConfig = field(default_factory=VaeConfig)
    """The network."""
    objective: VaeObjectiveConfig = field(default_factory=VaeObjectiveConfig)
    """The losses."""
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(gain_db=(0.0, 0.0), speed_probability=0.0)
    )
    """What crops go through, before they are brought to a level."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in an epoch, each > 0."""
    crop_s: float = 1.0
    """Length of a crop, in seconds, in [0.1, 60]."""
    level_range_db: tuple[float, float] = (-34.0, -12.0)
    """Levels that a mono codec hears, in dB of full scale; fillers bring others there."""
    side_share: float = 0.2
    """Share of crops of a mono codec that are the difference of two channels, in [0, 1]."""
    gaps_per_recording: int = 2
    """Gaps of each valid recording that the codec is measured on, >= 1."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")
        if not 0.1 <= self.crop_s <= 60 or self.gaps_per_recording < 1:
            raise ConfigError(
                "crop_s must be in [0.1, 60] s and gaps_per_recording >= 1, got "
                f"{self.crop_s} and {self.gaps_per_recording}"
            )
        low, high = self.level_range_db
        if not -80 <= low <= high <= 0 or not 0 <= self.side_share <= 1:
            raise ConfigError(
                "level_range_db must be two levels in [-80, 0] dB in order and side_share in "
                f"[0, 1], got {self.level_range_db} and {self.side_share}"
            )


@final
class VaeRecipe(Recipe):
    """Training of a VAE on crops of the corpora."""

    def __init__(self, config: VaeRecipeConfig, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._crops = CorpusCrops(
            config.corpora,
            self._cache_config,
            config.augment,
            num_samples=round(config.crop_s * self._sample_rate),
            root=root,
        )

    @property
    def name(self) -> str:
        return "vae"

    def to_config(self) -> dict[str, Any]:
        return asdict(self.config)

    @property
    def _sample_rate(self) -> int:
        return self.config.codec.spectral.sample_rate

    @property
    def _cache_config(self) -> CacheConfig:
        return CacheConfig(sample_rate=self._sample_rate, num_channels=2)

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        self._crops.prepare(cache, tell)

    def open(self, cache: Path) -> None:
        self._crops.open(cache)

    @property
    def num_examples(self) -> int:
        return len(self._crops)

    def example(self, index: int, rng: Rng) -> Batch:
        samples = self._crops.draw(index, rng)
        if self.config.codec.sizes.num_channels == 1:
            samples = self._one_signal(samples, rng.stream(2))
        return {"samples": torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))}

    def _one_signal(
        self, samples: Float[np.ndarray, "2 n"], rng: np.random.Generator
    ) -> Float[np.ndarray, "1 n"]:
        """Return sum, difference or one of two channels, at a level that a filler may give it."""
        chance, share = rng.random(2)
        side = samples[:1] - samples[1:]
        if chance < self.config.side_share and level_db(side) > -70:
            signal = side
        elif chance < (1 + self.config.side_share) / 2:
            signal = samples[:1]
        else:
            signal = samples.mean(axis=0, keepdims=True)
        low, high = self.config.level_range_db
        level = level_db(signal)
        if level < -90:
            return signal
        gain = 10 ** ((low + share * (high - low) - level) / 20)
        peak = float(np.abs(signal).max())
        return signal * min(gain, 1.5 / peak)

    def build(self) -> nn.Module:
        return VaeModule(self.config.codec, self.config.objective)

    def objectives(self, module: nn.Module) -> Sequence[Objective]:
        return [
            Objective(name=name, parameters=parameters)
            for name, parameters in _as_vae(module).networks()
        ]

    def validate(self, module: nn.Module) -> dict[str, float]:
        found = round_trip(_as_vae(module).vae, self.places)
        return {
            "gap_lsd": float(found.lsd.mean()),
            "gap_snr_db": float(found.snr_db.mean()),
            "lpc_gap_lsd": float(self._linear_prediction.lsd.mean()),
        }

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return the round trip's distance and signal-to-noise ratio in each gap."""
        found = round_trip(_as_vae(module).vae, self.places)
        return {
            name: [
                Item(
                    recording=f"{place.corpus}/{place.recording}",
                    position=place.position,
                    value=float(value),
                )
                for place, value in zip(self.places, values, strict=True)
            ]
            for name, values in (("gap_lsd", found.lsd), ("gap_snr_db", found.snr_db))
        }

    @cached_property
    def places(self) -> list[Place]:
        """Gaps of the valid split, in the mean of the channels."""
        return find_places(self._crops.valid, self.config.gaps_per_recording)

    @cached_property
    def _linear_prediction(self) -> Distances:
        return linear_prediction(self.places, self._sample_rate)

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        vae = _as_vae(module).vae
        write_folder(
            folder,
            vae,
            places=self.places,
            distances={VAE: round_trip(vae, self.places), LINEAR: self._linear_prediction},
            manifests=self._crops.manifests,
            settings=self.to_config(),
            history=history,
        )


def _as_vae(module: nn.Module) -> VaeModule:
    assert isinstance(module, VaeModule)  # the loop gives back what `build` made
    return module


_SMALL_STFT = StftLossConfig(
    n_ffts=(2048, 1024, 512, 256),
    hop_lengths=(512, 256, 128, 64),
    window_lengths=(2048, 1024, 512, 256),
    floor=3e-5,
)
_PAPER_STFT = StftLossConfig(
    n_ffts=(2048, 1024, 512, 256, 128, 64, 32),
    hop_lengths=(512, 256, 128, 64, 32, 16, 8),
    window_lengths=(2048, 1024, 512, 256, 128, 64, 32),
)
_SPEED = AugmentConfig(gain_db=(0.0, 0.0), speed_semitones=2.0, speed_probability=0.3)

PRESETS: Mapping[str, tuple[VaeRecipeConfig, LoopConfig]] = {
    "debug": (
        VaeRecipeConfig(
            codec=VaeConfig(
                spectral=SpectralVaeConfig(
                    num_features=16, width=32, hidden_width=64, encoder_layers=1, decoder_layers=2
                )
            ),
            objective=VaeObjectiveConfig(
                adversarial=AdversarialConfig().scaled(4), adversarial_from=20
            ),
            crop_s=0.5,
            gaps_per_recording=1,
        ),
        LoopConfig(steps=30, batch_size=4, learning_rate=1e-3, ema_decay=0.9),
    ),
    "small": (
        VaeRecipeConfig(
            objective=VaeObjectiveConfig(stft=_SMALL_STFT, l1_weight=4.0, kl_weight=5e-4),
            augment=_SPEED,
        ),
        LoopConfig(
            steps=5000,
            batch_size=8,
            learning_rate=1e-3,
            betas=(0.8, 0.95),
            weight_decay=0.01,
            warmup_steps=100,
            decay_fraction=0.3,
            ema_decay=0.998,
            validate_every=1000,
            save_every=200,
            log_every=20,
        ),
    ),
    "base": (
        VaeRecipeConfig(
            codec=VaeConfig(front="strided", strided=StridedVaeConfig()),
            objective=VaeObjectiveConfig(stft=_PAPER_STFT, l2_weight=1.0, adversarial_from=160_000),
            augment=_SPEED,
            crop_s=1.5,
        ),
        LoopConfig(
            steps=200_000,
            batch_size=32,
            learning_rate=1.5e-4,
            betas=(0.8, 0.99),
            weight_decay=1e-3,
            warmup_steps=1000,
            ema_decay=0.9995,
            validate_every=5000,
            save_every=2000,
            num_workers=12,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is the paper's."""


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[VaeRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its objective or its
            augmentation.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    if "codec" in overrides:
        raise ConfigError("codec is no single value; choose a preset")
    config = apply_settings(
        replace(config),
        overrides,
        recipe="vae",
        parts=("objective", "augment"),
        data=data,
        shares=CORPORA,
    )
    return VaeRecipe(config), loop
