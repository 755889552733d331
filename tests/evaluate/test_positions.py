from itertools import pairwise

import numpy as np
import pytest

from weft.errors import ConfigError
from weft.evaluate.positions import PositionConfig, draw_gaps

RATE = 8000


def noise(seconds, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * RATE)))


def draw(samples, *, gap_ms=100.0, name="a.wav", seed=0, **config):
    return draw_gaps(
        samples,
        RATE,
        gap_ms=gap_ms,
        name=name,
        seed=seed,
        config=PositionConfig(num_gaps=config.pop("num_gaps", 3), **config),
    )


def test_positions_depend_on_seed_and_name_and_on_nothing_of_the_sound():
    first = draw(noise(10))
    assert draw(noise(10, seed=5)) == first
    assert draw(noise(10), seed=1) != first
    assert draw(noise(10), name="b.wav") != first


def test_positions_are_the_same_in_every_process():
    assert [g.start for g in draw(noise(10))] == [19903, 41277, 69377]


def test_gaps_have_their_length_and_keep_away_from_ends_and_each_other():
    for seed in range(50):
        gaps = draw(noise(10), seed=seed, num_gaps=5)
        assert len(gaps) == 5
        assert all(g.num_samples == 800 for g in gaps)
        assert gaps[0].start >= RATE
        assert gaps[-1].stop <= 9 * RATE
        assert all(b.start - a.stop >= 0.25 * RATE for a, b in pairwise(gaps))


def test_positions_are_spread_over_the_whole_recording():
    starts = np.array([draw(noise(10), seed=s, num_gaps=1)[0].start for s in range(400)]) / RATE
    assert starts.mean() == pytest.approx((1 + 8.9) / 2, abs=0.3)
    assert starts.min() < 1.3
    assert starts.max() > 8.6


def test_gaps_of_other_lengths_lie_at_about_the_same_places():
    short, long = draw(noise(20), gap_ms=50.0), draw(noise(20), gap_ms=300.0)
    for a, b in zip(short, long, strict=True):
        assert abs((a.start + a.stop) - (b.start + b.stop)) / 2 < 0.5 * RATE


def test_silence_is_avoided():
    x = noise(10)
    x[:, 2 * RATE : 8 * RATE] = 0
    for seed in range(20):
        assert all(np.abs(x[:, g.start : g.stop]).mean() > 0.02 for g in draw(x, seed=seed))


def test_a_silent_recording_has_no_gap():
    assert draw(np.zeros((2, 10 * RATE))) == ()


def test_a_recording_with_sound_in_one_channel_is_not_silent():
    x = np.concatenate([np.zeros((1, 10 * RATE)), noise(10)])
    assert len(draw(x)) == 3


def test_short_recordings_get_fewer_gaps_and_nearer_to_the_ends():
    gaps = draw(noise(1.5), gap_ms=300.0)
    assert len(gaps) == 2
    assert gaps[0].start >= 0.3 * RATE - 1
    assert len(draw(noise(1.2), gap_ms=300.0)) == 1
    assert draw(noise(0.2), gap_ms=300.0) == ()
    assert draw(noise(0.3), gap_ms=300.0) == ()


@pytest.mark.parametrize("bad", [{"num_gaps": 0}, {"margin_s": -1.0}, {"separation_s": -1.0}])
def test_a_setting_outside_its_range_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        PositionConfig(**{"num_gaps": 1, **bad})


@pytest.mark.parametrize("gap_ms", [0.0, -1.0, float("nan")])
def test_a_length_that_is_none_is_refused(gap_ms):
    with pytest.raises(ConfigError, match="gap_ms"):
        draw(noise(5), gap_ms=gap_ms)
