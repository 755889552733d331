"""Output: results under their final names, complete or not at all."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from weft.errors import OutputError


def journal_path(results: Path) -> Path:
    """Return where the journal of a results file stands.

    Example:
        >>> journal_path(Path("out/music.json")).name
        'music.journal.jsonl'
    """
    return results.with_name(f"{results.stem}.journal.jsonl")


def check_outputs(
    results: Path | None,
    others: Sequence[Path | None],
    *,
    overwrite: bool,
    is_resumed: bool,
) -> None:
    """Refuse outputs that could not be written, before any work.

    Raises:
        OutputError: one exists already, or its folder does not.
    """
    journal = journal_path(results) if results is not None else None
    for path in (results, *others, journal):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise OutputError(f"no folder {path.parent} for {path.name}; make it first")
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if path.exists() and not (overwrite or is_resumed):
            raise OutputError(
                f"{path} exists; --resume goes on from what is there, --overwrite starts again"
            )


def write_text(path: Path, text: str) -> None:
    """Write a text atomically: a temporary file, synced and renamed.

    Raises:
        OutputError: it cannot be written; nothing was left under its name.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".weft-", encoding="utf-8", newline="\n", delete=False
        ) as handle:
            temporary = Path(handle.name)
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
