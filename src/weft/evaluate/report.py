"""Report: records become rows with intervals, as JSON and as Markdown."""

import math
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, final

import numpy as np

from weft.evaluate.journal import SCHEMA
from weft.evaluate.protocol import ORIGINAL, Measure, Protocol, Row
from weft.evaluate.protocols.transition import CROSSFADE
from weft.evaluate.records import Record
from weft.evaluate.references import Clips, TrainClips
from weft.evaluate.sets import (
    paired_measures,
    set_differences,
    set_measures,
    set_values,
    with_paired,
)
from weft.evaluate.statistics import (
    CONFIDENCE,
    NUM_RESAMPLES,
    Interval,
    clustered_mean,
    compare_paired,
    holm,
)
from weft.metrics.embedders.base import Embedder
from weft.version import __version__

ALL = "all"
"""Name of all materials together."""

_Key = tuple[str, str, str]
"""Material, setting and row."""
_Groups = Mapping[_Key, Sequence[Record]]


def summarise(
    protocol: Protocol,
    records: Iterable[Record],
    *,
    materials: Sequence[str],
    versus: str | None = None,
    train: TrainClips | None = None,
    embedders: Sequence[Embedder] = (),
    command: str = "",
) -> dict[str, Any]:
    """Turn the records of an experiment into a JSON object.

    Args:
        protocol: the experiment; records of other rows, settings and materials are left out.
        records: of the journal.
        materials: names of the corpora, in the order of tables.
        versus: row that all others are compared with, item by item; None: no comparison.
        train: clips of the train split, where sets are compared with it.
        embedders: whose vectors the records hold.
        command: that repeats the experiment, where there is one.
    """
    made = _Summary(protocol, list(records), tuple(materials), versus, train or {}, embedders)
    return {**made.make(), "command": command}


