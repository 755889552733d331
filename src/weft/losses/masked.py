"""Cross-entropy of masked tokens, weighted by time."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def masked_cross_entropy(
    log_probs: Float[Tensor, "b l k"],
    clean: Int[Tensor, "b l"],
    masked: Bool[Tensor, "b l"],
    t: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Return ``-1/t sum log p(clean)`` over the masked positions of each item, in nats, >= 0.

    The same optimum as `dwdse` with less variance, because it asks nothing of the sum of scores.

    Args:
        log_probs: normalised, of the real symbols; read at masked positions only.
        clean: the sequence before, in [0, k) wherever it is masked.
        masked: True where a token was replaced.
        t: time of each item, in (0, 1]; an item without masked tokens has the loss 0 at any time.

    Source: MDLM, objective in continuous time, with a log-linear schedule, whose weight
    ``noise_rate / (exp(total_noise) - 1)`` is exactly ``1 / t`` whatever its ``eps``.
    """
    log_probs = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    target = torch.where(masked, clean, 0).long()
    losses = -log_probs.gather(2, target[:, :, None])[:, :, 0]
    total = torch.where(masked, losses, 0.0).sum(dim=1)
    # Times are moved off 0 where nothing is masked, so that neither value nor gradient is 0/0.
    return total / torch.where(masked.any(dim=1), t, 1.0).to(total.dtype)
