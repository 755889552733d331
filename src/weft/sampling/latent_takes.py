"""Takes of a gap: what they start from, and which of them belongs best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from weft.canvas.canvas import Window
from weft.classical.joining import blend_edges, ring_on
from weft.classical.matching import SimilarityConfig, find_candidates
from weft.classical.similarity import (
    Edges,
    confidence,
    make_edges,
    render,
    render_without_match,
)
from weft.rng import Rng
from weft.sampling.latent_settings import LatentFillerConfig
from weft.sampling.latent_sound import DecodedPart, LatentDraft, LatentSound, LatentWindow
from weft.takes import score_take

_FALLBACK_KEY = 1 << 17
"""Beside the numbers of takes: the stream from which the noise of an extrapolation is drawn."""

SequenceKey: TypeAlias = tuple[int, int, int]
"""Number of the window, of the take, and of the part of the channels."""


@final
@dataclass(frozen=True, kw_only=True)
class PreparedGap:
    """A window, encoded, and what may stand in its gap."""

    encoded: LatentWindow
    """What is known."""
    drafts: tuple[LatentDraft, ...]
    """What takes are given as drafts."""
    strength: float
    """How far from a draft sampling starts, in (0, 1]; 1: from noise."""
    own: LatentDraft | None
    """The user's draft, whose level is kept; None: there is none."""

    @property
    def window(self) -> Window:
        """The window near the gap."""
        return self.encoded.framed.window

    @property
    def num_parts(self) -> int:
        """Parts of its channels."""
        return len(self.encoded.framed.parts)

    @property
    def source(self) -> str:
        """Where its drafts come from, in a word."""
        if self.own is not None:
            return "own"
        return "similarity" if any(draft.confidence for draft in self.drafts) else "extrapolated"

    def confidence_of(self, number: int) -> float:
        """Return how sure a draft is, in [0, 1]: as the search was, or as the user's strength.

        0 for an extrapolation, of which the network is not told.
        """
        found = self.drafts[number].confidence
        return 1 - self.strength if found is None else found

    def draft_of(self, take: int, num_takes: int) -> int | None:
        """Return the number of a take's draft.

        Takes of the user's own draft all start from it. Of several takes with drafts from elsewhere
        the last one has none: drafts may all be wrong.
        """
        if not self.drafts or (self.own is None and take and take == num_takes - 1):
            return None
        return take % len(self.drafts)

    def strength_of(self, take: int, num_takes: int) -> float:
        """Return how far from its draft a take starts; 1 where it has none."""
        return 1.0 if self.draft_of(take, num_takes) is None else self.strength


@final
@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A filled sequence."""

    latents: Float[Tensor, "l d"]
    """Known frames are as they were."""
    num_calls: int
    """Of the network, for the batch that it was in."""


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fill of the loudest part of the channels."""

    take: int
    """Its number, in the order of drawing."""
    draft: int | None
    """Number of its draft."""
    drawn: Drawn
    """Its latents."""
    decoded: DecodedPart
    """What it sounds like."""
    score: float
    """In dB, <= 0; higher is better."""


