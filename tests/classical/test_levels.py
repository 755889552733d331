import numpy as np
import pytest

from weft.audio.audio import Audio
from weft.canvas.canvas import Region, Window
from weft.canvas.windows import read_window
from weft.classical.levels import TOLERANCE_DB, hold_level, level_excess_db

RATE = 16000


def noise(level: float, num_samples: int, seed: int) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal((2, num_samples))


def window_between(before: float, after: float) -> Window:
    sound = np.concatenate([noise(before, RATE, 0), noise(after, RATE, 1)], axis=1)
    gap = Region(start=RATE - 2000, stop=RATE)
    return read_window(Audio.from_samples(sound, RATE), gap, [], RATE)


@pytest.mark.parametrize(
    ("level", "expected_db"), [(0.1, 0), (0.05, 0), (0.2, 6), (0.0125, -12), (1.0, 20)]
)
def test_the_excess_is_counted_from_the_nearer_side(level: float, expected_db: float) -> None:
    window = window_between(0.1, 0.05)
    assert level_excess_db(window, noise(level, 2000, 2)) == pytest.approx(expected_db, abs=0.4)


@pytest.mark.parametrize("gain_db", [-12.0, -8.0, 8.0, 11.0])
def test_a_fill_that_sticks_out_is_brought_near_its_surroundings(gain_db: float) -> None:
    window = window_between(0.1, 0.1)
    fill = noise(0.1 * 10 ** (gain_db / 20), 2000, 3)
    held = hold_level(window, fill)
    assert abs(level_excess_db(window, held)) < TOLERANCE_DB + 0.5
    assert abs(level_excess_db(window, fill)) > 7
    assert np.allclose(held[:, [0, -1]], fill[:, [0, -1]], rtol=0.01)


@pytest.mark.parametrize("level", [0.0, 0.07, 0.15])
def test_a_fill_that_fits_and_silence_stay_as_they_are(level: float) -> None:
    fill = noise(level, 2000, 4)
    assert np.array_equal(hold_level(window_between(0.1, 0.1), fill), fill)


def test_the_gain_is_limited_and_the_same_for_all_channels() -> None:
    window = window_between(0.1, 0.1)
    fill = noise(0.0005, 2000, 5)
    gain = hold_level(window, fill) / fill
    assert 20 * np.log10(gain.max()) == pytest.approx(9, abs=0.01)
    assert np.allclose(gain[0], gain[1])


def test_without_sides_there_is_nothing_to_hold() -> None:
    audio = Audio.from_samples(np.zeros((1, 100)), RATE)
    window = read_window(audio, Region(start=0, stop=100), [], 10)
    assert level_excess_db(window, np.ones((1, 100))) == 0
