"""Corruption by noise, and what a network's output means."""

from itertools import permutations, product
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import ConfigError, ShapeError
from weft.process.gaussian import (
    CosineSchedule,
    FlowSchedule,
    GaussianProcess,
    GaussianSchedule,
    Prediction,
    TableSchedule,
    VarianceKind,
    expand_time,
)

KINDS: tuple[Prediction, ...] = get_args(Prediction)
SCHEDULES: list[GaussianSchedule] = [
    CosineSchedule(),
    FlowSchedule(),
    TableSchedule(betas="cosine"),
]


def material(
    shape: tuple[int, ...] = (2, 5, 3), dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, *shape, generator=generator, dtype=dtype)
    return x0, noise


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@settings(max_examples=4)
@given(times=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=64))
def test_predictions_become_each_other_and_return(
    schedule: GaussianSchedule, times: list[float]
) -> None:
    x0, noise = material((len(times), 5, 3))
    t = torch.tensor(times, dtype=torch.float64)
    for source, target in product(KINDS, KINDS):
        process = GaussianProcess(schedule=schedule, prediction=source)
        x = process.corrupt(x0, t, noise=noise)
        raw = process.target(x0, noise, t)
        other = process.convert(raw, x, t, source, target)
        wanted = GaussianProcess(schedule=schedule, prediction=target).target(x0, noise, t)
        assert torch.allclose(other, wanted, rtol=1e-6, atol=1e-8), (source, target)
        back = process.convert(other, x, t, target, source)
        assert torch.allclose(back, raw, rtol=1e-6), (source, target)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("source", KINDS)
def test_any_output_means_one_pair_of_signal_and_noise(
    schedule: GaussianSchedule, source: Prediction
) -> None:
    # Outputs of networks are no targets: what they mean must still make up x.
    x, raw = material()
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    process = GaussianProcess(schedule=schedule, prediction=source)
    x0, eps = process.to_x0(raw, x, t), process.to_eps(raw, x, t)
    assert torch.allclose(process.corrupt(x0, t, noise=eps), x, rtol=1e-10)


def test_targets_are_those_of_the_papers() -> None:
    x0, noise = material()
    t = torch.tensor([0.25, 1.0], dtype=torch.float64)
    alpha, sigma = (
        z[:, None, None] for z in (CosineSchedule().alpha(t), CosineSchedule().sigma(t))
    )
    found = {k: GaussianProcess(prediction=k).target(x0, noise, t) for k in KINDS}
    assert torch.equal(found["x0"], x0)
    assert torch.equal(found["eps"], noise)
    assert torch.allclose(found["v"], alpha * noise - sigma * x0)
    assert torch.allclose(found["score"], -noise / sigma)
    assert torch.allclose(found["flow"], noise - x0)


def test_flow_is_the_velocity_of_the_linear_schedule() -> None:
    x0, noise = material((1, 4, 2))
    process = GaussianProcess(schedule=FlowSchedule(), prediction="flow")

    def path(t: torch.Tensor) -> torch.Tensor:
        return process.corrupt(x0, t[None], noise=noise)

    t = torch.tensor(0.3, dtype=torch.float64)
    velocity = torch.autograd.functional.jacobian(path, t)
    assert torch.allclose(velocity, process.target(x0, noise, t[None]))


@pytest.mark.parametrize("schedule", [*SCHEDULES, TableSchedule()], ids=repr)
def test_both_ends_are_finite_in_32_bits_and_so_are_gradients(schedule: GaussianSchedule) -> None:
    x, raw = material((4, 5, 3), torch.float32)
    x.requires_grad_()
    raw.requires_grad_()
    t = torch.tensor([0.0, 1e-7, 1 - 6e-8, 1.0])
    for source, target in permutations(KINDS, 2):
        found = GaussianProcess(schedule=schedule).convert(raw, x, t, source, target)
        assert found.dtype == torch.float32
        assert bool(torch.isfinite(found).all()), (source, target)
        slopes = torch.autograd.grad(found.abs().sum(), [x, raw], allow_unused=True)
        assert all(z is None or bool(torch.isfinite(z).all()) for z in slopes), (source, target)


@pytest.mark.parametrize("prediction", ["x0", "v", "flow"])
def test_pure_noise_still_has_an_estimate(prediction: Prediction) -> None:
    x0, noise = material(dtype=torch.float32)
    t = torch.ones(2)
    process = GaussianProcess(prediction=prediction)
    x = process.corrupt(x0, t, noise=noise)
    assert torch.equal(x, noise)
    assert torch.allclose(process.to_x0(process.target(x0, noise, t), x, t), x0, atol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "score"])
