"""Codecs that others published, from a folder or from the hub; their packages come when asked for.

Frames are continuous, also those of EnCodec and DAC: their codebooks are residual, several to a
frame, and a model of one token a frame would have to work with the first alone, which EnCodec's
decoder never heard in training (its least rate, 1.5 kbit/s, is two codebooks).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from weft.codecs.base import LatentCodec
from weft.codecs.published_base import (
    MAX_FEATURES,
    LatentStatistics,
    PublishedNetwork,
    measure_reach,
)
from weft.codecs.published_folders import (
    CONFIG_FILE,
    HUB_ID,
    ModelPart,
    find_on_hub,
    folder_of,
    load_model,
    read_settings,
    told_kind,
)
from weft.codecs.published_networks import (
    AudioLdmNetwork,
    DacNetwork,
    EncodecNetwork,
    OobleckNetwork,
)
from weft.errors import CheckpointError, ConfigError, ShapeError


@final
@dataclass(frozen=True, kw_only=True)
class PublishedKind:
    """What a kind of published codec is made of."""

    parts: tuple[ModelPart, ...]
    """Its networks."""
    make: Callable[..., PublishedNetwork]
    """Puts them together, in this order."""


KINDS: Mapping[str, PublishedKind] = MappingProxyType(
    {
        "oobleck": PublishedKind(
            parts=(
                ModelPart(
                    folder="vae",
                    package="diffusers",
                    class_name="AutoencoderOobleck",
                    told=("AutoencoderOobleck",),
                ),
            ),
            make=OobleckNetwork,
        ),
        "audioldm": PublishedKind(
            parts=(
                ModelPart(
                    folder="vae",
                    package="diffusers",
                    class_name="AutoencoderKL",
                    told=("AutoencoderKL",),
                ),
                ModelPart(
                    folder="vocoder",
                    package="transformers",
                    class_name="SpeechT5HifiGan",
                    told=("speecht5_hifigan", "hifigan"),  # the second is what AudioLDM's says
                ),
            ),
            make=AudioLdmNetwork,
        ),
        "encodec": PublishedKind(
            parts=(
                ModelPart(
                    folder="", package="transformers", class_name="EncodecModel", told=("encodec",)
                ),
            ),
            make=EncodecNetwork,
        ),
        "dac": PublishedKind(
            parts=(
                ModelPart(folder="", package="transformers", class_name="DacModel", told=("dac",)),
            ),
            make=DacNetwork,
        ),
    }
)
"""Every kind that can be loaded."""


@final
class PublishedCodec(LatentCodec):
    """A published network whose latents are brought to mean 0 and variance 1.

    It works in single precision, also under autocast. Levels and rates are left alone, and nothing
    is clipped.
    """

    def __init__(
        self, network: PublishedNetwork, *, statistics: LatentStatistics | None = None
    ) -> None:
        """Wrap a network.

        Args:
            network: in eval mode.
            statistics: of its latents; what is published about them unless given.

        Raises:
            ConfigError: they are of another number of features.
            CheckpointError: the network has a rate or sizes that no codec has.
        """
        super().__init__()
        for name, value, low, high in (
            ("sample rate", network.sample_rate, 1000, 192000),
            ("hop length", network.hop_length, 1, 65536),
            ("number of features", network.num_features, 1, MAX_FEATURES),
            ("number of channels", network.num_channels, 1, 2),
        ):
            if not low <= value <= high:
                raise CheckpointError(f"the {name} must be in [{low}, {high}], got {value}")
        self.network = network
        self._reach: int | None = network.reach_frames
        self.latent_mean: Tensor
        self.latent_variance: Tensor
        self.register_buffer("latent_mean", torch.zeros(self.num_features))
        self.register_buffer("latent_variance", torch.ones(self.num_features))
        self.set_statistics(statistics or network.statistics)

    @property
    def sample_rate(self) -> int:
        return self.network.sample_rate

    @property
    def hop_length(self) -> int:
        return self.network.hop_length

    @property
    def num_features(self) -> int:
        return self.network.num_features

    @property
    def num_channels(self) -> int:
        return self.network.num_channels

    @property
    def is_local(self) -> bool:
        """Whether nothing beyond `reach_frames` changes a frame, not even a little."""
        return self.network.reach_frames is not None

    @property
    def reach_frames(self) -> int:
        """See `LatentCodec.reach_frames`; where a codec is not local, it is measured, once.

        Then what is further away changes a frame of noise by less than 1 % of the root mean square
        of all, and 64 means as much or more. See `measure_reach`.
        """
        if self._reach is None:
            self._reach = measure_reach(self.network)
        return self._reach

    @property
    def statistics(self) -> LatentStatistics:
        """What latents are brought to mean 0 and variance 1 by."""
        mean, variance = (x.tolist() for x in (self.latent_mean, self.latent_variance))
        return LatentStatistics(mean=tuple(mean), variance=tuple(variance))

    def set_statistics(self, statistics: LatentStatistics) -> None:
        """Take other statistics of latents.

        Raises:
            ConfigError: they are of another number of features.
        """
        if len(statistics.mean) != self.num_features:
            raise ConfigError(
                f"the codec has {self.num_features} features and the statistics are of "
                f"{len(statistics.mean)}; fit them with this codec"
            )
        self.latent_mean.copy_(torch.tensor(statistics.mean))
        self.latent_variance.copy_(torch.tensor(statistics.variance))

    @torch.no_grad()
    def fit_statistics(self, sounds: Iterable[Float[Tensor, "_ _ _"]]) -> LatentStatistics:
        """Take, and return, the mean and variance of each feature over sounds.

        Features that do not change at all keep a variance of 1e-8. Every frame counts the same.

        Args:
            sounds: batches ``b c n`` at the codec's rate, seen one after the other, each once.

        Raises:
            ConfigError: there are fewer than two frames in all.
            ShapeError: sound has other channels, or no samples.
        """
        count = 0
        mean, moment = (torch.zeros(self.num_features, dtype=torch.float64) for _ in range(2))
        for sound in sounds:
            flat = self._encode(sound).flatten(0, 1).double().cpu()
            num, own = len(flat), flat.mean(dim=0)
            moment += (flat - own).square().sum(dim=0)
            moment += (own - mean).square() * count * num / (count + num)
            mean += (own - mean) * num / (count + num)
            count += num
        if count < 2:
            raise ConfigError(
                f"statistics need two frames of sound or more, got {count}; give minutes of it"
            )
        variance = (moment / count).clamp_min(1e-8)
        self.set_statistics(
            LatentStatistics(mean=tuple(mean.tolist()), variance=tuple(variance.tolist()))
        )
        return self.statistics

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        """See `LatentCodec.encode`; of a posterior, the mean is taken.

        Raises:
            ShapeError: there are no samples, or other channels than the codec's.
        """
        return (self._encode(samples) - self.latent_mean) * self.latent_variance.rsqrt()

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        """See `LatentCodec.decode`.

        Raises:
            ShapeError: there are no frames, or other features than the codec's.
        """
        if latents.shape[1] < 1 or latents.shape[2] != self.num_features:
            raise ShapeError(
                f"latents need at least one frame and {self.num_features} features, got "
                f"{latents.shape[1]} frames of {latents.shape[2]}"
            )
        with torch.autocast(latents.device.type, enabled=False):
            raw = latents.float() * self.latent_variance.sqrt() + self.latent_mean
            return self.network.decode(raw)

    def _encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        if samples.shape[2] < 1 or samples.shape[1] != self.num_channels:
            raise ShapeError(
                f"sound needs at least one sample and {self.num_channels} channels, got "
                f"{samples.shape[2]} samples of {samples.shape[1]} channels"
            )
        with torch.autocast(samples.device.type, enabled=False):
            return self.network.encode(samples.float())


def load_published(
    source: str | Path,
    *,
    kind: str | None = None,
    statistics: LatentStatistics | float | None = None,
    revision: str | None = None,
    allow_download: bool = False,
    cache: Path | None = None,
) -> PublishedCodec:
    """Load a published codec, on the CPU, in eval mode.

    Args:
        source: a folder as diffusers or transformers write it, of a codec or of a pipeline that has
            one, or OWNER/NAME of the hub. A folder is read without network.
        kind: a key of `KINDS`; what the folder says unless given.
        statistics: of its latents, or the factor that gives them a variance of 1; what is published
            unless given, which for EnCodec and DAC is nothing: see `PublishedCodec.fit_statistics`.
        revision: of a model of the hub.
        allow_download: whether what the hub's cache lacks is downloaded.
        cache: the hub's cache; the usual one unless given.

    Raises:
        CheckpointError: it is not there, damaged, a pickle, or not of the kind.
        ConfigError: the kind is unknown, or the statistics do not fit.
        MissingDependencyError: the package that it is written for is not installed.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(sorted(KINDS))}, got {kind!r}")
    folder = Path(source)
    if folder.is_dir():
        found = _kind_of(folder, kind)
    elif HUB_ID.fullmatch(str(source)):

        def fetch(patterns: list[str], version: str | None) -> Path:
            return find_on_hub(
                str(source),
                patterns,
                revision=version,
                allow_download=allow_download,
                cache=cache,
            )

        # Settings first: a repository may hold many times what is wanted of it.
        places = sorted({part.folder for each in KINDS.values() for part in each.parts})
        folder = fetch([str(Path(place) / CONFIG_FILE) for place in places], revision)
        found = _kind_of(folder, kind)
        files = [
            (folder_of(folder, part) / part.weights_file).relative_to(folder).as_posix()
            for part in KINDS[found].parts
        ]
        folder = fetch(files, folder.name)  # of the same commit
    else:
        raise CheckpointError(f"{source} is neither a folder nor OWNER/NAME of a model of the hub")
    made = KINDS[found]
    network = made.make(*(load_model(folder_of(folder, part), part) for part in made.parts))
    if isinstance(statistics, (int, float)):
        statistics = LatentStatistics.from_scale(statistics, network.num_features)
    codec = PublishedCodec(network, statistics=statistics)
    return codec.eval().requires_grad_(False)


def _kind_of(folder: Path, wanted: str | None) -> str:
    """Return the kind of a folder by its first part, which tells it from all others."""
    told = []
    for name, kind in KINDS.items():
        place = folder_of(folder, kind.parts[0])
        if (place / CONFIG_FILE).is_file():
            told.append(told_kind(read_settings(place)))
            if told[-1] in kind.parts[0].told and wanted in (None, name):
                return name
    what = "no config.json" if not told else f"a model of type {sorted(set(map(str, told)))}"
    names = wanted or ", ".join(sorted(KINDS))
    raise CheckpointError(f"{folder} holds {what}, and no codec of kind {names}")
