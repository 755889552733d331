"""Published weights: sizes from shapes, equal results, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from published_files import (
    PARITY,
    codec_state,
    network_checkpoint,
    network_config,
    network_state,
    read_here,
)
from weft import foreign
from weft.errors import CheckpointError, MissingDependencyError
from weft.heads.categorical import CategoricalHead
from weft.sampling import published
from weft.sampling.published import read_settings, read_tensors_of
from weft.sampling.published_codec import make_codec, wavtokenizer_sizes
from weft.sampling.published_network import make_network

TOLD = Path("given.pth")
CODEBOOK = "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
CONV = "feature_extractor.encodec.encoder.model.3.conv.conv."


def flat_network(checkpoint: dict[str, Any] | None = None) -> dict[str, Tensor]:
    """Tensors as `read_tensors_of` names them."""
    found = network_checkpoint() if checkpoint is None else checkpoint
    named = {f"model:{k}": v for k, v in found["model"].items()}
    shadow = enumerate(found["ema"]["shadow_params"])
    return named | {f"ema/shadow_params:{i}": v for i, v in shadow}


def codec_reference() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "wavtokenizer" / "reference.npz"))


def check_codec(state: dict[str, Tensor]) -> None:
    codec, reference = make_codec(state, told=TOLD), codec_reference()
    with torch.inference_mode():
        frames = codec.encode(torch.from_numpy(reference["wave"]))
        decoded = codec.decode(codec.embed(torch.from_numpy(reference["codes"][0])))
    np.testing.assert_array_equal(frames.codes.numpy(), reference["codes"][0])
    np.testing.assert_allclose(decoded.numpy(), reference["decoded_bw0"], rtol=0, atol=1e-4)


def check_network(made: Any) -> None:
    reference = dict(np.load(PARITY / "sedd" / "reference.npz"))
    x, sigma = torch.from_numpy(reference["x"]), torch.from_numpy(reference["sigma"])
    head = CategoricalHead(codebook_size=63, prediction="log_score")
    with torch.inference_mode():
        log_score = head.log_score(made.network(x, sigma), x, sigma)
    np.testing.assert_allclose(log_score.numpy(), reference["log_score"], rtol=0, atol=2e-4)


def test_sizes_of_the_codec_come_from_shapes_alone() -> None:
    config = json.loads((PARITY / "wavtokenizer" / "config.json").read_text())
    sizes = make_codec(codec_state(), told=TOLD).config
    assert sizes.encoder.num_filters == config["n_filters"]
    assert [*reversed(sizes.encoder.strides)] == config["ratios"]
    assert sizes.encoder.num_lstm_layers == config["lstm_layers"]
    assert sizes.quantiser.codebook_size == config["codebook_size"]
    assert sizes.decoder.num_features == sizes.quantiser.width == config["latent_dim"]
    assert sizes.decoder.width == config["backbone_dim"]
    assert sizes.decoder.hidden_width == config["intermediate_dim"]
    assert sizes.decoder.num_layers == config["num_layers"]
    assert (sizes.decoder.n_fft, sizes.decoder.hop_length) == (
        config["n_fft"],
        config["hop_length"],
    )
    assert sizes.sample_rate == config["sample_rate"]


def test_strides_of_the_other_frame_rate_are_found_too() -> None:
    state = codec_state()
    made = make_codec(state, told=TOLD)
    folded = {k: v for k, v in state.items() if not k.endswith("weight_g")}
    folded = {k.replace("weight_v", "weight"): v for k, v in folded.items()}
    for i, stride in enumerate((4, 5, 5, 6)):
        name = f"feature_extractor.encodec.encoder.model.{3 + 3 * i}.conv.conv.weight"
        folded[name] = torch.empty(*folded[name].shape[:2], 2 * stride)
    folded["head.out.weight"] = torch.empty(2402, made.config.decoder.width)
    sizes = wavtokenizer_sizes(folded)
    assert sizes.encoder.strides == (4, 5, 5, 6)
    assert (sizes.decoder.hop_length, sizes.decoder.n_fft) == (600, 2400)


@pytest.mark.parametrize("form", ["as released", "parametrized", "folded", "double"])
def test_the_codec_equals_the_published_one_in_every_form_of_its_weights(form: str) -> None:
    state = codec_state()
    if form == "parametrized":
        newer = {
            "weight_g": "parametrizations.weight.original0",
            "weight_v": "parametrizations.weight.original1",
        }
        for old, new in newer.items():
            state = {k.replace(old, new): v for k, v in state.items()}
    if form == "folded":
        for name in [k for k in state if k.endswith("weight_v")]:
            direction, length = state.pop(name), state.pop(name[:-1] + "g")
            norm = direction.flatten(1).norm(dim=1).reshape(length.shape)
            state[name[:-2]] = direction * length / norm
    if form == "double":
        made = make_codec({k: v.double() for k, v in state.items()}, told=TOLD)
        assert all(v.dtype == torch.float32 for v in made.parameters())
        state = {k: v.double() for k, v in state.items()}
    check_codec(state)


def test_the_averages_are_taken_in_the_order_of_the_parameters() -> None:
    made = make_network(flat_network(), told=TOLD)
    assert made.weights == "ema"
    assert made.network.config.codebook_size == 63
    check_network(made)


def test_the_weights_themselves_are_taken_where_they_are_asked_for() -> None:
    made = make_network(flat_network(), told=TOLD, weights="model")
    assert made.weights == "model"
    shifted = network_state()["vocab_embed.embedding"] + 0.25
    assert torch.equal(made.network.vocab_embed.embedding, shifted)


def test_a_file_of_one_set_of_weights_needs_no_choice() -> None:
    made = make_network(network_state(), told=TOLD)
    assert made.weights is None
    check_network(made)
    with pytest.raises(CheckpointError, match="leave --weights out"):
        make_network(network_state(), told=TOLD, weights="ema")


def test_weights_that_the_file_lacks_are_not_replaced_by_others() -> None:
    named = {k: v for k, v in flat_network().items() if k.startswith("model:")}
    with pytest.raises(CheckpointError, match=r"given.pth: it holds no averaged .*--weights model"):
        make_network(named, told=TOLD)
    check = make_network(named, told=TOLD, weights="model")
    assert check.weights == "model"
    listed = {k: v for k, v in flat_network().items() if k.startswith("ema")}
    with pytest.raises(CheckpointError, match="averaged weights only"):
        make_network(listed, told=TOLD, weights="model")


def test_averages_alone_need_settings_for_the_number_of_heads() -> None:
    listed = {k: v for k, v in flat_network().items() if k.startswith("ema")}
    with pytest.raises(CheckpointError, match=r"number of attention heads .* --config"):
        make_network(listed, told=TOLD)
    check_network(make_network(listed, told=TOLD, settings=network_config()))


def test_settings_give_the_length_trained_at() -> None:
    config = network_config()
    config["model"]["length"] = 123
    assert make_network(flat_network(), told=TOLD, settings=config).network.num_frames == 123
    assert make_network(flat_network(), told=TOLD).network.num_frames == 300


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("tokens", 64),
        ("graph/type", "uniform"),
        ("noise/type", "geometric"),
        ("model/hidden_size", 768),
        ("model/n_heads", 8),
        ("model/n_blocks", 2),
        ("model/cond_dim", 31),
        ("model/scale_by_sigma", False),
    ],
)
def test_settings_of_another_network_are_refused(place: str, value: object) -> None:
    config = network_config()
    node = config
    *way, last = place.split("/")
    for key in way:
        node = node[key]
    node[last] = value
    with pytest.raises(CheckpointError, match=f"settings say {place.replace('/', '.')} = "):
        make_network(flat_network(), told=TOLD, settings=config)


def codec_settings(**changes: object) -> dict[str, Any]:
    """As released beside the codec; class names are never used."""
    extractor = {"dowmsamples": [8, 5, 4, 2], "vq_bins": 256, "num_quantizers": 1}
    backbone = {"input_channels": 48, "dim": 64, "intermediate_dim": 160, "num_layers": 2}
    head = {"dim": 64, "n_fft": 1280, "hop_length": 320, "padding": "same"}
    parts = {"feature_extractor": extractor, "backbone": backbone, "head": head}
    values: dict[str, Any] = {"sample_rate": 24000}
    for name, part in parts.items():
        own = {key: changes.get(key, value) for key, value in part.items()}
        values[name] = {"class_path": "vocos.Anything", "init_args": own}
    values["sample_rate"] = changes.get("sample_rate", 24000)
    return {"model": {"class_path": "os.system", "init_args": values}}


def test_settings_of_the_codec_tell_its_rate_and_name_no_code() -> None:
    made = make_codec(codec_state(), told=TOLD, settings=codec_settings(sample_rate=16000))
    assert made.sample_rate == 16000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dowmsamples", [2, 4, 5, 8]),
        ("vq_bins", 4096),
        ("num_quantizers", 2),
        ("dim", 768),
        ("num_layers", 12),
        ("n_fft", 2400),
        ("hop_length", 600),
        ("padding", "center"),
        ("sample_rate", "24000"),
    ],
)
def test_settings_of_another_codec_are_refused(name: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=rf"given.pth: the settings say model\.\S*{name} = "):
        make_codec(codec_state(), told=TOLD, settings=codec_settings(**{name: value}))


def test_settings_that_describe_something_else_are_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"hold nothing that describes it.*model\.head\.n_fft"
    ):
        make_codec(codec_state(), told=TOLD, settings={"name": "other"})


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_settings_are_read_from_both_formats(tmp_path: Path, suffix: str) -> None:
    if suffix == ".yaml":
        pytest.importorskip("yaml")
    path = tmp_path / f"a{suffix}"
    path.write_text(json.dumps(network_config()))  # JSON is YAML
    check_network(make_network(flat_network(), told=TOLD, settings=read_settings(path)))


def test_settings_run_no_code_and_damaged_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    cases = {
        "tag.yaml": f"!!python/object/apply:os.system ['touch {trace}']",
        "cut.json": '{"model": ',
        "list.json": "[1]",
        "long.json": " " * 1_100_000,
    }
    for name, text in cases.items():
        if name.endswith("yaml"):
            pytest.importorskip("yaml")
        (tmp_path / name).write_text(text)
        with pytest.raises(CheckpointError, match=name):
            read_settings(tmp_path / name)
    assert not trace.exists()
    with pytest.raises(CheckpointError, match="cannot read settings"):
        read_settings(tmp_path / "none.json")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("a: 1")
    with pytest.raises(MissingDependencyError, match="pip install pyyaml"):
        read_settings(tmp_path / "a.yaml")


def shrunk(value: Tensor) -> Tensor:
    return value[..., :-1] if value.ndim and value.shape[-1] > 1 else torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{CODEBOOK}embed"), "lacks .*_codebook.embed'"),
        (lambda s: s.pop("backbone.final_layer_norm.bias"), "lacks .*final_layer_norm.bias'"),
        (lambda s: s.pop(f"{CONV}weight_g"), "lack"),
        (lambda s: s.update({"backbone.more": torch.zeros(2)}), "beyond .*'backbone.more'"),
        (
            lambda s: s.update(
                {f"{CODEBOOK}embed".replace("layers.0", "layers.1"): torch.zeros(2, 2)}
            ),
            "beyond .*layers.1",
        ),
        (
            lambda s: s.update({"head.out.bias": torch.zeros(3)}),
            r"'head.out.bias' has the shape \(3",
        ),
        (lambda s: s.update({"head.out.weight": torch.zeros(1282)}), "2 axes were expected"),
        (lambda s: s.update({f"{CONV}weight_v": torch.ones(8, 4, 5)}), "strides cannot be told"),
        (lambda s: s[f"{CONV}weight_v"].zero_(), "NaN or infinity"),
        (
            lambda s: s.update({"head.out.bias": torch.full((1282,), 1e300, dtype=torch.float64)}),
            "infinity",
        ),
        (lambda s: s.update({"head.out.bias": torch.zeros(1282).long()}), "no floating numbers"),
        (lambda s: s.update({"head.istft.window": torch.ones(1280)}), "no Hann window"),
        (lambda s: s[f"{CODEBOOK}inited"].zero_(), "never trained"),
        (lambda s: s.update({f"{CODEBOOK}inited": torch.ones(2)}), "never trained"),
        (lambda s: s.update({"backbone.convnext.70.gamma": torch.zeros(64)}), "given.pth"),
        (
            lambda s: s.update(
                {f"backbone.convnext.{i}.gamma": torch.zeros(64) for i in range(90)}
            ),
            r"num_layers must be in \[1, 64\]",
        ),
        (
            lambda s: s.update({"feature_extractor.encodec.encoder.model.99999.a": torch.zeros(1)}),
            "lacks",
        ),
    ],
)
def test_tensors_that_make_no_codec_are_refused(
    change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = {k: v.clone() for k, v in codec_state().items()}
    change(state)
    with pytest.raises(CheckpointError, match=message):
        make_codec(state, told=TOLD)


def test_the_dead_decoder_is_neither_needed_nor_kept() -> None:
    dead = "feature_extractor.encodec.decoder."
    state = codec_state()
    assert any(name.startswith(dead) for name in state)
    check_codec({k: v for k, v in state.items() if not k.startswith(dead)})
    count = sum(p.numel() for p in make_codec(state, told=TOLD).parameters())
    assert count < sum(v.numel() for k, v in state.items() if not k.startswith(dead))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["ema"]["shadow_params"].pop(), "list of averages has 39 tensors"),
        (lambda c: c["ema"]["shadow_params"].append(torch.zeros(2)), "has 41 tensors"),
        (lambda c: c["ema"]["shadow_params"].reverse(), "given.pth: "),
        (
            lambda c: c["ema"]["shadow_params"].__setitem__(3, torch.zeros(32, 31)),
            r"'sigma_map.mlp.2.weight' has the shape \(32, 31\)",
        ),
        (
            lambda c: c["ema"]["shadow_params"].__setitem__(9, torch.zeros(65, 64)),
            "65 inner features",
        ),
        (
            lambda c: c["ema"]["shadow_params"].__setitem__(2, torch.zeros(32).long()),
            "no floating numbers",
        ),
        (
            lambda c: c["ema"]["shadow_params"].__setitem__(
                2, torch.full((32,), 1e300, dtype=torch.float64)
            ),
            "infinity",
        ),
        (
            lambda c: c["model"].update({"rotary_emb.inv_freq": torch.ones(8)}),
            "does not hold the rotary rates",
        ),
        (
            lambda c: c["model"].update({"rotary_emb.inv_freq": torch.ones(7)}),
            "does not divide 64",
        ),
        (
            lambda c: c["ema"]["shadow_params"].__setitem__(0, torch.zeros(10**6, 64)),
            r"codebook_size must be .* 65536",
        ),
    ],
)
def test_tensors_that_make_no_network_are_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    checkpoint: dict[str, Any] = network_checkpoint()
    change(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        make_network(flat_network(checkpoint), told=TOLD)


def test_few_bytes_that_claim_a_huge_network_take_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every size is in range, but 64 blocks of the largest width would need 40 GiB."""
    checkpoint: dict[str, Any] = network_checkpoint()
    row = torch.zeros(1)
    shadow = [row.expand(1, 1)] * 650
    shadow[0] = row.expand(65537, 4096)
    shadow[1] = row.expand(4096, 256)
    shadow[9] = row.expand(16384, 4096)
    checkpoint["ema"]["shadow_params"] = shadow
    checkpoint["model"] = {"rotary_emb.inv_freq": row.expand(32)}
    with pytest.raises(CheckpointError, match="has the shape"):
        make_network(flat_network(checkpoint), told=TOLD)


def test_a_file_of_other_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "_unpickle_apart", read_here)
    torch.save({"model": {"conv.weight": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="neither WavTokenizer's nor AIDD's: 1 tensors"):
        read_tensors_of(tmp_path / "a.pth", tmp_path, layout=None)
    (tmp_path / "a.pth").rename(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="no tensors whose names begin with feature"):
        read_tensors_of(tmp_path / "a.ckpt", tmp_path, layout=None)


def test_the_reader_is_given_time_for_files_of_gigabytes() -> None:
    assert published._TIMEOUT_S >= 600
