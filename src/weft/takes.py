"""Takes: how well a fill belongs, by what can be heard without the truth."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.levels import level_db
from weft.audio.prediction import burg
from weft.audio.spectral import mel_filterbank, stft
from weft.canvas.canvas import Window
from weft.shapes import Samples

SIDE_MS = 200.0
"""How much of each side a fill is compared with."""


@final
@dataclass(frozen=True, kw_only=True)
class TakeScore:
    """How well a fill belongs. Lower is better for all three parts, higher for `total`."""

    seam_db: float
    """How far the prediction error at the seams exceeds what the surroundings show, in dB, >= 0."""
    level_db: float
    """Largest step of level between the fill and a side, in dB, >= 0."""
    spectrum_db: float
    """Mean distance of the mel spectrum from the line between the spectra of both sides, in dB."""

    @property
    def total(self) -> float:
        """One number for all: minus a weighted sum of the parts, in dB, <= 0."""
        return -(0.5 * self.seam_db + 0.5 * self.level_db + self.spectrum_db)


def score_take(window: Window, fill: Float[np.ndarray, "c g"]) -> TakeScore:
    """Score a composed fill against the known samples on both sides of its gap.

    A side that is unknown or missing is left out; with neither side all parts are 0.
    """
    limit = max(64, round(SIDE_MS * window.sample_rate / 1000))
    sides = [side for side in (window.before(limit), window.after(limit)) if side.shape[1] >= 32]
    if not sides or fill.shape[1] == 0:
        return TakeScore(seam_db=0.0, level_db=0.0, spectrum_db=0.0)
    return TakeScore(
        seam_db=_seam_excess_db(window, fill, limit),
        level_db=_level_step_db(window, fill, limit),
        spectrum_db=_spectrum_distance_db(fill, sides, window.sample_rate),
    )


def _seam_excess_db(window: Window, fill: Float[np.ndarray, "c g"], limit: int) -> float:
    """Whiten with a model of each side, and compare the peak at the seam with the side's own."""
    worst = 0.0
    reach = max(8, round(0.002 * window.sample_rate))
    for side, inner in (
        (window.before(limit), fill),
        (window.after(limit)[:, ::-1], fill[:, ::-1]),
    ):
        if side.shape[1] < 128 or not np.any(side):
            continue
        order = min(32, side.shape[1] // 4)
        filters = burg(side, order)
        joined = np.concatenate([side, inner[:, :reach]], axis=1)
        for channel, taps in zip(joined, filters, strict=True):
            residual = np.abs(np.convolve(channel, taps, mode="valid"))
            own = np.quantile(residual[: side.shape[1] - order], 0.999)
            peak = residual[side.shape[1] - order - 1 :].max()
            if own > 0 and peak > own:
                worst = max(worst, float(20 * np.log10(peak / own)))
    return min(worst, 60.0)


def _level_step_db(window: Window, fill: Float[np.ndarray, "c g"], limit: int) -> float:
    """Compare the level just inside with the level just outside, at each end."""
    reach = min(fill.shape[1], max(16, round(0.05 * window.sample_rate)))
    pairs = [(window.before(limit)[:, -reach:], fill[:, :reach])]
    pairs.append((window.after(limit)[:, :reach], fill[:, -reach:]))
    steps = [0.0]
    for outside, inside in pairs:
        if outside.shape[1] >= 16:
            steps.append(abs(level_db(inside) - level_db(outside)))
    return min(max(steps), 60.0)


def _mel_db(samples: Samples, sample_rate: int, n_fft: int) -> Float[np.ndarray, "m l"]:
    spectrum = np.abs(stft(samples, n_fft=n_fft, hop_length=n_fft // 2)) ** 2
    mels = mel_filterbank(sample_rate, n_fft, 32) @ spectrum.mean(axis=0)
    return 10 * np.log10(mels + 1e-10 * max(1.0, float(mels.max(initial=0.0))))


def _spectrum_distance_db(
    fill: Float[np.ndarray, "c g"], sides: list[Float[np.ndarray, "c _"]], sample_rate: int
) -> float:
    n_fft = 1 << max(6, int(np.log2(0.032 * sample_rate)))
    outer = [_mel_db(side, sample_rate, n_fft).mean(axis=1) for side in sides]
    inner = _mel_db(fill, sample_rate, n_fft)
    position = (np.arange(inner.shape[1]) + 0.5) / inner.shape[1]
    expected = outer[0][:, None] + position * (outer[-1] - outer[0])[:, None]
    floor = max(float(side.max()) for side in outer) - 80
    return float(np.abs(np.maximum(inner, floor) - np.maximum(expected, floor)).mean())
