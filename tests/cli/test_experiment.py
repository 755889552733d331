"""weft experiment: options, what is printed, what is refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiment import toy
from weft.cli.experiment import progress_line
from weft.experiment.runner import ExperimentProgress
from weft.train import registry
from weft.train.registry import RecipeEntry

Runner = Callable[..., Any]
SMALL = toy.SPEC.partition("[arms.mirrored]")[0] + '[measures]\nerror = "lower"\n'


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the recipe known to the command line."""
    entry = RecipeEntry(name="toy", summary="A test.", module="cli_toy", presets=("small",))
    monkeypatch.setattr(registry, "RECIPES", (*registry.RECIPES, entry))
    monkeypatch.setitem(sys.modules, "cli_toy", CliToy)


class CliToy:
    """Stands where a recipe's module stands."""

    @staticmethod
    def make(preset: str, overrides: Any, data: Any) -> Any:
        return toy.make("toy", preset, overrides, data)


def options(root: Path) -> list[str | Path]:
    return ["--runs", root / "runs", "--cache", root / "cache", "--device", "cpu"]


def test_help_imports_neither_torch_nor_numpy(spawn: Runner) -> None:
    code = (
        "import sys; from weft.cli.main import main; status = main(); "
        "assert not {'torch', 'numpy'} & {*sys.modules}; sys.exit(status)"
    )
    assert spawn("experiment", "--help", code=code).status == 0


def test_an_experiment_ends_with_results_and_tables_beside_its_file(
    weft: Runner, known: None, tmp_path: Path
) -> None:
    file = toy.write_spec(tmp_path, SMALL, seeds="[0, 1]", shift="3.0")
    ran = weft("experiment", file, "--dry-run", *options(tmp_path))
    assert ran.status == 0
    assert ran.out.count("to do") == 4
    assert not (tmp_path / "toy.results.json").exists()
    ran = weft("experiment", file, "-o", tmp_path / "toy.md", *options(tmp_path))
    assert ran.status == 0, ran.err
    assert "results:" in ran.out
    found = json.loads((tmp_path / "toy.results.json").read_text())
    assert [(one["arm"], one["seed"]) for one in found["runs"]] == [
        ("base", 0), ("shifted", 0), ("base", 1), ("shifted", 1)
    ]  # fmt: skip
    page = (tmp_path / "toy.md").read_text()
    assert "## error (lower is better; 36 items in 12 recordings)" in page
    again = weft("experiment", file, "-o", tmp_path / "toy.md", *options(tmp_path), "--json")
    assert again.json["failures"] == again.json["unfinished"] == []
    arms = again.json["measures"][0]["arms"]
    assert [arm["arm"] for arm in arms] == ["base", "shifted"]
    assert arms[1]["difference"]["interval"]["mean"] > 0
    assert (tmp_path / "toy.md").read_text() == page
    (tmp_path / "toy.md").unlink()
    shown = weft("experiment", file, "--tables-only", "-o", tmp_path / "toy.md")
    assert shown.status == 0
    assert (tmp_path / "toy.md").read_text() == page
    listed = weft("experiment", file, "--dry-run", *options(tmp_path), "--json")
    assert {one["state"] for one in listed.json["runs"]} == {"finished"}


def test_a_run_that_fails_gives_its_own_exit_status(
    weft: Runner, known: None, tmp_path: Path
) -> None:
    text = SMALL.replace("shift = 1.0", 'breaks = "loss"')
    file = toy.write_spec(tmp_path, text, seeds="[0]")
    ran = weft("experiment", file, "-o", tmp_path / "toy.md", *options(tmp_path))
    assert ran.status == 6
    assert "arm 'shifted', seed 0 failed: DivergenceError" in ran.err
    assert "- shifted, seed 0: DivergenceError" in (tmp_path / "toy.md").read_text()


def test_time_that_is_up_says_how_to_go_on(weft: Runner, known: None, tmp_path: Path) -> None:
    file = toy.write_spec(tmp_path, SMALL, seeds="[0]")
    ran = weft("experiment", file, *options(tmp_path), "--max-minutes", "0.000001")
    assert ran.status == 0
    assert "2 runs not finished; the same command goes on" in ran.err


def test_a_bad_file_is_an_error_of_usage(weft: Runner, tmp_path: Path) -> None:
    file = toy.write_spec(tmp_path, "recipe = 3")
    ran = weft("experiment", file)
    assert ran.status == 2
    assert "toy.toml: recipe must be a text, got 3" in ran.err
    ran = weft("experiment", toy.write_spec(tmp_path, SMALL.replace('"toy"', '"tokns"')),
               *options(tmp_path))  # fmt: skip
    assert ran.status == 2
    assert "no recipe 'tokns'" in ran.err


def test_a_page_is_not_written_over_something_else(
    weft: Runner, known: None, tmp_path: Path
) -> None:
    file = toy.write_spec(tmp_path, SMALL)
    (tmp_path / "thesis.md").write_text("# Chapter 1\n")
    ran = weft("experiment", file, "-o", tmp_path / "thesis.md", *options(tmp_path))
    assert ran.status == 4
    assert "is no page of this experiment" in ran.err
    assert (tmp_path / "thesis.md").read_text() == "# Chapter 1\n"
    ran = weft("experiment", file, "-o", tmp_path / "none" / "toy.md", *options(tmp_path))
    assert ran.status == 4
    assert "make it first" in ran.err
    assert not (tmp_path / "runs").exists()


def test_progress_says_runs_steps_and_time_left() -> None:
    progress = ExperimentProgress(num_done=3, num_runs=12, step=50, steps=200, seconds_left=75.0)
    assert progress_line(progress) == "3/12 runs, step 50/200 (25 %), 1 min 15 s left"
    begun = ExperimentProgress(num_done=0, num_runs=1, step=0, steps=9, seconds_left=None)
    assert progress_line(begun) == "0/1 runs, step 0/9 (0 %)"
