"""Noise of the absorbing process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.process.schedules import LogLinearNoise, log_expm1

SEDD = Path(__file__).parents[1] / "parity" / "sedd"


def test_noise_and_its_rate_are_the_published_ones() -> None:
    reference = np.load(SEDD / "reference.npz")
    t = torch.from_numpy(reference["noise_t"])
    schedule = LogLinearNoise()
    np.testing.assert_allclose(schedule.total_noise(t), reference["noise_sigma"], rtol=1e-12)
    np.testing.assert_allclose(schedule.noise_rate(t), reference["noise_dsigma"], rtol=1e-12)
    assert schedule.total_noise(t).dtype == torch.float64


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.5])
def test_32_bits_lose_no_digits_at_either_end(eps: float) -> None:
    # The published form of the rate is off by 4e-5 at eps 1e-3, by 1.3 % at eps 1e-6.
    schedule = LogLinearNoise(eps=eps)
    t = torch.cat([torch.logspace(-7, 0, 300), 1 - torch.logspace(-7, 0, 300)]).clamp(0, 1)
    for function in (schedule.total_noise, schedule.noise_rate, schedule.masked_fraction):
        exact, found = function(t.double()), function(t)
        assert found.dtype == torch.float32
        assert float(((found - exact).abs() / exact.clamp_min(1e-300)).max()) < 5e-7


def test_log_of_noise_less_one_is_accurate_for_any_noise() -> None:
    noise = torch.logspace(-7, 2.3, 200)
    exact = torch.log(torch.expm1(noise.double()))
    assert float((log_expm1(noise) - exact).abs().max()) < 2e-5  # half a unit in the last place
    assert float(log_expm1(torch.tensor(1e-30))) == pytest.approx(np.log(1e-30), rel=1e-6)


def test_the_rate_is_the_derivative_of_the_noise() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(LogLinearNoise().total_noise(t).sum(), t)
    assert torch.allclose(slope, LogLinearNoise().noise_rate(t.detach()), rtol=1e-12)


def test_the_masked_fraction_is_what_the_noise_says() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    schedule = LogLinearNoise(eps=0.01)
    assert torch.allclose(schedule.masked_fraction(t), -torch.expm1(-schedule.total_noise(t)))
    assert float(schedule.masked_fraction(t)[-1]) == pytest.approx(0.99)


@given(t=st.floats(0, 1, width=32), eps=st.floats(1e-6, 0.5))
def test_time_and_noise_are_each_others_inverse(t: float, eps: float) -> None:
    schedule = LogLinearNoise(eps=eps)
    time = torch.tensor([t], dtype=torch.float64)
    assert float(schedule.time_at(schedule.total_noise(time))) == pytest.approx(t, abs=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-7, 0.6, float("nan")])
def test_a_schedule_that_ends_nowhere_is_refused(eps: float) -> None:
    with pytest.raises(ConfigError, match="eps must be in"):
        LogLinearNoise(eps=eps)
