"""Bad input through the real command line: the right status, a useful message, nothing lost."""

import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import RATE, tones

GAP = ("--gap", "0.5-0.53", "--model", "lpc")


def check(ran, status: int, *words: str) -> None:
    """Assert how a command failed: the status, one line of message, no traceback."""
    assert ran.status == status, ran.err
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    assert "inside Weft" not in ran.err
    for word in words:
        assert word in ran.err, ran.err


def only(folder: Path, *names: str) -> None:
    """Assert that nothing else lies in a folder, not even a hidden file."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# ------------------------------------------------------------------------------------ recordings


def test_no_such_file(weft, tmp_path):
    check(weft("inpaint", tmp_path / "a.wav", *GAP), 3, "a.wav", "no such file", "check the path")


def test_empty_file(weft, tmp_path):
    (tmp_path / "a.wav").touch()
    check(weft("inpaint", tmp_path / "a.wav", *GAP), 3, "a.wav", "empty", "again")
    only(tmp_path, "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_text_with_the_name_of_audio(weft, tmp_path, name):
    (tmp_path / name).write_text("dear diary, " * 50)
    check(weft("inpaint", tmp_path / name, *GAP), 3, name, "text", "can be read")
    only(tmp_path, name)


def test_directory(weft, tmp_path):
    (tmp_path / "x.wav").mkdir()
    check(weft("inpaint", tmp_path / "x.wav", *GAP), 3, "x.wav", "directory", "name a file")


def test_header_stub(weft, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF\x04\0\0\0")
    check(weft("inpaint", tmp_path / "a.wav", *GAP), 3, "a.wav", "truncated")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.aiff", {"subtype": "PCM_24"}),
        ("a.flac", {"subtype": "PCM_16"}),
        ("a.ogg", {"subtype": "VORBIS"}),
    ],
)
def test_truncated_file_and_salvage(weft, tmp_path, name, options):
    path = tmp_path / name
    soundfile.write(path, tones(3.0).T, RATE, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    check(weft("inpaint", path, *GAP), 3, name, "truncated", "copy the file again")
    only(tmp_path, name)
    ran = weft("inpaint", path, *GAP, "--salvage")
    assert ran.status == 0, ran.err
    assert "salvaged" in ran.err


def test_truncated_mp3(weft, tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tones(3.0).T, RATE, format="MP3", subtype="MPEG_LAYER_III")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    check(weft("inpaint", path, *GAP), 3, "a.mp3", "truncated")
    only(tmp_path, "a.mp3")


def test_header_claiming_2_to_the_63_frames(spawn, tmp_path):
    path = tmp_path / "a.wav"
    format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * 4, 4, 16)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, 2**63, 2**63, 2**63 - 1, 0)
    body = b"WAVE" + sizes + format_chunk + struct.pack("<4sI", b"data", 0xFFFFFFFF) + bytes(4000)
    path.write_bytes(b"RF64" + struct.pack("<I", 0xFFFFFFFF) + body)
    limit = 4 << 30

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    check(spawn("inpaint", path, *GAP, preexec_fn=bound), 3, "a.wav")
    only(tmp_path, "a.wav")


def test_flac_claiming_far_more_than_it_holds(spawn, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tones().T, RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4  # total samples: 2^36 - 1
    path.write_bytes(bytes(data))
    check(spawn("inpaint", path, *GAP), 3, "a.flac", "truncated")


def test_no_channels(weft, take):
    data = bytearray(take.read_bytes())
    data[22:24] = b"\0\0"
    take.write_bytes(bytes(data))
    check(weft("inpaint", take, *GAP), 3, "take3.wav", "0 channels", "damaged")


def test_nan_samples(weft, tmp_path):
    samples = tones()
    samples[0, 7900] = np.nan
    samples[1, 20] = np.inf
    soundfile.write(tmp_path / "a.wav", samples.T, RATE, subtype="FLOAT")
    check(weft("inpaint", tmp_path / "a.wav", *GAP), 3, "a.wav", "NaN", "0.494 s", "mark them")
    only(tmp_path, "a.wav")


def test_no_samples(weft, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), RATE)
    check(weft("inpaint", tmp_path / "a.wav", *GAP), 3, "a.wav", "no samples")


def test_one_sample(weft, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones((1, 1)) * 0.5, RATE)
    check(weft("inpaint", tmp_path / "a.wav", "--gap", "0s-1s"), 3, "nothing is left to fill from")
    only(tmp_path, "a.wav")


def test_two_samples_are_filled_from_one(weft, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full((2, 1), 0.5), RATE)
    ran = weft("inpaint", tmp_path / "a.wav", "--gap", "1s-2s")
    assert ran.status == 0, ran.err


def test_silence_around_the_gap(weft, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((RATE, 2)), RATE)
    ran = weft("inpaint", tmp_path / "a.wav", "--gap", "0.5-0.6")
    assert ran.status == 0, ran.err
    assert not soundfile.read(tmp_path / "a.restored.wav")[0].any()


# ------------------------------------------------------------------------------------------ gaps


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ("0.6-0.5", ["'0.6-0.5'", "before it starts", "swap"]),
        ("0.5-1.5", ["'0.5-1.5'", "1.500 s", "1.000 s", "--clamp"]),
        ("7-8", ["'7-8'", "starts at 7.000 s", "1.000 s"]),
        ("nan-0.5", ["'nan'", "character 1"]),
        ("0.5-nan", ["'nan'", "character 5"]),
        ("0.5-inf", ["'inf'"]),
        ("-0.5", ["start-0.5"]),
        ("-0.5-0.6", ["negative"]),
        ("0.5-0.5", ["covers no sample"]),
        ("start-end", ["nothing is left to fill from"]),
        ("0-1", ["nothing is left to fill from"]),
        ("half", ["'half'", "allowed"]),
    ],
)
def test_bad_gap(weft, take, gap, words):
    check(weft("inpaint", take, "--gap", gap), 3, *words)
    only(take.parent, "take3.wav")


def test_overlapping_gaps_are_one(weft, take):
    ran = weft("inpaint", take, "--gap", "0.5-0.53", "--gap", "0.52-0.54", "--json", *GAP[2:])
    assert [(gap["start"], gap["stop"]) for gap in ran.json["gaps"]] == [(8000, 8640)]


def test_clamp_cuts_at_the_end(weft, take):
    ran = weft("inpaint", take, "--gap", "0.99-1.5", "--clamp", "--json", *GAP[2:])
    assert [(gap["start"], gap["stop"]) for gap in ran.json["gaps"]] == [(15840, 16000)]


def test_no_gap_at_all(weft, take):
    check(weft("inpaint", take), 2, "--gap", "--labels", "--cue")


def test_labels_with_mark_crlf_and_decimal_comma(weft, take, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_bytes("\ufeff0,5\t0,53\tça\r\n\\\t-1\t-1\r\n".encode())
    ran = weft("inpaint", take, "--labels", labels, "--model", "lpc", "--json")
    assert ran.status == 0
    assert [(gap["start"], gap["label"]) for gap in ran.json["gaps"]] == [(8000, "ça")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no regions", "start TAB end"]),
        (b"0.1\t0.2\n0.6\t0.5\n", ["line 2", "before it starts"]),
        (b"0.1\t0.2\nx\n", ["line 2", "'x'"]),
        (b"0.5\t0.5\tclick\n", ["line 1", "--pad-ms"]),
        (b"0.5\t7\tlast\n", ["region 1 'last'", "--clamp"]),
        (b"RIFF\0\0\0\0", ["binary"]),
    ],
)
def test_bad_label_file(weft, take, tmp_path, content, words):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content)
    check(weft("inpaint", take, "--labels", labels), 3, "labels.txt", *words)
    only(tmp_path, "take3.wav", "labels.txt")


def test_missing_label_file(weft, take, tmp_path):
    check(weft("inpaint", take, "--labels", tmp_path / "no.txt"), 3, "no.txt", "cannot be read")


# -------------------------------------------------------------------------------- models, settings


def test_unknown_model(weft, take):
    check(weft("inpaint", take, *GAP[:2], "--model", "similarty"), 5, "did you mean 'similarity'?")
    only(take.parent, "take3.wav")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--takes", "0", ["takes", "1-100", "got 0"]),
        ("--takes", "many", ["--takes", "integer"]),
        ("--seed", "-1", ["seed", ">= 0"]),
        ("--fade-ms", "-1", ["fade_ms", "got -1"]),
        ("--fade-ms", "nan", ["fade_ms", "got nan"]),
        ("--min-confidence", "2", ["min_confidence", "0-1"]),
        ("--handles-ms", "1e9", ["handles_ms"]),
        ("--no-such-option", "1", ["--no-such-option", "--help"]),
    ],
)
def test_bad_setting(weft, take, option, value, words):
    check(weft("inpaint", take, *GAP, option, value), 2, *words)
    only(take.parent, "take3.wav")


def test_missing_argument(weft):
    check(weft("inpaint", "--gap", "1-2"), 2, "IN", "weft inpaint --help")


def test_unknown_verb(weft):
    check(weft("repair"), 2, "repair")


def test_errors_are_one_json_object(weft, take):
    ran = weft("inpaint", take, "--gap", "2-1", "--json")
    assert ran.status == 3
    assert ran.json["error"]["kind"] == "RegionError"
    assert ran.json["error"]["exit_status"] == 3
    assert "swap" in ran.json["error"]["message"]
    assert ran.err == ""
    ran = weft("inpaint", take, "--takes", "x", "--json")
    assert (ran.status, ran.json["error"]["kind"]) == (2, "UsageError")


def test_errors_inside_are_short_and_say_what_to_do(weft, take, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("weft.cli.job.execute", fail)
    ran = weft("inpaint", take, *GAP)
    assert ran.status == 1
    assert "ZeroDivisionError: boom" in ran.err
    assert "weft doctor" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in weft("--debug", "inpaint", take, *GAP).err
    assert "Traceback" in weft("inpaint", take, *GAP, "--debug").err
    monkeypatch.setenv("WEFT_DEBUG", "1")
    assert "Traceback" in weft("inpaint", take, *GAP).err


def test_running_out_of_memory_is_said(weft, take, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("weft.cli.job.execute", fail)
    ran = weft("inpaint", take, *GAP)
    assert ran.status == 1
    assert "not enough memory" in ran.err


# ---------------------------------------------------------------------------------------- outputs


def test_existing_output_is_left_alone(weft, take):
    output = take.with_name("take3.restored.wav")
    output.write_bytes(b"precious")
    check(weft("inpaint", take, *GAP), 4, "take3.restored.wav", "exists already", "--overwrite")
    assert output.read_bytes() == b"precious"
    only(take.parent, "take3.wav", "take3.restored.wav")


def test_output_in_a_place_that_is_none(weft, take, tmp_path):
    (tmp_path / "file").touch()
    check(weft("inpaint", take, *GAP, "-o", tmp_path / "file" / "a.wav"), 4, "a.wav")
    check(weft("inpaint", take, *GAP, "-o", tmp_path / "no" / "a.wav"), 4, "no directory")
    check(weft("inpaint", take, *GAP, "-o", "/proc/a.wav"), 4, "/proc/a.wav")


def test_input_that_does_not_exist_beside_an_output_that_does(weft, tmp_path):
    (tmp_path / "b.wav").write_bytes(b"precious")
    check(weft("inpaint", tmp_path / "a.wav", *GAP, "-o", tmp_path / "b.wav", "--overwrite"), 3)
    assert (tmp_path / "b.wav").read_bytes() == b"precious"


def test_disk_full(spawn, take):
    limit = 20_000

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ran = spawn("inpaint", take, *GAP, "--quiet", preexec_fn=bound)
    check(ran, 4, "take3.restored.wav", "not written", "nothing was left")
    only(take.parent, "take3.wav")


def test_disk_full_over_an_existing_output(spawn, take):
    output = take.with_name("take3.restored.wav")
    output.write_bytes(b"precious")

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    check(spawn("inpaint", take, *GAP, "--quiet", "--overwrite", preexec_fn=bound), 4)
    assert output.read_bytes() == b"precious"
    only(take.parent, "take3.wav", "take3.restored.wav")


def test_disk_full_when_the_receipt_is_written(weft, take, monkeypatch):
    def fail(self: Path, *arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    ran = weft("inpaint", take, *GAP, "--receipt")
    assert ran.status == 4
    assert "the disk is full" in ran.err
    only(take.parent, "take3.wav", "take3.restored.wav")


STALL = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
from weft.audio import publish
def stall(path, synchronise=publish._synchronise):
    print("stalled", flush=True)
    time.sleep(60)
publish._synchronise = stall
from weft.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_while_it_writes(take, kind):
    output = take.with_name("take3.restored.wav")
    output.write_bytes(b"precious")
    before = take.read_bytes()
    command = [sys.executable, "-c", STALL, "inpaint", str(take), *GAP, "--overwrite", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stalled\n"
        process.send_signal(kind)
        _, errors = process.communicate(timeout=30)
    assert output.read_bytes() == b"precious"
    assert take.read_bytes() == before
    assert b"Traceback" not in errors
    visible = [path.name for path in take.parent.iterdir() if not path.name.startswith(".")]
    assert sorted(visible) == ["take3.restored.wav", "take3.wav"]
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[kind]
    assert (b"interrupted" in errors) == (kind == signal.SIGINT)
    if kind != signal.SIGKILL:
        only(take.parent, "take3.wav", "take3.restored.wav")


def test_a_closed_pipe_is_no_error(tmp_path):
    code = "import sys; from weft.cli.main import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "models", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=60)
    assert errors == b""
    assert process.returncode == 141


def test_names_that_are_hard_to_print(weft, take):
    hard = take.with_name("-a [red]b\n\udcff.wav")
    take.rename(hard)
    ran = weft("inpaint", *GAP, "--", hard)
    assert ran.status == 0, ran.err
    assert hard.with_name("-a [red]b\n\udcff.restored.wav").exists()
    ran = weft("inpaint", *GAP, "--json", "--overwrite", "--", hard)
    assert ran.status == 0, ran.err
    assert len(ran.json["outputs"]) == 1


def test_time_is_not_wasted_before_errors(weft, take):
    started = time.process_time()
    assert weft("inpaint", take, *GAP, "-o", "/proc/a.wav").status == 4
    assert time.process_time() - started < 5
