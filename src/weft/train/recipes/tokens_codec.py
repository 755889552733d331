"""The codec whose tokens are learned: a trained one, or a random one where none is given."""

from dataclasses import asdict
from pathlib import Path

import torch

from weft.checkpoint import CONFIG_FILE, digest_of
from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig, read_codec, write_codec
from weft.data.cache import settings_digest
from weft.data.crops import CropConfig, CropSource
from weft.data.manifest import Manifest
from weft.data.samples import CacheConfig, SampleCache, make_sample_cache, open_sample_cache
from weft.errors import ConfigError
from weft.nn.quantiser import QuantiserConfig
from weft.nn.seanet import SeanetConfig
from weft.nn.vocos import VocosConfig
from weft.rng import Rng

SHIPPED = Path(__file__).resolve().parents[2] / "weights"
"""Folder of the models that come with the package."""

RANDOM_CODEC = WavTokenizerConfig(
    sample_rate=16000,
    encoder=SeanetConfig(num_filters=4, strides=(4, 5, 16), num_lstm_layers=0, width=16),
    quantiser=QuantiserConfig(codebook_size=64, width=16, num_init_steps=20),
    decoder=VocosConfig(
        num_features=16, width=32, hidden_width=64, num_layers=1, n_fft=1280, hop_length=320
    ),
)
"""Sizes of the codec with random weights."""

_VERSION = 1  # of the way it is made
_NUM_CROPS = 64
_CROP_S = 1.0


def find_codec(name: str) -> Path:
    """Return the folder of a trained codec.

    Args:
        name: a folder, or the name of a codec that comes with the package.

    Raises:
        ConfigError: there is none.
    """
    for folder in (Path(name), SHIPPED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise ConfigError(
        f"no codec {name!r}: it is neither a folder with a {CONFIG_FILE} nor a model that comes "
        "with the package; train one with 'weft train codec' and give its folder"
    )


def make_random_codec(manifests: list[Manifest], cache: Path) -> None:
    """Make a codec with random weights and a codebook that fits the recordings, for tests.

    It has learned nothing: its tokens tell sounds apart a little, its sound is noise.

    Args:
        manifests: of the corpora, whose train split the codebook is fitted to.
        cache: where recordings and the codec are kept; a codec that is there already is kept.
    """
    config = CacheConfig(sample_rate=RANDOM_CODEC.sample_rate)
    samples = make_sample_cache(manifests, cache, config, split="train")
    folder = _random_folder(samples, cache)
    if (folder / CONFIG_FILE).is_file():
        return
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        codec = WavTokenizer(RANDOM_CODEC).eval()
        num_samples = round(_CROP_S * RANDOM_CODEC.sample_rate)
        crops = CropSource(samples, CropConfig(num_samples=num_samples))
        indices = range(0, len(crops), max(1, len(crops) // _NUM_CROPS))
        features = [
            codec.encoder(torch.from_numpy(crops.crop(i, Rng(0).child(i)))) for i in indices
        ]
        codec.quantiser.start(torch.cat(features), torch.Generator().manual_seed(0))
    folder.mkdir(parents=True, exist_ok=True)
    write_codec(folder, codec)


def find_random_codec(manifests: list[Manifest], cache: Path) -> Path:
    """Return the folder of the codec that `make_random_codec` made.

    Raises:
        ConfigError: it was not made from these recordings.
    """
    config = CacheConfig(sample_rate=RANDOM_CODEC.sample_rate)
    return _random_folder(open_sample_cache(manifests, cache, config, split="train"), cache)


def open_codec(folder: Path) -> tuple[WavTokenizer, str]:
    """Return a codec, frozen and in eval mode, and its digest.

    Raises:
        CheckpointError: it is damaged, or no codec.
    """
    return read_codec(folder).requires_grad_(False), digest_of(folder)


def _random_folder(samples: SampleCache, cache: Path) -> Path:
    digests = [entry.digest for entry in samples.entries]
    settings = {"version": _VERSION, "files": digests, "config": asdict(RANDOM_CODEC)}
    return cache / "codecs" / settings_digest(settings)
