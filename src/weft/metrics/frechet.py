"""Frechet distance of two sets of vectors, and what it would be with endlessly many clips.

The distance compares *sets*, never pairs: it says whether the fills of a model are spread like the
reference, not whether each fits its gap. It is that of two Gaussians with the sets' means and
covariances, so it sees nothing beyond them.

It is biased upwards: with n vectors of d numbers by about d / 4n of the total variance for vectors
spread alike in all directions, and more once n comes near d. A table of distances at unequal n
ranks models by n. `frechet_infinity` takes the bias out, where there are enough clips for that;
where there are not, use `weft.metrics.kernel`, which has none.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from weft.errors import ConfigError, ShapeError
from weft.metrics.sets import OtherVectors, Vectors, as_vectors, check_widths, rows_by_cluster
from weft.rng import Rng


@final
@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Mean and covariance of a set of vectors."""

    mean: Float[np.ndarray, " d"]
    """Mean vector."""
    covariance: Float[np.ndarray, "d d"]
    """Covariance, divided by the number of vectors less one; symmetric, positive semidefinite."""
    num_vectors: int
    """Vectors it was estimated from, >= 2."""

    def __post_init__(self) -> None:
        if self.num_vectors < 2:
            raise ShapeError(
                f"a covariance needs at least 2 vectors, got {self.num_vectors}: give more clips"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ConfigError("mean and covariance must be finite: a vector was NaN or infinite")

    @classmethod
    def from_vectors(cls, vectors: Vectors) -> "Gaussian":
        """Fit a set that is in memory.

        Args:
            vectors: at least 2, finite.

        Raises:
            ShapeError: fewer than 2 vectors.
            ConfigError: a value is NaN or infinite.

        Example:
            >>> Gaussian.from_vectors(np.array([[0.0, 1.0], [2.0, 1.0]])).covariance.tolist()
            [[2.0, 0.0], [0.0, 0.0]]
        """
        rows = as_vectors(vectors, "vectors", num_needed=2)
        mean = rows.mean(axis=0)
        centred = rows - mean
        covariance = centred.T @ centred / (len(rows) - 1)
        return cls(mean=mean, covariance=covariance, num_vectors=len(rows))

    @property
    def is_singular(self) -> bool:
        """Whether there were too few vectors for a covariance of full rank.

        Distances are still defined, and far too high: a table marks them.
        """
        return self.num_vectors <= len(self.mean)


@final
class GaussianAccumulator:
    """Mean and covariance of vectors that come in pieces, in memory of one covariance.

    Source: pairwise update of Chan, Golub & LeVeque 1983, which does not cancel as sums of squares
        do.

    Example:
        >>> pieces = GaussianAccumulator()
        >>> for piece in np.arange(12.0).reshape(3, 2, 2):
        ...     pieces.update(piece)
        >>> pieces.finish().mean.tolist()
        [5.0, 6.0]
    """

    def __init__(self) -> None:
        """Start without vectors."""
        self._count = 0
        self._mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))

    @property
    def num_vectors(self) -> int:
        """Vectors so far."""
        return self._count

    def update(self, vectors: Vectors) -> None:
        """Add the vectors of one clip, or of many.

        Raises:
            ShapeError: no vector, or of another width than before.
            ConfigError: a value is NaN or infinite; nothing was added.
        """
        rows = as_vectors(vectors, "vectors")
        mean = rows.mean(axis=0)
        centred = rows - mean
        self._add(len(rows), mean, centred.T @ centred)

    def merge(self, other: "GaussianAccumulator") -> None:
        """Add all that another one holds, such as that of another process.

        Raises:
            ShapeError: its vectors have another width.
        """
        if other._count:
            self._add(other._count, other._mean, other._scatter)

    def finish(self) -> Gaussian:
        """Return mean and covariance of all vectors so far; more may follow.

        Raises:
            ShapeError: fewer than 2 vectors.
        """
        if self._count < 2:
            raise ShapeError(
                f"a covariance needs at least 2 vectors, got {self._count}: give more clips"
            )
        return Gaussian(
            mean=self._mean.copy(),
            covariance=self._scatter / (self._count - 1),
            num_vectors=self._count,
        )

    def _add(
        self, count: int, mean: Float[np.ndarray, " d"], scatter: Float[np.ndarray, "d d"]
    ) -> None:
        if not self._count:
            self._count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        check_widths(len(self._mean), len(mean))
        total = self._count + count
        step = mean - self._mean
        self._scatter = self._scatter + scatter
        self._scatter += np.outer(step, step) * (self._count * count / total)
        self._mean = self._mean + step * (count / total)
        self._count = total


