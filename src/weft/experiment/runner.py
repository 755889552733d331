"""All runs of an experiment: in parallel, gone on with where they stand, each written when done."""

import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, final

from weft.errors import ConfigError, OutputError, WeftError
from weft.evaluate.runner import follow_parent
from weft.experiment.record import Results, RunRecord, changed_meanings, differences, read_results
from weft.experiment.spec import ExperimentSpec
from weft.experiment.worker import (
    RECORD_FILE,
    MakeFn,
    Outcome,
    Place,
    Task,
    execute,
    measure_untrained,
    threads,
    to_plain,
)
from weft.train.loop import Progress
from weft.train.registry import make_recipe
from weft.train.saving import checkpoints

_TICK_S = 0.3


class LostRunError(WeftError, RuntimeError):
    """A process that trained a run ended without a word."""

    exit_status = 5


@final
@dataclass(frozen=True, kw_only=True)
class ExperimentProgress:
    """How far an experiment is."""

    num_done: int
    """Runs that are finished, those of earlier sessions included."""
    num_runs: int
    """Runs in all."""
    step: int
    """Steps done of all runs."""
    steps: int
    """Steps in all."""
    seconds_left: float | None
    """Estimate, from the speed of this session; None before it is known."""


@final
@dataclass(frozen=True, kw_only=True)
class Session:
    """How a session of an experiment ended."""

    results: Results
    """All finished runs."""
    failures: tuple[Outcome, ...]
    """Runs that could not be trained or measured."""
    unfinished: tuple[tuple[str, int], ...]
    """Arm and seed of runs that time or a signal stopped."""
    notes: tuple[str, ...]
    """What whoever started it should know."""


