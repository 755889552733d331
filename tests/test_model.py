import tracemalloc
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fillers import DraftFiller, NoiseFiller
from weft.audio import buffers
from weft.audio.audio import ArraySource, Audio, AudioFormat, Patch, Source
from weft.canvas import (
    Canvas,
    Region,
    Style,
    continuation,
    generate,
    inpaint,
    regenerate,
    transition,
)
from weft.canvas.canvas import Window
from weft.canvas.filler import Fill, Filler
from weft.card import ModelCard
from weft.errors import BandwidthWarning, ConfigError, QualityWarning, UnsupportedCanvasError
from weft.model import DRAFT, Model, keep_draft
from weft.rng import Rng

CARD = ModelCard(name="noise-for-tests", summary="draws noise", good_for="tests")
NOISE = Audio.from_samples(np.random.default_rng(5).standard_normal((2, 3000)) * 0.1, 1000)


def make_model(**settings: float | bool | None) -> Model:
    return Model(NoiseFiller(**settings), CARD)  # type: ignore[arg-type]


def disjoint(edges: list[int]) -> list[Region]:
    ordered = sorted(edges)
    return [Region(start=a, stop=b) for a, b in zip(ordered[::2], ordered[1::2], strict=False)]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True),
    st.sampled_from([None, 90.0, 300.0]),
    st.integers(0, 9),
)
def test_samples_outside_the_gaps_come_back_bit_for_bit(
    edges: list[int], max_gap_ms: float | None, seed: int
) -> None:
    gaps = disjoint(edges)
    if sum(gap.num_samples for gap in gaps) == NOISE.num_samples:
        return
    result = make_model(max_gap_ms=max_gap_ms).fill(inpaint(NOISE, gaps), takes=2, seed=seed)
    inside = np.zeros(3000, dtype=bool)
    for gap in gaps:
        inside[gap.start : gap.stop] = True
    for take in result.takes:
        assert np.array_equal(take.samples[:, ~inside], NOISE.samples[:, ~inside])
        assert not np.array_equal(take.samples[:, inside], NOISE.samples[:, inside])
    assert result.proof.is_identical
    assert result.proof.num_outside == 2 * int((~inside).sum())


def test_what_stood_in_a_gap_is_not_used() -> None:
    samples = NOISE.samples
    samples[:, 1000:1100] = 1e6
    loud = Audio.from_samples(samples, 1000)
    results = [
        make_model().fill(inpaint(audio, [(1.0, 1.1)]), seed=3).best.read(1000, 1100)
        for audio in (NOISE, loud)
    ]
    assert np.array_equal(*results)


