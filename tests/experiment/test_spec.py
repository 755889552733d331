"""Files of experiments: what they may say, and what is said of those that cannot be used."""

from pathlib import Path

import pytest

from experiment.toy import SPEC, write_spec
from weft.errors import ConfigError
from weft.experiment.spec import read_spec


def test_a_file_says_arms_seeds_settings_and_measures(tmp_path: Path) -> None:
    text = """
        title = "Spans"
        about = "Why."
        recipe = "tokens"
        preset = "debug"
        data = ["music"]
        baseline = "plain"
        seeds = [3, 1]
        [settings]
        steps = 100
        betas = [0.9, 0.95]
        learning_rate = 1e-4
        [arms."spans, p0 0.6"]
        kind = "published"
        steps = 200
        nested.deep = true
        [arms.plain]
        [measures]
        nll_200ms = "lower"
    """
    spec = read_spec(write_spec(tmp_path, text.replace("\n        ", "\n")))
    assert (spec.title, spec.about, spec.recipe, spec.preset) == (
        "Spans",
        "Why.",
        "tokens",
        "debug",
    )
    assert (spec.data, spec.seeds, spec.baseline) == (("music",), (3, 1), "plain")
    assert spec.measures == {"nll_200ms": "lower"}
    assert spec.overrides("plain", 3) == {
        "steps": "100", "betas": "0.9,0.95", "learning_rate": "0.0001", "seed": "3"
    }  # fmt: skip
    assert spec.overrides("spans, p0 0.6", 1) == {
        "steps": "200", "betas": "0.9,0.95", "learning_rate": "0.0001", "seed": "1",
        "kind": "published", "nested.deep": "true",
    }  # fmt: skip


def test_whole_seeds_come_first_and_the_baseline_in_each(tmp_path: Path) -> None:
    spec = read_spec(write_spec(tmp_path, baseline='"wide"', seeds="[7, 2]"))
    assert spec.runs() == [
        (arm, seed) for seed in (7, 2) for arm in ("wide", "base", "shifted", "mirrored")
    ]


def test_title_preset_and_baseline_have_defaults(tmp_path: Path) -> None:
    spec = read_spec(write_spec(tmp_path, SPEC.replace('baseline = "base"', "")))
    assert (spec.title, spec.preset, spec.baseline, spec.data) == ("toy", "small", "base", ())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = [0, 1, 2, 3]", "seeds = [0, 1, 2, 3", "is no TOML: .* looks like this"),
        ("seeds = [0, 1, 2, 3]", "", "seeds missing; an experiment looks like this"),
        ("seeds = [0, 1, 2, 3]", "seeds = 4", "seeds must be a list of whole numbers, got 4"),
        ("seeds = [0, 1, 2, 3]", "seeds = [0, true]", "seeds must be a list of whole numbers"),
        ("seeds = [0, 1, 2, 3]", "seeds = [0, 1, 0]", "seeds must be 1 to 1000 different numbers"),
        ("seeds = [0, 1, 2, 3]", "seeds = []", "seeds must be 1 to 1000 different numbers"),
        ("seeds = [0, 1, 2, 3]", "seeds = [-1]", r"seeds must be in \[0, 2\^31\), got \[-1\]"),
        ('recipe = "toy"', 'recipee = "toy"', "there is no 'recipee' in an experiment; it may"),
        ('recipe = "toy"', "recipe = 3", "recipe must be a text, got 3"),
        ('baseline = "base"', 'baseline = "bse"', "baseline must be one of the arms .base, shift"),
        ("shift = 1.0", "seed = 4", "shifted sets seed; list it in seeds"),
        ("shift = 1.0", "shift = []", "arms.shifted.shift must be a number, a text, true"),
        ("shift = 1.0", "shift = 1979-05-27", "arms.shifted.shift must be a number, a text, true"),
        ("[arms.wide]", '[arms."a|b"]', "the name of an arm must be 1 to 60 characters"),
        ("[arms.wide]", '[arms."base "]', "the name of an arm must be 1 to 60 characters"),
        ("[arms.wide]", '[arms."shifted!"]', "'shifted' and 'shifted!' would share the folder"),
        ('error = "lower"', 'error = "less"', "a measure is NAME = .lower. .* 'error' = 'less'"),
        ('error = "lower"', '"a|b" = "lower"', "a measure is NAME"),
        ('error = "lower"\ninverse = "higher"', "", "measures must name at least one figure"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = write_spec(tmp_path, SPEC.replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        read_spec(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the experiment .*none.toml"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot read the experiment .*bytes.toml"):
        read_spec(tmp_path / "bytes.toml")
