"""What one step of the transformer over latents costs, beside diffusers' transformer for audio.

    python benchmarks/latent_dit.py [--parts step guided] [--lengths 128 512 2048]
        [--repetitions 5] [--types float32 bfloat16]

Prints one Markdown table for each part:

* `step`: one denoising step of one item. diffusers' `StableAudioDiTModel` has 8 layers of 512
  features and 8 heads of 64, half as many for keys and values, and listens to 128 text tokens;
  ours have the same layers, width and heads, and no text. Their inner layers are chosen so that
  parameters are about as many, once less and once more; the last one has the default form.
* `guided`: a step with the gradient of a reconstruction loss, through the network with frozen
  weights and without checkpointing, against a step without.

Weights are random, batch 1, one thread. Implementations take turns; CPU seconds are the least of
the repetitions, after one turn that does not count, so that what else the machine does weighs
least. Ratios are of these; above 1 means that diffusers' takes longer. Needs diffusers.
"""

import argparse
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version

import torch
from torch import Tensor, nn

from weft.nn.dit import Dit, DitConfig

NUM_FEATURES = 64
SIZES = {
    "quick": {"width": 64, "num_layers": 1, "num_heads": 1},
    "small": {"width": 512, "num_layers": 8, "num_heads": 8},
}
FORMS = {
    "rotary, inner 7": {"expansion": 7, "positions": "rotary"},
    "rotary, inner 8": {"expansion": 8, "positions": "rotary"},
    "relative, inner 7": {"expansion": 7, "positions": "relative"},
    "rotary, inner 4": {"expansion": 4, "positions": "rotary"},
}

Step = Callable[[Tensor], Tensor]
"""From ``b l d`` to ``b l d``, at a fixed time."""


def least_seconds(runs: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the least CPU seconds of each run; they take turns, the first turn not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repetitions + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: min(times) for name, times in seconds.items()}


def random_weights(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    return network.eval().requires_grad_(False)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def our_step(network: nn.Module) -> Step:
    t = torch.tensor([0.5])
    return lambda x: network(x, t)  # type: ignore[no-any-return]


def their_network(size: dict[str, int]) -> nn.Module:
    from diffusers.models.transformers.stable_audio_transformer import StableAudioDiTModel

    return StableAudioDiTModel(
        num_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        num_key_value_attention_heads=max(size["num_heads"] // 2, 1),
        attention_head_dim=size["width"] // size["num_heads"],
        global_states_input_dim=512,
    )


def their_step(network: nn.Module, size: dict[str, int], dtype: torch.dtype) -> Step:
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    text, duration = torch.randn(1, 128, 768, dtype=dtype), torch.randn(1, 1, 512, dtype=dtype)
    turned = size["width"] // size["num_heads"] // 2  # half of a head's features
    t = torch.tensor([0.5], dtype=dtype)

    def step(x: Tensor) -> Tensor:
        # One frame more, which it puts in front and takes away.
        tables = get_1d_rotary_pos_embed(
            turned, x.shape[1] + 1, use_real=True, repeat_interleave_real=False
        )
        raw = network(
            x.transpose(1, 2), t, text, duration, rotary_embedding=tables, return_dict=False
        )[0]
        return raw.transpose(1, 2)  # type: ignore[no-any-return]

    return step


def make_steps(size_name: str, dtype: torch.dtype) -> dict[str, tuple[int, Step]]:
    """Return parameters and step of each implementation, diffusers' first."""
    size = SIZES[size_name]
    theirs = random_weights(their_network(size)).to(dtype)
    steps = {"diffusers": (count(theirs), their_step(theirs, size, dtype))}
    for name, form in FORMS.items():
        ours = random_weights(Dit(DitConfig(**size, **form))).to(dtype)
        steps[name] = count(ours), our_step(ours)
    return steps


@torch.inference_mode()
def plain(step: Step, x: Tensor) -> Tensor:
    return step(x)


def guided(step: Step, x: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the gradient of what the estimate of clean latents misses of known ones, by v."""
    noisy = x.detach().requires_grad_()
    clean = 0.5**0.5 * (noisy - step(noisy))
    loss = ((clean - target) * known).abs().sum()
    return torch.autograd.grad(loss, noisy)[0]


def print_table(*heads: str) -> None:
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def print_steps(arguments: argparse.Namespace) -> None:
    print_table("numbers", "network", "parameters", "frames", "CPU (s)", "diffusers / this")
    for name in arguments.types:
        dtype = getattr(torch, name)
        steps = make_steps(arguments.size, dtype)
        for length in arguments.lengths:
            x = torch.randn(1, length, NUM_FEATURES, dtype=dtype)
            runs = {form: partial(step, x) for form, (_, step) in steps.items()}
            with torch.inference_mode():
                seconds = least_seconds(runs, arguments.repetitions)
            for form, (parameters, _) in steps.items():
                ratio = seconds["diffusers"] / seconds[form]
                print_row(
                    name, form, f"{parameters:,}", length, f"{seconds[form]:.3f}", f"{ratio:.2f}"
                )


def print_guided(arguments: argparse.Namespace) -> None:
    print_table("network", "frames", "plain step, CPU (s)", "guided step, CPU (s)", "ratio")
    steps = make_steps(arguments.size, torch.float32)
    chosen = ("diffusers", "rotary, inner 7", "relative, inner 7")
    for length in arguments.lengths:
        x, target = torch.randn(2, 1, length, NUM_FEATURES)
        known = torch.ones(1, length, 1)
        known[:, length // 3 : 2 * length // 3] = 0
        runs: dict[str, Callable[[], object]] = {}
        for form in chosen:
            step = steps[form][1]
            runs["plain " + form] = partial(plain, step, x)
            runs["guided " + form] = partial(guided, step, x, target, known)
        seconds = least_seconds(runs, arguments.repetitions)
        for form in chosen:
            fast, slow = seconds["plain " + form], seconds["guided " + form]
            print_row(form, length, f"{fast:.3f}", f"{slow:.3f}", f"{slow / fast:.2f}")


def print_machine(repetitions: int) -> None:
    print(
        f"{platform.machine()}, 1 thread, Python {platform.python_version()}, torch "
        f"{version('torch')}, diffusers {version('diffusers')}, weft {version('weft')}; random "
        f"weights, seed 0; least CPU seconds of {repetitions} repetition(s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["step", "guided"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512, 2048])
    parser.add_argument("--types", nargs="+", default=["float32"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, default="small")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print_machine(arguments.repetitions)
    parts = {"step": print_steps, "guided": print_guided}
    for name in arguments.parts:
        parts[name](arguments)


if __name__ == "__main__":
    main()
