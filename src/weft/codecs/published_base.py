"""Parts of published codecs: statistics of latents, whole frames, and how far a frame reaches."""

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError

MAX_FEATURES = 65536
_VARIANCES = (1e-12, 1e12)
_LEVEL = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class LatentStatistics:
    """Mean and variance of what an encoder gives, over sound like that of training."""

    mean: tuple[float, ...]
    """Of each feature."""
    variance: tuple[float, ...]
    """Of each feature, in [1e-12, 1e12]."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.mean) == len(self.variance) <= MAX_FEATURES:
            raise ConfigError(
                f"mean and variance must have the same 1 to {MAX_FEATURES} features, got "
                f"{len(self.mean)} and {len(self.variance)}"
            )
        for value in self.mean:
            if not math.isfinite(value):
                raise ConfigError(f"mean must be finite, got {value}")
        for value in self.variance:
            if not _VARIANCES[0] <= value <= _VARIANCES[1]:
                raise ConfigError(
                    f"variance must be in [{_VARIANCES[0]:g}, {_VARIANCES[1]:g}], got {value}"
                )

    @classmethod
    def from_scale(
        cls, scale: float, num_features: int, *, mean: float = 0.0
    ) -> "LatentStatistics":
        """Return the statistics of latents that have the variance 1 when multiplied by a factor.

        Args:
            scale: the factor, as published configs have it, in [1e-6, 1e6].
            num_features: of a frame.
            mean: of all features.

        Raises:
            ConfigError: the factor is out of range.

        Example:
            >>> LatentStatistics.from_scale(0.5, 2)
            LatentStatistics(mean=(0.0, 0.0), variance=(4.0, 4.0))
        """
        if not 1e-6 <= scale <= 1e6:
            raise ConfigError(f"a scale factor of latents must be in [1e-6, 1e6], got {scale}")
        return cls(mean=(float(mean),) * num_features, variance=(scale**-2,) * num_features)

    def to_json(self) -> dict[str, Any]:
        """Return both as JSON."""
        return {"mean": list(self.mean), "variance": list(self.variance)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LatentStatistics":
        """Return what `to_json` gave.

        Raises:
            ConfigError: a field is missing, unknown, or holds anything but numbers in range.
        """
        lists = [found.get("mean"), found.get("variance")]
        if {*found} != {"mean", "variance"} or not all(
            isinstance(values, list) and all(type(v) in (int, float) for v in values)
            for values in lists
        ):
            raise ConfigError(
                "statistics of latents are two lists of numbers, 'mean' and 'variance', got "
                f"{sorted(map(str, found))}"
            )
        mean, variance = (tuple(float(v) for v in values or ()) for values in lists)
        return cls(mean=mean, variance=variance)


class PublishedNetwork(nn.Module, abc.ABC):
    """A published autoencoder as it is, without statistics of its latents (interface)."""

    @property
    @abc.abstractmethod
    def sample_rate(self) -> int:
        """Samples per second that it works at."""

    @property
    @abc.abstractmethod
    def hop_length(self) -> int:
        """Samples of a frame."""

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """Numbers of a frame."""

    @property
    @abc.abstractmethod
    def num_channels(self) -> int:
        """Channels that go through it together."""

    @property
    @abc.abstractmethod
    def reach_frames(self) -> int | None:
        """How many frames on each side may change a frame; None where each may change all."""

    @property
    @abc.abstractmethod
    def statistics(self) -> LatentStatistics:
        """What is published about its latents; mean 0 and variance 1 where nothing is."""

    @abc.abstractmethod
    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        """Return latents as the network gives them, ``ceil(n / hop_length)`` frames."""

    @abc.abstractmethod
    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        """Return ``l * hop_length`` samples."""


def pad_to_frames(samples: Float[Tensor, "b c n"], hop_length: int) -> Float[Tensor, "b c m"]:
    """Return samples with silence after them, up to whole frames."""
    return nn.functional.pad(samples, (0, -samples.shape[2] % hop_length))


def fit_length(samples: Float[Tensor, "b c n"], num_samples: int) -> Float[Tensor, "b c m"]:
    """Return so many samples: what is too much is cut off the end, what lacks is silence there."""
    missing = max(0, num_samples - samples.shape[2])
    return nn.functional.pad(samples, (0, missing))[:, :, :num_samples]


@final
@dataclass(frozen=True, kw_only=True)
class Convolution:
    """What a convolution along time hears."""

    kernel: int
    """Its taps, >= 1."""
    padding: int
    """Zeros at each end, >= 0."""
    stride: int = 1
    """Steps of its output, or of its input where it is transposed, >= 1."""
    dilation: int = 1
    """Distance of its taps, >= 1."""
    is_transposed: bool = False
    """Whether it lengthens."""

    def heard(self, first: int, last: int) -> tuple[int, int]:
        """Return the first and last input that change the outputs from first to last."""
        if not self.is_transposed:
            low = first * self.stride - self.padding
            return low, last * self.stride - self.padding + (self.kernel - 1) * self.dilation
        low = first + self.padding - (self.kernel - 1) * self.dilation
        return -(-low // self.stride), (last + self.padding) // self.stride


def reach_of(
    encoder: Sequence[Convolution], decoder: Sequence[Convolution], hop_length: int
) -> int:
    """Return how many frames on each side of a frame may change it, in coding or decoding.

    Args:
        encoder: convolutions from samples to frames, in order.
        decoder: the same back.
        hop_length: samples of a frame.

    Example:
        >>> halves = Convolution(kernel=4, padding=1, stride=2)
        >>> doubles = Convolution(kernel=4, padding=1, stride=2, is_transposed=True)
        >>> reach_of([halves], [doubles], 2)
        1
    """
    first, last = 0, 0
    for layer in reversed(encoder):
        first, last = layer.heard(first, last)
    reach = max(-(first // hop_length), last // hop_length)
    first, last = 0, hop_length - 1
    for layer in reversed(decoder):
        first, last = layer.heard(first, last)
    return max(reach, -first, last)


@torch.no_grad()
def measure_reach(
    network: PublishedNetwork, *, num_frames: int = 129, tolerance: float = 0.01
) -> int:
    """Return how far from a frame a change of it is heard, with the weights that are there.

    One frame of noise is replaced by other noise, as sound and as latents; what changes further
    away than is returned is less than the tolerance, as a root mean square over a frame.

    Args:
        network: in eval mode.
        num_frames: length of the noise, >= 3; half of it is the largest result, and then means as
            much or more.
        tolerance: share of the root mean square of all latents, less their mean, or of the sound.
    """
    weights = next(network.parameters())
    hop, middle = network.hop_length, num_frames // 2
    shape = (2, network.num_channels, num_frames * hop)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, other = (_LEVEL * noise).to(weights)
    changed = plain.clone()
    here = slice(middle * hop, (middle + 1) * hop)
    changed[:, here] = other[:, here]
    latents = torch.cat([network.encode(each[None]) for each in (plain, changed, other)])
    centred = latents[0] - latents[0].mean(dim=0)
    changes = [_change(latents[1] - latents[0], centred)]
    mixed = latents[:1].clone()
    mixed[:, middle] = latents[2, middle]
    sound, heard = (network.decode(each)[0] for each in (latents[:1], mixed))
    split = [
        each.unflatten(1, (num_frames, hop)).transpose(0, 1) for each in (heard - sound, sound)
    ]
    changes.append(_change(split[0].flatten(1), split[1]))
    return max(_farthest(change > tolerance, middle) for change in changes)


def _change(difference: Float[Tensor, "l d"], whole: Tensor) -> Float[Tensor, " l"]:
    """Return the root mean square of each frame over that of a whole."""
    level = whole.double().square().mean().sqrt().clamp_min(1e-30)
    return difference.double().square().mean(dim=1).sqrt() / level


def _farthest(is_changed: Tensor, middle: int) -> int:
    found: Iterable[int] = is_changed.nonzero()[:, 0].tolist()
    return max((abs(i - middle) for i in found), default=0)
