"""The codec of the parity fixture: published code with random weights, in a small size."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from weft.codecs.wavtokenizer import WavTokenizerConfig
from weft.nn.quantiser import QuantiserConfig
from weft.nn.seanet import SeanetConfig
from weft.nn.vocos import VocosConfig

FOLDER = Path(__file__).parents[1] / "parity" / "wavtokenizer"


@cache
def fixture_config() -> WavTokenizerConfig:
    found = json.loads((FOLDER / "config.json").read_text())
    width = found["latent_dim"]
    return WavTokenizerConfig(
        sample_rate=found["sample_rate"],
        encoder=SeanetConfig(
            num_filters=found["n_filters"],
            strides=tuple(reversed(found["ratios"])),
            num_lstm_layers=found["lstm_layers"],
            width=width,
        ),
        quantiser=QuantiserConfig(codebook_size=found["codebook_size"], width=width),
        decoder=VocosConfig(
            num_features=width,
            width=found["backbone_dim"],
            hidden_width=found["intermediate_dim"],
            num_layers=found["num_layers"],
            n_fft=found["n_fft"],
            hop_length=found["hop_length"],
        ),
    )


def fixture_state() -> dict[str, Tensor]:
    return load_file(FOLDER / "state.safetensors")


@cache
def reference() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "reference.npz") as arrays:
        return {name: arrays[name] for name in arrays}
