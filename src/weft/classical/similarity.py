"""Similarity fill: the place of the recording that fits the gap best, joined to its sides."""

from collections.abc import Sequence
from typing import TypeAlias, final

import numpy as np
from jaxtyping import Float

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.joining import BandLevels, blend_edges, ring_on, splice
from weft.classical.matching import Candidate, SimilarityConfig, find_candidates
from weft.classical.noise import add_noise_residual, extrapolated
from weft.rng import Rng
from weft.shapes import Samples

Edges: TypeAlias = tuple[Float[np.ndarray, "c e"] | None, Float[np.ndarray, "c e"] | None]
"""What the two sides ring on to inside the gap; None where there is no side."""

_LEAST_CONFIDENCE = 0.05
_EDGE_PER_MISFIT = 2.0
"""An edge has its whole length from waveforms that correlate by 0.87 downwards."""
_SPLICE_S = 0.02
_NUM_LEVEL_BANDS = 12
_LEAST_LEVEL_SAMPLES = 64
_LEAST_LEVEL_SHARE = 0.25
_LEVEL_FLOOR = 1e-6
"""Band power below the loudest band under which levels are not matched (-60 dB)."""


@final
class Similarity(Filler):
    """Copies the stretch whose surroundings are most like those of the gap.

    Source: Perraudin, Holighaus, Majdak & Balazs 2018, "Inpainting of long audio segments with
    similarity graphs". Differs: places are found by correlation of log-mel frames on both sides
    instead of a graph, the seams are aligned by waveform, levels are matched a band, and the edges
    are autoregressive.
    """

    def __init__(self, config: SimilarityConfig | None = None) -> None:
        """Make the filler; without settings, with the default ones."""
        self.config = config or SimilarityConfig()

    @property
    def name(self) -> str:
        """The name."""
        return "similarity"

    @property
    def max_gap_ms(self) -> float | None:
        """A third of the context, so that there are places to copy from."""
        return self.config.context_ms / 3

    def context_ms(self, gap_ms: float) -> float:
        """Return the settings' context, whatever the gap."""
        return self.config.context_ms

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Propose the best places, no two overlapping; see `Filler.fill`."""
        return [self._fill_one(window, num_takes, rng) for window in windows]

    def _fill_one(self, window: Window, num_takes: int, rng: Rng) -> list[Fill]:
        candidates = find_candidates(window, self.config, num_takes)
        if not candidates:
            return [self._without_match(window, rng)]
        edges = make_edges(window, self.config)
        return [
            Fill(
                samples=render(window, candidate, self.config, edges),
                model=self.name,
                is_joined=True,
                confidence=confidence(candidate),
                details=_details(window, candidate),
            )
            for candidate in candidates
        ]

    def _without_match(self, window: Window, rng: Rng) -> Fill:
        stream = rng.stream(window.start + window.gap.start, 0)
        return Fill(
            samples=render_without_match(window, self.config, stream),
            model=self.name,
            is_joined=True,
            confidence=_LEAST_CONFIDENCE if window.known.any() else 0.0,
            details={"fallback": "nothing to copy: autoregressive fill and noise"},
        )


def confidence(candidate: Candidate) -> float:
    """Return how sure one can be that a candidate belongs, in (0.05, 0.99); falls with its score.

    Scores near 0 are exact repeats, about 0.6 is another take of the same noise or texture, above
    1.5 the copy is hardly better than any other place.
    """
    doubt = 1 / (1 + np.exp(-3 * (candidate.score - 1)))
    return float(_LEAST_CONFIDENCE + (0.99 - _LEAST_CONFIDENCE) * (1 - doubt))


def self_similarity(window: Window, config: SimilarityConfig | None = None) -> float:
    """Return how well the best match explains the two sides: its `confidence`, 0 without one."""
    best = find_candidates(window, config or SimilarityConfig(), 1)
    return confidence(best[0]) if best else 0.0


def render(
    window: Window, candidate: Candidate, config: SimilarityConfig, edges: Edges | None = None
) -> Float[np.ndarray, "c g"]:
    """Copy a candidate into the gap: cut to length, levels matched, edges joined.

    Args:
        window: where the candidate was found.
        candidate: what to copy.
        config: settings.
        edges: from `make_edges`, where several candidates are rendered for one gap.
    """
    copied = match_levels(window, candidate, cut_to_length(window, candidate), config)
    forward, backward = edges or make_edges(window, config)
    if forward is not None:
        length = _edge_length(forward.shape[1], candidate.correlation_before)
        forward = forward[:, :length]
    if backward is not None:
        length = _edge_length(backward.shape[1], candidate.correlation_after)
        backward = backward[:, backward.shape[1] - length :]
    return blend_edges(copied, forward, backward)


def render_without_match(
    window: Window, config: SimilarityConfig, stream: np.random.Generator
) -> Float[np.ndarray, "c g"]:
    """Fill a gap for which nothing was found: both sides extrapolated, and what fades as noise.

    Args:
        window: the gap and its sides.
        config: settings.
        stream: of random numbers.
    """
    return add_noise_residual(extrapolated(window, config.order), window, stream)


def _edge_length(limit: int, correlation: float) -> int:
    """Return how much of an edge is used: next to nothing where the waveforms agree anyway."""
    misfit = np.sqrt(max(0.0, 1 - max(correlation, 0.0) ** 2))
    return int(min(limit, np.ceil(_EDGE_PER_MISFIT * limit * misfit)))


def make_edges(window: Window, config: SimilarityConfig) -> Edges:
    """Extrapolate both sides of the gap over the length of an edge."""
    length = round(config.edge_ms * window.sample_rate / 1000)
    return ring_on(
        window.before(),
        window.after(),
        edge_samples=min(length, window.gap.num_samples // 2),
        order=config.order,
    )


def cut_to_length(window: Window, candidate: Candidate) -> Float[np.ndarray, "c g"]:
    """Return the candidate with the length of the gap: both its ends kept, spliced between."""
    num = window.gap.num_samples
    left = window.samples[:, candidate.start : candidate.start + num]
    if candidate.stop - candidate.start == num:
        return left.copy()
    right = window.samples[:, candidate.stop - num : candidate.stop]
    return splice(left, right, round(_SPLICE_S * window.sample_rate))


def match_levels(
    window: Window,
    candidate: Candidate,
    copied: Float[np.ndarray, "c g"],
    config: SimilarityConfig,
) -> Float[np.ndarray, "c g"]:
    """Give the copy the levels a band of the two sides, on a straight line in dB between them.

    Differences are corrected in full where the waveforms agree, and by a quarter where they do
    not: then they say more about other notes than about another level.
    """
    limit = round(config.level_ms * window.sample_rate / 1000)
    bands = BandLevels(window.sample_rate, _NUM_LEVEL_BANDS)
    sides = (
        (window.before(limit)[:, ::-1], _known_run(window, candidate.start, -limit)),
        (window.after(limit), _known_run(window, candidate.stop, limit)),
    )
    correlations = (candidate.correlation_before, candidate.correlation_after)
    gains = []
    for (own, other), correlation in zip(sides, correlations, strict=True):
        num = min(own.shape[1], other.shape[1])
        if num >= _LEAST_LEVEL_SAMPLES:
            share = max(_LEAST_LEVEL_SHARE, correlation**2 if correlation > 0 else 0.0)
            gains.append(share * _gains_db(bands, own[:, :num], other[:, :num]))
    if not gains:
        return copied
    limited = [np.clip(g, -config.max_gain_db, config.max_gain_db) for g in (gains[0], gains[-1])]
    return bands.apply(copied, *limited)


def _known_run(window: Window, position: int, num_samples: int) -> Samples:
    """Return known samples from a position on, backwards where ``num_samples`` is negative."""
    if num_samples < 0:
        low = max(0, position + num_samples)
        samples, known = window.samples[:, low:position][:, ::-1], window.known[low:position][::-1]
    else:
        high = position + num_samples
        samples, known = window.samples[:, position:high], window.known[position:high]
    unknown = np.flatnonzero(~known)
    return samples[:, : int(unknown[0])] if len(unknown) else samples


def _gains_db(bands: BandLevels, own: Samples, other: Samples) -> Float[np.ndarray, " d"]:
    """Return gains that bring ``other`` to the band levels of ``own``; silence gets none."""
    wanted, found = bands.powers(own), bands.powers(other)
    floor = _LEVEL_FLOOR * max(float(wanted.max()), float(found.max())) + 1e-20
    return 10 * np.log10((wanted + floor) / (found + floor))


def _details(window: Window, candidate: Candidate) -> dict[str, float | str]:
    rate = window.sample_rate
    return {
        "source_s": (window.start + candidate.start) / rate,
        "source_length_s": (candidate.stop - candidate.start) / rate,
        "distance": candidate.distance,
        "correlation_before": candidate.correlation_before,
        "correlation_after": candidate.correlation_after,
        "score": candidate.score,
    }
