"""SEANet encoder: strided convolutions from samples to frames, then an LSTM."""

from dataclasses import dataclass
from math import ceil, prod
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from weft.errors import ConfigError

_MAX_WIDTH = 8192
_MAX_HOP = 1 << 16


@final
@dataclass(frozen=True, kw_only=True)
class SeanetConfig:
    """Sizes of the encoder; the defaults are WavTokenizer's."""

    num_filters: int = 32
    """Channels after the first convolution, in [1, 1024]; each stride doubles them."""
    strides: tuple[int, ...] = (2, 4, 5, 8)
    """From samples to frames, each in [2, 64]; 2, 4, 5, 8 make 75 frames a second at 24 kHz, and
    4, 5, 5, 6 make 40."""
    num_lstm_layers: int = 2
    """Layers of the LSTM over frames, in [0, 8]; 0: none."""
    width: int = 512
    """Features of a frame, in [1, 8192]."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_filters <= 1024 or not 1 <= self.width <= _MAX_WIDTH:
            raise ConfigError(
                f"num_filters must be in [1, 1024] and width in [1, {_MAX_WIDTH}], got "
                f"{self.num_filters} and {self.width}"
            )
        if not self.strides or not all(2 <= stride <= 64 for stride in self.strides):
            raise ConfigError(f"strides must be one or more, each in [2, 64], got {self.strides}")
        if self.hop_length > _MAX_HOP or self.num_filters << len(self.strides) > _MAX_WIDTH:
            raise ConfigError(
                f"strides must multiply to at most {_MAX_HOP} and double num_filters to at most "
                f"{_MAX_WIDTH}, got {self.strides} and {self.num_filters}"
            )
        if not 0 <= self.num_lstm_layers <= 8:
            raise ConfigError(f"num_lstm_layers must be in [0, 8], got {self.num_lstm_layers}")

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return prod(self.strides)


@final
class PaddedConv(nn.Module):
    """Convolution whose output has ``ceil(n / stride)`` frames.

    The ends are mirrored, as far as there is sound to mirror; beyond that it is silence.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(num_inputs, num_outputs, kernel_size, stride)

    def forward(self, x: Float[Tensor, "b d n"]) -> Float[Tensor, "b e l"]:
        """Return the convolved sequence."""
        (kernel_size,), (stride,) = self.conv.kernel_size, self.conv.stride
        total = kernel_size - stride
        num_frames = ceil(x.shape[-1] / stride)
        extra = num_frames * stride - x.shape[-1]
        padded = _mirror(x, total - total // 2, total // 2 + extra)
        convolved: Tensor = self.conv(padded)
        return convolved


def _mirror(x: Float[Tensor, "b d n"], left: int, right: int) -> Float[Tensor, "b d m"]:
    if left == right == 0:
        return x
    short = max(0, max(left, right) - x.shape[-1] + 1)
    padded = functional.pad(functional.pad(x, (0, short)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - short]


@final
class ResidualUnit(nn.Module):
    """Two convolutions through half the channels, beside a third that keeps them."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        half = max(1, num_channels // 2)
        self.block = nn.Sequential(
            nn.ELU(), PaddedConv(num_channels, half, 3), nn.ELU(), PaddedConv(half, num_channels, 1)
        )
        self.shortcut = PaddedConv(num_channels, num_channels, 1)

    def forward(self, x: Float[Tensor, "b d n"]) -> Float[Tensor, "b d n"]:
        """Return the sum of both branches."""
        summed: Tensor = self.shortcut(x) + self.block(x)
        return summed


@final
class ResidualLstm(nn.Module):
    """LSTM from left to right, added to its input."""

    def __init__(self, num_channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_channels, num_channels, num_layers)

    def forward(self, x: Float[Tensor, "b d l"]) -> Float[Tensor, "b d l"]:
        """Return the sum of input and output."""
        frames = x.permute(2, 0, 1)  # l b d
        summed: Tensor = (self.lstm(frames)[0] + frames).permute(1, 2, 0)  # b d l
        return summed


@final
class SeanetEncoder(nn.Module):
    """Samples to frames.

    Source: EnCodec's encoder as WavTokenizer uses it: not causal, one residual unit a stride.
    Weights are plain here; `weft.codecs.wavtokenizer` folds published weight normalisation.
    """

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.num_filters
        layers: list[nn.Module] = [PaddedConv(1, channels, 7)]
        for stride in config.strides:
            layers += [
                ResidualUnit(channels),
                nn.ELU(),
                PaddedConv(channels, 2 * channels, 2 * stride, stride),
            ]
            channels *= 2
        if config.num_lstm_layers:
            layers.append(ResidualLstm(channels, config.num_lstm_layers))
        layers += [nn.ELU(), PaddedConv(channels, config.width, 7)]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b l d"]:
        """Return ``ceil(n / hop_length)`` frames."""
        frames: Tensor = self.layers(samples[:, None]).transpose(1, 2)  # b l d
        return frames


def _initialise(module: nn.Module) -> None:
    """Start with weights that keep the variance, as weight normalisation does where published.

    With torch's own, frames deviate by a thousandth of a sample, and nothing is learned for
    hundreds of steps.
    """
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
