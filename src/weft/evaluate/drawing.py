"""Drawing: figures for a page, as SVG whose colours are variables of the page's style sheet.

One picture so serves a light and a dark page; text stays text.
"""

import hashlib
import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from weft.errors import MissingDependencyError
from weft.evaluate.markup import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 11.2
"""Width of every figure."""
BETWEEN_IN = 0.45
"""Room between lines of panels."""
_NAME_LENGTH = 34
# Stand-ins that the style sheet's colours replace; no other use of them can occur.
_VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--dim)",
    "#030303": "var(--line)",
    "#050505": "var(--model)",
    "#060606": "var(--baseline)",
    "#070707": "var(--ceiling)",
    "#080808": "var(--reference)",
    **{f"#09090{i}": f"var(--series-{i})" for i in range(8)},
}
INK, DIM, LINE = "#010101", "#020202", "#030303"
KINDS = {"model": "#050505", "baseline": "#060606", "ceiling": "#070707", "reference": "#080808"}
SERIES = tuple(f"#09090{i}" for i in range(8))
_STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": DIM,
    "axes.linewidth": 0.8,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": DIM,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.color": DIM,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


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


def to_svg(draw: Callable[["Figure"], None], height_in: float, name: str) -> str:
    """Draw a figure and return it as an element for a page.

    Args:
        draw: puts axes and artists on an empty figure.
        height_in: height in inches; the width is `WIDTH_IN`.
        name: says what it shows; equal names and drawings give equal text.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=72)
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
    prefix = "f" + hashlib.sha256(name.encode("utf-8")).hexdigest()[:10]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    body = re.sub(r"(font: [^;\"']*?px )'DejaVu Sans'[^;\"]*", r"\1var(--sans)", body)
    shape = "stroke-linejoin: round; stroke-linecap: butt"
    body = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in body)
    return f'<svg {box.group()} role="img" aria-label="{text(name)}" style="{shape}">{body}'


def make_grid(
    figure: "Figure",
    lines: int,
    columns: int,
    *,
    left_in: float = 0.6,
    right_in: float = 0.12,
    apart_in: float = 0.45,
    bottom_in: float = 0.45,
) -> Any:
    """Return a grid of panels with margins in inches."""
    height = figure.get_figheight()
    inner_height = (height - 0.28 - bottom_in - (lines - 1) * BETWEEN_IN) / lines
    inner_width = (WIDTH_IN - left_in - right_in - (columns - 1) * apart_in) / columns
    return figure.add_gridspec(
        lines,
        columns,
        left=left_in / WIDTH_IN,
        right=1 - right_in / WIDTH_IN,
        top=1 - 0.28 / height,
        bottom=bottom_in / height,
        hspace=BETWEEN_IN / inner_height,
        wspace=apart_in / inner_width,
    )


def name_panel(axes: "Axes", title: str) -> None:
    """Write the heading of a panel and open its frame."""
    axes.set_title(short_name(title, 60), loc="left", fontsize=8.5, fontweight="bold", pad=5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def short_name(name: str, length: int = _NAME_LENGTH) -> str:
    """Return a name that fits and holds nothing that is not to be drawn."""
    name = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return name if len(name) <= length else name[: length - 1] + "…"


def set_log_axis(axes: "Axes", costs: Float[np.ndarray, " v"]) -> Float[np.ndarray, " v"]:
    """Make the lower axis logarithmic, with a place for 0; return where costs stand on it."""
    powers = np.log10(costs[costs > 0]) if (costs > 0).any() else np.zeros(1)
    first, last = math.floor(powers.min()), math.ceil(powers.max())
    last = max(last, first + 1)
    zero = first - 0.6 * max(1.0, 0.25 * (last - first))
    step = max(1, -(-(last - first) // 5))
    ticks = [float(power) for power in range(first, last + 1, step)]
    labels = [_round(10.0**power) for power in ticks]
    if last - first == 1:
        ticks[1:1] = [first + math.log10(2), first + math.log10(5)]
        labels[1:1] = [_round(times * 10.0**first) for times in (2, 5)]
    if (costs <= 0).any():
        ticks, labels = [zero, *ticks], ["0", *labels]
    axes.set_xticks(ticks, labels)
    left = ticks[0]
    margin = 0.1 * (last - left)
    axes.set_xlim(left - margin, last + margin)
    return np.where(costs > 0, np.log10(np.maximum(costs, 1e-300)), zero)


def _round(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def label_points(
    axes: "Axes",
    x: Float[np.ndarray, " v"],
    y: Float[np.ndarray, " v"],
    names: Sequence[tuple[str, str]],
) -> None:
    """Write names (text, colour) in a column at the right, each led to its point by a line."""
    axes.margins(y=0.1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    height_pt = axes.get_position().height * axes.figure.get_figheight() * 72  # type: ignore[union-attr]
    wanted = (y - low) / (high - low) * height_pt
    places = _spread(wanted, gap=min(8.4, height_pt / max(1, len(y) - 1)), top=height_pt)
    left, right = axes.get_xlim()
    column = right + 0.09 * (right - left)
    for i, (label, color) in enumerate(names):
        level = low + places[i] / height_pt * (high - low)
        axes.plot(
            [x[i], right, column],
            [y[i], level, level],
            color=color,
            linewidth=0.45,
            alpha=0.5,
            clip_on=False,
            zorder=1,
        )
        axes.text(
            column + 0.02 * (right - left), level, label, fontsize=6.7, va="center", color=color
        )


def _spread(wanted: Float[np.ndarray, " v"], *, gap: float, top: float) -> Float[np.ndarray, " v"]:
    """Move places apart until neighbours are a gap apart, within 0 and top; their order stays."""
    order = np.argsort(wanted, kind="stable")
    places = wanted[order].astype(np.float64)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    limit = top
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    result = np.empty_like(places)
    result[order] = places
    return result
