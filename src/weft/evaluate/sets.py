"""Sets: figures of all answers of a row together, and of each against a set.

Numbers of different embedders never share a column: every name ends with the embedder's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Int

from weft.errors import ConfigError, WeftError
from weft.evaluate.protocol import Measure
from weft.evaluate.records import Record
from weft.evaluate.references import Clips
from weft.evaluate.statistics import clustered_set_interval
from weft.metrics.divergence import kl_paired_panns, kl_set
from weft.metrics.frechet import frechet_distance, frechet_infinity_both
from weft.metrics.inception import inception_score
from weft.metrics.kernel import ClusteredKernel
from weft.metrics.manifold import Manifold, precision_recall, realism, realism_ratio
from weft.rng import Rng

KID_SCALE = 1000.0
"""What tables multiply the kernel inception distance by."""
NUM_SPLIT_CLIPS = 100
"""Clips a split of the inception score has at least; fewer clips make one split."""

Value = Mapping[str, Any]
"""``mean``, ``low`` and ``high``, and what else is known of a figure."""
MIN_MANIFOLD_CLIPS = 20
"""Clips of the train split that a manifold needs."""


@final
@dataclass(frozen=True)
class _Column:
    """A measure without its embedder."""

    name: str
    title: str
    better: Literal["higher", "lower"]
    digits: int
    note: str

    def of(self, embedder: str, kind: Literal["pair", "set"], versus: str = "") -> Measure:
        """Return the measure with an embedder, against a set."""
        suffix = "_train" if versus == _TRAIN else ""
        against = f", against the {versus}" if versus else ""
        return Measure(
            name=f"{self.name}{suffix}:{embedder}",
            title=f"{self.title} ({embedder}{', train' if suffix else ''})",
            better=self.better,
            digits=self.digits,
            note=f"{self.note}; by {embedder}{against}",
            kind=kind,
            embedder=embedder,
        )


_ORIGINALS, _TRAIN = "originals of the same items", "train split"
_SETS = (
    _Column("frechet", "Frechet", "lower", 2, "Frechet distance; biased upwards for few clips"),
    _Column(
        "frechet_inf",
        "Frechet inf",
        "lower",
        2,
        "the same for endlessly many clips; - where there are too few to tell",
    ),
    _Column("kid", "KID x1000", "lower", 2, "kernel inception distance times 1000, unbiased"),
    _Column("kl_set", "KL set", "lower", 3, "divergence of the sets' mean class probabilities"),
    _Column("precision", "precision", "higher", 2, "share of answers inside the set's manifold"),
    _Column("recall", "recall", "higher", 2, "share of the set inside the answers' manifold"),
)
_INCEPTION = _Column("inception", "IS", "higher", 2, "inception score of the classes")
_KL_PAIRED = _Column(
    "kl_paired",
    "KL paired",
    "lower",
    3,
    "divergence of the class probabilities of each answer from its original's, softmax",
)
_REALISM = _Column(
    "realism",
    "realism",
    "higher",
    2,
    "realism in the manifold of the train split; 1 and more is inside; heavy-tailed",
)
_RATIO = _Column(
    "realism_ratio",
    "realism / cross-fade's",
    "higher",
    2,
    "realism divided by that of the plain cross-fade of the same tracks",
)
_CLAP = _Column("clap", "CLAP score", "higher", 3, "cosine of caption and answer")


def clips_of(records: Sequence[Record], embedder: str) -> Clips:
    """Return what an embedder said of the answers of a row."""
    good = [r for r in records if embedder in r.embeddings]
    return Clips(
        embeddings=tuple(r.embeddings[embedder] for r in good),
        clusters=tuple(r.cluster for r in good),
    )


def set_measures(embedders: Sequence[str], *, has_truth: bool, has_train: bool) -> list[Measure]:
    """Return the columns: against the originals, against the train split, and against nothing."""
    sources = [_ORIGINALS] * has_truth + [_TRAIN] * has_train
    return [
        measure
        for embedder in embedders
        for measure in (
            *(column.of(embedder, "set", source) for source in sources for column in _SETS),
            _INCEPTION.of(embedder, "set"),
        )
    ]


def paired_measures(
    embedders: Sequence[str], *, has_truth: bool, has_train: bool, has_crossfade: bool
) -> list[Measure]:
    """Return the columns of one value an item that embeddings give."""
    columns = [
        (has_truth, _KL_PAIRED),
        (has_train, _REALISM),
        (has_train and has_crossfade, _RATIO),
        (has_truth, _CLAP),
    ]
    return [
        column.of(embedder, "pair")
        for embedder in embedders
        for is_there, column in columns
        if is_there
    ]


def with_paired(
    records: Sequence[Record],
    embedder: str,
    *,
    originals: Sequence[Record],
    crossfades: Sequence[Record],
    train: Clips,
) -> list[Record]:
    """Add to the records of a row what the embedder says of each.

    Args:
        records: of one row.
        embedder: whose vectors.
        originals: records of the truth, none where there is none.
        crossfades: records of the plain cross-fade, none in other protocols.
        train: clips of the train split, may be none.
    """
    truth = {r.item: r.embeddings[embedder] for r in originals if embedder in r.embeddings}
    plain = {r.item: r.embeddings[embedder] for r in crossfades if embedder in r.embeddings}
    manifold = _manifold(train)
    scores: dict[tuple[str, str, str, int], float] = {}
    if manifold is not None and plain:
        values = realism(manifold, np.stack([e.clip for e in plain.values()]))
        scores = dict(zip(plain, values.tolist(), strict=True))
    found = []
    for record in records:
        if embedder not in record.embeddings:
            found.append(record)
            continue
        own = record.embeddings[embedder]
        extra: dict[str, float] = {}
        other = truth.get(record.item)
        if other is not None and own.logits is not None and other.logits is not None:
            pair = kl_paired_panns({"a": other.logits}, {"a": own.logits})
            extra[f"kl_paired:{embedder}"] = pair["a"]
        if manifold is not None:
            score = realism(manifold, own.clip[None])
            extra[f"realism:{embedder}"] = float(score[0])
            if record.item in scores:
                ratio = realism_ratio(score, np.array([scores[record.item]]))
                extra[f"realism_ratio:{embedder}"] = float(ratio[0])
        found.append(replace(record, metrics={**record.metrics, **extra}))
    return found


def set_values(
    records: Sequence[Record],
    embedder: str,
    *,
    originals: Sequence[Record],
    train: Clips,
    seed: int,
) -> dict[str, Value | None]:
    """Return the set figures of a row; None where there are too few clips for one.

    Args:
        records: of one row, one setting and one material.
        embedder: whose vectors.
        originals: records of the truth of the same items, none where there is none.
        train: clips of the train split, may be none.
        seed: of draws.
    """
    ours = clips_of(records, embedder)
    if len(ours) < 2:
        return {}
    found: dict[str, Value | None] = {}
    for reference in _references(records, embedder, originals, train):
        for name, value in _against(reference, ours, seed).items():
            found[f"{name}{reference.suffix}:{embedder}"] = value
    if ours.logits is not None:
        splits = max(1, min(10, len(ours) // NUM_SPLIT_CLIPS))
        score = inception_score(ours.logits, num_splits=splits)
        found[f"inception:{embedder}"] = _plain(score.mean, n=len(ours))
    return found


def set_differences(
    records: Sequence[Record],
    baseline: Sequence[Record],
    embedder: str,
    *,
    originals: Sequence[Record],
    train: Clips,
    seed: int,
) -> dict[str, Value | None]:
    """Return how much farther a row is from each reference than another, on the same items.

    Args:
        records: of one row.
        baseline: of the other.
        embedder: whose vectors.
        originals: records of the truth, none where there is none.
        train: clips of the train split, may be none.
        seed: of the deal of recordings into groups.
    """
    others = {r.item: r for r in baseline if embedder in r.embeddings}
    pairs = [(r, others[r.item]) for r in records if embedder in r.embeddings and r.item in others]
    if len(pairs) < 2:
        return {}
    own = [r for r, _ in pairs]
    ours, theirs = (clips_of(side, embedder) for side in zip(*pairs, strict=True))
    found: dict[str, Value | None] = {}
    for reference in _references(own, embedder, originals, train):
        for name, make in _STATISTICS.items():
            found[f"{name}{reference.suffix}:{embedder}"] = _attempt(
                partial(_difference, make, reference, ours, theirs, seed)
            )
    return found


@final
@dataclass(frozen=True)
class _Reference:
    """What a row is compared with."""

    suffix: str
    clips: Clips
    is_paired: bool
    """Whether the clips are the originals of the row's items, in the same order: then what is left
    out of the row is left out of them."""


def _references(
    records: Sequence[Record], embedder: str, originals: Sequence[Record], train: Clips
) -> list[_Reference]:
    """Return the originals of a row's items, where all are there, and the train split."""
    truth = {r.item: r for r in originals if embedder in r.embeddings}
    items = [r.item for r in records if embedder in r.embeddings]
    found = []
    if len(items) > 1 and all(item in truth for item in items):
        same = clips_of([truth[item] for item in items], embedder)
        found.append(_Reference("", same, is_paired=True))
    if len(train) > 1:
        found.append(_Reference("_train", train, is_paired=False))
    return found


