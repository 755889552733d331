"""References: clips of the train split that sets of answers are compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from weft.data.cache import FeatureCache, FileDigests, settings_digest
from weft.data.corpora import open_entry
from weft.data.manifest import Entry, Manifest
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocol import Protocol
from weft.evaluate.records import rounded
from weft.evaluate.runner import Finders
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.frechet import Gaussian
from weft.metrics.kernel import mean_kernel_within
from weft.metrics.manifold import Manifold


@final
@dataclass(frozen=True, kw_only=True)
class Clips:
    """Embeddings of clips, and which recording each comes from."""

    embeddings: tuple[Embedding, ...] = ()
    """One a clip."""
    clusters: tuple[str, ...] = field(default=())
    """Recording of each clip."""

    def __add__(self, other: "Clips") -> "Clips":
        return Clips(
            embeddings=self.embeddings + other.embeddings, clusters=self.clusters + other.clusters
        )

    def __len__(self) -> int:
        return len(self.embeddings)

    @cached_property
    def vectors(self) -> Float[np.ndarray, "w d"]:
        """Vectors of all clips."""
        return np.concatenate([e.vectors for e in self.embeddings])

    @cached_property
    def vector_clusters(self) -> tuple[str, ...]:
        """Recording of each vector."""
        return tuple(
            name for name, e in zip(self.clusters, self.embeddings, strict=True) for _ in e.vectors
        )

    @cached_property
    def means(self) -> Float[np.ndarray, "m d"]:
        """One vector a clip."""
        return np.stack([e.clip for e in self.embeddings])

    @cached_property
    def logits(self) -> Float[np.ndarray, "m k"] | None:
        """Logits of all clips; None where the embedder has no classes."""
        found = [e.logits for e in self.embeddings if e.logits is not None]
        return np.stack(found) if found and len(found) == len(self) else None

    @cached_property
    def gaussian(self) -> Gaussian:
        """Gaussian of the vectors."""
        return Gaussian.from_vectors(self.vectors)

    @cached_property
    def kernel_within(self) -> float:
        """Mean kernel over pairs of different recordings."""
        return mean_kernel_within(self.vectors, self.vector_clusters)

    @cached_property
    def manifold(self) -> Manifold:
        """Manifold of the clips."""
        return Manifold.of(self.means)

    def take(self, chosen: Int[np.ndarray, " v"]) -> "Clips":
        """Return those with these positions."""
        numbers = [int(i) for i in chosen]
        return Clips(
            embeddings=tuple(self.embeddings[i] for i in numbers),
            clusters=tuple(self.clusters[i] for i in numbers),
        )


TrainClips = Mapping[tuple[str, str, str], Clips]
"""By material, setting and embedder."""


def train_clips(
    protocol: Protocol,
    corpora: Sequence[Manifest],
    finders: Finders,
    *,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, str, str], Clips]:
    """Embed clips of the train split, as long as what embedders hear of the answers.

    Args:
        protocol: says how many clips of each material, how long, and for which embedders.
        corpora: materials; those without a train split give no clips.
        finders: where embedders come from.
        cache: keeps embeddings, by the contents of files and the embedder; None: nothing is kept.
        on_progress: called with (recordings done, recordings in all).

    Raises:
        AudioFormatError: a recording cannot be read.
        ConfigError: an embedder is not there.
    """
    run = protocol.run
    found: dict[tuple[str, str, str], Clips] = {}
    lengths = {setting: protocol.embedded_s(setting) for setting in protocol.settings}
    todo = [
        (corpus, entries)
        for corpus in corpora
        if run.num_train_clips and "train" in corpus.splits
        for entries in [corpus.select("train")]
    ]
    total = (
        sum(len(entries) for _, entries in todo) * len(set(lengths.values())) * len(run.embedders)
    )
    done = 0
    for corpus, entries in todo:
        share = -(-run.num_train_clips // len(entries))
        for name in run.embedders:
            embedder = finders.embedder(name)
            by_length: dict[float, Clips] = {}
            for length_s in dict.fromkeys(lengths.values()):
                clips = Clips()
                for entry in entries:
                    made = _embed_entry(entry, embedder, protocol, length_s, share, cache)
                    clips += Clips(embeddings=made, clusters=(entry.file,) * len(made))
                    done += 1
                    if on_progress is not None:
                        on_progress(done, total)
                by_length[length_s] = clips
            for setting, length_s in lengths.items():
                found[corpus.name, setting, name] = by_length[length_s]
    return found


def _embed_entry(
    entry: Entry,
    embedder: Embedder,
    protocol: Protocol,
    length_s: float,
    num_clips: int,
    cache: Path | None,
) -> tuple[Embedding, ...]:
    """Return the embeddings of a recording's clips, from the cache where they are."""
    run = protocol.run

    def make() -> dict[str, np.ndarray]:
        return _pack(list(_embed(entry, embedder, protocol, length_s, num_clips)))

    if cache is None:
        return _unpack(make())
    maker = settings_digest(
        {
            "what": "train clips",
            "embedder": embedder.digest,
            "length_s": length_s,
            "num_clips": num_clips,
            "sample_rate": run.sample_rate,
            "is_mono": run.is_mono,
            "seed": run.seed,
        }
    )
    digest = FileDigests(cache).digest(entry.path)
    source = settings_digest({"file": digest, "name": entry.file})  # places follow the name
    return _unpack(FeatureCache(cache).get_or_make(source, maker, make))


def _embed(
    entry: Entry, embedder: Embedder, protocol: Protocol, length_s: float, num_clips: int
) -> Iterator[Embedding]:
    """Yield the embeddings of a recording's clips; all of it where it is no longer than one."""
    run = protocol.run
    audio = open_entry(entry, sample_rate=run.sample_rate, is_mono=run.is_mono, is_whole=True)
    places = draw_gaps(
        audio.samples,
        audio.sample_rate,
        gap_ms=1000 * length_s,
        name=f"train/{entry.file}",
        seed=run.seed,
        config=PositionConfig(num_gaps=num_clips, separation_s=0.0, margin_s=0.1),
    )
    if not places:
        stop = min(audio.num_samples, round(length_s * audio.sample_rate))
        yield rounded(embedder.embed(audio.read(0, stop), audio.sample_rate))
    for place in places:
        clip = audio.read(place.start, place.stop)
        yield rounded(embedder.embed(clip, audio.sample_rate))


def _pack(embeddings: Sequence[Embedding]) -> dict[str, np.ndarray]:
    """Return embeddings as arrays by name."""
    arrays: dict[str, Any] = {}
    for i, embedding in enumerate(embeddings):
        arrays[f"vectors{i:05d}"] = embedding.vectors.astype(np.float32)
        if embedding.logits is not None:
            arrays[f"logits{i:05d}"] = embedding.logits.astype(np.float32)
    return arrays


def _unpack(arrays: Mapping[str, np.ndarray]) -> tuple[Embedding, ...]:
    """Undo `_pack`."""
    found = []
    for name in sorted(arrays):
        if name.startswith("vectors"):
            logits = arrays.get(name.replace("vectors", "logits"))
            found.append(
                Embedding(
                    vectors=arrays[name].astype(np.float64),
                    logits=None if logits is None else logits.astype(np.float64),
                )
            )
    return tuple(found)
