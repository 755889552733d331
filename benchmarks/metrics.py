"""What the metrics cost: 100 pairs of 10 s on two processes.

    python benchmarks/metrics.py [--pairs 100] [--seconds 10] [--rate 24000] [--channels 1]
                                 [--processes 2] [--visqol]

Prints one Markdown table, CPU seconds a metric. Every process makes and measures one pair at a
time, so memory must not grow: its peak is shown after the first pairs and at the end. A pair is a
piece of a synthetic song and its copy with 300 ms replaced and soft noise over all of it.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

GAP_S = 0.3


def pair_metrics(rate: int, with_visqol: bool) -> dict[str, Callable[[Any, Any, Any], object]]:
    """Return the metrics of a pair by name, functions of reference, estimate and gap."""
    from weft import metrics
    from weft.metrics import peaq, visqol_gap

    def lsd(config: metrics.LsdConfig) -> Callable[[Any, Any, Any], float]:
        return lambda x, y, gap: metrics.log_spectral_distance(
            x, y, [gap], config=config, sample_rate=rate
        )

    chosen: dict[str, Callable[[Any, Any, Any], object]] = {
        "SNR": lambda x, y, gap: metrics.snr_db(x, y, [gap]),
        "SI-SDR": lambda x, y, gap: metrics.si_sdr_db(x, y, [gap]),
        "LSD gap": lsd(metrics.GAP),
        "LSD excerpt": lsd(metrics.EXCERPT),
        "LSD ssr_eval": lsd(metrics.SSR_EVAL),
        "LSD apbwe": lsd(metrics.APBWE),
        "LSD universr": lsd(metrics.UNIVERSR),
        "LSD split, apbwe": lambda x, y, gap: metrics.lsd_split(
            x, y, rate, rate / 6, metrics.APBWE
        ),
        "cut-off": lambda x, y, gap: metrics.measure_cutoff_hz(y, rate),
        "low band replaced": lambda x, y, gap: metrics.replace_low_band(x, y, rate, rate / 6),
        "mel gap": lambda x, y, gap: metrics.mel_distance(x, y, rate, [gap]),
        "mel excerpt (MR)": lambda x, y, gap: metrics.mel_distance(x, y, rate),
        "mel dac": lambda x, y, gap: metrics.mel_distance(x, y, rate, config=metrics.DAC),
        "level step": lambda x, y, gap: metrics.seam_level_step_db(x, y, [gap], rate),
        "level mismatch": lambda x, y, gap: metrics.level_mismatch_db(x, y, [gap], rate),
        "click": lambda x, y, gap: metrics.seam_click_db(x, y, [gap], rate),
        "PEAQ (ODG)": lambda x, y, gap: peaq.odg_at(x, y, rate),
    }
    if with_visqol:
        chosen["ViSQOL of the gap"] = lambda x, y, gap: visqol_gap(x, y, rate, gap)
    return chosen


def set_metrics() -> dict[str, Callable[[Any, Any], object]]:
    """Return the metrics of sets of vectors by name."""
    from weft.metrics import divergence, frechet, inception, kernel, manifold
    from weft.rng import Rng

    gaussian = frechet.Gaussian.from_vectors
    return {
        "Frechet": lambda x, y: frechet.frechet_distance(gaussian(x), gaussian(y)),
        "Frechet, extrapolated": lambda x, y: frechet.frechet_infinity(gaussian(x), y, rng=Rng(0)),
        "KID": kernel.kernel_inception_distance,
        "KAD": kernel.kernel_audio_distance,
        "KL of sets": divergence.kl_set,
        "inception score": lambda x, y: inception.inception_score(y),
        "realism": lambda x, y: manifold.realism(manifold.Manifold.of(x), y),
        "precision, recall": manifold.precision_recall,
    }


@lru_cache(maxsize=1)
def make_song(seconds: float, rate: int, channels: int) -> Any:
    """Return the song that all pairs are pieces of, made once a process."""
    from weft.audio.synth import song

    return song(seconds, rate, seed=0)[:channels]


def make_pair(index: int, seconds: float, rate: int, channels: int) -> tuple[Any, Any, Any]:
    """Return a reference, an estimate and the gap between them."""
    import numpy as np

    from weft.canvas.canvas import Region

    rng = np.random.default_rng(index)
    whole = make_song(seconds, rate, channels)
    x = np.roll(whole, int(rng.integers(whole.shape[1])), axis=1)
    y = x + 1e-3 * rng.standard_normal(x.shape)
    start = int((0.3 + 0.3 * rng.random()) * x.shape[1])
    gap = Region(start=start, stop=start + round(GAP_S * rate))
    y[:, gap.start : gap.stop] = x[:, : gap.num_samples]
    return x, y, gap


def measure(task: tuple[int, argparse.Namespace]) -> tuple[dict[str, float], float]:
    """Measure one pair; return CPU seconds by metric and the peak memory so far in MB."""
    index, options = task
    costs: dict[str, float] = {}
    started = time.process_time()
    x, y, gap = make_pair(index, options.seconds, options.rate, options.channels)
    costs["(making the pair)"] = time.process_time() - started
    for name, metric in pair_metrics(options.rate, options.visqol).items():
        started = time.process_time()
        metric(x, y, gap)
        costs[name] = time.process_time() - started
    return costs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def embed_pairs(options: argparse.Namespace) -> tuple[dict[str, float], Any, Any, str]:
    """Embed every clip by the embedder that comes with the package; random vectors without it."""
    import numpy as np

    from weft.errors import WeftError

    try:
        from weft.metrics.embedders.corpus_ssl import load

        embedder = load()
    except (WeftError, OSError):
        x, y = np.random.default_rng(0).standard_normal((2, options.pairs, 192))
        return {}, x, y + 0.1, "random vectors"
    started, vectors = time.process_time(), ([], [])
    for index in range(options.pairs):
        for side, samples in enumerate(
            make_pair(index, options.seconds, options.rate, options.channels)[:2]
        ):
            vectors[side].append(embedder.embed(samples, options.rate).clip)
    cost = {"embedding (both sets)": time.process_time() - started}
    return cost, np.stack(vectors[0]), np.stack(vectors[1]), embedder.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=24000)
    parser.add_argument("--channels", type=int, default=1, choices=(1, 2))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--visqol", action="store_true")
    options = parser.parse_args()
    for library in ("OMP", "OPENBLAS", "MKL"):  # one thread a process, before numpy is imported
        os.environ[f"{library}_NUM_THREADS"] = "1"
    started = time.perf_counter()
    total: dict[str, float] = {}
    peaks = []
    # Spawned, so that their memory is their own.
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        tasks = [(index, options) for index in range(options.pairs)]
        for costs, peak in pool.imap_unordered(measure, tasks):
            peaks.append(peak)
            for name, seconds in costs.items():
                total[name] = total.get(name, 0.0) + seconds
    wall_pairs = time.perf_counter() - started
    costs, x, y, embedder = embed_pairs(options)
    for name, metric in set_metrics().items():
        before = time.process_time()
        metric(x, y)
        costs[f"{name} ({embedder})"] = time.process_time() - before
    wall = time.perf_counter() - started
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, scipy {version('scipy')}, weft {version('weft')}; "
        f"{options.pairs} pairs of {options.seconds:g} s, {options.rate} Hz, {options.channels} "
        f"channel(s), {options.processes} processes, seeds 0-{options.pairs - 1}\n"
    )
    print("| metric | CPU s | ms a pair |\n|---|---|---|")
    for name, seconds in (*total.items(), *costs.items()):
        print(f"| {name} | {seconds:.2f} | {1000 * seconds / options.pairs:.1f} |")
    cpu = sum(total.values()) + sum(costs.values())
    print(f"| **all, CPU** | {cpu:.1f} | {1000 * cpu / options.pairs:.0f} |")
    print(f"| **all, wall** ({wall_pairs:.1f} s of it for pairs) | {wall:.1f} | |")
    early = max(peaks[: max(1, options.pairs // 5)])
    print(
        f"\nPeak memory of a process: {early:.0f} MB after a fifth of the pairs, "
        f"{max(peaks):.0f} MB at the end."
    )


if __name__ == "__main__":
    main()
