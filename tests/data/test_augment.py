from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio.synth import harmonic_tones
from weft.data.augment import (
    AugmentConfig,
    apply_gain,
    augment,
    change_speed,
    invert_polarity,
    limit_peak,
    mix,
    semitones_to_ratio,
    swap_channels,
)
from weft.errors import ConfigError, ShapeError

PLAIN = AugmentConfig(
    gain_db=(0.0, 0.0), polarity_probability=0.0, swap_probability=0.0, speed_probability=0.0
)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


def noise(seed=0, channels=2, num_samples=400, dtype=np.float64):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, num_samples)).astype(dtype)


def power(samples):
    return float(np.mean(np.square(samples, dtype=np.float64)))


@given(seed=seeds, gain_db=st.floats(-60, 60), dtype=dtypes)
def test_gain_changes_power_by_its_decibels_and_its_opposite_undoes_it(seed, gain_db, dtype):
    samples = noise(seed, dtype=dtype)
    louder = apply_gain(samples, gain_db)
    assert louder.dtype == dtype
    assert 10 * np.log10(power(louder) / power(samples)) == pytest.approx(gain_db, abs=1e-4)
    np.testing.assert_allclose(apply_gain(louder, -gain_db), samples, rtol=1e-6)


@given(seed=seeds, channels=st.integers(1, 4), dtype=dtypes)
def test_polarity_and_swap_undo_themselves_and_leave_their_input(seed, channels, dtype):
    samples = noise(seed, channels, dtype=dtype)
    kept = samples.copy()
    for change in (invert_polarity, swap_channels):
        np.testing.assert_array_equal(change(change(samples)), samples)
        assert change(samples).dtype == dtype
        change(samples)[:] = 0
    np.testing.assert_array_equal(samples, kept)
    np.testing.assert_array_equal(samples + invert_polarity(samples), 0)
    np.testing.assert_array_equal(swap_channels(samples)[0], samples[-1])


@given(semitones=st.floats(-12, 12), num_samples=st.integers(50, 3000), dtype=dtypes)
def test_speed_divides_the_length(semitones, num_samples, dtype):
    ratio = semitones_to_ratio(semitones)
    changed = change_speed(noise(num_samples=num_samples, dtype=dtype), ratio)
    assert changed.shape[0] == 2
    assert changed.dtype == dtype
    assert abs(changed.shape[1] - num_samples / ratio) <= 1


@pytest.mark.parametrize("semitones", [-7.0, -1.0, 3.0, 12.0])
def test_speed_moves_a_tone_by_its_semitones_and_keeps_its_level(semitones):
    ratio = semitones_to_ratio(semitones)
    tone = np.sin(2 * np.pi * 500 / 16000 * np.arange(16000))[None]
    changed = change_speed(tone, ratio)[0]
    middle = changed[1000:-1000]
    wanted = np.sin(2 * np.pi * 500 * ratio / 16000 * np.arange(len(changed)))[1000:-1000]
    np.testing.assert_allclose(middle, wanted, atol=1e-3)


def test_speed_leaves_nothing_above_the_band_of_a_slower_sound():
    changed = change_speed(noise(channels=1, num_samples=20000), 0.5)
    spectrum = np.abs(np.fft.rfft(changed[0] * np.hanning(changed.shape[1]))) ** 2
    half = len(spectrum) // 2
    assert spectrum[int(1.05 * half) :].sum() < 1e-8 * spectrum[:half].sum()


@given(seed=seeds, ratio_db=st.floats(-40, 40), dtype=dtypes)
def test_mixing_adds_the_other_at_its_ratio(seed, ratio_db, dtype):
    samples = noise(seed, dtype=dtype)
    other = (20 * noise(seed + 1)).astype(dtype)
    added = mix(samples, other, ratio_db).astype(np.float64) - samples
    assert mix(samples, other, ratio_db).dtype == dtype
    assert 10 * np.log10(power(samples) / power(added)) == pytest.approx(ratio_db, abs=0.01)
    assert np.corrcoef(added.ravel(), other.ravel())[0, 1] == pytest.approx(1, abs=1e-4)


def test_mixing_with_silence_changes_nothing():
    samples, silence = noise(), np.zeros((2, 400))
    np.testing.assert_array_equal(mix(samples, silence, 0.0), samples)
    np.testing.assert_array_equal(mix(silence, samples, 0.0), silence)


def test_a_peak_is_brought_down_but_never_up():
    samples = noise()
    np.testing.assert_array_equal(limit_peak(samples, 0.5), samples)
    limited = limit_peak(samples * 10, 0.5)
    assert np.abs(limited).max() == pytest.approx(0.5)
    np.testing.assert_allclose(limited / samples, (limited / samples)[0, 0])


@given(seed=seeds, dtype=dtypes)
def test_equal_seeds_give_equal_crops_of_the_length_asked_for(seed, dtype):
    config = AugmentConfig(mix_probability=0.5)
    samples = noise(seed, num_samples=config.num_source_samples(300), dtype=dtype)
    kept = samples.copy()

    def run(stream):
        return augment(
            samples,
            config,
            np.random.default_rng(stream),
            num_samples=300,
            other_fn=lambda: noise(9, dtype=dtype),
        )

    first = run(seed)
    assert first.shape == (2, 300)
    assert first.dtype == dtype
    assert np.abs(first).max() <= 1 + 1e-6
    np.testing.assert_array_equal(first, run(seed))
    assert not np.array_equal(first, run(seed + 1))
    np.testing.assert_array_equal(samples, kept)


