"""Sound of a window to frames of a codec, and back to the sound of its gap; for any kind of codec.

Time is kept exactly: what is decoded is laid on the samples of the recording to a fraction of a
sample. No encoder ever hears the hole: each known run of frames is encoded alone. What comes back
is as wide as the codec, at the most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float

from weft.audio.levels import FLOOR_DB, level_db
from weft.audio.prediction import extrapolate_gap
from weft.audio.resample import resample
from weft.canvas.canvas import Region, Window
from weft.classical.joining import BandLevels
from weft.classical.levels import TOLERANCE_DB, hold_level, level_excess_db
from weft.sampling.channel_parts import find_parts
from weft.sampling.frame_layout import CodecView, FrameLayout, lay_out, resample_bridged, view_at
from weft.sampling.frame_settings import FrameConfig
from weft.shapes import Samples

_NUM_BANDS = 12
_MATCH_S = 0.2
_LEAST_MATCH_SAMPLES = 256
_MATCH_FLOOR = 1e-6
_EXTENSION_ORDER = 256
_EXTENSION_CONTEXT_S = 0.25

CodeFn: TypeAlias = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " m"]]
"""What a codec makes of sound: at least as many samples."""


@final
@dataclass(frozen=True, kw_only=True)
class FramedPart:
    """One part of the channels of a window, at the codec's rate."""

    signal: Float[np.ndarray, " m"]
    """A bridge where unknown."""
    gain: float
    """What it is multiplied by before it is encoded, > 0."""


@final
@dataclass(frozen=True, kw_only=True)
class FramedWindow:
    """A window as a codec is to see it."""

    window: Window
    """What is to be encoded."""
    view: CodecView
    """The same at the codec's rate."""
    layout: FrameLayout
    """Its frames."""
    directions: Float[np.ndarray, "c p"]
    """How channels are taken apart, see `find_parts`."""
    parts: tuple[FramedPart, ...]
    """The parts, the loudest first; at least one."""

    @property
    def signals(self) -> Float[np.ndarray, "p m"]:
        """The parts' signals."""
        return np.stack([part.signal for part in self.parts])


