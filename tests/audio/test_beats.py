import numpy as np
import pytest

from weft.audio.beats import Beats, find_beats
from weft.audio.synth import brush, song

RATE = 16000


def pulse(period: int, first: int, duration_s: float = 20.0, *, seed: int = 0) -> np.ndarray:
    """Return brushes on every beat and softer ones between, in noise."""
    rng = np.random.default_rng(seed)
    sound = 1e-3 * rng.standard_normal((1, round(duration_s * RATE)))
    for i, at in enumerate(range(first, sound.shape[1] - 4000, period // 2)):
        gain = 0.3 if i % 2 == 0 else 0.1
        sound[0, at : at + 3200] += gain * brush(0.2, RATE, seed=seed + i)
    return sound


@pytest.mark.parametrize(("period", "first"), [(8000, 0), (7123, 3000), (9600, 5555), (6400, 77)])
def test_beats_are_found_within_fifteen_milliseconds(period: int, first: int) -> None:
    beats = find_beats(pulse(period, first), RATE)
    assert beats is not None
    assert beats.period == pytest.approx(period, rel=0.003)
    for at in range(first + period, 18 * RATE, period):
        assert abs(beats.at_or_before(at + period // 3) - at) < 0.015 * RATE


def test_the_pulse_of_a_song_lies_on_its_notes() -> None:
    beats = find_beats(song(12.0, RATE, seed=4), RATE)
    assert beats is not None
    notes = beats.period / RATE / 0.18
    assert abs(notes - round(notes)) < 0.02
    assert abs(beats.first / RATE / 0.18 - round(beats.first / RATE / 0.18)) < 0.08


def test_noise_and_steady_tones_have_no_beat() -> None:
    rng = np.random.default_rng(1)
    time = np.arange(20 * RATE) / RATE
    assert find_beats(0.1 * rng.standard_normal((2, 20 * RATE)), RATE) is None
    assert find_beats(0.1 * np.sin(2 * np.pi * 220 * time)[None], RATE) is None
    assert find_beats(np.zeros((1, 20 * RATE)), RATE) is None


def test_too_little_sound_has_no_beat() -> None:
    assert find_beats(pulse(8000, 0, 4.0), RATE) is None
    assert find_beats(np.zeros((1, 0)), RATE) is None


def test_the_beat_beside_a_position() -> None:
    beats = Beats(first=30.0, period=100.0, clarity=0.5)
    assert [beats.at_or_before(x) for x in (29, 30, 131)] == [-70, 30, 130]
    assert [beats.at_or_after(x) for x in (29, 30, 131)] == [30, 30, 230]
