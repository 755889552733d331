import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics import sets
from weft.metrics.kernel import (
    KAD_SCALE,
    ClusteredKernel,
    kernel_audio_distance,
    kernel_inception_distance,
    kid_subsets,
    mean_kernel_within,
    median_distance,
)
from weft.rng import Rng

DISTANCES = [kernel_inception_distance, kernel_audio_distance]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def by_loops(x, y, kernel, x_clusters, y_clusters):
    """The definition, a pair at a time."""

    def within(rows, clusters):
        return np.mean(
            [
                kernel(a, b)
                for a, i in zip(rows, clusters, strict=True)
                for b, j in zip(rows, clusters, strict=True)
                if i != j
            ]
        )

    between = np.mean([kernel(a, b) for a in x for b in y])
    return within(x, x_clusters) + within(y, y_clusters) - 2 * between


def cubic(a, b):
    return (a @ b / len(a) + 1) ** 3


@pytest.mark.parametrize("is_clustered", [False, True])
def test_distances_are_those_of_the_definition(is_clustered):
    x, y = draw(11, 3, seed=1), draw(8, 3, seed=2) + 0.5
    names = [[0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5], list("aabbbccd")]
    if not is_clustered:
        names = [list(range(11)), list(range(8))]
    options = {"reference_clusters": names[0], "estimate_clusters": names[1]}
    expected = by_loops(x, y, cubic, *names)
    assert kernel_inception_distance(x, y, **options) == pytest.approx(expected, rel=1e-10)

    def gaussian(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * 1.7**2))

    expected = KAD_SCALE * by_loops(x, y, gaussian, *names)
    found = kernel_audio_distance(x, y, bandwidth=1.7, **options)
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
def test_blocks_change_nothing(distance, monkeypatch):
    x, y = draw(50, 4), draw(41, 4, seed=1)
    names = (np.arange(50) // 3).tolist()
    whole = distance(x, y, reference_clusters=names)
    monkeypatch.setattr(sets, "BLOCK", 7)
    assert distance(x, y, reference_clusters=names) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("distance", DISTANCES)
def test_ten_clips_are_as_far_on_average_as_endlessly_many(distance):
    rng = np.random.default_rng(3)
    reference = rng.standard_normal((80, 4))
    options = {} if distance is kernel_inception_distance else {"bandwidth": 2.0}
    truth = distance(reference, rng.standard_normal((3000, 4)) + 0.5, **options)
    small = [distance(reference, rng.standard_normal((10, 4)) + 0.5, **options) for _ in range(200)]
    error = np.std(small) / np.sqrt(200)
    assert abs(np.mean(small) - truth) < 3 * error
    assert 3 * error < 0.5 * truth  # the test could fail


@pytest.mark.parametrize("distance", DISTANCES)
def test_sets_of_one_distribution_are_at_0_and_half_of_them_below(distance):
    rng = np.random.default_rng(4)
    found = np.array([distance(*rng.standard_normal((2, 30, 3))) for _ in range(150)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(150)
    assert 0.4 < (found < 0).mean() < 0.8


@pytest.mark.parametrize("distance", DISTANCES)
def test_windows_of_one_clip_bias_unless_their_clip_is_named(distance):
    rng = np.random.default_rng(5)
    reference = rng.standard_normal((60, 3))
    named, nameless = [], []
    for _ in range(80):
        x = rng.standard_normal((12, 3)).repeat(6, axis=0)
        named.append(distance(reference, x, estimate_clusters=np.arange(12).repeat(6).tolist()))
        nameless.append(distance(reference, x))
    error = np.std(named) / np.sqrt(80)
    assert abs(np.mean(named)) < 3 * error
    assert np.mean(nameless) > 10 * error


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_grow_with_a_shift(distance):
    x, y = draw(100, 5), draw(100, 5, seed=1)
    found = [distance(x, y + shift) for shift in (0, 0.3, 0.6, 1.2)]
    assert found == sorted(found)


def test_the_audio_distance_is_bounded_and_knows_no_origin():
    x, y = draw(30, 4), draw(30, 4, seed=1)
    assert kernel_audio_distance(x, y + 1e3, bandwidth=0.1) < 2 * KAD_SCALE
    far = kernel_audio_distance(x + 1e6, y + 1e6 + 0.5)
    assert far == pytest.approx(kernel_audio_distance(x, y + 0.5), rel=1e-6)


def test_the_inception_distance_is_symmetric_and_the_width_is_the_references():
    x, y = draw(30, 4), 3 * draw(20, 4, seed=1)
    assert kernel_inception_distance(x, y) == pytest.approx(kernel_inception_distance(y, x))
    assert kernel_audio_distance(x, y) == pytest.approx(
        kernel_audio_distance(x, y, bandwidth=median_distance(x))
    )
    assert kernel_audio_distance(x, y) != pytest.approx(kernel_audio_distance(y, x), rel=0.1)


def test_the_median_distance_is_over_pairs():
    from scipy.spatial.distance import pdist

    x = draw(40, 3) + 100
    assert median_distance(x) == pytest.approx(np.median(pdist(x)), rel=1e-10)


def test_the_median_distance_of_a_large_set_is_that_of_vectors_from_all_over_it():
    x = np.concatenate((draw(1500, 2), draw(1500, 2, seed=1) + 50))
    first, second = median_distance(x[:1500]), median_distance(x)
    assert first < 3 < 45 < second


def test_subsets_have_the_mean_of_all_pairs():
    x, y = draw(60, 4), draw(50, 4, seed=1) + 0.5
    found = kid_subsets(x, y, rng=Rng(0), subset_size=20, num_subsets=100)
    assert found.mean == pytest.approx(kernel_inception_distance(x, y), abs=0.25 * found.std)
    assert found.std > 0
    again = kid_subsets(x, y, rng=Rng(0), subset_size=20, num_subsets=100)
    assert again == found


def test_a_subset_of_the_whole_set_is_the_whole_set():
    x, y = draw(15, 3), draw(15, 3, seed=1)
    found = kid_subsets(x, y, rng=Rng(3), subset_size=15, num_subsets=4)
    assert found.mean == pytest.approx(kernel_inception_distance(x, y), rel=1e-9)
    assert found.std < 1e-9


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_has_no_kernel_distance_is_refused(distance):
    x = draw(10, 3)
    with pytest.raises(ShapeError, match="3 and 2"):
        distance(x, draw(10, 2))
    with pytest.raises(ShapeError, match="at least 2 vectors"):
        distance(x, x[:1])
    with pytest.raises(ShapeError, match="at least 2 vectors"):
        distance(x[:0], x)
    with pytest.raises(ShapeError, match="2 clusters"):
        distance(x, x, estimate_clusters=["a"] * 10)
    with pytest.raises(ShapeError, match="10 rows and 2"):
        distance(x, x, reference_clusters=["a", "b"])
    with pytest.raises(ConfigError, match="row 0"):
        distance(x, x * np.nan)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, np.nan, np.inf])
def test_a_kernel_needs_a_width(bandwidth):
    with pytest.raises(ConfigError, match="bandwidth"):
        kernel_audio_distance(draw(5, 2), draw(5, 2), bandwidth=float(bandwidth))


def test_a_reference_of_equal_clips_gives_no_width():
    with pytest.raises(ConfigError, match="equal"):
        median_distance(np.full((5, 2), 0.1))


@pytest.mark.parametrize("options", [{"num_subsets": 0}, {"subset_size": 1}])
def test_settings_of_subsets_are_checked(options):
    with pytest.raises(ConfigError):
        kid_subsets(draw(9, 2), draw(9, 2), rng=Rng(0), **{"subset_size": 5, **options})


def test_subsets_need_sets_as_large():
    with pytest.raises(ShapeError, match="at least 1000 vectors"):
        kid_subsets(draw(9, 2), draw(9, 2), rng=Rng(0))


def test_fills_near_their_own_originals_do_not_count_as_nearer_than_the_set_itself():
    rng = np.random.default_rng(0)
    names = [i // 3 for i in range(60)]
    truth = np.repeat(rng.standard_normal((20, 8)), 3, axis=0) + 0.1 * rng.standard_normal((60, 8))
    options = {"reference_clusters": names, "estimate_clusters": names}
    assert kernel_inception_distance(truth, truth, **options, are_paired=True) == pytest.approx(0)
    assert kernel_inception_distance(truth, truth, **options) < -0.1
    kids = []
    for seed in range(30):
        draw = np.random.default_rng(seed).standard_normal
        first = draw((40, 8))
        fills = first + 0.5 * draw((40, 8)) + 0.3
        kids.append(kernel_inception_distance(first, fills, are_paired=True))
    draw = np.random.default_rng(99).standard_normal
    large = draw((4000, 8)), np.sqrt(1.25) * draw((4000, 8)) + 0.3
    expected = kernel_inception_distance(*large)
    assert abs(np.mean(kids) - expected) < 3 * np.std(kids) / np.sqrt(30)


@pytest.mark.parametrize("are_paired", [False, True])
def test_leaving_recordings_out_of_the_sums_is_leaving_out_their_vectors(are_paired):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 30, 5))
    names = [f"{i % 7}" for i in range(30)]
    others = [names[i] for i in rng.permutation(30)]
    options = {"reference_clusters": others, "estimate_clusters": names, "are_paired": are_paired}
    kernel = ClusteredKernel(first, second, **options)
    assert kernel.distance() == pytest.approx(kernel_inception_distance(first, second, **options))
    for left in ({"3"}, {"0", "5", "6"}):
        ours = [i for i, name in enumerate(names) if name not in left]
        theirs = [i for i, name in enumerate(others) if name not in left or not are_paired]
        direct = kernel_inception_distance(
            first[theirs],
            second[ours],
            reference_clusters=[others[i] for i in theirs],
            estimate_clusters=[names[i] for i in ours],
            are_paired=are_paired,
        )
        assert kernel.distance(set(names) - left) == pytest.approx(direct)
    with pytest.raises(ShapeError, match="2 clusters"):
        kernel.distance({"1"})


def test_what_is_known_of_the_reference_is_not_computed_again():
    first, second = np.random.default_rng(0).standard_normal((2, 20, 3))
    known = mean_kernel_within(first, None)
    options = {"reference_clusters": None, "estimate_clusters": None}
    one = ClusteredKernel(first, second, **options).distance()
    assert ClusteredKernel(first, second, **options, reference_within=known).distance() == one
    with pytest.raises(ShapeError, match="same clusters"):
        ClusteredKernel(first, second[:5], **options, are_paired=True)
