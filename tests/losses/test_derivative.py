"""Derivative losses: ours, and the released code's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from weft.errors import ConfigError
from weft.heads.categorical import CategoricalHead, log_probs_to_log_score
from weft.losses.derivative import aidd_derivative_loss, derivative_loss
from weft.losses.score_entropy import dwdse
from weft.nn.token_dit import TokenDit, TokenDitConfig

SEDD = Path(__file__).parents[1] / "parity" / "sedd"


def reference() -> dict[str, Tensor]:
    with np.load(SEDD / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_state(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Posterior, clean tokens, what is masked, and a table of 7 symbols."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(3, 10, 7, generator=generator).log_softmax(dim=2)
    clean = torch.randint(7, (3, 10), generator=generator)
    masked = torch.rand(3, 10, generator=generator) < 0.4
    masked[0, :2] = True
    return log_probs, clean, masked, torch.randn(7, 4, generator=generator)


def by_hand(
    log_probs: Tensor, clean: Tensor, masked: Tensor, table: Tensor, order: int
) -> list[float]:
    """The definition, a difference at a time."""
    results = []
    for i in range(len(clean)):
        true = table[clean[i]].numpy().astype(float)
        guess = true.copy()
        for j in range(len(true)):
            if masked[i, j]:
                guess[j] = log_probs[i, j].double().exp().numpy() @ table.double().numpy()
        values = []
        for j in range(len(true) - order):
            if masked[i, j : j + order + 1].any():
                step = np.diff(guess[j : j + order + 1], n=order, axis=0)
                values.append(
                    ((step - np.diff(true[j : j + order + 1], n=order, axis=0)) ** 2).sum()
                )
        results.append(float(np.mean(values)) if values else 0.0)
    return results


# Ours


@pytest.mark.parametrize("order", [1, 2])
def test_it_is_the_mean_over_differences_that_touch_a_masked_position(order: int) -> None:
    state = random_state()
    state[2][1] = False
    state[2][1, 4] = True
    found = derivative_loss(*state, order=order, is_scaled=False)
    assert found.tolist() == pytest.approx(by_hand(*state, order), rel=1e-5)


def test_both_differences_are_added() -> None:
    state = random_state()
    first, second = (derivative_loss(*state, order=order) for order in (1, 2))
    assert torch.allclose(derivative_loss(*state, order=(1, 2)), first + second)


def test_certainty_of_the_true_tokens_costs_nothing() -> None:
    _, clean, masked, table = random_state()
    sure = torch.nn.functional.one_hot(clean, 7).float().log()
    assert bool((derivative_loss(sure, clean, masked, table, order=(1, 2)) == 0).all())


def test_tokens_that_lie_nearer_cost_less() -> None:
    table = torch.tensor([[0.0], [0.1], [5.0]])
    clean, masked = torch.zeros(1, 3).long(), torch.tensor([[False, True, False]])
    costs = []
    for wrong in (1, 2):
        log_probs = torch.nn.functional.one_hot(torch.full((1, 3), wrong), 3).float().log()
        costs.append(float(derivative_loss(log_probs, clean, masked, table)))
    assert costs[1] / costs[0] == pytest.approx(2500, rel=1e-4)


def test_visible_neighbours_are_their_true_embedding() -> None:
    log_probs, clean, masked, table = random_state()
    wanted = derivative_loss(log_probs, clean, masked, table)
    # At visible positions the network is not trained: it may put out anything there.
    other = torch.where(masked[:, :, None], log_probs, torch.randn(3, 10, 7).log_softmax(dim=2))
    assert torch.equal(derivative_loss(other, clean, masked, table), wanted)
    bad = torch.where(masked[:, :, None], log_probs, torch.nan).requires_grad_()
    found = derivative_loss(bad, clean, masked, table, order=(1, 2))
    (slope,) = torch.autograd.grad(found.sum(), bad)
    assert bool(slope.isfinite().all())


def test_a_shift_of_a_whole_gap_costs_at_its_ends_only() -> None:
    table = torch.tensor([[0.0], [1.0]])
    clean = torch.zeros(1, 12).long()
    masked = torch.zeros(1, 12, dtype=torch.bool)
    masked[0, 4:8] = True
    wrong = torch.nn.functional.one_hot(torch.ones(1, 12).long(), 2).float().log()
    # Five pairs touch the gap; those at its ends are off by one.
    found = derivative_loss(wrong, clean, masked, table, is_scaled=False)
    assert float(found) == pytest.approx(2 / 5)


def test_the_table_gets_no_gradient_and_the_posterior_does() -> None:
    log_probs, clean, masked, table = random_state()
    log_probs.requires_grad_()
    table.requires_grad_()
    derivative_loss(log_probs, clean, masked, table).sum().backward()
    assert table.grad is None
    assert log_probs.grad is not None
    rows = log_probs.grad.abs().sum(dim=2)
    assert bool((rows[masked] > 0).all())
    assert bool((rows[~masked] == 0).all())


def test_the_unit_of_the_table_does_not_matter() -> None:
    log_probs, clean, masked, table = random_state()
    first = derivative_loss(log_probs, clean, masked, table)
    assert torch.allclose(derivative_loss(log_probs, clean, masked, 37 * table + 5), first)
    spread = (table - table.mean(dim=0)).square().sum(dim=1).mean()
    plain = derivative_loss(log_probs, clean, masked, table, is_scaled=False)
    assert torch.allclose(plain, first * spread)


def test_items_do_not_depend_on_each_other() -> None:
    log_probs, clean, masked, table = random_state()
    whole = derivative_loss(log_probs, clean, masked, table, order=(1, 2))
    for i in range(3):
        one = derivative_loss(
            log_probs[i : i + 1], clean[i : i + 1], masked[i : i + 1], table, order=(1, 2)
        )
        assert torch.allclose(one[0], whole[i])


def test_padding_has_no_influence() -> None:
    log_probs, clean, masked, table = random_state()
    masked[:, 7:] = False
    masked[:, 6] = True
    valid = torch.ones_like(masked)
    valid[:, 7:] = False
    found = derivative_loss(log_probs, clean, masked, table, order=(1, 2), valid=valid)
    short = derivative_loss(log_probs[:, :7], clean[:, :7], masked[:, :7], table, order=(1, 2))
    assert torch.allclose(found, short)


@pytest.mark.parametrize("num_frames", [1, 2])
def test_sequences_too_short_for_a_difference_have_no_loss(num_frames: int) -> None:
    log_probs, clean, _, table = random_state()
    found = derivative_loss(
        log_probs[:, :num_frames],
        clean[:, :num_frames],
        torch.ones(3, num_frames, dtype=torch.bool),
        table,
        order=2,
    )
    assert found.tolist() == [0, 0, 0]


def test_nothing_masked_is_no_loss() -> None:
    log_probs, clean, masked, table = random_state()
    log_probs.requires_grad_()
    found = derivative_loss(log_probs, clean, torch.zeros_like(masked), table)
    assert found.tolist() == [0, 0, 0]
    found.sum().backward()


def test_small_probabilities_count_under_autocast() -> None:
    log_probs, clean, masked, table = random_state()
    wanted = derivative_loss(log_probs, clean, masked, table)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(derivative_loss(log_probs, clean, masked, table), wanted)


@pytest.mark.parametrize("order", [(), (1, 1)])
def test_orders_that_mean_nothing_are_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="order must be 1, 2 or"):
        derivative_loss(*random_state(), order=order)


def test_third_differences_are_refused() -> None:
    with pytest.raises(ConfigError, match="order must be 1, 2 or .1, 2., got 3"):
        derivative_loss.__wrapped__(*random_state(), order=3)


def test_a_table_of_equal_rows_is_refused() -> None:
    log_probs, clean, masked, table = random_state()
    with pytest.raises(ConfigError, match="rows are all equal"):
        derivative_loss(log_probs, clean, masked, torch.ones_like(table))


# As released


def test_aidd_derivative_loss_is_the_published_one() -> None:
    arrays = reference()
    table = load_file(SEDD / "state.safetensors")["vocab_embed.embedding"]
    found = aidd_derivative_loss(arrays["loss_log_score"], arrays["x"], arrays["x0"], table)
    torch.testing.assert_close(found, arrays["deriv_reg"], rtol=2e-5, atol=0)


def test_total_loss_and_its_gradients_are_the_published_ones() -> None:
    arrays = reference()
    network = TokenDit(
        TokenDitConfig(
            codebook_size=63, width=64, num_layers=3, num_heads=4, cond_dim=32, num_frames=40
        )
    ).eval()
    network.load_state_dict(load_file(SEDD / "state.safetensors"))
    head = CategoricalHead(codebook_size=63, prediction="log_score")
    tokens, clean, noise = arrays["x"], arrays["x0"], arrays["loss_sigma"]
    score = head.log_score(network(tokens, noise), tokens, noise)
    score.retain_grad()
    table = network.vocab_embed.embedding
    reg = aidd_derivative_loss(score, tokens, clean, table)
    total = (dwdse(score, tokens, clean, noise, arrays["loss_dsigma"]) + 500 * reg).mean()
    torch.testing.assert_close(total.detach(), arrays["total_loss_lambda500"], rtol=1e-4, atol=0)
    total.backward()
    block = dict(network.named_parameters())["blocks.0.attn_qkv.weight"]
    for name, found in (
        ("grad_log_score", score.grad),
        ("grad_vocab_embed", table.grad),
        ("grad_block0_qkv", block.grad),
    ):
        wanted = arrays[name]
        assert found is not None
        assert float((found - wanted).abs().max()) < 2e-3 * float(wanted.abs().max()), name


@given(noise=st.floats(0.05, 6.9))
def test_the_released_loss_blames_exact_scores_for_the_absorbing_embedding(noise: float) -> None:
    """Why it is not the default: a network that is certain and right still pays."""
    clean = torch.tensor([[0, 1, 0, 1]])
    tokens = torch.full((1, 4), 2)
    sure = torch.nn.functional.one_hot(clean, 2).double().clamp_min(1e-30).log()
    score = log_probs_to_log_score(sure, tokens, torch.tensor([noise], dtype=torch.float64))
    table = torch.tensor([[0.0], [1.0], [9.0]], dtype=torch.float64)
    # The absorbing state has 1 - exp(-noise) of the mass, so differences shrink by that much.
    found = aidd_derivative_loss(score, tokens, clean, table)
    assert float(found) == pytest.approx((1 - math.exp(-noise)) ** 2, rel=1e-6)
    ours = derivative_loss(sure, clean, tokens == 2, table[:2])
    assert float(ours) < 1e-12


def test_the_released_loss_is_a_mean_over_the_batch() -> None:
    log_probs, clean, masked, table = random_state()
    tokens = clean.masked_fill(masked, 7)
    table = torch.cat([table, table.mean(dim=0, keepdim=True)])
    score = torch.nn.functional.pad(log_probs, (0, 1))
    pairs = (masked[:, 1:] | masked[:, :-1]).sum(dim=1)
    one = [
        aidd_derivative_loss(score[i : i + 1], tokens[i : i + 1], clean[i : i + 1], table)
        for i in range(3)
    ]
    mean = sum(a * b for a, b in zip(one, pairs, strict=True)) / pairs.sum()
    assert torch.allclose(aidd_derivative_loss(score, tokens, clean, table), mean)
    assert float(aidd_derivative_loss(score, clean, clean, table)) == 0


def test_the_released_table_gets_gradient_from_both_sides() -> None:
    log_probs, clean, masked, table = random_state()
    table = torch.cat([table, table.mean(dim=0, keepdim=True)]).requires_grad_()
    score = torch.nn.functional.pad(log_probs, (0, 1))
    aidd_derivative_loss(score, clean.masked_fill(masked, 7), clean, table).backward()
    assert table.grad is not None
    assert bool((table.grad.abs().sum(dim=1) > 0).all())
