"""Frames of log-mel levels, and how far every place of a recording is from the two sides of a gap.

All distances are mean squared differences of log10 power, so that the root of one is in the unit of
the log-spectral distance.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft

from weft.audio.spectral import hann_window, mel_filterbank
from weft.shapes import Known, Samples

_FLOOR = 1e-8
"""Power below the loud bands of a recording, under which differences do not count (-80 dB)."""

_HIGHEST_RATE = 50_000
"""Features need nothing above half of this; faster recordings are averaged down, in Hz."""

_ODD_CHANNELS = 0.6
"""Weight of odd channels in the mix; 1 would lose what is out of phase between left and right."""


@final
@dataclass(frozen=True, kw_only=True)
class Frames:
    """Log-mel frames of a stretch; frame ``i`` covers ``[first + i * hop, + num_covered)``."""

    levels: Float[np.ndarray, "l d"]
    """log10 of the power a band."""
    known: Bool[np.ndarray, " l"]
    """True where all samples of the frame are known."""
    first: int
    """First sample of frame 0; may be negative."""
    hop_length: int
    """Distance of frames, in samples."""
    num_covered: int
    """Length of a frame, in samples."""
    floor: float
    """Power added before the logarithm."""


@final
class UnknownRuns:
    """Where a recording is unknown, as runs of samples."""

    def __init__(self, known: Known) -> None:
        changes = np.flatnonzero(known[1:] != known[:-1]) + 1
        bounds = np.concatenate([[0], changes, [len(known)]])
        unknown = ~known[bounds[:-1]] if len(known) else np.zeros(1, bool)
        self.starts = bounds[:-1][unknown]
        self.stops = bounds[1:][unknown]

    def touch(
        self, starts: Int[np.ndarray, " m"], stops: Int[np.ndarray, " m"]
    ) -> Bool[np.ndarray, " m"]:
        """Whether stretches hold an unknown sample; what is outside the recording is known."""
        following = np.searchsorted(self.stops, starts, side="right")
        first = np.append(self.starts, np.iinfo(np.int64).max)[following]
        return np.asarray(first < stops)


@final
@dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """How a recording is cut into frames."""

    sample_rate: int
    """Samples per second."""
    hop_length: int
    """Distance of frames, in samples."""
    num_covered: int
    """Length of a frame, in samples."""
    num_mels: int
    """Bands."""

    @classmethod
    def of(cls, sample_rate: int, hop_ms: float, num_mels: int) -> "FrameGrid":
        """Make the grid with frames of four hops."""
        step = max(1, -(-sample_rate // _HIGHEST_RATE))
        hop = max(step, round(hop_ms * sample_rate / 1000 / step) * step)
        return cls(sample_rate=sample_rate, hop_length=hop, num_covered=4 * hop, num_mels=num_mels)

    def frames(
        self,
        samples: Samples,
        known: Known,
        *,
        first: int,
        num_frames: int,
        floor: float | None = None,
    ) -> Frames:
        """Cut frames from sample ``first`` on; those that reach over an end are unknown.

        Channels are mixed to one, odd ones weaker, so that neither side nor sounds out of phase
        between them vanish. Unknown samples are not read.
        """
        start, stop = first, first + (num_frames - 1) * self.hop_length + self.num_covered
        inside = slice(max(start, 0), max(min(stop, samples.shape[1]), max(start, 0)))
        pad = (inside.start - start, stop - inside.stop)
        here = known[inside]
        stretch = samples[:, inside].astype(np.float32)
        if not here.all():
            stretch[:, ~here] = 0
        if stretch.shape[0] > 1:
            odd = _ODD_CHANNELS * stretch[1::2].mean(axis=0)
            stretch = (stretch[0::2].mean(axis=0) + odd)[None]
        if any(pad):
            stretch = np.pad(stretch, ((0, 0), pad))
        starts = first + np.arange(num_frames) * self.hop_length
        inside_recording = (starts >= 0) & (starts + self.num_covered <= samples.shape[1])
        runs = UnknownRuns(known)
        frames_known = inside_recording & ~runs.touch(starts, starts + self.num_covered)
        powers = self._powers(stretch, num_frames)
        if floor is None:
            loudest = powers[frames_known].max(axis=1) if frames_known.any() else np.zeros(1)
            floor = max(_FLOOR * float(np.percentile(loudest, 95)), 1e-20)
        return Frames(
            levels=np.log10(powers + floor),
            known=frames_known,
            first=first,
            hop_length=self.hop_length,
            num_covered=self.num_covered,
            floor=floor,
        )

    def _powers(
        self, stretch: Float[np.ndarray, "c m"], num_frames: int
    ) -> Float[np.ndarray, "l d"]:
        step = max(1, -(-self.sample_rate // _HIGHEST_RATE))
        rate, hop, length = (
            self.sample_rate / step,
            self.hop_length // step,
            self.num_covered // step,
        )
        if step > 1:
            whole = stretch.shape[1] // step * step
            stretch = stretch[:, :whole].reshape(1, -1, step).mean(axis=2)
        n_fft = 1 << (length - 1).bit_length()
        window = hann_window(length).astype(np.float32)
        filters = mel_filterbank(
            int(rate), n_fft, self.num_mels, 30.0 if rate > 2000 else 0.0, min(16000.0, rate / 2)
        ).astype(np.float32)
        powers = np.zeros((num_frames, self.num_mels))
        views = np.lib.stride_tricks.sliding_window_view(stretch[0], length)[::hop]
        for block in range(0, num_frames, 512):
            part = views[block : min(block + 512, num_frames)]
            spectra = fft.rfft(part * window, n_fft, axis=1)
            power = spectra.real**2 + spectra.imag**2
            powers[block : block + len(part)] = power @ filters.T
        return powers


def side_distances(
    frames: Frames, query: Frames, weights: Float[np.ndarray, " k"], *, level_share: float
) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    """Compare a side of the gap with every place of the recording.

    Args:
        frames: the recording.
        query: consecutive frames beside the gap.
        weights: weight of each query frame; unknown ones are left out.
        level_share: share, in [0, 1], with which a common difference of level counts.

    Returns:
        For query frame 0 laid on frame ``i``: mean squared distance of log10 power over the frames
        that both know, and the share in [0, 1] of the weights that could be compared.
    """
    num_query, num_mels = query.levels.shape
    num_frames = len(frames.levels)
    weights = weights * query.known
    total = float(weights.sum())
    if total <= 0 or num_frames == 0:
        return np.full(num_frames, np.inf), np.zeros(num_frames)
    size = fft.next_fast_len(num_frames + num_query - 1, real=True)

    def correlate(
        kernel: Float[np.ndarray, "k e"], signal: Float[np.ndarray, "l e"]
    ) -> Float[np.ndarray, " l"]:
        product = np.conj(fft.rfft(kernel, size, axis=0)) * fft.rfft(signal, size, axis=0)
        return fft.irfft(product.sum(axis=1), size)[:num_frames]

    centre = (weights @ query.levels) / total
    known = frames.known.astype(np.float64)[:, None]
    signal = np.where(frames.known[:, None], frames.levels - centre, 0.0)
    kernel = np.where(query.known[:, None], query.levels - centre, 0.0)
    weight = weights[:, None]
    share = correlate(weight, known)
    energy = correlate(weight, (signal**2).sum(axis=1, keepdims=True))
    own = correlate(weight * (kernel**2).sum(axis=1, keepdims=True), known)
    cross = correlate(weight * kernel, signal)
    offset = correlate(weight * kernel.sum(axis=1, keepdims=True), known) - correlate(
        weight, signal.sum(axis=1, keepdims=True)
    )
    count = np.maximum(share, 1e-9 * total) * num_mels
    distance = (energy + own - 2 * cross) / count - (1 - level_share) * (offset / count) ** 2
    usable = share > 1e-6 * total
    return np.where(usable, np.maximum(distance, 0.0), np.inf), np.clip(share / total, 0, 1)
