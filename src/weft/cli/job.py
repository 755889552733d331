"""A run of ``weft inpaint``, from the files named to the files written."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from weft import api
from weft.audio.audio import Audio, AudioFormat
from weft.audio.formats import default_format, default_suffix, format_for_path
from weft.audio.handle import shown
from weft.audio.proof import Proof
from weft.audio.publish import check_output, publish
from weft.audio.read import read_audio
from weft.audio.write import write_audio
from weft.canvas.canvas import Region, merge_regions
from weft.canvas.regions import fit_regions, read_cue_regions, read_labels, resolve_regions
from weft.cli.console import to_json
from weft.cli.fills import fill_format, prove_handles, with_handles, write_fill
from weft.errors import ConfigError, OutputError, RegionError
from weft.model import FillResult, Progress
from weft.receipt import Settings, make_receipt, sha256_of


@final
@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    input: Path
    output: Path | None = None
    """A file or a directory; None: beside the input."""
    gaps: tuple[str, ...] = ()
    labels: Path | None = None
    use_cue: bool = False
    pad_ms: float | None = None
    clamp: bool = False
    settings: Settings
    receipt: bool = False
    report: Path | None = None
    overwrite: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """A request, checked against the recording."""

    request: Request
    audio: Audio
    regions: tuple[Region, ...]
    format: AudioFormat
    """How the recording will be stored; unused where fills alone are written."""
    outputs: tuple[Path, ...]
    """What may be written: takes, or gaps times takes."""
    receipt_path: Path | None

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
    """Open the recording, find the regions, and refuse at once what cannot be written.

    Raises:
        AudioFormatError: the recording cannot be read.
        RegionError: a region cannot be used, or there is none.
        OutputError: an output exists, or has no directory.
    """
    settings = request.settings
    audio = read_audio(
        request.input, salvage=settings.salvage, allow_nonfinite=settings.allow_nonfinite
    )
    regions = find_regions(request, audio)
    return plan_outputs(request, audio, regions)


def find_regions(request: Request, audio: Audio) -> tuple[Region, ...]:
    """Return all regions that options, a label file and the recording's own markers name."""
    rate, length = audio.sample_rate, audio.num_samples
    if length == 0:
        raise RegionError(f"{shown(request.input)}: it holds no samples, there is nothing to fill")
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
            origin=f"cue points of {request.input.name}",
        )
    if not found:
        raise ConfigError(
            "nothing says what to fill; name it with --gap 12.3-12.85, --labels FILE or --cue"
        )
    return merge_regions(found)


def plan_outputs(request: Request, audio: Audio, regions: Sequence[Region]) -> Job:
    """Name every file that will be written, and check that it may be."""
    settings = request.settings
    base = _base_name(request, audio)
    format = fill_format(audio) if settings.fill_only else format_for_path(base, audio)
    paths = [base]
    if settings.fill_only and len(regions) > 1:
        paths = [_numbered(base, f"{i}") for i in range(1, len(regions) + 1)]
    if settings.takes > 1:
        paths = [
            _numbered(path, f"take{i}") for path in paths for i in range(1, settings.takes + 1)
        ]
    receipt = base.with_name(f"{base.stem}.receipt.json") if request.receipt else None
    job = Job(
        request=request,
        audio=audio,
        regions=tuple(regions),
        format=format,
        outputs=tuple(paths),
        receipt_path=receipt,
    )
    taken = [request.labels.resolve()] if request.labels is not None else []
    for path in job.all_outputs:
        _check_output(path, taken, overwrite=request.overwrite)
        taken.append(path.resolve())
    return job


def _base_name(request: Request, audio: Audio) -> Path:
    """Return the output's name before takes and gaps are numbered."""
    source, wanted, fill_only = request.input, request.output, request.settings.fill_only
    if fill_only:
        suffix = ".wav"
        if wanted is not None and wanted.suffix.lower() != ".wav" and not wanted.is_dir():
            raise ConfigError(
                f"{shown(wanted)}: fills are written as WAV; let the name end in .wav"
            )
    else:
        suffix = _own_suffix(source, audio)
    default = f"{source.stem}.{'fill' if fill_only else 'restored'}{suffix}"
    if wanted is None:
        return source.with_name(default)
    return wanted / default if wanted.is_dir() else wanted


def _own_suffix(source: Path, audio: Audio) -> str:
    """Return the input's ending if it is right, or that of the format that will be written."""
    format = default_format(audio)
    try:
        is_right = format == audio.format == format_for_path(source, audio)
    except ConfigError:
        is_right = False
    return source.suffix if is_right and source.suffix else default_suffix(format)


def _numbered(path: Path, part: str) -> Path:
    return path.with_name(f"{path.stem}.{part}{path.suffix}")


def _check_output(path: Path, taken: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        OutputError: it exists, is a directory, has no directory to stand in, or another file of
            this run has its name.
    """
    if path.resolve() in taken:
        raise OutputError(f"{shown(path)}: another file of this run has that name; choose another")
    if path.is_file() and not overwrite:
        raise OutputError(
            f"{shown(path)}: it exists already and was left as it is; name another file with -o, "
            "or allow it with --overwrite"
        )
    check_output(path, overwrite=overwrite)


def execute(job: Job, *, on_progress: Progress | None = None) -> Outcome:
    """Fill, write, prove.

    Raises:
        WeftError: see `weft.api.inpaint` and `weft.audio.write.write_audio`.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    settings = job.request.settings
    result = api.inpaint(
        job.audio,
        job.regions,
        model=settings.model,
        takes=settings.takes,
        seed=settings.seed,
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


def _write_takes(job: Job, result: FillResult) -> Outcome:
    """Write each take of the whole recording."""
    names = job.outputs[: len(result.takes)]
    written = [
        write_audio(take, path, overwrite=job.request.overwrite)
        for take, path in zip(result.takes, names, strict=True)
    ]
    notes = dict.fromkeys(note for one in written for note in one.notes)
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


def write_receipt(
    job: Job, outcome: Outcome, input_sha256: str, warnings: Sequence[str]
) -> Path | None:
    """Write the receipt where one was asked for, and return its path."""
    if job.receipt_path is None:
        return None
    receipt = make_receipt(
        audio=job.audio,
        input_sha256=input_sha256,
        settings=job.request.settings,
        gaps=outcome.result.gaps,
        outputs=outcome.paths,
        format=asdict(outcome.format),
        proof=outcome.proof,
        warnings=warnings,
    )
    with publish(job.receipt_path, overwrite=job.request.overwrite) as temporary:
        temporary.write_text(to_json(receipt) + "\n", encoding="utf-8")
    return job.receipt_path


def write_report(job: Job, outcome: Outcome) -> Path | None:
    """Draw the report where one was asked for, and return its path."""
    if job.request.report is None:
        return None
    from weft.plots import draw_report

    data = draw_report(outcome.result, title=shown(job.request.input.name))
    with publish(job.request.report, overwrite=job.request.overwrite) as temporary:
        temporary.write_bytes(data)
    return job.request.report


def input_digest(job: Job) -> str:
    """Return the digest of the input where a receipt needs it."""
    return sha256_of(job.request.input) if job.receipt_path is not None else ""
