"""``weft train ssl``: the encoder behind the embedder that comes with the package."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from weft.data.augment import AugmentConfig, augment
from weft.data.classes import class_names, class_of
from weft.data.corpora import find_corpus
from weft.data.crops import CropConfig, CropSource
from weft.data.manifest import Manifest
from weft.data.samples import CacheConfig, SampleCache, make_sample_cache, open_sample_cache
from weft.errors import ConfigError, WeftError
from weft.losses.ssl import effective_rank, feature_std
from weft.metrics.embedders.corpus_ssl import CorpusSsl, clip_statistics
from weft.nn.ssl_encoder import SslEncoderConfig
from weft.rng import Rng
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Recipe, Tell, silence
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.ssl_card import write_folder
from weft.train.recipes.ssl_damage import DamageConfig, damage
from weft.train.recipes.ssl_module import ObjectiveConfig, SslModule
from weft.train.recipes.ssl_probe import LabelledClips, ProbeResult, fit_head

CORPORA = {"music": 0.35, "sounds": 0.3, "piano": 0.2, "environment": 0.15}
"""Share of each corpus in an epoch: the long piano recordings must not crowd out the rest."""


@final
@dataclass(frozen=True, kw_only=True)
class SslConfig:
    """Everything that decides what is learned, beside the loop."""

    encoder: SslEncoderConfig = field(default_factory=SslEncoderConfig)
    """The network."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """The task."""
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            gain_db=(-12.0, 6.0),
            swap_probability=0.0,
            speed_semitones=2.0,
            speed_probability=0.3,
            mix_probability=0.15,
        )
    )
    """What crops go through."""
    damage: DamageConfig = field(default_factory=DamageConfig)
    """What some of them suffer."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in an epoch, each > 0."""
    crop_s: float = 3.0
    """Length of a crop, in seconds, in [0.5, 60]."""
    clip_s: float = 4.0
    """Length of the pieces that the class head is fitted to, in seconds, in [1, 60]."""
    num_pieces: int = 3
    """Most pieces of one recording, >= 1."""
    min_feature_std: float = 0.05
    """A smaller mean deviation of features over clips is a collapse, > 0."""
    min_effective_rank: float = 8.0
    """A smaller effective rank of features over clips is a collapse, >= 1."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")
        if not (0.5 <= self.crop_s <= 60 and 1 <= self.clip_s <= 60 and self.num_pieces >= 1):
            raise ConfigError(
                "crop_s must be in [0.5, 60] s, clip_s in [1, 60] s and num_pieces >= 1, got "
                f"{self.crop_s}, {self.clip_s} and {self.num_pieces}"
            )
        if not (self.min_feature_std > 0 and self.min_effective_rank >= 1):
            raise ConfigError(
                "min_feature_std must be > 0 and min_effective_rank >= 1, got "
                f"{self.min_feature_std} and {self.min_effective_rank}"
            )


class CollapseError(WeftError, RuntimeError):
    """The encoder gives nearly the same features whatever it hears."""

    exit_status = 5


@final
class SslRecipe(Recipe):
    """Self-supervised training on crops of the corpora, then a class head on frozen features."""

    def __init__(self, config: SslConfig, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._root = root
        self._source: CropSource | None = None
        self._labelled: dict[str, SampleCache] = {}
        self._manifests: list[Manifest] = []

    @property
    def name(self) -> str:
        return "ssl"

    def to_config(self) -> dict[str, Any]:
        return asdict(self.config)

    @property
    def _cache_config(self) -> CacheConfig:
        return CacheConfig(sample_rate=self.config.encoder.mel.sample_rate)

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        manifests = self._find()
        for split in ("train", "valid"):
            make_sample_cache(
                manifests,
                cache,
                self._cache_config,
                split=split,
                on_progress=partial(tell, f"decoding recordings, {split}"),
            )

    def open(self, cache: Path) -> None:
        self._manifests = self._find()
        for split in ("train", "valid"):
            self._labelled[split] = open_sample_cache(
                self._manifests, cache, self._cache_config, split=split
            )
        rate = self.config.encoder.mel.sample_rate
        num_samples = self.config.augment.num_source_samples(round(self.config.crop_s * rate))
        shares = self.config.corpora.values()
        weights = {m.name: share for m, share in zip(self._manifests, shares, strict=True)}
        crops = CropConfig(num_samples=num_samples, short="pad", weights=weights)
        self._source = CropSource(self._labelled["train"], crops)

    def _find(self) -> list[Manifest]:
        return [find_corpus(corpus, root=self._root) for corpus in self.config.corpora]

    @property
    def source(self) -> CropSource:
        """The crops.

        Raises:
            ConfigError: `open` was not called.
        """
        if self._source is None:
            raise ConfigError("the recipe must be opened before it can give examples")
        return self._source

    @property
    def num_examples(self) -> int:
        return len(self.source)

    def example(self, index: int, rng: Rng) -> Batch:
        stream = rng.stream(1)

        def other() -> np.ndarray:
            neighbour = int(rng.stream(2).integers(len(self.source)))
            return self.source.crop(neighbour, rng.child(3))

        samples = augment(
            self.source.crop(index, rng.child(0)),
            self.config.augment,
            stream,
            num_samples=round(self.config.crop_s * self.config.encoder.mel.sample_rate),
            other_fn=other,
        )
        damaged = damage(
            np.ascontiguousarray(samples[0]),
            self.config.encoder.mel.sample_rate,
            self.config.damage,
            rng.stream(4),
        )
        return {"samples": torch.from_numpy(damaged)}

    def build(self) -> nn.Module:
        return SslModule(self.config.encoder, self.config.objective)

    def after_step(self, module: nn.Module, step: int) -> None:
        _as_ssl(module).update_teacher(step)

    def validate(self, module: nn.Module) -> dict[str, float]:
        embedder = CorpusSsl(_as_ssl(module).student)
        probe, valid = self.probe(embedder, num_pieces=1)
        figures = {
            "accuracy": probe.accuracy,
            "top3_accuracy": probe.top3_accuracy,
            "nll": probe.nll,
            **collapse_figures(valid.statistics[:, : embedder.num_dims]),
        }
        self._check(figures)
        return figures

    def _check(self, figures: Mapping[str, float]) -> None:
        """Raise where features have collapsed."""
        config = self.config
        if (
            figures["feature_std"] < config.min_feature_std
            or figures["effective_rank"] < config.min_effective_rank
        ):
            raise CollapseError(
                f"the encoder has collapsed: features deviate by {figures['feature_std']:.3g} over "
                f"valid clips (at least {config.min_feature_std:g} is wanted) and span "
                f"{figures['effective_rank']:.1f} dimensions (at least "
                f"{config.min_effective_rank:g}); lower the learning rate, or raise mel_weight or "
                "variance_weight"
            )

    def probe(self, embedder: CorpusSsl, *, num_pieces: int) -> tuple[ProbeResult, LabelledClips]:
        """Fit a class head on frozen features.

        Args:
            embedder: frozen.
            num_pieces: most pieces of one recording.

        Returns:
            The head, and the statistics of valid clips.
        """
        train, valid = (self._clips(split, embedder, num_pieces) for split in ("train", "valid"))
        return fit_head(train, valid, class_names()), valid

    def _clips(self, split: str, embedder: CorpusSsl, num_pieces: int) -> LabelledClips:
        rows, classes, weights = [], [], []
        names = class_names()
        for index, piece, num_of_recording in self._pieces(split, num_pieces):
            entry = self._labelled[split].entries[index]
            name = class_of(entry.corpus, entry.entry.label)
            if name is None:
                continue
            samples = self._labelled[split].read(index, *piece).astype(np.float64)
            rows.append(clip_statistics(embedder.frames(samples, embedder.sample_rate)))
            classes.append(names.index(name))
            weights.append(1 / num_of_recording)
        return LabelledClips(
            statistics=torch.stack(rows),
            classes=torch.tensor(classes),
            weights=torch.tensor(weights),
        )

    def _pieces(self, split: str, num_pieces: int) -> Iterator[tuple[int, tuple[int, int], int]]:
        """Yield recording, first and last sample, and the recording's number of pieces."""
        length = round(self.config.clip_s * self.config.encoder.mel.sample_rate)
        for index, entry in enumerate(self._labelled[split].entries):
            num = min(num_pieces, max(1, entry.num_samples // length))
            spare = max(0, entry.num_samples - length)
            for piece in range(num):
                start = spare * (2 * piece + 1) // (2 * num)
                yield index, (start, min(start + length, entry.num_samples)), num

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        encoder = _as_ssl(module).student
        result, valid = self.probe(CorpusSsl(encoder), num_pieces=self.config.num_pieces)
        figures = collapse_figures(valid.statistics[:, : encoder.config.width])
        self._check(figures)
        write_folder(
            folder,
            CorpusSsl(encoder, head=result.head),
            probe=result,
            figures=figures,
            manifests=self._manifests,
            settings=self.to_config(),
            history=history,
        )


def collapse_figures(vectors: torch.Tensor) -> dict[str, float]:
    """Return the deviation and the effective rank of clips' mean features."""
    return {"feature_std": feature_std(vectors), "effective_rank": effective_rank(vectors)}


def _as_ssl(module: nn.Module) -> SslModule:
    assert isinstance(module, SslModule)  # what `build` returned
    return module


PRESETS: Mapping[str, tuple[SslConfig, LoopConfig]] = {
    "debug": (
        SslConfig(
            encoder=SslEncoderConfig(width=48, num_layers=2, num_heads=2),
            objective=ObjectiveConfig(teacher_ramp=20),
            crop_s=2.0,
            num_pieces=1,
            min_effective_rank=2.0,
        ),
        LoopConfig(steps=60, batch_size=8, learning_rate=1e-3, warmup_steps=10, ema_decay=0.9),
    ),
    "small": (
        SslConfig(),
        LoopConfig(
            steps=2400,
            batch_size=16,
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup_steps=200,
            decay_fraction=0.25,
            ema_decay=0.998,
            validate_every=1200,
            save_every=200,
            log_every=20,
        ),
    ),
    "base": (
        SslConfig(
            encoder=SslEncoderConfig(width=512, num_layers=8, num_heads=8),
            objective=ObjectiveConfig(teacher_end=0.9999, teacher_ramp=20_000),
            crop_s=6.0,
        ),
        LoopConfig(
            steps=100_000,
            batch_size=128,
            learning_rate=5e-4,
            weight_decay=0.05,
            warmup_steps=2000,
            ema_decay=0.9995,
            validate_every=5000,
            save_every=5000,
            num_workers=12,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is for a GPU."""


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[SslRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its objective, its
            encoder or its augmentation.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it, or
            a quarter.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    parts = ("objective", "encoder", "augment", "damage")
    config = apply_settings(config, overrides, recipe="ssl", parts=parts, data=data, shares=CORPORA)
    return SslRecipe(config), loop
