"""The ear model and the filters over frames, against the tables of BS.1387-1 and known outputs.

Numbers marked GstPEAQ are outputs for synthetic inputs that its unit tests print to 6 digits
(github.com/HSU-ANT/gstpeaq, src/testpeaq.cc, LGPL-2): four of 109 bands each.
"""

import numpy as np
import pytest

from weft.metrics.peaq import ear, patterns
from weft.metrics.peaq.config import RATE

SOME = [0, 1, 54, 108]


def pattern_of(samples):
    frames = np.lib.stride_tricks.sliding_window_view(samples, ear.FRAME, axis=1)[:, :: ear.HOP]
    power = ear.power_spectra(frames, 92.0) * ear.ear_weights()
    return ear.spread(ear.group(power) + ear.bands().internal_noise)


def zeros(*axes):
    return np.zeros((*axes, ear.NUM_BANDS))


def test_bands_are_those_of_the_standards_table():
    table = ear.bands()
    assert len(table.centre_hz) == 109
    some = [0, 1, 36, 54, 66, 107, 108]
    low = [80.0, 103.445, 1249.700, 2486.169, 3853.348, 16775.035, 17385.420]
    centre = [91.708, 115.216, 1275.055, 2532.456, 3923.748, 17077.504, 17690.045]
    high = [103.445, 127.023, 1300.816, 2579.551, 3995.399, 17385.420, 18000.0]
    np.testing.assert_allclose(table.low_hz[some], low, atol=1.1e-3)
    np.testing.assert_allclose(table.centre_hz[some], centre, atol=1.1e-3)
    np.testing.assert_allclose(table.high_hz[some], high, atol=1.1e-3)
    np.testing.assert_array_equal(table.low_hz[1:], table.high_hz[:-1])


def test_a_flat_spectrum_gives_each_band_its_width():
    width = ear.bands().high_hz - ear.bands().low_hz
    np.testing.assert_allclose(ear.group(np.ones(1025)), width / 23.4375, rtol=1e-9)


def test_bands_share_out_the_power_of_a_line_and_have_a_floor():
    line = np.zeros((2, 3, 1025))
    line[..., 5] = 7.0
    assert ear.group(line).sum(axis=-1) == pytest.approx(np.full((2, 3), 7.0), rel=1e-9)
    assert ear.group(np.zeros(1025)).tolist() == [1e-12] * 109


def test_a_full_scale_sine_of_the_standard_has_92_db():
    sine = np.sin(2 * np.pi * 1019.5 / RATE * np.arange(4 * ear.FRAME))[None]
    frames = np.lib.stride_tricks.sliding_window_view(sine, ear.FRAME, axis=1)[:, :: ear.HOP]
    level = 10 * np.log10(ear.power_spectra(frames, 92.0)[0, :, 43])
    np.testing.assert_allclose(level, 92, atol=1e-4)
    louder = 10 * np.log10(ear.power_spectra(frames, 80.0)[0, :, 43])
    np.testing.assert_allclose(louder, 80, atol=1e-4)


def test_outer_ear_passes_3_khz_best_and_nothing_at_0_hz():
    weights = ear.ear_weights()
    hz = np.arange(1025) * RATE / 2048
    assert weights[0] == 0
    assert 3000 < hz[np.argmax(weights)] < 3600
    at_1_khz = 10 * np.log10(np.interp(1000, hz, weights))
    assert at_1_khz == pytest.approx(-2.184 + 6.5 * np.exp(-0.6 * 2.3**2) - 1e-3, abs=2e-3)


def test_internal_noise_and_offset_of_the_mask():
    table = ear.bands()
    # 0.4 * 3.64 dB at 1 kHz; 3 dB up to 12 Bark from the first band, a quarter of the Bark above
    noise_db = 10 * np.log10(np.interp(1000, table.centre_hz, table.internal_noise))
    assert noise_db == pytest.approx(1.456, abs=2e-3)
    offset_db = 10 * np.log10(table.mask_offset)
    np.testing.assert_allclose(offset_db[[0, 48, 49, 108]], [3, 3, 3.0625, 6.75], rtol=1e-9)


def test_spreading_leaves_0_db_everywhere_as_it_is():
    np.testing.assert_allclose(ear.spread(np.ones((2, 5, 109))), 1, rtol=1e-12)


@pytest.mark.parametrize("level_db", [40.0, 90.0])
def test_one_band_spreads_27_db_a_bark_down_and_less_up_the_louder_it_is(level_db):
    pattern = np.full(109, 1e-12)
    pattern[60] = 10 ** (level_db / 10)
    flat = ear._unit_spread()
    spread_db = 10 * np.log10(ear.spread(pattern) * flat)
    assert spread_db[60] - spread_db[56] == pytest.approx(27, abs=0.1)
    slope = 24 + 230 / ear.bands().centre_hz[60] - 0.2 * level_db
    assert spread_db[60] - spread_db[64] == pytest.approx(slope, abs=0.1)


