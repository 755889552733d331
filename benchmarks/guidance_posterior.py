"""How exact the guided samplers are: draws of a gap against its true law, option by option.

    python benchmarks/guidance_posterior.py [--features 8] [--seed 0]

A stationary Gaussian process of 256 frames, a gap of 64, the ideal denoiser, 8 draws of each of
``features`` canvases. Bias is in standard deviations of the true law, of which exact draws have
0.35; variance and seam (second differences across the gap's edges) are ratios to the truth. The
columns "reference" are another implementation's numbers, from a process of its own, 4 to 8 draws.

The second table starts from a draft at different strengths: how much of the draft the result has,
beyond what the context predicts, and the variance of the gap, which should be 1.
"""

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles.gaussian_process import Fit, fit
from oracles.posterior_bench import FIELD, KNOWN, OPTIONS, Option, draw, exact_draws, kept

STARTS = {
    (0.85, "ddpm", False): (0.13, None),
    (0.5, "ddpm", False): (0.68, None),
    (0.85, "ddpm", True): (0.04, None),
    (0.5, "ddpm", True): (0.04, None),
    (0.85, "ddim", True): (0.28, 0.77),
    (0.5, "ddim", True): (0.74, 1.17),
}
"""Strength, sampler, whether the start is as printed; the reference's correlation and variance."""


def exactness(num_features: int, seed: int) -> str:
    """Return the table of options."""
    lines = [
        "| option | calls | bias | reference | variance | reference | seam | reference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for option in OPTIONS:
        filled, truth = draw(option, seed=seed, num_features=num_features)
        lines.append(
            row(option.name, filled.num_calls, fit(FIELD, filled.x, KNOWN, truth), option.reference)
        )
    found = exact_draws(seed=seed, num_features=num_features)
    return "\n".join([*lines, row("exact draws", "", found, None)])


def row(name: str, num_calls: int | str, found: Fit, reference: Fit | None) -> str:
    pairs = [
        f"{getattr(found, field):.2f} | {getattr(reference, field):.2f}"
        if reference
        else f"{getattr(found, field):.2f} | "
        for field in ("bias", "variance", "seam")
    ]
    return f"| {name} | {num_calls} | {' | '.join(pairs)} |"


def drafts(num_features: int, seed: int) -> str:
    """Return the table of strengths."""
    lines = [
        "| strength | sampler | start | of the draft | reference | variance | reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for (strength, kind, is_literal), references in STARTS.items():
        filled, truth = draw(
            Option("", kind=kind),
            seed=seed,
            num_features=num_features,
            strength=strength,
            is_literal_start=is_literal,
        )
        shown = ["" if value is None else f"{value:.2f}" for value in references]
        shared, variance = kept(filled.x, truth)
        lines.append(
            f"| {strength} | {kind} | {'as printed' if is_literal else 'at its time'} | "
            f"{shared:.2f} | {shown[0]} | {variance:.2f} | {shown[1]} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}, "
        f"numpy {version('numpy')}, weft {version('weft')}; {options.features} canvases, "
        f"seed {options.seed}\n"
    )
    print(exactness(options.features, options.seed), end="\n\n")
    print(drafts(options.features, options.seed))


if __name__ == "__main__":
    main()
