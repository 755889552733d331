"""Runner: works through the cases of a protocol, and keeps a record of every answer."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, final

import numpy as np

from weft.audio.audio import Audio, Patch
from weft.canvas.canvas import Region
from weft.canvas.compose import compose
from weft.canvas.filler import Fill
from weft.canvas.windows import read_window
from weft.data.manifest import Manifest, check_files
from weft.errors import ConfigError, WeftError
from weft.evaluate.cost import Cost, measure
from weft.evaluate.journal import Journal
from weft.evaluate.protocol import ROUND_TRIP, Case, Job, Protocol, Row, Spot
from weft.evaluate.records import Record, rounded
from weft.evaluate.solvers import Filled, LoadFn, Solver, load_from_zoo
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.text_match import text_matches

_FREE = Cost(cpu_s=0.0, wall_s=0.0, peak_mb=0.0, is_peak_own=True)
_DoneKey = tuple[str, int, str]
"""Setting, index and row of what a journal holds of a recording."""


@final
@dataclass(frozen=True, kw_only=True)
class Finders:
    """Where models and embedders come from."""

    load: LoadFn = load_from_zoo
    """Loads models."""
    weights: Path | None = None
    """Folder of published embedders' weights; None: as the environment says."""

    def embedder(self, name: str) -> Embedder:
        """Return an embedder; each is loaded once a process.

        Raises:
            ConfigError: no embedder has this name, or its weights are not there.
        """
        return _embedder(name, self.weights)

    def solver(self, name: str) -> Solver:
        """Return a model; each is loaded once a process.

        Raises:
            CheckpointError: no model has this name.
        """
        return _solver(self.load, name)


@lru_cache(maxsize=8)
def _embedder(name: str, weights: Path | None) -> Embedder:
    from weft.metrics.embedders.registry import find_embedder

    return find_embedder(name, weights=weights)


@lru_cache(maxsize=32)
def _solver(load: LoadFn, name: str) -> Solver:
    return load(name)


def run(
    protocol: Protocol,
    corpora: Sequence[Manifest],
    journal: Journal,
    *,
    finders: Finders | None = None,
    num_jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run an experiment; records go to the journal, and those it holds are not made again.

    One recording is in memory at a time, in each process.

    Args:
        protocol: the experiment.
        corpora: what it works on.
        journal: takes the records.
        finders: where models and embedders come from.
        num_jobs: processes; costs are measured in each on its own.
        on_progress: called with (records made, records in all); the second falls where recordings
            are too short for all items.

    Raises:
        CheckpointError: a model is not known.
        ConfigError: a corpus lacks the split, two have one name, or an embedder is not there.
        AudioFormatError: a file is missing or cannot be read.
    """
    finders = finders or Finders()
    if num_jobs < 1:
        raise ConfigError(f"num_jobs must be >= 1, got {num_jobs}")
    names = [corpus.name for corpus in corpora]
    if len(set(names)) < len(names):
        raise ConfigError(f"two corpora have one name: {', '.join(names)}; use NAME=FOLDER")
    for row in protocol.rows:
        if row.kind == "model":
            finders.solver(row.model)
    for name in protocol.run.embedders:
        finders.embedder(name)
    done: dict[tuple[str, str], set[_DoneKey]] = defaultdict(set)
    for old in journal:
        if not old.error:  # what failed is tried again
            done[old.corpus, old.file].add((old.setting, old.index, old.row))
    todo = protocol.jobs(corpora)
    check_files(list({e.path: e for job in todo for e in (*job.entries, *job.others)}.values()))
    tasks = [_Task(protocol, job, finders, frozenset(done[job.corpus, job.file])) for job in todo]
    expected = len(protocol.rows) * protocol.spots_per_job
    total, made = expected * len(tasks), 0
    for records in _work(tasks, num_jobs):
        num_before = made
        for record in records:
            if record is not None:
                journal.add(record)
            made += 1
            if on_progress is not None:
                on_progress(made, total)
        total -= expected - (made - num_before)
    if on_progress is not None:
        on_progress(made, made)


def render(
    protocol: Protocol, job: Job, item: tuple[str, str, str, int], row: str, finders: Finders
) -> tuple[Case, Spot, Audio]:
    """Make an answer again, to listen to it: models draw from seeds, so it is the same answer.

    Args:
        protocol: the experiment.
        job: what the item came from.
        item: as in its record.
        row: whose answer.
        finders: where models come from.

    Raises:
        ConfigError: there is no such item.
    """
    wanted = next(r for r in protocol.rows if r.name == row)
    for case in protocol.cases(job):
        for spot in case.spots:
            if (case.corpus, case.file, case.setting, spot.index) == item:
                runner = _CaseRunner(_Task(protocol, job, finders, frozenset()), case)
                takes = runner.answer(wanted)[0].takes
                reference = _read(case.truth, spot.excerpt)
                index = runner.choose(wanted, spot, reference, takes)[0]
                return case, spot, takes[index]
    raise ConfigError(f"no item {item} in this experiment; was the journal made with it?")


@final
@dataclass(frozen=True)
class _Task:
    """One job, and what a process needs for it."""

    protocol: Protocol
    job: Job
    finders: Finders
    done: frozenset[_DoneKey]


def _work(tasks: Sequence[_Task], num_jobs: int) -> Iterator[Iterator[Record | None]]:
    """Yield the records of each job, as they are made or as processes finish it."""
    if num_jobs == 1 or len(tasks) < 2:
        yield from (_run_task(task) for task in tasks)
        return
    with ProcessPoolExecutor(
        min(num_jobs, len(tasks)), mp_context=get_context("spawn"), initializer=follow_parent
    ) as pool:
        futures = [pool.submit(_run_whole_task, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield iter(future.result())
        finally:
            for future in futures:
                future.cancel()


def follow_parent() -> None:
    """End this process when the one that started it has ended, however it did.

    Otherwise a killed experiment goes on for the recordings in hand, for nobody.
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="follow parent", daemon=True).start()


