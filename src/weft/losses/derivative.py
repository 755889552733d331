"""Derivative losses: the expected sequence of embeddings must move as the true one does.

A cross-entropy treats all wrong tokens alike. These losses embed the predicted distribution and
compare its differences along time with those of the true sequence, so that a token that sounds like
the right one costs less.
"""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ConfigError

Order: TypeAlias = Literal[1, 2]
"""First or second difference."""


def derivative_loss(
    log_probs: Float[Tensor, "b l k"],
    clean: Int[Tensor, "b l"],
    masked: Bool[Tensor, "b l"],
    table: Float[Tensor, "k d"],
    *,
    order: Order | tuple[Order, ...] = 1,
    is_scaled: bool = True,
    valid: Bool[Tensor, "b l"] | None = None,
) -> Float[Tensor, " b"]:
    """Return how far the expected embeddings' differences are from the true ones', per item.

    Masked positions have the expectation of the embedding, visible ones their true embedding, so
    that the neighbours of a gap pull at its ends. A first difference counts where at least one of
    its two positions is masked, a second one where one of its three is; squared distances are
    summed over features and averaged over the differences of an item that count. No gradient flows
    into the table: else the loss could be made small by shrinking it.

    Args:
        log_probs: normalised, of the real symbols; read at masked positions only.
        clean: the sequence before, in [0, k).
        masked: True where a token was replaced.
        table: what each token stands for: the codec's codebook.
        order: 1, 2 or both, which are added.
        is_scaled: divide by the mean squared distance of the table's rows from their mean. The loss
            then has no unit, and its weight does not depend on the codec. In the published code
            this distance is 1/3 at the start of training: a weight of 500 there is 167 here.
        valid: True where a frame is no batch padding; differences that touch padding do not count.

    Returns:
        >= 0; 0 for an item in which no difference counts.

    Raises:
        ConfigError: ``order`` holds something else than 1 and 2, or nothing, or one of them twice;
            or the table's rows are all equal and ``is_scaled`` is set.

    Source: AIDD (seed 000), "Derivative-based regularization". Differs: the expectation is over the
    real symbols and at masked positions only, the table is frozen, the mean is taken per item. See
    `aidd_derivative_loss` for what the released code does.
    """
    orders = order if isinstance(order, tuple) else (order,)
    if not orders or not set(orders) <= {1, 2} or len(set(orders)) != len(orders):
        raise ConfigError(f"order must be 1, 2 or (1, 2), got {order}")
    table = table.detach().float()
    error = _embedding_error(log_probs, clean, masked, table)
    if is_scaled:
        spread = (table - table.mean(dim=0)).square().sum(dim=1).mean()
        if not bool(spread > 0):
            raise ConfigError(
                "the table's rows are all equal, so nothing can be told from it; use the codebook "
                "of a trained codec"
            )
        error = error * spread.rsqrt()
    total = error.new_zeros(len(error))
    for one in orders:
        total = total + _mean_square_difference(error, masked, valid, one)
    return total


def aidd_derivative_loss(
    log_score: Float[Tensor, "b l v"],
    tokens: Int[Tensor, "b l"],
    clean: Int[Tensor, "b l"],
    table: Float[Tensor, "v d"],
) -> Float[Tensor, ""]:
    """Return the derivative loss as AIDD's released code computes it, for comparison.

    Three things make it a poor regulariser. The expectation is over all symbols, the absorbing one
    with its log-score of 0 included: at masked positions an exact score gives that one
    ``1 - exp(-total_noise)`` of the mass. At visible positions it is over outputs that nothing else
    trains. And the table, the network's own input embedding, gets gradient from both sides.

    Args:
        log_score: the own symbol's entry is 0.
        tokens: the corrupted sequence; v - 1 is the absorbing state.
        clean: the sequence before, in [0, v).
        table: of all symbols, the absorbing one included.

    Returns:
        Squared first differences summed over features, averaged over all pairs of the batch with at
        least one masked position; 0 without such pairs.

    Source: AIDD (seed 000), released code, with its weight of 500 (``lamda``) left out.
    """
    masked = tokens == len(table) - 1
    expected = log_score.softmax(dim=-1) @ table
    difference = (expected - table[clean]).diff(dim=1).square().sum(dim=2)  # b l-1
    counts = masked[:, 1:] | masked[:, :-1]
    return torch.where(counts, difference, 0.0).sum() / counts.sum().clamp_min(1)


def _embedding_error(
    log_probs: Float[Tensor, "b l k"],
    clean: Int[Tensor, "b l"],
    masked: Bool[Tensor, "b l"],
    table: Float[Tensor, "k d"],
) -> Float[Tensor, "b l d"]:
    """Return expected minus true embeddings, 0 where visible."""
    # Half precision would lose the many small probabilities that make up the expectation.
    with torch.autocast(log_probs.device.type, enabled=False):
        rows = log_probs[masked].float().exp() @ table - table[clean[masked].long()]  # m d
    error = rows.new_zeros(*masked.shape, table.shape[1])
    return error.masked_scatter(masked[:, :, None], rows)


def _mean_square_difference(
    error: Float[Tensor, "b l d"],
    masked: Bool[Tensor, "b l"],
    valid: Bool[Tensor, "b l"] | None,
    order: int,
) -> Float[Tensor, " b"]:
    """Return the mean over those differences of each item that touch a masked position."""
    if masked.shape[1] <= order:
        return error.new_zeros(len(error))
    counts = masked.unfold(1, order + 1, 1).any(dim=2)  # b l-order
    if valid is not None:
        counts = counts & valid.unfold(1, order + 1, 1).all(dim=2)
    squared = error.diff(n=order, dim=1).square().sum(dim=2)
    return torch.where(counts, squared, 0.0).sum(dim=1) / counts.sum(dim=1).clamp_min(1)
