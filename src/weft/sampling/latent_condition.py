"""What a latent network is given beside noise: one layout for training and for filling."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def num_condition(num_features: int) -> int:
    """Return how many numbers a frame's condition has.

    Example:
        >>> num_condition(64)
        130
    """
    return 2 * num_features + 2


def make_condition(
    latents: Float[Tensor, "b l d"],
    known: Bool[Tensor, "b l"],
    draft: Float[Tensor, "b l d"] | None = None,
    confidence: Float[Tensor, "b l"] | None = None,
) -> Float[Tensor, "b l e"]:
    """Return known latents, where they are known, the draft, and how sure it is.

    Args:
        latents: of the sound; unknown frames are not looked at.
        known: True where a frame is given.
        draft: latents of what may stand in the gap; known frames are not looked at.
        confidence: of the draft, in [0, 1]; 0 where there is none. Known frames count as 0.
    """
    if draft is None or confidence is None:
        draft = torch.zeros_like(latents)
        confidence = torch.zeros_like(latents[..., 0])
    sure = confidence * ~known
    has_draft = sure > 0
    return torch.cat(
        [
            latents.masked_fill(~known[..., None], 0.0),
            known[..., None].to(latents.dtype),
            draft.masked_fill(~has_draft[..., None], 0.0),
            sure[..., None].to(latents.dtype),
        ],
        dim=2,
    )
