"""Each model output variable where its value is known, the averages and the network."""

from dataclasses import astuple, fields, replace

import numpy as np
import pytest

from weft.errors import ConfigError
from weft.metrics.peaq import Movs, PeaqConfig, distortion_index, movs, peaq
from weft.metrics.peaq import averages as averaging
from weft.metrics.peaq.averages import FrameValues, average
from weft.metrics.peaq.ear import FLOOR, bands
from weft.metrics.peaq.network import MAXIMA, MINIMA

DEFAULT = PeaqConfig()


def noise(seed, num_samples=48000, num_channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((num_channels, num_samples))


def low_pass(samples, cutoff_hz):
    spectrum = np.fft.rfft(samples)
    spectrum[:, np.fft.rfftfreq(samples.shape[1], 1 / 48000) > cutoff_hz] = 0
    return np.fft.irfft(spectrum, samples.shape[1])


def frame_values(num_frames, num_channels=1, **given):
    """Values of frames that all sound and have no distortion, but for those given."""
    values = {}
    for field in fields(FrameValues):
        flag = field.name in ("reference_sounds", "estimate_sounds", "both_loud", "energetic")
        together = field.name.startswith("detection")
        shape = (num_frames,) if flag or together else (num_channels, num_frames)
        values[field.name] = np.ones(shape, dtype=bool) if flag else np.zeros(shape)
    values["noise_to_mask"] += 1
    values["modulation_weight"] += 1
    values["reference_bandwidth"] += 900
    return FrameValues(**(values | given))


# Network


def test_the_least_input_of_the_training_leaves_the_biases():
    minima = Movs(**{f.name: float(v) for f, v in zip(fields(Movs), MINIMA, strict=True)})
    hidden = [1 / (1 + np.exp(-b)) for b in (-2.518254, 0.654841, -2.207228)]
    expected = np.dot(hidden, [-3.817048, 4.107138, 4.629582]) - 0.307594
    assert distortion_index(minima) == pytest.approx(expected, rel=1e-12)


def test_clamping_acts_beyond_the_ranges_only():
    inside = Movs(
        **{f.name: float(v) for f, v in zip(fields(Movs), (MINIMA + MAXIMA) / 2, strict=True)}
    )
    assert distortion_index(inside, clamp=True) == distortion_index(inside)
    outside = replace(inside, windowed_modulation_difference=250.0)
    limit = replace(inside, windowed_modulation_difference=float(MAXIMA[3]))
    assert distortion_index(outside, clamp=True) == pytest.approx(distortion_index(limit))
    assert abs(distortion_index(outside) - distortion_index(limit)) > 0.1


def test_huge_modulation_differences_saturate_the_network_at_a_middling_grade():
    # The reason why dropouts are graded -1.36 at worst without clamping.
    movs_of_dropouts = Movs(
        bandwidth_reference=800.0,
        bandwidth_estimate=700.0,
        total_nmr_db=-5.0,
        windowed_modulation_difference=220.0,
        average_distorted_block=3.4,
        harmonic_structure=0.0,
        modulation_difference_1=105.0,
        modulation_difference_2=280.0,
        noise_loudness=2.5,
        detection_probability=0.8,
        disturbed_frames=0.2,
    )
    saturated = -3.817048 + 4.629582 - 0.307594
    assert distortion_index(movs_of_dropouts) == pytest.approx(saturated, abs=0.02)
    assert distortion_index(movs_of_dropouts, clamp=True) < saturated - 0.5


# Bandwidth


def test_bandwidths_are_those_of_ideal_low_passes():
    floor = 3e-3 * noise(1)
    result = peaq(low_pass(noise(0), 16000) + floor, low_pass(noise(0), 12000) + floor).movs
    assert result.bandwidth_reference == pytest.approx(16000 * 2048 / 48000, abs=8)
    assert result.bandwidth_estimate == pytest.approx(12000 * 2048 / 48000, abs=8)


def test_bandwidth_of_the_estimate_ends_with_that_of_the_reference():
    narrow, wide = low_pass(noise(0), 12000), low_pass(noise(0), 18000)
    result = peaq(narrow + 3e-3 * noise(1), wide + 3e-3 * noise(2)).movs
    assert 500 < result.bandwidth_estimate <= result.bandwidth_reference < 520


def test_bandwidths_stand_on_the_estimates_noise_floor():
    reference = np.full((1, 1, 1025), 1.0)
    estimate = np.full((1, 1, 1025), 1.0)
    reference[..., :500], estimate[..., :450] = 10.1, 3.2
    assert [w.tolist() for w in movs.bandwidths(reference, estimate)] == [[[500.0]], [[450.0]]]
    reference[..., 499], estimate[..., 449] = 9.9, 3.1
    assert [w.tolist() for w in movs.bandwidths(reference, estimate)] == [[[499.0]], [[449.0]]]


def test_a_silent_frame_has_no_bandwidth():
    spectrum, silence = np.full((1, 1, 1025), 1e4), np.zeros((1, 1, 1025))
    spectrum[..., 900:] = 0
    assert [w.item() for w in movs.bandwidths(spectrum, silence)] == [900, 0]
    assert [w.item() for w in movs.bandwidths(silence, silence)] == [0, 0]


def test_bandwidths_count_frames_that_reach_beyond_346_lines():
    values = frame_values(
        3,
        reference_bandwidth=np.array([[346.0, 347.0, 500.0]]),
        estimate_bandwidth=np.array([[300.0, 200.0, 400.0]]),
    )
    assert average(values).bandwidth_reference == 423.5
    assert average(values).bandwidth_estimate == 300
    narrow = average(replace(values, reference_bandwidth=np.full((1, 3), 346.0)))
    assert [narrow.bandwidth_reference, narrow.bandwidth_estimate] == MINIMA[:2].tolist()


# Noise-to-mask ratio


def test_the_error_of_a_gain_grows_with_the_square_of_its_distance_from_one():
    x = noise(0)
    ratios = [peaq(x, gain * x).movs.total_nmr_db for gain in (0.9, 0.99)]
    assert ratios[0] - ratios[1] == pytest.approx(20, abs=1e-6)


def test_noise_to_mask_ratio_of_one_band():
    excitation = np.full((1, 1, 109), 50.0)
    reference, estimate = np.zeros((1, 1, 1025)), np.zeros((1, 1, 1025))
    reference[..., 43], estimate[..., 43] = 16.0, 1.0  # magnitudes 3 apart
    mean, largest = movs.noise_to_mask(reference, estimate, excitation)
    assert largest.item() == pytest.approx(9 * 10**0.3 / 50, rel=0.35)  # edges may share the line
    assert mean.item() * 109 == pytest.approx(9 * 10**0.3 / 50, rel=1e-6)


def test_equal_signals_have_the_floor_of_the_bands_as_error():
    spectrum = np.ones((1, 1, 1025))
    mean, _ = movs.noise_to_mask(spectrum, spectrum, np.ones((1, 1, 109)))
    assert mean.item() == pytest.approx(FLOOR * bands().mask_offset.mean())


def test_disturbed_frames_are_counted():
    largest = np.full((2, 10), 10**0.149)
    largest[0, :3] = 10**0.151
    values = frame_values(10, 2, largest_noise_to_mask=largest)
    assert average(values).disturbed_frames == pytest.approx(0.15)


def test_a_hole_disturbs_the_frames_that_it_touches():
    x = noise(0, 96 * 1024)
    y = x.copy()
    y[:, 40 * 1024 : 43 * 1024] = 0  # frames 39 to 42, of 96
    assert peaq(x, y).movs.disturbed_frames == pytest.approx(4 / 96)


def test_total_ratio_is_the_mean_of_the_channels_decibels():
    ratio = np.array([[1.0] * 4, [100.0] * 4])
    assert average(frame_values(4, 2, noise_to_mask=ratio)).total_nmr_db == pytest.approx(10)


# Modulation


def test_modulation_differences_of_flat_patterns():
    still, moving = np.zeros((1, 1, 109)), np.full((1, 1, 109), 2.0)
    first, second, _ = movs.modulation_differences(still, moving, np.ones((1, 1, 109)))
    assert [first.item(), second.item()] == pytest.approx([200, 100 * 2 / 0.01])
    first, second, _ = movs.modulation_differences(moving, still, np.ones((1, 1, 109)))
    assert [first.item(), second.item()] == pytest.approx([100 * 2 / 3, 0.1 * 100 * 2 / 2.01])


def test_frames_weigh_by_loudness_against_the_internal_noise():
    same = np.zeros((1, 1, 109))
    loudness = np.broadcast_to(100 * bands().internal_noise ** 0.3, (1, 1, 109))
    assert movs.modulation_differences(same, same, loudness)[2].item() == pytest.approx(109 / 2)


def test_averages_of_modulation_leave_out_the_first_half_second_and_weigh():
    difference = np.full((1, 30), 1000.0)
    difference[:, 24:] = [[1, 2, 3, 4, 5, 6]]
    weight = np.ones((1, 30))
    weight[:, 29] = 10
    values = frame_values(30, modulation_difference_1=difference, modulation_weight=weight)
    assert average(values).modulation_difference_1 == pytest.approx((15 + 60) / 15)
    values = frame_values(30, modulation_difference_2=difference, modulation_weight=weight)
    assert average(values).modulation_difference_2 == pytest.approx((15 + 60) / 15)


def test_windowed_average_of_a_constant_and_of_a_pulse():
    constant = np.full((2, 40), 7.0)
    values = frame_values(40, 2, modulation_difference_1=constant)
    assert average(values).windowed_modulation_difference == pytest.approx(7)
    pulse = np.zeros((1, 40))
    pulse[:, 30] = 16.0  # in 4 of 13 windows, each with a mean root of 1
    values = frame_values(40, modulation_difference_1=pulse)
    assert average(values).windowed_modulation_difference == pytest.approx(np.sqrt(4 / 13))


# Noise loudness


def test_noise_loudness_of_a_sound_in_silence():
    quiet, loud = np.full((1, 1, 109), 1e-9), np.full((1, 1, 109), 1e6)
    still = np.zeros((1, 1, 109))
    noise_power = bands().internal_noise
    expected = (noise_power / 0.5) ** 0.23 * ((1 + 0.5 * 1e6 / noise_power) ** 0.23 - 1)
    result = movs.noise_loudness(quiet, loud, still, still).item()
    assert result == pytest.approx(24 * expected.mean(), rel=1e-6)
    assert movs.noise_loudness(loud, quiet, still, still).item() == 0
    assert movs.noise_loudness(loud, loud, still, still).item() == 0


def test_modulation_of_the_reference_hides_noise():
    quiet, loud = np.full((1, 1, 109), 1e3), np.full((1, 1, 109), 2e3)
    still, moving = np.zeros((1, 1, 109)), np.full((1, 1, 109), 1.0)
    heard = movs.noise_loudness(quiet, loud, still, still).item()
    assert 0 < movs.noise_loudness(quiet, loud, moving, still).item() < heard
    assert movs.noise_loudness(quiet, loud, still, moving).item() > heard


def test_noise_loudness_waits_until_both_signals_are_loud():
    loudness = np.full((1, 60), 3.0)
    loudness[:, :43] = 1000.0
    loudness[:, 43] = 12.0  # 50 ms are 3 frames
    both = np.arange(60) >= 40
    values = frame_values(60, noise_loudness=loudness, both_loud=both)
    assert average(values).noise_loudness == pytest.approx(np.sqrt((12**2 + 16 * 3**2) / 17))
    never = replace(values, both_loud=np.zeros(60, dtype=bool))
    assert average(never).noise_loudness > 500


# Detection


def detected(difference_steps, num_bands=1, steps="trunc"):
    """Probability and steps of an estimate that is louder by steps; the level that counts is 60."""
    level = 60.0
    step = 5.95072 * (6.39468 / level) ** 1.71332 + (
        9.01033e-11 * level**4
        + 5.05622e-6 * level**3
        - 0.00102438 * level**2
        + 0.0550197 * level
        - 0.198719
    )
    fill = level + 0.3 * min(difference_steps, 0) * step
    estimate, reference = np.full((1, 1, 109), 1e6), np.full((1, 1, 109), 1e6)
    estimate[..., :num_bands] = 10 ** (fill / 10)
    reference[..., :num_bands] = 10 ** ((fill - difference_steps * step) / 10)
    probability, whole = movs.detection(reference, estimate, steps)
    return probability.item(), whole.item(), step


def test_one_step_is_heard_half_of_the_time_and_bands_are_independent():
    assert detected(0)[:2] == (0, 0)
    assert detected(1)[0] == pytest.approx(0.5)
    assert detected(1, num_bands=3)[0] == pytest.approx(1 - 0.5**3)
    assert detected(2)[0] == pytest.approx(1 - 0.5**64)


def test_added_sound_is_heard_more_steeply_than_missing_sound():
    assert detected(-1)[0] == pytest.approx(0.5)
    assert detected(-0.5)[0] == pytest.approx(1 - 0.5 ** (0.5**4))
    assert detected(0.5)[0] == pytest.approx(1 - 0.5 ** (0.5**6))


def test_steps_count_whole_decibels():
    probability, whole, step = detected(10)
    assert probability == pytest.approx(1)
    assert whole == pytest.approx(np.trunc(10 * step) / step)
    assert detected(10, steps="floor")[1] == pytest.approx(np.ceil(10 * step) / step)


def test_the_ear_that_hears_more_decides_in_each_band():
    reference = np.full((2, 1, 109), 1e6)
    estimate = reference.copy()
    estimate[0, :, 3] *= 10**0.1
    estimate[1, :, 70] *= 10**0.1
    both = movs.detection(reference, estimate, "trunc")
    left, right = (
        movs.detection(reference[c : c + 1], estimate[c : c + 1], "trunc") for c in (0, 1)
    )
    missed = (1 - left[0].item()) * (1 - right[0].item())
    assert both[0].item() == pytest.approx(1 - missed)
    assert both[1].item() == pytest.approx(left[1].item() + right[1].item())


def test_inaudible_levels_are_never_detected():
    probability, steps = movs.detection(
        np.full((1, 1, 109), 1e-3), np.full((1, 1, 109), 1e-1), "trunc"
    )
    assert probability.item() == 0
    assert steps.item() < 1e-20


def test_probability_is_smoothed_before_its_maximum():
    probability = np.zeros(20)
    probability[5:8] = 1
    values = frame_values(20, detection_probability=probability)
    assert average(values).detection_probability == pytest.approx(1 - 0.9**3)


@pytest.mark.parametrize(
    ("probability", "steps", "expected"),
    [([0.5, 0.2], [9, 9], 0.0), ([0.6, 0.2], [0, 9], -0.5), ([0.6, 0.7], [50, 150], 2.0)],
)
def test_average_distorted_block(probability, steps, expected):
    values = frame_values(
        2,
        detection_probability=np.array(probability),
        detection_steps=np.array(steps, dtype=float),
    )
    assert average(values).average_distorted_block == pytest.approx(expected)


# Error harmonic structure


def rippled(ripple):
    """A flat spectrum, and one whose log is that of it plus a ripple over 512 lines."""
    reference = np.ones((1, 1, 1025))
    estimate = reference.copy()
    estimate[..., :512] = np.exp(ripple)
    return reference, estimate


@pytest.mark.parametrize("depth", [1e-3, 1.0])
def test_a_sinusoidal_error_has_the_power_of_its_windowed_correlation(depth):
    ripple = depth * np.cos(2 * np.pi * np.arange(512) * 16 / 256)  # every 16 lines
    window = np.sqrt(8 / 3) / 256 * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 255))
    expected = 1000 * (0.5 * window.sum()) ** 2
    result = movs.harmonic_structure(*rippled(ripple), DEFAULT).item()
    assert result == pytest.approx(expected, rel=0.02)


