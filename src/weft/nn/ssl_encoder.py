"""The encoder of sound that learns without labels: log-mel frames to features at 25 Hz."""

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.nn.layers import TransformerBlock
from weft.nn.log_mel import LogMelConfig

_MAX_WIDTH = 4096
_MAX_LAYERS = 64


@final
@dataclass(frozen=True, kw_only=True)
class SslEncoderConfig:
    """Size of the encoder."""

    mel: LogMelConfig = field(default_factory=LogMelConfig)
    """What it sees."""
    width: int = 192
    """Features of a frame, in [8, 4096], a multiple of ``num_heads``."""
    num_layers: int = 4
    """Transformer blocks, in [2, 64]."""
    num_heads: int = 3
    """Attention heads, >= 1."""

    def __post_init__(self) -> None:
        if not 8 <= self.width <= _MAX_WIDTH or not 2 <= self.num_layers <= _MAX_LAYERS:
            raise ConfigError(
                f"width must be in [8, {_MAX_WIDTH}] and num_layers in [2, {_MAX_LAYERS}], got "
                f"{self.width} and {self.num_layers}"
            )
        if self.num_heads < 1 or self.width % self.num_heads or self.width // self.num_heads % 2:
            raise ConfigError(
                f"num_heads must divide width into even parts, got {self.num_heads} heads of "
                f"{self.width} features"
            )

    @property
    def frame_rate(self) -> float:
        """Features a second."""
        return self.mel.sample_rate / self.mel.hop_length / STRIDE


STRIDE = 4
"""Log-mel frames of one frame of features."""


@final
class SslEncoder(nn.Module):
    """Convolutions that quarter the frame rate, then transformer blocks.

    Source: stem and span masking of its input after data2vec (audio), at a fiftieth of the size;
    differs in seeing log-mel frames instead of samples, and in rotary positions.
    """

    def __init__(self, config: SslEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.ModuleList(
            [
                nn.Conv1d(config.mel.num_mels, width, 3, padding=1),
                nn.Conv1d(width, width, 4, stride=2, padding=1),
                nn.Conv1d(width, width, 4, stride=2, padding=1),
            ]
        )
        self.stem_norm = nn.LayerNorm(width)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.num_heads) for _ in range(config.num_layers)
        )

    def forward(
        self, mel: Float[Tensor, "b m t"], masked: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], ...]:
        """Return the frames after each block.

        Args:
            mel: standardised log-mel frames, at least `STRIDE`; ``l`` is ``t // STRIDE``.
            masked: frames that are hidden from it; their input is one learned vector.
        """
        x = mel
        for convolution in self.stem:
            x = nn.functional.gelu(convolution(x))  # b d t
        frames = self.stem_norm(x.transpose(1, 2))  # b l d
        if masked is not None:
            frames = torch.where(masked[..., None], self.hidden.to(frames.dtype), frames)
        layers = []
        for block in self.blocks:
            frames = block(frames)
            layers.append(frames)
        return tuple(layers)

    def features(self, mel: Float[Tensor, "b m t"]) -> Float[Tensor, "b l d"]:
        """Return the features of frames: the mean of the last two blocks, each layer-normalised."""
        return top_mean(self(mel))


def top_mean(layers: tuple[Float[Tensor, "b l d"], ...]) -> Float[Tensor, "b l d"]:
    """Return the mean of the last two blocks' frames, each normalised over its features."""
    top = [nn.functional.layer_norm(x.float(), x.shape[-1:]) for x in layers[-2:]]
    return torch.stack(top).mean(dim=0)
