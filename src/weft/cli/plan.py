"""``--dry-run``: what would be done, and what it would cost."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from weft import zoo
from weft.audio.handle import shown
from weft.canvas.canvas import Region
from weft.canvas.filler import Filler
from weft.canvas.timecode import format_time
from weft.canvas.windows import BATCH_SAMPLES, context_samples, pieces_of, read_window
from weft.cli.console import Screen, bytes_text, length_text, plural
from weft.cli.job import Job
from weft.cli.running import MAX_ROWS, head_text, job_facts
from weft.model import DRAFT
from weft.receipt import needs_no_model, region_facts
from weft.rng import Rng

TRIAL_S = 3.0
"""How long gaps are tried, one after another, to find out what the rest will cost."""
_COPY_BYTES_PER_S = 4e8
_HELD = 6
"""Times a batch of windows is held: as read, as features, as candidates."""


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done."""

    models: dict[Region, str]
    """The model that fills each gap tried."""
    confidences: dict[Region, float]
    """How sure it was."""
    seconds: float
    """Processor time of the whole run."""
    peak_bytes: int
    """Peak memory of the whole run."""
    output_bytes: int
    """What all outputs take on the disk."""


def make_plan(job: Job) -> Plan:
    """Try some gaps for a short while, and estimate the rest from them.

    Gaps are tried in an order that spreads over all lengths. With few gaps all of them are tried,
    so that the plan says what each will be filled with.
    """
    if needs_no_model(job.request.task):
        return _plan_of_draft(job)
    filler, steps = zoo.load(job.request.settings.model).filler, job.request.settings.steps
    if steps:
        filler = filler.with_steps(steps)
    started = time.perf_counter()
    models: dict[Region, str] = {}
    confidences: dict[Region, float] = {}
    costs: dict[int, float] = {}
    for gap in _spread(job.regions):
        at = time.process_time()
        name, confidence, share = _try_gap(job, filler, gap, started + TRIAL_S)
        models[gap], confidences[gap] = name, confidence
        cost = (time.process_time() - at) / share
        costs[gap.num_samples] = max(costs.get(gap.num_samples, 0.0), cost)
        if time.perf_counter() - started > TRIAL_S:
            break
    lengths = sorted(costs)
    per_gap = np.interp(
        [gap.num_samples for gap in job.regions], lengths, [costs[length] for length in lengths]
    )
    output_bytes = _output_bytes(job)
    sizes = {gap: _window_bytes(job, filler, gap) for gap in job.regions}
    batch = min(sum(sizes.values()), 8 * BATCH_SAMPLES)
    tried = max(sizes[gap] for gap in models)
    return Plan(
        models=models,
        confidences=confidences,
        seconds=float(per_gap.sum()) + output_bytes / _COPY_BYTES_PER_S,
        peak_bytes=_peak_bytes() + _HELD * max(0, batch - tried),
        output_bytes=output_bytes,
    )


