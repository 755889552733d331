"""Models of samples as folders, kinds ``waveform`` and ``cqt``: they differ in the network only."""

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import torch

from weft.errors import ConfigError
from weft.nn.cqt_unet import CqtUnet, CqtUnetConfig
from weft.nn.unet1d import WaveformUnet, WaveformUnetConfig
from weft.process.gaussian import CosineSchedule, FlowSchedule, GaussianProcess, Prediction
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.model_folder import (
    build_settings,
    check_card,
    read_card,
    read_modules,
    read_object,
    write_modules,
)
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_filler import WaveformFiller, WaveformNetwork
from weft.sampling.waveform_settings import WaveformFillerConfig

Schedule: TypeAlias = Literal["cosine", "flow"]
NetworkConfig: TypeAlias = WaveformUnetConfig | CqtUnetConfig

NETWORKS: Final[Mapping[str, tuple[type[NetworkConfig], type[WaveformNetwork]]]] = {
    "waveform": (WaveformUnetConfig, WaveformUnet),
    "cqt": (CqtUnetConfig, CqtUnet),
}
"""Settings and network by the kind of model."""
_SCHEDULES: Final = {"cosine": CosineSchedule, "flow": FlowSchedule}


@final
@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """The Gaussian process of a model of samples."""

    schedule: Schedule = "cosine"
    """How much noise there is at which time."""
    prediction: Prediction = "v"
    """What the network puts out."""

    def __post_init__(self) -> None:
        for name, kinds in (("schedule", Schedule), ("prediction", Prediction)):
            if getattr(self, name) not in typing.get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {typing.get_args(kinds)}, got {getattr(self, name)!r}"
                )

    def build(self) -> GaussianProcess:
        """Return the process."""
        return GaussianProcess(schedule=_SCHEDULES[self.schedule](), prediction=self.prediction)


@final
@dataclass(frozen=True, kw_only=True)
class WaveformModelConfig:
    """Everything that a model of samples is, but its weights."""

    network: NetworkConfig
    """Over folded samples, or over octaves; decides the kind."""
    sample_rate: int
    """That it was trained at, in [1000, 768000] Hz."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """That it was trained for."""
    sampler: GaussianSamplerConfig = field(default_factory=GaussianSamplerConfig)
    """Which steps are taken unless asked otherwise."""
    guidance: GuidanceConfig = field(default_factory=lambda: GuidanceConfig(step_size=3e-3))
    """How what is known enters unless asked otherwise."""
    filler: WaveformFillerConfig = field(default_factory=WaveformFillerConfig)
    """How gaps are filled unless asked otherwise."""
    name: str = "waveform"
    """In tables and receipts; letters, digits and ``-_.``, at most 64."""
    summary: str = "samples the sound itself, guided by both sides"
    """One line: how it works."""
    good_for: str = "comparison"
    """One line: when to use it."""
    sources: tuple[str, ...] = ()
    """Publications, at most 16."""

    def __post_init__(self) -> None:
        if not 1000 <= self.sample_rate <= 768_000:
            raise ConfigError(f"sample_rate must be in [1000, 768000] Hz, got {self.sample_rate}")
        check_card(self.name, (self.summary, self.good_for), self.sources)

    @property
    def kind(self) -> str:
        """Key of such models in ``model.json``."""
        return next(k for k, (config, _) in NETWORKS.items() if type(self.network) is config)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as ``model.json`` holds them."""
        return {
            "kind": self.kind,
            "sample_rate": self.sample_rate,
            "network": asdict(self.network),
            "process": asdict(self.process),
            "sampler": asdict(self.sampler),
            "guidance": asdict(self.guidance),
            "filler": asdict(self.filler),
            "card": {
                "name": self.name,
                "summary": self.summary,
                "good_for": self.good_for,
                "sources": list(self.sources),
            },
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "WaveformModelConfig":
        """Return the settings that `to_json` gave; what stands beside them is passed over.

        Raises:
            ConfigError: a setting is missing, unknown, of another type or out of range.
        """
        kind, rate = found.get("kind"), found.get("sample_rate")
        if not isinstance(kind, str) or kind not in NETWORKS:
            raise ConfigError(f"its kind is {kind!r}, none of {', '.join(NETWORKS)}")
        if not isinstance(rate, int) or isinstance(rate, bool):
            raise ConfigError(f"sample_rate must be a whole number, got {rate!r}")
        settings = build_settings(NETWORKS[kind][0], read_object(found, "network"), "network")
        return cls(
            network=typing.cast("NetworkConfig", settings),
            sample_rate=rate,
            process=build_settings(ProcessConfig, read_object(found, "process"), "process"),
            sampler=build_settings(GaussianSamplerConfig, read_object(found, "sampler"), "sampler"),
            guidance=build_settings(GuidanceConfig, read_object(found, "guidance"), "guidance"),
            filler=build_settings(WaveformFillerConfig, read_object(found, "filler"), "filler"),
            **read_card(read_object(found, "card")),
        )


@final
@dataclass(frozen=True, kw_only=True)
class WaveformModel:
    """A network of samples and its settings."""

    config: WaveformModelConfig
    """What it is."""
    network: WaveformNetwork
    """In eval mode."""

    def to_filler(
        self,
        *,
        sampler: GaussianSamplerConfig | None = None,
        guidance: GuidanceConfig | None = None,
        config: WaveformFillerConfig | None = None,
    ) -> WaveformFiller:
        """Return what fills gaps with it; settings are the model's unless given."""
        return WaveformFiller(
            self.network,
            sample_rate=self.config.sample_rate,
            process=self.config.process.build(),
            sampler=sampler or self.config.sampler,
            guidance=guidance or self.config.guidance,
            config=config or self.config.filler,
            name=self.config.name,
        )


def build_network(config: NetworkConfig) -> WaveformNetwork:
    """Return a network, initialised from torch's current generator."""
    if isinstance(config, WaveformUnetConfig):
        return WaveformUnet(config)
    return CqtUnet(config)


def write_waveform_model(
    folder: Path,
    *,
    config: WaveformModelConfig,
    network: WaveformNetwork,
    dtype: torch.dtype | None = torch.float16,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Write a model of samples; a card for people, ``README.md``, is the caller's.

    Args:
        folder: exists; a model that is there is replaced.
        config: settings, those of the network among them.
        network: trained.
        dtype: to store weights in; None: as they are.
        facts: JSON to stand in ``model.json`` under ``facts``: data, steps, digests.

    Returns:
        The model's digest.

    Raises:
        ConfigError: the network is not what the settings say.
        CheckpointError: a weight is not finite, perhaps only in ``dtype``.
        OutputError: it cannot be written.
    """
    return write_modules(
        folder,
        settings=config.to_json(),
        parts={"network": (network, network.config, config.network)},
        dtype=dtype,
        facts=facts,
    )


def read_waveform_model(folder: Path) -> WaveformModel:
    """Return the model of a folder, on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: the folder holds none, it is damaged, or it is larger than any such model.
    """
    config, modules = read_modules(
        folder,
        WaveformModelConfig.from_json,
        lambda config: {"network": build_network(config.network)},
        what="model of samples",
    )
    network = modules["network"]
    assert isinstance(network, WaveformUnet | CqtUnet)  # what `build_network` returned
    return WaveformModel(config=config, network=network)
