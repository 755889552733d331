"""Inception score: are the clips each of one class, and all together of many?

It looks at no reference: noise that a classifier is sure about scores well. It grows with the
number of clips and falls with the number of splits, so a table names both.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from weft.errors import ConfigError
from weft.metrics.sets import Vectors, as_vectors, log_softmax
from weft.rng import Rng


@final
@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """An inception score and its spread over the splits."""

    mean: float
    """Mean over the splits, in [1, smaller of classes and clips a split]."""
    std: float
    """Standard deviation over the splits; 0 with one split."""
    num_splits: int
    """Splits."""
    num_clips: int
    """Clips in all."""


def inception_score(logits: Vectors, *, num_splits: int = 10, seed: int = 2020) -> InceptionScore:
    """Return the inception score of a set of clips.

    Args:
        logits: one row a clip, one column a class, before any softmax.
        num_splits: parts that the clips are shuffled into, in [1, clips].
        seed: of the shuffle.

    Returns:
        Per split ``exp(mean_i KL(p_i || mean p))``; mean and spread over the splits. 1 where all
        clips look alike, the number of classes where each is surely of one and all are equally
        many.

    Raises:
        ShapeError: no clip, or fewer than splits.
        ConfigError: a logit is NaN or infinite, or `num_splits` < 1.

    Source: Salimans et al. 2016; for sound audioldm_eval, isc.py: softmax, 10 splits, shuffled.
        Differs: the shuffle is another generator's, so single splits differ from the tool's.

    Example:
        >>> inception_score(100 * np.eye(4).repeat(8, axis=0), num_splits=1).mean
        4.0
    """
    if num_splits < 1:
        raise ConfigError(f"num_splits must be >= 1, got {num_splits}")
    rows = as_vectors(logits, "logits", num_needed=num_splits)
    rows = rows[Rng(seed).stream().permutation(len(rows))]
    scores = []
    for i in range(num_splits):
        part = log_softmax(rows[i * len(rows) // num_splits : (i + 1) * len(rows) // num_splits])
        top = part.max(axis=0)
        mean = top + np.log(np.exp(part - top).mean(axis=0))
        divergence = (np.exp(part) * (part - mean)).sum(axis=1).mean()
        scores.append(float(np.exp(max(divergence, 0.0))))
    return InceptionScore(
        mean=float(np.mean(scores)),
        std=float(np.std(scores)),
        num_splits=num_splits,
        num_clips=len(rows),
    )