def test_nothing_asked_for_is_the_middle_as_it_was():
    samples = noise()
    found = augment(samples, PLAIN, np.random.default_rng(0), num_samples=100)
    np.testing.assert_array_equal(found, samples[:, 150:250])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("polarity_probability", invert_polarity),
        ("swap_probability", swap_channels),
        ("mix_probability", lambda x: mix(x, noise(5), 3.0)),
    ],
)
def test_each_change_happens_as_often_as_it_should(field, change):
    samples = noise()
    config = replace(PLAIN, mix_ratio_db=(3.0, 3.0), **{field: 0.3})
    num_changed = 0
    for seed in range(600):
        found = augment(
            samples,
            config,
            np.random.default_rng(seed),
            num_samples=400,
            other_fn=lambda: noise(5),
        )
        if not np.array_equal(found, samples):
            np.testing.assert_array_equal(found, change(samples))
            num_changed += 1
    assert num_changed == pytest.approx(180, abs=40)  # 3.5 standard deviations


def test_changes_are_drawn_apart_from_each_other():
    samples = noise()
    config = replace(
        PLAIN,
        polarity_probability=0.5,
        swap_probability=0.5,
        mix_probability=0.5,
        mix_ratio_db=(60.0, 60.0),
    )
    seen = Counter()
    for seed in range(800):
        found = augment(
            samples, config, np.random.default_rng(seed), num_samples=400, other_fn=lambda: noise(5)
        )
        swapped = np.corrcoef(found[0], samples[0])[0, 1] ** 2 < 0.5
        inverted = float(np.sum((found[::-1] if swapped else found) * samples)) < 0
        size = np.abs(np.sort(np.abs(found), axis=None) - np.sort(np.abs(samples), axis=None)).max()
        seen[swapped, inverted, bool(size > 0)] += 1
    assert len(seen) == 8
    assert all(70 <= count <= 130 for count in seen.values())  # 100, 3.2 standard deviations


def test_gains_cover_their_range():
    samples = noise()
    config = replace(PLAIN, gain_db=(-9.0, -3.0))
    gains = [
        10
        * np.log10(
            power(augment(samples, config, np.random.default_rng(seed), num_samples=400))
            / power(samples)
        )
        for seed in range(300)
    ]
    assert -9.0 <= min(gains) < -8.8
    assert -3.2 < max(gains) <= -3.0 + 1e-9
    assert np.mean(gains) == pytest.approx(-6, abs=0.4)


def test_speeds_cover_their_range_up_and_down():
    tone = harmonic_tones([400.0], 0.5, 8000, num_partials=1, floor_db=-90.0)
    config = replace(PLAIN, speed_semitones=4.0, speed_probability=1.0, max_peak=np.inf)
    found = []
    for seed in range(60):
        changed = augment(tone, config, np.random.default_rng(seed), num_samples=2048)[0]
        spectrum = np.abs(np.fft.rfft(changed * np.hanning(2048), 1 << 15))
        found.append(12 * np.log2(np.argmax(spectrum) * 8000 / (1 << 15) / 400))
    assert -4.05 < min(found) < -3.5
    assert 3.5 < max(found) < 4.05


def test_a_setting_leaves_the_draws_of_the_others():
    samples = noise(num_samples=500)
    config = replace(PLAIN, gain_db=(-6.0, 6.0), polarity_probability=0.5)
    for seed in range(20):
        one = augment(samples, config, np.random.default_rng(seed), num_samples=400)
        more = replace(config, swap_probability=1.0)
        two = augment(samples, more, np.random.default_rng(seed), num_samples=400)
        np.testing.assert_array_equal(swap_channels(two), one)


def test_crops_that_are_too_short_or_do_not_fit_are_refused():
    rng = np.random.default_rng(0)
    config = AugmentConfig(speed_semitones=12.0)
    with pytest.raises(ShapeError, match="takes a crop of 801, got 800"):
        augment(noise(num_samples=800), config, rng, num_samples=400)
    config = replace(PLAIN, mix_probability=1.0)
    with pytest.raises(ConfigError, match="other_fn"):
        augment(noise(), config, rng, num_samples=400)
    for other in (noise(num_samples=399), noise(channels=1)):
        with pytest.raises(ShapeError, match="mix with"):
            augment(noise(), config, rng, num_samples=400, other_fn=lambda other=other: other)


@pytest.mark.parametrize("num_samples", [1, 7, 400, 4097])
@pytest.mark.parametrize("semitones", [0.0, 0.3, 5.0, 24.0])
def test_the_length_asked_of_crops_is_enough_at_the_highest_speed(num_samples, semitones):
    config = AugmentConfig(speed_semitones=semitones)
    needed = config.num_source_samples(num_samples)
    assert needed <= num_samples * semitones_to_ratio(semitones) + 2
    fastest = change_speed(noise(num_samples=needed), semitones_to_ratio(semitones))
    assert fastest.shape[1] >= num_samples


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"gain_db": (3.0, -3.0)}, "gain_db"),
        ({"gain_db": (0.0, np.nan)}, "gain_db"),
        ({"mix_ratio_db": (-np.inf, 0.0)}, "mix_ratio_db"),
        ({"polarity_probability": 1.1}, "polarity_probability"),
        ({"swap_probability": -0.1}, "swap_probability"),
        ({"speed_probability": np.nan}, "speed_probability"),
        ({"mix_probability": 2.0}, "mix_probability"),
        ({"speed_semitones": 25.0}, "speed_semitones"),
        ({"max_peak": 0.0}, "max_peak"),
    ],
)
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ConfigError, match=field):
        AugmentConfig(**settings)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 4.5, np.nan])
def test_speeds_out_of_range_are_refused(ratio):
    with pytest.raises(ConfigError, match="ratio"):
        change_speed(noise(), ratio)
