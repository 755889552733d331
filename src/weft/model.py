"""Models: anything that fills a canvas."""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import BLOCK_SAMPLES, Audio, Patch
from weft.audio.buffers import new_samples, release
from weft.canvas.canvas import Canvas, Region, Window
from weft.canvas.compose import FADE_MS, compose, limit_to_band
from weft.canvas.filler import Fill, Filler
from weft.canvas.style import Style
from weft.canvas.support import AbleFn, check_support, nobody
from weft.canvas.windows import batch_gaps, context_samples, pieces_of, read_window
from weft.card import ModelCard
from weft.errors import BandwidthWarning, ConfigError, QualityWarning, WeftWarning
from weft.metrics.bandwidth import measure_cutoff_hz
from weft.result import FillResult as FillResult
from weft.result import GapFill as GapFill
from weft.result import GapTake as GapTake
from weft.rng import Rng
from weft.shapes import Samples

CROWDED_MS = 50.0
"""Gaps nearer than this to another that was not filled yet are filled again when it is."""
DRAFT = "draft"
"""What takes say instead of a model's name where the draft was kept as it is."""
_AUDIBLY_WIDER = 1.1
"""Sound that reaches less than this beyond a fill's highest frequency is not worth a warning."""
_SIDE_SAMPLES = 16384
_NUM_BANDS_MEASURED = 8
"""Gaps beside which it is measured, where there are more."""
Progress = Callable[[int, int], None]
"""Called with (gaps done, gaps in all)."""


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

    def __init__(self, filler: Filler, card: ModelCard, able_fn: AbleFn = nobody) -> None:
        """Put a filler and its card together.

        Args:
            filler: what fills.
            card: what it is.
            able_fn: knows the models that can do what this one cannot, for messages.
        """
        self.filler = filler
        self.card = card
        self._able_fn = able_fn

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.card.name

    def check(self, canvas: Canvas) -> None:
        """Raise unless this model can do what a canvas asks for.

        Raises:
            UnsupportedCanvasError: it cannot; the message names models that can.
            ConfigError: the canvas names a tag that the model does not know.
        """
        check_support(canvas, self.filler, name=self.name, able_fn=self._able_fn)

    def fill(
        self,
        canvas: Canvas,
        *,
        takes: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance: Style | None = None,
        fade_ms: float = FADE_MS,
        min_confidence: float = 0.0,
        on_progress: Progress | None = None,
    ) -> FillResult:
        """Fill every gap of a canvas.

        Only windows around the gaps are read. Short gaps are filled first; a filled gap is context
        for the ones after it. Gaps that stood close to unknown ones, as in dense crackle, are
        filled a second time with the fills of their neighbours as context. A gap longer than the
        model fills at once comes in pieces, outwards from what is known, each with what was filled
        before as its context; what is filled of a very long one stands in a temporary file.

        Args:
            canvas: what is missing.
            takes: how many different fills to propose for each gap, >= 1.
            seed: of all random draws, >= 0; equal seeds give equal output.
            steps: sampling steps, >= 1; the model's own number unless told.
            guidance: what the fills should sound like, where the canvas does not say so itself.
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
        if steps is not None and steps < 1:
            raise ConfigError(f"steps must be >= 1, got {steps}")
        if guidance is not None:
            if canvas.style is not None:
                raise ConfigError("the canvas has a style already; leave guidance out")
            canvas = replace(canvas, style=guidance)
        self.check(canvas)
        if canvas.draft_strength == 0:
            return keep_draft(canvas)
        run = _Run(
            canvas=canvas,
            filler=self.filler if steps is None else self.filler.with_steps(steps),
            takes=takes,
            fade_ms=fade_ms,
            rng=Rng(seed),
            min_confidence=min_confidence,
        )
        ordered = run.fill_all(on_progress)
        num_takes = max(len(gap.takes) for gap in ordered)
        return FillResult(
            audio=canvas.audio,
            gaps=ordered,
            takes=tuple(canvas.audio.patched(_patches(ordered, i)) for i in range(num_takes)),
            warnings=(
                *_warn(ordered, min_confidence, canvas.audio.sample_rate),
                *_warn_of_band(canvas.audio, ordered),
            ),
            is_loop=canvas.is_loop,
        )


def keep_draft(canvas: Canvas) -> FillResult:
    """Return the draft of a canvas as its fill, bit for bit: what a strength of 0 asks for.

    Raises:
        ConfigError: the canvas has no draft.
    """
    if canvas.draft_strength is None:
        raise ConfigError("the canvas has no draft to keep; fill it with a model")
    gaps = []
    for region in canvas.gaps:
        samples = new_samples(canvas.audio.num_channels, region.num_samples)
        for start in range(0, region.num_samples, BLOCK_SAMPLES):
            stop = min(start + BLOCK_SAMPLES, region.num_samples)
            samples[:, start:stop] = canvas.audio.read(region.start + start, region.start + stop)
            release(samples)
        take = GapTake(samples=samples, model=DRAFT, confidence=1.0, details={})
        gaps.append(GapFill(region=region, takes=(take,), is_left_alone=False))
    return FillResult(
        audio=canvas.audio,
        gaps=tuple(gaps),
        takes=(canvas.audio.patched(_patches(gaps, 0)),),
        warnings=(),
        is_loop=canvas.is_loop,
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Run:
    """What one call of `Model.fill` was asked for, and how it goes about it."""

    canvas: Canvas
    filler: Filler
    takes: int
    fade_ms: float
    rng: Rng
    min_confidence: float

    def fill_all(self, on_progress: Progress | None) -> tuple[GapFill, ...]:
        """Return what happens to each gap, in order of time."""
        canvas = self.canvas
        fills: dict[Region, GapFill] = {}
        crowded: list[Region] = []
        recording = canvas.audio
        for batch in batch_gaps(canvas.gaps, self.filler, canvas.audio):
            unknown = [gap for gap in canvas.gaps if gap not in fills]
            crowded += [gap for gap in batch if self._is_crowded(recording, gap, unknown)]
            for fill in self._fill_batch(recording, batch, unknown):
                fills[fill.region] = fill
                if on_progress is not None:
                    on_progress(len(fills), len(canvas.gaps))
            recording = canvas.audio.patched(_patches(fills.values(), 0))
        for batch in batch_gaps(crowded, self.filler, canvas.audio):
            for fill in self._fill_batch(recording, batch, []):
                fills[fill.region] = fill
        return tuple(fills[gap] for gap in canvas.gaps)

    def _fill_batch(
        self, recording: Audio, batch: Sequence[Region], unknown: Sequence[Region]
    ) -> Iterator[GapFill]:
        """Yield what happens to each gap of the batch."""
        pieces = {gap: pieces_of(gap, self.filler, recording.sample_rate) for gap in batch}
        whole = [gap for gap in batch if len(pieces[gap]) == 1]
        windows = [self._window(recording, gap, unknown) for gap in whole]
        proposals = self.filler.fill(windows, num_takes=self.takes, rng=self.rng)
        for gap, window, fills in zip(whole, windows, proposals, strict=True):
            original = recording.read(gap.start, gap.stop)
            chosen = fills[: self.takes]
            yield self._decide(
                gap, tuple(self._finish(window, fill, original, gap) for fill in chosen)
            )
        for gap in batch:
            if len(pieces[gap]) > 1:
                yield self._decide(gap, self._fill_pieces(recording, gap, pieces[gap], unknown))

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
        return read_window(recording, gap, unknown, context, canvas=self.canvas)

    def _fill_pieces(
        self,
        recording: Audio,
        gap: Region,
        pieces: Sequence[Region],
        unknown: Sequence[Region],
    ) -> tuple[GapTake, ...]:
        """Fill a gap too long for one window piece by piece, once for each take."""
        distinct: list[GapTake] = []
        for i in range(self.takes):
            take = self._fill_outwards(recording, gap, pieces, unknown, i)
            if not any(_is_equal(take.samples, other.samples) for other in distinct):
                distinct.append(take)
        return tuple(distinct)

    def _fill_outwards(
        self,
        recording: Audio,
        gap: Region,
        pieces: Sequence[Region],
        unknown: Sequence[Region],
        take: int,
    ) -> GapTake:
        """Fill pieces from left to right, or from right to left where only that side is known."""
        samples = new_samples(recording.num_channels, gap.num_samples)
        is_backwards = (
            gap.start == 0 and gap.stop < recording.num_samples and not self.canvas.is_loop
        )
        filled = recording
        parts: list[GapTake] = []
        for piece in reversed(pieces) if is_backwards else pieces:
            start, stop = (gap.start, piece.stop) if is_backwards else (piece.start, gap.stop)
            rest = Region(start=start, stop=stop)
            window = self._window(
                filled, piece, [rest if region == gap else region for region in unknown]
            )
            fill = self.filler.fill([window], num_takes=self.takes, rng=self.rng.child(take))[0]
            original = recording.read(piece.start, piece.stop)
            part = self._finish(window, fill[min(take, len(fill) - 1)], original, piece)
            low, high = piece.start - gap.start, piece.stop - gap.start
            samples[:, low:high] = part.samples
            release(samples)
            parts.append(replace(part, samples=np.zeros((part.samples.shape[0], 0))))
            done = samples[:, low:] if is_backwards else samples[:, :high]
            at = piece.start if is_backwards else gap.start
            filled = recording.patched([Patch(start=at, samples=done)])
        return GapTake(
            samples=samples,
            model=parts[0].model,
            confidence=min(part.confidence for part in parts),
            details=_add_up(parts),
            max_hz=min((p.max_hz for p in parts if p.max_hz is not None), default=None),
        )

    def _decide(self, gap: Region, takes: tuple[GapTake, ...]) -> GapFill:
        """Leave a gap alone if its best take is not confident enough."""
        is_left_alone = takes[0].confidence < self.min_confidence
        return GapFill(region=gap, takes=takes, is_left_alone=is_left_alone)

    def _finish(
        self, window: Window, fill: Fill, original: Float[np.ndarray, "c g"], gap: Region
    ) -> GapTake:
        """Join a proposal to its surroundings, and limit it to the region's band."""
        samples = compose(window, fill, fade_ms=self.fade_ms)
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


def _is_equal(one: Samples, other: Samples) -> bool:
    """Compare two fills of one gap, in blocks."""
    for start in range(0, one.shape[1], BLOCK_SAMPLES):
        stop = start + BLOCK_SAMPLES
        if not np.array_equal(one[:, start:stop], other[:, start:stop]):
            return False
        release(one)
        release(other)
    return True


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
