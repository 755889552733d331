"""VAE: shapes, places in time, what is kept exactly, and its folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.codecs.vae import Vae, VaeConfig, num_parameters, read_vae, write_vae
from weft.errors import CheckpointError, ConfigError
from weft.nn.spectral_vae import SpectralDecoder, SpectralEncoder, SpectralVaeConfig
from weft.nn.strided_vae import StridedVaeConfig

TINY = SpectralVaeConfig(
    n_fft=128, hop_length=32, num_features=6, width=16, hidden_width=24, encoder_layers=1,
    decoder_layers=2,
)  # fmt: skip
STRIDED = StridedVaeConfig(num_channels=2, widths=(8, 8, 16), num_features=5, expansion=2)


def _vae(**changes: object) -> Vae:
    torch.manual_seed(0)
    return Vae(VaeConfig(spectral=replace(TINY, **changes), strided=STRIDED)).eval()  # type: ignore[arg-type]


def _strided() -> Vae:
    torch.manual_seed(0)
    return Vae(VaeConfig(front="strided", spectral=TINY, strided=STRIDED)).eval()


@settings(max_examples=20, deadline=None)
@given(num_samples=st.integers(1, 400), is_strided=st.booleans())
def test_every_frame_counts_and_lasts_a_hop(num_samples: int, is_strided: bool) -> None:
    vae = _strided() if is_strided else _vae()
    latents = vae.encode(torch.randn(1, vae.num_channels, num_samples))
    num_frames = -(-num_samples // vae.hop_length)
    assert latents.shape == (1, num_frames, vae.num_features)
    assert vae.decode(latents).shape == (1, vae.num_channels, num_frames * vae.hop_length)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_compression_and_its_inverse_keep_a_sound(num_channels: int) -> None:
    """The path of a linear codec: the encoder's spectra, straight into the decoder's last step."""
    config = replace(TINY, num_channels=num_channels)
    encoder, decoder = SpectralEncoder(config).double(), SpectralDecoder(config).double()
    sound = torch.randn(2, num_channels, 40 * 32, dtype=torch.float64)
    features = encoder._features(sound).unflatten(2, (num_channels, -1))
    spectra = features[..., : 2 * config.num_bins].flatten(2)
    back = decoder._overlap_add(decoder._spectrum(spectra))
    inside = slice(128, -128)  # frames beyond the ends are missing
    torch.testing.assert_close(back[..., inside], sound[..., inside], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("is_strided", [False, True])
def test_nothing_beyond_its_reach_changes_a_frame(is_strided: bool) -> None:
    vae = _strided() if is_strided else _vae()
    hop, reach = vae.hop_length, vae.reach_frames
    sound = torch.randn(1, vae.num_channels, 60 * hop)
    other = sound.clone()
    other[..., 30 * hop : 31 * hop] += 1
    changed = (vae.encode(sound) - vae.encode(other)).abs().amax(dim=2)[0] > 1e-6
    where = changed.nonzero()[:, 0]
    assert 30 - reach <= int(where.min()) <= 30 <= int(where.max()) <= 30 + reach
    latents = torch.randn(1, 60, vae.num_features)
    moved = latents.clone()
    moved[0, 30] += 1
    difference = (vae.decode(latents) - vae.decode(moved)).abs().amax(dim=1)[0] > 1e-6
    places = difference.nonzero()[:, 0] // hop
    assert 30 - reach <= int(places.min()) <= 30 <= int(places.max()) <= 30 + reach


def test_a_sound_later_by_whole_frames_has_later_frames() -> None:
    vae = _vae()
    sound = torch.zeros(1, 1, 60 * 32)
    sound[..., 20 * 32 : 40 * 32] = torch.randn(20 * 32)
    shifted = torch.roll(sound, 5 * 32, dims=2)
    torch.testing.assert_close(vae.encode(shifted)[:, 10:50], vae.encode(sound)[:, 5:45])


def test_statistics_make_latents_of_unit_variance_and_undo_themselves() -> None:
    vae = _vae()
    sound = 0.1 * torch.randn(4, 1, 200 * 32)
    before = vae.decode(vae.encode(sound))
    for _ in range(200):
        vae.follow(vae.posterior(sound)[0], 0.1)
    latents = vae.encode(sound)
    assert latents.mean(dim=(0, 1)).abs().max() < 1e-3
    torch.testing.assert_close(latents.var(dim=(0, 1)), torch.ones(6), atol=2e-2, rtol=0)
    torch.testing.assert_close(vae.decode(latents), before, atol=1e-4, rtol=1e-3)


def test_silence_comes_back_finite() -> None:
    for vae in (_vae(), _strided()):
        decoded = vae.decode(vae.encode(torch.zeros(1, vae.num_channels, 100)))
        assert bool(decoded.isfinite().all())


def test_gradients_flow_through_the_decoder() -> None:
    vae = _vae()
    latents = torch.randn(1, 8, 6, requires_grad=True)
    vae.decode(latents).square().sum().backward()
    assert latents.grad is not None
    assert bool((latents.grad.abs() > 0).all())


def test_the_papers_ratio_has_eight_layers() -> None:
    config = VaeConfig(front="strided")
    assert len(config.strided.widths) == 8
    assert config.sizes.hop_length == 128
    with torch.device("meta"):
        assert num_parameters(Vae(config)) == 15_468_162


def test_what_is_shipped_has_under_six_million_parameters() -> None:
    with torch.device("meta"):
        assert num_parameters(Vae(VaeConfig())) == 5_898_882


def test_a_folder_gives_the_same_codec_back(tmp_path: Path) -> None:
    vae = _vae()
    write_vae(tmp_path, vae, facts={"steps": 3})
    again = read_vae(tmp_path)
    assert again.config == vae.config
    assert json.loads((tmp_path / "model.json").read_text())["facts"] == {"steps": 3}
    sound = 0.1 * torch.randn(1, 1, 320)
    torch.testing.assert_close(again.encode(sound), vae.encode(sound), atol=2e-2, rtol=2e-2)
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("spectral", "width", 1 << 30),
        ("spectral", "width", 2.5),
        ("spectral", "hop_length", 0),
        ("spectral", "n_fft", 129),
        ("strided", "widths", [8, 1 << 20]),
        ("strided", "num_channels", True),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, part: str, name: str, value: object
) -> None:
    write_vae(tmp_path, _vae())
    path = tmp_path / "model.json"
    found = json.loads(path.read_text())
    found[part][name] = value
    path.write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=name):
        read_vae(tmp_path)


def test_unknown_fronts_and_settings_are_refused(tmp_path: Path) -> None:
    write_vae(tmp_path, _vae())
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"front": "spectral"', '"front": "magic"'))
    with pytest.raises(CheckpointError, match="front"):
        read_vae(tmp_path)
    with pytest.raises(ConfigError, match="described by"):
        VaeConfig.from_json({"kind": "vae", "front": "spectral"})
