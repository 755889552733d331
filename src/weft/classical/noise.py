"""Noise fill: random sound with the spectrum, level and stereo image of the two sides of a gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Complex, Float
from scipy import fft

from weft.audio.fades import crossfade, fade_in
from weft.audio.prediction import extrapolate_gap
from weft.audio.spectral import hann_window
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.classical.joining import join_edges
from weft.errors import ConfigError
from weft.rng import Rng
from weft.shapes import Samples

_EULER = 0.5772156649
"""What the mean logarithm of the power of Gaussian noise lacks to the logarithm of its mean."""
_LEVEL_OCTAVES = 1 / 24
"""Width over which levels are averaged, as logarithms; narrow, to keep tones and cut-offs."""


@final
@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Settings of noise fills."""

    side_ms: float = 500.0
    """Length of each side from which spectra are taken, > 0."""
    frame_ms: float = 46.0
    """Length of the frames in which noise is shaped, > 0."""
    smooth_octaves: float = 1 / 6
    """Width over which spectra are averaged, > 0."""
    edge_ms: float = 25.0
    """Length of the autoregressive edges inside the gap, >= 0."""
    order: int = 512
    """Order of the autoregressive models, >= 1."""

    def __post_init__(self) -> None:
        for name in ("side_ms", "frame_ms", "smooth_octaves"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        if not self.edge_ms >= 0:
            raise ConfigError(f"edge_ms must be >= 0, got {self.edge_ms}")
        if self.order < 1:
            raise ConfigError(f"order must be >= 1, got {self.order}")


@final
@dataclass(frozen=True, kw_only=True)
class SideSpectrum:
    """Power spectrum of the sound beside a gap, and how its channels belong together."""

    power: Float[np.ndarray, "c f"]
    """Power density a channel and bin; white noise of variance 1 has 1 everywhere."""
    mixing: Complex[np.ndarray, "f c c"]
    """Makes channels of unit power with the side's coherence from independent ones."""
    num_frames: int
    """Frames that were averaged."""


@final
class NoiseFill(Filler):
    """Fills with shaped noise: rain, wind, surf, hiss, room.

    The spectrum moves on a straight line in dB from one side's to the other's; the
    phase and level relations of the channels are kept by the Hermitian root of their cross spectra.
    """

    def __init__(self, config: NoiseConfig | None = None) -> None:
        """Make the filler; without settings, with the default ones."""
        self.config = config or NoiseConfig()

    @property
    def name(self) -> str:
        """The name."""
        return "noise"

    @property
    def max_gap_ms(self) -> float | None:
        """No limit."""
        return None

    def context_ms(self, gap_ms: float) -> float:
        """Return the length of a side, whatever the gap."""
        return max(self.config.side_ms, 500.0)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Draw takes of noise; see `Filler.fill`."""
        return [
            [self._take(window, rng, take) for take in range(max(1, num_takes))]
            for window in windows
        ]

    def _take(self, window: Window, rng: Rng, take: int) -> Fill:
        config, rate = self.config, window.sample_rate
        stream = rng.stream(window.start + window.gap.start, take)
        noise = shaped_noise(window, stream, config)
        limit = 4 * config.order
        samples = join_edges(
            noise,
            window.before(limit),
            window.after(limit),
            edge_samples=round(config.edge_ms * rate / 1000),
            order=config.order,
        )
        flatness = noisiness(window, config)
        return Fill(
            samples=samples,
            model=self.name,
            is_joined=True,
            confidence=float(np.clip(flatness, 0.0, 0.95)),
            details={"noisiness": flatness},
        )


@final
class ExtrapolationNoise(Filler):
    """Extrapolates both sides linearly, and keeps the level of the middle up with noise."""

    def __init__(self, config: NoiseConfig | None = None) -> None:
        """Make the filler; without settings, with the default ones."""
        self.config = config or NoiseConfig()

    @property
    def name(self) -> str:
        """The name."""
        return "lpc-noise"

    @property
    def max_gap_ms(self) -> float | None:
        """No limit."""
        return None

    def context_ms(self, gap_ms: float) -> float:
        """Return the length of a side, whatever the gap."""
        return max(self.config.side_ms, 500.0)

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        """Extrapolate, and draw noise for each take; see `Filler.fill`."""
        fills = []
        for window in windows:
            smooth = extrapolated(window, self.config.order)
            gap = window.start + window.gap.start
            fills.append(
                [
                    Fill(
                        samples=add_noise_residual(
                            smooth, window, rng.stream(gap, take), self.config
                        ),
                        model=self.name,
                        is_joined=True,
                        confidence=float(np.clip(np.exp(-window.gap_ms / 150.0), 0.02, 0.95)),
                        details={"order": float(self.config.order)},
                    )
                    for take in range(max(1, num_takes))
                ]
            )
        return fills


def extrapolated(window: Window, order: int) -> Float[np.ndarray, "c g"]:
    """Extrapolate both sides over the whole gap and cross-fade; silence where there is no side."""
    num = window.gap.num_samples
    limit = 4 * order
    before, after = window.before(limit), window.after(limit)
    forward, backward = extrapolate_gap(before, after, num, order=order)
    if forward is not None and backward is not None:
        return crossfade(forward, backward, fade_in(num))
    if forward is not None:
        return forward
    return np.zeros((window.num_channels, num)) if backward is None else backward


def shaped_noise(
    window: Window, stream: np.random.Generator, config: NoiseConfig
) -> Float[np.ndarray, "c g"]:
    """Draw noise with the spectra of the sides; silence where there is no side at all."""
    limit = round(config.side_ms * window.sample_rate / 1000)
    if not (np.any(window.before(limit)) or np.any(window.after(limit))):
        return np.zeros((window.num_channels, window.gap.num_samples))
    shape = _Shape.of(window, config)
    return shape.draw(stream, None)


def add_noise_residual(
    fill: Float[np.ndarray, "c g"],
    window: Window,
    stream: np.random.Generator,
    config: NoiseConfig | None = None,
) -> Float[np.ndarray, "c g"]:
    """Add the energy that a fill lacks, band by band, as noise shaped like the sides.

    Where a band of the fill is as loud as the line from one side's level to the other's, nothing
    is added; the gains are the same for all channels. At the seams, where extrapolation holds,
    noise begins at nothing.

    Args:
        fill: an extrapolation that may have faded away in the middle.
        window: the gap and its sides.
        stream: of random numbers.
        config: settings; the default ones where left out.
    """
    config = config or NoiseConfig()
    noise = _Shape.of(window, config).draw(stream, fill)
    num = min(round(config.edge_ms * window.sample_rate / 1000), fill.shape[1] // 2)
    if num and window.before(1).shape[1]:
        noise[:, :num] *= fade_in(num)
    if num and window.after(1).shape[1]:
        noise[:, -num:] *= fade_in(num)[::-1]
    return fill + noise


def noisiness(window: Window, config: NoiseConfig | None = None) -> float:
    """Return how noise-like the sides are, in [0, 1]: 1 for steady noise, near 0 for tones.

    It is the mean, over the audible bins, of the ratio of the geometric to the arithmetic mean of
    the power over frames and near bins, relative to what Gaussian noise would have; the less noisy
    side counts.
    """
    config = config or NoiseConfig()
    size = _frame_length(window, config)
    values = []
    limit = round(config.side_ms * window.sample_rate / 1000)
    for side in (window.before(limit), window.after(limit)):
        if side.shape[1] < 2 * size:
            continue
        power = (np.abs(_frames_spectra(side, size)) ** 2).sum(axis=0)  # l f
        smooth = _smooth(power.mean(axis=0)[None], config.smooth_octaves)[0]
        heard = smooth > 1e-7 * smooth.max() + 1e-24
        if not heard.any():
            continue
        log_ratio = np.log((power[:, heard] + 1e-30) / (smooth[heard] + 1e-30)).mean(axis=0)
        gaussian = -0.5772 if side.shape[0] == 1 else -0.35
        values.append(float(np.minimum(1.0, np.exp(log_ratio - gaussian)).mean()))
    return min(values) if values else 0.0


@final
@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What is drawn for one gap: the spectra of its sides and the frames between."""

    left: SideSpectrum | None
    right: SideSpectrum | None
    num_channels: int
    num_samples: int
    size: int
    config: NoiseConfig

    @classmethod
    def of(cls, window: Window, config: NoiseConfig) -> "_Shape":
        size = _frame_length(window, config)
        limit = max(2, round(config.side_ms * window.sample_rate / 1000))
        left = _side_spectrum(window.before(limit), size, config.smooth_octaves)
        right = _side_spectrum(window.after(limit), size, config.smooth_octaves)
        return cls(
            left=left or right,
            right=right or left,
            num_channels=window.num_channels,
            num_samples=window.gap.num_samples,
            size=size,
            config=config,
        )

    def draw(
        self, stream: np.random.Generator, present: Float[np.ndarray, "c g"] | None
    ) -> Float[np.ndarray, "c g"]:
        """Draw noise; only as much as is missing where something is present already."""
        if self.left is None or self.right is None:
            return np.zeros((self.num_channels, self.num_samples))
        size, hop = self.size, self.size // 4
        num_frames = -(-self.num_samples // hop) + 3
        total = (num_frames - 1) * hop + size
        window = np.sqrt(hann_window(size) / 2)
        centre = np.arange(num_frames) * hop + size / 2 - (size - hop)
        share = np.clip(centre / self.num_samples, 0, 1)[:, None]
        log_left, log_right = (np.log(side.power + 1e-30) for side in (self.left, self.right))
        target = np.exp((1 - share) * log_left[:, None] + share * log_right[:, None])  # c l f
        shaped = np.zeros((self.num_channels, num_frames, size // 2 + 1), dtype=complex)
        for side, amount in ((self.left, np.sqrt(1 - share)), (self.right, np.sqrt(share))):
            white = stream.standard_normal((self.num_channels, total))
            frames = np.lib.stride_tricks.sliding_window_view(white, size, axis=1)[:, ::hop]
            spectra = fft.rfft(frames * window, axis=2)
            shaped += amount * np.einsum("fij,jlf->ilf", side.mixing, spectra)
        shaped *= np.sqrt(target)
        if present is not None:
            shaped *= self._missing(present, target, window, num_frames)
        pieces = fft.irfft(shaped, size, axis=2) * window
        result = np.zeros((self.num_channels, total))
        for k in range(num_frames):
            result[:, k * hop : k * hop + size] += pieces[:, k]
        return result[:, size - hop : size - hop + self.num_samples]

    def _missing(
        self,
        present: Float[np.ndarray, "c g"],
        target: Float[np.ndarray, "c l f"],
        window: Float[np.ndarray, " w"],
        num_frames: int,
    ) -> Float[np.ndarray, "l f"]:
        """Return gains for the energy that is not there yet."""
        size, hop = self.size, self.size // 4
        total = (num_frames - 1) * hop + size
        ends = (size - hop, total - (size - hop) - present.shape[1])
        padded = np.pad(present, ((0, 0), ends))
        inside = np.pad(np.ones(present.shape[1]), ends)
        frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
        covered = np.lib.stride_tricks.sliding_window_view(inside, size)[::hop] @ window**2
        power = (np.abs(fft.rfft(frames * window, axis=2)) ** 2).sum(axis=0)
        power /= np.maximum(covered, 1e-3 * covered.max())[:, None]
        there = _smooth(power, _LEVEL_OCTAVES)
        wanted = _smooth(target.sum(axis=0), _LEVEL_OCTAVES)
        return np.sqrt(np.clip(1 - there / np.maximum(wanted, 1e-30), 0, 1))


def _frame_length(window: Window, config: NoiseConfig) -> int:
    """Return the length of frames, a power of two, >= 16 samples."""
    return int(max(16, 1 << round(np.log2(max(config.frame_ms * window.sample_rate / 1000, 16)))))


def _frames_spectra(side: Samples, size: int) -> Complex[np.ndarray, "c l f"]:
    """Return spectra of Hann frames of unit energy."""
    window = hann_window(size)
    frames = np.lib.stride_tricks.sliding_window_view(side, size, axis=1)[:, :: size // 4]
    return fft.rfft(frames * (window / np.sqrt((window**2).sum())), axis=2)


def _side_spectrum(side: Samples, size: int, octaves: float) -> SideSpectrum | None:
    """Measure a side; None where it has hardly any samples."""
    if side.shape[1] < 8:
        return None
    short = size
    while short > side.shape[1]:
        short //= 2
    spectra = _frames_spectra(side, short)
    num_channels, num_frames, _ = spectra.shape
    cross = np.einsum("ilf,jlf->ijf", spectra, spectra.conj()) / num_frames
    flat = _smooth(cross.reshape(num_channels**2, -1), octaves).T  # f, c*c
    if short < size:
        at = np.linspace(0, 1, size // 2 + 1)
        knots = np.linspace(0, 1, short // 2 + 1)
        flat = np.stack([np.interp(at, knots, column) for column in flat.T], axis=1)
    matrices = flat.reshape(-1, num_channels, num_channels)
    mean = np.maximum(np.einsum("fii->if", matrices).real, 0.0)
    amplitude = np.sqrt(mean.T + 1e-30)
    coherence = matrices / (amplitude[:, :, None] * amplitude[:, None, :])
    identity = np.eye(num_channels)
    coherence = 0.9999 * coherence * (1 - identity) + identity  # f c c
    values, vectors = np.linalg.eigh(coherence)
    # the Hermitian root: others turn from bin to bin, and would smear the noise in time
    scaled = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    root = scaled @ np.conj(np.swapaxes(vectors, 1, 2))
    levels = np.log(np.abs(spectra) ** 2 + 1e-30).mean(axis=1) + _EULER  # c f
    levels = _smooth(levels, _LEVEL_OCTAVES)
    if short < size:
        levels = np.stack([np.interp(at, knots, row) for row in levels])
    return SideSpectrum(power=np.exp(levels), mixing=root, num_frames=num_frames)


def _smooth(spectra: np.ndarray, octaves: float) -> np.ndarray:
    """Average along frequency over this width (three bins at the least), for each row."""
    num_bins = spectra.shape[-1]
    bins = np.arange(num_bins)
    half = np.maximum(1, np.round(bins * (2 ** (octaves / 2) - 1))).astype(int)
    half[0] = half[-1] = 0
    low, high = np.maximum(bins - half, 0), np.minimum(bins + half, num_bins - 1) + 1
    sums = np.zeros((*spectra.shape[:-1], num_bins + 1), dtype=spectra.dtype)
    np.cumsum(spectra, axis=-1, out=sums[..., 1:])
    return (sums[..., high] - sums[..., low]) / (high - low)
