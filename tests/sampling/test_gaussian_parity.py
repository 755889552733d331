"""Steps of Gaussian samplers beside published ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from weft.losses.gaussian import gaussian_loss, variational_bound
from weft.process.gaussian import (
    FlowSchedule,
    GaussianProcess,
    GaussianSchedule,
    TableSchedule,
    VarianceKind,
)
from weft.sampling.steps_gaussian import (
    Estimate,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    euler_step,
    heun_step,
)

PARITY = Path(__file__).parents[1] / "parity"
DIFFUSERS = np.load(PARITY / "diffusers" / "steps.npz")
MAR = {k: torch.from_numpy(v) for k, v in np.load(PARITY / "mar_head" / "io.npz").items()}
COSINE, LINEAR = TableSchedule(betas="cosine"), TableSchedule()
SCALED = TableSchedule(betas="scaled-linear", first_beta=0.0015, last_beta=0.0195)


def run(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return timesteps, outputs, noise and states of a published run."""
    found = (DIFFUSERS[f"{name}/{key}"] for key in ("timesteps", "raw", "noise", "states"))
    timesteps, raw, noise, states = (torch.from_numpy(z) for z in found)
    return timesteps, raw, noise, states


def table_times(timesteps: Tensor) -> Tensor:
    """Return times ``steps+1 2`` of a table's steps, ending clean."""
    times = torch.cat([(timesteps.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])
    return times[:, None].expand(-1, 2)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("dpm_linear", LINEAR), ("dpm_cosine", COSINE), ("dpm_flow", FlowSchedule())],
)
def test_multistep_is_the_published_one(name: str, schedule: GaussianSchedule) -> None:
    timesteps, raw, _, states = run(name)
    times = table_times(timesteps)
    if isinstance(schedule, FlowSchedule):
        times = torch.from_numpy(DIFFUSERS[f"{name}/sigmas"]).double()[:, None].expand(-1, 2)
    x, previous = states[0], None
    for k, x0hat in enumerate(raw):
        t, s = times[k], times[k + 1]
        x = dpmpp_2m_step(x, x0hat, previous, t, s, schedule=schedule)
        previous = Estimate(x0hat=x0hat, t=t)
        assert float((x - states[k + 1]).abs().max()) < 1e-4


def test_heun_is_the_published_one() -> None:
    _, raw, _, states = run("heun_flow")
    sigmas = torch.from_numpy(DIFFUSERS["heun_flow/sigmas"]).double()
    schedule, x = FlowSchedule(), states[0]
    times = torch.cat([sigmas[:1], sigmas[1::2]])[:, None].expand(-1, 2)
    assert len(times) == 11
    for k in range(10):
        t, s = times[k], times[k + 1]
        x0hat = x - t[:, None] * raw[2 * k]
        x_euler = euler_step(x, x0hat, t, s, schedule=schedule)
        assert float((x_euler - states[2 * k + 1]).abs().max()) < 1e-5
        if k == 9:
            corrected = heun_step(x, x0hat, x_euler, x_euler, t, s, schedule=schedule)
            assert torch.equal(corrected, x_euler)
            return
        x0hat_euler = x_euler - s[:, None] * raw[2 * k + 1]
        x = heun_step(x, x0hat, x_euler, x0hat_euler, t, s, schedule=schedule)
        assert float((x - states[2 * k + 2]).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "schedule", "prediction", "variance"),
    [
        ("ddpm_learned_linear", LINEAR, "eps", "learned-range"),
        ("ddpm_learned_cosine", COSINE, "eps", "learned-range"),
        ("ddpm_small", LINEAR, "v", "posterior"),
        ("ddpm_large", SCALED, "x0", "forward"),
    ],
)
def test_ancestral_steps_are_the_published_ones(
    name: str, schedule: TableSchedule, prediction: str, variance: VarianceKind
) -> None:
    process = GaussianProcess(schedule=schedule, prediction=prediction, variance=variance)
    timesteps, raw, noise, states = run(name)
    times = table_times(timesteps)
    if name == "ddpm_learned_cosine":
        assert torch.allclose(times[:, 0], schedule.respaced_times(25))
    for k, out in enumerate(raw):
        x, t, s = states[k], times[k], times[k + 1]
        guess, says = process.split(out)
        log_variance = process.step_log_variance(t, s, x if says is None else says)
        x0hat = process.to_x0(guess, x, t)
        found = ddpm_step(
            x, x0hat, t, s, schedule=schedule, noise=noise[k], log_variance=log_variance
        )
        error = (found - states[k + 1]).abs().max() / states[k + 1].abs().max().clamp_min(1)
        assert float(error) < 1e-4, k
        if variance == "posterior":
            plain = ddpm_step(x, x0hat, t, s, schedule=schedule, noise=noise[k])
            assert torch.allclose(plain, found, rtol=1e-12)


