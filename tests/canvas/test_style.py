import numpy as np
import pytest

from weft.audio.audio import Audio
from weft.canvas.style import Style
from weft.errors import ConfigError

REFERENCE = Audio.from_samples(np.ones((1, 100)), 100)


def test_a_style_needs_a_reference_or_a_tag() -> None:
    with pytest.raises(ConfigError, match="at least one reference or one tag"):
        Style()


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), 1001.0])
def test_a_weight_outside_its_range_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight"):
        Style(references=(REFERENCE,), weight=weight)


def test_an_empty_reference_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds no samples"):
        Style(references=(REFERENCE, Audio.from_samples(np.zeros((2, 0)), 100)))


def test_a_blank_tag_is_refused() -> None:
    with pytest.raises(ConfigError, match="a tag must be a word, got ' '"):
        Style(tags=("rain", " "))
