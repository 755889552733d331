import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.evaluate.statistics import clustered_mean, paired_difference


def test_with_one_value_a_cluster_the_interval_is_the_t_interval():
    # Closed form for the mean of n normal values: mean +- t * s / sqrt(n).
    from scipy.stats import t

    values = np.random.default_rng(0).standard_normal(30)
    interval = clustered_mean(values, list(range(30)), num_resamples=20000)
    half = t.ppf(0.975, 29) * values.std(ddof=1) / np.sqrt(30)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_intervals_hold_the_truth_as_often_as_they_say():
    # 12 recordings of 5 gaps, most of the variance between recordings.
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(12), 5).tolist()
    hits = naive_hits = 0
    for _ in range(400):
        values = np.repeat(rng.standard_normal(12), 5) + 0.3 * rng.standard_normal(60)
        interval = clustered_mean(values, clusters, num_resamples=400)
        hits += interval.low <= 0 <= interval.high
        naive = clustered_mean(values, list(range(60)), num_resamples=400)
        naive_hits += naive.low <= 0 <= naive.high
    assert hits / 400 == pytest.approx(0.95, abs=0.03)  # measured: 0.925
    assert naive_hits / 400 < 0.75  # what ignoring the clusters would claim; measured: 0.575


def test_repeating_the_values_of_each_cluster_does_not_narrow_the_interval():
    values = np.random.default_rng(2).standard_normal(10)
    once = clustered_mean(values, list(range(10)))
    often = clustered_mean(np.repeat(values, 50), np.repeat(np.arange(10), 50).tolist())
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.num_values == 500


def test_unequal_clusters_weigh_by_their_values():
    interval = clustered_mean(np.array([0.0, 3.0, 3.0]), ["a", "b", "b"])
    assert interval.mean == 2.0


def test_one_cluster_has_a_mean_and_no_interval():
    interval = clustered_mean(np.array([1.0, 2.0]), ["a", "a"])
    assert (interval.mean, interval.low, interval.high) == (1.5, None, None)


def test_equal_values_have_an_interval_of_no_width():
    interval = clustered_mean(np.full(6, 2.5), list("aabbcc"))
    assert (interval.low, interval.high) == (2.5, 2.5)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    values = np.random.default_rng(3).standard_normal(20)
    a, b, c = (
        clustered_mean(values, list(range(20)), seed=s, num_resamples=100) for s in (1, 1, 2)
    )
    assert a == b
    assert a != c


def test_the_order_of_values_changes_nothing_but_the_names_order():
    values, names = np.array([1.0, 2.0, 4.0, 8.0]), ["a", "a", "b", "c"]
    one = clustered_mean(values, names)
    other = clustered_mean(values[[1, 0, 2, 3]], names)
    assert (one.mean, one.low, one.high) == (other.mean, other.low, other.high)


def test_a_paired_difference_is_certain_where_the_means_overlap():
    rng = np.random.default_rng(4)
    difficulty = 5 * rng.standard_normal(40)
    ours, theirs = difficulty - 0.3 + 0.1 * rng.standard_normal(40), difficulty
    clusters = list(range(40))
    a, b = clustered_mean(ours, clusters), clustered_mean(theirs, clusters)
    assert a.high > b.low
    difference = paired_difference(ours, theirs, clusters)
    assert difference.low < -0.3 < difference.high < 0


@pytest.mark.parametrize(
    ("values", "clusters", "error"),
    [
        ([], [], ShapeError),
        ([1.0], ["a", "b"], ShapeError),
        ([np.nan, 1.0], ["a", "b"], ConfigError),
    ],
)
def test_what_has_no_mean_is_refused(values, clusters, error):
    with pytest.raises(error):
        clustered_mean(np.array(values, dtype=float), clusters)


@pytest.mark.parametrize("bad", [{"num_resamples": 10}, {"confidence": 1.0}, {"confidence": 0.0}])
def test_a_setting_outside_its_range_is_refused(bad):
    with pytest.raises(ConfigError):
        clustered_mean(np.ones(3), list("abc"), **bad)
