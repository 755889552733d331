"""Weights on disk: what comes back, and what is refused."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from weft.checkpoint import (
    TensorFacts,
    digest_of,
    load_into,
    read_config,
    read_tensors,
    table_of,
    write_model,
)
from weft.errors import CheckpointError

CONFIG = {"kind": "toy", "width": 40}


def make_module(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(40, 60), nn.BatchNorm1d(60), nn.Linear(60, 3))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path, config=CONFIG, tensors=make_module().state_dict())
    return tmp_path


def replace_weights(folder: Path, data: bytes) -> None:
    """Put other bytes in place of the weights, with a digest that fits them."""
    import hashlib

    (folder / "model.safetensors").write_bytes(data)
    config = json.loads((folder / "model.json").read_text())
    config["weights"] = {"model.safetensors": hashlib.sha256(data).hexdigest()}
    (folder / "model.json").write_text(json.dumps(config))


def test_weights_come_back_bit_for_bit(model: Path) -> None:
    other = make_module(seed=1)
    load_into(other, model)
    for name, value in make_module().state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert read_config(model)["width"] == 40


def test_half_precision_halves_the_file_and_is_widened_when_read(tmp_path: Path) -> None:
    module = make_module()
    write_model(tmp_path, config=CONFIG, tensors=module.state_dict())
    size = (tmp_path / "model.safetensors").stat().st_size
    write_model(tmp_path, config=CONFIG, tensors=module.state_dict(), dtype=torch.float16)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.65 * size
    found = read_tensors(tmp_path, table_of(module))
    weight = module.state_dict()["0.weight"]
    assert found["0.weight"].dtype == torch.float32
    assert torch.equal(found["0.weight"], weight.half().float())
    assert found["1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("limit", [4096, 6000, 20000])
def test_no_shard_is_over_the_limit_and_all_come_back(tmp_path: Path, limit: int) -> None:
    module = make_module()
    write_model(tmp_path, config=CONFIG, tensors=module.state_dict(), shard_bytes=limit)
    sizes = [path.stat().st_size for path in tmp_path.glob("model*.safetensors")]
    assert len(sizes) > 1 or limit == 20000
    assert max(sizes) <= limit
    found = read_tensors(tmp_path, table_of(module))
    assert all(torch.equal(found[k], v) for k, v in module.state_dict().items())


def test_tied_weights_are_written(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    write_model(tmp_path, config=CONFIG, tensors=module.state_dict())
    assert torch.equal(read_tensors(tmp_path, table_of(module))["1.weight"], module[0].weight)


def test_the_digest_changes_with_a_weight_and_with_the_config(tmp_path: Path) -> None:
    module = make_module()
    state = module.state_dict()
    first = write_model(tmp_path, config=CONFIG, tensors=state)
    assert write_model(tmp_path, config=CONFIG, tensors=state) == first == digest_of(tmp_path)
    assert write_model(tmp_path, config={**CONFIG, "width": 41}, tensors=state) != first
    state["0.bias"][0] += 1
    assert write_model(tmp_path, config=CONFIG, tensors=state) != first


def test_fewer_shards_leave_none_of_the_old_ones(tmp_path: Path) -> None:
    state = make_module().state_dict()
    write_model(tmp_path, config=CONFIG, tensors=state, shard_bytes=4096)
    write_model(tmp_path, config=CONFIG, tensors=state)
    assert {p.name for p in tmp_path.iterdir()} == {"model.json", "model.safetensors"}


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    state = make_module().state_dict()
    state["2.bias"][1] = float("nan")
    with pytest.raises(CheckpointError, match="2.bias holds NaN"):
        write_model(tmp_path, config=CONFIG, tensors=state)
    assert not list(tmp_path.iterdir())
    state["2.bias"][1] = 1e6  # fits float32 only
    with pytest.raises(CheckpointError, match="in torch.float16"):
        write_model(tmp_path, config=CONFIG, tensors=state, dtype=torch.float16)


def as_nan(state: dict[str, torch.Tensor]) -> bytes:
    state["0.bias"][3] = float("inf")
    return save(state)


def as_other_shape(state: dict[str, torch.Tensor]) -> bytes:
    return save({**state, "0.weight": state["0.weight"].T.contiguous()})


def as_other_type(state: dict[str, torch.Tensor]) -> bytes:
    return save({**state, "0.bias": state["0.bias"].long()})


def as_more(state: dict[str, torch.Tensor]) -> bytes:
    return save({**state, "../../x": torch.zeros(1)})


def as_less(state: dict[str, torch.Tensor]) -> bytes:
    return save({name: value for name, value in state.items() if name != "0.bias"})


def as_twice(state: dict[str, torch.Tensor]) -> bytes:
    data = save(state)
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length].rstrip()
    again = b',"0.bias":' + json.dumps(json.loads(header)["0.bias"]).encode()
    header = header[:-1] + again + b"}"
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def as_truncated(state: dict[str, torch.Tensor]) -> bytes:
    return save(state)[:-7]


def as_header_bomb(state: dict[str, torch.Tensor]) -> bytes:
    return struct.pack("<Q", 2**40) + b"{}"


def as_large(state: dict[str, torch.Tensor]) -> bytes:
    return save(state) + bytes(1_000_000)


def as_pickle(state: dict[str, torch.Tensor]) -> bytes:
    return b"\x80\x04cos\nsystem\n(S'true'\ntR."


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (as_nan, "'0.bias' holds NaN or infinity"),
        (as_other_shape, "'0.weight' is torch.float32 (40, 60), wanted torch.float32 (60, 40)"),
        (as_other_type, "'0.bias' is torch.int64"),
        (as_more, "holds another network: it has '../../x'"),
        (as_less, "lacks '0.bias'"),
        (as_twice, "'0.bias' is given twice"),
        (as_truncated, "is damaged"),
        (as_header_bomb, "header is longer than the file"),
        (as_large, "cannot be right"),
        (as_pickle, "is damaged"),
    ],
)
def test_hostile_or_damaged_weights_are_refused_by_name(
    model: Path, make: Callable[[dict[str, torch.Tensor]], bytes], words: str
) -> None:
    replace_weights(model, make(make_module().state_dict()))
    with pytest.raises(CheckpointError) as caught:
        load_into(make_module(), model)
    assert words in str(caught.value)
    assert str(model) in str(caught.value)


def test_one_flipped_bit_is_noticed(model: Path) -> None:
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="its digest is not that of model.json"):
        load_into(make_module(), model)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged"),
        ("[]", "is no model"),
        ('{"kind": "toy"}', "wanted schema"),
        ('{"schema": "weft.model/1", "kind": 3, "weights": {}}', "and a kind"),
        ('{"schema": "weft.model/1", "kind": "toy", "kind": "x"}', "'kind' is given twice"),
        ('{"schema": "weft.model/1", "kind": "toy", "x": NaN}', "NaN is no number"),
        ('{"schema": "weft.model/1", "kind": "toy", "weights": {"../x": ""}}', "each model"),
        ("[" * 200_000, "is damaged"),
        (" " * 1_000_001, "cannot be right"),
    ],
)
def test_damaged_configs_are_refused(model: Path, text: str, words: str) -> None:
    (model / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        read_config(model)


def test_a_folder_without_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="model.json is missing"):
        read_config(tmp_path)


def test_a_killed_write_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_module().state_dict()
    write_model(tmp_path, config=CONFIG, tensors=state)

    def fail(*paths: object) -> None:
        raise OSError("no power")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no power"):
        write_model(tmp_path, config=CONFIG, tensors=state)
    with pytest.raises(CheckpointError, match="is missing"):
        read_config(tmp_path)


def test_tables_need_no_memory() -> None:
    with torch.device("meta"):
        huge = nn.Linear(10**6, 10**6)
    facts = table_of(huge)["weight"]
    assert facts == TensorFacts(shape=(10**6, 10**6), dtype=torch.float32)
    assert facts.num_bytes == 4 * 10**12
