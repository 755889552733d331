"""The entry, and the verbs beside inpaint."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import RATE, tones

from weft import zoo
from weft.audio.audio import Audio
from weft.audio.spectral import stft
from weft.cli.survey import bandwidth, survey
from weft.version import __version__

GAP = ("--gap", "0.5-0.53", "--model", "lpc")
HEAVY = ("torch", "numpy", "scipy", "soundfile", "matplotlib")
LOADED = """
import atexit, sys
heavy = {heavy!r}
atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))
from weft.cli.main import main
sys.exit(main())
"""


# ------------------------------------------------------------------------------------------ entry


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("inpaint", "--help"),
        ("continue", "--help"),
        ("regenerate", "--help"),
        ("transition", "--help"),
        ("generate", "--help"),
        ("inspect", "--help"),
        ("models", "--help"),
        ("models", "list"),
        ("models", "info", "similarity"),
        ("--show-completion",),
    ],
)
def test_listings_start_without_numerical_packages(spawn, arguments):
    ran = spawn(*arguments, code=LOADED.format(heavy=HEAVY))
    assert ran.err.strip().endswith("[]"), ran.err


def test_shell_completion_imports_no_numerical_package(spawn, monkeypatch):
    monkeypatch.setenv("_WEFT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "weft insp")
    monkeypatch.setenv("COMP_CWORD", "1")
    ran = spawn(code=LOADED.format(heavy=HEAVY))
    assert ran.out.split() == ["inspect"]
    assert ran.err.strip().endswith("[]"), ran.err


def test_inpainting_imports_no_torch(spawn, take):
    ran = spawn("inpaint", take, *GAP, "--quiet", code=LOADED.format(heavy=("torch",)))
    assert ran.status == 0
    assert ran.err.strip() == "[]"


def test_version(weft):
    ran = weft("--version")
    assert (ran.status, ran.out) == (0, f"weft {__version__}\n")


def test_help_names_every_verb_and_the_exit_statuses(weft):
    ran = weft("--help")
    assert ran.status == 0
    verbs = ("inpaint", "continue", "regenerate", "transition", "generate", "inspect", "evaluate")
    for word in (*verbs, "models", "doctor", "replay", "130 interrupted"):
        assert word in ran.out


@pytest.mark.parametrize("arguments", [(), ("inpaint",), ("models",)])
def test_no_arguments_show_help(weft, arguments):
    ran = weft(*arguments)
    assert ran.status == 2
    assert "Usage: weft" in ran.out + ran.err
    assert "error:" not in ran.err


# ----------------------------------------------------------------------------------------- models


def test_models_list_names_all(weft):
    ran = weft("models", "list")
    assert ran.status == 0
    for name in zoo.names():
        assert f"\n{name} " in ran.out
    assert [model["name"] for model in weft("models", "list", "--json").json["models"]] == list(
        zoo.names()
    )


def test_models_info(weft):
    ran = weft("models", "info", "janssen")
    assert ran.status == 0
    assert "Janssen, Veldhuis" in ran.out
    assert weft("models", "info", "janssen", "--json").json["name"] == "janssen"


def test_models_info_of_an_unknown_one(weft):
    ran = weft("models", "info", "jansen")
    assert ran.status == 5
    assert "did you mean 'janssen'" in ran.err


# ----------------------------------------------------------------------------------------- doctor


def test_doctor_says_all_is_well(weft):
    ran = weft("doctor")
    assert ran.status == 0
    assert "all is well" in ran.out
    assert "SNR" in ran.out
    facts = weft("doctor", "--json").json
    assert facts["problems"] == []
    assert facts["packages"]["numpy"] == np.__version__


def test_doctor_finds_what_does_not_work(weft, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("weft.api.inpaint", fail)
    ran = weft("doctor")
    assert ran.status == 5
    assert "RuntimeError: broken" in ran.out


# ---------------------------------------------------------------------------------------- inspect


def test_inspect_tells_what_a_file_holds(weft, tmp_path):
    samples = tones()
    samples[:, 4000:5000] = 0
    samples[0, 9000:9010] = 1.5
    path = tmp_path / "a.wav"
    soundfile.write(path, samples.T, RATE, subtype="PCM_24")
    facts = weft("inspect", path, "--json").json
    assert (facts["container"], facts["subtype"]) == ("WAV", "PCM_24")
    assert (facts["sample_rate"], facts["num_channels"], facts["num_samples"]) == (RATE, 2, RATE)
    assert facts["silent_runs"] == [{"start": 4000, "stop": 5000}]
    assert facts["clipped_runs"] == [{"start": 9000, "stop": 9010}]
    assert facts["num_clipped"] == 10
    assert facts["peak_db"][0] == pytest.approx(0, abs=1e-4)
    rms = np.sqrt((np.clip(samples, -1, 1) ** 2).mean(axis=1))
    assert facts["rms_db"] == pytest.approx(list(20 * np.log10(rms)), abs=1e-3)
    assert [chunk["name"] for chunk in facts["chunks"]] == ["fmt ", "data"]
    ran = weft("inspect", path)
    assert ran.status == 0
    assert "1,000 samples in 1 run: 0.250 s (62.5 ms)" in ran.out


def test_inspect_reads_what_cannot_be_edited(weft, tmp_path):
    samples = tones()
    samples[0, 100:103] = np.nan
    soundfile.write(tmp_path / "a.wav", samples.T, RATE, subtype="FLOAT")
    facts = weft("inspect", tmp_path / "a.wav", "--json").json
    assert facts["num_nonfinite"] == 3
    soundfile.write(tmp_path / "b.wav", np.zeros((0, 1)), RATE)
    facts = weft("inspect", tmp_path / "b.wav", "--json").json
    assert facts["num_samples"] == 0
    assert facts["peak_db"] == [None]
    assert weft("inspect", tmp_path / "b.wav").status == 0


def test_inspect_shows_markers(weft, take):
    cue = struct.pack("<I", 1) + struct.pack("<II4sIII", 1, 0, b"data", 0, 0, 4000)
    data = take.read_bytes() + b"cue " + struct.pack("<I", len(cue)) + cue
    take.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    facts = weft("inspect", take, "--json").json
    assert facts["markers"] == [{"start": 4000, "num_samples": 0, "label": ""}]
    assert "0.250 s" in weft("inspect", take).out


def test_inspect_of_no_audio(weft, tmp_path):
    (tmp_path / "a.wav").write_text("hello")
    assert weft("inspect", tmp_path / "a.wav").status == 3


@pytest.mark.parametrize(("cutoff_hz", "subtype"), [(3000, "PCM_16"), (5000, "FLOAT")])
def test_bandwidth_is_where_the_content_ends(cutoff_hz, subtype, tmp_path):
    noise = np.random.default_rng(0).standard_normal(4 * RATE)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / RATE) > cutoff_hz] = 0
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.fft.irfft(spectrum), RATE, subtype=subtype)
    from weft.audio.read import read_audio

    assert survey(read_audio(path)).bandwidth_hz == pytest.approx(cutoff_hz, abs=200)


def test_bandwidth_of_white_noise_is_full_and_of_silence_none():
    noise = Audio.from_samples(np.random.default_rng(0).standard_normal(RATE), RATE)
    power = (np.abs(stft(noise.samples, n_fft=4096, hop_length=4096)) ** 2).mean(axis=(0, 2))
    assert bandwidth(power, RATE, 0.0) == pytest.approx(RATE / 2, rel=0.02)
    assert bandwidth(np.zeros(2049), RATE, 0.0) is None


def test_survey_is_the_same_whatever_the_blocks(monkeypatch, tmp_path):
    samples = tones()
    samples[:, 3000:9000] = 0
    whole = survey(Audio.from_samples(samples, RATE))
    monkeypatch.setattr(Audio.blocks, "__defaults__", (4999,))
    parts = survey(Audio.from_samples(samples, RATE))
    assert parts.silent == whole.silent
    assert parts.peak_db == whole.peak_db
    assert parts.rms_db == pytest.approx(whole.rms_db)


# ----------------------------------------------------------------------------------------- replay


def make_receipt(weft, take: Path, *options: str) -> Path:
    ran = weft("inpaint", take, "--gap", "0.5+60ms", *options, "--receipt", "--json")
    assert ran.status == 0
    return Path(ran.json["receipt"])


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "noise", "--seed", "3", "--takes", "2"),
        ("--model", "lpc", "--fill-only"),
        ("--model", "lpc", "--min-confidence", "1"),
        ("--model", "lpc", "-o", "{folder}/out.aiff"),
    ],
)
def test_replay_gives_the_same_output(weft, take, tmp_path, options):
    options = [option.format(folder=tmp_path) for option in options]
    receipt = make_receipt(weft, take, *options)
    names = {path.name for path in tmp_path.iterdir()}
    ran = weft("replay", receipt)
    assert ran.status == 0, ran.err
    assert "the same, bit for bit" in ran.out
    assert {path.name for path in tmp_path.iterdir()} == names
    assert weft("replay", receipt, "--json").json["is_same"] is True


def test_replay_keeps_its_output_where_told(weft, take, tmp_path):
    receipt = make_receipt(weft, take, "--model", "lpc")
    folder = tmp_path / "again"
    assert weft("replay", receipt, "-o", folder).status == 5
    folder.mkdir()
    assert weft("replay", receipt, "-o", folder).status == 0
    again = folder / "take3.replayed.wav"
    assert again.read_bytes() == take.with_name("take3.restored.wav").read_bytes()


def test_replay_says_what_differs(weft, take):
    receipt = make_receipt(weft, take, "--model", "lpc")
    content = json.loads(receipt.read_text())
    content["outputs"][0]["sha256"] = "0" * 64
    content["versions"]["numpy"] = "1.0"
    receipt.write_text(json.dumps(content))
    ran = weft("replay", receipt)
    assert ran.status == 5
    assert f"numpy 1.0 then, {np.__version__} now" in ran.err


def test_replay_refuses_another_recording(weft, take, tmp_path):
    receipt = make_receipt(weft, take, "--model", "lpc")
    kept = tmp_path / "kept.wav"
    take.rename(kept)
    assert "name it with --input" in weft("replay", receipt).err
    assert weft("replay", receipt, "--input", kept).status == 0
    soundfile.write(take, tones(0.7).T, RATE)
    ran = weft("replay", receipt)
    assert ran.status == 3
    assert "its digest differs" in ran.err


def test_replay_finds_the_recording_beside_a_receipt_that_moved(weft, take, tmp_path):
    receipt = make_receipt(weft, take, "--model", "lpc")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for path in (receipt, take):
        path.rename(folder / path.name)
    assert weft("replay", folder / receipt.name).status == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["not a receipt"]),
        ("[1]", ["not a receipt"]),
        ('{"kind": "weft-receipt", "version": 99}', ["version is 99"]),
        ('{"kind": "weft-receipt", "version": 1}', ["damaged", "settings"]),
        (
            '{"kind": "weft-receipt", "version": 1, "settings": {"takes": -3}}',
            ["takes", "1-100"],
        ),
        (
            '{"kind": "weft-receipt", "version": 1, "settings": {"takes": "3"}}',
            ["takes", "of type int"],
        ),
        (
            '{"kind": "weft-receipt", "version": 1, "settings": {"command": "rm"}}',
            ["unknown setting 'command'"],
        ),
        ("[" * 100_000, ["not a receipt"]),
    ],
)
def test_replay_of_what_is_no_receipt(weft, tmp_path, content, words):
    path = tmp_path / "r.json"
    path.write_text(content)
    ran = weft("replay", path)
    assert ran.status == 3, ran.err
    for word in ["r.json", *words]:
        assert word in ran.err


def test_replay_knows_the_weights_of_a_trained_model(weft, take, tmp_path):
    from tiny_tokens import CODEC, make_codec, make_network
    from weft.sampling.token_model import TokenModelConfig, write_token_model

    folder = tmp_path / "mine"
    folder.mkdir()
    network = make_network(codebook_size=32)
    config = TokenModelConfig(codec=CODEC, network=network.config, name="mine")
    write_token_model(folder, config=config, codec=make_codec(), network=network)
    receipt = make_receipt(weft, take, "--model", str(folder))
    assert weft("replay", receipt, "--json").json["is_same"] is True
    other = make_network(codebook_size=32, spread=1.0)
    write_token_model(folder, config=config, codec=make_codec(), network=other)
    ran = weft("replay", receipt)
    assert ran.status == 5
    assert "are not those of the receipt" in ran.err
