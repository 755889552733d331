"""Tags: names of what may be heard."""

import subprocess
import sys

import pytest

from weft.canvas.tags import find_tag, known_tags
from weft.errors import ConfigError
from weft.metrics.embedders.corpus_ssl import load


def test_tags_are_the_classes_of_the_embedder_that_comes_with_the_package() -> None:
    assert known_tags() == load().class_names


def test_tags_are_listed_without_torch() -> None:
    code = (
        "import sys; from weft.canvas.tags import known_tags; "
        "print(len(known_tags()), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(len(known_tags())), "False"]


def test_capitals_and_spaces_do_not_matter() -> None:
    assert known_tags()[find_tag(" Hi-Hat ")] == "hi-hat"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("drum", "'drums'"), ("paino", "'piano'"), ("rivers", "'waves and rivers'")],
)
def test_an_unknown_tag_gives_the_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean .*{nearest}") as found:
        find_tag(name)
    assert "glass" in str(found.value)  # and all that are known


def test_a_tag_like_no_other_gives_no_hint() -> None:
    with pytest.raises(ConfigError, match="no tag 'xyzzy'; known are"):
        find_tag("xyzzy")


def test_names_may_be_given() -> None:
    assert find_tag("b", ["a", "b"]) == 1
