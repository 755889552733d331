"""Losses of networks that undo Gaussian noise; the published values are in the parity tests."""

from typing import get_args

import pytest
import torch

from weft.errors import ShapeError
from weft.losses.gaussian import gaussian_loss, variational_bound
from weft.process.gaussian import GaussianProcess, Prediction, TableSchedule

T = torch.tensor([0.2, 0.9])


def material() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raw, x0, noise = torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    return raw, x0, noise


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_it_is_the_mean_squared_error_of_the_target(prediction: Prediction) -> None:
    _, x0, noise = material()
    process = GaussianProcess(prediction=prediction)
    target = process.target(x0, noise, T)
    off = torch.tensor([1.0, 3.0])[:, None, None]
    found = gaussian_loss(target + off, x0, noise, T, process)
    assert found.tolist() == pytest.approx([1, 9], rel=1e-5)


def test_weights_multiply_and_items_stand_for_themselves() -> None:
    raw, x0, noise = material()
    process = GaussianProcess()
    plain = gaussian_loss(raw, x0, noise, T, process)
    heavy = gaussian_loss(raw, x0, noise, T, process, weight=torch.tensor([0.0, 2.0]))
    assert heavy.tolist() == pytest.approx([0, 2 * float(plain[1])])
    alone = gaussian_loss(raw[1:], x0[1:], noise[1:], T[1:], process)
    assert torch.equal(alone, plain[1:])


def test_only_what_counts_is_in_the_mean() -> None:
    raw, x0, noise = material()
    process = GaussianProcess()
    counted = torch.tensor([[True, False, False, True], [False] * 4])
    found = gaussian_loss(raw, x0, noise, T, process, counted=counted)
    few = [z[:1, [0, 3]] for z in (raw, x0, noise)]
    assert float(found[0]) == pytest.approx(float(gaussian_loss(*few, T[:1], process)), rel=1e-6)
    assert float(found[1]) == 0
    # Of the first axes: an element each, or a frame each.
    whole = counted[:, :, None].expand(-1, -1, 3)
    assert torch.equal(gaussian_loss(raw, x0, noise, T, process, counted=whole), found)


def test_what_does_not_count_has_no_gradient_even_if_it_is_infinite() -> None:
    raw, x0, noise = material()
    counted = torch.tensor([[True, False, True, True]] * 2)
    raw[:, 1] = torch.inf
    raw.requires_grad_()
    found = gaussian_loss(raw, x0, noise, T, GaussianProcess(), counted=counted)
    assert bool(torch.isfinite(found).all())
    found.sum().backward()
    assert raw.grad is not None
    assert bool((raw.grad[counted] != 0).all())
    assert bool((raw.grad[~counted] == 0).all())


def test_halved_precision_is_summed_in_full() -> None:
    raw, x0, noise = (z.bfloat16() for z in material())
    found = gaussian_loss(raw, x0, noise, T, GaussianProcess())
    wide = gaussian_loss(raw.float(), x0.float(), noise.float(), T, GaussianProcess())
    assert torch.equal(found, wide)


def test_shapes_must_fit() -> None:
    raw, x0, noise = material()
    process = GaussianProcess()
    with pytest.raises(ShapeError, match="split off"):
        gaussian_loss.__wrapped__(torch.cat([raw, raw], dim=2), x0, noise, T, process)
    with pytest.raises(ShapeError, match="counted has the shape"):
        gaussian_loss.__wrapped__(
            raw, x0, noise, T, process, counted=torch.ones(2, 3, dtype=torch.bool)
        )


def test_the_right_variance_costs_least_and_the_estimate_gets_no_gradient() -> None:
    # Of a step whose estimate is right, the least variance is the true one.
    _, x0, _ = material()
    x0hat = x0.clone().requires_grad_()
    schedule, index = TableSchedule(betas="cosine"), torch.tensor([1, 5])
    says = torch.full_like(x0, -1.0).requires_grad_()
    right = variational_bound(says, x0hat, x0, index, schedule)
    assert right.tolist() == pytest.approx([0, 0], abs=1e-7)
    assert bool((variational_bound(says + 1, x0hat, x0, index, schedule) > 1e-3).all())
    loss = variational_bound(says + 1, x0hat, x0, index, schedule).sum()
    grads = torch.autograd.grad(loss, [says, x0hat], allow_unused=True)
    assert grads[0] is not None
    assert bool((grads[0] > 0).all())
    assert grads[1] is None


def test_a_wrong_estimate_wants_more_variance() -> None:
    _, x0, noise = material()
    says = torch.zeros_like(x0).requires_grad_()
    index = torch.tensor([300, 800])
    loss = variational_bound(says, x0 + noise, x0, index, TableSchedule(betas="cosine"))
    (slope,) = torch.autograd.grad(loss.sum(), says)
    assert float(slope[noise.abs() > 1].max()) < 0


def test_all_steps_of_the_table_have_finite_terms() -> None:
    index = torch.arange(1000)
    x0 = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    says = torch.zeros(1000, 5, requires_grad=True)
    for betas in ("linear", "cosine"):
        found = variational_bound(says, x0 + 0.1, x0, index, TableSchedule(betas=betas))
        assert bool((torch.isfinite(found) & (found >= 0)).all())
        (slope,) = torch.autograd.grad(found.sum(), says)
        assert bool(torch.isfinite(slope).all())
