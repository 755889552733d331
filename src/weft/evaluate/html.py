"""HTML report: one page that needs nothing else, for reading, comparing and listening.

Every text from outside is escaped, the page's policy lets only its own script run, and nothing is
fetched.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from weft.evaluate.drawing import check_matplotlib
from weft.evaluate.examples import Example, Item
from weft.evaluate.figures import (
    curve_names,
    draw_boxes,
    draw_costs,
    draw_curves,
    panels_of,
)
from weft.evaluate.html_tables import difference_tables, result_tables
from weft.evaluate.listening import listening_html
from weft.evaluate.markup import ALL, name, number, text, whole
from weft.evaluate.published import (
    NOT_COMPARABLE,
    PublishedTable,
    format_value,
    tables,
)

SCHEMA = "weft.evaluate/2"
MAX_LISTENING_MB = 24.0
"""Sounds and pictures of a page together, unless told."""
COST_MEASURES = 4
"""Measures that quality against cost is drawn for: the first ones of the summary."""


def to_html(
    summary: Mapping[str, Any],
    records: Sequence[Item],
    examples: Sequence[Example],
    *,
    published: Sequence[PublishedTable] | None = None,
    max_listening_mb: float = MAX_LISTENING_MB,
) -> str:
    """Return a self-contained page of an experiment.

    Args:
        summary: of the schema `SCHEMA`.
        records: of the items, for box plots and curves.
        examples: to listen to, in order of importance.
        published: tables of papers; None: those of the summary's protocol.
        max_listening_mb: sounds and pictures of examples beyond this size are left out, and
            counted on the page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    check_matplotlib()
    if published is None:
        published = tables(summary["protocol"])
    measures = {measure["name"]: measure for measure in summary["measures"]}
    sections = [
        ("results", "Results", result_tables(summary)),
        ("differences", "Differences", difference_tables(summary)),
        ("boxes", "Item by item", _boxes(summary, records)),
        ("cost", "Quality against cost", _costs(summary)),
        ("curves", "Curves", _curves(summary, records)),
        (
            "listen",
            "Listen",
            listening_html(examples, measures, max_mb=max_listening_mb) if examples else "",
        ),
        ("paper", "Published", "".join(_published(table) for table in published)),
        ("failures", "Failures", _failures(summary)),
        ("about", "How to read", _about(summary)),
    ]
    sections = [section for section in sections if section[2]]
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{_HEADINGS.get(key, title)}</h2>{content}</section>'
        for key, title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{text(summary['title'])}</title><style>{_asset('page.css')}</style></head>"
        f'<body><a class="skip" href="#results">Skip to the results</a>{_header(summary)}'
        f'<nav aria-label="Sections"><div>{links}</div>{_filters(summary)}</nav>'
        f"<main>{body}</main><script>{script}</script></body></html>\n"
    )


_HEADINGS = {
    "differences": "Paired differences",
    "paper": "Published numbers",
    "failures": "What failed",
}


def _asset(file: str) -> str:
    return files("weft.evaluate").joinpath(file).read_text(encoding="utf-8")


def _header(summary: Mapping[str, Any]) -> str:
    """Return title, key figures, settings and versions."""
    rows = summary["rows"]
    materials = [panel.material for panel in panels_of(summary) if panel.material != ALL]
    changed = summary.get("num_changed_outside")
    figures = [
        ("protocol", text(summary["protocol"])),
        ("rows", f"{len({row['row'] for row in rows}):,}"),
        ("materials", f"{len(dict.fromkeys(materials)):,}"),
        ("files", f"{max((row['num_files'] for row in rows), default=0):,}"),
        ("items a row", f"{max((row['num_items'] for row in rows), default=0):,}"),
        ("failures", f"{sum(row['num_failures'] for row in rows if row['material'] != ALL):,}"),
    ]
    if changed is not None:
        figures.append(("changed outside", f"{changed:,}"))
    cells = "".join(
        f"<div{_alarm(title, value)}><dt>{title}</dt><dd>{value}</dd></div>"
        for title, value in figures
    )
    lists = [("Settings", summary["settings"]), ("Versions", summary["versions"])]
    if summary.get("embedders"):
        lists.append(
            (
                "Embedders",
                {
                    e["name"]: f"{e['num_dims']} dimensions at {e['sample_rate']} Hz, "
                    f"reference {e['reference']}, digest {e['digest']}"
                    for e in summary["embedders"]
                },
            )
        )
    details = "".join(
        f"<details><summary>{title}</summary><dl>"
        + "".join(
            f"<div><dt>{name(key)}</dt><dd>{text(_plain(value))}</dd></div>"
            for key, value in content.items()
        )
        + "</dl></details>"
        for title, content in lists
    )
    return (
        f'<header class="top"><p class="brand">weft evaluate</p><h1>{name(summary["title"])}</h1>'
        f'<dl class="figures">{cells}</dl><div class="facts">{details}</div></header>'
    )


