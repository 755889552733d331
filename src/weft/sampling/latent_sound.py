"""Sound of a window to latents, and latents to the sound of its gap; see `frame_sound`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weft.canvas.canvas import Window
from weft.classical.levels import TOLERANCE_DB
from weft.codecs.base import LatentCodec
from weft.errors import ConfigError
from weft.sampling.frame_layout import FrameLayout
from weft.sampling.frame_sound import FramedWindow, FrameSound
from weft.sampling.latent_settings import LatentFillerConfig
from weft.shapes import Samples

_MATCH_S = 0.25
"""How much is decoded on each side of a gap at least, to hear what the codec does there."""
_PIECE_FRAMES = 512


@final
@dataclass(frozen=True, kw_only=True)
class LatentWindow:
    """A window as latents."""

    framed: FramedWindow
    """What was encoded."""
    latents: Float[Tensor, "p l d"]
    """Of each part of its channels; zeros where unknown."""

    @property
    def layout(self) -> FrameLayout:
        """Its frames."""
        return self.framed.layout


@final
@dataclass(frozen=True, kw_only=True)
class LatentDraft:
    """What may stand in a gap, encoded with the sound around it."""

    signals: Float[np.ndarray, "p m"]
    """Each part with the draft in the gap, at the codec's rate and the recording's level."""
    first: int
    """First frame: of the gap and its guards."""
    stop: int
    """One past the last."""
    latents: Float[Tensor, "p h d"]
    """Of these frames."""
    decoded: Float[np.ndarray, "p n"]
    """What the codec makes of them, at the recording's level."""
    confidence: float | None
    """How sure the search was of it, in [0, 1]; None: it is the user's, there to be changed."""


@final
@dataclass(frozen=True, kw_only=True)
class DecodedPart:
    """What a filled sequence sounds like around the gap."""

    samples: Float[np.ndarray, " n"]
    """At the codec's rate and the recording's level."""
    detail: float
    """How much of the draft's detail was given back, in [0, 1]; mean over the gap's frames."""


