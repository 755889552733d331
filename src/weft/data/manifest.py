"""Manifests: which files a corpus has, who made them, and what they may be used for.

A corpus is a folder. Its ``manifest.csv`` has a row a file: ``file`` (path below the folder) is
required; ``split`` (train, valid or test), ``licence``, ``author``, ``title``, ``category``,
``label``, ``caption``, ``duration_s``, ``source_repo`` and ``source_path`` are used where they are
there, other columns are kept. A folder without one is the corpus of the audio files in it.
"""

import csv
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import final

from weft.errors import AudioFormatError, ConfigError, OutputError

MANIFEST_NAME = "manifest.csv"
AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".caf", ".w64", ".rf64", ".opus", ".m4a"}
)
"""Endings of the files that a folder without a manifest offers."""

_COLUMNS = (
    "file",
    "category",
    "source_repo",
    "source_path",
    "licence",
    "author",
    "title",
    "duration_s",
    "label",
    "caption",
    "split",
)


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a corpus."""

    file: str
    """Path below the corpus' folder, with forward slashes: its name in results."""
    path: Path
    """Where it is."""
    split: str = ""
    """train, valid, test, or nothing."""
    licence: str = ""
    """Licence in SPDX terms where there is one."""
    author: str = ""
    """Who made it."""
    title: str = ""
    """What it is called."""
    category: str = ""
    """Kind of material."""
    label: str = ""
    """Class, for labelled sounds."""
    caption: str = ""
    """Description or transcript."""
    duration_s: float | None = None
    """Length as the manifest states it; None: not stated."""
    source: str = ""
    """Where it came from."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Other columns, as they stand."""

    @property
    def needs_attribution(self) -> bool:
        """Whether its licence asks to name the author (the CC BY family)."""
        return self.licence.upper().replace(" ", "-").startswith("CC-BY")


@final
@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files of a corpus."""

    name: str
    """What tables call the corpus."""
    root: Path
    """Its folder."""
    entries: tuple[Entry, ...]
    """Its files, in the order of the manifest, or sorted where there is none."""
    num_missing: int = 0
    """Files that a dataset's metadata names, that are not there, and that were left out."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur, sorted; empty where the corpus has none."""
        return tuple(sorted({entry.split for entry in self.entries} - {""}))

    def select(self, split: str | None) -> tuple[Entry, ...]:
        """Return the files of a split; all of them for None, or where the corpus has no splits.

        Raises:
            ConfigError: the corpus has splits, but not this one.
        """
        if split is None or not self.splits:
            return self.entries
        chosen = tuple(entry for entry in self.entries if entry.split == split)
        if not chosen:
            raise ConfigError(
                f"the corpus {self.name} ({self.root}) has no split {split!r}; it has: "
                f"{', '.join(self.splits)}"
            )
        return chosen


def read_manifest(
    folder: str | Path,
    *,
    name: str | None = None,
    suffixes: frozenset[str] = AUDIO_SUFFIXES,
) -> Manifest:
    """Read the manifest of a folder, or list its audio files where it has none.

    Args:
        folder: of the corpus.
        name: what tables call it; the folder's name unless told.
        suffixes: endings of the files to list where there is no manifest.

    Raises:
        ConfigError: the folder is not there or offers no file.
        AudioFormatError: the manifest is not readable, names a file twice or outside the folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no folder {root}; give a folder of files or of a {MANIFEST_NAME}")
    path = root / MANIFEST_NAME
    entries = _read_csv(path, root) if path.is_file() else _list_folder(root, suffixes)
    if not entries:
        raise ConfigError(
            f"{root} offers no files; wanted a {MANIFEST_NAME} or files that end in "
            f"{', '.join(sorted(suffixes))}"
        )
    return Manifest(name=name or root.resolve().name, root=root, entries=tuple(entries))


def check_files(entries: Sequence[Entry]) -> None:
    """Check that every file is there, before any work.

    Raises:
        AudioFormatError: files are missing; the message counts them and names the first.
    """
    missing = [entry for entry in entries if not entry.path.is_file()]
    if missing:
        raise AudioFormatError(
            f"{len(missing)} of {len(entries)} files of the manifest are missing, the first is "
            f"{missing[0].path}; fetch them again or remove their lines"
        )


def write_manifest(folder: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write a manifest atomically: a temporary file, synced and renamed.

    Args:
        folder: of the corpus, must exist.
        rows: columns by name; ``file`` is required, unknown columns go to the right.

    Raises:
        ConfigError: a row names no file.
        OutputError: the manifest cannot be written.
    """
    listed = [dict(row) for row in rows]
    if any(not row.get("file") for row in listed):
        raise ConfigError("every row of a manifest needs a file")
    extra = [key for row in listed for key in row if key not in _COLUMNS]
    columns = [*_COLUMNS, *dict.fromkeys(extra)]
    path = folder / MANIFEST_NAME
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=folder, prefix=".manifest-", newline="", encoding="utf-8", delete=False
        ) as handle:
            writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(listed)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(handle.name, 0o644)
        os.replace(handle.name, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error}; choose a folder that can be written"
        ) from error
    return path


