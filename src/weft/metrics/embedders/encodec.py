"""EnCodec as an embedder: what its encoder gives before quantisation, 128 numbers a frame."""

from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from weft.errors import CheckpointError
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.embedders.clips import embedder_digest, equal_parts, prepare
from weft.metrics.embedders.huggingface import folder_digest, load_model
from weft.shapes import Samples

VARIANTS = {"encodec-24k": (24000, 1), "encodec-48k": (48000, 2)}
"""Sample rate in Hz and channels of the two checkpoints, which are two networks."""
MAX_SECONDS = {"encodec-24k": 60.0, "encodec-48k": 1.0}
"""Longest part that is encoded at once, in seconds; the network at 48 kHz knows one second."""


@final
class EncodecEmbedder(Embedder):
    """Vectors of frames: 75 a second at 24 kHz, 150 a second at 48 kHz.

    Frames follow each other closely and are much alike: their number is no number of independent
    observations. One channel at 24 kHz; two at 48 kHz, where a mono clip stands in both. Level as
    it is: the loudness normalisation of the codec at 48 kHz is left out, as in fadtk. At 48 kHz a
    clip is encoded second by second, the last part being shorter; at 24 kHz clips over a minute
    are encoded in equal parts.
    """

    def __init__(self, name: str, model: Any, *, weights: str) -> None:
        """Wrap a model.

        Args:
            name: a key of `VARIANTS`.
            model: ``EncodecModel`` of transformers with its weights.
            weights: digest of the weights.
        """
        rate, channels = VARIANTS[name]
        found = (model.config.sampling_rate, model.config.audio_channels)
        if found != (rate, channels):
            raise CheckpointError(
                f"{name} works at {rate} Hz with {channels} channels, and these weights at "
                f"{found[0]} Hz with {found[1]}"
            )
        self._name = name
        self._model = model.eval()
        self._digest = embedder_digest(name, "encoder 1", weights)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return VARIANTS[self._name][0]

    @property
    def num_dims(self) -> int:
        return int(self._model.config.hidden_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        rate, channels = VARIANTS[self._name]
        clip = prepare(samples, sample_rate, rate, channels=channels)
        longest = round(MAX_SECONDS[self._name] * rate)
        num_samples = clip.shape[1]
        if self._name == "encodec-48k":
            parts = [slice(i, i + longest) for i in range(0, num_samples, longest)]
        else:
            parts = equal_parts(num_samples, longest)
        device = next(self._model.parameters()).device
        least = int(np.prod(self._model.config.upsampling_ratios))
        vectors = []
        with torch.inference_mode():
            for part in parts:
                # Less than a frame cannot be reflected at its ends.
                x = np.pad(clip[:, part], ((0, 0), (0, max(0, least - clip[:, part].shape[1]))))
                encoded = self._model.encoder(
                    torch.tensor(x[None], dtype=torch.float32, device=device)
                )  # 1 d l
                vectors.append(encoded[0].T.double().cpu().numpy())
        return Embedding(vectors=np.concatenate(vectors))


def load(path: Path, name: str, *, device: str = "cpu") -> EncodecEmbedder:
    """Load EnCodec from a folder of transformers.

    Args:
        path: such as ``encodec_24khz``.
        name: a key of `VARIANTS`.
        device: where to work.

    Raises:
        CheckpointError: the folder is damaged or holds another model.
        MissingDependencyError: transformers is not installed.
    """
    model = load_model(path, kind="encodec", class_name="EncodecModel")
    return EncodecEmbedder(name, model.to(device), weights=folder_digest(path))
