"""VAE: sound as one vector a frame, near a normal distribution, and back."""

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.checkpoint import load_into, read_config, write_model
from weft.codecs.base import LatentCodec
from weft.errors import CheckpointError, ConfigError
from weft.nn.spectral_vae import SpectralDecoder, SpectralEncoder, SpectralVaeConfig
from weft.nn.strided_vae import StridedDecoder, StridedEncoder, StridedVaeConfig

KIND = "vae"
"""Of ``model.json``."""
_LOG_VARIANCES = (-14.0, 6.0)


@final
@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """A VAE: where its frames come from, and their sizes."""

    front: Literal["spectral", "strided"] = "spectral"
    """Whether it works on spectra (what Weft ships) or on samples (what seed 001 describes)."""
    spectral: SpectralVaeConfig = field(default_factory=SpectralVaeConfig)
    """Sizes of the first; its sample rate is the codec's."""
    strided: StridedVaeConfig = field(default_factory=StridedVaeConfig)
    """Sizes of the second."""

    def __post_init__(self) -> None:
        if self.front not in ("spectral", "strided"):
            raise ConfigError(f"front must be 'spectral' or 'strided', got {self.front!r}")

    @property
    def sizes(self) -> SpectralVaeConfig | StridedVaeConfig:
        """The sizes that count."""
        return self.spectral if self.front == "spectral" else self.strided

    def to_json(self) -> dict[str, Any]:
        """Return all settings as JSON."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "VaeConfig":
        """Return what `to_json` gave.

        Raises:
            ConfigError: a setting is missing, unknown, or out of range.
        """
        wanted = {"kind", "front", "spectral", "strided"}
        if {*found} != wanted or found["kind"] != KIND:
            raise ConfigError(
                f"a VAE is described by {sorted(wanted)}, the kind {KIND!r}; got {sorted(found)}"
            )
        return cls(
            front=found["front"],
            spectral=_numbers(SpectralVaeConfig, found["spectral"]),
            strided=_numbers(StridedVaeConfig, found["strided"]),
        )


_Sizes = typing.TypeVar("_Sizes", SpectralVaeConfig, StridedVaeConfig)


def _numbers(kind: type[_Sizes], found: Any) -> _Sizes:
    """Build sizes from JSON: whole numbers, or lists of them."""
    names = {item.name for item in fields(kind)}
    if not isinstance(found, dict) or {*found} != names:
        raise ConfigError(f"sizes must be {sorted(names)}, got {found!r}")
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in found.items()
    }
    for name, value in values.items():
        several = value if isinstance(value, tuple) else (value,)
        if not all(type(number) is int for number in several):
            raise ConfigError(f"{name} must be whole, got {value!r}")
    return kind(**values)


@final
class Vae(LatentCodec):
    """A variational autoencoder of sound.

    Between `encode` and `decode` latents have mean 0 and variance 1 in each feature over training
    sound; inside they have what was learned.

    Source: seed 001, section 3 and appendix B. Differs where ``front`` is "spectral", see
        `weft.nn.spectral_vae`.
    """

    def __init__(self, config: VaeConfig) -> None:
        """Make the networks, initialised from torch's current generator."""
        super().__init__()
        self.config = config
        self.encoder: SpectralEncoder | StridedEncoder
        self.decoder: SpectralDecoder | StridedDecoder
        if config.front == "spectral":
            self.encoder = SpectralEncoder(config.spectral)
            self.decoder = SpectralDecoder(config.spectral)
        else:
            self.encoder = StridedEncoder(config.strided)
            self.decoder = StridedDecoder(config.strided)
        self.latent_mean: Tensor
        self.latent_variance: Tensor
        self.register_buffer("latent_mean", torch.zeros(self.num_features))
        self.register_buffer("latent_variance", torch.ones(self.num_features))

    @property
    def sample_rate(self) -> int:
        return self.config.spectral.sample_rate

    @property
    def hop_length(self) -> int:
        return self.config.sizes.hop_length

    @property
    def num_features(self) -> int:
        return self.config.sizes.num_features

    @property
    def num_channels(self) -> int:
        return self.config.sizes.num_channels

    @property
    def reach_frames(self) -> int:
        if self.config.front == "strided":
            return self.config.strided.reach_frames
        sizes = self.config.spectral
        overlap = -(-(sizes.n_fft - sizes.hop_length) // (2 * sizes.hop_length)) + 1
        layers = max(sizes.encoder_layers, sizes.decoder_layers)
        return layers * 3 + overlap

    def posterior(
        self, samples: Float[Tensor, "b c n"]
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"]]:
        """Return mean and log variance of each latent, before they are normalised."""
        mean, log_variance = self.encoder(samples).float().chunk(2, dim=2)
        return mean, log_variance.clamp(*_LOG_VARIANCES)

    def encode(self, samples: Float[Tensor, "b c n"]) -> Float[Tensor, "b l d"]:
        return (self.posterior(samples)[0] - self.latent_mean) * self.latent_variance.rsqrt()

    def decode(self, latents: Float[Tensor, "b l d"]) -> Float[Tensor, "b c n"]:
        return self.decoder(latents * self.latent_variance.sqrt() + self.latent_mean)

    @torch.no_grad()
    def follow(self, mean: Float[Tensor, "b l d"], share: float) -> None:
        """Move the statistics of latents towards those of a batch.

        Args:
            mean: what `posterior` gave.
            share: how far, in (0, 1].
        """
        flat = mean.detach().flatten(0, 1)
        self.latent_mean.lerp_(flat.mean(dim=0), share)
        centred = flat - self.latent_mean
        self.latent_variance.lerp_(centred.square().mean(dim=0).clamp_min(1e-8), share)


def write_vae(folder: Path, vae: Vae, *, facts: Mapping[str, Any] | None = None) -> str:
    """Write a codec in 16 bits; a card for people, ``README.md``, is the caller's.

    Args:
        folder: exists; a model that is there is replaced.
        vae: trained.
        facts: JSON to stand in ``model.json``.

    Returns:
        The model's digest.

    Raises:
        CheckpointError: a weight is not finite, perhaps only in 16 bits.
        OutputError: it cannot be written.
    """
    settings = {**vae.config.to_json(), "facts": dict(facts or {})}
    return write_model(folder, config=settings, tensors=vae.state_dict(), dtype=torch.float16)


def read_vae(folder: Path) -> Vae:
    """Return the codec of a folder, on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: the folder holds none, it is damaged, or its settings cannot be used.
    """
    found = read_config(folder)
    wanted = ("kind", *(name for name in VaeConfig.__dataclass_fields__))
    try:
        config = VaeConfig.from_json({name: found[name] for name in wanted if name in found})
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'model.json'} holds no VAE that can be used: {error}"
        ) from error
    with torch.random.fork_rng(devices=[]):  # weights are drawn in vain, and disturb no one's draws
        vae = Vae(config)
    load_into(vae, folder)
    return vae.eval().requires_grad_(False)


def num_parameters(module: nn.Module) -> int:
    """Return how many numbers a network holds that are learned."""
    return sum(parameter.numel() for parameter in module.parameters())
