"""Receipts."""

import json

import numpy as np
import pytest

from weft.errors import ConfigError, WeftError
from weft.receipt import Settings, read_receipt, sha256_of
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
