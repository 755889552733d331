"""``weft train latent``: a transformer that fills in the latents of a trained VAE."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from weft.checkpoint import digest_of
from weft.codecs.vae import Vae
from weft.data.cache import FeatureCache
from weft.data.corpora import find_corpus
from weft.data.manifest import Manifest
from weft.data.samples import SampleCache, make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.process.gaussian import CosineSchedule, GaussianProcess
from weft.rng import Rng
from weft.sampling.latent_condition import num_condition
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Item, Recipe, Tell, silence
from weft.train.recipes.codec_check import Distances
from weft.train.recipes.latent_card import FILLER, FREE, write_folder
from weft.train.recipes.latent_check import (
    CheckGap,
    baselines,
    denoiser,
    fill_latents,
    find_gaps,
    measure_latents,
)
from weft.train.recipes.latent_config import CORPORA, PRESETS, LatentConfig
from weft.train.recipes.latent_data import (
    LatentDataConfig,
    LatentStream,
    encode_recordings,
    open_latents,
)
from weft.train.recipes.latent_drafts import make_drafts, open_drafts
from weft.train.recipes.latent_gains import fit_gains
from weft.train.recipes.latent_memory import measure_memory
from weft.train.recipes.latent_module import LatentModule
from weft.train.recipes.latent_windows import LatentWindows
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.vae_folder import make_random_vae, open_vae, stereo_cache

_NUM_FITTED = 128
"""Windows of the train split to which gains are fitted."""
_FILLS = (
    ("started", True, FILLER.draft_start),
    ("drafted", True, 1.0),
    ("plain", False, 1.0),
)
"""Ways of filling a gap: whether the network is told of the draft, and where it starts."""


@final
@dataclass(frozen=True, kw_only=True)
class OpenLatents:
    """What an opened recipe works with."""

    codec: Vae
    """Frozen, in eval mode, on the CPU."""
    folder: Path
    """Where it was read from."""
    windows: LatentWindows
    """Windows of the train split."""
    train: tuple[LatentStream, ...]
    """Its streams."""
    valid: tuple[LatentStream, ...]
    """Streams of the valid split."""
    valid_samples: SampleCache
    """Its sound."""


@final
class LatentRecipe(Recipe):
    """Diffusion on the latents of recordings, given what is known and drafts."""

    def __init__(self, config: LatentConfig, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._root = root
        self._opened: OpenLatents | None = None

    @property
    def name(self) -> str:
        return "latent"

    def to_config(self) -> dict[str, Any]:
        settings = asdict(self.config)
        # A codec is known by what it is: it may lie elsewhere when the run goes on.
        settings["codec"] = Path(self.config.codec).name
        if self._opened is not None:
            settings["codec"] = digest_of(self._opened.folder)
        return settings

    @property
    def opened(self) -> OpenLatents:
        """What `open` found.

        Raises:
            ConfigError: it was not called.
        """
        if self._opened is None:
            raise ConfigError("the recipe must be opened before it can give examples")
        return self._opened

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        if not self.config.codec:
            make_random_vae(cache)
        codec, digest, _ = self._open_codec(cache)
        for split in ("train", "valid"):
            samples = make_sample_cache(
                self._find(),
                cache,
                stereo_cache(codec),
                split=split,
                on_progress=partial(tell, f"decoding recordings, {split}"),
            )
            is_valid = split == "valid"
            make_drafts(
                samples,
                _features(cache),
                self.config.drafts,
                is_valid=is_valid,
                on_progress=partial(tell, f"looking for drafts, {split}"),
            )
            drafts = open_drafts(samples, _features(cache), self.config.drafts, is_valid=is_valid)
            encode_recordings(
                samples,
                drafts,
                _features(cache),
                codec,
                digest,
                self._data(split),
                on_progress=partial(tell, f"encoding recordings, {split}"),
            )

    def open(self, cache: Path) -> None:
        codec, digest, folder = self._open_codec(cache)
        streams: dict[str, list[LatentStream]] = {}
        samples: dict[str, SampleCache] = {}
        for split in ("train", "valid"):
            samples[split] = open_sample_cache(
                self._find(), cache, stereo_cache(codec), split=split
            )
            drafts = open_drafts(
                samples[split], _features(cache), self.config.drafts, is_valid=split == "valid"
            )
            streams[split] = open_latents(
                samples[split],
                drafts,
                _features(cache),
                digest,
                self._data(split),
                hop_length=codec.hop_length,
            )
        config = self.config
        names = [manifest.name for manifest in self._find()]
        windows = LatentWindows(
            streams["train"],
            num_frames=config.num_frames,
            weights=dict(zip(names, config.corpora.values(), strict=True)),
            shares=config.shares,
            draft_dropout=config.draft_dropout,
            wrong_drafts=config.wrong_drafts,
        )
        self._opened = OpenLatents(
            codec=codec,
            folder=folder,
            windows=windows,
            train=tuple(streams["train"]),
            valid=tuple(streams["valid"]),
            valid_samples=samples["valid"],
        )

    def _find(self) -> list[Manifest]:
        return [find_corpus(corpus, root=self._root) for corpus in self.config.corpora]

    def _data(self, split: str) -> LatentDataConfig:
        """Versions are for learning; what is measured is the recording as it is."""
        return self.config.data if split == "train" else replace(self.config.data, num_versions=1)

    def _open_codec(self, cache: Path) -> tuple[Vae, str, Path]:
        codec, digest, folder = open_vae(self.config.codec, cache)
        network = self.config.network
        features = codec.num_features
        if (network.num_features, network.num_condition) != (features, num_condition(features)):
            raise ConfigError(
                f"the codec has {features} features, so the network needs num_features={features} "
                f"and num_condition={num_condition(features)}, got {network.num_features} and "
                f"{network.num_condition}"
            )
        if self.config.drafts.frame_samples % codec.hop_length:
            raise ConfigError(
                f"frame_samples must be a multiple of the codec's {codec.hop_length} samples a "
                f"frame, got {self.config.drafts.frame_samples}"
            )
        return codec, digest, folder

    @property
    def num_examples(self) -> int:
        return len(self.opened.windows)

    def example(self, index: int, rng: Rng) -> Batch:
        window = self.opened.windows.draw(rng.stream())
        return {
            name: torch.from_numpy(getattr(window, name))
            for name in ("latents", "known", "draft", "confidence")
        }

    def build(self) -> nn.Module:
        process = GaussianProcess(schedule=CosineSchedule(), prediction=self.config.prediction)
        return LatentModule(self.config.network, process, self.config.objective)

    @cached_property
    def gaps(self) -> list[CheckGap]:
        """Gaps of the valid split, spread over it."""
        opened, config = self.opened, self.config
        found = find_gaps(
            opened.valid_samples,
            opened.valid,
            num_frames=config.num_frames,
            hop_length=opened.codec.hop_length,
        )
        if not found:
            raise ConfigError("no recording of the valid split has a gap that can be measured")
        count = min(config.num_valid, len(found))
        return [found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]

    @cached_property
    def _baselines(self) -> dict[str, Distances]:
        return baselines(self.opened.codec, self.gaps)

    def validation(self) -> Iterator[Batch]:
        for i in range(0, len(self.gaps), 16):
            batch = self.gaps[i : i + 16]
            yield {
                name: torch.from_numpy(np.stack([getattr(gap, name) for gap in batch]))
                for name in ("latents", "known", "draft", "confidence")
            }

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        ours = _as_latent(module)
        device = next(ours.parameters()).device
        figures: dict[str, float] = {}
        for name, share in (("drafted", 1.0), ("plain", 0.0)):
            generator = torch.Generator(device).manual_seed(0)  # the same noise every time
            losses = []
            for batch in self.validation():
                moved = {key: value.to(device) for key, value in batch.items()}
                moved["confidence"] = moved["confidence"] * share
                found = ours(moved, objective="loss", step=0, generator=generator)
                losses += [float(found["loss"])] * len(batch["latents"])
            figures[f"loss_{name}"] = float(np.mean(losses))
        for name, has_drafts, start in _FILLS:
            filled = fill_latents(ours, self.gaps, has_drafts=has_drafts, start=start)
            distances, levels = measure_latents(self.opened.codec, self.gaps, filled)
            figures[f"gap_lsd_{name}"] = float(distances.lsd.mean())
            figures[f"gap_level_db_{name}"] = float(np.median(levels))
        for name, distances in self._baselines.items():
            figures[f"gap_lsd_{name}"] = float(distances.lsd.mean())
        return figures

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return the distance in each gap, by way of filling it."""
        found = {}
        for name, has_drafts, start in _FILLS:
            filled = fill_latents(_as_latent(module), self.gaps, has_drafts=has_drafts, start=start)
            distances, _ = measure_latents(self.opened.codec, self.gaps, filled)
            found[f"gap_lsd_{name}"] = [
                Item(
                    recording=f"{gap.place.corpus}/{gap.place.recording}",
                    position=gap.place.position + gap.place.gap.start,
                    value=float(value),
                )
                for gap, value in zip(self.gaps, distances.lsd, strict=True)
            ]
        return found

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        ours = _as_latent(module)
        free = replace(FREE, gains=self._gains(ours))
        write_folder(
            folder,
            ours,
            self.opened.codec,
            figures=self.validate(ours),
            num_gaps=len(self.gaps),
            memory=measure_memory(
                ours,
                [s for s in self.opened.train if s.version == 0],
                np.stack([gap.latents for gap in self.gaps]),
                sampling=free,
            ),
            free=free,
            manifests=self._find(),
            settings=self.to_config(),
            history=history,
        )

    def _gains(self, module: LatentModule) -> tuple[tuple[float, float], ...]:
        device = next(module.parameters()).device
        drawn = [self.opened.windows.draw(Rng(2).stream(i)).latents for i in range(_NUM_FITTED)]
        latents = torch.from_numpy(np.stack(drawn)).to(device)
        return fit_gains(
            denoiser(module, None, module.process), latents, module.process, rng=Rng(3)
        )


def _as_latent(module: nn.Module) -> LatentModule:
    assert isinstance(module, LatentModule)  # what `build` returned
    return module


def _features(cache: Path) -> FeatureCache:
    return FeatureCache(cache / "features")


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[LatentRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its network, objective,
            shares, drafts or data.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    parts = ("network", "objective", "shares", "drafts", "data")
    config = apply_settings(
        config, overrides, recipe="latent", parts=parts, data=data, shares=CORPORA
    )
    return LatentRecipe(config), loop
