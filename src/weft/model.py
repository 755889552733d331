"""Models: anything that fills a canvas, and what comes back."""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio, Patch
from weft.audio.proof import Proof, prove_edit
from weft.canvas.canvas import Canvas, Region, Window
from weft.canvas.compose import FADE_MS, compose, limit_to_band
from weft.canvas.filler import Fill, Filler
from weft.canvas.windows import batch_gaps, context_samples, read_window, split_gap
from weft.card import ModelCard
from weft.errors import (
    BandwidthWarning,
    ConfigError,
    QualityWarning,
    UnsupportedCanvasError,
    WeftWarning,
)
from weft.metrics.bandwidth import measure_cutoff_hz
from weft.rng import Rng
from weft.takes import SIDE_MS, score_take

CROWDED_MS = 50.0
"""Gaps nearer than this to another that was not filled yet are filled again when it is."""
_AUDIBLY_WIDER = 1.1
"""Sound that reaches less than this beyond a fill's highest frequency is not worth a warning."""
_SIDE_SAMPLES = 16384
_NUM_BANDS_MEASURED = 8
"""Gaps beside which it is measured, where there are more."""
Progress = Callable[[int, int], None]
"""Called with (gaps done, gaps in all)."""


@final
@dataclass(frozen=True, kw_only=True)
class GapTake:
    """One fill of one gap, joined to its surroundings."""

    samples: Float[np.ndarray, "c g"] = field(repr=False)
    """What stands in the gap."""
    model: str
    """Which model made it."""
    confidence: float
    """How sure the model is, in [0, 1]."""
    details: Mapping[str, float | str]
    """Facts the model tells."""
    max_hz: float | None = None
    """Highest frequency that the fill can hold; None: as wide as the recording."""


@final
@dataclass(frozen=True, kw_only=True)
class GapFill:
    """All that happened to one gap."""

    region: Region
    """The gap, in samples of the recording."""
    takes: tuple[GapTake, ...]
    """Different fills, best first."""
    is_left_alone: bool
    """Whether no fill was confident enough and the recording stays as it was there."""


@final
@dataclass(frozen=True)
class FillResult:
    """A filled canvas."""

    audio: Audio
    """The recording that was given."""
    gaps: tuple[GapFill, ...]
    """What happened to each gap, in order of time."""
    takes: tuple[Audio, ...]
    """The recording with every gap filled, best first; take i holds every gap's i-th fill."""
    warnings: tuple[WeftWarning, ...]
    """What one should know before using it."""

    @property
    def best(self) -> Audio:
        """The best take."""
        return self.takes[0]

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """How well each take belongs, in dB, <= 0: mean of its gaps; see `weft.takes`.

        Measured at the seams and sides only; models rank by more than that.
        """
        filled = [gap for gap in self.gaps if not gap.is_left_alone]
        return tuple(
            float(np.mean([self._score(take, gap.region) for gap in filled] or [0.0]))
            for take in self.takes
        )

    def _score(self, take: Audio, region: Region) -> float:
        side = round(SIDE_MS * take.sample_rate / 1000)
        window = read_window(take, region, [], side)
        return score_take(window, take.read(region.start, region.stop)).total

    @cached_property
    def proof(self) -> Proof:
        """Comparison of all samples outside the gaps with the recording that was given.

        Reads the whole recording once; `Audio.write` proves the written file in the same way.
        """
        return prove_edit(
            self.audio, self.best, [(gap.region.start, gap.region.stop) for gap in self.gaps]
        )


