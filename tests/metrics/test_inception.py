import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics.inception import inception_score


def test_sure_clips_of_all_classes_score_the_number_of_classes():
    found = inception_score(100 * np.eye(5).repeat(4, axis=0), num_splits=1)
    assert found.mean == pytest.approx(5)
    assert found.std == 0


def test_clips_that_look_alike_score_1():
    assert inception_score(np.zeros((20, 6))).mean == 1
    alike = np.tile(np.random.default_rng(0).standard_normal(6), (20, 1))
    assert inception_score(alike).mean == pytest.approx(1, abs=1e-12)
    sure = np.tile(50 * np.eye(6)[0], (20, 1))  # sure, but all of one class
    assert inception_score(sure).mean == pytest.approx(1, abs=1e-12)


def test_the_score_is_that_of_the_definition():
    logits = np.random.default_rng(1).standard_normal((30, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert inception_score(logits, num_splits=1).mean == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e4])
def test_the_score_stays_within_its_bounds(scale):
    logits = scale * np.random.default_rng(2).standard_normal((60, 8))
    found = inception_score(logits, num_splits=12)
    assert 1 <= found.mean <= 5 + 1e-12  # 5 clips a split, fewer than the 8 classes


def test_more_splits_lower_the_score():
    logits = 5 * np.random.default_rng(3).standard_normal((100, 20))
    found = [inception_score(logits, num_splits=n).mean for n in (1, 5, 20)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2] + 1


def test_splits_are_shuffled_and_repeatable():
    logits = 100 * np.eye(4).repeat(25, axis=0)  # sorted by class: unshuffled splits score 1
    a, b, c = (inception_score(logits, num_splits=4, seed=s) for s in (0, 0, 1))
    assert a.mean > 3.5
    assert a == b
    assert a != c
    assert a.std > 0


def test_every_clip_counts_once():
    # 7 clips in 3 splits: 2, 2 and 3 of them.
    found = inception_score(100 * np.eye(7), num_splits=3)
    assert found.mean == pytest.approx((2 + 2 + 3) / 3)


def test_what_has_no_score_is_refused():
    with pytest.raises(ShapeError, match="at least 10"):
        inception_score(np.zeros((9, 3)))
    with pytest.raises(ConfigError, match="num_splits"):
        inception_score(np.zeros((9, 3)), num_splits=0)
    with pytest.raises(ConfigError, match="row 2"):
        inception_score(np.where(np.arange(20)[:, None] == 2, np.nan, np.zeros((20, 3))))
