import builtins
import logging
import warnings

import numpy as np
import pytest

from weft.audio.resample import resample
from weft.audio.synth import song
from weft.canvas.canvas import Region
from weft.errors import (
    AudioFormatError,
    ConfigError,
    MissingDependencyError,
    RegionError,
    ShapeError,
)
from weft.metrics import visqol, visqol_gap

RATE = 24000
MUSIC = song(4.0, RATE, seed=3)
GAP = Region(start=40000, stop=47200)


def filled(level):
    y = MUSIC.copy()
    y[:, GAP.start : GAP.stop] += level * np.random.default_rng(0).standard_normal((2, 7200))
    return y


def test_equal_signals_have_the_best_score():
    assert visqol_gap(MUSIC, MUSIC, RATE, GAP) == visqol.BEST_MOS


def test_more_noise_in_the_gap_scores_lower():
    scores = [visqol_gap(MUSIC, filled(level), RATE, GAP) for level in (0.001, 0.01, 0.1)]
    assert sorted(scores, reverse=True) == scores
    assert 1 <= scores[-1] < scores[0] - 0.5


def test_the_score_is_that_of_the_package_on_the_cut():
    from visqol import VisqolApi

    y = filled(0.01)
    cut = slice(GAP.start - 12000, GAP.stop + 12000)
    pair = [resample(z[:, cut].mean(axis=0, keepdims=True), RATE, 48000)[0] for z in (MUSIC, y)]
    api = VisqolApi()
    api.create(mode="audio")
    expected = api.measure_from_arrays(*pair, 48000).moslqo
    assert visqol_gap(MUSIC, y, RATE, GAP) == pytest.approx(expected, abs=1e-9)


def test_only_the_gap_and_its_sides_count():
    y = MUSIC.copy()
    y[:, : GAP.start - 12000] = 0
    y[:, GAP.stop + 12000 :] *= -1
    assert visqol_gap(MUSIC, y, RATE, GAP) == visqol.BEST_MOS


@pytest.mark.parametrize("where", ["start", "end"])
def test_a_gap_at_an_end_is_heard(where):
    gap = Region(start=0, stop=2400) if where == "start" else Region(start=93600, stop=96000)
    y = MUSIC.copy()
    y[:, gap.start : gap.stop] = 0.1 * np.random.default_rng(0).standard_normal((2, 2400))
    assert visqol_gap(MUSIC, MUSIC, RATE, gap) == visqol.BEST_MOS
    assert visqol_gap(MUSIC, y, RATE, gap) < 4


def test_a_gap_of_one_sample_and_shortest_sides_have_a_score():
    gap = Region(start=40000, stop=40001)
    assert visqol_gap(MUSIC, MUSIC, RATE, gap, side_s=0.49) == visqol.BEST_MOS


def test_silence_is_perfect_for_silence_and_worst_for_sound():
    silence = np.zeros_like(MUSIC)
    assert visqol_gap(silence, silence, RATE, GAP) == visqol.BEST_MOS
    assert visqol_gap(MUSIC, silence, RATE, GAP) == visqol.WORST_MOS
    assert visqol_gap(silence, MUSIC, RATE, GAP) == visqol.WORST_MOS


def test_the_package_stays_quiet(caplog):
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        visqol_gap(MUSIC, filled(0.1), RATE, GAP)
    assert not caplog.records


def test_the_model_is_loaded_once():
    visqol_gap(MUSIC, MUSIC, RATE, GAP)
    assert visqol._load_model() is visqol._load_model()


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name == "visqol":
            raise ImportError(name)
        return plain(name, *rest, **more)

    visqol._load_model.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[eval\]'"):
        visqol_gap(MUSIC, MUSIC, RATE, GAP)


def test_what_cannot_be_scored_is_named():
    with pytest.raises(ShapeError):
        visqol_gap(MUSIC, MUSIC[:, 1:], RATE, GAP)
    with pytest.raises(AudioFormatError):
        visqol_gap(MUSIC, MUSIC * np.nan, RATE, GAP)
    with pytest.raises(RegionError):
        visqol_gap(MUSIC, MUSIC, RATE, Region(start=95000, stop=96001))
    with pytest.raises(ConfigError, match="0 Hz"):
        visqol_gap(MUSIC, MUSIC, 0, GAP)
    for side_s in (0.4, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="side_s"):
            visqol_gap(MUSIC, MUSIC, RATE, GAP, side_s=side_s)