@final
class _Summary:
    """One summary in the making."""

    def __init__(
        self,
        protocol: Protocol,
        records: Sequence[Record],
        materials: tuple[str, ...],
        versus: str | None,
        train: TrainClips,
        embedders: Sequence[Embedder],
    ) -> None:
        self.protocol = protocol
        self.versus = versus
        self.seed = protocol.run.seed
        self.embedders = embedders
        self.names = [e.name for e in embedders]
        self.materials = [*materials, ALL] if len(materials) > 1 else list(materials)
        rows = {row.name for row in protocol.rows}
        self.records = [
            r
            for r in records
            if r.row in rows and r.setting in protocol.settings and r.corpus in materials
        ]
        self.train = _with_all(train, self.materials)
        self.groups = self._grouped()
        self.measures = self._columns()

    def make(self) -> dict[str, Any]:
        """Return the JSON object."""
        protocol = self.protocol
        keys = [
            (material, setting, row)
            for material in self.materials
            for setting in protocol.settings
            for row in protocol.rows
            if (material, setting, row.name) in self.groups
        ]
        return {
            "schema": SCHEMA,
            "protocol": protocol.name,
            "title": protocol.title,
            "settings": {
                **protocol.fixed_settings,
                "settings": list(protocol.settings),
                "models": list(protocol.run.models),
                "limit": protocol.run.limit,
                "materials": [m for m in self.materials if m != ALL or len(self.materials) == 1],
                "num_train_clips": protocol.run.num_train_clips,
                "versus": self.versus,
            },
            "statistics": {
                "interval": f"{100 * CONFIDENCE:g} % bootstrap, clustered by recording, expanded "
                "percentile; of sets, delete-a-group jackknife over recordings",
                "num_resamples": NUM_RESAMPLES,
                "test": "sign flips of whole recordings; of sets, jackknife t; Holm over all "
                "comparisons of a measure",
            },
            "versions": _versions(has_networks=bool(self.embedders)),
            "measures": [asdict(measure) for measure in self.measures],
            "embedders": [
                {
                    "name": e.name,
                    "digest": e.digest,
                    "sample_rate": e.sample_rate,
                    "num_dims": e.num_dims,
                    "reference": self._reference_of(e.name),
                }
                for e in self.embedders
            ],
            "rows": [self._row(material, setting, row) for material, setting, row in keys],
            "differences": self._differences(keys) if self.versus else [],
            "failures": [
                {
                    "corpus": r.corpus,
                    "file": r.file,
                    "setting": r.setting,
                    "row": r.row,
                    "error": r.error,
                }
                for r in self.records
                if r.error
            ],
            "num_changed_outside": sum(r.num_changed for r in self.records),
        }

    def _columns(self) -> list[Measure]:
        """Return all measures, pair measures first."""
        has_truth = any(row.name == ORIGINAL for row in self.protocol.rows)
        has_crossfade = any(row.name == CROSSFADE for row in self.protocol.rows)
        has_train = any(len(clips) for clips in self.train.values())
        return [
            *self.protocol.measures,
            *paired_measures(
                self.names, has_truth=has_truth, has_train=has_train, has_crossfade=has_crossfade
            ),
            *set_measures(self.names, has_truth=has_truth, has_train=has_train),
        ]

    def _grouped(self) -> dict[_Key, list[Record]]:
        """Sort records into material, setting and row; all materials count as one more."""
        groups: dict[_Key, list[Record]] = defaultdict(list)
        for record in self.records:
            groups[record.corpus, record.setting, record.row].append(record)
            if ALL in self.materials:
                groups[ALL, record.setting, record.row].append(record)
        for group in groups.values():
            group.sort(key=lambda record: record.key)
        for key in list(groups):
            for name in self.names:
                groups[key] = with_paired(
                    groups[key],
                    name,
                    originals=groups.get((*key[:2], ORIGINAL), ()),
                    crossfades=groups.get((*key[:2], CROSSFADE), ()),
                    train=self.train.get((key[0], key[1], name), Clips()),
                )
        return dict(groups)

    def _row(self, material: str, setting: str, row: Row) -> dict[str, Any]:
        """Summarise one row."""
        records = self.groups[material, setting, row.name]
        good = [record for record in records if not record.error]
        metrics: dict[str, Any] = {
            measure.name: self._mean_of(good, measure.name)
            for measure in self.measures
            if measure.kind == "pair"
        }
        for name in self.names:
            metrics |= set_values(
                good,
                name,
                originals=self.groups.get((material, setting, ORIGINAL), ()),
                train=self.train.get((material, setting, name), Clips()),
                seed=self.seed,
            )
        return {
            "material": material,
            "setting": setting,
            "row": row.name,
            "kind": row.kind,
            "num_items": len(good),
            "num_files": len({record.cluster for record in good}),
            "num_failures": len(records) - len(good),
            "metrics": metrics,
            "network_calls": _mean(record.num_network_calls for record in good),
            "num_parameters": max((record.num_parameters for record in good), default=0),
            "cpu_s": _mean(record.cpu_s for record in good),
            "peak_mb": max((record.peak_mb for record in good), default=0.0),
            "models": dict(Counter(record.model for record in good).most_common()),
        }

    def _mean_of(self, records: Sequence[Record], name: str) -> dict[str, float | None] | None:
        """Return the mean of a measure over the records that have it."""
        having = [record for record in records if name in record.metrics]
        if not having:
            return None
        values = np.array([record.metrics[name] for record in having], dtype=np.float64)
        return _interval(
            clustered_mean(values, [record.cluster for record in having], seed=self.seed)
        )

    def _differences(self, keys: Sequence[tuple[str, str, Row]]) -> list[dict[str, Any]]:
        """Compare every row with one, item by item; correct p values for all that is compared."""
        found: list[dict[str, Any]] = []
        for material, setting, row in keys:
            base = self.groups.get((material, setting, self.versus or ""), ())
            if row.name in (self.versus, ORIGINAL):
                continue
            metrics = self._compare((material, setting, row.name), base)
            if metrics:
                found.append(
                    {
                        "material": material,
                        "setting": setting,
                        "row": row.name,
                        "versus": self.versus,
                        "metrics": metrics,
                    }
                )
        for measure in self.measures:
            cells = [d["metrics"][measure.name] for d in found if d["metrics"].get(measure.name)]
            cells = [cell for cell in cells if cell["p"] is not None]
            corrected = holm([cell["p"] for cell in cells])
            for cell, p_value in zip(cells, corrected, strict=True):
                cell["p_holm"] = p_value
        return found

    def _compare(self, key: _Key, baseline: Sequence[Record]) -> dict[str, Any]:
        """Return the differences of a row from another."""
        records = [r for r in self.groups[key] if not r.error]
        others = {r.item: r for r in baseline if not r.error}
        metrics: dict[str, Any] = {}
        for measure in self.measures:
            if measure.kind == "set":
                continue
            name = measure.name
            pairs = [
                (r, others[r.item])
                for r in records
                if r.item in others and name in r.metrics and name in others[r.item].metrics
            ]
            if not pairs:
                continue
            ours, theirs = (
                np.array([r.metrics[name] for r in side], dtype=np.float64)
                for side in zip(*pairs, strict=True)
            )
            result = compare_paired(ours, theirs, [r.cluster for r, _ in pairs], seed=self.seed)
            metrics[name] = {**_interval(result.interval), "p": result.p_value, "p_holm": None}
        for name in self.names:
            values = set_differences(
                records,
                baseline,
                name,
                originals=self.groups.get((*key[:2], ORIGINAL), ()),
                train=self.train.get((*key[:2], name), Clips()),
                seed=self.seed,
            )
            metrics |= {k: {**v, "p_holm": None} for k, v in values.items() if v is not None}
        return metrics

    def _reference_of(self, embedder: str) -> str:
        """Return what sets are compared with, in words."""
        counts = {
            material: len(clips)
            for (material, _, name), clips in self.train.items()
            if name == embedder and material != ALL
        }
        parts = [f"{material} {count}" for material, count in counts.items()]
        train = f"train split, clips: {', '.join(parts)}" if parts else ""
        truth = "originals of the same items" if ORIGINAL in {r.row for r in self.records} else ""
        return "; ".join(part for part in (truth, train) if part) or "none"


def _with_all(train: TrainClips, materials: Sequence[str]) -> dict[tuple[str, str, str], Clips]:
    """Add the clips of all materials together."""
    found = dict(train)
    if ALL in materials:
        for (material, setting, name), clips in train.items():
            if material in materials:
                found[ALL, setting, name] = found.get((ALL, setting, name), Clips()) + clips
    return found


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def _versions(*, has_networks: bool) -> dict[str, str]:
    """Return versions of what made the numbers; of torch where networks did."""
    import scipy
    import soundfile
    import soxr

    networks = {"torch": version("torch")} if has_networks else {}
    return {
        "weft": __version__,
        **networks,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "soxr": soxr.__version__,
        "soundfile": soundfile.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
