"""Published files become model folders: whole and equal to the published code, or not at all."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from published_files import (
    PARITY,
    codec_checkpoint,
    codec_state,
    network_checkpoint,
    network_config,
    network_state,
    read_here,
    small_codebook,
)
from weft import foreign
from weft.checkpoint import read_config, write_model
from weft.codecs.wavtokenizer import read_codec
from weft.errors import CheckpointError, ConfigError, OutputError
from weft.heads.categorical import CategoricalHead
from weft.sampling import conversion as module
from weft.sampling.conversion import Conversion, Converted, convert_model
from weft.sampling.model_facts import describe_folder, run_codec, verify_folder
from weft.sampling.token_model import read_token_model


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_unpickle_apart", read_here)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One codec as in the fixture, one with as many codes as the network has, and AIDD's model."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "_unpickle_apart", read_here)
        torch.save(codec_checkpoint(), folder / "whole.ckpt")
        torch.save(codec_checkpoint(small_codebook(64)), folder / "small.ckpt")
        torch.save(network_checkpoint(), folder / "aidd.pth")
        found: dict[str, Any] = {"folder": folder}
        for name in ("whole", "small"):
            path = folder / f"{name}.ckpt"
            found[name] = convert_model(Conversion(path=path, out=folder / name))
        found["aidd"] = convert_model(
            Conversion(path=folder / "aidd.pth", out=folder / "aidd", codec=folder / "small")
        )
        yield found


def test_a_converted_codec_equals_the_published_one(made: dict[str, Any]) -> None:
    reference = dict(np.load(PARITY / "wavtokenizer" / "reference.npz"))
    codec = read_codec(made["folder"] / "whole")
    with torch.inference_mode():
        codes = codec.encode(torch.from_numpy(reference["wave"])).codes
        decoded = codec.decode(codec.embed(torch.from_numpy(reference["rand_codes"][0])))
    np.testing.assert_array_equal(codes.numpy(), reference["codes"][0])
    wanted = reference["rand_codes_decoded_bw0"]
    np.testing.assert_allclose(decoded.numpy(), wanted, rtol=0, atol=1e-4)


def test_a_converted_network_equals_the_published_one(made: dict[str, Any]) -> None:
    reference = dict(np.load(PARITY / "sedd" / "reference.npz"))
    model = read_token_model(made["folder"] / "aidd")
    assert model.config.prediction == "log_score"
    assert model.config.is_legacy_mask
    head = CategoricalHead(codebook_size=63, prediction=model.config.prediction)
    x, sigma = torch.from_numpy(reference["x"]), torch.from_numpy(reference["sigma"])
    with torch.inference_mode():
        log_score = head.log_score(model.network(x, sigma), x, sigma)
    np.testing.assert_allclose(log_score.numpy(), reference["log_score"], rtol=0, atol=2e-4)


def test_what_it_was_made_from_stands_in_the_folder(made: dict[str, Any]) -> None:
    converted: Converted = made["aidd"]
    source = made["folder"] / "aidd.pth"
    found = read_config(made["folder"] / "aidd")["facts"]["made_from"]
    assert found == converted.made_from
    assert found["file"] == "aidd.pth"
    assert found["sha256"] == foreign.digest_of(source)
    assert found["num_bytes"] == source.stat().st_size
    assert found["weights"] == "ema"
    assert found["codec"]["sha256"] == foreign.digest_of(made["folder"] / "small.ckpt")


def test_the_card_says_source_licence_and_checks_but_no_date(made: dict[str, Any]) -> None:
    text = (made["folder"] / "aidd" / "README.md").read_text()
    for part in (
        "# aidd\n",
        foreign.digest_of(made["folder"] / "aidd.pth"),
        "moving average (ema)",
        "is not known to Weft",
        "MIT licence",
        "a gap of 50 ms in noise: filled",
        "that token is never drawn",
        "--model aidd",
        "WavTokenizer",
        "small.ckpt",
    ):
        assert part in text
    assert "202" not in text.replace("2024", "").replace("2026", "").split("SHA-256")[0]


def test_equal_files_make_equal_models(made: dict[str, Any], tmp_path: Path) -> None:
    path = made["folder"] / "whole.ckpt"
    again = convert_model(Conversion(path=path, out=tmp_path / "whole"))
    assert again.facts.digest == made["whole"].facts.digest
    card = (tmp_path / "whole" / "README.md").read_bytes()
    assert card == (made["folder"] / "whole" / "README.md").read_bytes()


def test_nothing_but_the_model_is_left(made: dict[str, Any]) -> None:
    names = {"README.md", "model.json", "model.safetensors"}
    for name in ("whole", "aidd"):
        assert {p.name for p in (made["folder"] / name).iterdir()} == names
    assert not list(made["folder"].glob(".*"))


def test_progress_reaches_its_end(made: dict[str, Any], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert_model(
        Conversion(path=made["folder"] / "whole.ckpt", out=tmp_path / "a"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i, module.NUM_STAGES) for i in range(module.NUM_STAGES + 1)]


def test_plain_files_in_both_formats_are_told_apart_by_their_names(
    made: dict[str, Any], tmp_path: Path
) -> None:
    save_file(codec_state(), tmp_path / "codec.safetensors")
    save_file(network_state(), tmp_path / "network.safetensors")
    torch.save(codec_state(), tmp_path / "codec.pt")
    for name in ("codec.safetensors", "codec.pt"):
        converted = convert_model(
            Conversion(path=tmp_path / name, out=tmp_path / "c", is_overwritten=True)
        )
        assert converted.facts.kind == "wavtokenizer"
    converted = convert_model(
        Conversion(
            path=tmp_path / "network.safetensors",
            out=tmp_path / "n",
            codec=made["folder"] / "small",
        )
    )
    assert converted.facts.kind == "tokens"
    assert converted.made_from["weights"] is None


def test_a_codec_of_as_many_tokens_keeps_them_all(made: dict[str, Any], tmp_path: Path) -> None:
    torch.save(codec_checkpoint(small_codebook(63)), tmp_path / "c.ckpt")
    convert_model(Conversion(path=tmp_path / "c.ckpt", out=tmp_path / "c"))
    path = made["folder"] / "aidd.pth"
    converted = convert_model(
        Conversion(path=path, out=tmp_path / "a", codec=tmp_path / "c", weights="model")
    )
    config = read_token_model(tmp_path / "a").config
    assert not config.is_legacy_mask
    assert converted.made_from["weights"] == "model"
    assert not any("never drawn" in note for note in converted.notes)


def test_a_codec_of_another_vocabulary_is_refused(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["folder"]
    asked = Conversion(path=folder / "aidd.pth", out=tmp_path / "a", codec=folder / "whole")
    with pytest.raises(CheckpointError, match=r"whole has 256 tokens.*63 .*another codec"):
        convert_model(asked)
    assert not [*tmp_path.iterdir()]


def test_options_that_do_not_fit_the_weights_are_refused(
    made: dict[str, Any], tmp_path: Path
) -> None:
    folder: Path = made["folder"]
    network = Conversion(path=folder / "aidd.pth", out=tmp_path / "a")
    for layout in ("aidd", None):
        with pytest.raises(ConfigError, match=r"needs the codec .*--codec"):
            convert_model(replace(network, layout=layout))
    codec = Conversion(path=folder / "whole.ckpt", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="--codec is for AIDD"):
        convert_model(replace(codec, codec=folder / "small"))
    with pytest.raises(ConfigError, match="--weights is for AIDD"):
        convert_model(replace(codec, weights="ema"))
    with pytest.raises(CheckpointError, match="holds a model of kind 'tokens'"):
        convert_model(replace(network, codec=folder / "aidd"))
    with pytest.raises(CheckpointError, match=r"no tensors whose names begin with feature"):
        convert_model(replace(network, layout="wavtokenizer"))
    with pytest.raises(CheckpointError, match="neither WavTokenizer's nor AIDD's"):
        convert_model(replace(codec, layout="aidd", codec=folder / "small"))
    assert not [*tmp_path.iterdir()]


def test_settings_are_compared(made: dict[str, Any], tmp_path: Path) -> None:
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(network_config() | {"tokens": 4095}))
    asked = Conversion(
        path=made["folder"] / "aidd.pth",
        out=tmp_path / "a",
        codec=made["folder"] / "small",
        settings=settings,
    )
    with pytest.raises(CheckpointError, match="settings say tokens = 4095"):
        convert_model(asked)
    settings.write_text(json.dumps(network_config()))
    assert convert_model(asked).facts.kind == "tokens"


def damaged_checkpoint(kind: str) -> dict[str, Any]:
    checkpoint: dict[str, Any] = codec_checkpoint()
    state = {k: v.clone() for k, v in checkpoint["state_dict"].items()}
    checkpoint["state_dict"] = state
    if kind == "missing":
        del state["backbone.norm.shift.weight"]
    if kind == "extra":
        state["backbone.more.weight"] = torch.ones(2)
    if kind == "shape":
        state["head.out.bias"] = torch.ones(3)
    if kind == "NaN":
        state["head.out.bias"][7] = float("nan")
    if kind == "critic":
        state["multiresddisc.x"] = torch.tensor([float("nan")])
    return checkpoint


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"a\.ckpt: it lacks .*norm\.shift"),
        ("extra", r"a\.ckpt: it holds, beyond .*backbone\.more"),
        ("shape", r"a\.ckpt: 'head\.out\.bias' has the shape"),
        ("NaN", r"a\.ckpt: 'head\.out\.bias' holds NaN"),
    ],
)
def test_damaged_checkpoints_leave_nothing(tmp_path: Path, kind: str, message: str) -> None:
    torch.save(damaged_checkpoint(kind), tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=message):
        convert_model(Conversion(path=tmp_path / "a.ckpt", out=tmp_path / "a"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_what_only_training_needs_may_be_damaged(tmp_path: Path) -> None:
    torch.save(damaged_checkpoint("critic"), tmp_path / "a.ckpt")
    assert convert_model(Conversion(path=tmp_path / "a.ckpt", out=tmp_path / "a")).checks


@pytest.mark.parametrize("kind", ["cut off", "empty", "text", "missing", "folder"])
def test_what_is_no_checkpoint_is_refused_by_name(
    made: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.ckpt"
    whole = (made["folder"] / "whole.ckpt").read_bytes()
    texts = {"cut off": whole[: len(whole) // 2], "empty": b"", "text": b"<html>404</html>"}
    if kind in texts:
        path.write_bytes(texts[kind])
    if kind == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        convert_model(Conversion(path=path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_model_is_replaced_only_where_that_is_allowed(
    made: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = Conversion(path=made["folder"] / "whole.ckpt", out=out)
    out.mkdir()
    convert_model(asked)  # an empty folder is no one's
    before = (out / "model.json").read_bytes()
    other = replace(asked, path=made["folder"] / "small.ckpt")
    with pytest.raises(OutputError, match="already exists.*--overwrite"):
        convert_model(other)
    assert (out / "model.json").read_bytes() == before
    convert_model(replace(other, is_overwritten=True))
    assert (out / "model.json").read_bytes() != before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds 'notes.txt'"):
        convert_model(replace(asked, is_overwritten=True))
    assert (out / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_replacement_leaves_the_old_model(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    asked = Conversion(path=made["folder"] / "whole.ckpt", out=out, is_overwritten=True)
    convert_model(asked)
    before = (out / "model.json").read_bytes()
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if target == out and not source.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OutputError, match="No space left"):
        convert_model(replace(asked, path=made["folder"] / "small.ckpt"))
    assert (out / "model.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_places_that_cannot_be_written_are_refused_before_the_work(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_tensors_of", None)
    path = made["folder"] / "whole.ckpt"
    with pytest.raises(OutputError, match="there is no folder"):
        convert_model(Conversion(path=path, out=tmp_path / "none" / "out"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        convert_model(Conversion(path=path, out=tmp_path / "file", is_overwritten=True))


def test_a_model_that_does_not_run_does_not_appear(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are finite, and whose sums are not."""
    state = codec_state()
    state["backbone.final_layer_norm.weight"] = torch.full((64,), 1e38)
    state["head.out.weight"] = torch.full((1282, 64), 1e38)
    torch.save(codec_checkpoint(state), tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="became NaN or infinity"):
        convert_model(Conversion(path=tmp_path / "a.ckpt", out=tmp_path / "a"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_names_of_files_are_no_markup_in_the_card(made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a`\n# x<b>\x1b[2J.ckpt"
    path.write_bytes((made["folder"] / "whole.ckpt").read_bytes())
    convert_model(Conversion(path=path, out=tmp_path / "a b[c]"))
    text = (tmp_path / "a b[c]" / "README.md").read_text()
    assert "a??? x?b???2J.ckpt" in text
    assert "\x1b" not in text


def test_a_model_is_named_after_its_folder(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["folder"]
    for given, name in (("my model ü", "my-model-"), ("ü", "aidd")):
        convert_model(
            Conversion(path=folder / "aidd.pth", out=tmp_path / given, codec=folder / "small")
        )
        assert read_token_model(tmp_path / given).config.name == name


# ---- Facts and verification ----


def test_facts_are_those_of_the_settings(made: dict[str, Any]) -> None:
    facts = describe_folder(made["folder"] / "aidd")
    model = read_token_model(made["folder"] / "aidd")
    assert (facts.kind, facts.sample_rate, facts.frame_rate) == ("tokens", 24000, 75.0)
    parameters = [*model.codec.parameters(), *model.network.parameters()]
    assert facts.num_parameters == sum(p.numel() for p in parameters)
    assert facts.sizes["codebook"] == "64 codes of 48"
    assert facts.num_bytes > 1e6
    assert facts.has_card


def test_verification_finds_a_changed_weight(made: dict[str, Any], tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((made["folder"] / "whole" / name).read_bytes())
    assert len(verify_folder(tmp_path)) == 3
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="its digest is not that of"):
        verify_folder(tmp_path)


def test_verification_of_the_shipped_embedder_runs_it() -> None:
    folder = Path(foreign.__file__).parent / "weights" / "corpus-ssl"
    assert "finite vectors of 192" in verify_folder(folder)[1]


def test_kinds_that_are_unknown_are_described_but_not_verified(tmp_path: Path) -> None:
    write_model(tmp_path, config={"kind": "other"}, tensors={"w": torch.ones(2)})
    assert describe_folder(tmp_path).kind == "other"
    with pytest.raises(CheckpointError, match="kind 'other', which cannot be checked"):
        verify_folder(tmp_path)


def test_settings_that_cannot_be_used_name_the_folder(made: dict[str, Any], tmp_path: Path) -> None:
    config = json.loads((made["folder"] / "whole" / "model.json").read_text())
    config["codec"]["encoder"]["strides"] = [0]
    (tmp_path / "model.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"{tmp_path}.*strides"):
        describe_folder(tmp_path)


def test_a_codec_of_the_wrong_length_is_found(made: dict[str, Any]) -> None:
    codec = read_codec(made["folder"] / "whole")

    class Short(type(codec.decoder)):  # type: ignore[misc]
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return super().forward(features)[:, :-1]

    codec.decoder.__class__ = Short
    with torch.inference_mode(), pytest.raises(CheckpointError, match="wanted 38 tokens"):
        run_codec(codec, Path("x"))
