"""Records: what an experiment keeps of each run, and the file that holds them all."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from weft.errors import ConfigError
from weft.evaluate.output import write_text
from weft.train.config import FREE
from weft.train.recipe import Item

SCHEMA = "weft.experiment/1"
DIGITS = 7
"""Significant digits of values, in files and in statistics alike."""


@final
@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run: what it was, and what was measured of it."""

    arm: str
    """Name of the arm."""
    seed: int
    """Of weights, order and noise."""
    recipe: str
    """Name of the recipe."""
    asked: Mapping[str, Any]
    """All of the recipe's settings, before it opened its data."""
    settings: Mapping[str, Any]
    """The same as they were when it had: a digest for a name, sizes that others decide."""
    loop: Mapping[str, Any]
    """All of the loop's."""
    environment: Mapping[str, Any]
    """Versions, device and threads."""
    num_examples: int
    """Of an epoch."""
    start: Mapping[str, str]
    """Shape and digest of the first weights, by name of tensor."""
    seconds: float
    """Spent in the training loop."""
    figures: Mapping[str, float]
    """Of the last validation."""
    items: Mapping[str, Sequence[Item]]
    """By name of measure."""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other runs of an experiment."""
        return self.arm, self.seed

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            **_facts(self),
            "asked": dict(self.asked),
            "settings": dict(self.settings),
            "environment": dict(self.environment),
            "start": dict(self.start),
            "items": {
                name: [[item.recording, item.position, item.value] for item in items]
                for name, items in self.items.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RunRecord":
        """Undo `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is no such object.
        """
        items = {
            name: tuple(Item(recording=r, position=p, value=v) for r, p, v in rows)
            for name, rows in value["items"].items()
        }
        return cls(**{**value, "items": items})


def _facts(record: RunRecord) -> dict[str, Any]:
    """Return what is no table."""
    return {
        "arm": record.arm,
        "seed": record.seed,
        "recipe": record.recipe,
        "loop": dict(record.loop),
        "num_examples": record.num_examples,
        "seconds": record.seconds,
        "figures": dict(record.figures),
    }


def kept_items(found: Mapping[str, Sequence[Item]], recipe: str) -> dict[str, tuple[Item, ...]]:
    """Return items as they are kept: checked, and rounded as in files.

    Raises:
        ConfigError: a measure has no items, or a place twice.
    """
    kept = {}
    for name, items in found.items():
        if not items:
            raise ConfigError(f"the recipe {recipe} gave no item of the measure {name}")
        if len({item.key for item in items}) < len(items):
            raise ConfigError(
                f"the recipe {recipe} gave a place twice in the measure {name}; pairs need one "
                "item for each recording and position"
            )
        kept[name] = tuple(
            Item(
                recording=item.recording,
                position=int(item.position),
                value=float(f"{item.value:.{DIGITS}g}"),
            )
            for item in items
        )
    return kept


def differences(record: RunRecord, wanted: Mapping[str, Any]) -> list[str]:
    """Say in which settings a finished run is not the one that is wanted.

    Args:
        record: of the run.
        wanted: ``recipe``, ``asked`` and ``loop`` as JSON.

    Returns:
        ``"name was A, now B"`` each; settings that no weight depends on do not count.
    """
    before = {
        "recipe": record.recipe,
        "asked": record.asked,
        "loop": {name: value for name, value in record.loop.items() if name not in FREE},
    }
    loop = {name: value for name, value in wanted["loop"].items() if name not in FREE}
    flat_before = dict(_flat(before))
    flat_now = dict(_flat({**wanted, "loop": loop}))
    return [
        f"{name.partition('.')[2] or name} was {flat_before.get(name)}, now {flat_now.get(name)}"
        for name in sorted({*flat_before, *flat_now})
        if flat_before.get(name) != flat_now.get(name)
    ]


def changed_meanings(
    record: RunRecord, asked: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[str]:
    """Say which settings mean another thing than in a finished run, though they read the same.

    Args:
        record: of a finished run, of any arm.
        asked: settings of a recipe before it opened its data.
        settings: the same afterwards.

    Returns:
        ``"name was A, now B"`` each, such as a codec of the same name with another digest.
    """
    before, now = dict(_flat(record.asked)), dict(_flat(asked))
    found, given = dict(_flat(record.settings)), dict(_flat(settings))
    same = [name for name in now if name in before and before[name] == now[name]]
    return [
        f"{name} was {found.get(name)}, now {given.get(name)}"
        for name in same
        if found.get(name) != given.get(name)
    ]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


@final
@dataclass(kw_only=True)
class Results:
    """All finished runs of an experiment."""

    path: Path
    """Of the file."""
    records: dict[tuple[str, int], RunRecord] = field(default_factory=dict)
    """By arm and seed."""

    def write(self, header: Mapping[str, Any], order: Sequence[tuple[str, int]]) -> None:
        """Write the file, complete or not at all.

        What many runs share stands in it once: settings, first weights, the places of items.

        Args:
            header: what stands before the runs.
            order: of runs; those it does not name come last.

        Raises:
            OutputError: it cannot be written.
        """
        shared = {name: _Pool() for name in ("places", "starts", "settings", "environments")}
        runs = []
        keys = [key for key in order if key in self.records]
        keys += [key for key in self.records if key not in set(keys)]
        for record in (self.records[key] for key in keys):
            values = {
                name: {
                    "places": shared["places"].add(_places(items)),
                    "values": [item.value for item in items],
                }
                for name, items in record.items.items()
            }
            runs.append(
                {
                    **_facts(record),
                    "asked": shared["settings"].add(dict(record.asked)),
                    "settings": shared["settings"].add(dict(record.settings)),
                    "environment": shared["environments"].add(dict(record.environment)),
                    "start": shared["starts"].add(dict(record.start)),
                    "items": values,
                }
            )
        whole = {
            "schema": SCHEMA,
            **header,
            "runs": runs,
            "shared": {name: pool.objects for name, pool in shared.items()},
        }
        write_text(self.path, to_text(whole) + "\n")


def read_results(path: Path) -> Results:
    """Read a file of results; none is the same as an empty one.

    Raises:
        ConfigError: the file is damaged or something else.
    """
    results = Results(path=path)
    if not path.exists():
        return results
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"its schema is {found['schema']}, wanted {SCHEMA}")
        for run in found["runs"]:
            shared = found["shared"]
            of_run = {
                "asked": shared["settings"][run["asked"]],
                "settings": shared["settings"][run["settings"]],
                "environment": shared["environments"][run["environment"]],
                "start": shared["starts"][run["start"]],
                "items": {n: _unpack(v, shared["places"]) for n, v in run["items"].items()},
            }
            record = RunRecord.from_json({**run, **of_run})
            results.records[record.key] = record
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(
            f"{path} holds no results of an experiment ({error}); move it away, or name another "
            "file with --results"
        ) from error
    return results


class _Pool:
    """Distinct JSON objects by number."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self._numbers: dict[str, int] = {}

    def add(self, value: Any) -> int:
        number = self._numbers.setdefault(json.dumps(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return number


def _places(items: Sequence[Item]) -> dict[str, Any]:
    """Return where items are: names of recordings once, then a number for each item."""
    names = list(dict.fromkeys(item.recording for item in items))
    numbers = {name: i for i, name in enumerate(names)}
    return {
        "recordings": names,
        "recording": [numbers[item.recording] for item in items],
        "position": [item.position for item in items],
    }


def _unpack(value: Mapping[str, Any], pool: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    places = pool[value["places"]]
    return [
        [places["recordings"][recording], position, number]
        for recording, position, number in zip(
            places["recording"], places["position"], value["values"], strict=True
        )
    ]


def to_text(value: Any, indent: int = 0) -> str:
    """Return JSON for people: a line a key, lists of plain values in one line.

    Example:
        >>> print(to_text({"a": [1, 2], "b": {"c": None}}))
        {
         "a": [1, 2],
         "b": {
          "c": null
         }
        }
    """
    inner, outer = "\n" + " " * (indent + 1), "\n" + " " * indent
    if isinstance(value, Mapping) and value:
        lines = [f"{json.dumps(str(k))}: {to_text(v, indent + 1)}" for k, v in value.items()]
        return "{" + inner + ("," + inner).join(lines) + outer + "}"
    is_deep = isinstance(value, list) and any(isinstance(x, Mapping | list) for x in value)
    if is_deep:
        return "[" + inner + ("," + inner).join(to_text(v, indent + 1) for v in value) + outer + "]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