_Statistic = Callable[[Int[np.ndarray, " v"]], float]
"""A figure of some of a row's clips."""


def _frechet(reference: _Reference, ours: Clips) -> _Statistic:
    def distance(chosen: Int[np.ndarray, " v"]) -> float:
        clips = reference.clips.take(chosen) if reference.is_paired else reference.clips
        return frechet_distance(clips.gaussian, ours.take(chosen).gaussian)

    return distance


def _kid(reference: _Reference, ours: Clips) -> _Statistic:
    theirs = reference.clips
    kernel = ClusteredKernel(
        theirs.vectors,
        ours.vectors,
        reference_clusters=theirs.vector_clusters,
        estimate_clusters=ours.vector_clusters,
        are_paired=reference.is_paired,
        reference_within=None if reference.is_paired else theirs.kernel_within,
    )

    def distance(chosen: Int[np.ndarray, " v"]) -> float:
        return KID_SCALE * kernel.distance({ours.clusters[i] for i in chosen})

    return distance


def _kl(reference: _Reference, ours: Clips) -> _Statistic:
    def divergence(chosen: Int[np.ndarray, " v"]) -> float:
        clips = reference.clips.take(chosen) if reference.is_paired else reference.clips
        own = ours.take(chosen).logits
        if clips.logits is None or own is None:
            raise ConfigError("this embedder has no classes")
        return kl_set(clips.logits, own)

    return divergence


