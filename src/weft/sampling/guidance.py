"""Guidance: the gradient of what is wanted of a result, taken through the network's estimate.

A loss is a distance of the denoised estimate ``x0hat(x, t)`` to what is wanted. Its gradient with
respect to ``x`` says how to change the noisy sequence. It needs no training.

Distances are sums over elements, not means: with means the published step sizes do nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError, DivergenceError, ShapeError
from weft.sampling.measure import Operator
from weft.sampling.steps_gaussian import DenoiseFn

Normalisation: TypeAlias = Literal["sum", "dps"]
Consistency: TypeAlias = Literal["clean", "noised", "x0", "end", "none"]

PUBLISHED_STEPS = 50
"""The number of steps that the published step sizes are for."""


@final
@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """How what is known and what is wanted enter the sampler.

    Source: seed 001, algorithms 1 and 2. Differs: the step size is scaled by 50 / steps, because a
    fixed one guides ten times too much at 500 steps.
    """

    step_size: float = 3e-2
    """Of the gradient at 50 steps, in [0, 1000]; other numbers of steps scale it, so that all of
    them together guide as much. Published: 0.03 for latents, 0.003 for waveforms. With
    ``normalisation="dps"`` good values are near 1."""
    normalisation: Normalisation = "sum"
    """``sum``: the gradient of the weighted sum of distances (published). ``dps``: the gradient of
    squared distances over the root of their sum (Chung et al. 2023, posterior sampling)."""
    consistency: Consistency = "noised"
    """How known frames are put back at every step: ``clean``: as they are, though all else is noisy
    (published); ``noised``: with the noise of the step; ``x0``: into the denoised estimate;
    ``end``: only in the result; ``none``: not at all."""
    resampling: int = 1
    """How often each step is done, in [1, 100]; between, noise is added back (RePaint)."""

    def __post_init__(self) -> None:
        if not 0 <= self.step_size <= 1000:
            raise ConfigError(f"step_size must be in [0, 1000], got {self.step_size}")
        if not 1 <= self.resampling <= 100:
            raise ConfigError(f"resampling must be in [1, 100], got {self.resampling}")
        for name, kinds in (("normalisation", Normalisation), ("consistency", Consistency)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}"
                )


class GuidanceLoss(ABC):
    """A distance of a denoised estimate to what is wanted of it (interface)."""

    @abstractmethod
    def distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        """Return one distance an item, >= 0, summed over elements; differentiable."""

    def squared_distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        """Return what ``normalisation="dps"`` takes: twice a negative log-likelihood, about."""
        return self.distance(x0hat).square()


@final
@dataclass(frozen=True, kw_only=True)
class ReconstructionLoss(GuidanceLoss):
    """The estimate measures what was measured: the sum of absolute differences.

    Source: seed 001, table 2, tasks "continuation" and "infill" (L1).
    """

    operator: Operator
    target: Float[Tensor, "b m d"]
    """What the operator shall find."""

    def distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        return self._difference(x0hat).abs().sum((1, 2))

    def squared_distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        return self._difference(x0hat).square().sum((1, 2))

    def _difference(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, "b m d"]:
        found = self.operator.apply(x0hat)
        if found.shape != self.target.shape:
            raise ShapeError(
                f"the target has the shape {tuple(self.target.shape)}, what is measured has "
                f"{tuple(found.shape)}; make the target with the operator's `apply`"
            )
        return found - self.target.to(found)


@final
@dataclass(frozen=True, kw_only=True)
class EmbedderLoss(GuidanceLoss):
    """The estimate has an embedding near those of references: the mean Euclidean distance.

    The distance is not squared, so that its gradient in the embedder's space has unit length per
    reference, whatever the embedder's scale. The mean over references keeps one step size good for
    any number of them.

    Source: seed 001, table 2, task "embedder" (L2, one reference).
    """

    embed_fn: Callable[[Tensor], Float[Tensor, "b m"]]
    """From sequences, or from the sound that ``to_sound`` makes of them, to embeddings.
    Differentiable; called in 32 bits, outside autocast."""
    targets: Float[Tensor, "r m"]
    """Embeddings of the references, at least one."""
    to_sound: Callable[[Float[Tensor, "b l d"]], Tensor] | None = None
    """From sequences to what ``embed_fn`` takes, for instance a codec's decoder; None: as is."""

    def __post_init__(self) -> None:
        if len(self.targets) == 0:
            raise ShapeError("an embedder needs at least one reference, got none")

    def distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        found = self.embed_fn(x0hat if self.to_sound is None else self.to_sound(x0hat))
        if found.shape != (len(x0hat), self.targets.shape[1]):
            raise ShapeError(
                f"the embedder gave the shape {tuple(found.shape)} for {len(x0hat)} items, but "
                f"references have {self.targets.shape[1]} values; embed both alike"
            )
        difference = found[:, None] - self.targets.to(found)[None]  # b r m
        return torch.linalg.vector_norm(difference, dim=2).mean(dim=1)


