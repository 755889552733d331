"""``weft train waveform``: an unconditional diffusion model over folded samples.

``weft train cqt`` shares all of it but the network, see `weft.train.recipes.cqt`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from weft.classical.autoregressive import Lpc
from weft.data.augment import AugmentConfig
from weft.data.crops import Crop, CropConfig, CropSource
from weft.data.samples import CacheConfig
from weft.errors import ConfigError
from weft.nn.unet1d import WaveformUnetConfig
from weft.rng import Rng
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_filler import WaveformFiller
from weft.sampling.waveform_model import NetworkConfig, ProcessConfig, WaveformModelConfig
from weft.sampling.waveform_settings import WaveformFillerConfig
from weft.train.config import LoopConfig, set_fields
from weft.train.recipe import Batch, Item, Recipe, Tell, silence
from weft.train.recipes.codec_check import Place, find_places
from weft.train.recipes.crops import CorpusCrops
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.waveform_card import write_folder
from weft.train.recipes.waveform_check import (
    GapFigures,
    denoising_errors,
    draw_crops,
    fill_gaps,
    normalise,
    spread,
)
from weft.train.recipes.waveform_module import WaveformModule

CORPORA = {"music": 0.4, "piano": 0.25, "sounds": 0.2, "environment": 0.15}
"""Share of each corpus in an epoch."""
LINEAR = "linear prediction"
OURS = "this model"


@final
@dataclass(frozen=True, kw_only=True)
class WaveformConfig:
    """Everything that decides what is learned, beside the loop."""

    network: NetworkConfig = field(default_factory=WaveformUnetConfig)
    """Over folded samples, or over octaves."""
    sample_rate: int = 44_100
    """In Hz, in [1000, 768000]."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """How sound is corrupted."""
    sampler: GaussianSamplerConfig = field(default_factory=GaussianSamplerConfig)
    """How the trained model takes steps."""
    guidance: GuidanceConfig = field(default_factory=lambda: GuidanceConfig(step_size=3e-3))
    """How what is known enters then."""
    filler: WaveformFillerConfig = field(default_factory=WaveformFillerConfig)
    """How gaps are filled then."""
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(gain_db=(0.0, 0.0), max_peak=float("inf"))
    )
    """What crops go through; their level is that of ``level_db`` in the end."""
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Lowest and highest level of crops over variance 1, in dB, in [-40, 40]."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in an epoch, each > 0."""
    num_crops: int = 32
    """Crops of the valid split on which denoising is measured, in [1, 10000]."""
    num_gaps: int = 8
    """Gaps of the valid split that are filled, in [1, 10000]."""
    gap_steps: int = 8
    """Steps of such a fill, in [1, 1000]."""
    summary: str = "samples the sound itself step by step, guided by what is known on both sides"
    """How the trained model works, one line."""
    sources: tuple[str, ...] = (
        "Levy et al. 2023, Controllable music production with diffusion models and guidance "
        "gradients",
    )
    """Publications."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")
        low, high = self.level_db
        if not -40 <= low <= high <= 40:
            raise ConfigError(
                f"level_db must be two levels in [-40, 40] dB, the lower first, got {self.level_db}"
            )
        for name, most in (("num_crops", 10_000), ("num_gaps", 10_000), ("gap_steps", 1000)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be in [1, {most}], got {getattr(self, name)}")
        self.to_model()  # checks the rate, and that the parts go together

    def to_model(self) -> WaveformModelConfig:
        """Return what the trained model is."""
        kind = "waveform" if isinstance(self.network, WaveformUnetConfig) else "cqt"
        return WaveformModelConfig(
            network=self.network,
            sample_rate=self.sample_rate,
            process=self.process,
            sampler=self.sampler,
            guidance=self.guidance,
            filler=self.filler,
            name=f"weft-{kind}",
            summary=self.summary,
            good_for="comparison; gaps up to half of what it hears at once",
            sources=self.sources,
        )


@final
class WaveformRecipe(Recipe):
    """Training of a model of samples on crops of the corpora."""

    def __init__(self, config: WaveformConfig, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._model = config.to_model()
        self._crops = CorpusCrops(
            config.corpora,
            self._cache_config,
            config.augment,
            num_samples=config.network.num_samples,
            root=root,
        )

    @property
    def name(self) -> str:
        return self._model.kind

    def to_config(self) -> dict[str, Any]:
        settings = asdict(self.config)
        if self.config.augment.max_peak == float("inf"):
            settings["augment"]["max_peak"] = None  # JSON has no infinity
        return settings

    @property
    def _cache_config(self) -> CacheConfig:
        return CacheConfig(
            sample_rate=self.config.sample_rate,
            num_channels=min(2, self.config.network.num_channels),
        )

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        self._crops.prepare(cache, tell)

    def open(self, cache: Path) -> None:
        self._crops.open(cache)

    @property
    def num_examples(self) -> int:
        return len(self._crops)

    def example(self, index: int, rng: Rng) -> Batch:
        samples = self._crops.draw(index, rng)
        level = float(rng.stream(2).uniform(*self.config.level_db))
        levelled = normalise(samples, level)
        return {"samples": torch.from_numpy(np.ascontiguousarray(levelled.T))}

    def build(self) -> nn.Module:
        return WaveformModule(self.config.network, self.config.process)

    def validate(self, module: nn.Module) -> dict[str, float]:
        errors = denoising_errors(_as_waveform(module), self.crops)
        ours = self._fill(_as_waveform(module))
        return {
            **{f"loss_at_{time:g}": float(found.mean()) for time, found in errors.items()},
            "loss": float(np.mean([found.mean() for found in errors.values()])),
            "gap_lsd": float(ours.lsd.mean()),
            "gap_level_db": float(ours.level_db.mean()),
            "lpc_gap_lsd": float(self._linear_prediction.lsd.mean()),
            "lpc_gap_level_db": float(self._linear_prediction.level_db.mean()),
        }

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return the error of each crop at each time, and the distance in each gap."""
        found = {
            f"loss_at_{time:g}": [
                Item(recording=_recording(crop), position=max(0, crop.start), value=float(value))
                for crop, value in zip(self.crops, values, strict=True)
            ]
            for time, values in denoising_errors(_as_waveform(module), self.crops).items()
        }
        lsd = self._fill(_as_waveform(module)).lsd
        found["gap_lsd"] = [
            Item(
                recording=f"{place.corpus}/{place.recording}",
                position=place.position,
                value=float(value),
            )
            for place, value in zip(self.places, lsd, strict=True)
        ]
        return found

    @cached_property
    def crops(self) -> list[Crop]:
        """Crops of the valid split."""
        crops = CropConfig(num_samples=self.config.network.num_samples)
        return draw_crops(CropSource(self._crops.valid, crops), self.config.num_crops)

    @cached_property
    def places(self) -> list[Place]:
        """Gaps of the valid split."""
        found = find_places(self._crops.valid, 1)
        return [found[i] for i in spread(len(found), self.config.num_gaps)]

    @cached_property
    def _linear_prediction(self) -> GapFigures:
        return fill_gaps(Lpc(), self.places, self.config.sample_rate)

    def _fill(self, module: WaveformModule) -> GapFigures:
        """Fill the gaps as the trained model would, in few steps."""
        filler = WaveformFiller(
            module.network,
            sample_rate=self.config.sample_rate,
            process=module.process,
            sampler=replace(self.config.sampler, steps=self.config.gap_steps),
            guidance=self.config.guidance,
            config=self.config.filler,
        )
        return fill_gaps(filler, self.places, self.config.sample_rate)

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        trained = _as_waveform(module)
        write_folder(
            folder,
            trained.network,
            self._model,
            errors=denoising_errors(trained, self.crops),
            fills={OURS: self._fill(trained), LINEAR: self._linear_prediction},
            places=self.places,
            manifests=self._crops.manifests,
            settings=self.to_config(),
            history=history,
        )


