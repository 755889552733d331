"""WavTokenizer: sound at 24 kHz as 75 or 40 tokens a second, with one codebook."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weft.checkpoint import read_config, read_tensors, table_of, write_model
from weft.codecs.base import TokenCodec, TokenFrames
from weft.errors import CheckpointError, ConfigError, ShapeError
from weft.nn.quantiser import Quantiser, QuantiserConfig
from weft.nn.seanet import SeanetConfig, SeanetEncoder
from weft.nn.vocos import VocosConfig, VocosDecoder

KIND = "wavtokenizer"
"""Of model folders that hold a codec alone."""


@final
@dataclass(frozen=True, kw_only=True)
class WavTokenizerConfig:
    """Sizes of the codec; the defaults are those of the published ones at 75 tokens a second."""

    sample_rate: int = 24000
    """In Hz, in [1000, 192000]."""
    encoder: SeanetConfig = field(default_factory=SeanetConfig)
    """Samples to frames."""
    quantiser: QuantiserConfig = field(default_factory=QuantiserConfig)
    """Frames to tokens."""
    decoder: VocosConfig = field(default_factory=VocosConfig)
    """Frames to samples."""

    def __post_init__(self) -> None:
        if not 1000 <= self.sample_rate <= 192000:
            raise ConfigError(f"sample_rate must be in [1000, 192000] Hz, got {self.sample_rate}")
        widths = (self.encoder.width, self.quantiser.width, self.decoder.num_features)
        if len(set(widths)) != 1:
            raise ConfigError(
                "encoder, quantiser and decoder must agree on the features of a frame, got "
                f"{widths[0]}, {widths[1]} and {widths[2]}"
            )
        if self.encoder.hop_length != self.decoder.hop_length:
            raise ConfigError(
                "encoder and decoder must agree on the samples of a frame, got "
                f"{self.encoder.hop_length} and {self.decoder.hop_length}"
            )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "WavTokenizerConfig":
        """Return the settings that `to_json` gave.

        Raises:
            ConfigError: a field is missing, unknown, of another type or out of range.
        """
        parts = {"encoder": SeanetConfig, "quantiser": QuantiserConfig, "decoder": VocosConfig}
        try:
            values = {**found}
            if values.pop("kind", KIND) != KIND:
                raise ConfigError(f"a codec of kind {KIND} was expected, got {found['kind']!r}")
            for name, kind in parts.items():
                own = {**values[name]}
                if "strides" in own:
                    own["strides"] = tuple(own["strides"])
                values[name] = kind(**own)
            return cls(**values)
        except (TypeError, KeyError) as error:
            raise ConfigError(f"settings of a codec cannot be used: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON, with their kind."""
        return {"kind": KIND, **asdict(self)}


