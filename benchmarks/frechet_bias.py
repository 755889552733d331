"""How the Frechet distance depends on the number of clips, and what extrapolation makes of it.

    python benchmarks/frechet_bias.py --root CORPORA [--corpora music piano environment]
    python benchmarks/frechet_bias.py --simulate

Each draw deals the clips into two halves. The distance of n clips of one from n of the other should
be 0, that from n damaged ones (white noise under each clip) the same whatever n. Prints both, raw
and extrapolated by `frechet_infinity_both`, with the unbiased kernel distance beside them: means
over draws, with the standard deviation over draws of one extrapolated distance. A clip's windows
are drawn together. `--simulate` takes vectors of Gaussians, whose true distance is known.
"""

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from weft.data.corpora import find_corpus, open_entry
from weft.metrics.frechet import frechet_infinity_both
from weft.metrics.kernel import kernel_audio_distance, median_distance
from weft.rng import Rng

SIMULATED_DIMS = 64
SIMULATED_SHIFT = 0.3
SIMULATED_GAIN = 1.5

Clips = list[np.ndarray]


@dataclass(frozen=True)
class Material:
    """Clips as vectors ``w d``, and the same clips damaged."""

    clean: Clips
    damaged: Clips
    title: str
    truth: float | None = None


def simulate(num_clips: int, rng: Rng) -> Material:
    """Draw clips of one vector, whose variance falls as 1 / k over the dimensions."""
    deviation = np.arange(1, SIMULATED_DIMS + 1) ** -0.5
    clean = rng.stream(0).standard_normal((num_clips, 1, SIMULATED_DIMS)) * deviation
    damaged = np.sqrt(SIMULATED_GAIN) * clean + SIMULATED_SHIFT * deviation
    change = (np.sqrt(SIMULATED_GAIN) - 1) ** 2 + SIMULATED_SHIFT**2
    return Material(
        clean=list(clean),
        damaged=list(damaged),
        title=f"Gaussian vectors of {SIMULATED_DIMS} dimensions, variance 1 / k",
        truth=float((change * deviation**2).sum()),
    )


def embed(options: argparse.Namespace, rng: Rng) -> Material:
    """Cut recordings into clips and embed them, clean and damaged."""
    from weft.metrics.embedders.registry import find_embedder

    embedder = find_embedder(options.embedder, weights=options.weights)
    clips = cut(options, embedder.sample_rate, rng)
    noise = rng.stream(2)

    def damage(clip: np.ndarray) -> np.ndarray:
        level = np.sqrt(np.mean(clip**2)) * 10 ** (-options.snr_db / 20)
        return clip + level * noise.standard_normal(clip.shape)

    def vectors(chosen: Sequence[np.ndarray]) -> Clips:
        return [embedder.embed(clip, embedder.sample_rate).vectors for clip in chosen]

    return Material(
        clean=vectors(clips),
        damaged=vectors([damage(clip) for clip in clips]),
        title=(
            f"{', '.join(options.corpora)}, {options.split or 'all splits'}; clips of "
            f"{options.clip_s:g} s; damage: white noise {options.snr_db:g} dB below each clip; "
            f"embedder {embedder.name} {embedder.digest[:12]}, {embedder.num_dims} dimensions, "
            f"{embedder.sample_rate} Hz"
        ),
    )


