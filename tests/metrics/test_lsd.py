from dataclasses import replace

import numpy as np
import pytest

from weft.canvas.canvas import Region
from weft.errors import AudioFormatError, ConfigError, RegionError, ShapeError
from weft.metrics import (
    APBWE,
    EXCERPT,
    GAP,
    SSR_EVAL,
    UNIVERSR,
    LsdConfig,
    log_spectral_distance,
    lsd_split,
)

PRESETS = [GAP, EXCERPT, SSR_EVAL, APBWE, UNIVERSR]
WHOLE = [Region(start=0, stop=24000)]


def noise(seed, num_samples=24000):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, num_samples))


def test_a_gain_of_20_db_is_two_decades_of_power_in_every_bin():
    x = noise(0)
    assert log_spectral_distance(x, 0.1 * x, config=EXCERPT) == pytest.approx(2, abs=1e-3)


def test_a_full_scale_sine_on_a_bin_has_power_one():
    # Against silence only the sine's bins differ: 120 dB on the bin, 114 dB on its two neighbours.
    t = np.arange(24000)
    x = np.sin(2 * np.pi * 100 * t / 2048)[None]
    frames = slice(8, -8)
    gap = [Region(start=frames.start * 512, stop=30 * 512)]
    expected = np.sqrt((12**2 + 2 * (12 - np.log10(4)) ** 2) / 1025)
    assert log_spectral_distance(x, np.zeros_like(x), gap) == pytest.approx(expected, rel=1e-6)


def test_only_frames_centred_in_the_gap_count():
    x = noise(0)
    y = x.copy()
    y[:, :6000] = noise(1)[:, :6000]
    assert log_spectral_distance(x, y, [Region(start=12000, stop=15000)]) == 0
    assert log_spectral_distance(x, y, [Region(start=3000, stop=4000)]) > 0.5


def test_the_excerpt_variant_falls_with_the_share_of_intact_sound_and_the_gap_variant_does_not():
    x = noise(0, 96000)
    y = x.copy()
    y[:, 10000:14096] = noise(1)[:, :4096]
    gap = [Region(start=10000, stop=14096)]
    short, whole = (
        (
            log_spectral_distance(x[:, :n], y[:, :n], gap, config=EXCERPT),
            log_spectral_distance(x[:, :n], y[:, :n], gap, config=GAP),
        )
        for n in (24576, 96000)
    )
    assert short[0] / whole[0] == pytest.approx(96000 / 24576, rel=0.05)
    assert short[1] == whole[1]


def test_below_the_floor_all_is_silence():
    x = 1e-7 * noise(0)
    assert log_spectral_distance(x, np.zeros_like(x), config=EXCERPT) == 0
    deeper = replace(EXCERPT, floor_db=-200.0)
    assert log_spectral_distance(x, np.zeros_like(x), config=deeper) > 1


def test_the_distance_is_symmetric():
    x, y = noise(0), noise(1)
    assert log_spectral_distance(x, y, config=EXCERPT) == log_spectral_distance(
        y, x, config=EXCERPT
    )


def test_independent_noise_has_the_distance_of_two_exponential_variables():
    # Power of a bin is exponential; the log10 ratio of two has variance pi^2 / 3 / ln(10)^2.
    expected = np.pi / np.sqrt(3) / np.log(10)
    value = log_spectral_distance(noise(0, 96000), noise(1, 96000), config=EXCERPT)
    assert value == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_fft": 1},
        {"hop_length": 0},
        {"hop_length": 4096},
        {"floor_db": 0.0},
        {"design_rate_hz": 0},
    ],
)
def test_a_setting_outside_its_range_is_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        LsdConfig(name="x", frames="all", **bad)


def at_48k(x, y, config):
    return log_spectral_distance(x, y, WHOLE, config=config, sample_rate=48000)


def frames_by_hand(x, n_fft, hop):
    padded = np.pad(x, n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(padded) - n_fft + 1, hop)
    return np.stack([np.abs(np.fft.rfft(window * padded[i : i + n_fft])) for i in starts])


