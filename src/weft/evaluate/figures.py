"""Figures of a report: box plots, quality against cost, and curves, as SVG for a page.

Colours are variables of the page's style sheet, so that one picture serves a light and a dark
page; text stays text.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float

from weft.errors import MissingDependencyError
from weft.evaluate.examples import Item

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL = "all"
"""The material that holds all others."""
COSTS = (
    ("num_parameters", "parameters"),
    ("network_calls", "network calls an item"),
    ("cpu_s", "CPU seconds an item"),
    ("peak_mb", "peak memory, MB"),
)
"""Keys and names of what quality is plotted against."""

_WIDTH_IN = 11.2
_NAME_LENGTH = 34
# Stand-ins that the style sheet's colours replace; no other use of them can occur.
_VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--dim)",
    "#030303": "var(--line)",
    "#040404": "var(--panel)",
    "#050505": "var(--model)",
    "#060606": "var(--baseline)",
    "#070707": "var(--ceiling)",
    "#080808": "var(--reference)",
    **{f"#09090{i}": f"var(--series-{i})" for i in range(8)},
}
_INK, _DIM, _LINE, _PANEL = "#010101", "#020202", "#030303", "#040404"
_KINDS = {"model": "#050505", "baseline": "#060606", "ceiling": "#070707", "reference": "#080808"}
_SERIES = tuple(f"#09090{i}" for i in range(8))
_STYLE: Any = {
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": _DIM,
    "axes.linewidth": 0.8,
    "axes.titlecolor": _INK,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _DIM,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.color": _DIM,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@final
@dataclass(frozen=True, kw_only=True)
class Panel:
    """What identifies one panel of a figure."""

    material: str
    """Corpus, or `ALL`."""
    setting: str
    """Such as ``300 ms``."""

    @property
    def title(self) -> str:
        """Heading of the panel."""
        return f"{self.material}, {self.setting}"


def check_matplotlib() -> None:
    """Find out early whether figures can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as _matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "the HTML report needs matplotlib, which is not installed; pip install 'weft[plots]', "
            "or ask for the Markdown report"
        ) from None


def panels_of(summary: Mapping[str, Any]) -> list[Panel]:
    """Return the combinations of material and setting of a summary, in its order."""
    found = dict.fromkeys((row["material"], row["setting"]) for row in summary["rows"])
    return [Panel(material=material, setting=setting) for material, setting in found]


def kinds_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return every row's kind, in the order of the summary."""
    return {row["row"]: row["kind"] for row in summary["rows"]}


def values_of(
    records: Sequence[Item], panel: Panel, row: str, metric: str
) -> Float[np.ndarray, " v"]:
    """Return a metric's finite values of all items that a row filled in a panel."""
    listed = [
        record.metrics[metric]
        for record in _within(records, panel, row)
        if metric in record.metrics
    ]
    values = np.array(listed, dtype=np.float64)
    return values[np.isfinite(values)]


def draw_boxes(
    summary: Mapping[str, Any], records: Sequence[Item], measure: Mapping[str, Any]
) -> str:
    """Return box plots of one measure as SVG: a panel a material and setting, a box a row.

    A box reaches from the first to the third quartile, the line in it is the median, the whiskers
    reach the 5th and 95th percentile, and the diamond is the mean. Rows of kind ``reference`` do
    not set the scale; a median beyond it is drawn as a triangle at the edge.

    Returns:
        SVG; empty where no panel has two different values, or all values are 0 or 1.
    """
    kinds = kinds_of(summary)
    panels = panels_of(summary)
    table = {
        (panel, row): values_of(records, panel, row, measure["name"])
        for panel in panels
        for row in kinds
    }
    table = {key: values for key, values in table.items() if len(values)}
    pooled = np.concatenate([np.empty(0), *table.values()])
    if len(np.unique(pooled)) < 3 and set(pooled.tolist()) <= {0.0, 1.0}:
        return ""
    scaled = [v for (_, row), v in table.items() if kinds[row] != "reference"] or [*table.values()]
    ends = np.array([np.quantile(values, [0.05, 0.95]) for values in scaled])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    pad = 0.04 * (high - low) or 0.5
    settings = list(dict.fromkeys(panel.setting for panel in panels))
    materials = list(dict.fromkeys(panel.material for panel in panels))
    rows = [row for row in kinds if any(key[1] == row for key in table)]
    height = len(materials) * (0.17 * len(rows) + 0.42) + 0.45

    def draw(figure: "Figure") -> None:
        grid = _grid(figure, len(materials), len(settings))
        for panel in panels:
            i, j = materials.index(panel.material), settings.index(panel.setting)
            axes = figure.add_subplot(grid[i, j])
            _name_panel(axes, panel.title)
            axes.set_xlim(low - pad, high + pad)
            _row_axis(axes, rows, is_named=j == 0)
            for y, row in enumerate(rows):
                values = table.get((panel, row))
                if values is not None:
                    _draw_box(axes, y, values, _KINDS[kinds[row]], (low - pad, high + pad))
            if i == len(materials) - 1:
                axes.set_xlabel(f"{measure['title']} ({measure['better']} is better)")
            else:
                axes.tick_params(labelbottom=False)

    return _svg(draw, height, f"boxes {measure['name']}")


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
        grid = _grid(figure, len(settings), len(costs), is_named=False)
        for i, setting in enumerate(settings):
            shown = [row for row in found if row["setting"] == setting]
            for j, (key, name) in enumerate(costs):
                axes = figure.add_subplot(grid[i, j])
                if j == 0:
                    axes.set_ylabel(measure["title"])
                _name_panel(axes, f"{material}, {setting}" if j == 0 else "")
                if i == len(settings) - 1:
                    axes.set_xlabel(name)
                _draw_cost(axes, [r for r in shown if r.get(key) is not None], key, measure)

    return _svg(draw, 2.35 * len(settings) + 0.4, f"costs {measure['name']} {material}")


