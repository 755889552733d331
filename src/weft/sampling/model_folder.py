"""Folders of models that have several networks: their settings as JSON, their weights, their cards.

All is checked before memory is taken for it.
"""

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from weft.checkpoint import read_config, read_tensors, table_of, write_model
from weft.errors import CheckpointError, ConfigError

_SLACK: Final = 4_000_000
"""Numbers that a network may hold beside its weights: windows, filters."""
_SPARED: Final = "kaiming_uniform_"
"""The dearest initialiser. Not ``normal_`` or ``uniform_``: `torch.nn.init.trunc_normal_` draws by
them until all is within bounds, and would never end."""
_ALLOCATORS: Final = frozenset({torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand})
_MAX_TEXT = 2000
_MAX_SOURCES = 16
_Config = TypeVar("_Config")


def check_card(name: str, texts: tuple[str, ...], sources: tuple[str, ...]) -> None:
    """Check what a card says.

    Args:
        name: of the model; letters, digits and ``-_.``, at most 64.
        texts: lines for people.
        sources: publications, at most 16.

    Raises:
        ConfigError: a text is too long, or the name holds what a name cannot.
    """
    is_plain = name.isascii() and name.translate(str.maketrans("", "", "-_.")).isalnum()
    if not is_plain or len(name) > 64:
        raise ConfigError(f"name must be at most 64 letters, digits, '-', '_' or '.', got {name!r}")
    if len(sources) > _MAX_SOURCES or any(len(text) > _MAX_TEXT for text in (*texts, *sources)):
        raise ConfigError(
            f"summary, good_for and at most {_MAX_SOURCES} sources must have at most {_MAX_TEXT} "
            "letters"
        )


def read_object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object within an object.

    Raises:
        ConfigError: it is missing, or something else.
    """
    value = found.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be an object, got {value!r}")
    return value


def read_card(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, summary, good_for and sources of a card.

    Raises:
        ConfigError: one of them is no text.
    """
    names = ("name", "summary", "good_for")
    sources = found.get("sources", [])
    texts = [found.get(name) for name in names]
    if not isinstance(sources, list) or not all(isinstance(t, str) for t in [*texts, *sources]):
        raise ConfigError(f"card must hold the texts {', '.join(names)} and a list of sources")
    return {**dict(zip(names, texts, strict=True)), "sources": tuple(sources)}


def build_settings(kind: Callable[..., _Config], found: Mapping[str, Any], part: str) -> _Config:
    """Build a config from JSON: every field known, and of its type; ranges are its own matter.

    Args:
        kind: a dataclass of numbers, texts, and tuples of these.
        found: as `dataclasses.asdict` gave it; fields with defaults may be left out.
        part: what to call it in errors.

    Raises:
        ConfigError: a field is unknown, of another type or out of range.
    """
    hints = typing.get_type_hints(kind)
    names = {item.name for item in fields(typing.cast("Any", kind))}
    if other := sorted({*found} - names):
        raise ConfigError(f"{part} has an unknown setting {other[0]!r}")
    values = {
        name: read_setting(f"{part}.{name}", value, hints[name]) for name, value in found.items()
    }
    return kind(**values)


def _tensors_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the weights of several networks, each name behind its network's and a dot."""
    return {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }


def write_modules(
    folder: Path,
    *,
    settings: Mapping[str, Any],
    parts: Mapping[str, tuple[nn.Module, object, object]],
    dtype: torch.dtype | None,
    facts: Mapping[str, Any] | None,
) -> str:
    """Write a model of several networks.

    Args:
        folder: exists; a model that is there is replaced.
        settings: of the model, as JSON.
        parts: each network by name, the settings it was built from, and those the model says.
        dtype: to store weights in; None: as they are.
        facts: JSON to stand in ``model.json`` under ``facts``: data, steps, digests.

    Returns:
        The model's digest.

    Raises:
        ConfigError: a network is not what the settings say.
        CheckpointError: a weight is not finite, perhaps only in ``dtype``.
        OutputError: it cannot be written.
    """
    for name, (_, own, wanted) in parts.items():
        if own != wanted:
            raise ConfigError(f"the {name} was built from other settings than the model's: {own}")
    tensors = _tensors_of({name: module for name, (module, _, _) in parts.items()})
    config = {**settings, "facts": dict(facts or {})}
    return write_model(folder, config=config, tensors=tensors, dtype=dtype)


def read_modules(
    folder: Path,
    read: Callable[[Mapping[str, Any]], _Config],
    make: Callable[[_Config], Mapping[str, nn.Module]],
    *,
    what: str,
) -> tuple[_Config, dict[str, nn.Module]]:
    """Return settings and networks of a folder, on the CPU, in float32 and eval mode.

    Args:
        folder: with ``model.json``.
        read: settings from JSON.
        make: networks with random weights, by the names they are stored under.
        what: kind of model, for errors.

    Raises:
        CheckpointError: the folder holds none, it is damaged, its parts do not fit together, or it
            is larger than any model.
    """
    found = read_config(folder)
    num_bytes = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    try:
        config = read(found)
        with torch.random.fork_rng(devices=[]), _Sparing(num_bytes + _SLACK):
            modules = dict(make(config))
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / 'model.json'} holds no {what} that can be used: {error}"
        ) from error
    table = {
        f"{part}.{name}": facts
        for part, module in modules.items()
        for name, facts in table_of(module).items()
    }
    tensors = read_tensors(folder, table)
    for part, module in modules.items():
        prefix = f"{part}."
        own = {
            name.removeprefix(prefix): tensors.pop(name)
            for name in table
            if name.startswith(prefix)
        }
        module.load_state_dict(own, assign=True)
        module.eval().requires_grad_(False)
    return config, modules


@final
class _Sparing(TorchFunctionMode):
    """Networks are built without drawing most weights that are to be read, and none too large.

    The device "meta" would do as well, but for what torch imports to calculate on it: more than a
    second.
    """

    def __init__(self, limit: int) -> None:
        """Start at nothing.

        Args:
            limit: numbers that may be allocated.
        """
        super().__init__()
        self.limit = self.left = limit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what is allocated, and leave it as it is."""
        given = kwargs or {}
        if getattr(func, "__name__", "") == _SPARED:
            return args[0] if args else given["tensor"]
        if func in _ALLOCATORS:
            self.left -= math.prod(_lengths(args, given))
            if self.left < 0:
                raise ConfigError(
                    f"it describes more than {self.limit:,} weights, its files hold fewer"
                )
        return func(*args, **given)


def _lengths(args: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the lengths of the axes that an allocation asks for."""
    wanted = args or (given["size"],)
    return (
        tuple(wanted[0])
        if isinstance(wanted[0], tuple | list)
        else tuple(axis for axis in wanted if isinstance(axis, int))
    )


def read_setting(name: str, value: Any, hint: Any) -> Any:
    """Return a value of JSON as its field has it.

    Args:
        name: what to call it in errors.
        value: as it stands in the file.
        hint: the field's type: a number, a text, a truth value, or tuples of these.

    Raises:
        ConfigError: it is of another type.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(read_setting(name, item, inner[0]) for item in value)
    if type(None) in inner:
        rest = next(kind for kind in inner if kind is not type(None))
        return None if value is None else read_setting(name, value, rest)
    allowed: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,)}
    wanted = allowed.get(hint, (str,))
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        kind = {float: "a number", int: "a whole number", bool: "true or false"}.get(hint, "a text")
        raise ConfigError(f"{name} must be {kind}, got {value!r}")
    return float(typing.cast("float", value)) if hint is float else value
