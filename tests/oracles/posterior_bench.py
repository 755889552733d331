"""Samplers against an exact posterior: an ideal denoiser, a gap, and how far draws are off.

The process is a damped tone; its correlations fall to 1/e within 16 frames and turn over every 20.
It was picked because options come out much as in the reference, whose process is not known. What is
compared with is the true law of the gap, so that a sampler's own error is all that is left.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oracles.gaussian_process import GAP, NUM_FRAMES, Fit, GaussianField, fit, middle_gap
from weft.process.gaussian import CosineSchedule, GaussianProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.fill_gaussian import FilledSequence, fill_gaussian
from weft.sampling.guidance import GuidanceConfig, ReconstructionLoss, Weighted
from weft.sampling.measure import TimeMask
from weft.sampling.steps_gaussian import GaussianSamplerConfig

NUM_DRAWS = 8
"""Draws of each gap; the mean of as many exact ones is 0.35 standard deviations off."""


def _damped_tone() -> GaussianField:
    lag = torch.arange(NUM_FRAMES, dtype=torch.float64)
    row = torch.exp(-lag / 16) * torch.cos(2 * torch.pi * lag / 20)
    return GaussianField(row[(lag[:, None] - lag).abs().long()])


FIELD = _damped_tone()
KNOWN = middle_gap(NUM_FRAMES, GAP)
PROCESS = GaussianProcess(schedule=CosineSchedule())


@dataclass(frozen=True)
class Option:
    """A way to sample, and what a reference implementation had on a process of its own."""

    name: str
    reference: Fit | None = None
    kind: str = "ddpm"
    steps: int = 50
    consistency: str = "noised"
    step_size: float = 0.0
    normalisation: str = "sum"
    resampling: int = 1


def _option(name: str, bias: float, variance: float, seam: float, **settings) -> Option:
    return Option(name, Fit(bias=bias, variance=variance, seam=seam), **settings)


OPTIONS = (
    _option("paste at the end", 0.77, 1.28, 2.33, consistency="end"),
    _option("clean paste", 0.43, 1.04, 1.17, consistency="clean"),
    _option("clean paste, 3e-2", 0.38, 0.96, 1.07, consistency="clean", step_size=0.03),
    _option("noised paste", 0.50, 1.04, 1.21),
    _option("noised paste, 3e-2", 0.43, 0.98, 1.12, step_size=0.03),
    _option("noised paste, 0.1", 0.38, 0.89, 1.00, step_size=0.1),
    _option("x0 paste", 0.51, 1.07, 1.23, consistency="x0"),
    _option("x0 paste, 3e-2", 0.42, 0.98, 1.10, consistency="x0", step_size=0.03),
    _option("gradient only, 3e-2", 0.52, 1.08, 1.64, consistency="end", step_size=0.03),
    _option("gradient only, 0.1", 0.37, 0.91, 1.08, consistency="end", step_size=0.1),
    _option("gradient only, 0.3", 0.38, 0.84, 0.94, consistency="end", step_size=0.3),
    _option("noised paste, DPS, 1", 0.37, 0.90, 1.00, step_size=1.0, normalisation="dps"),
    _option("RePaint, 2", 0.48, 1.02, 1.06, resampling=2),
    _option("RePaint, 5", 0.42, 0.92, 0.96, resampling=5),
    _option("RePaint, 10", 0.39, 0.91, 0.90, resampling=10),
    _option("DDIM, noised paste", 0.56, 1.12, 1.42, kind="ddim"),
    _option("DDIM, noised paste, 3e-2", 0.45, 1.03, 1.30, kind="ddim", step_size=0.03),
    Option("DPM-Solver++(2M), noised paste, 3e-2", kind="dpmpp-2m", step_size=0.03),
    Option("Euler, noised paste, 3e-2", kind="euler", step_size=0.03),
    Option("Heun, 25 steps, noised paste, 3e-2", kind="heun", steps=25, step_size=0.03),
    Option("DDIM, gradient only, 0.3", kind="ddim", consistency="end", step_size=0.3),
    _option("500 steps, clean paste", 0.58, 1.14, 1.21, steps=500, consistency="clean"),
    Option("500 steps, clean paste, 3e-2", steps=500, consistency="clean", step_size=0.03),
    _option(
        "500 steps, clean paste, 3e-2 unscaled",
        0.99,
        0.69,
        0.92,
        steps=500,
        consistency="clean",
        step_size=0.3,
    ),
)
"""Of seed 001's reference notes, and what they do not have. Theirs at 500 steps had 4 draws, those
of RePaint 6, the others 8."""


def draw(
    option: Option,
    *,
    seed: int = 0,
    num_features: int = 8,
    losses: list[Weighted] | None = None,
    strength: float = 1.0,
    is_literal_start: bool = False,
) -> tuple[FilledSequence, Tensor]:
    """Return draws ``b l d`` of a canvas, and the canvas ``l d``; features are independent.

    Args:
        option: how to sample.
        seed: of the canvas and of the draws.
        num_features: how many canvases at once.
        losses: instead of that for the reconstruction of what is known.
        strength: below 1, the draft is the canvas itself, the gap included.
        is_literal_start: see `fill_gaussian`.
    """
    rng = Rng(seed)
    truth = FIELD.sample(1, rng.stream(0), num_features=num_features)[0]
    x = truth.repeat(NUM_DRAWS, 1, 1)
    known = KNOWN.repeat(NUM_DRAWS, 1)
    filled = fill_gaussian(
        EncodedCanvas(x=x, known=known, valid=torch.ones_like(known), draft=x),
        FIELD.denoise_fn(PROCESS.schedule),
        PROCESS,
        sampler=GaussianSamplerConfig(kind=option.kind, steps=option.steps),
        guidance=GuidanceConfig(
            step_size=option.step_size,
            normalisation=option.normalisation,
            consistency=option.consistency,
            resampling=option.resampling,
        ),
        rngs=[rng.stream(1, i) for i in range(NUM_DRAWS)],
        losses=reconstruction(x, known) if losses is None else losses,
        strength=strength,
        is_literal_start=is_literal_start,
    )
    return filled, truth


def reconstruction(x: Tensor, known: Tensor) -> list[Weighted]:
    """Return the loss for what is known."""
    mask = TimeMask(known=known)
    return [Weighted(loss=ReconstructionLoss(operator=mask, target=mask.apply(x)))]


def measure(option: Option, **settings) -> Fit:
    """Return how draws compare with the true law of the gap."""
    filled, truth = draw(option, **settings)
    return fit(FIELD, filled.x, KNOWN, truth)


def kept(draws: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return what draws have of a draft that is the truth, and their variance.

    The first is the correlation with the draft of what the context does not predict; the second is
    over the true variance, about the true mean.
    """
    mean, covariance = FIELD.conditional(KNOWN, truth[None])
    std = covariance.diagonal().sqrt()[:, None]
    found, given = (draws[:, ~KNOWN] - mean) / std, (truth[~KNOWN] - mean) / std
    shared = (found * given).mean() / (found.square().mean() * given.square().mean()).sqrt()
    return float(shared), float(found.square().mean())


def exact_draws(*, seed: int = 0, num_features: int = 8) -> Fit:
    """Return what draws of the true law have."""
    rng = Rng(seed)
    truth = FIELD.sample(1, rng.stream(0), num_features=num_features)[0]
    mean, covariance = FIELD.conditional(KNOWN, truth[None])
    values, vectors = torch.linalg.eigh(covariance)
    noise = torch.from_numpy(
        np.stack([rng.stream(1, i).standard_normal(mean.shape[1:]) for i in range(NUM_DRAWS)])
    )
    draws = truth.repeat(NUM_DRAWS, 1, 1)
    draws[:, ~KNOWN] = mean + vectors @ (values.clamp_min(0).sqrt()[:, None] * noise)
    return fit(FIELD, draws, KNOWN, truth)
