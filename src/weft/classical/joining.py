"""Joining a copied stretch to the two sides of a gap."""

import numpy as np
from jaxtyping import Float
from scipy import fft

from weft.audio.fades import crossfade, fade_in
from weft.audio.prediction import extrapolate_gap
from weft.audio.spectral import hann_window, mel_filterbank
from weft.shapes import Samples

_CONTEXT_ORDERS = 4
"""Length of the context of an autoregressive edge, in orders of its model."""


def join_edges(
    fill: Float[np.ndarray, "c g"],
    before: Float[np.ndarray, "c a"],
    after: Float[np.ndarray, "c z"],
    *,
    edge_samples: int,
    order: int,
) -> Float[np.ndarray, "c g"]:
    """Let the surroundings ring on into a fill: autoregressive edges, cross-faded inside the gap.

    Where edge and fill agree the fade is linear, where they do not it keeps the power.

    Args:
        fill: what stands in the gap.
        before: known samples that end where the gap begins; none: no edge there.
        after: known samples that begin where the gap ends; none: no edge there.
        edge_samples: length of each edge, >= 0; half the gap at the most is used.
        order: of the autoregressive models; each sees four times as many samples.

    Returns:
        A new fill of the same length.
    """
    edges = ring_on(before, after, edge_samples=min(edge_samples, fill.shape[1] // 2), order=order)
    return blend_edges(fill, *edges)


def ring_on(
    before: Float[np.ndarray, "c a"],
    after: Float[np.ndarray, "c z"],
    *,
    edge_samples: int,
    order: int,
) -> tuple[Float[np.ndarray, "c e"] | None, Float[np.ndarray, "c e"] | None]:
    """Return the edges of `join_edges`, to be used for several fills of one gap."""
    if edge_samples < 1:
        return None, None
    limit = _CONTEXT_ORDERS * order
    return extrapolate_gap(
        before[:, max(0, before.shape[1] - limit) :], after[:, :limit], edge_samples, order=order
    )


def blend_edges(
    fill: Float[np.ndarray, "c g"],
    forward: Float[np.ndarray, "c e"] | None,
    backward: Float[np.ndarray, "c z"] | None,
) -> Float[np.ndarray, "c g"]:
    """Cross-fade edges from `ring_on` with the ends of a fill; None: no edge there."""
    result = fill.copy()
    if forward is not None and forward.shape[1]:
        stop = forward.shape[1]
        result[:, :stop] = crossfade(forward, fill[:, :stop], fade_in(stop))
    if backward is not None and backward.shape[1]:
        start = fill.shape[1] - backward.shape[1]
        result[:, start:] = crossfade(fill[:, start:], backward, fade_in(backward.shape[1]))
    return result


def splice(
    left: Float[np.ndarray, "c g"], right: Float[np.ndarray, "c g"], fade_samples: int
) -> Float[np.ndarray, "c g"]:
    """Begin with one sound and end with another of the same length.

    The change is made in the middle half, where the two are most alike.
    """
    num = left.shape[1]
    fade = max(1, min(fade_samples, num // 2))
    low, high = num // 4, max(num // 4 + 1, num - num // 4 - fade)
    product = np.concatenate([[0.0], np.cumsum((left * right).sum(axis=0))])
    energy = np.concatenate([[0.0], np.cumsum((left**2 + right**2).sum(axis=0))])
    at = np.arange(low, min(high, num - fade + 1))
    total = energy[at + fade] - energy[at]
    likeness = 2 * (product[at + fade] - product[at]) / np.maximum(total, 1e-12 + 1e-9 * energy[-1])
    start = int(at[np.argmax(likeness)])
    stop = start + fade
    middle = crossfade(left[:, start:stop], right[:, start:stop], fade_in(fade))
    return np.concatenate([left[:, :start], middle, right[:, stop:]], axis=1)


class BandLevels:
    """Band powers of short stretches, and gains that change a sound band by band."""

    def __init__(self, sample_rate: int, num_bands: int) -> None:
        self.sample_rate = sample_rate
        self.n_fft = max(16, 1 << round(np.log2(0.04 * sample_rate)))
        filters = mel_filterbank(sample_rate, self.n_fft, num_bands)
        self.filters = filters[filters.sum(axis=1) > 0]
        bins = np.arange(self.n_fft // 2 + 1) * sample_rate / self.n_fft
        self.centres_hz = (self.filters @ bins) / self.filters.sum(axis=1)
        self.bins_hz = bins

    def powers(self, samples: Samples) -> Float[np.ndarray, " d"]:
        """Return the mean power a band, over channels and over all frames of the stretch."""
        num, hop = samples.shape[1], self.n_fft // 4
        if num < self.n_fft:
            window = hann_window(num) if num > 1 else np.ones(num)
            frames = (samples * window)[:, None, :]
        else:
            window = hann_window(self.n_fft)
            frames = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft, axis=1)
            frames = frames[:, ::-hop][:, ::-1] * window
        spectra = fft.rfft(frames, self.n_fft, axis=2)
        power = (spectra.real**2 + spectra.imag**2).mean(axis=(0, 1)) / max((window**2).sum(), 1e-9)
        return power @ self.filters.T

    def apply(
        self,
        samples: Float[np.ndarray, "c n"],
        left_db: Float[np.ndarray, " d"],
        right_db: Float[np.ndarray, " d"],
    ) -> Float[np.ndarray, "c n"]:
        """Change levels band by band, on a straight line in dB from the left end to the right."""
        num, hop, size = samples.shape[1], self.n_fft // 4, self.n_fft
        num_frames = -(-num // hop) + 3
        padded = np.pad(samples, ((0, 0), (size - hop, num_frames * hop + hop - num)))
        window = np.sqrt(hann_window(size) / 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
        frames = frames[:, :num_frames]
        centre = np.arange(num_frames) * hop + size / 2 - (size - hop)
        share = np.clip(centre / max(num, 1), 0, 1)[:, None]
        ends = [np.interp(self.bins_hz, self.centres_hz, db) for db in (left_db, right_db)]
        gains = 10 ** (((1 - share) * ends[0] + share * ends[1]) / 20)
        changed = fft.irfft(fft.rfft(frames * window, axis=2) * gains, size, axis=2) * window
        result = np.zeros((samples.shape[0], padded.shape[1]))
        for k in range(num_frames):
            result[:, k * hop : k * hop + size] += changed[:, k]
        return result[:, size - hop : size - hop + num]
