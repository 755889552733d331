"""weft train: listing, settings, running, stopping."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.cli.train import duration_text, progress_line
from weft.train import registry
from weft.train.loop import Progress
from weft.train.registry import RecipeEntry

Runner = Callable[..., Any]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the recipe of the training tests known to the command line."""
    entry = RecipeEntry(
        name="tiny", summary="A test.", module="train.tiny", presets=("debug", "small")
    )
    monkeypatch.setattr(registry, "RECIPES", (*registry.RECIPES, entry))


def options(tmp_path: Path) -> list[str]:
    return ["--preset", "debug", "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache"),
            "--device", "cpu"]  # fmt: skip


def test_recipes_and_presets_are_listed(weft: Runner) -> None:
    ran = weft("train", "--list", "--json")
    recipes = {recipe["name"]: recipe["presets"] for recipe in ran.json["recipes"]}
    assert recipes["ssl"] == ["debug", "small", "base"]
    assert "ssl" in weft("train", "--list").out


def test_help_and_list_import_neither_torch_nor_numpy(spawn: Runner) -> None:
    code = (
        "import sys; from weft.cli.main import main; status = main(); "
        "assert not {'torch', 'numpy'} & {*sys.modules}; sys.exit(status)"
    )
    assert spawn("train", "--help", code=code).status == 0
    assert spawn("train", "--list", code=code).status == 0


def test_a_run_reports_where_its_model_is(weft: Runner, tiny: None, tmp_path: Path) -> None:
    ran = weft("train", "tiny", *options(tmp_path), "--json")
    assert ran.status == 0, ran.err
    assert ran.json["reason"] == "done"
    assert ran.json["step"] == ran.json["steps"] == 20
    assert Path(ran.json["model"], "model.safetensors").is_file()
    assert ran.json["valid"]["norm"] > 0
    assert "step 20/20 (100 %), loss" in ran.err
    again = weft("train", "tiny", *options(tmp_path))
    assert again.status == 4
    assert "--resume goes on with it" in again.err
    assert weft("train", "tiny", *options(tmp_path), "--resume", "--quiet").out == ""


def test_settings_reach_the_loop_and_others_the_recipe(
    weft: Runner, tiny: None, tmp_path: Path
) -> None:
    ran = weft("train", "tiny", *options(tmp_path), "--steps", "5", "--set", "betas=0.8,0.9",
               "--set", "seed=3", "--shard-mib", "1")  # fmt: skip
    assert ran.status == 0, ran.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["loop"]["steps"] == 5
    assert config["loop"]["betas"] == [0.8, 0.9]
    assert (tmp_path / "run" / "averaged" / "model.json").is_file()
    exported = weft("train", "tiny", "--preset", "debug", "--out", tmp_path / "here", "--cache",
                    tmp_path / "cache", "--steps", "5", "--set", "betas=0.8,0.9", "--set",
                    "seed=3", "--from-averaged", tmp_path / "run" / "averaged")  # fmt: skip
    assert exported.status == 0, exported.err
    assert (tmp_path / "here" / "model" / "model.safetensors").is_file()
    refused = weft("train", "tiny", *options(tmp_path), "--resume", "--set", "seed=4")
    assert refused.status == 2
    assert "seed was 3, now 4" in refused.err
    unknown = weft("train", "tiny", *options(tmp_path), "--set", "width=9")
    assert "no setting width" in unknown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "no recipe 'nothing'; recipes are ssl"),
        (("tiny", "--preset", "huge"), "no preset 'huge'; presets are debug, small"),
        (("tiny", "--set", "seed"), "--set needs KEY=VALUE, got 'seed'"),
        (("tiny", "--set", "seed=1", "--set", "seed=2"), "--set gives seed twice"),
        (("tiny", "--set", "steps=1", "--steps", "2"), "steps were given twice"),
        (("tiny", "--set", "steps=few"), "steps must be a whole number"),
        (("tiny", "--max-minutes", "0"), "--max-minutes must be above 0"),
        (("tiny", "--shard-mib", "0"), "--shard-mib must be in"),
        (("tiny", "--device", "tpu"), "device must be auto, cpu or cuda"),
        (("--quiet",), "which recipe?"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(
    weft: Runner, tiny: None, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    place = ("--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache"))
    ran = weft("train", *arguments, *place)
    assert ran.status == 2
    assert words in " ".join(ran.err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_its_status(
    weft: Runner, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:  # fmt: skip
    from train.tiny import TinyRecipe

    right = TinyRecipe.after_step

    def interrupt(self: TinyRecipe, module: object, step: int) -> None:
        right(self, module, step)  # type: ignore[arg-type]
        if step == 7:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TinyRecipe, "after_step", interrupt)
    with pytest.raises(SystemExit, match=str(128 + number)):
        weft("train", "tiny", *options(tmp_path))
    monkeypatch.undo()
    assert (tmp_path / "run" / "checkpoints" / "step-00000008" / "state.json").is_file()


def test_progress_is_one_line_with_loss_and_time_left() -> None:
    figures = {"step": 5.0, "loss": 0.123456, "critic/loss": 2.0, "learning_rate": 0.1}
    progress = Progress(step=50, steps=200, seconds_left=3725.0, figures=figures)
    line = progress_line(progress)
    assert line == "step 50/200 (25 %), loss 0.1235, critic/loss 2, 1 h 2 min left"
    assert duration_text(59.6) == "1 min 0 s"
    assert "weft.train.loop" in sys.modules
