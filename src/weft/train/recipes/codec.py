"""``weft train codec``: sound as one token a frame, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig
from weft.data.augment import AugmentConfig
from weft.data.samples import CacheConfig
from weft.errors import ConfigError
from weft.losses.spectral import MelLossConfig, StftLossConfig
from weft.nn.quantiser import QuantiserConfig
from weft.nn.seanet import SeanetConfig
from weft.nn.vocos import VocosConfig
from weft.rng import Rng
from weft.train.config import LoopConfig, set_fields
from weft.train.recipe import Batch, Item, Objective, Recipe, Tell, silence
from weft.train.recipes.codec_adversary import AdversarialConfig
from weft.train.recipes.codec_card import CODEC, CODEC_ALL, LINEAR, write_folder
from weft.train.recipes.codec_check import (
    Distances,
    Place,
    find_places,
    linear_prediction,
    round_trip,
)
from weft.train.recipes.codec_module import CodecModule, CodecObjectiveConfig
from weft.train.recipes.crops import CorpusCrops
from weft.train.recipes.settings import apply_settings, preset_of

CORPORA = {"music": 0.4, "piano": 0.25, "sounds": 0.2, "environment": 0.15}
"""Share of each corpus in an epoch."""


@final
@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Everything that decides what is learned, beside the loop."""

    codec: WavTokenizerConfig = field(default_factory=WavTokenizerConfig)
    """The network and its codebook."""
    objective: CodecObjectiveConfig = field(default_factory=CodecObjectiveConfig)
    """The losses."""
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            gain_db=(-6.0, -1.0), swap_probability=0.0, speed_probability=0.0
        )
    )
    """What crops go through; the default is the paper's."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in an epoch, each > 0."""
    crop_s: float = 3.0
    """Length of a crop, in seconds, in [0.1, 60]."""
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


@final
class CodecRecipe(Recipe):
    """Training of a codec on crops of the corpora."""

    def __init__(self, config: CodecConfig, *, root: Path | None = None) -> None:
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
            num_samples=round(config.crop_s * config.codec.sample_rate),
            root=root,
        )

    @property
    def name(self) -> str:
        return "codec"

    def to_config(self) -> dict[str, Any]:
        return asdict(self.config)

    @property
    def _cache_config(self) -> CacheConfig:
        return CacheConfig(sample_rate=self.config.codec.sample_rate)

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        self._crops.prepare(cache, tell)

    def open(self, cache: Path) -> None:
        self._crops.open(cache)

    @property
    def num_examples(self) -> int:
        return len(self._crops)

    def example(self, index: int, rng: Rng) -> Batch:
        samples = self._crops.draw(index, rng)
        return {"samples": torch.from_numpy(np.ascontiguousarray(samples[0]))}

    def build(self) -> nn.Module:
        return CodecModule(self.config.codec, self.config.objective)

    def objectives(self, module: nn.Module) -> Sequence[Objective]:
        return [
            Objective(name=name, parameters=parameters)
            for name, parameters in _as_codec(module).networks()
        ]

    def validate(self, module: nn.Module) -> dict[str, float]:
        codec = _as_codec(module).codec
        beside = round_trip(codec, self.places, is_all_quantised=False)
        whole = round_trip(codec, self.places, is_all_quantised=True)
        lpc = self._linear_prediction
        return {
            "gap_lsd": float(beside.lsd.mean()),
            "gap_snr_db": float(beside.snr_db.mean()),
            "gap_lsd_all_tokens": float(whole.lsd.mean()),
            "gap_snr_db_all_tokens": float(whole.snr_db.mean()),
            "lpc_gap_lsd": float(lpc.lsd.mean()),
            "code_perplexity": self._perplexity(codec),
        }

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return the round trip's distance and signal-to-noise ratio in each gap."""
        found = round_trip(_as_codec(module).codec, self.places, is_all_quantised=True)
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
        """Gaps of the valid split."""
        return find_places(self._crops.valid, self.config.gaps_per_recording)

    @cached_property
    def _linear_prediction(self) -> Distances:
        return linear_prediction(self.places, self.config.codec.sample_rate)

    def _perplexity(self, codec: WavTokenizer) -> float:
        """Return how many codes are in use, were all used alike, on the valid split."""
        counts = torch.zeros(codec.codebook_size)
        for place in self.places:
            codes = codec.encode(torch.from_numpy(place.samples)).codes[0]
            counts += torch.bincount(codes, minlength=codec.codebook_size)
        share = counts / counts.sum().clamp(min=1)
        return float(torch.special.entr(share).sum().exp())

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        codec = _as_codec(module).codec
        write_folder(
            folder,
            codec,
            places=self.places,
            distances={
                CODEC: round_trip(codec, self.places, is_all_quantised=False),
                CODEC_ALL: round_trip(codec, self.places, is_all_quantised=True),
                LINEAR: self._linear_prediction,
            },
            perplexity=self._perplexity(codec),
            manifests=self._crops.manifests,
            settings=self.to_config(),
            history=history,
        )


