"""The log of a run: one JSON object a line, and TensorBoard where it is installed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, final

from weft.errors import OutputError


@final
class TrainingLog:
    """Lines of a run, on disk and in memory."""

    def __init__(self, run: Path, *, step: int, is_written: bool = True) -> None:
        """Open the log of a run, without what came after the step that it goes on from.

        Args:
            run: folder of the run.
            step: steps done; later lines, and a last one that is not whole, are cut off.
            is_written: False in all processes but the first.

        Raises:
            OutputError: it cannot be written.
        """
        self.lines: list[dict[str, Any]] = []
        self.note = ""
        """Says so where TensorBoard is not installed."""
        self._file: IO[str] | None = None
        self._board: Any = None
        if not is_written:
            return
        path = run / "log.jsonl"
        try:
            self.lines = [line for line in _read(path) if line.get("step", 0) <= step]
            text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.lines)
            path.write_text(text, encoding="utf-8")
            self._file = path.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error}") from error
        self._open_board(run, step)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line with its ``step``; numbers that are not finite become null."""
        kept = {name: _finite(value) for name, value in line.items()}
        self.lines.append(kept)
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(kept, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._file.name}: {error}") from error
        if self._board is not None:
            for name, value in kept.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, kept["step"])

    def at(self, step: int) -> list[dict[str, Any]]:
        """Return the lines of a step."""
        return [line for line in self.lines if line["step"] == step]

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _open_board(self, run: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.note = "no curves for TensorBoard, only log.jsonl: pip install 'weft[train]'"
            return
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log; a process that was killed may leave a part of one."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        found.append(line)
    return found


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
