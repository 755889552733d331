"""How much signal and noise there is at which time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.process.gaussian_schedules import (
    BetaKind,
    CosineSchedule,
    FlowSchedule,
    GaussianSchedule,
    TableSchedule,
)

MAR = np.load(Path(__file__).parents[1] / "parity" / "mar_head" / "io.npz")
SCHEDULES: list[GaussianSchedule] = [
    CosineSchedule(),
    FlowSchedule(),
    TableSchedule(),
    TableSchedule(betas="cosine"),
    TableSchedule(betas="scaled-linear", first_beta=0.0015, last_beta=0.0195, num_steps=50),
]


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clean_is_clean_and_noise_only_grows(
    schedule: GaussianSchedule, dtype: torch.dtype
) -> None:
    t = torch.linspace(0, 1, 1001, dtype=dtype)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert (alpha.dtype, sigma.dtype) == (dtype, dtype)
    assert (float(alpha[0]), float(sigma[0])) == (1, 0)
    assert bool((alpha.diff() < 0).all())
    assert bool((alpha >= 0).all())
    assert bool((sigma.diff() >= 0).all())
    assert bool((schedule.log_snr(t).diff() < 0).all())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_total_variance_is_one_but_for_the_flow(schedule: GaussianSchedule) -> None:
    t = torch.linspace(0, 1, 777, dtype=torch.float64)
    total = schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2
    assert float((total - 1).abs().max()) < (0.6 if isinstance(schedule, FlowSchedule) else 1e-12)


@pytest.mark.parametrize("schedule", [CosineSchedule(), FlowSchedule()], ids=repr)
def test_nothing_of_the_signal_is_left_at_the_end_in_32_bits(schedule: GaussianSchedule) -> None:
    # cos(pi t / 2) is -4.4e-8 there.
    one = torch.ones(1)
    assert float(schedule.alpha(one)) == 0
    assert float(schedule.sigma(one)) == 1
    assert float(schedule.log_snr(one)) == -torch.inf


def test_the_cosine_is_a_cosine_to_the_last_digit_of_32_bits() -> None:
    t = torch.linspace(0, 1, 4001)
    exact = torch.cos(t.double() * torch.pi / 2)
    assert float((CosineSchedule().alpha(t) - exact).abs().max()) < 1.5e-7
    late = t[-400:-1]
    exact = torch.cos(late.double() * torch.pi / 2)
    assert float((CosineSchedule().alpha(late) / exact - 1).abs().max()) < 3e-7


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@settings(max_examples=5)
@given(times=st.lists(st.floats(1e-3, 1 - 1e-3), min_size=1))
def test_time_and_ratio_are_each_others_inverse(
    schedule: GaussianSchedule, times: list[float]
) -> None:
    time = double(*times)
    found = schedule.time_at(schedule.log_snr(time))
    # Within a thousandth of a table's step a time is that step.
    assert float((found - time).abs().max()) < (
        1e-9 if not isinstance(schedule, TableSchedule) else 3e-5
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_infinite_ratios_are_the_ends_of_time(schedule: GaussianSchedule) -> None:
    ends = torch.tensor([torch.inf, -torch.inf])
    assert schedule.time_at(ends).tolist() == [0, 1]


def test_a_draft_of_strength_k_begins_at_the_time_that_the_paper_implies() -> None:
    # k z + (1 - k) x is a scaled sample of the time 2/pi atan(k / (1 - k)).
    ratio = double(2 * np.log(0.15 / 0.85), 0)
    np.testing.assert_allclose(CosineSchedule().time_at(ratio), [0.8888, 0.5], atol=1e-4)


def test_the_cosine_table_is_the_published_one() -> None:
    t = TableSchedule(betas="cosine").time_of(torch.arange(-1, 1000)).double()
    signal = TableSchedule(betas="cosine").alpha(t) ** 2
    betas = 1 - signal[1:] / signal[:-1]
    np.testing.assert_allclose(betas, MAR["train_betas"], rtol=1e-6, atol=1e-12)
    assert float(signal[-1]) == pytest.approx(2.4e-9, rel=0.02)


def test_32_bit_times_reach_the_entries_of_the_table() -> None:
    schedule = TableSchedule(betas="cosine")
    index = torch.arange(1000)
    exact = schedule.alpha((index.double() + 1) / 1000)
    found = schedule.alpha(schedule.time_of(index))
    assert float((found / exact - 1).abs().max()) < 1e-6
    assert schedule.index_at(schedule.time_of(index)).tolist() == index.tolist()


def test_between_two_steps_the_noise_is_between_theirs() -> None:
    schedule = TableSchedule(num_steps=10)
    power = schedule.sigma(double(0.3, 0.35, 0.4)) ** 2
    assert float(power[1]) == pytest.approx(float(power[0] + power[2]) / 2, rel=1e-12)


def test_the_clean_end_is_told_as_the_first_step() -> None:
    assert TableSchedule().index_at(torch.tensor([0.0, 1e-4, 1.0])).tolist() == [0, 0, 999]


def test_respaced_steps_are_the_published_ones() -> None:
    schedule = TableSchedule(betas="cosine")
    times = schedule.respaced_times(25)
    assert schedule.index_at(times[:-1]).flip(0).tolist() == MAR["gen_timestep_map"].tolist()
    signal = schedule.alpha(times.flip(0)) ** 2
    np.testing.assert_allclose(1 - signal[1:] / signal[:-1], MAR["gen_betas"], rtol=1e-6)
    assert schedule.respaced_times(1).tolist() == [1, 0]
    assert len(schedule.respaced_times(1000)) == 1001


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    # 999 in 4 parts of 333; 9 in 2 parts of 4.5: published rounding gives 4, not 5.
    times = TableSchedule(num_steps=10).respaced_times(3)
    np.testing.assert_allclose(times, [1.0, 0.5, 0.1, 0.0])


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_chain_has_steps_and_not_more_than_the_table(steps: int) -> None:
    with pytest.raises(ConfigError, match="steps must be in"):
        TableSchedule().respaced_times(steps)


@pytest.mark.parametrize(
    "change",
    [
        {"num_steps": 1},
        {"num_steps": 100_001},
        {"first_beta": 0.0},
        {"first_beta": 0.03},
        {"last_beta": 1.0},
        {"last_beta": float("nan")},
    ],
)
def test_tables_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        TableSchedule(**change)


def test_kinds_are_named() -> None:
    kind: BetaKind = "cosine"
    assert TableSchedule(betas=kind).betas == "cosine"


def test_tables_made_in_inference_mode_serve_a_backward_pass() -> None:
    schedule = TableSchedule(num_steps=123)
    with torch.inference_mode():
        schedule.alpha(torch.tensor([0.5]))
    t = torch.tensor([0.5004], requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    assert float(slope) < 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_halved_precision_is_computed_in_full(schedule: GaussianSchedule) -> None:
    t = torch.tensor([0.25, 0.75], dtype=torch.bfloat16)
    assert schedule.alpha(t).dtype == torch.bfloat16
    exact = schedule.alpha(t.double())
    assert float((schedule.alpha(t).double() / exact - 1).abs().max()) < 0.02
