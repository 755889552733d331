"""Running a request: checks that need no recording, the work, and what is said about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.audio.handle import shown
from weft.cli.console import Screen, bytes_text, length_text, plural

if TYPE_CHECKING:
    from weft.cli.job import Job, Outcome, Request
    from weft.result import GapFill

MAX_ROWS = 24
"""Gaps that are shown one by one."""
_REGION_WORDS = {
    "inpaint": "gap",
    "continue": "continuation",
    "regenerate": "region",
    "transition": "transition",
    "generate": "piece",
}


def start(request: "Request", screen: Screen, *, is_dry: bool) -> None:
    """Do what was asked for, or say what would be done."""
    from weft.cli.job import prepare

    check_early(request)
    job = prepare(request)
    check_model(job)
    if is_dry:
        from weft.cli.plan import show_plan

        show_plan(job, screen)
    else:
        run(job, screen)


def check_model(job: "Job") -> None:
    """Refuse what the model cannot do, before anything is filled.

    Raises:
        UnsupportedCanvasError: it cannot.
    """
    from weft import zoo
    from weft.receipt import needs_no_model

    if not needs_no_model(job.request.task):
        zoo.load(job.request.settings.model).check(job.canvas)


def check_early(request: "Request") -> None:
    """Refuse what needs no recording to be refused.

    Raises:
        CheckpointError: no model has this name.
        ConfigError: the report's name does not end in .png.
        MissingDependencyError: a report was asked for and matplotlib is missing.
    """
    from weft import zoo
    from weft.errors import ConfigError
    from weft.receipt import needs_no_model

    if not needs_no_model(request.task):
        zoo.describe(request.settings.model)
    if request.report is not None:
        from weft.plots import check_matplotlib

        if request.report.suffix.lower() != ".png":
            raise ConfigError(f"{request.report}: the report is a PNG; let its name end in .png")
        check_matplotlib()


def run(job: "Job", screen: Screen) -> None:
    """Do the work, show it, and print the result."""
    from weft.cli.job import digest_inputs, execute, write_receipt, write_report

    files = digest_inputs(job)
    with screen.progress("filling", len(job.regions)) as on_progress:
        outcome = execute(job, on_progress=on_progress)
    for note in outcome.notes:
        screen.warn(note)
    wanted, got = job.request.settings.takes, len(outcome.result.takes)
    if got < wanted:
        screen.warn(f"{wanted} takes were asked for, there are only {got} different ones")
    report_path = write_report(job, outcome)
    receipt_path = write_receipt(job, outcome, files, screen.warnings)
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
    inputs = [
        {
            "path": str(path),
            "container": audio.format.container,
            "subtype": audio.format.subtype,
            "sample_rate": audio.sample_rate,
            "num_channels": audio.num_channels,
            "num_samples": audio.num_samples,
        }
        for path, audio in zip(job.request.inputs, job.recordings, strict=True)
    ]
    return {
        "verb": job.request.task.verb,
        "input": inputs[0] if inputs else None,
        "inputs": inputs,
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

    audio, verb = job.audio, job.request.task.verb
    channels = {1: "mono", 2: "stereo"}.get(audio.num_channels, f"{audio.num_channels} channels")
    format = job.recordings[0].format if job.recordings else job.format
    return (
        f"{shown(job.request.name)}: {format.container} {format.subtype}, "
        f"{audio.sample_rate} Hz, {channels}, "
        f"{format_time(audio.num_samples, audio.sample_rate)}; "
        f"{plural(len(job.regions), _REGION_WORDS[verb])}"
    )


def _say_gaps(job: "Job", outcome: "Outcome", screen: Screen) -> None:
    """Print a table of the gaps, or of the models where there are too many gaps."""
    gaps, rate = outcome.result.gaps, job.audio.sample_rate
    if len(gaps) <= MAX_ROWS:
        rows = [_row(gap, rate) for gap in gaps]
        word = _REGION_WORDS[job.request.task.verb]
        screen.table((word, ">length", "model", ">confidence", "how"), rows)
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
