"""``weft experiment``: train arms with the same seeds, and compare them in pairs."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.console import Screen, current_screen, plural
from weft.cli.train import duration_text
from weft.errors import OutputError
from weft.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.experiment.record import Results
    from weft.experiment.runner import ExperimentProgress, Session
    from weft.experiment.spec import ExperimentSpec

_SECONDS_BETWEEN_LINES = 30.0
_SOME_FAILED = 6


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("experiment", no_args_is_help=True)(experiment)


def experiment(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The experiment.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.md", help="Write the tables.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", metavar="N", help="Runs at a time.")] = 1,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Of results; else FILE.results.json beside FILE."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the runs; else runs/FILE.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What runs prepare and share; else the variable WEFT_CACHE, else ~/.cache/weft.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(metavar="N", help="Of each run on the CPU; its last bits depend on it.")
    ] = 1,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Save and stop after so many minutes.")
    ] = None,
    discard: Annotated[
        bool,
        typer.Option("--discard-checkpoints", help="Keep the models only of finished runs."),
    ] = False,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Train nothing; show what is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which runs there are and how far they are.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Train arms with the same seeds, and compare them in pairs.

    The same command goes on where the last one stopped: finished runs are not repeated, the others
    go on from their checkpoints.
    """
    from weft.experiment.spec import read_spec

    screen = current_screen()
    spec = read_spec(file)
    results_path = results or file.with_name(f"{file.stem}.results.json")
    _check_output(output, spec)
    folder = runs or Path("runs", file.stem)
    from weft.experiment.record import read_results

    if dry_run:
        _list(screen, spec, read_results(results_path), folder)
        return
    if tables_only:
        _report(screen, spec, read_results(results_path), output, None)
        return
    from weft.experiment.runner import run
    from weft.experiment.worker import Place

    place = Place(
        runs=folder,
        cache=cache or default_cache(),
        device=device,
        num_threads=threads,
        keeps_checkpoints=not discard,
    )
    try:
        session = run(
            spec,
            results_path,
            place,
            num_jobs=jobs,
            max_minutes=max_minutes,
            on_progress=_watcher(screen),
        )
    except (KeyboardInterrupt, SystemExit):
        screen.warn("stopped; the same command goes on")
        raise
    finally:
        if sys.stderr.isatty() and not screen.is_quiet:
            sys.stderr.write("\n")
    _report(screen, spec, session.results, output, session)
    if session.failures:
        raise typer.Exit(_SOME_FAILED)


def _check_output(output: Path | None, spec: "ExperimentSpec") -> None:
    """Refuse to write over anything but an earlier page of this experiment."""
    if output is None:
        return
    if not output.parent.is_dir():
        raise OutputError(f"no folder {output.parent} for {output.name}; make it first")
    if not output.exists():
        return
    try:
        first = output.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error}") from error
    if first != f"# {spec.title}":
        raise OutputError(
            f"{output} is no page of this experiment, whose heading is '# {spec.title}'; name "
            "another file with -o"
        )


def _list(screen: Screen, spec: "ExperimentSpec", results: "Results", folder: Path) -> None:
    """Show all runs and how far they are."""
    from weft.experiment.spec import folder_name

    found: list[dict[str, Any]] = []
    for arm, seed in spec.runs():
        run = folder / folder_name(arm) / f"seed-{seed}"
        state = "to do"
        if (arm, seed) in results.records or (run / "items.json").is_file():
            state = "finished"
        elif (run / "config.json").is_file():
            state = "begun"
        found.append({"arm": arm, "seed": seed, "state": state, "settings": dict(spec.arms[arm])})
    rows = [
        (one["arm"], str(one["seed"]), one["state"],
         " ".join(f"{k}={v}" for k, v in one["settings"].items()))
        for one in found
    ]  # fmt: skip
    screen.table(("arm", ">seed", "state", "settings"), rows)
    screen.emit({"experiment": spec.title, "runs": found})


def _report(
    screen: Screen,
    spec: "ExperimentSpec",
    results: "Results",
    output: Path | None,
    session: "Session | None",
) -> None:
    """Write the page, and say what came out."""
    from weft.evaluate.output import write_text
    from weft.experiment.markdown import headline, to_markdown

    failures = {(o.arm, o.seed): o.error for o in session.failures} if session else {}
    unfinished = session.unfinished if session else ()
    if output is not None:
        write_text(output, to_markdown(spec, results.records, failures=failures))
    headings, cells = headline(spec, results.records)
    screen.table(headings, cells)
    screen.say()
    screen.say(
        f"in brackets: difference to {spec.baseline}, * where it is real over recordings and seeds"
    )
    for note in session.notes if session else ():
        screen.warn(note)
    for (arm, seed), text in failures.items():
        screen.warn(f"arm {arm!r}, seed {seed} failed: {text}")
    if unfinished:
        screen.warn(f"{plural(len(unfinished), 'run')} not finished; the same command goes on")
    screen.say(f"results: {results.path}")
    if output is not None:
        screen.say(f"tables: {output}")
    screen.emit(_json(spec, results, output, failures, unfinished))


def _json(
    spec: "ExperimentSpec",
    results: "Results",
    output: Path | None,
    failures: dict[tuple[str, int], str],
    unfinished: tuple[tuple[str, int], ...],
) -> dict[str, Any]:
    from dataclasses import asdict

    from weft.experiment.summary import summarise

    return {
        "experiment": spec.title,
        "results": str(results.path),
        "tables": None if output is None else str(output),
        "measures": [asdict(measure) for measure in summarise(spec, results.records)],
        "failures": [{"arm": a, "seed": s, "error": e} for (a, s), e in failures.items()],
        "unfinished": [{"arm": arm, "seed": seed} for arm, seed in unfinished],
    }


def _watcher(screen: Screen) -> "Callable[[ExperimentProgress], None] | None":
    """Return what shows progress: a line that is rewritten on a terminal, else one now and then."""
    if screen.is_quiet:
        return None
    is_terminal = sys.stderr.isatty()
    last = time.monotonic() - (_SECONDS_BETWEEN_LINES - 5)

    def show(progress: "ExperimentProgress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.2 if is_terminal else _SECONDS_BETWEEN_LINES):
            return
        last = now
        line = progress_line(progress)
        if is_terminal:
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()
        else:
            screen.err.print(line, markup=False)

    return show


def progress_line(progress: "ExperimentProgress") -> str:
    """Return how far an experiment is, in one line."""
    share = 100 * progress.step / max(1, progress.steps)
    parts = [
        f"{progress.num_done}/{progress.num_runs} runs",
        f"step {progress.step}/{progress.steps} ({share:.0f} %)",
    ]
    if progress.seconds_left is not None:
        parts.append(f"{duration_text(progress.seconds_left)} left")
    return ", ".join(parts)
