"""CLAP of LAION as an embedder: sound and texts in one space of 512 numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from weft.errors import CheckpointError, ConfigError
from weft.foreign import digest_of, fit, read_state_dict
from weft.metrics.embedders.base import Embedder, Embedding
from weft.metrics.embedders.clips import embedder_digest, overlapping, prepare
from weft.metrics.embedders.huggingface import (
    TOKENIZER_FILES,
    folder_digest,
    import_transformers,
    load_model,
    load_part,
    quiet,
)
from weft.metrics.embedders.laion import FRONT_END, OPTIONAL, SIZES, clap_config, to_transformers
from weft.shapes import Samples

CLAP_RATE = 48000
"""Sample rate, in Hz."""
WINDOW_S, HOP_S = 10, 5
"""Length and distance of windows, in seconds."""
MAX_TOKENS = 77
"""Longest text, in tokens; what is beyond is cut off."""
TOKENIZER_FOLDER = "roberta-base"
"""Folder beside an original checkpoint in which its tokenizer is looked for."""


@final
class ClapEmbedder(Embedder):
    """Vectors of unit length, for windows of ten seconds every five.

    Mono, 48 kHz, level as it is. A window that the clip does not fill holds the clip as often as it
    fits, then silence, as the model was trained. Differs from fadtk: windows are five seconds
    apart, not one, so that vectors of a clip are less alike, and samples are not rounded to 16
    bits.
    """

    def __init__(
        self, name: str, model: Any, front_end: Any, tokenizer: Any | None, *, weights: str
    ) -> None:
        """Wrap a model.

        Args:
            name: in tables.
            model: ``ClapModel`` of transformers with its weights, without feature fusion.
            front_end: ``ClapFeatureExtractor`` that belongs to it.
            tokenizer: turns texts into tokens; None if there is none.
            weights: digest of the weights.
        """
        if model.config.audio_config.enable_fusion or front_end.truncation != "rand_trunc":
            raise CheckpointError(
                f"the weights given for {name} are those of a CLAP with feature fusion, which "
                "draws random parts of a clip; use the checkpoint without fusion"
            )
        self._name = name
        self._model = model.eval()
        self._front_end = front_end
        self._tokenizer = tokenizer
        self._digest = embedder_digest(name, "windows 10 5 s, 1", weights)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def sample_rate(self) -> int:
        return CLAP_RATE

    @property
    def num_dims(self) -> int:
        return int(self._model.config.projection_dim)

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()

    @property
    def has_text(self) -> bool:
        return self._tokenizer is not None

    def embed(self, samples: Samples, sample_rate: int) -> Embedding:
        mono = prepare(samples, sample_rate, CLAP_RATE)[0]
        device = self._model.logit_scale_a.device
        vectors = []
        with torch.inference_mode(), quiet():
            for window in overlapping(len(mono), WINDOW_S * CLAP_RATE, HOP_S * CLAP_RATE):
                features = self._front_end(
                    mono[window], sampling_rate=CLAP_RATE, return_tensors="pt"
                )["input_features"]
                hidden = self._model.audio_model(input_features=features.float().to(device))
                vector = self._model.audio_projection(hidden.pooler_output)
                vectors.append(F.normalize(vector, dim=-1).double().cpu().numpy())
        return Embedding(vectors=np.concatenate(vectors))

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Embed texts, as vectors of unit length; texts are cut off after 77 tokens.

        Raises:
            ConfigError: there are no texts, or no tokenizer came with the weights.
        """
        if self._tokenizer is None:
            raise ConfigError(
                f"{self._name} has no tokenizer: put a folder {TOKENIZER_FOLDER} with its "
                "vocab.json and merges.txt beside the weights"
            )
        if not texts:
            raise ConfigError("there are no texts to embed")
        device = self._model.logit_scale_a.device
        with torch.inference_mode(), quiet():
            tokens = self._tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            hidden = self._model.text_model(
                input_ids=tokens["input_ids"].to(device),
                attention_mask=tokens["attention_mask"].to(device),
            )
            vectors = F.normalize(self._model.text_projection(hidden.pooler_output), dim=-1)
        out: np.ndarray = vectors.double().cpu().numpy()
        return out


def load(path: Path, name: str, *, device: str = "cpu") -> ClapEmbedder:
    """Load CLAP from a folder of transformers or from an original checkpoint.

    Args:
        path: a folder with model, front end and tokenizer, or one of LAION's ``.pt`` files, whose
            tokenizer is looked for in `TOKENIZER_FOLDER` beside it.
        name: in tables; for an original checkpoint a key of `laion.SIZES`.
        device: where to work.

    Raises:
        CheckpointError: the weights are damaged, or those of another model.
        ConfigError: no original checkpoint goes under this name.
        MissingDependencyError: transformers is not installed.
    """
    if path.is_dir():
        weights = folder_digest(path)
        words, words_class = path, "AutoTokenizer"
        model = load_model(path, kind="clap", class_name="ClapModel")
        front_end = load_part(path, "ClapFeatureExtractor")
    else:
        if name not in SIZES:
            raise ConfigError(f"{name} is a folder of transformers, not a file such as {path}")
        words, words_class = path.parent / TOKENIZER_FOLDER, "RobertaTokenizer"
        weights = f"{digest_of(path)} {folder_digest(words)}"
        transformers = import_transformers()
        with quiet():
            model = transformers.ClapModel(clap_config(name))
            front_end = transformers.ClapFeatureExtractor(**FRONT_END)
        fit(to_transformers(read_state_dict(path)), model, told=path, optional=OPTIONAL)
    has_words = any((words / file).is_file() for file in TOKENIZER_FILES)
    tokenizer = load_part(words, words_class) if has_words else None
    return ClapEmbedder(name, model.to(device), front_end, tokenizer, weights=weights)
