import numpy as np
import pytest
import torch

from weft.process.gaussian import CosineSchedule, GaussianProcess, expand_time
from weft.rng import Rng
from weft.train.recipes.latent_gains import TIMES, fit_gains

PROCESS = GaussianProcess(schedule=CosineSchedule(), prediction="v")
CLEAN = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 100, 8))).float()


def posterior_mean(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Of clean sequences of unit variance: ``alpha x`` where ``alpha^2 + sigma^2 = 1``."""
    return expand_time(PROCESS.schedule.alpha(t), x) * x


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_what_an_estimate_lacks_is_found(share: float) -> None:
    gains = fit_gains(lambda x, t: share * posterior_mean(x, t), CLEAN, PROCESS, rng=Rng(0))
    assert [time for time, _ in gains] == list(TIMES)
    alpha = np.cos(np.pi * np.array(TIMES) / 2)
    tolerance = 4 / (alpha * CLEAN.numel() ** 0.5)  # standard errors, as noise outweighs the rest
    for (time, gain), within in zip(gains, tolerance, strict=True):
        assert abs(gain * share - 1) < within, time


def test_gains_depend_on_the_seed_only() -> None:
    one, other, again = (
        fit_gains(posterior_mean, CLEAN[:4], PROCESS, rng=Rng(seed)) for seed in (0, 1, 0)
    )
    assert one == again != other


def test_an_estimate_of_nothing_gets_a_factor_that_can_be_used() -> None:
    gains = fit_gains(lambda x, t: torch.zeros_like(x), CLEAN[:2], PROCESS, rng=Rng(0))
    assert all(0.5 <= gain <= 2 for _, gain in gains)
