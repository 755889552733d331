"""Sound of a window to tokens, and tokens to the sound of its gap.

Time is kept exactly: what is decoded is laid on the samples of the recording to a fraction of a
sample. No encoder ever hears the hole: each known run of frames is encoded alone. What comes back
is as wide as the codec, at the most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.audio.levels import FLOOR_DB, level_db
from weft.audio.prediction import extrapolate_gap
from weft.audio.resample import resample
from weft.canvas.canvas import Region, Window
from weft.classical.joining import BandLevels
from weft.classical.levels import hold_level, level_excess_db
from weft.codecs.base import TokenCodec, TokenFrames
from weft.sampling.channel_parts import find_parts
from weft.sampling.token_layout import CodecView, TokenLayout, lay_out, view_at
from weft.sampling.token_settings import TokenFillerConfig
from weft.shapes import Samples

_NUM_BANDS = 12
_MATCH_S = 0.2
_LEAST_MATCH_SAMPLES = 256
_MATCH_FLOOR = 1e-6
_EXTENSION_ORDER = 256
_EXTENSION_CONTEXT_S = 0.25
_PIECE_MARGIN = 8


@final
@dataclass(frozen=True, kw_only=True)
class TokenPart:
    """One part of the channels of a window, encoded."""

    signal: Float[np.ndarray, " m"]
    """At the codec's rate; a bridge where unknown."""
    gain: float
    """What it was multiplied by before it was encoded, > 0."""
    codes: Int[Tensor, " l"]
    """The codec's tokens; 0 where unknown."""
    features: Float[Tensor, "l d"]
    """What the decoder gets where a frame is known; zeros where unknown."""


@final
@dataclass(frozen=True, kw_only=True)
class TokenWindow:
    """A window as tokens."""

    window: Window
    """What was encoded."""
    view: CodecView
    """The same at the codec's rate."""
    layout: TokenLayout
    """Its frames."""
    directions: Float[np.ndarray, "c p"]
    """How channels are taken apart, see `find_parts`."""
    parts: tuple[TokenPart, ...]
    """The parts, the loudest first; at least one."""


