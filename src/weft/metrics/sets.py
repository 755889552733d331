"""What the metrics of whole sets ask of their input: vectors of an embedder, or scores of classes.

Vectors are ``w d``, one a row; scores are logits ``m k``, before any softmax. Both sets come from
one embedder with one set of weights at one rate: nothing here can check that, and numbers of two
embedders mean different things. Everything is computed in float64, nothing is normalised, and the
order of the rows never matters. Sets of unequal width raise `ShapeError`, empty ones too; NaN and
infinity raise `ConfigError`: a metric that leaves vectors out answers another question.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from weft.errors import ConfigError, ShapeError

BLOCK = 1024
"""Rows compared at a time: a block of distances is 8 MiB whatever the sizes of the sets."""

Vectors: TypeAlias = Float[np.ndarray, "w d"]
"""Vectors of the reference."""
OtherVectors: TypeAlias = Float[np.ndarray, "m e"]
"""Vectors of the estimate; letters of its own, so that unequal widths reach the named error."""


def as_vectors(vectors: Vectors, name: str, *, num_needed: int = 1) -> Vectors:
    """Return the vectors in float64, or say why they cannot be used.

    Args:
        vectors: of one set.
        name: what messages call them.
        num_needed: how few are too few for the metric, less one.

    Raises:
        ShapeError: fewer than `num_needed`, or of no width.
        ConfigError: a value is NaN or infinite.
    """
    if len(vectors) < num_needed or not vectors.shape[1]:
        raise ShapeError(
            f"{name} must hold at least {num_needed} vectors of at least one number, got shape "
            f"{vectors.shape}: give more clips"
        )
    converted = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(converted).all():
        row = int(np.flatnonzero(~np.isfinite(converted).all(axis=1))[0])
        raise ConfigError(
            f"{name} must be finite, and row {row} is not: look at the clip it comes from"
        )
    return converted


def check_widths(reference: int, estimate: int) -> None:
    """Check that two sets live in one space.

    Raises:
        ShapeError: the widths differ.
    """
    if reference != estimate:
        raise ShapeError(
            f"both sets must come from one embedder, got {reference} and {estimate} numbers a row"
        )


def rows_by_cluster(
    clusters: Sequence[Hashable] | None, num_rows: int
) -> list[Int[np.ndarray, "..."]]:
    """Return the rows of each cluster, clusters in order of appearance.

    Args:
        clusters: which cluster, such as a recording, each row belongs to; None: each is its own.
        num_rows: rows of the set.

    Raises:
        ShapeError: another number of cluster names than rows.
    """
    if clusters is None:
        return [np.array([i]) for i in range(num_rows)]
    if len(clusters) != num_rows:
        raise ShapeError(
            f"each row needs one cluster, got {num_rows} rows and {len(clusters)} cluster names"
        )
    rows: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        rows.setdefault(cluster, []).append(i)
    return [np.array(members) for members in rows.values()]


def blocks(vectors: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Yield the rows in blocks of at most `BLOCK`, with where they stand."""
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, min(start + BLOCK, len(vectors)))
        yield rows, vectors[rows]


def squared_distances(first: Vectors, second: OtherVectors) -> Float[np.ndarray, "w m"]:
    """Return the squared Euclidean distance of every row of one set from every row of the other.

    Exact to about 1e-16 of the squared norms, so take out a common mean first.
    """
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :]
    distances: np.ndarray = np.maximum(norms - 2 * first @ second.T, 0.0)
    return distances


def log_softmax(logits: Float[np.ndarray, "*a k"]) -> Float[np.ndarray, "*a k"]:
    """Return logarithms of the softmax over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p
