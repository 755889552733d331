"""Small token models for tests: a codec without learning, and networks that know the answer."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.codecs.base import TokenCodec, TokenFrames
from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig
from weft.nn.quantiser import QuantiserConfig
from weft.nn.seanet import SeanetConfig
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.nn.vocos import VocosConfig

RATE = 8000
HOP = 40


@final
class BlockCodec(TokenCodec):
    """Frames are the samples themselves, so that decoding features gives back what was encoded.

    Tokens are the frame's root mean square on a grid of dB, and stand for a constant of that size,
    unless a table says what they stand for.
    """

    def __init__(self, sample_rate: int = RATE, hop_length: int = HOP, codebook_size: int = 64):
        super().__init__()
        self._sample_rate, self._hop_length = sample_rate, hop_length
        levels = torch.logspace(-4, 0, codebook_size)
        self.register_buffer("levels", levels)
        self.register_buffer("table", levels[:, None].repeat(1, hop_length))
        self.encoded: list[Tensor] = []

    @property
    def sample_rate(self) -> int:
        return self._sample_rate

    @property
    def hop_length(self) -> int:
        return self._hop_length

    @property
    def codebook_size(self) -> int:
        return len(self.levels)

    def encode(self, samples: Float[Tensor, "b n"]) -> TokenFrames:
        self.encoded.append(samples)
        num_frames = -(-samples.shape[1] // self.hop_length)
        padded = torch.nn.functional.pad(
            samples, (0, num_frames * self.hop_length - samples.shape[1])
        )
        features = padded.unflatten(1, (num_frames, self.hop_length))
        rms = features.square().mean(dim=2).sqrt().clamp_min(1e-9)
        codes = (rms.log()[..., None] - self.levels.log()).abs().argmin(dim=2)
        return TokenFrames(codes=codes, features=features)

    def embed(self, codes: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        return self.table[codes]

    def decode(self, features: Float[Tensor, "b l d"]) -> Float[Tensor, "b n"]:
        return features.flatten(1)


def make_network(codebook_size: int = 64, num_frames: int = 64, *, spread: float = 3.0) -> TokenDit:
    """Return a small network with random weights, whose output is not even."""
    config = TokenDitConfig(
        codebook_size=codebook_size,
        width=16,
        num_layers=1,
        num_heads=2,
        cond_dim=8,
        expansion=2,
        num_frames=num_frames,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TokenDit(config)
        with torch.no_grad():
            for value in network.output_layer.parameters():
                value.normal_(0, spread / 4)
    return network.eval()


CODEC = WavTokenizerConfig(
    sample_rate=8000,
    encoder=SeanetConfig(num_filters=2, strides=(2, 4, 5), num_lstm_layers=1, width=8),
    quantiser=QuantiserConfig(codebook_size=32, width=8, num_init_steps=2),
    decoder=VocosConfig(
        num_features=8, width=32, hidden_width=32, num_layers=1, n_fft=160, hop_length=40
    ),
)


def make_codec() -> WavTokenizer:
    """Return a small codec with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        codec = WavTokenizer(CODEC)
        codec.quantiser.codebook.normal_(0, 0.1)
    return codec.eval()
