"""Encoder and decoder that work on spectra: one frame of a transform a latent.

Waves are kept, not only magnitudes: frames hold real and imaginary parts, compressed so that a
linear layer sees loud and soft bins alike, and the decoder's last step is the exact inverse of that
compression. So a linear codec is one of those that can be learned, and the blocks add what it
cannot say.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from weft.audio.spectral import mel_filterbank
from weft.errors import ConfigError
from weft.nn.convnext import ConvNextStack

_TINY = 1e-12
_LOG_FLOOR = 1e-4
_NUM_MELS = 128


@final
@dataclass(frozen=True, kw_only=True)
class SpectralVaeConfig:
    """Sizes of encoder and decoder."""

    sample_rate: int = 44100
    """In Hz, in [1000, 768000]; only the place of the encoder's mel bands depends on it."""
    num_channels: int = 1
    """Channels of sound in a frame, 1 or 2."""
    n_fft: int = 2048
    """Samples of a spectrum, even, in [hop_length, 65536]."""
    hop_length: int = 512
    """Samples of a frame, in [16, 16384]; as even or odd as ``n_fft``."""
    num_features: int = 64
    """Numbers of a latent, in [1, 4096]."""
    width: int = 256
    """Features inside, in [8, 4096]."""
    hidden_width: int = 768
    """Inside a block, in [8, 16384]."""
    encoder_layers: int = 4
    """Blocks, in [1, 64]."""
    decoder_layers: int = 8
    """Blocks, in [1, 64]."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("sample_rate", 1000, 768_000),
            ("num_channels", 1, 2),
            ("hop_length", 16, 16384),
            ("n_fft", self.hop_length, 65536),
            ("num_features", 1, 4096),
            ("width", 8, 4096),
            ("hidden_width", 8, 16384),
            ("encoder_layers", 1, 64),
            ("decoder_layers", 1, 64),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be in [{least}, {most}], got {value}")
        if self.n_fft % 2 or (self.n_fft - self.hop_length) % 2:
            raise ConfigError(
                f"n_fft and hop_length must be even, got {self.n_fft} and {self.hop_length}"
            )

    @property
    def num_bins(self) -> int:
        """Bins of a spectrum."""
        return self.n_fft // 2 + 1


@final
class SpectralEncoder(nn.Module):
    """Samples to mean and log variance of each frame's latent."""

    def __init__(self, config: SpectralVaeConfig) -> None:
        super().__init__()
        self.config = config
        num_mels = min(_NUM_MELS, config.num_bins // 2)
        self.stack = ConvNextStack(
            config.num_channels * (2 * config.num_bins + num_mels),
            2 * config.num_features,
            width=config.width,
            hidden_width=config.hidden_width,
            num_layers=config.encoder_layers,
        )
        self.window: Tensor
        self.mels: Tensor
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        filters = mel_filterbank(config.sample_rate, config.n_fft, num_mels)
        self.register_buffer("mels", torch.tensor(filters.T, dtype=torch.float32), persistent=False)

    def forward(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l f"]:
        """Return mean, then log variance: ``2 * num_features`` numbers a frame.

        Frame i lies around the middle of its hop; there is silence beyond both ends.
        """
        with torch.autocast(samples.device.type, enabled=False):
            features = self._features(samples.to(self.window.dtype))
        posterior: Tensor = self.stack(features)
        return posterior

    def _features(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l f"]:
        config = self.config
        num_frames = -(-samples.shape[2] // config.hop_length)
        margin = (config.n_fft - config.hop_length) // 2
        missing = num_frames * config.hop_length - samples.shape[2]
        padded = nn.functional.pad(samples, (margin, margin + missing))
        frames = padded.unfold(2, config.n_fft, config.hop_length)  # b c l n
        spectrum = torch.fft.rfft(frames * self.window) * config.n_fft**-0.5  # b c l f
        power = spectrum.real.square() + spectrum.imag.square()
        compressed = spectrum * (power + _TINY).pow(-0.25)
        log_mel = ((power + _TINY).sqrt() @ self.mels + _LOG_FLOOR).log() / 4 + 1
        parts = [compressed.real, compressed.imag, log_mel]
        return torch.cat(parts, dim=3).transpose(1, 2).flatten(2)  # b l (c f)


@final
class SpectralDecoder(nn.Module):
    """Latents to samples."""

    def __init__(self, config: SpectralVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = ConvNextStack(
            config.num_features,
            2 * config.num_channels * config.num_bins,
            width=config.width,
            hidden_width=config.hidden_width,
            num_layers=config.decoder_layers,
        )
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        """Return ``l * hop_length`` samples a channel."""
        output = self.stack(latents)
        with torch.autocast(latents.device.type, enabled=False):
            wide = output if output.dtype == torch.float64 else output.float()
            return self._overlap_add(self._spectrum(wide))

    def _spectrum(self, output: Float[Tensor, "b l o"]) -> Complex[Tensor, "b c l f"]:
        """Undo the encoder's compression."""
        config = self.config
        parts = output.unflatten(2, (config.num_channels, 2, config.num_bins)).movedim(1, 2)
        magnitude = (parts.square().sum(dim=3, keepdim=True) + _TINY).sqrt()  # b c l 1 f
        real, imag = (parts * magnitude * config.n_fft**0.5).unbind(dim=3)
        return torch.complex(real, imag)

    def _overlap_add(self, spectrum: Complex[Tensor, "b c l f"]) -> Float[Tensor, "b c n"]:
        config = self.config
        frames = torch.fft.irfft(spectrum, config.n_fft) * self.window  # b c l n
        b, c, l, _ = frames.shape
        length = (l - 1) * config.hop_length + config.n_fft
        weight = self.window.square().expand(1, l, -1)
        summed, envelope = (
            nn.functional.fold(
                part.transpose(1, 2),
                (1, length),
                (1, config.n_fft),
                stride=(1, config.hop_length),
            )[:, 0, 0]
            for part in (frames.flatten(0, 1), weight)
        )
        margin = (config.n_fft - config.hop_length) // 2
        inside = slice(margin, length - margin)
        # Only the outermost frames of windows without overlap have next to no weight.
        return (summed[:, inside] / envelope[:, inside].clamp_min(1e-3)).unflatten(0, (b, c))
