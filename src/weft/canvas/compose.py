"""Compose: join a fill to its surroundings, inside the gap.

This is the only code that joins, for every model. Samples outside the gap are never written.
"""

import numpy as np
from jaxtyping import Float
from scipy import fft

from weft.audio.fades import crossfade, fade_in
from weft.audio.prediction import extrapolate_gap
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill
from weft.errors import ShapeError

FADE_MS = 10.0
"""Length of the cross-fade at each end of a gap. Source: AIDD (seed 000), inference."""
EDGE_ORDER = 192
"""Order of the linear prediction that continues the surroundings under a fade."""


def compose(window: Window, fill: Fill, *, fade_ms: float = FADE_MS) -> Float[np.ndarray, "c g"]:
    """Join a fill to the samples on both sides of its gap.

    The surroundings are continued into the gap by linear prediction, and the continuation gives
    way to the fill along a cross-fade whose gains follow the correlation of the two, so that
    neither a click nor a dip is heard. A fill that already continues its surroundings
    (``is_joined``) stays as it is.

    Args:
        window: the gap and its surroundings.
        fill: the proposal.
        fade_ms: length of each fade; half the gap at the most. 0 pastes without a fade.

    Returns:
        The samples of the gap. No clipping.

    Raises:
        ShapeError: the fill is not as long as the gap, or has other channels.

    Source: AIDD (seed 000), 10 ms cross-fade. Differs: it lies inside the gap and meets a
        continuation of the known audio, so that every known sample survives.
    """
    wanted = (window.num_channels, window.gap.num_samples)
    if fill.samples.shape != wanted:
        raise ShapeError(f"{fill.model} filled {fill.samples.shape} samples, the gap has {wanted}")
    num_fade = min(round(fade_ms * window.sample_rate / 1000), window.gap.num_samples // 2)
    if fill.is_joined or num_fade == 0:
        return fill.samples
    samples = fill.samples.copy()
    context = 8 * max(num_fade, window.sample_rate // 100)
    forward, backward = extrapolate_gap(
        window.before(context), window.after(context), num_fade, order=EDGE_ORDER
    )
    weight = fade_in(num_fade)
    if forward is not None:
        samples[:, :num_fade] = crossfade(forward, samples[:, :num_fade], weight)
    if backward is not None:
        samples[:, -num_fade:] = crossfade(samples[:, -num_fade:], backward, weight)
    return samples


def limit_to_band(
    original: Float[np.ndarray, "c g"],
    filled: Float[np.ndarray, "c g"],
    sample_rate: int,
    *,
    low_hz: float | None,
    high_hz: float | None,
) -> Float[np.ndarray, "c g"]:
    """Take a band of frequencies from the fill and the rest from the original.

    Both ends of the result equal the original's, because the change is faded there; edges of the
    band are raised cosines a third of an octave wide.

    Args:
        original: what the recording holds in the region.
        filled: the composed fill of the region.
        sample_rate: in Hz.
        low_hz: lower edge of the band; None: down to 0 Hz.
        high_hz: upper edge; None: up to half the sample rate.
    """
    num_samples = original.shape[1]
    length = fft.next_fast_len(2 * num_samples, real=True)
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / sample_rate), 1e-9)
    gain = np.ones_like(frequency)
    for edge_hz, sign in ((low_hz, 1), (high_hz, -1)):
        if edge_hz is not None and edge_hz > 0:
            octaves = sign * np.log2(frequency / edge_hz)
            gain *= 0.5 - 0.5 * np.cos(np.pi * np.clip(octaves * 3 + 0.5, 0, 1))
    change = fft.irfft(fft.rfft(filled - original, length, axis=1) * gain, length, axis=1)
    num_fade = min(num_samples // 2, round(FADE_MS * sample_rate / 1000))
    weight = np.ones(num_samples)
    if num_fade:
        weight[:num_fade] = fade_in(num_fade)
        weight[-num_fade:] = fade_in(num_fade)[::-1]
    return original + change[:, :num_samples] * weight
