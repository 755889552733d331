"""From a network's output to a distribution over symbols, or to scores of the absorbing process.

A network puts out ``v = k + 1`` numbers a frame: one for each real symbol, one for the absorbing
state, which stands last. Two things can be made of them:

* the posterior of the clean token: a softmax over the real symbols;
* log-scores, the logarithms of ratios ``p_t(y) / p_t(x)`` of neighbouring sequences. Where ``x`` is
  masked, the exact score of a real symbol is its posterior divided by ``exp(total_noise) - 1``.

A posterior is normalised and a score need not be; that is all that tells them apart at masked
frames.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.schedules import log_expm1

Prediction: TypeAlias = Literal["logits", "log_score"]
"""What a network's output means."""


def log_probs_to_log_score(
    log_probs: Float[Tensor, "b l k"],
    tokens: Int[Tensor, "b l"],
    total_noise: Float[Tensor, " b"],
) -> Float[Tensor, "b l v"]:
    """Return the score that is consistent with a posterior.

    Args:
        log_probs: normalised, of the real symbols.
        tokens: the corrupted sequence, in [0, k].
        total_noise: cumulative noise of each item, > 0.

    Returns:
        At masked frames ``log_probs - log(exp(total_noise) - 1)``. The entry of the frame's own
        symbol is 0; a visible frame has -inf everywhere else, because it never changes.
    """
    num_symbols = log_probs.shape[-1]
    shifted = log_probs - log_expm1(total_noise.to(log_probs.dtype))[:, None, None]
    real = shifted.masked_fill((tokens != num_symbols)[:, :, None], -torch.inf)
    log_score = torch.nn.functional.pad(real, (0, 1), value=-torch.inf)
    return log_score.scatter(2, tokens[:, :, None].long(), 0.0)


def log_score_to_log_probs(log_score: Float[Tensor, "b l v"]) -> Float[Tensor, "b l k"]:
    """Return the posterior that a score stands for: its real symbols, normalised.

    The noise drops out. At visible frames the result is certain of the frame's own symbol if the
    score is consistent (`log_probs_to_log_score`); published networks are not trained there.
    """
    return torch.log_softmax(log_score[..., :-1], dim=-1)


@final
@dataclass(frozen=True, kw_only=True)
class CategoricalHead:
    """What a network's output means; it has no parameters.

    Example:
        >>> head = CategoricalHead(codebook_size=2, prediction="log_score")
        >>> head.log_probs(torch.zeros(1, 1, 3), torch.ones(1)).exp()
        tensor([[[0.5000, 0.5000]]])

    Source: ``logits``: MDLM, "SUBS" parameterisation, with the absorbing state's column left out.
    ``log_score``: the released networks of SEDD and of AIDD (seed 000).
    """

    codebook_size: int
    """Number of real symbols k, >= 2."""
    prediction: Prediction = "logits"
    """Whether the output is read as logits, or as log-scores that need no normalisation."""

    def __post_init__(self) -> None:
        if self.codebook_size < 2:
            raise ConfigError(f"codebook_size must be at least 2, got {self.codebook_size}")
        if self.prediction not in get_args(Prediction):
            raise ConfigError(
                f"prediction must be one of {get_args(Prediction)}, got {self.prediction!r}"
            )

    def log_probs(
        self, raw: Float[Tensor, "b l v"], total_noise: Float[Tensor, " b"]
    ) -> Float[Tensor, "b l k"]:
        """Return the posterior of the clean token, normalised over the real symbols.

        The same for both predictions: what `log_score` adds is equal for all symbols, so the noise
        drops out. Meaningless at visible frames; take their own symbol.

        Args:
            raw: of the network.
            total_noise: cumulative noise of each item, >= 0; unused, see above.

        Raises:
            ShapeError: ``raw`` has not ``codebook_size + 1`` columns.
        """
        return torch.log_softmax(self._checked(raw)[..., :-1], dim=-1)

    def log_score(
        self,
        raw: Float[Tensor, "b l v"],
        tokens: Int[Tensor, "b l"],
        total_noise: Float[Tensor, " b"],
    ) -> Float[Tensor, "b l v"]:
        """Return log-scores; the entry of a frame's own symbol is 0.

        ``log_score`` gives ``raw - log(exp(total_noise) - 1) - log(k)`` at all frames, as
        published: an output of zeros is then the uniform posterior. ``logits`` gives the consistent
        score, see `log_probs_to_log_score`.

        Args:
            raw: of the network.
            tokens: the corrupted sequence, in [0, k].
            total_noise: cumulative noise of each item, > 0.

        Raises:
            ShapeError: ``raw`` has not ``codebook_size + 1`` columns.
        """
        if self.prediction == "logits":
            return log_probs_to_log_score(self.log_probs(raw, total_noise), tokens, total_noise)
        raw = self._checked(raw)
        shift = log_expm1(total_noise.to(raw.dtype)) + math.log(self.codebook_size)
        return (raw - shift[:, None, None]).scatter(2, tokens[:, :, None].long(), 0.0)

    def _checked(self, raw: Float[Tensor, "b l v"]) -> Float[Tensor, "b l v"]:
        """Return the output in at least 32 bits."""
        if raw.shape[-1] != self.codebook_size + 1:
            raise ShapeError(
                f"the network puts out {raw.shape[-1]} columns, needed are codebook_size + 1 = "
                f"{self.codebook_size + 1}: one a symbol and one for the absorbing state"
            )
        return raw.to(torch.promote_types(raw.dtype, torch.float32))
