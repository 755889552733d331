import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.canvas.canvas import Region, Window
from weft.sampling.channel_parts import find_parts
from weft.sampling.frame_layout import LEAST_RUN, CodecView, FrameLayout, lay_out, view_at

HOP = 10


def view(num: int, *unknown: tuple[int, int]) -> CodecView:
    """Return a view whose first unknown stretch is the gap."""
    known = np.ones(num, dtype=bool)
    for first, stop in unknown:
        known[first:stop] = False
    return CodecView(samples=np.zeros((1, num)), known=known, gap=unknown[0], sample_rate=1000)


def layout(found: CodecView, num_frames: int = 40, guard: int = 0) -> FrameLayout:
    return lay_out(found, hop_length=HOP, num_frames=num_frames, guard=guard)


def test_a_gap_of_whole_frames_costs_no_frame_more_wherever_it_begins() -> None:
    for first in range(100, 110):
        found = layout(view(400, (first, first + 3 * HOP)))
        assert found.hole[1] - found.hole[0] == 3
        assert (~found.known).sum() == 3
        assert found.span(*found.hole) == (first, first + 30)


def test_a_gap_that_is_no_multiple_of_a_frame_is_covered() -> None:
    found = layout(view(400, (103, 124)))
    assert found.span(*found.hole) == (103, 133)


@given(
    st.integers(0, 300),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 399), st.integers(1, 40)), max_size=3),
    st.integers(0, 3),
    st.integers(16, 50),
)
def test_known_frames_hold_known_samples_only_and_the_gap_is_covered(
    start: int, length: int, others: list[tuple[int, int]], guard: int, num_frames: int
) -> None:
    canvas = view(400, (start, start + length), *((a, min(400, a + n)) for a, n in others))
    found = layout(canvas, num_frames, guard)
    for first, stop in found.runs:
        low, high = found.span(max(0, first - guard), min(found.num_frames, stop + guard))
        reach = slice(max(0, low), min(400, high))
        assert canvas.known[slice(*found.span(first, stop))].all()
        assert canvas.known[reach].all()
        assert stop - first >= LEAST_RUN
        assert found.span(first, stop)[0] >= 0
        assert found.span(first, stop)[1] <= 400
    low, high = found.span(*found.hole)
    assert low <= start
    assert high >= start + length
    needed = found.hole[1] - found.hole[0] + 2 * guard + 2 * LEAST_RUN
    assert found.num_frames <= max(num_frames, needed)


def test_context_is_shared_evenly_and_what_one_side_lacks_the_other_gets() -> None:
    middle, early, late = (layout(view(1000, (at, at + 100))) for at in (450, 50, 850))
    assert middle.runs == ((0, 15), (25, 40))
    assert early.runs == ((0, 5), (15, 40))
    assert late.runs == ((0, 25), (35, 40))


def test_gaps_at_the_ends_of_a_recording_have_one_side() -> None:
    first = layout(view(1000, (0, 57)))
    assert first.runs == ((6, 40),)
    assert first.start == 57 - 60  # the grid meets the gap's end, and begins before the recording
    last = layout(view(1000, (943, 1000)))
    assert last.runs == ((0, 34),)
    assert last.span(*last.hole) == (943, 1003)


def test_guards_are_unknown_on_both_sides() -> None:
    bare, guarded = (layout(view(1000, (500, 600)), guard=guard) for guard in (0, 2))
    assert (~bare.known).sum() == 10
    assert (~guarded.known).sum() == 14
    assert guarded.known[guarded.hole[0] - 3]
    assert not guarded.known[guarded.hole[0] - 2 : guarded.hole[1] + 2].any()


def test_another_gap_in_the_window_is_unknown_too() -> None:
    found = layout(view(1000, (500, 550), (600, 605)), guard=1)
    assert len(found.runs) == 3
    first, stop = found.runs[1]
    assert found.span(first, stop) == (560, 590)


def test_short_runs_count_as_unknown_and_unknown_ends_are_left_out() -> None:
    found = layout(view(1000, (500, 550), (570, 1000)))
    assert found.runs == ((0, found.hole[0]),)
    assert found.num_frames == found.hole[1]
    assert layout(view(1000, (500, 1000), (0, 480))).runs == ()


@pytest.mark.parametrize("rate", [6000, 8000, 44100, 22051, 96000])
def test_known_samples_keep_their_exact_time(rate: int) -> None:
    time = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * time)[None]
    gap = Region(start=round(0.4001 * rate), stop=round(0.5003 * rate))
    known = np.ones(rate, dtype=bool)
    known[gap.start : gap.stop] = False
    window = Window(samples=tone * known, known=known, gap=gap, start=0, sample_rate=rate)
    found = view_at(window, 24000)
    first, stop = found.gap
    assert (gap.start - 1) * 24000 // rate < first <= max(1, -(-gap.start * 24000 // rate))
    assert (stop - 1) * rate < gap.stop * 24000 <= stop * rate
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(found.known)) / 24000)
    inside = found.known.copy()
    inside[:400] = inside[-400:] = False  # the ends of the recording
    for edge in found.gap:  # the resampler hears the bridge
        inside[max(0, edge - 200) : edge + 200] = False
    assert np.abs(found.samples[0] - wanted)[inside].max() < 1e-4
    near = found.known & ~inside
    near[:400] = near[-400:] = False
    assert np.abs(found.samples[0] - wanted)[near].max() < 0.05


def test_panned_sound_is_one_part_and_a_quiet_side_is_left_out() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 5000))
    panned = np.stack([0.3 * left, 0.4 * left])
    assert np.allclose(find_parts(panned, mode="principal", least_db=-40.0), [[0.6], [0.8]])
    wide = panned + 0.1 * np.stack([-right, right])
    directions = find_parts(wide, mode="principal", least_db=-40.0)
    assert np.allclose(directions.T @ directions, np.eye(2))
    parts = directions.T @ wide
    assert abs(parts[0] @ parts[1]) < 1e-9 * (parts[0] @ parts[0])
    assert np.allclose(directions @ parts, wide)
    assert find_parts(wide, mode="mono", least_db=-40.0).shape == (2, 1)
    assert find_parts(panned + 1e-4 * wide, mode="principal", least_db=-40.0).shape == (2, 1)
    assert np.array_equal(find_parts(wide, mode="separate", least_db=-40.0), np.eye(2))
