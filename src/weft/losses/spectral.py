"""Distances of short-time spectra, with which codecs are trained.

Conventions
-----------
The estimate comes first and is what gradients flow into; the reference gets none. Both are mono,
full scale 1, of one length. Spectra are centred (frame ``i`` is centred on sample
``i * hop_length``), of a periodic Hann window, not normalised; the ends are reflected, or padded
with zeros where the sound is too short to reflect. Losses are means over items, so an item adds
the same whatever stands beside it in the batch.

Everything is computed in the precision of the module's buffers, float32 unless it was moved,
whatever autocast says: spectra of quiet sound are lost in bfloat16.

Modules, not functions, because windows and filters are held where the samples are. They have no
parameters and add nothing to a checkpoint.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.audio.spectral import hann_window, mel_filterbank
from weft.errors import ConfigError, ShapeError

_MAX_FFT = 65536
_MAX_SCALES = 16


def _check_scales(n_ffts: tuple[int, ...], hop_lengths: tuple[int, ...]) -> None:
    if not 1 <= len(n_ffts) <= _MAX_SCALES or len(hop_lengths) != len(n_ffts):
        raise ConfigError(
            f"n_ffts and hop_lengths must hold one number a scale, of 1 to {_MAX_SCALES} scales, "
            f"got {n_ffts} and {hop_lengths}"
        )
    if any(not 2 <= n <= _MAX_FFT or n % 2 for n in n_ffts):
        raise ConfigError(f"n_ffts must be even and in [2, {_MAX_FFT}] samples, got {n_ffts}")
    if any(not 1 <= hop <= n for hop, n in zip(hop_lengths, n_ffts, strict=True)):
        raise ConfigError(
            f"hop_lengths must be in [1, n_fft] samples, got {hop_lengths} for windows of {n_ffts}"
        )


@final
@dataclass(frozen=True, kw_only=True)
class MelLossConfig:
    """Scales and logarithm of a mel distance; the defaults are WavTokenizer's."""

    sample_rate: int = 24000
    """Of the samples, in Hz, > 0."""
    n_ffts: tuple[int, ...] = (1024,)
    """Window and transform of each scale, in samples, even, in [2, 65536]; 1 to 16 scales."""
    hop_lengths: tuple[int, ...] = (256,)
    """Distance of frames of each scale, in samples, in [1, n_fft]."""
    num_mels: tuple[int, ...] = (100,)
    """Filters of each scale, from 0 Hz to half the sample rate, in [1, n_fft / 2 + 1]."""
    floor: float = 1e-7
    """Magnitude of a band below which it counts as silent and gets no gradient, > 0."""
    log_base: Literal["e", "10"] = "e"
    """Of the logarithm of magnitudes: the two differ by a factor of 2.3."""
    filters: Literal["htk", "slaney"] = "htk"
    """``htk``: triangles of height 1 on the HTK mel scale; ``slaney``: of unit area on Slaney's.
    Apart from the floor only the place of the bands matters, since a height cancels."""

    def __post_init__(self) -> None:
        _check_scales(self.n_ffts, self.hop_lengths)
        if self.sample_rate < 1:
            raise ConfigError(f"sample_rate must be > 0 Hz, got {self.sample_rate}")
        if len(self.num_mels) != len(self.n_ffts) or any(
            not 1 <= m <= n // 2 + 1 for m, n in zip(self.num_mels, self.n_ffts, strict=False)
        ):
            raise ConfigError(
                "num_mels must hold one number a scale, in [1, n_fft / 2 + 1], got "
                f"{self.num_mels} for windows of {self.n_ffts} samples"
            )
        if not 0 < self.floor < 1:
            raise ConfigError(f"floor must be in (0, 1), got {self.floor}")
        if self.log_base not in ("e", "10"):
            raise ConfigError(f"log_base must be 'e' or '10', got {self.log_base!r}")
        if self.filters not in ("htk", "slaney"):
            raise ConfigError(f"filters must be 'htk' or 'slaney', got {self.filters!r}")


