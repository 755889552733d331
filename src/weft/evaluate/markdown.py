"""Tables: a summary as Markdown and as a short table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from weft.evaluate.published import published_markdown

_COST = ("network calls", "parameters", "CPU s", "peak MB")


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary: one for each material and setting."""
    lines = [f"# {summary['title']}", "", *_preamble(summary), "", *overview(summary)]
    for material in dict.fromkeys(row["material"] for row in summary["rows"]):
        for setting in summary["settings"]["settings"]:
            rows = [
                row
                for row in summary["rows"]
                if row["material"] == material and row["setting"] == setting
            ]
            if rows:
                first = rows[0]
                lines += [
                    f"## {material}, {setting} "
                    f"({first['num_items']} items in {first['num_files']} recordings)",
                    "",
                    *table(rows, _shown(summary, "pair")),
                    "",
                ]
                columns = _shown(summary, "set")
                if columns:
                    lines += [*table(rows, columns, has_cost=False), ""]
    lines += _difference_tables(summary)
    lines += _choices(summary)
    lines += ["## Columns", "", *_legend(summary), ""]
    if summary["failures"]:
        lines += ["## Failures", ""]
        lines += [
            f"- {f['row']}, {f['setting']}, {f['corpus']}/{f['file']}: {f['error']}"
            for f in summary["failures"]
        ]
        lines.append("")
    lines += [published_markdown(summary["protocol"]), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def overview(summary: Mapping[str, Any]) -> list[str]:
    """Return small tables of the measures that say most: a line a row, a column a setting.

    Where there is one setting, a column a material.
    """
    materials = list(dict.fromkeys(row["material"] for row in summary["rows"]))
    settings = [
        setting
        for setting in summary["settings"]["settings"]
        if any(row["setting"] == setting for row in summary["rows"])
    ]
    lines: list[str] = []
    for measure in _headline_measures(summary):
        if len(settings) > 1:
            for material in materials:
                lines += [f"**{material}: {measure['title']}** ({measure['better']} is better)", ""]
                keys = [(material, setting) for setting in settings]
                lines += [*_pivot(summary, measure, keys, settings), ""]
        elif len(materials) > 1:
            lines += [f"**{measure['title']}** ({measure['better']} is better)", ""]
            keys = [(material, setting) for material in materials for setting in settings]
            lines += [*_pivot(summary, measure, keys, materials), ""]
    return ["## Overview", "", *lines] if lines else []


def headline(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of a short table for the terminal; > begins a number's heading."""
    shown = _headline_measures(summary)
    headings = [
        "material",
        "setting",
        "row",
        ">items",
        *(f">{measure['title']}" for measure in shown),
        ">CPU s",
    ]
    cells = [
        [
            row["material"],
            row["setting"],
            row["row"],
            str(row["num_items"]),
            *(cell(row["metrics"].get(m["name"]), m["digits"]) for m in shown),
            f"{row['cpu_s']:.2f}",
        ]
        for row in summary["rows"]
    ]
    return headings, cells


def table(
    rows: Sequence[Mapping[str, Any]],
    measures: Sequence[Mapping[str, Any]],
    *,
    has_cost: bool = True,
) -> list[str]:
    """Return rows as lines of Markdown."""
    titles = [measure["title"] for measure in measures] + list(_COST) * has_cost
    lines = ["| row | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for row in rows:
        cells = [cell(row["metrics"].get(m["name"]), m["digits"]) for m in measures]
        name = row["row"] + (f" ({row['num_failures']} failed)" if row["num_failures"] else "")
        if has_cost:
            cells += _cost_cells(row)
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def cell(
    value: Mapping[str, Any] | None,
    digits: int,
    *,
    is_signed: bool = False,
    is_marked: bool = False,
) -> str:
    """Return a mean with its interval; bold where a difference is sure, * where it is biased.

    Example:
        >>> cell({"mean": 1.0, "low": 0.5, "high": 2.0}, 1)
        '1.0 [0.5, 2.0]'
    """
    if value is None or value["mean"] is None:
        return "-"
    sign = "+" if is_signed else ""
    text = f"{value['mean']:{sign}.{digits}f}" + "*" * bool(value.get("is_singular"))
    low, high = value["low"], value["high"]
    if low is None or high is None:
        return text
    text += f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    p_value = value.get("p_holm")
    is_sure = (low > 0 or high < 0) and (p_value is None or p_value < 0.05)
    return f"**{text}**" if is_marked and is_sure else text


def _pivot(
    summary: Mapping[str, Any],
    measure: Mapping[str, Any],
    keys: Sequence[tuple[str, str]],
    titles: Sequence[str],
) -> list[str]:
    """Return one measure of all rows, in columns of material and setting."""
    values = {
        (row["row"], row["material"], row["setting"]): row["metrics"].get(measure["name"])
        for row in summary["rows"]
    }
    lines = ["| row | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name in dict.fromkeys(row["row"] for row in summary["rows"]):
        found = [values.get((name, *key)) for key in keys]
        if any(found):
            cells = [cell(value, measure["digits"]) for value in found]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _shown(summary: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the measures of a kind that tables show and some row has."""
    return [
        m
        for m in summary["measures"]
        if m["is_shown"]
        and m["kind"] == kind
        and any(row["metrics"].get(m["name"]) for row in summary["rows"])
    ]


def _headline_measures(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the few measures that fit a terminal."""
    wanted = (
        "lsd_gap",
        "lsd_content",
        "lsd_ssr_eval",
        "realism_ratio",
        "steepest",
        "odg",
        "visqol",
        "kid",
        "kid_train",
        "kl_paired",
        "no_click",
    )
    order = {name: i for i, name in enumerate(wanted)}
    found = _shown(summary, "pair") + _shown(summary, "set")
    named = [m for m in found if m["name"].partition(":")[0] in order]
    named.sort(key=lambda m: order[m["name"].partition(":")[0]])
    return named[:4]


def _cost_cells(row: Mapping[str, Any]) -> list[str]:
    """Return what a row cost; nothing where the protocol made it."""
    if not row["peak_mb"]:
        return ["-"] * len(_COST)
    return [
        f"{row['network_calls']:g}",
        f"{row['num_parameters']:,}",
        f"{row['cpu_s']:.2f}",
        f"{row['peak_mb']:.0f}",
    ]


def _preamble(summary: Mapping[str, Any]) -> list[str]:
    """Return what one must know to repeat or compare the tables."""
    settings, versions = summary["settings"], summary["versions"]
    rate = f"{settings['sample_rate']} Hz" if settings["sample_rate"] else "each file's own rate"
    own = {
        key: value
        for key, value in settings.items()
        if key
        not in (
            "protocol",
            "takes",
            "sample_rate",
            "is_mono",
            "split",
            "seed",
            "extras",
            "embedders",
            "settings",
            "models",
            "limit",
            "materials",
            "num_train_clips",
            "versus",
        )
    }
    lines = []
    if summary.get("command"):
        lines += ["<!-- not run -->", "```sh", summary["command"], "```", ""]
    lines += [
        f"Split: {settings['split'] or 'all'}; {rate}, "
        f"{'mono' if settings['is_mono'] else 'all channels'}; {settings['takes']} takes; seed "
        f"{settings['seed']}; "
        + ", ".join(f"{key} {value}" for key, value in own.items())
        + f". Means with intervals: {summary['statistics']['interval']}. "
        f"Samples outside the edits that changed: {summary['num_changed_outside']}.",
        "",
    ]
    for e in summary["embedders"]:
        lines += [
            f"Embedder {e['name']} ({e['digest'][:12]}): {e['num_dims']} numbers at "
            f"{e['sample_rate']} Hz; compared with {e['reference']}.",
            "",
        ]
    lines.append("Versions: " + ", ".join(f"{name} {v}" for name, v in versions.items()) + ".")
    return lines


def _difference_tables(summary: Mapping[str, Any]) -> list[str]:
    """Return the paired differences."""
    versus = summary["settings"]["versus"]
    if not summary["differences"]:
        return []
    compared = {name for d in summary["differences"] for name in d["metrics"]}
    shown = [
        m
        for m in (*_shown(summary, "pair"), *_shown(summary, "set"))
        if m["name"] in compared and m["name"] != "mel_excerpt"
    ]
    lines = [f"## Differences from {versus}, item by item", ""]
    lines += [
        "Bold: the interval does not hold 0, and p < 0.05 after Holm's correction for all "
        "comparisons of the measure.",
        "",
    ]
    lines += [
        "| material | setting | row | " + " | ".join(m["title"] for m in shown) + " |",
        "|---|---|---|" + "---:|" * len(shown),
    ]
    for row in summary["differences"]:
        cells = [
            cell(row["metrics"].get(m["name"]), m["digits"], is_signed=True, is_marked=True)
            for m in shown
        ]
        lines.append(
            f"| {row['material']} | {row['setting']} | {row['row']} | " + " | ".join(cells) + " |"
        )
    return [*lines, ""]


def _choices(summary: Mapping[str, Any]) -> list[str]:
    """Return which models answered in rows that chose among several."""
    rows = [
        r
        for r in summary["rows"]
        if r["kind"] == "model" and r["models"] and set(r["models"]) - {r["row"]}
    ]
    if not rows:
        return []
    lines = [
        "## Which model answered",
        "",
        "| material | setting | row | models |",
        "|---|---|---|---|",
    ]
    for row in rows:
        models = ", ".join(f"{name} {count}" for name, count in row["models"].items())
        lines.append(f"| {row['material']} | {row['setting']} | {row['row']} | {models} |")
    return [*lines, ""]


def _legend(summary: Mapping[str, Any]) -> list[str]:
    shown = (*_shown(summary, "pair"), *_shown(summary, "set"))
    lines = [f"- **{m['title']}** ({m['better']} is better): {m['note']}." for m in shown]
    if any(m["kind"] == "set" for m in shown):
        lines.append(
            "- **\\***: fewer vectors than a covariance of full rank needs: the Frechet distance "
            "is far too high: compare rows of one table only, or read KID."
        )
    takes = summary["settings"]["takes"]
    lines.append(
        "- **network calls, CPU s, peak MB**: an item; processor time of all threads; most memory "
        "the process held. **parameters**: of the networks."
    )
    kinds = {row["row"]: row["kind"] for row in summary["rows"]}
    if "original" in kinds:
        lines.append("- **original**: what the measures say of a perfect answer.")
    if "vorbis" in kinds:
        lines.append("- **vorbis**: the original through a lossy codec, Ogg Vorbis.")
    if any(kind == "ceiling" for kind in kinds.values()):
        lines.append(
            f"- **best of {takes}**: the take nearest to the truth, chosen knowing it: a ceiling, "
            "not a result."
        )
    return lines
