"""Signal-to-noise ratios: how near the samples themselves are, in dB, higher is better.

Conventions
-----------
Sums run over all channels and over the samples of all gaps given, which makes one ratio; for a
mean of dBs over gaps, call once a gap. Ratios end at +-`LIMIT_DB`: a perfect estimate has
`LIMIT_DB`, and so has a silent estimate of a silent reference.

A silent fill has exactly 0 dB. Beyond 50 to 100 ms both measures say little about fills that sound
right: those are other samples of the same sound.

Metrics
-------
* `snr_db`: ratio of the reference's energy to that of the difference.
* `si_sdr_db`: the same after the best scaling of the reference. Le Roux, Wisdom, Erdogan & Hershey
  2019, SDR - half-baked or well done?
"""

from collections.abc import Sequence

import numpy as np

from weft.canvas.canvas import Region
from weft.metrics.pairs import Estimate, gap_samples, validate, validate_gaps
from weft.shapes import Samples

LIMIT_DB = 100.0
"""Largest ratio that is told apart from a perfect estimate."""


def snr_db(reference: Samples, estimate: Estimate, gaps: Sequence[Region]) -> float:
    """Return the signal-to-noise ratio inside the gaps.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where to compare; samples elsewhere do not count.

    Returns:
        ``10 log10(sum x^2 / sum (x - y)^2)`` in dB, in [-100, 100]. A silent reference gives 100
        where the estimate is silent too, else -100.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signals.

    Example:
        >>> x = np.ones((1, 100))
        >>> round(snr_db(x, x * 0.9, [Region(start=20, stop=40)]), 3)
        20.0
    """
    validate(reference, estimate)
    validate_gaps(gaps, reference.shape[1])
    truth, fill = gap_samples(reference, gaps), gap_samples(estimate, gaps)
    return _ratio_db(float(np.sum(truth**2)), float(np.sum((truth - fill) ** 2)))


def si_sdr_db(
    reference: Samples, estimate: Estimate, gaps: Sequence[Region], *, zero_mean: bool = True
) -> float:
    """Return the scale-invariant signal-to-distortion ratio inside the gaps.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where to compare; samples elsewhere do not count.
        zero_mean: remove the mean of each channel over the gaps first, as the paper does;
            torchmetrics does not by default, auraloss does.

    Returns:
        Ratio in dB, in [-100, 100]. One scale serves all channels, so a wrong stereo balance counts
        as distortion. A silent estimate gives -100, unless the reference is silent too: then 100.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signals.

    Source: Le Roux et al. 2019, equation 3, over the gaps. Differs: several channels have one
    scale.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 100))
        >>> si_sdr_db(x, 0.25 * x, [Region(start=0, stop=100)])
        100.0
    """
    validate(reference, estimate)
    validate_gaps(gaps, reference.shape[1])
    truth, fill = gap_samples(reference, gaps), gap_samples(estimate, gaps)
    if zero_mean:
        truth = truth - truth.mean(axis=1, keepdims=True)
        fill = fill - fill.mean(axis=1, keepdims=True)
    energy = float(np.sum(truth**2))
    if energy > 0 and not np.any(fill):
        return -LIMIT_DB
    scale = float(np.sum(truth * fill)) / energy if energy > 0 else 0.0
    target = scale * truth
    return _ratio_db(float(np.sum(target**2)), float(np.sum((target - fill) ** 2)))


def _ratio_db(signal: float, noise: float) -> float:
    """Return a ratio of energies in dB within the limits; nothing over nothing is perfect."""
    limit = 10 ** (LIMIT_DB / 10)
    if noise * limit <= signal:
        return LIMIT_DB
    if signal * limit <= noise:
        return -LIMIT_DB
    return float(10 * np.log10(signal / noise))
