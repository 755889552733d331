import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics.frechet import (
    Gaussian,
    GaussianAccumulator,
    frechet_distance,
    frechet_infinity,
    frechet_infinity_both,
)
from weft.rng import Rng


def gaussian(mean, covariance):
    return Gaussian(
        mean=np.array(mean, dtype=float),
        covariance=np.array(covariance, dtype=float),
        num_vectors=99,
    )


def standard(num_dims):
    return gaussian(np.zeros(num_dims), np.eye(num_dims))


def correlated(num_vectors, num_dims, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_vectors, num_dims)) @ rng.standard_normal((num_dims, num_dims))


# Mean and covariance.


def test_a_gaussian_has_the_covariance_of_numpy():
    x = correlated(40, 5, 0)
    fitted = Gaussian.from_vectors(x)
    np.testing.assert_allclose(fitted.covariance, np.cov(x, rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(fitted.mean, x.mean(axis=0))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_pieces_of_any_size_have_the_covariance_of_the_whole(offset):
    # Sums of squares would keep 4 digits at the larger offset.
    x = correlated(301, 6, 1) + offset
    pieces = GaussianAccumulator()
    for piece in np.split(x, [1, 2, 50, 200]):
        pieces.update(piece)
    found = pieces.finish()
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-14)
    assert found.num_vectors == 301


def test_accumulators_of_two_processes_merge():
    x = correlated(50, 4, 2)
    first, second, empty = GaussianAccumulator(), GaussianAccumulator(), GaussianAccumulator()
    first.update(x[:20])
    second.update(x[20:])
    empty.merge(first)
    empty.merge(second)
    empty.merge(GaussianAccumulator())
    np.testing.assert_allclose(
        empty.finish().covariance, np.cov(x, rowvar=False), rtol=1e-12, atol=1e-12
    )
    assert first.num_vectors == 20  # merging does not change what is merged


def test_updating_later_does_not_change_what_was_finished():
    pieces = GaussianAccumulator()
    pieces.update(correlated(10, 3, 3))
    before = pieces.finish()
    copy = before.mean.copy(), before.covariance.copy()
    pieces.update(correlated(10, 3, 4))
    np.testing.assert_array_equal(before.mean, copy[0])
    np.testing.assert_array_equal(before.covariance, copy[1])


def test_nan_leaves_an_accumulator_as_it_was():
    pieces = GaussianAccumulator()
    pieces.update(np.ones((3, 2)))
    with pytest.raises(ConfigError, match="row 1"):
        pieces.update(np.array([[0.0, 1.0], [np.nan, 0.0]]))
    assert pieces.num_vectors == 3


def test_fewer_vectors_than_dimensions_are_allowed_and_flagged():
    few, enough = (Gaussian.from_vectors(correlated(n, 5, 5)) for n in (5, 6))
    assert few.is_singular
    assert not enough.is_singular
    assert frechet_distance(few, enough) > 0


# The distance.


def test_two_gaussians_of_known_distance():
    # Commuting covariances: |shift|^2 plus the squared differences of the deviations.
    one = gaussian([0, 0, 0], np.diag([1.0, 4.0, 9.0]))
    two = gaussian([3, 0, 4], np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(one, two) == pytest.approx(25 + 1 + 0 + 4)


def test_rotated_gaussians_of_known_distance():
    # In two dimensions the trace of the root is sqrt(tr(AB) + 2 sqrt(det(AB))).
    rotation = np.array([[0.8, -0.6], [0.6, 0.8]])
    a, b = np.diag([5.0, 1.0]), rotation @ np.diag([3.0, 0.5]) @ rotation.T
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    assert frechet_distance(gaussian([0, 0], a), gaussian([0, 0], b)) == pytest.approx(expected)


@pytest.mark.parametrize("num_vectors", [2, 5, 100])
def test_equal_sets_are_at_distance_0(num_vectors):
    x = Gaussian.from_vectors(1e3 * correlated(num_vectors, 20, 6))
    assert frechet_distance(x, x) <= 1e-12 * np.trace(x.covariance)


def test_the_distance_is_symmetric_and_scales_with_the_square():
    x, y = correlated(30, 6, 7), correlated(40, 6, 8) + 1
    a, b = Gaussian.from_vectors(x), Gaussian.from_vectors(y)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    scaled = frechet_distance(Gaussian.from_vectors(3 * x), Gaussian.from_vectors(3 * y))
    assert scaled == pytest.approx(9 * frechet_distance(a, b), rel=1e-10)


def test_it_agrees_with_the_root_of_the_product_by_scipy():
    from scipy.linalg import sqrtm

    a, b = (Gaussian.from_vectors(correlated(100, 16, seed)) for seed in (9, 10))
    product = np.real(sqrtm(a.covariance @ b.covariance))
    shift = ((a.mean - b.mean) ** 2).sum()
    expected = shift + np.trace(a.covariance + b.covariance - 2 * product)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_directions_without_variance_add_nothing():
    # A root of rounding errors would: 1e-8 for each of 200 directions.
    x, y = correlated(50, 4, 13), correlated(50, 4, 14)
    padded = [np.pad(rows, ((0, 0), (0, 200))) for rows in (x, y)]
    rotation = np.linalg.qr(np.random.default_rng(15).standard_normal((204, 204)))[0]
    a, b = (Gaussian.from_vectors(rows @ rotation) for rows in padded)
    plain = frechet_distance(Gaussian.from_vectors(x), Gaussian.from_vectors(y))
    assert frechet_distance(a, b) == pytest.approx(plain, rel=1e-9)


def test_sets_without_any_variance_are_as_far_as_their_means():
    a, b = (Gaussian.from_vectors(np.full((3, 2), value)) for value in (1.0, 3.0))
    assert frechet_distance(a, b) == 8.0


# Endlessly many vectors.


def test_infinity_takes_the_bias_out_that_50_clips_have():
    # 16 dimensions, half the deviation: the true distance is 16 / 4 = 4.
    rng = np.random.default_rng(16)
    found = [
        frechet_infinity(standard(16), 0.5 * rng.standard_normal((50, 16)), rng=Rng(i))
        for i in range(30)
    ]
    # Measured: 4.87 raw, 3.96 extrapolated, with a standard error of 0.04.
    assert np.mean([one.raw for one in found]) > 4.6
    assert np.mean([one.value for one in found]) == pytest.approx(4.0, abs=0.12)


def test_the_line_is_straight_and_lies_above_0():
    x = np.random.default_rng(17).standard_normal((400, 16))
    found = frechet_infinity(standard(16), x, rng=Rng(0))
    assert found.r_squared > 0.8
    assert found.value == pytest.approx(found.raw - found.bias)
    assert found.raw == pytest.approx(frechet_distance(standard(16), Gaussian.from_vectors(x)))
    # The closed form to first order: d^2 / 4n for the covariance and d / n for the mean.
    assert found.bias == pytest.approx(16**2 / 1600 + 16 / 400, rel=0.25)


def test_draws_are_without_replacement():
    # With replacement the line would end at the distance of the set, 0.5 here, not at the truth, 0.
    rng = np.random.default_rng(18)
    found = [
        frechet_infinity(standard(12), rng.standard_normal((100, 12)), rng=Rng(i))
        for i in range(15)
    ]
    assert np.mean([one.raw for one in found]) > 0.4
    assert abs(np.mean([one.value for one in found])) < 0.06  # measured: -0.012


def test_the_line_goes_through_the_distance_of_all_vectors():
    # What draws add is small beside what other clips would: least squares would have 0.065.
    x = np.random.default_rng(19).standard_normal((200, 20))
    values = [frechet_infinity(standard(20), x, rng=Rng(i)).value for i in range(25)]
    assert np.std(values) < 0.04  # measured: 0.025


def test_windows_of_one_clip_are_drawn_together():
    # 8 copies of 60 vectors are no more than 60 vectors; alone they would pass for 480.
    rng = np.random.default_rng(20)
    together, apart = [], []
    for i in range(15):
        x = rng.standard_normal((60, 8)).repeat(8, axis=0)
        clips = np.arange(60).repeat(8).tolist()
        together.append(frechet_infinity(standard(8), x, rng=Rng(i), clusters=clips).value)
        apart.append(frechet_infinity(standard(8), x, rng=Rng(i)).value)
    assert abs(np.mean(together)) < 0.1  # measured: -0.045
    assert np.mean(apart) > 0.25  # measured: 0.38


def test_two_halves_of_one_corpus_come_out_at_0_only_with_both_drawn():
    rng = np.random.default_rng(21)
    both, one = [], []
    for i in range(15):
        x, y = rng.standard_normal((2, 100, 12))
        both.append(frechet_infinity_both(x, y, rng=Rng(i)))
        one.append(frechet_infinity(Gaussian.from_vectors(x), y, rng=Rng(i)).value)
    assert np.mean([found.raw for found in both]) > 0.85  # measured: 1.03
    assert abs(np.mean([found.value for found in both])) < 0.1  # measured: -0.04
    assert np.mean(one) > 0.35  # the bias of the reference stays; measured: 0.51


def test_both_sets_may_have_clusters_and_unequal_sizes():
    rng = np.random.default_rng(22)
    x, y = rng.standard_normal((40, 3)).repeat(2, axis=0), rng.standard_normal((300, 3))
    found = frechet_infinity_both(
        x, y, rng=Rng(0), reference_clusters=(np.arange(80) // 2).tolist()
    )
    assert abs(found.value) < found.raw
    assert found.num_smallest == 40


def test_too_few_vectors_for_a_straight_line_are_flagged():
    rng = np.random.default_rng(23)
    few, enough = (rng.standard_normal((n, 10)) for n in (38, 40))
    assert not frechet_infinity(standard(10), few, rng=Rng(0)).is_reliable
    assert frechet_infinity(standard(10), enough, rng=Rng(0)).is_reliable


def test_equal_seeds_give_equal_results_and_others_others():
    x = np.random.default_rng(24).standard_normal((40, 4))
    a, b, c = (frechet_infinity(standard(4), x, rng=Rng(seed)) for seed in (1, 1, 2))
    assert a == b
    assert a != c


# What cannot be used.


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_vectors_have_no_covariance(rows):
    with pytest.raises(ShapeError, match="at least 2 vectors"):
        Gaussian.from_vectors(np.zeros((rows, 3)))
    pieces = GaussianAccumulator()
    if rows:
        pieces.update(np.zeros((rows, 3)))
    with pytest.raises(ShapeError, match="at least 2 vectors"):
        pieces.finish()


def test_unequal_widths_are_refused():
    x, y = np.random.default_rng(25).standard_normal((20, 7))[:, :3], np.zeros((20, 4))
    with pytest.raises(ShapeError, match="3 and 4"):
        frechet_distance(Gaussian.from_vectors(x), Gaussian.from_vectors(y))
    with pytest.raises(ShapeError, match="3 and 4"):
        frechet_infinity(Gaussian.from_vectors(x), y, rng=Rng(0))
    with pytest.raises(ShapeError, match="3 and 4"):
        frechet_infinity_both(x, y, rng=Rng(0))
    pieces = GaussianAccumulator()
    pieces.update(x)
    with pytest.raises(ShapeError, match="3 and 4"):
        pieces.update(y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    x = np.zeros((10, 2))
    x[3, 1] = bad
    with pytest.raises(ConfigError, match="row 3"):
        Gaussian.from_vectors(x)
    with pytest.raises(ConfigError, match="row 3"):
        frechet_infinity(standard(2), x, rng=Rng(0))
    with pytest.raises(ConfigError, match="finite"):
        gaussian([bad, 0], np.eye(2))


@pytest.mark.parametrize("options", [{"num_sizes": 2}, {"smallest": 0.0}, {"smallest": 1.0}])
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(ConfigError):
        frechet_infinity(standard(2), correlated(20, 2, 0), rng=Rng(0), **options)


def test_an_extrapolation_needs_eight_clusters():
    x = correlated(70, 2, 0)
    with pytest.raises(ShapeError, match="8 clusters"):
        frechet_infinity(standard(2), x, rng=Rng(0), clusters=(np.arange(70) // 10).tolist())
    with pytest.raises(ShapeError, match="70 rows and 3"):
        frechet_infinity(standard(2), x, rng=Rng(0), clusters=[1, 2, 3])
