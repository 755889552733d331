"""Score entropy of the absorbing process: how far log-scores are from those of the data.

Scores, noise and the absorbing state are those of `weft.process` and `weft.heads`. Losses are sums
over positions, as in the papers, not means: 300 masked tokens weigh 300 times what one does.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.process.schedules import log_expm1


def score_entropy(
    log_score: Float[Tensor, "b l v"],
    tokens: Int[Tensor, "b l"],
    clean: Int[Tensor, "b l"],
    total_noise: Float[Tensor, " b"],
) -> Float[Tensor, "b l"]:
    """Return the score entropy of each position, >= 0; 0 where it is visible.

    With ``r = 1 / (exp(total_noise) - 1)`` a masked position has
    ``sum_y s_y - r log s_clean + r (log r - 1)``, the sum over real symbols. It is taken as
    ``r (sum_y s_y / r - log(s_clean / r) - 1)``: large terms that cancel are never formed. For a
    consistent score, ``s = r p``, this is ``-r log p_clean``.

    Args:
        log_score: the absorbing state's column is the last, and is not used.
        tokens: the corrupted sequence; v - 1 is the absorbing state.
        clean: the sequence before, in [0, v); v - 1 only for a codec whose last code coincides with
            the absorbing state, as in the released code, where it counts with a log-score of 0.
        total_noise: cumulative noise of each item, > 0 where anything is masked.

    Source: SEDD, "score entropy" with its denoising targets, for the "absorb" matrix; the released
    code of AIDD (seed 000).
    """
    masked = tokens == log_score.shape[-1] - 1
    # Only masked rows are touched: others may hold anything, and their exponentials overflow.
    rows = log_score[masked]  # m v
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    noise = log_expm1(total_noise.to(rows.dtype))[:, None].expand(masked.shape)[masked]
    relative = rows + noise[:, None]  # log of s / r
    target = relative.gather(1, clean[masked][:, None].long())[:, 0]
    entropy = torch.exp(-noise) * (relative[:, :-1].exp().sum(dim=1) - target - 1)
    return entropy.new_zeros(masked.shape).masked_scatter(masked, entropy)


def dwdse(
    log_score: Float[Tensor, "b l v"],
    tokens: Int[Tensor, "b l"],
    clean: Int[Tensor, "b l"],
    total_noise: Float[Tensor, " b"],
    noise_rate: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Return the diffusion-weighted score entropy of each item, summed over positions.

    With a consistent score and the log-linear schedule it equals `masked_cross_entropy` exactly.
    Its weights are those of tokens that are masked independently of each other; with other masks it
    trains the same posterior, but is no bound of a likelihood.

    Args:
        log_score: see `score_entropy`.
        tokens: see `score_entropy`.
        clean: see `score_entropy`.
        total_noise: see `score_entropy`.
        noise_rate: derivative of the noise by time, > 0.

    Source: SEDD, "diffusion-weighted denoising score entropy"; AIDD (seed 000), training loss.
    """
    entropy = score_entropy(log_score, tokens, clean, total_noise)
    return noise_rate.to(entropy.dtype) * entropy.sum(dim=1)
