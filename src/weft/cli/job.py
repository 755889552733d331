"""A run of a verb that fills, from the files named to the files written."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias, final

from weft import zoo
from weft.audio.audio import Audio, AudioFormat
from weft.audio.convert import converted
from weft.audio.formats import format_for_path, holds_exactly
from weft.audio.handle import shown
from weft.audio.proof import Proof
from weft.audio.publish import publish
from weft.audio.read import FileSource, read_audio
from weft.audio.write import write_audio
from weft.canvas import tasks
from weft.canvas.canvas import Canvas, Region, merge_regions
from weft.canvas.regions import fit_regions, read_cue_regions, read_labels, resolve_regions
from weft.canvas.style import Style
from weft.cli.console import to_json
from weft.cli.fills import fill_format, prove_handles, with_handles, write_fill
from weft.cli.outputs import base_name, check_outputs, numbered
from weft.errors import ConfigError, OutputError, RegionError
from weft.guidance import like
from weft.model import Progress, keep_draft
from weft.receipt import (
    InputFile,
    Settings,
    Task,
    make_receipt,
    needs_no_model,
    proof_facts,
    sha256_of,
)
from weft.result import FillResult

Files: TypeAlias = tuple[tuple[InputFile, ...], tuple[InputFile, ...]]
"""Recordings and references, with their digests."""
_DESCRIBING = {"bext", "iXML", "cue ", "smpl", "inst", "LIST", "id3 ", "ID3 ", "MARK", "INST",
               "NAME", "AUTH", "ANNO", "VORBIS_COMMENT", "PICTURE", "CUESHEET"}  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    inputs: tuple[Path, ...]
    """Recordings: none to generate, two for a transition, else one."""
    task: Task
    output: Path | None = None
    """A file or a directory; None: beside the input."""
    gaps: tuple[str, ...] = ()
    labels: Path | None = None
    use_cue: bool = False
    pad_ms: float | None = None
    clamp: bool = False
    references: tuple[Path, ...] = ()
    """Recordings that the fills should sound like."""
    settings: Settings
    receipt: bool = False
    report: Path | None = None
    overwrite: bool = False

    @property
    def takes_regions(self) -> bool:
        """Whether the user says which regions are filled."""
        return self.task.verb in ("inpaint", "regenerate")

    @property
    def name(self) -> str:
        """What it is about, for people."""
        return " and ".join(path.name for path in self.inputs) or "from nothing"


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """A request, checked against the recordings."""

    request: Request
    recordings: tuple[Audio, ...]
    """What was read, as it was read."""
    canvas: Canvas
    """What is to be filled."""
    format: AudioFormat
    """How the recording will be stored; unused where fills alone are written."""
    outputs: tuple[Path, ...]
    """What may be written: takes, or gaps times takes."""
    receipt_path: Path | None

    @property
    def audio(self) -> Audio:
        """The recording with what the task adds to it."""
        return self.canvas.audio

    @property
    def regions(self) -> tuple[Region, ...]:
        """What is filled."""
        return self.canvas.gaps

    @property
    def all_outputs(self) -> tuple[Path, ...]:
        """Every file that may be written."""
        extra = (self.request.report, self.receipt_path)
        return (*self.outputs, *(path for path in extra if path is not None))


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job did."""

    result: FillResult
    paths: tuple[Path, ...]
    format: AudioFormat
    proof: Proof
    num_clipped: int
    notes: tuple[str, ...]
    seconds: float
    cpu_seconds: float


def prepare(request: Request) -> Job:
    """Open the recordings, find the regions, and refuse at once what cannot be written.

    Raises:
        AudioFormatError: a recording cannot be read.
        RegionError: a region cannot be used, or there is none.
        ConfigError: a setting of the task cannot be used.
        OutputError: an output exists, or has no directory.
    """
    recordings = open_recordings(request)
    regions = find_regions(request, recordings[0]) if request.takes_regions else ()
    return plan_outputs(request, recordings, regions)


def open_recordings(request: Request) -> tuple[Audio, ...]:
    """Open the files that a request names."""
    settings = request.settings
    return tuple(
        read_audio(path, salvage=settings.salvage, allow_nonfinite=settings.allow_nonfinite)
        for path in request.inputs
    )


