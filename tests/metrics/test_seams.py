import numpy as np
import pytest

from weft.audio.fades import fade_in
from weft.canvas.canvas import Region
from weft.errors import ConfigError
from weft.metrics import (
    CLICK_DB,
    level_mismatch_db,
    seam_click_db,
    seam_jump_db,
    seam_level_step_db,
)

RATE = 24000
GAP = [Region(start=20000, stop=24000)]


def noise(seed, num_samples=48000):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, num_samples))


def tone(num_samples=48000, phase=0.0):
    t = np.arange(num_samples) / RATE
    return 0.2 * sum(np.sin(2 * np.pi * 220 * k * t + phase) / k for k in range(1, 9))[None]


def filled(x, fill):
    y = x.copy()
    y[:, 20000:24000] = fill[:, 20000:24000]
    return y


def test_a_fill_ten_db_too_soft_steps_by_ten_db():
    x = noise(0)
    assert seam_level_step_db(x, filled(x, x * 10**-0.5), GAP, RATE) == pytest.approx(10)


def test_a_step_of_the_original_is_no_fault():
    x = noise(0)
    x[:, 20000:] *= 0.01
    assert seam_level_step_db(x, x, GAP, RATE) == 0
    assert seam_level_step_db(x, filled(x, noise(0)), GAP, RATE) == pytest.approx(40)


def test_the_end_of_the_recording_is_no_seam():
    x = noise(0)
    y = x.copy()
    y[:, 44000:] = 0
    assert seam_level_step_db(x, y, [Region(start=44000, stop=48000)], RATE) > 50
    assert seam_level_step_db(x, np.zeros_like(x), [Region(start=0, stop=48000)], RATE) == 0
    assert seam_click_db(x, np.zeros_like(x), [Region(start=0, stop=48000)], RATE) == -100


def test_a_fill_six_db_too_soft_jumps_by_less_what_noise_does_by_itself():
    x = tone()
    assert seam_jump_db(filled(x, 0.5 * x), GAP, RATE) == pytest.approx(6.02, abs=0.1)
    jump = seam_jump_db(filled(noise(0), 0.5 * noise(1)), GAP, RATE)
    assert 4 < jump < 6.02


def test_of_a_gap_shorter_than_the_stretches_only_the_gap_counts():
    x = np.full((1, 8000), 0.5)
    x[:, 4000:4040] *= 0.5  # 5 ms at 8 kHz, in stretches of 20 ms
    gap = [Region(start=4000, stop=4040)]
    assert seam_jump_db(x, gap, 8000) == pytest.approx(6.02, abs=0.01)


def test_a_jump_as_the_material_has_them_is_no_fault():
    x = tone()
    x[:, 12000:14400] *= 0.1
    assert seam_jump_db(filled(x, 0.2 * x), GAP, RATE) == 0
    far = tone()
    far[:, 1000:2000] *= 0.1
    assert seam_jump_db(filled(far, 0.2 * far), GAP, RATE, surround_ms=500.0) > 12


def test_sound_of_another_gap_is_not_the_materials():
    x = tone()
    x[:, 12800:13600] *= 0.01  # inside the other gap, away from its seams
    gaps = [*GAP, Region(start=12000, stop=14400)]
    soft = filled(x, 0.5 * x)
    assert seam_jump_db(soft, gaps, RATE) == pytest.approx(6.02, abs=0.1)
    assert seam_jump_db(soft, GAP, RATE) == 0


def test_only_seams_with_sound_on_both_sides_can_jump():
    x = tone()
    x[:, 44000:] *= 0.1
    assert seam_jump_db(x, [Region(start=44000, stop=48000)], RATE) > 18
    assert seam_jump_db(x, [Region(start=0, stop=48000)], RATE) == 0
    with pytest.raises(ConfigError, match="window_ms"):
        seam_jump_db(x, GAP, RATE, window_ms=0.0)


def test_the_nearer_of_original_and_surroundings_decides():
    x = noise(0)
    x[:, 20000:24000] *= 10  # the original is 20 dB louder in the gap
    assert level_mismatch_db(x, filled(x, noise(1)), GAP, RATE) < 0.5
    assert level_mismatch_db(x, filled(x, 10 * noise(1)), GAP, RATE) < 0.5
    between = level_mismatch_db(x, filled(x, np.sqrt(10) * noise(1)), GAP, RATE)
    assert between == pytest.approx(10, abs=0.5)


def test_a_level_between_two_unequal_sides_fits():
    x = noise(0)
    x[:, 22000:] *= 0.1
    assert level_mismatch_db(x, filled(x, 0.4 * noise(1)), GAP, RATE) == 0


def test_a_silent_fill_is_far_from_both():
    x = noise(0)
    assert level_mismatch_db(x, filled(x, 0 * x), GAP, RATE) > 60


def test_the_reference_itself_never_clicks():
    rng = np.random.default_rng(5)
    for x in (noise(0), tone(), tone() + 0.01 * noise(1)):
        for start in rng.integers(1000, 40000, 10):
            gap = [Region(start=int(start), stop=int(start) + 1200)]
            assert seam_click_db(x, x, gap, RATE) <= 0


def test_stationary_noise_in_place_of_other_noise_does_not_click():
    x = noise(0)
    values = [seam_click_db(x, filled(x, noise(seed)), GAP, RATE) for seed in range(1, 200)]
    assert max(values) < CLICK_DB  # measured: 1.1 dB


def test_a_hard_cut_in_a_tone_clicks_and_a_faded_one_does_not():
    x = tone() + 1e-4 * noise(1)
    cut = filled(x, tone(phase=2.0))
    assert seam_click_db(x, cut, GAP, RATE) > 20
    weight = np.zeros(48000)
    weight[20000:20240], weight[20240:23760] = fade_in(240), 1
    weight[23760:24000] = fade_in(240)[::-1]
    soft = (1 - weight) * x + weight * (tone(phase=2.0) + 1e-4 * noise(2))
    assert seam_click_db(x, soft, GAP, RATE) < CLICK_DB


def test_a_small_click_in_one_of_two_channels_is_found():
    x = np.concatenate([noise(0), tone() + 1e-4 * noise(1)])
    y = x.copy()
    y[1, 20000] += 0.02
    assert seam_click_db(x, y, GAP, RATE) > CLICK_DB


def test_a_click_is_found_in_band_limited_material():
    from scipy.signal import butter, sosfilt

    x = sosfilt(butter(12, 6000, fs=RATE, output="sos"), noise(0))
    smooth = sosfilt(butter(12, 6000, fs=RATE, output="sos"), noise(3))
    assert seam_click_db(x, filled(x, smooth), GAP, RATE) > CLICK_DB


def test_an_attack_of_the_original_at_the_seam_is_no_click():
    x = 1e-3 * noise(0)
    x[:, 20000:] += noise(1)[:, 20000:]
    assert seam_click_db(x, filled(x, noise(2)), GAP, RATE) < CLICK_DB


def test_a_click_in_silence_is_the_worst():
    x = np.zeros((1, 48000))
    assert seam_click_db(x, filled(x, noise(0)), GAP, RATE) == 100
