"""Statistics: means with intervals, when values come in clusters.

Gaps of one recording are alike, so they do not count as independent: the bootstrap draws whole
recordings. Every interval here is about *other recordings of the same kind*, not about other gaps
in the same ones.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from weft.errors import ConfigError, ShapeError
from weft.rng import Rng

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95


@final
@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and how sure one may be of it."""

    mean: float
    """Mean of all values."""
    low: float | None
    """Lower end; None where there is one cluster, which says nothing about others."""
    high: float | None
    """Upper end, as `low`."""
    num_values: int
    """Values averaged."""
    num_clusters: int
    """Clusters they come from."""


def clustered_mean(
    values: Float[np.ndarray, " v"],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of values with a bootstrap interval that draws whole clusters.

    Args:
        values: finite.
        clusters: which cluster each value belongs to, such as the name of its recording.
        seed: of the draws; equal seeds give equal intervals.
        num_resamples: draws, >= 100.
        confidence: share of intervals that hold the truth, in (0, 1).

    Raises:
        ShapeError: no value, or another number of cluster names.
        ConfigError: a value is not finite, or a setting is outside its range.

    Source: percentile bootstrap over clusters, expanded for few clusters as in Hesterberg 2015,
        What teachers should know about the bootstrap, section 5.3: without it, intervals from few
        recordings are too narrow.

    Example:
        >>> clustered_mean(np.array([1.0, 3.0, 2.0, 2.0]), ["a", "a", "b", "b"]).mean
        2.0
    """
    if not len(values) or len(values) != len(clusters):
        raise ShapeError(
            f"values need one cluster each, got {len(values)} values and {len(clusters)} clusters"
        )
    if not np.isfinite(values).all():
        raise ConfigError("a mean needs finite values; a metric gave NaN or infinity")
    if num_resamples < 100 or not 0 < confidence < 1:
        raise ConfigError(
            "num_resamples must be >= 100 and confidence in (0, 1), "
            f"got {num_resamples} and {confidence}"
        )
    sums, counts = _cluster_sums(values, clusters)
    mean = float(values.mean())
    num_clusters = len(sums)
    low = high = None
    if num_clusters > 1:
        rng = Rng(seed).stream(num_clusters)
        weights = rng.multinomial(
            num_clusters, np.full(num_clusters, 1 / num_clusters), size=num_resamples
        ).astype(np.float64)
        means = (weights @ sums) / (weights @ counts)
        tail = _expanded_tail(num_clusters, confidence)
        low, high = (float(q) for q in np.quantile(means, [tail, 1 - tail]))
    return Interval(
        mean=mean, low=low, high=high, num_values=len(values), num_clusters=num_clusters
    )


def paired_difference(
    values: Float[np.ndarray, " v"],
    baseline: Float[np.ndarray, " v"],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of ``values - baseline``, pair by pair, with its interval.

    What both share, the difficulty of a gap, cancels, so a difference may be certain though the
    intervals of the two means overlap.

    Args:
        values: of one model.
        baseline: of another, on the same gaps in the same order.
        clusters: which cluster each pair belongs to.
        seed: of the draws.
        num_resamples: draws, >= 100.
        confidence: share of intervals that hold the truth, in (0, 1).

    Raises:
        ShapeError: no pair, or another number of cluster names.
        ConfigError: a value is not finite, or a setting is outside its range.

    Example:
        >>> paired_difference(np.array([2.0, 5.0]), np.array([1.0, 4.0]), ["a", "b"]).low
        1.0
    """
    return clustered_mean(
        values - baseline,
        clusters,
        seed=seed,
        num_resamples=num_resamples,
        confidence=confidence,
    )


def _cluster_sums(
    values: Float[np.ndarray, " v"], clusters: Sequence[Hashable]
) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return the sum and the number of the values of each cluster."""
    numbers = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    index = np.array([numbers[cluster] for cluster in clusters])
    sums = np.bincount(index, weights=values, minlength=len(numbers))
    return sums, np.bincount(index, minlength=len(numbers))


def _expanded_tail(num_clusters: int, confidence: float) -> float:
    """Return the tail probability at which to read the bootstrap distribution."""
    from scipy.special import ndtr, stdtrit

    t = float(stdtrit(num_clusters - 1, 0.5 + confidence / 2))
    return float(ndtr(-math.sqrt(num_clusters / (num_clusters - 1)) * t))
