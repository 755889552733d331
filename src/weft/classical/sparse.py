"""Sparse fills: A-SPAIN, and A-SPAIN with a transform learned from the surroundings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy import fft

from weft.audio.spectral import hann_window
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.errors import ConfigError
from weft.rng import Rng

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HOPS_PER_WINDOW = 4
"""Segments overlap by three quarters."""
FRAMES_PER_WINDOW = 8
"""Frames that the transform learns from begin this many times a window."""


@final
@dataclass(frozen=True, kw_only=True)
class ASpainConfig:
    """Settings of `ASpain`; the defaults are the reference's, w = 4096 at 44.1 kHz."""

    window_ms: float = 92.88
    """Length of a segment, in ms, > 0."""
    redundancy: int = 2
    """Bins of the transform over samples of a segment, >= 1."""
    sparsity_step: int = 1
    """Coefficients by which the sparsity is relaxed (s), >= 1."""
    relax_every: int = 1
    """Iterations between two relaxations (r), >= 1."""
    tolerance: float = 0.01
    """Distance of the segment's coefficients from sparse ones at which it is done (epsilon), > 0,
    where the largest known sample of the window counts as 1."""
    learned: bool = False
    """A-SPAIN-L: learn a transform from the surroundings first."""
    num_layers: int = 6
    """Layers of rotations that the learned transform has, >= 1: it mixes that many bins either way.
    """
    learned_windows: float = 2.0
    """Context on each side that the transform learns from, in windows, >= 1."""

    def __post_init__(self) -> None:
        for field in ("redundancy", "sparsity_step", "relax_every", "num_layers"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be >= 1, got {getattr(self, field)}")
        for field in ("window_ms", "tolerance"):
            if not 0 < getattr(self, field) < math.inf:
                raise ConfigError(f"{field} must be > 0, got {getattr(self, field)}")
        if not 1 <= self.learned_windows < math.inf:
            raise ConfigError(f"learned_windows must be >= 1, got {self.learned_windows}")


@final
class ASpain(Filler):
    """Finds the sparsest spectrum of each segment that agrees with what is known.

    The neighbourhood of the gap is cut into overlapping Hann-weighted segments. In each one ADMM
    alternates between keeping the k largest coefficients of a redundant Fourier transform and
    restoring the known samples, while k grows, until both agree.

    With ``learned`` a unitary transform after the Fourier transform, made from rotations of
    neighbouring bins, is first fitted to the surroundings so that their coefficients become
    sparser: a partial that spreads over the main lobe of the window is gathered in fewer bins.

    The confidence is the share of coefficients not needed, times the known share of a segment
    centred on the gap.

    Source: Mokry, Zaviska, Rajmic & Vesely 2019, Introducing SPAIN, algorithm A-SPAIN with the
    parameters of its authors' code; A-SPAIN-L after Taubock, Rajbamshi & Balazs 2020, Dictionary
    learning for sparse audio inpainting. Differs: channels share the places of their coefficients,
    which keeps the image; the tolerance follows the level; the learned transform is a product of
    rotations found by search, not the solution of a sequence of convex problems.
    """

    def __init__(self, config: ASpainConfig | None = None) -> None:
        self.config = config or ASpainConfig()

    @property
    def name(self) -> str:
        return "a-spain-l" if self.config.learned else "a-spain"

    @property
    def max_gap_ms(self) -> float | None:
        return 0.8 * self.config.window_ms

    def context_ms(self, gap_ms: float) -> float:
        windows = self.config.learned_windows if self.config.learned else 1.0
        return windows * self.config.window_ms + 1.0

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        return [[self._fill_one(window)] for window in windows]

    def _fill_one(self, window: Window) -> Fill:
        hop = round(self.config.window_ms * window.sample_rate / 1000 / HOPS_PER_WINDOW)
        size = fft.next_fast_len(max(2, hop)) * HOPS_PER_WINDOW
        gap = window.gap.num_samples
        peak = float(np.abs(window.samples[:, window.known]).max(initial=0))
        if peak == 0:
            samples = np.zeros((window.num_channels, gap))
            return Fill(samples=samples, model=self.name, confidence=1.0, is_joined=True)
        starts = _segment_starts(window.gap.start, window.gap.stop, size)
        segments, known = _cut(window, starts, size)
        segments /= peak
        transform = _Transform(size, self.config.redundancy)
        if self.config.learned:
            transform = transform.learned(
                _known_frames(window, size) / peak, self.config.num_layers
            )
        restored, num_kept = sparsify(segments, known, transform, self.config)
        samples = _overlap_add(restored, starts - window.gap.start, gap) * peak
        return Fill(
            samples=samples,
            model=self.name,
            confidence=(1 - num_kept / transform.num_bins) * max(0.0, 1 - gap / size),
            is_joined=True,
            details={"coefficients": float(num_kept)},
        )


def sparsify(
    segments: Float[np.ndarray, "s c w"],
    known: Bool[np.ndarray, "s w"],
    transform: "_Transform",
    config: ASpainConfig,
) -> tuple[Float[np.ndarray, "s c w"], float]:
    """Restore segments by A-SPAIN.

    Args:
        segments: weighted by the window; zeros where unknown.
        known: True where samples must stay.
        transform: analysis that should become sparse.
        config: see `ASpainConfig`.

    Returns:
        The segments, known samples unchanged, and the mean number of coefficients they needed.
    """
    result = segments.copy()
    counts = np.zeros(len(segments))
    limit = math.ceil(transform.num_bins * config.relax_every / config.sparsity_step)
    active = np.flatnonzero(~known.all(axis=1) & known.any(axis=1) & segments.any(axis=(1, 2)))
    wanted, fixed = segments[active], known[active][:, None, :]
    coefficients = transform.forward(wanted)
    dual = np.zeros_like(coefficients)
    kept = config.sparsity_step
    for iteration in range(1, limit + 1):
        if not len(active):
            break
        sparse = _keep_largest(coefficients + dual, min(kept, transform.num_bins))
        current = np.where(fixed, wanted, transform.inverse(sparse - dual))
        coefficients = transform.forward(current)
        residual = coefficients - sparse
        dual += residual
        distance = np.sqrt((residual.real**2 + residual.imag**2).sum(axis=(1, 2)))
        done = distance <= config.tolerance
        if iteration == limit:
            done[:] = True
        if done.any():
            result[active[done]] = current[done]
            counts[active[done]] = kept
            left = ~done
            active, wanted, fixed = active[left], wanted[left], fixed[left]
            coefficients, dual = coefficients[left], dual[left]
        if iteration % config.relax_every == 0:
            kept += config.sparsity_step
    return result, float(counts[counts > 0].mean()) if counts.any() else 0.0


def _keep_largest(coefficients: Complex[np.ndarray, "s c f"], count: int) -> np.ndarray:
    """Keep the bins with the most energy over all channels, set the others to zero."""
    energy = (coefficients.real**2 + coefficients.imag**2).sum(axis=1)
    threshold = np.partition(energy, energy.shape[1] - count, axis=1)[:, energy.shape[1] - count]
    return np.where((energy >= threshold[:, None])[:, None, :], coefficients, 0)


@final
class _Transform:
    """A real Fourier transform with redundancy, as a Parseval frame, and a unitary after it."""

    def __init__(self, size: int, redundancy: int, unitary: "csr_array | None" = None) -> None:
        self.size = size
        self.redundancy = redundancy
        self.num_points = size * redundancy
        self.num_bins = self.num_points // 2 + 1
        self._weights = np.full(self.num_bins, math.sqrt(2.0))
        self._weights[[0, -1]] = 1
        self._unitary = unitary
        self._adjoint = None if unitary is None else unitary.conj().T.tocsr()

    def forward(self, segments: Float[np.ndarray, "s c w"]) -> Complex[np.ndarray, "s c f"]:
        """Analyse; keeps the norm."""
        spectra = fft.rfft(segments, self.num_points, axis=-1, norm="ortho") * self._weights
        return spectra if self._unitary is None else _apply(self._unitary, spectra)

    def inverse(self, coefficients: Complex[np.ndarray, "s c f"]) -> Float[np.ndarray, "s c w"]:
        """Synthesise: the adjoint of `forward`, and its inverse from the left."""
        if self._adjoint is not None:
            coefficients = _apply(self._adjoint, coefficients)
        segments = fft.irfft(coefficients / self._weights, self.num_points, axis=-1, norm="ortho")
        return segments[..., : self.size]

    def learned(self, frames: Float[np.ndarray, "t c w"], num_layers: int) -> "_Transform":
        """Return this transform followed by rotations that make the frames' coefficients sparse."""
        if not len(frames):
            return self
        spectra = self.forward(frames)
        spectra = spectra.reshape(-1, self.num_bins).T.copy()  # f (t c)
        return _Transform(self.size, self.redundancy, learn_rotations(spectra, num_layers))


def learn_rotations(spectra: Complex[np.ndarray, "f t"], num_layers: int) -> "csr_array":
    """Find a banded unitary matrix that lowers the l1 norm of spectra.

    It is a product of layers; each rotates pairs of neighbouring bins, the even and the odd pairs
    in turn, every pair by the best of 48 rotations, doing nothing among them. The norm therefore
    never rises.

    Args:
        spectra: coefficients that should become sparse, changed in place.
        num_layers: factors of the product, >= 1.
    """
    from scipy import sparse

    num_bins = len(spectra)
    angles = np.linspace(0, np.pi / 2, 6, endpoint=False)
    phases = np.exp(2j * np.pi * np.arange(8) / 8)
    matrix = sparse.eye_array(num_bins, dtype=np.complex128, format="csr")
    for layer in range(num_layers):
        first = np.arange(layer % 2, num_bins - 1, 2)
        upper, lower = spectra[first], spectra[first + 1]
        best = np.full(len(first), np.inf)
        cosine, sine = np.ones(len(first)), np.zeros(len(first), dtype=np.complex128)
        for angle in angles:
            for phase in phases if angle > 0 else phases[:1]:
                c, s = math.cos(angle), phase * math.sin(angle)
                norm = np.abs(c * upper + s * lower).sum(axis=1)
                norm += np.abs(c * lower - np.conj(s) * upper).sum(axis=1)
                better = norm < best
                best[better], cosine[better], sine[better] = norm[better], c, s
        spectra[first] = cosine[:, None] * upper + sine[:, None] * lower
        spectra[first + 1] = cosine[:, None] * lower - np.conj(sine)[:, None] * upper
        diagonal = np.ones(num_bins, dtype=np.complex128)
        diagonal[first] = diagonal[first + 1] = cosine
        above = np.zeros(num_bins - 1, dtype=np.complex128)
        above[first] = sine
        values = np.concatenate((-np.conj(above), diagonal, above))
        bins = np.arange(num_bins)
        places = (
            np.concatenate((bins[1:], bins, bins[:-1])),
            np.concatenate((bins[:-1], bins, bins[1:])),
        )
        rotation = sparse.csr_array((values, places), shape=(num_bins, num_bins))
        matrix = rotation @ matrix
    return matrix.tocsr()


def _apply(matrix: "csr_array", spectra: Complex[np.ndarray, "s c f"]) -> np.ndarray:
    """Multiply the bins of spectra by a matrix."""
    flat = spectra.reshape(-1, spectra.shape[-1])
    return np.ascontiguousarray((matrix @ flat.T).T).reshape(spectra.shape)


def _segment_starts(start: int, stop: int, size: int) -> np.ndarray:
    """Return the starts of all segments that touch the gap, symmetric about its middle."""
    hop = size // HOPS_PER_WINDOW
    middle = (start + stop - size) // 2
    reach = math.ceil(((stop - start) + size) / 2 / hop)
    starts = middle + hop * np.arange(-reach, reach + 1)
    return starts[(starts > start - size) & (starts < stop)]


def _cut(
    window: Window, starts: np.ndarray, size: int
) -> tuple[Float[np.ndarray, "s c w"], Bool[np.ndarray, "s w"]]:
    """Cut weighted segments; what lies outside the window of the recording is unknown."""
    positions = starts[:, None] + np.arange(size)
    inside = (positions >= 0) & (positions < window.samples.shape[1])
    positions = np.clip(positions, 0, window.samples.shape[1] - 1)
    known = inside & window.known[positions]
    segments = np.where(known, window.samples[:, positions], 0.0)  # c s w
    return np.swapaxes(segments, 0, 1) * hann_window(size), known


def _known_frames(window: Window, size: int) -> Float[np.ndarray, "t c w"]:
    """Return weighted frames of the surroundings, all of whose samples are known."""
    hop = max(1, size // FRAMES_PER_WINDOW)
    before, after = window.before(), window.after()
    frames = [before[:, stop - size : stop] for stop in range(before.shape[1], size - 1, -hop)]
    frames += [after[:, first : first + size] for first in range(0, after.shape[1] - size + 1, hop)]
    return np.array(frames).reshape(-1, window.num_channels, size) * hann_window(size)


def _overlap_add(
    segments: Float[np.ndarray, "s c w"], starts: np.ndarray, num_samples: int
) -> Float[np.ndarray, "c g"]:
    """Add weighted segments up and divide by the sum of their squared windows."""
    size = segments.shape[2]
    weight = hann_window(size)
    total = np.zeros((segments.shape[1], num_samples))
    power = np.zeros(num_samples)
    for segment, start in zip(segments, starts, strict=True):
        first, last = max(0, start), min(num_samples, start + size)
        inside = slice(first - start, last - start)
        total[:, first:last] += segment[:, inside] * weight[inside]
        power[first:last] += weight[inside] ** 2
    return total / power