def test_an_irregular_error_has_little_structure():
    ripple = np.random.default_rng(0).standard_normal(512)
    assert movs.harmonic_structure(*rippled(ripple), DEFAULT).item() < 3


def test_equal_frames_have_no_structure_and_rounding_noise_is_equal():
    rounding = 1e-13 * np.cos(2 * np.pi * np.arange(512) / 16)
    assert movs.harmonic_structure(*rippled(np.zeros(512)), DEFAULT).item() == 0
    assert movs.harmonic_structure(*rippled(rounding), DEFAULT).item() == 0
    strict = PeaqConfig(equal_tolerance=0.0)
    assert movs.harmonic_structure(*rippled(np.zeros(512)), strict).item() == 0
    assert movs.harmonic_structure(*rippled(rounding), strict).item() > 100


def test_structure_of_silence_is_finite():
    spectrum, silence = np.ones((1, 1, 1025)), np.zeros((1, 1, 1025))
    for pair in ((spectrum, silence), (silence, spectrum), (silence, silence)):
        assert 0 <= movs.harmonic_structure(*pair, DEFAULT).item() < 1000


def test_structure_counts_frames_with_energy():
    values = frame_values(
        3,
        harmonic_structure=np.array([[1.0, 9.0, 3.0]]),
        energetic=np.array([True, False, True]),
    )
    assert average(values).harmonic_structure == 2
    assert average(replace(values, energetic=np.zeros(3, dtype=bool))).harmonic_structure == 0


