"""What the training loop asks of everything that can be trained."""

import abc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.rng import Rng

Batch = Mapping[str, Tensor]
"""Tensors by name, each with the batch as first axis."""
Losses = Mapping[str, Float[Tensor, ""]]
"""Scalars by name; ``loss`` is what is minimised, the others are for the log."""


Tell = Callable[[str, int, int], None]
"""Called with what is prepared, how much of it is done, and how much there is."""


def silence(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@final
@dataclass(frozen=True, kw_only=True)
class Objective:
    """One loss and the parameters that follow it; adversarial recipes have two."""

    name: str
    """Passed to the module's ``forward``; prefix in logs where there are several."""
    parameters: Sequence[nn.Parameter]
    """What its optimiser steps."""


@final
@dataclass(frozen=True, kw_only=True)
class Item:
    """One figure of one place in one recording of the valid split.

    Two runs are compared item by item: those of the same ``recording`` and ``position``. What is
    hard about a place then cancels.

    Example:
        >>> Item(recording="music/a.wav", position=4800, value=0.25).key
        ('music/a.wav', 4800)
    """

    recording: str
    """What items that are alike share, ``CORPUS/FILE``; not empty."""
    position: int
    """Where in the recording, such as the first frame of its gap, >= 0."""
    value: float
    """The figure, finite."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.recording:
            raise ConfigError("recording must not be empty: items are grouped by it")
        if self.position < 0:
            raise ConfigError(f"position must be >= 0, got {self.position} in {self.recording}")
        if not math.isfinite(self.value):
            raise ConfigError(
                f"value must be finite, got {self.value} at {self.position} in {self.recording}"
            )

    @property
    def key(self) -> tuple[str, int]:
        """What an item shares with the same place in other runs."""
        return self.recording, self.position


class Recipe(abc.ABC):
    """One thing to train (interface).

    The module that `build` returns computes its own losses: ``module(batch, objective=name,
    step=step, generator=generator) -> Losses``. So the loop can wrap it for data parallelism, and
    knows neither sound nor networks. All randomness of a training step comes from ``generator``,
    which is seeded by (seed, step, rank); all randomness of a batch from the item's ``Rng``.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name on the command line."""

    @abc.abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Return all settings as JSON: a run of other settings is not resumed."""

    @abc.abstractmethod
    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        """Make what examples are drawn from; called once, by rank 0, before `build`.

        Args:
            cache: a folder that outlives the run and is shared by runs; what is there already and
                fits is used again.
            tell: called as work goes on: it may take much longer than a step.
        """

    @abc.abstractmethod
    def open(self, cache: Path) -> None:
        """Open what `prepare` made; called by every rank."""

    @property
    @abc.abstractmethod
    def num_examples(self) -> int:
        """Examples of an epoch; known after `open`."""

    @abc.abstractmethod
    def example(self, index: int, rng: Rng) -> Batch:
        """Return one example, without the batch axis.

        Args:
            index: in [0, num_examples).
            rng: of this example in this epoch; crops and augmentation draw from it.
        """

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """Return the module to train, on the CPU, initialised from torch's current generator."""

    def objectives(self, module: nn.Module) -> Sequence[Objective]:
        """Return the losses and their parameters; unless overridden, one over all parameters."""
        return [
            Objective(name="loss", parameters=[p for p in module.parameters() if p.requires_grad])
        ]

    def after_step(self, module: nn.Module, step: int) -> None:  # noqa: B027 - nothing to do is usual
        """Change the module after an optimiser step: teachers, codebooks."""

    def validation(self) -> Iterator[Batch]:
        """Yield the batches that `validate` sees; always the same. None unless overridden."""
        return iter(())

    @abc.abstractmethod
    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return figures of the module on the valid split; it is in eval mode, with EMA weights."""

    def items(self, module: nn.Module) -> Mapping[str, Sequence[Item]]:
        """Return figures of the module item by item, for experiments that compare runs in pairs.

        The same contract as `validate`: after `open`, with EMA weights, in eval mode, without
        gradients; called once, after the last step. None unless overridden.

        Args:
            module: what `build` returned, trained.

        Returns:
            Items by name of the measure, such as ``nll_200ms``: letters, digits, ``_``, ``-``,
            ``.`` and ``/``. A key occurs once in a measure. Which items there are, and all that is
            drawn for one (its gap, its noise), must depend on the valid split and the item's key
            alone, as in ``Rng(0, (i, position))``; not on the network, the settings of training,
            the run's seed or the batch. So the items of two runs are pairs, and a difference is
            that of the networks.
        """
        return {}

    @abc.abstractmethod
    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the trained model, with EMA weights, and its card into a folder.

        Args:
            module: in eval mode, on the CPU.
            folder: exists and is empty.
            history: lines of the training log, for curves in the card.
        """