def test_ssr_eval_is_its_formula_at_48_khz():
    x, y = noise(0)[0], noise(1)[0]
    y[9000:15000] = 0  # whole frames of digital silence, where its eps decides
    target, estimate = (frames_by_hand(z, 2229, 480) for z in (x, y))
    per_bin = np.log10(target**2 / (estimate + 1e-12) ** 2 + 1e-12) ** 2
    expected = np.mean(np.sqrt(np.mean(per_bin, axis=1)))
    assert at_48k(x[None], y[None], SSR_EVAL) == pytest.approx(expected, rel=1e-9)
    assert expected > 3


def test_ssr_eval_has_the_lengths_of_its_own_rounding_at_every_rate():
    for rate in (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000):
        assert SSR_EVAL.lengths(rate) == (int(2048 / (44100 / rate)), int(rate / 100))


def test_ssr_eval_is_not_symmetric_where_one_signal_is_silent():
    x = noise(0)
    missing, extra = at_48k(x, np.zeros_like(x), SSR_EVAL), at_48k(np.zeros_like(x), x, SSR_EVAL)
    assert extra == pytest.approx(12, abs=1e-6)
    assert missing > 23


def test_two_digital_silences_are_12_apart_by_ssr_eval_and_0_by_all_others():
    silence = np.zeros((1, 24000))
    values = {config.name: at_48k(silence, silence, config) for config in PRESETS}
    assert values.pop("ssr_eval") == pytest.approx(12)
    assert set(values.values()) == {0.0}


@pytest.mark.parametrize("config", PRESETS, ids=lambda config: config.name)
def test_every_preset_is_ideal_for_equal_sound_and_counts_decades_of_power(config):
    x = noise(0)
    assert at_48k(x, x, config) == pytest.approx(0, abs=1e-6)
    assert at_48k(x, 0.1 * x, config) == pytest.approx(2, abs=1e-2)


@pytest.mark.parametrize("config", PRESETS, ids=lambda config: config.name)
def test_every_preset_names_what_it_refuses(config):
    x = noise(0)
    broken = x.copy()
    broken[0, 5] = np.nan
    with pytest.raises(ShapeError):
        at_48k(x, x[:, :-1], config)
    with pytest.raises(AudioFormatError, match="sample 5"):
        at_48k(x, broken, config)


def test_the_clamps_of_the_presets_differ():
    # Power per bin of this noise is about -70 dB in the plain unit of 2048: UniverSR's clamp of -60
    # dB hides it, AP-BWE's of -80 dB hardly does.
    x = noise(0) * 1e-4
    assert at_48k(x, 0 * x, UNIVERSR) < 0.05
    assert at_48k(x, 0 * x, APBWE) > 0.5


def test_presets_that_mix_channels_hear_the_sum_and_the_others_each():
    x = np.concatenate([noise(0), noise(1)])
    swapped = x[::-1]
    for config in (SSR_EVAL, UNIVERSR):
        assert at_48k(x, swapped, config) == pytest.approx(0, abs=1e-6)
    assert at_48k(x, swapped, APBWE) > 0.5


def test_a_setting_that_depends_on_the_rate_asks_for_it():
    x = noise(0)
    with pytest.raises(ConfigError, match="give sample_rate"):
        log_spectral_distance(x, x, config=SSR_EVAL)
    with pytest.raises(ConfigError, match="0 Hz"):
        log_spectral_distance(x, x, config=SSR_EVAL, sample_rate=0)
    with pytest.raises(ConfigError, match="too low"):
        log_spectral_distance(x, x, config=SSR_EVAL, sample_rate=10)


def test_matching_the_gain_hides_a_gain_and_is_off_by_default():
    x = noise(0)
    matched = replace(APBWE, match_gain="lowest_tenth")
    assert at_48k(x, 0.5 * x, matched) == pytest.approx(0, abs=1e-3)
    assert at_48k(x, 0.5 * x, APBWE) == pytest.approx(np.log10(4), abs=1e-3)


def test_the_gain_is_that_of_the_lowest_tenth_of_the_bins():
    # The high half is 20 dB up, the low half is as it was: the gain must stay 1.
    x = noise(0)
    y = np.fft.irfft(np.fft.rfft(x) * np.where(np.arange(12001) < 6000, 1, 10), n=24000)
    matched = replace(APBWE, match_gain="lowest_tenth")
    assert at_48k(x, y, matched) == pytest.approx(at_48k(x, y, APBWE), rel=1e-2)
    assert at_48k(np.zeros_like(x), x, matched) == at_48k(np.zeros_like(x), x, APBWE)


