"""Pieces of recordings as latents, and as what the embedder hears in the codec's sound of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float16, Float32

from weft.audio.levels import level_db
from weft.codecs.base import LatentCodec
from weft.data.cache import Digest, FeatureCache, settings_digest
from weft.data.samples import SampleCache
from weft.errors import ConfigError
from weft.rng import Rng
from weft.sampling.style_embedder import StyleEmbedder

_VERSION = 1  # of the way pieces are made: another number, another key
_LEAST_DB = -70.0


@final
@dataclass(frozen=True, kw_only=True)
class PieceConfig:
    """Which pieces of the recordings are learned from."""

    piece_s: float = 4.0
    """Length, in [1, 60] s; shorter recordings are one piece, padded with silence."""
    num_pieces: int = 6
    """Most pieces of one recording, spread evenly, in [1, 10000]."""
    max_recordings: int = 360
    """Most recordings of one corpus and split, spread evenly, >= 1: some corpora hold a thousand
    short sounds."""
    level_range_db: tuple[float, float] = (-34.0, -12.0)
    """Pieces are brought to levels drawn evenly from it, in dB of full scale, in order: a style is
    heard at any."""

    def __post_init__(self) -> None:
        if not 1 <= self.piece_s <= 60 or not 1 <= self.num_pieces <= 10_000:
            raise ConfigError(
                "piece_s must be in [1, 60] s and num_pieces in [1, 10000], got "
                f"{self.piece_s} and {self.num_pieces}"
            )
        low, high = self.level_range_db
        if self.max_recordings < 1 or not -60 <= low <= high <= 0:
            raise ConfigError(
                "max_recordings must be >= 1 and level_range_db two levels in [-60, 0] dB in "
                f"order, got {self.max_recordings} and {self.level_range_db}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Piece:
    """One piece of one recording."""

    corpus: str
    """Of the recording."""
    recording: str
    """Its file."""
    start: int
    """Where in it, in samples of the cache."""
    num_frames: int
    """Latents that hold sound; the rest is padding."""
    latents: Float16[np.ndarray, "l d"]
    """Of the codec."""
    features: Float16[np.ndarray, "f e"]
    """What the embedder hears in what the codec makes of them, at 25 Hz."""


def make_pieces(
    cache: SampleCache,
    features: FeatureCache,
    codec: LatentCodec,
    ear: StyleEmbedder,
    maker: Digest,
    config: PieceConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode what is not in the cache of features yet.

    Args:
        cache: recordings at the codec's rate.
        features: gets latents and features.
        codec: mono, in eval mode.
        ear: at the codec's rate.
        maker: digest of codec and embedder.
        config: which pieces.
        on_progress: called with the recordings done and their number.

    Raises:
        ConfigError: the codec takes several channels together.
        OutputError: features cannot be kept.
    """
    if codec.num_channels != 1:
        raise ConfigError(f"the codec takes {codec.num_channels} channels together; needed is one")
    chosen = choose_recordings(cache, config)
    for done, index in enumerate(chosen):
        features.get_or_make(
            *_keys(cache, index, maker, config),
            lambda i=index: _encode_one(cache, i, codec, ear, config),  # type: ignore[misc]
        )
        if on_progress is not None:
            on_progress(done + 1, len(chosen))


def open_pieces(
    cache: SampleCache, features: FeatureCache, maker: Digest, config: PieceConfig
) -> list[Piece]:
    """Return all pieces in which something is heard.

    Raises:
        ConfigError: some are not in the cache of features.
    """
    found = []
    for index in choose_recordings(cache, config):
        entry = cache.entries[index]
        arrays = features.get(*_keys(cache, index, maker, config))
        if arrays is None:
            raise ConfigError(
                f"pieces of {entry.entry.path} are not in the cache {features.folder}; prepare it "
                "again"
            )
        for i, start in enumerate(arrays["starts"]):
            found.append(
                Piece(
                    corpus=entry.corpus,
                    recording=entry.entry.file,
                    start=int(start),
                    num_frames=int(arrays["num_frames"][i]),
                    latents=arrays["latents"][i],
                    features=arrays["features"][i],
                )
            )
    return found


