"""Kullback-Leibler divergences of class probabilities. Three numbers of one name in papers.

* `kl_paired_panns`: between a fill and *its own* reference, with PANNs as the literature on
  text-to-audio does (AudioGen, AudioLDM): reference against fill.
* `kl_paired_passt`: the same with PaSST, as stable-audio-metrics does: scores averaged over
  windows, and the *other* direction, fill against reference.
* `kl_set`: between the mean probabilities of two *sets*, without pairs, as in seed 001.

They never share a column. Nor do numbers of two classifiers, whatever the function.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError, ShapeError
from weft.metrics.sets import OtherVectors, Vectors, as_vectors, check_widths, log_softmax

EPSILON = 1e-6
"""Added to the second probabilities of the paired divergences, and to no other."""


def kl_paired_panns(
    reference: Mapping[str, Float[np.ndarray, " k"]],
    estimate: Mapping[str, Float[np.ndarray, " e"]],
    *,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> dict[str, float]:
    """Return the divergence of each fill from its own reference, PANNs convention.

    Args:
        reference: logits of the true clips, by the clip's name.
        estimate: logits of the fills, by the same names.
        activation: what makes probabilities of logits. The classes of AudioSet exclude each other
            not at all, and published tables take the softmax all the same. With the sigmoid only
            the terms of classes that are present count, as in the published tool, so a value may
            fall below 0.

    Returns:
        ``sum p_ref (log p_ref - log(p_fill + EPSILON))`` in nats for each name, in the order of the
        reference; the published figure is their mean. About 0 for equal logits: the epsilon makes
        it fall below by up to `EPSILON` times the number of classes. At most
        -log(EPSILON) = 13.8 with the softmax.

    Raises:
        ShapeError: no pair, a name without a partner, or widths that differ.
        ConfigError: a logit is NaN or infinite, or the activation is unknown.

    Source: audioldm_eval, kl.py, softmax and sigmoid variants. Differs: a name without a partner is
        an error, where the tool leaves it out of the mean.

    Example:
        >>> sure, unsure = np.array([20.0, 0.0]), np.array([0.0, 0.0])
        >>> round(kl_paired_panns({"a": sure}, {"a": unsure})["a"], 4)
        0.6931
        >>> round(kl_paired_panns({"a": unsure}, {"a": sure})["a"], 4)
        6.2136
    """
    if activation not in ("softmax", "sigmoid"):
        raise ConfigError(f"activation must be 'softmax' or 'sigmoid', got {activation!r}")
    found = {}
    for name in _matched(reference, estimate):
        first, second = (_one(logits[name], name) for logits in (reference, estimate))
        check_widths(len(first), len(second))
        if activation == "softmax":
            found[name] = _smoothed(log_softmax(first), log_softmax(second))
        else:
            found[name] = _smoothed(-np.logaddexp(0, -first), -np.logaddexp(0, -second))
    return found


def kl_paired_passt(
    reference: Mapping[str, Float[np.ndarray, "w k"]],
    estimate: Mapping[str, Float[np.ndarray, "m e"]],
    *,
    collect: Literal["mean", "max"] = "mean",
    direction: Literal["estimate_reference", "reference_estimate"] = "estimate_reference",
) -> dict[str, float]:
    """Return the divergence of each fill and its own reference, PaSST convention.

    Args:
        reference: logits of the windows of the true clips, by the clip's name; at least one window.
        estimate: logits of the windows of the fills, by the same names; the number of windows may
            differ.
        collect: what makes one vector of logits of all windows, before the softmax.
        direction: which comes first. The default is what the published tool computes: PyTorch's
            ``kl_div(x, y)`` measures y against x. The other is that of MusicGen's tool.

    Returns:
        ``sum p_first (log p_first - log(p_second + EPSILON))`` in nats for each name, in the order
        of the reference; the published figure is their mean. Range as `kl_paired_panns`.

    Raises:
        ShapeError: no pair, a name without a partner, no window, or widths that differ.
        ConfigError: a logit is NaN or infinite, or a setting is unknown.

    Source: stable-audio-metrics, passt_kld.py. Differs: a name without a partner is an error, where
        the tool prints a line and leaves it out of the mean.

    Example:
        >>> one, two = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 0.0]])
        >>> abs(round(kl_paired_passt({"a": one}, {"a": two})["a"], 4))
        0.0
    """
    if collect not in ("mean", "max"):
        raise ConfigError(f"collect must be 'mean' or 'max', got {collect!r}")
    if direction not in ("estimate_reference", "reference_estimate"):
        raise ConfigError(
            f"direction must be 'estimate_reference' or 'reference_estimate', got {direction!r}"
        )
    found = {}
    for name in _matched(reference, estimate):
        logs = []
        for logits in (reference, estimate):
            rows = as_vectors(logits[name], f"logits of {name!r}")
            logs.append(log_softmax(rows.mean(axis=0) if collect == "mean" else rows.max(axis=0)))
        check_widths(len(logs[0]), len(logs[1]))
        if direction == "estimate_reference":
            logs.reverse()
        found[name] = _smoothed(*logs)
    return found


def kl_set(reference: Vectors, estimate: OtherVectors) -> float:
    """Return the divergence of the mean class probabilities of two sets.

    Says whether the fills hold the classes of the reference in the same shares. A set of equal
    means and wrong pairs scores 0.

    Args:
        reference: logits of the reference set, such as the train split, one row a clip.
        estimate: logits of the fills, one row a clip; any number, no pairs.

    Returns:
        ``sum q_ref (log q_ref - log q_fill)`` in nats with q the mean of the softmax over the set;
        >= 0, 0 for equal shares. No epsilon: a softmax is never 0.

    Raises:
        ShapeError: an empty set, or widths that differ.
        ConfigError: a logit is NaN or infinite.

    Source: seed 001, Table 1: KLD "in the AudioSet class space", against statistics of the training
        set. The seed gives no formula; its values for unpaired clips leave mean probabilities. That
        the reference comes first is our choice.

    Example:
        >>> kl_set(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([[1.0, 1.0]])) < 1e-12
        True
    """
    first, second = as_vectors(reference, "reference"), as_vectors(estimate, "estimate")
    check_widths(first.shape[1], second.shape[1])
    logs = []
    for logits in (first, second):
        rows = log_softmax(logits)
        top = rows.max(axis=0)
        logs.append(top + np.log(np.exp(rows - top).mean(axis=0)))
    return max(0.0, float((np.exp(logs[0]) * (logs[0] - logs[1])).sum()))


def _matched(
    reference: Mapping[str, Float[np.ndarray, "..."]],
    estimate: Mapping[str, Float[np.ndarray, "..."]],
) -> list[str]:
    """Return the names, or say which have no partner."""
    alone = sorted(reference.keys() ^ estimate.keys())
    if alone:
        raise ShapeError(
            f"every clip needs a partner of its name; {len(alone)} have none, such as {alone[:3]}"
        )
    if not reference:
        raise ShapeError("a paired divergence needs at least one pair, got none")
    return list(reference)


def _one(logits: Float[np.ndarray, " k"], name: str) -> Float[np.ndarray, " k"]:
    row: np.ndarray = as_vectors(logits[None], f"logits of {name!r}")[0]
    return row


def _smoothed(first: Float[np.ndarray, " k"], second: Float[np.ndarray, " k"]) -> float:
    """Return the divergence of two vectors of log probabilities, epsilon in the second."""
    return float((np.exp(first) * (first - np.log(np.exp(second) + EPSILON))).sum())
