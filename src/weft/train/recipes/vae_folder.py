"""The VAE whose latents are learned: a trained one, or a random one where none is given."""

from pathlib import Path
from typing import Final

import torch

from weft.checkpoint import CONFIG_FILE, digest_of
from weft.codecs.vae import Vae, VaeConfig, read_vae, write_vae
from weft.data.samples import CacheConfig
from weft.nn.spectral_vae import SpectralVaeConfig
from weft.train.recipes.tokens_codec import find_codec

_RANDOM: Final = VaeConfig(
    spectral=SpectralVaeConfig(
        num_features=16, width=32, hidden_width=64, encoder_layers=1, decoder_layers=1
    )
)
"""Sizes of the codec with random weights."""


def make_random_vae(cache: Path) -> None:
    """Make a codec with random weights, for tests: what it decodes is noise.

    Args:
        cache: where it is kept; one that is there already is kept.
    """
    folder = _random_folder(cache)
    if (folder / CONFIG_FILE).is_file():
        return
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        codec = Vae(_RANDOM).eval()
    noise = 0.1 * torch.randn(4, 1, codec.sample_rate, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codec.follow(codec.posterior(noise)[0], 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    write_vae(folder, codec)


def open_vae(name: str, cache: Path) -> tuple[Vae, str, Path]:
    """Return a codec, its digest and its folder.

    Args:
        name: a folder, or the name of a codec that comes with the package; empty: the one that
            `make_random_vae` made.
        cache: where that lies.

    Raises:
        ConfigError: there is none of that name.
        CheckpointError: it is damaged, or no VAE.
    """
    folder = find_codec(name) if name else _random_folder(cache)
    return read_vae(folder), digest_of(folder), folder


def stereo_cache(codec: Vae) -> CacheConfig:
    """Return how recordings are kept for a codec that takes the parts of two channels apart."""
    return CacheConfig(sample_rate=codec.sample_rate, num_channels=2)


def _random_folder(cache: Path) -> Path:
    return cache / "random-vae-1"