def frechet_distance(reference: Gaussian, estimate: Gaussian) -> float:
    """Return the Frechet distance (squared, as the literature prints it) of two sets.

    With VGGish vectors this is the Frechet audio distance (FAD), with one vector of PANNs a clip
    the Frechet distance (FD) of text-to-audio tables. No small number is added to any diagonal.

    Args:
        reference: of the set to be like. Sets with fewer vectors than dimensions are taken as they
            are; `Gaussian.is_singular` tells.
        estimate: of the fills. The distance is symmetric.

    Returns:
        Squared distance, in units of the vectors squared, >= 0; 0 for equal statistics.

    Raises:
        ShapeError: widths differ.

    Source: Dowson & Landau 1982; Kilgour et al. 2019 for sound. The trace of the root of the
        product is the sum of the singular values of ``A.T @ B`` with ``A @ A.T`` and ``B @ B.T``
        the covariances. That is real, needs no root of a matrix that is not symmetric, and loses
        nothing to directions without variance.

    Example:
        >>> one = Gaussian(mean=np.zeros(2), covariance=np.eye(2), num_vectors=100)
        >>> two = Gaussian(mean=np.ones(2), covariance=4 * np.eye(2), num_vectors=100)
        >>> round(frechet_distance(one, two), 9)
        4.0
    """
    check_widths(len(reference.mean), len(estimate.mean))
    first, second = (_root(gaussian.covariance) for gaussian in (reference, estimate))
    spread = float(np.trace(reference.covariance) + np.trace(estimate.covariance))
    shift = float(((reference.mean - estimate.mean) ** 2).sum())
    # Rounding alone can bring equal sets below 0.
    return max(0.0, shift + spread - 2 * _nuclear_norm(first.T @ second))


@final
@dataclass(frozen=True, kw_only=True)
class FrechetInfinity:
    """A Frechet distance extrapolated to endlessly many clips."""

    value: float
    """The extrapolated distance; may fall below 0 where the true one is near 0."""
    raw: float
    """The distance of all vectors, bias included, >= 0."""
    bias: float
    """What the line says the size of the sets adds to `raw`."""
    r_squared: float
    """Share of the variance of the points that the line explains, <= 1; 1 where all are equal."""
    num_smallest: int
    """Vectors of the smallest draw, in the smaller set where both are drawn; the mean number where
    clusters are unequal, rounded."""
    is_reliable: bool
    """Whether the smallest draw had at least twice as many vectors as dimensions. Below, the
    distance is no straight line in 1 / n, and the extrapolation is off by more than a tenth of the
    bias, to either side."""


