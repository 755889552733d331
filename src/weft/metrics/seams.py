"""Seams: does the fill begin and end as the original does, in level and without a click?

Conventions
-----------
Levels are root mean squares over all channels in dB of full scale, at least -100, so two
silent stretches differ by 0 dB. A seam is an end of a gap with sound outside it; a gap at the start
or the end of the recording has one seam, a gap that is the whole recording none. What stands
outside the gaps is the reference's.

Metrics
-------
* `seam_level_step_db`: the step of short-term level at a seam, beside the reference's own step.
* `seam_jump_db`: the step of short-term level at a seam, beside the steps of what is known around
  it: no original is needed, so it can be asked of transitions and of what was made anew.
* `level_mismatch_db`: how far the fill's level is from the original's and from its surroundings',
  whichever is nearer. 6 dB is the bar of a fill that does not stick out.
* `seam_click_db`: what is unpredictable at a seam, beside what is unpredictable around it in the
  original. Above `CLICK_DB` a seam shows what the original's own statistics would not.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from weft.audio.levels import level_db
from weft.audio.prediction import burg
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics.pairs import Estimate, validate, validate_gaps
from weft.shapes import Samples

CLICK_DB = 6.0
"""Above this, `seam_click_db` speaks of a click: stationary noise against itself stays below."""

_CLICK_BLOCK_MS = 2.0
_CLICK_SURROUND_MS = 500.0
_CLICK_ORDER = 32
_CLICK_QUANTILE = 0.99
_MAX_FIT_SAMPLES = 1 << 15


def seam_level_step_db(
    reference: Samples,
    estimate: Estimate,
    gaps: Sequence[Region],
    sample_rate: int,
    *,
    window_ms: float = 20.0,
) -> float:
    """Return by how much the level steps at the seams where the original's does not.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where the fills are.
        sample_rate: of both, in Hz.
        window_ms: length of each stretch, just inside and just outside, > 0.

    Returns:
        Largest absolute difference, over all seams, between the step (inside less outside) of the
        estimate and that of the reference, in dB, >= 0; 0 where there is no seam.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signals.
        ConfigError: ``window_ms`` or the sample rate is not positive.

    Example:
        >>> x = np.ones((1, 1000)) * 0.5
        >>> y = x.copy()
        >>> y[:, 400:600] *= 0.1
        >>> round(seam_level_step_db(x, y, [Region(start=400, stop=600)], 8000), 6)
        20.0
    """
    validate(reference, estimate)
    validate_gaps(gaps, reference.shape[1])
    num_samples = _to_samples(window_ms, sample_rate, "window_ms")
    worst = 0.0
    for gap in gaps:
        length = min(num_samples, gap.num_samples)
        for position, inner, outer in (
            (gap.start, (gap.start, gap.start + length), (gap.start - num_samples, gap.start)),
            (gap.stop, (gap.stop - length, gap.stop), (gap.stop, gap.stop + num_samples)),
        ):
            if position in (0, reference.shape[1]):
                continue
            steps = [
                level_db(signal[:, slice(*inner)])
                - level_db(signal[:, max(outer[0], 0) : outer[1]])
                for signal in (reference, estimate)
            ]
            worst = max(worst, abs(steps[1] - steps[0]))
    return worst


def seam_jump_db(
    estimate: Estimate,
    gaps: Sequence[Region],
    sample_rate: int,
    *,
    window_ms: float = 20.0,
    surround_ms: float = 1000.0,
) -> float:
    """Return by how much the level jumps at the seams beyond what the known sound does by itself.

    Args:
        estimate: the filled samples.
        gaps: where the fills are.
        sample_rate: in Hz.
        window_ms: length of the stretches whose levels are compared, > 0.
        surround_ms: known sound on both sides of a gap in which jumps are looked for, > 0.

    Returns:
        Largest over the gaps, in dB, >= 0: the larger step between the stretches just inside and
        just outside of a seam (the one inside is no longer than the gap), less the largest step
        between two stretches of the known sound within ``surround_ms``, other gaps left out. 0
        where there is no seam.

    Raises:
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signal.
        ConfigError: a length or the sample rate is not positive.

    Example:
        >>> x = np.ones((1, 8000)) * 0.5
        >>> x[:, 3000:5000] *= 0.5
        >>> round(seam_jump_db(x, [Region(start=3000, stop=5000)], 8000), 2)
        6.02
    """
    validate(estimate, estimate)
    validate_gaps(gaps, estimate.shape[1])
    window = _to_samples(window_ms, sample_rate, "window_ms")
    surround = _to_samples(surround_ms, sample_rate, "surround_ms")
    known = np.ones(estimate.shape[1], dtype=bool)
    for gap in gaps:
        known[gap.start : gap.stop] = False
    worst = 0.0
    for gap in gaps:
        at_seams, around = [], [0.0]
        inside = min(window, gap.num_samples)
        if gap.start > 0:
            at_seams.append(_jump_db(estimate, gap.start, window, inside))
        if gap.stop < estimate.shape[1]:
            at_seams.append(_jump_db(estimate, gap.stop, inside, window))
        for first in range(gap.start - surround, gap.start - window, window):
            around.append(_known_jump_db(estimate, known, first, window))
        for first in range(gap.stop, gap.stop + surround - window, window):
            around.append(_known_jump_db(estimate, known, first, window))
        worst = max(worst, max(at_seams, default=0.0) - max(around))
    return worst


def _jump_db(samples: Samples, position: int, num_before: int, num_after: int) -> float:
    """Return the step of level at a position, between so many samples before and after it."""
    before = samples[:, max(0, position - num_before) : position]
    return abs(level_db(samples[:, position : position + num_after]) - level_db(before))


def _known_jump_db(
    samples: Samples, known: Bool[np.ndarray, " n"], first: int, window: int
) -> float:
    """Return the step between two stretches from ``first`` on; 0 unless both are known."""
    where = slice(first, first + 2 * window)
    if first < 0 or first + 2 * window > len(known) or not known[where].all():
        return 0.0
    return _jump_db(samples, first + window, window, window)


def level_mismatch_db(
    reference: Samples,
    estimate: Estimate,
    gaps: Sequence[Region],
    sample_rate: int,
    *,
    surround_ms: float = 200.0,
) -> float:
    """Return how far a fill's level is from the original's or its surroundings', the nearer one.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where the fills are.
        sample_rate: of both, in Hz.
        surround_ms: length of the surroundings on each side, > 0.

    Returns:
        Largest over the gaps, in dB, >= 0. The surroundings are a range, from the softer side's
        level to the louder side's: a fill of a level between them is 0 dB away.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signals.
        ConfigError: ``surround_ms`` or the sample rate is not positive.

    Example:
        >>> x = np.ones((1, 1000)) * 0.5
        >>> y = x.copy()
        >>> y[:, 400:600] *= 0.1
        >>> round(level_mismatch_db(x, y, [Region(start=400, stop=600)], 8000), 6)
        20.0
    """
    validate(reference, estimate)
    validate_gaps(gaps, reference.shape[1])
    num_samples = _to_samples(surround_ms, sample_rate, "surround_ms")
    worst = 0.0
    for gap in gaps:
        fill = level_db(estimate[:, gap.start : gap.stop])
        distance = abs(fill - level_db(reference[:, gap.start : gap.stop]))
        before = estimate[:, max(0, gap.start - num_samples) : gap.start]
        after = estimate[:, gap.stop : gap.stop + num_samples]
        around = [level_db(side) for side in (before, after) if side.shape[1]]
        if around:
            distance = min(distance, max(min(around) - fill, fill - max(around), 0.0))
        worst = max(worst, distance)
    return worst


def seam_click_db(
    reference: Samples, estimate: Estimate, gaps: Sequence[Region], sample_rate: int
) -> float:
    """Return how far the seams stick out of what is unpredictable in the original around them.

    A linear predictor of order 32, fitted to 500 ms of the original on both sides of the seam, is
    run over the estimate; a jump in value or slope becomes a peak of its error. The peak within
    1 ms of the seam is compared with the peaks of all 2 ms blocks of the original there (99 %
    quantile, so that a few attacks hide nothing), or with the original's own peak at the very seam,
    if that is larger.

    Args:
        reference: the true samples.
        estimate: the filled samples.
        gaps: where the fills are.
        sample_rate: of both, in Hz.

    Returns:
        Largest over seams and channels, in dB, in [-100, 100]. The reference itself has <= 0. Where
        the original is silent around the seam, 0 if the estimate is silent too, else 100. -100
        where there is no seam.

    Raises:
        ShapeError: channels or lengths differ.
        AudioFormatError: a sample is NaN or infinite.
        RegionError: no gap, or one outside the signals.
        ConfigError: the sample rate is not positive.

    Example:
        >>> x = np.sin(np.arange(8000) * 0.05)[None] * 0.5
        >>> y = x.copy()
        >>> y[:, 4000:4400] += 0.05
        >>> seam_click_db(x, y, [Region(start=4000, stop=4400)], 8000) > CLICK_DB
        True
    """
    validate(reference, estimate)
    validate_gaps(gaps, reference.shape[1])
    half_block = max(1, _to_samples(_CLICK_BLOCK_MS, sample_rate, "block_ms") // 2)
    surround = _to_samples(_CLICK_SURROUND_MS, sample_rate, "surround_ms")
    num_samples = reference.shape[1]
    seams = sorted({p for gap in gaps for p in (gap.start, gap.stop) if 0 < p < num_samples})
    worst = -100.0
    for seam in seams:
        first, last = max(0, seam - surround), min(num_samples, seam + surround)
        for truth, fill in zip(reference, estimate, strict=True):
            click = _click_db(truth[first:last], fill[first:last], seam - first, half_block)
            worst = max(worst, click)
    return worst


def _click_db(
    truth: Float[np.ndarray, " n"], fill: Float[np.ndarray, " n"], seam: int, half_block: int
) -> float:
    """Compare the prediction error at a seam with that of the original around it."""
    order = min(_CLICK_ORDER, len(truth) // 3)
    middle = max(0, min(seam - _MAX_FIT_SAMPLES // 2, len(truth) - _MAX_FIT_SAMPLES))
    error_filter = burg(truth[None, middle : middle + _MAX_FIT_SAMPLES], order)[0]
    own, seen = (np.abs(np.convolve(x, error_filter)[: len(x)]) for x in (truth, fill))
    own, seen = own[order:], seen[order:]
    near = slice(max(0, seam - order - half_block), max(1, seam - order + half_block))
    blocks = own[: len(own) // (2 * half_block) * 2 * half_block].reshape(-1, 2 * half_block)
    usual = float(np.quantile(blocks.max(axis=1), _CLICK_QUANTILE)) if len(blocks) else 0.0
    usual = max(usual, float(own[near].max(initial=0.0)))
    peak = float(seen[near].max(initial=0.0))
    tiny = 1e-12
    if usual <= tiny:
        return 0.0 if peak <= tiny else 100.0
    return float(np.clip(20 * np.log10(max(peak, tiny * usual) / usual), -100.0, 100.0))


def _to_samples(length_ms: float, sample_rate: int, name: str) -> int:
    """Convert a length, at least one sample."""
    if not length_ms > 0 or sample_rate <= 0:
        raise ConfigError(
            f"{name} and sample_rate must be > 0, got {length_ms} ms and {sample_rate} Hz"
        )
    return max(1, round(length_ms * sample_rate / 1000))
