"""The whole of PEAQ: pins of GstPEAQ, order of damages, conventions, the ITU's items if present."""

import math
import os
import tracemalloc
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from weft.audio.read import read_audio
from weft.audio.resample import resample
from weft.audio.synth import harmonic_tones, pluck
from weft.errors import AudioFormatError, ConfigError, ShapeError
from weft.metrics.peaq import PeaqConfig, grade, model, odg, odg_at, peaq

# Distortion index and grade of the basic version for the conformance items of BS.1387-1
ITEMS = {
    "acodsna": (1.304, -0.676),
    "bcodtri": (1.949, -0.304),
    "ccodsax": (0.048, -1.829),
    "ecodsmg": (1.731, -0.412),
    "fcodsb1": (0.677, -1.195),
    "fcodtr1": (1.419, -0.598),
    "fcodtr2": (-0.045, -1.927),
    "fcodtr3": (-0.715, -2.601),
    "gcodcla": (1.781, -0.386),
    "icodsna": (-3.029, -3.786),
    "kcodsme": (3.093, 0.038),
    "lcodhrp": (1.041, -0.876),
    "lcodpip": (1.973, -0.293),
    "mcodcla": (-0.436, -2.331),
    "ncodsfe": (3.135, 0.045),
    "scodclv": (1.689, -0.435),
}
ITEMS_DIR = os.environ.get("WEFT_PEAQ_ITEMS", "")


def gst_waves():
    """The sine, saw and triangle of GStreamer's audiotestsrc: 440 Hz, volume 0.8, 128 buffers.

    The phase is summed up sample by sample as there: at every 1200th sample it meets pi within
    rounding, and on which side decides the sign of that sample of the saw. Samples are float32.
    """
    step, turn, phase = 2 * math.pi * 440 / 48000, 2 * math.pi, 0.0
    phases = np.empty(128 * 1024)
    for n in range(len(phases)):
        phase += step
        if phase >= turn:
            phase -= turn
        phases[n] = phase
    saw = np.where(phases < np.pi, phases, phases - turn) * (0.8 / np.pi)
    rising = np.where(phases < 1.5 * np.pi, np.pi - phases, phases - turn)
    triangle = np.where(phases < 0.5 * np.pi, phases, rising) * (0.8 / (0.5 * np.pi))
    waves = (0.8 * np.sin(phases), saw, triangle)
    return tuple(wave.astype(np.float32).astype(float)[None] for wave in waves)


SINE, SAW, TRIANGLE = gst_waves()


def noise(seed, num_samples=48000, num_channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((num_channels, num_samples))


def melody(num_channels=1, duration_s=4):
    """Plucked strings over a faint noise, peak 0.3."""
    rng = np.random.default_rng(1)
    music = np.zeros((num_channels, 48000 * duration_s))
    for row in music:
        for i in range(duration_s * 7 // 2):
            note = pluck(110 * 2 ** (rng.integers(0, 30) / 12), 1.5, 48000, seed=i)
            row[i * 13000 : i * 13000 + len(note)] += note[: row.shape[0] - i * 13000]
    return 0.3 * music / np.abs(music).max() + 1e-4 * rng.standard_normal(music.shape)


def falls(grades, least=0.02):
    return np.all(np.diff(grades) < -least)


# Pins


def test_a_sine_against_itself_has_the_grade_of_gstpeaq():
    assert odg(SINE, SINE) == pytest.approx(0.171, abs=6e-4)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_saw_against_triangle_has_the_grade_of_gstpeaq(num_channels):
    saw, triangle = (np.repeat(wave, num_channels, axis=0) for wave in (SAW, TRIANGLE))
    assert odg(saw, triangle) == pytest.approx(-2.007, abs=6e-4)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PeaqConfig(harmonic_window="zero"), -2.118),
        (PeaqConfig(harmonic_mean="after"), -2.202),
        (PeaqConfig(steps="floor"), -2.006),
        (PeaqConfig(clamp=True), -2.109),
        (PeaqConfig(playback_level_db=80.0), -2.095),
    ],
)
def test_other_readings_miss_the_pin(config, expected):  # expected: measured with this code
    assert odg(SAW, TRIANGLE, config=config) == pytest.approx(expected, abs=2e-3)
    assert abs(odg(SAW, TRIANGLE, config=config) + 2.00704) > 5e-4


@pytest.mark.parametrize("item", ITEMS)
def test_grades_of_the_conformance_items_follow_from_their_index(item):
    index, expected = ITEMS[item]
    assert grade(index) == pytest.approx(expected, abs=8e-4)  # both are printed to 3 digits


