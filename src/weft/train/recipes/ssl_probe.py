"""The class head of a self-supervised encoder: multinomial regression on frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from weft.errors import ConfigError
from weft.metrics.embedders.corpus_ssl import Head

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Weights of the squared norm that are tried; the one of the best valid likelihood is taken."""


@final
@dataclass(frozen=True, kw_only=True)
class LabelledClips:
    """Statistics of clips with classes."""

    statistics: Float[Tensor, "m e"]
    """As `weft.metrics.embedders.corpus_ssl.clip_statistics` gives them."""
    classes: Int[Tensor, " m"]
    """Class of each clip, in [0, number of classes)."""
    weights: Float[Tensor, " m"]
    """Weight of each clip; pieces of one recording share one recording's weight."""


@final
@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """A fitted head and how well it does."""

    head: Head
    """The head."""
    penalty: float
    """Weight of the squared norm that was chosen."""
    accuracy: float
    """Weighted share of valid clips whose class scores highest, in [0, 1]."""
    top3_accuracy: float
    """Weighted share of valid clips whose class is among the three that score highest."""
    nll: float
    """Weighted mean of minus the log probability of the true class, in nats."""


def fit_head(
    train: LabelledClips,
    valid: LabelledClips,
    class_names: Sequence[str],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> ProbeResult:
    """Fit a linear layer to the classes of train clips, its penalty chosen on valid ones.

    Deterministic: it starts from zero and follows the full gradient (L-BFGS, float64).

    Args:
        train: what it is fitted to.
        valid: what the penalty is chosen on.
        class_names: of the classes.
        penalties: weights of the squared norm to try.

    Raises:
        ConfigError: there are no clips on one side, or no penalty.
    """
    if not len(train.classes) or not len(valid.classes) or not penalties:
        raise ConfigError(
            f"a head needs train and valid clips and a penalty, got {len(train.classes)}, "
            f"{len(valid.classes)} and {len(penalties)}"
        )
    mean = train.statistics.double().mean(dim=0)
    scale = train.statistics.double().std(dim=0).clamp_min(1e-4)
    x = (train.statistics.double() - mean) / scale
    best: ProbeResult | None = None
    for penalty in penalties:
        weight, bias = _regress(x, train, len(class_names), penalty)
        head = Head(
            weight=(weight / scale).float(),
            bias=(bias - (weight / scale) @ mean).float(),
            class_names=tuple(class_names),
        )
        result = _judge(head, valid, penalty)
        if best is None or result.nll < best.nll:
            best = result
    assert best is not None
    return best


def _judge(head: Head, clips: LabelledClips, penalty: float) -> ProbeResult:
    logits = clips.statistics.double() @ head.weight.double().T + head.bias.double()
    share = clips.weights.double() / clips.weights.double().sum()
    true = clips.classes.long()
    order = logits.argsort(dim=1, descending=True)
    nll = torch.nn.functional.cross_entropy(logits, true, reduction="none")
    return ProbeResult(
        head=head,
        penalty=penalty,
        accuracy=float(((order[:, 0] == true) * share).sum()),
        top3_accuracy=float(((order[:, :3] == true[:, None]).any(dim=1) * share).sum()),
        nll=float((nll * share).sum()),
    )


def _regress(
    x: Float64[Tensor, "m e"], clips: LabelledClips, num_classes: int, penalty: float
) -> tuple[Float64[Tensor, "k e"], Float64[Tensor, " k"]]:
    """Return weight and bias of penalised multinomial regression."""
    weight = torch.zeros(num_classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    share = clips.weights.double() / clips.weights.double().sum()
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=150, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = x @ weight.T + bias
        nll = torch.nn.functional.cross_entropy(logits, clips.classes.long(), reduction="none")
        loss = (nll * share).sum() + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()
