"""Published autoencoders of sound behind one interface; their packages are not imported here."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.audio.spectral import hann_window, mel_filterbank
from weft.codecs.published_base import (
    Convolution,
    LatentStatistics,
    PublishedNetwork,
    fit_length,
    pad_to_frames,
    reach_of,
)
from weft.errors import CheckpointError

_DILATIONS = (1, 3, 9)


def _residual_units() -> list[Convolution]:
    return [Convolution(kernel=7, padding=3 * d, dilation=d) for d in _DILATIONS]


def strided_reach(strides: Sequence[int], hop_length: int) -> int:
    """Return the reach of DAC and of Oobleck, which have the same convolutions.

    Args:
        strides: of the encoder, in order; the decoder has them in reverse.
        hop_length: their product.
    """
    ends = Convolution(kernel=7, padding=3)
    encoder, decoder = [ends], [ends]
    for stride in strides:
        shorten = Convolution(kernel=2 * stride, padding=-(-stride // 2), stride=stride)
        encoder += [*_residual_units(), shorten]
    for layer in reversed([layer for layer in encoder if layer.stride > 1]):
        decoder += [replace(layer, is_transposed=True), *_residual_units()]
    encoder.append(Convolution(kernel=3, padding=1))
    return reach_of(encoder, [*decoder, ends], hop_length)


def _check_strides(strides: Sequence[int], what: str) -> None:
    if not strides or min(strides) < 2:
        raise CheckpointError(f"{what}: strides must be at least 2, got {[*strides]}")


@final
class OobleckNetwork(PublishedNetwork):
    """``AutoencoderOobleck`` of diffusers, the autoencoder of Stable Audio.

    Sound is followed by silence up to whole frames. The mean of the posterior is the latent, and
    is about as wide as a normal distribution: nothing is published to scale it by.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._strides = tuple(self.model.config.downsampling_ratios)
        _check_strides(self._strides, "AutoencoderOobleck")

    @property
    def sample_rate(self) -> int:
        return int(self.model.config.sampling_rate)

    @property
    def hop_length(self) -> int:
        return int(self.model.hop_length)

    @property
    def num_features(self) -> int:
        return int(self.model.config.decoder_input_channels)

    @property
    def num_channels(self) -> int:
        return int(self.model.config.audio_channels)

    @property
    def reach_frames(self) -> int | None:
        return strided_reach(self._strides, self.hop_length)

    @property
    def statistics(self) -> LatentStatistics:
        return LatentStatistics.from_scale(1.0, self.num_features)

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        posterior = self.model.encode(pad_to_frames(samples, self.hop_length)).latent_dist
        mode: Tensor = posterior.mode()
        return mode.transpose(1, 2)

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        samples = self.model.decode(latents.transpose(1, 2)).sample
        return fit_length(samples, latents.shape[1] * self.hop_length)


