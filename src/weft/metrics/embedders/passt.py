"""PaSST as an embedder: a vector of 768 numbers for each ten seconds, and AudioSet's classes."""

from pathlib import Path
from typing import final

import numpy as np
import torch

from weft.foreign import digest_of, fit, read_state_dict
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.embedders.clips import audioset_names, embedder_digest, overlapping, prepare
from weft.metrics.embedders.front_ends import PASST_RATE, passt_log_mel
from weft.nn.passt import PaSST
from weft.shapes import Samples

WINDOW_S, HOP_S = 10, 5
"""Length and distance of windows, in seconds."""


@final
class PasstEmbedder(Embedder):
    """Vectors of windows of ten seconds every five; logits are the mean over the windows.

    Mono, 32 kHz. What a window lacks is silence. Source: windows and mean as in the divergence of
    stable-audio-metrics. Differs: the level stays as it is, where that code brings every clip's
    peak to -1 dB, so that a wrong level counts.
    """

    def __init__(self, network: PaSST, *, weights: str, class_names: tuple[str, ...]) -> None:
        """Wrap a network.

        Args:
            network: with its weights, on the device to work on.
            weights: digest of the weights.
            class_names: one for each logit.
        """
        self._network = network.eval()
        self._names = class_names
        self._digest = embedder_digest(self.name, "windows 10 5 s, 1", weights)

    @property
    def name(self) -> str:
        return "passt"

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return PASST_RATE

    @property
    def num_dims(self) -> int:
        return self._network.head_dist.in_features

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._names

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        mono = prepare(samples, sample_rate, PASST_RATE)[0]
        length = WINDOW_S * PASST_RATE
        device = next(self._network.parameters()).device
        vectors, logits = [], []
        with torch.inference_mode():
            for window in overlapping(len(mono), length, HOP_S * PASST_RATE):
                clip = mono[window]
                log_mel = passt_log_mel(np.pad(clip, (0, length - len(clip))))
                x = torch.tensor(log_mel[None, None], dtype=torch.float32, device=device)
                vector, scores = self._network(x)
                vectors.append(vector.double().cpu().numpy())
                logits.append(scores.double().cpu().numpy())
        return Embedding(
            vectors=np.concatenate(vectors), logits=np.concatenate(logits).mean(axis=0)
        )


def load(path: Path, *, device: str = "cpu") -> PasstEmbedder:
    """Load weights of PaSST-S.

    Args:
        path: ``passt-s-f128-p16-s10-ap.476-swa.pt``, or the same tensors as safetensors; names of
            classes are looked for beside it.
        device: where to work.

    Raises:
        CheckpointError: the file is damaged or holds another network.
    """
    network = PaSST()
    fit(read_state_dict(path), network, told=path)
    return PasstEmbedder(
        network.to(device), weights=digest_of(path), class_names=audioset_names(path.parent)
    )
