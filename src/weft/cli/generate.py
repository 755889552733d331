"""``weft generate``: make sound from nothing."""

from typing import Annotated

import typer

from weft.cli import options as o
from weft.cli.console import current_screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("generate", no_args_is_help=True)(generate)


def generate(
    seconds: o.Seconds,
    text: Annotated[
        list[str] | None,
        typer.Argument(help="What should be heard, for models that take text; there is none yet."),
    ] = None,
    output: o.Output = None,
    like: o.Like = None,
    tag: o.Tag = None,
    style_weight: o.StyleWeight = 1.0,
    rate: Annotated[int, typer.Option(help="Sample rate, in Hz.")] = 44100,
    channels: Annotated[int, typer.Option(help="Audio channels.")] = 2,
    model: o.Model = "weft-latent",
    takes: o.Takes = 1,
    seed: o.Seed = 0,
    steps: o.Steps = 0,
    receipt: o.Receipt = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make sound from nothing, or like a recording or a class; writes generated.wav.

    It is 32-bit float WAV unless the ending of -o says otherwise.
    """
    from weft.api import check_text
    from weft.cli.job import Request
    from weft.cli.running import start
    from weft.receipt import Settings, Task

    check_text(" ".join(text or ()))
    request = Request(
        inputs=(),
        task=Task(
            verb="generate",
            seconds=seconds,
            sample_rate=rate,
            num_channels=channels,
            tags=tuple(tag or ()),
            style_weight=style_weight,
        ),
        output=output,
        references=tuple(like or ()),
        settings=Settings(model=model, takes=takes, seed=seed, steps=steps),
        receipt=receipt,
        overwrite=overwrite,
    )
    start(request, current_screen(), is_dry=dry_run)
