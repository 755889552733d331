"""Gaps: cut stretches out of recordings, fill them, and compare with what was there.

Rows that are always there: ``original``, what the metrics say of a perfect fill, and ``silence``,
what they say of none. With several takes a row ``NAME (best of K)`` picks, knowing the truth, the
take with the least log-spectral distance: a ceiling for choosing among takes, not a result.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, final

import numpy as np

from weft.audio.audio import Audio, Patch
from weft.canvas.canvas import Region
from weft.data.corpora import open_entry
from weft.data.manifest import Entry, Manifest, check_files
from weft.errors import ConfigError, WeftError
from weft.evaluate.cost import Cost, measure
from weft.evaluate.journal import Journal
from weft.evaluate.measures import measure_gap
from weft.evaluate.positions import PositionConfig, draw_gaps
from weft.evaluate.protocols import Filled, FillFn, GapRecord, LoadFn, load_from_zoo

ORIGINAL, SILENCE = "original", "silence"
GAP_MS = (50.0, 150.0, 300.0, 375.0, 750.0)
"""Lengths of the literature: AIDD's and CQT-Diff's short ones, GACELA's long ones."""


@final
@dataclass(frozen=True, kw_only=True)
class GapsConfig:
    """One experiment with gaps."""

    models: tuple[str, ...]
    """Names of models, without the rows that are always there."""
    gap_ms: tuple[float, ...] = GAP_MS
    """Lengths of gaps, each > 0."""
    gaps_per_file: int = 3
    """Gaps of each length in each recording, >= 1; short recordings get fewer."""
    is_multi: bool = False
    """Cut all gaps of a recording at once, inside one excerpt; else one at a time."""
    sample_rate: int | None = 24000
    """Rate at which all is filled and compared, in Hz, in [8000, 192000]; None: each file's."""
    is_mono: bool = False
    """Mix to one channel first."""
    excerpt_s: float = 5.0
    """Length of the excerpt around a gap over which excerpt metrics run, in [1, 60]."""
    takes: int = 1
    """Fills proposed for each gap, >= 1; over 1 adds the best-of row."""
    split: str | None = "test"
    """Split of the corpora; None: all files."""
    limit: int | None = None
    """Files of each corpus, the first ones; None: all."""
    seed: int = 0
    """Of positions and fills, >= 0."""

    def __post_init__(self) -> None:
        if not self.gap_ms or not all(0 < ms <= 10000 for ms in self.gap_ms):
            raise ConfigError(f"gap_ms must be lengths in (0, 10000] ms, got {self.gap_ms}")
        for name in ("gaps_per_file", "takes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be >= 1, got {self.limit}")
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, got {self.seed}")
        if self.sample_rate is not None and not 8000 <= self.sample_rate <= 192000:
            raise ConfigError(f"sample_rate must be in [8000, 192000] Hz, got {self.sample_rate}")
        if not 1 <= self.excerpt_s <= 60:
            raise ConfigError(f"excerpt_s must be in [1, 60] s, got {self.excerpt_s}")
        if max(self.gap_ms) / 1000 > self.excerpt_s / 2:
            raise ConfigError(
                f"gap_ms {max(self.gap_ms):g} needs an excerpt of at least twice its length, "
                f"got excerpt_s {self.excerpt_s:g}"
            )

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What every record depends on; models, lengths, corpora and limit may grow."""
        names = ("gaps_per_file", "is_multi", "sample_rate", "is_mono", "excerpt_s", "takes")
        return {name: getattr(self, name) for name in (*names, "split", "seed")}

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of all rows, in the order of tables."""
        names: list[str] = [ORIGINAL, SILENCE]
        for model in self.models:
            names += [model, best_of(model, self.takes)] if self.takes > 1 else [model]
        return tuple(dict.fromkeys(names))


def best_of(model: str, takes: int) -> str:
    """Return the name of the row that knows the truth.

    Example:
        >>> best_of("similarity", 8)
        'similarity (best of 8)'
    """
    return f"{model} (best of {takes})"


