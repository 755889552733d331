"""A small recipe whose every part shows when training goes on from the wrong place.

Its loss depends on the examples drawn, on the generator of the step, on dropout, which draws from
torch's own generator, and on a teacher that follows the weights.
"""

import copy
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.errors import ConfigError
from weft.rng import Rng
from weft.train.config import LoopConfig
from weft.train.recipe import Batch, Losses, Objective, Recipe, Tell, silence
from weft.train.run import train

NUM_EXAMPLES, WIDTH = 27, 6


class Tiny(nn.Module):
    """Regression with dropout, noise, a norm with running statistics and a teacher."""

    def __init__(self, *, is_adversarial: bool, kill_at: int, bad_steps: Sequence[int]) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 1)
        )
        self.critic = nn.Linear(1, 1) if is_adversarial else None
        self.teacher = copy.deepcopy(self.net[4]).requires_grad_(False)
        self.kill_at, self.bad_steps = kill_at, tuple(bad_steps)

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x, y = batch["x"], batch["y"]
        noise = 0.1 * torch.randn(x.shape, generator=generator, device=x.device)
        guess = self.net(x + noise)
        if objective == "critic":
            assert self.critic is not None
            return {"loss": (self.critic(y) - self.critic(guess.detach())).mean() ** 2}
        loss = (guess - y).square().mean() + 0.1 * (
            guess - self.teacher(x[:, :1].expand(-1, 8))
        ).square().mean()
        if self.critic is not None:
            loss = loss + 0.01 * self.critic(guess).mean()
        if step in self.bad_steps:
            loss = loss * float("nan")
        return {"loss": loss, "ids": batch["id"].float().mean(), "draw": noise.mean()}


class TinyRecipe(Recipe):
    def __init__(
        self,
        *,
        is_adversarial: bool = False,
        kill_at: int = -1,
        signal_at: int = -1,
        signal_number: int = signal.SIGINT,
        bad_steps: Sequence[int] = (),
    ) -> None:
        self.options = {"is_adversarial": is_adversarial, "bad_steps": list(bad_steps)}
        self.kill_at, self.signal_at, self.signal_number = kill_at, signal_at, signal_number
        self.opened: Path | None = None
        self.drawn: list[int] = []

    @property
    def name(self) -> str:
        return "tiny"

    def to_config(self) -> dict[str, Any]:
        return {"width": WIDTH, **self.options}

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        (cache / "tiny.json").write_text(json.dumps(NUM_EXAMPLES))

    def open(self, cache: Path) -> None:
        self.opened = cache / "tiny.json"

    @property
    def num_examples(self) -> int:
        assert self.opened is not None
        return int(json.loads(self.opened.read_text()))

    def example(self, index: int, rng: Rng) -> Batch:
        self.drawn.append(index)
        x = torch.from_numpy(rng.stream(0).standard_normal(WIDTH)).float()
        return {"x": x, "y": x.sum()[None] + index / 10, "id": torch.tensor(index)}

    def build(self) -> nn.Module:
        return Tiny(kill_at=self.kill_at, **self.options)

    def objectives(self, module: nn.Module) -> Sequence[Objective]:
        assert isinstance(module, Tiny)
        if module.critic is None:
            return super().objectives(module)
        return [
            Objective(name="net", parameters=list(module.net.parameters())),
            Objective(name="critic", parameters=list(module.critic.parameters())),
        ]

    def after_step(self, module: nn.Module, step: int) -> None:
        assert isinstance(module, Tiny)
        if step == self.signal_at:
            os.kill(os.getpid(), self.signal_number)
        with torch.no_grad():
            for ours, theirs in zip(
                module.teacher.parameters(), module.net[4].parameters(), strict=True
            ):
                ours.lerp_(theirs, 0.1)

    def validate(self, module: nn.Module) -> dict[str, float]:
        assert not module.training
        weights = list(module.parameters())
        return {
            "norm": float(torch.stack([w.norm() for w in weights]).norm()),
            "draw": float(torch.rand(())),
        }

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        from safetensors.torch import save_file

        save_file(
            {k: v.contiguous() for k, v in module.state_dict().items()},
            folder / "model.safetensors",
        )
        (folder / "history.json").write_text(json.dumps(list(history)))


def make_config(**changes: Any) -> LoopConfig:
    settings: dict[str, Any] = {
        "steps": 20, "batch_size": 8, "accumulation": 2, "learning_rate": 0.02, "warmup_steps": 3,
        "ema_decay": 0.9, "precision": "float32", "log_every": 3, "save_every": 5,
        "validate_every": 7,
    }  # fmt: skip
    return LoopConfig(**{**settings, **changes})


def make(
    preset: str, overrides: Mapping[str, str], data: Sequence[str]
) -> tuple[TinyRecipe, LoopConfig]:
    """Return what the command line trains, where a test has put this module into the table."""
    if overrides:
        raise ConfigError(f"the recipe tiny has no setting {', '.join(overrides)}")
    return TinyRecipe(), make_config(steps=20 if preset == "debug" else 200)


def main(arguments: Sequence[str]) -> None:
    """Train in a process of its own: ROOT JOB..., see tests of resumption."""
    torch.set_num_threads(1)
    root, *jobs = arguments
    for job in jobs:
        train(
            TinyRecipe(kill_at=13 if job == "killed" else -1),
            make_config(),
            Path(root, "whole" if job == "whole" else "killed"),
            cache=Path(root, "cache"),
            is_resumed=job == "resumed",
            device="cpu",
        )


if __name__ == "__main__":
    main(sys.argv[1:])
