"""weft continue, regenerate, transition, generate; styles; their receipts."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import RATE, tones

from fillers import DraftFiller
from weft import zoo
from weft.audio.audio import Audio, AudioFormat
from weft.audio.read import read_audio
from weft.card import ModelCard

PCM_16 = AudioFormat(container="WAV", subtype="PCM_16")
EDIT = ("--model", "editor")


def make_editor() -> DraftFiller:
    return DraftFiller(max_gap_ms=300.0)


@pytest.fixture(autouse=True)
def _editor(monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard(name="editor", summary="mixes drafts with noise", good_for="tests")
    monkeypatch.setitem(zoo._MODELS, "editor", (make_editor, card))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.wav"
    Audio.from_samples(tones(0.8)[::-1], RATE, format=PCM_16).write(path)
    return path


def stored(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


@pytest.mark.parametrize("options", [(), ("--before",), ("--loop",), ("--before", "--loop")])
def test_a_continued_recording_is_whole_and_of_the_same_format(weft, take, options):
    ran = weft("continue", take, "--seconds", "0.25", "--model", "lpc", *options)
    assert ran.status == 0, ran.err
    output = take.with_name("take3.continued.wav")
    before, after = stored(take), stored(output)
    start = 4000 if "--before" in options else 0
    assert np.array_equal(after[start : start + RATE], before)
    assert len(after) == RATE + 4000
    assert np.abs(after[:4000] if start else after[RATE:]).max() > 100
    assert f"{2 * RATE:,} samples outside the edited regions: all identical" in ran.out
    assert soundfile.info(output).subtype == "PCM_16"


def test_a_region_is_made_anew(weft, take):
    ran = weft("regenerate", take, "--region", "0.2-0.7", "--strength", "0.3", *EDIT, "--json")
    assert ran.status == 0, ran.err
    result = ran.json
    before, after = stored(take), stored(Path(result["outputs"][0]))
    changed = np.flatnonzero((before != after).any(axis=1))
    assert changed.min() >= 3200
    assert changed.max() < 11_200
    assert result["proof"]["num_outside"] == 2 * (RATE - 8000)
    assert (result["verb"], result["model"]) == ("regenerate", "editor")
    assert result["gaps"][0]["takes"][0]["details"]["pieces"] == 2


def test_strength_zero_gives_the_same_bytes_and_needs_no_model(weft, take):
    ran = weft("regenerate", take, "--region", "0.2-0.7", "--strength", "0", "--receipt")
    assert ran.status == 0, ran.err
    output = take.with_name("take3.regenerated.wav")
    assert output.read_bytes() == take.read_bytes()
    assert weft("replay", take.with_name("take3.regenerated.receipt.json")).status == 0


def test_a_transition_holds_both_recordings(weft, take, other):
    ran = weft("transition", take, other, "--seconds", "0.4", *EDIT)
    assert ran.status == 0, ran.err
    after = stored(take.with_name("take3.to.other.wav"))
    assert len(after) == round(1.4 * RATE)
    assert np.array_equal(after[:9600], stored(take)[:9600])
    assert np.array_equal(after[RATE:], stored(other)[6400:])
    assert f"{2 * (9600 + 6400):,} samples outside" in ran.out


def test_a_second_recording_is_converted_where_told(weft, take, tmp_path):
    mono = tmp_path / "mono.flac"
    Audio.from_samples(
        tones(0.8)[:1], 8000, format=AudioFormat(container="FLAC", subtype="PCM_24")
    ).write(mono)
    arguments = ("transition", take, mono, "--seconds", "0.4", *EDIT)
    ran = weft(*arguments)
    assert ran.status == 2
    for words in (
        "take3.wav has 2 channels at 16000 Hz",
        "mono.flac has 1 channel at 8000",
        "--match",
    ):
        assert words in ran.err
    ran = weft(*arguments, "--match", "--receipt")
    assert ran.status == 0, ran.err
    assert "PCM_24 samples of mono.flac were rounded to PCM_16" in ran.err
    assert soundfile.info(take.with_name("take3.to.mono.wav")).frames == RATE + 25_600 - 6400
    assert weft("replay", take.with_name("take3.to.mono.receipt.json")).status == 0


def test_sound_from_nothing(weft, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--seconds", "0.5", "--rate", "8000", "--channels", "1", "--tag", "rain", *EDIT)
    ran = weft("generate", *options, "--takes", "2", "--receipt")
    assert ran.status == 0, ran.err
    one, two = (read_audio(tmp_path / f"generated.take{i}.wav").samples for i in (1, 2))
    assert one.shape == (1, 4000)
    assert not np.array_equal(one, two)
    assert weft("generate", *options, "-o", "rain.flac").status == 0
    assert soundfile.info("rain.flac").subtype == "PCM_24"
    receipt = json.loads((tmp_path / "generated.receipt.json").read_text())
    assert receipt["task"]["tags"] == ["rain"]
    assert weft("replay", tmp_path / "generated.receipt.json").status == 0


def test_text_is_refused_until_a_model_takes_it(weft):
    ran = weft("generate", "rain", "on a roof", "--seconds", "1", *EDIT)
    assert ran.status == 2
    assert "no model that takes text" in ran.err
    assert "'rain on a roof'" in ran.err


def test_a_gap_may_be_filled_like_a_recording(weft, take, other):
    options = ("--gap", "0.5-0.6", "--like", other, "--tag", "piano", "--style-weight", "2")
    assert weft("inpaint", take, *options, *EDIT, "--receipt").status == 0
    receipt = take.with_name("take3.restored.receipt.json")
    content = json.loads(receipt.read_text())
    assert [Path(file["path"]).name for file in content["references"]] == ["other.wav"]
    assert content["task"]["style_weight"] == 2
    assert weft("replay", receipt).status == 0
    other.write_bytes(take.read_bytes())
    ran = weft("replay", receipt)
    assert ran.status == 3
    assert "its digest differs" in ran.err


VERB_LINES = [
    ("continue", "{a}", "--seconds", "0.1"),
    ("regenerate", "{a}", "--region", "0.2-0.7"),
    ("transition", "{a}", "{b}", "--seconds", "0.4"),
    ("generate", "--seconds", "0.3", "-o", "{d}/new.wav"),
]


@pytest.mark.parametrize("line", VERB_LINES, ids=lambda line: line[0])
def test_a_dry_run_writes_nothing(weft, take, other, tmp_path, line):
    names = sorted(tmp_path.iterdir())
    words = [word.format(a=take, b=other, d=tmp_path) for word in line]
    ran = weft(*words, *EDIT, "--dry-run", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["dry_run"] is True
    assert ran.json["gaps"][0]["model"] == "draft-for-tests"
    assert sorted(tmp_path.iterdir()) == names


@pytest.mark.parametrize("line", VERB_LINES, ids=lambda line: line[0])
def test_equal_seeds_give_equal_files_and_steps_are_passed_on(weft, take, other, tmp_path, line):
    words = [word.format(a=take, b=other, d=tmp_path) for word in line]
    options = (*EDIT, "--json", "--overwrite")
    outputs = []
    for extra in ((), (), ("--seed", "1"), ("--steps", "20")):
        ran = weft(*words, *options, *extra)
        assert ran.status == 0, ran.err or ran.out
        outputs.append(Path(ran.json["outputs"][0]).read_bytes())
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) == 3


def test_a_report_shows_what_was_added(weft, take, tmp_path):
    report = tmp_path / "report.png"
    ran = weft("continue", take, "-s", "0.2", "--model", "lpc", "--report", report)
    assert ran.status == 0, ran.err
    assert report.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("has_title", [False, True])
def test_tags_that_are_left_behind_are_said(weft, tmp_path, has_title):
    path = tmp_path / "a.flac"
    Audio.from_samples(
        tones(0.5), RATE, format=AudioFormat(container="FLAC", subtype="PCM_16")
    ).write(path)
    if has_title:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="int16")
        with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
            file.title = "Rain"
            file.write(samples)
    ran = weft("continue", path, "--seconds", "0.1", "--model", "lpc", "--json")
    assert ran.status == 0
    warnings = [text for text in ran.json["warnings"] if "left behind" in text]
    assert len(warnings) == has_title
    assert all("describe a.flac as it was: VORBIS_COMMENT" in text for text in warnings)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        (("continue", "{a}", "--seconds", "0"), 2, "seconds must be > 0"),
        (("continue", "{a}"), 2, "--seconds"),
        (("continue", "{empty}", "--seconds", "1"), 3, "holds no samples"),
        (("continue", "{a}", "--seconds", "1", "--tag", "rain"), 5, "auto follows no style"),
        (("regenerate", "{a}", *EDIT), 2, "name it with --region"),
        (("regenerate", "{a}", "--region", "0.2-3", *EDIT), 3, "--clamp"),
        (("regenerate", "{a}", "--region", "0-1", "--strength", "1.5", *EDIT), 2, "strength"),
        (("regenerate", "{a}", "--region", "0-0.5", "--model", "lpc"), 5, "uses no draft"),
        (("regenerate", "{a}", "--region", "0-0.5", *EDIT, "--tag", "rian"), 2, "mean 'rain'"),
        (("regenerate", "{a}", "--region", "0-0.5", *EDIT, "--like", "{quiet}"), 2, "is silent"),
        (("regenerate", "{a}", "--region", "0-0.5", *EDIT, "--like", "{d}/no.wav"), 3, "no.wav"),
        (("transition", "{a}", "{b}", "--seconds", "0.9", *EDIT), 3, "other.wav is 0.800 s long"),
        (("transition", "{a}", "{empty}", "--seconds", "0.1", *EDIT), 3, "holds no samples"),
        (("transition", "{a}", "{b}", "--seconds", "0.1", "--model", "auto"), 5, "uses no draft"),
        (("transition", "{a}", "{b}", "--seconds", "0.1", "--strength", "-1", *EDIT), 2, "in [0"),
        (("generate", "--seconds", "1", "--model", "lpc"), 5, "nothing is known"),
        (("generate", "--seconds", "1", "--rate", "5", *EDIT), 2, "sample_rate must be in"),
        (("generate", "--seconds", "1", "--model", "lpc", "--steps", "-1"), 2, "steps must be in"),
        (("continue", "{a}", "--seconds", "1", "--model", "lpc", "--steps", "4"), 2, "takes no"),
    ],
    ids=lambda value: "-".join(value[:1]) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_bad_input_is_named_and_nothing_is_written(
    weft, take, other, tmp_path, line, status, words
):
    empty, quiet = tmp_path / "empty.wav", tmp_path / "quiet.wav"
    Audio.from_samples(np.zeros((2, 0)), RATE, format=PCM_16).write(empty)
    Audio.from_samples(np.zeros((2, 900)), RATE, format=PCM_16).write(quiet)
    names = sorted(tmp_path.iterdir())
    places = {"a": take, "b": other, "empty": empty, "quiet": quiet, "d": tmp_path}
    ran = weft(*[str(word).format(**places) for word in line])
    assert ran.status == status, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert sorted(tmp_path.iterdir()) == names
