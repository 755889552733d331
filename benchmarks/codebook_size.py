"""What a codebook of another size would do for a trained codec.

    WEFT_DATA=corpora python benchmarks/codebook_size.py CODEC [--sizes 256 1024 4096 16384]
        [--cache FOLDER] [-o FILE.md]

Keeps encoder and decoder of a trained codec, places codebooks of several sizes by k-means on frames
of the train split, and measures on gaps of the valid split what the codec makes of the truth, and
how many nats its tokens hold: the decoder says what more codes are worth, the entropy what they
cost the network that must predict them. The decoder was trained with its own codebook only, which
favours that one; a row shows it as it was trained. Prints Markdown.
"""

import argparse
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import weft
from weft.checkpoint import digest_of
from weft.codecs.wavtokenizer import WavTokenizer, read_codec
from weft.data.corpora import find_corpus
from weft.data.crops import CropConfig, CropSource
from weft.data.samples import CacheConfig, make_sample_cache
from weft.folders import default_cache
from weft.nn.quantiser import QuantiserConfig
from weft.rng import Rng
from weft.train.recipes.codec import CORPORA
from weft.train.recipes.codec_check import Place, find_places, round_trip

NUM_ROUNDS = 15


@torch.no_grad()
def features_of(codec: WavTokenizer, source: CropSource, num_frames: int) -> torch.Tensor:
    """Return frames of crops of the train split."""
    found: list[torch.Tensor] = []
    per_crop = source.config.num_samples // codec.hop_length
    for i in range(num_frames // per_crop + 1):
        index = int(Rng(0).stream(i).integers(len(source)))
        samples = torch.from_numpy(source.crop(index, Rng(i)))
        found.append(codec.encode(samples).features[0])
    return torch.cat(found)[:num_frames]


def with_codebook(codec: WavTokenizer, features: torch.Tensor, size: int) -> WavTokenizer:
    """Return the codec with a codebook of so many codes."""
    config = QuantiserConfig(codebook_size=size, width=features.shape[1], num_init_steps=NUM_ROUNDS)
    changed = WavTokenizer(replace(codec.config, quantiser=config))
    changed.encoder.load_state_dict(codec.encoder.state_dict())
    changed.decoder.load_state_dict(codec.decoder.state_dict())
    changed.quantiser.start(features, torch.Generator().manual_seed(0))
    return changed.eval()


@torch.no_grad()
def row(name: str, codec: WavTokenizer, size: int, places: list[Place]) -> str:
    """Measure one codebook."""
    found = round_trip(codec, places, is_all_quantised=True)
    counts = torch.zeros(size, dtype=torch.float64)
    for place in places:
        codes = codec.quantiser.encode(codec.encoder(torch.from_numpy(place.samples)))[0]
        counts += torch.bincount(codes, minlength=size)
    nats = float(torch.special.entr(counts / counts.sum()).sum())
    rate = codec.sample_rate / codec.hop_length
    error = 1.96 * found.lsd.std(ddof=1) / np.sqrt(len(places))
    return (
        f"| {name} | {rate * np.log2(size):.0f} | {found.lsd.mean():.3f} +- {error:.3f} | "
        f"{found.snr_db.mean():.2f} | {nats:.2f} | {np.exp(nats):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("codec", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--frames", type=int, default=65536)
    parser.add_argument("--gaps", type=int, default=1, help="of each valid recording")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec = read_codec(options.codec)
    manifests = [find_corpus(name) for name in CORPORA]
    config = CacheConfig(sample_rate=codec.sample_rate)
    train, valid = (
        make_sample_cache(manifests, options.cache, config, split=split)
        for split in ("train", "valid")
    )
    crops = CropConfig(num_samples=2 * codec.sample_rate, weights=CORPORA)
    features = features_of(codec, CropSource(train, crops), options.frames)
    places = find_places(valid, options.gaps)
    lines = [
        f"Codec {digest_of(options.codec)[:12]}, {len(places)} gaps of the valid split, codebooks "
        f"from {len(features)} frames of the train split; weft {weft.__version__}, torch "
        f"{torch.__version__}, {platform.machine()}.",
        "",
        "| codes | bits a second | LSD gap | SNR, dB | entropy, nats | codes in use |",
        "|---:|---:|---:|---:|---:|---:|",
        row(f"{codec.codebook_size}, as trained", codec, codec.codebook_size, places),
    ]
    started = time.process_time()
    for size in options.sizes:
        lines.append(row(f"{size}", with_codebook(codec, features, size), size, places))
        print(f"{size}: {time.process_time() - started:.0f} s of CPU", flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
