"""Everything that changes in training: weights, averages, optimisers, counters."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.train.config import LoopConfig
from weft.train.recipe import Objective


@final
@dataclass(kw_only=True)
class Counters:
    """What a run counts; part of every checkpoint."""

    step: int = 0
    """Steps done, with those left out."""
    num_updates: int = 0
    """Steps that changed the weights."""
    num_bad: int = 0
    """Steps left out because a loss or gradient was not finite."""
    num_bad_in_row: int = 0
    """Of these, without a good one since."""
    seconds: float = 0.0
    """Time spent in the loop, over all sessions."""
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Sum and count of each figure over the steps since the last line of the log."""

    def add(self, figures: Mapping[str, float]) -> None:
        """Add the figures of a step; what is not finite is left out."""
        for name, value in figures.items():
            if math.isfinite(value):
                total, count = self.sums.get(name, [0.0, 0.0])
                self.sums[name] = [total + value, count + 1.0]

    def take_means(self) -> dict[str, float]:
        """Return the means since the last call, and begin anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


@final
class TrainState:
    """A module in training, with the averaged copy of it that is validated and exported."""

    def __init__(
        self, module: nn.Module, objectives: Sequence[Objective], config: LoopConfig
    ) -> None:
        """Set up optimisers and averages.

        Args:
            module: on the device that trains it.
            objectives: each gets an optimiser over its parameters.
            config: of the loop.

        Raises:
            ConfigError: an objective has no parameters, or two have the same name.
        """
        self.module = module
        self.objectives = tuple(objectives)
        self.counters = Counters()
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        trained = [p for objective in objectives for p in objective.parameters]
        _check_objectives(self.objectives, names)
        self.parameter_names = [names[id(p)] for p in dict.fromkeys(trained)]
        self.optimisers = {
            objective.name: _make_optimiser(objective.parameters, config)
            for objective in self.objectives
        }
        self.averaged = copy.deepcopy(module).eval().requires_grad_(False)
        averaged = dict(self.averaged.named_parameters())
        current = dict(module.named_parameters())
        self._averages: list[Tensor] = [averaged[name] for name in self.parameter_names]
        self._weights: list[Tensor] = [current[name] for name in self.parameter_names]
        self._names = names

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the averaged weights towards the current ones.

        Args:
            decay: in [0, 1]; 0 copies the current weights.
        """
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)

    @torch.no_grad()
    def averaged_module(self) -> nn.Module:
        """Return the module with averaged weights, in eval mode; the rest of it is copied."""
        ours = self.averaged.state_dict()
        averaged = set(self.parameter_names)
        for name, value in self.module.state_dict().items():
            if name not in averaged:
                ours[name].copy_(value)
        return self.averaged

    @contextmanager
    def only(self, objective: Objective) -> Iterator[None]:
        """Let gradients flow into the parameters of one objective alone."""
        own = {id(parameter) for parameter in objective.parameters}
        others = [p for p in self._weights if id(p) not in own]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the state by name; writing into them changes the state."""
        found = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        for name, value in zip(self.parameter_names, self._averages, strict=True):
            found[f"averaged.{name}"] = value.detach()
        for objective, optimiser in self.optimisers.items():
            for parameter, slots in optimiser.state.items():
                name = self._names[id(parameter)]
                for slot, value in slots.items():
                    found[f"optimiser.{objective}.{name}.{slot}"] = value
        return found


def _check_objectives(objectives: Sequence[Objective], parameters: Mapping[int, str]) -> None:
    names = [objective.name for objective in objectives]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"objectives need names, each another one; got {names}")
    for objective in objectives:
        if any(id(parameter) not in parameters for parameter in objective.parameters):
            raise ConfigError(
                f"objective {objective.name!r} has a parameter that is not in the module"
            )
    for objective in objectives:
        if not objective.parameters:
            raise ConfigError(f"objective {objective.name!r} has no parameters to train")


def _make_optimiser(parameters: Sequence[nn.Parameter], config: LoopConfig) -> torch.optim.AdamW:
    """Return AdamW with all its slots made, so that a checkpoint can be read into them."""
    vectors = [p for p in parameters if is_vector(p)]
    arrays = [p for p in parameters if not is_vector(p)]
    groups: list[dict[str, Any]] = [
        {"params": arrays, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        fused=all(p.device.type in ("cpu", "cuda") for p in parameters),
    )
    for parameter in parameters:
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
    return optimiser


def is_vector(parameter: Tensor) -> bool:
    """Say whether a parameter is a norm's scale, a bias or the like: at most one axis is longer.

    Example:
        >>> is_vector(torch.zeros(8)), is_vector(torch.zeros(8, 1, 1)), is_vector(torch.zeros(8, 2))
        (True, True, False)
    """
    return sum(size > 1 for size in parameter.shape) <= 1


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or infinity."""
    return [
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]
