"""U-Net over octaves of a constant-Q transform: noisy samples in, an estimate of v out.

As folding is, the transform is inside the network: noise and guidance act on samples.
"""

import math
from dataclasses import dataclass
from typing import Final, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError
from weft.nn.cqt import Cqt, CqtConfig
from weft.nn.layers import SelfAttention
from weft.nn.unet1d import TimeEmbedding

_HALF = math.sqrt(0.5)  # keeps the variance of a sum of two


@final
@dataclass(frozen=True, kw_only=True)
class CqtUnetConfig:
    """Sizes of a U-Net over octaves; one level for each."""

    num_channels: int = 1
    """Channels of sound, in [1, 8]."""
    num_samples: int = 184_184
    """Longest sound that it takes, and what it is trained on, see `CqtConfig`."""
    num_octaves: int = 7
    """Octaves, one level for each, see `CqtConfig`."""
    bins_per_octave: int = 64
    """Bands of an octave, see `CqtConfig`."""
    widths: tuple[int, ...] = (64, 96, 96, 128, 128, 256, 256)
    """Features of each level, the highest octave first, multiples of ``num_groups``, each in
    [4, 1024]."""
    num_layers: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 7)
    """Convolutions of each level; the i-th skips ``2^i`` bands, so each is in [1, 8]."""
    time_width: int = 256
    """Features of the time, in [8, 4096]."""
    attention_width: int = 512
    """Features of attention over frames at the lowest level, in [8, 8192]."""
    num_heads: int = 8
    """Its heads, in [1, 64]."""
    num_groups: int = 8
    """Groups of features that are normalised together, in [1, 64]."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("num_channels", 1, 8),
            ("time_width", 8, 4096),
            ("attention_width", 8, 8192),
            ("num_heads", 1, 64),
            ("num_groups", 1, 64),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be in [{low}, {high}], got {value}")
        octaves = self.cqt.num_octaves  # checks the transform, too
        if len(self.widths) != octaves or len(self.num_layers) != octaves:
            raise ConfigError(
                f"widths and num_layers must have a number for each of {octaves} octaves, got "
                f"{self.widths} and {self.num_layers}"
            )
        if any(not 4 <= width <= 1024 or width % self.num_groups for width in self.widths):
            raise ConfigError(
                f"widths must be multiples of num_groups {self.num_groups} in [4, 1024], got "
                f"{self.widths}"
            )
        if any(not 1 <= count <= 8 for count in self.num_layers):
            raise ConfigError(f"num_layers must be numbers in [1, 8], got {self.num_layers}")
        if self.attention_width % (2 * self.num_heads):
            raise ConfigError(
                f"attention_width must be a multiple of {2 * self.num_heads} (two for each head), "
                f"got {self.attention_width}"
            )

    @property
    def cqt(self) -> CqtConfig:
        """The transform."""
        return CqtConfig(
            num_samples=self.num_samples,
            num_octaves=self.num_octaves,
            bins_per_octave=self.bins_per_octave,
        )


MOLINER: Final = CqtUnetConfig()
"""Octaves, bands, widths and layers of CQT-Diff+ (22.05 kHz, 8.4 s); 54 M parameters, where theirs
has 242 M with attention at four levels."""


@final
class CqtUnet(nn.Module):
    """Convolutions over bands and frames; an octave comes in and goes out at each level.

    Source: Moliner et al. 2023, "Solving audio inverse problems with a diffusion model" (CQTdiff),
    and "Diffusion-based audio inpainting" (CQT-Diff+): octaves side by side by frequency as frames
    are halved, convolutions of 5 bands by 3 frames that skip ever more bands, modulation and gates
    by time, attention over frames where they are few. Differs: frames are halved by a learned
    convolution; attention is in the middle only; blocks have biases, and each band a bias of its
    own; coefficients are scaled so that white noise has unit variance in each; the process is ours
    (v, cosine), not EDM.
    """

    def __init__(self, config: CqtUnetConfig) -> None:
        super().__init__()
        self.config = config
        octaves, rows = config.num_octaves, config.bins_per_octave
        self.cqt = Cqt(config.cqt)
        scales = torch.stack(self.cqt.row_scales())  # block f
        self.scales: Tensor
        self.register_buffer("scales", scales, persistent=False)
        self.time = TimeEmbedding(config.time_width, config.time_width)
        num_parts = 2 * config.num_channels  # real and imaginary
        widths = config.widths
        block_widths = (*widths, widths[-1])
        self.inputs = nn.ModuleList(
            nn.Conv2d(num_parts, width, (5, 3), padding=(2, 1)) for width in block_widths
        )
        self.bands = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(width, rows, 1)) for width in block_widths
        )
        self.down = nn.ModuleList(_Level(config, i, widths[i], widths[i]) for i in range(octaves))
        self.fewer = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], (1, 4), stride=(1, 2), padding=(0, 1))
            for i in range(octaves - 1)
        )
        self.attention = _TimeAttention(config, rows * (octaves + 1))
        self.middle = _Level(config, octaves - 1, widths[-1], widths[-1])
        self.up = nn.ModuleList(_Level(config, i, 2 * widths[i], widths[i]) for i in range(octaves))
        self.more = nn.ModuleList(
            nn.ConvTranspose2d(widths[i + 1], widths[i], (1, 4), stride=(1, 2), padding=(0, 1))
            for i in range(octaves - 1)
        )
        self.outputs = nn.ModuleList(_Output(config, width, num_parts) for width in block_widths)

    @property
    def num_samples(self) -> int:
        """Samples a channel of what it was trained on."""
        return self.config.num_samples

    def forward(self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Return what the process asks for (v) at each sample.

        Args:
            x: samples, one channel a feature; ``num_samples`` at the most.
            t: time of each item, in [0, 1].

        Raises:
            ShapeError: more samples, or another number of channels.
        """
        if x.shape[2] != self.config.num_channels:
            raise ShapeError(
                f"the network was built for {self.config.num_channels} channels, got {x.shape[2]}"
            )
        with torch.autocast(x.device.type, enabled=False):
            blocks = self._split(x)
        time = self.time(t)
        found = self._network(blocks, time)
        with torch.autocast(x.device.type, enabled=False):
            return self._join(found, x.shape[1])

    def _split(self, x: Float[Tensor, "b l d"]) -> list[Float[Tensor, "b e f _"]]:
        """Return real and imaginary parts of each block, all of one variance in white noise."""
        blocks = []
        for scale, block in zip(self.scales, self.cqt(x.transpose(1, 2)), strict=True):
            parts = torch.cat([block.real, block.imag], dim=1)
            blocks.append(parts / scale[:, None])
        return blocks

    def _join(self, blocks: list[Tensor], num_samples: int) -> Float[Tensor, "b l d"]:
        coefficients = []
        for scale, block in zip(self.scales, blocks, strict=True):
            real, imaginary = (block.float() * scale[:, None]).chunk(2, dim=1)
            coefficients.append(torch.complex(real, imaginary))
        return self.cqt.inverse(coefficients, num_samples).transpose(1, 2)

    def _network(
        self, blocks: list[Float[Tensor, "b e f _"]], time: Float[Tensor, "b g"]
    ) -> list[Tensor]:
        octaves, rows = self.config.num_octaves, self.config.bins_per_octave
        embedded = [
            layer(block) + band
            for layer, block, band in zip(self.inputs, blocks, self.bands, strict=True)
        ]
        x, kept = embedded[0], []
        for i in range(octaves):
            if i:  # bands of lower octaves come below those that are there
                x = torch.cat([embedded[i], self.fewer[i - 1](x)], dim=2)
            if i == octaves - 1:
                x = torch.cat([embedded[-1], x], dim=2)
            x = self.down[i](x, time)
            kept.append(x)
        x = self.middle(self.attention(x, time), time)
        found: list[Tensor] = []
        for i in reversed(range(octaves)):
            x = self.up[i](torch.cat([x, kept[i]], dim=1), time)
            if i == octaves - 1:
                found.append(self.outputs[-1](x[:, :, :rows]))
                x = x[:, :, rows:]
            found.append(self.outputs[i](x[:, :, :rows]))
            if i:
                x = self.more[i - 1](x[:, :, rows:])
        return found[::-1]