@final
@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Frames to be encoded alone, with what goes on at both of their ends."""

    first: int
    """The first frame, of the layout."""
    stop: int
    """One past the last."""
    num_before: int
    """Whole frames of sound before the first; as much comes after the last."""
    samples: Float[np.ndarray, " n"]
    """At the level of the codec."""

    @property
    def inside(self) -> slice:
        """Which frames of what is encoded are wanted."""
        return slice(self.num_before, self.num_before + self.stop - self.first)


@final
class FrameSound:
    """How sound of any rate and any number of channels goes through a codec of mono frames."""

    def __init__(self, *, sample_rate: int, hop_length: int, config: FrameConfig) -> None:
        """Keep what a codec wants.

        Args:
            sample_rate: of the codec, in Hz.
            hop_length: samples of a frame.
            config: settings.
        """
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.config = config

    def frame(
        self, window: Window, num_frames: int, *, can_be_empty: bool = False
    ) -> FramedWindow | None:
        """Lay frames around a gap, and take the channels apart.

        Args:
            window: of any rate and number of channels. A draft counts as heard: its level, and
                where its channels stand.
            num_frames: longest sequence, >= 1.
            can_be_empty: whether a window in which nothing at all is known is framed too, as one
                part that is the same in all channels.

        Returns:
            None where what is known beside the gap is not enough for frames, or is silence, and
            where the window is too short for one sample of the codec.
        """
        view = view_at(window, self.sample_rate)
        if not view.samples.shape[1]:
            return None
        layout = lay_out(
            view, hop_length=self.hop_length, num_frames=num_frames, guard=self.config.guard
        )
        known = [view.samples[:, a:b] for a, b in (layout.span(*run) for run in layout.runs)]
        if window.draft is not None:
            drafted = resample_bridged(window, self.sample_rate, window.draft)
            known.append(drafted[:, slice(*view.gap)])
        is_empty = can_be_empty and not window.known.any()
        heard = np.concatenate([view.samples[:, :0], *known], axis=1)
        if not heard.shape[1] and not is_empty:
            return None
        if heard.shape[1] and level_db(heard) <= FLOOR_DB:
            return None
        directions = self.directions(heard)
        gains = [
            self._gain(level_db(own[None])) if heard.shape[1] else 1.0
            for own in directions.T @ heard
        ]
        parts = tuple(
            FramedPart(signal=signal, gain=gain)
            for signal, gain in zip(directions.T @ view.samples, gains, strict=True)
        )
        return FramedWindow(
            window=window, view=view, layout=layout, directions=directions, parts=parts
        )

    def known_stretches(self, framed: FramedWindow, part: FramedPart) -> Iterator[Stretch]:
        """Yield each known run of frames, which goes on at both ends.

        It goes on as it does in the recording, beyond the sequence's ends and where known samples
        do not fill a frame; from there on by prediction.
        """
        for first, stop in framed.layout.runs:
            yield self._stretch(
                framed, part.gain * part.signal, framed.view.known, (first, stop),
                self.config.extension_frames,
            )  # fmt: skip

    def drafted(
        self, framed: FramedWindow, draft: Float[np.ndarray, "c g"]
    ) -> Float[np.ndarray, "p m"]:
        """Return the signals of all parts with a draft in the gap.

        Args:
            framed: what the draft is for.
            draft: as long as the gap, at the rate of the recording.
        """
        samples = resample_bridged(framed.window, self.sample_rate, draft)
        return np.asarray(framed.directions.T @ samples)

    def drafted_stretch(
        self,
        framed: FramedWindow,
        part: FramedPart,
        signal: Float[np.ndarray, " m"],
        num_before: int,
    ) -> Stretch:
        """Return the frames of the gap and its guards, with a draft in them.

        Args:
            framed: what the draft is for.
            part: of its channels.
            signal: of the part, from `drafted`.
            num_before: frames of sound before and after, >= 0; by prediction where there is none.
        """
        layout, guard = framed.layout, self.config.guard
        first = max(0, layout.hole[0] - guard)
        stop = min(layout.num_frames, layout.hole[1] + guard)
        known = framed.view.known.copy()
        known[slice(*framed.view.gap)] = True
        # Where another gap lies beside this one, a bridge stands in the guards, and has to do.
        known[slice(*(max(0, edge) for edge in layout.span(first, stop)))] = True
        return self._stretch(framed, part.gain * signal, known, (first, stop), num_before)

    def side_gains_db(
        self, framed: FramedWindow, part: FramedPart, decoded: Float[np.ndarray, " n"], start: int
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]] | None:
        """Return what a codec took from each band of the sound before and after the gap, in dB.

        Args:
            framed: what was encoded.
            part: of its channels.
            decoded: at the level of the recording.
            start: position of its first sample, at the codec's rate.

        Returns:
            At most `FrameConfig.match_gain_db` each; None where no side is long enough.
        """
        most_db = self.config.match_gain_db
        bands = BandLevels(self.sample_rate, _NUM_BANDS)
        gains = []
        reach = start, start + len(decoded)
        for low, high, is_left in _sides(framed.layout, round(_MATCH_S * self.sample_rate), reach):
            own = part.signal[None, low:high]
            other = decoded[None, low - start : high - start]
            if is_left:  # frames of a spectrum end where a stretch ends
                own, other = own[:, ::-1], other[:, ::-1]
            wanted, found = bands.powers(own), bands.powers(other)
            floor = _MATCH_FLOOR * max(float(wanted.max()), float(found.max())) + 1e-20
            change = 10 * np.log10((wanted + floor) / (found + floor))
            gains.append(np.clip(change, -most_db, most_db))
        return (gains[0], gains[-1]) if gains else None

    def matched(
        self,
        framed: FramedWindow,
        decoded: Float[np.ndarray, " n"],
        start: int,
        gains_db: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]] | None,
    ) -> Float[np.ndarray, " n"]:
        """Change the bands of the gap's frames by gains from `side_gains_db`."""
        if gains_db is None:
            return decoded
        first, stop = (edge - start for edge in framed.layout.span(*framed.layout.hole))
        matched = decoded.copy()
        bands = BandLevels(self.sample_rate, _NUM_BANDS)
        matched[first:stop] = bands.apply(decoded[None, first:stop], *gains_db)[0]
        return matched

    def to_gap(
        self,
        framed: FramedWindow,
        decoded: Sequence[Float[np.ndarray, " n"]],
        start: int,
        *,
        draft: Float[np.ndarray, "p m"] | None = None,
        tolerance_db: float = TOLERANCE_DB,
    ) -> Float[np.ndarray, "c g"]:
        """Return what parts sound like together in the gap, at its sides' level but not joined.

        Args:
            framed: what was encoded.
            decoded: of each part: at least the frames of the gap, at the recording's level.
            start: position of their first sample, at the codec's rate.
            draft: from `drafted`, where its level is to be kept instead of that of the sides.
            tolerance_db: how far from them it may be.
        """
        window = framed.window
        canvas = np.pad(framed.signals, ((0, 0), (0, self.hop_length)))
        low, high = max(0, start), min(canvas.shape[1], start + len(decoded[0]))
        for k, sound in enumerate(decoded):
            is_lesser = k > 0 and self.config.channels != "separate"
            beside = self.beside(framed, k)
            if draft is not None:
                beside = _draft_window(framed.view, draft[k])
            inside = slice(framed.view.gap[0] - start, framed.view.gap[1] - start)
            held = _at_level(beside, sound, inside, tolerance_db, is_lesser=is_lesser)
            canvas[k, low:high] = held[low - start : high - start]
        rate = window.sample_rate
        sound = resample(framed.directions @ canvas, self.sample_rate, rate)
        missing = max(0, window.gap.stop - sound.shape[1])
        return np.pad(sound, ((0, 0), (0, missing)))[:, window.gap.start : window.gap.stop]

    def beside(self, framed: FramedWindow, k: int) -> Window:
        """Return the window of one part alone, at the codec's rate."""
        view = framed.view
        return Window(
            samples=framed.parts[k].signal[None] * view.known,
            known=view.known,
            gap=Region(start=view.gap[0], stop=view.gap[1]),
            start=0,
            sample_rate=view.sample_rate,
        )

    def round_trip(
        self, samples: Samples, sample_rate: int, code: CodeFn, *, num_frames: int, margin: int
    ) -> Float[np.ndarray, "c n"]:
        """Encode and decode a whole recording, in overlapping pieces.

        Args:
            samples: sound without a gap.
            sample_rate: in Hz.
            code: encodes and decodes one part.
            num_frames: of a piece, >= 1.
            margin: frames of it at each end that are thrown away, < ``num_frames / 2``.
        """
        heard = resample(samples, sample_rate, self.sample_rate)
        directions = self.directions(heard)
        decoded = np.stack(
            [self._round_trip_part(p, code, num_frames, margin) for p in directions.T @ heard]
        )
        sound = resample(directions @ decoded, self.sample_rate, sample_rate)
        num = samples.shape[1]
        return np.pad(sound[:, :num], ((0, 0), (0, max(0, num - sound.shape[1]))))

    def directions(self, heard: Samples) -> Float[np.ndarray, "c p"]:
        """Return how channels are taken apart, see `find_parts`."""
        return find_parts(heard, mode=self.config.channels, least_db=self.config.least_part_db)

    def _gain(self, level: float) -> float:
        """Return what brings a level into the codec's range; silence stays silence."""
        low, high = self.config.level_range_db
        wanted = min(max(level, low), high)
        return 1.0 if level <= FLOOR_DB else float(10 ** ((wanted - level) / 20))

    def _stretch(
        self,
        framed: FramedWindow,
        signal: Float[np.ndarray, " m"],
        known: Bool[np.ndarray, " m"],
        frames: tuple[int, int],
        num_before: int,
    ) -> Stretch:
        """Cut out frames, with whole frames of known or predicted sound before and after them."""
        begin, end = framed.layout.span(*frames)
        reach = num_before * self.hop_length
        unknown = np.flatnonzero(~known)
        at = int(np.searchsorted(unknown, begin))
        low = int(unknown[at - 1]) + 1 if at else 0
        high = int(unknown[at]) if at < len(unknown) else len(known)
        low, high = max(low, begin - reach), min(high, end + reach)
        own = signal[None, low:high]
        context = round(_EXTENSION_CONTEXT_S * self.sample_rate)
        pieces = [own]
        if missing := end + reach - high:
            after, _ = extrapolate_gap(own[:, -context:], None, missing, order=_EXTENSION_ORDER)
            pieces.append(np.asarray(after))
        if missing := low - (begin - reach):
            _, before = extrapolate_gap(None, own[:, :context], missing, order=_EXTENSION_ORDER)
            pieces.insert(0, np.asarray(before))
        return Stretch(
            first=frames[0],
            stop=frames[1],
            num_before=num_before,
            samples=np.concatenate(pieces, axis=1)[0],
        )

    def _round_trip_part(
        self, signal: Float[np.ndarray, " m"], code: CodeFn, num_frames: int, margin: int
    ) -> Float[np.ndarray, " m"]:
        """Encode and decode one signal."""
        hop = self.hop_length
        gain = self._gain(level_db(signal[None]))
        step = (num_frames - 2 * margin) * hop
        decoded = np.zeros_like(signal)
        for start in range(0, len(signal), step):
            first = max(0, start - margin * hop)
            piece = gain * signal[first : start + step + margin * hop]
            sound = code(piece) / gain
            num = min(step, len(signal) - start)
            decoded[start : start + num] = sound[start - first : start - first + num]
        return decoded


