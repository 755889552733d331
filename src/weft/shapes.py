"""Axis letters and array types.

Axes have fixed letters throughout: ``b`` batch, ``c`` audio channels, ``n`` samples, ``g`` samples
of a gap, ``l`` frames, ``d`` features, ``k`` codebook size, ``q`` codebooks, ``h`` heads, ``s``
text tokens. Audio at the rim (files, canvases, classical models, metrics) is a float64 numpy array
``c n``, which holds every PCM and float sample format exactly; networks get float32 tensors from
their codec.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

Samples: TypeAlias = Float[np.ndarray, "c n"]
"""Audio samples; full scale is 1, values beyond it are kept."""

Known: TypeAlias = Bool[np.ndarray, " n"]
"""True where a sample is observed and must be kept."""