@pytest.mark.parametrize("config", [EXCERPT, SSR_EVAL, APBWE, UNIVERSR], ids=lambda c: c.name)
def test_the_split_puts_a_change_above_the_cut_off_into_the_high_band(config):
    x = noise(0)
    scale = np.where(np.fft.rfftfreq(24000, 1 / 48000) < 9000, 1.0, 0.1)
    y = np.fft.irfft(np.fft.rfft(x) * scale, n=24000)
    low, high = lsd_split(x, y, 48000, 8000.0, config)
    assert low < 0.02
    assert high > 1.7
    assert lsd_split(x, y, 48000, 9500.0, config).high == pytest.approx(2, abs=0.05)
    assert lsd_split(x, x, 48000, 8000.0, config) == pytest.approx((0, 0), abs=1e-6)


def test_both_bands_together_hold_every_bin_once():
    # In one frame the mean squares, weighted by their bins, add up to that of the whole band.
    x, y = noise(0, 1024), noise(1, 1024)
    config = replace(UNIVERSR, hop_length=1024, padding="constant")
    x[:, 300:], y[:, 300:] = 0, 0  # the second frame is silent in both
    low, high = lsd_split(x, y, 48000, 6000.0, config)
    whole = log_spectral_distance(x, y, config=config)
    assert 513 * whole**2 == pytest.approx(128 * low**2 + 385 * high**2, rel=1e-9)


def test_a_bin_on_the_cut_off_is_high():
    n = np.arange(24000)
    x = noise(0) * 1e-3
    y = x + 0.1 * np.sin(2 * np.pi * 6000 * n / 48000)  # bin 128 of 1024
    on, above = (lsd_split(x, y, 48000, cutoff, UNIVERSR) for cutoff in (6000.0, 6300.0))
    assert on.high > above.high
    assert on.low < above.low


def test_the_split_counts_only_the_gap_where_the_setting_says_so():
    x, y = noise(0), noise(0)
    y[:, 12000:] = noise(1)[:, 12000:]
    gap = [Region(start=2000, stop=6000)]
    assert lsd_split(x, y, 24000, 4000.0, GAP, gaps=gap) == (0, 0)
    assert min(lsd_split(x, y, 24000, 4000.0, EXCERPT)) > 0.3
    with pytest.raises(RegionError):
        lsd_split(x, y, 24000, 4000.0, GAP)


def test_a_bin_just_below_a_cut_off_between_two_bins_is_low():
    # 4 kHz is bin 85.3 of 1024; NU-Wave 2 would round down and count bin 85 as high.
    x, y = noise(0), noise(1)
    on, between, also_between = (
        lsd_split(x, y, 48000, cutoff, UNIVERSR) for cutoff in (85 * 46.875, 4000.0, 85.9 * 46.875)
    )
    assert between == also_between
    assert between != on


@pytest.mark.parametrize("cutoff_hz", [0.0, -1.0, 24000.0, 1e9, float("nan")])
def test_a_cut_off_without_two_bands_is_refused(cutoff_hz):
    with pytest.raises(ConfigError, match="cutoff_hz"):
        lsd_split(noise(0), noise(0), 48000, cutoff_hz, APBWE)


def test_a_band_above_the_content_may_be_left_out():
    x = np.random.default_rng(0).standard_normal((1, 16000))
    spectrum = np.fft.rfft(x)
    spectrum[:, 6000:] *= 1e-3  # a bin a hertz
    y = np.fft.irfft(spectrum, 16000)
    whole = lsd_split(x, y, 16000, 2000.0, EXCERPT)
    part = lsd_split(x, y, 16000, 2000.0, EXCERPT, top_hz=5000.0)
    assert part.low == whole.low
    assert part.high < 0.1 < 2 < whole.high
    for top_hz in (2000.0, 9000.0):
        with pytest.raises(ConfigError, match="top_hz"):
            lsd_split(x, y, 16000, 2000.0, EXCERPT, top_hz=top_hz)
