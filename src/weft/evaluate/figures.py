"""Figures of a report: box plots, quality against cost, and curves, as SVG for a page.

Colours are variables of the page's style sheet, so that one picture serves a light and a dark
page; text stays text.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float

from weft.evaluate.drawing import (
    BETWEEN_IN,
    DIM,
    INK,
    KINDS,
    LINE,
    SERIES,
    label_points,
    make_grid,
    name_panel,
    set_log_axis,
    short_name,
    to_svg,
)
from weft.evaluate.examples import Item
from weft.evaluate.markup import ALL, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = (
    ("num_parameters", "parameters"),
    ("network_calls", "network calls an item"),
    ("cpu_s", "CPU seconds an item"),
    ("peak_mb", "peak memory, MB"),
)
"""Keys and names of what quality is plotted against."""


@final
@dataclass(frozen=True, kw_only=True)
class Panel:
    """What identifies one panel of a figure."""

    material: str
    """Corpus, or ``all`` for all together."""
    setting: str
    """Such as ``300 ms``."""

    @property
    def title(self) -> str:
        """Heading of the panel."""
        return f"{whole(self.material)}, {self.setting}"


def panels_of(summary: Mapping[str, Any]) -> list[Panel]:
    """Return the combinations of material and setting of a summary, in its order."""
    found = dict.fromkeys((row["material"], row["setting"]) for row in summary["rows"])
    return [Panel(material=material, setting=setting) for material, setting in found]


def kinds_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return every row's kind, in the order of the summary."""
    return {row["row"]: row["kind"] for row in summary["rows"]}


def draw_boxes(
    summary: Mapping[str, Any], records: Sequence[Item], measure: Mapping[str, Any]
) -> str:
    """Return box plots of one measure as SVG: a panel a material and setting, a box a row.

    A box reaches from the first to the third quartile, the line in it is the median, the whiskers
    reach the 5th and 95th percentile, and the diamond is the mean. Rows of kind ``reference`` do
    not set the scale; a median beyond it is drawn as a triangle at the edge.

    Returns:
        SVG; empty where there is no value, or all are 0 or 1, of which a table says more.
    """
    kinds = kinds_of(summary)
    panels = panels_of(summary)
    groups = _grouped(records)
    table = {}
    for panel in panels:
        for row in kinds:
            values = _values(groups.get((panel.material, panel.setting, row), ()), measure["name"])
            if len(values):
                table[panel, row] = values
    pooled = np.concatenate([np.empty(0), *table.values()])
    if np.isin(pooled, (0.0, 1.0)).all():
        return ""
    scaled = [v for (_, row), v in table.items() if kinds[row] != "reference"] or [*table.values()]
    ends = np.array([np.quantile(values, [0.05, 0.95]) for values in scaled])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    pad = 0.04 * (high - low) or 0.5
    settings = list(dict.fromkeys(panel.setting for panel in panels))
    materials = list(dict.fromkeys(panel.material for panel in panels))
    rows = [row for row in kinds if any(key[1] == row for key in table)]
    height = len(materials) * (0.17 * len(rows) + BETWEEN_IN) + 0.25

    def draw(figure: "Figure") -> None:
        grid = make_grid(figure, len(materials), len(settings), left_in=1.75, apart_in=0.16)
        for panel in panels:
            i, j = materials.index(panel.material), settings.index(panel.setting)
            axes = figure.add_subplot(grid[i, j])
            name_panel(axes, panel.title)
            axes.set_xlim(low - pad, high + pad)
            _row_axis(axes, rows, is_named=j == 0)
            for y, row in enumerate(rows):
                values = table.get((panel, row))
                if values is not None:
                    _draw_box(axes, y, values, KINDS[kinds[row]], (low - pad, high + pad))
            if i == len(materials) - 1:
                axes.set_xlabel(f"{measure['title']} ({measure['better']} is better)")
            else:
                axes.tick_params(labelbottom=False)

    return to_svg(draw, height, f"boxes {measure['name']}")


