"""``corpus-ssl``: the embedder that comes with the package and needs nothing else.

A small encoder that learned without labels from openly licensed music, piano, environment and other
sounds, and a linear layer over it that knows a few dozen classes. Two of different seeds are
shipped: the second, the witness, is for checking that a result is not a quirk of the first.

Conventions
-----------
Channels are averaged, and the sound is resampled to 16 kHz: what is above 8 kHz is not heard. The
level is heard: nothing is normalised. The clip is cut into equal pieces of at most four seconds
that are encoded on their own, and features at 25 Hz are averaged over windows of one second, every
0.48 s; the last window ends with the clip. Everything runs on the CPU in float32, one piece at a
time, so that a vector depends on its clip only.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weft.audio.resample import resample, to_mono
from weft.checkpoint import TensorFacts, read_config, read_tensors, table_of, write_model
from weft.errors import AudioFormatError, CheckpointError, ConfigError, WeftError
from weft.metrics.embedders.base import Embedder, Embedding
from weft.nn.log_mel import LogMel, LogMelConfig
from weft.nn.ssl_encoder import STRIDE, SslEncoder, SslEncoderConfig
from weft.shapes import Samples

KIND = "corpus-ssl"
"""Key of such models in ``model.json``."""

_SHIPPED = Path(__file__).resolve().parents[2] / "weights"
_PREFIX = "encoder."
_MAX_CLASSES = 4096


@final
@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How features of frames become vectors."""

    num_piece: int = 400
    """Longest piece that is encoded at once, in log-mel frames (4 s), a multiple of 4, >= 100."""
    num_window: int = 25
    """Frames of features of a window (1 s), in [1, num_piece / 4]."""
    num_hop: int = 12
    """Frames from window to window (0.48 s), in [1, num_window]."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 100 <= self.num_piece <= 100_000 or self.num_piece % STRIDE:
            raise ConfigError(
                f"num_piece must be a multiple of {STRIDE} in [100, 100000], got {self.num_piece}"
            )
        if not 1 <= self.num_hop <= self.num_window <= self.num_piece // STRIDE:
            raise ConfigError(
                f"num_hop <= num_window <= num_piece / {STRIDE} must hold, got {self.num_hop}, "
                f"{self.num_window} and {self.num_piece}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear layer over the mean and the standard deviation of a clip's features."""

    weight: Float[Tensor, "k e"]
    """Over the means, then the deviations: ``e`` is twice the encoder's width."""
    bias: Float[Tensor, " k"]
    """Of each class."""
    class_names: tuple[str, ...]
    """Of the rows of ``weight``."""

    def __post_init__(self) -> None:
        """Check that the parts fit."""
        if not len(self.class_names) == len(self.weight) == len(self.bias):
            raise ConfigError(
                f"a head needs a row and a bias for each class, got {len(self.class_names)} names, "
                f"{len(self.weight)} rows and {len(self.bias)} biases"
            )


def clip_statistics(frames: Float[Tensor, "l d"]) -> Float[Tensor, " e"]:
    """Return mean and standard deviation over frames: what the head sees of a clip.

    Example:
        >>> clip_statistics(torch.tensor([[1.0], [3.0]])).tolist()
        [2.0, 1.0]
    """
    return torch.cat([frames.mean(dim=0), frames.std(dim=0, correction=0)])


