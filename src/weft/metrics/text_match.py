"""How well sounds fit their texts, in the space of an embedder that knows both (CLAP)."""

import numpy as np
from jaxtyping import Float

from weft.errors import ConfigError, ShapeError
from weft.metrics.sets import OtherVectors, Vectors, as_vectors, check_widths


def text_matches(text: Vectors, audio: OtherVectors) -> Float[np.ndarray, " w"]:
    """Return the cosine of each text with its own sound.

    Args:
        text: vectors of the texts, one a row.
        audio: vectors of the sounds, in the same order.

    Returns:
        Cosines, in [-1, 1]. The published CLAP score is their mean; they are not rescaled and not
        clipped at 0.

    Raises:
        ShapeError: no pair, unequal numbers of texts and sounds, or widths that differ.
        ConfigError: a value is not finite, or a vector is all zeros and so has no direction.

    Source: Elizalde et al. 2023 (CLAP); stable-audio-metrics and audioldm_eval average the cosines.
        The checkpoint sets the scale: real clips of AudioCaps reach about 0.37 with one, and
        another figure with another.

    Example:
        >>> text_matches(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [1.0, -1.0]]))
        array([1., 0.])
    """
    first, second = as_vectors(text, "text"), as_vectors(audio, "audio")
    check_widths(first.shape[1], second.shape[1])
    if len(first) != len(second):
        raise ShapeError(
            f"each text needs its own sound, got {len(first)} texts and {len(second)} sounds"
        )
    directions = []
    for rows, name in ((first, "text"), (second, "audio")):
        # Scaled by the largest first, so that squares neither overflow nor vanish.
        largest = np.abs(rows).max(axis=1, keepdims=True)
        if not largest.all():
            raise ConfigError(
                f"row {int(np.argmin(largest))} of {name} is all zeros and has no direction"
            )
        scaled = rows / largest
        directions.append(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
    cosines: np.ndarray = np.clip((directions[0] * directions[1]).sum(axis=1), -1.0, 1.0)
    return cosines


def clap_score(text: Vectors, audio: OtherVectors) -> float:
    """Return the CLAP score: the mean of `text_matches`.

    Args:
        text: vectors of the texts, one a row.
        audio: vectors of the sounds, in the same order.

    Returns:
        Mean cosine, in [-1, 1]; higher is better.

    Raises:
        ShapeError: as `text_matches`.
        ConfigError: as `text_matches`.

    Example:
        >>> clap_score(np.array([[1.0, 0.0]]), np.array([[-3.0, 0.0]]))
        -1.0
    """
    return float(text_matches(text, audio).mean())
