import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from weft.audio.audio import Patch
from weft.data.manifest import read_manifest
from weft.errors import AudioFormatError, CheckpointError, ConfigError, UnsupportedCanvasError
from weft.evaluate.journal import Journal
from weft.evaluate.markdown import headline, to_markdown
from weft.evaluate.protocol import RunConfig
from weft.evaluate.protocols.gaps import Gaps, GapsConfig
from weft.evaluate.report import summarise
from weft.evaluate.runner import Finders
from weft.evaluate.runner import run as run_protocol
from weft.evaluate.solvers import Filled, Solver

RATE = 8000
LEVELS = {"perfect": 1.0, "half": 0.5, "silent": 0.0}
TRUTH = {}
SEEN = []


def truth(seconds=6, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((1, seconds * RATE))


def load(name):
    """Models that know the truth: they give it back, scaled, by the recording's length."""
    if name == "unknown":
        raise CheckpointError("no model is called 'unknown'")

    def fill(canvas, *, takes, seed):
        audio, gaps = canvas.audio, canvas.gaps
        SEEN.append((name, audio.samples, gaps, takes, seed))
        if name == "refuses" and audio.num_samples == 7 * RATE:
            raise UnsupportedCanvasError("not this one")
        original = TRUTH[audio.num_samples]

        def take(gain):
            return audio.patched(
                Patch(start=g.start, samples=gain * original[:, g.start : g.stop]) for g in gaps
            )

        if name == "vandal":
            bad = audio.patched([Patch(start=0, samples=np.ones((1, 3)))])
            return Filled(takes=(bad,), models=("vandal",) * len(gaps))
        gains = [LEVELS.get(name, 0.5), 0.9, 0.7][:takes]
        return Filled(
            takes=tuple(take(gain) for gain in gains),
            models=("inner",) * len(gaps),
            num_network_calls=4 * len(gaps),
        )

    return Solver(fill=fill, num_parameters=7)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "noises"
    folder.mkdir()
    TRUTH.clear()
    SEEN.clear()
    for i, seconds in enumerate((6, 7, 8)):
        samples = truth(seconds, i)
        TRUTH[samples.shape[1]] = samples
        soundfile.write(folder / f"{i}.wav", samples.T, RATE, subtype="DOUBLE")
    return read_manifest(folder)


def config(**changes):
    own = {name: changes.pop(name) for name in tuple(changes) if hasattr(GapsConfig(), name)}
    shared = RunConfig(**{"models": ("half",), "sample_rate": RATE, **changes})
    base = GapsConfig(gap_ms=(50.0, 200.0), gaps_per_file=2, excerpt_s=1.0)
    return Gaps(shared, replace(base, **own))


def run_gaps(plan, corpora, journal, *, load=None, **options):
    finders = Finders() if load is None else Finders(load=load)
    run_protocol(plan, corpora, journal, finders=finders, **options)


def run(config, corpus, journal=None, **options):
    journal = Journal(None, {}) if journal is None else journal
    run_gaps(config, [corpus], journal, load=load, **options)
    return journal


def rows_of(journal, row):
    return [record for record in journal if record.row == row]


def test_every_gap_has_a_record_in_every_row(corpus):
    journal = run(config(models=("half", "perfect")), corpus)
    assert len(journal) == 5 * 2 * 2 * 3
    for row in ("original", "vorbis", "silence", "half", "perfect"):
        assert len({record.item for record in rows_of(journal, row)}) == 12


def test_the_measures_are_those_of_the_fill(corpus):
    journal = run(config(models=("half", "perfect")), corpus)
    assert all(
        r.metrics["snr_db"] == pytest.approx(20 * np.log10(2)) for r in rows_of(journal, "half")
    )
    assert all(r.metrics["lsd_gap"] > 0 for r in rows_of(journal, "half"))
    assert all(r.metrics["snr_db"] == 0 for r in rows_of(journal, "silence"))
    for row in ("original", "perfect"):
        for record in rows_of(journal, row):
            assert record.metrics["lsd_gap"] == record.metrics["lsd_excerpt"] == 0
            assert record.metrics["no_click"] == record.metrics["level_fits"] == 1


def test_models_see_silence_in_the_gaps_and_the_recording_outside(corpus):
    run(config(), corpus)
    for _, samples, gaps, _, _ in SEEN:
        original = TRUTH[samples.shape[1]].copy()
        (gap,) = gaps
        assert not samples[:, gap.start : gap.stop].any()
        original[:, gap.start : gap.stop] = 0
        np.testing.assert_array_equal(samples, original)


def test_all_models_get_the_same_gaps(corpus):
    run(config(models=("half", "perfect")), corpus)
    half, perfect = (
        [(g, s.shape) for n, s, g, _, _ in SEEN if n == m] for m in ("half", "perfect")
    )
    assert half == perfect


def test_adding_lengths_or_models_moves_no_gap(corpus):
    few = {r.key: r.start for r in run(config(), corpus)}
    many = {r.key: r.start for r in run(config(gap_ms=(20.0, 50.0, 200.0)), corpus)}
    assert few.items() <= many.items()


def test_several_gaps_are_cut_at_once_inside_one_excerpt(corpus):
    journal = run(config(is_multi=True, gaps_per_file=3, gap_ms=(50.0,), excerpt_s=2.0), corpus)
    assert all(len(gaps) == 3 for _, _, gaps, _, _ in SEEN)
    assert len(SEEN) == 3
    for _, _, gaps, _, _ in SEEN:
        assert gaps[-1].stop - gaps[0].start <= 2 * RATE
    records = rows_of(journal, "half")
    assert sorted(r.index for r in records) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(r.num_network_calls == 4 for r in records)
    by_file = {f: [r.metrics["lsd_excerpt"] for r in records if r.file == f] for f in ("0.wav",)}
    assert len(set(by_file["0.wav"])) == 1  # one excerpt holds all of them


def test_the_best_of_several_takes_knows_the_truth(corpus):
    journal = run(config(takes=3), corpus)
    own = {r.item: r.metrics["lsd_gap"] for r in rows_of(journal, "half")}
    best = {r.item: r.metrics["lsd_gap"] for r in rows_of(journal, "half (best of 3)")}
    assert own.keys() == best.keys()
    assert all(best[key] < own[key] for key in own)
    values = [r.metrics["snr_db"] for r in rows_of(journal, "half (best of 3)")]
    assert values == pytest.approx([20.0] * 12)


def test_a_refusal_is_recorded_and_the_run_goes_on(corpus):
    journal = run(config(models=("refuses", "half")), corpus)
    failed = [r for r in journal if r.error]
    assert len(failed) == 4
    assert all(r.row == "refuses" and "not this one" in r.error for r in failed)
    assert len(rows_of(journal, "half")) == 12
    summary = summarise(config(models=("refuses", "half")), journal, materials=["noises"])
    assert len(summary["failures"]) == len(failed)
    assert "failed)" in to_markdown(summary)
    SEEN.clear()
    run(config(models=("refuses", "half")), corpus, journal)
    assert {(name, samples.shape[1]) for name, samples, *_ in SEEN} == {("refuses", 7 * RATE)}


def test_samples_changed_outside_the_gaps_are_counted(corpus):
    journal = run(config(models=("vandal", "half")), corpus)
    assert sum(r.num_changed for r in rows_of(journal, "vandal")) == 12 * 3
    assert sum(r.num_changed for r in rows_of(journal, "half")) == 0


def test_an_unknown_model_is_refused_before_any_work(corpus):
    journal = Journal(None, {})
    with pytest.raises(CheckpointError):
        run_gaps(config(models=("half", "unknown")), [corpus], journal, load=load)
    assert len(journal) == 0
    assert not SEEN


def test_a_missing_file_is_refused_before_any_work(corpus):
    (corpus.root / "2.wav").unlink()
    with pytest.raises(AudioFormatError, match=r"2\.wav"):
        run(config(), corpus)
    assert not SEEN


def test_two_corpora_of_one_name_are_refused(corpus):
    with pytest.raises(ConfigError, match="one name"):
        run_gaps(config(), [corpus, corpus], Journal(None, {}), load=load)


def test_a_killed_run_goes_on_where_it_was(corpus, tmp_path):
    path = tmp_path / "out.jsonl"
    settings = config().fixed_settings
    run(config(), corpus, Journal(path, settings)).close()
    whole = sorted(path.read_text().splitlines()[1:])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:25]) + lines[25][:37])  # the last line was being written
    SEEN.clear()
    journal = Journal(path, settings, is_resumed=True)
    assert len(journal) == 24
    run(config(), corpus, journal).close()
    assert 0 < len(SEEN) < 12

    def plain(lines):
        values = [json.loads(line) for line in lines]
        return sorted(json.dumps({**v, "cpu_s": 0, "peak_mb": 0}) for v in values)

    assert plain(path.read_text().splitlines()[1:]) == plain(whole)


