"""Noise fill: spectrum, level and stereo image are those of the sides."""

from itertools import pairwise

import numpy as np
import pytest

from weft.canvas.canvas import Region, Window
from weft.classical.noise import (
    ExtrapolationNoise,
    NoiseConfig,
    NoiseFill,
    add_noise_residual,
    extrapolated,
    noisiness,
)
from weft.errors import ConfigError
from weft.rng import Rng

RATE = 24_000


def make_window(
    samples: np.ndarray, gap: tuple[int, int], *, rate: int = RATE, start: int = 0
) -> Window:
    known = np.ones(samples.shape[1], bool)
    known[gap[0] : gap[1]] = False
    return Window(
        samples=np.where(known, samples, 0.0),
        known=known,
        gap=Region(start=gap[0], stop=gap[1]),
        start=start,
        sample_rate=rate,
    )


def make_rain(num_samples: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Noise that falls by 6 dB an octave above 500 Hz and has a hump at 3 kHz."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((channels, num_samples)))
    hz = np.fft.rfftfreq(num_samples, 1 / RATE)
    gain = 1 / np.sqrt(1 + (hz / 500) ** 2) + 0.3 * np.exp(-(((hz - 3000) / 800) ** 2))
    return 0.1 * np.fft.irfft(spectrum * gain, num_samples)


def third_octaves_db(samples: np.ndarray, lowest_hz: float = 150.0) -> np.ndarray:
    power = (np.abs(np.fft.rfft(samples * np.hanning(samples.shape[1]))) ** 2).sum(axis=0)
    hz = np.fft.rfftfreq(samples.shape[1], 1 / RATE)
    edges = lowest_hz * 2 ** (np.arange(19) / 3)
    return np.array(
        [
            10 * np.log10(power[(hz >= low) & (hz < high)].mean())
            for low, high in pairwise(edges)
            if high < RATE / 2
        ]
    )


def fill_of(window: Window, take: int = 0) -> np.ndarray:
    return NoiseFill().fill([window], num_takes=take + 1, rng=Rng(3))[0][take].samples


def test_third_octaves_are_those_of_the_sides() -> None:
    rain = make_rain(6 * RATE)
    window = make_window(rain, (2 * RATE, 5 * RATE))
    levels = [third_octaves_db(fill_of(window, take)) for take in range(3)]
    wanted = third_octaves_db(rain[:, 2 * RATE : 5 * RATE])
    assert np.abs(np.mean(levels, axis=0) - wanted).max() < 2


def test_levels_move_from_one_side_to_the_other() -> None:
    rain = make_rain(6 * RATE)
    gain_db = np.where(np.arange(6 * RATE) < 3 * RATE, 0.0, -20.0)
    window = make_window(rain * 10 ** (gain_db / 20), (2 * RATE, 4 * RATE))
    filled = fill_of(window)
    power_db = 10 * np.log10((filled.reshape(4, -1) ** 2).mean(axis=1))
    np.testing.assert_allclose(np.diff(power_db), [-5, -5, -5], atol=1)


@pytest.mark.parametrize("correlation", [-0.7, 0.0, 0.5, 0.9])
def test_channels_stay_as_correlated_as_they_were(correlation: float) -> None:
    rain = make_rain(6 * RATE, channels=2)
    rain[1] = correlation * rain[0] + np.sqrt(1 - correlation**2) * rain[1]
    filled = fill_of(make_window(rain, (2 * RATE, 5 * RATE)))
    assert abs(np.corrcoef(filled)[0, 1] - np.corrcoef(rain)[0, 1]) < 0.1


def test_a_delay_between_channels_is_kept() -> None:
    rain = make_rain(6 * RATE + 5)
    stereo = np.concatenate([rain[:, 5:], rain[:, :-5]])
    filled = fill_of(make_window(stereo, (2 * RATE, 5 * RATE)))
    lags = [np.corrcoef(filled[0, : -k or None], filled[1, k:])[0, 1] for k in range(10)]
    assert int(np.argmax(lags)) == 5


def test_draws_depend_on_seed_take_and_place_only() -> None:
    rain = make_rain(3 * RATE)
    first, second = (make_window(rain, (p, p + 3000)) for p in (RATE, RATE + 7000))
    model = NoiseFill()
    together = model.fill([first, second], num_takes=2, rng=Rng(5))
    alone = model.fill([second], num_takes=2, rng=Rng(5))[0]
    np.testing.assert_array_equal(together[1][0].samples, alone[0].samples)
    np.testing.assert_array_equal(together[1][1].samples, alone[1].samples)
    assert not np.array_equal(alone[0].samples, alone[1].samples)
    other_seed = model.fill([second], num_takes=1, rng=Rng(6))[0][0].samples
    assert not np.array_equal(alone[0].samples, other_seed)
    cut = make_window(rain[:, 4000:], (RATE + 3000, RATE + 6000), start=4000)
    np.testing.assert_array_equal(
        alone[0].samples, model.fill([cut], num_takes=1, rng=Rng(5))[0][0].samples
    )


def test_the_level_of_an_extrapolation_is_kept_up() -> None:
    rain = make_rain(4 * RATE)
    window = make_window(rain, (RATE, 2 * RATE))
    smooth = extrapolated(window, 256)
    middle = slice(RATE // 4, 3 * RATE // 4)
    wanted_db = 10 * np.log10((rain**2).mean())
    assert 10 * np.log10((smooth[:, middle] ** 2).mean() + 1e-30) < wanted_db - 20
    kept = add_noise_residual(smooth, window, Rng(0).stream(0))
    assert abs(10 * np.log10((kept[:, middle] ** 2).mean()) - wanted_db) < 1.5


def test_a_fill_that_lacks_nothing_gets_no_noise() -> None:
    time = np.arange(3 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)[None]
    window = make_window(tone, (RATE, RATE + 4800))
    true = tone[:, RATE : RATE + 4800]
    added = add_noise_residual(true.copy(), window, Rng(0).stream(0)) - true
    assert 10 * np.log10((added**2).mean() / (true**2).mean()) < -15


def test_steady_noise_is_told_from_tones_and_clicks() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(3 * RATE) / RATE
    tones = np.sin(2 * np.pi * 440 * time)[None] + 0.01 * rng.standard_normal((1, 3 * RATE))
    clicks = 1e-4 * rng.standard_normal((1, 3 * RATE))
    clicks[:, ::6000] = 1
    gap = (RATE, RATE + 3000)
    values = [noisiness(make_window(x, gap)) for x in (make_rain(3 * RATE), tones, clicks)]
    assert values[0] > 0.85
    assert values[2] < 0.5
    assert values[0] > values[1]


@pytest.mark.parametrize("num_samples", [1, 5, 20, 300])
@pytest.mark.parametrize("model", [NoiseFill(), ExtrapolationNoise()])
def test_short_or_silent_surroundings_are_survived(
    model: NoiseFill | ExtrapolationNoise, num_samples: int
) -> None:
    for samples in (np.zeros((3, num_samples)), np.full((3, num_samples), 0.5)):
        gap = (num_samples // 2, num_samples)
        fill = model.fill([make_window(samples, gap)], num_takes=1, rng=Rng(0))[0][0]
        assert fill.samples.shape == (3, num_samples - num_samples // 2)
        assert np.isfinite(fill.samples).all()
        assert np.abs(fill.samples).max() < 3


@pytest.mark.parametrize("rate", [8000, 192_000])
@pytest.mark.parametrize("channels", [1, 8])
def test_every_rate_and_number_of_channels_keeps_its_level(rate: int, channels: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((channels, 2 * rate))
    window = make_window(noise, (rate, rate + rate // 5), rate=rate)
    filled = NoiseFill().fill([window], num_takes=1, rng=Rng(0))[0][0].samples
    assert abs(20 * np.log10(filled.std() / 0.1)) < 1.5


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="side_ms"):
        NoiseConfig(side_ms=0.0)