def run(
    spec: ExperimentSpec,
    results_path: Path,
    place: Place,
    *,
    num_jobs: int = 1,
    max_minutes: float | None = None,
    make: MakeFn = make_recipe,
    on_progress: Callable[[ExperimentProgress], None] | None = None,
) -> Session:
    """Train and measure all runs of an experiment that are not finished yet.

    A finished run is one that the file of results or its own folder says is finished; it is never
    repeated. One that was begun goes on from its last checkpoint. The file is written anew after
    every run.

    Args:
        spec: the experiment.
        results_path: of the file of results.
        place: where runs are kept, and what they run on.
        num_jobs: processes, in [1, 1024]; no number depends on it.
        max_minutes: of this session; runs stop with a checkpoint.
        make: builds recipes; a function that another process can import.
        on_progress: called now and then.

    Raises:
        ConfigError: an arm has a setting that is not known, a finished run had other settings, or
            the recipe does not give a measure.
        OutputError: results or runs cannot be written, or another process runs this experiment.
        LostRunError: the system ended a process.
    """
    if not 1 <= num_jobs <= 1024:
        raise ConfigError(f"num_jobs must be in [1, 1024], got {num_jobs}")
    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(f"max_minutes must be above 0, got {max_minutes}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("an experiment shares its runs out itself; start it without torchrun")
    deadline = None if max_minutes is None else time.time() + 60 * max_minutes
    _check_folders(results_path, place)
    tasks = [
        Task(spec=spec, arm=arm, seed=seed, place=place, make=make, deadline=deadline)
        for arm, seed in spec.runs()
    ]
    with _locked(place.runs):
        results = read_results(results_path)
        steps = _take_up(tasks, results)
        todo = [task for task in tasks if (task.arm, task.seed) not in results.records]
        _check_measures(spec, results, todo)
        results.write(_header(spec), spec.runs())
        watcher = _Watcher(tasks, todo, steps, on_progress)
        outcomes = []
        for outcome in _work(todo, num_jobs, watcher):
            outcomes.append(outcome)
            if outcome.record is not None:
                results.records[outcome.record.key] = outcome.record
                results.write(_header(spec), spec.runs())
            watcher.end(outcome)
    notes = [
        f"arm {outcome.arm!r}, seed {outcome.seed}: {note}"
        for outcome in outcomes
        for note in outcome.notes
    ]
    return Session(
        results=results,
        failures=tuple(outcome for outcome in outcomes if outcome.error),
        unfinished=tuple((o.arm, o.seed) for o in outcomes if not o.error and o.record is None),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_folders(results_path: Path, place: Place) -> None:
    if not results_path.parent.is_dir():
        raise OutputError(f"no folder {results_path.parent} for {results_path.name}; make it first")
    for folder in (place.runs, place.cache):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error}") from error


@contextmanager
def _locked(runs: Path) -> Iterator[None]:
    """Keep another process from the same runs; the system takes the lock off with the process."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (runs / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"another process works on the runs in {runs}; wait for it, or name another folder "
                "with --runs"
            ) from error
        yield


def _take_up(tasks: Sequence[Task], results: Results) -> list[int]:
    """Add what run folders say is finished; return the steps of each run.

    Raises:
        ConfigError: a finished run had other settings than it has now.
    """
    steps = []
    for task in tasks:
        recipe, config = task.recipe()
        steps.append(config.steps)
        key = (task.arm, task.seed)
        path = task.place.folder(*key) / RECORD_FILE
        record = results.records.get(key) or _read_record(path)
        if record is None:
            continue
        wanted = {"asked": to_plain(recipe.to_config()), "loop": to_plain(config.to_config())}
        if other := differences(record, {"recipe": recipe.name, **wanted}):
            raise ConfigError(
                f"arm {task.arm!r}, seed {task.seed} is finished with other settings: "
                f"{'; '.join(other)}. Give the arm another name, or repeat those settings; to do "
                f"it again, name another file with --results and another folder with --runs"
            )
        results.records[key] = record
    return steps


def _read_record(path: Path) -> RunRecord | None:
    if not path.is_file():
        return None
    try:
        return RunRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}); remove it, and the run is measured again"
        ) from error


def _check_measures(spec: ExperimentSpec, results: Results, todo: Sequence[Task]) -> None:
    """See before training that the data is there, as it was, and that measures will come.

    Raises:
        ConfigError: it does not.
    """
    given = next((record.items for record in results.records.values()), None)
    first_of: dict[str, Task] = {}
    for task in todo:
        first_of.setdefault(task.arm, task)
    for task in first_of.values():
        with threads(task.place.num_threads):
            recipe, config = task.recipe()
            asked = to_plain(recipe.to_config())
            recipe.prepare(task.place.cache)
            recipe.open(task.place.cache)
            settings = to_plain(recipe.to_config())
            for record in results.records.values():
                if other := changed_meanings(record, asked, settings):
                    raise ConfigError(
                        f"arm {task.arm!r} would not be trained as arm {record.arm!r}, seed "
                        f"{record.seed} was: {'; '.join(other)}. Give back what there was, or name "
                        "another file with --results and another folder with --runs"
                    )
            if given is None:
                given = measure_untrained(recipe, config, task.place)
    if not given:
        raise ConfigError(
            f"the recipe {spec.recipe} gives no figures item by item, so its runs cannot be "
            "compared; it must override Recipe.items"
        )
    if missing := [name for name in spec.measures if name not in given]:
        raise ConfigError(
            f"the recipe {spec.recipe} gives no measure {', '.join(missing)}; it gives "
            f"{', '.join(given)}"
        )


def _header(spec: ExperimentSpec) -> dict[str, Any]:
    """Return what stands before the runs in the file of results."""
    return {
        "title": spec.title,
        "about": spec.about,
        "recipe": spec.recipe,
        "preset": spec.preset,
        "data": list(spec.data),
        "settings": dict(spec.settings),
        "arms": {name: dict(settings) for name, settings in spec.arms.items()},
        "baseline": spec.baseline,
        "seeds": list(spec.seeds),
        "measures": dict(spec.measures),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


@final
class _Watcher:
    """Counts steps over all runs."""

    def __init__(
        self,
        tasks: Sequence[Task],
        todo: Sequence[Task],
        steps: Sequence[int],
        on_progress: Callable[[ExperimentProgress], None] | None,
    ) -> None:
        of_run = {(t.arm, t.seed): count for t, count in zip(tasks, steps, strict=True)}
        self._show = on_progress
        self._num_runs = len(tasks)
        self._num_done = len(tasks) - len(todo)
        self._numbers = {(task.arm, task.seed): i for i, task in enumerate(todo)}
        self._of_todo = [of_run[task.arm, task.seed] for task in todo]
        self._elsewhere = sum(steps) - sum(self._of_todo)
        self._steps = sum(steps)
        self.begun = [_steps_done(task) for task in todo]
        """Steps that earlier sessions did."""
        self._now = list(self.begun)
        self._since = time.monotonic()

    def see(self, steps: Sequence[int]) -> None:
        """Take in how many steps each run of this session has done."""
        self._now = [max(a, b) for a, b in zip(self._now, steps, strict=True)]
        self._tell()

    def step(self, i: int, progress: Progress) -> None:
        """Take in a step of one run."""
        self._now[i] = progress.step
        self._tell()

    def end(self, outcome: Outcome) -> None:
        """Take in the end of a run; what is left of one that failed is not waited for."""
        i = self._numbers[outcome.arm, outcome.seed]
        if outcome.record is not None:
            self._num_done += 1
        if outcome.record is not None or outcome.error:
            self._now[i] = self._of_todo[i]
        self._tell()

    def _tell(self) -> None:
        if self._show is None:
            return
        made = sum(self._now) - sum(self.begun)
        left = sum(self._of_todo) - sum(self._now)
        pace = (time.monotonic() - self._since) / made if made else None
        self._show(
            ExperimentProgress(
                num_done=self._num_done,
                num_runs=self._num_runs,
                step=self._elsewhere + sum(self._now),
                steps=self._steps,
                seconds_left=None if pace is None else left * pace,
            )
        )


def _steps_done(task: Task) -> int:
    found = checkpoints(task.place.folder(task.arm, task.seed) / "checkpoints")
    return int(found[-1].name.removeprefix("step-")) if found else 0


def _work(todo: Sequence[Task], num_jobs: int, watcher: _Watcher) -> Iterator[Outcome]:
    """Yield how each run ended, as it ends."""
    if num_jobs == 1 or len(todo) < 2:
        for i, task in enumerate(todo):
            outcome = _attempt(task, partial(watcher.step, i))
            if outcome.reason == "SIGINT":
                raise KeyboardInterrupt
            if outcome.reason == "SIGTERM":
                raise SystemExit(128 + signal.SIGTERM)
            yield outcome
        return
    context = get_context("spawn")
    steps = context.Array("q", watcher.begun, lock=False)
    stop, counter = context.Value("b", 0, lock=False), context.Value("i", 0)
    with ProcessPoolExecutor(
        min(num_jobs, len(todo)),
        mp_context=context,
        initializer=_begin,
        initargs=(steps, stop, counter),
    ) as pool:
        futures: set[Future[Outcome]] = set()
        try:
            futures |= {pool.submit(_attempt_here, task, i) for i, task in enumerate(todo)}
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                watcher.see(list(steps))
        except BrokenProcessPool as error:
            raise LostRunError(
                "the system ended a process in the middle of a run, perhaps for want of memory; "
                "finished runs are kept, the others go on with the same command; try fewer --jobs"
            ) from error
        finally:
            stop.value = 1  # whatever ended this: runs in hand save and stop
            for future in futures:
                future.cancel()


def _attempt(task: Task, watch: Callable[[Progress], None]) -> Outcome:
    """Do a run; an error of its own does not end the others."""
    try:
        return execute(task, watch)
    except OutputError:  # a full disk is no matter of one run
        raise
    except WeftError as error:
        text = f"{type(error).__name__}: {error}"
        return Outcome(arm=task.arm, seed=task.seed, reason="failed", error=text)


_SHARED: dict[str, Any] = {}
"""Of a process of the pool: counts of steps, and whether to stop."""


def _begin(steps: Any, stop: Any, counter: Any) -> None:
    """Set up a process of the pool."""
    follow_parent()
    # The parent says when to stop. While a run trains, the loop itself listens, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    os.environ["LOCAL_RANK"] = str(number)  # so that several GPUs are shared out
    _SHARED.update(steps=steps, stop=stop)


def _attempt_here(task: Task, i: int) -> Outcome:
    """Do a run in a process of the pool."""
    if _SHARED["stop"].value:
        return Outcome(arm=task.arm, seed=task.seed, reason="SIGTERM")

    def watch(progress: Progress) -> None:
        _SHARED["steps"][i] = progress.step
        if _SHARED["stop"].value:
            os.kill(os.getpid(), signal.SIGTERM)  # the loop saves after this step

    return _attempt(task, watch)
