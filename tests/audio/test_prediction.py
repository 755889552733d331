"""Linear prediction against closed forms."""

import numpy as np
import pytest
from scipy import linalg

from weft.audio.interpolation import fill_least_squares, solve_toeplitz
from weft.audio.prediction import (
    autocorrelation_lpc,
    burg,
    burg_segments,
    extrapolate,
    extrapolate_gap,
    usable_order,
)
from weft.errors import ConfigError, ShapeError

AR2 = np.array([1.0, -1.6, 0.9])


def autoregressive(filters: np.ndarray, num_samples: int, seed: int = 0) -> np.ndarray:
    """Draw a stationary Gaussian process with these error filters, by its innovations."""
    noise = np.random.default_rng(seed).standard_normal(num_samples + 2000)
    signal = np.zeros_like(noise)
    order = len(filters) - 1
    for n in range(order, len(signal)):
        signal[n] = noise[n] - filters[1:] @ signal[n - order : n][::-1]
    return signal[2000:]


def autocovariance(filters: np.ndarray, num_lags: int) -> np.ndarray:
    """Solve the Yule-Walker equations for the covariance of lags 0, 1, …"""
    order = len(filters) - 1
    system = np.zeros((order + 1, order + 1))
    for lag in range(order + 1):
        for i in range(order + 1):
            system[lag, abs(lag - i)] += filters[i]
    lags = list(np.linalg.solve(system, np.eye(order + 1)[0]))
    while len(lags) < num_lags:
        lags.append(-float(filters[1:] @ np.array(lags[: -order - 1 : -1])))
    return np.array(lags[:num_lags])


