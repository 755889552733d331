import numpy as np
import pytest

from weft import metrics
from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.errors import AudioFormatError, RegionError, ShapeError
from weft.metrics.pairs import frames_in, samples_of, validate

GAP = [Region(start=1000, stop=1400)]


def of_gap(name):
    return {
        "snr": lambda x, y, gaps: metrics.snr_db(x, y, gaps),
        "si_sdr": lambda x, y, gaps: metrics.si_sdr_db(x, y, gaps),
        "lsd_gap": lambda x, y, gaps: metrics.log_spectral_distance(x, y, gaps),
        "mel": lambda x, y, gaps: metrics.mel_distance(x, y, 8000, gaps),
        "step": lambda x, y, gaps: metrics.seam_level_step_db(x, y, gaps, 8000),
        "level": lambda x, y, gaps: metrics.level_mismatch_db(x, y, gaps, 8000),
        "click": lambda x, y, gaps: metrics.seam_click_db(x, y, gaps, 8000),
    }[name]


ALL = ["snr", "si_sdr", "lsd_gap", "mel", "step", "level", "click"]
IDEAL = {"snr": 100, "si_sdr": 100, "lsd_gap": 0, "mel": 0, "step": 0, "level": 0}


@pytest.mark.parametrize("name", ALL)
def test_other_lengths_are_refused(name):
    with pytest.raises(ShapeError, match=r"\(1, 4000\) and \(1, 3999\)"):
        of_gap(name)(np.zeros((1, 4000)), np.zeros((1, 3999)), GAP)


@pytest.mark.parametrize("name", ALL)
def test_other_channels_are_refused(name):
    with pytest.raises(ShapeError):
        of_gap(name)(np.zeros((1, 4000)), np.zeros((2, 4000)), GAP)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_refused_and_located(name, bad):
    broken = np.zeros((2, 4000))
    broken[1, 77] = bad
    with pytest.raises(AudioFormatError, match="sample 77 of channel 1"):
        of_gap(name)(np.zeros((2, 4000)), broken, GAP)


@pytest.mark.parametrize("name", ALL)
def test_a_gap_outside_is_refused(name):
    with pytest.raises(RegionError, match="1000-1400"):
        of_gap(name)(np.zeros((1, 1200)), np.zeros((1, 1200)), GAP)


@pytest.mark.parametrize("name", ALL)
def test_no_gap_is_refused(name):
    with pytest.raises(RegionError):
        of_gap(name)(np.zeros((1, 1200)), np.zeros((1, 1200)), [])


@pytest.mark.parametrize("name", list(IDEAL))
@pytest.mark.parametrize("channels", [1, 2])
def test_a_signal_against_itself_is_ideal(name, channels):
    x = np.random.default_rng(1).standard_normal((channels, 4000)) * 0.1
    assert of_gap(name)(x, x, GAP) == IDEAL[name]


@pytest.mark.parametrize("name", list(IDEAL))
def test_silence_against_silence_is_ideal(name):
    x = np.zeros((1, 4000))
    assert of_gap(name)(x, x, GAP) == IDEAL[name]


@pytest.mark.parametrize("name", ALL)
def test_silence_against_sound_is_finite(name):
    sound = np.random.default_rng(1).standard_normal((1, 4000)) * 0.1
    for pair in ((sound, np.zeros((1, 4000))), (np.zeros((1, 4000)), sound)):
        assert np.isfinite(of_gap(name)(*pair, GAP))


@pytest.mark.parametrize("name", ["lsd_gap", "mel", "step", "level", "click", "snr", "si_sdr"])
def test_swapping_the_channels_of_both_changes_nothing(name):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 2, 4000)) * 0.1
    assert of_gap(name)(x, y, GAP) == pytest.approx(of_gap(name)(x[::-1], y[::-1], GAP))


@pytest.mark.parametrize("name", ALL)
def test_a_gap_of_one_sample_has_a_value(name):
    x = np.random.default_rng(1).standard_normal((1, 4000)) * 0.1
    y = x.copy()
    y[0, 1000] = 0.5
    assert np.isfinite(of_gap(name)(x, y, [Region(start=1000, stop=1001)]))


@pytest.mark.parametrize("name", ALL)
def test_a_gap_that_is_the_whole_recording_has_a_value(name):
    x, y = np.random.default_rng(1).standard_normal((2, 1, 4000)) * 0.1
    assert np.isfinite(of_gap(name)(x, y, [Region(start=0, stop=4000)]))


def test_no_samples_are_refused():
    with pytest.raises(ShapeError):
        validate(np.zeros((1, 0)), np.zeros((1, 0)))


def test_other_rates_are_refused():
    a = Audio.from_samples(np.zeros((1, 8)), 8000)
    b = Audio.from_samples(np.zeros((1, 8)), 16000)
    with pytest.raises(AudioFormatError, match="16000 Hz"):
        samples_of(a, b)


def test_frames_of_a_gap_at_the_very_end_stay_inside():
    assert frames_in([Region(start=3999, stop=4000)], 8, 512).tolist() == [7]


def test_every_gap_has_a_frame():
    for start in range(0, 2000, 37):
        assert len(frames_in([Region(start=start, stop=start + 3)], 9, 256)) == 1
