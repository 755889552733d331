"""Losses of self-supervised encoders, and the figures of a collapse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.losses.ssl import (
    clip_loss,
    covariance_guard,
    effective_rank,
    feature_std,
    hidden_frames_loss,
    span_positions,
    standardise,
    teacher_targets,
    variance_guard,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    frames=st.integers(2, 60),
    fraction=st.floats(0.05, 0.95),
    span=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_every_clip_hides_the_same_number_of_frames(
    frames: int, fraction: float, span: int, seed: int
) -> None:
    masked = span_positions(4, frames, fraction=fraction, num_span=span, generator=_generator(seed))
    wanted = min(max(1, round(fraction * frames)), frames - 1)
    assert masked.shape == (4, frames)
    assert masked.sum(dim=1).tolist() == [wanted] * 4


def test_hidden_frames_lie_in_spans() -> None:
    masked = span_positions(500, 100, fraction=0.3, num_span=10, generator=_generator())
    begins = masked[:, 1:] & ~masked[:, :-1]
    mean_run = float(masked.sum()) / float(begins.sum() + masked[:, 0].sum())
    assert 8 < mean_run < 16  # measured 11.7; single frames would give 1.4


def test_all_frames_are_hidden_about_equally_often() -> None:
    masked = span_positions(4000, 40, fraction=0.5, num_span=8, generator=_generator())
    share = masked.float().mean(dim=0)
    assert 0.4 < float(share.min()) <= float(share.max()) < 0.6


def test_standardising_over_a_batch_keeps_what_tells_clips_apart() -> None:
    torch.manual_seed(0)
    features = torch.randn(8, 50, 4) + 5 * torch.randn(8, 1, 4)
    over_batch, over_clip = standardise(features, "batch"), standardise(features, "clip")
    assert torch.allclose(over_clip.mean(dim=1), torch.zeros(8, 4), atol=1e-5)
    assert float(over_batch.mean(dim=1).std(dim=0).mean()) > 0.8
    assert torch.allclose(over_batch.var(dim=(0, 1), correction=0), torch.ones(4), atol=1e-3)


def test_targets_are_means_of_the_top_layers_only() -> None:
    torch.manual_seed(0)
    layers = [torch.randn(2, 10, 4) for _ in range(4)]
    targets = teacher_targets(layers, num_top=2, over="batch")
    expected = standardise(
        (standardise(layers[2], "batch") + standardise(layers[3], "batch")) / 2, "batch"
    )
    assert torch.allclose(targets, expected, atol=1e-6)
    layers[0] += 10 * torch.randn_like(layers[0])
    assert torch.equal(teacher_targets(layers, num_top=2, over="batch"), targets)
    with pytest.raises(ConfigError, match="num_top"):
        teacher_targets(layers, num_top=5, over="batch")


def test_the_loss_counts_hidden_frames_and_sends_no_gradient_to_the_target() -> None:
    prediction = torch.zeros(1, 4, 3, requires_grad=True)
    target = torch.zeros(1, 4, 3, requires_grad=True)
    masked = torch.tensor([[True, False, False, True]])
    with torch.no_grad():
        target[0, 1] = 100.0
        target[0, 0] = 0.5
    loss = hidden_frames_loss(prediction, target, masked)
    assert loss.item() == pytest.approx(0.5 * 0.5**2 / 2)
    loss.backward()
    assert target.grad is None
    assert prediction.grad is not None
    assert prediction.grad[0, 1].abs().sum() == 0


def test_clip_loss_is_0_for_equal_and_4_for_opposite_directions() -> None:
    x = torch.randn(5, 7, generator=_generator())
    assert clip_loss(x, 3 * x).item() == pytest.approx(0, abs=1e-6)
    assert clip_loss(x, -x).item() == pytest.approx(4, abs=1e-6)


def test_guards_rise_where_features_are_equal_or_repeat_each_other() -> None:
    spread = torch.randn(400, 6, generator=_generator())
    assert variance_guard(torch.ones(8, 6)).item() == pytest.approx(0.99, abs=1e-3)
    assert variance_guard(2 * spread).item() == 0
    repeated = spread[:, :1].expand(400, 6)
    assert covariance_guard(repeated).item() == pytest.approx(5, rel=0.2)
    assert covariance_guard(spread).item() < 0.1


def test_collapse_is_seen() -> None:
    spread = torch.randn(300, 20, generator=_generator())
    line = torch.linspace(0, 1, 300)[:, None] * torch.randn(1, 20, generator=_generator(1))
    assert effective_rank(spread) == pytest.approx(19.6, abs=0.4)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(30, 5)) == 1
    assert feature_std(torch.ones(30, 5)) == 0
    assert feature_std(spread) == pytest.approx(1, abs=0.05)


def test_effective_rank_of_equal_singular_values_is_their_number() -> None:
    basis = torch.linalg.qr(torch.randn(64, 8, generator=_generator()))[0]
    centred = basis - basis.mean(dim=0)
    values = torch.linalg.svdvals(centred.double())
    share = values / values.sum()
    expected = math.exp(float(-(share * share.log()).sum()))
    assert effective_rank(basis) == pytest.approx(expected, rel=1e-6)
    assert 7 < effective_rank(basis) <= 8


@pytest.mark.parametrize(
    "bad", [{"num_frames": 1}, {"fraction": 0.0}, {"fraction": 1.0}, {"num_span": 0}]
)
def test_spans_out_of_range_are_refused(bad: dict[str, float]) -> None:
    arguments = {"num_frames": 10, "fraction": 0.5, "num_span": 2, **bad}
    frames = int(arguments.pop("num_frames"))
    with pytest.raises(ConfigError, match=next(iter(bad))):
        span_positions(
            2,
            frames,
            fraction=arguments["fraction"],
            num_span=int(arguments["num_span"]),
            generator=_generator(),
        )