def frechet_infinity(
    reference: Gaussian,
    estimate: OtherVectors,
    *,
    rng: Rng,
    clusters: Sequence[Hashable] | None = None,
    num_sizes: int = 25,
    smallest: float = 0.5,
) -> FrechetInfinity:
    """Return the distance that endlessly many vectors would have from a reference.

    Distances of random subsets of growing size lie on a line in 1 / size; its value at 0 is the
    result. What the finite *reference* adds stays in: use a large one, or draw from both sets with
    `frechet_infinity_both`.

    Args:
        reference: fixed.
        estimate: vectors of the fills.
        rng: of the draws.
        clusters: which clip or recording each vector comes from. Give it where a clip has several
            vectors: these are alike, so it is the number of clips that the bias falls with, and
            whole clips are drawn.
        num_sizes: sizes tried, evenly spaced, >= 3; fewer where there are fewer clusters.
        smallest: smallest size, as a share of all clusters, in (0, 1).

    Returns:
        The extrapolated distance, with the one of all vectors.

    Raises:
        ShapeError: widths differ, fewer than 8 clusters, or another number of cluster names.
        ConfigError: a value is not finite, or a setting is outside its range.

    Source: Chong & Forsyth 2020, Effectively unbiased FID; for sound Gui et al. 2024 (fadtk), with
        25 sizes from 500 vectors to all. Differs: draws are without replacement. With replacement
        the subsets are samples of the *set*, whose distance the line then finds, bias included.
        The smallest size is half of all, because lines that start lower bend. The line goes through
        the distance of all vectors, where least squares treats it as one draw more: that halves
        the error that the draws add.

    Example:
        >>> draw = np.random.default_rng(0).standard_normal
        >>> truth = Gaussian(mean=np.zeros(20), covariance=np.eye(20), num_vectors=10**6)
        >>> found = frechet_infinity(truth, draw((200, 20)), rng=Rng(0))
        >>> found.raw > 0.5, abs(found.value) < 0.1
        (True, True)
    """
    rows = as_vectors(estimate, "estimate", num_needed=2)
    check_widths(len(reference.mean), rows.shape[1])
    root = _root(reference.covariance)
    spread = float(np.trace(reference.covariance))

    def distance(members: Float[np.ndarray, "r e"]) -> float:
        # As `frechet_distance`; without a covariance, for which a draw may have too few vectors.
        mean = members.mean(axis=0)
        centred = (members - mean) / np.sqrt(len(members) - 1)
        shift = float(((mean - reference.mean) ** 2).sum())
        return shift + spread + float((centred**2).sum()) - 2 * _nuclear_norm(centred @ root)

    groups = rows_by_cluster(clusters, len(rows))
    shares = _shares([len(groups)], num_sizes, smallest)
    distances = []
    for i, share in enumerate(shares):
        chosen = _draw(groups, share, rng.stream(i))
        distances.append(distance(rows[chosen]))
    return _extrapolate(shares, distances, _smallest_draw(shares, [rows]), rows.shape[1])


def frechet_infinity_both(
    reference: Vectors,
    estimate: OtherVectors,
    *,
    rng: Rng,
    reference_clusters: Sequence[Hashable] | None = None,
    estimate_clusters: Sequence[Hashable] | None = None,
    num_sizes: int = 25,
    smallest: float = 0.5,
) -> FrechetInfinity:
    """Return the distance of two finite sets, with the bias of both taken out.

    As `frechet_infinity`, but equal shares of both sets are drawn, so that the line holds the bias
    of both. Two halves of one corpus come out at 0.

    Args:
        reference: vectors of the reference.
        estimate: vectors of the fills.
        rng: of the draws.
        reference_clusters: which clip each vector of the reference comes from.
        estimate_clusters: which clip each vector of the fills comes from.
        num_sizes: sizes tried, evenly spaced, >= 3.
        smallest: smallest share drawn, in (0, 1).

    Returns:
        The extrapolated distance, with the one of all vectors.

    Raises:
        ShapeError: widths differ, fewer than 8 clusters, or another number of cluster names.
        ConfigError: a value is not finite, or a setting is outside its range.

    Source: as `frechet_infinity`; drawing from both is ours. To first order the bias is a sum of
        one part for each set, each falling with its own size.

    Example:
        >>> draw = np.random.default_rng(0).standard_normal
        >>> found = frechet_infinity_both(draw((200, 20)), draw((200, 20)), rng=Rng(0))
        >>> found.raw > 1, abs(found.value) < 0.4
        (True, True)
    """
    sets = [
        as_vectors(reference, "reference", num_needed=2),
        as_vectors(estimate, "estimate", num_needed=2),
    ]
    check_widths(sets[0].shape[1], sets[1].shape[1])
    groups = [
        rows_by_cluster(reference_clusters, len(sets[0])),
        rows_by_cluster(estimate_clusters, len(sets[1])),
    ]
    shares = _shares([len(group) for group in groups], num_sizes, smallest)
    distances = []
    for i, share in enumerate(shares):
        drawn = [
            Gaussian.from_vectors(rows[_draw(group, share, rng.stream(i, side))])
            for side, (rows, group) in enumerate(zip(sets, groups, strict=True))
        ]
        distances.append(frechet_distance(*drawn))
    return _extrapolate(shares, distances, _smallest_draw(shares, sets), sets[0].shape[1])


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d r"]:
    """Return a factor ``A`` with ``A @ A.T`` the covariance, without directions of no variance."""
    values, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    # Below this all is rounding, of which a square root would make something.
    keep = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    factor: np.ndarray = directions[:, keep] * np.sqrt(values[keep])
    return factor


