"""Search: which places of a recording could stand in a gap."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft
from scipy.ndimage import minimum_filter1d

from weft.canvas.canvas import Window
from weft.classical.features import FrameGrid, Frames, UnknownRuns, side_distances
from weft.errors import ConfigError
from weft.shapes import Samples


@final
@dataclass(frozen=True, kw_only=True)
class SimilarityConfig:
    """Settings of the search and of the joining."""

    context_ms: float = 60_000.0
    """How much of the recording is searched on each side, > 0."""
    compare_ms: float = 1500.0
    """How much of each side is compared, > 0."""
    decay_ms: float = 500.0
    """Distance from the seam at which a frame counts 1/e, > 0."""
    hop_ms: float = 10.0
    """Distance of frames, in [1, 100]."""
    num_mels: int = 48
    """Bands, >= 8."""
    level_share: float = 0.25
    """How much a common difference of level counts against a place, in [0, 1]."""
    stretch_ms: float = 30.0
    """How much longer or shorter than the gap the found stretch may be, >= 0."""
    num_examined: int = 48
    """Places that are aligned and compared closely, >= 1."""
    align_ms: float = 60.0
    """Length of waveform compared at each seam, > 0."""
    edge_ms: float = 25.0
    """Length of the autoregressive edges inside the gap, >= 0."""
    order: int = 512
    """Order of the autoregressive edges, >= 1."""
    level_ms: float = 200.0
    """Length on both sides over which levels are matched, > 0."""
    max_gain_db: float = 12.0
    """Largest correction of a level, >= 0."""

    def __post_init__(self) -> None:
        positive = ("context_ms", "compare_ms", "decay_ms", "align_ms", "level_ms")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("stretch_ms", "edge_ms", "max_gain_db"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 1 <= self.hop_ms <= 100:
            raise ConfigError(f"hop_ms must be in [1, 100], got {self.hop_ms}")
        if not 0 <= self.level_share <= 1:
            raise ConfigError(f"level_share must be in [0, 1], got {self.level_share}")
        for name, least in (("num_mels", 8), ("num_examined", 1), ("order", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be >= {least}, got {getattr(self, name)}")


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A stretch of the window that could stand in the gap."""

    start: int
    """Its first sample, in the window."""
    stop: int
    """One past its last; it may be a little longer or shorter than the gap."""
    distance: float
    """Of the surroundings, in log10 power (root mean square over bands and frames), >= 0."""
    correlation_before: float
    """Of the waveforms before the seam, in [-1, 1]; 0 where there is no such side."""
    correlation_after: float
    """Of the waveforms after the seam, in [-1, 1]; 0 where there is no such side."""
    score: float
    """What candidates are ranked by: an estimate of the log-spectral distance, lower is better."""


@final
@dataclass(frozen=True, kw_only=True)
class _Place:
    """Found by frames: the sample that meets the start of the gap, and how many to copy."""

    start: int
    num_samples: int
    distance: float
    """Root mean square, in log10 power."""
    contrast: float
    """How far the mean level a band inside is from that beside the gap, in log10 power."""
    excess: float
    """How far levels inside leave the range of the two sides, in log10 power."""
    inside: Float[np.ndarray, "m d"]
    """Levels of some frames inside."""


def find_candidates(window: Window, config: SimilarityConfig, num: int) -> list[Candidate]:
    """Return the places that fit the gap best, no two overlapping, best first.

    Only known samples are read. The list is empty where nothing can be compared or copied.

    Args:
        window: the gap and its surroundings.
        config: settings.
        num: how many at the most, >= 1.

    Raises:
        ConfigError: ``num`` is below 1.
    """
    if num < 1:
        raise ConfigError(f"num must be >= 1, got {num}")
    window = _centred(window)
    places = _search(window, config)
    candidates = _rank([_align(window, config, place) for place in places], places, window.gap_ms)
    chosen: list[Candidate] = []
    for candidate in candidates:
        if all(candidate.start >= c.stop or candidate.stop <= c.start for c in chosen):
            chosen.append(candidate)
        if len(chosen) == num:
            break
    return chosen


def _centred(window: Window) -> Window:
    """Take the mean of the known samples away, and whatever unknown samples hold."""
    if not window.known.any():
        return window
    samples = window.samples.copy()
    samples[:, ~window.known] = 0
    samples -= samples.sum(axis=1, keepdims=True) / np.count_nonzero(window.known)
    samples[:, ~window.known] = 0
    return replace(window, samples=samples)