_STATISTICS: dict[str, Callable[[_Reference, Clips], _Statistic]] = {
    "frechet": _frechet,
    "kid": _kid,
    "kl_set": _kl,
}


def _difference(
    make: Callable[[_Reference, Clips], _Statistic],
    reference: _Reference,
    ours: Clips,
    theirs: Clips,
    seed: int,
) -> Value:
    """Return a figure of one row less that of another, with its interval."""
    first, second = make(reference, ours), make(reference, theirs)
    return _with_interval(lambda chosen: first(chosen) - second(chosen), ours.clusters, seed)


def _against(reference: _Reference, ours: Clips, seed: int) -> dict[str, Value | None]:
    """Compare two sets."""
    theirs = reference.clips
    found: dict[str, Value | None] = {
        name: _attempt(partial(_figure, make, reference, ours, seed))
        for name, make in _STATISTICS.items()
    }
    frechet = found["frechet"]
    if frechet is not None:
        num_dims = ours.vectors.shape[1]
        found["frechet"] = {
            **frechet,
            "n": len(ours.vectors),
            "is_singular": min(len(ours.vectors), len(theirs.vectors)) <= num_dims,
        }
    found["frechet_inf"] = _attempt(lambda: _extrapolated(theirs, ours, seed))
    spread = _attempt(lambda: precision_recall(theirs.means, ours.means))
    if spread is not None:
        found["precision"] = _plain(spread.precision, n=len(ours))
        found["recall"] = _plain(spread.recall, n=len(theirs))
    return found


def _figure(
    make: Callable[[_Reference, Clips], _Statistic], reference: _Reference, ours: Clips, seed: int
) -> Value:
    """Return a figure of a row with its interval."""
    return _with_interval(make(reference, ours), ours.clusters, seed)


def _extrapolated(reference: Clips, ours: Clips, seed: int) -> Value | None:
    if min(len(reference.vectors), len(ours.vectors)) < 4 * ours.vectors.shape[1]:
        return None  # half of them, the smallest draw, would be too few to tell
    found = frechet_infinity_both(
        reference.vectors,
        ours.vectors,
        rng=Rng(seed),
        reference_clusters=reference.vector_clusters,
        estimate_clusters=ours.vector_clusters,
    )
    return _plain(found.value, n=len(ours.vectors)) if found.is_reliable else None


def _with_interval(
    statistic: Callable[[Int[np.ndarray, " v"]], float], clusters: Sequence[str], seed: int
) -> Value:
    found = clustered_set_interval(statistic, clusters, seed=seed)
    return {
        "mean": found.estimate,
        "low": found.low,
        "high": found.high,
        "p": found.p_value,
        "n": found.num_values,
    }


def _manifold(train: Clips) -> Manifold | None:
    return train.manifold if len(train) >= MIN_MANIFOLD_CLIPS else None


def _plain(value: float, **facts: Any) -> Value:
    return {"mean": float(value), "low": None, "high": None, **facts}


def _attempt(make: Callable[[], Any]) -> Any:
    """Return a figure, or None where there are too few clips for it."""
    try:
        return make()
    except WeftError:
        return None
