"""``weft inpaint``: fill gaps in a recording."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli import options as o
from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inpaint", no_args_is_help=True)(inpaint)


def inpaint(
    input: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    output: o.Output = None,
    gap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="What to fill: 12.3-12.85, 1:02.5-1:03, 12.3+0.55, 44100s-88200s (samples), "
            "start-0.5, 59-end. Repeat it for several.",
        ),
    ] = None,
    labels: o.Labels = None,
    cue: o.Cue = False,
    pad_ms: o.PadMs = None,
    clamp: o.Clamp = False,
    like: o.Like = None,
    tag: o.Tag = None,
    style_weight: o.StyleWeight = 1.0,
    model: o.Model = "auto",
    takes: o.Takes = 1,
    seed: o.Seed = 0,
    steps: o.Steps = 0,
    fade_ms: o.FadeMs = 10.0,
    min_confidence: Annotated[
        float, typer.Option(help="Leave gaps alone that are filled less surely; in 0-1.")
    ] = 0.0,
    fill_only: Annotated[
        bool,
        typer.Option(
            "--fill-only", help="Write the fills alone, as WAV files that know their time."
        ),
    ] = False,
    handles_ms: Annotated[
        float, typer.Option(help="With --fill-only: what is written on either side.")
    ] = 250.0,
    receipt: o.Receipt = False,
    report: o.Report = None,
    salvage: o.Salvage = False,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Allow samples that are NaN inside gaps.")
    ] = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Fill gaps in a recording from what is around them; writes IN.restored.EXT.

    Everything outside the gaps stays as it is, bit for bit; the run proves it and says so. The
    output has the format of the input.
    """
    from weft.cli.job import Request
    from weft.cli.running import start
    from weft.receipt import Settings, Task

    request = Request(
        inputs=(input,),
        task=Task(verb="inpaint", tags=tuple(tag or ()), style_weight=style_weight),
        output=output,
        gaps=tuple(gap or ()),
        labels=labels,
        use_cue=cue,
        pad_ms=pad_ms,
        clamp=clamp,
        references=tuple(like or ()),
        settings=Settings(
            model=model,
            takes=takes,
            seed=seed,
            steps=steps,
            fade_ms=fade_ms,
            min_confidence=min_confidence,
            fill_only=fill_only,
            handles_ms=handles_ms,
            salvage=salvage,
            allow_nonfinite=allow_nonfinite,
        ),
        receipt=receipt,
        report=report,
        overwrite=overwrite,
    )
    start(request, current_screen(), is_dry=dry_run)
