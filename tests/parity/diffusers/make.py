"""Make the fixture of this folder from the published package; see README.md.

Run by hand, never by tests: ``python make.py``, where diffusers is installed.
"""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
)

SHAPE = (2, 6)


def chain(scheduler: object, steps: int, *, seed: int, outputs: int = 1) -> dict[str, np.ndarray]:
    """One run whose network puts out recorded random numbers, whatever it is shown."""
    rng = np.random.default_rng(seed)
    scheduler.set_timesteps(steps)
    calls = len(scheduler.timesteps)
    raw = rng.standard_normal((calls, SHAPE[0], outputs * SHAPE[1]))
    if outputs == 2:
        raw[..., SHAPE[1] :] = rng.uniform(-1, 1, (calls, *SHAPE))
    noise = rng.standard_normal((calls, *SHAPE))
    x = torch.from_numpy(rng.standard_normal(SHAPE))
    states = [x]
    for k, t in enumerate(scheduler.timesteps):
        drawn = torch.from_numpy(noise[k])
        with patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, d=drawn, **_: d):
            x = scheduler.step(torch.from_numpy(raw[k]), t, x).prev_sample
        states.append(x)
    sigmas = getattr(scheduler, "sigmas", torch.zeros(0))
    return {
        "timesteps": scheduler.timesteps.numpy(),
        "sigmas": sigmas.numpy(),
        "raw": raw,
        "noise": noise,
        "states": torch.stack(states).double().numpy(),
    }


def main() -> None:
    """Write the fixture."""
    cosine, linear = "squaredcos_cap_v2", "linear"
    sample = {"prediction_type": "sample"}
    no_clip = {"clip_sample": False, "timestep_spacing": "linspace"}
    learned = {"variance_type": "learned_range", **no_clip}
    runs = {
        "dpm_linear": chain(DPMSolverMultistepScheduler(**sample), 20, seed=0),
        "dpm_cosine": chain(
            DPMSolverMultistepScheduler(beta_schedule=cosine, lambda_min_clipped=-5.1, **sample),
            12,
            seed=1,
        ),
        "dpm_flow": chain(DPMSolverMultistepScheduler(use_flow_sigmas=True, **sample), 16, seed=2),
        "heun_flow": chain(FlowMatchHeunDiscreteScheduler(), 10, seed=3),
        "ddpm_learned_linear": chain(
            DDPMScheduler(beta_schedule=linear, **learned), 12, seed=4, outputs=2
        ),
        "ddpm_learned_cosine": chain(
            DDPMScheduler(beta_schedule=cosine, **learned), 25, seed=5, outputs=2
        ),
        "ddpm_small": chain(
            DDPMScheduler(prediction_type="v_prediction", variance_type="fixed_small", **no_clip),
            12,
            seed=6,
        ),
        "ddpm_large": chain(
            DDPMScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.0015,
                beta_end=0.0195,
                variance_type="fixed_large",
                **no_clip,
                **sample,
            ),
            12,
            seed=7,
        ),
        "ddim": chain(
            DDIMScheduler(
                prediction_type="v_prediction",
                beta_schedule=cosine,
                set_alpha_to_one=True,
                timestep_spacing="trailing",
                clip_sample=False,
            ),
            10,
            seed=8,
        ),
    }
    arrays = {f"{run}/{key}": value for run, found in runs.items() for key, value in found.items()}
    np.savez_compressed(Path(__file__).with_name("steps.npz"), **arrays)


if __name__ == "__main__":
    main()
