"""Autoregressive fills: linear prediction from both sides, and Janssen's interpolation."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from weft.audio.fades import crossfade, fade_in
from weft.audio.interpolation import fill_least_squares
from weft.audio.prediction import (
    NOISE_LEVEL,
    autocorrelation_lpc,
    burg,
    burg_segments,
    extrapolate,
    lost_power,
    usable_order,
)
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.sides import Sides, confidence, match_level, take_sides
from weft.classical.simple import draw_line
from weft.errors import ConfigError
from weft.rng import Rng

SPANS_MS = ((1.0, 3.0), (3.0, 6.0), (5.0, 12.0), (10.0, 23.2), (50.0, 23.2), (150.0, 46.4))
"""Span of the model over the length of the gap, both in ms: order 1023 at 44.1 kHz for 10-50 ms.
Measured on music: higher orders are better for every gap down to 1 ms; the shortest gaps get lower
ones because they come by the thousand."""


@final
@dataclass(frozen=True, kw_only=True)
class ModelSpan:
    """How long a model reaches back: times, not orders, so that it follows the sample rate."""

    spans_ms: tuple[tuple[float, float], ...] = SPANS_MS
    """Pairs (gap, span of the model), both in ms and > 0, with increasing gaps; interpolated on
    logarithmic axes, constant beyond both ends."""
    context_spans: float = 3.0
    """Context fitted on each side, in spans of the model, >= 3."""
    noise_level: float = NOISE_LEVEL
    """White noise that a fit assumes, relative to the signal's rms, in [0, 1)."""

    def __post_init__(self) -> None:
        gaps = [gap for gap, _ in self.spans_ms]
        if not gaps or gaps != sorted(set(gaps)) or min(min(pair) for pair in self.spans_ms) <= 0:
            raise ConfigError(
                f"spans_ms must be pairs > 0 ms with increasing gaps, got {self.spans_ms}"
            )
        if not 3 <= self.context_spans < float("inf"):
            raise ConfigError(f"context_spans must be >= 3, got {self.context_spans}")
        if not 0 <= self.noise_level < 1:
            raise ConfigError(f"noise_level must be in [0, 1), got {self.noise_level}")

    def span_ms(self, gap_ms: float) -> float:
        """Return the span of the model for a gap of this length, rounded to a quarter octave.

        The rounding gives many clicks of similar lengths equal models, to be computed together.
        """
        gaps, spans = np.log2(np.array(self.spans_ms)).T
        rounded = np.round(4 * np.log2(max(gap_ms, 1e-9))) / 4
        return float(2 ** np.interp(rounded, gaps, spans))

    def context_ms(self, gap_ms: float) -> float:
        """Return the context fitted on each side of a gap of this length."""
        return self.context_spans * self.span_ms(gap_ms)

    def sides(self, window: Window) -> Sides:
        """Take the context of a window's gap."""
        return take_sides(window, self.span_ms(window.gap_ms), self.context_ms(window.gap_ms))


@final
@dataclass(frozen=True, kw_only=True)
class LpcConfig:
    """Settings of `Lpc`."""

    model: ModelSpan = ModelSpan()
    """Order and context over the length of the gap."""
    match_level: bool = False
    """Raise the fill where predictions fade, by 12 dB at the most, to the level that leads from one
    side to the other. Off: it adds sound between the partials (gap LSD 1.03 -> 1.47 at 50 ms)."""


@final
class Lpc(Filler):
    """Continues both sides by Burg's linear prediction and cross-fades over the whole gap.

    Each channel has models of its own; what two channels share goes on in both, because a
    prediction is linear in what it is made from, and the cross-fade has one pair of gains for all.
    Predictions fade to silence where the model loses hold of the sound: noise within
    milliseconds, tones hardly at all.

    Source: Kauppinen & Roth 2002, Audio signal extrapolation: theory and applications. Differs:
    order and context follow the length of the gap; see `burg` for the noise that a fit assumes;
    the gains of the cross-fade follow the correlation of both predictions.
    """

    def __init__(self, config: LpcConfig | None = None) -> None:
        self.config = config or LpcConfig()

    @property
    def name(self) -> str:
        return "lpc"

    @property
    def max_gap_ms(self) -> float | None:
        return None

    def context_ms(self, gap_ms: float) -> float:
        return self.config.model.context_ms(gap_ms)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        sides = [self.config.model.sides(window) for window in windows]
        predictions = predict_sides(sides, self.config.model.noise_level)
        fills = []
        for window, side, prediction in zip(windows, sides, predictions, strict=True):
            samples = join_predictions(side, prediction)
            if self.config.match_level:
                samples = match_level(samples, side, window.sample_rate)
            fills.append([_make_fill(self.name, samples, side, prediction)])
        return fills


