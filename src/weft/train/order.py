"""What is drawn when: examples and seeds, as functions of the step alone.

Nothing here has a state that a checkpoint would have to hold, and nothing depends on how many
threads make examples. The examples of a step do not depend on how many processes share them.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from weft.errors import ConfigError
from weft.rng import Rng

_ORDER, _EXAMPLE, _STEP, _WEIGHTS, _VALID = range(5)


@final
@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One example to be made."""

    epoch: int
    """Counted from 0."""
    index: int
    """Of the example, in [0, num_examples)."""
    seed: int
    """Of the run."""

    @property
    def rng(self) -> Rng:
        """What crops and augmentation of this example in this epoch draw from."""
        return Rng(self.seed, (_EXAMPLE, self.epoch, self.index))


@final
@dataclass(frozen=True, kw_only=True)
class Order:
    """Which examples a process sees at a step."""

    seed: int
    """Of the run, >= 0."""
    num_examples: int
    """Of an epoch, >= 1."""
    batch_size: int
    """Examples of a step over all processes, >= 1."""
    accumulation: int = 1
    """Micro-batches of a step and process."""
    rank: int = 0
    """Of this process, in [0, world_size)."""
    world_size: int = 1
    """Processes; times ``accumulation`` divides ``batch_size``."""

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise ConfigError("there are no examples to train on; check --data and the split")
        if self.batch_size % (self.accumulation * self.world_size):
            raise ConfigError(
                f"batch_size must be a multiple of accumulation times processes, got "
                f"{self.batch_size} for {self.accumulation} times {self.world_size}"
            )

    def tickets(self, step: int) -> list[list[Ticket]]:
        """Return the examples of a step, one list a micro-batch.

        An epoch is a permutation of all examples; where the batch does not divide it, a step runs
        over into the next.

        Example:
            >>> order = Order(seed=1, num_examples=3, batch_size=2)
            >>> [[t.index for t in order.tickets(step)[0]] for step in range(3)]
            [[2, 1], [0, 1], [0, 2]]
        """
        num_own = self.batch_size // self.world_size
        num_micro = num_own // self.accumulation
        first = step * self.batch_size + self.rank * num_own
        own = [self._ticket(first + i) for i in range(num_own)]
        return [own[i : i + num_micro] for i in range(0, num_own, num_micro)]

    def epoch_at(self, step: int) -> float:
        """Return how many epochs are done before a step."""
        return step * self.batch_size / self.num_examples

    def _ticket(self, position: int) -> Ticket:
        epoch, place = divmod(position, self.num_examples)
        permutation = _permutation(self.seed, epoch, self.num_examples)
        return Ticket(epoch=epoch, index=int(permutation[place]), seed=self.seed)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    return Rng(seed).stream(_ORDER, epoch).permutation(num_examples)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of all noise that one process draws in one step."""
    return int(Rng(seed).stream(_STEP, step, rank).integers(2**63))


def weights_seed(seed: int) -> int:
    """Return the seed of the first weights."""
    return int(Rng(seed).stream(_WEIGHTS).integers(2**63))


def validation_seed(seed: int) -> int:
    """Return the seed of whatever a validation draws, the same at every step."""
    return int(Rng(seed).stream(_VALID).integers(2**63))