def _as_waveform(module: nn.Module) -> WaveformModule:
    assert isinstance(module, WaveformModule)  # what `build` returned
    return module


def _recording(crop: Crop) -> str:
    return f"{crop.source.corpus}/{crop.source.entry.file}"


SMALL_AUGMENT = AugmentConfig(
    gain_db=(0.0, 0.0),
    speed_semitones=2.0,
    speed_probability=0.4,
    swap_probability=0.0,
    max_peak=float("inf"),
)
"""Mono crops: another sign, another speed."""

PRESETS: Mapping[str, tuple[WaveformConfig, LoopConfig]] = {
    "debug": (
        WaveformConfig(
            network=WaveformUnetConfig(
                num_channels=1,
                num_samples=8176,
                width=16,
                multipliers=(1, 2, 2),
                num_blocks=1,
                attention_from=2,
                num_heads=2,
                num_groups=4,
            ),
            sample_rate=8000,
            augment=SMALL_AUGMENT,
            num_crops=4,
            num_gaps=2,
            gap_steps=2,
        ),
        LoopConfig(steps=20, batch_size=4, learning_rate=1e-3, ema_decay=0.9),
    ),
    "small": (
        WaveformConfig(
            network=WaveformUnetConfig(
                num_channels=1,
                num_samples=33_264,
                width=32,
                multipliers=(1, 2, 2, 4, 4),
                num_blocks=1,
                attention_from=4,
                num_heads=4,
                num_groups=8,
            ),
            sample_rate=22_050,
            augment=SMALL_AUGMENT,
        ),
        LoopConfig(
            steps=3000,
            batch_size=8,
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            warmup_steps=100,
            decay_fraction=0.3,
            ema_decay=0.995,
            save_every=250,
            log_every=20,
        ),
    ),
    "base": (
        WaveformConfig(),
        LoopConfig(
            steps=600_000,
            batch_size=384,
            learning_rate=1e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup_steps=5000,
            schedule="cosine",
            ema_decay=0.9999,
            validate_every=10_000,
            save_every=5000,
            num_workers=12,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small for one core in 20 minutes, base is the
paper's."""


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[WaveformRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its network, its
            augmentation, its guidance or its filler.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it, or
            a quarter.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    return make_from(PRESETS, "waveform", preset, overrides, data)


def make_from(
    presets: Mapping[str, tuple[WaveformConfig, LoopConfig]],
    recipe: str,
    preset: str,
    overrides: Mapping[str, str],
    data: Sequence[str],
) -> tuple[WaveformRecipe, LoopConfig]:
    """Return the recipe of one of several presets; see `make`.

    Args:
        presets: by name.
        recipe: its name, for messages.
        preset: one of the presets.
        overrides: settings as text.
        data: corpora in place of the recipe's own.
    """
    config, loop = preset_of(presets, preset)
    network, rest = set_fields(config.network, overrides)
    if "network" in rest:
        raise ConfigError("network is no single value; set its parts")
    changed = apply_settings(
        replace(config, network=network),
        rest,
        recipe=recipe,
        parts=("augment", "guidance", "filler"),
        data=data,
        shares=CORPORA,
    )
    return WaveformRecipe(changed), loop