@final
@dataclass(frozen=True, kw_only=True)
class JanssenConfig:
    """Settings of `Janssen`."""

    model: ModelSpan = ModelSpan()
    """Order and context over the length of the gap."""
    estimator: Literal["burg", "autocorrelation"] = "burg"
    """How the model is fitted."""
    iterations: int = 3
    """Fits and fills in turn, >= 1. The references use 10 to 20 from zeros; the first fit here is
    that good already."""
    refined_share: float = 0.1
    """Gaps shorter than this share of their context get one iteration: leaving them out of the fit
    costs nothing (measured on music: within 0.1 dB up to 5 ms)."""
    full_samples: int = 8192
    """Gaps beyond this length, in samples, >= 1, get fewer iterations, in inverse proportion, down
    to one: each costs the square of the length."""

    def __post_init__(self) -> None:
        if self.estimator not in ("burg", "autocorrelation"):
            raise ConfigError(
                f'estimator must be "burg" or "autocorrelation", got "{self.estimator}"'
            )
        if self.iterations < 1:
            raise ConfigError(f"iterations must be >= 1, got {self.iterations}")
        if not 0 <= self.refined_share < float("inf"):
            raise ConfigError(f"refined_share must be >= 0, got {self.refined_share}")
        if self.full_samples < 1:
            raise ConfigError(f"full_samples must be >= 1, got {self.full_samples}")


