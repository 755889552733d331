"""``weft train tokens``: a transformer that fills in the tokens of a trained codec."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from weft.codecs.wavtokenizer import WavTokenizer
from weft.data.cache import FeatureCache
from weft.data.corpora import find_corpus
from weft.data.manifest import Manifest
from weft.data.samples import CacheConfig, SampleCache, make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.steps_masked import MaskedSamplerConfig, PredictFn, fill_tokens
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Item, Recipe, Tell, silence
from weft.train.recipes.settings import apply_settings, preset_of
from weft.train.recipes.ssl import CORPORA
from weft.train.recipes.tokens_baselines import TokenCounts
from weft.train.recipes.tokens_card import write_folder
from weft.train.recipes.tokens_codec import (
    find_codec,
    find_random_codec,
    make_random_codec,
    open_codec,
)
from weft.train.recipes.tokens_config import PRESETS, TokensConfig
from weft.train.recipes.tokens_data import (
    EncodeConfig,
    TokenCrops,
    TokenRecording,
    encode_corpora,
    open_tokens,
)
from weft.train.recipes.tokens_gaps import GapScores, fill_distances, num_gap_tokens, score_gaps
from weft.train.recipes.tokens_module import TokensModule
from weft.train.world import find_device


@final
@dataclass(frozen=True, kw_only=True)
class OpenTokens:
    """What an opened recipe works with."""

    codec: WavTokenizer
    """Frozen, in eval mode, on the CPU."""
    codec_digest: str
    """Of its weights and settings."""
    train: Sequence[TokenRecording]
    """Recordings to learn from."""
    crops: TokenCrops
    """Crops of them."""
    valid: Int64[Tensor, "b l"]
    """Fixed crops of the valid split."""
    places: tuple[tuple[str, int], ...]
    """Recording, as CORPUS/FILE, and first token of each."""


@final
class TokensRecipe(Recipe):
    """Discrete diffusion on the tokens of recordings."""

    def __init__(self, config: TokensConfig, *, root: Path | None = None) -> None:
        """Hold the settings.

        Args:
            config: of the recipe.
            root: folder of the corpora; unless told, what the environment names.
        """
        self.config = config
        self._root = root
        self._opened: OpenTokens | None = None
        self._counts: TokenCounts | None = None

    @property
    def name(self) -> str:
        return "tokens"

    def to_config(self) -> dict[str, Any]:
        settings = asdict(self.config)
        # A codec is known by what it is: it may lie elsewhere when the run goes on.
        settings["codec"] = Path(self.config.codec).name
        settings["is_codec_trained"] = bool(self.config.codec)
        if self._opened is not None:
            settings["codec"] = self._opened.codec_digest
            settings["network"]["codebook_size"] = self._opened.codec.codebook_size
        return settings

    @property
    def opened(self) -> OpenTokens:
        """What `open` found.

        Raises:
            ConfigError: it was not called.
        """
        if self._opened is None:
            raise ConfigError("the recipe must be opened before it can give examples")
        return self._opened

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        manifests = self._find()
        if not self.config.codec:
            make_random_codec(manifests, cache)
        codec, digest = self._open_codec(manifests, cache)
        codec.to(find_device(self.config.encode_device))
        for split in ("train", "valid"):
            samples = make_sample_cache(
                manifests,
                cache,
                _cache_config(codec),
                split=split,
                on_progress=partial(tell, f"decoding recordings, {split}"),
            )
            encode_corpora(
                samples,
                _features(cache),
                codec,
                digest,
                self._encode(split),
                on_progress=partial(tell, f"encoding recordings, {split}"),
            )

    def open(self, cache: Path) -> None:
        manifests = self._find()
        codec, digest = self._open_codec(manifests, cache)
        samples: dict[str, SampleCache] = {}
        crops: dict[str, TokenCrops] = {}
        for split in ("train", "valid"):
            samples[split] = open_sample_cache(manifests, cache, _cache_config(codec), split=split)
            shares = zip(manifests, self.config.corpora.values(), strict=True)
            crops[split] = TokenCrops(
                samples[split],
                open_tokens(samples[split], _features(cache), digest, self._encode(split)),
                hop_length=codec.hop_length,
                num_frames=self.config.network.num_frames,
                weights={manifest.name: share for manifest, share in shares},
            )
        valid = crops["valid"].fixed(self.config.num_valid)
        if not valid:
            num_frames = self.config.network.num_frames
            seconds = num_frames * codec.hop_length / codec.sample_rate
            raise ConfigError(
                f"no recording of the valid split has {num_frames} tokens ({seconds:.1f} s); lower "
                "num_frames, or give longer recordings"
            )
        self._counts = None
        self._opened = OpenTokens(
            codec=codec,
            codec_digest=digest,
            train=crops["train"].recordings,
            crops=crops["train"],
            valid=torch.from_numpy(np.stack([crop.tokens for crop in valid])),
            places=tuple((_name(samples["valid"], c.recording), c.start) for c in valid),
        )

    def _find(self) -> list[Manifest]:
        return [find_corpus(corpus, root=self._root) for corpus in self.config.corpora]

    def _encode(self, split: str) -> EncodeConfig:
        """Versions are for learning; what is measured is the recording as it is."""
        config = self.config.encode
        return config if split == "train" else replace(config, num_versions=1)

    def _open_codec(self, manifests: list[Manifest], cache: Path) -> tuple[WavTokenizer, str]:
        if self.config.codec:
            return open_codec(find_codec(self.config.codec))
        return open_codec(find_random_codec(manifests, cache))

    @property
    def num_examples(self) -> int:
        return len(self.opened.crops)

    def example(self, index: int, rng: Rng) -> Batch:
        crop = self.opened.crops.draw(index, rng)
        return {"tokens": torch.from_numpy(crop.tokens), "valid": torch.from_numpy(crop.valid)}

    def build(self) -> nn.Module:
        codec = self.opened.codec
        network = replace(self.config.network, codebook_size=codec.codebook_size)
        table = codec.embed(torch.arange(codec.codebook_size)[None])[0]
        return TokensModule(network, self.config.objective, self.config.spans, table)

    def validation(self) -> Iterator[Batch]:
        for tokens in self.opened.valid.split(_BATCH):
            yield {"tokens": tokens, "valid": torch.ones_like(tokens, dtype=torch.bool)}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        ours = _as_tokens(module)
        device = next(ours.parameters()).device
        generator = torch.Generator(device).manual_seed(0)  # the same corruption every time
        losses = []
        for batch in self.validation():
            moved = {name: value.to(device) for name, value in batch.items()}
            found = ours(moved, objective="loss", step=0, generator=generator)
            losses += [float(found["loss"])] * len(batch["tokens"])
        codebook_size = self.opened.codec.codebook_size
        figures = {
            "loss": float(np.mean(losses)),
            "num_crops": float(len(losses)),
            "uniform_nll": math.log(codebook_size),
        }
        for gap_ms in self.config.gap_ms:
            scores = self.score(ours, gap_ms)
            nll = float(scores.nll.mean())
            own = {
                "nll": nll,
                "any_order_nll": float(scores.any_order_nll.mean()),
                "accuracy": float(scores.is_hit.mean()),
                "perplexity": float(np.exp(scores.any_order_nll.mean())),
                **self.baselines(scores.start, scores.stop),
            }
            figures |= {f"{name}_{gap_ms:g}ms": value for name, value in own.items()}
        return figures

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        ours = _as_tokens(module)
        found: dict[str, list[Item]] = {}
        for gap_ms in self.config.gap_ms:
            scores = self.score(ours, gap_ms)
            values = {
                "nll": scores.nll.mean(axis=1),
                "any_order_nll": scores.any_order_nll.mean(axis=1),
                "log_mel_db": self.distances(ours, gap_ms),
            }
            for name, figures in values.items():
                found[f"{name}_{gap_ms:g}ms"] = [
                    Item(recording=file, position=first + scores.start, value=float(value))
                    for (file, first), value in zip(self.opened.places, figures, strict=True)
                ]
        return found

    @torch.no_grad()
    def score(self, module: TokensModule, gap_ms: float) -> GapScores:
        """Score the gap in the middle of each valid crop.

        Args:
            module: in eval mode.
            gap_ms: length of the gap.

        Raises:
            ShapeError: the gap does not fit into a crop.
        """
        opened = self.opened
        device = next(module.parameters()).device
        return score_gaps(
            _predict_fn(module),
            opened.valid.to(device),
            num_gap_tokens(gap_ms, opened.codec),
            opened.codec.codebook_size,
        )

    def baselines(self, start: int, stop: int) -> dict[str, float]:
        """Return what counting the tokens of the train split makes of the same gaps.

        Args:
            start: first token of the gap.
            stop: one past the last.
        """
        opened = self.opened
        if self._counts is None:
            sequences = [codes for recording in opened.train for codes in recording.versions]
            self._counts = TokenCounts(sequences, opened.codec.codebook_size)
        tokens = opened.valid.numpy()
        unigram = self._counts.unigram_nll(tokens[:, start:stop])
        bigram = self._counts.gap_nll(tokens, start, stop) / (stop - start)
        return {"unigram_nll": float(unigram.mean()), "bigram_nll": float(bigram.mean())}

    @torch.no_grad()
    def distances(self, module: TokensModule, gap_ms: float) -> list[float]:
        """Return how far drawn fills sound from the codec's own round trip, see `fill_distances`.

        Args:
            module: in eval mode.
            gap_ms: length of the gap.
        """
        opened = self.opened
        device = next(module.parameters()).device
        num_gap = num_gap_tokens(gap_ms, opened.codec)
        start = (opened.valid.shape[1] - num_gap) // 2
        filled = []
        for first in range(0, len(opened.valid), _BATCH):
            tokens = opened.valid[first : first + _BATCH].to(device)
            known = torch.ones_like(tokens, dtype=torch.bool)
            known[:, start : start + num_gap] = False
            result = fill_tokens(
                EncodedCanvas(x=tokens, known=known, valid=torch.ones_like(known)),
                _predict_fn(module),
                module.process,
                MaskedSamplerConfig(),
                [Rng(0).stream(first + i) for i in range(len(tokens))],
            )
            filled.append(result.tokens.cpu())
        return fill_distances(opened.codec, opened.valid, torch.cat(filled), start, start + num_gap)

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        ours = _as_tokens(module)
        figures = self.validate(ours)
        for gap_ms in self.config.gap_ms:
            distances = self.distances(ours, gap_ms)
            figures[f"log_mel_db_{gap_ms:g}ms"] = float(np.mean(distances))
        write_folder(
            folder,
            ours,
            self.opened.codec,
            figures=figures,
            manifests=self._find(),
            settings=self.to_config(),
            history=history,
        )


_BATCH = 16


def _predict_fn(module: TokensModule) -> PredictFn:
    def predict(tokens: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
        return module.log_probs(tokens, total_noise, rows=rows)

    return predict


def _as_tokens(module: nn.Module) -> TokensModule:
    assert isinstance(module, TokensModule)  # what `build` returned
    return module


def _name(samples: SampleCache, recording: int) -> str:
    entry = samples.entries[recording]
    return f"{entry.corpus}/{entry.entry.file}"


def _cache_config(codec: WavTokenizer) -> CacheConfig:
    return CacheConfig(sample_rate=codec.sample_rate)


def _features(cache: Path) -> FeatureCache:
    return FeatureCache(cache / "features")


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[TokensRecipe, LoopConfig]:
    """Return the recipe of a preset and the settings of its loop.

    Args:
        preset: one of `PRESETS`.
        overrides: settings as text, by the name of a field of the recipe, its network, objective,
            spans or encoding.
        data: corpora in place of the recipe's own, each with the share that `CORPORA` gives it, or
            a quarter.

    Raises:
        ConfigError: no such preset or setting, or a value out of range.
    """
    config, loop = preset_of(PRESETS, preset)
    if "codebook_size" in overrides:
        raise ConfigError("codebook_size is the codec's; choose another codec")
    parts = ("network", "objective", "spans", "encode")
    config = apply_settings(
        config, overrides, recipe="tokens", parts=parts, data=data, shares=CORPORA
    )
    return TokensRecipe(config), loop
