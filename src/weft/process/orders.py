"""Orders: which masked positions are revealed next, how many at once, and when."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from weft.errors import ConfigError

OrderKind: TypeAlias = Literal["random", "confidence"]
"""``random``: every order is equally likely. ``confidence``: where the most probable symbol is most
probable comes first. Either rule looks only at what is revealed already, so that an ideal network
filled one token at a time draws from the exact joint posterior in both."""


def reveal_counts(num_masked: int, num_calls: int) -> Int[np.ndarray, " r"]:
    """Return how many tokens each call reveals, as equally many as possible.

    Where they do not divide, later calls reveal one more: they see more context, so what is drawn
    together there is more nearly independent.

    Args:
        num_masked: tokens to reveal, >= 0.
        num_calls: calls at most, >= 1; there are never more calls than tokens.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> reveal_counts(8, 3).tolist()
        [2, 3, 3]
        >>> reveal_counts(2, 3).tolist()
        [1, 1]
    """
    if num_masked < 0 or num_calls < 1:
        raise ConfigError(
            f"revealing needs num_masked >= 0 and num_calls >= 1, got {num_masked} and {num_calls}"
        )
    num_calls = min(num_calls, num_masked)
    counts = np.full(num_calls, num_masked // max(num_calls, 1))
    counts[num_calls - num_masked % max(num_calls, 1) :] += 1
    return counts


def random_order(
    positions: Int[np.ndarray, " m"], rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Return the positions in an order drawn uniformly.

    Example:
        >>> sorted(random_order(np.array([3, 5, 8]), np.random.default_rng(0)).tolist())
        [3, 5, 8]
    """
    return positions[rng.permutation(len(positions))]


def most_confident(confidence: Float[np.ndarray, " m"], num_revealed: int) -> Int[np.ndarray, " r"]:
    """Return the indices of the highest confidences, in rising order of index.

    Of equal ones the first comes first.

    Args:
        confidence: of each masked position, any monotone measure.
        num_revealed: how many to pick, in [0, m].

    Raises:
        ConfigError: ``num_revealed`` is out of range.

    Source: MaskGIT's schedule by confidence; differs: the position is picked by the probability of
    its most probable symbol before a symbol is drawn, not by that of the symbol drawn, which would
    favour probable symbols and so lower the temperature.

    Example:
        >>> most_confident(np.array([0.2, 0.9, 0.5]), 2).tolist()
        [1, 2]
    """
    if not 0 <= num_revealed <= len(confidence):
        raise ConfigError(f"num_revealed must be in [0, {len(confidence)}], got {num_revealed}")
    return np.sort(np.argsort(-confidence, kind="stable")[:num_revealed])


def hitting_fractions(
    masked_fraction: float, num_masked: int, num_hits: int, rng: np.random.Generator
) -> Float[np.ndarray, " r"]:
    """Draw the masked fractions at which the next tokens are revealed, falling.

    In the reverse process each of m masked tokens is revealed independently; seen from masked
    fraction f, the first of them goes at ``f * u ** (1 / m)``. With log-linear noise the masked
    fraction is proportional to t, so that this is ``t * u ** (1 / m)`` in time.

    Args:
        masked_fraction: of the process now, in [0, 1].
        num_masked: tokens masked now.
        num_hits: tokens to reveal, in [1, num_masked].
        rng: what times are drawn from.

    Raises:
        ConfigError: an argument is out of range.

    Source: Zheng et al. 2024, "Masked diffusion models are secretly time-agnostic masked models",
    first-hitting sampler.

    Example:
        >>> times = hitting_fractions(1.0, 5, 3, np.random.default_rng(0))
        >>> bool(1 > times[0] > times[1] > times[2] > 0)
        True
    """
    if not 0 <= masked_fraction <= 1 or not 1 <= num_hits <= num_masked:
        raise ConfigError(
            "hitting times need masked_fraction in [0, 1] and num_hits in [1, num_masked], got "
            f"{masked_fraction}, {num_hits} and {num_masked}"
        )
    left = num_masked - np.arange(num_hits)
    return masked_fraction * np.cumprod(rng.random(num_hits) ** (1 / left))
