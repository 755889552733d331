"""weft inpaint: what it writes and what it says."""

import json
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import weft as package
from weft.audio.audio import Audio, AudioFormat
from weft.audio.read import read_audio
from weft.cli.survey import RunFinder

RATE = 16000
GAP = ("--gap", "0.5-0.53", "--model", "lpc")


def stored(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


def test_only_the_gap_changes_and_the_proof_is_printed(weft, take):
    ran = weft("inpaint", take, *GAP)
    assert ran.status == 0
    output = take.with_name("take3.restored.wav")
    before, after = stored(take), stored(output)
    changed = np.flatnonzero((before != after).any(axis=1))
    assert changed.min() >= 8000
    assert changed.max() < 8480
    assert len(changed) > 400
    assert "31,040 samples outside the edited regions: all identical" in ran.out
    assert "0.500-0.530" in ran.out
    assert "lpc" in ran.out
    assert str(output) in ran.out
    assert ran.err == ""


def test_the_fill_is_good(weft, take):
    original = read_audio(take).samples
    damaged = original.copy()
    damaged[:, 8000:8160] = 0
    path = take.with_name("damaged.wav")
    Audio.from_samples(damaged, RATE, format=AudioFormat(subtype="PCM_16")).write(path)
    assert weft("inpaint", path, "--gap", "0.5+10ms", "--model", "lpc").status == 0
    filled = read_audio(take.with_name("damaged.restored.wav")).samples[:, 8000:8160]
    error = filled - original[:, 8000:8160]
    snr_db = 10 * np.log10((original[:, 8000:8160] ** 2).sum() / (error**2).sum())
    assert snr_db > 15  # measured 31 dB; silence has 0 dB


def test_json_is_one_object_on_stdout(weft, take):
    ran = weft("inpaint", take, *GAP, "--gap", "0.2+20ms", "--json", "--seed", "3")
    result = ran.json
    assert ran.status == 0
    assert result["outputs"] == [str(take.with_name("take3.restored.wav"))]
    assert [(gap["start"], gap["stop"]) for gap in result["gaps"]] == [(3200, 3520), (8000, 8480)]
    assert result["gaps"][0]["takes"][0]["model"] == "lpc"
    assert result["proof"]["is_identical"] is True
    assert result["proof"]["num_outside"] == 2 * (RATE - 320 - 480)
    assert result["seed"] == 3
    assert result["warnings"] == []


def test_quiet_says_nothing(weft, take):
    ran = weft("inpaint", take, *GAP, "--quiet")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert take.with_name("take3.restored.wav").exists()


def test_an_output_directory_gets_the_default_name(weft, take, tmp_path):
    (tmp_path / "out").mkdir()
    assert weft("inpaint", take, *GAP, "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out" / "take3.restored.wav").exists()


def test_the_ending_of_the_output_chooses_the_container(weft, take, tmp_path):
    ran = weft("inpaint", take, *GAP, "-o", tmp_path / "fixed.aiff", "--json")
    assert ran.json["format"] == {"container": "AIFF", "subtype": "PCM_16"}
    assert soundfile.info(tmp_path / "fixed.aiff").format == "AIFF"


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a", "a.b.aif", "A.WAV"])
def test_a_wrong_ending_of_the_input_is_not_taken_over(weft, take, tmp_path, name):
    take.rename(tmp_path / name)
    ran = weft("inpaint", tmp_path / name, *GAP, "--json")
    suffix = ".WAV" if name == "A.WAV" else ".wav"
    assert ran.json["outputs"] == [str(tmp_path / f"{Path(name).stem}.restored{suffix}")]
    assert ran.json["format"] == {"container": "WAV", "subtype": "PCM_16"}


def test_a_lossy_output_is_refused_before_any_work(weft, take, tmp_path):
    ran = weft("inpaint", take, *GAP, "-o", tmp_path / "fixed.mp3")
    assert ran.status == 2
    assert "compress the whole recording again" in ran.err


def test_a_lossy_input_is_written_without_loss(weft, tmp_path, take):
    path = tmp_path / "a.ogg"
    soundfile.write(path, read_audio(take).samples.T, RATE, format="OGG", subtype="VORBIS")
    ran = weft("inpaint", path, *GAP, "--json")
    assert ran.status == 0
    assert ran.json["outputs"] == [str(tmp_path / "a.restored.wav")]
    assert ran.json["proof"]["is_identical"] is True


def test_several_takes_get_numbered_names(weft, take):
    ran = weft("inpaint", take, "--gap", "0.5+60ms", "--model", "noise", "--takes", 3, "--json")
    names = [Path(path).name for path in ran.json["outputs"]]
    assert names == [f"take3.restored.take{i}.wav" for i in (1, 2, 3)]
    contents = {stored(take.with_name(name)).tobytes() for name in names}
    assert len(contents) == 3


def test_equal_seeds_give_equal_files_and_others_do_not(weft, take, tmp_path):
    outputs = []
    for name, seed in (("a.wav", 1), ("b.wav", 1), ("c.wav", 2)):
        options = ("--gap", "0.5+60ms", "--model", "noise", "--seed", str(seed))
        assert weft("inpaint", take, *options, "-o", tmp_path / name).status == 0
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]


