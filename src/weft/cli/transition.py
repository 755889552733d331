"""``weft transition``: lead from one recording into another."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli import options as o
from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("transition", no_args_is_help=True)(transition)


def transition(
    first: Annotated[Path, typer.Argument(metavar="A", help="What is heard first.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="What is heard then.")],
    seconds: o.Seconds,
    output: o.Output = None,
    strength: o.Strength = 0.85,
    snap_beats: Annotated[
        bool, typer.Option("--snap-beats", help="Move both edges to beats.")
    ] = False,
    match: Annotated[
        bool, typer.Option("--match", help="Convert B to the rate and the channels of A.")
    ] = False,
    model: o.Model = "weft-latent",
    takes: o.Takes = 1,
    seed: o.Seed = 0,
    steps: o.Steps = 0,
    fade_ms: o.FadeMs = 10.0,
    receipt: o.Receipt = False,
    report: o.Report = None,
    salvage: o.Salvage = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Lead from one recording into another; writes A.to.B.EXT.

    The end of A and the beginning of B overlap by --seconds, and what is heard there starts from
    their cross-fade. A before it and B after it stay as they are, bit for bit; the run proves it
    and says so. The output has the format of A.
    """
    from weft.cli.job import Request
    from weft.cli.running import start
    from weft.receipt import Settings, Task

    request = Request(
        inputs=(first, second),
        task=Task(
            verb="transition",
            seconds=seconds,
            strength=strength,
            snap_beats=snap_beats,
            match=match,
        ),
        output=output,
        settings=Settings(
            model=model, takes=takes, seed=seed, steps=steps, fade_ms=fade_ms, salvage=salvage
        ),
        receipt=receipt,
        report=report,
        overwrite=overwrite,
    )
    start(request, current_screen(), is_dry=dry_run)
