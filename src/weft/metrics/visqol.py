"""ViSQOL: predicted listening score of a fill, in MOS, higher is better.

Conventions
-----------
Audio mode at 48 kHz, by the package `visqol-python` (extra ``eval``), with its alignment and level
matching as published. Scores are MOS-LQO in [1, 4.732]: 4.732 is what the published regression says
for identical signals.

Over a long excerpt ViSQOL hardly sees a gap (100 ms of silence in 7 s cost 0.02), so the signals
are cut to the gap and its sides. It compares patches of 600 ms and leaves out the first 280 ms;
with 500 ms on both sides the gap always lies inside the patches. Beyond the ends of the recording
both signals are silent. Channels are mixed to one, as ViSQOL does. A difference of level of the
whole cut goes unheard, and scores are no longer comparable where ``side_s`` or gap lengths differ.

Source: Hines, Skoglund, Kokaram & Harte 2015; Chinen et al. 2020 (version 3).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from weft.audio.resample import resample, to_mono
from weft.canvas.canvas import Region
from weft.errors import ConfigError, MissingDependencyError
from weft.metrics.pairs import Estimate, validate, validate_gaps, validate_rate
from weft.shapes import Samples

if TYPE_CHECKING:
    from visqol import VisqolApi

BEST_MOS = 4.732101253042348
"""Score of identical signals."""
WORST_MOS = 1.0
"""Lowest score."""
_RATE = 48000
_SHORTEST_S = 0.98  # 45 frames of 80 ms every 20 ms; below, the package refuses
_SILENCE = 1e-6  # rms, -120 dB re full scale


def visqol_gap(
    reference: Samples,
    estimate: Estimate,
    sample_rate: int,
    gap: Region,
    *,
    side_s: float = 0.5,
) -> float:
    """Return the ViSQOL score of the surroundings of a gap.

    The first call loads the model (about a second); it is kept for later calls.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        sample_rate: of both, in Hz; both are resampled to 48 kHz after the cut.
        gap: where the fill is.
        side_s: length of the surroundings on each side, in seconds, >= 0.49: less is too short
            for ViSQOL, or leaves the gap outside its patches.

    Returns:
        MOS-LQO in [1, 4.732]. Two silent cuts (below -120 dB rms): 4.732; one silent cut: 1.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: the gap lies outside the signals.
        ConfigError: the rate is not positive or ``side_s`` below 0.49.
        MissingDependencyError: visqol-python is not installed.

    Example:
        >>> x = 0.1 * np.random.default_rng(0).standard_normal((1, 48000))
        >>> round(visqol_gap(x, x, 24000, Region(start=20000, stop=24000)), 3)
        4.732
    """
    validate(reference, estimate)
    validate_gaps([gap], reference.shape[1])
    validate_rate(sample_rate)
    if not 2 * side_s >= _SHORTEST_S or not np.isfinite(side_s):
        raise ConfigError(f"side_s must be finite and >= {_SHORTEST_S / 2} s, got {side_s}")
    model = _load_model()
    num_side = round(side_s * sample_rate)
    truth, fill = (_cut(signal, gap, num_side) for signal in (reference, estimate))
    silent = [float(np.sqrt(np.mean(signal**2))) < _SILENCE for signal in (truth, fill)]
    if any(silent):
        return BEST_MOS if all(silent) else WORST_MOS
    truth, fill = (resample(signal, sample_rate, _RATE)[0] for signal in (truth, fill))
    with _quiet():
        score = model.measure_from_arrays(truth, fill, _RATE).moslqo
    return float(np.clip(score, WORST_MOS, BEST_MOS))


def _cut(samples: Samples, gap: Region, num_side: int) -> Float[np.ndarray, "1 m"]:
    """Return one channel, the gap with its sides, zeros beyond the ends."""
    first, last = gap.start - num_side, gap.stop + num_side
    mono = to_mono(samples[:, max(0, first) : last])
    missing = (max(0, -first), max(0, last - samples.shape[1]))
    return np.pad(mono, ((0, 0), missing))


@lru_cache(maxsize=1)
def _load_model() -> "VisqolApi":
    """Load the package and its regression once."""
    try:
        with _quiet():
            from visqol import VisqolApi
    except ImportError as error:
        raise MissingDependencyError(
            "ViSQOL needs the package visqol-python; run `pip install 'weft[eval]'`"
        ) from error
    model = VisqolApi()
    with _quiet():
        model.create(mode="audio")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package's warnings and messages from the caller."""
    logger = logging.getLogger("visqol")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
