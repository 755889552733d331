"""What every embedder offers to the metrics that need one."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from weft.shapes import Samples


@final
@dataclass(frozen=True, kw_only=True)
class Embedding:
    """What an embedder says of one clip."""

    vectors: Float[np.ndarray, "w d"]
    """One vector for each window, or one for the clip: whichever the embedder's Frechet distance is
    defined over. At least one, float64."""
    logits: Float[np.ndarray, " k"] | None = None
    """Scores of the embedder's classes for the whole clip, before any softmax; None where the
    embedder has no classes."""

    @property
    def clip(self) -> Float[np.ndarray, " d"]:
        """Mean of the vectors: one vector for the clip."""
        mean: np.ndarray = self.vectors.mean(axis=0)
        return mean


class Embedder(abc.ABC):
    """Turns clips into vectors, and into scores of classes where it has some (interface).

    Numbers of two embedders must never share a column: `name` and `digest` tell them apart.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name in tables, such as ``corpus-ssl`` or ``vggish``."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of weights and settings: equal digests, equal vectors."""

    @property
    @abc.abstractmethod
    def sample_rate(self) -> int:
        """Rate it works at, in Hz; other rates are resampled by `embed`."""

    @property
    @abc.abstractmethod
    def num_dims(self) -> int:
        """Length of a vector."""

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where it has none."""

    @property
    def has_text(self) -> bool:
        """Whether `embed_text` works."""
        return False

    @abc.abstractmethod
    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        """Embed one clip.

        Args:
            samples: at least one sample; channels are mixed or kept as the embedder is defined.
            sample_rate: in Hz.

        Returns:
            Finite vectors, float64. A clip shorter than a window is padded with
            silence, or repeated, as the embedder states.

        Raises:
            AudioFormatError: a sample is NaN or infinite, or there are none.
        """

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Embed texts into the space of `embed`'s vectors.

        Raises:
            ConfigError: this embedder knows no texts.
        """
        from weft.errors import ConfigError

        raise ConfigError(f"{self.name} embeds sound only, and texts need a model such as CLAP")
