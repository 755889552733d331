import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio.fades import crossfade, crossfade_gains, fade_in
from weft.audio.resample import resample, to_mono
from weft.audio.synth import harmonic_tones, song
from weft.errors import ConfigError


@given(st.integers(1, 500), st.floats(-1, 2))
def test_a_crossfade_keeps_the_power_of_sounds_of_that_correlation(n: int, r: float) -> None:
    falling, rising = crossfade_gains(fade_in(n), r)
    limited = min(max(r, 0.0), 1.0)
    power = falling**2 + rising**2 + 2 * limited * falling * rising
    assert np.allclose(power, 1)


def test_a_crossfade_has_neither_a_dip_nor_a_bump() -> None:
    one, other = 0.1 * np.random.default_rng(0).standard_normal((2, 1, 20000))
    unlike = crossfade(one, other, fade_in(20000))[:, 8000:12000]
    assert unlike.std() == pytest.approx(0.1, rel=0.03)  # 0.071 with gains that add up to 1
    alike = crossfade(one, one, fade_in(20000))
    assert np.allclose(alike, one)


def test_a_crossfade_has_one_pair_of_gains_for_all_channels() -> None:
    one, other = np.random.default_rng(1).standard_normal((2, 1, 500))
    image = np.array([[1.0], [-0.25]])
    mixed = crossfade(image * one, image * other, fade_in(500))
    assert np.allclose(mixed[1], -0.25 * mixed[0])


def test_a_fade_of_no_samples_is_empty_and_a_negative_one_refused() -> None:
    assert fade_in(0).shape == (0,)
    with pytest.raises(ConfigError, match=">= 0"):
        fade_in(-1)


def test_a_tone_below_the_band_edge_survives_resampling_and_one_above_does_not() -> None:
    time = np.arange(44100) / 44100
    for frequency, gain in ((5000.0, 1.0), (15000.0, 0.0)):
        tone = np.sin(2 * np.pi * frequency * time)[None]
        out = resample(tone, 44100, 24000)[0, 2000:-2000]
        assert np.sqrt(2 * np.mean(out**2)) == pytest.approx(gain, abs=1e-3)


def test_resampling_keeps_time() -> None:
    pulse = np.zeros((1, 44100))
    pulse[0, 22050] = 1
    assert resample(pulse, 44100, 48000)[0].argmax() == 24000


def test_equal_rates_change_nothing_and_impossible_ones_are_refused() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 50))
    assert np.array_equal(resample(noise, 8000, 8000), noise)
    with pytest.raises(ConfigError, match="> 0 Hz"):
        resample(noise, 0, 8000)


def test_mono_is_the_mean_of_the_channels() -> None:
    assert to_mono(np.array([[1.0, 2.0], [3.0, 6.0]])).tolist() == [[2.0, 4.0]]


def test_the_chord_has_its_partials_and_its_floor() -> None:
    chord = harmonic_tones([500.0], 1.0, 16000, num_partials=3, floor_db=-40.0)
    spectrum = np.abs(np.fft.rfft(chord[0])) / 8000
    assert spectrum[[500, 1000, 1500]] == pytest.approx([1, 1 / 2, 1 / 3], rel=0.02)
    assert spectrum[2000] < 0.01
    residual = spectrum.copy()
    residual[[500, 1000, 1500]] = 0
    floor = 10 * np.log10((residual**2).sum() / (spectrum**2).sum())
    assert floor == pytest.approx(-40, abs=0.5)


def test_the_song_is_stereo_repeats_itself_by_seed_and_does_not_clip() -> None:
    first, again, other = song(3.0, 8000, seed=1), song(3.0, 8000, seed=1), song(3.0, 8000, seed=2)
    assert first.shape == (2, 24000)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first).max() == pytest.approx(0.7)
    assert not np.allclose(first[0], first[1])
