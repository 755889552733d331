"""Journal: results as they come, one JSON object a line, so that nothing done is done again."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, final

from weft.errors import AudioFormatError, ConfigError, OutputError
from weft.evaluate.records import Record

SCHEMA = "weft.evaluate/2"

Key = tuple[str, str, str, int, str]
"""Corpus, file, setting, index and row of a record."""


@final
class Journal:
    """Records of an experiment, in memory and, where a path is given, on disk."""

    def __init__(
        self, path: Path | None, settings: Mapping[str, Any], *, is_resumed: bool = False
    ) -> None:
        """Begin a journal or take one up.

        Args:
            path: of the journal; None keeps records in memory only.
            settings: what the records depend on; a journal of other settings is not taken up.
            is_resumed: take up the journal that is there, if there is one.

        Raises:
            ConfigError: the journal there has other settings.
            AudioFormatError: what is there is no journal.
        """
        self._path = path
        self._records: dict[Key, Record] = {}
        self._header = json.loads(json.dumps({"schema": SCHEMA, "settings": settings}))
        self._handle: IO[str] | None = None
        self._good_bytes = 0
        if path is not None and is_resumed and path.is_file():
            self._good_bytes = self._take_up(path)

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keep a record; on disk it is complete when this returns.

        The file is made, or cut to its whole lines, when the first record comes.

        Raises:
            OutputError: it cannot be written.
        """
        self._records[record.key] = record
        if self._path is None:
            return
        try:
            if self._handle is None:
                self._handle = self._open(self._path)
            self._handle.write(json.dumps(record.to_json(), allow_nan=False) + "\n")
            self._handle.flush()
        except OSError as error:
            raise OutputError(f"cannot write the journal {self._path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()

    def _open(self, path: Path) -> IO[str]:
        """Open the file after its last whole line, or begin it."""
        mode = "r+" if self._good_bytes else "w"
        handle = path.open(mode, encoding="utf-8", newline="\n")
        if self._good_bytes:
            handle.truncate(self._good_bytes)
            handle.seek(0, os.SEEK_END)
        else:
            handle.write(json.dumps(self._header) + "\n")
        return handle

    def _take_up(self, path: Path) -> int:
        """Read records; return how many bytes are whole lines (a killed run may leave a part)."""
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole:
            return 0
        try:
            first, *rest = (json.loads(line) for line in whole)
            is_journal = first["schema"] == SCHEMA
            records = [Record.from_json(value) for value in rest]
        except (ValueError, KeyError, TypeError) as error:
            raise AudioFormatError(
                f"{path} is no journal of this experiment ({error}); remove it or choose another "
                "output"
            ) from error
        if not is_journal:
            raise AudioFormatError(f"{path} has the schema {first['schema']}, wanted {SCHEMA}")
        there, here = first["settings"], self._header["settings"]
        other = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
        if other:
            raise ConfigError(
                f"{path} was made with other settings: "
                + ", ".join(f"{key} was {there.get(key)}, now {here.get(key)}" for key in other)
                + "; repeat those, or choose another output"
            )
        self._records = {record.key: record for record in records}
        return sum(len(line) for line in whole)
