"""How exact the samplers of masked tokens are, how often they call the network, what they cost.

    python benchmarks/masked_samplers.py [--draws 20000] [--seed 0]

The first table fills a gap of three symbols of a known Markov chain with an ideal network. It has
the total variation between the draws and the exact joint posterior: that which the sampler's law
predicts, and that which is measured; exact draws of the same number have one, too. The second table
fills 22 of 300 tokens, 4096 symbols, and gives CPU time of the sampler alone beside one call of the
network of AIDD's size, random weights; one thread.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weft.heads.categorical import CategoricalHead
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.process.masked import MaskedProcess
from weft.process.orders import reveal_counts
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.steps_masked import FilledTokens, MaskedSamplerConfig, fill_tokens

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles.markov_chain import MarkovChain, make_chain, noise_floor, total_variation

NUM_FRAMES, NUM_UNKNOWN, CODEBOOK_SIZE = 300, 22, 4096

CONFIGS = {
    "first-hitting": MaskedSamplerConfig(),
    "first-hitting, by confidence": MaskedSamplerConfig(order="confidence"),
    "first-hitting, noise of the schedule": MaskedSamplerConfig(noise="schedule"),
    "first-hitting, 2 calls": MaskedSamplerConfig(steps=2),
    "first-hitting, 1 call": MaskedSamplerConfig(steps=1),
    "analytic, 4 steps": MaskedSamplerConfig(kind="analytic", steps=4, noise="schedule"),
    "analytic, 16 steps": MaskedSamplerConfig(kind="analytic", steps=16, noise="schedule"),
    "euler, 4 steps": MaskedSamplerConfig(kind="euler", steps=4, noise="schedule"),
    "euler, 16 steps": MaskedSamplerConfig(kind="euler", steps=16, noise="schedule"),
}

COST_CONFIGS = {
    "first-hitting": MaskedSamplerConfig(),
    "first-hitting, by confidence": MaskedSamplerConfig(order="confidence"),
    "first-hitting, 8 calls, top_p 0.9": MaskedSamplerConfig(steps=8, top_p=0.9),
    "analytic, 1024 steps": MaskedSamplerConfig(kind="analytic", noise="schedule"),
    "euler, 128 steps": MaskedSamplerConfig(kind="euler", noise="schedule"),
}


def exactness(num_draws: int, rng: Rng) -> str:
    """Return the table of distances."""
    chain = make_chain(3, seed=3)
    k = chain.num_symbols
    gap = torch.tensor([0, k, k, k, 1, 2])
    law = chain.posterior(gap)
    mean, high = noise_floor(law, num_draws)
    lines = ["| sampler | calls | predicted | measured |", "|---|---|---|---|"]
    for i, (name, config) in enumerate(CONFIGS.items()):
        filled = fill(gap, k, num_draws, config, rng.stream(i), chain.make_predict_fn())
        found = total_variation(chain.indices(gap, filled.tokens), law)
        predicted = float((sampler_law(chain, gap, config) - law).abs().sum() / 2)
        lines.append(f"| {name} | {filled.num_calls} | {predicted:.3f} | {found:.3f} |")
    lines.append(f"| exact draws | | 0 | {mean:.3f}, 99.9 % below {high:.3f} |")
    return "\n".join(lines)


def sampler_law(chain: MarkovChain, gap: Tensor, config: MaskedSamplerConfig) -> Tensor:
    """Return the law of a sampler's draws; a grid's last step, at t = 1e-5, is left out."""
    if config.kind == "first-hitting":
        num_unknown = int((gap == chain.num_symbols).sum())
        return chain.law_of_sizes(
            gap, reveal_counts(num_unknown, config.steps or num_unknown).tolist()
        )
    return chain.law_of_times(gap, [1 / config.steps] * config.steps)


def fill(
    tokens: Tensor,
    codebook_size: int,
    num_items: int,
    config: MaskedSamplerConfig,
    stream: np.random.Generator,
    predict_fn: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> FilledTokens:
    """Fill equal items from one stream, one after the other."""
    x = tokens.repeat(num_items, 1)
    known = x != codebook_size
    return fill_tokens(
        EncodedCanvas(x=x, known=known, valid=torch.ones_like(known)),
        predict_fn,
        MaskedProcess(codebook_size=codebook_size),
        config,
        [stream] * num_items,
    )


def cost(rng: Rng) -> str:
    """Return the table of CPU seconds; the sampler alone has a network that only looks up."""
    tokens = torch.from_numpy(rng.stream(0).integers(0, CODEBOOK_SIZE, NUM_FRAMES))
    tokens[130 : 130 + NUM_UNKNOWN] = CODEBOOK_SIZE
    table = torch.from_numpy(rng.stream(1).standard_normal((NUM_FRAMES, CODEBOOK_SIZE)))
    table = torch.log_softmax(2 * table.float(), dim=1)
    calls: list[float] = []

    def look_up(tokens: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
        start = time.process_time()
        found = table[rows]
        calls.append(time.process_time() - start)
        return found

    call_s = network_call_s(tokens)
    lines = [
        "| sampler | calls | ms a call, sampler | share of a network call |",
        "|---|---|---|---|",
    ]
    for name, config in COST_CONFIGS.items():
        best, num_calls = np.inf, 0
        for attempt in range(2 if config.kind == "analytic" else 5):
            calls.clear()
            start = time.process_time()
            num_calls = fill(
                tokens, CODEBOOK_SIZE, 1, config, rng.stream(2, attempt), look_up
            ).num_calls
            best = min(best, (time.process_time() - start - sum(calls)) / num_calls)
        lines.append(f"| {name} | {num_calls} | {1000 * best:.2f} | {100 * best / call_s:.2f} % |")
    lines.append(f"\nOne call of the network, output layer at one row: {1000 * call_s:.0f} ms.")
    return "\n".join(lines)


def network_call_s(tokens: Tensor) -> float:
    """Return the CPU seconds of one call, the least of three."""
    network = TokenDit(TokenDitConfig(codebook_size=CODEBOOK_SIZE)).eval()
    head = CategoricalHead(codebook_size=CODEBOOK_SIZE)
    noise = torch.full((1,), 0.1)
    found = []
    with torch.no_grad():
        for _ in range(4):
            start = time.process_time()
            head.log_probs(network(tokens[None], noise, rows=torch.tensor([[130]])), noise)
            found.append(time.process_time() - start)
    return min(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = Rng(options.seed)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}, "
        f"numpy {version('numpy')}, weft {version('weft')}; {options.draws} draws, "
        f"seed {options.seed}\n"
    )
    print(exactness(options.draws, rng.child(0)), end="\n\n")
    print(cost(rng.child(1)))


if __name__ == "__main__":
    main()
