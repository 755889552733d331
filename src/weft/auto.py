"""Auto: chooses a model for each gap."""

from collections.abc import Sequence
from typing import final

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.autoregressive import Lpc
from weft.rng import Rng


@final
class Auto(Filler):
    """Chooses one of the other models for each gap."""

    name = "auto"
    max_gap_ms = None

    def context_ms(self, gap_ms: float) -> float:
        return Lpc().context_ms(gap_ms)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        return Lpc().fill(windows, num_takes=num_takes, rng=rng)
