"""``weft train``: train a model, or go on with a run."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.console import Screen, current_screen
from weft.errors import ConfigError
from weft.folders import default_cache

if TYPE_CHECKING:
    from weft.train.loop import Progress, Watcher
    from weft.train.recipe import Tell
    from weft.train.run import RunResult

_SECONDS_BETWEEN_LINES = 30.0
_TERMINATED = {"SIGINT": 130, "SIGTERM": 143}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train", no_args_is_help=True)(train)


def train(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="See --list.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="Show recipes and presets.")] = False,
    preset: Annotated[str, typer.Option(help="Size: debug, small or base.")] = "small",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the loop or the recipe. Repeatable."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER|NAME", help="Recordings; the recipe's own unless given. Repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the run; runs/RECIPE-PRESET.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What runs prepare and share; else the variable WEFT_CACHE, else ~/.cache/weft.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")
    ] = False,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Save and stop before so many minutes.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Of the whole run; as --set steps=N.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    shard_mib: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            help="Also write the averaged weights into RUN/averaged, in 16 bits, in files of at "
            "most so many MiB.",
        ),
    ] = None,
    averaged: Annotated[
        Path | None,
        typer.Option(
            "--from-averaged", metavar="DIR", help="Export what --shard-mib wrote; train nothing."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Train a model, or go on with a run.

    A run that is stopped, killed or out of time goes on with --resume to the same bits. Several
    processes: torchrun --nproc-per-node N -m weft.cli.main train …
    """
    screen = current_screen()
    if list_recipes:
        _list(screen)
        return
    if recipe is None:
        raise ConfigError("which recipe? 'weft train --list' shows them")
    overrides = _overrides(set_ or [])
    if steps is not None:
        if "steps" in overrides:
            raise ConfigError("steps were given twice, with --steps and with --set")
        overrides["steps"] = str(steps)
    from weft.train.registry import make_recipe
    from weft.train.run import export_averaged
    from weft.train.run import train as run_training

    made, config = make_recipe(recipe, preset, overrides, data or [])
    run, cache = out or Path("runs", f"{recipe}-{preset}"), cache or default_cache()
    if averaged is not None:
        _report(screen, export_averaged(made, config, averaged, run, cache=cache))
        return
    result = run_training(
        made,
        config,
        run,
        cache=cache,
        is_resumed=resume,
        max_minutes=max_minutes,
        device=device,
        shard_mib=shard_mib,
        watch=_watcher(screen),
        tell=_teller(screen),
    )
    if result.is_first:
        _report(screen, result)
    if result.reason in _TERMINATED:
        raise SystemExit(_TERMINATED[result.reason])


def _list(screen: Screen) -> None:
    from weft.train.registry import RECIPES

    rows = [(entry.name, ", ".join(entry.presets), entry.summary) for entry in RECIPES]
    screen.table(("recipe", "presets", "trains"), rows)
    screen.emit(
        {
            "recipes": [
                {"name": e.name, "presets": list(e.presets), "summary": e.summary} for e in RECIPES
            ]
        }
    )


def _overrides(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set needs KEY=VALUE, got {text!r}")
        if name.strip() in found:
            raise ConfigError(f"--set gives {name.strip()} twice")
        found[name.strip()] = value.strip()
    return found


def _watcher(screen: Screen) -> "Watcher | None":
    """Return what shows progress: a line that is rewritten on a terminal, else one now and then."""
    if screen.is_quiet:
        return None
    is_terminal = sys.stderr.isatty()
    last = time.monotonic() - (_SECONDS_BETWEEN_LINES - 5)

    def show(progress: "Progress") -> None:
        nonlocal last
        now = time.monotonic()
        is_end = progress.step == progress.steps
        if not is_end and now - last < (0.2 if is_terminal else _SECONDS_BETWEEN_LINES):
            return
        last = now
        line = progress_line(progress)
        if is_terminal:
            sys.stderr.write(f"\r\x1b[2K{line}" + ("\n" if is_end else ""))
            sys.stderr.flush()
        else:
            screen.err.print(line, markup=False)

    return show


def _teller(screen: Screen) -> "Tell":
    """Return what says how far preparation is, as often as `_watcher` does."""
    is_terminal = sys.stderr.isatty()
    last = begun = time.monotonic()
    last_what = ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last, begun, last_what
        now = time.monotonic()
        if what != last_what:
            last_what, begun = what, now
        is_end = done == total
        pause = 0.2 if is_terminal else _SECONDS_BETWEEN_LINES
        # What is there already goes by in no time, and is not worth a line.
        if screen.is_quiet or now - last < pause or (is_end and now - begun < pause):
            return
        last = now
        left = duration_text((now - begun) / max(1, done) * (total - done))
        line = f"{what}: {done}/{total}, {left} left"
        if is_terminal:
            sys.stderr.write(f"\r\x1b[2K{line}" + ("\n" if is_end else ""))
            sys.stderr.flush()
        else:
            screen.err.print(line, markup=False)

    return tell


def progress_line(progress: "Progress") -> str:
    """Return how far a run is, in one line."""
    shown = [
        f"{name} {progress.figures[name]:.4g}"
        for name in progress.figures
        if name == "loss" or name.endswith("/loss")
    ]
    left = f"{duration_text(progress.seconds_left)} left"
    share = 100 * progress.step / progress.steps
    return ", ".join([f"step {progress.step}/{progress.steps} ({share:.0f} %)", *shown, left])


def duration_text(seconds: float) -> str:
    """Return a time as people read it.

    Example:
        >>> duration_text(42.4), duration_text(75.0), duration_text(7500.0)
        ('42 s', '1 min 15 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _report(screen: Screen, result: "RunResult") -> None:
    for note in result.notes:
        screen.warn(note)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result.figures.items())
    if figures:
        screen.say(f"valid: {figures}")
    if result.model is not None:
        screen.say(f"model: {result.model}")
    if result.reason == "done":
        screen.say(f"{result.folder}: {result.steps} steps done")
    else:
        why = "time is up" if result.reason == "time" else f"stopped by {result.reason}"
        screen.warn(
            f"{why} after step {result.step} of {result.steps}; the same command with --resume "
            "goes on"
        )
    screen.emit(
        {
            "run": str(result.folder),
            "step": result.step,
            "steps": result.steps,
            "reason": result.reason,
            "valid": dict(result.figures),
            "model": None if result.model is None else str(result.model),
            "notes": list(result.notes),
        }
    )