def make_canvas(request: Request, recordings: Sequence[Audio], regions: Sequence[Region]) -> Canvas:
    """Turn a request into a canvas; reads next to nothing, but converts what is to match."""
    task = request.task
    if task.verb == "continue":
        canvas = tasks.continuation(
            recordings[0], task.seconds, before=task.is_before, loop=task.is_loop
        )
    elif task.verb == "regenerate":
        canvas = tasks.regenerate(recordings[0], regions, task.strength)
    elif task.verb == "transition":
        first, second = recordings
        if task.match:
            second = converted(
                second, sample_rate=first.sample_rate, num_channels=first.num_channels
            )
        canvas = tasks.transition(
            first, second, task.seconds, task.strength, snap_beats=task.snap_beats
        )
    elif task.verb == "generate":
        canvas = tasks.generate(task.seconds, task.sample_rate, task.num_channels)
    else:
        canvas = tasks.inpaint(recordings[0], regions)
    return replace(canvas, style=_style(request))


def _style(request: Request) -> Style | None:
    """Return what the fills should sound like, None where nothing was said."""
    task = request.task
    if not request.references and not task.tags:
        return None
    known = like(*request.references).references if request.references else ()
    return Style(references=known, tags=task.tags, weight=task.style_weight)


def find_regions(request: Request, audio: Audio) -> tuple[Region, ...]:
    """Return all regions that options, a label file and the recording's own markers name."""
    rate, length = audio.sample_rate, audio.num_samples
    if length == 0:
        raise RegionError(
            f"{shown(request.inputs[0])}: it holds no samples, there is nothing to fill"
        )
    found = list(
        resolve_regions(request.gaps, sample_rate=rate, num_samples=length, clamp=request.clamp)
    )
    if request.labels is not None:
        labels = read_labels(
            request.labels, sample_rate=rate, num_samples=length, pad_ms=request.pad_ms
        )
        found += fit_regions(
            labels,
            sample_rate=rate,
            num_samples=length,
            clamp=request.clamp,
            origin=request.labels.name,
        )
    if request.use_cue:
        found += fit_regions(
            read_cue_regions(audio, pad_ms=request.pad_ms),
            sample_rate=rate,
            num_samples=length,
            clamp=request.clamp,
            origin=f"cue points of {request.inputs[0].name}",
        )
    if not found:
        option = "--region" if request.task.verb == "regenerate" else "--gap"
        raise ConfigError(
            f"nothing says what to fill; name it with {option} 12.3-12.85, --labels FILE or --cue"
        )
    return merge_regions(found)


def plan_outputs(request: Request, recordings: Sequence[Audio], regions: Sequence[Region]) -> Job:
    """Make the canvas, name every file that will be written, and check that it may be."""
    settings, task = request.settings, request.task
    canvas = make_canvas(request, recordings, regions)
    audio = recordings[0] if recordings else canvas.audio
    base = base_name(task.verb, request.inputs, request.output, audio, fill_only=settings.fill_only)
    format = fill_format(audio) if settings.fill_only else format_for_path(base, audio)
    paths = [base]
    if settings.fill_only and len(canvas.gaps) > 1:
        paths = [numbered(base, f"{i}") for i in range(1, len(canvas.gaps) + 1)]
    if settings.takes > 1:
        paths = [numbered(path, f"take{i}") for path in paths for i in range(1, settings.takes + 1)]
    job = Job(
        request=request,
        recordings=tuple(recordings),
        canvas=canvas,
        format=format,
        outputs=tuple(paths),
        receipt_path=base.with_name(f"{base.stem}.receipt.json") if request.receipt else None,
    )
    kept = [*request.references, *([request.labels] if request.labels is not None else [])]
    check_outputs(job.all_outputs, kept, overwrite=request.overwrite)
    return job


