import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.sampling.measure import LowPass, Operator, TimeMask


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def sinc(num_taps: int, decimation: int, beta: float = 5.0) -> tuple[float, ...]:
    """A windowed low-pass at 0.8 of half the kept rate; ``beta`` 5 holds back about 55 dB."""
    n = np.arange(num_taps) - (num_taps - 1) / 2
    taps = np.sinc(0.8 * n / decimation) * np.kaiser(num_taps, beta)
    return tuple(float(v) for v in taps / taps.sum())


def matrix(operator: Operator, num_frames: int) -> np.ndarray:
    """Measure all unit impulses: ``m l``."""
    return operator.apply(torch.eye(num_frames).double()[..., None])[..., 0].T.numpy()


def test_a_mask_pastes_bit_for_bit():
    known = torch.tensor([[True, False, True], [False, False, True]])
    x, y = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    found = TimeMask(known=known).project(x, y)
    assert torch.equal(found[known], y[known])
    assert torch.equal(found[~known], x[~known])


def test_a_mask_measures_zeros_where_nothing_is_known():
    known = torch.tensor([[True, False]])
    found = TimeMask(known=known).apply(torch.ones(1, 2, 1))
    assert found.flatten().tolist() == [1, 0]


def test_a_filter_measures_what_a_convolution_gives():
    taps = (0.5, 0.3, -0.1, 0.2)
    x = draw(1, 11, 1)
    full = np.convolve(x[0, :, 0].numpy(), taps[::-1])  # correlation
    expected = full[2:][:11:3]  # output j is centred on frame 3 j: tap 1 of 4
    found = LowPass(taps=taps, decimation=3).apply(x)
    assert np.allclose(found[0, :, 0], expected, atol=1e-12)


@given(
    num_frames=st.integers(1, 40),
    num_taps=st.integers(1, 19),
    decimation=st.integers(1, 6),
)
def test_a_projection_is_that_of_the_pseudo_inverse(num_frames, num_taps, decimation):
    rng = np.random.default_rng(num_taps)
    # A strong tap in the middle: no band is held back, so that the inverse is well conditioned.
    taps = 0.3 * rng.standard_normal(num_taps) / num_taps
    taps[(num_taps - 1) // 2] += 1
    operator = LowPass(taps=tuple(float(v) for v in taps), decimation=decimation)
    measured = matrix(operator, num_frames)
    x = draw(1, num_frames, 1)
    y = draw(1, operator.num_measured(num_frames), 1, seed=1)
    expected = x[0, :, 0].numpy() + np.linalg.pinv(measured) @ (
        y[0, :, 0].numpy() - measured @ x[0, :, 0].numpy()
    )
    assert np.allclose(operator.project(x, y)[0, :, 0], expected, atol=1e-9)


@pytest.mark.parametrize("decimation", [2, 3, 4])
def test_a_low_pass_projects_onto_what_was_measured(decimation):
    operator = LowPass(taps=sinc(33, decimation), decimation=decimation)
    x, truth = draw(2, 90, 3), draw(2, 90, 3, seed=1)
    y = operator.apply(truth)
    found = operator.project(x, y)
    assert float((operator.apply(found) - y).abs().max()) < 1e-9
    assert torch.allclose(operator.project(found, y), found, atol=1e-9)
    # Nearest: the change is orthogonal to all sequences that measure nothing.
    silent = operator.project(draw(2, 90, 3, seed=2), torch.zeros_like(y))
    assert float(((found - x) * silent).sum((1, 2)).abs().max()) < 1e-8
    # The shortcut y + x - A x, spread back, does neither.
    shortcut = x + operator._spread((y - operator.apply(x)).transpose(1, 2), x)
    assert float((operator.apply(shortcut) - y).abs().max()) > 0.1


def test_bands_that_a_filter_holds_back_stay_as_they_were():
    n = torch.arange(400).double()
    high, low = (torch.cos(f * torch.pi * n)[None, :, None] for f in (0.9, 0.05))
    operator = LowPass(taps=sinc(129, 4, beta=14))  # all outputs kept: most of the band is lost
    y = operator.apply(low)
    found = operator.project(high, y)
    assert float((found - high - low)[:, 80:-80].abs().max()) < 0.03
    assert float((operator.apply(found) - y).abs().max()) < 1e-3


def test_what_measures_differentiates():
    x = draw(1, 12, 1).requires_grad_()
    operator = LowPass(taps=sinc(5, 2), decimation=2)
    (found,) = torch.autograd.grad(operator.apply(x).sum(), x)
    assert np.allclose(found[0, :, 0], matrix(operator, 12).sum(0), atol=1e-12)


def test_a_projection_keeps_dtype_and_takes_no_gradient():
    operator = LowPass(taps=sinc(5, 2), decimation=2)
    x = draw(1, 12, 1).float().requires_grad_()
    found = operator.project(x, torch.zeros(1, 6, 1))
    assert found.dtype == torch.float32
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"taps": ()}, "taps must be 1 to 65536"),
        ({"taps": (0.0, 0.0)}, "not all 0"),
        ({"taps": (float("nan"),)}, "finite"),
        ({"taps": (1.0,), "decimation": 0}, "decimation must be in"),
    ],
)
def test_a_filter_that_measures_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        LowPass(**settings)


def test_measurements_of_other_lengths_are_refused():
    with pytest.raises(ShapeError, match="6 measured ones"):
        LowPass(taps=(1.0,), decimation=2).project(draw(1, 12, 1), draw(1, 5, 1))
    with pytest.raises(ShapeError, match="same canvas"):
        TimeMask(known=torch.ones(1, 3, dtype=torch.bool)).apply(draw(1, 4, 1))
