import numpy as np
import pytest

from weft.audio.audio import Audio
from weft.canvas.canvas import Region, Window
from weft.canvas.windows import read_window
from weft.takes import score_take


@pytest.fixture
def gap(chord: Audio) -> tuple[Window, np.ndarray]:
    region = Region(start=16000, stop=20000)
    return read_window(chord, region, [], 8000), chord.read(region.start, region.stop)


def test_the_truth_scores_better_than_any_damage(gap: tuple[Window, np.ndarray]) -> None:
    window, truth = gap
    rng = np.random.default_rng(0)
    clicked = truth.copy()
    clicked[:, 0] += 0.5
    damaged = {
        "quiet": 0.25 * truth,
        "loud": 4 * truth,
        "silent": np.zeros_like(truth),
        "noise": truth.std() * rng.standard_normal(truth.shape),
        "clicked": clicked,
    }
    best = score_take(window, truth).total
    assert best > -2  # measured -0.9
    for name, fill in damaged.items():
        assert score_take(window, fill).total < best - 1, name


def test_each_part_sees_its_own_damage(gap: tuple[Window, np.ndarray]) -> None:
    window, truth = gap
    clean = score_take(window, truth)
    clicked = truth.copy()
    clicked[:, 0] += 0.5
    assert score_take(window, clicked).seam_db > clean.seam_db + 10
    assert score_take(window, 0.25 * truth).level_db == pytest.approx(12, abs=1.0)
    noise = truth.std() * np.random.default_rng(1).standard_normal(truth.shape)
    assert score_take(window, noise).spectrum_db > clean.spectrum_db + 5


def test_a_score_does_not_depend_on_the_gain_of_the_recording(
    gap: tuple[Window, np.ndarray],
) -> None:
    window, truth = gap
    soft = Window(
        samples=0.1 * window.samples,
        known=window.known,
        gap=window.gap,
        start=window.start,
        sample_rate=window.sample_rate,
    )
    fill = np.roll(truth, 100, axis=1)
    loud, quiet = score_take(window, fill), score_take(soft, 0.1 * fill)
    assert quiet.total == pytest.approx(loud.total, abs=0.2)


@pytest.mark.parametrize("length", [1, 3, 31, 500])
def test_any_length_beside_silence_gets_a_finite_score(length: int) -> None:
    audio = Audio.from_samples(np.zeros((2, 4000)), 8000)
    window = read_window(audio, Region(start=2000, stop=2000 + length), [], 1000)
    assert np.isfinite(score_take(window, np.ones((2, length))).total)


def test_without_surroundings_all_fills_are_equal() -> None:
    audio = Audio.from_samples(np.zeros((1, 100)), 8000)
    window = read_window(audio, Region(start=0, stop=99), [], 1000)
    assert score_take(window, np.ones((1, 99))).total == 0