@final
class _Level(nn.Module):
    """Gated convolutions that skip ever more bands."""

    def __init__(self, config: CqtUnetConfig, level: int, source: int, target: int) -> None:
        super().__init__()
        count = config.num_layers[level]
        self.inputs = nn.Identity() if source == target else nn.Conv2d(source, target, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(config.num_groups, target) for _ in range(count))
        self.times = nn.ModuleList(_modulation(config, target) for _ in range(count))
        self.layers = nn.ModuleList(
            nn.Conv2d(target, target, (5, 3), padding=(2 * 2**i, 1), dilation=(2**i, 1))
            for i in range(count)
        )

    def forward(
        self, x: Float[Tensor, "b e f m"], time: Float[Tensor, "b g"]
    ) -> Float[Tensor, "b g2 f m"]:
        """Return the frames after this level."""
        x = self.inputs(x)
        for norm, modulation, layer in zip(self.norms, self.times, self.layers, strict=True):
            scale, gate = modulation(time)[:, :, None, None].chunk(2, dim=1)
            x = _HALF * (x + gate * layer(F.gelu(norm(x) * (1 + scale))))
        return x


@final
class _TimeAttention(nn.Module):
    """Attention over frames, each with all its bands."""

    def __init__(self, config: CqtUnetConfig, num_rows: int) -> None:
        super().__init__()
        width, thin = config.widths[-1], 4
        self.norm = nn.GroupNorm(config.num_groups, width)
        self.times = _modulation(config, width)
        self.thin = nn.Conv2d(width, thin, 1)
        self.inputs = nn.Linear(thin * num_rows, config.attention_width)
        self.attention = SelfAttention(config.attention_width, config.num_heads)
        self.outputs = nn.Linear(config.attention_width, thin * num_rows)
        self.thick = nn.Conv2d(thin, width, 1)

    def forward(
        self, x: Float[Tensor, "b e f m"], time: Float[Tensor, "b g"]
    ) -> Float[Tensor, "b e f m"]:
        scale, gate = self.times(time)[:, :, None, None].chunk(2, dim=1)
        thin = self.thin(self.norm(x) * (1 + scale))  # b thin f m
        b, e, f, m = thin.shape
        frames = self.inputs(thin.reshape(b, e * f, m).transpose(1, 2))
        gathered = self.outputs(frames + self.attention(frames)).transpose(1, 2)
        updated: Tensor = _HALF * (x + gate * self.thick(gathered.reshape(b, e, f, m)))
        return updated


@final
class _Output(nn.Module):
    """Features of a block to its coefficients; nothing at first."""

    def __init__(self, config: CqtUnetConfig, width: int, num_parts: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.num_groups, width)
        self.layer = nn.Conv2d(width, num_parts, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b e f m"]) -> Float[Tensor, "b p f m"]:
        found: Tensor = self.layer(F.gelu(self.norm(x)))
        return found


def _modulation(config: CqtUnetConfig, width: int) -> nn.Linear:
    """Return what makes a scale and a gate of the time; gates begin nearly open at one half."""
    layer = nn.Linear(config.time_width, 2 * width)
    nn.init.normal_(layer.weight, std=0.02)
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[width:] = 0.5
    return layer
