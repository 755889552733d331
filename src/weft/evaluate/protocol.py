"""What every protocol tells the runner: the items, the rows, and how an answer is judged."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region
from weft.data.manifest import Entry, Manifest
from weft.errors import ConfigError
from weft.evaluate.solvers import Filled, FillFn
from weft.metrics.pairs import Estimate
from weft.shapes import Samples

ORIGINAL, SILENCE = "original", "silence"

RowKind = Literal["reference", "baseline", "model", "ceiling"]
ROUND_TRIP = "round trip"
"""Variant of a row: the truth through the model's codec, the best that the model can reach."""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    name: str
    """As printed."""
    kind: RowKind
    """``reference``: what the measures say of the truth, as it is or through a lossy codec;
    ``baseline``: made by the protocol itself; ``model``; ``ceiling``: made knowing the truth: the
    take nearest to it, or the truth through a model's codec."""
    model: str = ""
    """Whose it is; empty where the protocol makes it."""
    variant: str = ""
    """What the protocol does to the model's answer; empty: nothing."""


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of a table."""

    name: str
    """Key in results."""
    title: str
    """Heading, with unit."""
    better: Literal["higher", "lower"]
    """Which values are better."""
    digits: int
    """Decimals shown."""
    note: str
    """What it is, in a line."""
    kind: Literal["pair", "set"] = "pair"
    """``pair``: one value an item, averaged; ``set``: one value for all items of a row together."""
    embedder: str | None = None
    """Whose vectors it is computed from; None where it needs none."""
    is_shown: bool = True
    """Whether tables show it; else it is in JSON only."""


@final
@dataclass(frozen=True, kw_only=True)
class Spot:
    """One item of a case: what becomes one record of each row."""

    index: int
    """Number in its recording and setting."""
    excerpt: Region
    """What is compared, in samples of the canvas' recording."""
    edited: Region | None = None
    """What was to be filled; None: everything, or a band."""


@final
@dataclass(frozen=True, kw_only=True)
class Case:
    """One canvas of an experiment."""

    corpus: str
    """Name of the material."""
    file: str
    """Path of the recording below the corpus."""
    setting: str
    """What was asked for."""
    canvas: Canvas
    """What models get; nothing of the truth is in it."""
    truth: Audio | None
    """What was there, as long as the canvas' recording; None where there is no truth."""
    spots: tuple[Spot, ...]
    """What is compared; with several gaps in one canvas, one spot each in the order of gaps."""
    extras: Mapping[str, Audio] = field(default_factory=dict)
    """What the protocol's own rows are made of."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What the protocol measured of the recording."""
    cluster: str = ""
    """What items that are alike share; empty: the recording."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process works on at a time: one recording, or two that are to be joined."""

    corpus: str
    """Name of the material."""
    entries: tuple[Entry, ...]
    """The recordings that records are about."""
    others: tuple[Entry, ...] = ()
    """Recordings that are read besides, for a baseline."""

    @property
    def file(self) -> str:
        """Name in records."""
        return " + ".join(entry.file for entry in self.entries)


@final
@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is said of one item of one row."""

    metrics: Mapping[str, float]
    """Values by name, finite."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Values along time, by name."""


EXTRAS = ("odg", "visqol")
"""Measures that cost more than the others and come on request."""


