"""Pictures: what a fill looks like before and after, and how it meets its surroundings.

Only windows around the gaps are read, so that a long recording costs no more than a short one.
"""

import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float

from weft.audio.audio import Audio
from weft.audio.spectral import stft
from weft.canvas.timecode import format_time
from weft.errors import MissingDependencyError
from weft.model import FillResult, GapFill
from weft.shapes import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_GAPS = 4
"""Gaps that are drawn; the longest ones where there are more."""
MAX_VIEW_S = 40.0
"""Longest stretch that is drawn of one gap."""
RANGE_DB = 75.0
"""From the brightest colour to the darkest."""
SEAM_MS = 6.0
"""What is drawn on either side of a seam."""

_COLUMNS, _ROWS = 720, 360
_LEFT, _RIGHT = 0.062, 0.93
_SEAMS = ("seam into the gap", "seam out of the gap")
_LOW_HZ = 60.0
_PAPER, _PANEL, _INK, _DIM, _GRID = "#0d1017", "#131824", "#e8ecf3", "#8c96a8", "#263042"
_FILL, _LOST = "#5eead4", "#fb7185"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": _INK,
    "axes.labelcolor": _DIM,
    "axes.edgecolor": _GRID,
    "axes.facecolor": _PANEL,
    "axes.linewidth": 0.8,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": _PAPER,
}


def check_matplotlib() -> None:
    """Find out early whether pictures can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as _matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "pictures need matplotlib, which is not installed; pip install 'weft[plots]', or leave "
            "--report out"
        ) from None


def draw_report(result: FillResult, *, title: str) -> bytes:
    """Return a PNG picture of the best take: spectrograms before and after, and the seams.

    Args:
        result: what a model filled.
        title: what the picture is called, such as the name of the file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        AudioFormatError: the recording cannot be read around a gap.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = [_view(result, gap) for gap in _chosen(result.gaps)]
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(13.0, 7.4), dpi=150)
        FigureCanvasAgg(figure)
        _draw(figure, views, title, result)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return _smaller(buffer)


