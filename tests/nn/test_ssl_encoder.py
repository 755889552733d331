"""The self-supervised encoder."""

import pytest
import torch

from weft.errors import ConfigError
from weft.nn.ssl_encoder import STRIDE, SslEncoder, SslEncoderConfig, top_mean
from weft.train.recipes.ssl import PRESETS


def _tiny() -> SslEncoder:
    torch.manual_seed(0)
    return SslEncoder(SslEncoderConfig(width=16, num_layers=3, num_heads=2)).eval()


@pytest.mark.parametrize(
    ("preset", "low", "high"), [("debug", 5e4, 2e5), ("small", 2.0e6, 2.2e6), ("base", 2e7, 4e7)]
)
def test_presets_have_the_parameters_they_say(preset: str, low: float, high: float) -> None:
    with torch.device("meta"):
        encoder = SslEncoder(PRESETS[preset][0].encoder)
    assert low <= sum(p.numel() for p in encoder.parameters()) <= high


def test_layers_come_at_a_quarter_of_the_frame_rate() -> None:
    encoder = _tiny()
    layers = encoder(torch.randn(2, 64, 40))
    assert [tuple(layer.shape) for layer in layers] == [(2, 10, 16)] * 3
    assert encoder.config.frame_rate == 25.0


def test_hidden_frames_are_not_seen() -> None:
    encoder = _tiny()
    mel = torch.randn(1, 64, 80)
    changed = mel.clone()
    changed[:, :, 10 * STRIDE : 14 * STRIDE] += 3.0
    masked = torch.zeros(1, 20, dtype=torch.bool)
    # The stem of a frame reaches over a few frames of its neighbours.
    masked[:, 8:16] = True
    assert not torch.allclose(encoder(mel)[-1], encoder(changed)[-1])
    assert torch.allclose(encoder(mel, masked)[-1], encoder(changed, masked)[-1])


def test_features_are_the_mean_of_normalised_top_blocks() -> None:
    encoder = _tiny()
    mel = torch.randn(2, 64, 40)
    layers = encoder(mel)
    norm = torch.nn.functional.layer_norm
    expected = (norm(layers[-1], (16,)) + norm(layers[-2], (16,))) / 2
    assert torch.allclose(encoder.features(mel), expected, atol=1e-6)
    assert torch.equal(top_mean(layers), encoder.features(mel))


@pytest.mark.parametrize(
    "bad", [{"width": 4}, {"num_layers": 1}, {"num_layers": 65}, {"num_heads": 5}, {"width": 8192}]
)
def test_sizes_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        SslEncoderConfig(**bad)  # type: ignore[arg-type]
