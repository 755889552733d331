"""VGGish as an embedder: one vector of 128 numbers for each 0.96 s."""

from pathlib import Path
from typing import final

import numpy as np
import torch

from weft.foreign import digest_of, fit, read_state_dict
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.embedders.clips import embedder_digest, prepare
from weft.metrics.embedders.front_ends import (
    VGGISH_HOP,
    VGGISH_RATE,
    VGGISH_WINDOW,
    vggish_log_mel,
)
from weft.nn.vggish import NUM_FRAMES, VGGish
from weft.shapes import Samples

MIN_SAMPLES = VGGISH_WINDOW + (NUM_FRAMES - 1) * VGGISH_HOP
"""Samples of one example, 0.975 s: 96 windows of 25 ms, 10 ms apart."""
_EXAMPLES_AT_ONCE = 32


@final
class VGGishEmbedder(Embedder):
    """Vectors of successive examples; what is left at the end of a clip is not embedded.

    Mono, 16 kHz, level as it is, neither PCA nor quantisation. Vectors are those before the last
    non-linearity, as Google's code gives them; ``vggish-relu`` gives those after it, as the port to
    torch does, and the two must not share a column. Differs from published code: rates are changed
    by soxr, and samples are not rounded to 16 bits.
    """

    def __init__(self, network: VGGish, *, weights: str, has_relu: bool = False) -> None:
        """Wrap a network.

        Args:
            network: with its weights, on the device to work on.
            weights: digest of the weights.
            has_relu: give vectors after the last ReLU.
        """
        self._network = network.eval()
        self._has_relu = has_relu
        self._digest = embedder_digest(self.name, "log-mel 1", weights)

    @property
    def name(self) -> str:
        return "vggish-relu" if self._has_relu else "vggish"

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return VGGISH_RATE

    @property
    def num_dims(self) -> int:
        return int(self._network.embeddings[-1].out_features)  # type: ignore[arg-type]

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        mono = prepare(samples, sample_rate, VGGISH_RATE)[0]
        mono = np.pad(mono, (0, max(0, MIN_SAMPLES - len(mono))))
        num_examples = 1 + (len(mono) - MIN_SAMPLES) // (NUM_FRAMES * VGGISH_HOP)
        parts = []
        for first in range(0, num_examples, _EXAMPLES_AT_ONCE):
            count = min(_EXAMPLES_AT_ONCE, num_examples - first)
            start = first * NUM_FRAMES * VGGISH_HOP
            stop = start + VGGISH_WINDOW + (count * NUM_FRAMES - 1) * VGGISH_HOP
            parts.append(self._embed_examples(vggish_log_mel(mono[start:stop])))
        return Embedding(vectors=np.concatenate(parts))

    def _embed_examples(self, log_mel: np.ndarray) -> np.ndarray:
        """Vectors of spectra whose number is a multiple of an example's."""
        examples = log_mel.reshape(-1, 1, NUM_FRAMES, log_mel.shape[1])
        device = next(self._network.parameters()).device
        with torch.inference_mode():
            vectors = self._network(torch.from_numpy(examples).float().to(device))
            out = (vectors.relu() if self._has_relu else vectors).double().cpu().numpy()
        return np.asarray(out)


def load(path: Path, *, has_relu: bool = False, device: str = "cpu") -> VGGishEmbedder:
    """Load weights of torchvggish.

    Args:
        path: ``vggish-10086976.pth``, or the same tensors as safetensors.
        has_relu: give vectors after the last ReLU.
        device: where to work.

    Raises:
        CheckpointError: the file is damaged or holds another network.
    """
    network = VGGish()
    fit(read_state_dict(path), network, told=path)
    return VGGishEmbedder(network.to(device), weights=digest_of(path), has_relu=has_relu)
