import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics import sets
from weft.metrics.manifold import Manifold, precision_recall, realism, realism_ratio


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_radii_reach_to_the_third_other_neighbour():
    from scipy.spatial.distance import cdist

    x = draw(40, 3) + 1e3
    expected = np.sort(cdist(x, x), axis=1)[:, 3]
    np.testing.assert_allclose(Manifold.of(x).radii, expected, rtol=1e-9)


def test_realism_is_that_of_the_paper():
    from scipy.spatial.distance import cdist

    x, g = draw(41, 3), 2 * draw(15, 3, seed=1)
    radii = np.sort(cdist(x, x), axis=1)[:, 3]
    keep = radii <= np.median(radii)
    expected = (radii[keep] / cdist(g, x[keep])).max(axis=1)
    np.testing.assert_allclose(realism(Manifold.of(x), g), expected, rtol=1e-9)


def test_points_inside_score_at_least_1_and_points_outside_less():
    # A grid with holes at the corner: k = 3 reaches one step.
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
    scores = realism(Manifold.of(grid), np.array([[2.5, 2.5], [2.0, 2.9], [-3.0, 2.0]]))
    assert scores[0] == pytest.approx(1 / 0.5**0.5)
    assert scores[1] >= 1
    assert scores[2] < 0.5


def test_wide_balls_are_cut():
    # 20 clips close together and 5 far ones, among which a fill far from all would pass.
    near, far = 0.1 * draw(20, 2), 30 * draw(5, 2, seed=1) + 50
    manifold = Manifold.of(np.concatenate((near, far)))
    fill = far[:1] + 5
    uncut = (
        manifold.radii / np.linalg.norm(manifold.vectors - (fill - manifold.centre), axis=1)
    ).max()
    assert uncut > 1
    assert realism(manifold, fill)[0] < 0.05


def test_a_clip_says_nothing_about_its_own_realism():
    x = draw(60, 4)
    scores = realism(Manifold.of(x), x)
    assert scores.max() < 5  # its own ball alone would make it infinite
    # Nor when embedded once more in float32.
    again = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(realism(Manifold.of(x), again), scores, rtol=1e-5)


def test_clips_that_the_reference_holds_several_times_span_nothing():
    x = draw(30, 3)
    repeated = np.concatenate((x, np.tile(x[:1] + 9, (8, 1))))
    g = draw(5, 3, seed=1)
    assert np.isfinite(realism(Manifold.of(repeated), g)).all()
    assert (Manifold.of(repeated).pruned().radii > 0).all()


def test_realism_knows_neither_origin_nor_scale():
    x, g = draw(30, 3), draw(9, 3, seed=1)
    plain = realism(Manifold.of(x), g)
    np.testing.assert_allclose(realism(Manifold.of(1e3 * x + 1e5), 1e3 * g + 1e5), plain, rtol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    x, g = draw(50, 4), draw(33, 4, seed=1)
    radii, scores, overlap = (
        Manifold.of(x).radii,
        realism(Manifold.of(x), g),
        precision_recall(x, g),
    )
    monkeypatch.setattr(sets, "BLOCK", 7)
    np.testing.assert_allclose(Manifold.of(x).radii, radii, rtol=1e-9)
    np.testing.assert_allclose(realism(Manifold.of(x), g), scores, rtol=1e-9)
    assert precision_recall(x, g) == overlap


def test_a_ratio_is_taken_track_by_track():
    scores, plain = np.array([2.0, 0.5]), np.array([1.0, 1.0])
    np.testing.assert_allclose(realism_ratio(scores, plain), [2.0, 0.5])
    scores, plain = np.array([2.0, 0.5]), np.array([4.0, 0.25])
    assert realism_ratio(scores, plain).mean() == 1.25  # the ratio of the means is 0.59


# Precision and recall.


def test_equal_sets_have_precision_and_recall_1():
    x = draw(50, 5)
    found = precision_recall(x, x)
    assert (found.precision, found.recall) == (1, 1)


def test_sets_far_apart_have_none():
    found = precision_recall(draw(30, 3), draw(30, 3, seed=1) + 100)
    assert (found.precision, found.recall) == (0, 0)


def test_fills_of_one_kind_are_precise_and_lack_variety():
    kinds = np.repeat(20 * np.eye(4), 25, axis=0) + draw(100, 4)
    fills = 20 * np.eye(4)[:1] + 0.5 * draw(40, 4, seed=1)
    found = precision_recall(kinds, fills)
    assert found.precision > 0.9
    assert found.recall < 0.25
    turned = precision_recall(fills, kinds)
    assert (turned.precision, turned.recall) == (found.recall, found.precision)


def test_one_distribution_has_both_high():
    found = precision_recall(draw(300, 2), draw(300, 2, seed=1))
    assert found.precision > 0.9
    assert found.recall > 0.9


def test_shares_are_those_of_brute_force():
    from scipy.spatial.distance import cdist

    x, y = draw(40, 3), 1.5 * draw(25, 3, seed=1) + 0.5
    found = precision_recall(x, y, num_neighbours=2)
    for real, others, share in ((x, y, found.precision), (y, x, found.recall)):
        radii = np.sort(cdist(real, real), axis=1)[:, 2]
        assert share == (cdist(others, real) <= radii).any(axis=1).mean()
        assert 0 < share < 1


# What cannot be used.


def test_what_spans_no_manifold_is_refused():
    x = draw(10, 3)
    with pytest.raises(ShapeError, match="at least 4"):
        Manifold.of(x[:3])
    with pytest.raises(ConfigError, match="equal"):
        Manifold.of(np.full((10, 3), 0.1))
    with pytest.raises(ConfigError, match="repetitions"):
        realism(Manifold.of(np.concatenate((np.zeros((10, 3)), x[:4]))), x)
    with pytest.raises(ConfigError, match="num_neighbours"):
        Manifold.of(x, num_neighbours=0)
    with pytest.raises(ConfigError, match="row 4"):
        Manifold.of(np.where(np.arange(10)[:, None] == 4, np.nan, x))


def test_what_cannot_be_scored_is_refused():
    x = draw(10, 3)
    with pytest.raises(ShapeError, match="3 and 2"):
        realism(Manifold.of(x), x[:, :2])
    with pytest.raises(ShapeError):
        realism(Manifold.of(x), x[:0])
    with pytest.raises(ConfigError, match="row 0"):
        realism(Manifold.of(x), x + np.inf)
    with pytest.raises(ShapeError, match="3 and 2"):
        precision_recall(x, x[:, :2])
    pair = Manifold.of(np.array([[0.0], [1.0], [5.0]]), num_neighbours=1).pruned()
    alone = Manifold(
        vectors=pair.vectors[:1], radii=pair.radii[:1], centre=pair.centre, spread=pair.spread
    )
    with pytest.raises(ConfigError, match="one clip"):
        realism(alone, np.array([[0.0]]))


def test_ratios_need_pairs_of_realism():
    one = np.ones(3)
    with pytest.raises(ShapeError, match="3 scores and 2"):
        realism_ratio(one, one[:2])
    with pytest.raises(ShapeError):
        realism_ratio(one[:0], one[:0])
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="baseline"):
            realism_ratio(one, one * bad)
