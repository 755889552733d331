"""Token models as folders: codec, network and settings, checked before anything is allocated."""

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, final

import torch
from torch import nn

from weft.checkpoint import TensorFacts, read_config, read_tensors, table_of, write_model
from weft.codecs.base import TokenCodec
from weft.codecs.wavtokenizer import KIND as CODEC_KIND
from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig
from weft.errors import CheckpointError, ConfigError
from weft.heads.categorical import Prediction
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.sampling.steps_masked import MaskedSamplerConfig
from weft.sampling.token_filler import TokenFiller, check_vocabulary
from weft.sampling.token_settings import TokenFillerConfig

KIND: Final = "tokens"
"""Key of such models in ``model.json``."""
MAX_NUMBERS: Final = 4_000_000_000
"""No token model has more weights: sixteen times the largest that was published."""

_CODECS: Final[Mapping[str, type[WavTokenizerConfig]]] = {CODEC_KIND: WavTokenizerConfig}
_PARTS: Final = ("codec", "network")
_MAX_TEXT = 2000
_Config = TypeVar("_Config")


@final
@dataclass(frozen=True, kw_only=True)
class TokenModelConfig:
    """Everything that a token model is, but its weights."""

    codec: WavTokenizerConfig
    """Turns sound into tokens and back."""
    network: TokenDitConfig
    """Scores tokens; its symbols are the codec's tokens."""
    prediction: Prediction = "logits"
    """What the network's output means."""
    is_legacy_mask: bool = False
    """Whether the absorbing state took the codec's last token, as in the release of AIDD. The
    network then has one symbol fewer than the codec has tokens; else as many."""
    sampler: MaskedSamplerConfig = field(default_factory=MaskedSamplerConfig)
    """How tokens are drawn unless asked otherwise."""
    filler: TokenFillerConfig = field(default_factory=TokenFillerConfig)
    """How gaps are filled unless asked otherwise."""
    name: str = "tokens"
    """In tables and receipts; letters, digits and ``-_.``, at most 64."""
    summary: str = "draws tokens of a codec from the tokens on both sides"
    """One line: how it works."""
    good_for: str = "gaps of 100 ms to 1 s"
    """One line: when to use it."""
    sources: tuple[str, ...] = (
        "Dror et al. 2026, Token-based audio inpainting via discrete diffusion",
    )
    """Publications, at most 16."""

    def __post_init__(self) -> None:
        if self.prediction not in typing.get_args(Prediction):
            raise ConfigError(
                f"prediction must be one of {typing.get_args(Prediction)}, got {self.prediction!r}"
            )
        size, symbols = self.codec.quantiser.codebook_size, self.network.codebook_size
        check_vocabulary(size, symbols)
        if symbols != size - int(self.is_legacy_mask):
            raise ConfigError(
                f"the codec has {size} tokens and the network {symbols}; with is_legacy_mask "
                f"{self.is_legacy_mask} it must have {size - int(self.is_legacy_mask)}"
            )
        is_plain = (
            self.name.isascii()
            and self.name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        )
        if not is_plain or len(self.name) > 64:
            raise ConfigError(
                f"name must be at most 64 letters, digits, '-', '_' or '.', got {self.name!r}"
            )
        texts = (self.summary, self.good_for, *self.sources)
        if len(self.sources) > 16 or any(len(text) > _MAX_TEXT for text in texts):
            raise ConfigError(
                f"summary, good_for and at most 16 sources must have at most {_MAX_TEXT} letters"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as ``model.json`` holds them."""
        return {
            "kind": KIND,
            "codec": self.codec.to_json(),
            "network": asdict(self.network),
            "prediction": self.prediction,
            "is_legacy_mask": self.is_legacy_mask,
            "sampler": asdict(self.sampler),
            "filler": asdict(self.filler),
            "card": {
                "name": self.name,
                "summary": self.summary,
                "good_for": self.good_for,
                "sources": list(self.sources),
            },
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "TokenModelConfig":
        """Return the settings that `to_json` gave; what stands beside them is passed over.

        Raises:
            ConfigError: a setting is missing, unknown, of another type or out of range.
        """
        if found.get("kind") != KIND:
            raise ConfigError(f"its kind is {found.get('kind')!r}, not {KIND!r}")
        codec = _object(found, "codec")
        if codec.get("kind") not in _CODECS:
            raise ConfigError(
                f"its codec is of kind {codec.get('kind')!r}; known are: {', '.join(_CODECS)}"
            )
        if not isinstance(found.get("is_legacy_mask"), bool):
            raise ConfigError(
                f"is_legacy_mask must be true or false, got {found.get('is_legacy_mask')!r}"
            )
        return cls(
            codec=_CODECS[codec["kind"]].from_json(codec),
            network=_build(TokenDitConfig, _object(found, "network"), "network"),
            prediction=found.get("prediction", ""),
            is_legacy_mask=found["is_legacy_mask"],
            sampler=_build(MaskedSamplerConfig, _object(found, "sampler"), "sampler"),
            filler=_build(TokenFillerConfig, _object(found, "filler"), "filler"),
            **_card(_object(found, "card")),
        )


@final
@dataclass(frozen=True, kw_only=True)
class TokenModel:
    """A codec and a network that was trained on its tokens."""

    config: TokenModelConfig
    """What they are."""
    codec: TokenCodec
    """In eval mode."""
    network: TokenDit
    """In eval mode."""

    def to_filler(
        self,
        *,
        sampler: MaskedSamplerConfig | None = None,
        config: TokenFillerConfig | None = None,
    ) -> TokenFiller:
        """Return what fills gaps with it.

        Args:
            sampler: how tokens are drawn; as the model says unless given.
            config: everything else; as the model says unless given.
        """
        return TokenFiller(
            self.codec,
            self.network,
            prediction=self.config.prediction,
            sampler=sampler or self.config.sampler,
            config=config or self.config.filler,
            name=self.config.name,
        )


def write_token_model(
    folder: Path,
    *,
    config: TokenModelConfig,
    codec: WavTokenizer,
    network: TokenDit,
    dtype: torch.dtype | None = torch.float16,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Write a token model; a card for people, ``README.md``, is the caller's.

    Args:
        folder: exists; a model that is there is replaced.
        config: settings, those of codec and network among them.
        codec: trained; its weights are stored with it.
        network: trained on the codec's tokens.
        dtype: to store weights in; None: as they are.
        facts: JSON to stand in ``model.json`` under ``facts``: data, steps, digests.

    Returns:
        The model's digest.

    Raises:
        ConfigError: codec or network are not what the settings say.
        CheckpointError: a weight is not finite, perhaps only in ``dtype``.
        OutputError: it cannot be written.
    """
    for part, own, wanted in (
        ("codec", codec.config, config.codec),
        ("network", network.config, config.network),
    ):
        if own != wanted:
            raise ConfigError(f"the {part} was built from other settings than the model's: {own}")
    modules: dict[str, nn.Module] = {"codec": codec, "network": network}
    tensors = {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }
    settings = {**config.to_json(), "facts": dict(facts or {})}
    return write_model(folder, config=settings, tensors=tensors, dtype=dtype)


def read_token_model(folder: Path) -> TokenModel:
    """Return the token model of a folder, on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: the folder holds none, it is damaged, its parts do not fit together, or it
            is larger than any token model.
    """
    found = read_config(folder)
    try:
        config = TokenModelConfig.from_json(found)
        with torch.device("meta"):
            table = {
                f"{part}.{name}": facts
                for part, module in _modules(config).items()
                for name, facts in table_of(module).items()
            }
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / 'model.json'} holds no token model that can be used: {error}"
        ) from error
    _check_size(folder, table)
    tensors = read_tensors(folder, table)
    with torch.random.fork_rng(devices=[]):  # weights are drawn in vain, and disturb no one's draws
        modules = _modules(config)
    for part, module in modules.items():
        prefix = f"{part}."
        own = {
            name.removeprefix(prefix): tensors.pop(name)
            for name in table
            if name.startswith(prefix)
        }
        module.load_state_dict(own, assign=True)
        module.eval().requires_grad_(False)
    codec, network = (modules[part] for part in _PARTS)
    assert isinstance(codec, TokenCodec) and isinstance(network, TokenDit)  # noqa: PT018
    return TokenModel(config=config, codec=codec, network=network)


