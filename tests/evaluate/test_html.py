"""The HTML report: safe, self-contained, and true to the numbers it was given."""

import base64
import copy
import hashlib
import io
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from weft.errors import ConfigError, MissingDependencyError, ShapeError
from weft.evaluate import drawing, figures
from weft.evaluate.examples import Example, choose_examples
from weft.evaluate.html import to_html
from weft.evaluate.html_tables import difference_tables, result_tables
from weft.evaluate.pictures import draw_seams, draw_spectrograms
from weft.evaluate.playback import LOUDNESS_LUFS, PEAK_DBFS, loudness_lufs, make_pair

Image = pytest.importorskip("PIL.Image")
RATE = 16000
NASTY = "<img src=x onerror=alert(1)>\"'&\x00\u202e$x$"


@dataclass(frozen=True, kw_only=True)
class Record:
    corpus: str = "music"
    file: str = "a.flac"
    setting: str = "300 ms"
    index: int = 0
    row: str = "lpc"
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: float = 0.1
    error: str | None = None


KINDS = {"original": "reference", "lpc": "baseline", "tokens": "model", "best of 8": "ceiling"}


def measure(name="lsd", **changes):
    content = {
        "name": name,
        "title": name.upper(),
        "better": "lower",
        "digits": 2,
        "note": f"what {name} is",
        "kind": "pair",
        "embedder": None,
    }
    return {**content, **changes}


def interval(mean, half=0.1, **more):
    return {"mean": mean, "low": mean - half, "high": mean + half, **more}


def summary(means=None, **changes):
    """A small experiment: two materials and both together, one setting, four rows."""
    means = means or {"original": 0.0, "lpc": 1.5, "tokens": 1.2, "best of 8": 0.9}
    rows = [
        {
            "material": material,
            "setting": "300 ms",
            "row": row,
            "kind": kind,
            "num_items": 6,
            "num_files": 3,
            "num_failures": 0,
            "metrics": {"lsd": interval(means[row]), "fad": interval(2 * means[row])},
            "network_calls": 22.0 * (kind == "model"),
            "num_parameters": 14_000_000 * (kind == "model"),
            "cpu_s": {"lpc": 0.05, "tokens": 2.0, "best of 8": 0.4}.get(row, 0.0),
            "peak_mb": 300.0,
            "models": {row: 6},
        }
        for material in ("music", "speech", "all")
        for row, kind in KINDS.items()
    ]
    content = {
        "schema": "weft.evaluate/2",
        "protocol": "gaps",
        "title": "A small test",
        "settings": {"split": "test", "takes": 1, "is_mono": True, "models": ["lpc", "tokens"]},
        "statistics": {"interval": "bootstrap", "num_resamples": 2000, "test": "t, Holm over rows"},
        "versions": {"weft": "0"},
        "measures": [measure(), measure("fad", kind="set", embedder="corpus-ssl")],
        "embedders": [
            {
                "name": "corpus-ssl",
                "digest": "abc",
                "sample_rate": 16000,
                "num_dims": 192,
                "reference": "train",
            }
        ],
        "rows": rows,
        "differences": [],
        "failures": [],
        "num_changed_outside": 0,
    }
    return {**content, **changes}


def records(curves=False):
    rng = np.random.default_rng(0)
    return [
        Record(
            corpus=corpus,
            file=f"{i // 2}.flac",
            index=i % 2,
            row=row,
            metrics={"lsd": float(rng.uniform(0.5, 2))},
            curves={"distance": rng.uniform(0, 1, 20 + i).tolist()} if curves else {},
        )
        for corpus in ("music", "speech")
        for row in KINDS
        for i in range(6)
    ]


def example(**changes):
    rng = np.random.default_rng(1)
    reference = 0.1 * rng.standard_normal((1, RATE))
    estimate = reference.copy()
    estimate[:, 8000:9600] *= 0.5
    content = {
        "material": "music",
        "setting": "300 ms",
        "row": "tokens",
        "kind": "worst",
        "file": "a.flac",
        "index": 0,
        "metric": "lsd",
        "value": 1.25,
        "reference": reference,
        "estimate": estimate,
        "sample_rate": RATE,
        "gap": (8000, 9600),
    }
    return Example(**{**content, **changes})


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.script, self.inside = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if self.inside == ["script"]:
            self.script += data
        elif not self.inside:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page():
    return to_html(summary(), records(curves=True), [example(), example(kind="median")])


