"""Vocos decoder: frames to a spectrum to samples, with attention over all frames."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from weft.errors import ConfigError

NUM_GROUPS = 32
"""Of every group normalisation: widths are multiples of it."""
NUM_SETTINGS = 4
"""Rows of the tables behind adaptive normalisation: interchangeable settings, one is used."""
MAX_MAGNITUDE = 100.0
"""Where the spectrum's magnitudes are clipped."""
_EPS = 1e-6


@final
@dataclass(frozen=True, kw_only=True)
class VocosConfig:
    """Sizes of the decoder; the defaults are WavTokenizer's at 75 frames a second."""

    num_features: int = 512
    """Features of a frame that comes in, in [1, 8192]."""
    width: int = 768
    """Features inside, in [32, 4096], a multiple of 32."""
    hidden_width: int = 2304
    """Features inside a ConvNeXt block, in [1, 16384]."""
    num_layers: int = 12
    """ConvNeXt blocks, in [1, 64]."""
    n_fft: int = 1280
    """Samples of a spectrum, in [hop_length, 65536], even."""
    hop_length: int = 320
    """Samples of a frame, >= 1; as even or odd as ``n_fft``."""

    def __post_init__(self) -> None:
        if not NUM_GROUPS <= self.width <= 4096 or self.width % NUM_GROUPS:
            raise ConfigError(
                f"width must be a multiple of {NUM_GROUPS} in [{NUM_GROUPS}, 4096], got "
                f"{self.width}"
            )
        for name, largest in (("num_features", 8192), ("hidden_width", 16384), ("num_layers", 64)):
            if not 1 <= getattr(self, name) <= largest:
                raise ConfigError(f"{name} must be in [1, {largest}], got {getattr(self, name)}")
        if not 1 <= self.hop_length <= self.n_fft <= 65536:
            raise ConfigError(
                "1 <= hop_length <= n_fft <= 65536 must hold, got "
                f"{self.hop_length} and {self.n_fft}"
            )
        if self.n_fft % 2 or (self.n_fft - self.hop_length) % 2:
            raise ConfigError(
                f"n_fft and hop_length must be even, got {self.n_fft} and {self.hop_length}"
            )


@final
class AdaptiveNorm(nn.Module):
    """Layer normalisation whose scale and shift are rows of two tables."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Embedding(NUM_SETTINGS, width)
        self.shift = nn.Embedding(NUM_SETTINGS, width)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Float[Tensor, "b l d"], setting: int) -> Float[Tensor, "b l d"]:
        """Return normalised frames."""
        scale, shift = self.scale.weight[setting], self.shift.weight[setting]
        return functional.layer_norm(x, x.shape[-1:], scale, shift, eps=_EPS)


@final
class ResnetBlock(nn.Module):
    """Two convolutions over frames, each after group normalisation, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NUM_GROUPS, width, eps=_EPS)
        self.conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(NUM_GROUPS, width, eps=_EPS)
        self.dropout = nn.Dropout(0.1)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b d l"]) -> Float[Tensor, "b d l"]:
        """Return the updated frames."""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = self.conv2(self.dropout(functional.silu(self.norm2(hidden))))
        updated: Tensor = x + hidden
        return updated


