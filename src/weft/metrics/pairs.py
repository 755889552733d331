"""Pairs: what every metric asks of a reference and an estimate.

Conventions
-----------
Arrays are ``c n`` float64, full scale 1, reference first. The two have equal channels and lengths
and hold finite numbers only; nothing is resampled, aligned, clipped or loudness-normalised. Gaps
are sample ranges of both. A metric that has no finite value for some input states the finite value
it returns instead, so that means and intervals over many files stay finite.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.errors import AudioFormatError, ConfigError, RegionError, ShapeError
from weft.shapes import Samples

Estimate: TypeAlias = Float[np.ndarray, "_ _"]
"""Samples ``c n`` that ought to have the reference's shape; `validate` says so if they do not."""


def validate(reference: Samples, estimate: Estimate) -> None:
    """Check that two signals can be compared sample by sample.

    Args:
        reference: the true samples.
        estimate: what stands for them.

    Raises:
        ShapeError: channels or lengths differ, or there are no samples.
        AudioFormatError: a sample is NaN or infinite.

    Example:
        >>> validate(np.zeros((1, 4)), np.ones((1, 4)))
    """
    if reference.shape != estimate.shape:
        raise ShapeError(
            f"reference and estimate must have equal channels and samples, got {reference.shape} "
            f"and {estimate.shape}; bring both to one length first"
        )
    if reference.size == 0:
        raise ShapeError(f"there are no samples to compare, got shape {reference.shape}")
    for name, samples in (("reference", reference), ("estimate", estimate)):
        bad = np.argwhere(~np.isfinite(samples))
        if len(bad):
            channel, sample = (int(i) for i in bad[0])
            raise AudioFormatError(
                f"the {name} holds {len(bad)} samples that are NaN or infinite, the first at "
                f"sample {sample} of channel {channel}; metrics need finite samples"
            )


def validate_rate(sample_rate: int) -> None:
    """Check that a sample rate is one.

    Raises:
        ConfigError: it is not positive.

    Example:
        >>> validate_rate(24000)
    """
    if sample_rate <= 0:
        raise ConfigError(f"sample_rate must be > 0 Hz, got {sample_rate}")


def validate_gaps(gaps: Sequence[Region], num_samples: int) -> None:
    """Check that there is a gap, and that all gaps lie inside the signals.

    Raises:
        RegionError: no gap, or one reaches beyond the end.

    Example:
        >>> validate_gaps([Region(start=0, stop=4)], 4)
    """
    if not gaps:
        raise RegionError("this metric is about gaps, and none was given")
    for gap in gaps:
        if gap.stop > num_samples:
            raise RegionError(
                f"a gap covers samples {gap.start}-{gap.stop}, the signals have {num_samples}"
            )


def samples_of(reference: Audio, estimate: Audio) -> tuple[Samples, Estimate]:
    """Return the samples of two recordings that metrics can compare.

    Raises:
        AudioFormatError: the sample rates differ, or a sample is NaN or infinite.
        ShapeError: channels or lengths differ, or there are no samples.

    Example:
        >>> tone = Audio.from_samples(np.ones((1, 4)), 8000)
        >>> [s.shape for s in samples_of(tone, tone)]
        [(1, 4), (1, 4)]
    """
    if reference.sample_rate != estimate.sample_rate:
        raise AudioFormatError(
            f"the reference has {reference.sample_rate} Hz, the estimate {estimate.sample_rate} "
            "Hz; resample one of them first, metrics never do"
        )
    pair = reference.samples, estimate.samples
    validate(*pair)
    return pair


def gap_samples(samples: Samples, gaps: Sequence[Region]) -> Float[np.ndarray, "c g"]:
    """Return the samples inside the gaps, one gap after the other.

    Example:
        >>> gap_samples(np.arange(6.0)[None], [Region(start=1, stop=3)]).tolist()
        [[1.0, 2.0]]
    """
    return np.concatenate([samples[:, gap.start : gap.stop] for gap in gaps], axis=1)


def frames_in(gaps: Sequence[Region], num_frames: int, hop_length: int) -> Int[np.ndarray, " l"]:
    """Return the numbers of the frames whose centre lies in a gap, frame i on sample i * hop.

    A gap between two centres counts the frame nearest to its middle, so every gap has a frame.

    Example:
        >>> frames_in([Region(start=100, stop=700)], 8, 256).tolist()
        [1, 2]
        >>> frames_in([Region(start=300, stop=310)], 8, 256).tolist()
        [1]
    """
    chosen = np.zeros(num_frames, dtype=bool)
    for gap in gaps:
        first, last = -(-gap.start // hop_length), -(-gap.stop // hop_length)
        if first == last:
            first = round((gap.start + gap.stop) / 2 / hop_length)
            last = first + 1
        first = min(first, num_frames - 1)
        chosen[first : max(last, first + 1)] = True
    return np.flatnonzero(chosen)