def _as_codec(module: nn.Module) -> CodecModule:
    assert isinstance(module, CodecModule)  # what `build` returned
    return module


def _small_codec(codebook_size: int, width: int = 128, dead_below: float = 0.05) -> Any:
    """Return the sizes that two cores can train."""
    return WavTokenizerConfig(
        encoder=SeanetConfig(num_filters=16, width=width),
        quantiser=QuantiserConfig(
            codebook_size=codebook_size, width=width, dead_below=dead_below, num_init_steps=50
        ),
        decoder=VocosConfig(num_features=width, width=256, hidden_width=768, num_layers=8),
    )


_STRIDES = {"75": (2, 4, 5, 8), "40": (4, 5, 5, 6)}
"""Strides of the encoder by tokens a second at 24 kHz, as published."""


def _at_rate(codec: WavTokenizerConfig, tokens_per_s: str) -> WavTokenizerConfig:
    """Return a codec of another frame rate; spectra are four frames long."""
    if tokens_per_s not in _STRIDES:
        raise ConfigError(f"tokens_per_s must be {' or '.join(_STRIDES)}, got {tokens_per_s!r}")
    encoder = replace(codec.encoder, strides=_STRIDES[tokens_per_s])
    hop_length = encoder.hop_length
    decoder = replace(codec.decoder, n_fft=4 * hop_length, hop_length=hop_length)
    return replace(codec, encoder=encoder, decoder=decoder)


_SMALL_MEL = MelLossConfig(
    n_ffts=(256, 512, 1024, 2048),
    hop_lengths=(64, 128, 256, 512),
    num_mels=(30, 60, 100, 160),
    floor=1e-4,
    filters="slaney",
)
_SMALL_STFT = StftLossConfig(
    n_ffts=(512, 1024, 2048), hop_lengths=(128, 256, 512), window_lengths=(512, 1024, 2048)
)


PRESETS: Mapping[str, tuple[CodecConfig, LoopConfig]] = {
    "debug": (
        CodecConfig(
            codec=WavTokenizerConfig(
                encoder=SeanetConfig(num_filters=4, width=32, num_lstm_layers=1),
                quantiser=QuantiserConfig(
                    codebook_size=64, width=32, dead_below=0.1, num_init_steps=10
                ),
                decoder=VocosConfig(num_features=32, width=64, hidden_width=128, num_layers=2),
            ),
            objective=CodecObjectiveConfig(
                commitment_weight=1.0,
                quantise_from=10,
                num_first_frames=2048,
                adversarial=AdversarialConfig().scaled(4),
                adversarial_from=20,
                gap_probability=0.5,
            ),
            crop_s=0.5,
            gaps_per_recording=1,
        ),
        LoopConfig(steps=30, batch_size=4, learning_rate=5e-4, ema_decay=0.9),
    ),
    "small": (
        CodecConfig(
            codec=_small_codec(1024),
            objective=CodecObjectiveConfig(
                mel=_SMALL_MEL,
                stft=_SMALL_STFT,
                mel_weight=1.0,
                stft_weight=1.0,
                commitment_weight=0.25,
                quantise_from=400,
                adversarial_from=-1,
                gap_probability=0.5,
            ),
            augment=AugmentConfig(
                gain_db=(-10.0, 3.0),
                swap_probability=0.0,
                speed_semitones=2.0,
                speed_probability=0.4,
            ),
            crop_s=1.0,
        ),
        LoopConfig(
            steps=4000,
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
        CodecConfig(),
        LoopConfig(
            steps=100_000,
            batch_size=40,
            learning_rate=2e-4,
            betas=(0.9, 0.999),
            weight_decay=0.01,
            schedule="cosine",
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
) -> tuple[CodecRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its objective or its
            augmentation; ``codebook_size`` and ``tokens_per_s`` (75 or 40) of its codec.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it, or
            a quarter.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    quantiser, rest = set_fields(config.codec.quantiser, overrides)
    codec = replace(config.codec, quantiser=quantiser)
    if "tokens_per_s" in rest:
        codec = _at_rate(codec, rest.pop("tokens_per_s"))
    if "codec" in rest:
        raise ConfigError("codec is no single value; set its parts")
    config = apply_settings(
        replace(config, codec=codec),
        rest,
        recipe="codec",
        parts=("objective", "augment"),
        data=data,
        shares=CORPORA,
    )
    return CodecRecipe(config), loop
