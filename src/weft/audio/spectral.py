"""Short-time spectra and mel bands."""

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Complex, Float
from scipy import fft

from weft.errors import ConfigError
from weft.shapes import Samples


@lru_cache(maxsize=32)
def hann_window(num_samples: int) -> Float[np.ndarray, " n"]:
    """Return the periodic Hann window, read-only."""
    window: np.ndarray = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num_samples) / num_samples)
    window.setflags(write=False)
    return window


def stft(
    samples: Samples,
    *,
    n_fft: int,
    hop_length: int,
    center: bool = True,
    pad_mode: Literal["reflect", "constant"] = "reflect",
) -> Complex[np.ndarray, "c f l"]:
    """Return the short-time Fourier transform with a periodic Hann window, not normalised.

    Args:
        samples: audio; shorter than ``n_fft`` is zero-padded to one frame.
        n_fft: window and transform length, in samples, >= 2; odd lengths have no Nyquist bin.
        hop_length: distance of frames, in samples.
        center: add ``n_fft // 2`` samples at both ends, so that frame ``i`` is centred on sample
            ``i * hop_length``; without, frame ``i`` begins there and a rest is left out.
        pad_mode: what ``center`` adds: the signal reflected, or zeros.

    Raises:
        ConfigError: ``n_fft`` below 2, or ``hop_length`` below 1.

    Example:
        >>> stft(np.ones((2, 4096)), n_fft=1024, hop_length=256).shape
        (2, 513, 17)
    """
    if n_fft < 2 or hop_length < 1:
        raise ConfigError(f"n_fft must be >= 2 and hop_length >= 1, got {n_fft=}, {hop_length=}")
    if center:
        pad = n_fft // 2
        reflects = pad_mode == "reflect" and samples.shape[1] > pad
        samples = np.pad(samples, ((0, 0), (pad, pad)), "reflect" if reflects else "constant")
    if samples.shape[1] < n_fft:
        samples = np.pad(samples, ((0, 0), (0, n_fft - samples.shape[1])))
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft, axis=1)[:, ::hop_length]
    return np.swapaxes(fft.rfft(frames * hann_window(n_fft), axis=-1), 1, 2)


def hz_to_mel(frequency_hz: Float[np.ndarray, "*d"]) -> Float[np.ndarray, "*d"]:
    """Convert to the Slaney mel scale: linear below 1 kHz, logarithmic above."""
    linear = frequency_hz * 3 / 200
    return np.where(
        frequency_hz < 1000,
        linear,
        15 + 27 * np.log(np.maximum(frequency_hz, 1) / 1000) / np.log(6.4),
    )


def mel_to_hz(mel: Float[np.ndarray, "*d"]) -> Float[np.ndarray, "*d"]:
    """Invert `hz_to_mel`."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=32)
def mel_filterbank(
    sample_rate: int, n_fft: int, num_mels: int, low_hz: float = 0.0, high_hz: float | None = None
) -> Float[np.ndarray, "m f"]:
    """Return triangular mel filters of unit area (Slaney), read-only.

    Args:
        sample_rate: in Hz.
        n_fft: transform length whose ``n_fft // 2 + 1`` bins the filters weigh.
        num_mels: filters.
        low_hz: lower edge of the first filter.
        high_hz: upper edge of the last; half the sample rate unless told.

    Raises:
        ConfigError: the band is empty or reaches over half the sample rate.
    """
    high_hz = sample_rate / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ConfigError(
            f"mel filters need 0 <= low < high <= {sample_rate / 2:g} Hz, got {low_hz}-{high_hz} Hz"
        )
    low_mel, high_mel = hz_to_mel(np.array([low_hz, high_hz]))
    edges = mel_to_hz(np.linspace(low_mel, high_mel, num_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    filters.setflags(write=False)
    return filters