def choose_recordings(cache: SampleCache, config: PieceConfig) -> list[int]:
    """Return the recordings that are used, at most so many of each corpus, spread evenly."""
    by_corpus: dict[str, list[int]] = {}
    for index, entry in enumerate(cache.entries):
        by_corpus.setdefault(entry.corpus, []).append(index)
    chosen = []
    for found in by_corpus.values():
        num = min(len(found), config.max_recordings)
        chosen += [found[(2 * i + 1) * len(found) // (2 * num)] for i in range(num)]
    return chosen


def _keys(
    cache: SampleCache, index: int, maker: Digest, config: PieceConfig
) -> tuple[Digest, Digest]:
    source = settings_digest({"file": cache.entries[index].digest})
    settings = {
        "style pieces": _VERSION,
        "maker": maker,
        "piece_s": config.piece_s,
        "num_pieces": config.num_pieces,
        "level_range_db": list(config.level_range_db),
    }
    return source, settings_digest(settings)


@torch.inference_mode()
def _encode_one(
    cache: SampleCache,
    index: int,
    codec: LatentCodec,
    ear: StyleEmbedder,
    config: PieceConfig,
) -> Mapping[str, np.ndarray]:
    """Encode the pieces of one recording in which something is heard."""
    stream = Rng(int(cache.entries[index].digest[:8], 16)).stream()
    starts, sounds, nums = [], [], []
    for start, sound in _sounds(cache, index, config):
        level = level_db(sound[None].astype(np.float64))
        if level > _LEAST_DB:
            target = stream.uniform(*config.level_range_db)
            starts.append(start)
            nums.append(-(-len(sound) // codec.hop_length))
            length = round(config.piece_s * cache.config.sample_rate)
            padded = np.pad(sound, (0, max(0, length - len(sound))))
            sounds.append(10 ** ((target - level) / 20) * padded)
    latents, heard = [], []
    for sound in sounds:  # one by one: a recording of hours needs no more memory
        found = codec.encode(torch.from_numpy(sound).float()[None, None])
        heard.append(ear(codec.decode(found)[:, 0])[0].half().numpy())
        latents.append(found[0].half().numpy())
    shapes = (0, 1, codec.num_features), (0, 1, ear.num_dims)
    return {
        "starts": np.array(starts, dtype=np.int64),
        "num_frames": np.array(nums, dtype=np.int64),
        "latents": np.stack(latents) if latents else np.zeros(shapes[0], np.float16),
        "features": np.stack(heard) if heard else np.zeros(shapes[1], np.float16),
    }


def _sounds(
    cache: SampleCache, index: int, config: PieceConfig
) -> Iterator[tuple[int, Float32[np.ndarray, " n"]]]:
    """Yield where each piece begins, and the mean of its channels."""
    length = round(config.piece_s * cache.config.sample_rate)
    num_samples = cache.entries[index].num_samples
    num = min(config.num_pieces, max(1, num_samples // length))
    spare = max(0, num_samples - length)
    for i in range(num):
        start = spare * (2 * i + 1) // (2 * num)
        samples = cache.read(index, start, min(start + length, num_samples))
        yield start, samples.mean(axis=0)


def weights_of(pieces: Sequence[Piece], shares: Mapping[str, float]) -> np.ndarray:
    """Return how often each piece is drawn: its corpus' share, divided among its pieces.

    Raises:
        ConfigError: there are no pieces.
    """
    if not pieces:
        raise ConfigError("no recording holds a piece in which something is heard")
    counts: dict[str, int] = {}
    for piece in pieces:
        counts[piece.corpus] = counts.get(piece.corpus, 0) + 1
    weights = np.array([shares[piece.corpus] / counts[piece.corpus] for piece in pieces])
    return np.asarray(weights / weights.sum())