# ------------------------------------------------------------------------------- the whole page


def test_the_page_fetches_nothing(page):
    for tag, attrs in Page(page).tags:
        for key in ("src", "href", "xlink:href", "data", "action", "poster"):
            assert attrs.get(key, "#").startswith(("#", "data:")), (tag, attrs[key][:60])
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_only_the_pages_own_script_may_run(page):
    parsed = Page(page)
    (policy,) = [m["content"] for m in parsed.all("meta") if "http-equiv" in m]
    digest = base64.b64encode(hashlib.sha256(parsed.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert len(parsed.all("script")) == 1


def test_hostile_texts_stay_texts():
    content = summary(title=NASTY, protocol=NASTY)
    for row in content["rows"]:
        row["row"] = NASTY if row["row"] == "tokens" else row["row"]
        row["material"] = NASTY if row["material"] == "speech" else row["material"]
        row["models"] = {NASTY: 3}
        row["setting"] = NASTY
    for one in content["measures"]:
        one.update(title=NASTY, note=NASTY, embedder=NASTY)
    content["settings"] = {NASTY: [NASTY, {NASTY: NASTY}]}
    content["versions"] = {NASTY: NASTY}
    content["statistics"].update(interval=NASTY, test=NASTY)
    content["embedders"][0].update(name=NASTY, digest=NASTY, reference=NASTY)
    content["failures"] = [dict.fromkeys(("corpus", "file", "setting", "row", "error"), NASTY)]
    content["differences"] = [
        {
            "material": NASTY,
            "setting": NASTY,
            "row": NASTY,
            "versus": NASTY,
            "metrics": {"lsd": interval(0.4, p=0.01, p_holm=0.02)},
        }
    ]
    items = [
        replace(r, row=NASTY, corpus=NASTY, file=NASTY, setting=NASTY, curves={NASTY: r_curve})
        for r, r_curve in ((r, r.curves["distance"]) for r in records(curves=True))
    ]
    shown = example(material=NASTY, setting=NASTY, row=NASTY, file=NASTY)
    parsed = Page(to_html(content, items, [shown]))
    assert all(attrs["src"].startswith("data:") for attrs in parsed.all("img"))
    assert len(parsed.all("script")) == 1
    assert not [key for _, attrs in parsed.tags for key in attrs if key.startswith("on")]
    assert parsed.text.count("<img src=x onerror=alert(1)>") > 30
    assert not {"\x00", "\u202e"} & set("".join(parsed.words))


def test_ids_are_unique_and_links_lead_somewhere(page):
    tags = Page(page).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    used = [attrs["xlink:href"] for _, attrs in tags if "xlink:href" in attrs]
    assert len(links) > 5
    assert {link[1:] for link in (*links, *used)} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_all_materials_together_come_first_to_the_eye(page):
    options = [attrs for attrs in Page(page).all("option") if "selected" in attrs]
    assert [option["value"] for option in options] == ["all"]


def test_the_same_experiment_gives_the_same_page(page):
    shuffled = records(curves=True)
    assert to_html(summary(), shuffled, [example(), example(kind="median")]) == page
    other = summary()
    other["rows"][1]["metrics"]["lsd"]["mean"] += 0.01
    assert to_html(other, shuffled, [example(), example(kind="median")]) != page


def test_settings_versions_embedders_and_failures_are_told():
    content = summary(num_changed_outside=3)
    content["failures"] = [
        {"corpus": "c", "file": "f.wav", "setting": "s", "row": "r", "error": "too short"}
    ]
    html = to_html(content, [], [])
    words = Page(html).text
    for expected in ("split test", "is_mono yes", "lpc, tokens", "192 dimensions", "too short"):
        assert expected in words
    assert '<div class="alarm"><dt>changed outside</dt><dd>3</dd>' in html


def test_sections_without_content_are_left_out():
    html = to_html(summary(), [], [], published=())
    assert 'id="results"' in html
    for key in ("differences", "boxes", "curves", "listen", "paper", "failures"):
        assert f'id="{key}"' not in html


def test_published_numbers_stand_apart_and_are_marked(page):
    words = Page(page).text
    assert words.count("paper: other data, other protocol; not comparable") == 6
    assert "taken from a digest, not the paper" in words
    assert "−3.891 ?" in words
    section = page[page.index('<section id="paper">') :]
    assert "16.001" in section
    assert "16.001" not in page[: page.index('<section id="paper">')]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[plots\]'"):
        to_html(summary(), [], [])


def test_importing_the_report_imports_neither_matplotlib_nor_torch():
    code = (
        "import sys, weft.evaluate.html as h; "
        "assert h and not {'matplotlib', 'torch', 'PIL', 'scipy.signal'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------------------- tables


def marked(html, material="music"):
    """Rows whose LSD is marked as the best, of one material."""
    start = html.index(f'data-material="{material}"')
    table = html[start : html.index("</table>", start)]
    found = []
    for line in table.split("<tr")[2:]:
        cells = line.split("<td")
        if 'class="best"' in cells[2]:
            found.append(re.search(r"<bdi>(.*?)</bdi>", line).group(1))
    return found


@pytest.mark.parametrize(
    ("lpc", "tokens", "better", "expected"),
    [
        (1.5, 1.2, "lower", ["tokens"]),
        (1.5, 1.2, "higher", ["lpc"]),
        (1.201, 1.199, "lower", []),
    ],
)
def test_the_best_of_models_and_baselines_is_marked(lpc, tokens, better, expected):
    means = {"original": 0.0, "best of 8": 9.0 if better == "higher" else 0.5}
    content = summary({**means, "lpc": lpc, "tokens": tokens})
    content["measures"] = [measure(better=better)]
    assert marked(result_tables(content)) == expected


def test_a_cell_shows_mean_and_interval_and_sorts_by_the_mean():
    html = result_tables(summary())
    assert 'data-value="1.2"' in html
    assert "<small>1.10 … 1.30</small>" in html
    content = summary()
    content["rows"][1]["metrics"]["lsd"] = {"mean": 1.5, "low": None, "high": None}
    content["rows"][2]["metrics"]["lsd"] = None
    del content["rows"][3]["metrics"]["lsd"]
    html = result_tables(content)
    assert "None" not in html
    assert 'data-value="1.5"' in html


def test_set_measures_name_their_embedder_and_have_a_table_of_their_own():
    html = result_tables(summary())
    assert html.count("<table") == 6
    assert "FAD <span" in html
    assert html.count("<small>corpus-ssl</small>") == 3


def test_costs_and_models_of_rows_that_choose_are_shown():
    content = summary()
    content["rows"][1].update(models={"lpc": 4, "similarity": 2}, num_failures=2)
    words = Page(result_tables(content)).text
    assert "filled by lpc 4, similarity 2" in words
    assert "2 failed" in words
    assert "14M" in words


def differing(low, high, p_holm, better="lower"):
    content = summary()
    content["measures"] = [measure(better=better)]
    value = {"mean": (low + high) / 2, "low": low, "high": high, "p": 0.01, "p_holm": p_holm}
    content["differences"] = [
        {
            "material": "music",
            "setting": "300 ms",
            "row": "tokens",
            "versus": "lpc",
            "metrics": {"lsd": value},
        }
    ]
    html = difference_tables(content)
    return "<td" in html and "<strong>" in html.split("<td")[1], Page(html).text


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "better", "is_bold", "words"),
    [
        (-0.3, -0.1, 0.01, "lower", True, "better: interval excludes 0, p < 0.05"),
        (-0.3, -0.1, 0.01, "higher", True, "worse: interval excludes 0, p < 0.05"),
        (0.1, 0.3, 0.049, "lower", True, "worse: interval excludes 0, p < 0.05"),
        (-0.3, -0.1, 0.05, "lower", False, "open: interval excludes 0, p ≥ 0.05"),
        (-0.3, 0.1, 0.01, "lower", False, "open: interval holds 0, p < 0.05"),
        (-0.3, 0.1, 0.6, "lower", False, "open: interval holds 0, p ≥ 0.05"),
        (-0.3, 0.0, 0.01, "lower", False, "open: interval holds 0, p < 0.05"),
        (-0.3, -0.1, None, "lower", False, "open: interval excludes 0, no test"),
    ],
)
def test_bold_needs_both_interval_and_p_and_words_say_which(
    low, high, p_holm, better, is_bold, words
):
    bold, text = differing(low, high, p_holm, better)
    assert bold is is_bold
    assert words in text
    assert "minus lpc" in text


# -------------------------------------------------------------------------------------- figures


def axes_of(draw):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    draw(axes)
    return axes


def test_a_box_is_drawn_at_its_quantiles_and_mean():
    values = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    axes = axes_of(lambda axes: figures._draw_box(axes, 2, values, "#000000", (-1.0, 11.0)))
    whiskers, box, median, mean = [line.get_xdata() for line in axes.lines]
    assert list(whiskers) == pytest.approx([0.2, 8.6])
    assert list(box) == [1.0, 3.0]
    assert (median[0], mean[0]) == (2.0, 3.2)


def test_a_reference_beyond_the_scale_becomes_a_triangle_at_the_edge():
    values = np.full(4, 100.0)
    axes = axes_of(lambda axes: figures._draw_box(axes, 0, values, "#000000", (0.0, 5.0)))
    (line,) = axes.lines
    assert (line.get_xdata()[0], line.get_marker()) == (5.0, ">")


def test_references_do_not_set_the_scale_of_box_plots():
    near = [replace(r, metrics={"lsd": 1.0 + 0.1 * r.index}) for r in records()]
    far = [replace(r, metrics={"lsd": 1000.0}) if KINDS[r.row] == "reference" else r for r in near]
    labels = [re.findall(r">(\d+\.?\d*)</text>", draw(rows)) for rows in (near, far)]
    assert labels[0] == labels[1]


def draw(items, **changes):
    return figures.draw_boxes(summary(), items, measure(**changes))


def test_box_plots_have_a_panel_for_every_material_and_skip_shares():
    svg = draw(records())
    for title in ("music, 300 ms", "speech, 300 ms", "all together, 300 ms"):
        assert f">{title}</text>" in svg
    assert draw([replace(r, metrics={"lsd": float(r.index)}) for r in records()]) == ""
    assert draw([]) == ""


def test_failed_and_infinite_items_are_not_drawn():
    bad = [
        Record(metrics={"lsd": 1e9}, error="no"),
        Record(metrics={"lsd": float("nan")}),
        Record(metrics={"lsd": 1.5}),
    ]
    (values,) = [
        figures._values(figures._grouped(bad)[key], "lsd") for key in [("music", "300 ms", "lpc")]
    ]
    assert values.tolist() == [1.5]


def test_figures_take_their_colours_from_the_style_sheet(page):
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]|#09090", page[page.index("</style>") :])
    style = page[page.index("<style>") : page.index("</style>")]
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page[page.index("</style>") :]))
    assert {"--model", "--baseline", "--ceiling", "--ink"} <= used
    assert used - {"--a", "--m", "--b"} <= set(re.findall(r"(--[a-z0-9-]+):", style))


