"""Encoder and decoder that work on samples: each of 8 layers but the first halves the rate."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.nn.convnext import KERNEL, ConvNextBlock


@final
@dataclass(frozen=True, kw_only=True)
class StridedVaeConfig:
    """Sizes of encoder and decoder; the defaults are ours where seed 001 states none."""

    num_channels: int = 2
    """Channels of sound, 1 or 2."""
    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512)
    """Features of each layer, 2 to 16 of them, each in [8, 4096]; the decoder's in reverse."""
    expansion: int = 4
    """Width inside a block as a multiple of the layer's, in [1, 8]."""
    num_features: int = 64
    """Numbers of a latent, in [1, 4096]."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.widths) <= 16 or not all(8 <= w <= 4096 for w in self.widths):
            raise ConfigError(f"widths must be 2 to 16 numbers in [8, 4096], got {self.widths}")
        for name, most in (("num_channels", 2), ("expansion", 8), ("num_features", 4096)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be in [1, {most}], got {getattr(self, name)}")

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def reach_frames(self) -> int:
        """Frames on each side of a frame that change it: half a kernel and a stride a layer."""
        reach = sum((KERNEL // 2 + 2) * 2**i for i in range(len(self.widths)))
        return -(-reach // self.hop_length)


@final
class StridedEncoder(nn.Module):
    """Samples to mean and log variance of each frame's latent.

    Source: seed 001, appendix B: 8 layers of one-dimensional ConvNeXt, halved after every layer
        but the first. Widths are not stated there.
    """

    def __init__(self, config: StridedVaeConfig) -> None:
        super().__init__()
        self.config = config
        first, widths = config.widths[0], config.widths
        self.embed = nn.Conv1d(config.num_channels, first, KERNEL, padding=KERNEL // 2)
        self.blocks = nn.ModuleList(
            ConvNextBlock(w, config.expansion * w, layer_scale=1 / len(widths)) for w in widths
        )
        self.downsample = nn.ModuleList(
            nn.Conv1d(narrow, wide, 4, stride=2, padding=1) for narrow, wide in pairwise(widths)
        )
        self.out = nn.Linear(widths[-1], 2 * config.num_features)

    def forward(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l f"]:
        """Return mean, then log variance; there is silence beyond both ends."""
        missing = -samples.shape[2] % self.config.hop_length
        x = self.embed(nn.functional.pad(samples, (0, missing)))  # b d n
        for i, block in enumerate(self.blocks):
            if i:
                x = self.downsample[i - 1](x)
            x = block(x.transpose(1, 2)).transpose(1, 2)
        posterior: Tensor = self.out(x.transpose(1, 2))
        return posterior


@final
class StridedDecoder(nn.Module):
    """Latents to samples: the encoder the other way round."""

    def __init__(self, config: StridedVaeConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.embed = nn.Linear(config.num_features, widths[0])
        self.blocks = nn.ModuleList(
            ConvNextBlock(w, config.expansion * w, layer_scale=1 / len(widths)) for w in widths
        )
        self.upsample = nn.ModuleList(
            nn.ConvTranspose1d(wide, narrow, 4, stride=2, padding=1)
            for wide, narrow in pairwise(widths)
        )
        self.out = nn.Conv1d(widths[-1], config.num_channels, KERNEL, padding=KERNEL // 2)

    def forward(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        """Return ``l * hop_length`` samples a channel."""
        x = self.embed(latents)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i < len(self.upsample):
                x = self.upsample[i](x.transpose(1, 2)).transpose(1, 2)
        samples: Tensor = self.out(x.transpose(1, 2))
        return samples.float()