def _sides(layout: FrameLayout, limit: int, reach: tuple[int, int]) -> list[tuple[int, int, bool]]:
    """Return the samples of the known frames nearest to the gap: first, stop, is before it.

    Args:
        layout: the frames.
        limit: longest side, in samples.
        reach: from where to where there is sound to compare, in samples.
    """
    before = [run for run in layout.runs if run[1] <= layout.hole[0]][-1:]
    after = [run for run in layout.runs if run[0] >= layout.hole[1]][:1]
    sides = []
    for run, is_left in [(run, True) for run in before] + [(run, False) for run in after]:
        first, stop = layout.span(*run)
        first, stop = max(first, reach[0]), min(stop, reach[1])
        low, high = (
            (max(first, stop - limit), stop) if is_left else (first, min(stop, first + limit))
        )
        if high - low >= _LEAST_MATCH_SAMPLES:
            sides.append((low, high, is_left))
    return sides


def _draft_window(view: CodecView, draft: Float[np.ndarray, " m"]) -> Window:
    """Return a window whose sides are the draft itself."""
    wanted = draft[None, slice(*view.gap)]
    num = wanted.shape[1]
    return Window(
        samples=np.concatenate([wanted, np.zeros_like(wanted), wanted], axis=1),
        known=np.concatenate([np.ones(num, bool), np.zeros(num, bool), np.ones(num, bool)]),
        gap=Region(start=num, stop=2 * num),
        start=0,
        sample_rate=view.sample_rate,
    )


def _at_level(
    beside: Window,
    decoded: Float[np.ndarray, " n"],
    inside: slice,
    tolerance_db: float,
    *,
    is_lesser: bool,
) -> Float[np.ndarray, " n"]:
    """Bring what stands in the gap near the levels of its sides, see `hold_level`.

    A lesser part of the channels is never louder than the louder of its sides: it would make the
    gap wider than what is around it, or move it.
    """
    held = decoded.copy()
    held[inside] = hold_level(beside, decoded[None, inside], tolerance_db)[0]
    if not is_lesser:
        return held
    excess = level_excess_db(beside, held[None, inside])
    return np.asarray(held * 10 ** (-max(excess, 0.0) / 20))
