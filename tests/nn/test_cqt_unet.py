"""The network over octaves: sizes, what it depends on, and how it begins."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from weft.errors import ConfigError, ShapeError
from weft.nn.cqt_unet import MOLINER, CqtUnet, CqtUnetConfig

_TINY = CqtUnetConfig(
    num_channels=2,
    num_samples=1024,
    num_octaves=3,
    bins_per_octave=6,
    widths=(8, 8, 16),
    num_layers=(1, 2, 2),
    time_width=16,
    attention_width=16,
    num_heads=2,
    num_groups=4,
)


def _network(*, is_trained: bool = True, num_channels: int = 2) -> CqtUnet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CqtUnet(replace(_TINY, num_channels=num_channels)).eval()
        if is_trained:
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    return network


def _sound(num: int, channels: int = 2) -> torch.Tensor:
    return torch.randn(2, num, channels, generator=torch.Generator().manual_seed(0))


def test_the_published_widths_make_54_million_parameters() -> None:
    with torch.device("meta"):
        network = CqtUnet(replace(MOLINER, num_samples=32_768))
    assert sum(value.numel() for value in network.parameters()) == 53_966_868


@pytest.mark.parametrize("num", [700, 1024])
def test_sound_comes_back_in_its_shape(num: int) -> None:
    with torch.no_grad():
        found = _network()(_sound(num), torch.tensor([0.2, 0.9]))
    assert found.shape == (2, num, 2)
    assert bool(found.isfinite().all())


def test_it_begins_with_silence() -> None:
    with torch.no_grad():
        found = _network(is_trained=False)(_sound(1024), torch.tensor([0.2, 0.9]))
    assert not bool(found.any())


def test_the_output_depends_on_time_but_not_on_the_batch() -> None:
    network, sound = _network(), _sound(1024)
    with torch.no_grad():
        found = network(sound, torch.tensor([0.2, 0.9]))
        later = network(sound, torch.tensor([0.3, 0.9]))
        alone = network(sound[1:], torch.tensor([0.9]))
    assert float((found[0] - later[0]).abs().max()) > 1e-4
    assert torch.allclose(found[1], alone[0], atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    network = _network()
    network(_sound(1024), torch.tensor([0.2, 0.9])).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_coefficients_of_white_noise_have_unit_variance_in_every_octave() -> None:
    noise = torch.randn(32, 1024, 1, generator=torch.Generator().manual_seed(0))
    for block in _network(num_channels=1)._split(noise):
        assert float(block.var()) == pytest.approx(1.0, abs=0.1)


def test_what_the_network_is_not_made_for_is_refused() -> None:
    network = _network()
    with pytest.raises(ShapeError, match="2 channels, got 1"):
        network(_sound(64, 1), torch.tensor([0.5, 0.5]))
    with pytest.raises(ShapeError, match="made for 1024 samples, got 1025"):
        network(_sound(1025), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"widths": (64,)}, "a number for each of 7 octaves"),
        ({"widths": (64, 96, 96, 128, 128, 256, 257)}, "multiples of num_groups"),
        ({"num_layers": (2, 3, 4, 5, 6, 7, 9)}, "num_layers must be numbers"),
        ({"attention_width": 100}, "attention_width must be a multiple"),
        ({"num_samples": 1001}, "num_samples must be even"),
        ({"num_channels": 0}, "num_channels must be in"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CqtUnetConfig(**changed)
