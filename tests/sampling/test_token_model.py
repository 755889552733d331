import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny_tokens import CODEC, make_codec, make_network
from weft.checkpoint import write_model
from weft.errors import CheckpointError, ConfigError
from weft.sampling.steps_masked import MaskedSamplerConfig
from weft.sampling.token_model import TokenModelConfig, read_token_model, write_token_model
from weft.sampling.token_settings import TokenFillerConfig

SIZE = CODEC.quantiser.codebook_size
NETWORK = make_network(SIZE)
MODEL = TokenModelConfig(
    codec=CODEC,
    network=NETWORK.config,
    sampler=MaskedSamplerConfig(steps=7, top_p=0.9),
    filler=TokenFillerConfig(guard=3, level_range_db=(-40.0, -10.0)),
    name="tiny",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_token_model(tmp_path, config=MODEL, codec=make_codec(), network=NETWORK)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``model.json``."""
    path = folder / "model.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Write the same model with other weights, their digests being right."""
    modules = {"codec": make_codec(), "network": NETWORK}
    tensors = {
        f"{part}.{name}": value.clone()
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }
    change(tensors)
    write_model(folder, config={**MODEL.to_json(), "facts": {}}, tensors=tensors)


def test_a_model_comes_back_as_it_was_written(folder: Path) -> None:
    model = read_token_model(folder)
    assert model.config == MODEL
    for module, written in ((model.codec, make_codec()), (model.network, NETWORK)):
        for name, value in written.state_dict().items():
            wanted = value.half().float() if value.is_floating_point() else value
            assert torch.equal(module.state_dict()[name], wanted), name
        assert not module.training
        assert not any(value.requires_grad for value in module.parameters())


def test_a_model_that_was_read_decodes_and_fills(folder: Path) -> None:
    model = read_token_model(folder)
    sound = model.codec.decode(model.codec.embed(torch.zeros(1, 5, dtype=torch.long)))
    assert sound.shape == (1, 200)
    assert bool(sound.isfinite().all())
    filler = model.to_filler()
    assert filler.name == "tiny"
    assert filler.config == MODEL.filler
    assert filler.sampler == MODEL.sampler
    other = model.to_filler(config=TokenFillerConfig(guard=0))
    assert other.config.guard == 0
    assert filler.num_parameters == sum(
        value.numel() for part in (make_codec(), NETWORK) for value in part.parameters()
    )


def test_reading_draws_no_random_numbers_of_others(folder: Path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    read_token_model(folder)
    assert torch.equal(torch.rand(1), wanted)


def test_codec_and_network_must_have_one_vocabulary(folder: Path) -> None:
    for size, is_legacy in ((SIZE - 1, False), (SIZE, True), (SIZE - 2, True), (SIZE + 1, False)):
        with pytest.raises(ConfigError, match="tokens and the network"):
            replace(
                MODEL,
                network=replace(MODEL.network, codebook_size=size),
                is_legacy_mask=is_legacy,
            )
    legacy = replace(
        MODEL, network=replace(MODEL.network, codebook_size=SIZE - 1), is_legacy_mask=True
    )
    write_token_model(folder, config=legacy, codec=make_codec(), network=make_network(SIZE - 1))
    assert read_token_model(folder).to_filler().process.absorbing == SIZE - 1
    edit(folder, lambda found: found.update(is_legacy_mask=False))
    with pytest.raises(CheckpointError, match="tokens and the network"):
        read_token_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("network.vocab_embed.embedding"), "lacks"),
        (lambda t: t.update({"network.more": torch.zeros(2)}), "has 'network.more'"),
        (lambda t: t.update({"codec.quantiser.codebook": torch.zeros(SIZE, 7)}), "wanted"),
        (lambda t: t.update({"other.x": torch.zeros(1)}), "has 'other.x'"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message):
        read_token_model(folder)


def test_a_weight_that_is_not_a_number_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2:] = b"\xff\xff"  # NaN in 16 bits
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="digest"):
        read_token_model(folder)
    import hashlib

    digest = hashlib.sha256(bytes(data)).hexdigest()
    edit(folder, lambda found: found["weights"].update({path.name: digest}))
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        read_token_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(kind="corpus-ssl"), "its kind is 'corpus-ssl'"),
        (
            lambda m: m["codec"].update(kind="vae"),
            "codec is of kind 'vae'; known are: wavtokenizer",
        ),
        (lambda m: m.pop("network"), "network must be an object"),
        (lambda m: m["network"].update(width="wide"), "network.width must be a whole number"),
        (lambda m: m["network"].update(width=16.5), "network.width must be a whole number"),
        (lambda m: m["network"].update(width=10**9), "width"),
        (lambda m: m["network"].update(import_path="os"), "unknown setting 'import_path'"),
        (lambda m: m["filler"].update(guard=99), "guard"),
        (lambda m: m["filler"].update(guard=True), "filler.guard must be a whole number"),
        (lambda m: m["filler"].update(level_range_db=[-10, -40]), "level_range_db"),
        (lambda m: m["sampler"].update(kind="guess"), "guess"),
        (lambda m: m.update(prediction="noise"), "noise"),
        (lambda m: m.update(is_legacy_mask="no"), "is_legacy_mask must be true or false"),
        (lambda m: m.pop("card"), "card must be an object"),
        (lambda m: m["card"].update(name="../x"), "name must be"),
        (lambda m: m["card"].update(sources="all"), "card must hold"),
        (lambda m: m["codec"]["encoder"].update(strides=[3, 3]), "agree on the samples"),
        (lambda m: m["codec"]["decoder"].update(num_layers=1.5), "codec cannot be used"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message):
        read_token_model(folder)


def test_a_model_that_would_fill_the_memory_is_refused_before_it_does(folder: Path) -> None:
    edit(
        folder,
        lambda found: found["network"].update(width=4096, num_layers=64, num_heads=2, expansion=16),
    )
    with pytest.raises(
        CheckpointError, match=r"describes more than [\d,]+ weights, its files hold fewer"
    ):
        read_token_model(folder)


def test_a_model_of_other_sizes_than_its_settings_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="network was built from other settings"):
        write_token_model(
            tmp_path, config=MODEL, codec=make_codec(), network=make_network(SIZE, 65)
        )
    assert not list(tmp_path.iterdir())


def test_half_precision_fills_what_full_precision_fills(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "full"
    other.mkdir()
    write_token_model(other, config=MODEL, codec=make_codec(), network=NETWORK, dtype=None)
    tone = 0.2 * np.sin(0.1 * np.arange(4000))[None]
    decoded = []
    for path in (folder, other):
        round_trip = read_token_model(path).to_filler().round_trip
        assert round_trip is not None
        decoded.append(round_trip(tone, 8000))
    assert np.abs(decoded[0] - decoded[1]).max() < 0.1 * np.abs(decoded[1]).max()
