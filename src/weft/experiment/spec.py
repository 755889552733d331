"""What an experiment is: a file that names a recipe, arms, seeds and measures."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from weft.errors import ConfigError

Better = Literal["lower", "higher"]

MAX_ARMS, MAX_SEEDS = 1000, 1000
_NAME = re.compile(r"[^\s|`](?:[^\x00-\x1f|`]{0,58}[^\s|`])?")
_MEASURE = re.compile(r"[A-Za-z0-9_./-]{1,80}")
_LAYOUT = """an experiment looks like this:

    recipe = "tokens"
    preset = "small"
    seeds = [0, 1, 2]
    baseline = "base"
    [settings]
    steps = 2000
    [arms.base]
    [arms.spans]
    kind = "published"
    [measures]
    nll_200ms = "lower"
"""
_SETTING_KINDS = (bool, int, float, str)


@final
@dataclass(frozen=True, kw_only=True)
class ExperimentSpec:
    """Arms that are trained with the same seeds, and what is measured of them."""

    title: str
    """Heading of the table."""
    about: str = ""
    """Text below it."""
    recipe: str
    """As ``weft train`` knows it."""
    preset: str = "small"
    """Its size."""
    data: tuple[str, ...] = ()
    """Corpora, as ``weft train --data``; the recipe's own where there are none."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of all arms, as ``weft train --set`` takes them."""
    arms: Mapping[str, Mapping[str, str]]
    """Settings by name of arm, over those of all; the table has their order."""
    baseline: str
    """The arm that all others are compared with."""
    seeds: tuple[int, ...]
    """Each arm is trained with each, >= 0."""
    measures: Mapping[str, Better]
    """What the table shows of `Recipe.items`, and which direction is better."""

    def __post_init__(self) -> None:
        """Check that all of it fits together."""
        if not 1 <= len(self.arms) <= MAX_ARMS:
            raise ConfigError(f"arms must be 1 to {MAX_ARMS}, got {len(self.arms)}")
        folders: dict[str, str] = {}
        for name in self.arms:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"the name of an arm must be 1 to 60 characters without | or `, got {name!r}"
                )
            other = folders.setdefault(folder_name(name), name)
            if other != name:
                raise ConfigError(
                    f"arms {other!r} and {name!r} would share the folder {folder_name(name)}; "
                    "rename one"
                )
        if self.baseline not in self.arms:
            raise ConfigError(
                f"baseline must be one of the arms ({', '.join(self.arms)}), got {self.baseline!r}"
            )
        if not 1 <= len(self.seeds) <= MAX_SEEDS or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(
                f"seeds must be 1 to {MAX_SEEDS} different numbers, got {list(self.seeds)}"
            )
        if not all(0 <= seed < 2**31 for seed in self.seeds):
            raise ConfigError(f"seeds must be in [0, 2^31), got {list(self.seeds)}")
        if not self.measures:
            raise ConfigError("measures must name at least one figure of the recipe")
        for name, better in self.measures.items():
            _check_measure(name, better)
        for where, settings in (("settings", self.settings), *self.arms.items()):
            if "seed" in settings:
                raise ConfigError(f"{where} sets seed; list it in seeds, which all arms share")

    def overrides(self, arm: str, seed: int) -> dict[str, str]:
        """Return the settings of one run, as `weft.train.registry.make_recipe` takes them."""
        return {**self.settings, **self.arms[arm], "seed": str(seed)}

    def runs(self) -> list[tuple[str, int]]:
        """Return arm and seed of all runs; whole seeds first, so that pairs are early complete."""
        order = [self.baseline, *(arm for arm in self.arms if arm != self.baseline)]
        return [(arm, seed) for seed in self.seeds for arm in order]


def folder_name(arm: str) -> str:
    """Return an arm's name as the name of a folder.

    Example:
        >>> folder_name("spans, p0 0.6")
        'spans-p0-0.6'
    """
    return re.sub(r"[^A-Za-z0-9_.+]+", "-", arm).strip("-.") or "arm"


def read_spec(path: Path) -> ExperimentSpec:
    """Read an experiment from a TOML file.

    Raises:
        ConfigError: the file is not there, is no TOML, or a value in it cannot be used; the message
            names the file and the value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the experiment {path}: {error}") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}; {_LAYOUT}") from error
    try:
        return _parse(found, path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_measure(name: str, better: str) -> None:
    if not _MEASURE.fullmatch(name) or better not in ("lower", "higher"):
        raise ConfigError(
            'a measure is NAME = "lower" or NAME = "higher", with letters, digits and _-./ in its '
            f"name; got {name!r} = {better!r}"
        )


def _parse(found: dict[str, Any], path: Path) -> ExperimentSpec:
    known: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "title": ("a text", _is_text),
        "about": ("a text", _is_text),
        "recipe": ("a text", _is_text),
        "preset": ("a text", _is_text),
        "data": ("a list of texts", lambda x: isinstance(x, list) and all(map(_is_text, x))),
        "settings": ("a table", _is_table),
        "arms": (
            "a table of tables",
            lambda x: _is_table(x) and all(map(_is_table, x.values())),
        ),
        "baseline": ("a text", _is_text),
        "seeds": ("a list of whole numbers", _is_seeds),
        "measures": ("a table of texts", lambda x: _is_table(x) and all(map(_is_text, x.values()))),
    }
    if strange := sorted({*found} - {*known}):
        raise ConfigError(
            f"there is no {strange[0]!r} in an experiment; it may have {', '.join(known)}"
        )
    for name, (kind, is_good) in known.items():
        if name in found and not is_good(found[name]):
            raise ConfigError(f"{name} must be {kind}, got {found[name]!r}")
    needed = ("recipe", "seeds", "arms", "measures")
    if missing := [name for name in needed if name not in found]:
        raise ConfigError(f"{', '.join(missing)} missing; {_LAYOUT}")
    arms = {name: _texts(f"arms.{name}", table) for name, table in found["arms"].items()}
    for name, better in found["measures"].items():
        _check_measure(name, better)
    return ExperimentSpec(
        title=found.get("title", path.stem),
        about=found.get("about", "").strip(),
        recipe=found["recipe"],
        preset=found.get("preset", "small"),
        data=tuple(found.get("data", ())),
        settings=_texts("settings", found.get("settings", {})),
        arms=arms,
        baseline=found.get("baseline", next(iter(arms), "")),
        seeds=tuple(found["seeds"]),
        measures=found["measures"],
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_seeds(value: object) -> bool:
    return isinstance(value, list) and all(type(seed) is int for seed in value)


def _texts(where: str, table: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as texts, those of tables in tables by names with dots."""
    found: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": text for key, text in _texts(where, value).items()}
        else:
            found[name] = _text(f"{where}.{name}", value)
    return found


def _text(where: str, value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(x, _SETTING_KINDS) for x in value):
        return ",".join(_text(where, item) for item in value)
    if not isinstance(value, _SETTING_KINDS):
        raise ConfigError(f"{where} must be a number, a text, true, false or a list, got {value!r}")
    return str(value).lower() if isinstance(value, bool) else str(value)