def _spread(regions: Sequence[Region]) -> list[Region]:
    """Return regions in an order whose beginning covers all lengths: ends, then middles."""
    ordered = sorted(regions, key=lambda region: region.num_samples)
    order = [0, len(ordered) - 1]
    step = len(ordered)
    while step > 1:
        order += range(step // 2, len(ordered), step)
        step //= 2
    return [ordered[i] for i in dict.fromkeys([*order, *range(len(ordered))])]


def _plan_of_draft(job: Job) -> Plan:
    """Return the plan of a run that keeps what is there."""
    output_bytes = _output_bytes(job)
    return Plan(
        models=dict.fromkeys(job.regions, DRAFT),
        confidences=dict.fromkeys(job.regions, 1.0),
        seconds=output_bytes / _COPY_BYTES_PER_S,
        peak_bytes=_peak_bytes(),
        output_bytes=output_bytes,
    )


def _try_gap(job: Job, filler: Filler, gap: Region, until: float) -> tuple[str, float, float]:
    """Fill one gap, or as much of it as time allows, and forget the fill.

    Returns:
        The model, how sure it was, and the share of the gap that was tried.
    """
    rate, settings = job.audio.sample_rate, job.request.settings
    name, confidence, done = "", 1.0, 0
    for piece in pieces_of(gap, filler, job.audio.sample_rate):
        context = context_samples(filler, piece, rate, num_channels=job.audio.num_channels)
        window = read_window(job.audio, piece, job.regions, context, canvas=job.canvas)
        fill = filler.fill([window], num_takes=settings.takes, rng=Rng(settings.seed))[0][0]
        name, confidence = fill.model, min(confidence, fill.confidence)
        done += piece.num_samples
        if time.perf_counter() > until:
            break
    return name, confidence, done / gap.num_samples


def _window_bytes(job: Job, filler: Filler, gap: Region) -> int:
    """Return what the window around a gap, or around its longest piece, takes in memory."""
    audio = job.audio
    piece = max(pieces_of(gap, filler, job.audio.sample_rate), key=lambda piece: piece.num_samples)
    context = context_samples(filler, piece, audio.sample_rate, num_channels=audio.num_channels)
    return 8 * (piece.num_samples + 2 * context) * audio.num_channels


def _output_bytes(job: Job) -> int:
    """Return about how many bytes all outputs take."""
    audio, settings = job.audio, job.request.settings
    if settings.fill_only:
        handles = 2 * round(settings.handles_ms * audio.sample_rate / 1000)
        samples = sum(gap.num_samples + handles for gap in job.regions)
        return samples * audio.num_channels * 4 * settings.takes
    if audio.path is not None and job.format == audio.format:
        return audio.path.stat().st_size * settings.takes
    return audio.num_samples * audio.num_channels * 4 * settings.takes


def _peak_bytes() -> int:
    """Return the most memory this process has held."""
    try:
        import resource
    except ImportError:
        return 200_000_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def show_plan(job: Job, screen: Screen) -> None:
    """Print the plan of a job; writes nothing."""
    plan = make_plan(job)
    rate = job.audio.sample_rate
    screen.say(head_text(job), style="bold")
    rows = [
        (
            f"{format_time(gap.start, rate)} to {format_time(gap.stop, rate)}",
            length_text(gap.num_samples, rate),
            plan.models.get(gap, "not tried"),
            f"{plan.confidences[gap]:.2f}" if gap in plan.confidences else "",
            _fate(job, plan, gap),
        )
        for gap in job.regions[:MAX_ROWS]
    ]
    screen.table(("gap", ">length", "model", ">confidence", ""), rows)
    if len(job.regions) > MAX_ROWS:
        screen.say(f"… and {plural(len(job.regions) - MAX_ROWS, 'more gap')}")
    free = shutil.disk_usage(job.outputs[0].parent).free
    for path in job.all_outputs[:MAX_ROWS]:
        screen.say(f"would write {shown(path)}" + (" (replacing it)" if path.exists() else ""))
    if len(job.all_outputs) > MAX_ROWS:
        screen.say(f"… and {plural(len(job.all_outputs) - MAX_ROWS, 'more file')}")
    screen.say(
        f"estimate: {plan.seconds:.1f} s of processor time, {bytes_text(plan.peak_bytes)} of "
        f"memory, {bytes_text(plan.output_bytes)} of {bytes_text(free)} free on the disk"
    )
    if plan.output_bytes > free:
        screen.warn("the outputs would not fit on the disk; free space, or write elsewhere with -o")
    screen.say("dry run: nothing was written")
    screen.emit({**job_facts(job), **_plan_facts(job, plan, free), "warnings": screen.warnings})


def _fate(job: Job, plan: Plan, gap: Region) -> str:
    wanted = job.request.settings.min_confidence
    return "would be left alone" if plan.confidences.get(gap, 1.0) < wanted else ""


def _plan_facts(job: Job, plan: Plan, free: int) -> dict[str, Any]:
    rate = job.audio.sample_rate
    return {
        "dry_run": True,
        "would_write": [str(path) for path in job.all_outputs],
        "gaps": [
            {
                **region_facts(gap),
                "start_s": gap.start / rate,
                "stop_s": gap.stop / rate,
                "model": plan.models.get(gap),
                "confidence": plan.confidences.get(gap),
            }
            for gap in job.regions
        ],
        "estimate": {
            "cpu_seconds": round(plan.seconds, 2),
            "peak_bytes": plan.peak_bytes,
            "output_bytes": plan.output_bytes,
            "free_bytes": free,
        },
    }