def test_energy_is_that_of_the_newer_half_of_any_channel():
    frames = np.zeros((2, 4, 2048))
    frames[0, 1, :1024] = 1
    frames[1, 2, 1024:] = np.sqrt(8001 / 1024) / 32768
    frames[1, 3, 1024:] = np.sqrt(7999 / 1024) / 32768
    assert movs.loud_enough(frames).tolist() == [False, False, True, False]


# Frames that count


def test_averages_run_from_the_first_to_the_last_frame_that_sounds():
    sounds = np.zeros(10, dtype=bool)
    sounds[[2, 5]] = True
    ratio = np.full((1, 10), 1000.0)
    ratio[:, 2:6] = 10.0
    values = frame_values(10, reference_sounds=sounds, noise_to_mask=ratio)
    assert average(values).total_nmr_db == pytest.approx(10)
    structure = np.where(np.arange(10) == 4, 8.0, 0.0)[None]
    width = np.where(np.arange(10) < 6, 900.0, 400.0)[None]
    inside = replace(values, harmonic_structure=structure, reference_bandwidth=width)
    assert average(inside).harmonic_structure == 2
    assert average(inside).bandwidth_reference == 900
    nothing = np.zeros(10, dtype=bool)
    other = replace(values, reference_sounds=nothing, estimate_sounds=sounds)
    assert average(other).total_nmr_db == pytest.approx(10)
    silent = replace(values, reference_sounds=nothing, estimate_sounds=nothing)
    assert average(silent).total_nmr_db == pytest.approx(10 * np.log10((4 * 10 + 6 * 1000) / 10))