@final
@dataclass(frozen=True, kw_only=True)
class ClassifierLoss(GuidanceLoss):
    """The estimate has the wanted classes: the sum of binary cross-entropies.

    Classes that are neither wanted nor unwanted are left out by ``logits_fn``.

    Source: seed 001, table 2, task "classifier" (several labels may hold at once).
    """

    logits_fn: Callable[[Tensor], Float[Tensor, "b m"]]
    """From sequences, or from sound, to logits of classes. Differentiable; called in 32 bits,
    outside autocast."""
    targets: Float[Tensor, "b m"]
    """Wanted probability of each class, in [0, 1]."""
    to_sound: Callable[[Float[Tensor, "b l d"]], Tensor] | None = None
    """From sequences to what ``logits_fn`` takes; None: as is."""

    def __post_init__(self) -> None:
        if not bool(((self.targets >= 0) & (self.targets <= 1)).all()):
            raise ConfigError(
                f"wanted probabilities must be in [0, 1], got {float(self.targets.min())} to "
                f"{float(self.targets.max())}"
            )

    def distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        found = self.logits_fn(x0hat if self.to_sound is None else self.to_sound(x0hat))
        if found.shape != self.targets.shape:
            raise ShapeError(
                f"the classifier gave the shape {tuple(found.shape)}, wanted probabilities have "
                f"{tuple(self.targets.shape)}; give one row an item and one value a class"
            )
        return torch.nn.functional.binary_cross_entropy_with_logits(
            found, self.targets.to(found), reduction="none"
        ).sum(dim=1)

    def squared_distance(self, x0hat: Float[Tensor, "b l d"]) -> Float[Tensor, " b"]:
        return self.distance(x0hat)  # a cross-entropy is a negative log-likelihood as it stands


@final
@dataclass(frozen=True, kw_only=True)
class Weighted:
    """One of several losses."""

    loss: GuidanceLoss
    weight: float = 1.0
    """Of its distance, in [0, 1e6]; 0 leaves it out."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1e6:
            raise ConfigError(f"the weight of a loss must be in [0, 1e6], got {self.weight}")


@final
@dataclass(frozen=True, kw_only=True)
class Guided:
    """What the network makes of a noisy sequence, and where guidance wants that to go."""

    x0hat: Float[Tensor, "b l d"]
    """The denoised estimate, untouched by guidance."""
    gradient: Float[Tensor, "b l d"] | None
    """Of the losses with respect to the noisy sequence; None: there is no guidance."""


def guided_estimate(
    denoise_fn: DenoiseFn,
    x: Float[Tensor, "b l d"],
    t: Float[Tensor, " b"],
    *,
    losses: Sequence[Weighted] = (),
    normalisation: Normalisation = "sum",
) -> Guided:
    """Call the network once and differentiate the losses through its estimate.

    Without losses (or with weights of 0 only) there is no backward pass. Parameters of the network
    get no gradients; freeze them all the same, it saves memory. Works inside `torch.no_grad`.

    Args:
        denoise_fn: from noisy sequence and time to the estimate of the clean one; items may not
            depend on each other.
        x: noisy sequence at time ``t``.
        t: one time an item.
        losses: what is wanted; none are allowed.
        normalisation: see `GuidanceConfig`.

    Raises:
        ConfigError: there are losses, but `torch.inference_mode` is on.
        DivergenceError: the estimate or the gradient is NaN or infinite.
        ShapeError: the estimate has another shape than the sequence, or a loss gave other than one
            distance an item.

    Source: seed 001, algorithm 1, with A of the estimate. A of ``x`` itself, the text's other
    reading, has no gradient where nothing is known.
    """
    active = [w for w in losses if w.weight > 0]
    if not active:
        with torch.no_grad():
            x0hat = _checked(denoise_fn(x.detach(), t), x)
        return Guided(x0hat=x0hat, gradient=None)
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "guidance needs gradients, which torch.inference_mode forbids; call it within "
            "torch.no_grad or without either"
        )
    with torch.enable_grad():
        noisy = x.detach().requires_grad_()
        x0hat = _checked(denoise_fn(noisy, t), x)
        with torch.autocast(x.device.type, enabled=False):
            total = _total(x0hat, active, normalisation)
        (gradient,) = torch.autograd.grad(total.sum(), noisy)
    if not bool(gradient.isfinite().all()):
        raise DivergenceError(
            "the gradient of the guidance is NaN or infinite; take a smaller step_size, or a loss "
            "that is smooth where the estimate is silent"
        )
    return Guided(x0hat=x0hat.detach(), gradient=gradient.to(x))


def _total(
    x0hat: Float[Tensor, "b l d"], losses: Sequence[Weighted], normalisation: Normalisation
) -> Float[Tensor, " b"]:
    """Return the scalar of each item whose gradient guides it."""
    total = x0hat.new_zeros(len(x0hat))
    for weighted in losses:
        loss = weighted.loss
        found = loss.distance(x0hat) if normalisation == "sum" else loss.squared_distance(x0hat)
        if found.shape != total.shape:
            raise ShapeError(
                f"a loss gave the shape {tuple(found.shape)} for {len(x0hat)} items; sum over all "
                "elements of an item, and over no items"
            )
        total = total + weighted.weight * found
    if normalisation == "dps":
        # The divisor is a constant of the step, and what is reached already needs no gradient.
        total = total / total.detach().sqrt().clamp_min(torch.finfo(total.dtype).tiny ** 0.5)
    return total


def _checked(x0hat: Tensor, x: Tensor) -> Tensor:
    """Return the network's output in the dtype of the sequence."""
    if x0hat.shape != x.shape:
        raise ShapeError(
            f"the network's estimate has the shape {tuple(x0hat.shape)}, but the sequence has "
            f"{tuple(x.shape)}; it must give one vector a frame"
        )
    if not bool(x0hat.isfinite().all()):
        raise DivergenceError(
            "the network's estimate is NaN or infinite; are its weights whole, and is its input "
            "scaled to unit variance? In half precision, try float32"
        )
    return x0hat.to(x)


def scaled_step_size(config: GuidanceConfig, num_steps: int) -> float:
    """Return the step size of each of ``num_steps`` steps.

    Example:
        >>> scaled_step_size(GuidanceConfig(step_size=0.03), 500)
        0.003
    """
    return config.step_size * PUBLISHED_STEPS / num_steps
