"""Losses of generators and discriminators that are trained against each other.

Logits are high for sound that seems recorded. Every function is a mean over places and items, and
over sub-discriminators a mean (Vocos, WavTokenizer's own discriminators: /5 and /3) or a sum (DAC).
Everything is summed up in float32, whatever the verdicts are in.

A step of each side, with ``judge`` a module of `weft.nn.discriminators`::

    loss = discriminator_loss(judge(reference), judge(estimate.detach()))

    with torch.no_grad():
        real = judge(reference)
    with frozen(judge):
        fake = judge(estimate)
    loss = generator_loss(fake) + feature_matching_loss(real, fake)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError
from weft.nn.discriminators import Verdict

Kind: TypeAlias = Literal["hinge", "least_squares"]
"""``hinge``: nothing is gained beyond a margin of 1; ``least_squares``: recorded 1, decoded 0."""
Over: TypeAlias = Literal["mean", "sum"]
"""How sub-discriminators are put together."""


def discriminator_loss(
    real: Sequence[Verdict], fake: Sequence[Verdict], *, kind: Kind = "hinge", over: Over = "mean"
) -> Float[Tensor, ""]:
    """Return what a discriminator minimises, >= 0.

    ``hinge``: the means of ``max(0, 1 - real)`` and of ``max(0, 1 + fake)``, added; 2 where all
    logits are 0. ``least_squares``: those of ``(1 - real)²`` and ``fake²``; 1 there.

    Args:
        real: verdicts on recordings.
        fake: verdicts on decoded sound, which must have been detached: gradients flow back through
            both.
        kind: see `Kind`.
        over: see `Over`.

    Raises:
        ShapeError: no verdicts, or not equally many.
        ConfigError: ``kind`` or ``over`` is unknown.

    Source: hinge: Vocos, `DiscriminatorLoss`; least squares: LSGAN, equation 9, as in HiFi-GAN and
    DAC.
    """
    _check_pair(real, fake)
    _check_kind(kind)
    losses = []
    for truth, guess in zip(real, fake, strict=True):
        high, low = truth.logits.float(), guess.logits.float()
        if kind == "hinge":
            losses.append(torch.relu(1 - high).mean() + torch.relu(1 + low).mean())
        else:
            losses.append((1 - high).square().mean() + low.square().mean())
    return _reduce(losses, over)


def generator_loss(
    fake: Sequence[Verdict], *, kind: Kind = "hinge", over: Over = "mean"
) -> Float[Tensor, ""]:
    """Return what a generator minimises, >= 0: its sound shall seem recorded.

    ``hinge``: the mean of ``max(0, 1 - fake)``, so logits above 1 are high enough (SoundStream and
    Vocos; others take ``-fake``); ``least_squares``: of ``(1 - fake)²``. Both are 1 where all
    logits are 0.

    Args:
        fake: verdicts on decoded sound.
        kind: see `Kind`.
        over: see `Over`.

    Raises:
        ShapeError: no verdicts.
        ConfigError: ``kind`` or ``over`` is unknown.
    """
    _check_some(fake)
    _check_kind(kind)
    logits = [guess.logits.float() for guess in fake]
    if kind == "hinge":
        return _reduce([torch.relu(1 - x).mean() for x in logits], over)
    return _reduce([(1 - x).square().mean() for x in logits], over)


def feature_matching_loss(
    real: Sequence[Verdict], fake: Sequence[Verdict], *, over: Over = "mean"
) -> Float[Tensor, ""]:
    """Return the mean absolute difference of each feature map, summed over maps, >= 0.

    Args:
        real: verdicts on recordings; no gradient flows into them.
        fake: verdicts on decoded sound of the same length.
        over: see `Over`; maps of one sub-discriminator are summed either way.

    Raises:
        ShapeError: no verdicts, or not equally many, or maps that differ in shape.
        ConfigError: ``over`` is unknown.

    Source: MelGAN, equation 4, as in Vocos and DAC. Which maps count is the discriminator's
    setting. Differs: the features of recordings are detached in both.
    """
    _check_pair(real, fake)
    losses = []
    for truth, guess in zip(real, fake, strict=True):
        if [x.shape for x in truth.features] != [x.shape for x in guess.features]:
            raise ShapeError(
                "feature maps of recorded and decoded sound must have the same shapes, got "
                f"{[tuple(x.shape) for x in truth.features]} and "
                f"{[tuple(x.shape) for x in guess.features]}; cut both sounds to one length"
            )
        pairs = zip(truth.features, guess.features, strict=True)
        losses.append(
            torch.stack([(y.float() - x.detach().float()).abs().mean() for x, y in pairs]).sum()
        )
    return _reduce(losses, over)


@contextmanager
def frozen(discriminator: nn.Module) -> Iterator[None]:
    """Within, let the parameters take no gradients from what is computed with them.

    For the generator's step: gradients flow through the discriminator to the sound, but none are
    computed for weights that this step does not change, nor left behind for the next.
    Parameters that took none before take none after.
    """
    trained = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _reduce(losses: list[Tensor], over: str) -> Float[Tensor, ""]:
    if over not in ("mean", "sum"):
        raise ConfigError(f"over must be 'mean' or 'sum', got {over!r}")
    stacked = torch.stack(losses)
    return stacked.mean() if over == "mean" else stacked.sum()


def _check_kind(kind: str) -> None:
    if kind not in ("hinge", "least_squares"):
        raise ConfigError(f"kind must be 'hinge' or 'least_squares', got {kind!r}")


def _check_some(verdicts: Sequence[Verdict]) -> None:
    if not verdicts:
        raise ShapeError("a loss needs the verdict of one sub-discriminator or more, got none")


def _check_pair(real: Sequence[Verdict], fake: Sequence[Verdict]) -> None:
    _check_some(real)
    if len(real) != len(fake):
        raise ShapeError(
            f"recorded and decoded sound need verdicts of the same sub-discriminators, got "
            f"{len(real)} and {len(fake)}"
        )
