"""Losses of self-supervised encoders, and the figures that show whether one has collapsed."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from weft.errors import ConfigError

Normalisation: TypeAlias = Literal["batch", "clip"]
"""Over what the features of targets are standardised."""


def span_positions(
    batch_size: int,
    num_frames: int,
    *,
    fraction: float,
    num_span: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Bool[Tensor, "b l"]:
    """Draw spans of frames to hide, until the wanted number of each clip is hidden.

    Every clip hides equally many frames: spans are laid in the order of their draw, and the last
    one that is needed is cut short.

    Args:
        batch_size: clips.
        num_frames: frames of a clip, >= 2.
        fraction: share to hide, in (0, 1); at least one frame is hidden and one is not.
        num_span: frames of a span, >= 1.
        generator: what spans are drawn from.
        device: where the result belongs; draws are on the generator's.

    Raises:
        ConfigError: an argument is out of range.

    Source: span masking of wav2vec 2.0 and data2vec; differs in hiding equally many frames of every
    clip, so that the loss has the same weight everywhere.
    """
    if num_frames < 2 or not 0 < fraction < 1 or num_span < 1:
        raise ConfigError(
            f"spans need num_frames >= 2, fraction in (0, 1) and num_span >= 1, got {num_frames}, "
            f"{fraction} and {num_span}"
        )
    num_hidden = min(max(1, round(fraction * num_frames)), num_frames - 1)
    first = 1 - num_span
    starts = torch.rand(
        batch_size, num_frames - first, generator=generator, device=generator.device
    )
    rank = starts.argsort(dim=1).argsort(dim=1)  # of the span that starts at first, first + 1 …
    windows = rank.unfold(1, num_span, 1)  # b l num_span: spans that cover a frame
    order = windows.min(dim=2).values.double()
    # Frames of one span share a rank; the earlier frame goes first where a span is cut.
    order += torch.linspace(0, 0.5, num_frames, dtype=torch.float64, device=order.device)
    return (order.argsort(dim=1).argsort(dim=1) < num_hidden).to(device)


def standardise(
    features: Float[Tensor, "b l d"], over: Normalisation, *, epsilon: float = 1e-5
) -> Float[Tensor, "b l d"]:
    """Give each feature mean 0 and variance 1.

    Args:
        features: of frames.
        over: ``clip``: over the frames of each clip, which removes what is the same all through it,
            its level and its colour included; ``batch``: over all frames of all clips, which keeps
            that.
        epsilon: added to the variance, > 0: a constant feature becomes 0.
    """
    axes = (1,) if over == "clip" else (0, 1)
    mean = features.mean(dim=axes, keepdim=True)
    variance = features.var(dim=axes, correction=0, keepdim=True)
    return (features - mean) * torch.rsqrt(variance + epsilon)


def teacher_targets(
    layers: Sequence[Float[Tensor, "b l d"]], *, num_top: int, over: Normalisation
) -> Float[Tensor, "b l d"]:
    """Return what the student must predict: the mean of the top layers, each standardised.

    The mean is standardised again, so that errors have one scale whatever the layers share.

    Args:
        layers: the teacher's, bottom to top.
        num_top: layers to average, in [1, len(layers)].
        over: see `standardise`.

    Raises:
        ConfigError: ``num_top`` is out of range.

    Source: data2vec, section 3.3 ("targets"). Differs: ``over="batch"`` is the default of the
    recipe, because a metric must hear level and colour, which standardising over a clip removes.
    """
    if not 1 <= num_top <= len(layers):
        raise ConfigError(f"num_top must be in [1, {len(layers)}], got {num_top}")
    top = [standardise(layer.float(), over) for layer in layers[-num_top:]]
    return standardise(torch.stack(top).mean(dim=0), over)


def hidden_frames_loss(
    prediction: Float[Tensor, "b l d"],
    target: Float[Tensor, "b l d"],
    masked: Bool[Tensor, "b l"],
    *,
    beta: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the smooth L1 distance over the hidden frames, divided by ``beta``'s quadratic zone.

    Args:
        prediction: of the student.
        target: no gradient flows into it.
        masked: frames that were hidden from the student; at least one.
        beta: errors below it count squared, others linearly, > 0.

    Source: data2vec, equation 2.
    """
    return torch.nn.functional.smooth_l1_loss(
        prediction[masked].float(), target.detach()[masked].float(), beta=beta
    )


def clip_loss(prediction: Float[Tensor, "b d"], target: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the mean of ``2 - 2 cos`` between two views of the same clips, in [0, 4].

    No gradient flows into the target. Source: BYOL, equation 2, as in BYOL for audio.
    """
    cosine = torch.nn.functional.cosine_similarity(
        prediction.float(), target.detach().float(), dim=-1
    )
    return (2 - 2 * cosine).mean()


def variance_guard(features: Float[Tensor, "b d"], *, least: float = 1.0) -> Float[Tensor, ""]:
    """Return how far the standard deviations of features over the batch fall short, in [0, least].

    Source: VICReg, equation 1.
    """
    deviation = (features.float().var(dim=0) + 1e-4).sqrt()
    return torch.relu(least - deviation).mean()


def covariance_guard(features: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the squared covariances of different features, summed and divided by ``d``; >= 0.

    Source: VICReg, equation 3.
    """
    centred = features.float() - features.float().mean(dim=0)
    covariance = centred.T @ centred / (len(features) - 1)
    off = covariance.square().sum() - covariance.diagonal().square().sum()
    return off / features.shape[1]


def feature_std(features: Float[Tensor, "m d"] | Float64[Tensor, "m d"]) -> float:
    """Return the mean over features of their standard deviation over rows: near 0 in a collapse."""
    return float(features.double().std(dim=0, correction=0).mean())


def effective_rank(features: Float[Tensor, "m d"] | Float64[Tensor, "m d"]) -> float:
    """Return the exponential of the entropy of the singular values of centred features.

    In [1, d]: how many dimensions are in use. 1 where all rows lie on a line, or are equal.

    Source: Roy and Vetterli, "The effective rank", definition 1, of the centred matrix.
    """
    centred = features.double() - features.double().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    total = values.sum()
    if float(total) <= 1e-12:
        return 1.0
    share = values / total
    entropy = -(share * share.clamp_min(1e-300).log()).sum()
    return float(entropy.exp())