def prepare_gap(
    window: Window,
    sound: LatentSound,
    num_takes: int,
    *,
    search: SimilarityConfig | None,
    rng: Rng,
) -> PreparedGap | None:
    """Encode a window and what may stand in its gap; None where there is too little sound.

    Args:
        window: all that there is to see, or to search.
        sound: the codec and its settings.
        num_takes: fills to be drawn; all but one of them can have drafts of their own.
        search: how drafts are searched for, where the user gave none and wants no style; None:
            there are none.
        rng: as `Filler.fill` has it.
    """
    codec, config = sound.codec, sound.config
    frame_ms = 1000 * codec.hop_length / codec.sample_rate
    length_ms = config.length_ms(window.gap_ms)
    reach_ms = length_ms + (2 + config.guard + config.extension_frames) * frame_ms
    near = crop(window, math.ceil(reach_ms * window.sample_rate / 1000))
    encoded = sound.encode(near, math.ceil(length_ms / frame_ms))
    if encoded is None:
        return None
    if window.draft is not None and window.draft_strength is not None:
        (own,) = sound.encode_drafts(encoded, [window.draft])
        return PreparedGap(
            encoded=encoded,
            drafts=(own,) if window.draft_strength < 1 else (),
            strength=window.draft_strength,
            own=own,
        )
    if is_pulled(window):
        search = None  # what the recording has is not what was asked for
    drafts, confidences, strength = [], [], 1.0
    found = [] if search is None else find_candidates(window, search, max(1, num_takes - 1))
    if found and search is not None:
        edges = make_edges(window, search)
        drafts = [render(window, candidate, search, edges) for candidate in found]
        confidences = [confidence(candidate) for candidate in found]
        strength = config.draft_start
    elif search is not None and config.fallback_start < 1 and encoded.layout.known.any():
        stream = rng.stream(window.start + window.gap.start, _FALLBACK_KEY)
        drafts = [render_without_match(window, search, stream)]
        confidences = [0.0]
        strength = config.fallback_start
    return PreparedGap(
        encoded=encoded,
        drafts=tuple(sound.encode_drafts(encoded, drafts, confidences=confidences)),
        strength=strength,
        own=None,
    )


def is_pulled(window: Window) -> bool:
    """Whether a style pulls what comes into the gap."""
    return window.style is not None and window.style.weight > 0


def rank_takes(gap: PreparedGap, drawn: Sequence[Drawn], sound: LatentSound) -> list[Candidate]:
    """Return fills of the loudest part, best first; equal ones in the order of drawing.

    Args:
        gap: what they are for.
        drawn: one filled sequence a take.
        sound: the codec and its settings.
    """
    numbers = [gap.draft_of(take, len(drawn)) for take in range(len(drawn))]
    decoded = sound.decode_part(
        gap.encoded,
        0,
        torch.stack([sequence.latents for sequence in drawn]),
        [None if number is None else gap.drafts[number] for number in numbers],
    )
    beside = sound.beside(gap.encoded, 0)
    edges = edges_of(beside, sound.config)
    found = []
    for take, (sequence, heard) in enumerate(zip(drawn, decoded, strict=True)):
        joined = blend_edges(sound.hear_part(gap.encoded, heard), *edges)
        far = context_distance(sequence.latents, gap.encoded)
        score = score_take(beside, joined).total - sound.config.context_weight * far
        found.append(
            Candidate(take=take, draft=numbers[take], drawn=sequence, decoded=heard, score=score)
        )
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.take))


def edges_of(window: Window, config: LatentFillerConfig) -> Edges:
    """Return what both sides of a gap ring on to inside it."""
    per_ms = window.sample_rate / 1000
    return ring_on(
        window.before(),
        window.after(),
        edge_samples=min(round(config.edge_ms * per_ms), window.gap.num_samples // 2),
        order=max(1, round(config.edge_span_ms * per_ms)),
    )


def context_distance(latents: Float[Tensor, "l d"], encoded: LatentWindow) -> float:
    """Return the mean distance of filled frames from the known frames most like them.

    As a root mean square over features; 0 where nothing is known or nothing was filled.
    """
    known = torch.from_numpy(encoded.layout.known).to(latents.device)
    if not bool(known.any()) or bool(known.all()):
        return 0.0
    distances = torch.cdist(latents[~known].double(), latents[known].double())
    return float(distances.min(dim=1).values.mean() / latents.shape[1] ** 0.5)


def crop(window: Window, context: int) -> Window:
    """Return the stretch of a window that reaches so many samples beyond its gap on each side."""
    first = max(0, window.gap.start - context)
    stop = min(window.samples.shape[1], window.gap.stop + context)
    return replace(
        window,
        samples=window.samples[:, first:stop],
        known=window.known[first:stop],
        gap=window.gap.shifted(-first),
        start=window.start + first,
    )