@final
class DacNetwork(PublishedNetwork):
    """``DacModel`` of transformers, before its codebooks.

    Latents are what the encoder gives and the decoder takes: in between the published codec has
    residual codebooks, which are passed by. With an odd stride the decoder puts out a little less
    than whole frames; silence takes its place, at the very end.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._strides = tuple(self.model.config.downsampling_ratios)
        _check_strides(self._strides, "DacModel")

    @property
    def sample_rate(self) -> int:
        return int(self.model.config.sampling_rate)

    @property
    def hop_length(self) -> int:
        return math.prod(self._strides)  # what is published at 24 kHz states another one

    @property
    def num_features(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def num_channels(self) -> int:
        return 1

    @property
    def reach_frames(self) -> int | None:
        return strided_reach(self._strides, self.hop_length)

    @property
    def statistics(self) -> LatentStatistics:
        return LatentStatistics.from_scale(1.0, self.num_features)

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        encoded: Tensor = self.model.encoder(pad_to_frames(samples, self.hop_length))
        return encoded.transpose(1, 2)

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        samples = self.model.decoder(latents.transpose(1, 2))
        return fit_length(samples, latents.shape[1] * self.hop_length)


@final
class EncodecNetwork(PublishedNetwork):
    """``EncodecModel`` of transformers, before its codebooks, at 24 or 32 kHz.

    The encoder itself goes on after the end of sound that is no whole frames. Its LSTM carries
    what it heard as far as it likes to the right: there is no frame from which on nothing matters.
    """

    def __init__(self, model: Any) -> None:
        """Wrap a model.

        Raises:
            CheckpointError: it puts each second at one loudness, as that at 48 kHz does.
        """
        super().__init__()
        self.model = model
        config = self.model.config
        if config.normalize or config.chunk_length_s is not None:
            raise CheckpointError(
                f"this EnCodec, at {config.sampling_rate} Hz, cuts sound into seconds and keeps "
                "the loudness of each beside its frames, which latents cannot hold; take the one "
                "at 24 kHz or that at 32 kHz"
            )

    @property
    def sample_rate(self) -> int:
        return int(self.model.config.sampling_rate)

    @property
    def hop_length(self) -> int:
        return int(self.model.config.hop_length)

    @property
    def num_features(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def num_channels(self) -> int:
        return int(self.model.config.audio_channels)

    @property
    def reach_frames(self) -> int | None:
        return None

    @property
    def statistics(self) -> LatentStatistics:
        return LatentStatistics.from_scale(1.0, self.num_features)

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        encoded: Tensor = self.model.encoder(samples)
        return encoded.transpose(1, 2)

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        samples = self.model.decoder(latents.transpose(1, 2))
        return fit_length(samples, latents.shape[1] * self.hop_length)


@final
class AudioLdmMel(nn.Module):
    """Log-mel frames as AudioLDM computes them: natural logarithm of mel magnitudes.

    Source: AudioLDM's published code: window and transform of 1024 samples, reflected at both ends,
        Slaney filters from 0 to 8000 Hz over magnitudes, magnitudes not below 1e-5. Differs: sound
        is neither shifted to mean 0, scaled to a peak of 0.5 nor clipped to full scale first.
    """

    SAMPLE_RATE = 16000
    N_FFT = 1024
    HIGH_HZ = 8000.0
    FLOOR = 1e-5

    def __init__(self, num_mels: int, hop_length: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        filters = mel_filterbank(self.SAMPLE_RATE, self.N_FFT, num_mels, 0.0, self.HIGH_HZ)
        self._filters: Tensor
        self._window: Tensor
        self.register_buffer("_filters", torch.tensor(filters).float(), persistent=False)
        self.register_buffer(
            "_window", torch.tensor(hann_window(self.N_FFT)).float(), persistent=False
        )

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b t m"]:
        """Return one frame for each whole hop; frame i is centred on sample ``i * hop``.

        Args:
            samples: more than half a window.
        """
        spectrum = torch.stft(
            samples,
            self.N_FFT,
            self.hop_length,
            window=self._window,
            pad_mode="reflect",
            return_complex=True,
        )[:, :, : samples.shape[1] // self.hop_length]  # b f t
        return (self._filters @ spectrum.abs()).clamp_min(self.FLOOR).log().transpose(1, 2)


@final
class AudioLdmNetwork(PublishedNetwork):
    """AudioLDM's ``AutoencoderKL`` of diffusers over log-mel frames, and its HiFi-GAN.

    A latent frame is the autoencoder's channels by its bands, in that order. Group normalisation
    and attention hear the whole sequence, so each frame may change all others.
    """

    def __init__(self, vae: Any, vocoder: Any) -> None:
        """Put the parts together.

        Args:
            vae: ``AutoencoderKL`` with one input channel.
            vocoder: ``SpeechT5HifiGan`` at 16 kHz.

        Raises:
            CheckpointError: they do not fit each other, or the mel frames that AudioLDM computes.
        """
        super().__init__()
        self.vae = vae
        self.vocoder = vocoder
        config, voice = self.vae.config, self.vocoder.config
        self._factor = 2 ** (len(config.block_out_channels) - 1)
        hop = math.prod(voice.upsample_rates)
        if (config.in_channels, config.out_channels) != (1, 1) or voice.model_in_dim % self._factor:
            raise CheckpointError(
                f"the autoencoder has {config.in_channels} inputs and shortens by {self._factor}; "
                f"for {voice.model_in_dim} mel bands it must have one, and a factor of their number"
            )
        if voice.sampling_rate != AudioLdmMel.SAMPLE_RATE or hop * self._factor <= 512:
            raise CheckpointError(
                f"the vocoder works at {voice.sampling_rate} Hz with a hop of {hop}: only the mel "
                f"frames of AudioLDM at {AudioLdmMel.SAMPLE_RATE} Hz, 160 samples apart, are known"
            )
        if config.latents_mean is not None or config.latents_std is not None:
            raise CheckpointError("the autoencoder has latents_mean or latents_std, AudioLDM none")
        self.mel = AudioLdmMel(voice.model_in_dim, hop)

    @property
    def sample_rate(self) -> int:
        return AudioLdmMel.SAMPLE_RATE

    @property
    def hop_length(self) -> int:
        return self.mel.hop_length * self._factor

    @property
    def num_features(self) -> int:
        return int(self.vae.config.latent_channels) * self._num_bands

    @property
    def num_channels(self) -> int:
        return 1

    @property
    def reach_frames(self) -> int | None:
        return None

    @property
    def statistics(self) -> LatentStatistics:
        config = self.vae.config
        shift = 0.0 if config.shift_factor is None else float(config.shift_factor)
        return LatentStatistics.from_scale(
            float(config.scaling_factor), self.num_features, mean=shift
        )

    @property
    def _num_bands(self) -> int:
        return int(self.vocoder.config.model_in_dim) // self._factor

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        mel = self.mel(pad_to_frames(samples, self.hop_length)[:, 0])
        mode: Tensor = self.vae.encode(mel[:, None]).latent_dist.mode()  # b z l f
        return mode.transpose(1, 2).flatten(2)

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        boxes = latents.unflatten(2, (-1, self._num_bands)).transpose(1, 2)  # b z l f
        samples: Tensor = self.vocoder(self.vae.decode(boxes).sample[:, 0])
        return fit_length(samples[:, None], latents.shape[1] * self.hop_length)