def test_labels_and_gaps_add_up(weft, take, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("0.2\t0.22\tpop\n0.8\t0.8\tclick\n")
    ran = weft("inpaint", take, *GAP, "--labels", labels, "--pad-ms", "2", "--json")
    gaps = ran.json["gaps"]
    assert [gap["start"] for gap in gaps] == [3200, 8000, 12768]
    assert [gap.get("label") for gap in gaps] == ["pop", None, "click"]


def with_cue(path: Path, source: Path) -> None:
    """Write a copy of a WAV file that has a marked region and a plain marker."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body

    cue = struct.pack("<I", 2) + b"".join(
        struct.pack("<II4sIII", identity, 0, b"data", 0, 0, at)
        for identity, at in ((1, 4000), (2, 9000))
    )
    length = struct.pack("<II4sHHHH", 1, 320, b"rgn ", 0, 0, 0, 0)
    adtl = b"adtl" + chunk(b"ltxt", length) + chunk(b"labl", struct.pack("<I", 1) + b"pop\0")
    data = source.read_bytes()
    info = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"abc\0")
    extra = info + chunk(b"cue ", cue) + chunk(b"LIST", adtl)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8 + len(extra)) + data[8:] + extra)


def test_regions_marked_in_the_file_are_filled_and_stay_marked(weft, take, tmp_path):
    marked = tmp_path / "marked.wav"
    with_cue(marked, take)
    ran = weft("inpaint", marked, "--cue", "--model", "lpc", "--json")
    assert [(g["start"], g["stop"], g["label"]) for g in ran.json["gaps"]] == [(4000, 4320, "pop")]
    tail = marked.read_bytes()[take.stat().st_size :]
    assert (tmp_path / "marked.restored.wav").read_bytes().endswith(tail)


def test_plain_markers_count_with_a_pad(weft, take, tmp_path):
    marked = tmp_path / "marked.wav"
    with_cue(marked, take)
    ran = weft("inpaint", marked, "--cue", "--pad-ms", "1", "--model", "lpc", "--json")
    assert [(g["start"], g["stop"]) for g in ran.json["gaps"]] == [(4000, 4320), (8984, 9016)]


def test_a_file_without_markers_says_so(weft, take):
    ran = weft("inpaint", take, "--cue")
    assert ran.status == 3
    assert "no markers" in ran.err


def test_fill_only_writes_fills_that_know_their_time(weft, take):
    options = ("--gap", "0.2+20ms", "--fill-only", "--handles-ms", "50")
    ran = weft("inpaint", take, *GAP, *options, "--json")
    assert [Path(p).name for p in ran.json["outputs"]] == ["take3.fill.1.wav", "take3.fill.2.wav"]
    assert ran.json["proof"]["is_identical"] is True
    assert not take.with_name("take3.restored.wav").exists()
    fill = read_audio(take.with_name("take3.fill.2.wav"))
    bext = fill.source.read_chunk("bext")
    assert struct.unpack_from("<Q", bext, 338) == (8000 - 800,)
    assert len(bext) == 602
    assert fill.num_samples == 480 + 2 * 800
    assert fill.format.subtype == "PCM_16"
    original = read_audio(take).samples
    assert np.array_equal(fill.samples[:, :800], original[:, 7200:8000])
    assert np.array_equal(fill.samples[:, -800:], original[:, 8480:9280])
    assert not np.array_equal(fill.samples[:, 800:1280], original[:, 8000:8480])


def test_fills_add_the_time_reference_of_the_recording(weft, take, tmp_path):
    assert weft("inpaint", take, *GAP, "--fill-only", "--quiet").status == 0
    fill = take.with_name("take3.fill.wav")
    assert read_audio(fill).num_samples == 480 + 2 * 4000
    ran = weft("inpaint", fill, "--gap", "4000s+16s", "--fill-only", "--model", "lpc", "--json")
    (again,) = ran.json["outputs"]
    bext = read_audio(again).source.read_chunk("bext")
    assert struct.unpack_from("<Q", bext, 338) == (4000 + 0,)


def test_fill_only_of_a_lossy_recording(weft, tmp_path, take):
    path = tmp_path / "a.ogg"
    soundfile.write(path, read_audio(take).samples.T, RATE, format="OGG", subtype="VORBIS")
    ran = weft("inpaint", path, *GAP, "--fill-only", "--json")
    assert ran.status == 0
    assert soundfile.info(ran.json["outputs"][0]).subtype == "PCM_24"
    assert ran.json["proof"]["is_identical"] is True


@pytest.mark.parametrize(("channels", "subtype"), [(1, "FLOAT"), (3, "PCM_24"), (6, "DOUBLE")])
def test_fills_keep_channels_and_encoding(weft, tmp_path, channels, subtype):
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE, channels))
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype=subtype)
    ran = weft("inpaint", tmp_path / "a.wav", *GAP, "--fill-only", "--json")
    info = soundfile.info(ran.json["outputs"][0])
    assert (info.channels, info.subtype) == (channels, subtype)
    assert ran.json["proof"]["is_identical"] is True


def test_fewer_takes_than_asked_for_are_said(weft, take):
    ran = weft("inpaint", take, *GAP, "--takes", "3")
    assert ran.status == 0
    assert "there are only 1 different" in ran.err
    assert take.with_name("take3.restored.take1.wav").exists()
    assert not take.with_name("take3.restored.take2.wav").exists()


def test_gaps_left_alone_are_said_and_kept(weft, take):
    ran = weft("inpaint", take, *GAP, "--min-confidence", "1", "--json")
    assert ran.status == 0
    assert ran.json["gaps"][0]["is_left_alone"] is True
    assert "left alone" in ran.json["warnings"][0]
    assert "left alone" in ran.err
    assert np.array_equal(stored(take), stored(take.with_name("take3.restored.wav")))


def test_fill_only_with_every_gap_left_alone_writes_nothing(weft, take):
    ran = weft("inpaint", take, *GAP, "--min-confidence", "1", "--fill-only")
    assert ran.status == 0
    assert "wrote nothing" in ran.out
    assert list(take.parent.iterdir()) == [take]


def test_a_dry_run_writes_nothing_and_names_everything(weft, take, tmp_path):
    options = ("--takes", "2", "--receipt", "--report", tmp_path / "r.png", "--dry-run")
    ran = weft("inpaint", take, *GAP, *options)
    assert ran.status == 0
    for word in ("take3.restored.take1.wav", "take2.wav", "receipt.json", "r.png", "estimate:"):
        assert word in ran.out
    assert list(tmp_path.iterdir()) == [take]


def test_a_dry_run_has_the_plan_in_json(weft, take, tmp_path):
    ran = weft("inpaint", take, *GAP, "--gap", "0.1+5ms", "--dry-run", "--json")
    plan = ran.json
    assert plan["dry_run"] is True
    assert [gap["model"] for gap in plan["gaps"]] == ["lpc", "lpc"]
    assert plan["estimate"]["output_bytes"] == take.stat().st_size
    assert 0 <= plan["estimate"]["cpu_seconds"] < 60
    assert plan["estimate"]["peak_bytes"] > 1e7
    assert list(tmp_path.iterdir()) == [take]


def test_a_dry_run_finds_the_same_errors(weft, take):
    assert weft("inpaint", take, *GAP, "--quiet").status == 0
    assert weft("inpaint", take, *GAP, "--dry-run").status == 4
    assert weft("inpaint", take, "--gap", "5-6", "--dry-run").status == 3


def test_overwrite_replaces_and_the_input_may_be_the_output(weft, take):
    before = take.read_bytes()
    assert weft("inpaint", take, *GAP, "-o", take).status == 4
    assert take.read_bytes() == before
    assert weft("inpaint", take, *GAP, "-o", take, "--overwrite").status == 0
    assert take.read_bytes() != before
    assert len(take.read_bytes()) == len(before)


def test_two_outputs_of_one_name_are_refused(weft, take, tmp_path):
    report = tmp_path / "x.png"
    ran = weft("inpaint", take, *GAP, "-o", tmp_path / "a.wav", "--report", report)
    assert ran.status == 0
    labels = tmp_path / "labels.wav"
    labels.write_text("0.2\t0.22\n")
    ran = weft("inpaint", take, "--labels", labels, "-o", labels, "--overwrite")
    assert ran.status == 4
    assert labels.read_text() == "0.2\t0.22\n"


def test_the_report_is_a_picture(weft, take, tmp_path):
    ran = weft("inpaint", take, *GAP, "--report", tmp_path / "r.png")
    assert ran.status == 0
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert weft("inpaint", take, *GAP, "--report", tmp_path / "r.html").status == 2


def test_the_report_needs_matplotlib(weft, take, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    ran = weft("inpaint", take, *GAP, "--report", tmp_path / "r.png")
    assert ran.status == 2
    assert "pip install 'weft[plots]'" in ran.err
    assert list(tmp_path.iterdir()) == [take]


def test_many_gaps_are_shown_by_model(weft, take):
    gaps = [word for i in range(30) for word in ("--gap", f"{1000 + 400 * i}s+16s")]
    ran = weft("inpaint", take, *gaps, "--model", "lpc")
    assert ran.status == 0
    assert "30" in ran.out
    assert "0.0625" not in ran.out


def test_progress_is_shown_on_a_terminal_only(weft, take, monkeypatch):
    ran = weft("inpaint", take, *GAP)
    assert "filling" not in ran.err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    ran = weft("inpaint", take, *GAP, "--overwrite")
    assert "filling" in ran.err


def test_nonfinite_samples_may_stand_in_gaps_when_allowed(weft, tmp_path, take):
    samples = read_audio(take).samples
    samples[0, 8100] = np.nan
    path = tmp_path / "nan.wav"
    soundfile.write(path, samples.T, RATE, subtype="FLOAT")
    assert weft("inpaint", path, *GAP).status == 3
    assert not (tmp_path / "nan.restored.wav").exists()
    ran = weft("inpaint", path, *GAP, "--allow-nonfinite")
    assert ran.status == 0
    assert np.isfinite(read_audio(tmp_path / "nan.restored.wav").samples).all()


def test_the_python_api_gives_what_the_command_line_writes(weft, take):
    assert weft("inpaint", take, *GAP, "--seed", "5", "--quiet").status == 0
    result = package.inpaint(package.read(take), [(0.5, 0.53)], model="lpc", seed=5)
    result.best.write(take.with_name("api.wav"))
    assert (
        take.with_name("api.wav").read_bytes() == take.with_name("take3.restored.wav").read_bytes()
    )


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_runs_are_found_across_blocks(block):
    holds = np.random.default_rng(0).random(200) < 0.7
    finder = RunFinder(3)
    for start in range(0, 200, block):
        finder.feed(start, holds[start : start + block])
    finder.finish(200)
    edges = np.flatnonzero(np.diff(holds.astype(int), prepend=0, append=0)).reshape(-1, 2)
    wanted = [(a, b) for a, b in edges.tolist() if b - a >= 3]
    assert [(run.start, run.stop) for run in finder.runs] == wanted
    assert finder.num_samples == sum(b - a for a, b in wanted)


def test_json_has_no_nan(weft, take):
    ran = weft("inpaint", take, *GAP, "--json")
    json.loads(ran.out, parse_constant=lambda name: pytest.fail(name))
    assert threading.active_count() == 1
