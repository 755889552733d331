"""What every codec offers to the models that work on its sequences."""

import abc
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn


@final
@dataclass(frozen=True, kw_only=True)
class TokenFrames:
    """Sound as one token a frame, and what the tokens stand for."""

    codes: Int[Tensor, "b l"]
    """In [0, codebook_size)."""
    features: Float[Tensor, "b l d"]
    """What the encoder gave, before each frame was replaced by its nearest code."""


class TokenCodec(nn.Module, abc.ABC):
    """Turns mono sound into one token a frame, and back (interface).

    Frame i covers samples ``[i * hop_length, (i + 1) * hop_length)``; sound of n samples has
    ``ceil(n / hop_length)`` frames. Levels and rates are not changed by a codec: the caller
    resamples, and trims what the last frame has beyond the sound's end.
    """

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
    def codebook_size(self) -> int:
        """Number of different tokens."""

    @abc.abstractmethod
    def encode(self, samples: Float[Tensor, "b n"]) -> TokenFrames:
        """Return tokens and features of sound; ``n`` is at least 1."""

    @abc.abstractmethod
    def embed(self, codes: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Return the features that tokens stand for."""

    @abc.abstractmethod
    def decode(self, features: Float[Tensor, "b l d"]) -> Float[Tensor, "b n"]:
        """Return ``l * hop_length`` samples; features may be embedded tokens, the encoder's own, or
        a mixture of both.
        """


class LatentCodec(nn.Module, abc.ABC):
    """Turns sound into one vector a frame, and back (interface).

    Frame i covers samples ``[i * hop_length, (i + 1) * hop_length)``; sound of n samples has
    ``ceil(n / hop_length)`` frames. Latents have a variance of about 1 in each feature, over sound
    like that of training. A frame depends on frames and samples near it only, so a long sound may
    be encoded and decoded in overlapping pieces. Levels and rates are not changed by a codec: the
    caller resamples, and trims what the last frame has beyond the sound's end.
    """

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
        """Channels of sound that go through it together; with 1, channels go one by one."""

    @property
    @abc.abstractmethod
    def reach_frames(self) -> int:
        """How many frames on each side of a frame may change what is encoded or decoded there."""

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients flow through `decode`, as guidance by what is heard needs."""
        return True

    @abc.abstractmethod
    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        """Return latents of sound, the same for the same sound; ``n`` is at least 1."""

    @abc.abstractmethod
    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        """Return ``l * hop_length`` samples."""