def test_spreading_has_no_pole_where_its_slope_is_flat():
    level = 10 ** ((2.4 + 23 / ear.bands().centre_hz[40]) / 0.2)
    around = [ear.spread(np.full(109, level * f))[40] / f for f in (1 - 1e-7, 1, 1 + 1e-7)]
    assert np.ptp(around) < 1e-4 * around[1]


def test_excitation_is_that_of_gstpeaq():
    step = np.concatenate([-np.ones(1024), [0], np.ones(1023)])
    ramp = (np.arange(2048) - 1024) / 1024
    frames = np.stack([step, ramp])[None]
    power = ear.power_spectra(frames, 92.0)
    magnitude = np.sqrt(power[0, 1, :4])
    np.testing.assert_allclose(
        magnitude, [45.753615, 22360.651865, 4986.494394, 1246.108826], rtol=1e-7
    )
    heard = power * ear.ear_weights()
    np.testing.assert_allclose(np.sqrt(heard[0, 1, 1]), 141.467357, rtol=1e-7)
    pattern = ear.spread(ear.group(heard) + ear.bands().internal_noise)
    np.testing.assert_allclose(
        pattern[0, 1, SOME], [4444.479818, 3458.307890, 1.186779, 1.037901], rtol=2e-5
    )
    excitation, _ = patterns.smear(pattern, zeros(1))
    np.testing.assert_allclose(
        excitation[0, 1, SOME],
        [1471383.154403, 1784862.319735, 414087.711983, 56.833883],
        rtol=2e-5,
    )


def test_loudness_of_1_khz_at_40_db_is_the_0_584_sone_that_kabal_found():
    sine = 10 ** ((40 - 92) / 20) * np.sin(2 * np.pi * np.arange(51 * 1024) / 48)[None]
    excitation, _ = patterns.smear(pattern_of(sine), zeros(1))
    assert ear.loudness(excitation)[0, -1] == pytest.approx(0.584, abs=1e-3)


def test_silence_has_no_loudness():
    assert ear.loudness(ear.bands().internal_noise[None]).tolist() == [0]


def test_filters_decay_with_their_time_constants():
    # 30 ms at 100 Hz: 8 ms + 100 Hz / f * 22 ms, at the lowest band of 91.708 Hz and the highest
    seconds = -ear.HOP / RATE / np.log(ear.retention(0.030))
    assert seconds[[0, 108]] == pytest.approx([0.0319891, 0.0081244], abs=1e-6)


def test_excitation_rings_after_a_sound_but_starts_with_it():
    pattern = np.ones((1, 10, 109))
    pattern[:, 4] = 1000
    excitation, _ = patterns.smear(pattern, zeros(1))
    assert np.all(excitation[0, 4] == 1000)
    ringing = (1 - ear.retention(0.030)) * 1000
    assert np.all(excitation[0, 5] > np.maximum(1, ear.retention(0.030) * ringing))
    assert np.all(np.diff(excitation[0, 4:7, 0]) < 0)


def test_adapted_patterns_are_those_of_gstpeaq():
    rising = np.broadcast_to(np.arange(1.0, 110), (1, 2, 109))
    falling = rising[..., ::-1]
    truth, fill, _ = patterns.adapt(rising, falling, patterns.Memory.empty(1))
    np.testing.assert_allclose(
        truth[0][:, SOME],
        [[0.327362, 0.762315, 36.474223, 1.781147], [0.547559, 1.234068, 37.356946, 1.757436]],
        rtol=5e-5,
    )
    np.testing.assert_allclose(
        fill[0][:, SOME],
        [[1.006854, 1.363780, 37.015754, 0.699325], [1.583720, 2.080140, 37.178158, 0.680369]],
        rtol=5e-5,
    )


def test_modulation_is_that_of_gstpeaq():
    rising = np.broadcast_to(np.arange(1.0, 110), (1, 2, 109))
    modulation, loudness, _ = patterns.modulation(rising, zeros(3, 1))
    np.testing.assert_allclose(
        modulation[0][:, SOME],
        [[7.337918, 8.578334, 12.769182, 13.028187], [3.653446, 3.853811, 1.275319, 0.914025]],
        rtol=5e-5,
    )
    np.testing.assert_allclose(
        loudness[0][:, SOME],
        [[0.327362, 0.469260, 2.961959, 3.778796], [0.547559, 0.759658, 3.287287, 4.062336]],
        rtol=5e-5,
    )


def test_a_steady_gain_is_adapted_away():
    rng = np.random.default_rng(0)
    reference = rng.uniform(1, 100, (2, 1, 109)) * np.ones((1, 200, 1))
    truth, fill, _ = patterns.adapt(reference, 0.25 * reference, patterns.Memory.empty(2))
    np.testing.assert_allclose(truth[:, -1], fill[:, -1], rtol=1e-6)
    np.testing.assert_allclose(fill[:, -1], 0.25 * reference[:, -1], rtol=1e-6)


def test_a_steady_sound_has_no_modulation():
    modulation, _, _ = patterns.modulation(np.full((1, 400, 109), 50.0), zeros(3, 1))
    assert np.all(modulation[0, 0] > 1)
    assert np.all(modulation[0, -1] < 1e-6)
