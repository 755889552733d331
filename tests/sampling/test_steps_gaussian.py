"""Steps of Gaussian samplers, judged by a process whose posteriors are known."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles.gaussian_process import GaussianField, fit, make_field, middle_gap
from weft.errors import ConfigError, ShapeError
from weft.process.gaussian import (
    CosineSchedule,
    FlowSchedule,
    GaussianProcess,
    GaussianSchedule,
    TableSchedule,
)
from weft.sampling.steps_gaussian import (
    Estimate,
    GaussianSamplerConfig,
    GaussianSamplerKind,
    Spacing,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    draw_noise,
    euler_step,
    heun_step,
    time_grid,
)

SCHEDULES: list[GaussianSchedule] = [
    CosineSchedule(),
    FlowSchedule(),
    TableSchedule(betas="cosine"),
]
FIELD = make_field()
SMALL = make_field(48, reach=8)


def sample(
    field: GaussianField,
    schedule: GaussianSchedule,
    config: GaussianSamplerConfig,
    x: Tensor,
    *,
    is_unrooted: bool = False,
    seed: int = 1,
    guide: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Sample with the ideal denoiser; ``guide`` gives DDIM's estimate and noise."""
    denoise, process = field.denoise_fn(schedule), GaussianProcess(schedule=schedule)
    rngs = [np.random.default_rng((seed, i)) for i in range(len(x))]
    previous = None
    for now, then in pairwise(time_grid(config).to(x.dtype)):
        t, s = now.expand(len(x)), then.expand(len(x))
        x0hat = denoise(x, t)
        if config.kind == "ddpm":
            # Half the log of the variance is that of the deviation: doubled, nothing is rooted.
            wrong = 2 * process.step_log_variance(t, s, x) if is_unrooted else None
            noise = draw_noise(rngs, x.shape[1:], x)
            x = ddpm_step(x, x0hat, t, s, schedule=schedule, noise=noise, log_variance=wrong)
        elif config.kind == "ddim":
            x0hat, eps_hat = (x0hat, None) if guide is None else guide(x, x0hat, t)
            x = ddim_step(x, x0hat, t, s, schedule=schedule, eps_hat=eps_hat)
        elif config.kind == "dpmpp-2m":
            x_next = dpmpp_2m_step(x, x0hat, previous, t, s, schedule=schedule)
            previous, x = Estimate(x0hat=x0hat, t=t), x_next
        else:
            x_next = euler_step(x, x0hat, t, s, schedule=schedule)
            if config.kind == "heun":
                ahead = denoise(x_next, s)
                x_next = heun_step(x, x0hat, x_next, ahead, t, s, schedule=schedule)
            x = x_next
    return x


def noise_like(field: GaussianField, num_items: int, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((num_items, field.num_frames, 1))).to(dtype)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_ancestral_samples_have_the_right_variance(schedule: GaussianSchedule) -> None:
    start = noise_like(FIELD, 32, torch.float32)
    found = sample(FIELD, schedule, GaussianSamplerConfig(), start)
    assert found.dtype == torch.float32
    assert 0.8 < float(found.var()) < 1.05  # measured 0.90 to 0.91
    # As printed, the algorithm multiplies noise by the variance: 0.20, 0.13 and 0.20.
    collapsed = sample(FIELD, schedule, GaussianSamplerConfig(), start, is_unrooted=True)
    assert float(collapsed.var()) < 0.3


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_more_ancestral_steps_bring_the_variance_nearer(schedule: GaussianSchedule) -> None:
    # Without draws: variances of each direction of the process, step by step.
    exact = torch.linalg.eigvalsh(SMALL.covariance)

    def variance(steps: int) -> float:
        one = torch.ones(1, 48, dtype=torch.float64)
        power = one.clone()
        for t, s in pairwise(time_grid(GaussianSamplerConfig(steps=steps))[:, None]):
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            x0hat = alpha * exact * one / (alpha**2 * exact + sigma**2)
            mean = ddpm_step(one, x0hat, t, s, schedule=schedule, noise=0 * one)
            std = ddpm_step(one, x0hat, t, s, schedule=schedule, noise=one) - mean
            power = mean**2 * power + std**2
        return float(power.mean())

    errors = [1 - variance(steps) for steps in (20, 40, 120)]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < 0.3 * errors[0]


