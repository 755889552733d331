"""Log-mel spectra as VGGish and PaSST were trained on them."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy import fft

from weft.audio.spectral import hann_window
from weft.errors import ConfigError

VGGISH_RATE = 16000
"""Sample rate of VGGish, in Hz."""
VGGISH_WINDOW, VGGISH_HOP = 400, 160
"""Window and distance of its spectra: 25 and 10 ms, in samples."""
PASST_RATE = 32000
"""Sample rate of PaSST, in Hz."""
PASST_WINDOW, PASST_HOP, PASST_FFT = 800, 320, 1024
"""Window, distance and transform of its spectra, in samples."""


@lru_cache(maxsize=8)
def htk_mel_filterbank(
    sample_rate: int, n_fft: int, num_mels: int, low_hz: float, high_hz: float
) -> Float[np.ndarray, "m f"]:
    """Return filters that are triangles over the HTK mel scale, of height 1, read-only.

    Args:
        sample_rate: in Hz.
        n_fft: transform length whose ``n_fft // 2 + 1`` bins the filters weigh.
        num_mels: filters.
        low_hz: lower edge of the first filter.
        high_hz: upper edge of the last.

    Raises:
        ConfigError: the band is empty or reaches over half the sample rate.

    Source: Kaldi and Google's AudioSet code, which agree where no bin lies on an outer edge.

    Example:
        >>> bool(htk_mel_filterbank(16000, 512, 64, 125.0, 7500.0).max() <= 1)
        True
    """
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ConfigError(
            f"mel filters need 0 <= low < high <= {sample_rate / 2:g} Hz, got {low_hz}-{high_hz} Hz"
        )
    low, high, *bins = 1127 * np.log1p(
        np.array([low_hz, high_hz, *(np.arange(n_fft // 2 + 1) * sample_rate / n_fft)]) / 700
    )
    edges = np.linspace(low, high, num_mels + 2)[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    filters.setflags(write=False)
    return filters


def vggish_log_mel(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "l 64"]:
    """Return VGGish's spectra of mono sound at 16 kHz.

    Magnitudes of a periodic Hann window of 25 ms every 10 ms, without padding, in 64 mel bands from
    125 to 7500 Hz, as ``log(mel + 0.01)``.

    Args:
        samples: at least 400.

    Raises:
        ConfigError: fewer samples than a window.

    Source: Google's AudioSet models, ``mel_features.py``.

    Example:
        >>> vggish_log_mel(np.zeros(15600)).shape
        (96, 64)
    """
    if len(samples) < VGGISH_WINDOW:
        raise ConfigError(f"VGGish needs {VGGISH_WINDOW} samples or more, got {len(samples)}")
    frames = np.lib.stride_tricks.sliding_window_view(samples, VGGISH_WINDOW)[::VGGISH_HOP]
    magnitude = np.abs(fft.rfft(frames * hann_window(VGGISH_WINDOW), 512, axis=-1))
    filters = htk_mel_filterbank(VGGISH_RATE, 512, 64, 125.0, 7500.0)
    log_mel: np.ndarray = np.log(magnitude @ filters.T + 0.01)
    return log_mel


def passt_log_mel(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "128 l"]:
    """Return PaSST's spectra of mono sound at 32 kHz.

    Pre-emphasis of 0.97, power of a symmetric Hann window of 25 ms every 10 ms with the ends
    reflected, in 128 mel bands from 0 to 15 kHz, as ``(log(mel + 1e-5) + 4.5) / 5``.

    Args:
        samples: at least 514.

    Raises:
        ConfigError: fewer samples than half a transform and two.

    Source: ``AugmentMelSTFT`` of hear21passt, as it is when not training.

    Example:
        >>> passt_log_mel(np.zeros(320000)).shape
        (128, 1000)
    """
    if len(samples) < PASST_FFT // 2 + 2:
        raise ConfigError(f"PaSST needs {PASST_FFT // 2 + 2} samples or more, got {len(samples)}")
    sharpened = samples[1:] - 0.97 * samples[:-1]
    padded = np.pad(sharpened, PASST_FFT // 2, "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, PASST_FFT)[::PASST_HOP]
    margin = (PASST_FFT - PASST_WINDOW) // 2
    window = np.pad(np.hanning(PASST_WINDOW), margin)
    power = np.abs(fft.rfft(frames * window, axis=-1)) ** 2
    filters = htk_mel_filterbank(PASST_RATE, PASST_FFT, 128, 0.0, 15000.0)
    log_mel: np.ndarray = (np.log(filters @ power.T + 1e-5) + 4.5) / 5
    return log_mel
