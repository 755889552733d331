"""Published numbers: what papers print, as data, each table with its source and its protocol.

They stand beside nothing of ours: other recordings, other settings, often another metric of the
same name. `published.json` holds them; what looks wrong in a source is kept as printed and noted.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, TypeVar, final

from weft.errors import ConfigError

SCHEMA = "weft.published/1"
NOT_COMPARABLE = "paper: other data, other protocol; not comparable"
"""What stands over every published number."""

_PROTOCOLS = (
    "gaps",
    "infill",
    "continuation",
    "regenerate",
    "transition",
    "unconditional",
    "generate",
    "upsample",
)
_ORIGINS = {
    "paper": "taken from the paper",
    "digest": "taken from a digest, not the paper",
    "repository": "taken from the authors' repository",
}
_T = TypeVar("_T")


@final
@dataclass(frozen=True, kw_only=True)
class Column:
    """What one column of a published table holds."""

    title: str
    """The metric."""
    group: str
    """What several columns share, such as a length of gap; empty: nothing."""
    unit: str
    """Unit; empty: none."""
    better: Literal["higher", "lower"]
    """Which values are better."""
    digits: int
    """Decimals shown, 0 to 4."""

    def __post_init__(self) -> None:
        if not self.title or self.better not in ("higher", "lower"):
            raise ConfigError(
                "a column needs a title and better 'higher' or 'lower', "
                f"got {self.title!r} and {self.better!r}"
            )
        if not 0 <= self.digits <= 4:
            raise ConfigError(f"digits of {self.title!r} must be 0 to 4, got {self.digits}")

    @property
    def name(self) -> str:
        """Group, metric and unit in one heading."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.group} {self.title}".strip() + unit


