"""Sounds and weights that both the references and the tests make from seeds."""

import zlib
from collections.abc import Mapping

import numpy as np


def sound(sample_rate: int, duration_s: float) -> np.ndarray:
    """A falling chirp over a drone and noise, one channel ``n``, peak below 1."""
    n = round(duration_s * sample_rate)
    t = np.arange(n) / sample_rate
    noise = np.random.Generator(np.random.Philox(11)).standard_normal(n)
    chirp = np.sin(2 * np.pi * (0.4 * sample_rate * t - 0.15 * sample_rate * t**2 / duration_s))
    drone = np.sin(2 * np.pi * 220 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * t))
    return 0.3 * chirp + 0.3 * drone + 0.03 * noise


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights by name: equal names and shapes, equal numbers."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
        draw = rng.standard_normal(shape, dtype=np.float32)
        if name.endswith("num_batches_tracked"):
            made[name] = np.zeros(shape, dtype=np.int64)
        elif name.endswith("running_var"):
            made[name] = 0.5 + np.abs(draw)
        elif "token" in name or "pos_embed" in name:
            made[name] = 0.5 * draw
        elif len(shape) == 1:
            made[name] = float(name.endswith("weight")) + 0.2 * draw
        else:
            made[name] = draw * np.float32(1.4 / np.sqrt(np.prod(shape[1:])))
        made[name] = np.asarray(made[name], dtype=np.int64 if draw.ndim == 0 else np.float32)
    return made
