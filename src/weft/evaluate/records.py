"""Records: what an experiment keeps of each answer."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, final

import numpy as np
from jaxtyping import Float

from weft.metrics.embedders.base import Embedding


@final
@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of one item: what a journal keeps."""

    corpus: str
    """Name of the material."""
    file: str
    """Path of the recording below the corpus; where two are joined, both."""
    setting: str
    """What was asked for, such as ``300 ms``."""
    index: int
    """Number of the item in its recording and setting."""
    row: str
    """Name of the row: a model, ``original``, ``silence``, ``NAME (best of K)`` and so on."""
    cluster: str = ""
    """What records that are alike share, such as the recording they come from."""
    start: int = 0
    """First sample that was edited, at the experiment's rate."""
    stop: int = 0
    """One past the last."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values by name; empty where the model failed."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Values along time, by name."""
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    """What embedders say of it, by their names, rounded to 32 bits."""
    model: str = ""
    """Which model made it."""
    num_parameters: int = 0
    """Of the model's networks."""
    num_network_calls: float = 0.0
    """For this item."""
    cpu_s: float = 0.0
    """Processor time for this item, in seconds."""
    peak_mb: float = 0.0
    """Peak memory of the process, in megabytes."""
    num_changed: int = 0
    """Samples outside all edited regions that are not the recording's: must be 0."""
    error: str = ""
    """Why there is no answer; empty where there is one."""

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What tells it from all other records of an experiment."""
        return (*self.item, self.row)

    @property
    def item(self) -> tuple[str, str, str, int]:
        """What it shares with the records of other rows of the same item."""
        return self.corpus, self.file, self.setting, self.index

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "embeddings"}
        values["metrics"], values["curves"] = dict(self.metrics), dict(self.curves)
        values["embeddings"] = {
            name: {
                "vectors": _pack(embedding.vectors),
                "logits": None if embedding.logits is None else _pack(embedding.logits),
            }
            for name, embedding in self.embeddings.items()
        }
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Record":
        """Undo `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is no such object.
        """
        embeddings = {
            name: Embedding(
                vectors=_unpack(packed["vectors"]),
                logits=None if packed["logits"] is None else _unpack(packed["logits"]),
            )
            for name, packed in value["embeddings"].items()
        }
        return cls(**{**value, "embeddings": embeddings})


def rounded(embedding: Embedding) -> Embedding:
    """Round to 32 bits, so that an experiment taken up again has the numbers of one that ran on.

    Example:
        >>> float(rounded(Embedding(vectors=np.full((1, 1), 0.1))).vectors[0, 0]) == 0.1
        False
    """
    logits = embedding.logits
    return Embedding(
        vectors=embedding.vectors.astype(np.float32).astype(np.float64),
        logits=None if logits is None else logits.astype(np.float32).astype(np.float64),
    )


def _pack(values: Float[np.ndarray, "..."]) -> dict[str, Any]:
    raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {"shape": list(values.shape), "f4": base64.b64encode(raw).decode("ascii")}


def _unpack(packed: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    flat = np.frombuffer(base64.b64decode(packed["f4"], validate=True), dtype="<f4")
    return flat.reshape(packed["shape"]).astype(np.float64)