def attribution(manifests: Iterable[Manifest], *, note: str = "excerpt, re-encoded") -> str:
    """Return the text that must go with work made from these corpora.

    Items under CC BY are named one by one, with author, title, source and licence; others are
    counted by licence.

    Args:
        manifests: of the corpora used.
        note: what was done to the items.
    """
    entries = [entry for manifest in manifests for entry in manifest.entries]
    named = sorted(
        {
            f"{entry.title or entry.file} by {entry.author or 'unknown author'}, {entry.licence}"
            + (f", from {entry.source}" if entry.source else "")
            + (f" ({note})" if note else "")
            for entry in entries
            if entry.needs_attribution
        }
    )
    counts: dict[str, int] = {}
    for entry in entries:
        if not entry.needs_attribution:
            licence = entry.licence or "licence not stated"
            counts[licence] = counts.get(licence, 0) + 1
    lines = ["ATTRIBUTION", ""]
    lines += [f"- {line}" for line in named]
    lines += [f"- {counts[licence]} items: {licence}" for licence in sorted(counts)]
    return "\n".join(lines) + "\n"


def _list_folder(root: Path, suffixes: frozenset[str]) -> list[Entry]:
    paths = (p for p in root.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    visible = [p for p in paths if not p.name.startswith(".")]
    return [
        Entry(file=path.relative_to(root).as_posix(), path=path, title=path.stem)
        for path in sorted(visible)
    ]


def _read_csv(path: Path, root: Path) -> list[Entry]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            if "file" not in (reader.fieldnames or ()):
                raise AudioFormatError(
                    f"{path} has no column 'file'; its columns are {reader.fieldnames or 'none'}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioFormatError(f"cannot read {path}: {error}") from error
    entries: dict[str, Entry] = {}
    for line, row in rows:
        entry = _to_entry(row, root, f"{path}, line {line}")
        if entry.file in entries:
            raise AudioFormatError(f"{path}, line {line}: {entry.file} is listed twice")
        entries[entry.file] = entry
    return list(entries.values())


def _to_entry(row: Mapping[str | None, str | list[str] | None], root: Path, where: str) -> Entry:
    """Turn a line into an entry."""
    texts = {key: value.strip() for key, value in row.items() if key and isinstance(value, str)}
    file = PurePosixPath(texts.pop("file", ""))
    if not file.name or file.is_absolute() or ".." in file.parts:
        raise AudioFormatError(f"{where}: {str(file)!r} is not the path of a file below the folder")
    duration = texts.pop("duration_s", "")
    try:
        duration_s = float(duration) if duration else None
    except ValueError:
        duration_s = math.nan
    if duration_s is not None and not 0 <= duration_s < math.inf:
        raise AudioFormatError(f"{where}: duration_s must be seconds >= 0, got {duration!r}")
    source = "/".join(filter(None, (texts.get("source_repo"), texts.get("source_path"))))
    known = {
        key: texts.pop(key, "")
        for key in ("split", "licence", "author", "title", "category", "label", "caption")
    }
    return Entry(
        file=file.as_posix(),
        path=root / file,
        duration_s=duration_s,
        source=source,
        extra=texts,
        **known,
    )
