import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.process.orders import hitting_fractions, most_confident, random_order, reveal_counts


@given(st.integers(0, 300), st.integers(1, 300))
def test_counts_are_as_equal_as_can_be_and_rise(num_masked: int, num_calls: int) -> None:
    counts = reveal_counts(num_masked, num_calls)
    assert counts.sum() == num_masked
    assert len(counts) == min(num_masked, num_calls)
    if len(counts):
        assert counts.max() - counts.min() <= 1
        assert counts.min() >= 1
        assert (np.diff(counts) >= 0).all()


def test_every_random_order_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    orders = [tuple(random_order(np.array([2, 5, 9]), rng).tolist()) for _ in range(3000)]
    assert {tuple(sorted(o)) for o in orders} == {(2, 5, 9)}
    counts = [orders.count(o) for o in sorted(set(orders))]
    assert len(counts) == 6
    chi_square = sum((c - 500) ** 2 / 500 for c in counts)
    assert chi_square < 20.5  # 99.9 % quantile at 5 degrees of freedom


def test_the_most_confident_come_first_and_ties_go_to_the_first() -> None:
    confidence = np.array([0.3, 0.9, 0.3, 0.8, 0.3])
    assert most_confident(confidence, 2).tolist() == [1, 3]
    assert most_confident(confidence, 4).tolist() == [0, 1, 2, 3]
    assert most_confident(confidence, 0).tolist() == []


def test_hits_are_the_order_statistics_of_independent_reveals() -> None:
    # From masked fraction f, each of m tokens is revealed at f * uniform; hits are these, sorted.
    rng = np.random.default_rng(1)
    hits = np.stack([hitting_fractions(0.8, 5, 3, rng) for _ in range(4000)]) / 0.8
    expected = -np.sort(-rng.random((4000, 5)), axis=1)[:, :3]
    for power in (1, 2):
        mean, spread = expected**power, (expected**power).std(axis=0) * np.sqrt(2 / 4000)
        assert (np.abs((hits**power).mean(axis=0) - mean.mean(axis=0)) < 4 * spread).all()
    assert np.allclose((hits**5)[:, 0].mean(), 0.5, atol=4 * np.sqrt(1 / 12 / 4000))


def test_hits_drawn_call_by_call_have_the_law_of_those_drawn_together() -> None:
    together = hitting_fractions(0.9, 7, 5, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    first = hitting_fractions(0.9, 7, 2, rng)
    then = hitting_fractions(float(first[-1]), 5, 3, rng)
    assert np.allclose(together, np.concatenate([first, then]))


def test_arguments_out_of_range_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="num_calls >= 1"):
        reveal_counts(3, 0)
    with pytest.raises(ConfigError, match="num_masked >= 0"):
        reveal_counts(-1, 2)
    with pytest.raises(ConfigError, match="num_revealed must be in"):
        most_confident(np.array([0.5]), 2)
    for arguments in ((1.1, 3, 1), (0.5, 3, 0), (0.5, 3, 4)):
        with pytest.raises(ConfigError, match="hitting times need"):
            hitting_fractions(*arguments, rng)
