"""Realism, precision and recall: where vectors lie among those of real clips.

The manifold of a set is the union of balls around its vectors, each as wide as the distance to the
k-th nearest other one. Take *one vector a clip*: windows of one clip are each other's neighbours
and shrink the balls to nothing.

Distances that count as none: vectors nearer than `SAME` of the spread of the reference are taken
for the same clip, once more embedded, and a clip says nothing about its own realism. So originals
may be scored against a reference that holds them.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError, ShapeError
from weft.metrics.sets import (
    OtherVectors,
    Vectors,
    as_vectors,
    blocks,
    check_widths,
    squared_distances,
)

SAME = 1e-6
"""Distance, as a share of the root mean square distance of the reference from its mean, under which
two vectors are of one clip; above what float32 leaves of equal input."""


@final
@dataclass(frozen=True, kw_only=True)
class Manifold:
    """Vectors of real clips with the radii of their balls."""

    vectors: Float[np.ndarray, "w d"]
    """Centres of the balls, less `centre`."""
    radii: Float[np.ndarray, " w"]
    """Radii, >= 0."""
    centre: Float[np.ndarray, " d"]
    """Mean of the set, taken out for accuracy."""
    spread: float
    """Root mean square distance from the mean, > 0."""

    @classmethod
    def of(cls, vectors: Vectors, *, num_neighbours: int = 3) -> "Manifold":
        """Measure the balls of a set.

        Args:
            vectors: one a clip, more than `num_neighbours`.
            num_neighbours: which nearest other vector sets the radius, >= 1.

        Raises:
            ShapeError: too few vectors.
            ConfigError: a value is not finite, all vectors are equal, or `num_neighbours` < 1.

        Example:
            >>> Manifold.of(np.array([[0.0], [1.0], [3.0]]), num_neighbours=1).radii.tolist()
            [1.0, 1.0, 2.0]
        """
        if num_neighbours < 1:
            raise ConfigError(f"num_neighbours must be >= 1, got {num_neighbours}")
        rows = as_vectors(vectors, "reference", num_needed=num_neighbours + 1)
        centre = rows.mean(axis=0)
        rows = rows - centre
        spread = float(np.sqrt((rows**2).sum(axis=1).mean()))
        if not spread > 1e-12 * float(np.abs(centre).max()):
            raise ConfigError("all vectors of the reference are equal and span no manifold")
        radii = np.empty(len(rows))
        for place, some in blocks(rows):
            nearest = np.full((len(some), num_neighbours), np.inf)
            for other, candidates in blocks(rows):
                found = squared_distances(some, candidates)
                if other == place:
                    np.fill_diagonal(found, np.inf)
                both = np.concatenate((nearest, found), axis=1)
                nearest = np.partition(both, num_neighbours - 1, axis=1)[:, :num_neighbours]
            radii[place] = np.sqrt(nearest.max(axis=1))
        return cls(vectors=rows, radii=radii, centre=centre, spread=spread)

    def pruned(self) -> "Manifold":
        """Return the half with the smallest radii: wide balls are where real clips are rare.

        Balls without a radius, around clips that the set holds several times, go too.

        Raises:
            ConfigError: no ball is left.
        """
        keep = (self.radii <= np.median(self.radii)) & (self.radii > SAME * self.spread)
        if not keep.any():
            raise ConfigError("most clips of the reference are equal: remove the repetitions")
        return Manifold(
            vectors=self.vectors[keep],
            radii=self.radii[keep],
            centre=self.centre,
            spread=self.spread,
        )


def realism(manifold: Manifold, estimate: OtherVectors) -> Float[np.ndarray, " m"]:
    """Return how realistic each vector is.

    Args:
        manifold: of the real clips, not pruned; this function prunes it.
        estimate: one vector a clip.

    Returns:
        For each the largest ratio of a ball's radius to the distance of its centre, > 0; at least 1
        inside the manifold. Heavy-tailed: average ratios or logarithms, see `realism_ratio`.

    Raises:
        ShapeError: no vector, or another width.
        ConfigError: a value is not finite, most clips of the reference are equal, or a clip is
            all that is left of the pruned reference.

    Source: Kynkaanniemi et al. 2019, equation 3, with k = 3 and the median cut. Differs: the
        authors' code divides *squared* distances, which squares the score, and adds 1e-5; here the
        paper's formula, and a clip is left out of its own reference.

    Example:
        >>> real = Manifold.of(np.arange(10.0)[:, None])
        >>> realism(real, np.array([[4.5], [30.0]])).round(2).tolist()
        [4.0, 0.09]
    """
    rows = _moved(manifold, estimate)
    balls = manifold.pruned()
    scores = np.zeros(len(rows))
    for place, some in blocks(rows):
        for other, centres in blocks(balls.vectors):
            distances = np.sqrt(squared_distances(some, centres))
            distances[distances < SAME * balls.spread] = np.inf
            best = (balls.radii[other] / distances).max(axis=1)
            scores[place] = np.maximum(scores[place], best)
    if not scores.all():
        raise ConfigError("the pruned reference holds one clip, and it is the one to be scored")
    return scores


def realism_ratio(
    scores: Float[np.ndarray, " m"], baseline: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " m"]:
    """Return realism relative to that of the plain cross-fade, track by track.

    Args:
        scores: realism of the transitions of a model.
        baseline: realism of the constant-power cross-fade of the same tracks, in the same order.

    Returns:
        Ratios, > 0; 1 is as realistic as the cross-fade. The published figure is their mean.

    Raises:
        ShapeError: no track, or unequal numbers of them.
        ConfigError: a score is not finite and > 0.

    Source: seed 001, "Transitions".

    Example:
        >>> realism_ratio(np.array([0.9, 1.2]), np.array([0.6, 1.2])).tolist()
        [1.5, 1.0]
    """
    if not len(scores) or len(scores) != len(baseline):
        raise ShapeError(
            "each score needs that of the cross-fade of its tracks, "
            f"got {len(scores)} scores and {len(baseline)} of cross-fades"
        )
    for values, name in ((scores, "scores"), (baseline, "baseline")):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ConfigError(f"{name} must be finite and > 0, as `realism` returns them")
    ratios: np.ndarray = np.asarray(scores, np.float64) / baseline
    return ratios


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """How two manifolds overlap."""

    precision: float
    """Share of the fills inside the manifold of the reference, in [0, 1]: quality."""
    recall: float
    """Share of the reference inside the manifold of the fills, in [0, 1]: variety."""


def precision_recall(
    reference: Vectors, estimate: OtherVectors, *, num_neighbours: int = 3
) -> PrecisionRecall:
    """Return precision and recall of the fills.

    Args:
        reference: one vector a clip, more than `num_neighbours`.
        estimate: one vector a clip, more than `num_neighbours`. Recall depends on the number of
            fills: compare at equal numbers.
        num_neighbours: which nearest other vector sets the radii, >= 1.

    Raises:
        ShapeError: too few vectors, or widths that differ.
        ConfigError: a value is not finite, or all vectors of a set are equal.

    Source: Kynkaanniemi et al. 2019, equations 1 and 2, k = 3, no ball left out.

    Example:
        >>> x = np.arange(10.0)[:, None]
        >>> found = precision_recall(x, x[:5])
        >>> found.precision, found.recall
        (1.0, 0.8)
    """
    check_widths(reference.shape[1], estimate.shape[1])
    real, filled = (
        Manifold.of(vectors, num_neighbours=num_neighbours) for vectors in (reference, estimate)
    )
    return PrecisionRecall(
        precision=float(_is_inside(real, estimate).mean()),
        recall=float(_is_inside(filled, reference).mean()),
    )


def _is_inside(manifold: Manifold, vectors: Vectors) -> np.ndarray:
    """Return for each vector whether a ball holds it."""
    rows = _moved(manifold, vectors)
    inside = np.zeros(len(rows), dtype=bool)
    for place, some in blocks(rows):
        for other, centres in blocks(manifold.vectors):
            distances = np.sqrt(squared_distances(some, centres))
            # A vector on the rim is inside, whatever the rounding.
            reach = manifold.radii[other] + SAME * manifold.spread
            inside[place] |= (distances <= reach).any(axis=1)
    return inside


def _moved(manifold: Manifold, vectors: OtherVectors) -> OtherVectors:
    rows = as_vectors(vectors, "estimate")
    check_widths(len(manifold.centre), rows.shape[1])
    moved: np.ndarray = rows - manifold.centre
    return moved