WAVTOKENIZER_MEL = MelLossConfig()
"""One scale, 100 bands at 24 kHz, natural logarithm: WavTokenizer and Vocos."""
DAC_MEL = MelLossConfig(
    sample_rate=44100,
    n_ffts=(32, 64, 128, 256, 512, 1024, 2048),
    hop_lengths=(8, 16, 32, 64, 128, 256, 512),
    num_mels=(5, 10, 20, 40, 80, 160, 320),
    floor=1e-5,
    log_base="10",
    filters="slaney",
)
"""Seven scales of DAC at its rate; ``dataclasses.replace(DAC_MEL, sample_rate=24000)`` for ours."""


@final
class MelDistanceLoss(nn.Module):
    """Mean absolute difference of log mel magnitudes, summed over scales.

    Source: WavTokenizer and Vocos (`MelSpecReconstructionLoss`), DAC (`MelSpectrogramLoss` as its
    `conf/base.yml` sets it). Differs: no gradient flows into the reference; sound shorter than half
    a window is padded with zeros instead of refused.
    """

    def __init__(self, config: MelLossConfig) -> None:
        super().__init__()
        self.config = config
        scales = zip(config.n_ffts, config.hop_lengths, config.num_mels, strict=True)
        self._scales = nn.ModuleList(
            _Spectrum(n_fft, hop, filters=_filters(config, n_fft, num_mels))
            for n_fft, hop, num_mels in scales
        )

    def forward(
        self, estimate: Float[Tensor, "b n"], reference: Float[Tensor, "b n"]
    ) -> Float[Tensor, ""]:
        """Return the distance, >= 0, in nepers or in decades of magnitude (see ``log_base``).

        Raises:
            ShapeError: the two differ in shape, or hold no samples.
        """
        _check_pair(estimate, reference)
        with torch.autocast(estimate.device.type, enabled=False):
            distance = estimate.new_zeros((), dtype=torch.float32)
            for scale in self._scales:
                with torch.no_grad():
                    target = self._log_mel(scale(reference))
                distance = distance + (self._log_mel(scale(estimate)) - target).abs().mean()
        return distance

    def _log_mel(self, mel: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        clipped = mel.clamp_min(self.config.floor)
        return clipped.log() if self.config.log_base == "e" else clipped.log10()


@final
@dataclass(frozen=True, kw_only=True)
class StftLossConfig:
    """Resolutions and weights of a multi-resolution distance; defaults of Parallel WaveGAN."""

    n_ffts: tuple[int, ...] = (1024, 2048, 512)
    """Transform of each resolution, in samples, even, in [2, 65536]; 1 to 16 resolutions."""
    hop_lengths: tuple[int, ...] = (120, 240, 50)
    """Distance of frames of each resolution, in samples, in [1, n_fft]."""
    window_lengths: tuple[int, ...] = (600, 1200, 240)
    """Window of each resolution, in samples, in [1, n_fft], centred in the transform."""
    convergence_weight: float = 1.0
    """Weight of spectral convergence, >= 0."""
    log_weight: float = 1.0
    """Weight of the log magnitude term, >= 0."""
    floor: float = 1e-4
    """Magnitude below which a bin counts as silent and gets no gradient, > 0 (auraloss's)."""
    quiet: float = 1e-2
    """Root mean square of magnitudes below which a reference no longer divides spectral
    convergence, >= 0: noise of about -66 dB of full scale at 1024. 0 divides by however little."""

    def __post_init__(self) -> None:
        _check_scales(self.n_ffts, self.hop_lengths)
        if len(self.window_lengths) != len(self.n_ffts) or any(
            not 1 <= w <= n for w, n in zip(self.window_lengths, self.n_ffts, strict=False)
        ):
            raise ConfigError(
                "window_lengths must hold one length a resolution, in [1, n_fft] samples, got "
                f"{self.window_lengths} for transforms of {self.n_ffts}"
            )
        if not (self.convergence_weight >= 0 and self.log_weight >= 0):
            raise ConfigError(
                "convergence_weight and log_weight must be >= 0, got "
                f"{self.convergence_weight} and {self.log_weight}"
            )
        if not (0 < self.floor < 1 and self.quiet >= 0):
            raise ConfigError(
                f"floor must be in (0, 1) and quiet >= 0, got {self.floor} and {self.quiet}"
            )


@final
class MultiResolutionStftLoss(nn.Module):
    """Spectral convergence and log magnitude distance, averaged over resolutions.

    Of one item at one resolution: ``||r - e|| / ||r||`` over all bins of all frames, and the mean
    of ``|log r - log e|``.

    Source: Parallel WaveGAN, equations 4 to 6. Differs: norms are taken of each item, not of the
    whole batch, so that an item's loss does not depend on its neighbours; therefore quiet
    references have a least norm (``quiet``), without which a silent item outweighs all others.
    """

    def __init__(self, config: StftLossConfig) -> None:
        super().__init__()
        self.config = config
        scales = zip(config.n_ffts, config.hop_lengths, config.window_lengths, strict=True)
        self._scales = nn.ModuleList(
            _Spectrum(n_fft, hop, window_length=window, floor=config.floor)
            for n_fft, hop, window in scales
        )

    def forward(
        self, estimate: Float[Tensor, "b n"], reference: Float[Tensor, "b n"]
    ) -> Float[Tensor, ""]:
        """Return the distance, >= 0, without unit.

        Raises:
            ShapeError: the two differ in shape, or hold no samples.
        """
        _check_pair(estimate, reference)
        config = self.config
        with torch.autocast(estimate.device.type, enabled=False):
            distance = estimate.new_zeros((), dtype=torch.float32)
            for scale in self._scales:
                with torch.no_grad():
                    target = scale(reference)
                    least = config.quiet * float(target[0].numel()) ** 0.5
                    norm = torch.linalg.vector_norm(target, dim=(1, 2)).clamp_min(least)
                magnitude = scale(estimate)
                error = torch.linalg.vector_norm(magnitude - target, dim=(1, 2))
                log_error = (magnitude.log() - target.log()).abs().mean()
                distance = distance + config.convergence_weight * (error / norm).mean()
                distance = distance + config.log_weight * log_error
            return distance / len(self._scales)


@final
class _Spectrum(nn.Module):
    """Magnitudes at one resolution, in bins or in bands."""

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        *,
        window_length: int | None = None,
        filters: Float[np.ndarray, "m f"] | None = None,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.floor = n_fft, hop_length, floor
        window_length = n_fft if window_length is None else window_length
        self.left = (n_fft - window_length) // 2
        self.register_buffer("_window", _tensor(hann_window(window_length)), persistent=False)
        transposed = None if filters is None else _tensor(filters.T)
        self.register_buffer("_filters", transposed, persistent=False)
        self._window: Tensor
        self._filters: Tensor | None

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b l f"]:
        """Return magnitudes in the precision of the window; at zero their gradient is zero."""
        half = self.n_fft // 2
        # Reflection needs more samples than it adds.
        mode = "reflect" if samples.shape[1] > half else "constant"
        padded = nn.functional.pad(samples.to(self._window.dtype), (half, half), mode=mode)
        # Only what the window weighs is cut out; zeros after it change the phase, not magnitudes.
        last = padded.shape[1] - self.n_fft + self.left + len(self._window)
        frames = padded[:, self.left : last].unfold(1, len(self._window), self.hop_length)  # b l w
        spectrum = torch.fft.rfft(frames * self._window, n=self.n_fft)
        if self._filters is not None:
            return spectrum.abs() @ self._filters
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(self.floor**2).sqrt()


def _filters(config: MelLossConfig, n_fft: int, num_mels: int) -> Float[np.ndarray, "m f"]:
    """Return the filters of one scale."""
    if config.filters == "slaney":
        return mel_filterbank(config.sample_rate, n_fft, num_mels)
    # Torchaudio's triangles: straight in Hz between edges that are even on the HTK scale.
    highest = 2595 * np.log10(1 + config.sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, num_mels + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * config.sample_rate / n_fft
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    triangles: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return triangles


def _check_pair(estimate: Tensor, reference: Tensor) -> None:
    if estimate.shape != reference.shape or not estimate.numel():
        raise ShapeError(
            "estimate and reference must have one shape and hold samples, got "
            f"{tuple(estimate.shape)} and {tuple(reference.shape)}; cut both to one length"
        )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
