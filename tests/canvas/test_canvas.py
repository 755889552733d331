from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.audio.audio import Audio
from weft.canvas.canvas import Canvas, Region, Window, merge_regions
from weft.errors import RegionError, ShapeError

AUDIO = Audio.from_samples(np.zeros((1, 100)), 100)


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5), (-1, 3)])
def test_a_region_must_hold_a_sample_and_begin_at_zero_or_later(start: int, stop: int) -> None:
    with pytest.raises(RegionError, match="0 <= start < stop"):
        Region(start=start, stop=stop)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)), min_size=1, max_size=12))
def test_merged_regions_cover_the_same_samples_and_are_disjoint(
    pairs: list[tuple[int, int]],
) -> None:
    regions = [Region(start=start, stop=start + length) for start, length in pairs]
    merged = merge_regions(regions)
    covered = set().union(*(range(region.start, region.stop) for region in regions))
    assert covered == set().union(*(range(region.start, region.stop) for region in merged))
    assert all(a.stop < b.start for a, b in pairwise(merged))


def test_labels_of_merged_regions_are_kept() -> None:
    merged = merge_regions(
        [Region(start=0, stop=5, label="click"), Region(start=4, stop=9, label="pop")]
    )
    assert [region.label for region in merged] == ["click + pop"]


def test_overlapping_regions_of_different_bands_are_refused() -> None:
    with pytest.raises(RegionError, match="different bands"):
        merge_regions([Region(start=0, stop=5, low_hz=100.0), Region(start=4, stop=9)])


def test_regions_of_different_bands_may_meet() -> None:
    regions = [Region(start=0, stop=5, low_hz=100.0), Region(start=5, stop=9)]
    assert merge_regions(regions) == tuple(regions)


@pytest.mark.parametrize(
    "gaps",
    [
        (Region(start=10, stop=20), Region(start=15, stop=25)),
        (Region(start=50, stop=60), Region(start=10, stop=20)),
        (Region(start=90, stop=101),),
    ],
)
def test_a_canvas_refuses_gaps_that_overlap_or_lie_outside(gaps: tuple[Region, ...]) -> None:
    with pytest.raises(RegionError):
        Canvas(audio=AUDIO, gaps=gaps)


def test_a_canvas_refuses_a_strength_above_one() -> None:
    with pytest.raises(RegionError, match="draft_strength"):
        Canvas(audio=AUDIO, gaps=(Region(start=0, stop=5),), draft_strength=1.5)


def test_a_window_gives_only_the_known_runs_beside_its_gap() -> None:
    known = np.ones(100, dtype=bool)
    known[20:25] = known[40:50] = known[70:72] = False
    window = Window(
        samples=np.arange(100.0)[None],
        known=known,
        gap=Region(start=40, stop=50),
        start=0,
        sample_rate=100,
    )
    assert window.before()[0].tolist() == list(range(25, 40))
    assert window.after()[0].tolist() == list(range(50, 70))
    assert window.before(3)[0].tolist() == [37, 38, 39]
    assert window.after(3)[0].tolist() == [50, 51, 52]
    assert window.gap_ms == 100


def test_a_gap_at_an_end_has_an_empty_side() -> None:
    window = Window(
        samples=np.zeros((2, 10)),
        known=np.arange(10) >= 4,
        gap=Region(start=0, stop=4),
        start=0,
        sample_rate=100,
    )
    assert window.before().shape == (2, 0)
    assert window.after().shape == (2, 6)


@pytest.mark.parametrize(
    ("draft", "strength", "message"),
    [
        (np.zeros((1, 4)), None, "both a draft and its strength"),
        (None, 0.5, "both a draft and its strength"),
        (np.zeros((1, 5)), 0.5, "has 5 samples, the gap 4"),
    ],
)
def test_a_window_refuses_a_draft_that_does_not_belong(
    draft: np.ndarray | None, strength: float | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        Window(
            samples=np.zeros((1, 10)),
            known=np.arange(10) >= 4,
            gap=Region(start=0, stop=4),
            start=0,
            sample_rate=100,
            draft=draft,
            draft_strength=strength,
        )