@pytest.mark.skipif(not ITEMS_DIR, reason="WEFT_PEAQ_ITEMS names no folder of the ITU's items")
@pytest.mark.parametrize("item", ITEMS)
def test_index_of_a_conformance_item(item):
    files = {path.name.lower(): path for path in Path(ITEMS_DIR).rglob("*") if path.is_file()}
    pair = f"{item[0]}ref{item[4:]}.wav", f"{item}.wav"
    absent = [name for name in pair if name not in files]
    if absent:
        pytest.skip(f"the folder has no {' and no '.join(absent)}")
    truth, fill = (read_audio(files[name]).samples for name in pair)
    length = min(truth.shape[1], fill.shape[1])
    result = peaq(truth[:, :length], fill[:, :length])
    assert result.di == pytest.approx(ITEMS[item][0], abs=0.02)


# Order of damages


def test_the_grade_falls_with_the_level_of_noise():
    clean = melody()
    added = np.random.default_rng(2).standard_normal(clean.shape)
    levels_db = [-100, -90, -80, -70, -60, -50]
    grades = [odg(clean, clean + 10 ** (db / 20) * added) for db in levels_db]
    assert falls(grades)
    assert grades[0] > 0
    assert grades[-1] < -3


def test_the_grade_falls_with_the_cutoff_of_a_low_pass():
    clean = melody()
    grades = [
        odg(clean, signal.sosfiltfilt(signal.butter(8, hz, fs=48000, output="sos"), clean))
        for hz in (20000, 16000, 12000, 8000, 6000, 4000)
    ]
    assert falls(grades)


def test_the_grade_falls_with_the_length_of_holes_when_clamped():
    clean = melody()
    results = []
    for hole_ms in (10, 20, 40, 80, 160, 320):
        damaged = clean.copy()
        half = hole_ms * 24
        for centre in range(12000, clean.shape[1], 24000):
            damaged[:, centre - half : centre + half] = 0
        results.append(peaq(clean, damaged, config=PeaqConfig(clamp=True)))
    assert falls([result.odg for result in results])
    assert results[-1].odg < -3.5
    assert np.all(np.diff([result.movs.disturbed_frames for result in results][2:]) > 0)


def test_an_error_in_one_channel_counts_less_than_in_both():
    clean = melody(2)
    added = 3e-3 * np.random.default_rng(3).standard_normal(clean.shape)
    both = odg(clean, clean + added)
    one = odg(clean, clean + added * [[1], [0]])
    assert both < one - 0.1
    assert one < odg(clean, clean) - 0.02  # little: the untouched channel's ratio is -150 dB


# Invariances


def test_channels_may_be_swapped_and_mono_may_be_doubled():
    reference, estimate = noise(0, num_channels=2), noise(1, num_channels=2)
    forwards = peaq(reference, estimate)
    backwards = peaq(reference[::-1], estimate[::-1])
    np.testing.assert_allclose(astuple(forwards.movs), astuple(backwards.movs), rtol=1e-12)
    mono = peaq(reference[:1], estimate[:1])
    double = peaq(np.repeat(reference[:1], 2, axis=0), np.repeat(estimate[:1], 2, axis=0))
    np.testing.assert_allclose(astuple(mono.movs), astuple(double.movs), rtol=1e-12)


def test_the_sign_of_the_estimate_does_not_matter():
    reference = noise(0)
    assert odg(reference, -reference) == pytest.approx(odg(reference, reference), abs=1e-9)


def test_blocks_do_not_show(monkeypatch):
    reference, estimate = noise(0, 30000), noise(1, 30000)
    whole = peaq(reference, estimate)
    monkeypatch.setattr(model, "_BLOCK", 3)
    np.testing.assert_allclose(
        astuple(peaq(reference, estimate).movs), astuple(whole.movs), rtol=1e-12
    )


def test_silence_around_the_signals_does_not_dilute_the_damage():
    reference = noise(0, 60 * 1024)
    estimate = reference.copy()
    estimate[:, 30 * 1024 : 40 * 1024] *= 0.1
    around = ((0, 0), (40 * 1024, 40 * 1024))
    tight = peaq(reference, estimate).movs
    wide = peaq(np.pad(reference, around), np.pad(estimate, around)).movs
    # 60 frames, and one more on the side that had no frame before the first sample
    assert tight.disturbed_frames * 60 == pytest.approx(wide.disturbed_frames * 61)
    assert wide.total_nmr_db == pytest.approx(tight.total_nmr_db, abs=0.2)


def test_memory_does_not_grow_with_the_length():
    def peak(seconds):
        pair = noise(0, 48000 * seconds), noise(1, 48000 * seconds)
        tracemalloc.start()
        peaq(*pair)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(1)  # tables
    short, long = peak(4), peak(16)
    assert long < short + 12 * 47 * 15 * 8 * 4  # a dozen numbers a frame, some copies


