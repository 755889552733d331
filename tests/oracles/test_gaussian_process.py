"""The Gaussian process that tests of samplers compare with is what it says."""

import numpy as np
import pytest
import torch

from oracles.gaussian_process import fit, make_field, middle_gap
from weft.process.gaussian import CosineSchedule, GaussianProcess

FIELD = make_field(64, reach=10)
KNOWN = middle_gap(64, slice(24, 40))


def test_it_is_stationary_and_of_unit_variance() -> None:
    draws = FIELD.sample(4000, np.random.default_rng(0))[..., 0]
    assert torch.allclose(FIELD.covariance.diagonal(), torch.ones(64).double())
    assert float((draws.T @ draws / 4000 - FIELD.covariance).abs().max()) < 0.1  # 5 deviations


def test_the_denoiser_has_the_least_error_that_there_is() -> None:
    rng = np.random.default_rng(1)
    x0 = FIELD.sample(500, rng)
    t = torch.full((500,), 0.4, dtype=torch.float64)
    noise = torch.from_numpy(rng.standard_normal(x0.shape))
    x = GaussianProcess().corrupt(x0, t, noise=noise)
    found = FIELD.denoise_fn(CosineSchedule())(x, t)
    alpha, sigma = float(CosineSchedule().alpha(t[0])), float(CosineSchedule().sigma(t[0]))
    observed = alpha**2 * FIELD.covariance + sigma**2 * torch.eye(64).double()
    gain = alpha * torch.linalg.solve(observed, FIELD.covariance).T
    assert torch.allclose(found, gain @ x, atol=1e-10)
    least = (FIELD.covariance - alpha * gain @ FIELD.covariance).diagonal().mean()
    assert float((found - x0).square().mean()) == pytest.approx(float(least), rel=0.03)


def test_draws_of_the_true_law_fit_it() -> None:
    rng = np.random.default_rng(2)
    truth = FIELD.sample(1, rng)[0]
    mean, covariance = FIELD.conditional(KNOWN, truth[None])
    root = torch.linalg.cholesky(covariance)
    draws = truth.repeat(200, 1, 1)
    draws[:, ~KNOWN] = mean + root @ torch.from_numpy(rng.standard_normal((200, 16, 1)))
    found = fit(FIELD, draws, KNOWN, truth)
    assert found.bias < 0.12  # 0.07 by chance
    assert found.variance == pytest.approx(1, abs=0.1)
    # Of one canvas only: the known sides of its two edges are what they are.
    assert 0.5 < found.seam < 1.5
    shifted, shrunk = draws.clone(), draws.clone()
    shifted[:, ~KNOWN] += covariance.diagonal().sqrt()[:, None]
    shrunk[:, ~KNOWN] = mean + (draws[:, ~KNOWN] - mean) / 2
    assert fit(FIELD, shifted, KNOWN, truth).bias == pytest.approx(1, abs=0.12)
    assert fit(FIELD, shrunk, KNOWN, truth).variance == pytest.approx(0.25, abs=0.03)


def test_what_is_drawn_apart_from_its_context_has_a_seam() -> None:
    rng = np.random.default_rng(3)
    seams = []
    for _ in range(20):
        canvas, other = FIELD.sample(2, rng)
        torn = torch.where(KNOWN[:, None], canvas, other)[None]
        seams.append(
            (
                fit(FIELD, canvas[None].repeat(2, 1, 1), KNOWN, canvas).seam,
                fit(FIELD, torn.repeat(2, 1, 1), KNOWN, canvas).seam,
            )
        )
    whole, torn_apart = np.sqrt(np.square(seams).mean(axis=0))
    assert whole == pytest.approx(1, abs=0.25)
    assert torn_apart > 2
