"""A run that is killed and goes on ends with the same bits as one that was never stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from train.compare import differences
from train.tiny import TinyRecipe, make_config
from weft.train import loop as loop_module
from weft.train.order import Order
from weft.train.run import RunResult, train
from weft.train.state import TrainState

TINY = Path(__file__).with_name("tiny.py")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spawn(root: Path, *jobs: str, processes: int = 1) -> int:
    """Run `tiny.main` in processes of its own, under torchrun where there are several."""
    launcher = []
    if processes > 1:
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
        ]
    tests = str(TINY.parent.parent)
    done = subprocess.run(
        [sys.executable, *launcher, str(TINY), str(root), *jobs],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode not in (0, -signal.SIGKILL) and "SIGKILL" not in done.stderr:
        raise AssertionError(done.stderr)
    return done.returncode


def run_here(folder: Path, recipe: TinyRecipe | None = None, **options: Any) -> RunResult:
    changes = options.pop("changes", {})
    return train(
        recipe or TinyRecipe(),
        make_config(**changes),
        folder,
        cache=folder.parent / "cache",
        device="cpu",
        **options,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_mid_epoch_and_resumed_is_the_same_run(tmp_path: Path, processes: int) -> None:
    assert spawn(tmp_path, "whole", "killed", processes=processes) != 0
    steps = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir())
    assert steps[-1] == "step-00000010"  # of 13 done: three steps are lost and done again
    assert differences(tmp_path / "whole", tmp_path / "whole") == []
    assert spawn(tmp_path, "resumed", processes=processes) == 0
    assert differences(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.parametrize("is_adversarial", [False, True])
def test_interrupted_at_any_step_and_resumed_is_the_same_run(
    tmp_path: Path, is_adversarial: bool
) -> None:
    run_here(tmp_path / "whole", TinyRecipe(is_adversarial=is_adversarial))
    for at in (4, 10):  # resumed twice, each time in the middle of an epoch and of a mean
        stopped = run_here(
            tmp_path / "cut",
            TinyRecipe(is_adversarial=is_adversarial, signal_at=at),
            is_resumed=True,
        )
        assert (stopped.reason, stopped.step, stopped.model) == ("SIGINT", at + 1, None)
    last = run_here(tmp_path / "cut", TinyRecipe(is_adversarial=is_adversarial), is_resumed=True)
    assert (last.reason, last.step) == ("done", 20)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


def forget_averages(state: TrainState) -> None:
    state.average(0.0)


def forget_moments(state: TrainState) -> None:
    for optimiser in state.optimisers.values():
        for slots in optimiser.state.values():
            slots["exp_avg"].zero_()


def forget_optimiser_steps(state: TrainState) -> None:
    for optimiser in state.optimisers.values():
        for slots in optimiser.state.values():
            slots["step"].zero_()


def forget_teacher(state: TrainState) -> None:
    module: Any = state.module
    module.teacher.load_state_dict(module.net[4].state_dict())


def forget_statistics(state: TrainState) -> None:
    module: Any = state.module
    module.net[1].running_mean.zero_()


def forget_updates(state: TrainState) -> None:
    state.counters.num_updates = 0


def forget_means(state: TrainState) -> None:
    state.counters.sums = {}


@pytest.mark.parametrize(
    "forget",
    [
        forget_averages,
        forget_moments,
        forget_optimiser_steps,
        forget_teacher,
        forget_statistics,
        forget_updates,
        forget_means,
    ],
)
def test_a_resumption_that_forgets_something_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[TrainState], None]
) -> None:
    run_here(tmp_path / "whole")
    run_here(tmp_path / "cut", TinyRecipe(signal_at=9))
    right = loop_module.load

    def load_and_forget(state: TrainState, *places: Any, **facts: Any) -> None:
        right(state, *places, **facts)
        forget(state)

    monkeypatch.setattr(loop_module, "load", load_and_forget)
    run_here(tmp_path / "cut", is_resumed=True)
    assert differences(tmp_path / "whole", tmp_path / "cut") != []


def test_noise_that_counts_sessions_not_steps_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_here(tmp_path / "whole")
    run_here(tmp_path / "cut", TinyRecipe(signal_at=9))
    right = loop_module.step_seed
    monkeypatch.setattr(
        loop_module,
        "step_seed",
        lambda seed, step, rank: right(seed, step - 10, rank) if step >= 10 else 0,
    )
    run_here(tmp_path / "cut", is_resumed=True)
    assert "module.net.0.weight" in differences(tmp_path / "whole", tmp_path / "cut")


def test_an_order_that_begins_anew_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_here(tmp_path / "whole")
    run_here(tmp_path / "cut", TinyRecipe(signal_at=9))
    right = Order.tickets
    monkeypatch.setattr(Order, "tickets", lambda self, step: right(self, step - 10))
    run_here(tmp_path / "cut", is_resumed=True)
    assert "log" in differences(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("num_workers", [1, 3])
def test_threads_that_make_examples_change_nothing(tmp_path: Path, num_workers: int) -> None:
    run_here(tmp_path / "alone")
    run_here(tmp_path / "threads", changes={"num_workers": num_workers})
    assert differences(tmp_path / "alone", tmp_path / "threads") == []


def test_what_came_after_the_checkpoint_is_cut_from_the_log(tmp_path: Path) -> None:
    run_here(tmp_path / "whole")
    run_here(tmp_path / "cut", TinyRecipe(signal_at=9))
    with (tmp_path / "cut" / "log.jsonl").open("a") as log:
        log.write('{"step": 12, "loss": 1.0}\n{"step": 15, "lo')
    run_here(tmp_path / "cut", is_resumed=True)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
