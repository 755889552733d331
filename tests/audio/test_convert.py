import numpy as np
import pytest

from weft.audio import buffers
from weft.audio.audio import BLOCK_SAMPLES, Audio, AudioFormat
from weft.audio.convert import converted
from weft.audio.resample import resample
from weft.errors import ConfigError

FORMAT = AudioFormat(subtype="PCM_24")
DRAW = np.random.default_rng(0).standard_normal((2, BLOCK_SAMPLES + 12_345))


@pytest.mark.parametrize("rate", [8000, 48000])
def test_blocks_are_resampled_as_the_whole_would_be(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "SPILL_BYTES", 0)
    audio = Audio.from_samples(DRAW, 44100, format=FORMAT)
    found = converted(audio, sample_rate=rate, num_channels=2)
    assert (found.sample_rate, found.format) == (rate, FORMAT)
    assert np.array_equal(found.samples, resample(DRAW, 44100, rate))


def test_channels_are_copied_or_averaged() -> None:
    mono = Audio.from_samples(DRAW[:1, :100], 8000)
    stereo = Audio.from_samples(DRAW[:, :100], 8000)
    three = converted(mono, sample_rate=8000, num_channels=3).samples
    assert np.array_equal(three, np.repeat(DRAW[:1, :100], 3, axis=0))
    one = converted(stereo, sample_rate=8000, num_channels=1).samples
    assert np.array_equal(one[0], DRAW[:, :100].mean(axis=0))


def test_what_needs_no_change_is_returned_as_it_is() -> None:
    audio = Audio.from_samples(DRAW, 44100)
    assert converted(audio, sample_rate=44100, num_channels=2) is audio


def test_what_cannot_be_converted_is_refused() -> None:
    audio = Audio.from_samples(DRAW[:, :9], 44100)
    with pytest.raises(ConfigError, match="2 channels cannot be turned into 6"):
        converted(audio, sample_rate=44100, num_channels=6)
    with pytest.raises(ConfigError, match="sample_rate must be >= 1 Hz, got 0"):
        converted(audio, sample_rate=0, num_channels=2)
