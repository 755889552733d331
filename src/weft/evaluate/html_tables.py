"""Tables of a report page: results with intervals and cost, and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

from weft.evaluate.figures import Panel, panels_of
from weft.evaluate.markup import MISSING, count, name, number, text, whole

LEVEL = 0.05
"""Below this a Holm-adjusted p counts."""

_COSTS = (
    ("num_parameters", "parameters"),
    ("network_calls", "network calls"),
    ("cpu_s", "CPU s"),
    ("peak_mb", "peak MB"),
)
_JUDGED = ("model", "baseline")
_Row = Mapping[str, Any]
_Measure = Mapping[str, Any]
_Value = Mapping[str, Any]


def result_tables(summary: Mapping[str, Any]) -> str:
    """Return the tables of results: one a material and setting, sets of items apart from pairs.

    Args:
        summary: of an experiment.
    """
    pairs = [measure for measure in summary["measures"] if measure["kind"] == "pair"]
    sets = [measure for measure in summary["measures"] if measure["kind"] == "set"]
    parts = [
        "<p>Mean over the items, its 95 % interval below, and where both lie among the rows of the "
        'table. <span class="best">Marked</span> is the best mean of models and baselines; whether '
        "it is better for certain is for the paired differences to say. Cost is a mean over items, "
        "memory the most. Headings sort; the "
        "choice at the top shows one material or setting.</p>"
    ]
    for panel in panels_of(summary):
        rows = _rows_of(panel, summary["rows"])
        tables = []
        if pairs or not sets:
            tables.append(_table(rows, pairs, f"Items, {panel.title}", has_cost=True))
        if sets:
            tables.append(_table(rows, sets, f"Sets of items, {panel.title}", has_cost=not pairs))
        parts.append(_block(panel, "".join(tables)))
    return "".join(parts)


def difference_tables(summary: Mapping[str, Any]) -> str:
    """Return the tables of paired differences, each saying in words what is certain.

    Args:
        summary: of an experiment; without differences the answer is empty.
    """
    differences = summary["differences"]
    if not differences:
        return ""
    measures = [
        measure
        for measure in summary["measures"]
        if any(measure["name"] in row["metrics"] for row in differences)
    ]
    parts = [
        "<p>Row minus the row it is compared with, item by item. <strong>Bold</strong>: the 95 % "
        f"interval excludes 0 <em>and</em> the Holm-adjusted p is below {LEVEL:g}; each cell says "
        "which of the two holds.</p>"
    ]
    for panel in panels_of(summary):
        rows = _rows_of(panel, differences)
        if not rows:
            continue
        head = '<th scope="col">row</th>' + "".join(_heading(measure) for measure in measures)
        lines = "".join(
            f'<tr><th scope="row">{name(row["row"])}<small>minus {name(row["versus"])}</small></th>'
            + "".join(_difference(row["metrics"].get(m["name"]), m) for m in measures)
            + "</tr>"
            for row in rows
        )
        parts.append(_block(panel, _scroll(f"Differences, {panel.title}", head, lines)))
    return "".join(parts)


def _rows_of(panel: Panel, rows: Sequence[_Row]) -> list[_Row]:
    return [r for r in rows if (r["material"], r["setting"]) == (panel.material, panel.setting)]


def _block(panel: Panel, content: str) -> str:
    return (
        f'<div class="result" data-material="{text(panel.material)}" '
        f'data-setting="{text(panel.setting)}"><h3>{name(whole(panel.material))} · '
        f"{name(panel.setting)}</h3>{content}</div>"
    )


def _scroll(label: str, head: str, lines: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _table(
    rows: Sequence[_Row], measures: Sequence[_Measure], label: str, *, has_cost: bool
) -> str:
    """Return one table of rows."""
    costs = [c for c in _COSTS if any(row.get(c[0]) for row in rows)] if has_cost else []
    head = '<th scope="col">row</th><th scope="col" class="n">items<small>files</small></th>'
    head += "".join(_heading(measure) for measure in measures)
    head += "".join(f'<th scope="col" class="n cost">{title}</th>' for _, title in costs)
    best = {measure["name"]: _best(rows, measure) for measure in measures}
    spans = {measure["name"]: _span(rows, measure["name"]) for measure in measures}
    lines = []
    for row in rows:
        failed = f" <em>{row['num_failures']:,} failed</em>" if row["num_failures"] else ""
        cells = [
            f'<th scope="row">{name(row["row"])}<small>{text(row["kind"])}{failed}'
            f"{_models(row)}</small></th>",
            f'<td class="n" data-value="{row["num_items"]}">{row["num_items"]:,}'
            f"<small>{row['num_files']:,}</small></td>",
        ]
        for measure in measures:
            value = row["metrics"].get(measure["name"])
            shown = number(value["mean"] if value else None, measure["digits"])
            is_best = row["kind"] in _JUDGED and shown == best[measure["name"]]
            span = None if row["kind"] == "reference" else spans[measure["name"]]
            cells.append(_cell(value, measure, span, is_best=is_best))
        cells += [_cost(row.get(key), row["kind"], key) for key, _ in costs]
        lines.append(f'<tr class="{text(row["kind"])}">{"".join(cells)}</tr>')
    return _scroll(label, head, "".join(lines))


def _heading(measure: _Measure) -> str:
    """Return the heading of a measure; what is better is drawn and said."""
    arrow = "↑" if measure["better"] == "higher" else "↓"
    embedder = f"<small>{text(measure['embedder'])}</small>" if measure.get("embedder") else ""
    return (
        f'<th scope="col" class="n" title="{text(measure["note"])}">{text(measure["title"])} '
        f'<span class="arrow" role="img" aria-label="{text(measure["better"])} is better">{arrow}'
        f"</span>{embedder}</th>"
    )


def _models(row: _Row) -> str:
    """Return which models filled, where a row chose among several."""
    models = row.get("models") or {}
    if not set(models) - {row["row"]}:
        return ""
    return ", filled by " + ", ".join(f"{text(model)} {times:,}" for model, times in models.items())


def _best(rows: Sequence[_Row], measure: _Measure) -> str | None:
    """Return the best mean as it is shown, so that equal texts are marked alike.

    None where all are equal: then none is best.
    """
    means = [
        value["mean"]
        for row in rows
        if row["kind"] in _JUDGED
        and (value := row["metrics"].get(measure["name"])) is not None
        and value["mean"] is not None
    ]
    shown = {number(mean, measure["digits"]) for mean in means}
    if len(shown) < 2:
        return None
    best = max(means) if measure["better"] == "higher" else min(means)
    return number(best, measure["digits"])


def _span(rows: Sequence[_Row], key: str) -> tuple[float, float]:
    """Return the lowest and highest end of the intervals of all rows but references."""
    ends = [
        end
        for row in rows
        if row["kind"] != "reference" and (value := row["metrics"].get(key)) is not None
        for end in (value["low"], value["mean"], value["high"])
        if end is not None
    ]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _cell(
    value: _Value | None, measure: _Measure, span: tuple[float, float] | None, *, is_best: bool
) -> str:
    """Return a mean with its interval and, where a span is given, a small picture of both."""
    if value is None or value["mean"] is None:
        return f'<td class="n">{MISSING}</td>'
    digits, mean, low, high = measure["digits"], value["mean"], value["low"], value["high"]
    shown = number(mean, digits) + "*" * bool(value.get("is_singular"))
    if is_best:
        shown = f'<span class="best">{shown}</span><span class="hide"> best</span>'
    parts = [f'<td class="n" data-value="{mean:.9g}">{shown}']
    if low is None or high is None:
        low = high = mean
    else:
        parts.append(f"<small>{number(low, digits)} … {number(high, digits)}</small>")
    if span is not None and span[1] > span[0]:
        width = span[1] - span[0]
        a, m, b = (min(1.0, max(0.0, (end - span[0]) / width)) for end in (low, mean, high))
        parts.append(f'<i class="bar" style="--a:{a:.3f};--m:{m:.3f};--b:{b:.3f}"></i>')
    return "".join([*parts, "</td>"])


def _cost(value: float | int | None, kind: str, key: str) -> str:
    if value is None or kind == "reference":
        return f'<td class="n cost">{MISSING}</td>'
    shown = {"cpu_s": f"{value:.2f}", "peak_mb": f"{value:,.0f}"}.get(key, count(value))
    return f'<td class="n cost" data-value="{value:.9g}">{shown}</td>'


def _difference(value: _Value | None, measure: _Measure) -> str:
    """Return a difference, its interval, its p, and what follows from them in words."""
    if value is None or value["mean"] is None:
        return f'<td class="n">{MISSING}</td>'
    digits, mean, low, high = measure["digits"], value["mean"], value["low"], value["high"]
    p = value.get("p_holm")
    kind, words = _verdict(value, is_better=(mean > 0) == (measure["better"] == "higher"))
    shown = number(mean, digits, is_signed=True)
    shown = shown if kind == "open" else f"<strong>{shown}</strong>"
    parts = [f'<td class="n {kind}" data-value="{mean:.9g}">{shown}']
    if low is not None and high is not None:
        ends = [number(end, digits, is_signed=True) for end in (low, high)]
        parts.append(f"<small>{ends[0]} … {ends[1]}</small>")
    if p is not None:
        parts.append(f"<small>p {_p(value.get('p'))}, Holm {_p(p)}</small>")
    return "".join([*parts, f'<small class="words">{words}</small></td>'])


def _verdict(value: _Value, *, is_better: bool) -> tuple[str, str]:
    """Return what may be said of a difference, as a class and in words."""
    low, high, p = value["low"], value["high"], value.get("p_holm")
    if low is None or high is None:
        interval, excludes = "no interval", False
    else:
        excludes = low > 0 or high < 0
        interval = "interval excludes 0" if excludes else "interval holds 0"
    if p is None:
        test, is_small = "no test", False
    else:
        is_small = p < LEVEL
        test = f"p {'&lt;' if is_small else '≥'} {LEVEL:g}"
    kind = ("better" if is_better else "worse") if excludes and is_small else "open"
    return kind, f"{kind}: {interval}, {test}"


def _p(value: float | int | None) -> str:
    if value is None:
        return MISSING
    return "&lt; .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
