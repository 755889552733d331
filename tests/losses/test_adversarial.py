"""Losses of generators and discriminators."""

import pytest
import torch
from torch import nn

from weft.errors import ConfigError, ShapeError
from weft.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    frozen,
    generator_loss,
)
from weft.nn.discriminators import (
    BandConfig,
    BandDiscriminator,
    PeriodConfig,
    PeriodDiscriminator,
    ResolutionConfig,
    ResolutionDiscriminator,
    Verdict,
)

KINDS = pytest.mark.parametrize("kind", ["hinge", "least_squares"])


def verdict(*logits: float, features: tuple[torch.Tensor, ...] = ()) -> Verdict:
    return Verdict(logits=torch.tensor([logits]), features=features)


def discriminators() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        PeriodDiscriminator(PeriodConfig(periods=(2, 3), channels=(4, 4, 4))),
        ResolutionDiscriminator(
            ResolutionConfig(n_ffts=(128, 64), hop_lengths=(32, 16), num_channels=4)
        ),
        BandDiscriminator(BandConfig(n_ffts=(128,), num_channels=4)),
    ]


def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    reference = 0.3 * torch.randn(2, 333, generator=generator)
    estimate = 0.5 * reference + 0.1 * torch.randn(2, 333, generator=generator)
    return reference, estimate


# Values


def test_hinge_is_zero_beyond_the_margin_and_linear_before() -> None:
    real, fake = [verdict(1.5, 0.5, -1.0)], [verdict(-1.5, -0.25, 1.0)]
    assert float(discriminator_loss(real, fake)) == pytest.approx((0 + 0.5 + 2 + 0 + 0.75 + 2) / 3)
    assert float(generator_loss(fake)) == pytest.approx((2.5 + 1.25 + 0) / 3)


def test_least_squares_are_squared_distances_from_one_and_zero() -> None:
    real, fake = [verdict(1.5, 0.5)], [verdict(-2.0, 0.5)]
    found = discriminator_loss(real, fake, kind="least_squares")
    assert float(found) == pytest.approx((0.25 + 0.25 + 4 + 0.25) / 2)
    assert float(generator_loss(fake, kind="least_squares")) == pytest.approx((9 + 0.25) / 2)


def test_losses_of_a_discriminator_that_knows_nothing() -> None:
    none = [verdict(0.0, 0.0), verdict(0.0)]
    assert float(discriminator_loss(none, none)) == 2
    assert float(discriminator_loss(none, none, kind="least_squares")) == 1
    assert float(generator_loss(none)) == 1
    assert float(generator_loss(none, kind="least_squares")) == 1


@KINDS
def test_sub_discriminators_count_alike_whatever_their_number_of_places(kind) -> None:
    parts = [verdict(0.2, -0.4, 0.9, 0.1), verdict(-0.7)]
    each = [float(generator_loss([part], kind=kind)) for part in parts]
    assert float(generator_loss(parts, kind=kind)) == pytest.approx(sum(each) / 2)
    assert float(generator_loss(parts, kind=kind, over="sum")) == pytest.approx(sum(each))
    each = [float(discriminator_loss([part], [part], kind=kind)) for part in parts]
    assert float(discriminator_loss(parts, parts, kind=kind)) == pytest.approx(sum(each) / 2)
    found = discriminator_loss(parts, parts, kind=kind, over="sum")
    assert float(found) == pytest.approx(sum(each))


def test_feature_matching_sums_maps_and_averages_sub_discriminators() -> None:
    ones, twos = torch.ones(1, 2, 3, 4), 2 * torch.ones(1, 5)
    real = [verdict(0.0, features=(ones, twos)), verdict(0.0, features=(ones,))]
    fake = [verdict(0.0, features=(3 * ones, -twos)), verdict(0.0, features=(1.5 * ones,))]
    assert float(feature_matching_loss(real, fake)) == pytest.approx((2 + 4 + 0.5) / 2)
    assert float(feature_matching_loss(real, fake, over="sum")) == pytest.approx(6.5)
    assert float(feature_matching_loss(real, real)) == 0


@KINDS
def test_losses_of_bfloat16_verdicts_are_summed_in_float32(kind) -> None:
    logits = torch.full((1, 4096), 0.001).bfloat16()
    verdicts = [Verdict(logits=logits, features=(logits,))]
    others = [Verdict(logits=logits, features=(logits + 1,))]
    for loss in (
        discriminator_loss(verdicts, verdicts, kind=kind),
        generator_loss(verdicts, kind=kind),
        feature_matching_loss(verdicts, others),
    ):
        assert loss.dtype == torch.float32
    exact = float(logits[0, 0])
    expected = 1 - exact if kind == "hinge" else (1 - exact) ** 2
    assert float(generator_loss(verdicts, kind=kind)) == pytest.approx(expected, rel=1e-6)