@final
class FrameAttention(nn.Module):
    """Attention of all frames to all frames with one head, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NUM_GROUPS, width, eps=_EPS)
        self.q = nn.Conv1d(width, width, 1)
        self.k = nn.Conv1d(width, width, 1)
        self.v = nn.Conv1d(width, width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Float[Tensor, "b d l"]) -> Float[Tensor, "b d l"]:
        """Return the updated frames."""
        normed = self.norm(x)
        queries, keys, values = self.q(normed), self.k(normed), self.v(normed)
        products = queries.transpose(1, 2) @ keys * x.shape[1] ** -0.5  # b l l
        gathered = values @ products.softmax(dim=-1).to(values.dtype).transpose(1, 2)  # b d l
        updated: Tensor = x + self.proj_out(gathered)
        return updated


@final
class ConvNextBlock(nn.Module):
    """Depthwise convolution and a two-layer network, scaled and added to their input."""

    def __init__(self, width: int, hidden_width: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = AdaptiveNorm(width)
        self.pwconv1 = nn.Linear(width, hidden_width)
        self.pwconv2 = nn.Linear(hidden_width, width)
        self.gamma = nn.Parameter(layer_scale * torch.ones(width))

    def forward(self, x: Float[Tensor, "b d l"], setting: int) -> Float[Tensor, "b d l"]:
        """Return the updated frames."""
        hidden = self.norm(self.dwconv(x).transpose(1, 2), setting)  # b l d
        hidden = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(hidden)))
        return x + hidden.transpose(1, 2)


@final
class VocosDecoder(nn.Module):
    """Frames to samples.

    Group normalisation and attention see all frames, so what a frame sounds like depends on the
    others: a stretch must be decoded with the context that it is to be heard in.

    Source: WavTokenizer's backbone and inverse Fourier head, after Vocos.
    """

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Conv1d(config.num_features, width, 7, padding=3)
        self.pos_net = nn.Sequential(
            ResnetBlock(width),
            ResnetBlock(width),
            FrameAttention(width),
            ResnetBlock(width),
            ResnetBlock(width),
            nn.GroupNorm(NUM_GROUPS, width, eps=_EPS),
        )
        self.norm = AdaptiveNorm(width)
        self.convnext = nn.ModuleList(
            ConvNextBlock(width, config.hidden_width, 1 / config.num_layers)
            for _ in range(config.num_layers)
        )
        self.final_layer_norm = nn.LayerNorm(width, eps=_EPS)
        self.out = nn.Linear(width, config.n_fft + 2)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.apply(_initialise)

    def forward(
        self, features: Float[Tensor, "b l d"], *, setting: int = 0
    ) -> Float[Tensor, "b n"]:
        """Return ``l * hop_length`` samples.

        Args:
            features: of frames.
            setting: row of the adaptive normalisations, in [0, 4); published weights hold four that
                do the same.
        """
        return self.to_samples(self.to_spectrum(features, setting=setting))

    def to_spectrum(
        self, features: Float[Tensor, "b l d"], *, setting: int = 0
    ) -> Float[Tensor, "b l s"]:
        """Return log magnitudes, then phases, of each frame's spectrum: ``n_fft + 2`` numbers."""
        x = self.pos_net(self.embed(features.transpose(1, 2)))  # b d l
        x = self.norm(x.transpose(1, 2), setting).transpose(1, 2)
        for block in self.convnext:
            x = block(x, setting)
        spectrum: Tensor = self.out(self.final_layer_norm(x.transpose(1, 2)))
        return spectrum

    def to_samples(self, spectrum: Float[Tensor, "b l s"]) -> Float[Tensor, "b n"]:
        """Overlap and add what `to_spectrum` gives, in at least 32 bits."""
        with torch.autocast(spectrum.device.type, enabled=False):
            wide = spectrum if spectrum.dtype == torch.float64 else spectrum.float()
            log_magnitude, phase = wide.chunk(2, dim=-1)
            magnitude = log_magnitude.exp().clamp(max=MAX_MAGNITUDE)
            frames = torch.fft.irfft(torch.polar(magnitude, phase), self.config.n_fft, dim=-1)
            window = self.window.to(wide.dtype)
            summed = self._overlap(frames * window)
            envelope = self._overlap(window.square().expand(1, frames.shape[1], -1))
            return summed / envelope

    def _overlap(self, frames: Float[Tensor, "b l n"]) -> Float[Tensor, "b m"]:
        """Add frames at their places, and cut what stands out at both ends."""
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        length = (frames.shape[1] - 1) * hop_length + n_fft
        summed = functional.fold(
            frames.transpose(1, 2), (1, length), (1, n_fft), stride=(1, hop_length)
        )[:, 0, 0]  # b n
        trim = (n_fft - hop_length) // 2
        return summed[:, trim : length - trim]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
