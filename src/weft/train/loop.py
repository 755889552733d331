"""The training loop: one for everything that is trained.

It knows neither sound nor networks. Whatever it draws is a function of (seed, step, rank), whatever
it counts is part of the checkpoint; so a run that is killed and goes on ends with the same bits.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from weft.errors import DivergenceError, WeftError
from weft.train.config import LoopConfig
from weft.train.log import TrainingLog
from weft.train.order import Order, Ticket, step_seed, validation_seed, weights_seed
from weft.train.prefetch import batches
from weft.train.recipe import Batch, Objective, Recipe
from weft.train.saving import checkpoints, load, save
from weft.train.state import TrainState
from weft.train.stopping import Stop, Why
from weft.train.world import World, bfloat16_gains

_REASONS: tuple[Why, ...] = ("done", "time", "SIGINT", "SIGTERM")


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, for whoever watches it."""

    step: int
    """Steps done."""
    steps: int
    """Steps of the whole run."""
    seconds_left: float
    """Estimate, from the speed of this session."""
    figures: dict[str, float]
    """Last line of the log."""


Watcher = Callable[[Progress], None]


@final
class Loop:
    """A recipe in training, in one process of perhaps many."""

    def __init__(self, recipe: Recipe, config: LoopConfig, world: World, run: Path) -> None:
        """Build the module and its optimisers; nothing is trained yet.

        Args:
            recipe: opened.
            config: of the loop.
            world: this process among others.
            run: folder of the run.
        """
        self.recipe, self.config, self.world, self.run = recipe, config, world, run
        self.order = Order(
            seed=config.seed,
            num_examples=recipe.num_examples,
            batch_size=config.batch_size,
            accumulation=config.accumulation,
            rank=world.rank,
            world_size=world.size,
        )
        with self.world.forked_random():
            torch.manual_seed(weights_seed(config.seed))
            module = recipe.build().to(world.device).train()
        self.state = TrainState(module, recipe.objectives(module), config)
        self._module: nn.Module = module if world.is_alone else _wrap(module, world)
        self._generator = torch.Generator(world.device)
        self._is_bfloat16 = self.precision == "bfloat16"

    @property
    def precision(self) -> str:
        """What ``auto`` came to on this device."""
        if self.config.precision != "auto":
            return self.config.precision
        return "bfloat16" if bfloat16_gains(self.world.device) else "float32"

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint must agree on with the run that goes on from it."""
        return {"num_examples": self.order.num_examples}

    def resume(self) -> list[str]:
        """Go on from the last good checkpoint, if there is one; return what was wrong with others.

        Raises:
            CheckpointError: there are checkpoints, but none can be used.
        """
        wrong: list[str] = []
        found = checkpoints(self.run / "checkpoints")
        for checkpoint in reversed(found):
            try:
                load(self.state, checkpoint, facts=self.facts)
            except WeftError as error:
                wrong.append(str(error))
                if checkpoint == found[0]:
                    raise
            else:
                break
        return wrong

    def train(self, log: TrainingLog, stop: Stop, watch: Watcher | None = None) -> Why:
        """Train until the last step, or until told to stop; a checkpoint is there in both cases.

        Args:
            log: gets a line every ``log_every`` steps and at each validation.
            stop: says when.
            watch: called after every step, in the first process.

        Returns:
            Why it ended.

        Raises:
            DivergenceError: too many steps in a row gave no finite gradient.
        """
        counters, config = self.state.counters, self.config
        first = counters.step
        source = batches(
            self.order,
            self._example,
            first=first,
            last=config.steps,
            num_workers=config.num_workers,
        )
        begun, before = time.monotonic(), counters.seconds
        reason: Why = "done"
        saved = first if first else -1
        with self.world.forked_random():
            for parts in source:
                self.step(parts)
                counters.seconds = before + time.monotonic() - begun
                self._log(log)
                if config.validate_every and counters.step % config.validate_every == 0:
                    self.validate(log)
                if watch is not None and self.world.is_first:
                    left = config.steps - counters.step
                    pace = (time.monotonic() - begun) / (counters.step - first)
                    figures = log.lines[-1] if log.lines else {}
                    watch(
                        Progress(
                            step=counters.step,
                            steps=config.steps,
                            seconds_left=left * pace,
                            figures={k: v for k, v in figures.items() if isinstance(v, float)},
                        )
                    )
                reason = self._agree(stop)
                if counters.step % config.save_every == 0 or reason != "done":
                    self.save()
                    saved = counters.step
                if reason != "done":
                    break
            source.close()
            if reason == "done" and saved != counters.step:
                self.save()
        return reason

    def step(self, parts: list[Batch]) -> None:
        """Do one step: every objective forwards, backwards and is updated, then the average."""
        counters, config = self.state.counters, self.config
        seed = step_seed(config.seed, counters.step, self.world.rank)
        self._generator.manual_seed(seed)
        torch.manual_seed(seed)  # of layers that draw from torch's own generator, such as dropout
        moved = [self._to_device(part) for part in parts]
        is_good = True
        figures: dict[str, float] = {}
        for objective in self.state.objectives:
            own, is_good = self._descend(objective, moved)
            prefix = "" if len(self.state.objectives) == 1 else f"{objective.name}/"
            figures |= {prefix + name: value for name, value in own.items()}
            if not is_good:
                break
        counters.step += 1
        counters.add(figures)
        if is_good:
            self.state.average(config.ema_decay_at(counters.num_updates))
            self.recipe.after_step(self.state.module, counters.step - 1)
            counters.num_updates += 1
            counters.num_bad_in_row = 0
            return
        counters.num_bad += 1
        counters.num_bad_in_row += 1
        if counters.num_bad_in_row >= config.max_bad_steps:
            raise DivergenceError(
                f"{counters.num_bad_in_row} steps in a row up to step {counters.step} gave NaN or "
                f"infinity, so the run stopped; the last checkpoint in {self.run} is good. Lower "
                "the learning rate, lengthen the warm-up, or train in float32"
            )

    def _descend(self, objective: Objective, parts: list[Batch]) -> tuple[dict[str, float], bool]:
        """Update the parameters of one objective; return its figures, and whether all is finite."""
        optimiser = self.state.optimisers[objective.name]
        rate = self.config.learning_rate_at(self.state.counters.step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        sums: dict[str, Tensor] = {}
        with self.state.only(objective):
            for i, part in enumerate(parts):
                with self._synchronising(is_last=i == len(parts) - 1):
                    with torch.autocast(
                        self.world.device.type, torch.bfloat16, enabled=self._is_bfloat16
                    ):
                        losses = self._module(
                            part,
                            objective=objective.name,
                            step=self.state.counters.step,
                            generator=self._generator,
                        )
                    (losses["loss"] / len(parts)).backward()
                for name, value in losses.items():
                    share = value.detach().float() / len(parts)
                    sums[name] = sums[name] + share if name in sums else share
        norm = nn.utils.clip_grad_norm_(objective.parameters, self.config.clip_norm)
        means = self.world.mean([*sums.values(), norm])
        figures = dict(zip([*sums, "gradient_norm"], means, strict=True))
        is_good = math.isfinite(figures["loss"]) and math.isfinite(figures["gradient_norm"])
        if is_good:
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return figures, is_good

    @contextmanager
    def _synchronising(self, *, is_last: bool) -> Iterator[None]:
        """Sum gradients over the processes at the last micro-batch only."""
        is_apart = isinstance(self._module, DistributedDataParallel) and not is_last
        with self._module.no_sync() if is_apart else nullcontext():  # type: ignore[operator]
            yield

    def validate(self, log: TrainingLog) -> dict[str, float]:
        """Measure the averaged weights, in the first process; the others wait."""
        found: dict[str, float] = {}
        if self.world.is_first:
            with self.world.forked_random(), torch.no_grad():
                torch.manual_seed(validation_seed(self.config.seed))
                found = self.recipe.validate(self.state.averaged_module())
            line = {f"valid/{name}": float(value) for name, value in found.items()}
            if not any({*line} & {*old} for old in log.at(self.state.counters.step)):
                log.add({"step": self.state.counters.step, **line})
        self.world.wait()
        return found

    def close(self) -> None:
        """Let go of the other processes; call it before they part.

        DDP's part in C++ holds the group of processes, and were it the last to do so, it would end
        the group's threads while it keeps Python's lock, which one of them may wait for. Measured
        with three gloo processes: without this, about half of the runs never ended.
        """
        if not self.world.is_alone:
            self._module = self.state.module
            gc.collect()

    def save(self) -> Path:
        """Write a checkpoint."""
        return save(
            self.state,
            self.run / "checkpoints",
            world=self.world,
            facts=self.facts,
            keep=self.config.keep_checkpoints,
        )

    def _log(self, log: TrainingLog) -> None:
        counters, config = self.state.counters, self.config
        if counters.step % config.log_every and counters.step != config.steps:
            return
        log.add(
            {
                "step": counters.step,
                "epoch": self.order.epoch_at(counters.step),
                **counters.take_means(),
                "learning_rate": config.learning_rate_at(counters.step - 1),
                "num_bad": counters.num_bad,
                "seconds": round(counters.seconds, 3),
            }
        )

    def _agree(self, stop: Stop) -> Why:
        """Say whether to stop; all processes come to the same answer."""
        own = _REASONS.index(stop.reason())
        return _REASONS[self.world.first_of_any(own)]

    def _example(self, ticket: Ticket) -> Batch:
        return self.recipe.example(ticket.index, ticket.rng)

    def _to_device(self, batch: Batch) -> Batch:
        device = self.world.device
        if device.type == "cpu":
            return batch
        return {name: v.pin_memory().to(device, non_blocking=True) for name, v in batch.items()}


@final
class _Shell(nn.Module):
    """What DDP wraps: a module, and a parameter that nothing uses.

    DDP regroups gradients after its first step unless it looks for unused parameters. Sums over
    three and more processes are then taken in another order after a resumption than in a run that
    was never stopped. So it looks for them, and complains unless there is one.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the module's losses as a dict, in which DDP finds the tensors."""
        return dict(self.module(batch, objective=objective, step=step, generator=generator))


def _wrap(module: nn.Module, world: World) -> DistributedDataParallel:
    shell = _Shell(module).to(world.device)
    return DistributedDataParallel(shell, find_unused_parameters=True)
