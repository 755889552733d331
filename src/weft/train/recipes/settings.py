"""What recipes do alike with the settings they are given as text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from weft.errors import ConfigError
from weft.train.config import LoopConfig, set_fields, split_fields

_Config = TypeVar("_Config")

OTHER_SHARE = 0.25
"""Share in an epoch of a corpus that a recipe has no share for."""


def preset_of(
    presets: Mapping[str, tuple[_Config, LoopConfig]], name: str
) -> tuple[_Config, LoopConfig]:
    """Return a size of a recipe and the settings of its loop.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in presets:
        raise ConfigError(f"no preset {name!r}; presets are {', '.join(presets)}")
    return presets[name]


def apply_settings(
    config: _Config,
    texts: Mapping[str, str],
    *,
    recipe: str,
    parts: Sequence[str],
    data: Sequence[str] = (),
    shares: Mapping[str, float],
) -> _Config:
    """Return a recipe's config with settings replaced.

    Args:
        config: a dataclass with a field ``corpora``.
        texts: settings as text, by the name of a field of the config or of one of its parts.
        recipe: its name, for messages.
        parts: fields that are dataclasses themselves; the first that has a field of a name gets it.
        data: corpora in place of the config's own.
        shares: of corpora in an epoch; others get `OTHER_SHARE`.

    Raises:
        ConfigError: no such setting, or a value out of range.
    """
    changed: dict[str, Any] = {}
    rest = dict(texts)
    for name in parts:
        changed[name], rest = set_fields(getattr(config, name), rest)
    own, rest = split_fields(type(config), rest)
    for name in sorted({*own} & {*parts, "corpora"}):
        raise ConfigError(f"{name} is no single value; set its parts, or corpora with --data")
    if data:
        changed["corpora"] = {name: shares.get(name, OTHER_SHARE) for name in data}
    found, _ = set_fields(replace(config, **changed), own)  # type: ignore[type-var]
    if rest:
        raise ConfigError(f"the recipe {recipe} has no setting {', '.join(sorted(rest))}")
    return found
