import numpy as np
import pytest

from weft.errors import ConfigError, ShapeError
from weft.metrics.text_match import clap_score, text_matches


def test_cosines_are_those_of_pairs_in_order():
    text = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    audio = np.array([[5.0, 0.0], [3.0, 0.0], [-2.0, -2.0]])
    np.testing.assert_allclose(text_matches(text, audio), [1, 0, -1], atol=1e-15)
    assert clap_score(text, audio) == pytest.approx(0)
    assert clap_score(text[::-1], audio) == pytest.approx((0.5**0.5 + 0 - 0.5**0.5) / 3)


def test_the_score_does_not_depend_on_lengths_however_extreme():
    rng = np.random.default_rng(0)
    text, audio = rng.standard_normal((2, 20, 8))
    plain = clap_score(text, audio)
    assert clap_score(1e-200 * text, 1e200 * audio) == pytest.approx(plain, rel=1e-12)


def test_no_cosine_leaves_its_range():
    x = np.random.default_rng(1).standard_normal((500, 3))
    assert text_matches(x, x).max() <= 1
    assert text_matches(x, -x).min() >= -1
    assert clap_score(x, x) == pytest.approx(1, abs=1e-15)


def test_what_has_no_score_is_refused():
    x = np.ones((3, 4))
    with pytest.raises(ShapeError, match="3 texts and 2"):
        text_matches(x, x[:2])
    with pytest.raises(ShapeError, match="4 and 2"):
        text_matches(x, x[:, :2])
    with pytest.raises(ShapeError):
        clap_score(x[:0], x[:0])
    with pytest.raises(ConfigError, match="row 1 of audio"):
        clap_score(x, x * np.array([[1.0], [0.0], [1.0]]))
    with pytest.raises(ConfigError, match="finite"):
        clap_score(x * np.nan, x)
