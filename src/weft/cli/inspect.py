"""``weft inspect``: what a file holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.console import Screen, bytes_text, current_screen, length_text, plural

if TYPE_CHECKING:
    from weft.audio.audio import Audio
    from weft.cli.survey import Run, Survey

MAX_SHOWN = 12
"""Regions, chunks or runs shown of a kind."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inspect", no_args_is_help=True)(inspect)


def inspect(
    input: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Read what is left of a file that was cut off.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a file holds: format, length, chunks, markers, levels, and what looks damaged.

    Reads the file once, in constant memory.
    """
    from weft.audio.read import read_audio
    from weft.cli.survey import survey

    screen = current_screen()
    audio = read_audio(input, salvage=salvage, allow_nonfinite=True)
    with screen.progress("reading", audio.num_samples) as on_progress:
        found = survey(audio, on_progress=on_progress)
    facts = _facts(input, audio, found)
    _show(screen, input, audio, found)
    screen.emit({**facts, "warnings": screen.warnings})


def _facts(path: Path, audio: "Audio", found: "Survey") -> dict[str, Any]:
    from weft.canvas.regions import read_cue_points

    return {
        "path": str(path),
        "num_bytes": path.stat().st_size,
        "container": audio.format.container,
        "subtype": audio.format.subtype,
        "endian": audio.format.endian,
        "is_lossy": audio.format.is_lossy,
        "sample_rate": audio.sample_rate,
        "num_channels": audio.num_channels,
        "num_samples": audio.num_samples,
        "duration_s": audio.duration_s,
        "chunks": [{"name": name, "num_bytes": num_bytes} for name, num_bytes in _chunks(audio)],
        "markers": [
            {"start": point.start, "num_samples": point.num_samples, "label": point.label}
            for point in read_cue_points(audio)
        ],
        "peak_db": found.peak_db,
        "rms_db": found.rms_db,
        "bandwidth_hz": found.bandwidth_hz,
        "num_clipped": found.num_clipped,
        "num_over": found.num_over,
        "num_nonfinite": found.num_nonfinite,
        "num_silent": found.num_silent,
        "clipped_runs": [_run_facts(run) for run in found.clipped],
        "silent_runs": [_run_facts(run) for run in found.silent],
        "num_clipped_runs": found.num_clipped_runs,
        "num_silent_runs": found.num_silent_runs,
    }


def _run_facts(run: "Run") -> dict[str, int]:
    return {"start": run.start, "stop": run.stop}


def _chunks(audio: "Audio") -> list[tuple[str, int]]:
    from weft.audio.read import FileSource

    if not isinstance(audio.source, FileSource):
        return []
    return [(chunk.name, chunk.num_bytes) for chunk in audio.source.chunks]


def _show(screen: Screen, path: Path, audio: "Audio", found: "Survey") -> None:
    """Print the facts as a table."""
    from weft.audio.handle import shown
    from weft.canvas.regions import read_cue_points
    from weft.canvas.timecode import format_time

    rate, format = audio.sample_rate, audio.format
    endian = "" if format.endian == "FILE" else f", {format.endian.lower()}-endian"
    lossy = ", lossy" if format.is_lossy else ""
    rows = [
        ("file", f"{shown(path)} ({bytes_text(path.stat().st_size)})"),
        ("format", f"{format.container} {format.subtype}{endian}{lossy}"),
        ("rate", f"{rate:,} Hz"),
        ("channels", f"{audio.num_channels}"),
        ("length", f"{format_time(audio.num_samples, rate)}, {audio.num_samples:,} samples"),
        ("peak", _per_channel(found.peak_db)),
        ("rms", _per_channel(found.rms_db)),
        ("bandwidth", _bandwidth(found.bandwidth_hz, rate)),
    ]
    chunks = _chunks(audio)
    if chunks:
        names = ", ".join(f"{name.strip()} {bytes_text(size)}" for name, size in chunks[:MAX_SHOWN])
        rows.append(("chunks", names + (" …" if len(chunks) > MAX_SHOWN else "")))
    for point in read_cue_points(audio)[:MAX_SHOWN]:
        length = f", {length_text(point.num_samples, rate)}" if point.num_samples else ""
        rows.append(("marker", f"{format_time(point.start, rate)}{length} {point.label}".rstrip()))
    rows.append(("clipped", _runs(found.num_clipped, found.num_clipped_runs, found.clipped, rate)))
    if found.num_over:
        rows.append(("over full scale", plural(found.num_over, "sample")))
    silent = found.num_silent
    rows.append(("digital silence", _runs(silent, found.num_silent_runs, found.silent, rate)))
    if found.num_nonfinite:
        rows.append(("not a number", plural(found.num_nonfinite, "sample")))
    screen.table(("fact", "value"), rows)


def _per_channel(levels_db: tuple[float | None, ...]) -> str:
    return ", ".join("silent" if db is None else f"{db:.1f} dB" for db in levels_db)


def _bandwidth(bandwidth_hz: float | None, rate: int) -> str:
    if bandwidth_hz is None:
        return "nothing to measure"
    if bandwidth_hz >= 0.48 * rate:
        return f"full, up to {rate / 2:,.0f} Hz"
    return f"up to about {bandwidth_hz:,.0f} Hz of {rate / 2:,.0f} Hz"


def _runs(num_samples: int, num_runs: int, runs: "tuple[Run, ...]", rate: int) -> str:
    """Return where runs are, the first few."""
    from weft.canvas.timecode import format_time

    if not num_runs:
        return "none"
    places = [
        f"{format_time(run.start, rate)} ({length_text(run.stop - run.start, rate)})"
        for run in runs[:MAX_SHOWN]
    ]
    more = f" and {num_runs - len(places):,} more" if num_runs > len(places) else ""
    return (
        f"{plural(num_samples, 'sample')} in {plural(num_runs, 'run')}: {', '.join(places)}{more}"
    )
