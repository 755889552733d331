"""Latent models as folders: codec, network, process and settings, checked before anything is
allocated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from weft.canvas.style import Style
from weft.codecs.base import LatentCodec
from weft.codecs.vae import KIND as CODEC_KIND
from weft.codecs.vae import Vae, VaeConfig
from weft.errors import ConfigError
from weft.nn.dit import Dit, DitConfig
from weft.process.gaussian import (
    CosineSchedule,
    FlowSchedule,
    GaussianProcess,
    GaussianSchedule,
    TableSchedule,
)
from weft.sampling.guidance import GuidanceConfig, Weighted
from weft.sampling.latent_condition import num_condition
from weft.sampling.latent_filler import LatentFiller, StyleLossFn
from weft.sampling.latent_settings import (
    CONDITIONAL,
    GUIDED,
    LatentFillerConfig,
    LatentSampling,
)
from weft.sampling.model_folder import (
    build_settings,
    check_card,
    read_card,
    read_modules,
    read_object,
    read_setting,
    write_modules,
)
from weft.sampling.steps_gaussian import GaussianSamplerConfig

KIND: Final = "latent"
"""Key of such models in ``model.json``."""

_CODECS: Final[Mapping[str, type[VaeConfig]]] = {CODEC_KIND: VaeConfig}
_SCHEDULES: Final[Mapping[str, type[GaussianSchedule]]] = {
    "cosine": CosineSchedule,
    "flow": FlowSchedule,
    "table": TableSchedule,
}


@final
@dataclass(frozen=True, kw_only=True)
class LatentModelConfig:
    """Everything that a latent model is, but its weights."""

    codec: VaeConfig
    """Turns sound into latents and back; of one channel."""
    network: DitConfig
    """Denoises latents; its features are the codec's, and its condition that of
    `weft.sampling.latent_condition`, or none."""
    process: GaussianProcess = field(default_factory=GaussianProcess)
    """How its output is to be read."""
    sampling: LatentSampling = CONDITIONAL
    """How latents are drawn with a network that is told what is known."""
    guided: LatentSampling = GUIDED
    """How latents are drawn with a network that is told nothing, or where a style pulls."""
    free: LatentSampling = GUIDED
    """How latents are drawn where there is nothing to tell."""
    filler: LatentFillerConfig = field(default_factory=LatentFillerConfig)
    """How gaps are filled unless asked otherwise."""
    name: str = "latent"
    """In tables and receipts; letters, digits and ``-_.``, at most 64."""
    summary: str = "denoises latents of a codec, given those on both sides and drafts"
    """One line: how it works."""
    good_for: str = "gaps of 100 ms to 2 s"
    """One line: when to use it."""
    sources: tuple[str, ...] = (
        "Levy et al. 2023, Controllable music production with diffusion models and guidance "
        "gradients",
    )
    """Publications, at most 16."""

    def __post_init__(self) -> None:
        sizes = self.codec.sizes
        if sizes.num_channels != 1:
            raise ConfigError(f"the codec must take one channel, got {sizes.num_channels}")
        if self.network.num_features != sizes.num_features:
            raise ConfigError(
                f"the codec has {sizes.num_features} features and the network "
                f"{self.network.num_features}: they were not made for each other"
            )
        wanted = (0, num_condition(sizes.num_features))
        if self.network.num_condition not in wanted:
            raise ConfigError(
                f"the network's num_condition must be one of {wanted}, got "
                f"{self.network.num_condition}"
            )
        if not self.network.num_condition and self.filler.mode != "guided":
            raise ConfigError("a network without a condition can only be guided: set filler.mode")
        if self.process.variance == "learned-range":
            raise ConfigError("variance 'learned-range' is for networks with two outputs a feature")
        check_card(self.name, (self.summary, self.good_for), self.sources)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as ``model.json`` holds them."""
        kinds = {kind: name for name, kind in _SCHEDULES.items()}
        schedule = self.process.schedule
        return {
            "kind": KIND,
            "codec": self.codec.to_json(),
            "network": asdict(self.network),
            "process": {
                "schedule": {"kind": kinds[type(schedule)], **asdict(schedule)},  # type: ignore[call-overload]
                "prediction": self.process.prediction,
                "variance": self.process.variance,
            },
            "sampling": asdict(self.sampling),
            "guided": asdict(self.guided),
            "free": asdict(self.free),
            "filler": asdict(self.filler),
            "card": {
                "name": self.name,
                "summary": self.summary,
                "good_for": self.good_for,
                "sources": list(self.sources),
            },
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LatentModelConfig":
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
        return cls(
            codec=_CODECS[codec["kind"]].from_json(codec),
            network=build_settings(DitConfig, read_object(found, "network"), "network"),
            process=_read_process(read_object(found, "process")),
            sampling=_read_sampling(read_object(found, "sampling"), "sampling"),
            guided=_read_sampling(read_object(found, "guided"), "guided"),
            free=_read_sampling(read_object(found, "free"), "free"),
            filler=build_settings(LatentFillerConfig, read_object(found, "filler"), "filler"),
            **read_card(read_object(found, "card")),
        )


@final
@dataclass(frozen=True, kw_only=True)
class LatentModel:
    """A codec and a network that was trained on its latents."""

    config: LatentModelConfig
    """What they are."""
    codec: LatentCodec
    """In eval mode."""
    network: Dit
    """In eval mode."""

    def to_filler(
        self,
        *,
        sampling: LatentSampling | None = None,
        config: LatentFillerConfig | None = None,
        style_losses: StyleLossFn | None = None,
        name: str | None = None,
    ) -> LatentFiller:
        """Return what fills gaps with it.

        Args:
            sampling: how latents are drawn; as the model says for the mode unless given.
            config: everything else; as the model says unless given.
            style_losses: what pulls a fill towards a style; the package's embedder hears it unless
                given.
            name: the model's own unless given.
        """
        settings = config or self.config.filler
        is_told = settings.mode == "conditional"
        return LatentFiller(
            self.codec,
            self.network,
            self.config.process,
            sampling=sampling or (self.config.sampling if is_told else self.config.guided),
            free=self.config.free if is_told else self.config.guided,
            pulled=self.config.guided,
            config=settings,
            style_losses=style_losses or _shipped_style_losses,
            name=name or self.config.name,
        )


def _shipped_style_losses(style: Style, codec: LatentCodec, known: Tensor) -> Sequence[Weighted]:
    """Hear with the package's embedder; what it needs is imported when a style asks for it."""
    from weft.sampling.style import style_losses

    return style_losses(style, codec, known)


def write_latent_model(
    folder: Path,
    *,
    config: LatentModelConfig,
    codec: Vae,
    network: Dit,
    dtype: torch.dtype | None = torch.float16,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Write a latent model; a card for people, ``README.md``, is the caller's.

    Args:
        folder: exists; a model that is there is replaced.
        config: settings, those of codec and network among them.
        codec: trained; its weights are stored with it.
        network: trained on the codec's latents.
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


def read_latent_model(folder: Path) -> LatentModel:
    """Return the latent model of a folder, on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: the folder holds none, it is damaged, its parts do not fit together, or it
            is larger than any model.
    """
    config, modules = read_modules(
        folder, LatentModelConfig.from_json, _modules, what="latent model"
    )
    codec, network = modules["codec"], modules["network"]
    assert isinstance(codec, LatentCodec) and isinstance(network, Dit)  # noqa: PT018
    return LatentModel(config=config, codec=codec, network=network)


def _modules(config: LatentModelConfig) -> dict[str, nn.Module]:
    return {"codec": Vae(config.codec), "network": Dit(config.network)}


def _read_process(found: Mapping[str, Any]) -> GaussianProcess:
    schedule = {**read_object(found, "schedule")}
    kind = schedule.pop("kind", None)
    if kind not in _SCHEDULES:
        raise ConfigError(f"its schedule is {kind!r}; known are: {', '.join(_SCHEDULES)}")
    built = build_settings(_SCHEDULES[kind], schedule, "schedule")
    rest = {name: value for name, value in found.items() if name != "schedule"}
    if other := sorted({*rest} - {"prediction", "variance"}):
        raise ConfigError(f"process has an unknown setting {other[0]!r}")
    if not all(isinstance(value, str) for value in rest.values()):
        raise ConfigError(f"prediction and variance of a process must be texts, got {rest}")
    return GaussianProcess(schedule=built, **rest)


def _read_sampling(found: Mapping[str, Any], part: str) -> LatentSampling:
    sampler = read_object(found, "sampler")
    guidance = read_object(found, "guidance")
    return LatentSampling(
        sampler=build_settings(GaussianSamplerConfig, sampler, f"{part}.sampler"),
        guidance=build_settings(GuidanceConfig, guidance, f"{part}.guidance"),
        gains=read_setting(
            f"{part}.gains", found.get("gains", []), tuple[tuple[float, float], ...]
        ),
    )