def _modules(config: TokenModelConfig) -> dict[str, nn.Module]:
    return {"codec": WavTokenizer(config.codec), "network": TokenDit(config.network)}


def _check_size(folder: Path, table: Mapping[str, TensorFacts]) -> None:
    total = sum(math.prod(facts.shape) for facts in table.values())
    if total > MAX_NUMBERS:
        raise CheckpointError(
            f"{folder / 'model.json'} describes {total:,} weights; more than {MAX_NUMBERS:,} "
            "cannot be right"
        )


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be an object, got {value!r}")
    return value


def _card(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a card, each a text."""
    names = ("name", "summary", "good_for")
    sources = found.get("sources", [])
    texts = [found.get(name) for name in names]
    if not isinstance(sources, list) or not all(isinstance(t, str) for t in [*texts, *sources]):
        raise ConfigError(f"card must hold the texts {', '.join(names)} and a list of sources")
    return {**dict(zip(names, texts, strict=True)), "sources": tuple(sources)}


def _build(kind: Callable[..., _Config], found: Mapping[str, Any], part: str) -> _Config:
    """Build a config from JSON: every field known, and of its type; ranges are its own matter."""
    hints = typing.get_type_hints(kind)
    names = {item.name for item in fields(typing.cast("Any", kind))}
    if other := sorted({*found} - names):
        raise ConfigError(f"{part} has an unknown setting {other[0]!r}")
    values = {name: _typed(f"{part}.{name}", value, hints[name]) for name, value in found.items()}
    return kind(**values)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value of JSON as its field has it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(name, item, inner[0]) for item in value)
    if type(None) in inner:
        rest = next(kind for kind in inner if kind is not type(None))
        return None if value is None else _typed(name, value, rest)
    allowed: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,)}
    wanted = allowed.get(hint, (str,))
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        kind = {float: "a number", int: "a whole number", bool: "true or false"}.get(hint, "a text")
        raise ConfigError(f"{name} must be {kind}, got {value!r}")
    return float(typing.cast("float", value)) if hint is float else value