def run_gaps(
    config: GapsConfig,
    corpora: Sequence[Manifest],
    journal: Journal,
    *,
    load: LoadFn = load_from_zoo,
    num_jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run an experiment; records go to the journal, and those it holds are not made again.

    One recording is in memory at a time, in each process.

    Args:
        config: the experiment.
        corpora: what to cut gaps into.
        journal: takes the records.
        load: turns names of models into what fills.
        num_jobs: processes; costs are measured in each on its own.
        on_progress: called with (gaps filled, gaps in all); the second falls where recordings are
            too short for all gaps.

    Raises:
        CheckpointError: a model is not known.
        ConfigError: a corpus lacks the split, or two have one name.
        AudioFormatError: a file is missing or cannot be read.
    """
    if num_jobs < 1:
        raise ConfigError(f"num_jobs must be >= 1, got {num_jobs}")
    names = [corpus.name for corpus in corpora]
    if len(set(names)) < len(names):
        raise ConfigError(f"two corpora have one name: {', '.join(names)}; use NAME=FOLDER")
    for model in config.models:
        if model not in (ORIGINAL, SILENCE):
            load(model)
    selected = {c.name: c.select(config.split)[: config.limit] for c in corpora}
    check_files([entry for entries in selected.values() for entry in entries])
    done: dict[tuple[str, str], set[tuple[float, int, str]]] = defaultdict(set)
    for old in journal:
        if old.error:
            continue  # what failed is tried again
        done[old.corpus, old.file].add((old.gap_ms, old.index, old.row))
    jobs = [
        _Job(config, corpus, entry, load, frozenset(done[corpus, entry.file]))
        for corpus, entries in selected.items()
        for entry in entries
    ]
    expected = len(config.rows) * len(config.gap_ms) * config.gaps_per_file
    total, made = expected * len(jobs), 0
    for records in _work(jobs, num_jobs):
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


@final
@dataclass(frozen=True)
class _Job:
    """One recording of an experiment."""

    config: GapsConfig
    corpus: str
    entry: Entry
    load: LoadFn
    done: frozenset[tuple[float, int, str]]
    """Length, index and row of what the journal holds of it."""


def _work(jobs: Sequence[_Job], num_jobs: int) -> Iterator[Iterator[GapRecord | None]]:
    """Yield the records of each recording, as they are made or as processes finish it."""
    if num_jobs == 1 or len(jobs) < 2:
        yield from (_run_file(job) for job in jobs)
        return
    with ProcessPoolExecutor(min(num_jobs, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_run_whole_file, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield iter(future.result())
        finally:
            for future in futures:
                future.cancel()


def _run_whole_file(job: _Job) -> list[GapRecord | None]:
    return list(_run_file(job))


def _run_file(job: _Job) -> Iterator[GapRecord | None]:
    """Yield a record for each row of each gap of a recording, None for those done before."""
    config = job.config
    audio = open_entry(
        job.entry, sample_rate=config.sample_rate, is_mono=config.is_mono, is_whole=True
    )
    samples = audio.samples
    places = [(ms, *_place(job, samples, audio.sample_rate, ms)) for ms in config.gap_ms]
    del samples  # a copy: models should not be billed for it
    for gap_ms, gaps, excerpt in places:
        canvases = [(0, gaps)] if config.is_multi else [(i, (g,)) for i, g in enumerate(gaps)]
        for first, canvas_gaps in canvases if gaps else []:
            yield from _Case(job, audio, gap_ms, first, canvas_gaps, excerpt).rows()


def _place(
    job: _Job, samples: np.ndarray, sample_rate: int, gap_ms: float
) -> tuple[tuple[Region, ...], Region | None]:
    """Return the gaps of a recording, and the one excerpt that holds them where there are many."""
    config = job.config
    name = f"{job.corpus}/{job.entry.file}"
    wanted = PositionConfig(num_gaps=config.gaps_per_file)
    if not config.is_multi:
        gaps = draw_gaps(
            samples, sample_rate, gap_ms=gap_ms, name=name, seed=config.seed, config=wanted
        )
        return gaps, None
    length = min(samples.shape[1], round(config.excerpt_s * sample_rate))
    middle = draw_gaps(
        samples,
        sample_rate,
        gap_ms=gap_ms,
        name=name + "#excerpt",
        seed=config.seed,
        config=PositionConfig(num_gaps=1, margin_s=config.excerpt_s / 2),
    )
    if not middle:
        return (), None
    start = (middle[0].start + middle[0].stop - length) // 2
    start = min(max(0, start), samples.shape[1] - length)
    gaps = draw_gaps(
        samples[:, start : start + length],
        sample_rate,
        gap_ms=gap_ms,
        name=name,
        seed=config.seed,
        config=PositionConfig(num_gaps=config.gaps_per_file, margin_s=0.5),
    )
    return tuple(gap.shifted(start) for gap in gaps), Region(start=start, stop=start + length)


@final
@dataclass(frozen=True)
class _Case:
    """One canvas of an experiment, and the rows that fill it."""

    job: _Job
    audio: Audio
    gap_ms: float
    first_index: int
    gaps: tuple[Region, ...]
    excerpt: Region | None

    def rows(self) -> Iterator[GapRecord | None]:
        """Yield the records of all rows, None for those done before."""
        config = self.job.config
        yield from self._fixed(ORIGINAL, self.audio)
        yield from self._fixed(SILENCE, self._blanked())
        for model in config.models:
            if model in (ORIGINAL, SILENCE):
                continue
            names = [model, best_of(model, config.takes)][: 2 if config.takes > 1 else 1]
            if self._is_done(*names):
                yield from [None] * (len(names) * len(self.gaps))
            else:
                yield from self._model(model, names)

    def _fixed(self, row: str, estimate: Audio) -> Iterator[GapRecord | None]:
        """Yield the records of a row that no model makes."""
        if self._is_done(row):
            yield from [None] * len(self.gaps)
            return
        free = Cost(cpu_s=0.0, wall_s=0.0, peak_mb=0.0, is_peak_own=True)
        yield from self._records(row, [estimate], _models_of(row, self.gaps), free)

    def _model(self, model: str, names: Sequence[str]) -> Iterator[GapRecord]:
        """Yield the records of a model: of its own choice, and of the best of its takes."""
        config = self.job.config
        fill = _loaded(self.job.load, model)
        blanked = self._blanked()  # the model must not see what it is to guess
        try:
            filled, cost = measure(
                lambda: fill(blanked, self.gaps, takes=config.takes, seed=config.seed)
            )
            for name, takes in zip(names, (filled.takes[:1], filled.takes), strict=False):
                yield from self._records(name, takes, filled, cost)
        except WeftError as error:
            for name in names:
                for i, gap in enumerate(self.gaps):
                    yield self._record(name, i, gap, error=f"{type(error).__name__}: {error}")

    def _records(
        self, row: str, takes: Sequence[Audio], filled: Filled, cost: Cost
    ) -> Iterator[GapRecord]:
        """Measure each gap; of several takes keep, for each gap, the nearest to the truth."""
        for i, gap in enumerate(self.gaps):
            excerpt = self.excerpt or self._excerpt_around(gap)
            reference = self.audio.read(excerpt.start, excerpt.stop)
            local = gap.shifted(-excerpt.start)
            values: dict[str, float] = {}
            for take in takes:
                estimate = take.read(excerpt.start, excerpt.stop)
                seen = measure_gap(reference, estimate, local, self.audio.sample_rate)
                if not values or seen["lsd_gap"] < values["lsd_gap"]:
                    values = seen
            yield self._record(
                row,
                i,
                gap,
                metrics=values,
                model=filled.models[i],
                num_network_calls=filled.num_network_calls / len(self.gaps),
                cpu_s=cost.cpu_s / len(self.gaps),
                peak_mb=cost.peak_mb,
                num_changed=self._count_changed(takes[0]) if i == 0 else 0,
            )

    def _record(self, row: str, i: int, gap: Region, **fields: Any) -> GapRecord:
        return GapRecord(
            corpus=self.job.corpus,
            file=self.job.entry.file,
            gap_ms=self.gap_ms,
            index=self.first_index + i,
            row=row,
            start=gap.start,
            stop=gap.stop,
            **fields,
        )

    def _blanked(self) -> Audio:
        """Return the recording with silence in the gaps."""
        channels = self.audio.num_channels
        return self.audio.patched(
            Patch(start=gap.start, samples=np.zeros((channels, gap.num_samples)))
            for gap in self.gaps
        )

    def _excerpt_around(self, gap: Region) -> Region:
        """Return the excerpt with the gap in its middle, moved inside the recording."""
        total = self.audio.num_samples
        length = min(total, round(self.job.config.excerpt_s * self.audio.sample_rate))
        start = min(max(0, (gap.start + gap.stop - length) // 2), total - length)
        return Region(start=start, stop=start + length)

    def _is_done(self, *rows: str) -> bool:
        """Whether the journal holds all gaps of these rows."""
        return all(
            (self.gap_ms, self.first_index + i, row) in self.job.done
            for row in rows
            for i in range(len(self.gaps))
        )

    def _count_changed(self, estimate: Audio) -> int:
        """Return how many samples outside the gaps are not the recording's, bit for bit."""
        changed = 0
        edges = [0, *(edge for gap in self.gaps for edge in (gap.start, gap.stop))]
        for first, last in zip(edges[::2], [*edges[1::2], self.audio.num_samples], strict=True):
            for start in range(first, last, 1 << 20):
                stop = min(last, start + (1 << 20))
                changed += int((self.audio.read(start, stop) != estimate.read(start, stop)).sum())
        return changed


def _models_of(row: str, gaps: Sequence[Region]) -> Filled:
    """Return what a row that no model makes says of itself."""
    return Filled(takes=(), models=(row,) * len(gaps))


_MODELS: dict[tuple[LoadFn, str], FillFn] = {}  # one load a process


def _loaded(load: LoadFn, name: str) -> FillFn:
    if (load, name) not in _MODELS:
        _MODELS[load, name] = load(name)
    return _MODELS[load, name]