def _rank(candidates: list[Candidate], places: list[_Place], gap_ms: float) -> list[Candidate]:
    """Score candidates by their own fit and by what the others say, and sort them.

    A candidate's expected distance is its mean distance to all, weighted by how well each fits
    (decoding of least Bayes risk): among places that fit equally well the most typical one wins.
    """
    if not candidates:
        return []
    near = np.exp(-gap_ms / 200.0)
    fit = np.array([c.score for c in candidates])
    fit = fit + 0.5 * near * np.array([place.contrast for place in places])
    fit = fit + 0.3 * np.array([place.excess for place in places])
    weights = np.exp(-(fit - fit.min()) / 0.07)
    weights /= weights.sum()
    inside = np.stack([place.inside.ravel() for place in places])
    squares = (inside**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * inside @ inside.T
    risk = np.maximum(distances / max(inside.shape[1], 1), 0.0) @ weights
    scores = 0.3 * fit + np.sqrt(risk)
    scored = [replace(c, score=float(s)) for c, s in zip(candidates, scores, strict=True)]
    return sorted(scored, key=lambda c: (c.score, c.start))


def _side_weights(config: SimilarityConfig, grid: FrameGrid) -> Float[np.ndarray, " k"]:
    """Weights of the frames beside the gap, nearest first."""
    hop_ms = 1000 * grid.hop_length / grid.sample_rate
    count = max(1, round(config.compare_ms / hop_ms))
    return np.exp(-np.arange(count) * hop_ms / config.decay_ms)


def _search(window: Window, config: SimilarityConfig) -> list[_Place]:
    """Find places whose surroundings look like the gap's, by frames."""
    grid = FrameGrid.of(window.sample_rate, config.hop_ms, config.num_mels)
    gap, hop, covered = window.gap, grid.hop_length, grid.num_covered
    num_samples = window.samples.shape[1]
    weights = _side_weights(config, grid)
    count = len(weights)
    lead = gap.start - covered  # a frame of the grid begins here, and ends where the gap begins
    first = lead - (lead + covered * count) // hop * hop if lead + covered * count > 0 else lead
    total = max(1, (num_samples - first) // hop + count)
    frames = grid.frames(window.samples, window.known, first=first, num_frames=total)

    def query(position: int) -> Frames:
        return grid.frames(
            window.samples,
            window.known,
            first=position,
            num_frames=count,
            floor=frames.floor,
        )

    before = query(gap.start - covered - (count - 1) * hop)
    after = query(gap.stop)
    full = float(weights.sum())
    share_before = float(weights[::-1] @ before.known) / full
    share_after = float(weights @ after.known) / full
    distance_b, match_b = side_distances(
        frames, before, weights[::-1], level_share=config.level_share
    )
    distance_a, match_a = side_distances(frames, after, weights, level_share=config.level_share)
    # index i: the gap's start lies on the end of frame i
    distance_b, match_b = _shift(distance_b, count - 1, np.inf), _shift(match_b, count - 1, 0.0)
    weight_b, weight_a = share_before * match_b, share_after * match_a
    least_b, least_a = 0.5 * share_before, 0.5 * share_after
    starts = first + np.arange(total) * hop + covered
    nominal = (covered + gap.num_samples) / hop
    reach = round(config.stretch_ms * window.sample_rate / 1000 / hop)
    runs = UnknownRuns(window.known)
    two_sided = share_before > 0 and share_after > 0
    best = np.full(total, np.inf)
    length = np.full(total, gap.num_samples)
    for shift in range(-reach if two_sided else 0, reach + 1 if two_sided else 1):
        steps = round(nominal) + shift
        num_copied = steps * hop - covered if shift else gap.num_samples
        if num_copied < max(1, gap.num_samples // 2):
            continue
        there = _shift(distance_a, -steps, np.inf), _shift(weight_a, -steps, 0.0)
        weight = weight_b + there[1]
        usable = (weight > 0) & (weight_b >= least_b) & (there[1] >= least_a)
        with np.errstate(invalid="ignore"):
            joint = (
                np.where(weight_b > 0, weight_b * distance_b, 0.0)
                + np.where(there[1] > 0, there[1] * there[0], 0.0)
            ) / np.where(usable, weight, 1.0)
        joint = np.where(usable, joint * (1 + 0.02 * abs(shift)), np.inf)
        joint[~_copyable(window, config, runs, starts, num_copied)] = np.inf
        better = joint < best
        best[better], length[better] = joint[better], num_copied
    low = minimum_filter1d(best, size=5, mode="nearest")
    peaks = np.flatnonzero((best == low) & np.isfinite(best))
    peaks = peaks[np.argsort(best[peaks], kind="stable")][: config.num_examined]
    if not len(peaks):
        return []
    sides = _Sides.of(before, after)
    inside = max(1, min(64, (gap.num_samples - covered) // hop + 1))
    return [
        sides.place(frames, int(starts[i]), int(length[i]), float(np.sqrt(best[i])), inside)
        for i in peaks
    ]


@final
@dataclass(frozen=True, kw_only=True)
class _Sides:
    """Levels a band on the two sides of the gap."""

    near: Float[np.ndarray, " d"]
    """Mean of the frames next to the gap."""
    low: Float[np.ndarray, " d"]
    """Lowest of all frames compared."""
    high: Float[np.ndarray, " d"]
    """Highest of all frames compared."""

    @classmethod
    def of(cls, before: Frames, after: Frames) -> "_Sides":
        known = [side.levels[side.known] for side in (before, after)]
        nearest = [levels.mean(axis=0) for levels in (known[0][-5:], known[1][:5]) if len(levels)]
        together = np.concatenate(known)
        return cls(
            near=np.mean(nearest, axis=0), low=together.min(axis=0), high=together.max(axis=0)
        )

    def place(
        self, frames: Frames, start: int, num_samples: int, distance: float, count: int
    ) -> _Place:
        """Look at ``count`` frames inside a place."""
        slack = max(num_samples - frames.num_covered, 0)
        first = start + min(num_samples - frames.num_covered, 0) // 2
        at = (first + np.linspace(0, slack, count) - frames.first) / frames.hop_length
        inside = frames.levels[np.clip(np.round(at).astype(int), 0, len(frames.levels) - 1)]
        outside = np.maximum(inside - self.high, 0) + np.maximum(self.low - inside, 0)
        return _Place(
            start=start,
            num_samples=num_samples,
            distance=distance,
            contrast=float(np.sqrt(((inside.mean(axis=0) - self.near) ** 2).mean())),
            excess=float(np.sqrt((outside**2).mean())),
            inside=inside,
        )


def _shift(
    values: Float[np.ndarray, " l"], num_frames: int, missing: float
) -> Float[np.ndarray, " l"]:
    """Move values to higher indices, or to lower ones where negative."""
    result = np.full(len(values), missing)
    if num_frames >= 0:
        result[num_frames:] = values[: max(len(values) - num_frames, 0)]
    else:
        result[:num_frames] = values[-num_frames:]
    return result


def _margins(window: Window, config: SimilarityConfig) -> tuple[int, int, int]:
    """Return samples compared before and after the gap, and how far alignment may move."""
    length = max(8, round(config.align_ms * window.sample_rate / 1000))
    reach = max(2, round(config.hop_ms * window.sample_rate / 1000))
    return window.before(length).shape[1], window.after(length).shape[1], reach


def _copyable(
    window: Window,
    config: SimilarityConfig,
    runs: UnknownRuns,
    starts: Int[np.ndarray, " l"],
    num_copied: int,
) -> Bool[np.ndarray, " l"]:
    """Whether all samples that copying from there would read are known."""
    num_before, num_after, reach = _margins(window, config)
    slack = reach + round(config.stretch_ms * window.sample_rate / 1000)
    low, high = starts - num_before - slack, starts + num_copied + num_after + slack
    inside = (low >= 0) & (high <= window.samples.shape[1])
    return inside & ~runs.touch(low, high)


def _correlations(
    query: Float[np.ndarray, "c m"], samples: Samples, weights: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " r"]:
    """Normalised correlation of ``query`` with every stretch of ``samples`` of its length."""
    num, total = query.shape[1], samples.shape[1]
    size = fft.next_fast_len(total, real=True)
    weighted = np.conj(fft.rfft(query * weights, size, axis=1))
    product = fft.irfft((weighted * fft.rfft(samples, size, axis=1)).sum(axis=0), size)
    power = fft.rfft((samples**2).sum(axis=0), size) * np.conj(fft.rfft(weights, size))
    energy = fft.irfft(power, size)[: total - num + 1]
    own = float(((query**2) @ weights).sum())
    scale = np.sqrt(np.maximum(energy, 0.0) * own)
    least = 1e-9 * own + 1e-20
    return np.where(scale > least, product[: total - num + 1] / np.maximum(scale, least), 0.0)


def _align(window: Window, config: SimilarityConfig, place: _Place) -> Candidate:
    """Lay a place on the gap to the sample, on both seams together or each for itself."""
    num_before, num_after, reach = _margins(window, config)
    gap, samples = window.gap, window.samples
    stop = place.start + place.num_samples
    both = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1)
    if num_before >= 8:
        near = samples[:, place.start - num_before - reach : place.start + reach]
        ramp = np.arange(1, num_before + 1) / num_before
        both[0][:] = _correlations(samples[:, gap.start - num_before : gap.start], near, ramp)
    if num_after >= 8:
        near = samples[:, stop - reach : stop + num_after + reach]
        ramp = np.arange(num_after, 0, -1) / num_after
        both[1][:] = _correlations(samples[:, gap.stop : gap.stop + num_after], near, ramp)
    joint = int(np.argmax(both[0] + both[1]))
    apart = int(np.argmax(both[0])), int(np.argmax(both[1]))
    gain = both[0][apart[0]] + both[1][apart[1]] - both[0][joint] - both[1][joint]
    at = apart if gain > 0.3 and num_before >= 8 and num_after >= 8 else (joint, joint)
    start, stop = place.start + at[0] - reach, stop + at[1] - reach
    if stop - start < max(1, place.num_samples // 2):
        start, stop = place.start + joint - reach, stop + joint - at[1]
        at = (joint, joint)
    correlations = float(both[0][at[0]]), float(both[1][at[1]])
    return Candidate(
        start=start,
        stop=stop,
        distance=place.distance,
        correlation_before=float(np.clip(correlations[0], -1, 1)),
        correlation_after=float(np.clip(correlations[1], -1, 1)),
        score=place.distance - 0.1 * (correlations[0] + correlations[1]),
    )
