"""Experiments: what is trained, what is not trained again, and that it is the same each time."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from experiment import toy
from train.compare import differences
from weft.errors import ConfigError, OutputError
from weft.experiment.record import read_results
from weft.experiment.runner import ExperimentProgress, LostRunError, Session, run
from weft.experiment.spec import read_spec
from weft.experiment.worker import Place
from weft.train.saving import checkpoints

TOY = Path(toy.__file__)
SMALL = """
recipe = "toy"
seeds = [0, 1]
[arms.base]
[arms.shifted]
shift = 1.0
[measures]
error = "lower"
"""


def place(root: Path, **options: Any) -> Place:
    return Place(runs=root / "runs", cache=root / "cache", device="cpu", **options)


def go(root: Path, text: str = SMALL, **options: Any) -> Session:
    """Run an experiment in this process, or from it."""
    root.mkdir(exist_ok=True)
    changes = options.pop("changes", {})
    spec = read_spec(toy.write_spec(root, text, **changes))
    where = options.pop("place", None) or place(root)
    return run(spec, root / "results.json", where, make=toy.make, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that ran through in one process; look, do not touch."""
    root = tmp_path_factory.mktemp("whole")
    assert not go(root).failures
    return root


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "copied"))


def spawn(root: Path, *, jobs: int = 1, kill: str = "") -> int:
    """Run an experiment in a process of its own."""
    root.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(TOY.parents[1]),
        toy.KILL_VARIABLE: kill,
        toy.TRACE_VARIABLE: str(root / "trace"),
    }
    done = subprocess.run(
        [sys.executable, str(TOY), str(toy.write_spec(root, SMALL)), str(root), str(jobs)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode > 0 and "LostRunError" not in done.stderr:
        raise AssertionError(done.stderr)
    return done.returncode


def values(root: Path) -> Any:
    """Return all of a file of results but times."""
    found = json.loads((root / "results.json").read_text())
    for one in found["runs"]:
        del one["seconds"]
    return found


def trace(root: Path) -> list[tuple[str, int]]:
    """Return run and step of all that was trained, in order."""
    lines = [line.rsplit(" ", 1) for line in (root / "trace").read_text().splitlines()]
    return [(where, int(step)) for where, step in lines]


def test_parallel_equals_serial_bit_for_bit(tmp_path: Path, whole: Path) -> None:
    assert not go(tmp_path, num_jobs=2).failures
    assert values(tmp_path) == values(whole)
    assert len(values(whole)["runs"]) == 4
    for run_folder in ("base/seed-0", "base/seed-1", "shifted/seed-0", "shifted/seed-1"):
        assert differences(whole / "runs" / run_folder, tmp_path / "runs" / run_folder) == []


def test_a_killed_experiment_goes_on_and_repeats_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spawn(tmp_path, kill="1 0 13") == -signal.SIGKILL  # the second of four runs
    assert len(trace(tmp_path)) == 20 + 14
    (tmp_path / "trace").unlink()
    monkeypatch.setenv(toy.TRACE_VARIABLE, str(tmp_path / "trace"))
    go(tmp_path)
    done = trace(tmp_path)
    assert done[0] == ("1 0", 10)  # from the checkpoint, though three more steps had been done
    assert [where for where, _ in done] == ["1 0"] * 10 + ["0 1"] * 20 + ["1 1"] * 20
    assert values(tmp_path) == values(whole)
    assert differences(whole / "runs/shifted/seed-0", tmp_path / "runs/shifted/seed-0") == []


def test_a_process_that_dies_is_told_and_the_same_command_goes_on(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(toy.KILL_VARIABLE, "1 0 13")
    with pytest.raises(LostRunError, match="the same command; try fewer --jobs"):
        go(tmp_path, num_jobs=2)
    monkeypatch.delenv(toy.KILL_VARIABLE)
    monkeypatch.setenv(toy.TRACE_VARIABLE, str(tmp_path / "trace"))
    go(tmp_path)
    assert next(step for where, step in trace(tmp_path) if where == "1 0") == 10
    assert values(tmp_path) == values(whole)


def test_finished_runs_are_known_by_the_results_or_by_their_folders(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values(copied)
    monkeypatch.setenv(toy.TRACE_VARIABLE, str(copied / "trace"))
    (copied / "results.json").unlink()
    go(copied)
    assert values(copied) == first
    (copied / "runs").rename(copied / "elsewhere")
    go(copied)
    assert values(copied) == first
    assert not (copied / "trace").exists()


def test_a_new_seed_and_a_new_arm_train_only_what_is_new(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values(copied)["runs"]
    monkeypatch.setenv(toy.TRACE_VARIABLE, str(copied / "trace"))
    go(copied, SMALL.replace("[measures]", "[arms.far]\nshift = 2\n[measures]"),
       changes={"seeds": "[0, 1, 2]"})  # fmt: skip
    assert {where for where, _ in trace(copied)} == {"0 2", "1 2", "2 0", "2 1", "2 2"}
    assert [one for one in values(copied)["runs"] if one in first] == first


def test_what_a_file_names_no_more_stays_in_the_results(copied: Path) -> None:
    go(copied, changes={"seeds": "[1]"})
    assert {(one["arm"], one["seed"]) for one in values(copied)["runs"]} == {
        ("base", 0), ("base", 1), ("shifted", 0), ("shifted", 1)
    }  # fmt: skip


def test_a_finished_run_of_other_settings_is_not_taken_for_this_one(copied: Path) -> None:
    with pytest.raises(ConfigError, match=r"arm 'shifted', seed 0 .* shift was 1.0, now 2.0"):
        go(copied, SMALL.replace("1.0", "2.0"))
    with pytest.raises(ConfigError, match=r"arm 'base', seed 0 .* steps was 20, now 40"):
        go(copied, SMALL.replace("[arms.base]", "[settings]\nsteps = 40\n[arms.base]"))
    # What no weight depends on may change.
    session = go(copied, SMALL.replace("[arms.base]", "[settings]\nlog_every = 3\n[arms.base]"))
    assert len(session.results.records) == 4


def test_data_that_changed_behind_its_name_is_not_compared_with_what_it_was(copied: Path) -> None:
    (copied / "cache" / "corpus").write_text("digest 2")
    assert len(go(copied).results.records) == 4  # nothing is left to train
    with pytest.raises(ConfigError, match="corpus was digest 1, now digest 2"):
        go(copied, changes={"seeds": "[0, 1, 2]"})


def test_arms_of_a_seed_share_weights_and_seeds_do_not(whole: Path) -> None:
    records = read_results(whole / "results.json").records
    assert records["base", 0].start == records["shifted", 0].start
    assert records["base", 0].start != records["base", 1].start
    assert records["base", 0].items != records["shifted", 0].items


def test_items_are_those_of_the_averaged_weights_of_the_last_step(whole: Path) -> None:
    from safetensors.torch import load_file

    records = read_results(whole / "results.json").records
    recipe, _ = toy.make("toy", "small", {"shift": "1.0"}, ())
    module = recipe.build().eval()
    module.load_state_dict(
        load_file(whole / "runs" / "shifted" / "seed-1" / "model" / "model.safetensors")
    )
    with torch.no_grad():
        wanted = recipe.items(module)["error"]
    found = records["shifted", 1].items["error"]
    assert [item.key for item in found] == [item.key for item in wanted]
    assert [item.value for item in found] == pytest.approx([x.value for x in wanted], rel=1e-6)


def test_results_come_back_as_they_were_written(copied: Path) -> None:
    records = read_results(copied / "results.json").records
    text = (copied / "results.json").read_text()
    again = go(copied).results.records
    assert again == records
    assert (copied / "results.json").read_text() == text
    (copied / "results.json").unlink()
    assert go(copied).results.records == records  # from the records of the runs
    record = records["base", 0]
    assert record.figures == {"one": 1.0}  # what is not finite is no figure
    assert record.environment["threads"] == 1
    assert record.environment["torch"] == torch.__version__
    assert record.loop["seed"] == 0


def test_a_run_that_fails_does_not_end_the_others_and_is_tried_again(tmp_path: Path) -> None:
    text = SMALL.replace("shift = 1.0", 'shift = 1.0\nbreaks = "loss"')
    for _ in range(2):
        session = go(tmp_path, text, changes={"seeds": "[0]"})
        assert [(o.arm, o.seed) for o in session.failures] == [("shifted", 0)]
        assert "DivergenceError: 3 steps in a row" in session.failures[0].error
        assert {*session.results.records} == {("base", 0)}


def test_time_that_is_up_leaves_runs_to_go_on_with(tmp_path: Path) -> None:
    session = go(tmp_path, max_minutes=1e-6)
    assert session.unfinished == (("base", 0), ("shifted", 0), ("base", 1), ("shifted", 1))
    assert values(tmp_path)["runs"] == []
    assert not session.failures


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    def interrupt(progress: ExperimentProgress) -> None:
        if progress.step == 27:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, on_progress=interrupt)
    run_folder = tmp_path / "runs" / "shifted" / "seed-0"
    assert checkpoints(run_folder / "checkpoints")[-1].name == "step-00000007"
    assert len(values(tmp_path)["runs"]) == 1


def test_an_interruption_lets_parallel_runs_save(tmp_path: Path) -> None:
    def interrupt(progress: ExperimentProgress) -> None:
        if progress.step > 20:
            raise KeyboardInterrupt

    text = SMALL.replace("[arms.base]", "[settings]\nsteps = 4000\nsave_every = 4000\n[arms.base]")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, text, num_jobs=2, on_progress=interrupt)
    # Nobody asked for a checkpoint before step 4000.
    saved = [
        checkpoints(tmp_path / "runs" / arm / "seed-0" / "checkpoints")
        for arm in ("base", "shifted")
    ]
    assert any(saved)
    assert all(found[-1].name < "step-00004000" for found in saved if found)


def test_progress_counts_runs_and_steps_of_all_sessions(tmp_path: Path) -> None:
    seen: list[ExperimentProgress] = []
    go(tmp_path, changes={"seeds": "[0]"})
    go(tmp_path, on_progress=seen.append)
    assert (seen[0].num_done, seen[0].num_runs, seen[0].step, seen[0].steps) == (2, 4, 41, 80)
    assert seen[0].seconds_left is not None
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    assert (seen[-1].num_done, seen[-1].step, seen[-1].seconds_left) == (4, 80, 0)


def test_only_the_last_checkpoint_of_a_finished_run_stays(tmp_path: Path, whole: Path) -> None:
    changes = {"seeds": "[0]"}
    without = place(tmp_path, keeps_checkpoints=False)
    go(tmp_path, place=without, changes=changes)
    names = [
        [path.name for path in checkpoints(root / "runs/base/seed-0/checkpoints")]
        for root in (whole, tmp_path)
    ]
    assert names == [["step-00000020"], []]
    assert (tmp_path / "runs/base/seed-0/model/model.safetensors").is_file()
    assert len(go(tmp_path, place=without, changes=changes).results.records) == 2


def test_the_number_of_threads_is_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        go(tmp_path, changes={"seeds": "[0]"})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_experiment_is_not_run_twice_at_once(tmp_path: Path) -> None:
    def again(progress: ExperimentProgress) -> None:
        go(tmp_path)

    with pytest.raises(OutputError, match="another process works on the runs"):
        go(tmp_path, on_progress=again)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("error = ", "eror = ", "the recipe toy gives no measure eror; it gives error, inverse"),
        ("shift = 1.0", "shit = 1.0", "arm 'shifted': the recipe toy has no setting shit"),
        ("shift = 1.0", 'shift = "far"', "arm 'shifted': shift must be a number, got 'far'"),
        ("[arms.base]", '[settings]\nbreaks = "items"\n[arms.base]', "must override Recipe.items"),
    ],
)
def test_what_cannot_be_done_is_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    monkeypatch.setenv(toy.TRACE_VARIABLE, str(tmp_path / "trace"))
    with pytest.raises(ConfigError, match=words):
        go(tmp_path, SMALL.replace(old, new))
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "holds no results of an experiment"),
        ('{"schema": "weft.train/1"}', "its schema is weft.train/1"),
        ('{"schema": "weft.experiment/1", "runs": [{}]}', "name another file with --results"),
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        go(tmp_path)
    assert (tmp_path / "results.json").read_text() == text


def test_a_damaged_record_of_a_run_is_refused(copied: Path) -> None:
    (copied / "results.json").unlink()
    path = copied / "runs" / "base" / "seed-0" / "items.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ConfigError, match="is damaged .* remove it, and the run is measured again"):
        go(copied)
    path.unlink()
    assert len(go(copied).results.records) == 4


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ({"num_jobs": 0}, {}, "num_jobs must be in"),
        ({"max_minutes": 0.0}, {}, "max_minutes must be above 0"),
        ({}, {"WORLD_SIZE": "2"}, "start it without torchrun"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        go(tmp_path, **options)