def test_noise_alone_says_nothing_of_the_signal(prediction: Prediction) -> None:
    x, raw = material(dtype=torch.float32)
    found = GaussianProcess(prediction=prediction).to_x0(raw, x, torch.ones(2))
    assert torch.equal(found, torch.zeros_like(x))


def test_clean_sequences_stay_as_they_are() -> None:
    x0, noise = material(dtype=torch.float32)
    process = GaussianProcess(prediction="v")
    x = process.corrupt(x0, torch.zeros(2), noise=noise)
    assert torch.equal(x, x0)
    assert torch.equal(process.to_x0(noise, x, torch.zeros(2)), x0)


def test_each_item_has_its_own_time() -> None:
    x0, noise = material()
    t = torch.tensor([0.1, 0.7], dtype=torch.float64)
    process = GaussianProcess()
    both = process.corrupt(x0, t, noise=noise)
    for i in range(2):
        one = process.corrupt(x0[i : i + 1], t[i : i + 1], noise=noise[i : i + 1])
        assert torch.equal(both[i : i + 1], one)


@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4), (2, 3, 4, 5)])
def test_sequences_may_have_any_axes(shape: tuple[int, ...]) -> None:
    x0, noise = material(shape)
    t = torch.tensor([0.2, 0.5], dtype=torch.float64)
    process = GaussianProcess()
    x = process.corrupt(x0, t, noise=noise)
    assert torch.allclose(process.to_eps(process.target(x0, noise, t), x, t), noise)


def test_times_and_shapes_must_fit() -> None:
    # The type hook would be first where the unwrapped function is called.
    x0, noise = material()
    process = GaussianProcess()
    with pytest.raises(ShapeError, match="times for 2 items"):
        expand_time.__wrapped__(torch.zeros(3), x0)
    with pytest.raises(ShapeError, match="same shape"):
        process.corrupt(x0, torch.zeros(2), noise=noise[:, :4])
    with pytest.raises(ShapeError, match="same shape"):
        GaussianProcess.convert.__wrapped__(process, noise[:, :4], x0, torch.zeros(2), "v", "x0")


def test_variances_of_a_step_are_those_of_the_chain() -> None:
    schedule = CosineSchedule()
    t, s = torch.tensor([0.5, 1.0]).double(), torch.tensor([0.4, 0.9]).double()
    like = torch.zeros(2, 1, 1, dtype=torch.float64)
    step = schedule.sigma(t) ** 2 - (schedule.alpha(t) * schedule.sigma(s) / schedule.alpha(s)) ** 2
    most = GaussianProcess(variance="forward").step_log_variance(t, s, like)
    least = GaussianProcess(variance="posterior").step_log_variance(t, s, like)
    assert torch.allclose(most.exp()[:, 0, 0], step)
    assert torch.allclose(
        least.exp()[:, 0, 0], step * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2
    )


def test_a_learned_variance_runs_from_the_least_to_the_most() -> None:
    process = GaussianProcess(variance="learned-range")
    t, s = torch.tensor([0.5]), torch.tensor([0.4])
    says = torch.tensor([[[-1.0, 0.0, 1.0]]])
    found = process.step_log_variance(t, s, says)[0, 0]
    ends = [
        GaussianProcess(variance=kind).step_log_variance(t, s, says)[0, 0, 0]
        for kind in ("posterior", "forward")
    ]
    assert torch.allclose(found[[0, 2]], torch.stack(ends))
    assert float(found[1]) == pytest.approx(float(sum(ends)) / 2, rel=1e-5)
    for kind in get_args(VarianceKind):
        last = GaussianProcess(variance=kind).step_log_variance(t, torch.zeros(1), says)
        assert bool(torch.isneginf(last).all())


def test_a_learned_variance_is_split_off() -> None:
    raw = torch.arange(8.0).reshape(1, 2, 4)
    prediction, variance = GaussianProcess(variance="learned-range").split(raw)
    assert variance is not None
    assert torch.equal(torch.cat([prediction, variance], dim=-1), raw)
    plain, none = GaussianProcess().split(raw)
    assert torch.equal(plain, raw)
    assert none is None
    with pytest.raises(ShapeError, match="3 features"):
        GaussianProcess(variance="learned-range").split(raw[..., :3])


def test_predictions_are_named() -> None:
    for name in ("prediction", "variance"):
        process = GaussianProcess()
        object.__setattr__(process, name, "noise")  # the type hook would be first otherwise
        with pytest.raises(ConfigError, match=f"{name} must be one of .* got 'noise'"):
            process.__post_init__()
