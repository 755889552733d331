"""Folding loses nothing, and its frames are where it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import ConfigError, ShapeError
from weft.nn.folding import fold, hamming_rise, num_folds, unfold


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


@settings(max_examples=25, deadline=None)
@given(
    num=st.integers(1, 700),
    channels=st.integers(1, 3),
    frame=st.sampled_from([4, 10, 32]),
    multiple=st.sampled_from([1, 2, 16]),
)
def test_unfolding_undoes_folding(num: int, channels: int, frame: int, multiple: int) -> None:
    samples = _noise(2, channels, num)
    frames = fold(samples, frame, multiple=multiple)
    assert frames.shape == (2, channels * frame, num_folds(num, frame, multiple))
    assert frames.shape[2] % multiple == 0
    back = unfold(frames, num_channels=channels, num_samples=num)
    assert float((back - samples).abs().max()) < 1e-6


def test_a_frame_holds_the_samples_that_it_says() -> None:
    samples = _noise(1, 2, 100)
    frames = fold(samples, 32)
    assert frames.shape[1] == 64
    for channel in range(2):
        own = frames[0, channel * 32 : channel * 32 + 32, 3]
        assert torch.equal(own, samples[0, channel, 32:64])
    assert torch.equal(frames[0, :16, 0], torch.zeros(16))


def test_the_window_is_the_periodic_hamming_and_adds_up_to_1_08() -> None:
    window = np.hamming(33)[:32]
    rise = hamming_rise(32).double().numpy()
    np.testing.assert_allclose(rise * 1.08, window[:16], atol=1e-7)
    np.testing.assert_allclose((1 - rise) * 1.08, window[16:], atol=1e-7)


def test_the_papers_crop_has_one_frame_more_than_its_samples_over_the_hop() -> None:
    assert num_folds(2**19, 32) == 32769
    assert num_folds(2**19, 32, 128) == 32896


def test_an_error_of_one_frame_stays_in_its_samples() -> None:
    samples = _noise(1, 1, 400)
    frames = fold(samples, 32)
    frames[:, :, 5] += 1
    wrong = (unfold(frames, num_channels=1, num_samples=400) - samples).abs()[0, 0] > 1e-6
    assert wrong.nonzero().flatten().tolist() == list(range(64, 96))


def test_what_cannot_be_unfolded_is_refused() -> None:
    with pytest.raises(ShapeError, match="7 samples need 2 frames of 32, got 1"):
        unfold(_noise(1, 32, 1), num_channels=1, num_samples=7)
    with pytest.raises(ShapeError, match="33 features"):
        unfold(_noise(1, 33, 9), num_channels=2, num_samples=7)
    with pytest.raises(ConfigError, match="even"):
        fold(_noise(1, 1, 9), 7)