def test_a_cost_of_zero_has_a_place_on_the_logarithmic_axis():
    costs = np.array([0.0, 1e6, 1e8])
    places = []
    axes = axes_of(lambda axes: places.extend(drawing.set_log_axis(axes, costs)))
    assert places[1:] == pytest.approx([6, 8])
    assert places[0] < 6
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1M", "10M", "100M"]


def test_costs_that_no_row_has_are_left_out():
    content = summary()
    svg = figures.draw_costs(content, measure(), "all")
    assert all(name in svg for name in ("parameters", "network calls", "CPU seconds", "memory"))
    assert svg.count(">tokens</text>") == 4
    assert ">original</text>" not in svg
    for row in content["rows"]:
        row.update(num_parameters=0, network_calls=0.0)
    svg = figures.draw_costs(content, measure(), "all")
    assert "parameters" not in svg
    assert figures.draw_costs(content, measure("unknown"), "all") == ""


@pytest.mark.parametrize("seed", range(20))
def test_labels_keep_their_order_and_distance(seed):
    wanted = np.random.default_rng(seed).uniform(0, 100, 12)
    places = drawing._spread(wanted, gap=8.0, top=100.0)
    assert (np.argsort(places) == np.argsort(wanted)).all()
    assert np.diff(np.sort(places)).min() > 8 - 1e-9
    assert places.max() <= 100
    assert places.min() >= 0


