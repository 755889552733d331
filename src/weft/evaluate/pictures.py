"""Pictures of an example: spectrograms around the gap as PNG, and its seams as SVG."""

import io
import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.spectral import stft
from weft.evaluate.examples import Example
from weft.shapes import Samples

RANGE_DB = 75.0
"""From the brightest colour to the darkest."""
SEAM_MS = 6.0
"""What is drawn on either side of a seam."""
MAX_VIEW_S = 12.0
"""Longest stretch that is drawn."""

_COLUMNS, _ROWS, _LEVELS = 420, 132, 48
_LOW_HZ = 60.0
_SEAM_WIDTH, _SEAM_HEIGHT = 320, 96
_MAX_POINTS = 400


@final
@dataclass(frozen=True, kw_only=True)
class Spectrograms:
    """Two spectrograms on one scale."""

    original: bytes | None
    """PNG of the sound as it was; None where nothing was."""
    filled: bytes
    """PNG of the sound as it was filled."""
    start_s: float
    """Where the picture begins, from the start of the example."""
    stop_s: float
    """Where it ends."""
    ticks: tuple[tuple[float, str], ...]
    """Height, 0 at the bottom and 1 at the top, and name of round frequencies."""


def draw_spectrograms(example: Example) -> Spectrograms:
    """Draw an example around its gap, before and after, on one scale of level.

    The stretch reaches as far beyond the gap as the gap is long, but at least 250 ms. Frequency
    is logarithmic from 60 Hz to half the sample rate; channels are averaged in power.
    """
    rate, num_samples = example.sample_rate, example.estimate.shape[1]
    start, stop, window_s = 0, num_samples, 0.046
    if example.gap is not None:
        length = example.gap[1] - example.gap[0]
        margin = max(round(0.25 * rate), length)
        start, stop = max(0, example.gap[0] - margin), min(num_samples, example.gap[1] + margin)
        window_s = min(0.046, max(0.008, 0.6 * length / rate))
    stop = min(stop, start + round(MAX_VIEW_S * rate))
    n_fft = 1 << max(5, round(math.log2(window_s * rate)))
    filled = _levels(example.estimate, rate, start, stop, n_fft)
    original = None
    top = float(filled.max())
    if example.reference is not None:
        original = _levels(example.reference, rate, start, stop, n_fft)
        top = max(top, float(original.max()))
    top = max(top, RANGE_DB - 150)
    return Spectrograms(
        original=None if original is None else _png(original, top),
        filled=_png(filled, top),
        start_s=start / rate,
        stop_s=stop / rate,
        ticks=_ticks(rate),
    )


def draw_seams(example: Example) -> list[tuple[str, str]]:
    """Draw the waveform around both ends of a gap, in the loudest channel and at one scale.

    Returns:
        Name and SVG of each seam; none without a gap, or for an end at the end of the sound.
    """
    if example.gap is None:
        return []
    rate, num_samples = example.sample_rate, example.estimate.shape[1]
    reach = max(8, round(SEAM_MS * rate / 1000))
    found = []
    for name, at in zip(("into the gap", "out of the gap"), example.gap, strict=True):
        if 0 < at < num_samples:
            found.append((name, at, max(0, at - reach), min(num_samples, at + reach)))
    if not found:
        return []
    estimate = np.nan_to_num(example.estimate)
    pieces = [estimate[:, start:stop] for _, _, start, stop in found]
    channel = int(np.argmax(sum(np.abs(piece).sum(axis=1) for piece in pieces)))
    sounds = [estimate[channel]]
    if example.reference is not None:
        sounds.append(np.nan_to_num(example.reference[channel]))
    peak = max(float(np.abs(s[start:stop]).max()) for s in sounds for _, _, start, stop in found)
    return [
        (name, _seam(sounds, example.gap, at, start, stop, peak or 1.0))
        for name, at, start, stop in found
    ]


