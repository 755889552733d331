"""Folding: samples as overlapping frames, so that a network over samples is short and wide."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError, ShapeError


def num_folds(num_samples: int, frame_length: int, multiple: int = 1) -> int:
    """Return how many frames sound is folded into: those that cover it twice, or a few more.

    Args:
        num_samples: of the sound, >= 1.
        frame_length: samples of a frame, even, >= 4.
        multiple: the number is rounded up to a multiple of this, >= 1.

    Example:
        >>> num_folds(2**19, 32), num_folds(2**19, 32, multiple=64)
        (32769, 32832)
    """
    _check(frame_length)
    covering = math.ceil(num_samples / (frame_length // 2)) + 1
    return math.ceil(covering / multiple) * multiple


def fold(
    samples: Float[Tensor, "b c n"], frame_length: int, *, multiple: int = 1
) -> Float[Tensor, "b e l"]:
    """Cut sound into frames that overlap by half, and stack the samples of a frame as features.

    Feature ``channel * frame_length + i`` of frame ``k`` is sample ``(k - 1) * hop + i`` of that
    channel, where ``hop`` is half a frame; what lies outside the sound is silence. Every sample is
    in two frames.

    Args:
        samples: sound of any length >= 1.
        frame_length: samples of a frame, even, >= 4; the paper's is 32.
        multiple: see `num_folds`.

    Source: seed 001, "Waveform model". Differs: the sound is padded to a whole multiple of the
    network's stride.
    """
    b, c, n = samples.shape
    hop = frame_length // 2
    num_frames = num_folds(n, frame_length, multiple)
    padded = F.pad(samples, (hop, num_frames * hop - n))
    blocks = padded.reshape(b, c, num_frames + 1, hop)
    frames = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)  # b c l frame
    return frames.transpose(2, 3).reshape(b, c * frame_length, num_frames)


def unfold(
    frames: Float[Tensor, "b e l"], *, num_channels: int, num_samples: int
) -> Float[Tensor, "b c n"]:
    """Weight frames by a periodic Hamming window and add them where they overlap.

    Windows of that kind add up to 1.08 at half a frame, and the sum is divided by it: what `fold`
    gave comes back, exactly but for rounding.

    Args:
        frames: at least `num_folds` of ``num_samples``; the rest is left out.
        num_channels: of the sound, >= 1.
        num_samples: of the sound, >= 1.

    Raises:
        ShapeError: too few frames, or their features are not those of so many channels.

    Source: seed 001, "Waveform model"; the division by 1.08 is implied there.
    """
    b, e, num_frames = frames.shape
    if e % num_channels:
        raise ShapeError(f"{e} features cannot be those of {num_channels} channels")
    frame_length = e // num_channels
    if num_frames < num_folds(num_samples, frame_length):
        raise ShapeError(
            f"{num_samples} samples need {num_folds(num_samples, frame_length)} frames of "
            f"{frame_length}, got {num_frames}"
        )
    hop = frame_length // 2
    rise = hamming_rise(frame_length).to(frames)
    parts = frames.reshape(b, num_channels, 2, hop, num_frames)
    first = F.pad(parts[:, :, 0] * rise[:, None], (0, 1))
    second = F.pad(parts[:, :, 1] * (1 - rise)[:, None], (1, 0))
    blocks = (first + second).transpose(2, 3)  # b c l+1 hop
    samples = blocks.reshape(b, num_channels, (num_frames + 1) * hop)
    return samples[:, :, hop : hop + num_samples]


def hamming_rise(frame_length: int) -> Float[Tensor, " h"]:
    """Return the first half of a periodic Hamming window over 1.08; the second is 1 minus it.

    Example:
        >>> hamming_rise(4).tolist()
        [0.07407407462596893, 0.5]
    """
    _check(frame_length)
    phase = 2 * math.pi * torch.arange(frame_length // 2, dtype=torch.float64) / frame_length
    return ((0.54 - 0.46 * torch.cos(phase)) / 1.08).float()


def _check(frame_length: int) -> None:
    if frame_length < 4 or frame_length % 2:
        raise ConfigError(f"frame_length must be even and >= 4, got {frame_length}")
