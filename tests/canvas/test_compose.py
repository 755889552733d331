import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio.audio import Audio
from weft.audio.synth import harmonic_tones
from weft.canvas.canvas import Region, Window
from weft.canvas.compose import compose, limit_to_band
from weft.canvas.filler import Fill
from weft.canvas.windows import read_window
from weft.errors import ShapeError

RATE = 16000


def tone_window(start: int = 8000, length: int = 1600) -> tuple[Window, np.ndarray]:
    mono = 0.2 * harmonic_tones([220.0, 277.0], 1.2, RATE, seed=2)
    audio = Audio.from_samples(np.concatenate([mono, -0.5 * mono]), RATE)
    gap = Region(start=start, stop=start + length)
    return read_window(audio, gap, [], 8000), audio.read(gap.start, gap.stop)


def fill_of(samples: np.ndarray, *, is_joined: bool = False) -> Fill:
    return Fill(samples=samples, model="test", confidence=1.0, is_joined=is_joined)


def largest_step(window: Window, composed: np.ndarray) -> float:
    whole = window.samples.copy()
    whole[:, window.gap.start : window.gap.stop] = composed
    seam = slice(window.gap.start - 1, window.gap.start + 1)
    return float(np.abs(np.diff(whole[:, seam])).max())


def test_the_truth_stays_nearly_the_truth() -> None:
    window, truth = tone_window()
    error = compose(window, fill_of(truth)) - truth
    assert 10 * np.log10((error**2).sum() / (truth**2).sum()) < -35  # measured -46


def test_a_fill_of_the_wrong_phase_does_not_click() -> None:
    window, truth = tone_window(start=7834)  # near a peak of the wave
    pasted = largest_step(window, compose(window, fill_of(-truth), fade_ms=0.0))
    faded = largest_step(window, compose(window, fill_of(-truth)))
    own = np.abs(np.diff(window.before())).max()
    assert faded <= own < pasted


def test_the_middle_of_the_gap_is_the_fill() -> None:
    window, _ = tone_window()
    drawn = np.random.default_rng(0).standard_normal((2, 1600))
    assert np.array_equal(compose(window, fill_of(drawn))[:, 160:-160], drawn[:, 160:-160])


def test_a_joined_fill_is_pasted_as_it_is() -> None:
    window, truth = tone_window()
    assert np.array_equal(compose(window, fill_of(-truth, is_joined=True)), -truth)


def test_an_uncorrelated_fill_keeps_its_level_through_the_fade() -> None:
    rng = np.random.default_rng(3)
    audio = Audio.from_samples(rng.standard_normal((1, 40000)), RATE)
    window = read_window(audio, Region(start=16000, stop=24000), [], 16000)
    fill = rng.standard_normal((1, 8000))
    composed = compose(window, fill_of(fill), fade_ms=100.0)
    tail = fill[:, 1600:-1600].std()
    assert composed[:, 400:1600].std() > 0.7 * tail


@given(st.integers(1, 40), st.sampled_from([0.0, 1.0, 10.0, 1e4]), st.booleans())
def test_any_length_and_any_end_of_the_recording_works(
    length: int, fade_ms: float, at_start: bool
) -> None:
    audio = Audio.from_samples(np.ones((1, 50)), 1000)
    start = 0 if at_start else 50 - length
    window = read_window(audio, Region(start=start, stop=start + length), [], 100)
    composed = compose(window, fill_of(np.ones((1, length))), fade_ms=fade_ms)
    assert np.isfinite(composed).all()
    assert composed.shape == (1, length)


def test_a_fill_of_the_wrong_length_is_refused() -> None:
    window, truth = tone_window()
    with pytest.raises(ShapeError, match="test filled"):
        compose(window, fill_of(truth[:, :-1]))


def test_outside_its_band_a_limited_fill_is_the_original() -> None:
    time = np.arange(8000) / RATE
    original = np.sin(2 * np.pi * 200 * time)[None] + np.sin(2 * np.pi * 3000 * time)[None]
    limited = limit_to_band(original, np.zeros((1, 8000)), RATE, low_hz=1500.0, high_hz=6000.0)
    wanted = np.sin(2 * np.pi * 200 * time)[None]
    middle = slice(1000, -1000)
    assert np.abs(limited[:, middle] - wanted[:, middle]).max() < 0.01  # measured 0.001
    assert np.abs(limited[:, 0] - original[:, 0]).max() < 1e-3