def cut(options: argparse.Namespace, rate: int, rng: Rng) -> Clips:
    """Return clips that sound, in random order, equally many of every corpus where there are."""
    length = round(options.clip_s * rate)
    share = -(-options.max_clips // len(options.corpora))
    found: Clips = []
    for i, corpus in enumerate(options.corpora):
        entries = find_corpus(corpus, root=options.root).select(options.split)
        of_corpus: Clips = []
        for j in rng.stream(1, i).permutation(len(entries)):
            if len(of_corpus) >= share:
                break
            samples = open_entry(entries[j], sample_rate=rate, is_mono=True).samples
            starts = np.arange(0, samples.shape[1] - length + 1, length)
            for start in rng.stream(1, i, int(j)).permutation(starts)[: options.max_per_recording]:
                clip = samples[:, start : start + length]
                if np.sqrt(np.mean(clip**2)) > 1e-3:  # -60 dB: silence says nothing
                    of_corpus.append(clip.copy())
        found += of_corpus[:share]
    return [found[i] for i in rng.stream(1).permutation(len(found))]


@dataclass(frozen=True)
class Row:
    """Distances at one number of clips, one a draw: raw, extrapolated and kernel."""

    num_clips: int
    is_reliable: bool
    halves: np.ndarray  # draws x 3
    damaged: np.ndarray


def measure(material: Material, num_clips: int, num_draws: int, rng: Rng) -> Row:
    """Return the distances of random draws of so many clips."""
    width = median_distance(np.concatenate(material.clean))
    halves, damaged, reliable = [], [], True
    for draw in range(num_draws):
        order = rng.stream(num_clips, draw).permutation(len(material.clean))
        reference, names = gather(material.clean, order[:num_clips])
        for clips, results in ((material.clean, halves), (material.damaged, damaged)):
            estimate, others = gather(clips, order[num_clips : 2 * num_clips])
            found = frechet_infinity_both(
                reference,
                estimate,
                rng=rng.child(num_clips, draw),
                reference_clusters=names,
                estimate_clusters=others,
            )
            kernel = kernel_audio_distance(
                reference,
                estimate,
                bandwidth=width,
                reference_clusters=names,
                estimate_clusters=others,
            )
            results.append((found.raw, found.value, kernel))
            reliable = reliable and found.is_reliable
    return Row(num_clips, reliable, np.array(halves), np.array(damaged))


def gather(clips: Clips, chosen: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the vectors of the chosen clips, and which clip each is of."""
    names = [int(i) for i in chosen for _ in range(len(clips[i]))]
    return np.concatenate([clips[i] for i in chosen]), names


def table(rows: Sequence[Row], truth: float | None) -> str:
    """Return the rows in Markdown."""
    heads = ["raw", "extrapolated", "KAD"]
    names = [f"{what}: {head}" for what in ("halves", "damaged") for head in heads]
    lines = ["| clips | " + " | ".join(names) + " |", "|---" * 7 + "|"]
    for row in rows:
        cells = []
        for values in (row.halves, row.damaged):
            mean, spread = values.mean(axis=0), values.std(axis=0)
            mark = "" if row.is_reliable else " (*)"
            cells.append(f"{mean[0]:.3f}")
            cells.append(f"{mean[1]:.3f} ± {spread[1]:.3f}{mark}")
            cells.append(f"{mean[2]:.3f}")
        lines.append(f"| {row.num_clips} | " + " | ".join(cells) + " |")
    if truth is not None:
        lines.append(f"| truth | 0 | 0 | 0 | {truth:.3f} | {truth:.3f} | |")
    lines.append("\n(*) the smallest draw has fewer than twice as many vectors as dimensions")
    return "\n".join(lines)


def plot(path: Path, rows: Sequence[Row], truth: float | None) -> None:
    """Draw both distances over the number of clips."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    counts = [row.num_clips for row in rows]
    titles = ("two halves of one corpus: truth 0", "clean against damaged")
    for panel, title, name in zip(panels, titles, ("halves", "damaged"), strict=True):
        values = [getattr(row, name) for row in rows]
        for column, label, colour in ((0, "raw", "#b04a3a"), (1, "extrapolated", "#2a6f97")):
            means = [v[:, column].mean() for v in values]
            spreads = [v[:, column].std() for v in values]
            panel.errorbar(counts, means, spreads, label=label, color=colour, marker="o", ms=4)
        line = 0.0 if name == "halves" else truth
        if line is not None:
            panel.axhline(line, color="black", linestyle="--", linewidth=0.8, label="truth")
        panel.set(xscale="log", xlabel="clips in each set", title=title)
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.minorticks_off()
    panels[0].set_ylabel("Frechet distance")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--corpora", nargs="+", default=["music", "piano", "environment"])
    parser.add_argument("--root", type=Path, help="folder of the corpora; else WEFT_DATA")
    parser.add_argument("--split", help="train, valid or test; else all")
    parser.add_argument("--embedder", default="corpus-ssl")
    parser.add_argument("--weights", type=Path, help="folder of other people's weights")
    parser.add_argument("--clip-s", type=float, default=4.0)
    parser.add_argument("--snr-db", type=float, default=20.0)
    parser.add_argument("--max-clips", type=int, default=1600)
    parser.add_argument("--max-per-recording", type=int, default=20)
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100, 200, 400, 800])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rng = Rng(options.seed)
    if options.simulate:
        material = simulate(options.max_clips, rng.child(0))
    else:
        material = embed(options, rng.child(0))
    size = len(material.clean) // 2
    counts = sorted({min(count, size) for count in options.counts})
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {version('numpy')}, weft "
        f"{version('weft')}; {material.title}; {2 * size} clips, {options.draws} draws of each "
        f"number, seed {options.seed}\n"
    )
    rows = [measure(material, count, options.draws, rng.child(1)) for count in counts]
    print(table(rows, material.truth))
    if options.plot:
        plot(options.plot, rows, material.truth)


if __name__ == "__main__":
    main()