@final
class CorpusSsl(Embedder):
    """A self-supervised encoder with a class head."""

    def __init__(
        self,
        encoder: SslEncoder,
        *,
        head: Head | None = None,
        window: WindowConfig | None = None,
        name: str = KIND,
    ) -> None:
        """Take a trained encoder.

        Args:
            encoder: is put into eval mode; used as it is, in float32 on the CPU.
            head: classes; without, `Embedding.logits` is None.
            window: how frames become vectors.
            name: in tables.

        Raises:
            ConfigError: the head is not as wide as the encoder's statistics.
        """
        width = encoder.config.width
        if head is not None and head.weight.shape[1] != 2 * width:
            raise ConfigError(
                f"the head sees {head.weight.shape[1]} numbers, the encoder gives {2 * width}"
            )
        self.encoder = encoder.eval()
        self.head = head
        self.window = window or WindowConfig()
        self._name = name
        self._mel = LogMel(encoder.config.mel)
        self._digest = _digest(self)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return self.encoder.config.mel.sample_rate

    @property
    def num_dims(self) -> int:
        return self.encoder.config.width

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.head.class_names if self.head is not None else ()

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        frames = self.frames(samples, sample_rate)
        vectors = self._windows(frames).double().numpy()
        if self.head is None:
            return Embedding(vectors=vectors)
        logits = self.head.weight.float() @ clip_statistics(frames) + self.head.bias.float()
        return Embedding(vectors=vectors, logits=logits.double().numpy())

    @torch.no_grad()
    def frames(self, samples: Samples, sample_rate: int) -> Float[Tensor, "l d"]:
        """Return the features of a clip at 25 Hz, one second of them at least.

        Args:
            samples: at least one sample; channels are averaged.
            sample_rate: in Hz.

        Raises:
            AudioFormatError: a sample is NaN or infinite, or there are none.
        """
        if samples.size == 0:
            raise AudioFormatError(f"there is no sound to embed, got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise AudioFormatError("samples are NaN or infinite; embedders need finite ones")
        mono = resample(to_mono(samples), sample_rate, self.sample_rate)
        mel = self._mel.config
        num_frames = max(
            round(mono.shape[1] / mel.hop_length / STRIDE) * STRIDE,
            self.window.num_window * STRIDE,
        )
        padded = np.zeros((1, (num_frames - 1) * mel.hop_length + mel.n_fft), dtype=np.float32)
        half = mel.n_fft // 2
        kept = min(mono.shape[1], padded.shape[1] - half)
        padded[0, half : half + kept] = mono[0, :kept]
        pieces = []
        for first, last in _pieces(num_frames, self.window.num_piece):
            begin, end = first * mel.hop_length, (last - 1) * mel.hop_length + mel.n_fft
            piece = self._mel(torch.from_numpy(padded[:, begin:end]), is_padded=True)
            pieces.append(self.encoder.features(piece)[0])  # l d
        return torch.cat(pieces)

    def _windows(self, frames: Float[Tensor, "l d"]) -> Float[Tensor, "w d"]:
        """Return the mean of each window; the last one ends with the clip."""
        last = len(frames) - self.window.num_window
        starts = list(range(0, last + 1, self.window.num_hop))
        if starts[-1] != last:
            starts.append(last)
        return torch.stack([frames[s : s + self.window.num_window].mean(dim=0) for s in starts])


def load(*, witness: bool = False) -> CorpusSsl:
    """Return the embedder that comes with the package.

    Args:
        witness: the one of the other seed, named ``corpus-ssl-witness``.

    Raises:
        CheckpointError: the package is damaged.

    Example:
        >>> embedder = load()
        >>> embedder.embed(np.zeros((2, 44100)), 44100).vectors.shape
        (1, 192)
    """
    return _load_shipped("corpus-ssl-witness" if witness else "corpus-ssl")


@lru_cache(maxsize=2)
def _load_shipped(name: str) -> CorpusSsl:
    return load_folder(_SHIPPED / name)


def load_folder(path: str | Path) -> CorpusSsl:
    """Load an embedder that `weft train ssl` wrote.

    Args:
        path: folder of ``model.json`` and ``model.safetensors``.

    Raises:
        CheckpointError: a file is missing or damaged, or the parts do not fit together.
    """
    folder = Path(path)
    settings = read_config(folder)
    try:
        config, window, names = _parse(settings)
        with torch.device("meta"):
            encoder = SslEncoder(config)
    except (ValueError, TypeError, KeyError, WeftError) as error:
        raise CheckpointError(
            f"the embedder {folder} is damaged or of another kind: {error}; export it again"
        ) from error
    table = {f"{_PREFIX}{name}": facts for name, facts in table_of(encoder).items()}
    if names:
        shape = (len(names), 2 * config.width)
        table["head.weight"] = TensorFacts(shape=shape, dtype=torch.float32)
        table["head.bias"] = TensorFacts(shape=shape[:1], dtype=torch.float32)
    tensors = read_tensors(folder, table)
    head = None
    if names:
        head = Head(
            weight=tensors.pop("head.weight"), bias=tensors.pop("head.bias"), class_names=names
        )
    state = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    encoder.load_state_dict(state, assign=True)
    return CorpusSsl(encoder, head=head, window=window, name=str(settings.get("name", KIND)))


def save_folder(
    folder: Path,
    embedder: CorpusSsl,
    *,
    training: Mapping[str, Any] | None = None,
) -> CorpusSsl:
    """Write an embedder with 16-bit weights, and return it as a reader of the folder gets it.

    Args:
        folder: exists.
        embedder: what to write.
        training: what is kept of how it was made; JSON.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: the folder cannot be written.
    """
    tensors = {f"{_PREFIX}{k}": v for k, v in embedder.encoder.state_dict().items()}
    if embedder.head is not None:
        tensors |= {"head.weight": embedder.head.weight, "head.bias": embedder.head.bias}
    config = {
        "kind": KIND,
        "name": embedder.name,
        **_settings(embedder),
        "training": dict(training or {}),
    }
    write_model(folder, config=config, tensors=tensors, dtype=torch.float16)
    return load_folder(folder)


def _settings(embedder: CorpusSsl) -> dict[str, Any]:
    return {
        "encoder": asdict(embedder.encoder.config),
        "window": asdict(embedder.window),
        "class_names": list(embedder.class_names),
    }


def _parse(settings: Mapping[str, Any]) -> tuple[SslEncoderConfig, WindowConfig, tuple[str, ...]]:
    """Return the parts of a configuration, ranges checked before anything is allocated."""
    if settings["kind"] != KIND:
        raise ConfigError(f"its kind is {settings['kind']!r}, not {KIND!r}")
    encoder = dict(settings["encoder"])
    mel = LogMelConfig(**encoder.pop("mel"))
    names = tuple(settings["class_names"])
    if len(names) > _MAX_CLASSES or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"class_names must be at most {_MAX_CLASSES} texts")
    return SslEncoderConfig(mel=mel, **encoder), WindowConfig(**settings["window"]), names


def _digest(embedder: CorpusSsl) -> str:
    """Return a digest of all weights and of all settings that change vectors."""
    digest = hashlib.sha256(json.dumps(_settings(embedder), sort_keys=True).encode())
    tensors = dict(embedder.encoder.state_dict())
    if embedder.head is not None:
        tensors |= {"head.weight": embedder.head.weight, "head.bias": embedder.head.bias}
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].detach().float().numpy().tobytes())
    return digest.hexdigest()[:32]


def _pieces(num_frames: int, longest: int) -> list[tuple[int, int]]:
    """Return equal pieces of frames, each a multiple of the stride long."""
    num_blocks = num_frames // STRIDE
    num_pieces = -(-num_frames // longest)
    edges = [i * num_blocks // num_pieces * STRIDE for i in range(num_pieces + 1)]
    return list(itertools.pairwise(edges))