def random_filters(order: int, seed: int, radius: float = 0.95) -> np.ndarray:
    angles = np.random.default_rng(seed).uniform(0.2, 2.9, order // 2)
    poles = radius * np.exp(1j * angles)
    return np.poly(np.concatenate([poles, poles.conj()])).real


def low_passed_music(num_samples: int = 6000, seed: int = 3) -> np.ndarray:
    """Tones and noise with nothing above a quarter of the rate but rounding of 24 bits."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.arange(len(spectrum)) / num_samples
    spectrum *= (frequency < 0.2) / (1 + 50 * frequency)
    noise = np.fft.irfft(spectrum, num_samples)
    time = np.arange(num_samples)
    tones = sum(np.cos(w * time + 7 * w) for w in (0.11, 0.163, 0.24, 0.52, 0.9))
    return 0.1 * tones + 0.1 * noise / noise.std() * 0.05


@pytest.mark.parametrize("fit", [burg, autocorrelation_lpc])
def test_a_fit_recovers_a_known_process(fit):
    signal = np.stack([autoregressive(AR2, 40000, seed) for seed in range(3)])
    found = fit(signal, 2)
    # Standard error of a coefficient is sqrt((1 - 0.9^2) / n) = 0.0022.
    np.testing.assert_allclose(found, np.tile(AR2, (3, 1)), atol=0.008)


def test_burg_finds_the_reflection_coefficients_of_a_longer_process():
    filters = random_filters(8, seed=1, radius=0.9)
    found = burg(autoregressive(filters, 200_000)[None], 8)[0]
    np.testing.assert_allclose(found, filters, atol=0.03)


def test_burg_equals_its_definition_on_a_short_row():
    # One step: k = -2 sum f b / sum (f^2 + b^2), by hand for 1 2 4.
    found = burg(np.array([[1.0, 2.0, 4.0]]), 1, noise_level=0.0)
    assert found[0, 1] == pytest.approx(-2 * (2 * 1 + 4 * 2) / (4 + 1 + 16 + 4))


def test_the_assumed_noise_is_what_drawn_noise_does_on_average():
    rng = np.random.default_rng(0)
    signal = autoregressive(AR2, 1500)
    noise = rng.standard_normal((3000, 1500)) * np.sqrt(np.mean(signal**2)) * 0.1
    drawn = burg(signal + noise, 3, noise_level=0.0).mean(axis=0)
    assumed = burg(signal[None], 3, noise_level=0.1)[0]
    plain = burg(signal[None], 3, noise_level=0.0)[0]
    # Measured: 1.3e-3 from the mean over drawn noise; without the noise 0.4.
    np.testing.assert_allclose(assumed, drawn, atol=2e-3)
    assert np.abs(plain - drawn).max() > 0.2


def test_filters_of_burg_are_stable_on_band_limited_material():
    filters = burg(low_passed_music()[None, :1500], 300)[0]
    assert np.abs(np.roots(filters)).max() < 1


def test_without_assumed_noise_the_model_is_about_the_empty_band():
    # The trap: the error filter becomes enormous where the spectrum is empty. Measured: largest
    # coefficient 5.8 with assumed noise, 77 000 without.
    signal = low_passed_music()[None]
    assert np.abs(burg(signal, 64)).max() < 100
    assert np.abs(burg(signal, 64, noise_level=0.0)).max() > 1000


@pytest.mark.parametrize("fit", [burg, autocorrelation_lpc])
def test_silence_has_the_trivial_model(fit):
    signal = np.zeros((2, 60))
    signal[1] = autoregressive(AR2, 60)
    found = fit(signal, 4)
    assert found[0].tolist() == [1, 0, 0, 0, 0]
    assert np.abs(found[1, 1:]).max() > 0.1


@pytest.mark.parametrize("fit", [burg, autocorrelation_lpc])
def test_a_row_does_not_depend_on_its_neighbours(fit):
    signal = np.random.default_rng(0).standard_normal((300, 400))
    together = fit(signal, 30)
    for row in (0, 83, 299):
        np.testing.assert_array_equal(fit(signal[row : row + 1], 30)[0], together[row])


def test_one_segment_is_plain_burg_and_two_share_a_model():
    signal = autoregressive(AR2, 4000)[None]
    np.testing.assert_array_equal(burg_segments([signal], 5), burg(signal, 5))
    joint = burg_segments([signal[:, :1500], signal[:, 1700:]], 2)
    np.testing.assert_allclose(joint[0], AR2, atol=0.03)


def test_a_segment_shorter_than_the_order_still_counts():
    signal = autoregressive(AR2, 3000)[None]
    short = burg_segments([signal[:, :2900], signal[:, 2990:]], 20)
    alone = burg(signal[:, :2900], 20)
    assert 0 < np.abs(short - alone).max() < 0.1


@pytest.mark.parametrize("direction", [1, -1])
def test_a_sine_is_continued(direction):
    wave = np.sin(0.07 * np.arange(3000) + 0.3)[None, ::direction]
    forward, _ = extrapolate_gap(wave[:, :2000], None, 600, order=128)
    # Measured 7e-3 over nearly 7 periods; a filter in the wrong direction is off by more than 1.
    assert np.abs(forward - wave[:, 2000:2600]).max() < 0.015


def test_the_backward_prediction_is_the_forward_one_of_the_mirrored_gap():
    signal = autoregressive(random_filters(6, seed=2), 1000)[None]
    forward, backward = extrapolate_gap(signal[:, :400], signal[:, 500:], 100, order=20)
    mirrored = signal[:, ::-1]
    again, _ = extrapolate_gap(mirrored[:, :500], mirrored[:, 600:], 100, order=20)
    np.testing.assert_array_equal(again[:, ::-1], backward)
    assert np.abs(forward - backward).max() > 0.1


def test_extrapolation_satisfies_its_recursion():
    rng = np.random.default_rng(0)
    filters = np.stack([random_filters(6, seed) for seed in range(3)])
    context = rng.standard_normal((3, 4))  # shorter than the order: zeros before it
    found = extrapolate(context, filters, 50)
    whole = np.concatenate([np.zeros((3, 2)), context, found], axis=1)
    for row in range(3):
        error = np.convolve(whole[row], filters[row], "valid")
        assert np.abs(error).max() < 1e-12


def test_a_missing_side_gives_none_and_a_short_one_a_lower_order():
    signal = autoregressive(AR2, 500)[None]
    forward, backward = extrapolate_gap(signal[:, :7], signal[:, :0], 10, order=100)
    assert backward is None
    assert forward is not None
    assert np.isfinite(forward).all()
    assert usable_order(7, 100) == 2
    assert extrapolate_gap(None, None, 10) == (None, None)


@pytest.mark.parametrize(
    ("order", "length", "start", "stop"),
    [
        (6, 160, 60, 80),  # Toeplitz
        (6, 160, 60, 61),  # one sample
        (6, 160, 20, 153),  # a gap much longer than the order, with just enough after it
        (6, 160, 60, 157),  # banded: three samples after
        (8, 160, 140, 146),  # gap below the order
        (8, 160, 150, 157),  # dense: below the order, three samples after
        (6, 160, 140, 160),  # end of the row: extrapolation
    ],
)
def test_the_fill_is_the_conditional_mean(order, length, start, stop):
    filters = random_filters(order, seed=4, radius=0.9)
    covariance = linalg.toeplitz(autocovariance(filters, length))
    signal = np.linalg.cholesky(covariance) @ np.random.default_rng(1).standard_normal(length)
    gap = np.arange(start, stop)
    known = np.setdiff1d(np.arange(length), gap)
    gain = linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, gap)]).T
    expected = gain @ signal[known]
    damaged = signal.copy()
    damaged[gap] = 1e3  # must not matter
    found = fill_least_squares(damaged[None], filters[None], start, stop)[0]
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(signal).max())


def test_the_toeplitz_solvers_agree_with_a_dense_one():
    for size in (1, 2, 40, 600):  # 600: row by row
        lags = np.stack([autocovariance(random_filters(4, seed), size) for seed in range(3)])
        right = np.random.default_rng(0).standard_normal((3, size))
        expected = [
            np.linalg.solve(linalg.toeplitz(a), b) for a, b in zip(lags, right, strict=True)
        ]
        np.testing.assert_allclose(solve_toeplitz(lags, right), expected, rtol=1e-6, atol=1e-9)


def test_wrong_arguments_are_named():
    row = np.ones((1, 10))
    with pytest.raises(ConfigError, match=r"order must be in \[0, 9\] for 10 samples, got 10"):
        burg(row, 10)
    with pytest.raises(ConfigError, match="noise_level"):
        burg(row, 2, noise_level=-1.0)
    with pytest.raises(ConfigError, match="num_samples"):
        extrapolate(row, np.ones((1, 2)), -1)
    with pytest.raises(ShapeError, match="samples 0-10, got 8-11"):
        fill_least_squares(row, np.ones((1, 2)), 8, 11)
    with pytest.raises(ConfigError, match="order 5 needs as many samples before the gap, got 3"):
        fill_least_squares(row, np.ones((1, 6)), 3, 4)
    with pytest.raises(ShapeError, match="segments"):
        burg_segments([], 2)