def test_nothing_is_done_twice_and_a_model_may_be_added(corpus, tmp_path):
    path = tmp_path / "out.jsonl"
    settings = config().fixed_settings
    run(config(), corpus, Journal(path, settings)).close()
    SEEN.clear()
    journal = Journal(path, settings, is_resumed=True)
    run(config(models=("half", "perfect")), corpus, journal).close()
    assert {name for name, *_ in SEEN} == {"perfect"}


def test_a_journal_of_other_settings_is_not_taken_up(corpus, tmp_path):
    path = tmp_path / "out.jsonl"
    run(config(limit=1), corpus, Journal(path, config().fixed_settings)).close()
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        Journal(path, config(seed=1).fixed_settings, is_resumed=True)


@pytest.mark.parametrize("content", [b"hello\n", b"{}\n", b'{"schema": "other", "settings": {}}\n'])
def test_what_is_no_journal_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(AudioFormatError):
        Journal(path, {}, is_resumed=True)
    assert path.read_bytes() == content


def test_two_processes_give_the_same_measures_as_one(corpus):
    # Models of the zoo, for the stubs above live in this process only.
    plan = config(models=("crossfade",), gap_ms=(20.0,))
    one, two = Journal(None, {}), Journal(None, {})
    run_gaps(plan, [corpus], one)
    run_gaps(plan, [corpus], two, num_jobs=2)
    assert {r.key: r.metrics for r in one} == {r.key: r.metrics for r in two}
    assert len(one) == 24


