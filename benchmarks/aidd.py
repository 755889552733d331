"""What the network of tokens and its sampler cost, beside plain versions of the published ones.

    python benchmarks/aidd.py [--gaps 0.3 1 3 10] [--batches 1 4 16] [--repetitions 3] [--full]

Prints one Markdown table for each part:

* `block`: one transformer block on every gap's sequence and at every batch size;
* `network`: the whole network likewise, and with the output of the gap's tokens only;
* `sampler`: filling a gap of 300 ms, 23 tokens of 300, without guard: first-hitting against the
  published analytic sampler with 1024 steps and one last forward.

Weights are random, those of a pair the same; 75 tokens a second, sequences of 300 tokens, or the
gap and 16 tokens on both sides where that is more. Seconds are medians of repetitions that
alternate, ratios medians of the ratios of pairs. A measurement of the published sampler runs some
of its steps, which are alike, and is scaled by their number, unless `--full` is given. Each
measurement of a sampler is a process of its own; peak memory is that of the process.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from plain_dit import PlainBlock, PlainDit, analytic_sampler
from torch import nn

from weft.heads.categorical import CategoricalHead
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.process.masked import MaskedProcess
from weft.process.sequence import EncodedCanvas
from weft.sampling.steps_masked import MaskedSamplerConfig, fill_tokens

SIZES = {
    "base": TokenDitConfig(),
    "quick": TokenDitConfig(codebook_size=64, width=32, num_layers=2, num_heads=2, cond_dim=16),
}
TOKENS_A_SECOND = 75
LEAST_CONTEXT = 16
SAMPLER_GAP = 23
PUBLISHED_STEPS = 1024

Timed = tuple[float, float]  # CPU seconds, wall seconds


def make_pair(config: TokenDitConfig, seed: int) -> tuple[TokenDit, PlainDit]:
    """Return our network and the plain one with the same random weights, none of them zero."""
    torch.manual_seed(seed)
    network = TokenDit(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    sizes = config.width, config.num_layers, config.num_heads, config.cond_dim
    with torch.device("meta"):
        plain = PlainDit(config.codebook_size + 1, *sizes).eval()
    plain.load_state_dict(network.state_dict(), assign=True)
    return network, plain


def timed(run: Callable[[], object]) -> Timed:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turn(runs: list[Callable[[], object]], repetitions: int) -> list[list[Timed]]:
    """Return times of each run; they take turns, after one turn that does not count."""
    for run in runs:
        run()
    turns = [[timed(run) for run in runs] for _ in range(repetitions)]
    return [list(times) for times in zip(*turns, strict=True)]


def median(times: list[Timed]) -> str:
    return f"{statistics.median(cpu for cpu, _ in times):.3g}"


def ratio(slow: list[Timed], fast: list[Timed]) -> str:
    """Return the median ratio of CPU seconds, its range, and the median ratio of wall seconds."""
    cpu = [a[0] / b[0] for a, b in zip(slow, fast, strict=True)]
    wall = [a[1] / b[1] for a, b in zip(slow, fast, strict=True)]
    return (
        f"{statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}) | "
        f"{statistics.median(wall):.2f}"
    )


def print_table(heads: list[str]) -> None:
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def gap_frames(gap_s: float) -> int:
    """Return the tokens of a gap that begins with a token."""
    return math.ceil(gap_s * TOKENS_A_SECOND)


def frames(gap_s: float) -> int:
    return max(TokenDitConfig().num_frames, gap_frames(gap_s) + 2 * LEAST_CONTEXT)


def rows_of(gap: int, num_frames: int, b: int) -> torch.Tensor:
    """Return the positions of a gap in the middle."""
    start = (num_frames - gap) // 2
    return torch.arange(start, start + gap).expand(b, -1)


@torch.inference_mode()
def compare_blocks(options: argparse.Namespace, network: TokenDit, plain: PlainDit) -> None:
    print_table(["gap (s)", "tokens", "batch", "plain block (s)", "block (s)", "CPU ratio", "wall"])
    config, block, reference = network.config, network.blocks[0], plain.blocks[0]
    assert isinstance(reference, PlainBlock)
    for num_frames, gaps in by_length(options.gaps).items():
        turn = plain.tables(num_frames)
        cosine, sine = (table[:, 0] for table in turn)
        half = sine.shape[1] // 2
        signed = torch.cat([-sine[:, :half], sine[:, half:]], dim=1)
        for b in options.batches:
            x, condition = torch.randn(b, num_frames, config.width), torch.randn(b, config.cond_dim)
            slow, fast = in_turn(
                [
                    lambda x=x, c=condition, turn=turn: reference(x, c, *turn),
                    lambda x=x, c=condition, turn=(cosine, signed): block(x, c, turn, None, None),
                ],
                options.repetitions,
            )
            print_row(gaps, num_frames, b, median(slow), median(fast), ratio(slow, fast))


def by_length(gaps: list[float]) -> dict[int, str]:
    """Return the gaps that share a length of the sequence, by that length."""
    lengths: dict[int, list[str]] = {}
    for gap in gaps:
        lengths.setdefault(frames(gap), []).append(f"{gap:g}")
    return {length: ", ".join(found) for length, found in lengths.items()}


@torch.inference_mode()
def compare_networks(options: argparse.Namespace, network: TokenDit, plain: PlainDit) -> None:
    heads = ["gap (s)", "tokens", "batch", "plain network (s)", "network (s)", "CPU ratio", "wall"]
    print_table([*heads, "gap's rows only (s)", "CPU ratio", "wall"])
    for gap in options.gaps:
        num_frames = frames(gap)
        for b in options.batches:
            tokens = torch.randint(0, network.config.codebook_size + 1, (b, num_frames))
            noise = torch.rand(b)
            rows = rows_of(gap_frames(gap), num_frames, b)
            slow, fast, few = in_turn(
                [
                    lambda t=tokens, n=noise: plain(t, n),
                    lambda t=tokens, n=noise: network(t, n),
                    lambda t=tokens, n=noise, r=rows: network(t, n, rows=r),
                ],
                options.repetitions,
            )
            both = median(fast), ratio(slow, fast), median(few), ratio(slow, few)
            print_row(f"{gap:g}", num_frames, b, median(slow), *both)


def sampler_canvas(config: TokenDitConfig, seed: int) -> EncodedCanvas:
    """Return tokens without meaning, 23 of 300 of them unknown."""
    torch.manual_seed(seed)
    tokens = torch.randint(0, config.codebook_size, (1, config.num_frames))
    known = torch.ones_like(tokens, dtype=torch.bool)
    known[:, rows_of(SAMPLER_GAP, config.num_frames, 1)] = False
    return EncodedCanvas(x=tokens, known=known, valid=torch.ones_like(known))


def measure_sampler(name: str, options: argparse.Namespace) -> None:
    """Print times and peak memory of one sampler as JSON; runs in a process of its own."""
    config = SIZES[options.size]
    canvas = sampler_canvas(config, options.seed)
    torch.manual_seed(options.seed)
    if name == "published":
        _, reference = make_pair(config, options.seed)
        analytic_sampler(reference, canvas.x, canvas.known, PUBLISHED_STEPS, num_run=1)
        num_run = None if options.full else options.steps
        cpu, wall = timed(
            lambda: analytic_sampler(
                reference, canvas.x, canvas.known, PUBLISHED_STEPS, num_run=num_run
            )
        )
        calls = PUBLISHED_STEPS + 1
        scale = 1.0 if num_run is None else calls / num_run
    else:
        network, _ = make_pair(config, options.seed)
        process = MaskedProcess(codebook_size=config.codebook_size)
        head = CategoricalHead(codebook_size=config.codebook_size, prediction="log_score")
        found = []

        def predict(
            tokens: torch.Tensor, noise: torch.Tensor, rows: torch.Tensor | None
        ) -> torch.Tensor:
            return head.log_probs(network(tokens, noise, rows=rows), noise)

        def run() -> None:
            rng = [np.random.default_rng(options.seed)]
            found.append(fill_tokens(canvas, predict, process, MaskedSamplerConfig(), rng))

        with torch.inference_mode():
            network(canvas.x, torch.ones(1))
            cpu, wall = timed(run)
        calls, scale = found[0].num_calls, 1.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform == "darwin" else 1 << 10
    )
    print(json.dumps({"cpu": cpu * scale, "wall": wall * scale, "calls": calls, "peak": peak}))


def compare_samplers(options: argparse.Namespace) -> None:
    timed_steps = f"{PUBLISHED_STEPS + 1}" if options.full else f"{options.steps}"
    heads = ["sampler", "forwards", "of which timed", "CPU (s)", "wall (s)", "peak memory (MiB)"]
    names = ["published", "first-hitting"]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.repetitions):
        for name in names:
            command = [sys.executable, __file__, "--child", name, "--size", options.size]
            for key in ("steps", "seed", "threads"):
                command += [f"--{key}", str(getattr(options, key))]
            command += ["--full"] if options.full else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[name].append(json.loads(done.stdout))
    print_table(heads)
    for name in names:
        middle = {
            key: statistics.median(result[key] for result in results[name])
            for key in ("calls", "cpu", "wall", "peak")
        }
        calls = int(middle["calls"])
        of_them = timed_steps if name == "published" else calls
        seconds = f"{middle['cpu']:.3g}", f"{middle['wall']:.3g}"
        print_row(name, calls, of_them, *seconds, f"{middle['peak']:.0f}")
    pairs = [[(r["cpu"], r["wall"]) for r in results[name]] for name in names]
    print(f"\nThe published sampler over first-hitting, CPU | wall: {ratio(pairs[0], pairs[1])}.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["block", "network", "sampler"])
    parser.add_argument("--gaps", type=float, nargs="+", default=[0.3, 1.0, 3.0, 10.0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="timed steps of the published one")
    parser.add_argument("--full", action="store_true", help="run all its steps")
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    parser.add_argument("--quick", action="store_true", help="a tiny network; shows that it runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=["published", "first-hitting"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.size, options.gaps, options.batches = "quick", [0.3], [1]
        options.repetitions, options.steps = 1, 2
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.child:
        measure_sampler(options.child, options)
        return
    network, plain = make_pair(SIZES[options.size], options.seed)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s), Python "
        f"{platform.python_version()}, torch {torch.__version__}, weft {version('weft')}; "
        f"network `{options.size}`, {sum(x.numel() for x in network.parameters()):,} random "
        f"parameters, float32, seed {options.seed}; {options.repetitions} repetition(s), CPU "
        "seconds, ratios as median (lowest to highest)"
    )
    if "block" in options.parts:
        compare_blocks(options, network, plain)
    if "network" in options.parts:
        compare_networks(options, network, plain)
    del network, plain
    if "sampler" in options.parts:
        compare_samplers(options)


if __name__ == "__main__":
    main()
