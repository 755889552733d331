"""PEAQ: how annoying the difference of two signals is to a listener who knows the original.

Conventions
-----------
Signals are ``c n`` float64 at 48 kHz with one or two channels, aligned sample by sample; full scale
1 sounds at 92 dB SPL. Nothing is aligned, scaled or clipped. The grade runs from about 0
(imperceptible) to -4 (very annoying); equal signals have about +0.17, the end of the scale of the
network and not a mistake. The model is for coded music of ten seconds and more; on half-second
excerpts around a gap it still orders, but its absolute values mean little.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from weft.audio.resample import resample
from weft.errors import ConfigError, ShapeError
from weft.metrics.pairs import Estimate, validate
from weft.metrics.peaq import ear, movs, patterns
from weft.metrics.peaq.averages import FrameValues, average
from weft.metrics.peaq.config import RATE, PeaqConfig
from weft.metrics.peaq.network import Movs, distortion_index, grade
from weft.metrics.peaq.patterns import Memory
from weft.shapes import Samples

_BLOCK = 128
_SOUNDING = 200 / 32768
_SOUNDING_SAMPLES = 5
_LOUD_SONE = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class PeaqResult:
    """What PEAQ says of a pair."""

    odg: float
    """Objective difference grade, in [-3.98, 0.22], higher is better."""
    di: float
    """Distortion index, the grade before its saturation, higher is better."""
    movs: Movs
    """Model output variables."""


def peaq(
    reference: Samples,
    estimate: Estimate,
    *,
    sample_rate: int = RATE,
    config: PeaqConfig = PeaqConfig(),  # noqa: B008 - frozen
) -> PeaqResult:
    """Return the grade of the basic version of PEAQ and what it is made of.

    Args:
        reference: the true samples, one or two channels.
        estimate: what stands for them.
        sample_rate: that of both, in Hz; must be 48000, see `odg_at`.
        config: level and readings of the Recommendation.

    Returns:
        Grade, distortion index and variables, all finite. Two silent signals are equal ones. A clip
        shorter than a frame of 43 ms is filled up with silence.

    Raises:
        ConfigError: another sample rate.
        ShapeError: channels or lengths differ, or there are more than two channels.
        AudioFormatError: a sample is NaN or infinite.

    Source: ITU-R BS.1387-1, basic version; Kabal 2002 where the text is open. Differs: see
    `movs` and `averages` for silence and equal frames.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1, 48000)) / 10
        >>> x = np.repeat(x[:, ::4], 4, axis=1)
        >>> y = x + np.random.default_rng(1).standard_normal(x.shape) / 100
        >>> peaq(x, x).odg > 0 > -1 > peaq(x, y).odg
        True
    """
    if sample_rate != RATE:
        raise ConfigError(
            f"PEAQ is defined at {RATE} Hz only, got {sample_rate} Hz; resample both signals, or "
            "call odg_at, which does"
        )
    validate(reference, estimate)
    if reference.shape[0] > 2:
        raise ShapeError(
            f"PEAQ rates one or two channels, got {reference.shape[0]}; rate pairs of them"
        )
    values = FrameValues.join(list(_blocks(reference, estimate, config)))
    variables = average(values)
    index = distortion_index(variables, clamp=config.clamp)
    return PeaqResult(odg=grade(index), di=index, movs=variables)


def odg(
    reference: Samples,
    estimate: Estimate,
    *,
    sample_rate: int = RATE,
    config: PeaqConfig = PeaqConfig(),  # noqa: B008 - frozen
) -> float:
    """Return the objective difference grade, in [-3.98, 0.22]; see `peaq`.

    Example:
        >>> x = np.sin(np.arange(48000) * 0.05)[None]
        >>> round(odg(x, x), 1)
        0.2
    """
    return peaq(reference, estimate, sample_rate=sample_rate, config=config).odg


def odg_at(
    reference: Samples,
    estimate: Estimate,
    sample_rate: int,
    *,
    config: PeaqConfig = PeaqConfig(),  # noqa: B008 - frozen
) -> float:
    """Return the grade of signals of any sample rate, after resampling both to 48 kHz.

    The band above half the sample rate is empty in both and does not count against the estimate.

    Args:
        reference: the true samples, one or two channels.
        estimate: what stands for them.
        sample_rate: that of both, in Hz.
        config: level and readings of the Recommendation.

    Raises:
        ConfigError: the sample rate is not positive.
        ShapeError: channels or lengths differ, or there are more than two channels.
        AudioFormatError: a sample is NaN or infinite.

    Example:
        >>> x = np.sin(np.arange(44100) * 0.05)[None]
        >>> round(odg_at(x, x, 44100), 1)
        0.2
    """
    validate(reference, estimate)
    truth, fill = (resample(x, sample_rate, RATE) for x in (reference, estimate))
    return odg(truth, fill, config=config)


def _blocks(reference: Samples, estimate: Estimate, config: PeaqConfig) -> Iterator[FrameValues]:
    """Yield the values of 128 frames at a time, so that memory does not grow with the length.

    The last frame has at least half of its samples, the rest of it is silence.
    """
    num_samples = reference.shape[1]
    num_frames = max(1, num_samples // ear.HOP)
    memory = Memory.empty(reference.shape[0])
    for first in range(0, num_frames, _BLOCK):
        count = min(_BLOCK, num_frames - first)
        start, stop = first * ear.HOP, (first + count + 1) * ear.HOP
        missing = max(0, stop - num_samples)
        truth, fill = (
            _frames(np.pad(x[:, start:stop], ((0, 0), (0, missing)))) for x in (reference, estimate)
        )
        values, memory = _rate(truth, fill, memory, config)
        yield values


def _frames(samples: Samples) -> Float[np.ndarray, "c l f"]:
    """Return overlapping frames, as a view."""
    views = np.lib.stride_tricks.sliding_window_view(samples, ear.FRAME, axis=1)
    return views[:, :: ear.HOP]


def _rate(
    reference: Float[np.ndarray, "c l n"],
    estimate: Float[np.ndarray, "c l n"],
    memory: Memory,
    config: PeaqConfig,
) -> tuple[FrameValues, Memory]:
    """Return the values of consecutive frames and what the next ones need to know."""
    truth_power = ear.power_spectra(reference, config.playback_level_db)
    fill_power = ear.power_spectra(estimate, config.playback_level_db)
    truth_ear, fill_ear = truth_power * ear.ear_weights(), fill_power * ear.ear_weights()
    noise = ear.bands().internal_noise
    truth_pattern, fill_pattern = (
        ear.spread(ear.group(power) + noise) for power in (truth_ear, fill_ear)
    )
    truth, truth_smear = patterns.smear(truth_pattern, memory.reference_smear)
    fill, fill_smear = patterns.smear(fill_pattern, memory.estimate_smear)
    truth_adapted, fill_adapted, adapted = patterns.adapt(truth, fill, memory)
    truth_modulation, truth_level, truth_state = patterns.modulation(
        truth_pattern, memory.reference_modulation
    )
    fill_modulation, _, fill_state = patterns.modulation(fill_pattern, memory.estimate_modulation)

    width, heard_width = movs.bandwidths(truth_power, fill_power)
    ratio, largest_ratio = movs.noise_to_mask(truth_ear, fill_ear, truth)
    first, second, weight = movs.modulation_differences(
        truth_modulation, fill_modulation, truth_level
    )
    probability, steps = movs.detection(truth, fill, config.steps)
    loud = np.minimum(ear.loudness(truth), ear.loudness(fill)) > _LOUD_SONE  # c l
    values = FrameValues(
        reference_sounds=_sounds(reference),
        estimate_sounds=_sounds(estimate),
        both_loud=np.any(loud, axis=0),
        energetic=movs.loud_enough(reference) | movs.loud_enough(estimate),
        reference_bandwidth=width,
        estimate_bandwidth=heard_width,
        noise_to_mask=ratio,
        largest_noise_to_mask=largest_ratio,
        modulation_difference_1=first,
        modulation_difference_2=second,
        modulation_weight=weight,
        noise_loudness=movs.noise_loudness(
            truth_adapted, fill_adapted, truth_modulation, fill_modulation
        ),
        detection_probability=probability,
        detection_steps=steps,
        harmonic_structure=movs.harmonic_structure(truth_power, fill_power, config),
    )
    return values, replace(
        memory,
        reference_smear=truth_smear,
        estimate_smear=fill_smear,
        reference_modulation=truth_state,
        estimate_modulation=fill_state,
        **adapted,
    )


def _sounds(frames: Float[np.ndarray, "c l n"]) -> Bool[np.ndarray, " l"]:
    """Return where five consecutive samples of a channel exceed the threshold of data."""
    size = np.abs(frames)
    last = frames.shape[-1] - _SOUNDING_SAMPLES + 1
    total = size[..., :last].copy()
    for offset in range(1, _SOUNDING_SAMPLES):
        total += size[..., offset : offset + last]
    return np.any(total > _SOUNDING, axis=(0, 2))
