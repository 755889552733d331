"""Times at which a Gaussian process is trained."""

from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError

TimeKind: TypeAlias = Literal["uniform", "stratified", "logit-normal"]
"""``uniform`` in [0, 1); ``stratified``: the same, one time in each of ``num`` equal parts, in
random order; ``logit-normal``: the logit is normal, which leaves the ends nearly out."""


def draw_times(
    num: int,
    kind: TimeKind,
    generator: torch.Generator,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> Float[Tensor, " b"]:
    """Draw the time of each item of a batch, in [0, 1], in 32 bits, on the generator's device.

    Args:
        num: items, >= 0.
        kind: their law.
        generator: what is drawn from.
        mean: of the logit, for ``logit-normal``; below 0 favours little noise.
        std: of the logit, > 0, for ``logit-normal``.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> times = draw_times(4, "stratified", torch.Generator().manual_seed(0))
        >>> (times * 4).floor().sort().values
        tensor([0., 1., 2., 3.])

    Source: seed 001, appendix B.1 (``uniform``); Esser et al. 2024, section 3.1
    (``logit-normal``). Differs: strata are shuffled, so that time is not tied to an item's place.
    """
    if num < 0 or kind not in get_args(TimeKind) or not std > 0:
        raise ConfigError(
            f"times need num >= 0, a kind of {get_args(TimeKind)} and std > 0, got {num}, {kind!r} "
            f"and {std}"
        )
    device = generator.device
    if kind == "logit-normal":
        normal = torch.randn(num, generator=generator, device=device)
        return torch.sigmoid(mean + std * normal)
    times = torch.rand(num, generator=generator, device=device)
    if kind == "stratified":
        places = torch.randperm(num, generator=generator, device=device)
        # Rounding may reach the next part, and 1 in the last: such times are moved back.
        times = torch.minimum((places + times) / num, torch.nextafter((places + 1) / num, times))
    return times
