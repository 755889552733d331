import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.evaluate import statistics
from weft.evaluate.statistics import (
    clustered_mean,
    clustered_set_interval,
    compare_paired,
    holm,
    paired_difference,
    sign_flip_p_value,
)
from weft.metrics.frechet import Gaussian, frechet_distance, frechet_infinity
from weft.rng import Rng


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


# Differences of two models.


def test_all_flips_of_few_clusters_are_counted():
    # Sums 1, 2, 4: only +++ and --- reach 7; 1, 2, -4 is at 1, which all eight reach.
    assert sign_flip_p_value(np.array([1.0, 2.0, 4.0]), list("abc")) == 2 / 8
    assert sign_flip_p_value(np.array([1.0, 2.0, -4.0]), list("abc")) == 1
    assert sign_flip_p_value(np.array([1.0, -2.0, -4.0]), list("abc")) == 4 / 8


def test_gaps_of_one_recording_flip_together():
    differences = np.ones(40)
    assert sign_flip_p_value(differences, list("abcd") * 10) == 2 / 16
    assert sign_flip_p_value(differences, list(range(40))) < 0.001


def test_random_flips_agree_with_all_of_them(monkeypatch):
    differences = np.random.default_rng(0).standard_normal(12) + 0.5
    exact = sign_flip_p_value(differences, list(range(12)))
    monkeypatch.setattr(statistics, "EXACT_CLUSTERS", 5)
    drawn = sign_flip_p_value(differences, list(range(12)))
    assert drawn == pytest.approx(exact, abs=0.01)
    assert drawn != exact
    assert drawn == sign_flip_p_value(differences, list(range(12)))


def test_no_difference_has_p_1_and_no_p_is_0():
    assert sign_flip_p_value(np.zeros(6), list(range(6))) == 1
    assert sign_flip_p_value(np.ones(50), list(range(50)), num_flips=99) == 1 / 100


def test_the_order_of_adding_does_not_break_ties():
    # 0.1 + 0.2 + 0.3 is another number than 0.3 + 0.2 + 0.1.
    assert sign_flip_p_value(np.array([0.1, 0.2, 0.3]), list("abc")) == 2 / 8
    assert sign_flip_p_value(np.array([0.1, 0.2, -0.3]), list("abc")) == 1


@pytest.mark.parametrize("num_clusters", [8, 20])
def test_models_that_could_change_places_are_told_apart_in_a_twentieth_of_the_tests(num_clusters):
    # Values as skewed as lognormal, and gaps alike within a recording.
    rng = np.random.default_rng(num_clusters)
    clusters = np.arange(num_clusters).repeat(3)
    found = naive = 0
    for i in range(500):
        ours, theirs = np.exp(rng.standard_normal((2, num_clusters)))[:, clusters]
        differences = ours - theirs + 0.1 * rng.standard_normal(len(clusters))
        found += sign_flip_p_value(differences, clusters.tolist(), num_flips=199, seed=i) <= 0.05
        every = list(range(len(clusters)))
        naive += sign_flip_p_value(differences, every, num_flips=199, seed=i) <= 0.05
    assert found / 500 == pytest.approx(0.05, abs=0.03)  # measured: 0.054 and 0.034
    assert naive / 500 > 0.15  # what ignoring the clusters would claim; measured: 0.31 and 0.24


def test_a_comparison_has_the_interval_of_the_paired_difference_and_a_p_value():
    rng = np.random.default_rng(5)
    theirs = 5 * rng.standard_normal(40)
    ours = theirs - 0.3 + 0.1 * rng.standard_normal(40)
    clusters = np.arange(40) // 2
    found = compare_paired(ours, theirs, clusters.tolist())
    assert found.interval == paired_difference(ours, theirs, clusters.tolist())
    assert found.p_value == 1 / 10000
    assert compare_paired(ours, theirs, ["a"] * 40).p_value is None


@pytest.mark.parametrize(
    ("differences", "clusters", "options", "error"),
    [
        ([1.0, 2.0], ["a"], {}, ShapeError),
        ([1.0, 2.0], ["a", "a"], {}, ShapeError),
        ([], [], {}, ShapeError),
        ([1.0, np.nan], ["a", "b"], {}, ConfigError),
        ([1.0, 2.0], ["a", "b"], {"num_flips": 98}, ConfigError),
    ],
)
def test_what_has_no_p_value_is_refused(differences, clusters, options, error):
    with pytest.raises(error):
        sign_flip_p_value(np.array(differences, dtype=float), clusters, **options)


def test_a_pair_needs_two_values():
    with pytest.raises(ShapeError, match="3 and 2"):
        compare_paired(np.ones(3), np.ones(2), list("abc"))


