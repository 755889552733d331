"""The plainest fills: silence, and a line between the neighbours. What the others must beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.fades import fade_in
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.errors import ConfigError
from weft.rng import Rng


@final
class Silence(Filler):
    """Fills gaps with zeros: the neutral result, 0 dB signal-to-noise ratio."""

    @property
    def name(self) -> str:
        return "silence"

    @property
    def max_gap_ms(self) -> float | None:
        return None

    def context_ms(self, gap_ms: float) -> float:
        return 0.0

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        return [
            [
                Fill(
                    samples=np.zeros((window.num_channels, window.gap.num_samples)),
                    model=self.name,
                    confidence=0.0,
                )
            ]
            for window in windows
        ]


@final
@dataclass(frozen=True, kw_only=True)
class CrossfadeConfig:
    """Settings of `CrossfadeFill`."""

    line_ms: float = 1.0
    """Gaps up to this length are bridged by a straight line, in ms, >= 0."""
    max_context_ms: float = 2000.0
    """Most of either side that is played into longer gaps, to and fro, in ms, > 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.line_ms < float("inf"):
            raise ConfigError(f"line_ms must be >= 0 ms and finite, got {self.line_ms}")
        if not 0 < self.max_context_ms < float("inf"):
            raise ConfigError(f"max_context_ms must be > 0 ms, got {self.max_context_ms}")


@final
class CrossfadeFill(Filler):
    """Fills gaps from the neighbours alone, without a model.

    A gap of up to ``line_ms`` gets the straight line between the last sample before and the first
    sample after it. A longer one gets both sides played backwards into it, which keeps value and
    level, cross-faded over the whole gap by a raised cosine. A side without samples is left out,
    and the other one goes on alone.
    """

    def __init__(self, config: CrossfadeConfig | None = None) -> None:
        self.config = config or CrossfadeConfig()

    @property
    def name(self) -> str:
        return "crossfade"

    @property
    def max_gap_ms(self) -> float | None:
        return None

    def context_ms(self, gap_ms: float) -> float:
        return min(gap_ms, self.config.max_context_ms) + 1.0

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        return [[self._fill_one(window)] for window in windows]

    def _fill_one(self, window: Window) -> Fill:
        size = window.gap.num_samples
        before, after = window.before(size + 1), window.after(size + 1)
        if window.gap_ms <= self.config.line_ms:
            samples = draw_line(before, after, size)
        else:
            weight = fade_in(size)
            forward = _mirror(before, size)
            backward = _mirror(after[:, ::-1], size)[:, ::-1]
            if not before.shape[1] or not after.shape[1]:
                samples = forward + backward
            else:
                samples = forward * (1 - weight) + backward * weight
        confidence = 0.1 / (1 + window.gap_ms)
        return Fill(samples=samples, model=self.name, confidence=confidence, is_joined=True)


def draw_line(
    before: Float[np.ndarray, "c a"], after: Float[np.ndarray, "c z"], num_samples: int
) -> Float[np.ndarray, "c g"]:
    """Return straight lines from the last sample before a gap to the first one after it.

    With one side empty the other one's sample is held and faded out over the gap; with both, zeros.
    """
    weight = np.arange(1, num_samples + 1) / (num_samples + 1)
    line = np.zeros((before.shape[0], num_samples))
    if before.shape[1]:
        line += before[:, -1:] * (1 - weight)
    if after.shape[1]:
        line += after[:, :1] * weight
    return line


def _mirror(context: Float[np.ndarray, "c n"], num_samples: int) -> Float[np.ndarray, "c m"]:
    """Continue by the context played backwards, and forwards again where it is short."""
    if not context.shape[1]:
        return np.zeros((context.shape[0], num_samples))
    padded = np.pad(context, ((0, 0), (0, num_samples)), mode="reflect")
    return padded[:, context.shape[1] :]
