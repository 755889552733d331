"""Silence and the cross-fade of the neighbours."""

import numpy as np
import pytest

from weft.canvas.canvas import Region, Window
from weft.classical.simple import CrossfadeConfig, CrossfadeFill, Silence, draw_line
from weft.errors import ConfigError
from weft.rng import Rng

RATE = 8000


def window_of(samples: np.ndarray, start: int, length: int) -> Window:
    known = np.ones(samples.shape[1], dtype=bool)
    known[start : start + length] = False
    return Window(
        samples=np.where(known, samples, 0.0),
        known=known,
        gap=Region(start=start, stop=start + length),
        start=0,
        sample_rate=RATE,
    )


def crossfaded(samples: np.ndarray, start: int, length: int) -> np.ndarray:
    fills = CrossfadeFill().fill([window_of(samples, start, length)], num_takes=4, rng=Rng(0))
    assert [len(takes) for takes in fills] == [1]
    assert fills[0][0].is_joined
    return fills[0][0].samples


def test_silence_is_zeros_and_never_sure():
    samples = np.random.default_rng(0).standard_normal((2, 100))
    ((fill,),) = Silence().fill([window_of(samples, 40, 7)], num_takes=1, rng=Rng(0))
    assert fill.samples.tolist() == [[0.0] * 7] * 2
    assert fill.confidence == 0
    assert Silence().context_ms(5.0) == 0


def test_a_short_gap_is_a_straight_line():
    samples = np.array([[5.0, 1.0, 0, 0, 0, 3.0, 9.0], [0.0, -1.0, 0, 0, 0, -5.0, 2.0]])
    np.testing.assert_allclose(
        crossfaded(samples, 2, 3), [[1.5, 2.0, 2.5], [-2.0, -3.0, -4.0]], atol=1e-12
    )


def test_a_longer_gap_is_both_sides_backwards_cross_faded():
    ramp = np.arange(200.0)[None]
    fill = crossfaded(ramp, 80, 40)[0]
    weight = 0.5 - 0.5 * np.cos(np.pi * (np.arange(40) + 0.5) / 40)
    left = 78.0 - np.arange(40)  # 78, 77, … going back from the last sample, 79
    right = 160.0 - np.arange(40)  # …, 122, 121 before 120
    np.testing.assert_allclose(fill, left * (1 - weight) + right * weight)


def test_the_level_of_noise_is_kept_but_for_the_dip_of_the_fade():
    samples = np.random.default_rng(0).standard_normal((1, 24000))
    fill = crossfaded(samples, 8000, 8000)
    # The mean power of a raised-cosine cross-fade of independent noise is 3/4.
    assert np.mean(fill**2) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("start", [0, 60])
def test_one_side_alone_is_played_to_and_fro(start):
    samples = np.random.default_rng(0).standard_normal((1, 100))
    fill = crossfaded(samples, start, 40)[0]
    known = samples[0, 40:] if start == 0 else samples[0, :60][::-1]
    expected = known[1:41]
    np.testing.assert_allclose(fill[::-1] if start == 0 else fill, expected)


@pytest.mark.parametrize(
    ("length", "start", "gap"), [(30, 0, 30), (30, 1, 29), (30, 1, 28), (9, 8, 1)]
)
def test_hardly_any_context_is_enough(length, start, gap):
    samples = np.ones((2, length))
    fill = crossfaded(samples, start, gap)
    assert fill.shape == (2, gap)
    assert np.abs(fill).max() <= 1


def test_context_that_is_unknown_is_not_played():
    samples = np.ones((1, 100))
    window = window_of(samples, 50, 20)
    known = window.known.copy()
    known[40:45] = False
    damaged = np.where(known, window.samples, 1e9)
    hidden = Window(samples=damaged, known=known, gap=window.gap, start=0, sample_rate=RATE)
    ((fill,),) = CrossfadeFill().fill([hidden], num_takes=1, rng=Rng(0))
    np.testing.assert_allclose(fill.samples, 1)


def test_a_line_with_one_side_fades_out_and_with_none_is_silent():
    empty, one = np.zeros((1, 0)), np.ones((1, 1))
    np.testing.assert_allclose(draw_line(one, empty, 3), [[0.75, 0.5, 0.25]])
    np.testing.assert_allclose(draw_line(empty, one, 3), [[0.25, 0.5, 0.75]])
    assert draw_line(empty, empty, 3).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("field", ["line_ms", "max_context_ms"])
def test_settings_out_of_range_are_named(field):
    with pytest.raises(ConfigError, match=field):
        CrossfadeConfig(**{field: -1.0})