def order(
    kind: GaussianSamplerKind, schedule: GaussianSchedule, first: float, last: float
) -> float:
    """Return the power of the number of steps with which errors fall, over two doublings."""
    x = noise_like(SMALL, 4)
    exact = SMALL.flow_map(x, first, last, schedule)
    errors = []
    for steps in (20, 80):
        config = GaussianSamplerConfig(kind=kind, steps=steps, first_time=first, last_time=last)
        errors.append(float((sample(SMALL, schedule, config, x) - exact).square().mean().sqrt()))
    assert errors[1] < 0.03
    return float(np.log2(errors[0] / errors[1]) / 2)


@pytest.mark.parametrize("schedule", [CosineSchedule(), FlowSchedule()], ids=repr)
@pytest.mark.parametrize(
    ("kind", "wanted", "first", "last"),
    [
        ("ddim", 1, 0.9, 0.1),
        ("ddim", 1, 1.0, 0.0),
        ("heun", 2, 0.9, 0.1),
        ("heun", 2, 1.0, 0.0),
        # To the ends, where its variable is infinite, it has the order 1.6 on even times.
        ("dpmpp-2m", 2, 0.9, 0.1),
    ],
)
def test_errors_fall_with_the_order_of_the_step(
    schedule: GaussianSchedule,
    kind: GaussianSamplerKind,
    wanted: int,
    first: float,
    last: float,
) -> None:
    assert order(kind, schedule, first, last) == pytest.approx(wanted, abs=0.25)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_euler_on_the_flow_is_ddim(schedule: GaussianSchedule) -> None:
    x = noise_like(SMALL, 2)
    both = [
        sample(SMALL, schedule, GaussianSamplerConfig(kind=kind, steps=7), x)
        for kind in ("euler", "ddim")
    ]
    assert torch.allclose(*both, rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpmpp-2m", "euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_32_bits_lose_nothing_at_either_end(
    schedule: GaussianSchedule, kind: GaussianSamplerKind, steps: int
) -> None:
    config = GaussianSamplerConfig(kind=kind, steps=steps)
    wide = sample(SMALL, schedule, config, noise_like(SMALL, 2))
    narrow = sample(SMALL, schedule, config, noise_like(SMALL, 2, torch.float32))
    assert narrow.dtype == torch.float32
    # The table's last step leaves 5e-5 of signal, whose quotients lose digits.
    assert float((narrow - wide).abs().max()) < 2e-4


@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpmpp-2m", "euler", "heun"])
def test_gradients_stay_finite_through_whole_chains(kind: GaussianSamplerKind) -> None:
    x = noise_like(SMALL, 1, torch.float32).requires_grad_()
    found = sample(SMALL, CosineSchedule(), GaussianSamplerConfig(kind=kind, steps=3), x)
    (slope,) = torch.autograd.grad(found.square().sum(), x)
    assert bool(torch.isfinite(slope).all())


def test_from_pure_noise_the_ancestral_step_forgets_its_start() -> None:
    # A draft mixed into the start is lost at t = 1, and kept at 0.889 (strength 0.85).
    draft = 3 * FIELD.sample(1, np.random.default_rng(5))
    starts = [noise_like(FIELD, 1), noise_like(FIELD, 1) + draft]
    schedule = CosineSchedule()
    for first, is_lost in ((1.0, True), (0.889, False)):
        config = GaussianSamplerConfig(first_time=first)
        ends = [sample(FIELD, schedule, config, x) for x in starts]
        difference = float((ends[0] - ends[1]).abs().max())
        assert (difference < 1e-9) == is_lost, difference


def test_steps_of_one_item_do_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    x, x0hat, before = torch.from_numpy(rng.standard_normal((3, 5, 4, 2))).float()
    t, s = torch.tensor([1.0, 0.6, 0.3, 0.8, 0.5]), torch.tensor([0.9, 0.5, 0.0, 0.1, 0.4])
    schedule = CosineSchedule()

    def steps(i: slice) -> list[Tensor]:
        items = x[i], x0hat[i]
        rngs = [np.random.default_rng(k) for k in range(5)][i]
        noise = draw_noise(rngs, (4, 2), x)
        previous = Estimate(x0hat=before[i], t=(t[i] + 0.1).clamp_max(1))
        return [
            noise,
            ddpm_step(*items, t[i], s[i], schedule=schedule, noise=noise),
            ddim_step(*items, t[i], s[i], schedule=schedule),
            dpmpp_2m_step(*items, previous, t[i], s[i], schedule=schedule),
            heun_step(*items, before[i], x[i], t[i], s[i], schedule=schedule),
        ]

    whole = steps(slice(1, 5))
    for parts in ((slice(1, 2), slice(2, 5)), (slice(1, 4), slice(4, 5))):
        joined = [torch.cat(z) for z in zip(*map(steps, parts), strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(whole, joined, strict=True))


def test_noise_is_the_same_in_any_type() -> None:
    wide, narrow = (
        draw_noise([np.random.default_rng(3)], (4, 2), torch.zeros(0, dtype=dtype))
        for dtype in (torch.float64, torch.bfloat16)
    )
    assert torch.equal(wide.bfloat16(), narrow)
    assert wide.shape == (1, 4, 2)


def guided_bias(sign: float, *, is_recomputed: bool) -> float:
    """Return the bias of gaps filled by DDIM and the gradient of the distance to what is known."""
    schedule, known = CosineSchedule(), middle_gap()
    truth = FIELD.sample(1, np.random.default_rng(2))[0]
    denoise = FIELD.denoise_fn(schedule)

    def guide(x: Tensor, x0hat: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = (z[:, None, None] for z in (schedule.alpha(t), schedule.sigma(t)))
        at = x.detach().requires_grad_()
        distance = (denoise(at, t) - truth)[:, known].abs().sum()
        (gradient,) = torch.autograd.grad(distance, at)
        eps_hat = (x - alpha * x0hat) / sigma + sign * 0.3 * sigma * gradient
        # Nothing to make an estimate from at t = 1.
        again = torch.where(alpha > 0, (x - sigma * eps_hat) / alpha.clamp_min(1e-9), x0hat)
        return (again if is_recomputed else x0hat), eps_hat

    config = GaussianSamplerConfig(kind="ddim", steps=25)
    draws = sample(FIELD, schedule, config, noise_like(FIELD, 8), guide=guide)
    return fit(FIELD, draws, known, truth).bias


def test_guidance_of_ddim_has_a_minus_unless_the_estimate_is_made_again() -> None:
    plain = guided_bias(0.0, is_recomputed=False)
    # Measured with 50 steps: 2.33 without, 1.13 and 1.36 with; the other signs 17.8 and 4.7.
    assert guided_bias(-1.0, is_recomputed=False) < 0.8 * plain
    assert guided_bias(1.0, is_recomputed=True) < 0.8 * plain
    assert guided_bias(1.0, is_recomputed=False) > 1.2 * plain
    assert guided_bias(-1.0, is_recomputed=True) > 1.2 * plain


@settings(max_examples=20)
@given(
    spacing=st.sampled_from(["uniform", "quadratic", "logit"]),
    steps=st.integers(1, 60),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: abs(e[0] - e[1]) > 1e-3),
)
def test_times_fall_from_the_first_to_the_last(
    spacing: Spacing, steps: int, ends: tuple[float, float]
) -> None:
    config = GaussianSamplerConfig(
        spacing=spacing, steps=steps, first_time=max(ends), last_time=min(ends)
    )
    grid = time_grid(config)
    assert (len(grid), float(grid[0]), float(grid[-1])) == (steps + 1, max(ends), min(ends))
    assert bool((grid.diff() < 0).all())


def test_spacings_put_steps_where_they_say() -> None:
    grids = {
        spacing: time_grid(GaussianSamplerConfig(spacing=spacing, steps=10))
        for spacing in ("uniform", "quadratic", "logit")
    }
    assert [int((g < 0.25).sum()) for g in grids.values()] == [3, 5, 5]
    assert [int((g > 0.75).sum()) for g in grids.values()] == [3, 2, 5]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "plms"},
        {"spacing": "karras"},
        {"steps": 0},
        {"steps": 100_001},
        {"first_time": 1.01},
        {"last_time": -0.1},
        {"first_time": 0.0},
        {"last_time": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    config = GaussianSamplerConfig()
    for name, value in change.items():
        object.__setattr__(config, name, value)  # the type hook would be first otherwise
    with pytest.raises(ConfigError, match=next(iter(change))):
        config.__post_init__()


def test_shapes_must_fit() -> None:
    x, t = torch.zeros(1, 4, 2), torch.ones(1)
    with pytest.raises(ShapeError, match="what belongs to it"):
        ddim_step.__wrapped__(x, x[:, :3], t, t / 2, schedule=CosineSchedule())