def draw_curves(summary: Mapping[str, Any], records: Sequence[Item], name: str) -> str:
    """Return curves as SVG: mean along the item and, for models, the middle half of all items.

    Curves of unlike lengths are brought to one by linear interpolation from start to end.

    Returns:
        SVG; empty where no record has this curve.
    """
    kinds = kinds_of(summary)
    along = np.linspace(0, 1, 61)
    table = {}
    for panel in panels_of(summary):
        for row in kinds:
            curves = _curves(records, panel, row, name, along)
            if len(curves):
                table[panel, row] = curves
    panels = list(dict.fromkeys(panel for panel, _ in table))
    rows = [row for row in kinds if any(key[1] == row for key in table)]
    columns = min(3, len(panels))
    if not panels:
        return ""
    lines = -(-len(panels) // columns)

    def draw(figure: "Figure") -> None:
        grid = _grid(figure, lines, columns, is_named=False)
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(grid[i // columns, i % columns])
            _name_panel(axes, panel.title)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
            if i % columns == 0:
                axes.set_ylabel(_short(name))
            for k, row in enumerate(rows):
                if (panel, row) in table:
                    _draw_curve(axes, along, table[panel, row], k, row, kinds[row])
        _legend(figure, rows, kinds)

    return _svg(draw, 2.7 * lines + 0.35 + 0.2 * -(-len(rows) // 5), f"curves {name}")


def curve_names(records: Sequence[Item]) -> list[str]:
    """Return the names of all curves that records have, in the order of their appearance."""
    return list(dict.fromkeys(name for record in records for name in record.curves))


# --------------------------------------------------------------------------------------- drawing


def _within(records: Sequence[Item], panel: Panel, row: str) -> list[Item]:
    return [
        record
        for record in records
        if record.row == row
        and record.setting == panel.setting
        and panel.material in (record.corpus, ALL)
        and not record.error
    ]


def _curves(
    records: Sequence[Item], panel: Panel, row: str, name: str, along: Float[np.ndarray, " l"]
) -> Float[np.ndarray, "v l"]:
    found = []
    for record in _within(records, panel, row):
        curve = np.asarray(record.curves.get(name, ()), dtype=np.float64)
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
    axes.plot([values.mean()], [y], marker="D", color=_INK, markersize=2.4, linestyle="none")


def _draw_cost(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, measure: Mapping[str, Any]
) -> None:
    """Draw one panel of quality against a cost."""
    name, is_lower = measure["name"], measure["better"] == "lower"
    costs = np.array([float(row[key]) for row in rows])
    means = np.array([float(row["metrics"][name]["mean"]) for row in rows])
    positions = _log_axis(axes, costs)
    axes.grid(color=_LINE, linewidth=0.5)
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
    axes.step(positions[front], means[front], where="post", color=_DIM, linewidth=0.8, alpha=0.7)
    for i, row in enumerate(rows):
        value, color = row["metrics"][name], _KINDS[row["kind"]]
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
    _label_points(axes, positions, means, [_short(row["row"], 22) for row in rows])


def _log_axis(axes: "Axes", costs: Float[np.ndarray, " v"]) -> Float[np.ndarray, " v"]:
    """Make the lower axis logarithmic, with a place for 0; return where costs stand on it."""
    powers = np.log10(costs[costs > 0]) if (costs > 0).any() else np.zeros(1)
    first, last = math.floor(powers.min()), math.ceil(powers.max())
    last = max(last, first + 1)
    zero = first - 0.6 * max(1.0, 0.25 * (last - first))
    step = max(1, -(-(last - first) // 5))
    ticks: list[float] = list(range(first, last + 1, step))
    labels = [_power(int(power)) for power in ticks]
    if (costs <= 0).any():
        ticks, labels = [zero, *ticks], ["0", *labels]
    axes.set_xticks(ticks, labels)
    left = ticks[0]
    margin = 0.1 * (last - left)
    axes.set_xlim(left - margin, last + margin)
    return np.where(costs > 0, np.log10(np.maximum(costs, 1e-300)), zero)


def _power(power: int) -> str:
    if power >= 6:
        return f"{10.0 ** (power - 6):g}M"
    return f"{10.0**power / 1000:g}k" if power >= 3 else f"{10.0**power:g}"


def _label_points(
    axes: "Axes",
    x: Float[np.ndarray, " v"],
    y: Float[np.ndarray, " v"],
    names: Sequence[str],
) -> None:
    """Write names beside points and push them apart where they would cover each other."""
    axes.margins(y=0.12)
    axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    to_points = axes.transData.transform(np.column_stack([x, y])) * 72 / axes.figure.dpi
    left, right = axes.get_xlim()
    for is_right in (True, False):
        side = [i for i in range(len(x)) if ((x[i] - left) < 0.55 * (right - left)) == is_right]
        side.sort(key=lambda i: to_points[i, 1])
        height = -math.inf
        for i in side:
            height = max(height + 8.2, float(to_points[i, 1]))
            offset = (6 if is_right else -6, height - float(to_points[i, 1]))
            axes.annotate(
                names[i],
                (float(x[i]), float(y[i])),
                xytext=offset,
                textcoords="offset points",
                ha="left" if is_right else "right",
                va="center",
                fontsize=6.5,
                color=_DIM,
            )


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
        return _DIM, (0, (1.5, 1.5))
    return _SERIES[index % len(_SERIES)], "-" if index < len(_SERIES) else (0, (4, 1.5))


def _legend(figure: "Figure", rows: Sequence[str], kinds: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for k, row in enumerate(rows):
        color, style = _look(k, kinds[row])
        handles.append(Line2D([], [], color=color, linestyle=style, linewidth=1.8))
    figure.legend(
        handles=handles,
        labels=[_short(row) for row in rows],
        loc="lower center",
        ncols=min(5, len(rows)),
        frameon=False,
        labelcolor=_DIM,
    )


def _row_axis(axes: "Axes", rows: Sequence[str], *, is_named: bool) -> None:
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(
        range(len(rows)), [_short(row) for row in rows] if is_named else [""] * len(rows)
    )
    for label in axes.get_yticklabels():
        label.set_color(_INK)
    axes.grid(axis="x", color=_LINE, linewidth=0.5)
    axes.set_axisbelow(True)


def _name_panel(axes: "Axes", title: str) -> None:
    axes.set_title(_short(title, 60), loc="left", fontsize=8.5, fontweight="bold", pad=5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _grid(figure: "Figure", lines: int, columns: int, *, is_named: bool = True) -> Any:
    """Return a grid of panels with room for names at the left."""
    height = figure.get_figheight()
    left = 1.85 if is_named else 0.6
    return figure.add_gridspec(
        lines,
        columns,
        left=left / _WIDTH_IN,
        right=1 - 0.12 / _WIDTH_IN,
        top=1 - 0.28 / height,
        bottom=(0.45 if is_named else 0.75) / height,
        hspace=0.42 if lines > 1 else None,
        wspace=0.09 if is_named else 0.22,
    )


def _short(name: str, length: int = _NAME_LENGTH) -> str:
    """Return a name that fits and holds nothing that is not to be drawn."""
    name = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return name if len(name) <= length else name[: length - 1] + "…"


def _svg(draw: Callable[["Figure"], None], height_in: float, name: str) -> str:
    """Draw a figure and return it as an element for a page."""
    check_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=72)
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inlined(buffer.getvalue(), name)


def _inlined(svg: str, name: str) -> str:
    """Turn a file of SVG into an element that may stand beside others in a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    head, _, body = svg.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    body = re.sub(r"(font: [^;\"']*?px )'DejaVu Sans'[^;\"]*", r"\1var(--sans)", body)
    return (
        f'<svg {box.group()} role="img" style="stroke-linejoin: round; stroke-linecap: butt">{body}'
    )
