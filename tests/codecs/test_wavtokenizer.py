"""WavTokenizer against what the published code gives, and what a codec promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_wavtokenizer import fixture_config, fixture_state, reference
from torch import Tensor

from weft.codecs.wavtokenizer import (
    DEAD,
    WavTokenizer,
    WavTokenizerConfig,
    fold_weight_norm,
    from_published,
    num_parameters,
    published_names,
    read_codec,
    write_codec,
)
from weft.errors import CheckpointError, ConfigError, ShapeError
from weft.nn.seanet import SeanetConfig
from weft.nn.vocos import VocosConfig


@pytest.fixture(scope="module")
def codec() -> WavTokenizer:
    return from_published(fixture_state(), fixture_config())


def _tensor(name: str) -> Tensor:
    return torch.from_numpy(reference()[name])


def _error(ours: Tensor, name: str) -> float:
    return float((ours.detach() - _tensor(name)).abs().max())


def test_the_encoder_gives_the_published_features(codec: WavTokenizer) -> None:
    features = codec.encode(_tensor("wave")).features
    assert _error(features.transpose(1, 2), "enc_features") < 2e-5  # measured 8e-8


@pytest.mark.parametrize(("name", "num_layers"), [("enc_conv_in", 1), ("enc_down1", 4)])
def test_the_first_layers_give_the_published_numbers(
    codec: WavTokenizer, name: str, num_layers: int
) -> None:
    x = codec.encoder.layers[:num_layers](_tensor("wave")[:1, None])
    assert _error(x, name) < 2e-5


def test_codes_are_those_of_the_published_code(codec: WavTokenizer) -> None:
    assert torch.equal(codec.encode(_tensor("wave")).codes, _tensor("codes")[0])


def test_embedded_codes_are_those_of_the_published_code(codec: WavTokenizer) -> None:
    embedded = codec.embed(_tensor("codes")[0])
    assert _error(embedded.transpose(1, 2), "quantized") == 0


@pytest.mark.parametrize(("setting", "name"), [(0, "decoded_bw0"), (2, "decoded_bw2")])
def test_the_decoder_gives_the_published_samples(
    codec: WavTokenizer, setting: int, name: str
) -> None:
    features = _tensor("quantized").transpose(1, 2)
    assert _error(codec.decoder(features, setting=setting), name) < 1e-4  # measured 8e-7


def test_codes_without_an_encoder_give_the_published_samples(codec: WavTokenizer) -> None:
    decoded = codec.decode(codec.embed(_tensor("rand_codes")[0]))
    assert _error(decoded, "rand_codes_decoded_bw0") < 1e-4


def test_the_inside_of_the_decoder_gives_the_published_numbers(codec: WavTokenizer) -> None:
    decoder = codec.decoder
    x = decoder.embed(_tensor("quantized")[:1])
    assert _error(x, "dec_embed") < 1e-4
    attended = decoder.pos_net[:3](x)
    assert _error(attended, "dec_attn") < 1e-4
    positioned = decoder.pos_net(x)
    assert _error(positioned, "dec_posnet") < 1e-4
    normed = decoder.norm(positioned.transpose(1, 2), 0).transpose(1, 2)
    assert _error(decoder.convnext[0](normed, 0), "dec_convnext0") < 1e-4
    spectrum = decoder.to_spectrum(_tensor("quantized")[:1].transpose(1, 2))
    assert _error(spectrum, "dec_head_linear") < 1e-4


def test_lengths_are_those_of_the_published_code(codec: WavTokenizer) -> None:
    for num_samples, num_tokens, num_decoded in reference()["length_table"]:
        frames = codec.encode(torch.zeros(1, int(num_samples)))
        assert frames.codes.shape == (1, num_tokens)
        assert codec.decode(frames.features).shape == (1, num_decoded)


def test_sizes_are_those_of_the_published_codecs() -> None:
    """Weight normalisation has a length a filter more, and each file holds a dead decoder."""
    dead = 8_802_274
    for config, total in (
        (WavTokenizerConfig(), 80_552_420),
        (
            WavTokenizerConfig(
                encoder=SeanetConfig(strides=(4, 5, 5, 6)),
                decoder=VocosConfig(n_fft=2400, hop_length=600),
            ),
            80_913_988,
        ),
    ):
        with torch.device("meta"):
            codec = WavTokenizer(config)
        lengths = sum(
            conv.out_channels for conv in codec.encoder.modules() if hasattr(conv, "out_channels")
        )
        assert num_parameters(codec) + lengths + dead == total
    assert num_parameters(codec.decoder.pos_net) == pytest.approx(16.54e6, rel=1e-3)


def test_published_names_are_those_of_the_fixture() -> None:
    live = {name for name in fixture_state() if not name.startswith(DEAD)}
    live = {name.removesuffix("_g").removesuffix("_v") for name in live} - {"head.istft.window"}
    assert {*published_names(fixture_config()).values()} == live


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("backbone.embed.bias"), "lack 'backbone.embed.bias'"),
        (lambda s: s.update({"backbone.more": torch.zeros(1)}), "hold 'backbone.more'"),
        (lambda s: s.update({"head.out.bias": torch.zeros(3)}), "has the shape"),
        (lambda s: s.pop(next(k for k in s if k.endswith("0.conv.conv.weight_g"))), "but lack"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: object, message: str) -> None:
    state = {k: v for k, v in fixture_state().items() if not k.startswith(DEAD)}
    change(state)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        from_published(state, fixture_config())


def test_folded_weights_have_the_published_lengths_and_directions() -> None:
    direction, length = torch.randn(3, 2, 5), torch.rand(3, 1, 1)
    (weight,) = fold_weight_norm({"a.weight_g": length, "a.weight_v": direction}).values()
    assert torch.allclose(weight.flatten(1).norm(dim=1), length.flatten())
    cosine = torch.cosine_similarity(weight.flatten(1), direction.flatten(1), dim=1)
    assert torch.allclose(cosine, torch.ones(3))


def test_a_written_codec_is_read_again(codec: WavTokenizer, tmp_path: Path) -> None:
    write_codec(tmp_path, codec)
    again = read_codec(tmp_path)
    assert again.config == codec.config
    for name, value in codec.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().to(value.dtype)), name


def test_settings_come_back_from_json() -> None:
    config = fixture_config()
    assert WavTokenizerConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"more": 1}}, "cannot be used"),
        ({"decoder": {}, "encoder": {"width": 10**9}}, "width in"),
        ({"kind": "other"}, "kind wavtokenizer was expected"),
        ({"encoder": {"width": 64}}, "agree on the features"),
        ({"encoder": {"strides": [2, 2]}}, "agree on the samples"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WavTokenizerConfig.from_json({**WavTokenizerConfig().to_json(), **change})


def test_a_frame_depends_on_nothing_far_to_its_right(codec: WavTokenizer) -> None:
    """The LSTM carries everything from the left; from the right only convolutions reach."""
    wave = _tensor("wave")[:1, :6400]
    changed = wave.clone()
    changed[:, 4800:] = 0
    before, after = (codec.encode(x).features[:, :10] for x in (wave, changed))
    assert torch.equal(before, after)
    assert not torch.equal(
        codec.encode(wave).features[:, 14:15], codec.encode(changed).features[:, 14:15]
    )


def test_items_of_a_batch_do_not_depend_on_each_other(codec: WavTokenizer) -> None:
    wave = _tensor("wave")
    together = codec.decode(codec.encode(wave).features)
    alone = codec.decode(codec.encode(wave[1:]).features)
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_empty_sound_and_unknown_tokens_are_refused(codec: WavTokenizer) -> None:
    with pytest.raises(ShapeError, match="at least one sample"):
        codec.encode(torch.zeros(1, 0))
    with pytest.raises(ShapeError, match="at least one"):
        codec.decode(torch.zeros(1, 0, 48))
    for token in (-1, 256):
        with pytest.raises(ShapeError, match="tokens must be in"):
            codec.embed(torch.tensor([[token]]))


def test_spectra_of_sines_are_added_to_sines(codec: WavTokenizer) -> None:
    """Frames cut from a sine, windowed and transformed, overlap to the sine again."""
    decoder = codec.decoder
    n_fft, hop = decoder.config.n_fft, decoder.config.hop_length
    num_frames = 20
    sine = 0.1 * torch.sin(0.05 * torch.arange(n_fft + hop * (num_frames - 1), dtype=torch.float64))
    spectra = torch.fft.rfft(sine.unfold(0, n_fft, hop) * torch.hann_window(n_fft).double())
    joined = torch.cat([spectra.abs().clamp(min=1e-9).log(), spectra.angle()], dim=-1)[None]
    trim = (n_fft - hop) // 2
    assert torch.allclose(decoder.to_samples(joined)[0], sine[trim : len(sine) - trim], atol=1e-6)


def test_magnitudes_are_clipped(codec: WavTokenizer) -> None:
    spectrum = torch.full((1, 4, codec.decoder.config.n_fft + 2), 50.0)
    limit = torch.full_like(spectrum, np.log(100.0))
    limit[..., spectrum.shape[-1] // 2 :] = 50.0
    loud, clipped = codec.decoder.to_samples(spectrum), codec.decoder.to_samples(limit)
    assert torch.allclose(loud, clipped, atol=1e-4)


def test_a_config_names_the_field_out_of_range() -> None:
    with pytest.raises(ConfigError, match="sample_rate must be in"):
        replace(fixture_config(), sample_rate=10)
    for kind, field in ((SeanetConfig, "num_filters"), (VocosConfig, "num_layers")):
        with pytest.raises(ConfigError, match=field):
            kind(**{field: 0})