def test_ddim_is_the_published_one() -> None:
    timesteps, raw, _, states = run("ddim")
    process = GaussianProcess(schedule=COSINE, prediction="v")
    times = table_times(timesteps)
    x = states[0]
    for k, out in enumerate(raw):
        t, s = times[k], times[k + 1]
        x = ddim_step(x, process.to_x0(out, x, t), t, s, schedule=COSINE)
        assert float((x - states[k + 1]).abs().max()) < 1e-4


class Head:
    """The published diffusion head, in its shortest form."""

    def __init__(self) -> None:
        weights = load_file(PARITY / "mar_head" / "state_dict.safetensors")
        self.weights = {k.removeprefix("net."): v for k, v in weights.items()}

    def layer(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def __call__(self, x: Tensor, index: Tensor, z: Tensor) -> Tensor:
        angles = index[:, None] * torch.exp(-np.log(1e4) * torch.arange(128) / 128)
        told = torch.cat([angles.cos(), angles.sin()], dim=1)
        told = self.layer("time_embed.mlp.2", silu(self.layer("time_embed.mlp.0", told)))
        told = silu(told + self.layer("cond_embed", z))
        hidden = self.layer("input_proj", x)
        for i in range(3):
            name = f"res_blocks.{i}"
            shift, scale, gate = self.layer(f"{name}.adaLN_modulation.1", told).chunk(3, dim=1)
            norm = self.weights[f"{name}.in_ln.weight"], self.weights[f"{name}.in_ln.bias"]
            inner = layer_norm(hidden, hidden.shape[1:], *norm, 1e-6) * (1 + scale) + shift
            inner = self.layer(f"{name}.mlp.2", silu(self.layer(f"{name}.mlp.0", inner)))
            hidden = hidden + gate * inner
        shift, scale = self.layer("final_layer.adaLN_modulation.1", told).chunk(2, dim=1)
        hidden = layer_norm(hidden, hidden.shape[1:], eps=1e-6) * (1 + scale) + shift
        return self.layer("final_layer.linear", hidden)


PROCESS = GaussianProcess(schedule=COSINE, prediction="eps", variance="learned-range")


@pytest.mark.parametrize(("name", "temperature"), [("samp_t1", 1.0), ("samp_temp", 0.95)])
def test_a_respaced_chain_with_learned_variance_is_the_published_one(
    name: str, temperature: float
) -> None:
    head, x = Head(), MAR[f"{name}_init_noise"]
    times = COSINE.respaced_times(25).float()[:, None].expand(-1, len(x))
    for k in range(25):
        t, s = times[k], times[k + 1]
        eps, says = PROCESS.split(head(x, COSINE.index_at(t), MAR[f"{name}_z"]))
        assert says is not None
        noise = temperature * MAR[f"{name}_step_noise"][k]
        log_variance = PROCESS.step_log_variance(t, s, says)
        x0hat = PROCESS.to_x0(eps, x, t)
        x = ddpm_step(x, x0hat, t, s, schedule=COSINE, noise=noise, log_variance=log_variance)
    wanted = MAR[f"{name}_out"]
    assert float((x - wanted).abs().max() / wanted.std()) < 1e-4  # measured 4e-6


def test_losses_of_a_learned_variance_are_the_published_ones() -> None:
    x0, noise, index = MAR["x0"], MAR["noise"], MAR["t"]
    t = COSINE.time_of(index)
    x = PROCESS.corrupt(x0, t, noise=noise)
    assert float((x - MAR["x_t_train"]).abs().max()) < 1e-6
    eps, says = PROCESS.split(Head()(x, index, MAR["c"]))
    assert says is not None
    error = gaussian_loss(eps, x0, noise, t, PROCESS)
    assert torch.allclose(error, MAR["mse"], rtol=1e-4, atol=1e-5)
    bound = variational_bound(says, PROCESS.to_x0(eps, x, t), x0, index, COSINE)
    assert int(index[0]) == 0  # the term of the first step is of another kind
    # Measured 2e-4, by the published approximation of the normal distribution.
    assert float((bound - MAR["vb"]).abs().max()) < 4e-4
    assert torch.allclose(bound[1:], MAR["vb"][1:], rtol=1e-4, atol=1e-5)
