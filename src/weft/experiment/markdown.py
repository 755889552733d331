"""Tables of an experiment, as Markdown and for the terminal."""

import statistics
from collections.abc import Mapping, Sequence

from weft.evaluate.statistics import Interval
from weft.experiment.spec import ExperimentSpec
from weft.experiment.summary import (
    ArmSummary,
    Difference,
    MeasureSummary,
    Records,
    compare_starts,
    summarise,
)

_LEGEND = """- Mean: over items and seeds. Intervals of 95 % are about *other recordings*: a bootstrap that draws whole
  recordings, of items averaged over seeds. They hold for these trained networks.
- Difference: arm minus baseline, item by item and seed by seed, so that what is hard about an item cancels.
- p, recordings: flips of signs, a sign a recording; below 6 recordings it cannot reach 0.05.
- p, seeds: Student's t over the differences of the seeds, which are listed last. Two trainings that differ in nothing
  that matters end in other weights, and recordings alone would call one of them better.
- Both p values are corrected for the number of arms (Holm), not for the number of measures. A difference is **bold** where
  the larger of the two stays below 0.05 after that; with one seed, or one recording, none is.
"""  # noqa: E501 - lines of a page

_SHAPES = """Arms of one seed see the same examples in the same order, and their noise comes from the same generators. Same-shape
arms start from the same weights, tensor by tensor, which was compared. An arm of another shape cannot: tensors of other
shapes have no equals, and because first weights are drawn one after another from one generator, all that are drawn after
the first of them differ, too. Its difference to the baseline holds the chance of another start, which only seeds average
out.
"""  # noqa: E501 - lines of a page


def to_markdown(
    spec: ExperimentSpec, records: Records, *, failures: Mapping[tuple[str, int], str] | None = None
) -> str:
    """Return the page of an experiment.

    Args:
        spec: the experiment.
        records: its finished runs, by arm and seed.
        failures: what failed, by arm and seed.
    """
    lines = [f"# {spec.title}", ""]
    if spec.about:
        lines += [spec.about, ""]
    lines += [*_preamble(spec, records), ""]
    for measure in summarise(spec, records):
        lines += [*_measure_table(spec, measure), ""]
    lines += ["## Arms", "", *_arm_table(spec, records), "", _SHAPES, "## Columns", "", _LEGEND]
    if failures:
        lines += ["## Failures", ""]
        lines += [f"- {arm}, seed {seed}: {text}" for (arm, seed), text in failures.items()]
    return "\n".join(lines).rstrip("\n") + "\n"


def headline(spec: ExperimentSpec, records: Records) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of a short table for the terminal; > begins a number's heading."""
    summaries = summarise(spec, records)
    headings = ["arm", ">seeds", *(f">{measure.name}" for measure in summaries)]
    cells = []
    for arm in spec.arms:
        found = [_find(measure, arm) for measure in summaries]
        num_seeds = max((len(one.seeds) for one in found if one), default=0)
        cells.append([arm, str(num_seeds), *(_short(one) for one in found)])
    return headings, cells


def _find(measure: MeasureSummary, arm: str) -> ArmSummary | None:
    return next((one for one in measure.arms if one.arm == arm), None)


def _short(one: ArmSummary | None) -> str:
    if one is None:
        return "-"
    if one.difference is None:
        return f"{one.mean.mean:.4g}"
    mark = "*" if one.difference.is_real else ""
    return f"{one.mean.mean:.4g} ({one.difference.interval.mean:+.2g}{mark})"


def _preamble(spec: ExperimentSpec, records: Records) -> list[str]:
    ours = {key: record for key, record in records.items() if key in set(spec.runs())}
    environments = [record.environment for record in ours.values()]
    versions = [
        f"{name} {', '.join(dict.fromkeys(str(e.get(name)) for e in environments))}"
        for name in ("weft", "torch", "device", "precision", "threads")
        if environments
    ]
    steps = dict.fromkeys(str(record.loop.get("steps")) for record in ours.values())
    lines = [
        f"Recipe `{spec.recipe}`, preset `{spec.preset}`, "
        + (f"data {', '.join(spec.data)}, " if spec.data else "")
        + f"seeds {', '.join(map(str, spec.seeds))}, {' or '.join(steps) or 'no'} steps; "
        f"{len(ours)} of {len(spec.runs())} runs finished.",
    ]
    if spec.settings:
        lines.append(f"Settings of all arms: {_settings(spec.settings)}.")
    if versions:
        lines.append(f"Made with {'; '.join(versions)}.")
    if num := len(records) - len(ours):
        lines.append(f"{num} more runs in the results belong to arms or seeds not named any more.")
    return lines


def _measure_table(spec: ExperimentSpec, measure: MeasureSummary) -> list[str]:
    if not measure.arms:
        return [f"## {measure.name}", "", "No run is finished."]
    first = measure.arms[0].mean
    lines = [
        f"## {measure.name} ({measure.better} is better; {first.num_values} items in "
        f"{first.num_clusters} recordings)",
        "",
        f"| arm | mean [95 %] | difference to {spec.baseline} [95 %] | p, recordings | p, seeds "
        "| of each seed |",
        "|---|---|---|---|---|---|",
    ]
    for one in measure.arms:
        cells = [one.arm, _interval(one.mean), *_difference(one.difference)]
        if one.difference and one.difference.interval.num_values < one.mean.num_values:
            cells[2] += f" ({one.difference.interval.num_values} items in common)"
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _difference(found: Difference | None) -> list[str]:
    if found is None:
        return ["", "", "", ""]
    mean = f"{found.interval.mean:+.3g}"
    return [
        (f"**{mean}**" if found.is_real else mean) + _ends(found.interval, "+.3g"),
        _p(found.p_recordings),
        _p(found.p_seeds),
        ", ".join(f"{value:+.2g}" for value in found.of_seeds.values()),
    ]


def _interval(found: Interval) -> str:
    return f"{found.mean:.4g}" + _ends(found, ".4g")


def _ends(found: Interval, digits: str) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" [{found.low:{digits}}, {found.high:{digits}}]"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _arm_table(spec: ExperimentSpec, records: Records) -> list[str]:
    lines = ["| arm | settings | start | seeds | s a run |", "|---|---|---|---|---|"]
    for arm, settings in spec.arms.items():
        ours = [records[arm, seed] for seed in spec.seeds if (arm, seed) in records]
        start = "baseline" if arm == spec.baseline else compare_starts(spec, records, arm).text
        lines.append(
            f"| {arm} | {_settings(settings)} | {start} | {len(ours)} "
            f"| {_median([record.seconds for record in ours])} |"
        )
    return lines


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}" if values else "-"


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items()) or "as the preset"
