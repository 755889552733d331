"""CLAP and EnCodec through transformers: equal to the published code, silent, and offline."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from metrics.foreign_models import (
    FIXTURES,
    clap_config,
    clap_folder,
    encodec_folder,
    shapes,
    tokenizer_folder,
)
from parity.embedders.material import sound, weights
from weft import foreign
from weft.errors import CheckpointError, ConfigError, MissingDependencyError
from weft.folders import CACHE_VARIABLE
from weft.foreign import fit
from weft.metrics.embedders import clap, encodec, laion
from weft.metrics.embedders.base import Embedder
from weft.metrics.embedders.clap import ClapEmbedder
from weft.metrics.embedders.huggingface import folder_digest, import_transformers, load_model, quiet
from weft.metrics.embedders.registry import find_embedder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models under the names of the published folders."""
    root = tmp_path_factory.mktemp("weights")
    clap_folder(root / "clap-htsat-unfused")
    clap_folder(root / "larger_clap_music", has_tokens=False)
    encodec_folder(root / "encodec_24khz", is_wide=False)
    encodec_folder(root / "encodec_48khz", is_wide=True)
    return root


@pytest.fixture(scope="module")
def loaded(folders: Path) -> dict[str, Embedder]:
    """The same, loaded."""
    names = ["clap-audio", "clap-larger-music", "encodec-24k", "encodec-48k"]
    return {name: find_embedder(name, weights=folders) for name in names}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*told: object) -> None:
        raise AssertionError(f"a connection was opened: {told}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


# ---- LAION's original checkpoints ----


@pytest.mark.parametrize("name", list(laion.SIZES))
def test_every_tensor_of_an_original_checkpoint_has_its_place(name: str) -> None:
    table = shapes(np.load(FIXTURES / "laion.npz")[f"tensors_{name}"])
    state = {f"module.{k}": torch.empty(v, device="meta") for k, v in table.items()}
    with torch.device("meta"), quiet():
        model = import_transformers().ClapModel(laion.clap_config(name))
    fit(laion.to_transformers(state), model, told=Path("a.pt"), optional=laion.OPTIONAL)


@pytest.fixture(scope="module")
def narrow_state() -> dict[str, torch.Tensor]:
    """Weights of the fixture's small network, as an original checkpoint holds them."""
    table = shapes(np.load(FIXTURES / "laion.npz")["tensors_narrow"])
    fixed = ("_index", "_ids", "attn_mask")
    wanted = {k: v for k, v in table.items() if not k.endswith(fixed) and "extractor" not in k}
    return {k: torch.from_numpy(v) for k, v in weights(wanted).items()}


@pytest.fixture
def original(
    narrow_state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ClapEmbedder:
    """The fixture's small network, loaded from a file of LAION's form."""
    monkeypatch.setattr(clap, "clap_config", lambda name: clap_config())
    monkeypatch.setattr(clap, "OPTIONAL", (*laion.OPTIONAL, "relative_position_index"))
    path = tmp_path / "music_audioset_epoch_15_esc_90.14.safetensors"
    save_file({f"module.{k}": v for k, v in narrow_state.items()}, path)
    tokenizer_folder(tmp_path / clap.TOKENIZER_FOLDER)
    found = find_embedder("clap-music", weights=tmp_path)
    assert isinstance(found, ClapEmbedder)
    return found


def test_an_original_checkpoint_gives_what_laion_clap_gives(original: ClapEmbedder) -> None:
    fixture = np.load(FIXTURES / "laion.npz")
    vectors = original.embed(sound(48000, 10.0)[None], 48000).vectors
    assert original.embed_text(["a dog"]).shape == (1, 512)
    np.testing.assert_allclose(vectors, fixture["sound"], atol=1e-5)
    # Letters of the small tokenizer are not the fixture's numbers, so these are given directly.
    ids = torch.tensor([[0, 5, 250, 17, 2, 1, 1], [0, 9, 8, 7, 6, 5, 2]])
    original._tokenizer = lambda texts, **options: {
        "input_ids": ids,
        "attention_mask": (ids != 1).long(),
    }
    np.testing.assert_allclose(original.embed_text(["a", "b"]), fixture["text"], atol=1e-5)


def test_the_text_network_of_an_original_checkpoint_is_robertas() -> None:
    config = laion.clap_config("clap-audio").text_config
    assert config.layer_norm_eps == 1e-5
    assert (config.vocab_size, config.max_position_embeddings) == (50265, 514)


def test_original_checkpoints_go_under_their_own_names_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clap-larger-music is a folder"):
        clap.load(tmp_path / "a.pt", "clap-larger-music")


# ---- CLAP ----


def test_clap_gives_unit_vectors_of_windows_and_texts(loaded: dict[str, Embedder]) -> None:
    embedder = loaded["clap-audio"]
    clip = sound(48000, 12.0)[None]
    vectors = embedder.embed(clip, 48000).vectors
    assert (vectors.shape, embedder.num_dims, embedder.class_names) == ((2, 512), 512, ())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[:1], embedder.embed(clip[:, :480000], 48000).vectors)
    assert np.array_equal(vectors[1:], embedder.embed(clip[:, 240000:], 48000).vectors)
    assert embedder.has_text
    texts = embedder.embed_text(["rain on a roof", "a dog", "x " * 200])
    assert texts.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_text(["a dog"])[0], texts[1], atol=1e-6)
    # 77 tokens: two marks and 75 of the text, each letter and each space being one.
    long = embedder.embed_text(["x" * 75, "x" * 76, "x" * 74])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)
    assert not np.allclose(long[0], long[2], atol=1e-6)
    with pytest.raises(ConfigError, match="no texts"):
        embedder.embed_text([])


