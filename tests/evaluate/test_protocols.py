"""All protocols but `gaps`, which has a file of its own, with models and embedders that tell."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from weft.audio.audio import Audio, Patch
from weft.audio.fades import constant_power_crossfade
from weft.canvas.canvas import Canvas, Region
from weft.data.manifest import Entry, read_manifest, write_manifest
from weft.errors import ConfigError, UnsupportedCanvasError
from weft.evaluate import runner
from weft.evaluate.journal import Journal
from weft.evaluate.markdown import to_markdown
from weft.evaluate.measures import measure_extras
from weft.evaluate.protocol import Case, RunConfig, Spot
from weft.evaluate.protocols.generation import (
    Captions,
    Generation,
    GenerationConfig,
    spectrum_noise,
)
from weft.evaluate.protocols.stretches import Stretches, StretchesConfig
from weft.evaluate.protocols.transition import (
    CURVE,
    Transition,
    TransitionConfig,
    distance_curve,
)
from weft.evaluate.protocols.upsample import FAMILIES, Upsample, UpsampleConfig, low_pass
from weft.evaluate.references import train_clips
from weft.evaluate.render import render_examples
from weft.evaluate.report import summarise
from weft.evaluate.runner import Finders, round_trip
from weft.evaluate.solvers import Filled, Solver
from weft.metrics.embedders.base import Embedder, Embedding
from weft.rng import Rng

RATE = 8000
SEEN = []
SEEDS = []


class Levels(Embedder):
    """Level and share of the upper band: enough to tell sounds of these tests apart."""

    name = "levels"
    digest = "0123456789abcdef"
    sample_rate = RATE
    num_dims = 2
    class_names = ("loud", "soft")

    def embed(self, samples, sample_rate):
        power = np.abs(np.fft.rfft(samples, axis=1)) ** 2
        half = power.shape[1] // 2
        low, high = power[:, :half].sum(), power[:, half:].sum()
        loud = np.log10(low + high + 1e-9)
        vector = np.array([loud, np.log10((high + 1e-9) / (low + 1e-9))])
        return Embedding(vectors=vector[None], logits=0.1 * np.array([loud, -loud]))


@pytest.fixture(autouse=True)
def embedder(monkeypatch):
    SEEN.clear()
    SEEDS.clear()
    monkeypatch.setattr(runner, "_embedder", lambda name, weights: Levels())


def load(name):
    """Models that fill with a constant; ``drafts`` takes drafts, the others refuse them."""

    def fill(canvas, *, takes, seed):
        SEEN.append((name, canvas))
        SEEDS.append(seed)
        if name != "drafts" and canvas.draft_strength is not None:
            raise UnsupportedCanvasError("no drafts")
        channels = canvas.audio.num_channels
        if canvas.low_band_hz is not None:
            noisy = canvas.audio.samples * 0.5
            return Filled(takes=(Audio.from_samples(noisy, RATE),), models=(name,))
        filled = canvas.audio.patched(
            Patch(start=g.start, samples=np.full((channels, g.num_samples), 0.25))
            for g in canvas.gaps
        )
        return Filled(takes=(filled,), models=(name,) * len(canvas.gaps))

    halved = lambda audio: Audio.from_samples(audio.samples / 2, audio.sample_rate)  # noqa: E731
    return Solver(fill=fill, round_trip=halved if name == "coded" else None)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "noises"
    folder.mkdir()
    rows = []
    for i in range(7):
        samples = 0.1 * np.random.default_rng(i).standard_normal((5 + i % 2) * RATE)
        soundfile.write(folder / f"{i}.wav", samples, RATE, subtype="DOUBLE")
        split = "test" if i < 3 else "train"
        rows.append({"file": f"{i}.wav", "split": split, "caption": f"noise number {i % 4}"})
    write_manifest(folder, rows)
    return read_manifest(folder)


def settings(**changes):
    return RunConfig(**{"sample_rate": RATE, "embedders": ("levels",), **changes})


def stretches(kind, *models, **changes):
    own = {"clip_s": 3.0, "middle_s": 1.0, "known_s": 1.2, "clips_per_file": 1, **changes}
    return Stretches(settings(models=models), config=StretchesConfig(kind=kind, **own))


def run(protocol, corpus, journal=None):
    journal = Journal(None, protocol.fixed_settings) if journal is None else journal
    runner.run(protocol, [corpus], journal, finders=Finders(load=load))
    return journal


def summary_of(protocol, corpus, journal, **options):
    train = train_clips(protocol, [corpus], Finders(load=load))
    return summarise(
        protocol,
        journal,
        materials=[corpus.name],
        train=train,
        embedders=[Levels()],
        **options,
    )


def test_infill_takes_the_middle_and_a_continuation_the_end(corpus):
    for kind, start, stop in (("infill", 1.0, 2.0), ("continuation", 1.2, 3.0)):
        SEEN.clear()
        run(stretches(kind, "plain"), corpus)
        assert len(SEEN) == 3
        for _, canvas in SEEN:
            (gap,) = canvas.gaps
            assert (gap.start, gap.stop) == (round(start * RATE), round(stop * RATE))
            assert canvas.audio.num_samples == 3 * RATE
            assert not canvas.audio.read(gap.start, gap.stop).any()


def test_a_model_may_have_the_whole_recording_but_never_what_comes_after_a_continuation(corpus):
    run(stretches("infill", "plain", is_whole_recording=True), corpus)
    assert {canvas.audio.duration_s for _, canvas in SEEN} == {5.0, 6.0}
    SEEN.clear()
    run(stretches("continuation", "plain", is_whole_recording=True), corpus)
    assert all(canvas.gaps[-1].stop == canvas.audio.num_samples for _, canvas in SEEN)


def test_regenerate_hands_over_the_draft_and_marks_models_that_cannot_use_it(corpus):
    journal = run(stretches("regenerate", "drafts", "plain"), corpus)
    first = next(canvas for name, canvas in SEEN if name == "drafts")
    assert first.draft_strength == 0.85
    assert first.audio.read(first.gaps[0].start, first.gaps[0].stop).any()
    models = {r.row: r.model for r in journal}
    assert models["drafts"] == "drafts"
    assert models["plain"] == "plain, no draft"
    silence = [r for r in journal if r.row == "silence"]
    assert all(r.metrics["snr_db"] == 0 for r in silence)
    assert all(r.metrics["no_jump"] == 0 and r.metrics["jump_db"] > 10 for r in silence)
    assert all(r.metrics["no_jump"] == 1 for r in journal if r.row == "original")
    last = [canvas for name, canvas in SEEN if name == "plain"][-1]
    assert not last.audio.read(last.gaps[0].start, last.gaps[0].stop).any()


def test_the_originals_are_ideal_and_at_no_distance_from_themselves(corpus):
    protocol = stretches("infill", "plain")
    journal = run(protocol, corpus)
    summary = summary_of(protocol, corpus, journal, versus="silence")
    rows = {row["row"]: row["metrics"] for row in summary["rows"]}
    assert rows["original"]["lsd_gap"]["mean"] == 0
    assert rows["original"]["frechet:levels"]["mean"] == pytest.approx(0, abs=1e-9)
    for name in ("mean", "low", "high"):
        assert rows["original"]["kid:levels"][name] == pytest.approx(0, abs=1e-6)
    assert rows["plain"]["frechet:levels"]["mean"] > rows["vorbis"]["frechet:levels"]["mean"]
    assert rows["plain"]["kl_paired:levels"]["mean"] > 0
    json.dumps(summary, allow_nan=False)
    assert "Frechet (levels)" in to_markdown(summary)
    assert "torch" in summary["versions"]
    plain = summarise(protocol, journal, materials=[corpus.name])
    assert "torch" not in plain["versions"]


def test_sets_are_compared_item_by_item_with_another_row(corpus):
    protocol = stretches("infill", "plain")
    summary = summary_of(protocol, corpus, run(protocol, corpus), versus="silence")
    (row,) = [d for d in summary["differences"] if d["row"] == "plain"]
    rows = {r["row"]: r["metrics"] for r in summary["rows"]}
    expected = rows["plain"]["frechet:levels"]["mean"] - rows["silence"]["frechet:levels"]["mean"]
    assert row["metrics"]["frechet:levels"]["mean"] == pytest.approx(expected)
    assert row["metrics"]["lsd_gap"]["p_holm"] >= row["metrics"]["lsd_gap"]["p"]


def test_a_codec_of_a_model_has_a_row_of_its_own(corpus):
    journal = run(stretches("infill", "coded", "plain"), corpus)
    rows = {r.row for r in journal}
    assert "coded (round trip)" in rows
    assert "plain (round trip)" not in rows
    found = [r.metrics["snr_db"] for r in journal if r.row == "coded (round trip)"]
    assert found == pytest.approx([6.02] * 3, abs=0.3)


def test_a_round_trip_changes_the_gap_only_and_does_not_click():
    tone = np.sin(np.arange(RATE) * 0.3)[None] * 0.5
    gap, whole = Region(start=3000, stop=5000), Region(start=0, stop=RATE)
    truth = Audio.from_samples(tone, RATE)
    case = Case(
        corpus="c",
        file="f",
        setting="s",
        canvas=Canvas(audio=truth, gaps=(gap,)),
        truth=truth,
        spots=(Spot(index=0, excerpt=whole, edited=gap),),
    )
    found = round_trip(case, lambda a: Audio.from_samples(-a.samples, RATE)).samples
    np.testing.assert_array_equal(found[:, :3000], tone[:, :3000])
    np.testing.assert_array_equal(found[:, 5000:], tone[:, 5000:])
    np.testing.assert_allclose(found[:, 3500:4500], -tone[:, 3500:4500])
    assert np.abs(np.diff(found)).max() < 3 * np.abs(np.diff(tone)).max()


def test_embeddings_survive_the_journal(corpus, tmp_path):
    protocol = stretches("infill", "plain")
    path = tmp_path / "j.jsonl"
    journal = run(protocol, corpus, Journal(path, protocol.fixed_settings))
    journal.close()
    again = Journal(path, protocol.fixed_settings, is_resumed=True)
    assert len(again) == len(journal) > 0
    for old, new in zip(journal, again, strict=True):
        for name, embedding in old.embeddings.items():
            np.testing.assert_array_equal(embedding.vectors, new.embeddings[name].vectors)
            np.testing.assert_array_equal(embedding.logits, new.embeddings[name].logits)
    one = summary_of(protocol, corpus, journal)
    assert one == summary_of(protocol, corpus, again)


@pytest.mark.parametrize("kind", ["infill", "transition", "unconditional", "generate"])
def test_what_is_done_is_not_done_again(kind, corpus, tmp_path):
    protocol = {
        "infill": lambda: stretches("infill", "plain"),
        "transition": lambda: transition("drafts"),
        "unconditional": lambda: generation("unconditional"),
        "generate": lambda: generation("generate"),
    }[kind]()
    path = tmp_path / "j.jsonl"
    run(protocol, corpus, Journal(path, protocol.fixed_settings)).close()
    SEEN.clear()
    again = Journal(path, protocol.fixed_settings, is_resumed=True)
    num_before = len(again)
    run(protocol, corpus, again).close()
    assert len(again) == num_before > 0
    assert SEEN == []


def test_other_settings_are_another_experiment(corpus, tmp_path):
    path = tmp_path / "j.jsonl"
    run(stretches("infill"), corpus, Journal(path, stretches("infill").fixed_settings)).close()
    with pytest.raises(ConfigError, match="protocol was infill"):
        Journal(path, stretches("continuation").fixed_settings, is_resumed=True)


def test_the_crossfade_keeps_the_power_of_two_unlike_sounds():
    draw = np.random.default_rng(0).standard_normal((2, 1, 20000))
    joined = constant_power_crossfade(draw[0], draw[1], 10000)
    assert joined.shape == (1, 30000)
    parts = [joined[:, i : i + 2000].std() for i in range(0, 30000, 2000)]
    assert max(parts) / min(parts) < 1.1
    np.testing.assert_array_equal(joined[:, :10000], draw[0][:, :10000])
    np.testing.assert_array_equal(joined[:, 20000:], draw[1][:, 10000:])


def test_the_distance_to_track_1_grows_along_a_crossfade(corpus):
    draw = 0.1 * np.random.default_rng(0).standard_normal((2, 1, 4 * RATE))
    gap = Region(start=RATE, stop=3 * RATE)
    joined = constant_power_crossfade(draw[0][:, : 3 * RATE], draw[1][:, : 3 * RATE], 2 * RATE)
    curve = distance_curve(draw[0], joined, RATE, gap)
    assert len(curve) == 25
    assert curve[0] < curve[12] < curve[-1]
    assert not distance_curve(draw[0], draw[0], RATE, gap).any()


def generation(kind, **changes):
    return Generation(
        settings(models=("plain",), num_train_clips=12, **changes),
        config=GenerationConfig(kind=kind, clip_s=1.0, clips_per_file=2),
    )


def transition(*models, **changes):
    own = {"transition_s": 0.4, "side_s": 0.2, "num_pairs": 4, **changes}
    return Transition(settings(models=models, num_train_clips=40), TransitionConfig(**own))


def test_transitions_lead_from_one_recording_to_another(corpus):
    protocol = transition("drafts", "plain")
    jobs = protocol.jobs([corpus])
    assert len({job.file for job in jobs}) == 4
    assert all(job.entries[0].file != job.entries[1].file for job in jobs)
    assert protocol.jobs([corpus]) == jobs
    journal = run(protocol, corpus)
    rows = {r.row for r in journal}
    assert rows == {"cross-fade", "vorbis", "track 1 alone", "silence", "drafts", "plain"}
    assert all(len(r.curves[CURVE]) == 25 for r in journal)
    assert all(max(r.curves[CURVE]) == 0 for r in journal if r.row == "track 1 alone")
    assert all(r.metrics["dip_db"] > 40 for r in journal if r.row == "silence")
    assert {r.row for r in journal if r.metrics["no_jump"]} >= {"track 1 alone", "cross-fade"}
    assert all(r.metrics["no_jump"] == 0 for r in journal if r.row == "silence")
    assert all(r.num_changed == 0 for r in journal)


def test_recordings_that_are_just_long_enough_are_joined(corpus):
    journal = run(transition(transition_s=3.2, side_s=0.8), corpus)
    assert len({(r.file, r.row) for r in journal}) == 4 * 4


def test_realism_is_divided_by_that_of_the_crossfade_of_the_same_tracks(corpus):
    protocol = transition("plain")
    journal = run(protocol, corpus)
    summary = summary_of(protocol, corpus, journal)
    rows = {row["row"]: row["metrics"] for row in summary["rows"]}
    ratio = rows["cross-fade"]["realism_ratio:levels"]
    assert ratio["mean"] == pytest.approx(1)
    assert rows["silence"]["realism_ratio:levels"]["mean"] < 1
    assert rows["cross-fade"].get("frechet:levels") is None  # there is no truth


def test_clips_from_nothing_are_compared_with_the_train_split(corpus):
    protocol = generation("unconditional")
    journal = run(protocol, corpus)
    assert all(not canvas.audio.samples.any() for _, canvas in SEEN)
    assert {canvas.gaps[0].num_samples for _, canvas in SEEN} == {RATE}
    summary = summary_of(protocol, corpus, journal)
    rows = {row["row"]: row["metrics"] for row in summary["rows"]}
    assert (
        rows["plain"]["frechet_train:levels"]["mean"]
        > 10 * rows["train clip"]["frechet_train:levels"]["mean"]
    )
    assert "train split, clips: noises 12" in to_markdown(summary)


@pytest.mark.parametrize("kind", ["unconditional", "generate"])
def test_each_clip_from_nothing_has_a_seed_of_its_own(kind, corpus):
    """Clips are told of no recording: with equal seeds a model would make one clip many times."""
    drawn = []
    for seed in (0, 0, 1):
        SEEDS.clear()
        run(generation(kind, seed=seed), corpus)
        drawn.append(list(SEEDS))
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == (6 if kind == "unconditional" else 3)
    assert len({*drawn[0], *drawn[2]}) == 2 * len(drawn[0])


def test_a_caption_finds_the_nearest_one_of_the_train_split(corpus):
    protocol = Generation(
        settings(models=("plain",)), config=GenerationConfig(kind="generate", clip_s=10.0)
    )
    jobs = protocol.jobs([corpus])
    assert [job.others[0].file for job in jobs] == ["4.wav", "5.wav", "6.wav"]
    run(protocol, corpus)
    assert [canvas.text for _, canvas in SEEN] == [f"noise number {i}" for i in range(3)]
    assert {canvas.audio.duration_s for _, canvas in SEEN} == {5.0, 6.0}


def test_a_recording_without_a_caption_is_refused_before_any_work(corpus, tmp_path):
    (tmp_path / "noises" / "manifest.csv").write_text("file,split\n0.wav,test\n")
    protocol = Generation(settings(), config=GenerationConfig(kind="generate"))
    with pytest.raises(ConfigError, match="no caption"):
        run(protocol, read_manifest(tmp_path / "noises"))


def test_rare_words_count_more():
    captions = ("the dog barks", "the rain", "the cat", "the bell")
    entries = [
        Entry(file=str(i), path=Path(f"{i}.wav"), caption=caption)
        for i, caption in enumerate(captions)
    ]
    assert Captions(entries).nearest("the the bell rings").caption == "the bell"
    assert Captions(entries).nearest("unheard of").file == "0"


def test_noise_keeps_the_spectrum_and_nothing_else():
    tone = Audio.from_samples(np.random.default_rng(0).standard_normal((2, 4001)), RATE)
    noise = spectrum_noise(tone, Rng(1))
    spectra = [np.abs(np.fft.rfft(a.samples, axis=1)) for a in (tone, noise)]
    np.testing.assert_allclose(spectra[0], spectra[1], atol=1e-9)
    assert abs(np.corrcoef(tone.samples[0], noise.samples[0])[0, 1]) < 0.1
    again = spectrum_noise(tone, Rng(1)).samples
    np.testing.assert_array_equal(noise.samples, again)


def upsample(*models, **changes):
    own = {"cutoff_hz": (1000.0, 2000.0), "clip_s": 1.0, **changes}
    return Upsample(settings(models=models), UpsampleConfig(**own))


def test_upsample_takes_the_band_above_the_cutoff_and_says_where_it_is(corpus):
    protocol = upsample("plain")
    journal = run(protocol, corpus)
    canvas = next(c for name, c in SEEN if name == "plain")
    assert canvas.low_band_hz == 1000.0
    power = np.abs(np.fft.rfft(canvas.audio.samples[0])) ** 2
    assert power[1200:].sum() < 1e-3 * power[:1000].sum()
    rows = {}
    for record in journal:
        rows.setdefault((record.setting, record.row), []).append(record.metrics)
    setting = "1 kHz chebyshev"
    assert rows[setting, "original"][0]["lsd_ssr_eval"] < 1e-9
    inputs, copies = rows[setting, "input"][0], rows[setting, "band copy"][0]
    assert inputs["lsd_low"] < 0.5 < inputs["lsd_high"]
    assert copies["lsd_high"] < inputs["lsd_high"] / 2


def test_the_low_band_of_an_answer_may_be_replaced(corpus):
    journal = run(upsample("plain"), corpus)
    halved, replaced = (
        [r.metrics["lsd_low"] for r in journal if r.row == row]
        for row in ("plain", "plain, low band replaced")
    )
    assert min(halved) > 0.5 > max(replaced)


def test_what_has_nothing_above_the_cutoff_is_left_out(tmp_path):
    folder = tmp_path / "low"
    folder.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 3 * RATE))
    low = low_pass(noise, RATE, 1200.0, "butterworth", 8)
    soundfile.write(folder / "low.wav", low[0], RATE, subtype="DOUBLE")
    journal = run(upsample(), read_manifest(folder))
    assert {r.setting for r in journal} == {"1 kHz chebyshev"}


@pytest.mark.parametrize("family", FAMILIES)
def test_filters_pass_below_and_stop_above_and_delay_nothing(family):
    impulse = np.zeros((1, 4001))
    impulse[0, 2000] = 1
    found = low_pass(impulse, RATE, 1000.0, family, 8)
    assert np.argmax(np.abs(found)) == 2000
    gain = np.abs(np.fft.rfft(found[0]))
    hz = np.fft.rfftfreq(4001, 1 / RATE)
    assert gain[hz < 500].min() > 0.5
    assert gain[hz > 3000].max() < 0.01


def test_a_cutoff_above_half_the_rate_is_refused():
    with pytest.raises(ConfigError, match="twice the highest cut-off"):
        upsample(cutoff_hz=(4000.0,))


def test_examples_are_the_same_answers_again(corpus):
    protocol = stretches("infill", "plain")
    journal = run(protocol, corpus)
    examples = render_examples(protocol, [corpus], list(journal), finders=Finders(load=load))
    plain = [e for e in examples if e.row == "plain"]
    assert {e.kind for e in plain} == {"worst", "median"}
    for example in plain:
        start, stop = example.gap
        assert (example.estimate[:, start:stop] == 0.25).all()
        assert example.reference.shape == example.estimate.shape
        assert example.value == next(
            r.metrics["lsd_gap"]
            for r in journal
            if (r.row, r.file, r.index) == ("plain", example.file, example.index)
        )


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: StretchesConfig(kind="infill", clip_s=0.5), "clip_s"),
        (lambda: StretchesConfig(kind="infill", middle_s=6.0), "middle_s"),
        (lambda: StretchesConfig(kind="regenerate", strength=1.5), "strength"),
        (lambda: StretchesConfig(kind="infill", clips_per_file=0), "clips_per_file"),
        (lambda: TransitionConfig(transition_s=0.0), "transition_s"),
        (lambda: TransitionConfig(num_pairs=0), "num_pairs"),
        (lambda: GenerationConfig(kind="generate", clip_s=0.0), "clip_s"),
        (lambda: UpsampleConfig(cutoff_hz=()), "cutoff_hz"),
        (lambda: UpsampleConfig(families=()), "families"),
        (lambda: UpsampleConfig(order=0), "order"),
        (lambda: RunConfig(extras=("pesq",)), "extra"),
        (lambda: RunConfig(num_train_clips=-1), "num_train_clips"),
    ],
)
def test_a_setting_outside_its_range_is_named(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


def test_odg_hears_two_seconds_around_the_gap_and_the_damaged_channel():
    rng = np.random.default_rng(0)
    reference = 0.1 * rng.standard_normal((2, 10 * RATE))
    estimate = reference.copy()
    gap = Region(start=5 * RATE, stop=5 * RATE + 2400)
    estimate[0, gap.start : gap.stop] = 0
    first = 5 * RATE + 1200 - RATE
    alone = measure_extras(
        reference[:1, first : first + 2 * RATE],
        estimate[:1, first : first + 2 * RATE],
        RATE,
        ("odg",),
    )
    assert measure_extras(reference, estimate, RATE, ("odg",), gap) == alone
    assert alone["odg"] < -1
    assert measure_extras(reference, reference, RATE, ("odg",), gap)["odg"] > 0.1