def _run_whole_task(task: _Task) -> list[Record | None]:
    return list(_run_task(task))


def _run_task(task: _Task) -> Iterator[Record | None]:
    """Yield a record for each row of each item of a job, None for those not made now."""
    for case in task.protocol.cases(task.job):
        yield from _CaseRunner(task, case).records()


@final
class _CaseRunner:
    """One case, and the rows that answer it."""

    def __init__(self, task: _Task, case: Case) -> None:
        self.task = task
        self.case = case
        self._answers: dict[str, tuple[Filled, Cost]] = {}

    def records(self) -> Iterator[Record | None]:
        """Yield the records of all rows, None for those done before or that do not apply."""
        for row in self.task.protocol.rows:
            if self._is_done(row):
                yield from [None] * len(self.case.spots)
                continue
            try:
                if self._has_no_codec(row):
                    yield from [None] * len(self.case.spots)
                    continue
                filled, cost = self.answer(row)
                for i, spot in enumerate(self.case.spots):
                    yield self._record(row, i, spot, filled, cost)
            except WeftError as error:
                for spot in self.case.spots:
                    yield self._failure(row, spot, f"{type(error).__name__}: {error}")

    def _has_no_codec(self, row: Row) -> bool:
        """Whether a row is about the codec of a model that has none."""
        return row.variant == ROUND_TRIP and self._solver(row).round_trip is None

    def answer(self, row: Row) -> tuple[Filled, Cost]:
        """Return what a row makes of the case; a model is asked once for all its rows."""
        protocol, case = self.task.protocol, self.case
        if not row.model:
            audio = protocol.baseline(row.name, case)
            return Filled(takes=(audio,), models=(row.name,) * len(case.spots)), _FREE
        solver = self._solver(row)
        if row.variant == ROUND_TRIP:
            assert solver.round_trip is not None
            audio, cost = measure(lambda: round_trip(case, solver.round_trip))  # type: ignore[arg-type]
            return Filled(takes=(audio,), models=(row.name,) * len(case.spots)), cost
        if row.model not in self._answers:
            self._answers = {row.model: measure(lambda: protocol.fill(solver.fill, case))}
        filled, cost = self._answers[row.model]
        takes = filled.takes if row.kind == "ceiling" else filled.takes[:1]
        if row.variant:
            takes = tuple(protocol.adapt(row, case, take) for take in takes)
        return replace(filled, takes=takes), cost

    def choose(
        self, row: Row, spot: Spot, reference: "np.ndarray | None", takes: Sequence[Audio]
    ) -> tuple[int, Any]:
        """Return the number of the take that counts, and what is said of it."""
        protocol = self.task.protocol
        measured = [
            protocol.measure(self.case, spot, reference, _read(take, spot.excerpt))
            for take in takes
        ]
        best = 0
        ranking = protocol.ranking
        if len(takes) > 1 and ranking is not None:
            best = min(range(len(takes)), key=lambda i: measured[i].metrics[ranking])
        return best, measured[best]

    def _record(self, row: Row, i: int, spot: Spot, filled: Filled, cost: Cost) -> Record:
        """Measure one item of one row."""
        case = self.case
        reference = None if case.truth is None else _read(case.truth, spot.excerpt)
        index, measured = self.choose(row, spot, reference, filled.takes)
        take = filled.takes[index]
        models = filled.models or (row.model or row.name,)
        embeddings = self._embeddings(take, spot)
        return Record(
            **self._key(row, spot),
            metrics={**measured.metrics, **self._text_matches(embeddings)},
            curves=measured.curves,
            embeddings=embeddings,
            model=models[min(i, len(models) - 1)],
            num_parameters=self._solver(row).num_parameters if row.model else 0,
            num_network_calls=filled.num_network_calls / len(case.spots),
            cpu_s=cost.cpu_s / len(case.spots),
            peak_mb=cost.peak_mb,
            num_changed=self._count_changed(take) if row.model and i == 0 else 0,
        )

    def _embeddings(self, take: Audio, spot: Spot) -> dict[str, Embedding]:
        """Return what the embedders say of an item."""
        names = self.task.protocol.run.embedders
        if not names:
            return {}
        heard = _read(take, self.task.protocol.embedded(self.case, spot))
        return {
            name: rounded(self.task.finders.embedder(name).embed(heard, take.sample_rate))
            for name in names
        }

    def _text_matches(self, embeddings: Mapping[str, Embedding]) -> dict[str, float]:
        """Return how well an item fits its text, for embedders that know texts."""
        text = self.case.canvas.text
        if not text:
            return {}
        found = {}
        for name, embedding in embeddings.items():
            embedder = self.task.finders.embedder(name)
            if embedder.has_text:
                words = embedder.embed_text([text])
                found[f"clap:{name}"] = float(text_matches(words, embedding.clip[None])[0])
        return found

    def _failure(self, row: Row, spot: Spot, error: str) -> Record:
        return Record(**self._key(row, spot), error=error)

    def _key(self, row: Row, spot: Spot) -> dict[str, Any]:
        edited = spot.edited or Region(start=0, stop=self.case.canvas.audio.num_samples)
        return {
            "corpus": self.case.corpus,
            "file": self.case.file,
            "setting": self.case.setting,
            "index": spot.index,
            "row": row.name,
            "cluster": f"{self.case.corpus}/{self.case.cluster or self.case.file}",
            "start": edited.start,
            "stop": edited.stop,
        }

    def _solver(self, row: Row) -> Solver:
        return self.task.finders.solver(row.model)

    def _is_done(self, row: Row) -> bool:
        """Whether the journal holds all items of this row."""
        return all(
            (self.case.setting, spot.index, row.name) in self.task.done for spot in self.case.spots
        )

    def _count_changed(self, answer: Audio) -> int:
        """Return how many samples outside the gaps are not the recording's, bit for bit."""
        canvas = self.case.canvas
        if canvas.low_band_hz is not None:
            return 0  # a band is known, not samples
        changed = 0
        edges = [0, *(edge for gap in canvas.gaps for edge in (gap.start, gap.stop))]
        for first, last in zip(edges[::2], [*edges[1::2], canvas.audio.num_samples], strict=True):
            for start in range(first, last, 1 << 20):
                stop = min(last, start + (1 << 20))
                changed += int((canvas.audio.read(start, stop) != answer.read(start, stop)).sum())
        return changed