# Gradients


@KINDS
def test_gradients_push_logits_apart_and_the_generator_pulls_up(kind) -> None:
    real, fake = (torch.tensor([[0.1, -0.2]], requires_grad=True) for _ in range(2))
    one, other = Verdict(logits=real, features=()), Verdict(logits=fake, features=())
    discriminator_loss([one], [other], kind=kind).backward()
    assert (real.grad < 0).all()
    if kind == "hinge":
        assert (fake.grad > 0).all()
    else:
        assert torch.equal(fake.grad.sign(), fake.detach().sign())  # towards 0
    fake.grad = None
    generator_loss([other], kind=kind).backward()
    assert (fake.grad < 0).all()


@KINDS
def test_a_step_of_the_generator_lowers_its_loss(kind) -> None:
    reference, estimate = sounds()
    for judge in discriminators():
        with torch.no_grad():
            real = judge(reference)

        def loss(sound: torch.Tensor, judge=judge, real=real) -> torch.Tensor:
            with frozen(judge):
                fake = judge(sound)
            return generator_loss(fake, kind=kind) + feature_matching_loss(real, fake)

        sound = estimate.clone().requires_grad_()
        before = loss(sound)
        (gradient,) = torch.autograd.grad(before, sound)
        after = loss(estimate - 1e-3 * gradient / gradient.norm())
        expected = 1e-3 * float(gradient.norm())
        assert float((before - after).detach()) == pytest.approx(expected, rel=0.3)


@KINDS
def test_a_step_of_the_discriminator_lowers_its_loss_and_leaves_the_sound(kind) -> None:
    reference, estimate = sounds()
    weight = torch.ones(1, requires_grad=True)  # of a generator
    for judge in discriminators():
        decoded = weight * estimate

        def loss(judge=judge, decoded=decoded) -> torch.Tensor:
            return discriminator_loss(judge(reference), judge(decoded.detach()), kind=kind)

        before = loss()
        before.backward()
        assert weight.grad is None
        norm = torch.stack([parameter.grad.norm() for parameter in judge.parameters()]).norm()
        with torch.no_grad():
            for parameter in judge.parameters():
                parameter -= 1e-2 / norm * parameter.grad
        assert float((before - loss()).detach()) == pytest.approx(1e-2 * float(norm), rel=0.3)


def test_feature_matching_has_no_gradient_into_recordings() -> None:
    real, fake = (torch.randn(1, 3, requires_grad=True) for _ in range(2))
    loss = feature_matching_loss([verdict(0.0, features=(real,))], [verdict(0.0, features=(fake,))])
    loss.backward()
    assert real.grad is None
    assert torch.allclose(fake.grad, (fake.detach() - real.detach()).sign() / 3)


def test_a_frozen_discriminator_passes_gradients_on_but_takes_none() -> None:
    _, estimate = sounds()
    for judge in discriminators():
        first = next(judge.parameters())
        first.requires_grad_(False)
        sound = estimate.clone().requires_grad_()
        with frozen(judge):
            fake = judge(sound)
        generator_loss(fake).backward()
        assert sound.grad.any()
        assert all(parameter.grad is None for parameter in judge.parameters())
        trained = [parameter.requires_grad for parameter in judge.parameters()]
        assert trained == [False] + [True] * (len(trained) - 1)


def test_a_discriminator_thaws_after_an_error() -> None:
    judge = discriminators()[0]
    with pytest.raises(ShapeError), frozen(judge):
        judge(torch.zeros(1, 1))
    assert all(parameter.requires_grad for parameter in judge.parameters())


# Bad input


def test_verdicts_that_do_not_belong_together_are_refused() -> None:
    one = verdict(0.0, features=(torch.zeros(1, 3),))
    other = verdict(0.0, features=(torch.zeros(1, 1),))
    with pytest.raises(ShapeError, match="2 and 1"):
        discriminator_loss([one, one], [one])
    with pytest.raises(ShapeError, match="1 and 2"):
        feature_matching_loss([one], [one, one])
    with pytest.raises(ShapeError, match="got none"):
        generator_loss([])
    with pytest.raises(ShapeError, match="got none"):
        discriminator_loss([], [])
    with pytest.raises(ShapeError, match="same shapes"):
        feature_matching_loss([one], [other])


def test_unknown_names_are_refused() -> None:
    one = [verdict(0.0)]
    # Past the check of annotations, which only tests have.
    generator, discriminator = generator_loss.__wrapped__, discriminator_loss.__wrapped__
    with pytest.raises(ConfigError, match="kind"):
        generator(one, kind="wasserstein")
    with pytest.raises(ConfigError, match="kind"):
        discriminator(one, one, kind="wasserstein")
    with pytest.raises(ConfigError, match="over"):
        generator(one, over="max")