def test_progress_ends_at_all(corpus):
    calls = []
    run(
        config(gaps_per_file=8, gap_ms=(400.0,)),
        corpus,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_a_limit_and_a_split_choose_the_files(corpus):
    journal = run(config(limit=1), corpus)
    assert {record.file for record in journal} == {"0.wav"}


def test_the_summary_has_a_row_for_each_material_and_the_sum_of_them(corpus, tmp_path):
    other = replace(corpus, name="other", entries=corpus.entries[:2])
    journal = Journal(None, {})
    plan = config(models=("half", "perfect"))
    run_gaps(plan, [corpus, other], journal, load=load)
    summary = summarise(plan, journal, materials=["noises", "other"], versus="half")
    keys = {(row["material"], row["setting"], row["row"]) for row in summary["rows"]}
    assert len(keys) == 3 * 2 * 5
    counts = {r["material"]: r["num_items"] for r in summary["rows"] if r["row"] == "half"}
    assert counts == {"noises": 6, "other": 4, "all": 10}
    json.dumps(summary, allow_nan=False)


def test_differences_are_paired(corpus):
    plan = config(models=("half", "perfect"))
    summary = summarise(plan, run(plan, corpus), materials=["noises"], versus="half")
    (row,) = (
        r for r in summary["differences"] if r["row"] == "silence" and r["setting"] == "50 ms"
    )
    value = row["metrics"]["snr_db"]
    assert value["mean"] == pytest.approx(-20 * np.log10(2))
    assert value["low"] == pytest.approx(value["high"])
    assert {r["row"] for r in summary["differences"]} == {"vorbis", "silence", "perfect"}


def test_the_markdown_states_settings_and_marks_what_is_certain(corpus):
    plan = config(models=("half", "perfect"), takes=2)
    text = to_markdown(summarise(plan, run(plan, corpus), materials=["noises"], versus="half"))
    for part in ("seed 0", "8000 Hz", "clustered by recording", "half (best of 2)", "| original |"):
        assert part in text
    assert "Samples outside the edits that changed: 0." in text
    assert "| -6.0 [-6.0, -6.0] |" in text  # three recordings can make nothing certain
    assert "inner 6" in text


def test_the_short_table_has_a_line_for_each_row(corpus):
    plan = config()
    headings, cells = headline(summarise(plan, run(plan, corpus), materials=["noises"]))
    assert len(cells) == 8
    assert all(len(line) == len(headings) for line in cells)


@pytest.mark.parametrize(
    "bad",
    [
        {"gap_ms": ()},
        {"gap_ms": (0.0,)},
        {"gap_ms": (float("nan"),)},
        {"gap_ms": (600.0,)},
        {"gaps_per_file": 0},
        {"takes": 0},
        {"limit": 0},
        {"seed": -1},
        {"sample_rate": 100},
        {"excerpt_s": 0.5},
    ],
)
def test_a_setting_outside_its_range_is_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        config(**bad)
