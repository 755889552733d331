"""Models in folders: what they are, and whether they work."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from weft.audio.audio import Audio
from weft.canvas.canvas import Region
from weft.canvas.filler import Filler
from weft.canvas.windows import read_window
from weft.checkpoint import digest_of, read_config
from weft.codecs.base import LatentCodec, TokenCodec
from weft.codecs.vae import KIND as VAE_KIND
from weft.codecs.vae import Vae, VaeConfig, read_vae
from weft.codecs.wavtokenizer import KIND as CODEC_KIND
from weft.codecs.wavtokenizer import WavTokenizer, WavTokenizerConfig, read_codec
from weft.errors import CheckpointError, ConfigError
from weft.metrics.embedders import corpus_ssl
from weft.nn.dit import Dit
from weft.nn.token_dit import TokenDit
from weft.rng import Rng
from weft.sampling.latent_model import KIND as LATENT_KIND
from weft.sampling.latent_model import LatentModelConfig, read_latent_model
from weft.sampling.token_model import KIND as TOKENS_KIND
from weft.sampling.token_model import TokenModelConfig, read_token_model
from weft.sampling.waveform_model import NETWORKS as WAVEFORM_KINDS
from weft.sampling.waveform_model import (
    WaveformModelConfig,
    build_network,
    read_waveform_model,
)

_VAE_SETTINGS: Final = ("kind", *VaeConfig.__dataclass_fields__)
CARD_FILE: Final = "README.md"
_SIDE_S: Final = 1.0
_GAP_MS: Final = 50.0
_NOISE_LEVEL: Final = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model in a folder is; no weight was read for it."""

    folder: Path
    """Where it is."""
    kind: str
    """Of ``model.json``."""
    digest: str
    """What tells it from every other."""
    num_bytes: int
    """Of all its files."""
    sizes: Mapping[str, Any]
    """Settings that people ask for, by name."""
    num_parameters: int | None = None
    """Learned numbers; None where this kind does not tell."""
    sample_rate: int | None = None
    """In Hz, of the sound it works on."""
    frame_rate: float | None = None
    """Frames a second."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """Of a converted model: name, digest and layout of the file; else empty."""
    has_card: bool = False
    """Whether there is a ``README.md``."""


def describe_folder(folder: Path) -> ModelFacts:
    """Return what a model is.

    Args:
        folder: with a ``model.json``.

    Raises:
        CheckpointError: there is no model, or its settings cannot be used.
    """
    found = read_config(folder)
    kind = found["kind"]
    facts = found.get("facts")
    made_from = facts.get("made_from") if isinstance(facts, dict) else None
    own: dict[str, Any] = {}
    if kind in _DESCRIBE:
        try:
            own = _DESCRIBE[kind](found)
        except (ConfigError, TypeError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: settings cannot be used: {error}") from error
    return ModelFacts(
        folder=folder,
        kind=kind,
        digest=digest_of(folder),
        num_bytes=sum(p.stat().st_size for p in folder.iterdir() if p.is_file()),
        made_from=made_from if isinstance(made_from, dict) else {},
        has_card=(folder / CARD_FILE).is_file(),
        **({"sizes": {}} | own),
    )


def verify_folder(folder: Path) -> list[str]:
    """Read a model, compare digests, names, shapes and values, and run it once.

    Args:
        folder: with a ``model.json``.

    Returns:
        What was found right, a line for each check.

    Raises:
        CheckpointError: something is wrong, or the kind is unknown.
    """
    kind = read_config(folder)["kind"]
    if kind not in _VERIFY:
        raise CheckpointError(
            f"{folder} holds a model of kind {kind!r}, which cannot be checked; known are: "
            + ", ".join(_VERIFY)
        )
    with torch.no_grad():
        lines = _VERIFY[kind](folder)
    return ["digests, names, shapes and values of all weights", *lines]


def run_codec(codec: TokenCodec, told: Path) -> list[str]:
    """Encode and decode silence and noise once.

    Args:
        codec: in eval mode.
        told: what to name in errors.

    Returns:
        What was found right.

    Raises:
        CheckpointError: something is not finite, or has another length than it must.
    """
    num_samples = codec.sample_rate // 2 + 1  # no multiple of a frame
    lines = []
    for name, level in (("silence", 0.0), ("noise", _NOISE_LEVEL)):
        samples = torch.from_numpy(level * _noise(num_samples)).float()[None]
        frames = codec.encode(samples)
        decoded = codec.decode(codec.embed(frames.codes))
        num_frames = math.ceil(num_samples / codec.hop_length)
        if (
            frames.codes.shape != (1, num_frames)
            or decoded.shape[1] != num_frames * codec.hop_length
        ):
            raise CheckpointError(
                f"{told}: {num_samples} samples of {name} became {frames.codes.shape[1]} tokens "
                f"and {decoded.shape[1]} samples, wanted {num_frames} tokens"
            )
        if not bool(frames.features.isfinite().all() and decoded.isfinite().all()):
            raise CheckpointError(f"{told}: {name} became NaN or infinity; the weights are damaged")
        distinct = len(frames.codes.unique())
        lines.append(f"{name}: {num_frames} frames, {distinct} different tokens, finite sound")
    return lines


def _run_tokens(folder: Path) -> list[str]:
    model = read_token_model(folder)
    lines = run_codec(model.codec, folder)
    _run_network(model.network, model.codec, folder)
    lines.append("network: finite scores for tokens of noise, half of them hidden")
    return [*lines, _run_filler(model.to_filler(), model.codec.sample_rate, folder)]


def _run_latent(folder: Path) -> list[str]:
    model = read_latent_model(folder)
    lines = run_latent_codec(model.codec, folder)
    noise = torch.from_numpy(_noise(32 * model.codec.num_features)).float()
    x = noise.view(1, 32, model.codec.num_features)
    if not bool(model.network(x, torch.full((1,), 0.5)).isfinite().all()):
        raise CheckpointError(f"{folder}: the network gives NaN or infinity; weights are damaged")
    lines.append("network: finite estimates of noise")
    return [*lines, _run_filler(model.to_filler(), model.codec.sample_rate, folder)]


def run_latent_codec(codec: LatentCodec, told: Path) -> list[str]:
    """Encode and decode silence and noise once; see `run_codec`.

    Raises:
        CheckpointError: something is not finite, or has another length than it must.
    """
    num_samples = codec.sample_rate // 2 + 1  # no multiple of a frame
    num_frames = math.ceil(num_samples / codec.hop_length)
    lines = []
    for name, level in (("silence", 0.0), ("noise", _NOISE_LEVEL)):
        samples = torch.from_numpy(level * _noise(num_samples)).float()
        latents = codec.encode(samples.expand(1, codec.num_channels, -1))
        decoded = codec.decode(latents)
        wanted = (1, codec.num_channels, num_frames * codec.hop_length)
        if latents.shape != (1, num_frames, codec.num_features) or decoded.shape != wanted:
            raise CheckpointError(
                f"{told}: {num_samples} samples of {name} became latents {tuple(latents.shape)} "
                f"and samples {tuple(decoded.shape)}, wanted {num_frames} frames"
            )
        if not bool(latents.isfinite().all() and decoded.isfinite().all()):
            raise CheckpointError(f"{told}: {name} became NaN or infinity; the weights are damaged")
        lines.append(f"{name}: {num_frames} frames of {codec.num_features} numbers, finite sound")
    return lines


def _run_filler(filler: Filler, rate: int, folder: Path) -> str:
    """Fill a gap in noise."""
    side, gap_length = round(_SIDE_S * rate), round(_GAP_MS * rate / 1000)
    samples = _NOISE_LEVEL * _noise(2 * side + gap_length)[None]
    gap = Region(start=side, stop=side + gap_length)
    window = read_window(Audio.from_samples(samples, rate), gap, [gap], side)
    (fills,) = filler.fill([window], num_takes=1, rng=Rng(0))
    filled = fills[0].samples
    if filled.shape != (1, gap_length) or not np.isfinite(filled).all():
        raise CheckpointError(f"{folder}: a gap in noise was filled with NaN, or not as a whole")
    return f"a gap of {_GAP_MS:g} ms in noise: filled, finite sound"


def _run_network(network: TokenDit, codec: TokenCodec, told: Path) -> None:
    """Score the tokens of noise, every other one hidden."""
    absorbing = network.config.codebook_size
    samples = torch.from_numpy(_NOISE_LEVEL * _noise(codec.sample_rate)).float()[None]
    tokens = codec.encode(samples).codes.clamp(max=absorbing)
    tokens[:, ::2] = absorbing
    raw = network(tokens, torch.full((1,), math.log(2.0)))
    if not bool(raw.isfinite().all()):
        raise CheckpointError(f"{told}: the network gives NaN or infinity; the weights are damaged")


def _run_embedder(folder: Path) -> list[str]:
    embedder = corpus_ssl.load_folder(folder)
    samples = _NOISE_LEVEL * _noise(2 * embedder.sample_rate)[None]
    vectors = embedder.embed(samples, embedder.sample_rate).vectors
    if not np.isfinite(vectors).all():
        raise CheckpointError(f"{folder}: noise became NaN or infinity; the weights are damaged")
    return [f"noise: {len(vectors)} finite vectors of {embedder.num_dims} numbers"]


def _noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(num_samples)


def _codec_facts(config: WavTokenizerConfig) -> dict[str, Any]:
    encoder, decoder = config.encoder, config.decoder
    with torch.device("meta"):
        count = sum(p.numel() for p in WavTokenizer(config).parameters())
    return {
        "sample_rate": config.sample_rate,
        "frame_rate": config.sample_rate / encoder.hop_length,
        "num_parameters": count,
        "sizes": {
            "codebook": f"{config.quantiser.codebook_size} codes of {config.quantiser.width}",
            "frame": f"{encoder.hop_length} samples",
            "strides": " ".join(map(str, encoder.strides)),
            "encoder": f"{encoder.num_filters} to {encoder.num_filters << len(encoder.strides)} "
            f"channels, {encoder.num_lstm_layers} LSTM layers",
            "decoder": f"{decoder.num_layers} blocks of {decoder.width} / {decoder.hidden_width}, "
            f"spectra of {decoder.n_fft} samples",
        },
    }


def _codec_folder_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    return _codec_facts(WavTokenizerConfig.from_json(found["codec"]))


def _tokens_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    config = TokenModelConfig.from_json(found)
    facts = _codec_facts(config.codec)
    network = config.network
    with torch.device("meta"):
        count = sum(p.numel() for p in TokenDit(network).parameters())
    conditioned = "told" if network.is_time_conditioned else "not told"
    facts["sizes"] |= {
        "network": f"{network.num_layers} blocks of {network.width}, {network.num_heads} heads, "
        f"{conditioned} the noise, trained at {network.num_frames} frames",
        "parameters": f"codec {facts['num_parameters']:,}, network {count:,}",
        "symbols": f"{network.codebook_size} and the absorbing state"
        + (", which takes the codec's last token" if config.is_legacy_mask else ""),
        "output": config.prediction,
    }
    facts["num_parameters"] += count
    return facts


def _vae_facts(config: VaeConfig) -> dict[str, Any]:
    sizes = config.sizes
    with torch.device("meta"):
        codec = Vae(config)
    count = sum(p.numel() for p in codec.parameters())
    return {
        "sample_rate": codec.sample_rate,
        "frame_rate": codec.sample_rate / codec.hop_length,
        "num_parameters": count,
        "sizes": {
            "codec": f"{config.front}, {sizes.num_features} numbers a frame, "
            f"{sizes.num_channels} channel(s), hears {codec.reach_frames} frames around each",
            "frame": f"{codec.hop_length} samples",
        },
    }


def _vae_folder_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    return _vae_facts(
        VaeConfig.from_json({name: found[name] for name in _VAE_SETTINGS if name in found})
    )


def _latent_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    config = LatentModelConfig.from_json(found)
    facts = _vae_facts(config.codec)
    network, sampler = config.network, config.sampling.sampler
    with torch.device("meta"):
        count = sum(p.numel() for p in Dit(network).parameters())
    told = "is told what is known" if network.num_condition else "is told nothing"
    facts["sizes"] |= {
        "network": f"{network.num_layers} blocks of {network.width}, {network.num_heads} heads, "
        f"{network.positions} positions, {told}",
        "parameters": f"codec {facts['num_parameters']:,}, network {count:,}",
        "output": config.process.prediction,
        "sampler": f"{sampler.kind}, {sampler.steps} steps",
        "windows": f"{config.filler.window_ms:g} ms, {config.filler.long_window_ms:g} ms for gaps "
        f"over {config.filler.long_gap_ms:g} ms",
    }
    facts["num_parameters"] += count
    return facts


def _waveform_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    config = WaveformModelConfig.from_json(found)
    with torch.device("meta"):
        count = sum(p.numel() for p in build_network(config.network).parameters())
    return {
        "sample_rate": config.sample_rate,
        "num_parameters": count,
        "sizes": {
            "output": config.process.prediction,
            "sampler": f"{config.sampler.kind}, {config.sampler.steps} steps",
        },
    }


def _run_waveform(folder: Path) -> list[str]:
    model = read_waveform_model(folder)
    return [_run_filler(model.to_filler().with_steps(2), model.config.sample_rate, folder)]


_DESCRIBE: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    CODEC_KIND: _codec_folder_facts,
    TOKENS_KIND: _tokens_facts,
    VAE_KIND: _vae_folder_facts,
    LATENT_KIND: _latent_facts,
    **dict.fromkeys(WAVEFORM_KINDS, _waveform_facts),
}
_VERIFY: Final[Mapping[str, Callable[[Path], list[str]]]] = {
    CODEC_KIND: lambda folder: run_codec(read_codec(folder), folder),
    TOKENS_KIND: _run_tokens,
    VAE_KIND: lambda folder: run_latent_codec(read_vae(folder), folder),
    LATENT_KIND: _run_latent,
    **dict.fromkeys(WAVEFORM_KINDS, _run_waveform),
    corpus_ssl.KIND: _run_embedder,
}