def test_clap_repeats_a_short_clip_as_often_as_it_fits(loaded: dict[str, Embedder]) -> None:
    embedder = loaded["clap-larger-music"]
    clip = sound(48000, 4.0)
    filled = np.pad(np.tile(clip, 2), (0, 96000))
    expected = embedder.embed(filled[None], 48000).vectors
    assert np.array_equal(embedder.embed(clip[None], 48000).vectors, expected)
    assert np.isfinite(embedder.embed(clip[None, :1], 48000).vectors).all()


def test_clap_without_a_tokenizer_says_what_is_missing(loaded: dict[str, Embedder]) -> None:
    embedder = loaded["clap-larger-music"]
    assert not embedder.has_text
    with pytest.raises(ConfigError, match="no tokenizer: put a folder roberta-base"):
        embedder.embed_text(["rain"])


def test_clap_with_feature_fusion_is_refused(tmp_path: Path) -> None:
    fused = clap_folder(tmp_path / "a", has_tokens=False, enable_fusion=True)
    with pytest.raises(CheckpointError, match="feature fusion"):
        clap.load(fused, "clap-audio")


# ---- EnCodec ----


def test_encodec_at_24_khz_gives_the_frames_of_its_encoder(
    folders: Path, loaded: dict[str, Embedder]
) -> None:
    embedder = loaded["encodec-24k"]
    clip = sound(24000, 1.5)
    vectors = embedder.embed(np.stack([clip, -0.5 * clip]), 24000).vectors
    assert vectors.shape == (113, embedder.num_dims)
    model = load_model(folders / "encodec_24khz", kind="encodec", class_name="EncodecModel")
    with torch.inference_mode():
        expected = model.encoder(torch.tensor(0.25 * clip[None, None]).float())[0].T.numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert embedder.embed(clip[None, :1], 24000).vectors.shape[0] == 1


def test_encodec_at_48_khz_goes_second_by_second_in_stereo(loaded: dict[str, Embedder]) -> None:
    embedder = loaded["encodec-48k"]
    clip = sound(48000, 1.4)
    stereo = np.stack([clip, clip[::-1]])
    vectors = embedder.embed(stereo, 48000).vectors
    parts = [
        embedder.embed(stereo[:, p], 48000).vectors for p in (slice(48000), slice(48000, None))
    ]
    assert np.array_equal(vectors, np.concatenate(parts))
    assert len(parts[0]) == 150
    mono = embedder.embed(clip[None], 48000).vectors
    assert np.array_equal(mono, embedder.embed(np.stack([clip, clip]), 48000).vectors)
    assert not np.allclose(mono, vectors, atol=1e-4)


