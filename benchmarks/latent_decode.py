"""What decoding latents costs per second of sound, beside diffusers' codec.

    python benchmarks/latent_decode.py [--seconds 2.97] [--repetitions 5]

diffusers' `AutoencoderOobleck` with first layers of 32 features is a stereo codec of 2048 samples a
frame; ours are VAEs on spectra (512 samples a frame, mono: both channels are decoded, as two
items) and on samples (128 samples a frame, stereo), of about as many parameters where stated, and
the one that Weft ships. All decode the same seconds of 44.1 kHz stereo. Parameters are those of
encoder and decoder together, and of what `decode` runs. Random weights, one thread;
implementations take turns, CPU seconds are the least of the repetitions after one turn that does
not count. Ratios above 1 mean that diffusers' takes longer. Needs diffusers.
"""

import argparse
import math
from collections.abc import Callable

import torch
from latent_dit import count, least_seconds, print_machine, print_row, print_table
from torch import nn

from weft.codecs.vae import Vae, VaeConfig
from weft.nn.spectral_vae import SpectralVaeConfig
from weft.nn.strided_vae import StridedVaeConfig

RATE = 44100
OURS = {
    "spectral, as shipped": VaeConfig(),
    "spectral, 10 M": VaeConfig(
        spectral=SpectralVaeConfig(width=320, hidden_width=1280, encoder_layers=4, decoder_layers=6)
    ),
    "strided, 10 M": VaeConfig(
        front="strided",
        strided=StridedVaeConfig(widths=(48, 48, 96, 96, 208, 208, 416, 416)),
    ),
}


def make_decoders(seconds: float) -> dict[str, tuple[nn.Module, Callable[[], object]]]:
    """Return codec and decoding of each implementation, diffusers' first."""
    from diffusers import AutoencoderOobleck

    theirs = AutoencoderOobleck(encoder_hidden_size=32, decoder_channels=32).eval()
    frames = round(seconds * RATE / theirs.hop_length)
    latents = torch.randn(1, 64, frames)
    num_samples = frames * theirs.hop_length
    made: dict[str, tuple[nn.Module, Callable[[], object]]] = {
        "diffusers": (theirs, lambda: theirs.decode(latents).sample)
    }
    for name, config in OURS.items():
        vae = Vae(config).eval()
        items = 2 // vae.num_channels
        x = torch.randn(items, math.ceil(num_samples / vae.hop_length), vae.num_features)
        made[name] = vae, lambda vae=vae, x=x: vae.decode(x)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.97)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print_machine(arguments.repetitions)
    made = make_decoders(arguments.seconds)
    with torch.inference_mode():
        seconds = least_seconds({n: run for n, (_, run) in made.items()}, arguments.repetitions)
    print_table(
        "codec", "parameters", "of the decoder", "CPU (s) a second of stereo", "diffusers / this"
    )
    for name, (codec, _) in made.items():
        each = seconds[name] / arguments.seconds
        ratio = seconds["diffusers"] / seconds[name]
        decoder = count(codec.get_submodule("decoder"))
        print_row(name, f"{count(codec):,}", f"{decoder:,}", f"{each:.4f}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
