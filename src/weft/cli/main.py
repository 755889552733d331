"""Entry of the command line.

Nothing here or at the top of a verb's file imports a numerical package, so that ``--help``, shell
completion and listings start at once.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer

from weft.cli.console import Screen, use_screen
from weft.errors import WeftError, WeftWarning
from weft.version import __version__

VERBS = (
    "inpaint",
    "continuation",
    "regenerate",
    "transition",
    "generate",
    "inspect",
    "evaluate",
    "train",
    "experiment",
    "data",
    "models",
    "doctor",
    "replay",
)

_USAGE, _INTERNAL, _INTERRUPTED, _BROKEN_PIPE = 2, 1, 130, 141
_CLICK_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if "Click" in kind.__name__)


def make_app() -> typer.Typer:
    """Return the command line with all its verbs."""
    app = typer.Typer(
        name="weft",
        help="Weft fills in sound: it restores, continues, changes and joins recordings so that "
        "what is new belongs to what is around it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit status: 0 done, 2 usage, 3 bad input, 4 output, 5 model, 6 some of a batch "
        "failed, 130 interrupted.",
    )

    @app.callback()
    def root(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=_print_version, is_eager=True, help="Print the version."
            ),
        ] = False,
        debug: Annotated[
            bool,
            typer.Option("--debug", envvar="WEFT_DEBUG", help="Show tracebacks and all warnings."),
        ] = False,
    ) -> None:
        pass

    for verb in VERBS:
        import_module(f"weft.cli.{verb}").register(app)
    return app


def _print_version(is_wanted: bool) -> bool:
    if is_wanted:
        print(f"weft {__version__}")
        raise typer.Exit
    return is_wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status. Prints no traceback unless asked to.

    Args:
        arguments: what follows ``weft``; those of the process unless given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    is_debug = "--debug" in options or os.environ.get("WEFT_DEBUG", "") not in ("", "0")
    given = [word for i, word in enumerate(given) if word != "--debug" or i >= len(options)]
    screen = Screen(is_json="--json" in options, is_quiet="--quiet" in options)
    try:
        status = _run(given, screen, is_debug=is_debug)
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave_pipe()
    return status


def _run(arguments: Sequence[str], screen: Screen, *, is_debug: bool) -> int:
    """Run the command and turn every error into a message and an exit status."""
    with warnings.catch_warnings():
        if not is_debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", WeftWarning)
        _show_warnings(screen, is_debug=is_debug)
        try:
            with use_screen(screen), _clean_termination():
                result = make_app()(args=list(arguments), prog_name="weft", standalone_mode=False)
            if result == _INTERRUPTED:  # some versions of Typer turn the exception into a status
                raise KeyboardInterrupt
            return result if isinstance(result, int) else 0
        except BrokenPipeError:
            raise
        except WeftError as error:
            if is_debug:
                traceback.print_exc()
            screen.fail(str(error), kind=type(error).__name__, exit_status=error.exit_status)
            return error.exit_status
        except _CLICK_ERROR as error:
            if not error.format_message().strip():  # help was shown in place of a message
                return _USAGE
            screen.fail(_usage_message(error), kind="UsageError", exit_status=_USAGE)
            return _USAGE
        except (KeyboardInterrupt, typer.Abort):
            screen.fail(
                "interrupted; nothing was left half-written",
                kind="Interrupted",
                exit_status=_INTERRUPTED,
            )
            return _INTERRUPTED
        except MemoryError:
            screen.fail(
                "not enough memory; close other programs, or fill fewer or shorter gaps at once",
                kind="MemoryError",
                exit_status=_INTERNAL,
            )
            return _INTERNAL
        except Exception as error:
            if is_debug:
                traceback.print_exc()
            screen.fail(_internal_message(error), kind="InternalError", exit_status=_INTERNAL)
            return _INTERNAL


@contextmanager
def _clean_termination() -> Iterator[None]:
    """Let a termination signal unwind the program, so that temporary files are removed."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_warnings(screen: Screen, *, is_debug: bool) -> None:
    """Print warnings of Weft once each, in its own form; others only where asked for."""
    show_others = warnings.showwarning

    def show(message: Any, category: Any, *place: Any, **options: Any) -> None:
        if issubclass(category, WeftWarning):
            if str(message) not in screen.warnings:
                screen.warn(str(message))
        elif is_debug:
            show_others(message, category, *place, **options)

    warnings.showwarning = show


def _usage_message(error: Any) -> str:
    """Return what is wrong with a command line, and where help is."""
    context = error.ctx if "ctx" in vars(error) else None
    command = context.command_path if context is not None else "weft"
    return f"{error.format_message().rstrip('.')}. Try '{command} --help'"


def _internal_message(error: Exception) -> str:
    kind = type(error).__name__
    return (
        f"an error inside Weft, not in your input: {kind}: {error}. Please report "
        "it with the output of 'weft doctor' and of this command with --debug"
    )


def _leave_pipe() -> int:
    """Leave quietly when the reader of stdout has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
