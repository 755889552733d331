"""Sounds that tests of the command line share."""

import numpy as np

from weft.audio.synth import harmonic_tones

RATE = 16000


def tones(duration_s: float = 1.0) -> np.ndarray:
    """Return a stereo chord over a little noise."""
    mono = harmonic_tones([220.0, 277.0, 330.0], duration_s, RATE, seed=1)
    noise = np.random.default_rng(0).standard_normal((2, mono.shape[1]))
    return 0.12 * np.concatenate([mono, 0.5 * mono[:, ::-1]]) + 1e-3 * noise
