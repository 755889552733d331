"""One run of an experiment: trained, measured item by item, and written down."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from weft.errors import ConfigError
from weft.evaluate.output import write_text
from weft.experiment.record import DIGITS, RunRecord, kept_items, to_text
from weft.experiment.spec import ExperimentSpec, folder_name
from weft.train.config import LoopConfig
from weft.train.loop import Loop, Watcher
from weft.train.order import validation_seed
from weft.train.recipe import Item, Recipe
from weft.train.run import train
from weft.train.saving import checkpoints
from weft.train.stopping import Why
from weft.train.world import join_world
from weft.version import __version__

RECORD_FILE = "items.json"

MakeFn = Callable[[str, str, Mapping[str, str], Sequence[str]], tuple[Recipe, LoopConfig]]
"""As `weft.train.registry.make_recipe`."""


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs are kept, and what they run on."""

    runs: Path
    """Folder of their folders."""
    cache: Path
    """What they prepare and share."""
    device: str = "auto"
    """auto, cpu or cuda."""
    num_threads: int = 1
    """Of each run on the CPU, in [1, 1024]; the last bits depend on it."""
    keeps_checkpoints: bool = True
    """Whether the last checkpoint of a finished run stays."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_threads <= 1024:
            raise ConfigError(f"num_threads must be in [1, 1024], got {self.num_threads}")

    def folder(self, arm: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.runs / folder_name(arm) / f"seed-{seed}"


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """One run to be done."""

    spec: ExperimentSpec
    """The experiment."""
    arm: str
    """One of its arms."""
    seed: int
    """One of its seeds."""
    place: Place
    """Where."""
    make: MakeFn
    """Builds the recipe; a function that another process can import."""
    deadline: float | None
    """When to stop, as `time.time`; None for never."""

    def recipe(self) -> tuple[Recipe, LoopConfig]:
        """Build the recipe.

        Raises:
            ConfigError: the arm has a setting that the recipe does not know.
        """
        spec = self.spec
        overrides = spec.overrides(self.arm, self.seed)
        try:
            return self.make(spec.recipe, spec.preset, overrides, spec.data)
        except ConfigError as error:
            raise ConfigError(f"arm {self.arm!r}: {error}") from error


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one run ended."""

    arm: str
    """Of the run."""
    seed: int
    """Of the run."""
    reason: Why | str
    """done, what stopped it, or ``failed``."""
    record: RunRecord | None = None
    """What was measured, where it is done."""
    error: str = ""
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What training said."""


def execute(task: Task, watch: Watcher | None = None) -> Outcome:
    """Train one run, or go on with it, and measure it.

    Args:
        task: the run.
        watch: called after every step.

    Raises:
        WeftError: whatever training or measuring raises.
    """
    ended = Outcome(arm=task.arm, seed=task.seed, reason="time")
    left = None if task.deadline is None else task.deadline - time.time()
    if left is not None and left <= 0:
        return ended
    folder = task.place.folder(task.arm, task.seed)
    with threads(task.place.num_threads):
        recipe, config = task.recipe()
        asked = to_plain(recipe.to_config())
        result = train(
            recipe,
            config,
            folder,
            cache=task.place.cache,
            is_resumed=True,
            max_minutes=None if left is None else left / 60,
            device=task.place.device,
            watch=watch,
        )
        if result.reason != "done":
            return Outcome(
                arm=task.arm, seed=task.seed, reason=result.reason, notes=_worth(result.notes)
            )
        record = _measure(task, recipe, config, asked, result.figures)
    write_text(folder / RECORD_FILE, to_text(record.to_json()) + "\n")
    _thin(folder, keep=1 if task.place.keeps_checkpoints else 0)
    return Outcome(
        arm=task.arm, seed=task.seed, reason="done", record=record, notes=_worth(result.notes)
    )


def measure_untrained(recipe: Recipe, config: LoopConfig, place: Place) -> dict[str, Any]:
    """Return the items of an opened recipe's first weights, to see that all is there."""
    with (
        threads(place.num_threads),
        join_world(place.device) as world,
        closing(Loop(recipe, config, world, place.runs)) as loop,
    ):
        return kept_items(_items(recipe, config, loop), recipe.name)


def _items(recipe: Recipe, config: LoopConfig, loop: Loop) -> Mapping[str, Sequence[Item]]:
    with loop.world.forked_random(), torch.no_grad():
        torch.manual_seed(validation_seed(config.seed))
        return recipe.items(loop.state.averaged_module())


def _measure(
    task: Task,
    recipe: Recipe,
    config: LoopConfig,
    asked: Mapping[str, Any],
    figures: Mapping[str, float],
) -> RunRecord:
    """Measure the averaged weights of the last checkpoint."""
    with (
        join_world(task.place.device) as world,
        closing(Loop(recipe, config, world, task.place.folder(task.arm, task.seed))) as loop,
    ):
        start = digests(loop.state.module)
        loop.resume()
        items = kept_items(_items(recipe, config, loop), recipe.name)
        return RunRecord(
            arm=task.arm,
            seed=task.seed,
            recipe=recipe.name,
            asked=asked,
            settings=to_plain(recipe.to_config()),
            loop=to_plain(config.to_config()),
            environment=_environment(loop, task.place),
            num_examples=recipe.num_examples,
            start=start,
            seconds=round(loop.state.counters.seconds, 1),
            figures={
                name: float(f"{value:.{DIGITS}g}")
                for name, value in figures.items()
                if math.isfinite(value)
            },
            items=items,
        )


def to_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they come back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
    return plain


def digests(module: nn.Module) -> dict[str, str]:
    """Return shape and digest of each tensor of a module.

    Example:
        >>> digests(nn.Linear(2, 1, bias=False).requires_grad_(False))["weight"].split()[0]
        '1x2'
    """
    found = {}
    for name, value in module.state_dict().items():
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        shape = "x".join(map(str, value.shape)) or "-"
        found[name] = f"{shape} {hashlib.sha256(raw).hexdigest()[:12]}"
    return found


@contextmanager
def threads(num: int) -> Iterator[None]:
    """Compute with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _environment(loop: Loop, place: Place) -> dict[str, Any]:
    device = loop.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "weft": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": name,
        "precision": loop.precision,
        "threads": place.num_threads,
    }


def _thin(run: Path, *, keep: int) -> None:
    """Remove all but the last checkpoints of a finished run."""
    found = checkpoints(run / "checkpoints")
    for old in found[: len(found) - keep]:
        shutil.rmtree(old, ignore_errors=True)


def _worth(notes: Sequence[str]) -> tuple[str, ...]:
    """Leave out what is the same for all runs and of no use here."""
    return tuple(note for note in notes if "TensorBoard" not in note)
