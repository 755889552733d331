"""How well a model of samples denoises, and how its fills compare with linear prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.canvas.compose import compose
from weft.canvas.filler import Filler
from weft.canvas.windows import read_window
from weft.data.crops import Crop, CropSource
from weft.metrics.lsd import log_spectral_distance
from weft.rng import Rng
from weft.train.recipes.codec_check import Place
from weft.train.recipes.waveform_module import WaveformModule

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Times at which denoising is measured: from nearly clean to nearly noise."""


@final
@dataclass(frozen=True, kw_only=True)
class GapFigures:
    """Fills of one kind, one figure for each place."""

    lsd: Float[np.ndarray, " n"]
    """Log-spectral distance from the truth in the gap, in log10 of power."""
    level_db: Float[np.ndarray, " n"]
    """Level of the fill over that of the truth, in dB: below 0 it is too quiet."""


def spread(count: int, wanted: int) -> list[int]:
    """Return evenly spread places in a list, as many as wanted or as there are.

    Example:
        >>> spread(10, 4), spread(2, 4)
        ([1, 3, 6, 8], [0, 1])
    """
    num = min(count, wanted)
    return [(2 * i + 1) * count // (2 * num) for i in range(num)]


def normalise(samples: Float[np.ndarray, "c n"], level: float) -> Float[np.ndarray, "c n"]:
    """Bring sound to a level over variance 1.

    Args:
        samples: not silent; what is softer than -100 dB stays as soft beside it.
        level: in dB.

    Example:
        >>> float(np.std(normalise(np.array([[0.1, -0.1]]), 0.0)).round(6))
        1.0
    """
    return np.asarray(samples * 10 ** ((level - level_db(samples)) / 20), dtype=samples.dtype)


def draw_crops(source: CropSource, num_crops: int) -> list[Crop]:
    """Return crops of the valid split, always the same, the silent ones left out."""
    crops = [source.fixed(i) for i in spread(len(source), num_crops)]
    return [c for c in crops if level_db(c.samples.astype(np.float64)) > source.config.min_level_db]


@torch.no_grad()
def denoising_errors(
    module: WaveformModule, crops: Sequence[Crop]
) -> Mapping[float, Float[np.ndarray, " n"]]:
    """Return the error of v for each crop, by time; noise depends on the crop and the time only.

    Args:
        module: in eval mode.
        crops: of one length.
    """
    device = next(module.parameters()).device
    found: dict[float, Float[np.ndarray, " n"]] = {}
    for k, time in enumerate(TIMES):
        errors = []
        for crop in crops:
            samples = np.ascontiguousarray(normalise(crop.samples, 0.0).T)
            stream = Rng(0, (k, crop.recording, max(0, crop.start))).stream()
            noise = stream.standard_normal(samples.shape).astype(np.float32)
            error = module.errors(
                torch.from_numpy(samples)[None].to(device),
                torch.full((1,), time, device=device),
                torch.from_numpy(noise)[None].to(device),
            )
            errors.append(float(error))
        found[time] = np.array(errors)
    return found


def fill_gaps(filler: Filler, places: Sequence[Place], sample_rate: int) -> GapFigures:
    """Fill gaps and compare with what belongs there.

    Args:
        filler: gets all places at once.
        places: mono.
        sample_rate: of the places, in Hz.
    """
    windows = [
        read_window(
            Audio.from_samples(place.samples.astype(np.float64), sample_rate),
            place.gap,
            [],
            place.gap.start,
        )
        for place in places
    ]
    proposals = filler.fill(windows, num_takes=1, rng=Rng(0))
    lsd, level = [], []
    for place, window, fills in zip(places, windows, proposals, strict=True):
        truth = place.samples.astype(np.float64)
        estimate = truth.copy()
        inside = slice(place.gap.start, place.gap.stop)
        estimate[:, inside] = compose(window, fills[0])
        lsd.append(log_spectral_distance(truth, estimate, [place.gap]))
        level.append(level_db(estimate[:, inside]) - level_db(truth[:, inside]))
    return GapFigures(lsd=np.array(lsd), level_db=np.array(level))
