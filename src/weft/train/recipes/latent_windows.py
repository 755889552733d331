"""Windows of latents of which something is unknown: the examples of ``weft train latent``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from weft.errors import ConfigError
from weft.train.recipes.latent_data import LatentGap, LatentStream


@final
@dataclass(frozen=True, kw_only=True)
class MaskShares:
    """How often which part of a window is unknown; together 1."""

    single: float = 0.45
    """One gap with drafts to choose from."""
    several: float = 0.3
    """Two to four gaps."""
    continuation: float = 0.1
    """All after a point, or all before it."""
    everything: float = 0.15
    """The whole window."""

    def __post_init__(self) -> None:
        shares = (self.single, self.several, self.continuation, self.everything)
        if not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"shares of masks must be >= 0 and add up to 1, got {shares}")


@final
@dataclass(frozen=True, kw_only=True)
class LatentWindow:
    """One example."""

    latents: Float32[np.ndarray, "l d"]
    """Clean."""
    known: Bool[np.ndarray, " l"]
    """True where a frame is given."""
    draft: Float32[np.ndarray, "l d"]
    """What may stand in the gap; zeros where there is none."""
    confidence: Float32[np.ndarray, " l"]
    """How sure the search was; 0 where there is no draft."""


@final
class LatentWindows:
    """Draws windows with gaps from streams."""

    def __init__(
        self,
        streams: Sequence[LatentStream],
        *,
        num_frames: int,
        weights: dict[str, float],
        shares: MaskShares,
        draft_dropout: float,
        wrong_drafts: float,
    ) -> None:
        """Lay out what is drawn.

        Args:
            streams: long enough ones are used.
            num_frames: length of a window.
            weights: share of each corpus.
            shares: of masks.
            draft_dropout: how often a draft is withheld.
            wrong_drafts: how often, of the others, it comes from another place altogether.
        """
        self.num_frames = num_frames
        self.shares = shares
        self.draft_dropout = draft_dropout
        self.wrong_drafts = wrong_drafts
        self._streams = [s for s in streams if len(s.latents) >= num_frames]
        self._corpora = [c for c in weights if any(s.entry.corpus == c for s in self._streams)]
        if not self._corpora:
            raise ConfigError(f"no recording is as long as a window of {num_frames} frames")
        self._weights = np.array([weights[c] for c in self._corpora])
        self._by_corpus = {
            c: [s for s in self._streams if s.entry.corpus == c] for c in self._corpora
        }
        self._lengths = {
            c: np.cumsum([len(s.latents) for s in found]) for c, found in self._by_corpus.items()
        }
        self._gaps = {
            c: [(s, g) for s in found for g in s.gaps] for c, found in self._by_corpus.items()
        }

    def __len__(self) -> int:
        """Windows that fit end to end."""
        return sum(len(s.latents) for s in self._streams) // self.num_frames

    def draw(self, rng: np.random.Generator) -> LatentWindow:
        """Draw a window and what of it is unknown."""
        kind = rng.choice(
            4, p=[getattr(self.shares, name) for name in MaskShares.__dataclass_fields__]
        )
        has_gaps = np.array([bool(self._gaps[c]) for c in self._corpora])
        if kind == 0 and has_gaps.any():
            weights = self._weights * has_gaps
            corpus = self._corpora[rng.choice(len(weights), p=weights / weights.sum())]
            found = self._gaps[corpus]
            return self._with_gap(*found[rng.integers(len(found))], rng)
        corpus = self._corpora[
            rng.choice(len(self._weights), p=self._weights / self._weights.sum())
        ]
        ends = self._lengths[corpus]
        stream = self._by_corpus[corpus][np.searchsorted(ends, rng.integers(ends[-1]), "right")]
        start = int(rng.integers(len(stream.latents) - self.num_frames + 1))
        known = self._draw_known(int(kind), rng)
        return self._window(stream, start, known, None, rng)

    def _draw_known(self, kind: int, rng: np.random.Generator) -> Bool[np.ndarray, " l"]:
        l = self.num_frames
        known = np.ones(l, dtype=bool)
        if kind == 3:
            known[:] = False
        elif kind == 2:
            point = int(rng.integers(l // 4, l))
            known[point:] = False
            if rng.random() < 0.5:
                known = known[::-1].copy()
        else:
            for _ in range(1 if kind == 0 else int(rng.integers(2, 5))):
                length = int(np.exp(rng.uniform(np.log(6), np.log(max(7, l // 3)))))
                start = int(rng.integers(0, l - length + 1))
                known[start : start + length] = False
        return known

    def _with_gap(
        self, stream: LatentStream, gap: LatentGap, rng: np.random.Generator
    ) -> LatentWindow:
        """Lay a window around a gap, at a random place."""
        length = gap.stop - gap.first
        least = min(8, (self.num_frames - length) // 2)
        low = max(0, gap.stop + least - self.num_frames)
        high = min(len(stream.latents) - self.num_frames, gap.first - least)
        start = int(rng.integers(low, high + 1)) if high >= low else max(0, high)
        known = np.ones(self.num_frames, dtype=bool)
        known[max(0, gap.first - start) : max(0, gap.stop - start)] = False
        return self._window(stream, start, known, gap, rng)

    def _window(
        self,
        stream: LatentStream,
        start: int,
        known: Bool[np.ndarray, " l"],
        gap: LatentGap | None,
        rng: np.random.Generator,
    ) -> LatentWindow:
        latents = stream.latents[start : start + self.num_frames].astype(np.float32)
        draft = np.zeros_like(latents)
        sure = np.zeros(self.num_frames, np.float32)
        chances = rng.random(2)
        if gap is not None and gap.drafts and chances[0] >= self.draft_dropout:
            where = slice(gap.first - start, gap.stop - start)
            length = gap.stop - gap.first
            if chances[1] < self.wrong_drafts:
                other = int(rng.integers(len(stream.latents) - length + 1))
                draft[where] = stream.latents[other : other + length]
                sure[where] = rng.uniform(0.05, 0.6)
            else:
                # The best more often than the others, as when one take is made of each.
                k = min(int(rng.geometric(0.6)) - 1, len(gap.drafts) - 1)
                draft[where] = gap.drafts[k]
                sure[where] = gap.confidences[k]
        return LatentWindow(latents=latents, known=known, draft=draft, confidence=sure)
