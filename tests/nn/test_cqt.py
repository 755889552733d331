"""The transform loses nothing, and its bands are where they say."""

from typing import Any

import numpy as np
import pytest
import torch

from weft.errors import ConfigError, ShapeError
from weft.nn.cqt import Cqt, CqtConfig, _make_tables

_SIZES = [
    CqtConfig(num_samples=4096, num_octaves=4, bins_per_octave=8),
    CqtConfig(num_samples=33264, num_octaves=6, bins_per_octave=16),
    CqtConfig(num_samples=32768, num_octaves=7, bins_per_octave=48),
    CqtConfig(num_samples=130, num_octaves=2, bins_per_octave=5),
]


def _noise(num: int, *, channels: int = 2) -> torch.Tensor:
    samples = torch.randn(2, channels, num, generator=torch.Generator().manual_seed(1))
    return samples / samples.abs().max()


@pytest.mark.parametrize("config", _SIZES, ids=lambda c: f"{c.num_samples}")
def test_the_inverse_gives_samples_back(config: CqtConfig) -> None:
    cqt = Cqt(config)
    for num in (config.num_samples, config.num_samples - 33):
        samples = _noise(num)
        assert float((cqt.inverse(cqt(samples), num) - samples).abs().max()) < 1e-6


@pytest.mark.parametrize("config", _SIZES, ids=lambda c: f"{c.num_samples}")
def test_squares_of_the_windows_add_up_to_one_at_every_frequency(config: CqtConfig) -> None:
    tables = _make_tables(config)
    total = np.zeros(config.num_samples // 2 + 1)
    for bins, windows in zip(tables.bins, tables.windows, strict=True):
        np.add.at(total, bins.ravel(), windows.ravel() ** 2)
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def test_octaves_have_half_the_frames_of_the_one_above() -> None:
    cqt = Cqt(_SIZES[1])
    assert cqt.num_frames == (1440, 720, 360, 180, 90, 45, 45)
    shapes = [tuple(block.shape) for block in cqt(_noise(33264, channels=1))]
    assert shapes == [(2, 1, 16, frames) for frames in cqt.num_frames]


def test_energy_is_kept() -> None:
    samples = _noise(4096)
    samples -= samples.mean(dim=2, keepdim=True)
    blocks = Cqt(_SIZES[0])(samples)
    energy = sum(float(block.abs().square().sum()) for block in blocks)
    assert energy == pytest.approx(float(samples.square().sum()), rel=1e-3)


@pytest.mark.parametrize("hz", [50.0, 700.0, 3000.0])
def test_a_tone_is_heard_in_the_band_of_its_frequency(hz: float) -> None:
    rate, config = 16000, _SIZES[2]
    cqt = Cqt(config)
    turns = round(hz * config.num_samples / rate)  # whole, as the sound goes round
    phase = torch.arange(config.num_samples, dtype=torch.float64) / config.num_samples
    blocks = cqt(torch.sin(2 * torch.pi * turns * phase).float()[None, None])
    power = torch.cat([block.abs().square().mean(dim=3)[0, 0] for block in blocks])
    centres = torch.cat(cqt.centres_hz(rate))
    loudest = int(power.argmax())
    nearest = int((centres - hz).abs().argmin())
    assert abs(loudest - nearest) <= 1
    others = torch.arange(len(power))
    assert float(power[(others - loudest).abs() > 2].sum()) < 0.01 * float(power.sum())


def test_a_click_is_heard_when_it_is() -> None:
    config = _SIZES[1]
    samples = torch.zeros(1, 1, config.num_samples)
    samples[0, 0, 10_000] = 1.0
    cqt = Cqt(config)
    for block, frames in zip(cqt(samples), cqt.num_frames, strict=True):
        loudest = int(block.abs().square().sum(dim=2)[0, 0].argmax())
        assert abs(loudest / frames - 10_000 / config.num_samples) < 1.5 / frames


def test_row_scales_are_what_white_noise_gives() -> None:
    cqt = Cqt(_SIZES[0])
    noise = torch.randn(64, 1, 4096, generator=torch.Generator().manual_seed(0))
    for block, scales in zip(cqt(noise), cqt.row_scales(), strict=True):
        for part in (block.real, block.imag):
            found = part.square().mean(dim=(0, 1, 3)).sqrt()
            torch.testing.assert_close(found[1:], scales[1:], rtol=0.12, atol=0.0)


def test_gradients_flow_through_both_ways() -> None:
    cqt = Cqt(_SIZES[3]).double()
    for name, buffer in cqt.named_buffers():
        assert name.startswith("bins") or buffer.dtype == torch.float64
    samples = _noise(130, channels=1).double().requires_grad_()
    target = torch.randn(2, 1, 130, dtype=torch.float64)
    blocks = cqt(samples)
    (cqt.inverse(blocks, 130) * target).sum().backward()
    assert samples.grad is not None
    torch.testing.assert_close(samples.grad, target, atol=1e-6, rtol=0)


def test_longer_sound_is_refused() -> None:
    with pytest.raises(ShapeError, match="made for 4096 samples, got 4097"):
        Cqt(_SIZES[0])(_noise(4097))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_samples": 32769}, "must be even"),
        ({"num_samples": 1024}, "at least 4096"),
        ({"num_octaves": 1}, "num_octaves must be in"),
        ({"bins_per_octave": 1000}, "bins_per_octave must be in"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CqtConfig(**changed)
