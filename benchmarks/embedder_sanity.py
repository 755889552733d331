"""Is damaged audio farther than clean audio, the farther the more it is damaged?

Prints a Markdown table: Frechet distance of damaged recordings to the same recordings undamaged,
for five kinds of damage at five levels, one column an embedder. ``--split valid`` was used while
the embedders were built, ``test`` is for reporting.
"""

import argparse
import itertools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import signal

from weft.audio.resample import resample
from weft.data.corpora import find_corpus, open_entry
from weft.metrics.embedders.base import Embedder
from weft.metrics.embedders.registry import find_embedder
from weft.metrics.frechet import Gaussian, frechet_distance
from weft.rng import Rng
from weft.version import __version__

RATE = 16000
SECONDS = 10
GAP_SAMPLES = 1600

Damage = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def add_noise(x: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(x.shape)
    return x + noise * np.sqrt(np.mean(x**2)) * 10 ** (-snr_db / 20)


def low_pass(x: np.ndarray, cutoff_hz: float, _: np.random.Generator) -> np.ndarray:
    return signal.sosfiltfilt(signal.butter(8, cutoff_hz, fs=RATE, output="sos"), x, axis=-1)


def cut_gaps(x: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    damaged, blocks = x.copy(), x.shape[1] // GAP_SAMPLES
    for block in rng.permutation(blocks)[: round(percent / 100 * blocks)]:
        damaged[:, block * GAP_SAMPLES : (block + 1) * GAP_SAMPLES] = 0
    return damaged


def clip(x: np.ndarray, drive_db: float, _: np.random.Generator) -> np.ndarray:
    peak = np.abs(x).max() * 10 ** (-drive_db / 20)
    return np.clip(x, -peak, peak)


def detune(x: np.ndarray, cents: float, _: np.random.Generator) -> np.ndarray:
    return resample(x, round(10 * RATE * 2 ** (cents / 1200)), 10 * RATE)


KINDS: tuple[tuple[str, str, Damage, tuple[float, ...]], ...] = (
    ("white noise", "dB SNR", add_noise, (40, 30, 20, 10, 0)),
    ("low-pass", "Hz", low_pass, (6000, 4000, 2500, 1500, 800)),
    ("gaps of 100 ms", "% of time", cut_gaps, (5, 10, 20, 40, 60)),
    ("clipping", "dB over", clip, (6, 12, 18, 24, 30)),
    ("detuning", "cents", detune, (25, 50, 100, 200, 400)),
)


def read_clips(
    corpora: Sequence[str], split: str, root: Path | None, count: int
) -> list[np.ndarray]:
    """Return up to ``count`` clips of each corpus: mono, 16 kHz, 3 to 10 s, spread evenly."""
    clips = []
    for name in corpora:
        entries = find_corpus(name, root=root).select(split)
        sounds = [open_entry(e, sample_rate=RATE, is_mono=True).samples for e in entries]
        long_enough = [sound for sound in sounds if sound.shape[1] >= 3 * RATE]
        for number in range(count):
            sound = long_enough[number % len(long_enough)]
            spare = max(0, sound.shape[1] - SECONDS * RATE)
            takes = -(-count // len(long_enough))
            start = spare * (2 * (number // len(long_enough)) + 1) // (2 * takes)
            clips.append(sound[:, start : start + SECONDS * RATE])
    return clips


def set_of(embedder: Embedder, clips: Sequence[np.ndarray]) -> Gaussian:
    return Gaussian.from_vectors(
        np.concatenate([embedder.embed(sound, RATE).vectors for sound in clips])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of the corpora; else WEFT_DATA")
    parser.add_argument("--split", default="test")
    parser.add_argument("--corpora", default="music,piano,environment,sounds")
    parser.add_argument("--clips", type=int, default=12, help="clips of each corpus")
    parser.add_argument("--embedders", default="corpus-ssl,corpus-ssl-witness")
    arguments = parser.parse_args()
    corpora = arguments.corpora.split(",")
    embedders = [find_embedder(name) for name in arguments.embedders.split(",")]
    clips = read_clips(corpora, arguments.split, arguments.root, arguments.clips)
    clean = [set_of(embedder, clips) for embedder in embedders]
    print(
        f"Frechet distance to the undamaged clips, `weft` {__version__}, torch "
        f"{torch.__version__}, {platform.machine()}; {len(clips)} clips of up to {SECONDS} s, "
        f"{arguments.clips} each of {', '.join(corpora)} (split {arguments.split}), 16 kHz mono, "
        f"{clean[0].num_vectors} vectors; seed 0.\n"
    )
    print(f"| damage | level | {' | '.join(embedder.name for embedder in embedders)} |")
    print("|---|---:|" + "---:|" * len(embedders))
    verdicts = []
    for kind, (name, unit, damage, levels) in enumerate(KINDS):
        rows = []
        for level in levels:
            damaged = [
                damage(sound, level, Rng(0).stream(kind, number))
                for number, sound in enumerate(clips)
            ]
            rows.append(
                [
                    frechet_distance(base, set_of(embedder, damaged))
                    for base, embedder in zip(clean, embedders, strict=True)
                ]
            )
            cells = " | ".join(f"{value:.2f}" for value in rows[-1])
            print(f"| {name} | {level:g} {unit} | {cells} |", flush=True)
        for column, embedder in enumerate(embedders):
            values = [row[column] for row in rows]
            if not all(a < b for a, b in itertools.pairwise([0.0, *values])):
                verdicts.append(f"{name} is not monotone in {embedder.name}")
    print(f"\n{'; '.join(verdicts) or 'Each kind rises at each of its levels, for each embedder.'}")


if __name__ == "__main__":
    main()