def test_the_delay_is_half_a_second_and_is_dropped_for_clips_that_end_before():
    assert pytest.approx(0.5, abs=0.02) == averaging._DELAY * 1024 / 48000
    values = frame_values(20, modulation_difference_1=np.full((1, 20), 3.0))
    assert average(values).modulation_difference_1 == pytest.approx(3)


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("playback_level_db", 131.0),
        ("playback_level_db", float("nan")),
        ("harmonic_window", "left"),
        ("harmonic_mean", "never"),
        ("steps", "round"),
        ("equal_tolerance", -1e-9),
        ("equal_tolerance", float("inf")),
    ],
)
def test_settings_out_of_range_are_named(field, value):
    config = PeaqConfig()
    object.__setattr__(config, field, value)  # the type checker of the tests refuses some of them
    with pytest.raises(ConfigError, match=field):
        config.__post_init__()


def test_variables_are_in_the_order_of_the_network():
    names = [field.name for field in fields(Movs)]
    assert [names[i] for i in (0, 4, 5, 10)] == [
        "bandwidth_reference",
        "average_distorted_block",
        "harmonic_structure",
        "disturbed_frames",
    ]
    assert len(astuple(peaq(noise(0), noise(0)).movs)) == len(MINIMA) == len(MAXIMA) == 11
