"""What the command line prints: results on stdout, everything else on stderr."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

from rich.console import Console
from rich.markup import escape

_WIDTH_OF_FILES = 160


@final
class _Pipe(Console):
    """A console that lets a closed pipe be seen by the caller."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(*, is_error: bool) -> Console:
    """Return a console on stderr or stdout; wide where no terminal limits it."""
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_FILES
    return _Pipe(stderr=is_error, width=width, highlight=False, soft_wrap=True)


@final
class Screen:
    """Where a command says things.

    With ``is_json`` stdout holds exactly one JSON object; with ``is_quiet`` only errors are said.
    """

    def __init__(self, *, is_json: bool = False, is_quiet: bool = False) -> None:
        self.is_json = is_json
        self.is_quiet = is_quiet
        self.warnings: list[str] = []
        """What was warned of so far, in order."""
        self.out = make_console(is_error=False)
        self.err = make_console(is_error=True)

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Print a line of the result."""
        if not self.is_json and not self.is_quiet:
            self.out.print(escape(_printable(text)), style=style)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table of the result; columns whose heading begins with > are right-aligned."""
        if self.is_json or self.is_quiet:
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for heading in headings:
            justify: Any = "right" if heading.startswith(">") else "left"
            is_last = heading is headings[-1]
            table.add_column(
                heading.removeprefix(">"), justify=justify, no_wrap=not is_last, overflow="fold"
            )
        for row in rows:
            table.add_row(*(escape(_printable(cell)) for cell in row))
        self.out.print(table)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, and keep it."""
        self.warnings.append(text)
        if not self.is_quiet:
            self.err.print(f"[yellow]warning:[/yellow] {escape(_printable(text))}")

    def emit(self, result: Mapping[str, Any]) -> None:
        """Print the one JSON object, where JSON was asked for."""
        if self.is_json:
            print(to_json(result), file=sys.stdout)

    def fail(self, message: str, *, kind: str, exit_status: int) -> None:
        """Print an error: on stderr, or as the one JSON object."""
        if self.is_json:
            error = {"kind": kind, "message": message, "exit_status": exit_status}
            print(to_json({"error": error}), file=sys.stdout)
        else:
            self.err.print(f"[bold red]error:[/bold red] {escape(_printable(message))}")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int, int], None] | None]:
        """Yield what shows progress, with the time left; None where nobody would see it."""
        if self.is_quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(what, total=total)

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            yield show


_CURRENT: ContextVar[Screen] = ContextVar("screen")


@contextmanager
def use_screen(screen: Screen) -> Iterator[None]:
    """Make a screen the one that commands print on."""
    token = _CURRENT.set(screen)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_screen() -> Screen:
    """Return the screen that this command prints on; a plain one if none was set."""
    return _CURRENT.get(None) or Screen()


def to_json(value: Mapping[str, Any]) -> str:
    """Return JSON that every reader accepts: no NaN, keys in the order given."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _printable(text: str) -> str:
    """Return a text that both streams can show; what they cannot is written as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _plain(value: Any) -> Any:
    """Turn mappings, sequences and numbers of any kind into those of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count and its noun.

    Example:
        >>> plural(1, "gap"), plural(2, "gap"), plural(1200, "sample")
        ('1 gap', '2 gaps', '1,200 samples')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def bytes_text(num_bytes: int) -> str:
    """Return a size as people read it.

    Example:
        >>> bytes_text(1_500_000_000), bytes_text(20_000)
        ('1.5 GB', '20 kB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{num_bytes} bytes"


def length_text(num_samples: int, sample_rate: int) -> str:
    """Return a length as people read it: ms below a second, then s.

    Example:
        >>> length_text(441, 44100), length_text(100_000, 8000)
        ('10 ms', '12.50 s')
    """
    seconds = num_samples / sample_rate
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
    return f"{seconds:.2f} s"
