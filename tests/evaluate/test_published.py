"""Published numbers: complete, finite, sourced, and those of the papers."""

import json
import math
from importlib.resources import files

import pytest

from weft.errors import ConfigError
from weft.evaluate import published
from weft.evaluate.published import all_tables, parse, published_markdown, tables

PROTOCOLS = (
    "gaps",
    "infill",
    "continuation",
    "regenerate",
    "transition",
    "unconditional",
    "generate",
    "upsample",
)


def value(table, row, column):
    (found,) = [t for t in all_tables() if t.name == table]
    (line,) = [r for r in found.rows if r.name == row]
    return line.values[[c.name for c in found.columns].index(column)]


def shipped():
    return json.loads(files("weft.evaluate").joinpath("published.json").read_text("utf-8"))


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_every_table_is_finite_and_names_paper_data_and_protocol(table):
    for row in table.rows:
        assert all(math.isfinite(v) for v in row.values if v is not None)
    assert min(map(len, (table.paper, table.where, table.dataset, table.protocol))) > 3
    assert table.source.count(table.paper) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_published_numbers(protocol):
    assert tables(protocol)
    assert all(protocol in table.protocols for table in tables(protocol))


def test_an_unknown_protocol_has_none():
    assert tables("nonsense") == ()
    assert published_markdown("nonsense") == ""


@pytest.mark.parametrize(
    ("table", "row", "column", "expected"),
    [
        ("aidd-musicnet", "AIDD", "300 ms FAD", 3.549),
        ("aidd-musicnet", "CQT-Diff+", "150 ms FAD", 1.525),
        ("aidd-musicnet", "LPC", "300 ms ODG", -3.550),
        ("aidd-musicnet", "A-SPAIN-L", "200 ms LSD", 0.311),
        ("aidd-musicnet", "Masked (silence)", "250 ms LSD", 0.971),
        ("aidd-maestro-odg", "AIDD", "750 ms ODG", -2.596),
        ("aidd-maestro-odg", "bin2bin-MIDI", "375 ms ODG", -2.800),
        ("aidd-maestro-mos", "GACELA", "MOS", 3.51),
        ("aidd-ablation", "derivative, lambda 200", "300 ms FAD", 3.439),
        ("guidance-infill", "latent, DDPM, 50 steps", "FAD", 0.39),
        ("guidance-infill", "CQTDiff, DDPM, 50 steps", "KLD, sets", 0.42),
        ("guidance-unconditional", "latent, DDPM, 500 steps", "unconditional FAD", 0.72),
        ("guidance-unconditional", "latent, DDPM, 500 steps", "guided KLD, sets", 0.08),
        ("guidance-continuation", "waveform, DDPM, 500 steps", "MR", 3.82),
        ("guidance-transition", "waveform, DDPM, 50 steps", "realism", 1.05),
        ("audiocaps-impact", "IMPACT base (c), 64 rounds, 5500 h", "FD", 14.72),
        ("audiocaps-impact", "Tango 2", "FD", 20.66),
        ("audiocaps-audiomntp", "AudioMNTP large", "FAD", 1.22),
        ("audiocaps-tangoflux", "TangoFlux, 50 steps", "FD OpenL3", 75.1),
        ("audiocaps-etta", "ETTA, fine-tuned on AudioCaps", "FD PANNs", 10.10),
        ("audiolbm-vctk", "AudioLBM, zero-shot", "LSD", 0.753),
        ("audiolbm-esc50", "AudioLBM", "24 kHz ViSQOL", 3.64),
        ("apbwe-vctk", "AP-BWE", "8 kHz LSD", 0.84),
        ("apbwe-vctk", "AP-BWE", "24 kHz ViSQOL", 4.25),
        ("ssr-eval-nvsr", "NVSR", "2 kHz LSD", 1.04),
        ("anyband-vctk", "AudioSR", "4 kHz LSD-HF", 1.691),
    ],
)
def test_anchors_are_those_of_the_sources(table, row, column, expected):
    assert value(table, row, column) == expected


def test_values_that_look_wrong_are_kept_and_marked():
    (table,) = [t for t in all_tables() if t.name == "aidd-musicnet"]
    assert value("aidd-musicnet", "CQT-Diff+", "250 ms ODG") == -3.891
    assert "Masked" in table.doubt("CQT-Diff+", "250 ms ODG")
    assert table.doubt("CQT-Diff+", "200 ms ODG") == ""
    (line,) = [
        line
        for line in published_markdown("gaps").splitlines()
        if line.startswith("| CQT-Diff+ | 1.5")
    ]
    assert "-3.891 ?" in line


def test_numbers_from_a_digest_say_so():
    for table in all_tables():
        assert ("digest, not the paper" in table.source) == (table.origin == "digest")
    assert {t.origin for t in tables("gaps")} == {"digest"}


def test_the_number_of_a_wrong_summary_is_not_taken_for_the_papers():
    assert value("audiocaps-impact", "IMPACT base (c), 64 rounds, 5500 h", "FD") != 15.92


def test_markdown_has_a_column_paper_and_one_cell_a_value():
    text = published_markdown("gaps")
    headings = [line for line in text.splitlines() if line.startswith("| system |")]
    assert len(headings) == len(tables("gaps"))
    assert all(line.endswith("| paper |") for line in headings)
    assert published.NOT_COMPARABLE.capitalize() in text
    width = 0
    for line in text.splitlines():
        if line.startswith("| system"):
            width = line.count("|")
        elif line.startswith("|"):
            assert line.count("|") == width
    assert "-3.232 ± 0.232" in text


def test_best_follows_the_direction_of_a_column():
    (table,) = [t for t in all_tables() if t.name == "aidd-musicnet"]
    names = [column.name for column in table.columns]
    assert table.best(names.index("150 ms FAD")) == 1.525
    assert table.best(names.index("150 ms ODG")) == -3.215


def set_value(entry, value):
    entry["rows"][0]["values"][0] = value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda e: set_value(e, float("nan")), "finite"),
        (lambda e: set_value(e, "3.1"), "numbers"),
        (lambda e: e["rows"][0]["values"].pop(), "columns"),
        (lambda e: e.pop("protocol"), "incomplete"),
        (lambda e: e.update(paper=""), "has no paper"),
        (lambda e: e.update(origin="memory"), "origin"),
        (lambda e: e.update(protocols=["gapes"]), "gapes"),
        (lambda e: e.update(extra=1), "extra"),
        (lambda e: e["columns"][0].update(better="larger"), "larger"),
        (lambda e: e["columns"][0].update(title="LSD"), "two columns"),
        (lambda e: e["doubts"][0].update(row="nobody"), "nobody"),
    ],
)
def test_damaged_data_are_refused(damage, message):
    content = shipped()
    damage(content["tables"][0])
    with pytest.raises(ConfigError, match=message):
        parse(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "other"}'])
def test_another_file_is_refused(text):
    with pytest.raises(ConfigError, match="published numbers"):
        parse(text)
