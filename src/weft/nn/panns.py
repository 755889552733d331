"""CNN14 of PANNs: a convolutional tagger of AudioSet, with its log-mel front end."""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weft.audio.spectral import mel_filterbank

NUM_MELS = 64
"""Mel bands of the front end."""
MIN_FRAMES = 32
"""Fewest spectra: five stages halve the time axis."""


@final
class LogMel(nn.Module):
    """Power spectra in decibels on Slaney's mel scale; the filters are part of the checkpoint."""

    def __init__(self, sample_rate: int, n_fft: int, low_hz: float, high_hz: float) -> None:
        super().__init__()
        filters = mel_filterbank(sample_rate, n_fft, NUM_MELS, low_hz, high_hz)
        self.melW = nn.Parameter(torch.tensor(filters.T, dtype=torch.float32), requires_grad=False)

    def forward(self, power: Float[Tensor, "b l f"]) -> Float[Tensor, "b l m"]:
        return 10 * torch.log10(torch.clamp(power @ self.melW, min=1e-10))


@final
class ConvBlock(nn.Module):
    """Two convolutions with batch normalisation, then the mean over squares of ``pool``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b i t m"], pool: int) -> Float[Tensor, "b o u n"]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, kernel_size=pool)


@final
class Cnn14(nn.Module):
    """Six stages of convolutions, maximum plus mean over time, one dense layer, classes.

    Names of tensors are those of the authors' checkpoints. Their front end computes the Fourier
    transform by convolution and stores its matrices; here it is a transform, and they are not
    among the tensors.

    Source: Kong et al., "PANNs: large-scale pretrained audio neural networks for audio pattern
    recognition" (2020), qiuqiangkong/audioset_tagging_cnn. Differs: logits are given before the
    sigmoid, as the losses and divergences of published metrics take them.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        low_hz: float = 50.0,
        high_hz: float,
        width: int = 64,
        num_classes: int = 527,
    ) -> None:
        """Make the network, with weights that are not trained.

        Args:
            sample_rate: in Hz.
            n_fft: window and transform, in samples.
            hop_length: distance of spectra, in samples.
            low_hz: lower edge of the mel filters.
            high_hz: upper edge.
            width: channels of the first stage; the published networks have 64.
            num_classes: published 527.
        """
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.logmel_extractor = LogMel(sample_rate, n_fft, low_hz, high_hz)
        self.bn0 = nn.BatchNorm2d(NUM_MELS)
        self.conv_block1 = ConvBlock(1, width)
        self.conv_block2 = ConvBlock(width, 2 * width)
        self.conv_block3 = ConvBlock(2 * width, 4 * width)
        self.conv_block4 = ConvBlock(4 * width, 8 * width)
        self.conv_block5 = ConvBlock(8 * width, 16 * width)
        self.conv_block6 = ConvBlock(16 * width, 32 * width)
        self.fc1 = nn.Linear(32 * width, 32 * width)
        self.fc_audioset = nn.Linear(32 * width, num_classes)

    @property
    def min_samples(self) -> int:
        """Fewest samples that `forward` takes."""
        return max((MIN_FRAMES - 1) * self.hop_length, self.n_fft // 2 + 1)

    def forward(
        self, samples: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return vectors and logits of mono clips of at least `min_samples`."""
        spectrum = torch.stft(
            samples,
            self.n_fft,
            self.hop_length,
            window=self.window,  # type: ignore[arg-type]
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()  # b f l
        x = self.logmel_extractor(power.transpose(1, 2))[:, None]  # b 1 l m
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        stages = (self.conv_block1, self.conv_block2, self.conv_block3, self.conv_block4)
        for stage in (*stages, self.conv_block5):
            x = stage(x, 2)
        x = self.conv_block6(x, 1).mean(dim=3)  # b d l
        x = F.relu(self.fc1(x.amax(dim=2) + x.mean(dim=2)))
        return x, self.fc_audioset(x)
