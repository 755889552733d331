"""The waveform network: sizes, what it depends on, and how it begins."""

from typing import Any

import pytest
import torch

from weft.errors import ConfigError, ShapeError
from weft.nn.unet1d import PAPER, WaveformUnet, WaveformUnetConfig

_TINY = WaveformUnetConfig(
    num_channels=2,
    num_samples=480,
    width=16,
    multipliers=(1, 2, 2),
    num_blocks=1,
    attention_from=2,
    num_heads=2,
    num_groups=4,
)


def _network(*, is_trained: bool = True) -> WaveformUnet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = WaveformUnet(_TINY).eval()
        if is_trained:  # what begins as zero would hide what is behind it
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    return network


def _sound(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, num, 2, generator=torch.Generator().manual_seed(seed))


def test_the_papers_size_has_435_million_parameters() -> None:
    with torch.device("meta"):
        network = WaveformUnet(PAPER)
    assert sum(value.numel() for value in network.parameters()) == 435_297_344
    assert PAPER.num_channels * PAPER.frame_length == 64
    assert network.num_frames(PAPER.num_samples) == 32_896


@pytest.mark.parametrize("num", [1, 463, 480, 1001])
def test_sound_of_any_length_comes_back_in_its_shape(num: int) -> None:
    with torch.no_grad():
        found = _network()(_sound(num), torch.tensor([0.2, 0.9]))
    assert found.shape == (2, num, 2)
    assert bool(found.isfinite().all())


def test_it_begins_with_silence() -> None:
    with torch.no_grad():
        found = _network(is_trained=False)(_sound(480), torch.tensor([0.2, 0.9]))
    assert not bool(found.any())


def test_the_output_depends_on_time_and_far_sound_but_not_on_the_batch() -> None:
    network, sound = _network(), _sound(480)
    with torch.no_grad():
        found = network(sound, torch.tensor([0.2, 0.9]))
        later = network(sound, torch.tensor([0.3, 0.9]))
        alone = network(sound[1:], torch.tensor([0.9]))
        far = sound.clone()
        far[:, -1] += 5.0
        moved = network(far, torch.tensor([0.2, 0.9]))
    assert float((found[0] - later[0]).abs().max()) > 1e-4
    assert torch.allclose(found[1], alone[0], atol=1e-5)
    assert float((found[:, 0] - moved[:, 0]).abs().max()) > 1e-7


def test_every_parameter_gets_a_gradient() -> None:
    network = _network()
    network(_sound(480), torch.tensor([0.2, 0.9])).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_other_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 channels, got 1"):
        _network()(_sound(64)[:, :, :1], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frame_length": 31}, "frame_length must be even"),
        ({"width": 330}, "multiple of num_groups"),
        ({"multipliers": (1,)}, "multipliers must be 2 to 12"),
        ({"attention_from": 9}, "attention_from must be in"),
        ({"num_heads": 7}, "levels with attention"),
        ({"num_samples": 1 << 30}, "num_samples must be in"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveformUnetConfig(**changed)
