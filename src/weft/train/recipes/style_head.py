"""``weft train style-head``: a small network that hears style in the latents of a trained VAE."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from weft.codecs.vae import Vae
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.corpora import find_corpus
from weft.data.manifest import Manifest
from weft.data.samples import make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.metrics.embedders.corpus_ssl import load
from weft.rng import Rng
from weft.sampling.style_embedder import StyleEmbedder, StyleVector, pool, spread
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Item, Recipe, Tell, silence
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.style_head_card import CHECK_TIME, write_folder
from weft.train.recipes.style_head_config import CORPORA, PRESETS, StyleHeadTraining
from weft.train.recipes.style_head_data import (
    Piece,
    make_pieces,
    open_pieces,
    weights_of,
)
from weft.train.recipes.style_head_module import StyleHeadModule, estimate
from weft.train.recipes.vae_folder import make_random_vae, open_vae, stereo_cache


@final
class StyleHeadRecipe(Recipe):
    """Regression of the embedder's frames on latents."""

    def __init__(self, config: StyleHeadTraining, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._root = root
        self._codec: tuple[Vae, Digest] | None = None
        self._train: list[Piece] = []
        self._valid: list[Piece] = []
        self._chances = np.zeros(0)

    @property
    def name(self) -> str:
        return "style-head"

    def to_config(self) -> dict[str, Any]:
        settings = asdict(self.config)
        # A codec is known by what it is: it may lie elsewhere when the run goes on.
        settings["codec"] = Path(self.config.codec).name if self._codec is None else self._codec[1]
        return settings

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        if not self.config.codec:
            make_random_vae(cache)
        codec, digest, _ = open_vae(self.config.codec, cache)
        ear = StyleEmbedder(load(), codec.sample_rate)
        for split in ("train", "valid"):
            samples = make_sample_cache(
                self._find(),
                cache,
                stereo_cache(codec),
                split=split,
                on_progress=partial(tell, f"decoding recordings, {split}"),
            )
            make_pieces(
                samples,
                FeatureCache(cache / "features"),
                codec,
                ear,
                _maker(digest),
                self.config.pieces,
                on_progress=partial(tell, f"listening to recordings, {split}"),
            )

    def open(self, cache: Path) -> None:
        codec, digest, _ = open_vae(self.config.codec, cache)
        self._codec = codec, digest
        found = {}
        for split in ("train", "valid"):
            samples = open_sample_cache(self._find(), cache, stereo_cache(codec), split=split)
            found[split] = open_pieces(
                samples, FeatureCache(cache / "features"), _maker(digest), self.config.pieces
            )
        self._train, self._valid = found["train"], found["valid"]
        names = [manifest.name for manifest in self._find()]
        shares = dict(zip(names, self.config.corpora.values(), strict=True))
        self._chances = weights_of(self._train, shares).cumsum()
        if not self._valid:
            raise ConfigError("the valid split holds nothing in which something is heard")

    def _find(self) -> list[Manifest]:
        return [find_corpus(corpus, root=self._root) for corpus in self.config.corpora]

    @property
    def _opened(self) -> tuple[Vae, Digest]:
        if self._codec is None:
            raise ConfigError("the recipe must be opened before it can give examples")
        return self._codec

    @property
    def num_examples(self) -> int:
        _ = self._opened
        return len(self._train)

    def example(self, index: int, rng: Rng) -> Batch:
        stream = rng.stream()
        number = int(np.searchsorted(self._chances, stream.random() * self._chances[-1], "right"))
        piece = self._train[min(number, len(self._train) - 1)]
        least = max(1, round(self.config.objective.least_span * piece.num_frames))
        length = int(stream.integers(least, piece.num_frames + 1))
        start = int(stream.integers(0, piece.num_frames - length + 1))
        return self._batch_of(piece, start, start + length)

    def _batch_of(self, piece: Piece, start: int, stop: int) -> dict[str, Tensor]:
        """Return a piece of which latents [start, stop) count."""
        codec, _ = self._opened
        weights = np.zeros(len(piece.latents))
        weights[start:stop] = 1
        frame_s = codec.hop_length / codec.sample_rate
        num_head = -(-len(weights) // 4)
        return {
            "latents": torch.from_numpy(piece.latents),
            "features": torch.from_numpy(piece.features),
            "frame_weights": torch.from_numpy(
                spread(weights, frame_s, len(piece.features), 1 / 25)
            ).float(),
            "head_weights": torch.from_numpy(spread(weights, 1.0, num_head, 4.0)).float(),
        }

    def build(self) -> nn.Module:
        codec, _ = self._opened
        listener = load()
        config = replace(
            self.config.head,
            sample_rate=codec.sample_rate,
            hop_length=codec.hop_length,
            num_features=codec.num_features,
            num_dims=listener.num_dims,
            embedder=listener.digest,
        )
        return StyleHeadModule(config, self.config.objective)

    def validation(self) -> Iterator[Batch]:
        for first in range(0, len(self._valid), 16):
            rows = [self._batch_of(p, 0, p.num_frames) for p in self._valid[first : first + 16]]
            yield {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def validate(self, module: nn.Module) -> dict[str, float]:
        figures: dict[str, float] = {}
        for suffix, time in (("", 0.0), ("_noisy", CHECK_TIME)):
            found, true = self._predict(module, time)
            centre = true.mean.mean(dim=0)  # what all sounds have in common tells nothing
            cosine = nn.functional.cosine_similarity(found.mean - centre, true.mean - centre, dim=1)
            figures[f"cosine{suffix}"] = float(cosine.mean())
            for name in ("mean", "deviation"):
                guess, truth = getattr(found, name), getattr(true, name)
                left = (guess - truth).square().sum()
                spread_of = (truth - truth.mean(dim=0)).square().sum().clamp_min(1e-12)
                figures[f"explained_{name}{suffix}"] = float(1 - left / spread_of)
        return figures

    @torch.no_grad()
    def _predict(self, module: nn.Module, time: float) -> tuple[StyleVector, StyleVector]:
        """Return what the head and what the embedder hear in all pieces of the valid split."""
        head = _as_module(module).head
        device = next(head.parameters()).device
        generator = torch.Generator().manual_seed(0)  # the same noise every time
        found, true = [], []
        for batch in self.validation():
            latents = batch["latents"].float()
            noise = torch.randn(latents.shape, generator=generator)
            noisy = estimate(latents, torch.full((len(latents),), time), noise)
            heard = pool(head(noisy.to(device)), batch["head_weights"].to(device))
            found.append(StyleVector(mean=heard.mean.cpu(), deviation=heard.deviation.cpu()))
            true.append(pool(batch["features"].float(), batch["frame_weights"]))
        return _joined(found), _joined(true)

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return the distance of each piece's embedding from the one that is predicted."""
        found, true = self._predict(module, 0.0)
        distances = torch.linalg.vector_norm(found.mean - true.mean, dim=1)
        return {
            "distance": [
                Item(
                    recording=f"{piece.corpus}/{piece.recording}",
                    position=piece.start,
                    value=float(distance),
                )
                for piece, distance in zip(self._valid, distances, strict=True)
            ]
        }

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        write_folder(
            folder,
            _as_module(module).head,
            figures=self.validate(module),
            num_pieces=(len(self._train), len(self._valid)),
            manifests=self._find(),
            settings=self.to_config(),
            history=history,
        )


def _as_module(module: nn.Module) -> StyleHeadModule:
    assert isinstance(module, StyleHeadModule)  # what `build` returned
    return module


def _joined(parts: Sequence[StyleVector]) -> StyleVector:
    return StyleVector(
        mean=torch.cat([part.mean for part in parts]),
        deviation=torch.cat([part.deviation for part in parts]),
    )


def _maker(codec: Digest) -> Digest:
    return settings_digest({"codec": codec, "embedder": load().digest})


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[StyleHeadRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its head, objective or
            pieces.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    config = apply_settings(
        config,
        overrides,
        recipe="style-head",
        parts=("head", "objective", "pieces"),
        data=data,
        shares=CORPORA,
    )
    return StyleHeadRecipe(config), loop
