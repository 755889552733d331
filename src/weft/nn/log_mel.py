"""Log-mel spectra as tensors: what encoders of sound see."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.audio.spectral import hann_window, mel_filterbank
from weft.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """How samples become standardised log-mel frames."""

    sample_rate: int = 16000
    """In Hz."""
    n_fft: int = 512
    """Window and transform, in samples, even."""
    hop_length: int = 160
    """Distance of frames, in samples, in [1, n_fft]."""
    num_mels: int = 64
    """Filters between 0 Hz and half the sample rate, in [1, 512]."""
    floor_db: float = -100.0
    """Level of silence: power is raised by this much, so that digital silence has a value. In dB
    of the mel power of a full-scale signal."""
    mean_db: float = -60.0
    """Level that becomes 0: about the mean over recordings, quiet bands included."""
    scale_db: float = 20.0
    """Decibels that become 1, > 0."""

    def __post_init__(self) -> None:
        if self.sample_rate <= 0 or self.n_fft < 2 or self.n_fft % 2:
            raise ConfigError(
                f"sample_rate must be > 0 Hz and n_fft even, got {self.sample_rate}, {self.n_fft}"
            )
        if not 1 <= self.hop_length <= self.n_fft or not 1 <= self.num_mels <= 512:
            raise ConfigError(
                f"hop_length must be in [1, {self.n_fft}] and num_mels in [1, 512], got "
                f"{self.hop_length} and {self.num_mels}"
            )
        if not (-200 <= self.floor_db <= 0 and self.scale_db > 0):
            raise ConfigError(
                f"floor_db must be in [-200, 0] and scale_db > 0 dB, got {self.floor_db} and "
                f"{self.scale_db}"
            )


@final
class LogMel(nn.Module):
    """Standardised log-mel frames of mono samples. It keeps the level and learns nothing."""

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        window = hann_window(config.n_fft)
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.num_mels)
        # Filters of unit area times the width of a bin: a band's sum of power over its width.
        scale = config.sample_rate / config.n_fft / window.sum() ** 2
        self.register_buffer("_window", _tensor(window), persistent=False)
        self.register_buffer("_filters", _tensor(filters * scale * 4), persistent=False)
        self._window: Tensor
        self._filters: Tensor

    def num_frames(self, num_samples: int) -> int:
        """Return the frames of so many samples; frame ``i`` is centred on ``i * hop_length``."""
        return num_samples // self.config.hop_length + 1

    def pad(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b p"]:
        """Return samples with half a window of silence on both sides."""
        half = self.config.n_fft // 2
        return nn.functional.pad(samples, (half, half))

    def forward(
        self, samples: Float[Tensor, "b n"], *, is_padded: bool = False
    ) -> Float[Tensor, "b m t"]:
        """Return the frames, in float32 whatever autocast says.

        Args:
            samples: mono, full scale 1.
            is_padded: the first frame begins at the first sample, not half a window before it;
                so long sounds can be done piece by piece (see `pad`).
        """
        with torch.autocast(samples.device.type, enabled=False):
            padded = samples.float() if is_padded else self.pad(samples.float())
            frames = padded.unfold(1, self.config.n_fft, self.config.hop_length)  # b t n
            spectrum = torch.fft.rfft(frames * self._window)
            power = spectrum.real.square() + spectrum.imag.square()
            mel = power @ self._filters.T  # b t m
            level_db = 10 * torch.log10(mel + 10 ** (self.config.floor_db / 10))
            standard = (level_db - self.config.mean_db) / self.config.scale_db
        return standard.transpose(1, 2)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
