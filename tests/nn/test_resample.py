"""Resampling by a fixed filter."""

import numpy as np
import pytest
import torch

from weft.audio.resample import resample
from weft.errors import ConfigError
from weft.nn.resample import RationalResampler


def _noise(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, num))


@pytest.mark.parametrize(("source", "target"), [(44100, 16000), (24000, 16000), (8000, 16000)])
def test_it_is_near_the_resampler_of_the_rim_below_the_roll_off(source: int, target: int) -> None:
    time = np.arange(source // 2) / source
    sound = sum(np.sin(2 * np.pi * hz * time + hz) for hz in (50, 440, 1900, 3300))[None]
    wanted = resample(sound, source, target)
    found = RationalResampler(source, target)(torch.from_numpy(sound).float()).numpy()
    assert found.shape == wanted.shape
    inside = slice(400, -400)
    error = np.abs(found - wanted)[:, inside].max()
    assert error < 2e-4  # measured: 5e-5


def test_what_the_target_cannot_hold_is_gone() -> None:
    time = np.arange(22050) / 44100
    tone = torch.from_numpy(np.sin(2 * np.pi * 9000 * time))[None].float()
    found = RationalResampler(44100, 16000)(tone)[:, 400:-400]
    assert 20 * np.log10(float(found.abs().max())) < -70  # measured: -90 dB


def test_nothing_is_delayed() -> None:
    pulse = torch.zeros(1, 44100)
    pulse[0, 441 * 20] = 1.0
    found = RationalResampler(44100, 16000)(pulse)[0]
    assert int(found.argmax()) == 160 * 20
    left, right = found[160 * 20 - 100 : 160 * 20], found[160 * 20 + 1 : 160 * 20 + 101]
    assert torch.allclose(left, right.flip(0), atol=1e-6)


@pytest.mark.parametrize("num", [1, 2, 441, 442, 1000])
def test_the_length_is_rounded_up(num: int) -> None:
    resampler = RationalResampler(44100, 16000)
    found = resampler(torch.ones(1, num))
    assert found.shape[1] == resampler.num_outputs(num) == -(-num * 160 // 441)


def test_equal_rates_change_nothing() -> None:
    sound = torch.from_numpy(_noise(100)).float()
    assert torch.equal(RationalResampler(16000, 16000)(sound), sound)


def test_gradients_are_right() -> None:
    resampler = RationalResampler(3, 2, num_zeros=4).double()
    sound = torch.from_numpy(_noise(17)).requires_grad_()
    assert torch.autograd.gradcheck(resampler, (sound,))


def test_rates_that_have_nothing_in_common_are_refused() -> None:
    with pytest.raises(ConfigError, match="so little in common"):
        RationalResampler(44101, 16000)
    with pytest.raises(ConfigError, match="must be > 0 Hz"):
        RationalResampler(0, 16000)
