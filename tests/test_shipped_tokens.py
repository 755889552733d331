"""The token model that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pytest

import weft
from weft import zoo
from weft.audio.audio import Audio
from weft.canvas import tasks
from weft.errors import BandwidthWarning

FOLDER = Path(weft.__file__).parent / "weights" / "weft-tokens"


def _melody(sample_rate: int, num_channels: int) -> Audio:
    """Four seconds of decaying notes over soft noise."""
    rng = np.random.default_rng(0)
    time = np.arange(4 * sample_rate) / sample_rate
    sound = 0.003 * rng.standard_normal((num_channels, len(time)))
    for i, hz in enumerate((220.0, 277.2, 329.6, 440.0) * 4):
        after = np.maximum(time - i / 4, 0)
        note = (time >= i / 4) * np.exp(-5 * after) * np.sin(2 * np.pi * hz * after)
        sound += 0.15 * note * np.linspace(1, 0.6, num_channels)[:, None]
    return Audio.from_samples(sound, sample_rate)


def test_it_is_listed_and_says_what_it_is() -> None:
    assert "weft-tokens" in zoo.names()
    assert "discrete diffusion" in zoo.describe("weft-tokens").summary


def test_it_is_as_small_as_promised_and_has_its_cards() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 28e6
    for name in ("README.md", "CODEC.md"):
        card = (FOLDER / name).read_text(encoding="utf-8")
        for words in ("## Training", "## Limits", "## Attribution", "CC0-1.0"):
            assert words in card, (name, words)


def test_its_codec_passed_the_gate() -> None:
    facts = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))["facts"]
    assert facts["codec_passes_gate"] is True
    card = (FOLDER / "CODEC.md").read_text(encoding="utf-8")
    assert "The round trip of what belongs into the gap is nearer than linear prediction" in card


def test_auto_does_not_offer_it() -> None:
    song = _melody(24000, 1)
    result = weft.inpaint(song, [(1.6, 1.9)])
    assert result.gaps[0].takes[0].model != "weft-tokens"


@pytest.mark.filterwarnings("ignore::weft.errors.BandwidthWarning")
def test_it_fills_a_gap_with_at_most_a_call_a_token() -> None:
    song = _melody(44100, 2)
    result = zoo.load("weft-tokens").fill(tasks.inpaint(song, [(1.6, 1.9)]), seed=3)
    take = result.gaps[0].takes[0]
    assert take.model == "weft-tokens"
    assert float(take.details["network_calls"]) <= 23 + 2
    assert result.proof.is_identical
    start, stop = round(1.6 * 44100), round(1.9 * 44100)
    inside = result.best.read(start, stop)
    beside = song.read(start - (stop - start), start)
    difference_db = 10 * np.log10(np.mean(inside**2) / np.mean(beside**2))
    assert abs(difference_db) < 15  # measured -10.9: fills of few notes are soft


def test_its_network_knows_much_more_than_nothing() -> None:
    """Mean log probability of drawn tokens; guessing evenly would give that of one in 1024."""
    noise = Audio.from_samples(0.1 * np.random.default_rng(1).standard_normal((1, 96000)), 24000)
    for song in (_melody(24000, 1), noise):
        result = zoo.load("weft-tokens").fill(tasks.inpaint(song, [(1.6, 1.9)]))
        known = float(result.gaps[0].takes[0].details["log_prob"])
        assert np.log(1 / 1024) + 1.5 < known < 0


def test_it_warns_of_its_band() -> None:
    rng = np.random.default_rng(2)
    bright = Audio.from_samples(0.1 * rng.standard_normal((1, 4 * 44100)), 44100)
    with pytest.warns(BandwidthWarning, match="12 kHz"):
        weft.inpaint(bright, [(1.6, 1.7)], model="weft-tokens")
