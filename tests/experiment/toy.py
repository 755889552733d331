"""A recipe that trains in a moment: a line through noisy points, with settings that matter or not.

``shift`` makes it learn the wrong line, ``is_mirrored`` changes the signs of its noise, which
leaves all distributions as they are, and ``width`` changes its shape.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.errors import ConfigError
from weft.experiment.runner import run
from weft.experiment.spec import read_spec
from weft.experiment.worker import Place
from weft.rng import Rng
from weft.train.config import LoopConfig, set_fields
from weft.train.recipe import Batch, Item, Losses, Recipe, Tell, silence

KILL_VARIABLE = "TOY_KILL"
"""``ARM-SHIFT SEED STEP``: the process is killed there."""
TRACE_VARIABLE = "TOY_TRACE"
"""A file that gets a line for each step that is trained."""
NUM_RECORDINGS, NUM_POSITIONS = 12, 3
DIM = 4


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    shift: float = 0.0
    is_mirrored: bool = False
    width: int = 6
    breaks: str = ""
    corpus: str = "corpus"


class Toy(nn.Module):
    def __init__(self, config: ToyConfig, seed: int) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.first = nn.Linear(DIM, 3)
        self.net = nn.Sequential(nn.Linear(3, config.width), nn.Linear(config.width, 1))
        self.last = nn.Linear(1, 1)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.net(self.first(x)))

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        where = f"{self.config.shift:g} {self.seed} {step}"
        if trace := os.environ.get(TRACE_VARIABLE):
            with open(trace, "a") as file:
                file.write(where + "\n")
        if os.environ.get(KILL_VARIABLE) == where:
            os.kill(os.getpid(), signal.SIGKILL)
        noise = torch.randn(batch["y"].shape, generator=generator)
        sign = -1 if self.config.is_mirrored else 1
        target = batch["y"] + sign * noise + self.config.shift
        loss = (self.predict(batch["x"]) - target).square().mean()
        return {"loss": loss * float("nan") if self.config.breaks == "loss" else loss}


class ToyRecipe(Recipe):
    name = "toy"
    num_examples = 40

    def __init__(self, config: ToyConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.opened = ""

    def to_config(self) -> dict[str, Any]:
        """As in recipes that know what a name stands for only when they have opened it."""
        return {**asdict(self.config), **({"corpus": self.opened} if self.opened else {})}

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        if not (cache / "corpus").exists():
            (cache / "corpus").write_text("digest 1")

    def open(self, cache: Path) -> None:
        self.opened = (cache / "corpus").read_text()

    def example(self, index: int, rng: Rng) -> Batch:
        x = torch.from_numpy(rng.stream(0).standard_normal(DIM)).float()
        return {"x": x, "y": x.sum()[None]}

    def build(self) -> nn.Module:
        return Toy(self.config, self.seed)

    def validate(self, module: nn.Module) -> dict[str, float]:
        return {"nothing": float("nan"), "one": 1.0}

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        assert isinstance(module, Toy)
        assert not module.training
        assert not torch.is_grad_enabled()
        if self.config.breaks == "items":
            return {}
        found = []
        for recording in range(NUM_RECORDINGS):
            for position in range(NUM_POSITIONS):
                x = torch.from_numpy(Rng(0, (recording, position)).stream().standard_normal(DIM))
                error = module.predict(x.float()[None]) - x.float().sum()
                found.append((f"toy/{recording}.wav", position, float(error.square())))
        return {
            "error": [Item(recording=r, position=p, value=v) for r, p, v in found],
            "inverse": [Item(recording=r, position=p, value=1 / (1 + v)) for r, p, v in found],
        }

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        from safetensors.torch import save_file

        save_file(dict(module.state_dict()), folder / "model.safetensors")


def make(
    recipe: str, preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[ToyRecipe, LoopConfig]:
    """As `weft.train.registry.make_recipe`, for processes that know this module only."""
    loop = LoopConfig(
        steps=20, batch_size=8, learning_rate=0.05, ema_decay=0.8, precision="float32",
        save_every=10, log_every=10, max_bad_steps=3,
    )  # fmt: skip
    loop, rest = set_fields(loop, overrides)
    config, rest = set_fields(ToyConfig(), rest)
    if rest:
        raise ConfigError(f"the recipe toy has no setting {', '.join(rest)}")
    return ToyRecipe(config, loop.seed), loop


SPEC = """
recipe = "toy"
seeds = [0, 1, 2, 3]
baseline = "base"
[arms.base]
[arms.shifted]
shift = 1.0
[arms.mirrored]
is_mirrored = true
[arms.wide]
width = 9
[measures]
error = "lower"
inverse = "higher"
"""


def write_spec(folder: Path, text: str = SPEC, **changes: str) -> Path:
    """Write an experiment; ``changes`` replace lines that begin with ``NAME =``."""
    lines = text.strip().splitlines()
    for name, value in changes.items():
        lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in lines]
    path = folder / "toy.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def main(arguments: Sequence[str]) -> None:
    """Run an experiment in a process of its own: FILE ROOT JOBS."""
    file, root, jobs = arguments
    place = Place(runs=Path(root, "runs"), cache=Path(root, "cache"), device="cpu")
    run(read_spec(Path(file)), Path(root, "results.json"), place, num_jobs=int(jobs), make=make)


if __name__ == "__main__":
    from experiment import toy  # by its own name, so that other processes can import `make`

    toy.main(sys.argv[1:])