def _alarm(title: str, value: str) -> str:
    return ' class="alarm"' if title in ("failures", "changed outside") and value != "0" else ""


def _plain(value: object) -> str:
    """Return a setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(entry) for entry in value)
    return "none" if value is None or value == "" else str(value)


def _filters(summary: Mapping[str, Any]) -> str:
    """Return the choice of material and setting; the script shows it."""
    panels = panels_of(summary)
    parts = []
    for key, listed in (
        ("material", dict.fromkeys(panel.material for panel in panels)),
        ("setting", dict.fromkeys(panel.setting for panel in panels)),
    ):
        if len(listed) > 1:
            options = "".join(
                f'<option value="{text(entry)}"{" selected" if entry == ALL else ""}>'
                f"{text(whole(entry))}</option>"
                for entry in listed
            )
            parts.append(
                f'<label>{key} <select data-filter="{key}"><option value="">every</option>'
                f"{options}</select></label>"
            )
    return f'<form class="filters" hidden>{"".join(parts)}</form>' if parts else ""


def _figure(title: str, svg: str, *, is_open: bool) -> str:
    state = " open" if is_open else ""
    return (
        f"<details class=plot{state}><summary>{title}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{svg}</div></details>'
    )


def _boxes(summary: Mapping[str, Any], records: Sequence[Item]) -> str:
    drawn: list[str] = []
    for measure in summary["measures"]:
        if measure["kind"] == "pair" and (svg := draw_boxes(summary, records, measure)):
            drawn.append(_figure(text(measure["title"]), svg, is_open=not drawn))
    if not drawn:
        return ""
    return (
        "<p>One box a row: first to third quartile, the line in it the median, whiskers to the 5th "
        "and 95th percentile, the diamond the mean. References do not set the scale; a triangle "
        "at the edge stands for one beyond it.</p>" + _KINDS_KEY + "".join(drawn)
    )


def _costs(summary: Mapping[str, Any]) -> str:
    listed = dict.fromkeys(panel.material for panel in panels_of(summary))
    materials = [ALL] if ALL in listed else list(listed)
    measures = [m for m in summary["measures"] if m["kind"] == "pair"][:COST_MEASURES]
    drawn: list[str] = []
    for measure in measures:
        for material in materials:
            svg = draw_costs(summary, measure, material)
            if svg:
                title = f"{text(measure['title'])}, {text(whole(material))}"
                drawn.append(_figure(title, svg, is_open=not drawn))
    if not drawn:
        return ""
    return (
        "<p>Logarithmic axes of cost with a place for 0. The step line joins the rows that nothing "
        "cheaper beats; bars are 95 % intervals; hollow dots are ceilings, chosen knowing the "
        "truth.</p>" + _KINDS_KEY + "".join(drawn)
    )


def _curves(summary: Mapping[str, Any], records: Sequence[Item]) -> str:
    drawn: list[str] = []
    for curve in curve_names(records):
        svg = draw_curves(summary, records, curve)
        if svg:
            drawn.append(_figure(text(curve), svg, is_open=True))
    if not drawn:
        return ""
    return (
        "<p>Mean over all items, from start to end of what was filled; shaded: the middle half of "
        "a model's items. Thin dotted: references.</p>" + "".join(drawn)
    )


def _published(table: PublishedTable) -> str:
    """Return one table of a paper."""
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        if groups and groups[-1][0] == column.group and column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    spans = "".join(f'<th scope="colgroup" colspan="{n}">{text(group)}</th>' for group, n in groups)
    has_groups = any(group for group, _ in groups)
    head = f"<tr><td></td>{spans}</tr>" if has_groups else ""
    head += '<tr><th scope="col">system</th>' + "".join(
        f'<th scope="col" class="n">{text(column.title)} '
        f"<small>{text(column.unit)} {'↑' if column.better == 'higher' else '↓'}</small></th>"
        for column in table.columns
    )
    lines, notes = [], list(table.notes)
    if table.spread:
        notes.append(f"±: {table.spread}.")
    for row in table.rows:
        cells = []
        for i, column in enumerate(table.columns):
            value = format_value(table, row, i).replace("-", "\u2212")
            doubt = table.doubt(row.name, column.name)
            if doubt:
                value += f' <abbr title="{text(doubt)}">?</abbr>'
                notes.append(f"? {row.name}, {column.name}: {doubt}.")
            cells.append(f'<td class="n">{value}</td>')
        note = f" <small>{text(row.note)}</small>" if row.note else ""
        lines.append(f'<tr><th scope="row">{text(row.name)}{note}</th>{"".join(cells)}</tr>')
    listed = "".join(f"<li>{text(note)}</li>" for note in notes)
    return (
        f'<div class="published"><p class="stamp">{NOT_COMPARABLE}</p><h3>{text(table.title)}</h3>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(table.title)}">'
        f"<table><thead>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<dl class="source"><div><dt>source</dt><dd>{text(table.source)}</dd></div>'
        f"<div><dt>data</dt><dd>{text(table.dataset)}</dd></div>"
        f"<div><dt>protocol</dt><dd>{text(table.protocol)}</dd></div></dl>"
        f"{f'<ul>{listed}</ul>' if listed else ''}</div>"
    )


def _failures(summary: Mapping[str, Any]) -> str:
    if not summary.get("failures"):
        return ""
    lines = "".join(
        f"<tr><td>{name(f['corpus'])}</td><td>{name(f['file'])}</td><td>{name(f['setting'])}</td>"
        f"<td>{name(f['row'])}</td><td>{text(f['error'])}</td></tr>"
        for f in summary["failures"]
    )
    heads = "".join(
        f'<th scope="col">{title}</th>' for title in ("corpus", "file", "setting", "row", "error")
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Failures"><table class="plain">'
        f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _about(summary: Mapping[str, Any]) -> str:
    """Return what every measure, kind of row and statistic means."""
    entries = []
    for measure in summary["measures"]:
        embedder = f" Embedder: {text(measure['embedder'])}." if measure.get("embedder") else ""
        entries.append(
            f"<div><dt>{text(measure['title'])}</dt><dd>{text(measure['note'])}. "
            f"{text(measure['better']).capitalize()} is better.{embedder}</dd></div>"
        )
    statistics = summary["statistics"]
    entries += [
        f"<div><dt>intervals</dt><dd>{text(statistics['interval'])}; "
        f"{number(statistics['num_resamples'], 0)} resamples.</dd></div>",
        f"<div><dt>test of differences</dt><dd>{text(statistics['test'])}.</dd></div>",
        "<div><dt>reference</dt><dd>a row that shows what the measures say of a known answer, such "
        "as the original.</dd></div>",
        "<div><dt>*</dt><dd>fewer vectors than a covariance of full rank needs: the distance is "
        "far too high, and only rows of one table compare.</dd></div>",
        "<div><dt>ceiling</dt><dd>chosen knowing the truth: what could be reached, not a result."
        "</dd></div>",
    ]
    return f'<dl class="about">{"".join(entries)}</dl>'


_KINDS_KEY = (
    '<p class="key"><span class="k-model">model</span><span class="k-baseline">baseline</span>'
    '<span class="k-ceiling">ceiling</span><span class="k-reference">reference</span></p>'
)