def test_curves_of_unlike_lengths_are_brought_to_one():
    items = [
        Record(curves={"d": [0.0, 1.0]}),
        Record(curves={"d": np.linspace(0, 1, 9).tolist()}),
        Record(curves={"d": [0.0, float("nan")]}),
        Record(curves={"other": [1.0, 2.0]}),
    ]
    along = np.linspace(0, 1, 5)
    curves = figures._curves(items, "d", along)
    assert curves.shape == (2, 5)
    assert np.allclose(curves, along)
    assert figures.curve_names(items) == ["d", "other"]


def test_curves_are_drawn_with_a_legend_of_all_rows():
    svg = figures.draw_curves(summary(), records(curves=True), "distance")
    assert all(f">{row}</text>" in svg for row in KINDS)
    assert figures.draw_curves(summary(), records(), "distance") == ""


# ------------------------------------------------------------------------------------- examples


def pick(items, better="lower", **changes):
    rows = changes.pop("rows", ["lpc", "tokens"])
    return choose_examples(items, "lsd", better, rows=rows, **changes)


def test_worst_and_median_are_chosen_for_every_corpus_and_row():
    items = records()
    chosen = pick(items)
    assert len(chosen) == 8
    for choice in chosen:
        group = [
            r.metrics["lsd"]
            for r in items
            if (r.corpus, r.row) == (choice.item.corpus, choice.item.row)
        ]
        expected = max(group) if choice.kind == "worst" else sorted(group)[2]
        assert choice.value == choice.item.metrics["lsd"] == expected
    assert [c.kind for c in chosen] == ["worst"] * 4 + ["median"] * 4
    higher = pick(items, "higher", kinds=["worst", "best"])
    assert higher[0].value == min(
        r.metrics["lsd"] for r in items if (r.corpus, r.row) == ("music", "lpc")
    )
    assert higher[4].value == chosen[0].value


