"""``weft train style-head``: a small network that hears style in the latents of a trained VAE."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.checkpoint import CONFIG_FILE, digest_of
from weft.codecs.vae import Vae, num_parameters, read_vae, write_vae
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.corpora import find_corpus
from weft.data.manifest import Manifest
from weft.data.samples import CacheConfig, make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.metrics.embedders.corpus_ssl import load
from weft.rng import Rng
from weft.sampling.style_embedder import StyleEmbedder, StyleVector, pool, spread
from weft.sampling.style_head import StyleHead, StyleHeadConfig, write_style_head
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Item, Losses, Recipe, Tell, silence
from weft.train.recipes.card import attribution_lines, curve_rows, data_rows
from weft.train.recipes.latent import RANDOM_CODEC
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.style_head_data import (
    Piece,
    PieceConfig,
    make_pieces,
    open_pieces,
    weights_of,
)
from weft.train.recipes.tokens_codec import find_codec
from weft.version import __version__

CORPORA = {"music": 0.4, "piano": 0.2, "sounds": 0.25, "environment": 0.15}
"""Share of each corpus in what is drawn."""

_CHECK_TIME = 0.5
"""Time whose estimates are checked beside clean latents."""


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
@dataclass(frozen=True, kw_only=True)
class StyleHeadTraining:
    """Everything that decides what is learned, beside the loop."""

    codec: str = ""
    """Folder of a trained VAE; empty: one with random weights, for tests."""
    head: StyleHeadConfig = field(default_factory=StyleHeadConfig)
    """The network's size; what it listens to is told by the codec."""
    objective: StyleObjectiveConfig = field(default_factory=StyleObjectiveConfig)
    """The loss."""
    pieces: PieceConfig = field(default_factory=PieceConfig)
    """What it is learned from."""
    corpora: Mapping[str, float] = field(default_factory=lambda: dict(CORPORA))
    """Share of each corpus in what is drawn, each > 0."""

    def __post_init__(self) -> None:
        if not self.corpora or min(self.corpora.values()) <= 0:
            raise ConfigError(f"corpora need shares > 0, got {dict(self.corpora)}")


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
            _make_random_codec(_random_folder(cache))
        codec, digest = self._open_codec(cache)
        ear = StyleEmbedder(load(), codec.sample_rate)
        for split in ("train", "valid"):
            samples = make_sample_cache(
                self._find(),
                cache,
                _cache_config(codec),
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
        self._codec = codec, digest = self._open_codec(cache)
        found = {}
        for split in ("train", "valid"):
            samples = open_sample_cache(self._find(), cache, _cache_config(codec), split=split)
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

    def _open_codec(self, cache: Path) -> tuple[Vae, Digest]:
        folder = find_codec(self.config.codec) if self.config.codec else _random_folder(cache)
        return read_vae(folder), digest_of(folder)

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
        for suffix, time in (("", 0.0), ("_noisy", _CHECK_TIME)):
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
        head = _as_module(module).head
        figures = self.validate(module)
        facts = {"weft": __version__, "valid": figures, "settings": self.to_config()}
        write_style_head(folder, head, facts=facts)
        card = _card(folder.name, head, figures, self, history)
        (folder / "README.md").write_text(card, encoding="utf-8")

    @property
    def num_pieces(self) -> tuple[int, int]:
        """Pieces of the train split and of the valid split."""
        return len(self._train), len(self._valid)

    @property
    def manifests(self) -> list[Manifest]:
        """Of the corpora it learns from."""
        return self._find()


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


def _cache_config(codec: Vae) -> CacheConfig:
    return CacheConfig(sample_rate=codec.sample_rate, num_channels=2)


def _random_folder(cache: Path) -> Path:
    return cache / "random-vae-style-1"


def _make_random_codec(folder: Path) -> None:
    """Make a codec with random weights, for tests: what it decodes is noise."""
    if (folder / CONFIG_FILE).is_file():
        return
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        codec = Vae(RANDOM_CODEC).eval()
    noise = 0.1 * torch.randn(4, 1, codec.sample_rate, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codec.follow(codec.posterior(noise)[0], 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    write_vae(folder, codec)


_CARD = """# {name}

Hears style in the latents of a codec: guidance by recordings and tags then needs no way back
through the codec's decoder.

- {num} parameters; one frame of {num_dims} features for 4 latents
- learned from the embedder `{embedder}`
- weft {version}

## Training

{steps} steps on {num_train} pieces of the train split.

| step | {columns} |
|---:|{rules}|
{curve}

## How near it comes

{num_valid} pieces of the valid split, which no step saw. Cosine similarity of predicted and true
embeddings, both without their mean over pieces, and the share of the variance that is explained.

| latents | cosine | mean | deviation |
|---|---:|---:|---:|
| clean | {cosine:.3f} | {explained_mean:.3f} | {explained_deviation:.3f} |
| estimated at t = {time:g} | {cosine_noisy:.3f} | {explained_mean_noisy:.3f} | \
{explained_deviation_noisy:.3f} |

## Data

| corpus | recordings in train | hours | licences |
|---|---:|---:|---|
{data}

## Limits

It serves the latents of the codec that it was trained with, and no others of the same size. No
speech was in training.

## Attribution

The weights were learned from recordings (train split) of these authors; titles are in brackets.

{attribution}
"""


def _card(
    name: str,
    head: StyleHead,
    figures: Mapping[str, float],
    recipe: StyleHeadRecipe,
    history: Sequence[Mapping[str, Any]],
) -> str:
    columns = ("loss", "mean", "deviation", "frames")
    lines = [line for line in history if all(column in line for column in columns)]
    num_train, num_valid = recipe.num_pieces
    return _CARD.format(
        name=name,
        num=f"{num_parameters(head):,}",
        num_dims=head.config.num_dims,
        embedder=head.config.embedder,
        version=__version__,
        steps=lines[-1]["step"] if lines else 0,
        num_train=num_train,
        num_valid=num_valid,
        columns=" | ".join(columns),
        rules="---:|" * (len(columns) - 1) + "---:",
        curve="\n".join(curve_rows(lines, columns)),
        time=_CHECK_TIME,
        data="\n".join(data_rows(recipe.manifests)),
        attribution="\n".join(attribution_lines(recipe.manifests)),
        **figures,
    )


PRESETS: Mapping[str, tuple[StyleHeadTraining, LoopConfig]] = {
    "debug": (
        StyleHeadTraining(
            head=StyleHeadConfig(width=16, num_layers=1),
            pieces=PieceConfig(piece_s=2.0, num_pieces=2, max_recordings=4),
        ),
        LoopConfig(steps=30, batch_size=8, learning_rate=3e-3, ema_decay=0.9),
    ),
    "small": (
        StyleHeadTraining(),
        LoopConfig(
            steps=800,
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.05,
            warmup_steps=50,
            decay_fraction=0.4,
            ema_decay=0.99,
            validate_every=200,
            save_every=100,
            log_every=20,
        ),
    ),
    "base": (
        StyleHeadTraining(
            head=StyleHeadConfig(width=384, num_layers=8),
            pieces=PieceConfig(num_pieces=60, max_recordings=100_000),
        ),
        LoopConfig(
            steps=50_000,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup_steps=1000,
            ema_decay=0.999,
            validate_every=5000,
            save_every=5000,
            num_workers=8,
        ),
    ),
}
"""Sizes by name: debug for a laptop's minute, small is what is shipped, base is for a GPU."""


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
