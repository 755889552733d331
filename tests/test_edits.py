"""The verbs that add to recordings, change them and join them, from Python."""

import json
from pathlib import Path

import numpy as np
import pytest

import weft
from fillers import DraftFiller
from weft.audio.audio import Audio, AudioFormat
from weft.audio.read import read_audio
from weft.audio.synth import harmonic_tones
from weft.card import ModelCard
from weft.errors import ConfigError, RegionError, UnsupportedCanvasError
from weft.model import Model

RATE = 8000
PCM_16 = AudioFormat(subtype="PCM_16")
EDITOR = Model(DraftFiller(max_gap_ms=500.0), ModelCard(name="e", summary="s", good_for="g"))


def chord(*notes_hz: float, duration_s: float = 3.0, channels: int = 2) -> Audio:
    tone = 0.1 * harmonic_tones(notes_hz, duration_s, RATE, seed=round(notes_hz[0]))
    return Audio.from_samples(np.repeat(tone, channels, axis=0), RATE, format=PCM_16)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.wav", tmp_path / "b.wav"
    for path, audio in zip(paths, (chord(220.0, 277.0), chord(247.0, 330.0)), strict=True):
        audio.write(path)
    return paths


@pytest.mark.parametrize("model", ["auto", "similarity", "lpc", EDITOR])
@pytest.mark.parametrize("before", [False, True])
def test_a_recording_goes_on_whole_and_at_its_level(
    files: tuple[Path, Path], tmp_path: Path, model: str | Model, before: bool
) -> None:
    song = read_audio(files[0])
    result = weft.continuation(files[0], 0.6, before=before, model=model)
    written = result.best.write(tmp_path / "out.wav")
    back = read_audio(tmp_path / "out.wav")
    assert (back.num_samples, back.format.subtype) == (song.num_samples + 4800, "PCM_16")
    start = 4800 if before else 0
    assert np.array_equal(back.read(start, start + song.num_samples), song.samples)
    assert written.proof.num_outside == 2 * song.num_samples
    added = back.read(0, 4800) if before else back.read(song.num_samples)
    assert 0.2 < added.std() / song.samples.std() < 1.5


def test_a_loop_leads_back_to_its_beginning() -> None:
    song = Audio.from_samples(0.2 * np.sin(2 * np.pi * 100.3 * np.arange(24_010) / RATE), RATE)
    jumps = []
    for loop in (True, False):
        take = weft.continuation(song, 0.5, loop=loop, model="lpc").best
        seam = np.concatenate([take.read(take.num_samples - 40), take.read(0, 40)], axis=1)
        jumps.append(float(np.abs(np.diff(seam, 2)).max()))
    assert jumps[0] < 0.003  # the sine's own is 0.0012
    assert jumps[1] > 0.02


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_a_transition_is_one_recording_and_then_the_other(
    files: tuple[Path, Path], tmp_path: Path, strength: float
) -> None:
    one, other = (read_audio(path) for path in files)
    result = weft.transition(*files, 1.2, strength, model=EDITOR)
    written = result.best.write(tmp_path / "out.wav")
    back = read_audio(tmp_path / "out.wav")
    length = round(1.2 * RATE)
    edge = one.num_samples - length
    assert np.array_equal(back.read(0, edge), one.read(0, edge))
    assert np.array_equal(back.read(one.num_samples), other.read(length))
    assert written.proof.num_outside == 2 * (edge + other.num_samples - length)
    draft = weft.canvas.transition(one, other, 1.2).audio.read(edge, one.num_samples)
    error = back.read(edge, one.num_samples) - draft
    assert (np.abs(error).max() < 1e-4) == (strength == 0)


def test_a_region_is_made_anew_and_nothing_else(files: tuple[Path, Path], tmp_path: Path) -> None:
    song = read_audio(files[0])
    result = weft.regenerate(files[0], [(0.5, 2.0)], 0.5, model=EDITOR, takes=2)
    assert len(result.takes) == 2
    back = read_audio(result.best.write(tmp_path / "out.wav").path)
    assert np.array_equal(back.read(0, 4000), song.read(0, 4000))
    assert np.array_equal(back.read(16_000), song.read(16_000))
    assert not np.array_equal(back.read(4000, 16_000), song.read(4000, 16_000))


def test_sound_is_made_from_nothing(tmp_path: Path) -> None:
    style = weft.guidance.tag("rain")
    result = weft.generate(seconds=1.1, sample_rate=RATE, num_channels=1, model=EDITOR, style=style)
    back = read_audio(result.best.write(tmp_path / "out.wav").path)
    assert (back.num_channels, back.num_samples) == (1, 8800)
    assert back.samples.std() > 0.05


def test_text_is_refused_until_a_model_takes_it() -> None:
    with pytest.raises(ConfigError, match=r"no model that takes text.*'rain'.*--like"):
        weft.generate("rain", seconds=1.0, model=EDITOR)


def test_strength_zero_needs_no_model(files: tuple[Path, Path]) -> None:
    song = read_audio(files[0])
    same = weft.regenerate(files[0], [(0.5, 2.0)], 0.0, model="there is no such model").best
    assert np.array_equal(same.samples, song.samples)
    joined = weft.transition(*files, 1.0, 0.0, model="there is no such model").best
    assert joined.num_samples == 5 * RATE


def test_classical_models_say_what_they_cannot_do(files: tuple[Path, Path]) -> None:
    with pytest.raises(UnsupportedCanvasError, match="lpc fills empty gaps"):
        weft.regenerate(files[0], [(0.5, 2.0)], model="lpc")
    with pytest.raises(UnsupportedCanvasError, match="auto fills empty gaps"):
        weft.transition(*files, 1.0, model="auto")
    with pytest.raises(UnsupportedCanvasError, match="similarity fills gaps .* nothing is known"):
        weft.generate(seconds=1.0, model="similarity")
    with pytest.raises(UnsupportedCanvasError, match="lpc follows no style"):
        weft.inpaint(files[0], [(0.5, 0.6)], model="lpc", style=weft.guidance.tag("rain"))


def test_models_that_can_are_named(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weft-latent"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"kind": "latent"}))
    monkeypatch.setattr(weft.zoo, "_SHIPPED", tmp_path)
    assert weft.zoo.able("draft") == weft.zoo.able("generate") == ("weft-latent",)
    with pytest.raises(UnsupportedCanvasError, match="use weft-latent, or fill the gap without"):
        weft.regenerate(files[0], [(0.5, 2.0)], model="lpc")


def test_overlaps_longer_than_a_track_name_it(files: tuple[Path, Path]) -> None:
    with pytest.raises(RegionError, match=r"a\.wav is 3\.000 s long, shorter than .* 3\.5 s"):
        weft.transition(*files, 3.5, model=EDITOR)
