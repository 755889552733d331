"""What the published embedders share: clips in the form that each of them wants."""

import csv
import hashlib
import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Float

from weft.audio.resample import resample, to_mono
from weft.errors import AudioFormatError, CheckpointError, ConfigError
from weft.shapes import Samples

NUM_AUDIOSET_CLASSES = 527
"""Classes of AudioSet."""
LABELS_FILE = "class_labels_indices.csv"
"""Names of AudioSet's classes, as its authors publish them; looked for beside the weights."""


def prepare(
    samples: Samples, sample_rate: int, target_rate: int, *, channels: int = 1
) -> Float[np.ndarray, "k m"]:
    """Return a clip at another rate, with one channel (the mean) or two.

    Two channels are kept; of one channel, or of the mean of more, there are two equal copies. Level
    is kept and nothing is rounded.

    Args:
        samples: at least one sample and one channel.
        sample_rate: in Hz.
        target_rate: in Hz.
        channels: 1 or 2.

    Raises:
        AudioFormatError: a sample is NaN or infinite, or there are none.
        ConfigError: a rate is not positive.

    Example:
        >>> prepare(np.ones((1, 44100)), 44100, 16000, channels=2).shape
        (2, 16000)
    """
    if samples.size == 0:
        raise AudioFormatError(f"a clip of shape {samples.shape} has no samples to embed")
    if not np.isfinite(samples).all():
        at = int(np.argmin(np.isfinite(samples).all(axis=0)))
        raise AudioFormatError(f"sample {at} of a clip to embed is NaN or infinite")
    kept = samples if channels == 2 and len(samples) == 2 else to_mono(samples)
    out = resample(kept, sample_rate, target_rate)
    if out.shape[1] == 0:  # a sample or two, at a much lower rate
        out = kept[:, :1]
    return np.repeat(out, channels, axis=0) if len(out) < channels else out


def overlapping(num_samples: int, window: int, hop: int) -> list[slice]:
    """Return windows that cover a clip; the last may reach over its end.

    Every window but a single one holds more than ``hop`` samples of the clip.

    Args:
        num_samples: length of the clip, > 0.
        window: length of a window, in samples, >= ``hop``.
        hop: distance of windows, in samples, > 0.

    Raises:
        ConfigError: a number is outside its range.

    Source: PaSST divergence of stable-audio-metrics, windows of 10 s every 5 s.

    Example:
        >>> [(w.start, w.stop) for w in overlapping(12, window=10, hop=5)]
        [(0, 10), (5, 15)]
        >>> [(w.start, w.stop) for w in overlapping(10, window=10, hop=5)]
        [(0, 10)]
    """
    if num_samples < 1 or not 0 < hop <= window:
        raise ConfigError(f"no windows of {window} samples every {hop} over {num_samples}")
    return [slice(i, i + window) for i in range(0, max(hop, num_samples - window + hop), hop)]


def equal_parts(num_samples: int, longest: int) -> list[slice]:
    """Return the fewest parts of equal length, one sample more or less, that are short enough.

    Raises:
        ConfigError: a number is below 1.

    Example:
        >>> [(p.start, p.stop) for p in equal_parts(7, longest=4)]
        [(0, 3), (3, 7)]
    """
    if num_samples < 1 or longest < 1:
        raise ConfigError(f"no parts of at most {longest} samples of {num_samples}")
    count = -(-num_samples // longest)
    edges = [num_samples * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def embedder_digest(name: str, settings: str, weights: str) -> str:
    """Return the digest of an embedder: its name, its settings and the digest of its weights.

    Example:
        >>> embedder_digest("vggish", "1", "ab") == embedder_digest("vggish", "2", "ab")
        False
    """
    return hashlib.sha256(f"{name}\n{settings}\n{weights}".encode()).hexdigest()


def audioset_names(folder: Path) -> tuple[str, ...]:
    """Return the names of AudioSet's classes, or their numbers where no list of names is at hand.

    Args:
        folder: where `LABELS_FILE` is looked for.

    Raises:
        CheckpointError: the list is there and cannot be used.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        return tuple(f"audioset {i}" for i in range(NUM_AUDIOSET_CLASSES))
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = {int(row["index"]): row["display_name"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no list of AudioSet's classes with the columns index and display_name: "
            f"{error}"
        ) from error
    if sorted(rows) != list(range(NUM_AUDIOSET_CLASSES)):
        raise CheckpointError(f"{path} names {len(rows)} classes, not {NUM_AUDIOSET_CLASSES}")
    return tuple(rows[i] for i in range(NUM_AUDIOSET_CLASSES))
