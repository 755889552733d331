"""Token models as folders: codec, network and settings, checked before anything is allocated."""

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import nn

from weft.codecs.base import TokenCodec
from weft.codecs.wavtokenizer import KIND as CODEC_KIND
from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig
from weft.errors import ConfigError
from weft.heads.categorical import Prediction
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.sampling.model_folder import (
    build_settings,
    check_card,
    read_card,
    read_modules,
    read_object,
    write_modules,
)
from weft.sampling.steps_masked import MaskedSamplerConfig
from weft.sampling.token_filler import TokenFiller, check_vocabulary
from weft.sampling.token_settings import TokenFillerConfig

KIND: Final = "tokens"
"""Key of such models in ``model.json``."""

_CODECS: Final[Mapping[str, type[WavTokenizerConfig]]] = {CODEC_KIND: WavTokenizerConfig}
_PARTS: Final = ("codec", "network")


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
        check_card(self.name, (self.summary, self.good_for), self.sources)

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
        codec = read_object(found, "codec")
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
            network=build_settings(TokenDitConfig, read_object(found, "network"), "network"),
            prediction=found.get("prediction", ""),
            is_legacy_mask=found["is_legacy_mask"],
            sampler=build_settings(MaskedSamplerConfig, read_object(found, "sampler"), "sampler"),
            filler=build_settings(TokenFillerConfig, read_object(found, "filler"), "filler"),
            **read_card(read_object(found, "card")),
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
    return write_modules(
        folder,
        settings=config.to_json(),
        parts={
            "codec": (codec, codec.config, config.codec),
            "network": (network, network.config, config.network),
        },
        dtype=dtype,
        facts=facts,
    )


def read_token_model(folder: Path) -> TokenModel:
    """Return the token model of a folder, on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: the folder holds none, it is damaged, its parts do not fit together, or it
            is larger than any token model.
    """
    config, modules = read_modules(folder, TokenModelConfig.from_json, _modules, what="token model")
    codec, network = (modules[part] for part in _PARTS)
    assert isinstance(codec, TokenCodec) and isinstance(network, TokenDit)  # noqa: PT018
    return TokenModel(config=config, codec=codec, network=network)


def _modules(config: TokenModelConfig) -> dict[str, nn.Module]:
    return {"codec": WavTokenizer(config.codec), "network": TokenDit(config.network)}