def test_the_choice_does_not_depend_on_the_order_of_records():
    items = [replace(r, metrics={"lsd": round(r.metrics["lsd"])}) for r in records()]
    keys = {(c.kind, c.item.corpus, c.item.row, c.item.file, c.item.index) for c in pick(items)}
    for seed in range(5):
        shuffled = random.Random(seed).sample(items, len(items))
        again = {
            (c.kind, c.item.corpus, c.item.row, c.item.file, c.item.index) for c in pick(shuffled)
        }
        assert again == keys


def test_ties_go_to_the_first_file_and_failures_are_passed_over():
    items = [
        Record(file="c", metrics={"lsd": 2.0}),
        Record(file="b", metrics={"lsd": 2.0}),
        Record(file="a", metrics={"lsd": 9.0}, error="failed"),
        Record(file="0", metrics={}),
        Record(file="1", metrics={"lsd": float("inf")}),
        Record(file="d", metrics={"lsd": 1.0}),
        Record(file="e", metrics={"lsd": 0.5}),
    ]
    worst, median = pick(items)
    assert (worst.item.file, median.item.file) == ("b", "d")


def test_a_lone_item_is_chosen_once():
    assert [c.kind for c in pick([Record(metrics={"lsd": 1.0})])] == ["worst"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"gap": (10, 10)}, ConfigError),
        ({"gap": (0, RATE + 1)}, ConfigError),
        ({"sample_rate": 0}, ConfigError),
        ({"value": float("nan")}, ConfigError),
        ({"reference": np.zeros((2, RATE))}, ShapeError),
        ({"reference": None, "estimate": np.zeros((1, 0)), "gap": None}, ShapeError),
    ],
)
def test_examples_that_cannot_be_are_refused(changes, error):
    with pytest.raises(error):
        example(**changes)


# ------------------------------------------------------------------------------------- playback


def decoded(clip):
    samples, rate = soundfile.read(io.BytesIO(clip.flac), always_2d=True)
    return samples.T, rate


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_loudness_of_a_sine_is_that_of_the_standard(rate):
    sine = np.sin(2 * np.pi * 997 * np.arange(4 * rate) / rate)[None]
    assert loudness_lufs(sine, rate) == pytest.approx(-3.01, abs=0.03)
    assert loudness_lufs(np.concatenate([sine, sine]), rate) == pytest.approx(0, abs=0.03)
    low = np.sin(2 * np.pi * 20 * np.arange(4 * rate) / rate)[None]
    assert loudness_lufs(low, rate) < -14