@final
class Model:
    """A filler and its card: what `weft.load` returns.

    Example:
        >>> import numpy as np, weft
        >>> tone = weft.Audio.from_samples(np.sin(np.arange(16000) * 0.1), 16000)
        >>> result = weft.load("lpc").fill(weft.canvas.inpaint(tone, [(0.5, 0.51)]))
        >>> bool(np.abs(result.best.samples - tone.samples).max() < 1e-2)
        True
    """

    def __init__(self, filler: Filler, card: ModelCard) -> None:
        self.filler = filler
        self.card = card

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.card.name

    def fill(
        self,
        canvas: Canvas,
        *,
        takes: int = 1,
        seed: int = 0,
        fade_ms: float = FADE_MS,
        min_confidence: float = 0.0,
        on_progress: Progress | None = None,
    ) -> FillResult:
        """Fill every gap of a canvas.

        Only windows around the gaps are read. Short gaps are filled first; a filled gap is context
        for the ones after it. Gaps that stood close to unknown ones, as in dense crackle, are
        filled a second time with the fills of their neighbours as context.

        Args:
            canvas: what is missing.
            takes: how many different fills to propose for each gap, >= 1.
            seed: of all random draws, >= 0; equal seeds give equal output.
            fade_ms: cross-fade inside each end of a gap, >= 0.
            min_confidence: in [0, 1]; a gap whose best fill is less sure than this is left alone.
            on_progress: called after each gap.

        Raises:
            ConfigError: a setting outside its range.
            UnsupportedCanvasError: the canvas asks for what this model cannot do.
            AudioFormatError: the recording cannot be read around a gap.
        """
        if takes < 1:
            raise ConfigError(f"takes must be >= 1, got {takes}")
        if not 0 <= min_confidence <= 1:
            raise ConfigError(f"min_confidence must be in [0, 1], got {min_confidence}")
        if not fade_ms >= 0:
            raise ConfigError(f"fade_ms must be >= 0, got {fade_ms}")
        if canvas.draft_strength is not None or canvas.low_band_hz is not None or canvas.text:
            raise UnsupportedCanvasError(
                f"{self.name} fills empty gaps from their surroundings; it uses no draft, no known "
                "band and no text; leave them out"
            )
        settings = _Settings(
            takes=takes, fade_ms=fade_ms, rng=Rng(seed), min_confidence=min_confidence
        )
        fills: dict[Region, GapFill] = {}
        crowded: list[Region] = []
        recording = canvas.audio
        for batch in batch_gaps(canvas.gaps, self.filler, canvas.audio):
            unknown = [gap for gap in canvas.gaps if gap not in fills]
            crowded += [gap for gap in batch if self._is_crowded(recording, gap, unknown)]
            for fill in self._fill_batch(recording, batch, unknown, settings):
                fills[fill.region] = fill
                if on_progress is not None:
                    on_progress(len(fills), len(canvas.gaps))
            recording = canvas.audio.patched(_patches(fills.values(), 0))
        for batch in batch_gaps(crowded, self.filler, canvas.audio):
            for fill in self._fill_batch(recording, batch, [], settings):
                fills[fill.region] = fill
        ordered = tuple(fills[gap] for gap in canvas.gaps)
        num_takes = max(len(gap.takes) for gap in ordered)
        return FillResult(
            audio=canvas.audio,
            gaps=ordered,
            takes=tuple(canvas.audio.patched(_patches(ordered, i)) for i in range(num_takes)),
            warnings=(
                *_warn(ordered, min_confidence, canvas.audio.sample_rate),
                *_warn_of_band(canvas.audio, ordered),
            ),
        )

    def _fill_batch(
        self,
        recording: Audio,
        batch: Sequence[Region],
        unknown: Sequence[Region],
        settings: "_Settings",
    ) -> Iterator[GapFill]:
        """Yield what happens to each gap of the batch."""
        limit_ms = self.filler.max_gap_ms
        limit = None if limit_ms is None else round(limit_ms * recording.sample_rate / 1000)
        whole = [gap for gap in batch if len(split_gap(gap, limit)) == 1]
        windows = [self._window(recording, gap, unknown) for gap in whole]
        proposals = self.filler.fill(windows, num_takes=settings.takes, rng=settings.rng)
        for gap, window, fills in zip(whole, windows, proposals, strict=True):
            original = recording.read(gap.start, gap.stop)
            chosen = fills[: settings.takes]
            takes = tuple(_finish(window, fill, original, gap, settings) for fill in chosen)
            yield settings.decide(gap, takes)
        for gap in batch:
            pieces = split_gap(gap, limit)
            if len(pieces) > 1:
                takes = self._fill_pieces(recording, gap, pieces, unknown, settings)
                yield settings.decide(gap, takes)

    def _context(self, recording: Audio, gap: Region) -> int:
        return context_samples(
            self.filler, gap, recording.sample_rate, num_channels=recording.num_channels
        )

    def _is_crowded(self, recording: Audio, gap: Region, unknown: Sequence[Region]) -> bool:
        """Whether another gap cuts off what the filler would hear close to this one."""
        context = self._context(recording, gap)
        near = min(context, round(CROWDED_MS * recording.sample_rate / 1000))
        i = bisect_left(unknown, gap)
        is_left = i > 0 and unknown[i - 1].stop > gap.start - near
        return is_left or (i + 1 < len(unknown) and unknown[i + 1].start < gap.stop + near)

    def _window(self, recording: Audio, gap: Region, unknown: Sequence[Region]) -> Window:
        context = self._context(recording, gap)
        return read_window(recording, gap, unknown, context)

    def _fill_pieces(
        self,
        recording: Audio,
        gap: Region,
        pieces: Sequence[Region],
        unknown: Sequence[Region],
        settings: "_Settings",
    ) -> tuple[GapTake, ...]:
        """Fill a gap too long for one window from left to right, once for each take."""
        takes = []
        for i in range(settings.takes):
            filled = recording
            parts: list[GapTake] = []
            for piece in pieces:
                rest = Region(start=piece.start, stop=gap.stop)
                open_regions = [rest if region == gap else region for region in unknown]
                window = self._window(filled, piece, open_regions)
                rng = settings.rng.child(i)
                fill = self.filler.fill([window], num_takes=settings.takes, rng=rng)[0]
                original = recording.read(piece.start, piece.stop)
                chosen = fill[min(i, len(fill) - 1)]
                parts.append(_finish(window, chosen, original, piece, settings))
                filled = filled.patched([Patch(start=piece.start, samples=parts[-1].samples)])
            takes.append(
                GapTake(
                    samples=np.concatenate([part.samples for part in parts], axis=1),
                    model=parts[0].model,
                    confidence=min(part.confidence for part in parts),
                    details=_add_up(parts),
                    max_hz=min((p.max_hz for p in parts if p.max_hz is not None), default=None),
                )
            )
        distinct = [takes[0]]
        for take in takes[1:]:
            if not any(np.array_equal(take.samples, other.samples) for other in distinct):
                distinct.append(take)
        return tuple(distinct)


