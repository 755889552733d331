"""Receipts."""

import json

import numpy as np
import pytest

from weft.errors import ConfigError, WeftError
from weft.receipt import InputFile, Settings, Task, needs_no_model, read_receipt, sha256_of
from weft.version import __version__


def receipt(**changes):
    content = {
        "kind": "weft-receipt",
        "version": 1,
        "versions": {"weft": __version__},
        "input": {"path": "/a.wav", "sha256": "ab"},
        "settings": {"model": "lpc", "takes": 2, "fade_ms": 5},
        "outputs": [{"path": "/b.wav", "sha256": "cd"}],
        "gaps": [{"start": 3, "stop": 9, "low_hz": 100.0}],
    }
    return content | changes


def test_a_receipt_reads_back(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(receipt()))
    known = read_receipt(path)
    assert known.settings == Settings(model="lpc", takes=2, fade_ms=5.0)
    assert [(gap.start, gap.stop, gap.low_hz) for gap in known.gaps] == [(3, 9, 100.0)]
    assert known.outputs == (("/b.wav", "cd"),)
    assert known.inputs == (InputFile(path="/a.wav", sha256="ab"),)
    assert known.task == Task(verb="inpaint")


def second(**changes):
    content = receipt(
        version=2,
        task={"verb": "transition", "seconds": 2, "match": True, "tags": ["rain"]},
        inputs=[{"path": "/a.wav", "sha256": "ab"}, {"path": "/b.wav", "sha256": "cd"}],
        references=[{"path": "/r.wav", "sha256": "ef"}],
    )
    del content["input"]
    return content | changes


def test_a_receipt_of_two_recordings_reads_back(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(second()))
    known = read_receipt(path)
    assert known.task == Task(verb="transition", seconds=2.0, match=True, tags=("rain",))
    assert [file.path for file in known.inputs] == ["/a.wav", "/b.wav"]
    assert [file.sha256 for file in known.references] == ["ef"]


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"verb": "delete"}},
        {"task": {"verb": "transition", "tags": "rain"}},
        {"task": {"verb": "transition", "tags": [3]}},
        {"task": {"command": "rm"}},
        {"task": None},
        {"inputs": [3]},
        {"references": None},
    ],
)
def test_damaged_receipts_of_tasks_are_refused(tmp_path, change):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(second(**change)))
    with pytest.raises(WeftError, match=r"r\.json"):
        read_receipt(path)


def test_only_a_draft_that_is_kept_needs_no_model():
    assert needs_no_model(Task(verb="regenerate", strength=0.0))
    assert not needs_no_model(Task(verb="regenerate", strength=0.1))
    assert not needs_no_model(Task(verb="inpaint", strength=0.0))


@pytest.mark.parametrize(
    "change",
    [
        {"gaps": [{"start": 9, "stop": 3}]},
        {"gaps": [{"start": "3", "stop": 9}]},
        {"gaps": [{"start": 3.5, "stop": 9}]},
        {"gaps": [3]},
        {"gaps": None},
        {"outputs": 3},
        {"input": "a.wav"},
        {"versions": []},
        {"settings": {"fade_ms": "wide"}},
        {"settings": {"takes": True}},
    ],
)
def test_damaged_receipts_are_refused(tmp_path, change):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(receipt(**change)))
    with pytest.raises(WeftError, match=r"r\.json"):
        read_receipt(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("takes", 0), ("seed", -1), ("fade_ms", -1.0), ("fade_ms", np.nan), ("min_confidence", 1.5)],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ConfigError, match=name):
        Settings(**{name: value})


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")
