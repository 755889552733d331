"""What every model that fills gaps offers to the driver."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Float

from weft.canvas.canvas import Window
from weft.errors import ConfigError
from weft.rng import Rng
from weft.shapes import Samples

RoundTripFn: TypeAlias = Callable[[Samples, int], Samples]
"""``(samples, sample_rate) -> samples`` of the same rate, shape and position."""


@final
@dataclass(frozen=True, kw_only=True)
class Fill:
    """Samples that a filler proposes for a gap."""

    samples: Float[np.ndarray, "c g"]
    """As long as the gap. Need not join its surroundings; `compose` fades inside the gap."""
    model: str
    """Name of the model that made it."""
    confidence: float
    """How sure the model is that the fill belongs, in [0, 1]."""
    is_joined: bool = False
    """Whether the fill already continues the samples on both sides; `compose` then adds no fade."""
    details: Mapping[str, float | str] = field(default_factory=dict)
    """Facts worth showing: orders, sources copied from, distances."""
    max_hz: float | None = None
    """Above this frequency it holds nothing but what rings on at its edges; None: no limit."""


class Filler(abc.ABC):
    """Proposes fills for gaps (interface).

    A filler sees windows only, never files, and proposes; joining, pasting, ranking and proof are
    the driver's. Fillers hold no state between calls.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name in tables, receipts and on the command line."""

    @property
    @abc.abstractmethod
    def max_gap_ms(self) -> float | None:
        """Longest gap filled at once; longer ones come in pieces. None: any length."""

    @property
    def piece_ms(self) -> float | None:
        """Longest piece of a gap that does not fit; `max_gap_ms` unless pieces are to be shorter.

        A piece but the last has something known on one side only, or nothing at all.
        """
        return self.max_gap_ms

    @property
    def num_parameters(self) -> int:
        """Learned numbers of its networks; 0 for classical models."""
        return 0

    @property
    def max_hz(self) -> float | None:
        """Highest frequency that its fills can hold; None: as wide as the recording."""
        return None

    @property
    def round_trip(self) -> RoundTripFn | None:
        """What its codec makes of sound without a gap, which bounds its fills; None: no codec."""
        return None

    @property
    def uses_draft(self) -> bool:
        """Whether it starts from `Window.draft` where there is one; others are given none."""
        return False

    @property
    def uses_style(self) -> bool:
        """Whether it follows `Window.style`; others are given none."""
        return False

    @property
    def tags(self) -> tuple[str, ...]:
        """Names that `Style.tags` may hold, in order; none unless it `uses_style`."""
        return ()

    @property
    def can_generate(self) -> bool:
        """Whether it fills windows in which nothing is known."""
        return False

    def with_steps(self, num_steps: int) -> "Filler":
        """Return this filler with another number of sampling steps, >= 1.

        Raises:
            ConfigError: it does not sample in steps.
        """
        raise ConfigError(
            f"{self.name} takes no number of steps ({num_steps} asked for); leave it out"
        )

    @abc.abstractmethod
    def context_ms(self, gap_ms: float) -> float:
        """Return how much of the recording it wants on each side of a gap of this length."""

    @abc.abstractmethod
    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Propose fills for each window's gap.

        Args:
            windows: any number, of any lengths; fillers may batch equal ones.
            num_takes: how many different fills are wanted, >= 1.
            rng: draws for a window come from ``rng.stream(start of its gap in the recording, …)``.

        Returns:
            For each window its fills, best first; at least one, at most ``num_takes`` (a
            deterministic filler gives one).
        """
