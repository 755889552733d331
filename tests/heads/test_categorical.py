"""Both readings of a network's output."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.heads.categorical import (
    CategoricalHead,
    log_probs_to_log_score,
    log_score_to_log_probs,
)

SEDD = Path(__file__).parents[1] / "parity" / "sedd"
PUBLISHED = CategoricalHead(codebook_size=63, prediction="log_score")
LOGITS = CategoricalHead(codebook_size=63, prediction="logits")


def reference() -> dict[str, Tensor]:
    with np.load(SEDD / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_log_scores_are_the_published_ones() -> None:
    arrays = reference()
    found = PUBLISHED.log_score(arrays["raw_logits"], arrays["x"], arrays["sigma"])
    torch.testing.assert_close(found, arrays["log_score"], rtol=0, atol=1e-5)
    visible = arrays["x"] != 63
    own = found.gather(2, arrays["x"][:, :, None])[:, :, 0]
    assert bool((own == 0).all())
    assert bool((found[visible] != 0).any(dim=1).all())


def test_the_posterior_is_the_normalised_score_of_real_symbols() -> None:
    arrays = reference()
    masked = arrays["x"] == 63
    found = PUBLISHED.log_probs(arrays["raw_logits"], arrays["sigma"])
    assert torch.allclose(found.exp().sum(dim=2), torch.ones(3, 40))
    score = arrays["log_score"].double().exp()[masked][:, :63]
    torch.testing.assert_close(
        found[masked].exp().double(), score / score.sum(dim=1, keepdim=True), rtol=1e-5, atol=1e-9
    )
    assert torch.equal(found, LOGITS.log_probs(arrays["raw_logits"], arrays["sigma"]))


def test_consistent_scores_are_those_of_the_fixture() -> None:
    arrays = reference()
    t = arrays["ideal_t"][:, 0].double()
    noise = -torch.log1p(-0.999 * t)
    found = log_probs_to_log_score(arrays["ideal_p"].double().log(), arrays["x"], noise)
    masked = arrays["x"] == 63
    torch.testing.assert_close(
        found.exp()[masked], arrays["ideal_score"].double()[masked], rtol=1e-5, atol=1e-9
    )


def test_visible_tokens_never_change_in_consistent_scores() -> None:
    arrays = reference()
    score = LOGITS.log_score(arrays["raw_logits"], arrays["x"], arrays["sigma"])
    visible = arrays["x"] != 63
    probs = log_score_to_log_probs(score).exp()
    own = torch.nn.functional.one_hot(arrays["x"][visible], 63).float()
    assert torch.equal(probs[visible], own)


@given(
    noise=st.floats(1e-6, 13.8), seed=st.integers(0, 1 << 30), scale=st.sampled_from([0.1, 1, 30])
)
def test_posterior_and_score_convert_to_each_other(noise: float, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = (scale * torch.randn(2, 5, 8, generator=generator)).log_softmax(dim=2)
    tokens = torch.full((2, 5), 8)
    total_noise = torch.tensor([noise, 1.0])
    score = log_probs_to_log_score(log_probs, tokens, total_noise)
    torch.testing.assert_close(log_score_to_log_probs(score), log_probs, rtol=1e-5, atol=2e-5)
    again = log_probs_to_log_score(log_score_to_log_probs(score), tokens, total_noise)
    torch.testing.assert_close(again, score, rtol=1e-5, atol=2e-5)
    ratio = score[:, :, :8].double().exp().sum(dim=2) * torch.expm1(total_noise.double())[:, None]
    torch.testing.assert_close(ratio, torch.ones(2, 5).double(), rtol=2e-5, atol=0)


def test_both_predictions_agree_on_normalised_outputs() -> None:
    log_probs = torch.randn(2, 6, 63).log_softmax(dim=2)
    raw = torch.nn.functional.pad(log_probs + np.log(63), (0, 1))
    tokens = torch.full((2, 6), 63)
    noise = torch.tensor([0.1, 5.0])
    torch.testing.assert_close(
        PUBLISHED.log_score(raw, tokens, noise)[:, :, :63],
        LOGITS.log_score(raw, tokens, noise)[:, :, :63],
    )


def test_zeros_are_the_uniform_posterior() -> None:
    raw, tokens = torch.zeros(1, 1, 64), torch.tensor([[63]])
    noise = torch.tensor([0.7])
    score = PUBLISHED.log_score(raw, tokens, noise).exp()[0, 0, :63]
    assert torch.allclose(score, torch.full((63,), 1 / 63) / torch.expm1(noise))
    assert torch.allclose(PUBLISHED.log_probs(raw, noise).exp(), torch.full((1, 1, 63), 1 / 63))


def test_half_precision_is_left_before_anything_is_added_up() -> None:
    raw = torch.randn(1, 3, 64).to(torch.bfloat16)
    tokens, noise = torch.full((1, 3), 63), torch.tensor([6.9])
    for head in (PUBLISHED, LOGITS):
        assert head.log_probs(raw, noise).dtype == torch.float32
        assert head.log_score(raw, tokens, noise).dtype == torch.float32
        assert torch.equal(head.log_probs(raw, noise), head.log_probs(raw.float(), noise))


def test_outputs_of_another_codebook_are_refused() -> None:
    with pytest.raises(ShapeError, match="puts out 63 columns, needed are codebook_size . 1 = 64"):
        LOGITS.log_probs(torch.zeros(1, 1, 63), torch.ones(1))
    with pytest.raises(ShapeError, match="puts out 65 columns"):
        PUBLISHED.log_score(torch.zeros(1, 1, 65), torch.zeros(1, 1).long(), torch.ones(1))


def test_a_codebook_of_one_symbol_is_refused() -> None:
    with pytest.raises(ConfigError, match="codebook_size must be at least 2"):
        CategoricalHead(codebook_size=1)


def test_predictions_that_do_not_exist_are_refused() -> None:
    head = object.__new__(CategoricalHead)  # the type hook would be first otherwise
    object.__setattr__(head, "codebook_size", 3)
    object.__setattr__(head, "prediction", "probs")
    with pytest.raises(ConfigError, match="prediction must be one of"):
        head.__post_init__()
