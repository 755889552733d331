"""What PEAQ reaches: pins, conformance, cost, and how it rates holes.

    python benchmarks/peaq_conformance.py [--items DIR] [--recordings DIR ...] [--files 12]

Always prints the pins of GstPEAQ (440 Hz waves of GStreamer's audiotestsrc) and the CPU time of
10 s of stereo. With `--items`, or WEFT_PEAQ_ITEMS in the environment, the table of the 16
conformance items of BS.1387-1: an implementation conforms if every distortion index is nearer than
0.02. The ITU licenses its items for testing such measurements only. With `--recordings`, the mean
grade of one silent hole in the middle of mono excerpts, over lengths of hole and excerpt.
"""

import argparse
import itertools
import math
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from weft.audio.read import read_audio
from weft.audio.resample import resample, to_mono
from weft.errors import WeftError
from weft.metrics.peaq import RATE, distortion_index, grade, odg, peaq

TARGETS = {
    "acodsna": 1.304,
    "bcodtri": 1.949,
    "ccodsax": 0.048,
    "ecodsmg": 1.731,
    "fcodsb1": 0.677,
    "fcodtr1": 1.419,
    "fcodtr2": -0.045,
    "fcodtr3": -0.715,
    "gcodcla": 1.781,
    "icodsna": -3.029,
    "kcodsme": 3.093,
    "lcodhrp": 1.041,
    "lcodpip": 1.973,
    "mcodcla": -0.436,
    "ncodsfe": 3.135,
    "scodclv": 1.689,
}
TOLERANCE = 0.02
HOLES_MS = (20, 50, 150, 300, 750)
EXCERPTS_S = (2, 4, 8)
STARTS_S = (5, 12)


def waves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sine, saw and triangle as audiotestsrc sums their phase up, in float32."""
    step, turn, phase = 2 * math.pi * 440 / RATE, 2 * math.pi, 0.0
    phases = np.empty(128 * 1024)
    for n in range(len(phases)):
        phase += step
        phase -= turn if phase >= turn else 0.0
        phases[n] = phase
    saw = np.where(phases < np.pi, phases, phases - turn) * (0.8 / np.pi)
    rising = np.where(phases < 1.5 * np.pi, np.pi - phases, phases - turn)
    triangle = np.where(phases < 0.5 * np.pi, phases, rising) * (0.8 / (0.5 * np.pi))
    sine, saw, triangle = (
        wave.astype(np.float32).astype(float)[None]
        for wave in (0.8 * np.sin(phases), saw, triangle)
    )
    return sine, saw, triangle


def print_pins() -> None:
    sine, saw, triangle = waves()
    rows = [
        ("sine against itself", 0.171, odg(sine, sine)),
        ("saw against triangle", -2.007, odg(saw, triangle)),
        ("the same, both channels", -2.007, odg(*(np.repeat(x, 2, 0) for x in (saw, triangle)))),
    ]
    print("\n| pin | GstPEAQ | ours |\n|---|---|---|")
    for name, target, ours in rows:
        print(f"| {name} | {target:.3f} | {ours:.3f} |")


def print_conformance(folder: Path) -> None:
    files = {path.name.lower(): path for path in folder.rglob("*") if path.is_file()}
    print("\n| item | DI | ours | difference | within 0.02 |\n|---|---|---|---|---|")
    for item, target in TARGETS.items():
        names = f"{item[0]}ref{item[4:]}.wav", f"{item}.wav"
        if any(name not in files for name in names):
            print(f"| {item} | {target:.3f} | not in the folder | | |")
            continue
        truth, fill = (read_audio(files[name]).samples for name in names)
        length = min(truth.shape[1], fill.shape[1])
        index = peaq(truth[:, :length], fill[:, :length]).di
        verdict = "yes" if abs(index - target) < TOLERANCE else "no"
        print(f"| {item} | {target:.3f} | {index:.3f} | {index - target:+.3f} | {verdict} |")


def print_cost() -> None:
    rng = np.random.default_rng(0)
    reference = 0.1 * rng.standard_normal((2, 10 * RATE))
    estimate = reference + 1e-3 * rng.standard_normal(reference.shape)
    peaq(reference, estimate)
    times = []
    for _ in range(5):
        start = time.process_time()
        peaq(reference, estimate)
        times.append(time.process_time() - start)
    print(f"\n10 s of stereo: {np.median(times):.2f} s of CPU (median of {len(times)}).")


def excerpts(folders: list[Path], limit: int) -> Iterator[np.ndarray]:
    """Yield 8 s of mono at 48 kHz, two from each of some files of each folder."""
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        used = 0
        for path in paths[:: max(1, len(paths) // (2 * limit))]:
            try:
                audio = read_audio(path)
            except WeftError:
                continue
            if used == limit or audio.samples.shape[1] < 20 * audio.sample_rate:
                continue
            used += 1
            for start in STARTS_S:
                part = audio.samples[:, start * audio.sample_rate :][:, : 8 * audio.sample_rate]
                samples = resample(to_mono(part), audio.sample_rate, RATE)
                if np.sqrt(np.mean(samples**2)) > 1e-3:
                    yield samples


def print_holes(folders: list[Path], limit: int) -> None:
    grades: dict[tuple[int, bool], list[list[float]]] = {}
    for samples in excerpts(folders, limit):
        for seconds in EXCERPTS_S:
            half = seconds * RATE // 2
            truth = samples[:, 4 * RATE - half : 4 * RATE + half]
            rows: dict[bool, list[float]] = {False: [], True: []}
            for hole_ms in HOLES_MS:
                fill = truth.copy()
                fill[:, half - hole_ms * RATE // 2000 : half + hole_ms * RATE // 2000] = 0
                movs = peaq(truth, fill).movs
                for clamp, row in rows.items():
                    row.append(grade(distortion_index(movs, clamp=clamp)))
            for clamp, row in rows.items():
                grades.setdefault((seconds, clamp), []).append(row)
    header = " | ".join(f"{ms} ms" for ms in HOLES_MS)
    print(f"\n| excerpt | inputs | n | {header} | longer is worse |")
    print("|---|---|---|" + "---|" * (len(HOLES_MS) + 1))
    for (seconds, clamp), rows in sorted(grades.items(), key=lambda item: item[0][::-1]):
        table = np.array(rows)
        pairs = itertools.combinations(range(len(HOLES_MS)), 2)
        kept = np.mean([table[:, i] > table[:, j] for i, j in pairs])
        means = " | ".join(f"{value:.2f}" for value in table.mean(axis=0))
        name = "clamped" if clamp else "as they are"
        print(f"| {seconds} s | {name} | {len(table)} | {means} | {100 * kept:.0f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=Path, default=os.environ.get("WEFT_PEAQ_ITEMS"))
    parser.add_argument("--recordings", type=Path, nargs="*", default=[])
    parser.add_argument("--files", type=int, default=12, help="recordings of each folder")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, scipy {version('scipy')}; seed 0"
    )
    print_pins()
    print_cost()
    if options.items:
        print_conformance(Path(options.items))
    else:
        print("\nConformance: not tested, no folder of items was given.")
    if options.recordings:
        print_holes(options.recordings, options.files)


if __name__ == "__main__":
    main()
