import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics.divergence import EPSILON, kl_paired_panns, kl_paired_passt, kl_set

SURE, UNSURE = np.array([30.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0])


def logs(*probabilities):
    return np.log(np.array(probabilities))


def test_the_panns_divergence_is_reference_against_fill():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    found = kl_paired_panns({"a": np.log(p)}, {"a": np.log(q) + 5})["a"]
    assert found == pytest.approx((p * np.log(p / q)).sum(), abs=1e-5)
    assert found != pytest.approx((q * np.log(q / p)).sum(), abs=1e-2)


def test_the_epsilon_stands_in_the_second_term_only():
    # A fill that is sure of the wrong class: the epsilon decides.
    wrong = np.array([0.0, 40.0])
    right = np.array([40.0, 0.0])
    found = kl_paired_panns({"a": right}, {"a": wrong})["a"]
    assert found == pytest.approx(-np.log(EPSILON), rel=1e-9)
    p = np.array([0.5, 0.5])
    found = kl_paired_panns({"a": np.log(p)}, {"a": np.log(p)})["a"]
    assert found == pytest.approx(-np.log1p(2 * EPSILON), rel=1e-6)


def test_the_published_figure_is_the_mean_over_pairs_matched_by_name():
    found = kl_paired_panns({"a": SURE, "b": UNSURE}, {"b": UNSURE, "a": UNSURE})
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx(np.log(3), abs=1e-5)
    assert found["b"] == pytest.approx(0, abs=1e-5)


def test_the_sigmoid_variant_adds_up_classes_that_are_present():
    first, second = np.array([0.3, -1.0, 2.0]), np.array([1.0, 0.0, -2.0])
    p, q = 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))
    found = kl_paired_panns({"a": first}, {"a": second}, activation="sigmoid")["a"]
    assert found == pytest.approx((p * np.log(p / (q + EPSILON))).sum(), rel=1e-12)
    # Terms of absent classes are not there: a fill that finds more scores below 0.
    assert kl_paired_panns({"a": UNSURE}, {"a": SURE}, activation="sigmoid")["a"] < 0


def test_large_logits_do_not_overflow():
    large = np.array([1e4, -1e4, 0.0])
    assert kl_paired_panns({"a": large}, {"a": large})["a"] == pytest.approx(0, abs=1e-5)
    found = kl_paired_panns({"a": large}, {"a": large}, activation="sigmoid")["a"]
    assert np.isfinite(found)


def test_the_passt_divergence_is_fill_against_reference():
    p, q = np.array([0.9, 0.05, 0.05]), np.array([0.4, 0.3, 0.3])
    real, fill = {"a": np.log(p)[None]}, {"a": np.log(q)[None]}
    backward = (q * np.log(q / (p + EPSILON))).sum()
    forward = (p * np.log(p / (q + EPSILON))).sum()
    assert kl_paired_passt(real, fill)["a"] == pytest.approx(backward, rel=1e-9)
    turned = kl_paired_passt(real, fill, direction="reference_estimate")["a"]
    assert turned == pytest.approx(forward, rel=1e-9)
    assert forward != pytest.approx(backward, abs=0.05)


def test_windows_are_collected_before_the_softmax():
    windows = np.array([[4.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    flat = np.zeros((1, 2))
    for collect, logits in (("mean", windows.mean(axis=0)), ("max", windows.max(axis=0))):
        p = np.exp(logits) / np.exp(logits).sum()
        found = kl_paired_passt(
            {"a": flat}, {"a": windows}, collect=collect, direction="estimate_reference"
        )["a"]
        assert found == pytest.approx((p * np.log(p / 0.5)).sum(), abs=1e-5)


def test_the_set_divergence_compares_mean_probabilities():
    real, fill = logs([0.8, 0.2], [0.4, 0.6]), logs([0.1, 0.9])
    expected = 0.6 * np.log(0.6 / 0.1) + 0.4 * np.log(0.4 / 0.9)
    assert kl_set(real, fill) == pytest.approx(expected, rel=1e-12)


def test_the_set_divergence_does_not_see_pairs_and_the_paired_one_does():
    real = 20 * np.eye(3)
    fill = np.roll(real, 1, axis=0)
    assert kl_set(real, fill) == pytest.approx(0, abs=1e-12)
    names = "abc"
    paired = kl_paired_panns(
        dict(zip(names, real, strict=True)), dict(zip(names, fill, strict=True))
    )
    assert min(paired.values()) > 10


def test_sets_that_share_no_class_have_a_finite_divergence_without_an_epsilon():
    found = kl_set(np.array([[500.0, 0.0]]), np.array([[0.0, 500.0]]))
    assert found == pytest.approx(500)


def test_the_set_divergence_is_0_for_equal_sets_and_depends_on_the_direction():
    x = np.random.default_rng(0).standard_normal((20, 7))
    y = 3 * np.random.default_rng(1).standard_normal((9, 7))
    assert kl_set(x, x) == 0
    assert kl_set(x, y) > 0
    sure, unsure = logs([0.99, 0.01]), logs([0.5, 0.5])
    assert kl_set(sure, unsure) == pytest.approx(0.637, abs=1e-3)
    assert kl_set(unsure, sure) == pytest.approx(1.614, abs=1e-3)


@pytest.mark.parametrize("function", [kl_paired_panns, kl_paired_passt])
def test_pairs_must_match(function):
    shape = (slice(None),) if function is kl_paired_panns else (None,)
    one = UNSURE[shape]
    with pytest.raises(ShapeError, match=r"\['b'\]"):
        function({"a": one, "b": one}, {"a": one})
    with pytest.raises(ShapeError, match=r"\['b'\]"):
        function({"a": one}, {"a": one, "b": one})
    with pytest.raises(ShapeError, match="none"):
        function({}, {})
    with pytest.raises(ShapeError, match="3 and 2"):
        function({"a": one}, {"a": one[..., :2]})
    with pytest.raises(ConfigError, match="'a'"):
        function({"a": one}, {"a": one + np.inf})


def test_a_clip_needs_a_window_and_a_set_a_clip():
    with pytest.raises(ShapeError):
        kl_paired_passt({"a": np.zeros((0, 3))}, {"a": np.zeros((1, 3))})
    with pytest.raises(ShapeError):
        kl_set(np.zeros((0, 3)), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="3 and 2"):
        kl_set(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ConfigError):
        kl_set(np.zeros((2, 3)), np.full((2, 3), np.nan))
