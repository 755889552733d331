import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from weft.audio.audio import Audio
from weft.auto import (
    FEATURES,
    NEAR,
    SHORT_MS,
    Auto,
    Predictor,
    level_cost,
    predictors,
    propose,
)
from weft.canvas.canvas import Region, Window
from weft.canvas.windows import context_samples, read_window
from weft.classical.levels import TOLERANCE_DB, level_excess_db
from weft.classical.noise import NoiseFill
from weft.rng import Rng

RATE = 16000


def window_of(samples: np.ndarray, start: int, num_samples: int) -> Window:
    audio = Audio.from_samples(samples, RATE)
    gap = Region(start=start, stop=start + num_samples)
    return read_window(audio, gap, [], context_samples(Auto(), gap, RATE))


def fill_of(window: Window, num_takes: int = 1) -> list:
    return Auto().fill([window], num_takes=num_takes, rng=Rng(3))[0]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((2, 10 * RATE))


@pytest.fixture(scope="module")
def loop() -> np.ndarray:
    """A bar of drawn notes, played four times."""
    rng = np.random.default_rng(1)
    time = np.arange(RATE // 4) / RATE
    notes = [
        np.sin(2 * np.pi * 220 * 2 ** (pitch / 12) * time) * np.exp(-6 * time)
        for pitch in rng.integers(0, 24, 10)
    ]
    bar = np.concatenate(notes)
    return 0.3 * np.tile(bar, 4)[None] + 1e-4 * rng.standard_normal((1, 4 * len(bar)))


def test_a_recording_that_repeats_is_filled_from_its_repetition(loop: np.ndarray) -> None:
    window = window_of(loop, 5 * RATE + 999, RATE // 2)
    best = fill_of(window)[0]
    truth = loop[:, 5 * RATE + 999 :][:, : RATE // 2]
    assert best.model == "similarity"
    error = best.samples - truth
    assert 10 * np.log10((truth**2).sum() / (error**2).sum()) > 20


def test_a_repetition_gives_more_confidence_than_none(loop: np.ndarray) -> None:
    rng = np.random.default_rng(8)
    time = np.arange(RATE // 4) / RATE
    pitches = 220 * 2 ** (rng.uniform(0, 24, 40) / 12)
    notes = [np.sin(2 * np.pi * hz * time) * np.exp(-6 * time) for hz in pitches]
    never = 0.3 * np.concatenate(notes)[None] + 1e-4 * rng.standard_normal((1, 10 * RATE))
    start, length = 5 * RATE + 999, RATE // 2
    sure, unsure = (fill_of(window_of(sound, start, length))[0] for sound in (loop, never))
    assert sure.confidence > unsure.confidence + 0.1


def test_noise_is_not_filled_by_prediction(noise: np.ndarray) -> None:
    best = fill_of(window_of(noise, 5 * RATE, RATE // 2))[0]
    assert best.model != "lpc"
    assert best.samples.std() == pytest.approx(0.1, rel=0.3)


def test_a_click_is_filled_without_a_search(loop: np.ndarray) -> None:
    window = window_of(loop, 5 * RATE, round(0.003 * RATE))
    assert window.samples.shape[1] < RATE
    assert [fill.model for fill in fill_of(window, num_takes=3)] == ["janssen"]


def test_a_fill_does_not_depend_on_what_else_is_asked_for(
    loop: np.ndarray, noise: np.ndarray
) -> None:
    windows = [
        window_of(noise, 5 * RATE, 2000),
        window_of(loop, 3 * RATE, 32),
        window_of(loop, 4 * RATE, 3000),
    ]
    together = Auto().fill(windows, num_takes=2, rng=Rng(3))
    for window, fills in zip(windows, together, strict=True):
        alone = fill_of(window, num_takes=2)
        assert [fill.model for fill in alone] == [fill.model for fill in fills]
        assert np.allclose(alone[0].samples, fills[0].samples, atol=1e-12)


def test_takes_come_nearest_first_with_falling_confidence(loop: np.ndarray) -> None:
    fills = fill_of(window_of(loop, 5 * RATE, RATE // 3), num_takes=5)
    assert len(fills) == 5
    expected = [float(fill.details["expected_distance"]) for fill in fills]
    assert expected == sorted(expected)
    assert all(0 <= fill.confidence <= 1 for fill in fills)


def test_every_proposal_has_a_predictor_and_all_its_features(loop: np.ndarray) -> None:
    for proposal in propose(window_of(loop, 5 * RATE, 4000), num_takes=2, rng=Rng(0)):
        assert proposal.features.shape == (len(FEATURES),)
        assert np.isfinite(proposal.features).all()
        assert predictors()[proposal.fill.model].weights.shape == (len(FEATURES),)


def test_confidence_is_the_probability_of_being_near() -> None:
    judge = Predictor(weights=np.zeros(len(FEATURES)), spread=0.25)
    assert judge.confidence(NEAR) == 0.5
    assert judge.confidence(NEAR - 0.25) == pytest.approx(0.8413, abs=1e-4)
    assert judge.confidence(NEAR + 0.5) == pytest.approx(0.0228, abs=1e-4)


def test_the_stored_weights_are_of_these_features() -> None:
    stored = json.loads(files("weft").joinpath("auto.json").read_text(encoding="utf-8"))
    assert stored["features"] == list(FEATURES)
    assert stored["short_ms"] == SHORT_MS
    assert stored["num_recordings"] >= 10


@pytest.mark.parametrize("num_samples", [5, 400, 8000])
def test_silence_stays_silent(num_samples: int) -> None:
    window = window_of(np.zeros((2, 4 * RATE)), 2 * RATE, num_samples)
    assert not np.any(fill_of(window)[0].samples)


def test_one_sample_beside_the_gap_is_enough() -> None:
    window = window_of(np.full((1, 3), 0.1), 1, 2)
    assert np.isfinite(fill_of(window)[0].samples).all()


def test_noise_is_kept_out_of_what_is_no_noise(loop: np.ndarray, noise: np.ndarray) -> None:
    for sound, costs in ((loop, True), (noise, False)):
        window = window_of(sound, 5 * RATE, RATE // 2)
        proposals = {p.fill.model: p for p in propose(window, num_takes=1, rng=Rng(0))}
        level = level_cost(window, proposals["noise"].fill)
        assert (proposals["noise"].cost > level + 0.2) == costs
        assert proposals["similarity"].cost == level_cost(window, proposals["similarity"].fill)


def test_proposals_are_held_near_the_level_of_their_surroundings() -> None:
    # Bursts: the mean of logarithms, from which noise takes its level, is far below their power.
    rng = np.random.default_rng(2)
    envelope = np.repeat((rng.random(500) < 0.25).astype(float), RATE // 50) + 1e-3
    window = window_of(0.3 * (envelope * rng.standard_normal(10 * RATE))[None], 5 * RATE, RATE // 2)
    raw = NoiseFill().fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert level_excess_db(window, raw.samples) < -TOLERANCE_DB - 1
    held = {p.fill.model: p.fill for p in propose(window, num_takes=1, rng=Rng(0))}["noise"]
    assert abs(level_excess_db(window, held.samples)) < TOLERANCE_DB + 0.5


def test_what_costs_more_is_chosen_later(loop: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    window = window_of(loop, 5 * RATE, RATE // 2)
    first = propose(window, num_takes=1, rng=Rng(0))[0]
    marked = [
        replace(first, cost=cost, fill=replace(first.fill, details={"cost": cost}))
        for cost in (0.3, 0.0, 0.1)
    ]
    monkeypatch.setattr("weft.auto.propose", lambda *_, **__: marked)
    assert [fill.details["cost"] for fill in fill_of(window, num_takes=3)] == [0.0, 0.1, 0.3]
