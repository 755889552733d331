"""What a latent model makes of nothing, with other steps, gains and pieces.

    python benchmarks/from_nothing.py [MODEL] [--kind heun] [--steps 25] [--first-time 0.98]
        [--gain 1] [--piece-ms 1200] [--draws 24] [--data music piano]

Clips of 5 s, mono, one a seed, are compared with 60 of the corpora's valid split: the KID of the
clips' mean vectors, as the package's embedder hears them, and the median level of each second.
`--gain 0`: estimates as they are; 2: gains twice as far from 1 as the model's.
"""

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np
import torch

from weft import api, zoo
from weft.audio.levels import level_db
from weft.audio.read import read_audio
from weft.data.corpora import find_corpus
from weft.errors import FormatWarning
from weft.metrics.embedders.registry import find_embedder
from weft.metrics.kernel import kernel_inception_distance
from weft.model import Model
from weft.sampling.latent_filler import LatentFiller
from weft.sampling.latent_settings import LatentSampling
from weft.sampling.steps_gaussian import GaussianSamplerConfig

CLIP_S = 5
RATE = 44100
NUM_REAL = 60
SILENCE_DB = -60.0


def real_clips(corpora: list[str]) -> list[tuple[np.ndarray, int]]:
    """Return clips of the valid split with their rates: random places, corpora in turn."""
    rng = np.random.default_rng(0)
    entries = [find_corpus(name).select("valid") for name in corpora]
    found: list[tuple[np.ndarray, int]] = []
    while len(found) < NUM_REAL:
        own = entries[len(found) % len(entries)]
        audio = read_audio(own[rng.integers(len(own))].path)
        length = CLIP_S * audio.sample_rate
        if audio.num_samples < length:
            continue
        start = int(rng.integers(audio.num_samples - length + 1))
        clip = np.asarray(audio.read(start, start + length), dtype=np.float64)
        if level_db(clip) >= SILENCE_DB:
            found.append((clip, audio.sample_rate))
    return found


def changed(model: Model, arguments: argparse.Namespace) -> Model:
    """Return the model with other steps where nothing is known."""
    filler = model.filler
    assert isinstance(filler, LatentFiller)
    sampler = GaussianSamplerConfig(
        kind=arguments.kind, steps=arguments.steps, first_time=arguments.first_time
    )
    free = LatentSampling(
        sampler=sampler,
        guidance=filler.free.guidance,
        gains=tuple((t, 1 + arguments.gain * (gain - 1)) for t, gain in filler.free.gains),
    )
    other = filler.changed(free=free, config=replace(filler.config, piece_ms=arguments.piece_ms))
    return Model(other, model.card, zoo.able)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="weft-latent")
    parser.add_argument("--kind", default="heun")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--first-time", type=float, default=0.98)
    parser.add_argument("--gain", type=float, default=1.0)
    parser.add_argument("--piece-ms", type=float, default=1200.0)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--data", nargs="+", default=["music", "piano"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", FormatWarning)
    torch.set_num_threads(1)
    model = changed(zoo.load(arguments.model), arguments)
    embedder = find_embedder("corpus-ssl")
    real = [embedder.embed(clip, rate).clip for clip, rate in real_clips(arguments.data)]
    made, levels = [], []
    start = time.process_time()
    for seed in range(arguments.draws):
        clip = api.generate(seconds=CLIP_S, num_channels=1, model=model, seed=seed).best.samples
        made.append(embedder.embed(clip, RATE).clip)
        levels.append([level_db(second) for second in np.split(clip, CLIP_S, axis=1)])
    spent = (time.process_time() - start) / arguments.draws
    distance = 1000 * kernel_inception_distance(np.stack(real), np.stack(made))
    seconds = ", ".join(f"{level:.0f}" for level in np.median(levels, axis=0))
    print("| kind | steps | gain | pieces (ms) | KID x 1000 | level of each second (dB) | CPU s |")
    print("|---|---:|---:|---:|---:|---|---:|")
    print(
        f"| {arguments.kind} | {arguments.steps} | {arguments.gain:g} | {arguments.piece_ms:g} "
        f"| {distance:.0f} | {seconds} | {spent:.1f} |"
    )


if __name__ == "__main__":
    main()
