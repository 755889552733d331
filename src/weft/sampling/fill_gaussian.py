"""Samplers of the Gaussian process that keep what is known and go where they are guided.

The network is unconditional, or told of the canvas by whoever makes the ``denoise_fn``; here, known
frames enter by data consistency, by the gradient of losses, and by resampling.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.gaussian import GaussianProcess, GaussianSchedule, expand_time
from weft.process.sequence import EncodedCanvas
from weft.sampling.consistency import Measurement, measurement_of, start_from_draft
from weft.sampling.guidance import (
    GuidanceConfig,
    Guided,
    Weighted,
    guided_estimate,
    scaled_step_size,
)
from weft.sampling.steps_gaussian import (
    DenoiseFn,
    Estimate,
    GaussianSamplerConfig,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    draw_noise,
    euler_step,
    heun_step,
    time_grid,
)


@final
@dataclass(frozen=True, kw_only=True)
class FilledSequence:
    """A canvas without unknown frames, and what filling it took."""

    x: Float[Tensor, "b l d"]
    """Known frames and padding are as given (but with ``consistency="none"``, known frames)."""
    num_calls: int
    """How often ``denoise_fn`` was called."""


def fill_gaussian(
    canvas: EncodedCanvas,
    denoise_fn: DenoiseFn,
    process: GaussianProcess,
    *,
    sampler: GaussianSamplerConfig,
    guidance: GuidanceConfig,
    rngs: Sequence[np.random.Generator],
    losses: Sequence[Weighted] = (),
    strength: float = 1.0,
    is_literal_start: bool = False,
    measurement: Measurement | None = None,
) -> FilledSequence:
    """Draw what is unknown of a canvas.

    An item's draws depend on its generator and its valid frames, not on other items. Without
    losses, or with a step size of 0, there is no backward pass. Network parameters get no
    gradients. Without unknown frames there is no call.

    Args:
        canvas: continuous latents of unit variance; what stands at unknown frames is not read.
        denoise_fn: from noisy sequence and time to the expected clean one. It sees padding as zeros
            and must not let it matter; items may not depend on each other.
        process: its schedule is that of the noise, its variance that of the steps of DDPM.
        sampler: which steps. DDPM is best where something is known.
        guidance: how what is known and wanted enters.
        rngs: one generator an item, from which all its draws come.
        losses: what is wanted besides.
        strength: how far from the canvas' draft, in [0, 1]: the noise mixed in at the start is
            ``strength / (1 - strength)`` times as strong as the draft, and the steps above the time
            with that ratio are left out. 0 returns the draft; 1 ignores it.
        is_literal_start: start a draft from ``k z + (1 - k) draft`` at ``sampler.first_time``, as
            printed; see Source.
        measurement: what is known, if it is other than frames; all frames are then unknown.

    Raises:
        ConfigError: strength is outside [0, 1], or below 1 without a draft; or the process leaves
            the variance to the network, of which the estimate says nothing; or see
            `guided_estimate` and `measurement_of`.
        ShapeError: the canvas holds no latents, or the generators do not fit its items.
        DivergenceError: the network or the guidance gave NaN or infinity.

    Source: seed 001, algorithms 1 and 2, table 2; Lugmayr et al. 2022 (RePaint), algorithm 1.
    Differs: the noise of a DDPM step has the square root of the printed variance; in DDIM the
    changed noise does not change the estimate, which is when the printed minus is right. A draft
    starts at the time at which it has the strength ``k / (1 - k)``, scaled to the variance of that
    time: started at t = 1, as printed, a DDPM sampler forgets it in the first step. Other samplers
    have the denoised estimate shifted so that a first-order step moves as it does in DDIM.
    """
    _check(canvas, process, rngs, strength)
    known = measurement_of(canvas, measurement)
    if not bool(canvas.unknown.any()):
        return FilledSequence(x=canvas.x, num_calls=0)
    noise = _Noise(canvas, rngs)
    x, times = _start(canvas, known, noise, process.schedule, sampler, strength, is_literal_start)
    walk = _Walk(
        denoise_fn=denoise_fn,
        process=process,
        sampler=sampler,
        guidance=guidance,
        losses=losses,
        known=known,
        noise=noise,
    )
    with torch.no_grad():
        x = walk.to_end(x, times)
    return FilledSequence(
        x=torch.where(canvas.valid[..., None], x.to(canvas.x), canvas.x), num_calls=walk.num_calls
    )


def draft_time(strength: float, schedule: GaussianSchedule) -> float:
    """Return the time at which noise is ``strength / (1 - strength)`` times the signal.

    Example:
        >>> from weft.process.gaussian import CosineSchedule
        >>> round(draft_time(0.85, CosineSchedule()), 3), draft_time(0.5, CosineSchedule())
        (0.889, 0.5)

    Source: seed 001, table 2, "regenerate", whose ``k z + (1 - k) x`` has the scales of this time
    but for a common factor; with the cosine schedule it is ``2 / pi atan(k / (1 - k))``.
    """
    if strength <= 0:
        return 0.0
    log_snr = -math.inf if strength >= 1 else 2 * math.log((1 - strength) / strength)
    return float(schedule.time_at(torch.tensor(log_snr, dtype=torch.float64)))


@final
class _Noise:
    """Draws for the valid frames of each item; padding has zeros and takes no draws."""

    def __init__(self, canvas: EncodedCanvas, rngs: Sequence[np.random.Generator]) -> None:
        self.rngs = rngs
        self.valid = canvas.valid
        self.is_padded = not bool(canvas.valid.all())

    def draw(self, like: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return standard normal noise."""
        if not self.is_padded:
            return draw_noise(self.rngs, like.shape[1:], like)
        drawn = torch.zeros_like(like)
        for i, (rng, valid) in enumerate(zip(self.rngs, self.valid, strict=True)):
            drawn[i, valid] = draw_noise([rng], (int(valid.sum()), like.shape[2]), like)[0]
        return drawn

    def silence_padding(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Put zeros where an item has no frames."""
        return torch.where(self.valid[..., None], x, 0.0) if self.is_padded else x


def _start(
    canvas: EncodedCanvas,
    known: Measurement,
    noise: _Noise,
    schedule: GaussianSchedule,
    sampler: GaussianSamplerConfig,
    strength: float,
    is_literal_start: bool,
) -> tuple[Float[Tensor, "b l d"], list[float]]:
    """Return the sequence to start from, and the times of the steps, of which there may be none."""
    like = torch.zeros_like(canvas.x, dtype=torch.promote_types(canvas.x.dtype, torch.float32))
    first = like.new_full((len(like),), sampler.first_time)
    if strength == 1:
        alpha, sigma = schedule.alpha(first), schedule.sigma(first)
        spread = (alpha.square() + sigma.square()).sqrt()  # of unit variance data at that time
        return expand_time(spread, like) * noise.draw(like), time_grid(sampler).tolist()
    base = start_from_draft(canvas, known, like=like)
    if strength == 0:
        return base, []
    drawn = noise.draw(like)
    if is_literal_start:
        return strength * drawn + (1 - strength) * base, time_grid(sampler).tolist()
    time = min(draft_time(strength, schedule), sampler.first_time)
    if time <= sampler.last_time:
        return base, []
    share = (time - sampler.last_time) / (sampler.first_time - sampler.last_time)
    times = time_grid(replace(sampler, first_time=time, steps=max(1, round(share * sampler.steps))))
    t = first.new_full((len(like),), time)
    alpha, sigma = expand_time(schedule.alpha(t), like), expand_time(schedule.sigma(t), like)
    return alpha * base + sigma * drawn, times.tolist()


@final
class _Walk:
    """One run of a sampler over all items, from noisy to clean."""

    def __init__(
        self,
        *,
        denoise_fn: DenoiseFn,
        process: GaussianProcess,
        sampler: GaussianSamplerConfig,
        guidance: GuidanceConfig,
        losses: Sequence[Weighted],
        known: Measurement,
        noise: _Noise,
    ) -> None:
        self.denoise_fn = denoise_fn
        self.process = process
        self.is_least = process.variance == "posterior"
        self.schedule = process.schedule
        self.kind = sampler.kind
        self.guidance = guidance
        self.step_size = scaled_step_size(guidance, sampler.steps)
        self.losses = losses if guidance.step_size > 0 else ()
        self.known = known
        self.noise = noise
        self.previous: Estimate | None = None  # of the step before, for steps of second order
        self.num_calls = 0

    def to_end(self, x: Float[Tensor, "b l d"], times: Sequence[float]) -> Float[Tensor, "b l d"]:
        """Take all steps; known frames are then as measured."""
        times_of_items = [x.new_full((len(x),), time) for time in times]
        if times_of_items:
            x = self.agree(x, times_of_items[0])
        for t, s in pairwise(times_of_items):
            num_turns = self.guidance.resampling
            # Nothing would be left of the first turn; and what is clean is not made noisy again.
            if s is times_of_items[-1] or bool((self.schedule.alpha(t) == 0).any()):
                num_turns = 1
            for turn in range(num_turns):
                if turn:
                    x = self.back(x, s, t)
                x = self.agree(self.noise.silence_padding(self.step(x, t, s)), s)
        return x if self.guidance.consistency == "none" else self.known.project(x)

    def agree(self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Put what is known into a noisy sequence."""
        if self.guidance.consistency == "clean":
            return self.known.project(x)
        if self.guidance.consistency == "noised":
            noise = self.noise.draw(x)
            return self.known.project_noisy(x, t, schedule=self.schedule, noise=noise)
        return x

    def back(
        self, x: Float[Tensor, "b l d"], s: Float[Tensor, " b"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b l d"]:
        """Add noise from time ``s`` to time ``t``."""
        self.previous = None
        schedule = self.schedule
        ratio = schedule.alpha(t) / schedule.alpha(s)
        std = (schedule.sigma(t).square() - (ratio * schedule.sigma(s)).square()).sqrt()
        return expand_time(ratio, x) * x + expand_time(std, x) * self.noise.draw(x)

    def step(
        self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"], s: Float[Tensor, " b"]
    ) -> Float[Tensor, "b l d"]:
        """Go from time ``t`` to ``s``."""
        schedule = self.schedule
        found = self.estimate(x, t)
        if self.kind == "ddpm":
            stepped = ddpm_step(
                x,
                found.x0hat,
                t,
                s,
                schedule=schedule,
                noise=self.noise.draw(x),
                log_variance=None if self.is_least else self.process.step_log_variance(t, s, x),
            )
            if found.gradient is None:
                return stepped
            return stepped - self.step_size * found.gradient
        if self.kind == "ddim":
            return ddim_step(
                x, found.x0hat, t, s, schedule=schedule, eps_hat=self.changed_noise(x, found, t)
            )
        x0hat = self.shifted(found, t, s)
        if self.kind == "dpmpp-2m":
            stepped = dpmpp_2m_step(x, x0hat, self.previous, t, s, schedule=schedule)
            self.previous = Estimate(x0hat=x0hat, t=t)
            return stepped
        stepped = euler_step(x, x0hat, t, s, schedule=schedule)
        if self.kind == "euler" or bool((schedule.sigma(s) == 0).all()):
            return stepped
        corrected = self.shifted(self.estimate(stepped, s), t, s, is_end=True)
        return heun_step(x, x0hat, stepped, corrected, t, s, schedule=schedule)

    def estimate(self, x: Float[Tensor, "b l d"], t: Float[Tensor, " b"]) -> Guided:
        """Call the network; the estimate agrees with what is known, the gradient is as it was."""
        self.num_calls += 1
        found = guided_estimate(
            self.denoise_fn,
            x,
            t,
            losses=self.losses,
            normalisation=self.guidance.normalisation,
        )
        if self.guidance.consistency != "x0":
            return found
        return replace(found, x0hat=self.known.project(found.x0hat))

    def changed_noise(
        self, x: Float[Tensor, "b l d"], found: Guided, t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b l d"] | None:
        """Return the noise that algorithm 2 goes on with; None: what the estimate leaves."""
        if found.gradient is None:
            return None
        alpha, sigma = (expand_time(f(t), x) for f in (self.schedule.alpha, self.schedule.sigma))
        # Minus, because the estimate stays: recalculated from this noise it would need a plus.
        return (x - alpha * found.x0hat) / sigma - self.step_size * sigma * found.gradient

    def shifted(
        self,
        found: Guided,
        t: Float[Tensor, " b"],
        s: Float[Tensor, " b"],
        *,
        is_end: bool = False,
    ) -> Float[Tensor, "b l d"]:
        """Return the estimate with which a first-order step moves by what it does in DDIM.

        That is ``step_size sigma_t sigma_s`` times the gradient. An estimate at the end of a step
        (of Heun's method) gets the shift with which a step of its velocity alone moves as far.
        """
        if found.gradient is None:
            return found.x0hat
        schedule = self.schedule
        alpha_t, alpha_s, sigma_t, sigma_s = (
            expand_time(f(time), found.x0hat)
            for f in (schedule.alpha, schedule.sigma)
            for time in (t, s)
        )
        gain = alpha_s - alpha_t * sigma_s / sigma_t
        if is_end:
            gain = gain * sigma_t / sigma_s * (alpha_s + sigma_s) / (alpha_t + sigma_t)
        return found.x0hat - self.step_size * sigma_t * sigma_s / gain * found.gradient


def _check(
    canvas: EncodedCanvas,
    process: GaussianProcess,
    rngs: Sequence[np.random.Generator],
    strength: float,
) -> None:
    """Refuse what cannot be filled, before any work."""
    if canvas.x.ndim != 3 or not canvas.x.is_floating_point():
        raise ShapeError(
            f"a canvas of latents is needed, got {canvas.x.dtype} of shape "
            f"{tuple(canvas.x.shape)}; tokens need a model of another kind"
        )
    if len(rngs) != len(canvas.x):
        raise ShapeError(f"{len(rngs)} generators for {len(canvas.x)} items; give one an item")
    if process.variance == "learned-range":
        raise ConfigError(
            "a denoised estimate says nothing of a learned variance; give a process with "
            "variance='posterior' or 'forward'"
        )
    if not 0 <= strength <= 1:
        raise ConfigError(
            f"strength must be in [0, 1], got {strength}; 0 keeps the draft, 1 ignores it"
        )
