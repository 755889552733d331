"""Report: records become rows with intervals, as JSON and as Markdown."""

import math
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from weft.evaluate.gaps import ORIGINAL, GapsConfig
from weft.evaluate.journal import SCHEMA
from weft.evaluate.measures import MEASURES
from weft.evaluate.protocols import GapRecord
from weft.evaluate.statistics import (
    CONFIDENCE,
    NUM_RESAMPLES,
    Interval,
    clustered_mean,
    paired_difference,
)
from weft.version import __version__

EXTRA_MEASURES = ("level_mismatch_db", "click_db")
"""In JSON only."""

_ALL = "all"
_Groups = Mapping[tuple[str, float, str], Sequence[GapRecord]]


def summarise(
    config: GapsConfig,
    records: Iterable[GapRecord],
    *,
    materials: Sequence[str],
    versus: str | None = None,
) -> dict[str, Any]:
    """Turn the records of an experiment into a JSON object.

    Args:
        config: the experiment; records of other models, lengths and materials are left out.
        records: of the journal.
        materials: names of the corpora, in the order of tables.
        versus: row that all others are compared with, pair by pair; None: no comparison.
    """
    wanted = [
        record
        for record in records
        if record.row in config.rows
        and record.gap_ms in config.gap_ms
        and record.corpus in materials
    ]
    names = [*materials, _ALL] if len(materials) > 1 else list(materials)
    groups = _group(wanted, names)
    keys = [
        (material, gap_ms, row)
        for material in names
        for gap_ms in config.gap_ms
        for row in config.rows
        if (material, gap_ms, row) in groups
    ]
    return {
        "schema": SCHEMA,
        "settings": {**asdict(config), "materials": list(materials), "versus": versus},
        "statistics": {
            "interval": f"{100 * CONFIDENCE:g} % bootstrap, clustered by file, expanded percentile",
            "num_resamples": NUM_RESAMPLES,
        },
        "versions": _versions(),
        "measures": [asdict(measure) for measure in MEASURES],
        "rows": [_row(key, groups[key], config) for key in keys],
        "differences": _differences(groups, keys, versus, config) if versus else [],
        "failures": [
            {"corpus": r.corpus, "file": r.file, "gap_ms": r.gap_ms, "row": r.row, "error": r.error}
            for r in wanted
            if r.error
        ],
        "num_changed_outside": sum(r.num_changed for r in wanted),
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary: one for each material and length of gap."""
    settings = summary["settings"]
    lines = ["# Filled gaps", "", *_preamble(summary), ""]
    for material in dict.fromkeys(row["material"] for row in summary["rows"]):
        for gap_ms in settings["gap_ms"]:
            rows = [
                r for r in summary["rows"] if r["material"] == material and r["gap_ms"] == gap_ms
            ]
            if rows:
                first = rows[0]
                lines += [
                    f"## {material}, {gap_ms:g} ms "
                    f"({first['num_gaps']} gaps in {first['num_files']} files)",
                    "",
                    *_table(rows),
                    "",
                ]
    lines += _difference_tables(summary)
    lines += _choices(summary)
    lines += ["## Columns", "", *(_legend(summary)), ""]
    if summary["failures"]:
        lines += ["## Failures", ""]
        lines += [
            f"- {f['row']}, {f['gap_ms']:g} ms, {f['corpus']}/{f['file']}: {f['error']}"
            for f in summary["failures"]
        ]
        lines.append("")
    return "\n".join(lines)


def headline(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of a short table for the terminal; > begins a number's heading."""
    shown = ("lsd_gap", "snr_db", "level_fits", "no_click")
    headings = ["material", ">gap ms", "row", ">gaps", *(f">{_title(n)}" for n in shown), ">CPU s"]
    cells = [
        [
            row["material"],
            f"{row['gap_ms']:g}",
            row["row"],
            str(row["num_gaps"]),
            *(_cell(row["metrics"].get(name), _digits(name)) for name in shown),
            f"{row['cpu_s']:.2f}",
        ]
        for row in summary["rows"]
    ]
    return headings, cells


def _group(records: Iterable[GapRecord], names: Sequence[str]) -> _Groups:
    """Sort records into material, length and row; all materials together count as one more."""
    groups: dict[tuple[str, float, str], list[GapRecord]] = defaultdict(list)
    for record in records:
        groups[record.corpus, record.gap_ms, record.row].append(record)
        if _ALL in names:
            groups[_ALL, record.gap_ms, record.row].append(record)
    for group in groups.values():
        group.sort(key=lambda record: record.key)
    return dict(groups)


def _row(
    key: tuple[str, float, str], records: Sequence[GapRecord], config: GapsConfig
) -> dict[str, Any]:
    """Summarise one row."""
    good = [record for record in records if not record.error]
    clusters = [f"{record.corpus}/{record.file}" for record in good]
    return {
        "material": key[0],
        "gap_ms": key[1],
        "row": key[2],
        "num_gaps": len(good),
        "num_files": len(set(clusters)),
        "num_failures": len(records) - len(good),
        "metrics": {
            name: _interval(clustered_mean(_values(good, name), clusters, seed=config.seed))
            for name in _measured()
            if good
        },
        "network_calls": _mean(record.num_network_calls for record in good),
        "cpu_s": _mean(record.cpu_s for record in good),
        "peak_mb": max((record.peak_mb for record in good), default=0.0),
        "models": dict(Counter(record.model for record in good).most_common()),
    }


def _differences(
    groups: _Groups,
    keys: Sequence[tuple[str, float, str]],
    versus: str,
    config: GapsConfig,
) -> list[dict[str, Any]]:
    """Compare every row with one, gap by gap."""
    found = []
    for material, gap_ms, row in keys:
        base = {r.gap_key: r for r in groups.get((material, gap_ms, versus), ()) if not r.error}
        pairs = [
            (record, base[record.gap_key])
            for record in groups[material, gap_ms, row]
            if not record.error and record.gap_key in base
        ]
        if row in (versus, ORIGINAL) or not pairs:
            continue
        ours, theirs = zip(*pairs, strict=True)
        clusters = [f"{record.corpus}/{record.file}" for record in ours]
        found.append(
            {
                "material": material,
                "gap_ms": gap_ms,
                "row": row,
                "versus": versus,
                "metrics": {
                    name: _interval(
                        paired_difference(
                            _values(ours, name), _values(theirs, name), clusters, seed=config.seed
                        )
                    )
                    for name in _measured()
                },
            }
        )
    return found


def _measured() -> tuple[str, ...]:
    return (*(measure.name for measure in MEASURES), *EXTRA_MEASURES)


def _values(records: Sequence[GapRecord], name: str) -> np.ndarray:
    return np.array([record.metrics[name] for record in records], dtype=np.float64)


def _interval(interval: Interval) -> dict[str, float | int | None]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def _versions() -> dict[str, str]:
    import scipy
    import soundfile
    import soxr

    return {
        "weft": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "soxr": soxr.__version__,
        "soundfile": soundfile.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _preamble(summary: Mapping[str, Any]) -> list[str]:
    """Return what one must know to repeat or compare the tables."""
    settings, versions = summary["settings"], summary["versions"]
    rate = f"{settings['sample_rate']} Hz" if settings["sample_rate"] else "each file's own rate"
    where = (
        f"{settings['gaps_per_file']} gaps at once in an excerpt"
        if settings["is_multi"]
        else f"{settings['gaps_per_file']} gaps a file, one at a time"
    )
    changed = summary["num_changed_outside"]
    return [
        f"Split: {settings['split'] or 'all'}. {where.capitalize()}; {rate}, "
        f"{'mono' if settings['is_mono'] else 'all channels'}; excerpts of "
        f"{settings['excerpt_s']:g} s; {settings['takes']} takes; seed {settings['seed']}. "
        f"Means with {summary['statistics']['interval']} intervals. "
        f"Samples outside the gaps that changed: {changed}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one table of rows."""
    titles = [measure.title for measure in MEASURES]
    lines = [
        "| row | " + " | ".join(titles) + " | network calls | CPU s | peak MB |",
        "|---|" + "---:|" * (len(titles) + 3),
    ]
    for row in rows:
        cells = [_cell(row["metrics"].get(m.name), m.digits) for m in MEASURES]
        name = row["row"] + (f" ({row['num_failures']} failed)" if row["num_failures"] else "")
        is_made = row["peak_mb"] > 0
        cost = [
            f"{row['network_calls']:g}" if is_made else "-",
            f"{row['cpu_s']:.2f}" if is_made else "-",
            f"{row['peak_mb']:.0f}" if is_made else "-",
        ]
        lines.append("| " + " | ".join([name, *cells, *cost]) + " |")
    return lines


def _difference_tables(summary: Mapping[str, Any]) -> list[str]:
    """Return the paired differences, one table for each material."""
    versus = summary["settings"]["versus"]
    if not summary["differences"]:
        return []
    shown = [measure for measure in MEASURES if measure.name != "mel_excerpt"]
    lines = [f"## Differences from {versus}, gap by gap", ""]
    lines += ["Bold: the interval does not hold 0.", ""]
    lines += [
        "| material | gap ms | row | " + " | ".join(m.title for m in shown) + " |",
        "|---|---:|---|" + "---:|" * len(shown),
    ]
    for row in summary["differences"]:
        cells = [
            _cell(row["metrics"][m.name], m.digits, is_signed=True, is_marked=True) for m in shown
        ]
        lines.append(
            f"| {row['material']} | {row['gap_ms']:g} | {row['row']} | " + " | ".join(cells) + " |"
        )
    return [*lines, ""]


def _choices(summary: Mapping[str, Any]) -> list[str]:
    """Return which models filled the gaps of rows that chose among several."""
    rows = [r for r in summary["rows"] if set(r["models"]) - {r["row"]} and r["models"]]
    rows = [r for r in rows if " (best of " not in r["row"]]
    if not rows:
        return []
    lines = [
        "## Which model filled",
        "",
        "| material | gap ms | row | models |",
        "|---|---:|---|---|",
    ]
    for row in rows:
        models = ", ".join(f"{name} {count}" for name, count in row["models"].items())
        lines.append(f"| {row['material']} | {row['gap_ms']:g} | {row['row']} | {models} |")
    return [*lines, ""]


def _legend(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"- **{m.title}** ({m.better} is better): {m.note}." for m in MEASURES]
    takes = summary["settings"]["takes"]
    lines.append(
        "- **network calls, CPU s, peak MB**: a gap; processor time of all threads; most memory "
        "the process held."
    )
    lines.append("- **original**: what the measures say of a perfect fill; **silence**: of none.")
    if takes > 1:
        lines.append(
            f"- **best of {takes}**: the take nearest to the truth in LSD gap, chosen knowing it: "
            "a ceiling, not a result."
        )
    return lines


def _cell(
    value: Mapping[str, float | None] | None,
    digits: int,
    *,
    is_signed: bool = False,
    is_marked: bool = False,
) -> str:
    """Return a mean with its interval."""
    if value is None or value["mean"] is None:
        return "-"
    sign = "+" if is_signed else ""
    text = f"{value['mean']:{sign}.{digits}f}"
    low, high = value["low"], value["high"]
    if low is None or high is None:
        return text
    text += f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    return f"**{text}**" if is_marked and (low > 0 or high < 0) else text


def _title(name: str) -> str:
    return next(measure.title for measure in MEASURES if measure.name == name)


def _digits(name: str) -> int:
    return next(measure.digits for measure in MEASURES if measure.name == name)