def test_both_sounds_are_equally_loud_and_the_gains_are_stated():
    shown = example(estimate=3 * example().reference)
    pair = make_pair(shown)
    for clip, samples in ((pair.original, shown.reference), (pair.filled, shown.estimate)):
        heard, rate = decoded(clip)
        assert rate == RATE
        assert loudness_lufs(heard, rate) == pytest.approx(LOUDNESS_LUFS, abs=0.02)
        middle = slice(4000, 12000)
        ratio = np.std(heard[:, middle]) / np.std(samples[:, middle])
        assert 20 * np.log10(ratio) == pytest.approx(clip.gain_db, abs=0.02)
    assert pair.original.gain_db - pair.filled.gain_db == pytest.approx(20 * np.log10(3), abs=0.1)
    html = to_html(summary(), [], [shown])
    assert f"<small>{pair.original.gain_db:+.1f} dB</small>".replace("-", "−") in html


def test_peaks_lower_the_loudness_of_both():
    clicks = np.zeros((1, RATE))
    clicks[:, 500::4000] = 1.0
    pair = make_pair(example(reference=clicks, estimate=0.5 * clicks))
    assert pair.loudness_lufs < LOUDNESS_LUFS
    for clip in (pair.original, pair.filled):
        heard, rate = decoded(clip)
        assert np.abs(heard).max() <= 10 ** (PEAK_DBFS / 20) + 1e-4
        assert loudness_lufs(heard, rate) == pytest.approx(pair.loudness_lufs, abs=0.05)


def test_silence_is_not_made_loud():
    pair = make_pair(example(estimate=np.zeros((1, RATE))))
    assert pair.filled.gain_db == pair.original.gain_db
    assert not decoded(pair.filled)[0].any()
    both = make_pair(example(reference=np.zeros((1, RATE)), estimate=np.zeros((1, RATE))))
    assert both.loudness_lufs is None
    assert both.filled.gain_db == 0


def test_only_the_surroundings_of_a_gap_are_played():
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal((1, 10 * RATE))
    gap = (5 * RATE, 5 * RATE + 800)
    pair = make_pair(example(reference=sound, estimate=sound, gap=gap))
    assert decoded(pair.filled)[0].shape == (1, 4 * RATE + 800)
    assert pair.gap_s == pytest.approx((2.0, 2.05))


