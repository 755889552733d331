"""Kernel distances of two sets of vectors: unbiased whatever the sizes.

A kernel distance is the squared maximum mean discrepancy: the mean kernel within both sets less
twice that between them. Pairs of a vector with itself are left out, which makes it unbiased: the
mean over many small sets is the value of endless ones, and sets of one distribution have 0 on
average, hence half the time less. Pairs of one recording are left out too where clusters are given.

Two kernels are in use, with numbers of unlike scale: the cubic polynomial of the kernel inception
distance (KID), and the Gaussian one of the kernel audio distance (KAD), whose width comes from the
reference, so that a column with one reference has one width.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Float, Int

from weft.errors import ConfigError, ShapeError
from weft.metrics.sets import (
    OtherVectors,
    Vectors,
    as_vectors,
    blocks,
    check_widths,
    rows_by_cluster,
    squared_distances,
)
from weft.rng import Rng

KAD_SCALE = 100.0
"""What the published tool multiplies the kernel audio distance by."""
MAX_BANDWIDTH_VECTORS = 2000
"""Vectors of the reference, evenly spaced, that the median distance is taken over."""

Rows: TypeAlias = Int[np.ndarray, "..."]
Kernel: TypeAlias = Callable[[Vectors, OtherVectors], Float[np.ndarray, "w m"]]


def kernel_inception_distance(
    reference: Vectors,
    estimate: OtherVectors,
    *,
    reference_clusters: Sequence[Hashable] | None = None,
    estimate_clusters: Sequence[Hashable] | None = None,
    are_paired: bool = False,
) -> float:
    """Return the kernel inception distance over all pairs.

    Args:
        reference: of the set to be like, at least 2 clusters.
        estimate: of the fills, at least 2 clusters.
        reference_clusters: which clip or recording each vector comes from; None: each its own.
        estimate_clusters: as `reference_clusters`, for the fills.
        are_paired: the fills are of the recordings of the reference, and clusters of both have the
            same names. Then pairs of one recording are left out between the sets as well: a set is
            at distance 0 from itself. Without, fills that are near their own originals give a
            large negative bias.

    Returns:
        Squared discrepancy, in units of the kernel; about 0 and possibly below for sets of one
        distribution, exactly symmetric.

    Raises:
        ShapeError: widths differ, fewer than 2 clusters, or another number of cluster names.
        ConfigError: a value is NaN or infinite.

    Source: Binkowski et al. 2018, Demystifying MMD GANs, with the kernel (x.y / d + 1)^3. Differs:
        all pairs at once; published tables average random subsets, which `kid_subsets` does. The
        mean is the same, the spread larger.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((300, 4))
        >>> y = np.random.default_rng(1).standard_normal((300, 4))
        >>> abs(kernel_inception_distance(x, y)) < 0.05, kernel_inception_distance(x, y + 1) > 5
        (True, True)
    """
    return _discrepancy(
        reference, estimate, _cubic, reference_clusters, estimate_clusters, are_paired=are_paired
    )


@final
class ClusteredKernel:
    """The kernel inception distance of two sets, and of what is left when recordings leave them.

    All kernels are summed once, by clusters; leaving some out then costs next to nothing, as the
    jackknife needs. Equal to `kernel_inception_distance` of what is left.

    Example:
        >>> draw = np.random.default_rng(0).standard_normal
        >>> x, y, names = draw((40, 4)), draw((40, 4)), [i // 2 for i in range(40)]
        >>> kernel = ClusteredKernel(x, y, reference_clusters=None, estimate_clusters=names)
        >>> direct = kernel_inception_distance(x, y[2:], estimate_clusters=names[2:])
        >>> bool(np.isclose(kernel.distance(set(names) - {0}), direct))
        True
    """

    def __init__(
        self,
        reference: Vectors,
        estimate: OtherVectors,
        *,
        reference_clusters: Sequence[Hashable] | None,
        estimate_clusters: Sequence[Hashable] | None,
        are_paired: bool = False,
        reference_within: float | None = None,
    ) -> None:
        """Sum the kernels.

        Args:
            reference: of the set to be like, at least 2 clusters.
            estimate: of the fills, at least 2 clusters.
            reference_clusters: which recording each vector comes from; None: each its own.
            estimate_clusters: as `reference_clusters`, for the fills.
            are_paired: as in `kernel_inception_distance`; then what leaves the fills leaves the
                reference too, and both must have the same clusters.
            reference_within: `mean_kernel_within` of the reference, where it is known already; not
                used for pairs.

        Raises:
            ShapeError: widths differ, fewer than 2 clusters, or clusters that are not paired.
            ConfigError: a value is NaN or infinite.
        """
        first = as_vectors(reference, "reference", num_needed=2)
        second = as_vectors(estimate, "estimate", num_needed=2)
        check_widths(first.shape[1], second.shape[1])
        names, groups = _named_rows(estimate_clusters, len(second))
        self._names = names
        self._counts = np.array([len(rows) for rows in groups], dtype=np.float64)
        self._within = _sums(second, groups, second, groups)
        self._are_paired = are_paired
        if are_paired:
            other_names, others = _named_rows(reference_clusters, len(first))
            places = {name: i for i, name in enumerate(other_names)}
            if places.keys() != set(names):
                raise ShapeError("paired sets need the same clusters on both sides")
            ordered = [others[places[name]] for name in names]
            self._reference_counts = np.array([len(rows) for rows in ordered], dtype=np.float64)
            self._reference_within = _sums(first, ordered, first, ordered)
            self._between = _sums(first, ordered, second, groups)
            return
        known = reference_within
        self._mean = mean_kernel_within(first, reference_clusters) if known is None else known
        self._reference_counts = np.array([len(first)], dtype=np.float64)
        self._between = _sums(first, [np.arange(len(first))], second, groups)

    def distance(self, kept: Collection[Hashable] | None = None) -> float:
        """Return the distance.

        Args:
            kept: clusters of the fills that stay, at least 2; None: all.

        Raises:
            ShapeError: fewer than 2 clusters stay.
        """
        stays = np.array([kept is None or name in kept for name in self._names])
        if stays.sum() < 2:
            raise ShapeError(
                f"a kernel distance needs vectors of at least 2 clusters, got {stays.sum()}"
            )
        counts, within = self._counts[stays], self._within[np.ix_(stays, stays)]
        if self._are_paired:
            others = self._reference_counts[stays]
            reference = _mean_off_diagonal(
                self._reference_within[np.ix_(stays, stays)], others, others
            )
            between = _mean_off_diagonal(self._between[np.ix_(stays, stays)], others, counts)
        else:
            reference = self._mean
            between = self._between[0, stays].sum() / (self._reference_counts[0] * counts.sum())
        return float(reference + _mean_off_diagonal(within, counts, counts) - 2 * between)


def mean_kernel_within(vectors: Vectors, clusters: Sequence[Hashable] | None) -> float:
    """Return the mean kernel of the kernel inception distance over pairs of different clusters.

    Args:
        vectors: of at least 2 clusters.
        clusters: which recording each comes from; None: each its own.

    Raises:
        ShapeError: fewer than 2 clusters, or another number of names.

    Example:
        >>> mean_kernel_within(np.ones((3, 2)), None)
        8.0
    """
    return _mean_within(vectors, _cubic, clusters)


def _named_rows(
    clusters: Sequence[Hashable] | None, num_rows: int
) -> tuple[list[Hashable], list[Rows]]:
    """Return names of clusters and their rows, in order of appearance."""
    rows = rows_by_cluster(clusters, num_rows)
    return list(dict.fromkeys(range(num_rows) if clusters is None else clusters)), list(rows)


def _sums(
    first: Vectors, first_rows: Sequence[Rows], second: OtherVectors, second_rows: Sequence[Rows]
) -> Float[np.ndarray, "a b"]:
    """Return sums of the cubic kernel over pairs of clusters, in memory of a block of pairs."""
    order = np.concatenate(second_rows)
    starts = np.cumsum([0, *(len(rows) for rows in second_rows[:-1])])
    ordered = second[order]
    total = np.zeros((len(first_rows), len(second_rows)))
    for i, rows in enumerate(first_rows):
        for _, some in blocks(first[rows]):
            column = np.concatenate(
                [_cubic(some, others).sum(axis=0) for _, others in blocks(ordered)]
            )
            total[i] += np.add.reduceat(column, starts)
    return total


def _mean_off_diagonal(
    sums: Float[np.ndarray, "a a"], rows: Float[np.ndarray, " a"], columns: Float[np.ndarray, " a"]
) -> float:
    """Return the mean kernel over pairs of different clusters, from sums by clusters."""
    pairs = rows.sum() * columns.sum() - (rows * columns).sum()
    return float((sums.sum() - np.trace(sums)) / pairs)


@final
@dataclass(frozen=True, kw_only=True)
class SubsetDistance:
    """Kernel inception distances of random subsets, as published tables have them."""

    mean: float
    """Mean over the subsets."""
    std: float
    """Standard deviation over the subsets, not an error of the mean: subsets overlap."""
    num_subsets: int
    """Subsets drawn."""
    subset_size: int
    """Vectors of each set in a subset."""


def kid_subsets(
    reference: Vectors,
    estimate: OtherVectors,
    *,
    rng: Rng,
    num_subsets: int = 100,
    subset_size: int = 1000,
) -> SubsetDistance:
    """Return mean and spread of the kernel inception distance over random subsets.

    Args:
        reference: of the set to be like, at least `subset_size`.
        estimate: of the fills, at least `subset_size`.
        rng: of the draws.
        num_subsets: draws, without replacement within each, >= 1.
        subset_size: vectors drawn from each set, >= 2. Audioldm_eval takes the whole set.

    Raises:
        ShapeError: widths differ, or a set is smaller than a subset.
        ConfigError: a value is not finite, or a setting is outside its range.

    Source: Binkowski et al. 2018; the defaults are those of torch-fidelity and torchmetrics.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((50, 4))
        >>> kid_subsets(x, x + 1, rng=Rng(0), subset_size=20).num_subsets
        100
    """
    if num_subsets < 1 or subset_size < 2:
        raise ConfigError(
            f"num_subsets must be >= 1 and subset_size >= 2, got {num_subsets} and {subset_size}"
        )
    first = as_vectors(reference, "reference", num_needed=subset_size)
    second = as_vectors(estimate, "estimate", num_needed=subset_size)
    check_widths(first.shape[1], second.shape[1])
    found = []
    for i in range(num_subsets):
        draws = [
            rows[rng.stream(i, side).permutation(len(rows))[:subset_size]]
            for side, rows in enumerate((first, second))
        ]
        found.append(_discrepancy(draws[0], draws[1], _cubic, None, None))
    return SubsetDistance(
        mean=float(np.mean(found)),
        std=float(np.std(found)),
        num_subsets=num_subsets,
        subset_size=subset_size,
    )


def median_distance(reference: Vectors) -> float:
    """Return the median distance of two vectors of the reference: the width of its kernel.

    Args:
        reference: at least 2. Of more than `MAX_BANDWIDTH_VECTORS` evenly spaced ones are taken.

    Returns:
        In units of the vectors, > 0.

    Raises:
        ShapeError: fewer than 2 vectors.
        ConfigError: a value is not finite, or more than half of the pairs are equal.

    Example:
        >>> median_distance(np.array([[0.0], [1.0], [3.0]]))
        2.0
    """
    rows = as_vectors(reference, "reference", num_needed=2)
    if len(rows) > MAX_BANDWIDTH_VECTORS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_BANDWIDTH_VECTORS).round().astype(int)]
    rows = rows - rows.mean(axis=0)
    above = np.triu_indices(len(rows), k=1)
    width = float(np.median(np.sqrt(squared_distances(rows, rows)[above])))
    if width <= 1e-7 * float(np.abs(reference).max()):
        raise ConfigError("the median distance in the reference is 0: most of its clips are equal")
    return width


def kernel_audio_distance(
    reference: Vectors,
    estimate: OtherVectors,
    *,
    bandwidth: float | None = None,
    reference_clusters: Sequence[Hashable] | None = None,
    estimate_clusters: Sequence[Hashable] | None = None,
) -> float:
    """Return the kernel audio distance over all pairs, times `KAD_SCALE`.

    Args:
        reference: of the set to be like, at least 2 clusters.
        estimate: of the fills, at least 2 clusters.
        bandwidth: width of the Gaussian kernel, in units of the vectors, > 0; None: the
            `median_distance` of the reference.
        reference_clusters: which clip or recording each vector comes from; None: each its own.
        estimate_clusters: as `reference_clusters`, for the fills.

    Returns:
        At most 2 * `KAD_SCALE`; about 0 and possibly below for sets of one distribution.

    Raises:
        ShapeError: widths differ, fewer than 2 clusters, or another number of cluster names.
        ConfigError: a value is not finite, or the width is not > 0.

    Source: Chung et al. 2025, KAD: No more FAD (kadtk), with kernel exp(-|x - y|^2 / 2 width^2).

    Example:
        >>> x = np.random.default_rng(0).standard_normal((300, 4))
        >>> y = np.random.default_rng(1).standard_normal((300, 4))
        >>> abs(kernel_audio_distance(x, y)) < 1, kernel_audio_distance(x, y + 1) > 20
        (True, True)
    """
    as_vectors(reference, "reference", num_needed=2)
    width = median_distance(reference) if bandwidth is None else bandwidth
    if not width > 0 or not np.isfinite(width):
        raise ConfigError(f"bandwidth must be finite and > 0, got {width}")

    def gaussian(first: Vectors, second: OtherVectors) -> Float[np.ndarray, "w m"]:
        values: np.ndarray = np.exp(-squared_distances(first, second) / (2 * width**2))
        return values

    centre = np.asarray(reference, dtype=np.float64).mean(axis=0)  # distances lose digits far out
    check_widths(len(centre), estimate.shape[1])
    found = _discrepancy(
        reference - centre, estimate - centre, gaussian, reference_clusters, estimate_clusters
    )
    return KAD_SCALE * found


def _cubic(first: Vectors, second: OtherVectors) -> Float[np.ndarray, "w m"]:
    inner = first @ second.T / first.shape[1] + 1
    values: np.ndarray = inner * inner * inner  # a power costs ten times as much
    return values


def _discrepancy(
    reference: Vectors,
    estimate: OtherVectors,
    kernel: Kernel,
    reference_clusters: Sequence[Hashable] | None,
    estimate_clusters: Sequence[Hashable] | None,
    *,
    are_paired: bool = False,
) -> float:
    """Return the unbiased squared discrepancy, in memory of a block of pairs."""
    first = as_vectors(reference, "reference", num_needed=2)
    second = as_vectors(estimate, "estimate", num_needed=2)
    check_widths(first.shape[1], second.shape[1])
    within = _mean_within(first, kernel, reference_clusters)
    within += _mean_within(second, kernel, estimate_clusters)
    total, pairs = _sum_between(first, second, kernel), float(len(first) * len(second))
    if are_paired:
        for rows, others in _shared(reference_clusters, estimate_clusters, len(first), len(second)):
            total -= _sum_between(first[rows], second[others], kernel)
            pairs -= float(len(rows) * len(others))
    return within - 2 * total / pairs


def _shared(
    reference: Sequence[Hashable] | None,
    estimate: Sequence[Hashable] | None,
    num_reference: int,
    num_estimate: int,
) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows of both sets for each cluster that both have."""
    sides = []
    for names, count in ((reference, num_reference), (estimate, num_estimate)):
        listed = range(count) if names is None else names
        sides.append(dict(zip(dict.fromkeys(listed), rows_by_cluster(names, count), strict=True)))
    yield from ((sides[0][name], sides[1][name]) for name in sides[0] if name in sides[1])


def _mean_within(vectors: Vectors, kernel: Kernel, clusters: Sequence[Hashable] | None) -> float:
    """Return the mean kernel over pairs of different clusters."""
    groups = rows_by_cluster(clusters, len(vectors))
    if len(groups) < 2:
        raise ShapeError("a kernel distance needs vectors of at least 2 clusters, got 1")
    total, pairs = _sum_between(vectors, vectors, kernel), float(len(vectors)) ** 2
    lone = [int(rows[0]) for rows in groups if len(rows) == 1]
    for start in range(0, len(lone), 64):  # a few at a time: only the diagonal is wanted
        few = vectors[lone[start : start + 64]]
        total -= float(np.trace(kernel(few, few)))
    for rows in groups:
        if len(rows) > 1:
            total -= _sum_between(vectors[rows], vectors[rows], kernel)
        pairs -= float(len(rows)) ** 2
    return total / pairs


def _sum_between(first: Vectors, second: OtherVectors, kernel: Kernel) -> float:
    return sum(
        float(kernel(rows, others).sum())
        for _, rows in blocks(first)
        for _, others in blocks(second)
    )
