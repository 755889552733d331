"""What models of frames do with a gap beside which there is not enough sound for frames."""

from dataclasses import replace

import numpy as np

from weft.canvas.canvas import Window
from weft.canvas.filler import Fill
from weft.classical.autoregressive import Lpc
from weft.rng import Rng

_UNSURE = 0.05


def predict_linearly(window: Window, rng: Rng, *, model: str, what: str) -> Fill:
    """Fill a gap by linear prediction, with next to no confidence.

    Args:
        window: with little or no sound, or silence, beside its gap.
        rng: as `Filler.fill` has it.
        model: name of the model that could not.
        what: what there is too little sound for.
    """
    fill = Lpc().fill([window], num_takes=1, rng=rng)[0][0]
    return replace(
        fill,
        model=model,
        confidence=_UNSURE if np.any(window.samples) else 0.0,
        details={
            "fallback": f"too little sound beside the gap for {what}: linear prediction",
            "network_calls": 0.0,
        },
    )
