"""``weft models``: converting, verifying and showing models in folders."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import RATE, tones

from published_files import codec_checkpoint, network_checkpoint, read_here, small_codebook
from weft import foreign
from weft.audio.audio import Audio
from weft.cli.console import bytes_text


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read pickles in this process; that they are read in another is tested beside the reader."""
    monkeypatch.setattr(foreign, "_unpickle_apart", read_here)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both published files, in which commands run."""
    torch.save(codec_checkpoint(small_codebook(64)), tmp_path / "codec.ckpt")
    torch.save(network_checkpoint(), tmp_path / "network.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Runs:
    """A pickle of this runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.usefixtures("here")
def test_published_weights_fill_a_gap_from_the_command_line(weft: Any, files: Path) -> None:
    ran = weft("models", "convert", "codec.ckpt", "--out", "codec")
    assert ran.status == 0, ran.err
    for part in ("75 frames a second", "64 codes of 48", "checked:", "note:", "licence:"):
        assert part in ran.out
    ran = weft("models", "convert", "network.pth", "-o", "aidd", "--codec", "codec", "--json")
    assert ran.status == 0, ran.out
    assert ran.json["kind"] == "tokens"
    assert ran.json["made_from"]["sha256"] == foreign.digest_of(files / "network.pth")
    assert ran.json["checks"]
    assert ran.json["notes"]
    verified = weft("models", "verify", "aidd", "--json")
    assert verified.json["checks"] == ran.json["checks"]
    assert verified.json["digest"] == ran.json["digest"]
    shown = weft("models", "info", "aidd", "--json").json
    assert shown["num_parameters"] == ran.json["num_parameters"]
    assert (shown["sample_rate"], shown["frame_rate"]) == (24000, 75.0)
    assert shown["good_for"]
    assert Path(shown["card"]).read_text().startswith("# aidd")
    Audio.from_samples(tones(2.0), RATE).write(files / "in.wav")
    filled = weft("inpaint", "in.wav", "--gap", "1-1.1", "--model", "aidd", "-o", "out.wav")
    assert filled.status == 0, filled.err
    assert (files / "out.wav").is_file()


@pytest.mark.usefixtures("here")
def test_info_of_a_codec_needs_no_card_of_a_filler(weft: Any, files: Path) -> None:
    weft("models", "convert", "codec.ckpt", "--out", "codec")
    ran = weft("models", "info", "./codec")
    assert ran.status == 0
    size = sum(p.stat().st_size for p in (files / "codec").iterdir())
    for part in ("wavtokenizer", "24000 Hz", "codec.ckpt", bytes_text(size), "README.md"):
        assert part in ran.out
    (files / "codec" / "README.md").unlink()
    assert weft("models", "info", "codec", "--json").json["card"] is None


def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(
    weft: Any, files: Path
) -> None:
    trace = files / "trace"
    torch.save({"state_dict": {}, "x": Runs(f"touch {trace}")}, files / "bad.ckpt")
    ran = weft("models", "convert", "bad.ckpt", "--out", "bad", "--json")
    assert ran.status == 5
    assert "bad.ckpt cannot be read as weights" in ran.json["error"]["message"]
    assert "system" in ran.json["error"]["message"]
    assert not trace.exists()
    assert not (files / "bad").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("network.pth", "--kind", "aidd", "--out", "a"), 2, "--codec"),
        (("codec.ckpt", "--kind", "vocos", "--out", "a"), 2, "wavtokenizer, aidd"),
        (("network.pth", "--weights", "best", "--out", "a"), 2, "ema, model"),
        (("none.ckpt", "--out", "a"), 5, "no such file"),
        (("codec.ckpt",), 2, "--out"),
        (("codec.ckpt", "--out", "none/a"), 4, "create it first"),
        (("codec.ckpt", "--out", "network.pth"), 4, "is a file"),
        (("codec.ckpt", "--out", "a", "--config", "none.json"), 5, "cannot read settings"),
        (("network.pth", "--out", "a", "--codec", "none"), 5, "model.json is missing"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_converted_is_said_with_a_status(
    weft: Any, files: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    before = sorted(files.iterdir())
    ran = weft("models", "convert", *arguments)
    assert ran.status == status
    assert message in ran.err
    assert sorted(files.iterdir()) == before


@pytest.mark.usefixtures("here")
def test_a_model_that_is_there_is_replaced_only_when_told(weft: Any, files: Path) -> None:
    asked = ("models", "convert", "codec.ckpt", "--out", "codec")
    assert weft(*asked).status == 0
    ran = weft(*asked)
    assert ran.status == 4
    assert "--overwrite" in ran.err
    assert weft(*asked, "--overwrite").status == 0


def test_verify_finds_a_damaged_model(weft: Any, tmp_path: Path) -> None:
    shipped = Path(foreign.__file__).parent / "weights" / "corpus-ssl"
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    ran = weft("models", "verify", tmp_path)
    assert ran.status == 5
    assert "its digest is not that of" in ran.err
    ran = weft("models", "verify", tmp_path / "none")
    assert ran.status == 5
    assert "missing" in ran.err


def test_verify_knows_models_by_name(weft: Any) -> None:
    ran = weft("models", "verify", "corpus-ssl")
    assert ran.status == 0, ran.err
    assert "ok: digests" in ran.out
    ran = weft("models", "verify", "lpc", "--json")
    assert ran.json == {"name": "lpc", "checks": []}
    ran = weft("models", "verify", "lcp")
    assert ran.status == 5
    assert "did you mean 'lpc'" in ran.err


def test_a_folder_without_a_model_is_named(weft: Any, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"kind": "tokens"}))
    ran = weft("models", "info", tmp_path)
    assert ran.status == 5
    assert "is no model of Weft" in ran.err


def test_info_of_classical_models_imports_no_torch(spawn: Any) -> None:
    code = (
        "import sys; from weft.cli.main import main; main(['models', 'info', 'lpc']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert spawn(code=code).status == 0
