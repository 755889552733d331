"""Draws from a posterior over symbols."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.errors import CheckpointError


def sharpen(
    log_probs: Float[Tensor, "r k"], *, temperature: float, top_p: float
) -> Float[Tensor, "r k"]:
    """Return normalised log probabilities after temperature and nucleus; -inf where excluded.

    Of equally probable symbols at the nucleus' edge, those of lower index are kept.

    Args:
        log_probs: need not be normalised.
        temperature: >= 0; 0 leaves the most probable symbol only.
        top_p: in (0, 1]; at least one symbol is always left. Applies after the temperature.
    """
    if temperature == 0:
        best = log_probs.argmax(dim=1, keepdim=True)
        return torch.full_like(log_probs, -torch.inf).scatter(1, best, 0.0)
    if temperature != 1:  # the maximum goes first, so that small temperatures do not overflow
        log_probs = (log_probs - log_probs.amax(dim=1, keepdim=True)) / temperature
    log_probs = torch.log_softmax(log_probs, dim=1)
    if top_p == 1:
        return log_probs
    falling = log_probs.sort(dim=1, descending=True, stable=True)
    probs = falling.values.exp()
    beyond = probs.cumsum(dim=1) - probs >= top_p  # what comes before it is enough
    kept = falling.values.masked_fill(beyond, -torch.inf)
    return torch.log_softmax(torch.empty_like(kept).scatter(1, falling.indices, kept), dim=1)


def draw_columns(weights: Float[Tensor, "r v"], uniforms: Float[Tensor, " r"]) -> Int[Tensor, " r"]:
    """Return one column of each row, drawn in proportion to its weights.

    By inverse distribution, one uniform number a row. In 64 bits: the published draw divides by
    exponential noise in 32 bits, which loses the rarest symbols.

    Args:
        weights: >= 0; rounding errors below 0 count as 0.
        uniforms: in [0, 1).

    Raises:
        CheckpointError: weights of a row are NaN, infinite, or all 0.
    """
    cumulative = weights.double().clamp_min(0).cumsum(dim=1)
    total = cumulative[:, -1]
    if not bool((torch.isfinite(total) & (total > 0)).all()):
        raise CheckpointError(
            "the network gave NaN or infinity in place of probabilities; its weights are damaged, "
            "or overflow in half precision: verify the model, or run it in 32 bits"
        )
    # Below the total, so that a last column of weight 0 is never drawn.
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