def _nuclear_norm(matrix: Float[np.ndarray, "p r"]) -> float:
    """Return the sum of the singular values; 0 for a matrix without rows or columns."""
    return float(np.linalg.svd(matrix, compute_uv=False).sum()) if matrix.size else 0.0


def _shares(
    num_clusters: Sequence[int], num_sizes: int, smallest: float
) -> Float[np.ndarray, " s"]:
    """Return the shares of the clusters to draw, the last one all."""
    if num_sizes < 3 or not 0 < smallest < 1:
        raise ConfigError(
            f"num_sizes must be >= 3 and smallest in (0, 1), got {num_sizes} and {smallest}"
        )
    if min(num_clusters) < 8 or round(smallest * min(num_clusters)) < 2:
        raise ShapeError(
            "an extrapolation needs at least 8 clusters in each set and 2 in the smallest draw, "
            f"got {min(num_clusters)} clusters and smallest {smallest}: give more clips"
        )
    largest = max(num_clusters)
    shares: np.ndarray = np.unique(np.round(np.linspace(smallest, 1, num_sizes) * largest))
    return shares / largest


def _draw(
    groups: Sequence[Int[np.ndarray, "..."]], share: float, stream: np.random.Generator
) -> Int[np.ndarray, " r"]:
    """Return the rows of a share of the clusters, drawn without replacement."""
    chosen = stream.permutation(len(groups))[: max(2, round(share * len(groups)))]
    return np.concatenate([groups[i] for i in chosen])


def _smallest_draw(
    shares: Float[np.ndarray, " s"], sets: Sequence[Float[np.ndarray, "_ d"]]
) -> int:
    """Return about how many vectors the smallest draw has, in the smaller set."""
    return round(float(shares[0]) * min(len(rows) for rows in sets))


def _extrapolate(
    shares: Float[np.ndarray, " s"], distances: Sequence[float], num_smallest: int, num_dims: int
) -> FrechetInfinity:
    """Lay a line in 1 / size through the distance of all vectors and read it at 0.

    That distance has no draw in it, and the variance of the others grows as 1 / size - 1: weighted
    so, the best slope is the sum of the rises over the sum of the runs.
    """
    heights = np.array(distances)
    runs, rises = 1 / shares - 1, heights - heights[-1]
    slope = float(rises.sum() / runs.sum())
    residual = float(((rises - slope * runs) ** 2).sum())
    total = float(((heights - heights.mean()) ** 2).sum())
    return FrechetInfinity(
        value=distances[-1] - slope,
        raw=max(0.0, distances[-1]),
        bias=slope,
        r_squared=1 - residual / total if total > 0 else 1.0,
        num_smallest=num_smallest,
        is_reliable=num_smallest >= 2 * num_dims,
    )
