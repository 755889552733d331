import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.rng import Rng


@given(st.integers(0, 2**64), st.lists(st.integers(0, 2**40), min_size=1, max_size=3))
def test_equal_keys_draw_equal_numbers(seed: int, key: list[int]) -> None:
    a = Rng(seed).stream(*key).standard_normal(4)
    b = Rng(seed).child(*key[:1]).stream(*key[1:]).standard_normal(4)
    assert np.array_equal(a, b)


def test_streams_of_different_keys_are_uncorrelated() -> None:
    draws = np.stack([Rng(3).stream(i).standard_normal(4000) for i in range(8)])
    correlation = np.corrcoef(draws) - np.eye(8)
    assert np.abs(correlation).max() < 0.08


@pytest.mark.parametrize(("seed", "key"), [(-1, ()), (1, (-2,))])
def test_negative_seeds_and_keys_are_refused(seed: int, key: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=">= 0"):
        Rng(seed, key)