def test_equal_seeds_give_equal_fills_and_others_do_not() -> None:
    canvas = inpaint(NOISE, [(0.5, 0.6), (2.0, 2.01)])
    first, again, other = (make_model().fill(canvas, seed=seed).best.samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_gap_is_filled_the_same_whatever_far_gaps_stand_beside_it() -> None:
    alone = make_model().fill(inpaint(NOISE, [(0.5, 0.6)])).best.read(500, 600)
    beside = make_model().fill(inpaint(NOISE, [(0.5, 0.6), (2.0, 2.3)])).best.read(500, 600)
    assert np.array_equal(alone, beside)


def test_gaps_close_together_are_filled_again_with_each_other_as_context() -> None:
    filler = NoiseFiller(context=60.0)
    result = Model(filler, CARD).fill(inpaint(NOISE, [(1.0, 1.2), (1.21, 1.22), (2.0, 2.1)]))
    # Shortest first. In the first pass no gap knows another; the second fills the close ones.
    assert [window.gap.num_samples for window in filler.windows] == [10, 100, 200, 10, 200]
    assert [window.before().shape[1] for window in filler.windows] == [10, 60, 60, 60, 60]
    assert [window.after().shape[1] for window in filler.windows] == [60, 60, 10, 60, 60]
    assert len(result.gaps) == 3


def test_a_gap_longer_than_a_window_comes_in_pieces_that_see_what_came_before() -> None:
    filler = NoiseFiller(max_gap_ms=100.0, context=50.0)
    result = Model(filler, CARD).fill(inpaint(NOISE, [(1.0, 1.35)]))
    assert len(filler.windows) == 4
    first, *rest = filler.windows
    assert first.after().shape[1] == 0
    assert rest[-1].after().shape[1] == 50
    for piece, following in pairwise(filler.windows):
        where = following.start + following.gap.start
        assert where == piece.start + piece.gap.stop
        filled = result.best.read(where - 50, where)
        assert np.array_equal(following.before(), filled)


def test_pieces_may_be_shorter_than_the_longest_gap_that_stays_whole() -> None:
    filler = NoiseFiller(max_gap_ms=100.0, piece_ms=40.0)
    Model(filler, CARD).fill(inpaint(NOISE, [(1.0, 1.1), (2.0, 2.101)]))
    assert [window.gap.num_samples for window in filler.windows] == [100, 34, 33, 34]


def test_takes_differ_and_keep_the_order_of_the_filler() -> None:
    filler = NoiseFiller()
    gap = Region(start=1000, stop=1200)
    result = Model(filler, CARD).fill(inpaint(NOISE, [gap]), takes=4)
    assert len(result.takes) == 4
    proposed = filler.fill(filler.windows, num_takes=4, rng=Rng(0))[0]
    for take, fill in zip(result.takes, proposed, strict=True):
        assert np.array_equal(take.read(1040, 1160), fill.samples[:, 40:-40])


def test_each_take_has_a_score_that_hears_damage() -> None:
    result = make_model().fill(inpaint(NOISE, [(1.0, 1.2), (2.0, 2.1)]), takes=2)
    assert len(result.scores) == 2
    loud = replace(
        result, takes=(result.best.patched([Patch(start=1050, samples=np.ones((2, 100)))]),)
    )
    assert loud.scores[0] < result.scores[0] - 1


@pytest.mark.filterwarnings("ignore::weft.errors.QualityWarning")
def test_a_gap_without_a_confident_fill_is_left_alone() -> None:
    result = make_model(confidence=0.3).fill(inpaint(NOISE, [(1.0, 1.2)]), min_confidence=0.5)
    assert result.gaps[0].is_left_alone
    assert np.array_equal(result.best.samples, NOISE.samples)
    assert "0.30" in str(result.warnings[0])


def test_leaving_a_gap_alone_is_a_warning() -> None:
    with pytest.warns(QualityWarning, match="1 of 1 gaps left alone"):
        make_model(confidence=0.3).fill(inpaint(NOISE, [(1.0, 1.2)]), min_confidence=0.5)


def test_progress_counts_every_gap() -> None:
    seen: list[tuple[int, int]] = []
    canvas = inpaint(NOISE, [(0.5, 0.51), (1.0, 1.2), (2.0, 2.01)])
    make_model(max_gap_ms=50.0).fill(canvas, on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_region_with_a_band_changes_only_that_band() -> None:
    rate = 8000
    time = np.arange(2 * rate) / rate
    low, high = np.sin(2 * np.pi * 150 * time), 0.5 * np.sin(2 * np.pi * 2500 * time)
    audio = Audio.from_samples((low + high)[None], rate)
    region = Region(start=6000, stop=9000, low_hz=1500.0, high_hz=3500.0)
    filled = make_model().fill(inpaint(audio, [region])).best.read(6300, 8700)
    spectrum = np.abs(np.fft.rfft(filled[0] * np.hanning(2400)))
    original = np.abs(np.fft.rfft((low + high)[6300:8700] * np.hanning(2400)))
    assert abs(spectrum[45] / original[45] - 1) < 0.01
    assert spectrum[750] < 0.4 * original[750]


@pytest.mark.parametrize(
    "settings", [{"takes": 0}, {"min_confidence": 1.1}, {"fade_ms": -1.0}, {"seed": -1}]
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        make_model().fill(inpaint(NOISE, [(1.0, 1.1)]), **settings)  # type: ignore[arg-type]


def test_a_canvas_that_asks_for_more_is_refused_before_work() -> None:
    filler = NoiseFiller()
    canvas = Canvas(audio=NOISE, gaps=(Region(start=5, stop=9),), text="rain")
    with pytest.raises(UnsupportedCanvasError, match="text"):
        Model(filler, CARD).fill(canvas)
    assert not filler.windows


@final
class NarrowFiller(Filler):
    """Fills with silence that could be no wider than 100 Hz."""

    name = "narrow"
    max_gap_ms = 100.0

    def context_ms(self, gap_ms: float) -> float:
        return 50.0

    def fill(self, windows: Sequence[Window], *, num_takes: int, rng: Rng) -> list[list[Fill]]:
        return [
            [
                Fill(
                    samples=np.zeros((window.num_channels, window.gap.num_samples)),
                    model="narrow",
                    confidence=0.5,
                    max_hz=100.0,
                    details={"network_calls": 3.0},
                )
            ]
            for window in windows
        ]


def test_a_fill_narrower_than_the_recording_is_a_warning() -> None:
    model = Model(NarrowFiller(), CARD)
    noise = Audio.from_samples(np.random.default_rng(1).standard_normal((1, 16000)), 1000)
    with pytest.warns(
        BandwidthWarning, match="2 of 2 gaps filled up to 0.1 kHz only, the first at"
    ):
        result = model.fill(inpaint(noise, [(5.0, 5.1), (9.0, 9.3)]))
    assert len(result.warnings) == 1
    assert [gap.takes[0].max_hz for gap in result.gaps] == [100.0, 100.0]


def test_nothing_is_lost_where_a_recording_has_no_treble() -> None:
    for hz, num_warnings in ((20, 0), (200, 1)):
        tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(20000) / 1000)[None]
        canvas = inpaint(Audio.from_samples(tone, 1000), [(10.0, 10.1)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BandwidthWarning)
            assert len(Model(NarrowFiller(), CARD).fill(canvas).warnings) == num_warnings


@pytest.mark.filterwarnings("ignore::weft.errors.BandwidthWarning")
def test_calls_of_a_network_add_up_over_the_pieces_of_a_gap() -> None:
    result = Model(NarrowFiller(), CARD).fill(inpaint(NOISE, [(1.0, 1.35)]))
    assert result.gaps[0].takes[0].details == {"network_calls": 12.0, "pieces": 4.0}


EDITOR = Model(DraftFiller(), CARD)
OTHER = Audio.from_samples(np.random.default_rng(6).standard_normal((2, 2000)) * 0.1, 1000)


def test_what_is_made_anew_starts_from_what_stands_there() -> None:
    canvas = regenerate(NOISE, [(1.0, 1.2)], 0.3)
    result = EDITOR.fill(canvas)
    new, old = (audio.read(1020, 1180).ravel() for audio in (result.best, NOISE))
    assert np.corrcoef(new, old)[0, 1] > 0.85  # 0.7 of the draft and 0.3 of as loud a noise: 0.92
    assert result.proof.is_identical


@pytest.mark.parametrize(
    "canvas", [regenerate(NOISE, [(1.0, 1.2), (2.0, 2.5)], 0.0), transition(NOISE, OTHER, 0.5, 0.0)]
)
def test_a_strength_of_zero_returns_the_draft_and_needs_no_model(canvas: Canvas) -> None:
    filler = NoiseFiller()
    result = Model(filler, CARD).fill(canvas)
    assert not filler.windows
    assert np.array_equal(result.best.samples, canvas.audio.samples)
    assert {gap.takes[0].model for gap in result.gaps} == {DRAFT}


def test_there_is_no_draft_to_keep_in_an_empty_gap() -> None:
    with pytest.raises(ConfigError, match="no draft to keep"):
        keep_draft(inpaint(NOISE, [(1.0, 1.1)]))


def knows_two(ability: str) -> tuple[str, ...]:
    return ("one", "another") if ability != "generate" else ()


@pytest.mark.parametrize(
    ("canvas", "words"),
    [
        (regenerate(NOISE, [(1.0, 1.2)]), "uses no draft; use one or another, or fill the gap"),
        (transition(NOISE, OTHER, 0.5), "uses no draft; use one or another"),
        (generate(1.0, 1000, 1), "nothing is known; no model that is installed can do that"),
        (
            replace(inpaint(NOISE, [(1.0, 1.2)]), style=Style(tags=("rain",))),
            "follows no style; use one or another",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_work_and_names_those_that_can(
    canvas: Canvas, words: str
) -> None:
    filler = NoiseFiller()
    with pytest.raises(UnsupportedCanvasError, match=words):
        Model(filler, CARD, knows_two).fill(canvas)
    assert not filler.windows


def test_a_style_reaches_every_window() -> None:
    filler = DraftFiller(max_gap_ms=100.0)
    style = Style(references=(OTHER,), tags=("rain",))
    Model(filler, CARD).fill(inpaint(NOISE, [(0.5, 0.55), (1.0, 1.35)]), guidance=style)
    assert [window.style for window in filler.windows] == [style] * 5


def test_a_style_is_given_once() -> None:
    canvas = replace(inpaint(NOISE, [(1.0, 1.2)]), style=Style(tags=("rain",)))
    with pytest.raises(ConfigError, match="has a style already"):
        EDITOR.fill(canvas, guidance=Style(tags=("rain",)))


def test_a_tag_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"'rian' is not known .*did you mean 'rain'.*piano"):
        EDITOR.fill(inpaint(NOISE, [(1.0, 1.2)]), guidance=Style(tags=("rain", "rian")))


def test_the_number_of_steps_reaches_the_filler_or_is_refused() -> None:
    canvas = inpaint(NOISE, [(1.0, 1.2)])
    loud, soft = (EDITOR.fill(canvas, steps=n).best.read(1020, 1180) for n in (1, 10))
    assert np.allclose(loud, 10 * soft)
    with pytest.raises(ConfigError, match="takes no number of steps"):
        make_model().fill(canvas, steps=5)
    with pytest.raises(ConfigError, match="steps must be >= 1, got 0"):
        EDITOR.fill(canvas, steps=0)


@pytest.mark.parametrize("max_gap_ms", [None, 100.0])
def test_all_can_be_made_from_nothing(max_gap_ms: float | None) -> None:
    filler = DraftFiller(max_gap_ms=max_gap_ms)
    best = Model(filler, CARD).fill(generate(0.3, 1000, 2)).best
    assert best.samples.shape == (2, 300)
    assert best.samples.std() == pytest.approx(0.1, rel=0.1)
    assert not filler.windows[0].known.any()


def test_what_comes_before_a_recording_is_filled_from_the_recording_outwards() -> None:
    filler = NoiseFiller(max_gap_ms=100.0)
    result = Model(filler, CARD).fill(continuation(NOISE, 0.35, before=True))
    assert len(filler.windows) == 4
    starts = [window.start + window.gap.start for window in filler.windows]
    assert starts == sorted(starts, reverse=True)
    for window in filler.windows:
        stop = window.start + window.gap.stop
        assert np.array_equal(window.after(), result.best.read(stop, stop + 50))
    assert np.array_equal(result.best.read(350), NOISE.samples)


@pytest.mark.parametrize("before", [False, True])
def test_a_loop_is_filled_towards_its_other_end(before: bool) -> None:
    filler = NoiseFiller(max_gap_ms=100.0)
    result = Model(filler, CARD).fill(continuation(NOISE, 0.35, before=before, loop=True))
    first, last = filler.windows[0], filler.windows[-1]
    assert np.array_equal(first.before(), NOISE.read(2950))
    assert np.array_equal(last.after(), NOISE.read(0, 50))
    assert result.is_loop
    assert result.scores[0] < 0


def test_a_loop_ends_as_it_begins() -> None:
    tone = Audio.from_samples(np.sin(2 * np.pi * 5 * np.arange(2930) / 1000)[None], 1000)
    step = []
    for loop in (False, True):
        samples = make_model().fill(continuation(tone, 0.35, loop=loop)).best.samples[0]
        step.append(abs(samples[0] - 2 * samples[-1] + samples[-2]))
    assert step[1] < 0.02 < step[0]


@pytest.mark.parametrize("max_gap_ms", [None, 300.0])
def test_a_long_gap_is_scored_at_its_ends(max_gap_ms: float | None) -> None:
    filler = DraftFiller(max_gap_ms=max_gap_ms)
    long = Audio.from_samples(np.random.default_rng(5).standard_normal((1, 70_000)), 1000)
    result = Model(filler, CARD).fill(regenerate(long, [(1.0, 69.0)], 0.5))
    for at in (1000, 68_950):
        loud = result.best.patched([Patch(start=at, samples=np.full((1, 50), 30.0))])
        assert replace(result, takes=(loud,)).scores[0] < result.scores[0] - 1
    middle = result.best.patched([Patch(start=30_000, samples=np.full((1, 50), 30.0))])
    assert replace(result, takes=(middle,)).scores == result.scores


@final
class EndlessSource(Source):
    """A minute of noise, again and again."""

    sample_rate = 1000
    num_channels = 2
    path = None

    def __init__(self, seconds: int) -> None:
        samples = np.random.default_rng(0).standard_normal((2, 60_000)) * 0.1
        self.inner = ArraySource(samples, 1000, AudioFormat())
        self._num_samples = 1000 * seconds

    @property
    def num_samples(self) -> int:
        return self._num_samples

    @property
    def format(self) -> AudioFormat:
        return AudioFormat()

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.take(self.inner._samples, np.arange(start, stop), axis=1, mode="wrap")


def test_a_long_edit_takes_the_memory_of_a_short_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(buffers, "SPILL_BYTES", 1 << 20)
    peaks = []
    for seconds in (300, 1500):
        audio = Audio(EndlessSource(seconds))
        tracemalloc.start()
        canvas = regenerate(audio, [(1.0, seconds - 1.0)], 0.5)
        result = Model(DraftFiller(max_gap_ms=60_000.0, remembers=False), CARD).fill(
            canvas, takes=2
        )
        written = result.best.write(tmp_path / f"{seconds}.wav")
        assert result.scores
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert written.proof.num_outside == 2 * 2 * 1000
    assert peaks[1] < 1.1 * peaks[0]  # three times as much where edits are held in memory
