from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillers import NoiseFiller
from weft.audio.audio import Audio, Patch
from weft.canvas.canvas import Canvas, Region
from weft.canvas.style import Style
from weft.canvas.windows import batch_gaps, context_samples, read_window, split_gap
from weft.errors import AudioFormatError


@given(st.integers(1, 5000), st.integers(1, 700))
def test_pieces_of_a_gap_are_short_enough_and_cover_it(length: int, limit: int) -> None:
    gap = Region(start=7, stop=7 + length, low_hz=50.0)
    pieces = split_gap(gap, limit)
    assert pieces[0].start == gap.start
    assert pieces[-1].stop == gap.stop
    assert all(a.stop == b.start for a, b in pairwise(pieces))
    assert max(piece.num_samples for piece in pieces) <= limit + 1
    assert {piece.low_hz for piece in pieces} == {50.0}


def test_a_window_hides_every_unknown_sample() -> None:
    audio = Audio.from_samples(np.ones((2, 1000)), 1000)
    gaps = [Region(start=100, stop=110), Region(start=150, stop=160), Region(start=400, stop=410)]
    window = read_window(audio, gaps[1], gaps, 60)
    assert window.start == 90
    assert window.samples.shape == (2, 130)
    assert np.flatnonzero(~window.known).tolist() == [*range(10, 20), *range(60, 70)]
    assert np.array_equal(window.samples[0] == 1, window.known)


def test_a_window_shows_earlier_fills() -> None:
    audio = Audio.from_samples(np.zeros((1, 100)), 1000)
    filled = audio.patched([Patch(start=20, samples=np.full((1, 5), 9.0))])
    window = read_window(filled, Region(start=40, stop=50), [], 30)
    assert window.samples[0, 10:15].tolist() == [9.0] * 5


def test_a_window_ends_where_the_recording_ends() -> None:
    audio = Audio.from_samples(np.ones((1, 100)), 1000)
    window = read_window(audio, Region(start=90, stop=100), [], 50)
    assert (window.start, window.samples.shape[1]) == (40, 60)
    assert window.after().shape == (1, 0)


def test_a_known_sample_that_is_not_a_number_is_named() -> None:
    samples = np.zeros((2, 100))
    samples[1, 33] = np.nan
    with pytest.raises(AudioFormatError, match="nan at sample 33, channel 1"):
        read_window(Audio.from_samples(samples, 100), Region(start=40, stop=50), [], 20)


def test_an_unknown_sample_may_be_anything() -> None:
    samples = np.zeros((1, 100))
    samples[0, 45] = np.inf
    window = read_window(Audio.from_samples(samples, 100), Region(start=40, stop=50), [], 20)
    assert np.isfinite(window.samples).all()


def test_batches_hold_all_gaps_shortest_first_and_stay_small() -> None:
    audio = Audio.from_samples(np.zeros((2, 100_000)), 1000)
    gaps = [Region(start=1000 * i, stop=1000 * i + 5 + i % 7) for i in range(90)]
    batches = list(batch_gaps(gaps, NoiseFiller(context=50.0), audio, max_samples=2000))
    flat = [gap for batch in batches for gap in batch]
    assert sorted(flat) == gaps
    assert [gap.num_samples for gap in flat] == sorted(gap.num_samples for gap in gaps)
    assert all(len(batch) <= 2000 // (2 * 105) for batch in batches)


def test_a_gap_larger_than_a_batch_is_still_filled() -> None:
    audio = Audio.from_samples(np.zeros((1, 9000)), 1000)
    gap = Region(start=10, stop=8000)
    assert list(batch_gaps([gap], NoiseFiller(), audio, max_samples=10)) == [(gap,)]


def test_the_context_is_what_the_filler_wants_as_far_as_memory_allows() -> None:
    gap, filler = Region(start=10, stop=20), NoiseFiller(context=60_000.0)
    assert context_samples(filler, gap, 48000, num_channels=2) == 60 * 48000
    assert context_samples(filler, gap, 192000, num_channels=8) == 1_500_000


def test_a_window_gets_the_draft_of_the_canvas_and_not_what_was_laid_over_it() -> None:
    audio = Audio.from_samples(np.arange(100.0)[None], 1000)
    gap = Region(start=40, stop=50)
    canvas = Canvas(audio=audio, gaps=(gap,), draft_strength=0.5, style=Style(tags=("rain",)))
    filled = audio.patched([Patch(start=35, samples=np.full((1, 10), -1.0))])
    window = read_window(filled, gap, canvas.gaps, 10, canvas=canvas)
    assert window.draft is not None
    assert window.draft[0].tolist() == list(range(40, 50))
    assert (window.draft_strength, window.style) == (0.5, canvas.style)
    assert window.samples[0].tolist() == [
        30,
        31,
        32,
        33,
        34,
        *[-1.0] * 5,
        *[0.0] * 10,
        *range(50, 60),
    ]
    assert not window.known[10:20].any()


def test_an_empty_gap_has_no_draft() -> None:
    audio = Audio.from_samples(np.ones((1, 100)), 1000)
    canvas = Canvas(audio=audio, gaps=(Region(start=40, stop=50),))
    window = read_window(audio, canvas.gaps[0], canvas.gaps, 10, canvas=canvas)
    assert (window.draft, window.draft_strength, window.style) == (None, None, None)


def test_a_draft_that_is_not_a_number_is_named() -> None:
    samples = np.zeros((2, 100))
    samples[1, 45] = np.nan
    gap = Region(start=40, stop=50)
    canvas = Canvas(audio=Audio.from_samples(samples, 100), gaps=(gap,), draft_strength=1.0)
    with pytest.raises(AudioFormatError, match="nan at sample 45, channel 1.*inpaint"):
        read_window(canvas.audio, gap, canvas.gaps, 20, canvas=canvas)


COUNT = Audio.from_samples(np.arange(100.0)[None], 1000)


def test_after_the_end_of_a_loop_comes_its_beginning() -> None:
    gap = Region(start=80, stop=100)
    canvas = Canvas(audio=COUNT, gaps=(gap,), is_loop=True)
    window = read_window(COUNT, gap, [gap], 30, canvas=canvas)
    assert window.before()[0].tolist() == list(range(50, 80))
    assert window.after()[0].tolist() == list(range(30))
    assert window.start + window.gap.start == 80


def test_before_the_beginning_of_a_loop_comes_its_end() -> None:
    gap = Region(start=0, stop=20)
    canvas = Canvas(audio=COUNT, gaps=(gap,), is_loop=True)
    window = read_window(COUNT, gap, [gap], 30, canvas=canvas)
    assert window.before()[0].tolist() == list(range(70, 100))
    assert window.after()[0].tolist() == list(range(20, 50))
    assert window.start + window.gap.start == 0


def test_a_window_shows_no_sample_of_a_loop_twice_on_one_side() -> None:
    gap = Region(start=70, stop=100)
    canvas = Canvas(audio=COUNT, gaps=(gap,), is_loop=True)
    window = read_window(COUNT, gap, [gap], 1000, canvas=canvas)
    assert window.before()[0].tolist() == list(range(70))
    assert window.after()[0].tolist() == list(range(70))


def test_what_is_unknown_is_unknown_on_every_turn_of_a_loop() -> None:
    gaps = (Region(start=5, stop=10), Region(start=90, stop=100))
    canvas = Canvas(audio=COUNT, gaps=gaps, is_loop=True)
    window = read_window(COUNT, gaps[1], gaps, 30, canvas=canvas)
    assert window.after()[0].tolist() == list(range(5))
    assert window.samples[0, -20:].tolist() == list(range(10, 30))
    assert not window.known[45:50].any()
