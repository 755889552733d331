"""Score entropy, beside the released code and the cross-entropy it amounts to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weft.heads.categorical import log_probs_to_log_score
from weft.losses.masked import masked_cross_entropy
from weft.losses.score_entropy import dwdse, score_entropy
from weft.process.schedules import LogLinearNoise

SEDD = Path(__file__).parents[1] / "parity" / "sedd"


def reference() -> dict[str, Tensor]:
    with np.load(SEDD / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_state(seed: int = 0, *, num_symbols: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior, corrupted and clean tokens of four items."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(4, 12, num_symbols, generator=generator)
    clean = torch.randint(num_symbols, (4, 12), generator=generator)
    masked = torch.rand(4, 12, generator=generator) < 0.6
    return raw.log_softmax(dim=2), clean.masked_fill(masked, num_symbols), clean


def test_score_entropy_is_the_published_one() -> None:
    arrays = reference()
    found = score_entropy(arrays["loss_log_score"], arrays["x"], arrays["x0"], arrays["loss_sigma"])
    torch.testing.assert_close(found, arrays["score_entropy"], rtol=2e-5, atol=2e-5)
    assert bool((found[arrays["x"] != 63] == 0).all())


def test_dwdse_is_the_published_one() -> None:
    arrays = reference()
    found = dwdse(
        arrays["loss_log_score"],
        arrays["x"],
        arrays["x0"],
        arrays["loss_sigma"],
        arrays["loss_dsigma"],
    )
    torch.testing.assert_close(found, arrays["dwdse_per_sample"], rtol=2e-5, atol=0)


@given(
    t=st.sampled_from([1e-6, 1e-4, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0]), seed=st.integers(0, 1 << 30)
)
def test_with_consistent_scores_it_is_the_cross_entropy(t: float, seed: int) -> None:
    log_probs, tokens, clean = random_state(seed)
    time, schedule = torch.full((4,), t), LogLinearNoise()
    noise = schedule.total_noise(time)
    found = dwdse(
        log_probs_to_log_score(log_probs, tokens, noise),
        tokens,
        clean,
        noise,
        schedule.noise_rate(time),
    )
    wanted = masked_cross_entropy(log_probs, clean, tokens == 9, time)
    torch.testing.assert_close(found, wanted, rtol=3e-5, atol=1e-5 / t)


@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.999, 1.0])
def test_32_bits_are_enough_at_either_end(t: float) -> None:
    log_probs, tokens, clean = random_state()
    raw = log_probs + 0.5  # not normalised
    time, schedule = torch.full((4,), t), LogLinearNoise()

    def loss(dtype: torch.dtype) -> Tensor:
        noise = schedule.total_noise(time.to(dtype))
        score = log_probs_to_log_score(raw.to(dtype), tokens, noise)
        return dwdse(score, tokens, clean, noise, schedule.noise_rate(time.to(dtype)))

    exact = loss(torch.float64)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(loss(torch.float32).double(), exact, rtol=2e-5, atol=0)


@given(seed=st.integers(0, 1 << 30), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_it_is_never_negative(seed: int, scale: float) -> None:
    log_probs, tokens, clean = random_state(seed)
    noise = torch.tensor([0.01, 0.5, 2.0, 6.9])
    score = log_probs_to_log_score(scale * log_probs, tokens, noise)
    assert float(score_entropy(score, tokens, clean, noise).min()) >= -1e-4


def test_the_exact_score_is_its_minimum() -> None:
    log_probs, _, _ = random_state()
    probs = log_probs[0, 0].double().softmax(dim=0)
    noise = torch.tensor([1.3], dtype=torch.float64)
    score = (probs.log() - torch.log(torch.expm1(noise))).requires_grad_()
    padded = torch.nn.functional.pad(score, (0, 1))[None, None]
    expected = sum(
        probs[i] * score_entropy(padded, torch.tensor([[9]]), torch.tensor([[i]]), noise)[0, 0]
        for i in range(9)
    )
    assert isinstance(expected, Tensor)
    (slope,) = torch.autograd.grad(expected, score)
    assert float(slope.abs().max()) < 1e-12


def test_what_stands_at_visible_positions_has_no_influence() -> None:
    log_probs, tokens, clean = random_state()
    noise = torch.full((4,), 0.8)
    score = log_probs_to_log_score(log_probs, tokens, noise)
    visible = (tokens != 9)[:, :, None]
    wanted = score_entropy(score, tokens, clean, noise)
    for value in (500.0, torch.inf, torch.nan):  # exp(500) overflows
        given_score = torch.where(visible, value, score).requires_grad_()
        found = score_entropy(given_score, tokens, clean, noise)
        assert torch.equal(found, wanted)
        (slope,) = torch.autograd.grad(found.sum(), given_score)
        assert bool(slope.isfinite().all())
        assert bool((slope[visible.expand(slope.shape)] == 0).all())


def test_the_absorbing_column_is_not_used() -> None:
    log_probs, tokens, clean = random_state()
    noise = torch.full((4,), 0.8)
    score = log_probs_to_log_score(log_probs, tokens, noise)
    other = score.clone()
    other[:, :, -1] = 3.0
    assert torch.equal(
        score_entropy(score, tokens, clean, noise), score_entropy(other, tokens, clean, noise)
    )


def test_a_clean_token_that_is_the_absorbing_state_counts_as_published() -> None:
    # Released weights of AIDD meet this with a codec of 4096 codes: the last one reads as masked.
    noise = torch.tensor([0.9], dtype=torch.float64)
    score = torch.tensor([[[-1.0, 0.3, 0.0]]], dtype=torch.float64)
    absorbing = torch.tensor([[2]])
    ratio = 1 / torch.expm1(noise[0])
    wanted = np.exp(-1.0) + np.exp(0.3) - ratio * 0.0 + ratio * (ratio.log() - 1)
    found = score_entropy(score, absorbing, absorbing, noise)[0, 0]
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)


def test_an_item_without_masked_tokens_has_no_loss_at_time_zero() -> None:
    log_probs, tokens, clean = random_state()
    tokens[0] = clean[0]
    t = torch.tensor([0.0, 0.3, 0.3, 0.3])
    schedule = LogLinearNoise()
    raw = torch.nn.functional.pad(log_probs, (0, 1)).requires_grad_()
    found = dwdse(raw, tokens, clean, schedule.total_noise(t), schedule.noise_rate(t))
    assert float(found[0].detach()) == 0
    (slope,) = torch.autograd.grad(found.sum(), raw)
    assert bool(slope.isfinite().all())
    nothing = score_entropy(raw, clean, clean, torch.zeros(4))
    assert bool((nothing == 0).all())


def test_half_precision_is_left_before_anything_is_added_up() -> None:
    log_probs, tokens, clean = random_state()
    noise = torch.full((4,), 0.8)
    score = log_probs_to_log_score(log_probs, tokens, noise).to(torch.bfloat16)
    found = score_entropy(score, tokens, clean, noise)
    assert found.dtype == torch.float32
    assert torch.equal(found, score_entropy(score.float(), tokens, clean, noise))
