from dataclasses import replace

import numpy as np
import pytest

from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics import EXCERPT, GAP, LsdConfig, log_spectral_distance


def noise(seed, num_samples=24000):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, num_samples))


def test_a_gain_of_20_db_is_two_decades_of_power_in_every_bin():
    x = noise(0)
    assert log_spectral_distance(x, 0.1 * x, config=EXCERPT) == pytest.approx(2, abs=1e-3)


def test_a_full_scale_sine_on_a_bin_has_power_one():
    # Against silence only the sine's bins differ: 120 dB on the bin, 114 dB on its two neighbours.
    t = np.arange(24000)
    x = np.sin(2 * np.pi * 100 * t / 2048)[None]
    frames = slice(8, -8)
    gap = [Region(start=frames.start * 512, stop=30 * 512)]
    expected = np.sqrt((12**2 + 2 * (12 - np.log10(4)) ** 2) / 1025)
    assert log_spectral_distance(x, np.zeros_like(x), gap) == pytest.approx(expected, rel=1e-6)


def test_only_frames_centred_in_the_gap_count():
    x = noise(0)
    y = x.copy()
    y[:, :6000] = noise(1)[:, :6000]
    assert log_spectral_distance(x, y, [Region(start=12000, stop=15000)]) == 0
    assert log_spectral_distance(x, y, [Region(start=3000, stop=4000)]) > 0.5


def test_the_excerpt_variant_falls_with_the_share_of_intact_sound_and_the_gap_variant_does_not():
    x = noise(0, 96000)
    y = x.copy()
    y[:, 10000:14096] = noise(1)[:, :4096]
    gap = [Region(start=10000, stop=14096)]
    short, whole = (
        (
            log_spectral_distance(x[:, :n], y[:, :n], gap, config=EXCERPT),
            log_spectral_distance(x[:, :n], y[:, :n], gap, config=GAP),
        )
        for n in (24576, 96000)
    )
    assert short[0] / whole[0] == pytest.approx(96000 / 24576, rel=0.05)
    assert short[1] == whole[1]


def test_below_the_floor_all_is_silence():
    x = 1e-7 * noise(0)
    assert log_spectral_distance(x, np.zeros_like(x), config=EXCERPT) == 0
    deeper = replace(EXCERPT, floor_db=-200.0)
    assert log_spectral_distance(x, np.zeros_like(x), config=deeper) > 1


def test_the_distance_is_symmetric():
    x, y = noise(0), noise(1)
    assert log_spectral_distance(x, y, config=EXCERPT) == log_spectral_distance(
        y, x, config=EXCERPT
    )


def test_independent_noise_has_the_distance_of_two_exponential_variables():
    # Power of a bin is exponential; the log10 ratio of two has variance pi^2 / 3 / ln(10)^2.
    expected = np.pi / np.sqrt(3) / np.log(10)
    value = log_spectral_distance(noise(0, 96000), noise(1, 96000), config=EXCERPT)
    assert value == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "bad", [{"n_fft": 1023}, {"hop_length": 0}, {"hop_length": 4096}, {"floor_db": 0.0}]
)
def test_a_setting_outside_its_range_is_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        LsdConfig(name="x", frames="all", **bad)
