"""Sounds that many tests share, and settings of the property tests."""

import numpy as np
import pytest
from hypothesis import Phase, settings

from weft.audio.audio import Audio
from weft.audio.synth import harmonic_tones

# Shrinking through the type hook can take minutes; the first failing example says enough.
settings.register_profile(
    "weft", deadline=None, max_examples=50, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("weft")


@pytest.fixture
def chord() -> Audio:
    """Two seconds of a steady chord, stereo, 16 kHz."""
    mono = harmonic_tones([220.0, 277.0, 330.0], 2.0, 16000, seed=1)
    return Audio.from_samples(0.2 * np.concatenate([mono, 0.5 * mono[:, ::-1]]), 16000)
