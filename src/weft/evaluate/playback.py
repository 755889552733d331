"""Playback: sounds of an example, cut, made equally loud, and packed for a page."""

import io
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.audio.fades import fade_in
from weft.audio.resample import resample
from weft.errors import ConfigError
from weft.evaluate.examples import Example
from weft.shapes import Samples

LOUDNESS_LUFS = -23.0
"""Loudness of what is played, where the peaks allow it."""
PEAK_DBFS = -1.0
"""No sample goes over it."""
CONTEXT_S = 2.0
"""What is played before and after a gap."""
MAX_S = 12.0
"""Longest sound of an example without a gap."""

_SILENT_LUFS = -70.0
_LOW_RATE, _HIGH_RATE = 8000, 48000


@final
@dataclass(frozen=True, kw_only=True)
class Clip:
    """A sound of a page."""

    flac: bytes
    """FLAC, 16 bit, at most stereo."""
    gain_db: float
    """What it was made louder (or, below 0, softer) by."""


@final
@dataclass(frozen=True, kw_only=True)
class Pair:
    """The sounds of an example: as it was and as it was filled, equally loud."""

    original: Clip | None
    """As it was; None where nothing was."""
    filled: Clip
    """As it was filled."""
    loudness_lufs: float | None
    """Of both; None where both are silent."""
    sample_rate: int
    """Of both, in Hz."""
    gap_s: tuple[float, float] | None
    """Where the gap begins and ends in the clips."""

    @property
    def num_bytes(self) -> int:
        """Bytes of both clips."""
        return len(self.filled.flac) + (len(self.original.flac) if self.original else 0)


def make_pair(example: Example) -> Pair:
    """Cut the sounds of an example around its gap, make them equally loud, and pack them.

    Both get the same loudness, each by its own gain; samples are not limited or compressed. A
    silent one gets the gain of the other. More than two channels become their mean; rates outside
    8 to 48 kHz are resampled into that range, because players want it.
    """
    start, stop = _stretch(example)
    rate = min(max(example.sample_rate, _LOW_RATE), _HIGH_RATE)
    sounds = [
        _prepared(samples[:, start:stop], example.sample_rate, rate)
        for samples in (example.estimate, example.reference)
        if samples is not None
    ]
    gains_db, reached = _gains(sounds, rate)
    clips = [
        Clip(flac=_flac(sound * 10 ** (gain / 20), rate), gain_db=gain)
        for sound, gain in zip(sounds, gains_db, strict=True)
    ]
    gap = example.gap
    in_clip = None
    if gap is not None:
        in_clip = tuple((edge - start) / example.sample_rate for edge in gap)
    return Pair(
        original=clips[1] if len(clips) > 1 else None,
        filled=clips[0],
        loudness_lufs=reached,
        sample_rate=rate,
        gap_s=in_clip,  # type: ignore[arg-type]
    )


def loudness_lufs(samples: Samples, sample_rate: int) -> float:
    """Return the loudness of a whole sound, K-weighted, without gate; -inf for silence.

    Args:
        samples: audio; a sine of 997 Hz and full scale in one channel has -3.01.
        sample_rate: in Hz, >= 8000.

    Raises:
        ConfigError: the rate is below 8 kHz, where the weighting has no meaning.

    Source: ITU-R BS.1770-4, filters designed for any rate after De Man 2014. Differs: no gate; a
        gate would leave out the silence of a bad fill.
    """
    from scipy.signal import lfilter

    if sample_rate < _LOW_RATE:
        raise ConfigError(f"loudness needs a sample rate >= {_LOW_RATE} Hz, got {sample_rate}")
    k = np.tan(np.pi * 1681.974450955533 / sample_rate)
    q, high, band = 0.7071752369554196, 1.5848647011308556, 1.2587209302325555
    scale = 1 + k / q + k * k
    shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    weighted = lfilter(shelf, [scale, 2 * (k * k - 1), 1 - k / q + k * k], samples, axis=1)
    k = np.tan(np.pi * 38.13547087602444 / sample_rate)
    q = 0.5003270373238773
    scale = 1 + k / q + k * k
    poles = [1, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale]
    weighted = lfilter([1, -2, 1], poles, weighted, axis=1)
    power = float(np.sum(np.mean(weighted**2, axis=1)))
    return -0.691 + 10 * float(np.log10(power)) if power > 0 else -np.inf


def _stretch(example: Example) -> tuple[int, int]:
    """Return which samples are played."""
    num_samples, rate = example.estimate.shape[1], example.sample_rate
    if example.gap is None:
        return 0, min(num_samples, round(MAX_S * rate))
    context = round(CONTEXT_S * rate)
    return max(0, example.gap[0] - context), min(num_samples, example.gap[1] + context)


def _prepared(samples: Samples, source_rate: int, rate: int) -> Float[np.ndarray, "p m"]:
    """Return a sound that a player can play, faded in and out over 5 ms."""
    samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    if samples.shape[0] > 2:
        samples = samples.mean(axis=0, keepdims=True)
    samples = np.array(resample(samples, source_rate, rate))
    fade = fade_in(min(round(0.005 * rate), samples.shape[1] // 2))
    if len(fade):
        samples[:, : len(fade)] *= fade
        samples[:, -len(fade) :] *= fade[::-1]
    return samples


def _gains(sounds: list[Float[np.ndarray, "c n"]], rate: int) -> tuple[list[float], float | None]:
    """Return the gain of each sound in dB, and the loudness that all of them then have."""
    levels = [loudness_lufs(sound, rate) for sound in sounds]
    heard = [i for i, level in enumerate(levels) if level > _SILENT_LUFS]
    if not heard:
        return [0.0] * len(sounds), None
    peaks_db = [20 * np.log10(max(float(np.abs(sound).max()), 1e-9)) for sound in sounds]
    target = min(LOUDNESS_LUFS, *(levels[i] + PEAK_DBFS - float(peaks_db[i]) for i in heard))
    shared = target - levels[heard[0]]
    return [target - levels[i] if i in heard else shared for i in range(len(sounds))], target


def _flac(samples: Samples, rate: int) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples.T, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