@final
class WavTokenizer(TokenCodec):
    """SEANet encoder, one codebook, Vocos decoder.

    Source: WavTokenizer (Ji et al. 2024). Differs in what the published code leaves dead: there is
    no second decoder, and the four rows of adaptive normalisation are not told apart (row 0).
    """

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SeanetEncoder(config.encoder)
        self.quantiser = Quantiser(config.quantiser)
        self.decoder = VocosDecoder(config.decoder)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        return self.config.encoder.hop_length

    @property
    def codebook_size(self) -> int:
        return self.config.quantiser.codebook_size

    def encode(self, samples: Float[Tensor, "b n"]) -> TokenFrames:
        """See `TokenCodec.encode`.

        Raises:
            ShapeError: there is no sample.
        """
        if samples.shape[1] < 1:
            raise ShapeError("sound of 0 samples has no tokens; give at least one sample")
        features = self.encoder(samples)
        return TokenFrames(codes=self.quantiser.encode(features), features=features)

    def embed(self, codes: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """See `TokenCodec.embed`.

        Raises:
            ShapeError: a token is none of the codebook.
        """
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.codebook_size:
            raise ShapeError(
                f"tokens must be in [0, {self.codebook_size}), got {int(codes.min())} to "
                f"{int(codes.max())}"
            )
        return self.quantiser.embed(codes)

    def decode(self, features: Float[Tensor, "b l d"]) -> Float[Tensor, "b n"]:
        """See `TokenCodec.decode`.

        Raises:
            ShapeError: there is no frame.
        """
        if features.shape[1] < 1:
            raise ShapeError("0 frames cannot be decoded; give at least one")
        samples: Tensor = self.decoder(features)
        return samples


def write_codec(
    folder: Path, codec: WavTokenizer, *, facts: Mapping[str, Any] | None = None
) -> str:
    """Write a codec in half precision; see `weft.checkpoint.write_model`.

    Args:
        folder: exists.
        codec: trained.
        facts: JSON to stand in ``model.json`` beside the settings, under ``facts``.

    Returns:
        The model's digest.
    """
    config = {"kind": KIND, "codec": codec.config.to_json(), "facts": dict(facts or {})}
    return write_model(folder, config=config, tensors=codec.state_dict(), dtype=torch.float16)


def read_codec(folder: Path) -> WavTokenizer:
    """Return the codec of a model folder, in eval mode.

    Raises:
        CheckpointError: it is damaged, or a model of another kind.
    """
    found = read_config(folder)
    if found["kind"] != KIND or not isinstance(found.get("codec"), dict):
        raise CheckpointError(f"{folder} holds a model of kind {found['kind']!r}, not {KIND!r}")
    try:
        config = WavTokenizerConfig.from_json(found["codec"])
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    with torch.device("meta"):
        table = table_of(WavTokenizer(config))
    tensors = read_tensors(folder, table)
    codec = WavTokenizer(config)
    codec.load_state_dict(tensors)
    return codec.eval()


_ENCODER = "feature_extractor.encodec.encoder.model."
_CODEBOOK = "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
DEAD = "feature_extractor.encodec.decoder."
"""Prefix of a decoder that published files hold and nothing uses."""


def published_names(config: WavTokenizerConfig) -> dict[str, str]:
    """Return the published name of each of the codec's tensors.

    A weight of the encoder's convolutions is published as two, ``NAME_g`` and ``NAME_v``; see
    `fold_weight_norm`.
    """
    with torch.device("meta"):
        names = [*WavTokenizer(config).state_dict()]
    return {name: _published_name(name) for name in names}


def _published_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "encoder":
        # Their convolutions stand two shells deep, ours one.
        return _ENCODER + rest.removeprefix("layers.").replace("conv.", "conv.conv.")
    if part == "quantiser":
        their = {
            "codebook": "embed",
            "counts": "cluster_size",
            "sums": "embed_avg",
            "is_started": "inited",
        }
        return _CODEBOOK + their[rest]
    return ("head." if rest.startswith("out.") else "backbone.") + rest


def from_published(state: Mapping[str, Tensor], config: WavTokenizerConfig) -> WavTokenizer:
    """Return a codec with published weights, in eval mode.

    Args:
        state: finite tensors by published name; those under `DEAD` are passed over.
        config: the sizes that they have.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    live = {name: value for name, value in state.items() if not name.startswith(DEAD)}
    live.pop("head.istft.window", None)  # a Hann window, which is made anew
    folded = fold_weight_norm(live)
    codec = WavTokenizer(config)
    tensors: dict[str, Tensor] = {}
    for name, wanted in codec.state_dict().items():
        theirs = _published_name(name)
        if theirs not in folded:
            raise CheckpointError(f"the weights lack {theirs!r}; they are of another codec")
        value = folded.pop(theirs)
        if name.endswith("is_started"):
            value = value.reshape(-1)[0]  # published with one axis
        if value.shape != wanted.shape:
            raise CheckpointError(
                f"{theirs!r} has the shape {tuple(value.shape)}, {tuple(wanted.shape)} was expected"
            )
        tensors[name] = value.to(wanted.dtype)
    if folded:
        raise CheckpointError(f"the weights hold {min(folded)!r}, which this codec does not have")
    codec.load_state_dict(tensors)
    return codec.eval()


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in which each pair of direction and length has become one weight.

    ``NAME_v`` of shape (out, ...) and ``NAME_g`` of (out, 1, ...) become ``NAME``, whose rows have
    the direction of v and the length g.

    Raises:
        CheckpointError: one of a pair is missing, or their shapes do not fit.
    """
    folded = {k: v for k, v in state.items() if not k.endswith(("weight_g", "weight_v"))}
    for name in [k for k in state if k.endswith(("weight_g", "weight_v"))]:
        stem = name[:-2]
        if stem in folded:
            continue
        try:
            length, direction = state[f"{stem}_g"], state[f"{stem}_v"]
        except KeyError as error:
            raise CheckpointError(f"the weights hold {name!r} but lack {error}") from error
        if length.shape != (direction.shape[0], *(1 for _ in direction.shape[1:])):
            raise CheckpointError(
                f"{stem!r}: lengths {tuple(length.shape)} do not fit directions "
                f"{tuple(direction.shape)}"
            )
        folded[stem] = torch._weight_norm(direction, length, 0)
    return folded


def num_parameters(codec: nn.Module) -> int:
    """Return how many numbers a network holds that are learned, its codebook left out."""
    return sum(parameter.numel() for parameter in codec.parameters())