def draw_costs(summary: Mapping[str, Any], measure: Mapping[str, Any], material: str) -> str:
    """Return a measure's means against four costs as SVG: a line of panels a setting.

    Axes of cost are logarithmic, with a place for 0 at their left. Filled dots are models and
    baselines, hollow ones ceilings; the step line joins those that nothing cheaper beats. Costs
    that no row has, or that are 0 for all, are left out.

    Returns:
        SVG; empty where no row has both a mean and a cost.
    """
    found = [
        row
        for row in summary["rows"]
        if row["material"] == material
        and row["kind"] != "reference"
        and (row["metrics"].get(measure["name"]) or {}).get("mean") is not None
    ]
    settings = list(dict.fromkeys(row["setting"] for row in found))
    costs = [(key, name) for key, name in COSTS if any((row.get(key) or 0) > 0 for row in found)]
    if not costs:
        return ""

    def draw(figure: "Figure") -> None:
        grid = make_grid(
            figure, len(settings), len(costs), left_in=0.55, right_in=1.05, apart_in=1.35
        )
        for i, setting in enumerate(settings):
            shown = [row for row in found if row["setting"] == setting]
            for j, (key, name) in enumerate(costs):
                axes = figure.add_subplot(grid[i, j])
                if j == 0:
                    axes.set_ylabel(measure["title"])
                name_panel(axes, f"{whole(material)}, {setting}" if j == 0 else "")
                if i == len(settings) - 1:
                    axes.set_xlabel(name)
                _draw_cost(axes, [r for r in shown if r.get(key) is not None], key, measure)

    most = max(sum(row["setting"] == setting for row in found) for setting in settings)
    height = len(settings) * (max(1.5, 0.118 * most) + BETWEEN_IN) + 0.35
    return to_svg(draw, height, f"costs {measure['name']} {material}")


