"""Sequences longer than a network's window: denoised window by window, averaged at overlaps."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from weft.errors import ConfigError
from weft.sampling.steps_gaussian import DenoiseFn

DenoiseWindowFn: TypeAlias = Callable[
    [Float[Tensor, "b w d"], Float[Tensor, " b"], int], Float[Tensor, "b w d"]
]
"""``(x, t, start) -> x0hat`` for the frames from ``start`` on, as many as ``x`` has: what the
network is told besides ``x`` is cut there."""


def windowed(denoise_fn: DenoiseFn, *, window: int, overlap: int) -> DenoiseFn:
    """Let a network that is told nothing of positions denoise sequences of any length.

    See `windowed_at`.

    Example:
        >>> smooth = windowed(lambda x, t: 0.5 * x, window=8, overlap=4)
        >>> bool(torch.allclose(smooth(torch.ones(1, 50, 2), torch.ones(1)), torch.tensor(0.5)))
        True
    """
    return windowed_at(lambda x, t, start: denoise_fn(x, t), window=window, overlap=overlap)


def windowed_at(denoise_fn: DenoiseWindowFn, *, window: int, overlap: int) -> DenoiseFn:
    """Return a function that denoises sequences of any length with windows of one length.

    Windows are equally long and lie evenly; where they overlap, estimates are averaged with weights
    that fall towards a window's ends. Sequences not longer than a window are denoised in one call,
    exactly. One window is worked on at a time, also where gradients are taken (each is then
    calculated twice), so that memory for activations does not grow with the length.

    Args:
        denoise_fn: the network, for one window.
        window: frames that it sees at once, >= 1.
        overlap: frames that neighbours share at least, in [0, window).

    Raises:
        ConfigError: a length is out of range.

    Source: Bar-Tal et al. 2023 (MultiDiffusion), equation 5, for estimates of the clean sequence.
    Differs: weights fall towards the ends of a window, where it has the least context.
    """
    starts_of_windows(window, window, overlap)  # checks

    def denoise(x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        starts = starts_of_windows(x.shape[1], window, overlap)
        if len(starts) == 1:
            return denoise_fn(x, t, 0)
        frame = torch.arange(window, device=x.device)
        weight = torch.minimum(frame, window - 1 - frame).add(1).clamp_max(overlap + 1).to(x.dtype)
        places = torch.cat([frame + start for start in starts])
        parts = []
        for start in starts:
            part = x[:, start : start + window]
            if x.requires_grad and torch.is_grad_enabled():
                found = checkpoint(
                    denoise_fn, part, t, start, use_reentrant=False, preserve_rng_state=False
                )
            else:
                found = denoise_fn(part, t, start)
            parts.append(found.to(x) * weight[:, None])
        total = torch.zeros_like(x).index_add(1, places, torch.cat(parts, dim=1))
        norm = torch.zeros_like(x[0, :, 0]).index_add(0, places, weight.repeat(len(starts)))
        return total / norm[:, None]

    return denoise


def starts_of_windows(num_frames: int, window: int, overlap: int) -> list[int]:
    """Return where windows start, as few as have the overlap; one if the sequence fits into it.

    Example:
        >>> starts_of_windows(20, 8, 4)
        [0, 4, 8, 12]
        >>> starts_of_windows(5, 8, 4)
        [0]
    """
    if window < 1 or not 0 <= overlap < window:
        raise ConfigError(
            "a window must have at least one frame and its overlap fewer frames than it, got "
            f"window={window} and overlap={overlap}"
        )
    left = num_frames - window
    if left <= 0:
        return [0]
    number = -(-left // (window - overlap))
    return [left * i // number for i in range(number + 1)]
