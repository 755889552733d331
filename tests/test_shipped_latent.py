"""The latent model that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pytest

import weft
from weft import zoo
from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.canvas import tasks

FOLDER = Path(weft.__file__).parent / "weights" / "weft-latent"
RATE = 44100


def _melody(seconds: float = 5.0) -> Audio:
    """A bar of decaying notes over soft noise, again and again, the second channel softer."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.003 * rng.standard_normal((2, len(time)))
    notes = (220.0, 277.2, 329.6, 440.0)
    for i in range(round(4 * seconds)):
        after = np.maximum(time - i / 4, 0)
        hz = notes[i % 4]
        note = (time >= i / 4) * np.exp(-5 * after) * np.sin(2 * np.pi * hz * after)
        sound += 0.15 * note * np.array([[1.0], [0.6]])
    return Audio.from_samples(sound, RATE)


def _samples(audio: Audio, start_s: float, stop_s: float) -> np.ndarray:
    return audio.read(round(start_s * RATE), round(stop_s * RATE))


def test_it_is_listed_and_can_do_what_classical_models_cannot() -> None:
    assert "weft-latent" in zoo.names()
    for ability in ("draft", "style", "generate"):
        assert "weft-latent" in zoo.able(ability)  # type: ignore[arg-type]


def test_it_is_as_small_as_promised_and_has_its_cards() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 28e6
    for name in ("README.md", "CODEC.md"):
        card = (FOLDER / name).read_text(encoding="utf-8")
        for words in ("## Training", "## Limits", "## Attribution", "CC0-1.0"):
            assert words in card, (name, words)
    assert "repeat what it was trained on" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_its_codec_keeps_waves_where_they_can_be_kept() -> None:
    card = (FOLDER / "CODEC.md").read_text(encoding="utf-8")
    assert "music passed, piano passed" in card
    model = zoo.load("weft-latent")
    round_trip = model.filler.round_trip
    assert round_trip is not None
    song = _melody(3.0).samples
    error = round_trip(song, RATE) - song
    assert 10 * np.log10(np.sum(song**2) / np.sum(error**2)) > 12  # measured 22.2


def test_it_finds_a_repeated_bar_and_leaves_all_else_alone() -> None:
    song = _melody()
    result = zoo.load("weft-latent").fill(tasks.inpaint(song, [(2.6, 2.9)]), seed=3)
    take = result.gaps[0].takes[0]
    assert take.details["network_calls"] == 5  # 8 from noise: it starts from a draft
    assert result.proof.is_identical
    truth, fill = _samples(song, 2.6, 2.9), _samples(result.best, 2.6, 2.9)
    assert np.square(fill - truth).sum() < 0.1 * np.square(truth).sum()


def test_it_says_what_it_was_measured_to_be() -> None:
    facts = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))["facts"]["valid"]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| network, started from a draft | {facts['gap_lsd_started']:.2f} |" in card
    assert f"| network alone | {facts['gap_lsd_plain']:.2f} |" in card
    assert f"| similarity, the best draft | {facts['gap_lsd_draft']:.2f} |" in card


def test_strength_says_how_far_a_passage_changes() -> None:
    song = _melody()
    model = zoo.load("weft-latent")
    before = _samples(song, 2.0, 3.0)
    far = []
    for strength in (0.0, 0.3, 0.95):
        canvas = tasks.regenerate(song, [(2.0, 3.0)], strength)
        result = model.fill(canvas, seed=1)
        assert result.proof.is_identical
        far.append(float(np.square(_samples(result.best, 2.0, 3.0) - before).sum()))
    assert far[0] == 0
    assert far[0] < far[1] < far[2]


@pytest.mark.parametrize("seconds", [1.0])
def test_what_it_makes_of_nothing_can_be_heard(seconds: float) -> None:
    result = zoo.load("weft-latent").fill(tasks.generate(seconds, RATE, 1), seed=0)
    assert level_db(result.best.samples) > -50
