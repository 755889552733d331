"""Tables: metadata that authors of datasets ship, read line by line."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft.errors import AudioFormatError

_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "test": "test",
}
_MAX_FIELD = 1 << 24

Row = dict[str, str]
"""Texts by column."""


@contextmanager
def opened_csv(path: Path) -> Iterator[Any]:
    """Open a table and yield its reader; fields may be long, as biographies are.

    Raises:
        AudioFormatError: it cannot be read.
    """
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            yield csv.reader(handle)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioFormatError(f"cannot read {path}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield where each row stands, for messages, and its texts without blanks around them.

    Args:
        path: of a table with one header line.
        columns: that must be there.

    Raises:
        AudioFormatError: it cannot be read, a column is missing, or a row is short.
    """
    with opened_csv(path) as reader:
        header = [name.strip() for name in next(reader, [])]
        _check_columns(path, header, columns)
        for line in reader:
            if not line:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(line) < len(header):
                raise AudioFormatError(
                    f"{where}: {len(line)} columns, the header has {len(header)}; get the file "
                    "again"
                )
            yield where, dict(zip(header, (text.strip() for text in line), strict=False))


def json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a table that is a JSON object of columns or a list of rows.

    Raises:
        AudioFormatError: it cannot be read or a column is missing.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(found, dict):
            _check_columns(path, list(found), columns)
            keys = list(found[columns[0]])
            found = [{name: column[key] for name, column in found.items()} for key in keys]
        listed = [{name: str(value).strip() for name, value in row.items()} for row in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AudioFormatError(f"cannot read {path} as a table: {error!r}") from error
    for number, row in enumerate(listed, 1):
        _check_columns(path, list(row), columns)
        yield f"{path}, row {number}", row


def to_split(text: str, where: str) -> str:
    """Return train, valid or test for what authors call it.

    Raises:
        AudioFormatError: it is none of them.
    """
    if text not in _SPLITS:
        raise AudioFormatError(
            f"{where}: no split {text!r}; splits are {', '.join(_SPLITS)}; get the file again"
        )
    return _SPLITS[text]


def some(row: Row, *columns: str) -> Row:
    """Return the columns of a row that are there and not empty."""
    return {name: row[name] for name in columns if row.get(name)}


def to_duration(text: str, where: str) -> float | None:
    """Return seconds, None for an empty text.

    Raises:
        AudioFormatError: it is no duration.
    """
    if not text:
        return None
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = -1.0
    if not 0 <= duration_s < float("inf"):
        raise AudioFormatError(f"{where}: {text!r} is no duration in seconds")
    return duration_s


def inside(folder: Path, file: str, where: str) -> Path:
    """Return the path of a file that a table names.

    Raises:
        AudioFormatError: it does not lie below the folder.
    """
    path = Path(file)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise AudioFormatError(f"{where}: {file!r} is not the path of a file below {folder}")
    return folder / path


def _check_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise AudioFormatError(
            f"{path} has no column {', '.join(missing)}; its columns are "
            f"{', '.join(header) or 'none'}"
        )


def spdx(text: str) -> str:
    """Return the SPDX name of a Creative Commons licence written out; other texts as they are.

    Jurisdictions are left out. Nothing is guessed: without a version none is given.

    Example:
        >>> spdx("Attribution-Noncommercial-Share Alike 3.0 United States")
        'CC-BY-NC-SA-3.0'
        >>> spdx("CC0 1.0 Universal")
        'CC0-1.0'
    """
    lower = text.lower()
    version = re.search(r"\b\d\.\d\b", text)
    number = f"-{version[0]}" if version else ""
    if re.match(r"(creative commons )?attribution\b", lower):
        parts = [
            tag
            for tag, words in (
                ("NC", r"non[- ]?commercial"),
                ("ND", r"no[- ]?deriv"),
                ("SA", r"share[- ]?alike"),
            )
            if re.search(words, lower)
        ]
        return "-".join(["CC-BY", *parts]) + number
    if lower.startswith("cc0"):
        return f"CC0{number}"
    return text
