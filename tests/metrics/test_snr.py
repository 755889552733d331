import numpy as np
import pytest

from weft.canvas.canvas import Region
from weft.metrics import si_sdr_db, snr_db


def noise(seed, channels=1, num_samples=2000):
    return np.random.default_rng(seed).standard_normal((channels, num_samples))


GAP = [Region(start=500, stop=900)]


def test_a_silent_fill_has_exactly_zero_db():
    x = noise(0)
    y = x.copy()
    y[:, 500:900] = 0
    assert snr_db(x, y, GAP) == 0.0


def test_only_the_gap_counts():
    x = noise(0)
    y = x + noise(1)
    y[:, 500:900] = 0.5 * x[:, 500:900]
    assert snr_db(x, y, GAP) == pytest.approx(20 * np.log10(2))


def test_several_gaps_are_one_ratio_of_summed_energies():
    x = np.ones((1, 40))
    y = x.copy()
    y[:, 0:10], y[:, 20:30] = 0.9, 1.3
    gaps = [Region(start=0, stop=10), Region(start=20, stop=30)]
    assert snr_db(x, y, gaps) == pytest.approx(10 * np.log10(20 / (0.1 + 0.9)))


def test_scaling_both_changes_nothing():
    x, y = noise(0), noise(1)
    assert snr_db(x, y, GAP) == pytest.approx(snr_db(3 * x, 3 * y, GAP))


def test_a_fill_in_place_of_silence_is_the_worst():
    assert snr_db(np.zeros((1, 2000)), noise(1), GAP) == -100


def test_si_sdr_ignores_gain_and_snr_does_not():
    x = noise(0)
    y = x + 0.1 * noise(1)
    assert si_sdr_db(x, 7 * y, GAP) == pytest.approx(si_sdr_db(x, y, GAP))
    assert snr_db(x, 7 * y, GAP) < 0 < snr_db(x, y, GAP)


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_energies():
    t = np.arange(2000)
    x, n = np.sin(2 * np.pi * t / 40)[None], np.cos(2 * np.pi * t / 40)[None]
    assert si_sdr_db(x, x + 0.1 * n, GAP) == pytest.approx(20, abs=1e-9)


def test_zero_mean_removes_an_offset_and_without_it_counts():
    x = np.sin(2 * np.pi * np.arange(2000) / 40)[None]
    assert si_sdr_db(x, x + 0.5, GAP) == 100
    assert si_sdr_db(x, x + 0.5, GAP, zero_mean=False) == pytest.approx(10 * np.log10(0.5 / 0.25))


def test_a_silent_estimate_has_the_worst_si_sdr():
    assert si_sdr_db(noise(0), np.zeros((1, 2000)), GAP) == -100


def test_one_scale_serves_all_channels():
    x = noise(0, channels=2)
    y = x * np.array([[1.0], [0.1]])
    assert si_sdr_db(x, y, GAP) < 10
    assert si_sdr_db(x, 0.3 * x, GAP) == 100