@final
class TokenSound:
    """A codec, and how sound of any rate and any number of channels goes through it."""

    def __init__(self, codec: TokenCodec, config: TokenFillerConfig, num_frames: int) -> None:
        """Keep the parts.

        Args:
            codec: in eval mode, on the device of its first parameter or buffer.
            config: settings.
            num_frames: longest sequence, >= 1.
        """
        self.codec = codec
        self.config = config
        self.num_frames = num_frames
        tensors = (*codec.parameters(), *codec.buffers())
        self._device = tensors[0].device if tensors else torch.device("cpu")

    def encode(self, window: Window) -> TokenWindow | None:
        """Encode what is known around a gap; None where that is nothing, or silence."""
        view = view_at(window, self.codec.sample_rate)
        layout = lay_out(
            view,
            hop_length=self.codec.hop_length,
            num_frames=self.num_frames,
            guard=self.config.guard,
        )
        spans = [layout.span(*run) for run in layout.runs]
        if not spans:
            return None
        heard = np.concatenate([view.samples[:, a:b] for a, b in spans], axis=1)
        if level_db(heard) <= FLOOR_DB:
            return None
        directions = self._directions(heard)
        parts = tuple(
            self._encode_part(view, layout, signal, self._gain(level_db(known[None])))
            for signal, known in zip(directions.T @ view.samples, directions.T @ heard, strict=True)
        )
        return TokenWindow(
            window=window, view=view, layout=layout, directions=directions, parts=parts
        )

    def decode(
        self, encoded: TokenWindow, codes: Sequence[Int[Tensor, " l"]]
    ) -> Float[np.ndarray, "c g"]:
        """Return what filled sequences sound like in the gap, at its sides' level but not joined.

        Args:
            encoded: what the sequences were made from.
            codes: a whole sequence of the codec's tokens for each part.
        """
        window, layout = encoded.window, encoded.layout
        signals = np.stack([part.signal for part in encoded.parts])
        canvas = np.pad(signals, ((0, 0), (0, layout.hop_length)))
        first, stop = layout.span(0, layout.num_frames)
        low, high = max(0, first), min(canvas.shape[1], stop)
        for k, (part, tokens) in enumerate(zip(encoded.parts, codes, strict=True)):
            decoded = self._decode_part(encoded, part, tokens)
            is_lesser = k > 0 and self.config.channels != "separate"
            decoded = _at_level(encoded, part, decoded, is_lesser=is_lesser)
            canvas[k, low:high] = decoded[low - first : high - first]
        rate = window.sample_rate
        sound = resample(encoded.directions @ canvas, self.codec.sample_rate, rate)
        missing = max(0, window.gap.stop - sound.shape[1])
        return np.pad(sound, ((0, 0), (0, missing)))[:, window.gap.start : window.gap.stop]

    def round_trip(self, samples: Samples, sample_rate: int) -> Float[np.ndarray, "c n"]:
        """Encode and decode a whole recording; tokens everywhere.

        Args:
            samples: sound without a gap.
            sample_rate: in Hz.
        """
        heard = resample(samples, sample_rate, self.codec.sample_rate)
        directions = self._directions(heard)
        decoded = np.stack([self._round_trip_part(part) for part in directions.T @ heard])
        sound = resample(directions @ decoded, self.codec.sample_rate, sample_rate)
        num = samples.shape[1]
        return np.pad(sound[:, :num], ((0, 0), (0, max(0, num - sound.shape[1]))))

    def _directions(self, heard: Samples) -> Float[np.ndarray, "c p"]:
        return find_parts(heard, mode=self.config.channels, least_db=self.config.least_part_db)

    def _gain(self, level: float) -> float:
        """Return what brings a level into the codec's range; silence stays silence."""
        low, high = self.config.level_range_db
        wanted = min(max(level, low), high)
        return 1.0 if level <= FLOOR_DB else float(10 ** ((wanted - level) / 20))

    def _encode_part(
        self, view: CodecView, layout: TokenLayout, signal: Float[np.ndarray, " m"], gain: float
    ) -> TokenPart:
        """Encode each known run of a part alone."""
        codes = torch.zeros(layout.num_frames, dtype=torch.long, device=self._device)
        features: Tensor | None = None
        for first, stop in layout.runs:
            run, before = self._extended(view, gain * signal, *layout.span(first, stop))
            frames = self._encode_samples(run)
            inside = slice(before, before + stop - first)
            codes[first:stop] = frames.codes[0, inside]
            if features is None:
                features = frames.features.new_zeros(layout.num_frames, frames.features.shape[2])
            features[first:stop] = self._decodable(frames)[0, inside]
        assert features is not None  # `encode` sees that there is a run
        return TokenPart(signal=signal, gain=gain, codes=codes, features=features)

    @torch.no_grad()
    def _encode_samples(self, samples: Float[np.ndarray, " n"]) -> TokenFrames:
        return self.codec.encode(torch.from_numpy(samples).float().to(self._device)[None])

    @torch.no_grad()
    def _decodable(self, frames: TokenFrames) -> Float[Tensor, "b l d"]:
        """Return what the decoder gets of known frames."""
        if self.config.known_frames == "features":
            return frames.features
        return self.codec.embed(frames.codes)

    def _extended(
        self, view: CodecView, signal: Float[np.ndarray, " m"], begin: int, end: int
    ) -> tuple[Float[np.ndarray, " n"], int]:
        """Return a run that goes on at both ends, and how many frames were put before it.

        It goes on as it does in the recording, beyond the sequence's ends and where known samples
        do not fill a frame; from there on by prediction.
        """
        reach = self.config.extension_frames * self.codec.hop_length
        if not reach:
            return signal[begin:end], 0
        unknown = np.flatnonzero(~view.known)
        at = int(np.searchsorted(unknown, begin))
        low = int(unknown[at - 1]) + 1 if at else 0
        high = int(unknown[at]) if at < len(unknown) else len(view.known)
        low, high = max(low, begin - reach), min(high, end + reach)
        own = signal[None, low:high]
        context = round(_EXTENSION_CONTEXT_S * view.sample_rate)
        pieces = [own]
        if missing := end + reach - high:
            after, _ = extrapolate_gap(own[:, -context:], None, missing, order=_EXTENSION_ORDER)
            pieces.append(np.asarray(after))
        if missing := low - (begin - reach):
            _, before = extrapolate_gap(None, own[:, :context], missing, order=_EXTENSION_ORDER)
            pieces.insert(0, np.asarray(before))
        return np.concatenate(pieces, axis=1)[0], self.config.extension_frames

    @torch.no_grad()
    def _decode_part(
        self, encoded: TokenWindow, part: TokenPart, codes: Int[Tensor, " l"]
    ) -> Float[np.ndarray, " n"]:
        """Decode a sequence, and give the gap what the codec took from the sound beside it."""
        known = torch.from_numpy(encoded.layout.known).to(self._device)
        embedded = self.codec.embed(codes[None])[0]
        features = torch.where(known[:, None], part.features, embedded)
        decoded = self.codec.decode(features[None])[0].cpu().double().numpy() / part.gain
        if self.config.match_gain_db:
            return _matched(encoded, part, decoded, most_db=self.config.match_gain_db)
        return np.asarray(decoded)

    @torch.no_grad()
    def _round_trip_part(self, signal: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Encode and decode one signal, in overlapping pieces no longer than a sequence."""
        hop = self.codec.hop_length
        gain = self._gain(level_db(signal[None]))
        margin = min(_PIECE_MARGIN, self.num_frames // 4) * hop
        step = self.num_frames * hop - 2 * margin
        decoded = np.zeros_like(signal)
        for start in range(0, len(signal), step):
            first = max(0, start - margin)
            piece = gain * signal[first : start + step + margin]
            features = self.codec.embed(self._encode_samples(piece).codes)
            sound = self.codec.decode(features)[0].cpu().double().numpy() / gain
            num = min(step, len(signal) - start)
            decoded[start : start + num] = sound[start - first : start - first + num]
        return decoded


def _matched(
    encoded: TokenWindow, part: TokenPart, decoded: Float[np.ndarray, " n"], *, most_db: float
) -> Float[np.ndarray, " n"]:
    """Change the bands of the gap's frames by what the codec changed on both sides of them."""
    layout, rate = encoded.layout, encoded.view.sample_rate
    bands = BandLevels(rate, _NUM_BANDS)
    limit = round(_MATCH_S * rate)
    gains = []
    for low, high, is_left in _sides(layout, limit):
        own = part.signal[None, low:high]
        other = decoded[None, low - layout.start : high - layout.start]
        if is_left:  # frames of a spectrum end where a stretch ends
            own, other = own[:, ::-1], other[:, ::-1]
        wanted, found = bands.powers(own), bands.powers(other)
        floor = _MATCH_FLOOR * max(float(wanted.max()), float(found.max())) + 1e-20
        change = 10 * np.log10((wanted + floor) / (found + floor))
        gains.append(np.clip(change, -most_db, most_db))
    if not gains:
        return decoded
    first, stop = (edge * layout.hop_length for edge in layout.hole)
    matched = decoded.copy()
    matched[first:stop] = bands.apply(decoded[None, first:stop], gains[0], gains[-1])[0]
    return matched


def _sides(layout: TokenLayout, limit: int) -> list[tuple[int, int, bool]]:
    """Return the samples of the known frames nearest to the gap: first, stop, is before it."""
    before = [run for run in layout.runs if run[1] <= layout.hole[0]][-1:]
    after = [run for run in layout.runs if run[0] >= layout.hole[1]][:1]
    sides = []
    for run, is_left in [(run, True) for run in before] + [(run, False) for run in after]:
        first, stop = layout.span(*run)
        low, high = (
            (max(first, stop - limit), stop) if is_left else (first, min(stop, first + limit))
        )
        if high - low >= _LEAST_MATCH_SAMPLES:
            sides.append((low, high, is_left))
    return sides


def _at_level(
    encoded: TokenWindow,
    part: TokenPart,
    decoded: Float[np.ndarray, " n"],
    *,
    is_lesser: bool,
) -> Float[np.ndarray, " n"]:
    """Bring what stands in the gap near the levels of its sides, see `hold_level`.

    A lesser part of the channels is never louder than the louder of its sides: it would make the
    gap wider than what is around it, or move it.
    """
    first, stop = encoded.view.gap
    window = Window(
        samples=part.signal[None] * encoded.view.known,
        known=encoded.view.known,
        gap=Region(start=first, stop=stop),
        start=0,
        sample_rate=encoded.view.sample_rate,
    )
    inside = slice(first - encoded.layout.start, stop - encoded.layout.start)
    held = decoded.copy()
    held[inside] = hold_level(window, decoded[None, inside])[0]
    if not is_lesser:
        return held
    excess = level_excess_db(window, held[None, inside])
    return held * 10 ** (-max(excess, 0.0) / 20)
