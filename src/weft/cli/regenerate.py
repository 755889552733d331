"""``weft regenerate``: make regions anew, starting from what stands there."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli import options as o
from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("regenerate", no_args_is_help=True)(regenerate)


def regenerate(
    input: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    output: o.Output = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="What to make anew: 12.3-14, 1:02.5-1:05, 12.3+2, start-end (all). Repeat it for "
            "several.",
        ),
    ] = None,
    labels: o.Labels = None,
    cue: o.Cue = False,
    pad_ms: o.PadMs = None,
    clamp: o.Clamp = False,
    strength: o.Strength = 0.85,
    like: o.Like = None,
    tag: o.Tag = None,
    style_weight: o.StyleWeight = 1.0,
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
    """Make regions of a recording anew, like what stands there; writes IN.regenerated.EXT.

    Everything outside the regions stays as it is, bit for bit; the run proves it and says so. The
    output has the format of the input.
    """
    from weft.cli.job import Request
    from weft.cli.running import start
    from weft.receipt import Settings, Task

    request = Request(
        inputs=(input,),
        task=Task(
            verb="regenerate",
            strength=strength,
            tags=tuple(tag or ()),
            style_weight=style_weight,
        ),
        output=output,
        gaps=tuple(region or ()),
        labels=labels,
        use_cue=cue,
        pad_ms=pad_ms,
        clamp=clamp,
        references=tuple(like or ()),
        settings=Settings(
            model=model, takes=takes, seed=seed, steps=steps, fade_ms=fade_ms, salvage=salvage
        ),
        receipt=receipt,
        report=report,
        overwrite=overwrite,
    )
    start(request, current_screen(), is_dry=dry_run)
