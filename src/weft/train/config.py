"""Settings of the training loop, and the two schedules that follow from them."""

import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, final

from weft.errors import ConfigError

Schedule = Literal["wsd", "cosine", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]

FREE = (
    "log_every",
    "validate_every",
    "save_every",
    "keep_checkpoints",
    "max_bad_steps",
    "num_workers",
)
"""Settings that no weight depends on: a run may be resumed with others."""


@final
@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how fast and how carefully to train; knows nothing of what is trained."""

    steps: int
    """Optimiser steps of the whole run, >= 1."""
    batch_size: int
    """Examples of a step, over all processes and micro-batches, >= 1."""
    accumulation: int = 1
    """Micro-batches of a step; divides ``batch_size``."""
    learning_rate: float = 1e-3
    """Of AdamW, at its height, in (0, 1]."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decays of AdamW's averages, each in [0, 1)."""
    weight_decay: float = 0.01
    """Of AdamW, per unit of learning rate, in [0, 1]; never on norms, biases and other vectors."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly, in [0, steps]."""
    schedule: Schedule = "wsd"
    """wsd: stable, then linear to nothing over the last part; cosine: down from the start."""
    decay_fraction: float = 0.2
    """Last part of the steps over which wsd decays, in [0, 1]."""
    clip_norm: float = 1.0
    """Largest norm of an objective's gradient, > 0; infinity for no limit."""
    ema_decay: float = 0.999
    """Of the averaged weights, in [0, 1); 0 keeps the last weights. Rises from 0.1 at first."""
    precision: Precision = "auto"
    """bfloat16 is autocast: weights and optimiser stay float32. auto: where the device gains."""
    seed: int = 0
    """Of weights, order, examples and noise, >= 0."""
    log_every: int = 10
    """Steps between lines of the log, which hold means over them, >= 1."""
    validate_every: int = 0
    """Steps between validations, 0 for one at the end only."""
    save_every: int = 500
    """Steps between checkpoints, >= 1; there is one at every stop, too."""
    keep_checkpoints: int = 2
    """How many are kept, >= 1; the one before the last is there should the last be damaged."""
    max_bad_steps: int = 10
    """Steps in a row with NaN or infinity, which are left out, before the run stops, >= 1."""
    num_workers: int = 0
    """Threads that make examples ahead, 0 for none; no number depends on it."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every", "save_every"):
            _check(self, name, lambda x: 1 <= x < 2**31, "in [1, 2^31)")
        for name in ("warmup_steps", "validate_every", "seed"):
            _check(self, name, lambda x: 0 <= x < 2**31, "in [0, 2^31)")
        for name in ("keep_checkpoints", "max_bad_steps"):
            _check(self, name, lambda x: 1 <= x <= 1_000_000, "in [1, 1000000]")
        _check(self, "num_workers", lambda x: 0 <= x <= 256, "in [0, 256]")
        _check(self, "learning_rate", lambda x: 0 < x <= 1, "in (0, 1]")
        _check(self, "weight_decay", lambda x: 0 <= x <= 1, "in [0, 1]")
        _check(self, "decay_fraction", lambda x: 0 <= x <= 1, "in [0, 1]")
        _check(self, "clip_norm", lambda x: x > 0, "> 0")
        _check(self, "ema_decay", lambda x: 0 <= x < 1, "in [0, 1)")
        _check(self, "schedule", typing.get_args(Schedule).__contains__, typing.get_args(Schedule))
        _check(
            self, "precision", typing.get_args(Precision).__contains__, typing.get_args(Precision)
        )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must be two numbers in [0, 1), got {self.betas}")
        if self.warmup_steps > self.steps:
            raise ConfigError(
                f"warmup_steps must be at most steps, got {self.warmup_steps} of {self.steps}"
            )
        if self.batch_size % self.accumulation:
            raise ConfigError(
                f"accumulation must divide batch_size, got {self.accumulation} and "
                f"{self.batch_size}"
            )

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        It depends on steps only, so that a limit on time changes nothing.

        Example:
            >>> config = LoopConfig(steps=100, batch_size=1, learning_rate=0.5, warmup_steps=10)
            >>> [config.learning_rate_at(step) for step in (0, 9, 79, 80, 90, 99)]
            [0.05, 0.5, 0.5, 0.5, 0.25, 0.025]
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        factor = 1.0
        if self.schedule == "wsd":
            num_decay = max(1, round(self.steps * self.decay_fraction))
            if self.decay_fraction > 0:
                factor = min(1.0, (self.steps - step) / num_decay)
        elif self.schedule == "cosine":
            done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
            factor = 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * factor

    def ema_decay_at(self, num_updates: int) -> float:
        """Return the decay of the averaged weights after so many updates before this one.

        It rises as (1 + n) / (10 + n), so that the first weights are soon forgotten.

        Example:
            >>> config = LoopConfig(steps=100, batch_size=1, ema_decay=0.999)
            >>> config.ema_decay_at(0), config.ema_decay_at(90), config.ema_decay_at(10**6)
            (0.1, 0.91, 0.999)
        """
        return min(self.ema_decay, (1 + num_updates) / (10 + num_updates))

    def differences(self, before: Mapping[str, Any], *, done: int) -> list[str]:
        """Say which settings forbid going on with a run that was begun with others.

        Args:
            before: what `to_config` returned then.
            done: steps done since.

        Returns:
            ``"name was A, now B"`` each. Another number of steps is no difference as long as the
            learning rates of the steps done would have been the same.
        """
        now = self.to_config()
        other = [
            name
            for name in sorted({*now, *before} - {*FREE})
            if name not in now or name not in before or now[name] != before[name]
        ]
        if "steps" in other and "steps" in before and len(other) == 1 and done <= self.steps:
            then = replace(self, steps=max(before["steps"], self.warmup_steps))
            if all(self.learning_rate_at(i) == then.learning_rate_at(i) for i in range(done)):
                other = []
        return [f"{name} was {before.get(name)}, now {now.get(name)}" for name in other]

    def to_config(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {**asdict(self), "betas": list(self.betas)}


def _check(config: LoopConfig, name: str, is_good: Any, bound: object) -> None:
    value = getattr(config, name)
    if not is_good(value):
        raise ConfigError(f"{name} must be {bound}, got {value!r}")


_Config = typing.TypeVar("_Config")


def set_fields(config: _Config, texts: Mapping[str, str]) -> tuple[_Config, dict[str, str]]:
    """Replace fields of a config by values given as text, as on the command line.

    Args:
        config: a dataclass whose fields are numbers, texts, booleans or tuples of them.
        texts: values by name of field; a tuple is written with commas.

    Returns:
        The config with what was replaced, and the texts that name none of its fields.

    Raises:
        ConfigError: a text is no value of its field's type.

    Example:
        >>> base = LoopConfig(steps=10, batch_size=2)
        >>> config, rest = set_fields(base, {"steps": "20", "betas": "0.8,0.9", "width": "64"})
        >>> config.steps, config.betas, rest
        (20, (0.8, 0.9), {'width': '64'})
    """
    hints = typing.get_type_hints(type(config))
    own, rest = split_fields(type(config), texts)
    values = {name: _parse(name, text, hints[name]) for name, text in own.items()}
    return (replace(typing.cast("Any", config), **values) if values else config), rest


def split_fields(kind: type, texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Part texts into those that name a field of a dataclass, and the others."""
    names = {field.name for field in fields(kind)}
    own = {name: text for name, text in texts.items() if name in names}
    return own, {name: text for name, text in texts.items() if name not in names}


def _parse(name: str, text: str, hint: Any) -> Any:
    """Read a value of a type from a text."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if text in inner:
            return text
        raise ConfigError(f"{name} must be one of {', '.join(map(str, inner))}, got {text!r}")
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")]
        kinds = inner[:1] * len(parts) if inner[1:] == (...,) else inner
        if len(kinds) != len(parts):
            raise ConfigError(f"{name} must be {len(kinds)} values with commas, got {text!r}")
        return tuple(_parse(name, part, kind) for part, kind in zip(parts, kinds, strict=True))
    if type(None) in inner:
        wanted = next(kind for kind in inner if kind is not type(None))
        return None if text.lower() == "none" else _parse(name, text, wanted)
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ConfigError(f"{name} must be true or false, got {text!r}")
    try:
        return hint(text)
    except (TypeError, ValueError) as error:
        kind = {"int": "a whole number", "float": "a number"}.get(hint.__name__, hint.__name__)
        raise ConfigError(f"{name} must be {kind}, got {text!r}") from error