def test_long_clips_are_encoded_in_equal_parts(
    loaded: dict[str, Embedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encodec.MAX_SECONDS == {"encodec-24k": 60.0, "encodec-48k": 1.0}
    monkeypatch.setitem(encodec.MAX_SECONDS, "encodec-24k", 1.0)
    embedder = loaded["encodec-24k"]
    clip = sound(24000, 1.6)[None]
    halves = [embedder.embed(half, 24000).vectors for half in np.split(clip, 2, axis=1)]
    assert np.array_equal(embedder.embed(clip, 24000).vectors, np.concatenate(halves))


def test_encodec_of_the_other_rate_is_refused(folders: Path) -> None:
    with pytest.raises(CheckpointError, match="24000 Hz with 1 channels, and these .* 48000 Hz"):
        encodec.load(folders / "encodec_48khz", "encodec-24k")


def test_names_and_digests_are_not_shared(loaded: dict[str, Embedder]) -> None:
    assert [e.name for e in loaded.values()] == list(loaded)
    assert len({e.digest for e in loaded.values()}) == 4


def test_the_digest_of_a_folder_is_that_of_what_is_used(folders: Path, tmp_path: Path) -> None:
    source = folders / "clap-htsat-unfused"
    copy = changed(source, tmp_path / "a")
    before = folder_digest(copy)
    (copy / "README.md").write_text("a card")
    assert folder_digest(copy) == before
    (copy / "merges.txt").write_text("#version: 0.2\na b\n")
    after = folder_digest(copy)
    assert after != before
    state = load_file(copy / "model.safetensors")
    save_file(state | {"logit_scale_a": torch.ones(())}, copy / "model.safetensors")
    assert folder_digest(copy) not in (before, after)


# ---- Folders ----


def changed(source: Path, target: Path, **settings: Any) -> Path:
    """A copy of a folder with other settings."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((target / "config.json").read_text()) | settings
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_nothing_is_printed_and_settings_are_put_back(
    folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    embedder = find_embedder("clap-audio", weights=folders)
    embedder.embed(sound(44100, 1.0)[None], 44100)
    embedder.embed_text(["rain"])
    find_embedder("encodec-24k", weights=folders)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, has_bars)


def test_a_folder_with_a_pickle_only_is_converted(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reading in a process of its own is tested elsewhere and takes seconds.
    monkeypatch.setattr(foreign, "_unpickle_apart", lambda p, o, s, t: foreign._unpickle(p, o, s))
    source = folders / "encodec_24khz"
    copy = changed(source, tmp_path / "a")
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    clip = sound(24000, 0.5)[None]
    vectors = [encodec.load(p, "encodec-24k").embed(clip, 24000).vectors for p in (source, copy)]
    assert np.array_equal(*vectors)
    assert not (copy / "model.safetensors").exists()


def test_code_in_a_folder_is_not_run(folders: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    classes = {"AutoModel": "own.Own", "AutoConfig": "own.Own", "EncodecModel": "own.Own"}
    copy = changed(folders / "encodec_24khz", tmp_path / "a", auto_map=classes)
    (copy / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    encodec.load(copy, "encodec-24k")
    assert not trace.exists()


def test_damaged_and_wrong_folders_are_refused(folders: Path, tmp_path: Path) -> None:
    source = folders / "encodec_24khz"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model_type": "clap"}, "type 'clap', not 'encodec'"),
        ({"num_filters": 10**9}, "impossible size 1e"),
        ({"num_filters": 4}, "EncodecModel"),
    ]
    for i, (settings, why) in enumerate(cases):
        with pytest.raises(CheckpointError, match=why):
            encodec.load(changed(source, tmp_path / str(i), **settings), "encodec-24k")
    copy = changed(source, tmp_path / "b")
    state = load_file(copy / "model.safetensors")
    first = next(name for name in state if name.startswith("encoder."))
    save_file({k: v for k, v in state.items() if k != first}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="missing keys such as"):
        encodec.load(copy, "encodec-24k")
    save_file(state | {first: state[first] * float("nan")}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds NaN"):
        encodec.load(copy, "encodec-24k")
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        encodec.load(copy, "encodec-24k")


def test_without_transformers_the_message_says_what_to_install(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[published\]'"):
        find_embedder("encodec-24k", weights=folders)
