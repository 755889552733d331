import math

import numpy as np
import pytest

from weft.audio.audio import Audio
from weft.canvas import Region, inpaint
from weft.canvas.tasks import to_region
from weft.errors import RegionError

AUDIO = Audio.from_samples(np.zeros((1, 1000)), 1000)


def test_seconds_become_the_nearest_samples() -> None:
    assert inpaint(AUDIO, [(0.1004, 0.2006)]).gaps == (Region(start=100, stop=201),)


def test_overlapping_gaps_become_one() -> None:
    assert inpaint(AUDIO, [(0.3, 0.5), (0.1, 0.4)]).gaps == (Region(start=100, stop=500),)


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        ((0.5, 0.4), "after it starts"),
        ((0.5, 0.5), "after it starts"),
        ((math.nan, 0.4), "finite"),
        ((0.5, math.inf), "finite"),
        ((-0.1, 0.4), ">= 0"),
        ((0.5, 1.2), "beyond the end"),
        (Region(start=990, stop=1001), "beyond the end"),
    ],
)
def test_a_gap_that_makes_no_sense_is_named(
    gap: Region | tuple[float, float], message: str
) -> None:
    with pytest.raises(RegionError, match=message):
        inpaint(AUDIO, [gap])


def test_no_gap_is_refused() -> None:
    with pytest.raises(RegionError, match="no gap"):
        inpaint(AUDIO, [])


def test_a_gap_over_everything_is_refused() -> None:
    with pytest.raises(RegionError, match="whole recording"):
        inpaint(AUDIO, [(0.0, 1.0)])


@pytest.mark.parametrize("gap", [(0.5,), ("a", "b"), 3.0, None])
def test_what_is_no_pair_of_numbers_is_named(gap: object) -> None:
    unchecked = getattr(to_region, "__wrapped__", to_region)  # past the type hook of the tests
    with pytest.raises(RegionError, match="pair of seconds"):
        unchecked(gap, AUDIO)