def _levels(
    samples: Samples, rate: int, start: int, stop: int, n_fft: int
) -> Float[np.ndarray, "rows columns"]:
    """Return the power of a stretch in dB on a logarithmic axis; a full-scale sine has 0 dB."""
    hop = max(1, -(-(stop - start) // _COLUMNS))
    first, last = start - n_fft // 2, stop + n_fft // 2
    inner = np.nan_to_num(samples[:, max(0, first) : last], nan=0.0, posinf=0.0, neginf=0.0)
    padded = np.pad(inner, ((0, 0), (max(0, -first), max(0, last - samples.shape[1]))))
    power = (np.abs(stft(padded, n_fft=n_fft, hop_length=hop, center=False)) * 4 / n_fft) ** 2
    level = 10 * np.log10(power.mean(axis=0) + 1e-16)
    wanted = np.geomspace(min(_LOW_HZ, rate / 8), rate / 2, _ROWS) * n_fft / rate
    lower = np.minimum(wanted.astype(int), n_fft // 2 - 1)
    part = (wanted - lower)[:, None]
    return (1 - part) * level[lower] + part * level[lower + 1]


def _png(levels: Float[np.ndarray, "rows columns"], top_db: float) -> bytes:
    """Return a small picture with a palette of few colours, high frequencies at the top."""
    from matplotlib import colormaps
    from PIL import Image

    scaled = (levels[::-1] - (top_db - RANGE_DB)) / RANGE_DB
    index = np.round(np.clip(scaled, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
    palette = np.round(255 * colormaps["magma"](np.linspace(0, 1, _LEVELS))[:, :3])
    image = Image.fromarray(index, mode="P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _ticks(rate: int) -> tuple[tuple[float, str], ...]:
    low = min(_LOW_HZ, rate / 8)
    octaves = math.log(rate / 2 / low)
    return tuple(
        (math.log(hz / low) / octaves, f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz")
        for hz in (100, 1000, 10_000)
        if 1.2 * low < hz < 0.3 * rate
    )


def _seam(
    sounds: list[Float[np.ndarray, " n"]],
    gap: tuple[int, int],
    at: int,
    start: int,
    stop: int,
    peak: float,
) -> str:
    """Draw one seam: what is known, what was filled, and what was lost."""
    index = np.arange(start, stop)
    inside = (index >= gap[0]) & (index < gap[1])
    x = (index - start) / max(1, stop - 1 - start) * _SEAM_WIDTH
    line = (at - start) / max(1, stop - 1 - start) * _SEAM_WIDTH
    left = x[inside].min() if inside.any() else line
    width = (x[inside].max() - left) if inside.any() else 0
    parts = [
        f'<rect class="inside" x="{left:.1f}" y="0" width="{width:.1f}" height="{_SEAM_HEIGHT}"/>',
        f'<line class="zero" x1="0" x2="{_SEAM_WIDTH}" y1="{_SEAM_HEIGHT / 2}" '
        f'y2="{_SEAM_HEIGHT / 2}"/>',
    ]
    wanted = [(sounds[0], ~inside, "known"), (sounds[0], inside, "fill")]
    if len(sounds) > 1:
        wanted.insert(0, (sounds[1], inside, "lost"))
    for sound, where, name in wanted:
        y = (0.5 - 0.46 * sound[start:stop] / peak) * _SEAM_HEIGHT
        parts += [f'<polyline class="{name}" points="{p}"/>' for p in _points(x, y, where)]
    parts.append(f'<line class="edge" x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="{_SEAM_HEIGHT}"/>')
    return (
        f'<svg class="seam" viewBox="0 0 {_SEAM_WIDTH} {_SEAM_HEIGHT}" role="img">'
        + "".join(parts)
        + "</svg>"
    )


def _points(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], where: np.ndarray) -> list[str]:
    """Return the points of each unbroken stretch, thinned where there are very many."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(int)))
    step = max(1, len(x) // _MAX_POINTS)
    return [
        " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[i:j:step], y[i:j:step], strict=True))
        for i, j in zip(edges[::2], edges[1::2], strict=True)
    ]
