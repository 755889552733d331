import numpy as np
import pytest
import torch
from torch import Tensor

from weft.errors import ConfigError, DivergenceError, ShapeError
from weft.sampling.guidance import (
    ClassifierLoss,
    EmbedderLoss,
    GuidanceConfig,
    GuidanceLoss,
    ReconstructionLoss,
    Weighted,
    guided_estimate,
    scaled_step_size,
)
from weft.sampling.measure import LowPass, TimeMask

T = torch.ones(2).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def mix(x: Tensor, t: Tensor) -> Tensor:
    """A network in which every frame depends on every other."""
    return torch.tanh(x.cumsum(dim=1) / 3 + x.flip(1))


def embed(x: Tensor) -> Tensor:
    return torch.cat([x.mean(dim=1), x.square().mean(dim=1)], dim=1)  # b 2d


def reconstruction(seed: int = 1) -> ReconstructionLoss:
    known = torch.tensor([[True, True, False, True, False]] * 2)
    mask = TimeMask(known=known)
    return ReconstructionLoss(operator=mask, target=mask.apply(draw(2, 5, 3, seed=seed)))


def embedder(num_references: int = 2) -> EmbedderLoss:
    return EmbedderLoss(embed_fn=embed, targets=draw(num_references, 6, seed=2))


def classifier() -> ClassifierLoss:
    return ClassifierLoss(
        logits_fn=lambda x: 3 * x.sum(1), targets=torch.tensor([[0.0, 1.0, 0.5]] * 2).double()
    )


LOSSES = [reconstruction(), embedder(), classifier()]
NAMES = ["reconstruction", "embedder", "classifier"]


def gradient(*losses: Weighted, x: Tensor | None = None, **settings) -> Tensor:
    x = draw(2, 5, 3) if x is None else x
    return guided_estimate(mix, x, T[: len(x)], losses=losses, **settings).gradient


def test_reconstruction_sums_over_elements():
    loss, x = reconstruction(), draw(2, 5, 3)
    expected = (x - loss.target).abs()[:, [0, 1, 3]].sum((1, 2))
    assert torch.allclose(loss.distance(x), expected)


def test_reconstruction_takes_any_operator():
    operator = LowPass(taps=(0.25, 0.5, 0.25), decimation=2)
    x, truth = draw(2, 6, 3), draw(2, 6, 3, seed=1)
    loss = ReconstructionLoss(operator=operator, target=operator.apply(truth))
    assert torch.allclose(loss.distance(x), operator.apply(x - truth).abs().sum((1, 2)))


def test_an_embedder_pulls_with_one_unit_however_far_it_is():
    for scale in (0.1, 10.0):
        target = scale * draw(1, 6, seed=2)
        found = embed(draw(2, 5, 3)).requires_grad_()
        loss = EmbedderLoss(embed_fn=lambda x, found=found: found, targets=target)
        (pull,) = torch.autograd.grad(loss.distance(draw(2, 5, 3)).sum(), found)
        assert torch.allclose(pull.norm(dim=1), torch.ones(2).double())


def test_several_references_count_as_their_mean():
    x = draw(2, 5, 3)
    both, targets = embedder(2).distance(x), embedder(2).targets
    one, two = (EmbedderLoss(embed_fn=embed, targets=targets[i : i + 1]) for i in (0, 1))
    assert torch.allclose(both, (one.distance(x) + two.distance(x)) / 2)
    assert torch.allclose(one.distance(x), (embed(x) - targets[0]).square().sum(1).sqrt())


def test_a_reached_reference_has_no_gradient_and_no_nan():
    x = draw(2, 5, 3)
    loss = EmbedderLoss(embed_fn=embed, targets=embed(mix(x[:1], T[:1])))
    found = gradient(Weighted(loss=loss), x=x)
    assert not bool(found[0].any())
    assert bool(found[1].any())


def test_a_classifier_has_the_cross_entropy_of_all_classes():
    x = draw(2, 5, 3)
    p = torch.sigmoid(3 * x.sum(1))
    y = classifier().targets
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).sum(1)
    assert torch.allclose(classifier().distance(x), expected)


def test_losses_of_sound_go_through_the_decoder():
    x = draw(2, 5, 3)
    inner = EmbedderLoss(
        embed_fn=lambda sound: sound.mean(2),
        targets=draw(1, 1),
        to_sound=lambda z: z.sum(2)[:, None],
    )
    assert torch.allclose(inner.distance(x), (x.sum(2).mean(1)[:, None] - draw(1, 1)).abs()[:, 0])
    classes = ClassifierLoss(
        logits_fn=lambda sound: sound.mean(2),
        targets=torch.ones(2, 1),
        to_sound=lambda z: z.sum(2)[:, None],
    )
    assert torch.allclose(classes.distance(x), torch.nn.functional.softplus(-x.sum(2).mean(1)))


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
@pytest.mark.parametrize("normalisation", ["sum", "dps"])
def test_a_gradient_goes_through_the_network(loss, normalisation):
    x, direction = draw(2, 5, 3), draw(2, 5, 3, seed=7)
    found = gradient(Weighted(loss=loss, weight=1.5), x=x, normalisation=normalisation)

    def value(at: Tensor) -> Tensor:
        estimate = mix(at, T)
        if normalisation == "sum":
            return 1.5 * loss.distance(estimate)
        return 2 * (1.5 * loss.squared_distance(estimate)).sqrt()  # grad d^2 / d = 2 grad d

    step = 1e-6
    slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert torch.allclose((found * direction).sum((1, 2)), slope, atol=1e-6)


