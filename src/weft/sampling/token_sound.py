"""Sound of a window to tokens, and tokens to the sound of its gap; see `frame_sound`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weft.canvas.canvas import Window
from weft.codecs.base import TokenCodec, TokenFrames
from weft.sampling.frame_layout import FrameLayout
from weft.sampling.frame_sound import FramedPart, FramedWindow, FrameSound
from weft.sampling.token_settings import TokenFillerConfig
from weft.shapes import Samples

_PIECE_MARGIN = 8


@final
@dataclass(frozen=True, kw_only=True)
class TokenPart:
    """One part of the channels of a window, encoded."""

    codes: Int[Tensor, " l"]
    """The codec's tokens; 0 where unknown."""
    features: Float[Tensor, "l d"]
    """What the decoder gets where a frame is known; zeros where unknown."""


@final
@dataclass(frozen=True, kw_only=True)
class TokenWindow:
    """A window as tokens."""

    framed: FramedWindow
    """What was encoded."""
    parts: tuple[TokenPart, ...]
    """Of each part of its channels, in order."""

    @property
    def window(self) -> Window:
        """The window."""
        return self.framed.window

    @property
    def layout(self) -> FrameLayout:
        """Its frames."""
        return self.framed.layout


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
        self._frames = FrameSound(
            sample_rate=codec.sample_rate, hop_length=codec.hop_length, config=config.frames
        )
        tensors = (*codec.parameters(), *codec.buffers())
        self._device = tensors[0].device if tensors else torch.device("cpu")

    def encode(self, window: Window) -> TokenWindow | None:
        """Encode what is known around a gap.

        Args:
            window: may be known nowhere.

        Returns:
            None where something is known but not enough for frames, or silence.
        """
        framed = self._frames.frame(window, self.num_frames, can_be_empty=True)
        if framed is None or (not framed.layout.runs and bool(window.known.any())):
            return None
        parts = tuple(self._encode_part(framed, part) for part in framed.parts)
        return TokenWindow(framed=framed, parts=parts)

    def decode(
        self, encoded: TokenWindow, codes: Sequence[Int[Tensor, " l"]]
    ) -> Float[np.ndarray, "c g"]:
        """Return what filled sequences sound like in the gap, at its sides' level but not joined.

        Args:
            encoded: what the sequences were made from.
            codes: a whole sequence of the codec's tokens for each part.
        """
        framed = encoded.framed
        decoded = [
            self._decode_part(framed, *part)
            for part in zip(framed.parts, encoded.parts, codes, strict=True)
        ]
        return self._frames.to_gap(framed, decoded, framed.layout.start)

    def round_trip(self, samples: Samples, sample_rate: int) -> Float[np.ndarray, "c n"]:
        """Encode and decode a whole recording; tokens everywhere.

        Args:
            samples: sound without a gap.
            sample_rate: in Hz.
        """
        return self._frames.round_trip(
            samples,
            sample_rate,
            self._code,
            num_frames=self.num_frames,
            margin=min(_PIECE_MARGIN, self.num_frames // 4),
        )

    @torch.no_grad()
    def _encode_part(self, framed: FramedWindow, part: FramedPart) -> TokenPart:
        """Encode each known run of a part alone."""
        num_frames = framed.layout.num_frames
        codes = torch.zeros(num_frames, dtype=torch.long, device=self._device)
        features = torch.zeros_like(self.codec.embed(codes[None])[0])
        for run in self._frames.known_stretches(framed, part):
            frames = self._encode_samples(run.samples)
            codes[run.first : run.stop] = frames.codes[0, run.inside]
            features[run.first : run.stop] = self._decodable(frames)[0, run.inside]
        return TokenPart(codes=codes, features=features)

    @torch.no_grad()
    def _encode_samples(self, samples: Float[np.ndarray, " n"]) -> TokenFrames:
        return self.codec.encode(torch.from_numpy(samples).float().to(self._device)[None])

    @torch.no_grad()
    def _decodable(self, frames: TokenFrames) -> Float[Tensor, "b l d"]:
        """Return what the decoder gets of known frames."""
        if self.config.known_frames == "features":
            return frames.features
        return self.codec.embed(frames.codes)

    @torch.no_grad()
    def _decode_part(
        self, framed: FramedWindow, part: FramedPart, tokens: TokenPart, codes: Int[Tensor, " l"]
    ) -> Float[np.ndarray, " n"]:
        """Decode a sequence, and give the gap what the codec took from the sound beside it."""
        known = torch.from_numpy(framed.layout.known).to(self._device)
        embedded = self.codec.embed(codes[None])[0]
        features = torch.where(known[:, None], tokens.features, embedded)
        decoded = self.codec.decode(features[None])[0].cpu().double().numpy() / part.gain
        if not self.config.match_gain_db:
            return np.asarray(decoded)
        start = framed.layout.start
        gains = self._frames.side_gains_db(framed, part, decoded, start)
        return self._frames.matched(framed, decoded, start, gains)

    @torch.no_grad()
    def _code(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        features = self.codec.embed(self._encode_samples(samples).codes)
        return np.asarray(self.codec.decode(features)[0].cpu().double().numpy())
