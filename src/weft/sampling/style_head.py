"""A small network that hears style in latents: guidance then needs no way back through a decoder.

Source: LatCH (2603.04366), heads on latents for guidance. Differs: the head is given the denoised
estimate, at no time of its own, and predicts the frames of an embedder, so that what is heard can
be counted in a part of a sequence; a fifteenth of the size.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.checkpoint import load_into, read_config, write_model
from weft.codecs.base import LatentCodec
from weft.errors import CheckpointError, ConfigError
from weft.nn.convnext import ConvNextBlock
from weft.sampling.style_embedder import StyleVector, pool

KIND: Final = "style-head"
"""Key of such models in ``model.json``."""

STRIDE: Final = 4
"""Latents of one frame of features."""


@final
@dataclass(frozen=True, kw_only=True)
class StyleHeadConfig:
    """What a head listens to, and its size."""

    sample_rate: int = 44100
    """Of the codec, in Hz, in [1000, 768000]."""
    hop_length: int = 512
    """Of the codec, in samples, in [1, 65536]."""
    num_features: int = 64
    """Of the codec, in [1, 4096]."""
    num_dims: int = 192
    """Of the embedder, in [1, 4096]."""
    width: int = 120
    """Features of a frame inside, in [8, 1024]."""
    num_layers: int = 4
    """ConvNeXt blocks, in [1, 32]."""
    expansion: int = 3
    """Width inside a block over that outside, in [1, 8]."""
    embedder: str = ""
    """Digest of the embedder that it learned from; letters and digits, at most 64."""

    def __post_init__(self) -> None:
        bounds = {
            "sample_rate": (1000, 768_000),
            "hop_length": (1, 65_536),
            "num_features": (1, 4096),
            "num_dims": (1, 4096),
            "width": (8, 1024),
            "num_layers": (1, 32),
            "expansion": (1, 8),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{name} must be whole and in [{low}, {high}], got {value!r}")
        if len(self.embedder) > 64 or not (self.embedder + "0").isalnum():
            raise ConfigError(
                f"embedder must be at most 64 letters and digits, got {self.embedder!r}"
            )


@final
class StyleHead(nn.Module):
    """Predicts the embedder's frames from latents."""

    def __init__(self, config: StyleHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(config.num_features, config.width, 2 * STRIDE, stride=STRIDE)
        self.blocks = nn.ModuleList(
            ConvNextBlock(
                config.width, config.expansion * config.width, layer_scale=1 / config.num_layers
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.num_dims)

    def forward(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b f e"]:
        """Return one frame of features for every `STRIDE` latents, the last ones perhaps fewer."""
        missing = -latents.shape[1] % STRIDE
        half = STRIDE // 2
        padded = nn.functional.pad(
            latents.transpose(1, 2), (half, half + missing), mode="replicate"
        )
        x = self.stem(padded).transpose(1, 2)  # b f w
        for block in self.blocks:
            x = block(x)
        frames: Tensor = self.out(self.norm(x))
        return frames

    def hear(
        self, latents: Float[Tensor, "b l d"], weights: Float[Tensor, "#b l"] | None = None
    ) -> StyleVector:
        """Return mean and deviation of the predicted frames.

        Args:
            latents: clean, or a denoised estimate.
            weights: how much what is heard in each latent counts; None: all alike.
        """
        frames = self(latents)
        return pool(frames, None if weights is None else pool_weights(weights))

    def check(self, codec: LatentCodec) -> None:
        """See that a codec's latents can be those that the head learned from.

        Raises:
            ConfigError: they cannot.
        """
        own = (self.config.sample_rate, self.config.hop_length, self.config.num_features)
        found = (codec.sample_rate, codec.hop_length, codec.num_features)
        if own != found:
            raise ConfigError(
                "the style head is for another codec: sample rate, hop and features are "
                f"{own}, the codec's {found}; train one for it ('weft train style-head')"
            )


def pool_weights(weights: Float[Tensor, "b l"]) -> Float[Tensor, "b f"]:
    """Return the weights of a head's frames, given those of latents.

    Example:
        >>> pool_weights(torch.tensor([[1.0, 1, 1, 1, 0, 1]])).tolist()
        [[4.0, 1.0]]
    """
    padded = nn.functional.pad(weights, (0, -weights.shape[1] % STRIDE))
    return padded.unflatten(1, (-1, STRIDE)).sum(dim=2)


def write_style_head(
    folder: Path, head: StyleHead, *, facts: Mapping[str, Any] | None = None
) -> str:
    """Write a head in 16 bits; a card for people, ``README.md``, is the caller's.

    Args:
        folder: exists; a model that is there is replaced.
        head: trained.
        facts: JSON to stand in ``model.json``.

    Returns:
        The model's digest.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: it cannot be written.
    """
    settings = {"kind": KIND, "head": asdict(head.config), "facts": dict(facts or {})}
    return write_model(folder, config=settings, tensors=head.state_dict(), dtype=torch.float16)


def read_style_head(folder: Path) -> StyleHead:
    """Return the head of a folder, on the CPU, in float32 and eval mode, frozen.

    Raises:
        CheckpointError: the folder holds none, it is damaged, or its settings cannot be used.
    """
    found = read_config(folder)
    try:
        if found["kind"] != KIND:
            raise ConfigError(f"its kind is {found['kind']!r}, not {KIND!r}")
        config = StyleHeadConfig(**found["head"])
    except (ConfigError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'model.json'} holds no style head that can be used: {error}"
        ) from error
    with torch.random.fork_rng(devices=[]):  # weights are drawn in vain, and disturb no one's draws
        head = StyleHead(config)
    load_into(head, folder)
    return head.eval().requires_grad_(False)
