"""``weft inpaint``: fill gaps in a recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.audio.handle import shown
from weft.cli.console import Screen, bytes_text, current_screen, length_text, plural

if TYPE_CHECKING:
    from weft.cli.job import Job, Outcome, Request
    from weft.model import GapFill

MAX_ROWS = 24
"""Gaps that are shown one by one."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inpaint", no_args_is_help=True)(inpaint)


def inpaint(
    input: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File or directory; IN.restored.EXT unless given."),
    ] = None,
    gap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="What to fill: 12.3-12.85, 1:02.5-1:03, 12.3+0.55, 44100s-88200s (samples), "
            "start-0.5, 59-end. Repeat it for several.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label file: Audacity labels, CSV or TSV.")
    ] = None,
    cue: Annotated[bool, typer.Option("--cue", help="Fill regions marked in IN itself.")] = False,
    pad_ms: Annotated[
        float | None, typer.Option(help="What a point label or marker covers on each side.")
    ] = None,
    clamp: Annotated[
        bool, typer.Option("--clamp", help="Cut gaps that reach beyond the end.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|DIR", help="See 'weft models list'; or a trained model's folder."
        ),
    ] = "auto",
    takes: Annotated[int, typer.Option(help="How many different fills to write.")] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal output.")] = 0,
    fade_ms: Annotated[float, typer.Option(help="Cross-fade inside each end of a gap.")] = 10.0,
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
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Write OUT.receipt.json, for 'weft replay'.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw before and after.")
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Use what is left of a file that was cut off.")
    ] = False,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Allow samples that are NaN inside gaps.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Fill gaps in a recording from what is around them.

    Everything outside the gaps stays as it is, bit for bit; the run proves it and says so. The
    output has the format of the input.
    """
    from weft.cli.job import Request, prepare
    from weft.receipt import Settings

    screen = current_screen()
    request = Request(
        input=input,
        output=output,
        gaps=tuple(gap or ()),
        labels=labels,
        use_cue=cue,
        pad_ms=pad_ms,
        clamp=clamp,
        settings=Settings(
            model=model,
            takes=takes,
            seed=seed,
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
    check_early(request)
    job = prepare(request)
    if dry_run:
        from weft.cli.plan import show_plan

        show_plan(job, screen)
    else:
        run(job, screen)


def check_early(request: "Request") -> None:
    """Refuse what needs no recording to be refused.

    Raises:
        CheckpointError: no model has this name.
        ConfigError: the report's name does not end in .png.
        MissingDependencyError: a report was asked for and matplotlib is missing.
    """
    from weft import zoo
    from weft.errors import ConfigError

    zoo.describe(request.settings.model)
    if request.report is not None:
        from weft.plots import check_matplotlib

        if request.report.suffix.lower() != ".png":
            raise ConfigError(f"{request.report}: the report is a PNG; let its name end in .png")
        check_matplotlib()


def run(job: "Job", screen: Screen) -> None:
    """Do the work, show it, and print the result."""
    from weft.cli.job import execute, input_digest, write_receipt, write_report

    digest = input_digest(job)
    with screen.progress("filling", len(job.regions)) as on_progress:
        outcome = execute(job, on_progress=on_progress)
    for note in outcome.notes:
        screen.warn(note)
    wanted, got = job.request.settings.takes, len(outcome.result.takes)
    if got < wanted:
        screen.warn(f"{wanted} takes were asked for, there are only {got} different ones")
    report_path = write_report(job, outcome)
    receipt_path = write_receipt(job, outcome, digest, screen.warnings)
    _say_head(job, screen)
    _say_gaps(job, outcome, screen)
    _say_files(job, outcome, [path for path in (report_path, receipt_path) if path], screen)
    screen.emit(
        {
            **job_facts(job),
            **outcome_facts(job, outcome),
            "report": None if report_path is None else str(report_path),
            "receipt": None if receipt_path is None else str(receipt_path),
            "warnings": screen.warnings,
        }
    )


def job_facts(job: "Job") -> dict[str, Any]:
    """Return what is known before the work, for JSON."""
    audio = job.audio
    return {
        "input": {
            "path": str(job.request.input),
            "container": audio.format.container,
            "subtype": audio.format.subtype,
            "sample_rate": audio.sample_rate,
            "num_channels": audio.num_channels,
            "num_samples": audio.num_samples,
        },
        "model": job.request.settings.model,
        "seed": job.request.settings.seed,
    }


def outcome_facts(job: "Job", outcome: "Outcome") -> dict[str, Any]:
    """Return what was done, for JSON."""
    from weft.receipt import gap_facts, proof_facts

    return {
        "outputs": [str(path) for path in outcome.paths],
        "format": {
            "container": outcome.format.container,
            "subtype": outcome.format.subtype,
        },
        "num_clipped": outcome.num_clipped,
        "gaps": [gap_facts(gap, job.audio.sample_rate) for gap in outcome.result.gaps],
        "scores_db": list(outcome.result.scores),
        "proof": proof_facts(outcome.proof),
        "seconds": round(outcome.seconds, 3),
        "cpu_seconds": round(outcome.cpu_seconds, 3),
    }


def _say_head(job: "Job", screen: Screen) -> None:
    audio = job.audio
    unknown = sum(region.num_samples for region in job.regions)
    screen.say(
        f"{head_text(job)}, {length_text(unknown, audio.sample_rate)} in all",
        style="bold",
    )


def head_text(job: "Job") -> str:
    """Return what is to be filled, in words."""
    from weft.canvas.timecode import format_time

    audio = job.audio
    channels = {1: "mono", 2: "stereo"}.get(audio.num_channels, f"{audio.num_channels} channels")
    format = audio.format
    return (
        f"{shown(job.request.input.name)}: {format.container} {format.subtype}, "
        f"{audio.sample_rate} Hz, {channels}, "
        f"{format_time(audio.num_samples, audio.sample_rate)}; {plural(len(job.regions), 'gap')}"
    )


def _say_gaps(job: "Job", outcome: "Outcome", screen: Screen) -> None:
    """Print a table of the gaps, or of the models where there are too many gaps."""
    gaps, rate = outcome.result.gaps, job.audio.sample_rate
    if len(gaps) <= MAX_ROWS:
        rows = [_row(gap, rate) for gap in gaps]
        screen.table(("gap", ">length", "model", ">confidence", "how"), rows)
        return
    groups: dict[str, list[GapFill]] = {}
    for gap in gaps:
        groups.setdefault("left alone" if gap.is_left_alone else gap.takes[0].model, []).append(gap)
    screen.table(
        ("model", ">gaps", ">shortest", ">longest", ">lowest confidence"),
        [
            (
                name,
                f"{len(group):,}",
                length_text(min(gap.region.num_samples for gap in group), rate),
                length_text(max(gap.region.num_samples for gap in group), rate),
                f"{min(gap.takes[0].confidence for gap in group):.2f}",
            )
            for name, group in groups.items()
        ],
    )


def _row(gap: "GapFill", rate: int) -> tuple[str, ...]:
    from weft.canvas.timecode import format_time

    region, take = gap.region, gap.takes[0]
    start, stop = (format_time(n, rate).removesuffix(" s") for n in (region.start, region.stop))
    how = "left alone" if gap.is_left_alone else _how(take.details)
    if len(gap.takes) > 1 and not gap.is_left_alone:
        how += f" ({len(gap.takes)} takes)"
    length = length_text(region.num_samples, rate)
    label = region.label if len(region.label) <= 32 else region.label[:31] + "…"
    name = f"{start}-{stop} {label}".rstrip()
    return name, length, take.model, f"{take.confidence:.2f}", how


def _how(details: Any) -> str:
    """Return the facts a model tells, in a few words."""
    if "source_s" in details:
        return f"copied from {float(details['source_s']):.3f} s"
    words = [value for value in details.values() if isinstance(value, str)]
    if words:
        return "; ".join(words[:2])
    return ", ".join(
        f"{key.replace('_', ' ')} {value:g}" for key, value in list(details.items())[:3]
    )


def _say_files(job: "Job", outcome: "Outcome", others: list[Path], screen: Screen) -> None:
    """Print what was written, the proof and the time."""
    format = f"{outcome.format.container} {outcome.format.subtype}"
    for path in outcome.paths[:MAX_ROWS]:
        screen.say(f"wrote {shown(path)} ({format}, {bytes_text(path.stat().st_size)})")
    if len(outcome.paths) > MAX_ROWS:
        screen.say(f"… and {plural(len(outcome.paths) - MAX_ROWS, 'more file')}")
    if not outcome.paths:
        screen.say("wrote nothing: every gap was left alone")
    for path in others:
        screen.say(f"wrote {shown(path)} ({bytes_text(path.stat().st_size)})")
    style = "green" if outcome.proof.is_identical else "bold red"
    screen.say(f"proof: {outcome.proof}", style=style)
    if outcome.num_clipped:
        screen.say(f"clipped: {plural(outcome.num_clipped, 'sample')} of the fills")
    screen.say(f"{outcome.seconds:.1f} s ({outcome.cpu_seconds:.1f} s of processor time)")