def execute(job: Job, *, on_progress: Progress | None = None) -> Outcome:
    """Fill, write, prove.

    Raises:
        WeftError: see `weft.model.Model.fill` and `weft.audio.write.write_audio`.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    settings = job.request.settings
    if needs_no_model(job.request.task):
        result = keep_draft(job.canvas)
    else:
        result = zoo.load(settings.model).fill(
            job.canvas,
            takes=settings.takes,
            seed=settings.seed,
            steps=settings.steps or None,
            fade_ms=settings.fade_ms,
            min_confidence=settings.min_confidence,
            on_progress=on_progress,
        )
    write = _write_fills if settings.fill_only else _write_takes
    outcome = write(job, result)
    return replace(
        outcome,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
    )


def _has_comments(source: FileSource) -> bool:
    """Return whether a FLAC file has comments: it always has the name of its encoder."""
    block = source.read_chunk("VORBIS_COMMENT") or b""
    vendor_bytes = int.from_bytes(block[:4], "little")
    return any(block[4 + vendor_bytes : 8 + vendor_bytes])


def _join_notes(job: Job, written: AudioFormat) -> list[str]:
    """Return what a recording made of others has lost of them, in words."""
    notes = []
    for path, audio in zip(job.request.inputs, job.recordings, strict=True):
        if job.audio is audio:  # edited in place: `write_audio` tells
            continue
        source = audio.source
        if not audio.format.is_lossy and not holds_exactly(audio.format, written):
            notes.append(
                f"{audio.format.subtype} samples of {path.name} were rounded to {written.subtype}"
            )
        names = {chunk.name for chunk in source.chunks} if isinstance(source, FileSource) else set()
        if isinstance(source, FileSource) and not _has_comments(source):
            names -= {"VORBIS_COMMENT"}
        if left := sorted(name.strip() for name in names & _DESCRIBING):
            notes.append(
                f"left behind, because they describe {path.name} as it was: {', '.join(left)}"
            )
    return notes


def _write_takes(job: Job, result: FillResult) -> Outcome:
    """Write each take of the whole recording."""
    names = job.outputs[: len(result.takes)]
    written = [
        write_audio(take, path, overwrite=job.request.overwrite, format=job.format)
        for take, path in zip(result.takes, names, strict=True)
    ]
    told = [note for one in written for note in one.notes]
    notes = dict.fromkeys([*told, *_join_notes(job, written[0].format)])
    worst = next((one.proof for one in written if not one.proof.is_identical), written[0].proof)
    return Outcome(
        result=result,
        paths=tuple(one.path for one in written),
        format=written[0].format,
        proof=worst,
        num_clipped=sum(one.num_clipped for one in written),
        notes=tuple(notes),
        seconds=0.0,
        cpu_seconds=0.0,
    )


def _write_fills(job: Job, result: FillResult) -> Outcome:
    """Write the gaps alone, with handles; gaps that were left alone are not written."""
    settings = job.request.settings
    written: list[tuple[Path, Region, Region]] = []
    num_clipped = 0
    for i, gap in enumerate(result.gaps):
        if gap.is_left_alone:
            continue
        span = with_handles(gap.region, job.audio, settings.handles_ms)
        for j in range(len(gap.takes)):
            path = job.outputs[i * settings.takes + j]
            at = f"{gap.region.start}-{gap.region.stop}"
            num_clipped += write_fill(
                result.takes[j],
                span,
                path,
                description=f"Fill of samples {at} by {gap.takes[j].model}",
                overwrite=job.request.overwrite,
            )
            written.append((path, span, gap.region))
    proof = prove_handles(job.audio, written)
    if not proof.is_identical:
        raise OutputError(f"{shown(job.outputs[0])}: the check failed, do not use it: {proof}")
    return Outcome(
        result=result,
        paths=tuple(path for path, _, _ in written),
        format=job.format,
        proof=proof,
        num_clipped=num_clipped,
        notes=(),
        seconds=0.0,
        cpu_seconds=0.0,
    )


def write_receipt(job: Job, outcome: Outcome, files: Files, warnings: Sequence[str]) -> Path | None:
    """Write the receipt where one was asked for, and return its path."""
    if job.receipt_path is None:
        return None
    inputs, references = files
    receipt = make_receipt(
        task=job.request.task,
        inputs=list(zip(job.recordings, inputs, strict=True)),
        references=references,
        settings=job.request.settings,
        gaps=outcome.result.gaps,
        sample_rate=job.audio.sample_rate,
        outputs=outcome.paths,
        facts={
            "format": asdict(outcome.format),
            "proof": proof_facts(outcome.proof),
            "warnings": list(warnings),
        },
    )
    with publish(job.receipt_path, overwrite=job.request.overwrite) as temporary:
        temporary.write_text(to_json(receipt) + "\n", encoding="utf-8")
    return job.receipt_path


def write_report(job: Job, outcome: Outcome) -> Path | None:
    """Draw the report where one was asked for, and return its path."""
    if job.request.report is None:
        return None
    from weft.plots import draw_report

    data = draw_report(outcome.result, title=shown(job.request.name))
    with publish(job.request.report, overwrite=job.request.overwrite) as temporary:
        temporary.write_bytes(data)
    return job.request.report


def digest_inputs(job: Job) -> Files:
    """Return the digests of what is read, where a receipt needs them; else nothing."""
    if job.receipt_path is None:
        return (), ()
    inputs, references = (
        tuple(InputFile(path=str(path.absolute()), sha256=sha256_of(path)) for path in paths)
        for paths in (job.request.inputs, job.request.references)
    )
    return inputs, references