def round_trip(case: Case, codec: Callable[[Audio], Audio]) -> Audio:
    """Return the canvas with the truth, through a codec, in its gaps.

    The codec hears the excerpts as they were, without holes, and what it gives is joined to the
    surroundings as every fill is. Where no samples are known, all of it comes from the codec.

    Args:
        case: with a truth, or with whole recordings as its canvas.
        codec: encodes and decodes.
    """
    canvas = case.canvas
    truth = case.truth or canvas.audio
    if not canvas.gaps:
        return codec(truth)
    patches = []
    for i, gap in enumerate(canvas.gaps):
        excerpt = case.spots[min(i, len(case.spots) - 1)].excerpt
        start, stop = min(excerpt.start, gap.start), max(excerpt.stop, gap.stop)
        decoded = codec(Audio.from_samples(truth.read(start, stop), truth.sample_rate))
        fill = Fill(
            samples=decoded.read(gap.start - start, gap.stop - start),
            model="round trip",
            confidence=1.0,
        )
        window = read_window(canvas.audio, gap, canvas.gaps, truth.sample_rate)
        patches.append(Patch(start=gap.start, samples=compose(window, fill)))
    return canvas.audio.patched(patches)


def _read(audio: Audio | None, region: Region) -> Any:
    return None if audio is None else audio.read(region.start, region.stop)
