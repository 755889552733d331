"""Channel parts: sound of several channels as uncorrelated signals, to be filled one by one."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from weft.shapes import Samples

ChannelMode: TypeAlias = Literal["principal", "mono", "separate"]
"""How channels are taken apart. `principal`: into uncorrelated parts, the loudest first; `mono`:
the loudest of these alone; `separate`: each channel is a part."""


def find_parts(samples: Samples, *, mode: ChannelMode, least_db: float) -> Float[np.ndarray, "c p"]:
    """Return the directions in which channels hold sound: orthonormal columns, the loudest first.

    The parts are ``directions.T @ samples``, and ``directions @ parts`` is what they sound like
    together. For stereo whose channels are alike they are mid and side; for a sound that was panned
    there is one part, placed where the sound stands.

    Args:
        samples: known sound. With none, or with silence, all of it is one part.
        mode: see `ChannelMode`.
        least_db: parts softer than this beside the loudest are left out, < 0. Not for `separate`.

    Example:
        >>> tone = np.sin(np.arange(100.0))
        >>> panned = np.stack([0.6 * tone, 0.8 * tone])
        >>> find_parts(panned, mode="principal", least_db=-40.0).round(3).tolist()
        [[0.6], [0.8]]
    """
    num_channels = samples.shape[0]
    if mode == "separate" or num_channels == 1:
        return np.eye(num_channels)
    powers, directions = np.linalg.eigh(samples @ samples.T)
    powers, directions = powers[::-1], directions[:, ::-1]
    if not powers[0] > 0:
        return np.full((num_channels, 1), num_channels**-0.5)
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(num_channels)])
    is_loud = powers > powers[0] * 10 ** (least_db / 10)
    return np.ascontiguousarray(directions[:, :1] if mode == "mono" else directions[:, is_loud])