# Conventions


def test_equal_signals_have_the_end_of_the_scale():
    for clean in (SINE, noise(0), melody(2), harmonic_tones([220.0, 330.0], 1.0, 48000)):
        result = peaq(clean, clean)
        assert 0.16 < result.odg < 0.22
        assert result.movs.detection_probability == result.movs.harmonic_structure == 0
        assert result.movs.noise_loudness == result.movs.modulation_difference_1 == 0


def test_two_silences_are_equal_and_silence_for_sound_is_not():
    silence, sound = np.zeros((1, 96000)), melody(duration_s=2)
    assert odg(silence, silence) == pytest.approx(0.171, abs=1e-3)
    for pair in ((sound, silence), (silence, sound)):
        result = peaq(*pair)
        assert np.all(np.isfinite(astuple(result.movs)))
        assert result.odg < -1.5
        assert odg(*pair, config=PeaqConfig(clamp=True)) < -2.5


@pytest.mark.parametrize("num_samples", [1, 100, 1023, 1024, 2047, 2048, 5000, 30000])
def test_short_clips_have_a_grade(num_samples):
    reference, estimate = noise(0, num_samples), noise(1, num_samples)
    assert 0.1 < odg(reference, reference) < 0.22
    result = peaq(reference, estimate)
    assert np.all(np.isfinite(astuple(result.movs)))
    assert -3.98 <= result.odg <= odg(reference, reference)


def test_the_last_frame_has_half_of_its_samples_at_least():
    for num_samples, num_frames in ((2047, 1), (2048, 2), (3071, 2), (3072, 3)):
        blocks = list(model._blocks(noise(0, num_samples), noise(1, num_samples), PeaqConfig()))
        assert sum(len(block.both_loud) for block in blocks) == num_frames


def test_a_frame_sounds_where_five_samples_of_a_channel_exceed_200_of_32768():
    samples = np.zeros((2, 8 * 1024))
    samples[0, 2046:2051] = 41 / 32768 * np.array([1, -1, 1, -1, 1])  # frame 1 has all five
    samples[1, 5000:5005] = 39 / 32768
    samples[1, 7000:7006] = 201 / 6 / 32768  # six samples
    [block] = model._blocks(samples, noise(0, 8 * 1024, 2), PeaqConfig())
    assert np.flatnonzero(block.reference_sounds).tolist() == [1]
    assert block.estimate_sounds.all()


def test_loud_means_more_than_a_tenth_of_a_sone_in_one_channel_of_both():
    tone = np.sin(2 * np.pi * np.arange(48000) / 48)
    loud, quiet = (10 ** ((db - 92) / 20) * tone for db in (25, 20))  # 0.12 and 0.06 sone

    def both_loud(reference, estimate):
        [block] = model._blocks(np.stack(reference), np.stack(estimate), PeaqConfig())
        return bool(block.both_loud[-2])

    assert both_loud([loud, quiet], [loud, quiet])
    assert both_loud([quiet, loud], [quiet, loud])
    assert not both_loud([loud, quiet], [quiet, loud])
    assert not both_loud([quiet], [quiet])


def test_loud_samples_beyond_full_scale_are_rated():
    loud = 100 * noise(0)
    assert np.isfinite(odg(loud, 1.1 * loud))


def test_bad_input_is_named():
    clean = noise(0)
    with pytest.raises(ConfigError, match="44100 Hz"):
        peaq(clean, clean, sample_rate=44100)
    with pytest.raises(ShapeError, match="3"):
        peaq(np.zeros((3, 4096)), np.zeros((3, 4096)))
    with pytest.raises(ShapeError, match="equal channels"):
        peaq(clean, clean[:, 1:])
    damaged = clean.copy()
    damaged[0, 7] = np.nan
    with pytest.raises(AudioFormatError, match="sample 7"):
        peaq(clean, damaged)
    with pytest.raises(ConfigError, match="0"):
        odg_at(clean, clean, 0)


def test_other_rates_are_resampled_to_about_the_same_grade():
    low_pass = signal.butter(12, 19000, fs=48000, output="sos")
    clean, damage = (
        signal.sosfiltfilt(low_pass, x) for x in (melody(), 0.01 * noise(3, 48000 * 4))
    )
    there = [resample(x, 48000, 44100) for x in (clean, clean + damage)]
    assert odg_at(*there, 44100) == pytest.approx(odg(clean, clean + damage), abs=0.05)
    assert odg_at(*there, 44100) < -0.5
    assert odg_at(SAW, TRIANGLE, 48000) == odg(SAW, TRIANGLE)
