"""From values of frames to model output variables.

Which frames count (BS.1387-1, Annex 2, section 5.2):

* all averages run from the first to the last frame in which the reference sounds: five consecutive
  samples of a channel sum up to more than 200/32768 in magnitude;
* modulation and noise loudness leave out the first 0.5 s of the signals;
* noise loudness also waits until 50 ms after both signals have exceeded 0.1 sone in one channel;
* bandwidths count where the reference reaches beyond 8.1 kHz;
* the harmonic structure counts where a signal has energy.

What the text leaves open: a silent reference takes its frames from the estimate, and two silent
signals from all frames. Where a delay would leave no frame, it is dropped. A bandwidth or harmonic
structure without any frame is the least of the network's range.
"""

from dataclasses import dataclass, fields
from typing import final

import numpy as np
from jaxtyping import Bool, Float
from scipy import signal

from weft.metrics.peaq.config import RATE
from weft.metrics.peaq.ear import HOP
from weft.metrics.peaq.network import MINIMA, Movs

Values = Float[np.ndarray, "c l"]
Together = Float[np.ndarray, " l"]
Flags = Bool[np.ndarray, " l"]

_DELAY = int(np.ceil(0.5 * RATE / HOP))
_LOUD_DELAY = int(np.ceil(0.05 * RATE / HOP))
_WINDOW = int(0.1 * RATE / HOP)
_LEAST_LINES = 346
_DISTURBED = 10**0.15
_FORGETTING = 0.9


@final
@dataclass(frozen=True, kw_only=True)
class FrameValues:
    """Values of consecutive frames; fields end in the axis of frames."""

    reference_sounds: Flags
    """Whether the reference is above the threshold of data."""
    estimate_sounds: Flags
    """Whether the estimate is."""
    both_loud: Flags
    """Whether both signals exceed 0.1 sone in one channel."""
    energetic: Flags
    """Whether a signal has energy in the frame's newer half."""
    reference_bandwidth: Values
    """In lines."""
    estimate_bandwidth: Values
    """In lines."""
    noise_to_mask: Values
    """Mean ratio of powers over bands."""
    largest_noise_to_mask: Values
    """Largest ratio of powers over bands."""
    modulation_difference_1: Values
    """Difference of modulations."""
    modulation_difference_2: Values
    """Difference that stresses added modulation."""
    modulation_weight: Values
    """Weight of the frame for both."""
    noise_loudness: Values
    """In sone."""
    detection_probability: Together
    """Of both ears."""
    detection_steps: Together
    """Of both ears."""
    harmonic_structure: Values
    """Peak of the error's spectrum of correlation."""

    @staticmethod
    def join(blocks: "list[FrameValues]") -> "FrameValues":
        """Return the frames of consecutive blocks as one."""
        return FrameValues(
            **{
                field.name: np.concatenate([getattr(b, field.name) for b in blocks], axis=-1)
                for field in fields(FrameValues)
            }
        )


def average(values: FrameValues) -> Movs:
    """Return the model output variables of all frames of a pair.

    Source: BS.1387-1, Annex 2, section 5. The mean over channels comes last, of decibels too.
    """
    sounding = _range_of(values)
    delayed = _delayed(sounding, _DELAY)
    audible = _delayed(sounding, max(_DELAY, _loud_from(values.both_loud)))
    wide = values.reference_bandwidth > _LEAST_LINES
    wide = wide & _flags(sounding, wide.shape[1])
    energetic = values.energetic & _flags(sounding, wide.shape[1])
    weight = values.modulation_weight[:, delayed]
    probability = values.detection_probability[sounding]
    return Movs(
        bandwidth_reference=_mean_where(values.reference_bandwidth, wide, float(MINIMA[0])),
        bandwidth_estimate=_mean_where(values.estimate_bandwidth, wide, float(MINIMA[1])),
        total_nmr_db=float(np.mean(10 * np.log10(values.noise_to_mask[:, sounding].mean(axis=1)))),
        windowed_modulation_difference=_windowed(values.modulation_difference_1[:, delayed]),
        average_distorted_block=_distorted(probability, values.detection_steps[sounding]),
        harmonic_structure=_mean_where(
            values.harmonic_structure,
            np.broadcast_to(energetic, wide.shape),
            0.0,
        ),
        modulation_difference_1=_weighted(values.modulation_difference_1[:, delayed], weight),
        modulation_difference_2=_weighted(values.modulation_difference_2[:, delayed], weight),
        noise_loudness=float(
            np.mean(np.sqrt(np.mean(values.noise_loudness[:, audible] ** 2, axis=1)))
        ),
        detection_probability=float(
            signal.lfilter([1 - _FORGETTING], [1, -_FORGETTING], probability).max()
        ),
        disturbed_frames=float(np.mean(values.largest_noise_to_mask[:, sounding] > _DISTURBED)),
    )


def _range_of(values: FrameValues) -> slice:
    """Return the frames from the first to the last that sound."""
    for sounds in (values.reference_sounds, values.estimate_sounds):
        active = np.flatnonzero(sounds)
        if len(active):
            return slice(int(active[0]), int(active[-1]) + 1)
    return slice(0, len(values.reference_sounds))


def _delayed(sounding: slice, first: int) -> slice:
    """Return the sounding frames from one on, all of them if it is too late."""
    return slice(max(sounding.start, first), sounding.stop) if first < sounding.stop else sounding


def _loud_from(both_loud: Flags) -> int:
    """Return the frame 50 ms after the first one that is loud, 0 if there is none."""
    loud = np.flatnonzero(both_loud)
    return int(loud[0]) + _LOUD_DELAY if len(loud) else 0


def _flags(chosen: slice, num_frames: int) -> Flags:
    """Return a range of frames as flags."""
    flags = np.zeros(num_frames, dtype=bool)
    flags[chosen] = True
    return flags


def _mean_where(values: Values, counted: Bool[np.ndarray, "c l"], otherwise: float) -> float:
    """Return the mean over channels of the means over counted frames."""
    count = counted.sum(axis=1)
    total = np.where(counted, values, 0).sum(axis=1)
    return float(np.mean(np.where(count > 0, total / np.maximum(count, 1), otherwise)))


def _weighted(values: Values, weight: Values) -> float:
    """Return the mean over channels of weighted means over frames; weights are > 0."""
    return float(np.mean((values * weight).sum(axis=1) / weight.sum(axis=1)))


def _windowed(values: Values) -> float:
    """Return the root mean square of the squared mean root in windows of up to 4 frames."""
    root = np.sqrt(values)
    size = min(_WINDOW, root.shape[1])
    mean = np.lib.stride_tricks.sliding_window_view(root, size, axis=1).mean(axis=-1)
    return float(np.mean(np.sqrt(np.mean(mean**4, axis=1))))


def _distorted(probability: Together, steps: Together) -> float:
    """Return the average distorted block."""
    heard = probability > 0.5
    if not heard.any():
        return 0.0
    mean = float(steps[heard].mean())
    return float(np.log10(mean)) if mean > 0 else -0.5
