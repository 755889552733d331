"""What the models of short gaps cost and how well they fill, beside plain numpy and scipy.

    python benchmarks/classical.py [--gaps 5 20 50 100] [--positions 4] [--clicks 500]

Prints one Markdown table: mean SNR in the gap and CPU seconds a gap, on a steady chord (C major, 12
partials a note falling as 1/k, white noise 60 dB below) at 44.1 kHz, and for many clicks of 3 ms in
one call. "plain" rows are textbook implementations with the same orders and contexts: Burg without
assumed noise, extrapolation by `scipy.signal.lfilter` and a raised-cosine cross-fade; Janssen from
zeros, 10 iterations, each with `scipy.linalg.solve_toeplitz`.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from scipy import linalg, signal

from weft.audio.synth import harmonic_tones
from weft.canvas.canvas import Region, Window
from weft.canvas.filler import Filler
from weft.classical.autoregressive import Janssen, JanssenConfig, Lpc, ModelSpan
from weft.classical.simple import CrossfadeFill, Silence
from weft.classical.sparse import ASpain, ASpainConfig
from weft.rng import Rng

RATE = 44100
CLICK_MS = 3.0
CONTEXT = 12000

Fills = Callable[[list[Window]], list[np.ndarray]]


def plain_burg(row: np.ndarray, order: int) -> np.ndarray:
    forward, backward, filters = row[1:].copy(), row[:-1].copy(), np.ones(1)
    for _ in range(order):
        reflection = -2 * (forward @ backward) / (forward @ forward + backward @ backward)
        filters = np.append(filters, 0) + reflection * np.append(filters, 0)[::-1]
        forward, backward = (
            (forward + reflection * backward)[1:],
            (backward + reflection * forward)[:-1],
        )
    return filters


def plain_extrapolate(row: np.ndarray, filters: np.ndarray, count: int) -> np.ndarray:
    state = signal.lfiltic([1.0], filters, row[::-1][: len(filters) - 1])
    return signal.lfilter([1.0], filters, np.zeros(count), zi=state)[0]


def plain_lpc(window: Window) -> np.ndarray:
    before, after, order = sides(window)
    gap = window.gap.num_samples
    forward = plain_extrapolate(before, plain_burg(before, order), gap)
    backward = plain_extrapolate(after[::-1], plain_burg(after[::-1], order), gap)[::-1]
    weight = 0.5 - 0.5 * np.cos(np.pi * (np.arange(gap) + 0.5) / gap)
    return (forward * (1 - weight) + backward * weight)[None]


def plain_janssen(window: Window) -> np.ndarray:
    before, after, order = sides(window)
    gap = window.gap.num_samples
    row = np.concatenate((before, np.zeros(gap), after))
    start, stop = len(before), len(before) + gap
    for _ in range(10):
        filters = plain_burg(row, order)
        row[start:stop] = 0
        error = np.convolve(row[start - order : stop + order], filters)[order : 2 * order + gap]
        right = -np.correlate(error, filters, "valid")[:gap]
        lags = np.zeros(gap)
        count = min(gap, order + 1)
        lags[:count] = np.correlate(filters, filters, "full")[order : order + count]
        row[start:stop] = linalg.solve_toeplitz(lags, right)
    return row[None, start:stop]


def sides(window: Window) -> tuple[np.ndarray, np.ndarray, int]:
    found = ModelSpan().sides(window)
    return found.before[0], found.after[0], found.order


def by_filler(filler: Filler) -> Fills:
    return lambda windows: [
        fills[0].samples for fills in filler.fill(windows, num_takes=1, rng=Rng(0))
    ]


def one_by_one(fill: Callable[[Window], np.ndarray]) -> Fills:
    return lambda windows: [fill(window) for window in windows]


MODELS: dict[str, tuple[Fills, bool]] = {
    # name: (fill, whether it is fast enough for many clicks)
    "silence": (by_filler(Silence()), True),
    "crossfade": (by_filler(CrossfadeFill()), True),
    "lpc": (by_filler(Lpc()), True),
    "plain LPC": (one_by_one(plain_lpc), True),
    "janssen": (by_filler(Janssen()), True),
    "janssen-autocorrelation": (
        by_filler(Janssen(JanssenConfig(estimator="autocorrelation"))),
        True,
    ),
    "plain Janssen (Burg)": (one_by_one(plain_janssen), False),
    "a-spain": (by_filler(ASpain()), False),
    "a-spain-l": (by_filler(ASpain(ASpainConfig(learned=True))), False),
}


def window_at(samples: np.ndarray, start: int, length: int) -> Window:
    first, last = start - CONTEXT, start + length + CONTEXT
    known = np.ones(last - first, dtype=bool)
    known[CONTEXT : CONTEXT + length] = False
    return Window(
        samples=np.where(known, samples[:, first:last], 0.0),
        known=known,
        gap=Region(start=CONTEXT, stop=CONTEXT + length),
        start=first,
        sample_rate=RATE,
    )


def measure(fill: Fills, samples: np.ndarray, starts: np.ndarray, length: int) -> str:
    windows = [window_at(samples, int(start), length) for start in starts]
    started = time.process_time()
    fills = fill(windows)
    seconds = (time.process_time() - started) / len(windows)
    ratios = []
    for start, found in zip(starts, fills, strict=True):
        original = samples[:, start : start + length]
        ratios.append(10 * np.log10((original**2).sum() / ((original - found) ** 2).sum()))
    return f"{np.mean(ratios):.1f} dB, {seconds:.4f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaps", type=float, nargs="+", default=[5, 20, 50, 100])
    parser.add_argument("--positions", type=int, default=4)
    parser.add_argument("--clicks", type=int, default=500)
    options = parser.parse_args()
    samples = harmonic_tones((261.63, 329.63, 392.0), 4.0, RATE, floor_db=-60.0, seed=0)
    rng = np.random.default_rng(0)
    starts = rng.integers(CONTEXT, samples.shape[1] - 2 * CONTEXT, options.positions)
    clicks = rng.integers(CONTEXT, samples.shape[1] - 2 * CONTEXT, options.clicks)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, scipy {version('scipy')}, weft {version('weft')}; seed 0, "
        f"{options.positions} positions; CPU seconds a gap\n"
    )
    heads = [f"{gap:g} ms" for gap in options.gaps]
    heads.append(f"{options.clicks} clicks of {CLICK_MS:g} ms")
    print("| model | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for name, (fill, is_fast) in MODELS.items():
        cells = []
        for gap in options.gaps:
            cells.append(measure(fill, samples, starts, round(gap * RATE / 1000)))
        length = round(CLICK_MS * RATE / 1000)
        cells.append(measure(fill, samples, clicks, length) if is_fast else "")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
