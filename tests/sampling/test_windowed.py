import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from oracles.gaussian_process import make_field
from weft.errors import ConfigError
from weft.process.gaussian import CosineSchedule
from weft.sampling.windowed import starts_of_windows, windowed, windowed_at

T = torch.full((2,), 0.4).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@given(num_frames=st.integers(1, 200), window=st.integers(1, 40), overlap=st.integers(0, 39))
def test_windows_cover_everything_with_the_overlap(num_frames, window, overlap):
    overlap = min(overlap, window - 1)
    starts = starts_of_windows(num_frames, window, overlap)
    if num_frames <= window:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == num_frames - window
    steps = np.diff(starts)
    assert steps.min() >= 1
    assert steps.max() <= window - overlap
    assert len(starts) == 1 + -(-(num_frames - window) // (window - overlap))


@pytest.mark.parametrize("num_frames", [1, 7, 8])
def test_what_fits_into_a_window_is_exact_and_one_call(num_frames):
    calls = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append(x.shape)
        return torch.tanh(x.cumsum(1))

    x = draw(2, num_frames, 3)
    assert torch.equal(windowed(network, window=8, overlap=4)(x, T), network(x, T))
    assert len(calls) == 2


def test_every_call_sees_one_window_and_where_it_is():
    seen = []
    position = torch.arange(20).double()[None, :, None]

    def network(x: Tensor, t: Tensor, start: int) -> Tensor:
        seen.append((start, x.shape[1]))
        return position[:, start : start + x.shape[1]].expand_as(x)

    found = windowed_at(network, window=8, overlap=4)(draw(2, 20, 3), T)
    assert seen == [(0, 8), (4, 8), (8, 8), (12, 8)]
    assert torch.allclose(found, position.expand(2, 20, 3))


def test_estimates_are_averaged_with_weights_that_fall_to_the_ends():
    found = windowed_at(lambda x, t, start: torch.full_like(x, start), window=4, overlap=2)(
        draw(1, 6, 1), T[:1]
    )
    # Weights 1 2 2 1 of the windows at 0 and 2.
    assert torch.allclose(found.flatten(), torch.tensor([0, 0, 2 / 3, 4 / 3, 2, 2]).double())


def test_a_network_of_short_reach_is_hardly_changed():
    # The ideal denoiser of a long sequence, and that of windows: they differ by lost context.
    schedule = CosineSchedule()
    whole, part = make_field(192, reach=6.0), make_field(64, reach=6.0)
    x = draw(2, 192, 2)
    expected = whole.denoise_fn(schedule)(x, T)

    def error(overlap: int) -> float:
        found = windowed(part.denoise_fn(schedule), window=64, overlap=overlap)(x, T)
        return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())

    assert error(32) < 0.02
    assert error(0) > 2 * error(32)


def test_gradients_go_through_windows_as_through_the_whole():
    # A network of frames by themselves: windows change nothing.
    x = draw(2, 30, 3)

    def gradient(denoise_fn) -> Tensor:
        at = x.clone().requires_grad_()
        (found,) = torch.autograd.grad((denoise_fn(at, T) ** 3).sum(), at)
        return found

    found = gradient(windowed(lambda x, t: torch.sin(2 * x), window=8, overlap=3))
    assert torch.allclose(found, gradient(lambda x, t: torch.sin(2 * x)))


def test_with_gradients_windows_keep_no_activations():
    def num_kept(depth: int) -> int:
        sizes = []

        def network(x: Tensor, t: Tensor) -> Tensor:
            for _ in range(depth):
                x = torch.sin(x)
            return x

        def pack(x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return x

        x = draw(1, 80, 2).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
            windowed(network, window=8, overlap=4)(x, T[:1])
        return sum(sizes)

    assert num_kept(9) == num_kept(1)


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (4, 4), (4, -1)])
def test_windows_of_impossible_lengths_are_refused(window, overlap):
    with pytest.raises(ConfigError, match="a window must have"):
        windowed(lambda x, t: x, window=window, overlap=overlap)