def test_holm_corrects_as_published():
    # Holm's steps by hand: 3 x 0.01, then 2 x 0.03, then no smaller than the one before.
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_call_below_a_twentieth():
    rng = np.random.default_rng(6)
    draws = rng.random((2000, 8))
    any_called = np.mean([min(holm(row.tolist())) < 0.05 for row in draws])
    assert any_called == pytest.approx(0.05, abs=0.015)
    assert np.mean(draws.min(axis=1) < 0.05) > 0.3  # without the correction


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_not_corrected(bad):
    with pytest.raises(ConfigError):
        holm([0.5, float(bad)])


# Metrics of whole sets.


def test_a_mean_has_the_t_interval():
    from scipy.stats import t

    values = np.random.default_rng(7).standard_normal(15)
    found = clustered_set_interval(lambda i: float(values[i].mean()), list(range(15)))
    half = t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half)
    assert found.high == pytest.approx(values.mean() + half)
    expected = 2 * t.sf(abs(values.mean()) / values.std(ddof=1) * np.sqrt(15), 14)
    assert found.p_value == pytest.approx(expected)
    assert (found.num_values, found.num_clusters, found.num_groups) == (15, 15, 15)


def test_items_of_one_cluster_leave_together():
    left = []
    clusters = list("aabbbc") * 3

    def statistic(items):
        left.append({clusters[i] for i in items})
        return float(len(items))

    found = clustered_set_interval(statistic, clusters)
    assert left[0] == {"a", "b", "c"}
    assert sorted(map(sorted, left[1:])) == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert (found.num_clusters, found.num_groups) == (3, 3)


def test_many_clusters_are_dealt_into_groups():
    sizes = []
    clusters = np.arange(90).repeat(2).tolist()

    def statistic(items):
        assert (np.diff(items) > 0).all()
        sizes.append(len(items))
        return float(items.sum())

    found = clustered_set_interval(statistic, clusters, max_groups=10)
    assert sizes == [180] + [162] * 10
    assert found.num_groups == 10
    again = clustered_set_interval(statistic, clusters, max_groups=10)
    other = clustered_set_interval(statistic, clusters, max_groups=10, seed=1)
    assert found == again
    assert found != other


def test_intervals_of_a_frechet_distance_hold_the_truth_around_the_extrapolated_one():
    # 40 recordings of 2 alike clips; 12 dimensions, mean and spread off: a true distance of 1.69.
    rng = np.random.default_rng(8)
    scale = np.sqrt(1.5)
    truth = 12 * (scale - 1) ** 2 + 12 * 0.3**2
    reference = Gaussian(mean=np.zeros(12), covariance=np.eye(12), num_vectors=10**6)
    clusters = np.arange(40).repeat(2).tolist()
    hits = raw_hits = 0
    for i in range(40):
        shared = rng.standard_normal((40, 12)).repeat(2, axis=0)
        own = rng.standard_normal((80, 12))
        x = scale * (np.sqrt(0.6) * shared + np.sqrt(0.4) * own) + 0.3

        def distance(items, x=x):
            return frechet_distance(reference, Gaussian.from_vectors(x[items]))

        centre = frechet_infinity(reference, x, rng=Rng(i), clusters=clusters, num_sizes=8).value
        found = clustered_set_interval(distance, clusters, centre=centre)
        raw = clustered_set_interval(distance, clusters)
        hits += found.low <= truth <= found.high
        raw_hits += raw.low <= truth <= raw.high
        assert found.estimate == centre
        assert found.standard_error == raw.standard_error
    assert hits / 40 > 0.8  # measured: 0.925, and 0.907 of 150
    assert raw_hits / 40 < 0.5  # measured: 0.3


def test_a_metric_that_does_not_move_has_an_interval_of_no_width():
    found = clustered_set_interval(lambda _: 2.0, list("abc"))
    assert (found.low, found.high, found.standard_error, found.p_value) == (2, 2, 0, 0)
    assert clustered_set_interval(lambda _: 0.0, list("abc")).p_value == 1


def test_one_cluster_has_a_metric_and_no_interval():
    found = clustered_set_interval(lambda i: float(len(i)), ["a", "a"])
    assert found.estimate == 2
    assert (found.low, found.high, found.standard_error, found.p_value) == (None,) * 4


@pytest.mark.parametrize(
    ("value", "clusters", "options", "error"),
    [
        (1.0, [], {}, ShapeError),
        (np.nan, ["a", "b"], {}, ConfigError),
        (1.0, ["a", "b"], {"centre": np.inf}, ConfigError),
        (1.0, ["a", "b"], {"max_groups": 4}, ConfigError),
        (1.0, ["a", "b"], {"confidence": 1.0}, ConfigError),
    ],
)
def test_what_has_no_set_interval_is_refused(value, clusters, options, error):
    with pytest.raises(error):
        clustered_set_interval(lambda _: float(value), clusters, **options)