def _smaller(picture: io.BytesIO) -> bytes:
    """Return a picture with 256 colours, at a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(picture) as image:
        colors = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colors.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


@final
@dataclass(frozen=True, kw_only=True)
class _View:
    """All that is drawn of one gap."""

    gap: GapFill
    start: int
    """First sample drawn."""
    stop: int
    sample_rate: int
    before: Float[np.ndarray, "rows columns"]
    """Spectrogram in dB over a logarithmic axis of frequency."""
    after: Float[np.ndarray, "rows columns"]
    seams: tuple["_Seam", ...]


@final
@dataclass(frozen=True, kw_only=True)
class _Seam:
    """The waveform around one end of a gap."""

    name: str
    at: int
    """The sample where known and filled meet."""
    start: int
    known: Float[np.ndarray, " n"]
    """The recording; NaN where it is not known."""
    fill: Float[np.ndarray, " n"]
    """The fill; NaN where the recording is known."""
    lost: Float[np.ndarray, " n"]
    """What the recording held in the gap; NaN elsewhere."""


def _chosen(gaps: tuple[GapFill, ...]) -> list[GapFill]:
    """Return the gaps that are drawn, in order of time."""
    longest = sorted(gaps, key=lambda gap: gap.region.num_samples, reverse=True)[:MAX_GAPS]
    return sorted(longest, key=lambda gap: gap.region.start)


def _view(result: FillResult, gap: GapFill) -> _View:
    """Read and analyse the stretch around a gap."""
    audio, rate, region = result.audio, result.audio.sample_rate, gap.region
    margin = max(round(0.12 * rate), round(0.9 * region.num_samples))
    start = max(0, region.start - margin)
    stop = min(audio.num_samples, region.stop + margin, start + round(MAX_VIEW_S * rate))
    window_s = min(0.046, max(0.004, 0.6 * region.num_samples / rate))
    n_fft = 1 << max(5, round(math.log2(window_s * rate)))
    return _View(
        gap=gap,
        start=start,
        stop=stop,
        sample_rate=rate,
        before=_spectrogram(audio, start, stop, n_fft),
        after=_spectrogram(result.best, start, stop, n_fft),
        seams=tuple(
            _seam(result, gap, name, at)
            for name, at in (
                ("seam into the gap", region.start),
                ("seam out of the gap", region.stop),
            )
            if 0 < at < audio.num_samples
        ),
    )


def _spectrogram(
    audio: Audio, start: int, stop: int, n_fft: int
) -> Float[np.ndarray, "rows columns"]:
    """Return the power of a stretch in dB; a sine of full scale has 0 dB."""
    rate = audio.sample_rate
    hop = max(1, -(-(stop - start) // _COLUMNS))
    samples = _read_padded(audio, start - n_fft // 2, stop + n_fft // 2)
    power = (np.abs(stft(samples, n_fft=n_fft, hop_length=hop, center=False)) * 4 / n_fft) ** 2
    level = 10 * np.log10(power.mean(axis=0) + 1e-16)
    low = min(_LOW_HZ, rate / 8)
    wanted = np.geomspace(low, rate / 2, _ROWS) * n_fft / rate
    lower = np.minimum(wanted.astype(int), n_fft // 2 - 1)
    part = (wanted - lower)[:, None]
    return (1 - part) * level[lower] + part * level[lower + 1]


def _read_padded(audio: Audio, start: int, stop: int) -> Samples:
    """Read a stretch that may reach beyond the recording; what is no number counts as silence."""
    first, last = max(0, start), min(audio.num_samples, stop)
    samples = np.nan_to_num(audio.read(first, last), nan=0.0, posinf=0.0, neginf=0.0)
    return np.pad(samples, ((0, 0), (first - start, stop - last)))


def _seam(result: FillResult, gap: GapFill, name: str, at: int) -> _Seam:
    """Read the waveform around one end of a gap, in its loudest channel."""
    audio, region = result.audio, gap.region
    reach = max(8, round(SEAM_MS * audio.sample_rate / 1000))
    start, stop = max(0, at - reach), min(audio.num_samples, at + reach)
    after = result.best.read(start, stop)
    channel = int(np.argmax(np.abs(np.nan_to_num(after)).sum(axis=1)))
    before = audio.read(start, stop)[channel]
    inside = np.zeros(stop - start, dtype=bool)
    inside[max(0, region.start - start) : max(0, region.stop - start)] = True
    return _Seam(
        name=name,
        at=at,
        start=start,
        known=np.where(inside, np.nan, after[channel]),
        fill=np.where(inside, after[channel], np.nan),
        lost=np.where(inside, before, np.nan),
    )


# -------------------------------------------------------------------------------------- drawing


def _draw(figure: "Figure", views: list[_View], title: str, result: FillResult) -> None:
    """Lay out one column for each gap."""
    sides: Any = {"left": _LEFT, "right": _RIGHT, "wspace": 0.085}
    grid = figure.add_gridspec(2, len(views), top=0.845, bottom=0.31, hspace=0.07, **sides)
    seams = figure.add_gridspec(1, len(views), top=0.235, bottom=0.055, **sides)
    top_db = max(float(view.after.max()) for view in views)
    scale = (max(top_db - RANGE_DB, -150.0), max(top_db, -140.0))
    image = None
    for i, view in enumerate(views):
        upper, lower = figure.add_subplot(grid[0, i]), figure.add_subplot(grid[1, i])
        _draw_spectrogram(upper, view, view.before, scale, color=_LOST)
        image = _draw_spectrogram(lower, view, view.after, scale, color=_FILL)
        upper.tick_params(labelbottom=False)
        if i:
            upper.tick_params(labelleft=False)
            lower.tick_params(labelleft=False)
        else:
            _name_row(upper, "before", _LOST)
            _name_row(lower, "after", _FILL)
        _caption(upper, view)
        _draw_seams(figure, seams[0, i], view)
    assert image is not None
    bar = figure.add_axes((_RIGHT + 0.012, 0.31, 0.008, 0.535))
    colorbar = figure.colorbar(image, cax=bar)
    colorbar.outline.set_visible(False)
    bar.tick_params(length=0)
    bar.set_title("dB", fontsize=8, color=_DIM, loc="left", pad=6)
    _draw_title(figure, title, result, len(views))


def _draw_title(figure: "Figure", title: str, result: FillResult, num_drawn: int) -> None:
    num_gaps = len(result.gaps)
    drawn = "" if num_drawn == num_gaps else f", the {num_drawn} longest shown"
    left_alone = sum(gap.is_left_alone for gap in result.gaps)
    parts = [f"{num_gaps:,} {'gap' if num_gaps == 1 else 'gaps'}{drawn}"]
    if left_alone:
        parts.append(f"{left_alone:,} left alone")
    audio = result.audio
    channels = {1: "mono", 2: "stereo"}.get(audio.num_channels, f"{audio.num_channels} channels")
    parts.append(f"{audio.sample_rate / 1000:g} kHz {channels}")
    parts.append(f"{format_time(audio.num_samples, audio.sample_rate)} long")
    parts.append("everything outside the gaps is unchanged")
    shown = title if len(title) <= 80 else title[:79] + "…"
    figure.text(_LEFT, 0.944, shown, fontsize=15, fontweight="bold", parse_math=False)
    figure.text(_LEFT, 0.912, "  ·  ".join(parts), fontsize=9, color=_DIM)
    _draw_legend(figure)


def _draw_legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    meanings = {"recording": _INK, "fill": _FILL, "what stood in the gap": _LOST}
    figure.legend(
        handles=[Line2D([], [], color=color, linewidth=2) for color in meanings.values()],
        labels=list(meanings),
        loc="upper right",
        bbox_to_anchor=(_RIGHT + 0.006, 0.985),
        ncols=len(meanings),
        frameon=False,
        fontsize=9,
        labelcolor=_DIM,
        handlelength=1.2,
        columnspacing=1.6,
    )


def _name_row(axes: "Axes", name: str, color: str) -> None:
    axes.set_ylabel("Hz", labelpad=2)
    axes.annotate(
        name,
        (0, 1),
        xycoords="axes fraction",
        xytext=(8, -9),
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
        color=_INK,
        va="top",
        bbox={"boxstyle": "round,pad=0.32", "facecolor": _PAPER, "edgecolor": color, "alpha": 0.85},
    )


def _caption(axes: "Axes", view: _View) -> None:
    """Say above a column what was filled by which model."""
    take, region = view.gap.takes[0], view.gap.region
    length_ms = 1000 * region.num_samples / view.sample_rate
    length = f"{length_ms:.3g} ms" if length_ms < 1000 else f"{length_ms / 1000:.2f} s"
    fate = "left alone" if view.gap.is_left_alone else take.model
    axes.set_title(
        f"{length} at {format_time(region.start, view.sample_rate)}",
        loc="left",
        fontsize=10,
        color=_INK,
        pad=5,
    )
    axes.set_title(
        fate if view.gap.is_left_alone else f"{fate}  {take.confidence:.2f}",
        loc="right",
        fontsize=9,
        color=_FILL,
        pad=5,
    )


def _draw_spectrogram(
    axes: "Axes",
    view: _View,
    levels: Float[np.ndarray, "rows columns"],
    scale: tuple[float, float],
    *,
    color: str,
) -> Any:
    """Draw a spectrogram and mark its gap."""
    rate, region = view.sample_rate, view.gap.region
    left, right = view.start / rate, view.stop / rate
    image = axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        extent=(left, right, 0, _ROWS),
        cmap="magma",
        vmin=scale[0],
        vmax=scale[1],
        interpolation="bilinear",
    )
    low = min(_LOW_HZ, rate / 8)
    ticks = [hz for hz in (100, 300, 1000, 3000, 10_000, 30_000) if low < hz < rate / 2]
    octaves = math.log(rate / 2 / low)
    axes.set_yticks([_ROWS * math.log(hz / low) / octaves for hz in ticks])
    axes.set_yticklabels([f"{hz // 1000}k" if hz >= 1000 else f"{hz}" for hz in ticks])
    _time_ticks(axes, left, right)
    for edge in (region.start / rate, region.stop / rate):
        if left <= edge <= right:
            axes.axvline(edge, color=color, linewidth=1.1, alpha=0.95)
    axes.plot(
        [max(left, region.start / rate), min(right, region.stop / rate)],
        [_ROWS, _ROWS],
        color=color,
        linewidth=5,
        solid_capstyle="butt",
    )
    axes.set_xlim(left, right)
    axes.set_ylim(0, _ROWS)
    return image


def _time_ticks(axes: "Axes", left: float, right: float) -> None:
    """Place a few round times under a panel."""
    from matplotlib.ticker import MaxNLocator

    width = axes.get_position().width
    locator = MaxNLocator(nbins=max(3, round(14 * width)), steps=[1, 2, 5, 10])
    inset = 0.03 * (right - left)
    ticks = [t for t in locator.tick_values(left, right) if left + inset <= t <= right - inset]
    step = ticks[1] - ticks[0] if len(ticks) > 1 else right - left
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    axes.set_xticks(ticks)
    axes.set_xticklabels([_clock(t, decimals) for t in ticks])


def _clock(seconds: float, decimals: int) -> str:
    if seconds < 60:
        return f"{seconds:.{decimals}f} s"
    minutes, rest = divmod(round(seconds, decimals), 60)
    width = 3 + decimals if decimals else 2
    return f"{minutes:.0f}:{rest:0{width}.{decimals}f}"


def _draw_seams(figure: "Figure", cell: Any, view: _View) -> None:
    """Draw the waveform around both ends of a gap, at one scale."""
    if not view.seams:
        return
    inner = cell.subgridspec(1, len(view.seams), wspace=0.05)
    parts = [np.concatenate([seam.known, seam.fill]) for seam in view.seams]
    peak = float(np.nanmax(np.abs(np.concatenate(parts)))) or 1.0
    for i, seam in enumerate(view.seams):
        axes = figure.add_subplot(inner[0, i])
        time_ms = (seam.start + np.arange(len(seam.known)) - seam.at) * 1000 / view.sample_rate
        _shade_gap(axes, view, seam)
        axes.axhline(0, color=_GRID, linewidth=0.8)
        axes.plot(time_ms, seam.lost, color=_LOST, linewidth=0.9, alpha=0.65)
        axes.plot(time_ms, seam.known, color=_INK, linewidth=1.2)
        axes.plot(time_ms, _joined(seam), color=_FILL, linewidth=1.2)
        axes.axvline(0, color=_FILL, linewidth=0.9, alpha=0.9)
        axes.set_xlim(-SEAM_MS, SEAM_MS)
        axes.set_ylim(-1.12 * peak, 1.12 * peak)
        axes.set_yticks([])
        axes.set_xticks([-4, 0, 4])
        axes.set_xticklabels(["-4", "0", "4 ms"])
        axes.set_title(seam.name, loc="left", fontsize=8.5, color=_DIM, pad=4)


def _shade_gap(axes: "Axes", view: _View, seam: _Seam) -> None:
    """Tint what was filled."""
    region = view.gap.region
    edges = [(edge - seam.at) * 1000 / view.sample_rate for edge in (region.start, region.stop)]
    axes.axvspan(*edges, color=_FILL, alpha=0.07, linewidth=0)


def _joined(seam: _Seam) -> Float[np.ndarray, " n"]:
    """Return the fill with the known sample on either side, so that its line meets theirs."""
    line = seam.fill.copy()
    filled = ~np.isnan(seam.fill)
    beside = ~filled & (np.roll(filled, 1) | np.roll(filled, -1))
    beside[[0, -1]] &= ~filled[[-1, 0]]
    line[beside] = seam.known[beside]
    return line