@final
class LatentSound:
    """A codec, and how sound of any rate and any number of channels goes through it."""

    def __init__(self, codec: LatentCodec, config: LatentFillerConfig) -> None:
        """Keep the parts.

        Args:
            codec: in eval mode, on the device of its first parameter or buffer.
            config: settings.

        Raises:
            ConfigError: the codec takes several channels together.
        """
        if codec.num_channels != 1:
            raise ConfigError(
                f"the codec takes {codec.num_channels} channels together; fillers take channels "
                "apart and need a codec of one channel"
            )
        self.codec = codec
        self.config = config
        self._frames = FrameSound(
            sample_rate=codec.sample_rate, hop_length=codec.hop_length, config=config.frames
        )
        tensors = (*codec.parameters(), *codec.buffers())
        self._device = tensors[0].device if tensors else torch.device("cpu")

    def encode(self, window: Window, num_frames: int) -> LatentWindow | None:
        """Encode what is known around a gap.

        Args:
            window: may be known nowhere, and may have a draft.
            num_frames: longest sequence, >= 1.

        Returns:
            None where something is known but not enough for frames, or silence, and no draft says
            more.
        """
        framed = self._frames.frame(window, num_frames, can_be_empty=True)
        if framed is None:
            return None
        num_frames = framed.layout.num_frames
        shape = len(framed.parts), num_frames, self.codec.num_features
        latents = torch.zeros(shape, device=self._device)
        stretches = (self._frames.known_stretches(framed, part) for part in framed.parts)
        for runs in zip(*stretches, strict=True):
            run = runs[0]
            found = self._encode(np.stack([each.samples for each in runs]))
            latents[:, run.first : run.stop] = found[:, run.inside]
        return LatentWindow(framed=framed, latents=latents)

    def encode_drafts(
        self,
        encoded: LatentWindow,
        drafts: Sequence[Float[np.ndarray, "c g"]],
        *,
        confidences: Sequence[float] | None = None,
    ) -> list[LatentDraft]:
        """Encode what may stand in the gap, and decode it again.

        Args:
            encoded: the window.
            drafts: as long as the gap, at the rate of the recording.
            confidences: how sure the search was of each; None: they are the user's.
        """
        if not drafts:
            return []
        framed, num = encoded.framed, len(encoded.framed.parts)
        signals = [self._frames.drafted(framed, draft) for draft in drafts]
        stretches = [
            self._frames.drafted_stretch(framed, part, signal, self.codec.reach_frames)
            for own in signals
            for part, signal in zip(framed.parts, own, strict=True)
        ]
        latents = self._encode(np.stack([stretch.samples for stretch in stretches]))
        inside, hop = stretches[0].inside, self.codec.hop_length
        decoded = self._decode(latents)[:, inside.start * hop : inside.stop * hop]
        gains = np.array([part.gain for part in framed.parts])[:, None]
        return [
            LatentDraft(
                signals=own,
                first=stretches[0].first,
                stop=stretches[0].stop,
                latents=latents[i * num : (i + 1) * num, inside],
                decoded=decoded[i * num : (i + 1) * num] / gains,
                confidence=None if confidences is None else confidences[i],
            )
            for i, own in enumerate(signals)
        ]

    def decode_part(
        self,
        encoded: LatentWindow,
        k: int,
        filled: Float[Tensor, "r l d"],
        drafts: Sequence[LatentDraft | None],
    ) -> list[DecodedPart]:
        """Return what filled sequences of one part sound like around the gap.

        What the codec takes from the bands of the sound beside the gap is given back. Where a
        sequence is near to its draft, all that the codec takes from the draft is given back; if it
        was found, not made by the user to be changed, the sequence becomes the draft there.

        Args:
            encoded: the window.
            k: number of the part.
            filled: whole sequences.
            drafts: that of each, or None.
        """
        framed, start = encoded.framed, self._start(encoded)
        part = framed.parts[k]
        first, stop = self._region(encoded)
        found = []
        nearness = [
            self._nearness(sequence, draft, k) if draft is not None and self.config.detail else None
            for sequence, draft in zip(filled, drafts, strict=True)
        ]
        filled = filled.clone()
        for sequence, draft, shares in zip(filled, drafts, nearness, strict=True):
            if draft is not None and draft.confidence is not None and shares is not None:
                frames = sequence[draft.first : draft.stop]  # a view
                weight = torch.from_numpy(shares).to(frames)[:, None]
                frames.lerp_(draft.latents[k].to(frames), weight)
        sounds = self._decode(filled[:, first:stop]) / part.gain
        for sound, draft, shares in zip(sounds, drafts, nearness, strict=True):
            gains = None
            if self.config.match_gain_db:
                gains = self._frames.side_gains_db(framed, part, sound, start)
            matched = self._frames.matched(framed, sound, start, gains)
            share = 0.0
            if draft is not None and shares is not None:
                low, high = framed.layout.span(draft.first, draft.stop)
                here = slice(low - start, high - start)
                kept = np.pad(draft.decoded[k], (low - start, start + len(sound) - high))
                kept = self._frames.matched(framed, kept, start, gains)[here]
                lost = _cut(draft.signals[k], low, high) - kept
                matched = matched.copy()
                matched[here] += self._to_samples(shares) * lost
                share = float(shares.mean())
            found.append(DecodedPart(samples=matched, detail=share))
        return found

    def beside(self, encoded: LatentWindow, k: int) -> Window:
        """Return the window of one part alone, at the codec's rate; a draft tells nothing here."""
        return self._frames.beside(encoded.framed, k)

    def hear_part(self, encoded: LatentWindow, decoded: DecodedPart) -> Samples:
        """Return the gap of one part alone, at the codec's rate."""
        start = self._start(encoded)
        return decoded.samples[None, slice(*(edge - start for edge in encoded.framed.view.gap))]

    def to_gap(
        self,
        encoded: LatentWindow,
        decoded: Sequence[DecodedPart],
        draft: LatentDraft | None,
        *,
        tolerance_db: float = TOLERANCE_DB,
    ) -> Float[np.ndarray, "c g"]:
        """Return what the parts sound like together in the gap, not joined to its sides.

        Args:
            encoded: the window.
            decoded: of each part.
            draft: whose level is to be kept, instead of that of the sides.
            tolerance_db: how far from these the level may be.
        """
        return self._frames.to_gap(
            encoded.framed,
            [part.samples for part in decoded],
            self._start(encoded),
            draft=None if draft is None else draft.signals,
            tolerance_db=tolerance_db,
        )

    def round_trip(self, samples: Samples, sample_rate: int) -> Float[np.ndarray, "c n"]:
        """Encode and decode a whole recording.

        Args:
            samples: sound without a gap.
            sample_rate: in Hz.
        """
        margin = 2 * self.codec.reach_frames
        return self._frames.round_trip(
            samples,
            sample_rate,
            lambda piece: self._decode(self._encode(piece[None]))[0],
            num_frames=_PIECE_FRAMES + 2 * margin,
            margin=margin,
        )

    def _nearness(
        self, sequence: Float[Tensor, "l d"], draft: LatentDraft, k: int
    ) -> Float[np.ndarray, " h"]:
        """Return how near each frame is to the draft, as the share of detail it is given back."""
        difference = sequence[draft.first : draft.stop] - draft.latents[k].to(sequence)
        distance = difference.double().square().mean(dim=1).sqrt().cpu().numpy()
        doubt = 0.0 if draft.confidence is None else 1 - draft.confidence
        near, far = (edge - doubt * self.config.detail_doubt for edge in self.config.detail_range)
        shares = np.clip((far - distance) / max(far - near, 1e-9), 0, 1)
        padded = np.pad(shares, 1, mode="edge")
        smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        return np.asarray(self.config.detail * smooth)

    def _to_samples(self, shares: Float[np.ndarray, " h"]) -> Float[np.ndarray, " n"]:
        """Interpolate between the middles of frames."""
        hop = self.codec.hop_length
        at = np.arange(len(shares) * hop)
        return np.interp(at, (np.arange(len(shares)) + 0.5) * hop, shares)

    def _region(self, encoded: LatentWindow) -> tuple[int, int]:
        """Return the frames around a gap that are decoded."""
        layout = encoded.layout
        match = round(_MATCH_S * self.codec.sample_rate / self.codec.hop_length)
        reach = self.config.guard + max(self.codec.reach_frames, match)
        return max(0, layout.hole[0] - reach), min(layout.num_frames, layout.hole[1] + reach)

    def _start(self, encoded: LatentWindow) -> int:
        """Return the position of the first sample that is decoded."""
        first, stop = self._region(encoded)
        return encoded.layout.span(first, stop)[0]

    @torch.no_grad()
    def _encode(self, samples: Float[np.ndarray, "b n"]) -> Float[Tensor, "b l d"]:
        return self.codec.encode(torch.from_numpy(samples).float().to(self._device)[:, None])

    @torch.no_grad()
    def _decode(self, latents: Float[Tensor, "b l d"]) -> Float[np.ndarray, "b n"]:
        return np.asarray(self.codec.decode(latents)[:, 0].cpu().double().numpy())


def _cut(signal: Float[np.ndarray, " m"], low: int, high: int) -> Float[np.ndarray, " n"]:
    """Return a stretch of a signal, with zeros where it has no samples."""
    inside = signal[max(0, low) : max(0, high)]
    before = min(max(0, -low), high - low)
    return np.pad(inside, (before, high - low - before - len(inside)))
