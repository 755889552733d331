"""Small latent models for tests: a codec without learning, and networks that know the answer."""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from weft.codecs.base import LatentCodec
from weft.codecs.vae import Vae, VaeConfig
from weft.nn.dit import Dit, DitConfig
from weft.nn.spectral_vae import SpectralVaeConfig
from weft.process.gaussian import GaussianProcess
from weft.sampling.latent_condition import num_condition

RATE = 8000
HOP = 80
SCALE = 0.1
"""Level of sound whose latents have the variance 1."""
TO_X0 = GaussianProcess(prediction="x0")


@final
class BlockLatents(LatentCodec):
    """Latents are the samples of a frame over `SCALE`; decoding loses a share of each sample."""

    def __init__(self, *, loss: float = 0.0, num_channels: int = 1) -> None:
        super().__init__()
        self.register_buffer("kept", torch.tensor(1.0 - loss))
        self._num_channels = num_channels
        self.encoded: list[Tensor] = []

    @property
    def sample_rate(self) -> int:
        return RATE

    @property
    def hop_length(self) -> int:
        return HOP

    @property
    def num_features(self) -> int:
        return HOP

    @property
    def num_channels(self) -> int:
        return self._num_channels

    @property
    def reach_frames(self) -> int:
        return 0

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        self.encoded.append(samples)
        missing = -samples.shape[2] % HOP
        return torch.nn.functional.pad(samples[:, 0], (0, missing)).unflatten(1, (-1, HOP)) / SCALE

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        return latents.flatten(1)[:, None] * SCALE * self.kept


def make_dit(num_features: int = HOP, *, is_told: bool = True, spread: float = 0.0) -> Dit:
    """Return a small network: random with a spread, else one that always puts out zeros."""
    config = DitConfig(
        num_features=num_features,
        num_condition=num_condition(num_features) if is_told else 0,
        width=16,
        num_layers=1,
        num_heads=2,
        expansion=2,
        positions="rotary",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Dit(config)
        if spread:
            with torch.no_grad():
                for value in network.parameters():
                    value.normal_(0, spread)
    return network.eval()


def make_knowing(answer: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> Dit:
    """Return a network that puts out ``answer(x, t, condition)``."""
    network = make_dit()

    def forward(x: Tensor, t: Tensor, *, condition: Tensor | None = None) -> Tensor:
        return answer(x, t, condition)

    network.forward = forward  # type: ignore[assignment,method-assign]
    return network


def draft_of(condition: Tensor) -> Tensor:
    """Return the draft in a condition."""
    return condition[..., HOP + 1 : 2 * HOP + 1]


def sure_of(condition: Tensor) -> Tensor:
    """Return the confidence in a condition, one number a frame."""
    return condition[..., 2 * HOP + 1]


VAE = VaeConfig(
    spectral=SpectralVaeConfig(
        sample_rate=RATE,
        n_fft=160,
        hop_length=HOP,
        num_features=8,
        width=16,
        hidden_width=16,
        encoder_layers=1,
        decoder_layers=1,
    )
)


def make_vae() -> Vae:
    """Return a small codec with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        codec = Vae(VAE)
    noise = SCALE * torch.randn(1, 1, RATE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codec.follow(codec.posterior(noise)[0], 1.0)
    return codec.eval()
