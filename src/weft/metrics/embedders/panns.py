"""CNN14 of PANNs as an embedder: one vector of 2048 numbers for a clip, and AudioSet's classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from weft.foreign import digest_of, fit, read_state_dict
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.embedders.clips import audioset_names, embedder_digest, equal_parts, prepare
from weft.nn.panns import Cnn14
from weft.shapes import Samples

MAX_SECONDS = 60.0
"""Longest part that is embedded at once, in seconds."""


@final
@dataclass(frozen=True, kw_only=True)
class Front:
    """Front end of one of the three checkpoints."""

    sample_rate: int
    """In Hz."""
    n_fft: int
    """Window and transform, in samples."""
    hop_length: int
    """Distance of spectra, in samples."""
    high_hz: float
    """Upper edge of the mel filters; the lower is 50 Hz."""


FRONTS = {
    "panns-cnn14-8k": Front(sample_rate=8000, n_fft=256, hop_length=80, high_hz=4000.0),
    "panns-cnn14-16k": Front(sample_rate=16000, n_fft=512, hop_length=160, high_hz=8000.0),
    "panns-cnn14-32k": Front(sample_rate=32000, n_fft=1024, hop_length=320, high_hz=14000.0),
}
"""The three checkpoints, which are three networks: their numbers never share a column."""


@final
class PannsEmbedder(Embedder):
    """One vector and one set of logits for a clip of up to a minute.

    A longer clip is cut into equal parts of at most a minute, with a vector for each and the mean
    of their logits. Mono, level as it is. A clip of less than 0.31 s is padded with silence: the
    network halves time five times.
    """

    def __init__(
        self, name: str, network: Cnn14, *, weights: str, class_names: tuple[str, ...]
    ) -> None:
        """Wrap a network.

        Args:
            name: a key of `FRONTS`.
            network: with its weights, on the device to work on.
            weights: digest of the weights.
            class_names: one for each logit.
        """
        self._name = name
        self._network = network.eval()
        self._names = class_names
        self._digest = embedder_digest(name, "cnn14 1", weights)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return FRONTS[self._name].sample_rate

    @property
    def num_dims(self) -> int:
        return self._network.fc1.out_features

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._names

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        mono = prepare(samples, sample_rate, self.sample_rate)
        least = self._network.min_samples
        mono = np.pad(mono, ((0, 0), (0, max(0, least - mono.shape[1]))))
        device = next(self._network.parameters()).device
        vectors, logits = [], []
        with torch.inference_mode():
            for part in equal_parts(mono.shape[1], round(MAX_SECONDS * self.sample_rate)):
                clip = torch.tensor(mono[:, part], dtype=torch.float32, device=device)
                vector, scores = self._network(clip)
                vectors.append(vector.double().cpu().numpy())
                logits.append(scores.double().cpu().numpy())
        return Embedding(
            vectors=np.concatenate(vectors), logits=np.concatenate(logits).mean(axis=0)
        )


def _without_transform(name: str) -> str | None:
    """Leave out the matrices of the Fourier transform that the authors store."""
    return None if name.startswith("spectrogram_extractor.") else name


def load(path: Path, name: str, *, device: str = "cpu") -> PannsEmbedder:
    """Load weights of audioset_tagging_cnn.

    Args:
        path: such as ``Cnn14_16k_mAP=0.438.pth``, or the same tensors as safetensors; names of
            classes are looked for beside it.
        name: a key of `FRONTS`.
        device: where to work.

    Raises:
        CheckpointError: the file is damaged or holds another network.
    """
    front = FRONTS[name]
    network = Cnn14(
        sample_rate=front.sample_rate,
        n_fft=front.n_fft,
        hop_length=front.hop_length,
        high_hz=front.high_hz,
    )
    state = read_state_dict(path, select=("model", "state_dict", ""))
    fit(state, network, told=path, rename=_without_transform)
    return PannsEmbedder(
        name,
        network.to(device),
        weights=digest_of(path),
        class_names=audioset_names(path.parent),
    )
