"""How much too little a network says of what is clean, at each time: fitted after training."""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weft.process.gaussian import GaussianProcess
from weft.rng import Rng
from weft.sampling.steps_gaussian import DenoiseFn, draw_noise

TIMES: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96)
"""Later ones, of which training sees next to nothing, take the gain of the last."""
_BATCH = 16


@torch.no_grad()
def fit_gains(
    denoise_fn: DenoiseFn,
    latents: Float[Tensor, "g l d"],
    process: GaussianProcess,
    *,
    rng: Rng,
) -> tuple[tuple[float, float], ...]:
    """Return what estimates of the clean sequence are to be multiplied by, at each of `TIMES`.

    The factor with the least squared error: ``E[x0 x0hat] / E[x0hat^2]``. It is 1 where the
    estimate is the posterior mean; a network that saw few sequences at a time says too little.
    Fitted for what a network makes of nothing, which is as soft as its estimates are.

    Args:
        denoise_fn: estimates; of a network that is told nothing.
        latents: sequences of the train split, without noise.
        process: adds the noise.
        rng: of the noise.

    Returns:
        Pairs of time and factor, for `LatentSampling.gains`.
    """
    pairs = []
    for i, time in enumerate(TIMES):
        agreement = power = 0.0
        for k, clean in enumerate(latents.split(_BATCH)):
            rngs = [rng.stream(i, k, item) for item in range(len(clean))]
            t = torch.full((len(clean),), time, device=clean.device)
            noisy = process.corrupt(clean, t, noise=draw_noise(rngs, clean.shape[1:], clean))
            estimate = denoise_fn(noisy, t)
            agreement += float((clean * estimate).sum(dtype=torch.float64))
            power += float(estimate.square().sum(dtype=torch.float64))
        pairs.append((time, round(float(np.clip(agreement / max(power, 1e-12), 0.5, 2.0)), 3)))
    return tuple(pairs)