def draw_curves(summary: Mapping[str, Any], records: Sequence[Item], name: str) -> str:
    """Return curves as SVG: mean along the item and, for models, the middle half of all items.

    Curves of unlike lengths are brought to one by linear interpolation from start to end.

    Returns:
        SVG; empty where no record has this curve.
    """
    kinds = kinds_of(summary)
    along = np.linspace(0, 1, 61)
    groups = _grouped(records)
    table = {}
    for panel in panels_of(summary):
        for row in kinds:
            group = groups.get((panel.material, panel.setting, row), ())
            curves = _curves(group, name, along)
            if len(curves):
                table[panel, row] = curves
    panels = list(dict.fromkeys(panel for panel, _ in table))
    rows = [row for row in kinds if any(key[1] == row for key in table)]
    columns = min(3, len(panels))
    if not panels:
        return ""
    lines = -(-len(panels) // columns)

    def draw(figure: "Figure") -> None:
        grid = make_grid(figure, lines, columns, bottom_in=0.42 + 0.2 * -(-len(rows) // 5))
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(grid[i // columns, i % columns])
            name_panel(axes, panel.title)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
            if i % columns == 0:
                axes.set_ylabel(short_name(name))
            for k, row in enumerate(rows):
                if (panel, row) in table:
                    _draw_curve(axes, along, table[panel, row], k, row, kinds[row])
        _legend(figure, rows, kinds)

    return to_svg(draw, 2.7 * lines + 0.35 + 0.2 * -(-len(rows) // 5), f"curves {name}")


def curve_names(records: Sequence[Item]) -> list[str]:
    """Return the names of all curves that records have, in the order of their appearance."""
    return list(dict.fromkeys(name for record in records for name in record.curves))


def _grouped(records: Sequence[Item]) -> dict[tuple[str, str, str], list[Item]]:
    """Return the items that did not fail by material, setting and row; `ALL` holds every one."""
    groups: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for record in records:
        if not record.error:
            for material in (record.corpus, ALL):
                groups[material, record.setting, record.row].append(record)
    return groups


def _values(items: Sequence[Item], metric: str) -> Float[np.ndarray, " v"]:
    """Return a metric's finite values."""
    listed = [item.metrics[metric] for item in items if metric in item.metrics]
    values = np.array(listed, dtype=np.float64)
    return values[np.isfinite(values)]


def _curves(
    items: Sequence[Item], name: str, along: Float[np.ndarray, " l"]
) -> Float[np.ndarray, "v l"]:
    """Return the curves that have no hole, at the given places from start to end."""
    found = []
    for item in items:
        curve = np.asarray(item.curves.get(name, ()), dtype=np.float64)
        if len(curve) > 1 and np.isfinite(curve).all():
            found.append(np.interp(along, np.linspace(0, 1, len(curve)), curve))
    return np.array(found).reshape(-1, len(along))


def _draw_box(
    axes: "Axes",
    y: int,
    values: Float[np.ndarray, " v"],
    color: str,
    limits: tuple[float, float],
) -> None:
    low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    if not limits[0] <= middle <= limits[1]:
        is_right = middle > limits[1]
        edge = limits[1] if is_right else limits[0]
        marker = ">" if is_right else "<"
        axes.plot([edge], [y], marker=marker, color=color, markersize=4, clip_on=False)
        return
    axes.plot([low, high], [y, y], color=color, linewidth=0.9)
    axes.plot([first, third], [y, y], color=color, linewidth=6, alpha=0.35, solid_capstyle="butt")
    axes.plot([middle], [y], marker="|", color=color, markersize=7, markeredgewidth=2)
    axes.plot([values.mean()], [y], marker="D", color=INK, markersize=2.4, linestyle="none")


def _draw_cost(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, measure: Mapping[str, Any]
) -> None:
    """Draw one panel of quality against a cost."""
    name, is_lower = measure["name"], measure["better"] == "lower"
    costs = np.array([float(row[key]) for row in rows])
    means = np.array([float(row["metrics"][name]["mean"]) for row in rows])
    positions = set_log_axis(axes, costs)
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    front = [
        i
        for i, row in enumerate(rows)
        if row["kind"] != "ceiling"
        and not any(
            other["kind"] != "ceiling"
            and costs[j] <= costs[i]
            and (means[j] < means[i] if is_lower else means[j] > means[i])
            for j, other in enumerate(rows)
        )
    ]
    front.sort(key=lambda i: costs[i])
    axes.step(positions[front], means[front], where="post", color=DIM, linewidth=0.8, alpha=0.7)
    for i, row in enumerate(rows):
        value, color = row["metrics"][name], KINDS[row["kind"]]
        if value.get("low") is not None and value.get("high") is not None:
            ends = [value["low"], value["high"]]
            axes.plot([positions[i]] * 2, ends, color=color, linewidth=1, alpha=0.5)
        face = "none" if row["kind"] == "ceiling" else color
        axes.plot(
            [positions[i]],
            [means[i]],
            marker="o",
            markersize=4.5,
            color=color,
            markerfacecolor=face,
        )
    names = [(short_name(row["row"], 18), KINDS[row["kind"]]) for row in rows]
    axes.set_xlim(*axes.get_xlim())
    label_points(axes, positions, means, names)


def _draw_curve(
    axes: "Axes",
    along: Float[np.ndarray, " l"],
    curves: Float[np.ndarray, "v l"],
    index: int,
    row: str,
    kind: str,
) -> None:
    color, style = _look(index, kind)
    if kind == "model" and len(curves) > 2:
        low, high = np.quantile(curves, [0.25, 0.75], axis=0)
        axes.fill_between(along, low, high, color=color, alpha=0.14, linewidth=0)
    axes.plot(along, curves.mean(axis=0), color=color, linestyle=style, linewidth=1.5)


def _look(index: int, kind: str) -> tuple[str, Any]:
    """Return colour and dashes of a curve; references are grey."""
    if kind == "reference":
        return DIM, (0, (1.5, 1.5 + 1.5 * (index % 3)))
    return SERIES[index % len(SERIES)], "-" if index < len(SERIES) else (0, (4, 1.5))


def _legend(figure: "Figure", rows: Sequence[str], kinds: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for k, row in enumerate(rows):
        color, style = _look(k, kinds[row])
        handles.append(Line2D([], [], color=color, linestyle=style, linewidth=1.8))
    figure.legend(
        handles=handles,
        labels=[short_name(row) for row in rows],
        loc="lower center",
        ncols=min(5, len(rows)),
        frameon=False,
        labelcolor=DIM,
    )


def _row_axis(axes: "Axes", rows: Sequence[str], *, is_named: bool) -> None:
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(
        range(len(rows)), [short_name(row) for row in rows] if is_named else [""] * len(rows)
    )
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.grid(axis="x", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