@final
class Janssen(Filler):
    """Fits a model to the surroundings, takes the fill with the least prediction error, repeats.

    With Burg's estimator the first model is fitted to both sides at once, without the gap; with
    the autocorrelation estimator the gap counts as zeros at first. A gap with a model on one side
    only is extrapolated.

    Source: Janssen, Veldhuis & Vries 1986, gap-wise as in Mokry & Rajmic 2024 (arXiv 2403.04433).
    Differs: the first fit leaves the gap out (Burg for segments); fewer iterations; see `burg` for
    the noise that a fit assumes.
    """

    def __init__(self, config: JanssenConfig | None = None) -> None:
        self.config = config or JanssenConfig()

    @property
    def name(self) -> str:
        return "janssen" if self.config.estimator == "burg" else "janssen-autocorrelation"

    @property
    def max_gap_ms(self) -> float | None:
        return None

    def context_ms(self, gap_ms: float) -> float:
        return self.config.model.context_ms(gap_ms)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        sides = [self.config.model.sides(window) for window in windows]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, side in enumerate(sides):
            groups[(*side.lengths, side.order)].append(i)
        fills: dict[int, Fill] = {}
        for members in groups.values():
            for i, fill in zip(members, self._fill_equal([sides[i] for i in members]), strict=True):
                fills[i] = fill
        return [[fills[i]] for i in range(len(sides))]

    def _fill_equal(self, sides: Sequence[Sides]) -> list[Fill]:
        """Fill gaps whose lengths, contexts and orders are equal."""
        before, gap, after = sides[0].lengths
        order = sides[0].order
        if order == 0:
            nothing = Prediction()
            return [
                _make_fill(self.name, join_predictions(side, nothing), side, nothing)
                for side in sides
            ]
        rows = np.concatenate([np.pad(side.before, ((0, 0), (0, gap + after))) for side in sides])
        rows[:, before + gap :] = np.concatenate([side.after for side in sides])
        filters = self._iterate(rows, before, before + gap, order)
        forward = extrapolate(rows[:, :before], filters, gap)
        backward = extrapolate(rows[:, : before + gap - 1 : -1], filters, gap)[:, ::-1]
        longer = rows[:, :before] if before >= after else rows[:, before + gap :]
        lost = lost_power(longer, filters, (gap + 1) // 2)[:, -1]
        fills = []
        for side, channels in zip(sides, _spans([len(side.before) for side in sides]), strict=True):
            prediction = Prediction(
                forward=forward[channels] if before else None,
                backward=backward[channels] if after else None,
                lost=float(lost[channels].mean()),
            )
            samples = rows[channels, before : before + gap]
            fills.append(_make_fill(self.name, samples, side, prediction))
        return fills

    def _iterate(
        self, rows: Float[np.ndarray, "b n"], start: int, stop: int, order: int
    ) -> Float[np.ndarray, "b p"]:
        """Fill the gap of each row in place; return the first models."""
        if start < rows.shape[1] - stop:  # the side with more context goes first
            rows = rows[:, ::-1]
            start, stop = rows.shape[1] - stop, rows.shape[1] - start
        noise_level = self.config.model.noise_level
        has_both = stop < rows.shape[1]
        uses_burg = self.config.estimator == "burg"
        if uses_burg:
            known = [rows[:, :start], rows[:, stop:]] if has_both else [rows[:, :start]]
            first = filters = burg_segments(known, order, noise_level=noise_level)
        else:
            known_rows = rows if has_both else rows[:, :start]
            first = filters = autocorrelation_lpc(known_rows, order, noise_level=noise_level)
        fit = burg if uses_burg else autocorrelation_lpc
        context = rows.shape[1] - (stop - start)
        for i in range(self._num_iterations(context, stop - start) if has_both else 1):
            if i:
                filters = fit(rows, order, noise_level=noise_level)
            rows[:, start:stop] = fill_least_squares(rows, filters, start, stop)
        return first

    def _num_iterations(self, context: int, gap: int) -> int:
        """Return how often to fit and fill."""
        if self.config.estimator == "burg" and gap < self.config.refined_share * context:
            return 1
        return max(1, round(self.config.iterations * min(1.0, self.config.full_samples / gap)))


@final
@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What both sides of a gap say about it."""

    forward: Float[np.ndarray, "c g"] | None = None
    """Prediction from the left; None where that side is too short for a model."""
    backward: Float[np.ndarray, "c g"] | None = None
    """Prediction from the right, in the order of time."""
    lost: float = 1.0
    """Share of power that the models cannot predict over half the gap, in [0, 1]."""


def predict_sides(sides: Sequence[Sides], noise_level: float = NOISE_LEVEL) -> list[Prediction]:
    """Predict into each gap from both sides, each side by a model of its own.

    Sides of equal length and order are computed together.
    """
    groups: dict[tuple[int, int], list[tuple[int, bool]]] = defaultdict(list)
    for i, side in enumerate(sides):
        for is_after, context in ((False, side.before), (True, side.after)):
            order = usable_order(context.shape[1], side.order)
            if order:
                groups[context.shape[1], order].append((i, is_after))
    found: list[list[Float[np.ndarray, "c g"] | None]] = [[None, None] for _ in sides]
    losses: list[list[float]] = [[] for _ in sides]
    for (_, order), members in groups.items():
        contexts = [sides[i].after[:, ::-1] if end else sides[i].before for i, end in members]
        rows = np.concatenate(contexts)
        filters = burg(rows, order, noise_level=noise_level)
        longest = max(sides[i].num_samples for i, _ in members)
        predicted = extrapolate(rows, filters, longest)
        lost = lost_power(rows, filters, (longest + 1) // 2)
        spans = _spans([len(context) for context in contexts])
        for (i, is_after), channels in zip(members, spans, strict=True):
            gap = sides[i].num_samples
            samples = predicted[channels, :gap]
            found[i][is_after] = samples[:, ::-1] if is_after else samples
            losses[i].append(float(lost[channels, (gap + 1) // 2 - 1].mean()))
    return [
        Prediction(forward=forward, backward=backward, lost=float(np.mean(loss)) if loss else 1.0)
        for (forward, backward), loss in zip(found, losses, strict=True)
    ]


def join_predictions(sides: Sides, prediction: Prediction) -> Float[np.ndarray, "c g"]:
    """Cross-fade both predictions over the gap, by gains that follow their correlation.

    One prediction alone stays as it is; without any, a line is drawn.
    """
    forward, backward = prediction.forward, prediction.backward
    if forward is None and backward is None:
        return draw_line(sides.before, sides.after, sides.num_samples)
    if backward is None or forward is None:
        return np.array(forward if backward is None else backward)
    return crossfade(forward, backward, fade_in(sides.num_samples))


def _make_fill(
    model: str, samples: Float[np.ndarray, "c g"], sides: Sides, prediction: Prediction
) -> Fill:
    """Put the constant offset back and say what was done."""
    return Fill(
        samples=samples + sides.offset,
        model=model,
        confidence=confidence(sides, prediction.forward, prediction.backward, prediction.lost),
        is_joined=True,
        details={"order": float(sides.order)},
    )


def _spans(lengths: Sequence[int]) -> list[slice]:
    """Return the consecutive slices of these lengths."""
    stops = np.cumsum(lengths)
    return [slice(int(stop - n), int(stop)) for n, stop in zip(lengths, stops, strict=True)]
