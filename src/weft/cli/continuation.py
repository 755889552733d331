"""``weft continue``: let a recording go on."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli import options as o
from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("continue", no_args_is_help=True)(continue_)


def continue_(
    input: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    seconds: o.Seconds,
    output: o.Output = None,
    before: Annotated[
        bool, typer.Option("--before", help="Add it in front of the recording.")
    ] = False,
    loop: Annotated[
        bool, typer.Option("--loop", help="Let it lead back to the other end, for playing round.")
    ] = False,
    like: o.Like = None,
    tag: o.Tag = None,
    style_weight: o.StyleWeight = 1.0,
    model: o.Model = "auto",
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
    """Let a recording go on after its end, or begin earlier; writes IN.continued.EXT.

    The whole recording stays as it is, bit for bit; the run proves it and says so. The output has
    the format of the input.
    """
    from weft.cli.job import Request
    from weft.cli.running import start
    from weft.receipt import Settings, Task

    request = Request(
        inputs=(input,),
        task=Task(
            verb="continue",
            seconds=seconds,
            is_before=before,
            is_loop=loop,
            tags=tuple(tag or ()),
            style_weight=style_weight,
        ),
        output=output,
        references=tuple(like or ()),
        settings=Settings(
            model=model, takes=takes, seed=seed, steps=steps, fade_ms=fade_ms, salvage=salvage
        ),
        receipt=receipt,
        report=report,
        overwrite=overwrite,
    )
    start(request, current_screen(), is_dry=dry_run)
