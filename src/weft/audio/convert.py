"""Recordings brought to another rate or another number of channels."""

from collections.abc import Iterator

import numpy as np

from weft.audio.audio import ArraySource, Audio
from weft.audio.buffers import new_samples, release
from weft.audio.resample import to_mono
from weft.errors import ConfigError
from weft.shapes import Samples


def converted(audio: Audio, *, sample_rate: int, num_channels: int) -> Audio:
    """Return a recording at another rate and with other channels, in constant memory.

    It is read once, in blocks, with the samples that `weft.audio.resample.resample` gives. One
    channel becomes several equal ones; several become one by their mean. No clipping.

    Args:
        audio: the recording; returned as it is where nothing is to be done.
        sample_rate: in Hz, > 0.
        num_channels: 1, or any number for a mono recording.

    Raises:
        ConfigError: the rate is not positive, or channels would have to be made up.

    Example:
        >>> tone = Audio.from_samples(np.ones((1, 8000)), 8000)
        >>> converted(tone, sample_rate=24000, num_channels=2)
        Audio(1.000 s, 2 channels, 24000 Hz)
    """
    if sample_rate < 1:
        raise ConfigError(f"sample_rate must be >= 1 Hz, got {sample_rate}")
    if num_channels != audio.num_channels and 1 not in (num_channels, audio.num_channels):
        raise ConfigError(
            f"{audio.num_channels} channels cannot be turned into {num_channels}; mix them "
            "down with an editor, or convert to 1 channel"
        )
    if (sample_rate, num_channels) == (audio.sample_rate, audio.num_channels):
        return audio
    num_samples = (2 * audio.num_samples * sample_rate // audio.sample_rate + 1) // 2
    samples = new_samples(num_channels, num_samples)
    position = 0
    for block in _resampled(audio, sample_rate, num_channels):
        stop = min(position + block.shape[1], num_samples)
        samples[:, position:stop] = block[:, : stop - position]
        position = stop
        release(samples)
    return Audio(ArraySource(samples, sample_rate, audio.format))


def _resampled(audio: Audio, sample_rate: int, num_channels: int) -> Iterator[Samples]:
    """Yield the recording block by block, at the new rate and with the new channels."""
    import soxr

    stream = None
    if sample_rate != audio.sample_rate:
        stream = soxr.ResampleStream(
            audio.sample_rate, sample_rate, num_channels, dtype="float64", quality="VHQ"
        )
    for start, samples in audio.blocks():
        if num_channels < audio.num_channels:
            samples = to_mono(samples)
        elif num_channels > audio.num_channels:
            samples = np.repeat(samples, num_channels, axis=0)
        if stream is not None:
            is_last = start + samples.shape[1] == audio.num_samples
            samples = stream.resample_chunk(np.ascontiguousarray(samples.T), last=is_last).T
        yield samples
