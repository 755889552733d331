"""The experiments that come with the repository: all their settings are known, now and later."""

from pathlib import Path

import pytest

from weft.experiment.spec import read_spec
from weft.train.registry import make_recipe

ROOT = Path(__file__).parents[2] / "experiments"
FILES = sorted(ROOT.rglob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_arm_is_a_recipe(path: Path) -> None:
    spec = read_spec(path)
    for arm, seed in spec.runs():
        recipe, config = make_recipe(
            spec.recipe, spec.preset, spec.overrides(arm, seed), list(spec.data)
        )
        assert config.seed == seed
        recipe.to_config()


def test_there_are_experiments() -> None:
    assert FILES


def test_the_debug_file_has_the_arms_and_measures_of_the_real_one() -> None:
    real, debug = (read_spec(ROOT / "aidd" / name) for name in ("ablation.toml", "debug.toml"))
    assert debug.arms == real.arms
    assert debug.measures == real.measures
    assert debug.baseline == real.baseline