def test_gradients_reach_frames_of_which_nothing_is_known():
    found = gradient(Weighted(loss=reconstruction()))
    assert bool(found[:, [2, 4]].any())


def test_losses_add_up_by_weight():
    weights = (0.5, 2.0, 3.0)
    together = gradient(*(Weighted(loss=v, weight=w) for v, w in zip(LOSSES, weights, strict=True)))
    alone = [gradient(Weighted(loss=v)) for v in LOSSES]
    assert torch.allclose(together, sum(w * g for w, g in zip(weights, alone, strict=True)))


def test_an_item_has_the_gradient_it_has_alone():
    loss = EmbedderLoss(embed_fn=embed, targets=draw(2, 6, seed=2))
    x = draw(2, 5, 3)
    both = gradient(Weighted(loss=loss), x=x, normalisation="dps")
    assert torch.allclose(both[1:], gradient(Weighted(loss=loss), x=x[1:], normalisation="dps"))


def test_dps_of_what_is_reached_is_zero():
    x = draw(2, 5, 3)
    mask = TimeMask(known=torch.ones(2, 5, dtype=torch.bool))
    loss = ReconstructionLoss(operator=mask, target=mix(x, T))
    assert not bool(gradient(Weighted(loss=loss), x=x, normalisation="dps").any())


def test_a_weight_of_zero_leaves_a_loss_out():
    class Refuses(GuidanceLoss):
        def distance(self, x0hat):
            raise AssertionError("called")

    found = guided_estimate(mix, draw(2, 5, 3), T, losses=[Weighted(loss=Refuses(), weight=0.0)])
    assert found.gradient is None


def test_losses_are_calculated_in_32_bits_under_autocast():
    seen = {}
    matrix = torch.eye(3)

    def network(x: Tensor, t: Tensor) -> Tensor:
        out = x @ matrix
        seen["network"] = out.dtype
        return out

    def logits(x: Tensor) -> Tensor:
        seen["loss"] = (x.dtype, (x @ matrix).dtype)
        return x.sum(1)

    loss = ClassifierLoss(logits_fn=logits, targets=torch.ones(2, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = guided_estimate(
            network, draw(2, 5, 3).float(), T.float(), losses=[Weighted(loss=loss)]
        )
    assert seen["network"] == torch.bfloat16
    assert seen["loss"] == (torch.float32, torch.float32)
    assert found.x0hat.dtype == found.gradient.dtype == torch.float32


@pytest.mark.parametrize(("steps", "expected"), [(50, 0.03), (500, 0.003), (25, 0.06)])
def test_step_sizes_are_for_fifty_steps(steps, expected):
    assert scaled_step_size(GuidanceConfig(step_size=0.03), steps) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step_size": -1.0}, "step_size must be in"),
        ({"step_size": float("nan")}, "step_size must be in"),
        ({"resampling": 0}, "resampling must be in"),
        ({"normalisation": "mean"}, "normalisation must be one of"),
        ({"consistency": "paste"}, "consistency must be one of"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    # The type hook of the tests refuses wrong literals before the class can.
    with pytest.raises((ConfigError, TypeError)) as caught:
        GuidanceConfig(**settings)
    assert isinstance(caught.value, TypeError) or words in str(caught.value)


def test_losses_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="weight of a loss"):
        Weighted(loss=reconstruction(), weight=-1.0)
    with pytest.raises(ConfigError, match=r"must be in \[0, 1\]"):
        ClassifierLoss(logits_fn=embed, targets=torch.tensor([[1.2]]))
    with pytest.raises(ShapeError, match="at least one reference"):
        EmbedderLoss(embed_fn=embed, targets=torch.zeros(0, 6))
    with pytest.raises(ShapeError, match="embed both alike"):
        EmbedderLoss(embed_fn=embed, targets=torch.zeros(1, 5)).distance(draw(2, 5, 3))
    with pytest.raises(ShapeError, match="one row an item"):
        classifier().distance(draw(1, 5, 3))


def test_a_gradient_that_is_not_finite_is_refused():
    loss = ClassifierLoss(logits_fn=lambda x: (x.sum(1) * 0).sqrt(), targets=torch.ones(2, 3))
    with pytest.raises(DivergenceError, match="gradient of the guidance"):
        gradient(Weighted(loss=loss))