@pytest.mark.parametrize(("rate", "played"), [(4000, 8000), (96000, 48000), (44100, 44100)])
def test_rates_and_channels_are_such_that_players_take_them(rate, played):
    sound = 0.1 * np.random.default_rng(0).standard_normal((6, rate))
    pair = make_pair(
        example(reference=sound, estimate=sound, sample_rate=rate, gap=(rate // 2, rate // 2 + 99))
    )
    heard, heard_rate = decoded(pair.filled)
    assert (heard.shape, heard_rate) == ((1, played), played)


# ------------------------------------------------------------------------------------- listening


def test_players_hold_flac_and_are_named(page):
    players = Page(page).all("audio")
    assert len(players) == 4
    for player in players:
        data = base64.b64decode(player["src"].removeprefix("data:audio/flac;base64,"))
        assert data.startswith(b"fLaC")
        assert player["aria-label"].endswith("a.flac")
        assert "controls" in player


def test_examples_beyond_the_limit_are_left_out_and_counted():
    shown = [example(index=i) for i in range(5)]
    size = len(to_html(summary(), [], shown[:1])) - len(to_html(summary(), [], []))
    html = to_html(summary(), [], shown, max_listening_mb=2.5 * size / 1e6)
    assert html.count("<article") == 2
    assert "3 of 5 examples are left out" in html
    assert "item 0" in html
    assert "item 4" not in html


def test_an_example_of_generation_has_one_player_and_no_seam():
    html = to_html(summary(), [], [example(reference=None, gap=None)])
    assert html.count("<audio") == 1
    assert 'class="switch"' not in html
    assert 'class="seam"' not in html
    assert html.count("data:image/png") == 1


def test_the_mark_stands_where_the_gap_is():
    html = to_html(summary(), [], [example()])
    pictures = draw_spectrograms(example())
    left, right = map(float, re.search(r"left:([\d.]+)%;right:([\d.]+)%", html).groups())
    span = pictures.stop_s - pictures.start_s
    assert pictures.start_s + left / 100 * span == pytest.approx(0.5, abs=0.001)
    assert pictures.stop_s - right / 100 * span == pytest.approx(0.6, abs=0.001)


def brightness(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L")).astype(float)


def test_a_silent_fill_is_dark_in_the_gap_and_only_there():
    shown = example()
    shown.estimate[:, 8000:9600] = 0
    pictures = draw_spectrograms(shown)
    before, after = brightness(pictures.original), brightness(pictures.filled)
    assert before.shape == after.shape
    columns = np.linspace(pictures.start_s, pictures.stop_s, after.shape[1])
    gap = (columns > 0.53) & (columns < 0.57)
    away = (columns < 0.45) | (columns > 0.65)
    assert after[:, gap].mean() < 10
    assert before[:, gap].mean() > 80
    assert np.array_equal(before[:, away], after[:, away])


def test_high_frequencies_are_at_the_top():
    time = np.arange(RATE) / RATE
    low, high = (
        brightness(
            draw_spectrograms(
                example(reference=None, estimate=np.sin(2 * np.pi * hz * time)[None], gap=None)
            ).filled
        ).mean(axis=1)
        for hz in (200, 5000)
    )
    assert np.argmax(high) < np.argmax(low)
    ticks = {name: height for height, name in draw_spectrograms(example()).ticks}
    assert 1 - np.argmax(low) / len(low) == pytest.approx(
        ticks["100 Hz"] + (ticks["1 kHz"] - ticks["100 Hz"]) * np.log10(2), abs=0.03
    )


@pytest.mark.parametrize(
    ("gap", "names"),
    [
        ((8000, 9600), ["into the gap", "out of the gap"]),
        ((0, 9600), ["out of the gap"]),
        ((8000, RATE), ["into the gap"]),
        ((0, RATE), []),
        (None, []),
        ((8000, 8001), ["into the gap", "out of the gap"]),
    ],
)
def test_seams_are_drawn_where_there_are_any(gap, names):
    seams = draw_seams(example(gap=gap))
    assert [name for name, _ in seams] == names
    for _, svg in seams:
        numbers = [
            float(n) for p in re.findall(r'points="([^"]*)"', svg) for n in re.split("[ ,]", p)
        ]
        assert np.isfinite(numbers).all()
        assert 0 <= min(numbers) <= max(numbers) <= 320


@pytest.mark.parametrize(("rate", "num_samples"), [(100, 50), (8000, 3), (192_000, 40_000)])
def test_any_rate_and_length_can_be_drawn_and_played(rate, num_samples):
    sound = np.random.default_rng(0).standard_normal((2, num_samples))
    shown = example(reference=sound, estimate=sound, sample_rate=rate, gap=(1, 2))
    assert to_html(summary(), [], [shown]).count("<article") == 1


def test_samples_that_are_no_numbers_do_not_break_the_page():
    broken = example().estimate.copy()
    broken[:, 8100:8200] = np.nan
    broken[:, 8300] = np.inf
    assert "nan" not in draw_seams(example(estimate=broken))[0][1]
    html = to_html(summary(), [], [example(estimate=broken)])
    assert html.count("<article") == 1


def test_the_summary_is_not_changed():
    content = summary()
    before = copy.deepcopy(content)
    to_html(content, records(), [example()])
    assert content == before


def test_values_of_too_few_vectors_are_starred():
    content = summary()
    content["rows"][1]["metrics"]["fad"]["is_singular"] = True
    words = Page(result_tables(content)).text
    assert "3.00*" in words
    assert words.count("*") == 1


def test_examples_chosen_by_no_measure_are_only_examples():
    words = Page(to_html(summary(), [], [example(metric="number", value=3.0, kind="best")])).text
    assert "tokens Example a.flac" in words
    assert "3.00" not in words[words.index("tokens Example") :].partition("Published")[0]
    assert (
        "Worst a.flac · item 0 LSD 1.25 · −23.0 LUFS"
        in Page(to_html(summary(), [], [example()])).text
    )
