"""A filler for tests of the driver."""

from collections.abc import Sequence
from typing import final

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.rng import Rng


@final
class NoiseFiller(Filler):
    """Fills with drawn noise, so that draws, order and joins can be watched."""

    def __init__(
        self,
        *,
        max_gap_ms: float | None = None,
        piece_ms: float | None = None,
        confidence: float = 0.5,
        context: float = 50.0,
        is_joined: bool = False,
    ) -> None:
        self._max_gap_ms = max_gap_ms
        self._piece_ms = max_gap_ms if piece_ms is None else piece_ms
        self._confidence = confidence
        self._context_ms = context
        self._is_joined = is_joined
        self.windows: list[Window] = []

    @property
    def name(self) -> str:
        return "noise-for-tests"

    @property
    def max_gap_ms(self) -> float | None:
        return self._max_gap_ms

    @property
    def piece_ms(self) -> float | None:
        return self._piece_ms

    def context_ms(self, gap_ms: float) -> float:
        return self._context_ms

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        self.windows.extend(windows)
        return [
            [
                Fill(
                    samples=0.1
                    * rng.stream(window.start + window.gap.start, take).standard_normal(
                        (window.num_channels, window.gap.num_samples)
                    ),
                    model=self.name,
                    confidence=self._confidence,
                    is_joined=self._is_joined,
                )
                for take in range(num_takes)
            ]
            for window in windows
        ]


@final
class DraftFiller(Filler):
    """Mixes the draft with drawn noise by its strength; follows styles and needs nothing known."""

    def __init__(
        self, *, max_gap_ms: float | None = None, level: float = 0.1, remembers: bool = True
    ) -> None:
        self._max_gap_ms = max_gap_ms
        self._level = level
        self._remembers = remembers
        self.windows: list[Window] = []

    @property
    def name(self) -> str:
        return "draft-for-tests"

    @property
    def max_gap_ms(self) -> float | None:
        return self._max_gap_ms

    @property
    def uses_draft(self) -> bool:
        return True

    @property
    def uses_style(self) -> bool:
        return True

    @property
    def tags(self) -> tuple[str, ...]:
        return ("rain", "piano")

    @property
    def can_generate(self) -> bool:
        return True

    def with_steps(self, num_steps: int) -> Filler:
        return DraftFiller(max_gap_ms=self._max_gap_ms, level=self._level / num_steps)

    def context_ms(self, gap_ms: float) -> float:
        return 50.0

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        if self._remembers:
            self.windows.extend(windows)
        return [[self._one(window, take, rng) for take in range(num_takes)] for window in windows]

    def _one(self, window: Window, take: int, rng: Rng) -> Fill:
        shape = (window.num_channels, window.gap.num_samples)
        stream = rng.stream(window.start + window.gap.start, take)
        samples = self._level * stream.standard_normal(shape)
        if window.draft is not None and window.draft_strength is not None:
            samples = window.draft_strength * samples + (1 - window.draft_strength) * window.draft
        return Fill(samples=samples, model=self.name, confidence=0.8)