@final
@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What all protocols are told."""

    models: tuple[str, ...] = ()
    """Names of models, without the rows that are always there."""
    takes: int = 1
    """Answers a model proposes for each item, >= 1; over 1 adds the best-of row."""
    sample_rate: int | None = 24000
    """Rate at which all is done and compared, in Hz, in [8000, 192000]; None: each file's."""
    is_mono: bool = False
    """Mix to one channel first."""
    split: str | None = "test"
    """Split of the corpora; None: all files."""
    limit: int | None = None
    """Files of each corpus, the first ones; None: all."""
    seed: int = 0
    """Of positions and models, >= 0."""
    extras: tuple[str, ...] = ()
    """Which of `EXTRAS` are measured."""
    embedders: tuple[str, ...] = ()
    """Names of embedders whose distances are measured; see `weft.metrics.embedders`."""
    num_train_clips: int = 0
    """Clips of the train split that sets are compared with, of each material; 0: none."""

    def __post_init__(self) -> None:
        if self.takes < 1:
            raise ConfigError(f"takes must be >= 1, got {self.takes}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be >= 1, got {self.limit}")
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, got {self.seed}")
        if self.sample_rate is not None and not 8000 <= self.sample_rate <= 192000:
            raise ConfigError(f"sample_rate must be in [8000, 192000] Hz, got {self.sample_rate}")
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise ConfigError(f"extra measures are {', '.join(EXTRAS)}; got {', '.join(unknown)}")
        if self.num_train_clips < 0:
            raise ConfigError(f"num_train_clips must be >= 0, got {self.num_train_clips}")

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What every record depends on; models, corpora and limit may grow."""
        names = ("takes", "sample_rate", "is_mono", "split", "seed", "extras", "embedders")
        values = {name: getattr(self, name) for name in names}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


class Protocol(abc.ABC):
    """One kind of experiment (interface).

    A protocol turns recordings into cases, makes the rows that need no model, and measures
    answers. The runner does the rest: models, costs, embeddings, the journal. Whatever does not
    depend on recordings is an attribute, assigned when the protocol is made.
    """

    name: str
    """Name on the command line."""
    title: str
    """Heading of its report."""
    run: RunConfig
    """What all protocols are told."""
    settings: tuple[str, ...]
    """What is asked for, in the order of tables: lengths of gaps, cut-offs."""
    own_settings: Mapping[str, Any]
    """What every record depends on beside `run` and the setting, as JSON."""
    baselines: tuple[Row, ...]
    """Rows that the protocol makes itself, in the order of tables, `ORIGINAL` first where there is
    a truth."""
    measures: tuple[Measure, ...]
    """Pair measures, in the order of tables."""
    ranking: str | None = None
    """Measure by which the best of several takes is chosen, smaller being better; None: there is no
    such row."""
    spots_per_job: int
    """Items of a recording over all settings, at the most: for the progress."""

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """What every record depends on, as JSON; settings, models, corpora and limit may grow."""
        return {"protocol": self.name, **self.run.fixed_settings, **self.own_settings}

    def jobs(self, corpora: Sequence[Manifest]) -> list[Job]:
        """Return what is to be worked on; unless overridden, one recording each.

        Raises:
            ConfigError: a corpus lacks the split.
        """
        return [
            Job(corpus=corpus.name, entries=(entry,))
            for corpus in corpora
            for entry in corpus.select(self.run.split)[: self.run.limit]
        ]

    @abc.abstractmethod
    def cases(self, job: Job) -> Iterator[Case]:
        """Yield the cases of a job; none where the recording is too short."""

    @abc.abstractmethod
    def baseline(self, row: str, case: Case) -> Audio:
        """Return what a row of the protocol itself makes of a case."""

    def fill(self, fill_with: FillFn, case: Case) -> Filled:
        """Ask a model for its answer; unless overridden, by filling the canvas."""
        return fill_with(case.canvas, takes=self.run.takes, seed=self.run.seed)

    def adapt(self, row: Row, case: Case, take: Audio) -> Audio:
        """Return a take as a row with a variant shows it; unless overridden, as it is."""
        return take

    @abc.abstractmethod
    def measure(
        self, case: Case, spot: Spot, reference: Samples | None, estimate: Estimate
    ) -> Measured:
        """Judge one item.

        Args:
            case: the case.
            spot: the item.
            reference: the excerpt as it was; None where there is no truth.
            estimate: the excerpt as it came back.
        """

    def embedded(self, case: Case, spot: Spot) -> Region:
        """Return what embedders get to hear of an item; unless overridden, the excerpt."""
        return spot.excerpt

    @abc.abstractmethod
    def embedded_s(self, setting: str) -> float:
        """Return the length of what embedders get to hear, in seconds."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return all rows, in the order of tables."""
        rows = list(self.baselines)
        taken = {row.name for row in rows}
        for model in self.run.models:
            if model in taken:
                continue
            name = round_trip_of(model)
            rows.append(Row(name=name, kind="ceiling", model=model, variant=ROUND_TRIP))
            rows.append(Row(name=model, kind="model", model=model))
            if self.run.takes > 1 and self.ranking is not None:
                rows.append(Row(name=best_of(model, self.run.takes), kind="ceiling", model=model))
        return tuple(rows)


def values_of(config: Any, *names: str) -> dict[str, Any]:
    """Return some fields of a config by their names."""
    return {name: getattr(config, name) for name in names}


def best_of(model: str, takes: int) -> str:
    """Return the name of the row that knows the truth.

    Example:
        >>> best_of("similarity", 8)
        'similarity (best of 8)'
    """
    return f"{model} (best of {takes})"


def round_trip_of(model: str) -> str:
    """Return the name of the row that holds a model's codec alone.

    Example:
        >>> round_trip_of("weft-latent")
        'weft-latent (round trip)'
    """
    return f"{model} (round trip)"
