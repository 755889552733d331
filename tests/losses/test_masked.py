"""Cross-entropy of masked tokens."""

import math

import pytest
import torch

from weft.losses.masked import masked_cross_entropy

PROBS = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]])
CLEAN = torch.tensor([[0, 1, 1]])


def test_it_is_the_weighted_sum_over_masked_positions() -> None:
    masked = torch.tensor([[True, False, True]])
    found = masked_cross_entropy(PROBS.log(), CLEAN, masked, torch.tensor([0.25]))
    assert float(found) == pytest.approx(4 * (math.log(2) + math.log(5)), rel=1e-6)


def test_items_have_their_own_weights() -> None:
    masked = torch.ones(2, 3, dtype=torch.bool)
    found = masked_cross_entropy(
        PROBS.log().repeat(2, 1, 1), CLEAN.repeat(2, 1), masked, torch.tensor([0.1, 1.0])
    )
    assert float(found[0] / found[1]) == pytest.approx(10)


def test_visible_positions_have_no_influence() -> None:
    masked = torch.tensor([[True, False, False]])
    clean = torch.tensor([[0, 7, -1]])  # of no meaning where visible
    log_probs = PROBS.log()
    log_probs[:, 1] = -torch.inf
    log_probs[:, 2] = torch.nan
    log_probs.requires_grad_()
    found = masked_cross_entropy(log_probs, clean, masked, torch.tensor([0.5]))
    assert float(found.detach()) == pytest.approx(2 * math.log(2), rel=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), log_probs)
    assert slope[0].tolist() == [[-2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_an_item_without_masked_tokens_has_no_loss_at_time_zero() -> None:
    t = torch.zeros(1, requires_grad=True)
    log_probs = PROBS.log().requires_grad_()
    found = masked_cross_entropy(log_probs, CLEAN, torch.zeros(1, 3, dtype=torch.bool), t)
    assert float(found.detach()) == 0
    slopes = torch.autograd.grad(found.sum(), [log_probs, t])
    assert all(bool((slope == 0).all()) for slope in slopes)


def test_half_precision_is_left_before_anything_is_added_up() -> None:
    log_probs = torch.full((1, 3000, 2), math.log(0.5)).to(torch.bfloat16)
    masked = torch.ones(1, 3000, dtype=torch.bool)
    found = masked_cross_entropy(log_probs, masked.long(), masked, torch.tensor([1e-3]))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(3e6 * math.log(2), rel=3e-3)


def test_a_time_near_zero_keeps_its_digits() -> None:
    masked = torch.tensor([[True, False, False]])
    found = masked_cross_entropy(PROBS.log(), CLEAN, masked, torch.tensor([1e-6]))
    assert float(found) == pytest.approx(1e6 * math.log(2), rel=1e-6)