@final
@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """What a paper prints of one system."""

    name: str
    """The system."""
    values: tuple[float | None, ...]
    """One a column; None where the paper prints none."""
    spreads: tuple[float | None, ...] = ()
    """What is printed after the sign +-; empty: nothing."""
    note: str = ""
    """What one must know of this row."""

    def __post_init__(self) -> None:
        printed = [value for value in (*self.values, *self.spreads) if value is not None]
        if not self.name or not printed:
            raise ConfigError(f"a published row needs a name and a value, got {self.name!r}")
        if not all(math.isfinite(value) for value in printed):
            raise ConfigError(f"published values of {self.name!r} must be finite, got {printed}")
        if self.spreads and len(self.spreads) != len(self.values):
            raise ConfigError(
                f"row {self.name!r} has {len(self.values)} values and {len(self.spreads)} spreads"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A printed value that looks wrong."""

    row: str
    """Name of its row."""
    column: str
    """Name of its column."""
    why: str
    """What speaks against it."""


@final
@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A table of a paper."""

    name: str
    """Key; unique."""
    protocols: tuple[str, ...]
    """Our protocols beside which it is of interest."""
    title: str
    """What it shows."""
    paper: str
    """Who printed it."""
    where: str
    """Which table of the paper."""
    origin: Literal["paper", "digest", "repository"]
    """Where the numbers were read."""
    dataset: str
    """Data they were measured on."""
    protocol: str
    """How they were measured, as far as it is known."""
    spread: str
    """What the spreads are; empty: there are none."""
    columns: tuple[Column, ...]
    """What was measured."""
    rows: tuple[PublishedRow, ...]
    """Systems."""
    notes: tuple[str, ...]
    """What one must know to read it."""
    doubts: tuple[Doubt, ...]
    """Values that look wrong; they are kept as printed."""

    def __post_init__(self) -> None:
        for field in ("name", "title", "paper", "where", "dataset", "protocol"):
            if not getattr(self, field):
                raise ConfigError(f"published table {self.name!r} has no {field}")
        unknown = sorted(set(self.protocols) - set(_PROTOCOLS))
        if unknown or not self.protocols:
            raise ConfigError(
                f"published table {self.name!r} needs protocols out of {', '.join(_PROTOCOLS)}, "
                f"got {', '.join(unknown) or 'none'}"
            )
        if self.origin not in _ORIGINS:
            raise ConfigError(
                f"origin of {self.name!r} must be one of {', '.join(_ORIGINS)}, got {self.origin!r}"
            )
        _check_cells(self)

    @property
    def source(self) -> str:
        """Paper, table, and where the numbers were read, in one line."""
        return f"{self.paper}, {self.where}; {_ORIGINS[self.origin]}"

    def doubt(self, row: str, column: str) -> str:
        """Return why a value looks wrong; empty where nothing speaks against it."""
        found = [d.why for d in self.doubts if (d.row, d.column) == (row, column)]
        return "; ".join(found)

    def best(self, column: int) -> float | None:
        """Return the best value of a column among the systems that have one."""
        values = [row.values[column] for row in self.rows]
        pick = max if self.columns[column].better == "higher" else min
        return pick((value for value in values if value is not None), default=None)


def tables(protocol: str) -> tuple[PublishedTable, ...]:
    """Return the published tables that are of interest beside one of our protocols.

    Args:
        protocol: name of a protocol, such as ``gaps``; one without tables has none.

    Raises:
        ConfigError: the data shipped with the package are damaged.

    Example:
        >>> [table.name for table in tables("transition")]
        ['guidance-transition']
    """
    return tuple(table for table in all_tables() if protocol in table.protocols)


@lru_cache(maxsize=1)
def all_tables() -> tuple[PublishedTable, ...]:
    """Return every published table, checked.

    Raises:
        ConfigError: the data shipped with the package are damaged.
    """
    return parse(files("weft.evaluate").joinpath("published.json").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[PublishedTable, ...]:
    """Return the tables that a JSON text holds.

    Args:
        text: of the form of ``published.json``.

    Raises:
        ConfigError: not JSON, another schema, a key is missing or unknown, a value is not finite,
            or rows and columns do not fit.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"published numbers are not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ConfigError(f"published numbers need the schema {SCHEMA}")
    listed = tuple(_table(entry) for entry in content["tables"])
    names = [table.name for table in listed]
    if len(set(names)) < len(names):
        raise ConfigError("two published tables have one name")
    return listed


def published_markdown(protocol: str) -> str:
    """Return the published tables of a protocol as Markdown; empty where there are none.

    Every row says in a column ``paper`` which paper printed it.

    Args:
        protocol: name of a protocol.
    """
    found = tables(protocol)
    if not found:
        return ""
    lines = [
        "## Published numbers",
        "",
        f"{NOT_COMPARABLE.capitalize()} with the tables above.",
        "",
    ]
    for table in found:
        lines += _markdown_table(table)
    return "\n".join(lines)


def format_value(table: PublishedTable, row: PublishedRow, column: int) -> str:
    """Return a value as text, with its spread where one is printed; a dash where there is none."""
    value, digits = row.values[column], table.columns[column].digits
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    spread = row.spreads[column] if row.spreads else None
    return text if spread is None else f"{text} ± {spread:.{digits}f}"


def _markdown_table(table: PublishedTable) -> list[str]:
    paper = table.paper.partition(" (")[0].partition(",")[0]
    lines = [
        f"### {table.title}",
        "",
        f"Source: {table.source}. Data: {table.dataset}. Protocol: {table.protocol}.",
        "",
        "| system | " + " | ".join(column.name for column in table.columns) + " | paper |",
        "|---|" + "---:|" * len(table.columns) + "---|",
    ]
    remarks = list(table.notes)
    if table.spread:
        remarks.append(f"±: {table.spread}.")
    for row in table.rows:
        cells = []
        for i, column in enumerate(table.columns):
            doubt = table.doubt(row.name, column.name)
            if doubt:
                remarks.append(f"? {row.name}, {column.name}: {doubt}.")
            cells.append(format_value(table, row, i) + (" ?" if doubt else ""))
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {paper} |")
    return [*lines, "", *(f"- {remark}" for remark in remarks), *([""] if remarks else [])]


def _check_cells(table: PublishedTable) -> None:
    if not table.rows or not table.columns:
        raise ConfigError(f"published table {table.name!r} has no rows or no columns")
    names = [column.name for column in table.columns]
    if len(set(names)) < len(names):
        raise ConfigError(f"published table {table.name!r} has two columns of one name: {names}")
    for row in table.rows:
        if len(row.values) != len(names):
            raise ConfigError(
                f"row {row.name!r} of {table.name!r} has {len(row.values)} values for "
                f"{len(names)} columns"
            )
        if row.spreads and not table.spread:
            raise ConfigError(f"table {table.name!r} has spreads but does not say which")
    for doubt in table.doubts:
        if doubt.column not in names or doubt.row not in [row.name for row in table.rows]:
            raise ConfigError(
                f"table {table.name!r} doubts ({doubt.row!r}, {doubt.column!r}), which it lacks"
            )


def _table(entry: Mapping[str, Any]) -> PublishedTable:
    made: dict[str, Sequence[Any]] = {
        "columns": tuple(_build(Column, column) for column in entry.get("columns", ())),
        "rows": tuple(_row(row) for row in entry.get("rows", ())),
        "doubts": tuple(_build(Doubt, doubt) for doubt in entry.get("doubts", ())),
        "notes": tuple(entry.get("notes", ())),
        "protocols": tuple(entry.get("protocols", ())),
    }
    return _build(PublishedTable, {**entry, **made})


def _row(entry: Mapping[str, Any]) -> PublishedRow:
    return _build(
        PublishedRow,
        {
            **entry,
            "values": tuple(_number(value) for value in entry.get("values", ())),
            "spreads": tuple(_number(value) for value in entry.get("spreads", ())),
        },
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"published values must be numbers or null, got {value!r}")
    return float(value)


def _build(kind: type[_T], entry: Mapping[str, Any]) -> _T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(entry) - known:
        raise ConfigError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    try:
        return kind(**entry)
    except TypeError as error:
        raise ConfigError(f"{kind.__name__} is incomplete: {error}") from None