@final
@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What one call of `Model.fill` was asked for."""

    takes: int
    fade_ms: float
    rng: Rng
    min_confidence: float

    def decide(self, gap: Region, takes: tuple[GapTake, ...]) -> GapFill:
        """Leave a gap alone if its best take is not confident enough."""
        is_left_alone = takes[0].confidence < self.min_confidence
        return GapFill(region=gap, takes=takes, is_left_alone=is_left_alone)


def _finish(
    window: Window,
    fill: Fill,
    original: Float[np.ndarray, "c g"],
    gap: Region,
    settings: _Settings,
) -> GapTake:
    """Join a proposal to its surroundings, and limit it to the region's band."""
    samples = compose(window, fill, fade_ms=settings.fade_ms)
    if gap.low_hz is not None or gap.high_hz is not None:
        samples = limit_to_band(
            original, samples, window.sample_rate, low_hz=gap.low_hz, high_hz=gap.high_hz
        )
    return GapTake(
        samples=samples,
        model=fill.model,
        confidence=fill.confidence,
        details=fill.details,
        max_hz=fill.max_hz,
    )


def _add_up(parts: Sequence[GapTake]) -> dict[str, float | str]:
    """Return the details of a gap that was filled in pieces: those of the first, calls in all."""
    details = {**parts[0].details, "pieces": float(len(parts))}
    calls = [part.details.get("network_calls") for part in parts]
    if calls[0] is not None:
        details["network_calls"] = float(sum(float(count or 0) for count in calls))
    return details


def _warn_of_band(audio: Audio, gaps: Sequence[GapFill]) -> tuple[WeftWarning, ...]:
    """Issue and return a warning where best fills are narrower than the recording beside them."""
    rate = audio.sample_rate
    narrow = {
        gap.region: limit
        for gap in gaps
        if not gap.is_left_alone and (limit := gap.takes[0].max_hz) is not None and limit < rate / 2
    }
    reach_hz = 0.0
    for region in [*narrow][:: -(-len(narrow) // _NUM_BANDS_MEASURED) or 1]:
        window = read_window(audio, region, [gap.region for gap in gaps], _SIDE_SAMPLES)
        for side in (window.before(), window.after()):
            if side.shape[1] >= _SIDE_SAMPLES // 4:  # a shorter one has a spectrum of its ends
                reach_hz = max(reach_hz, measure_cutoff_hz(side, rate))
    if not narrow or reach_hz < _AUDIBLY_WIDER * min(narrow.values()):
        return ()
    warning = BandwidthWarning(
        f"{len(narrow)} of {len(gaps)} gaps filled up to {min(narrow.values()) / 1000:.3g} kHz "
        f"only, the first at {min(narrow).start / rate:.3f} s; the recording goes up to "
        f"{reach_hz / 1000:.3g} kHz beside them"
    )
    warnings.warn(warning, stacklevel=3)
    return (warning,)


def _patches(gaps: Iterable[GapFill], take: int) -> list[Patch]:
    """Return what the take of this rank lays over the recording."""
    return [
        Patch(start=gap.region.start, samples=gap.takes[min(take, len(gap.takes) - 1)].samples)
        for gap in gaps
        if not gap.is_left_alone
    ]


def _warn(
    gaps: Sequence[GapFill], min_confidence: float, sample_rate: int
) -> tuple[WeftWarning, ...]:
    """Issue and return the warnings that belong to a result."""
    left = [gap for gap in gaps if gap.is_left_alone]
    if not left:
        return ()
    first = left[0].region.start / sample_rate
    best = max(gap.takes[0].confidence for gap in left)
    warning = QualityWarning(
        f"{len(left)} of {len(gaps)} gaps left alone, the first at {first:.3f} s: no fill reached "
        f"a confidence of {min_confidence:g} (best {best:.2f})"
    )
    warnings.warn(warning, stacklevel=3)
    return (warning,)
