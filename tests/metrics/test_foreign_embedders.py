"""Published embedders: equal to the published code, and what their adapters promise."""

import csv
import functools
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.foreign_models import (
    FIXTURES,
    cnn14,
    narrow_cnn14,
    narrow_passt,
    narrow_vggish,
    shapes,
)
from parity.embedders.material import sound
from weft import foreign
from weft.errors import AudioFormatError, CheckpointError, ConfigError
from weft.folders import CACHE_VARIABLE
from weft.metrics.embedders import corpus_ssl, panns, passt, registry, vggish
from weft.metrics.embedders.base import Embedder
from weft.metrics.embedders.clips import LABELS_FILE, audioset_names, overlapping, prepare
from weft.metrics.embedders.front_ends import htk_mel_filterbank, passt_log_mel, vggish_log_mel
from weft.metrics.embedders.panns import FRONTS, PannsEmbedder
from weft.metrics.embedders.passt import PasstEmbedder
from weft.metrics.embedders.registry import available, find_embedder
from weft.metrics.embedders.vggish import MIN_SAMPLES, VGGishEmbedder
from weft.nn.passt import PaSST
from weft.nn.vggish import VGGish

CLASSES = tuple(f"audioset {i}" for i in range(527))


def make_vggish() -> Embedder:
    return VGGishEmbedder(narrow_vggish(), weights="w")


def make_panns(name: str = "panns-cnn14-8k") -> Embedder:
    return PannsEmbedder(name, narrow_cnn14(name), weights="w", class_names=CLASSES)


def make_passt() -> Embedder:
    return PasstEmbedder(narrow_passt(), weights="w", class_names=CLASSES)


MAKERS = [make_vggish, make_panns, make_passt]


# ---- The published code ----


def same_tensors(module: torch.nn.Module, table: np.ndarray, *unused: str) -> bool:
    published = {k: v for k, v in shapes(table).items() if not k.startswith(unused or ("\0",))}
    return published == {k: tuple(v.shape) for k, v in module.state_dict().items()}


def test_networks_have_the_tensors_of_the_published_ones() -> None:
    with torch.device("meta"):
        full = VGGish(), PaSST()
    assert same_tensors(full[0], np.load(FIXTURES / "vggish.npz")["tensors"])
    assert same_tensors(full[1], np.load(FIXTURES / "passt.npz")["tensors"])
    assert [sum(p.numel() for p in m.parameters()) for m in full] == [72141184, 86153758]


@pytest.mark.parametrize("rate", ["8k", "16k", "32k"])
def test_cnn14_has_the_tensors_of_the_published_one(rate: str) -> None:
    with torch.device("meta"):
        full = cnn14(f"panns-cnn14-{rate}")
    table = np.load(FIXTURES / "panns.npz")[f"tensors_{rate}"]
    assert same_tensors(full, table, "spectrogram_extractor.")


def test_vggish_gives_what_torchvggish_gives() -> None:
    fixture = np.load(FIXTURES / "vggish.npz")
    clip = sound(16000, 2.2)
    log_mel = vggish_log_mel(clip)[:192].reshape(2, 96, 64)[:, ::6, ::3]
    np.testing.assert_allclose(log_mel, fixture["log_mel"], atol=1e-5)
    network = narrow_vggish()
    for has_relu, key in ((False, "vectors"), (True, "relu")):
        embedder = VGGishEmbedder(network, weights="w", has_relu=has_relu)
        vectors = embedder.embed(clip[None], 16000).vectors
        np.testing.assert_allclose(vectors, fixture[key], atol=1e-4)
    assert (fixture["vectors"] < 0).any()


@pytest.mark.parametrize("rate", ["8k", "16k", "32k"])
def test_cnn14_gives_what_the_published_code_gives(rate: str) -> None:
    fixture = np.load(FIXTURES / "panns.npz")
    embedder = make_panns(f"panns-cnn14-{rate}")
    clip = sound(embedder.sample_rate, 1.3)[None]
    embedding = embedder.embed(clip, embedder.sample_rate)
    np.testing.assert_allclose(embedding.vectors, fixture[f"vectors_{rate}"], atol=1e-3)
    assert embedding.logits is not None
    np.testing.assert_allclose(embedding.logits, fixture[f"logits_{rate}"][0], atol=1e-3)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-embedding.logits)), fixture[f"clipwise_{rate}"][0], atol=1e-4
    )


@pytest.mark.parametrize("length", ["10s", "3s"])
def test_passt_gives_what_hear21passt_gives(length: str) -> None:
    fixture = np.load(FIXTURES / "passt.npz")
    log_mel = passt_log_mel(sound(32000, float(length[:-1])))
    np.testing.assert_allclose(log_mel[::5, ::40], fixture[f"log_mel_{length}"], atol=2e-4)
    with torch.inference_mode():
        vectors, logits = narrow_passt()(torch.from_numpy(log_mel[None, None]).float())
    np.testing.assert_allclose(vectors.numpy(), fixture[f"vectors_{length}"], atol=1e-4)
    np.testing.assert_allclose(logits.numpy(), fixture[f"logits_{length}"], atol=1e-4)


def test_passt_of_ten_seconds_is_one_window() -> None:
    fixture = np.load(FIXTURES / "passt.npz")
    embedding = make_passt().embed(sound(32000, 10.0)[None], 32000)
    assert embedding.logits is not None
    np.testing.assert_allclose(embedding.vectors, fixture["vectors_10s"], atol=1e-4)
    np.testing.assert_allclose(embedding.logits, fixture["logits_10s"][0], atol=1e-4)


# ---- What every adapter promises ----


@pytest.mark.parametrize("make", MAKERS)
def test_clips_of_any_length_rate_and_channels_give_finite_vectors(
    make: Callable[[], Embedder],
) -> None:
    embedder = make()
    clip = sound(44100, 1.7)
    for samples in (clip[None, :1], clip[None, :3000], np.stack([clip, clip[::-1], clip])):
        embedding = embedder.embed(samples, 44100)
        assert embedding.vectors.shape[1] == embedder.num_dims
        assert embedding.vectors.dtype == np.float64
        assert np.isfinite(embedding.vectors).all()
        count = 0 if embedding.logits is None else len(embedding.logits)
        assert count == len(embedder.class_names)
    assert np.array_equal(
        embedder.embed(clip[None], 44100).vectors, embedder.embed(clip[None], 44100).vectors
    )
    assert not embedder.has_text
    with pytest.raises(ConfigError, match="embeds sound only"):
        embedder.embed_text(["rain"])


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_sound_is_refused(make: Callable[[], Embedder]) -> None:
    embedder = make()
    clip = sound(16000, 1.0)[None]
    for bad in (np.nan, np.inf):
        clip[0, 77] = bad
        with pytest.raises(AudioFormatError, match="sample 77 of a clip to embed is NaN"):
            embedder.embed(clip, 16000)
    with pytest.raises(AudioFormatError, match="no samples"):
        embedder.embed(np.zeros((1, 0)), 16000)


@pytest.mark.parametrize("make", MAKERS)
def test_channels_are_averaged_and_silence_pads(make: Callable[[], Embedder]) -> None:
    embedder = make()
    rate = embedder.sample_rate
    clip = sound(rate, 0.2)
    stereo = np.stack([2 * clip, np.zeros_like(clip)])
    least = {"vggish": MIN_SAMPLES, "passt": 10 * rate}.get(embedder.name, 31 * 80)
    padded = np.pad(clip, (0, least - len(clip)))[None]
    expected = embedder.embed(padded, rate).vectors
    assert np.array_equal(embedder.embed(stereo, rate).vectors, expected)
    assert not np.allclose(embedder.embed(0.1 * stereo, rate).vectors, expected, atol=1e-3)


def test_vggish_does_not_depend_on_how_examples_are_grouped() -> None:
    embedder = VGGishEmbedder(narrow_vggish(width=4), weights="w")
    clip = sound(16000, 40.0)[None]
    vectors = embedder.embed(clip, 16000).vectors
    assert len(vectors) == 41
    for i in (0, 31, 32, 40):
        alone = clip[:, i * 15360 : i * 15360 + MIN_SAMPLES]
        np.testing.assert_allclose(embedder.embed(alone, 16000).vectors[0], vectors[i], atol=1e-4)


def test_passt_takes_a_window_of_ten_seconds_every_five() -> None:
    embedder = make_passt()
    clip = sound(32000, 12.0)[None]
    whole = embedder.embed(clip, 32000)
    first = embedder.embed(clip[:, :320000], 32000)
    last = embedder.embed(clip[:, 160000:], 32000)
    assert np.array_equal(whole.vectors, np.concatenate([first.vectors, last.vectors]))
    assert whole.logits is not None
    assert first.logits is not None
    assert last.logits is not None
    np.testing.assert_allclose(whole.logits, (first.logits + last.logits) / 2)


def test_cnn14_cuts_long_clips_into_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert panns.MAX_SECONDS == 60
    monkeypatch.setattr(panns, "MAX_SECONDS", 2.0)
    embedder = make_panns()
    clip = sound(8000, 2.6)[None]
    whole = embedder.embed(clip, 8000)
    halves = [embedder.embed(half, 8000) for half in np.split(clip, 2, axis=1)]
    assert np.array_equal(whole.vectors, np.concatenate([h.vectors for h in halves]))
    assert len(embedder.embed(clip[:, : 2 * 8000], 8000).vectors) == 1


@pytest.mark.parametrize("seconds", [9.99, 10, 10.01, 15, 15.01, 33.3])
def test_windows_cover_a_clip(seconds: float) -> None:
    n = round(seconds * 100)
    windows = overlapping(n, 1000, 500)
    assert all(b.start - a.start == 500 for a, b in itertools.pairwise(windows))
    assert windows[-1].stop >= n
    assert len(windows) == 1 or n - windows[-1].start > 500


def test_a_clip_keeps_two_channels_or_doubles_one() -> None:
    one, two = np.ones((1, 480)), np.stack([np.ones(480), -np.ones(480)])
    assert np.array_equal(prepare(two, 48000, 48000, channels=2), two)
    assert np.array_equal(prepare(one, 48000, 48000, channels=2), np.ones((2, 480)))
    assert np.array_equal(prepare(two, 48000, 48000), np.zeros((1, 480)))
    assert prepare(one[:, :1], 96000, 8000).shape == (1, 1)


def test_bands_outside_the_rate_are_refused() -> None:
    with pytest.raises(ConfigError, match="mel filters need"):
        htk_mel_filterbank(16000, 512, 64, 125.0, 9000.0)
    with pytest.raises(ConfigError, match="400 samples or more, got 399"):
        vggish_log_mel(np.zeros(399))
    with pytest.raises(ConfigError, match="514 samples or more, got 513"):
        passt_log_mel(np.zeros(513))


# ---- Weights on disk ----


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small weights under the published names, for networks made small to match."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(registry.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(vggish, "VGGish", functools.partial(VGGish, width=2, hidden=8))
    monkeypatch.setattr(panns, "Cnn14", functools.partial(panns.Cnn14, width=4))
    monkeypatch.setattr(passt, "PaSST", functools.partial(PaSST, dim=96, depth=2, num_heads=3))
    # Reading in a process of its own is tested elsewhere and takes seconds.
    monkeypatch.setattr(foreign, "_unpickle_apart", lambda p, o, s, t: foreign._unpickle(p, o, s))
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(narrow_vggish(width=2, hidden=8).state_dict(), folder / "vggish-10086976.pth")
    for name in FRONTS:
        state = narrow_cnn14(name).state_dict()
        state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(3)
        torch.save({"iteration": 1, "model": state}, folder / PANNS_FILES[name])
    torch.save(narrow_passt().state_dict(), folder / "passt-s-f128-p16-s10-ap.476-swa.pt")
    return folder


PANNS_FILES = {
    "panns-cnn14-8k": "Cnn14_8k_mAP=0.416.pth",
    "panns-cnn14-16k": "Cnn14_16k_mAP%3D0.438.pth",
    "panns-cnn14-32k": "Cnn14_mAP=0.431.pth",
}
FOUND = ["vggish", "vggish-relu", *FRONTS, "passt"]


def test_weights_under_their_published_names_are_found_and_loaded(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [find_embedder(name, weights=shelf) for name in FOUND]
    assert [e.name for e in loaded] == FOUND
    assert len({e.digest for e in loaded}) == len(FOUND)
    clip = sound(16000, 1.1)[None]
    direct = make_panns().embed(clip, 16000).vectors
    assert np.array_equal(loaded[2].embed(clip, 16000).vectors, direct)
    assert [a.entry.name for a in available(shelf) if a.path is not None] == FOUND
    assert not any(a.path for a in available())
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(shelf))
    assert [a.entry.name for a in available() if a.path is not None] == FOUND
    assert find_embedder("passt").digest == loaded[-1].digest


def test_the_digest_changes_with_the_weights(shelf: Path) -> None:
    before = find_embedder("vggish", weights=shelf)
    path = shelf / "vggish-10086976.pth"
    assert find_embedder("vggish", weights=path).digest == before.digest
    state = torch.load(path, weights_only=True)
    state["embeddings.4.bias"] += 1
    torch.save(state, path)
    after = find_embedder("vggish", weights=shelf)
    assert after.digest != before.digest
    clip = sound(16000, 1.1)[None]
    np.testing.assert_allclose(
        after.embed(clip, 16000).vectors, before.embed(clip, 16000).vectors + 1, atol=1e-5
    )


def test_weights_of_another_network_are_refused(shelf: Path) -> None:
    with pytest.raises(CheckpointError, match=r"16k.*'logmel_extractor.melW' has the shape"):
        find_embedder("panns-cnn14-8k", weights=shelf / PANNS_FILES["panns-cnn14-16k"])
    with pytest.raises(CheckpointError, match=r"vggish-10086976.pth lacks .* tensors"):
        find_embedder("passt", weights=shelf / "vggish-10086976.pth")


def test_names_of_classes_come_from_the_list_beside_the_weights(shelf: Path) -> None:
    assert find_embedder("passt", weights=shelf).class_names == CLASSES
    rows = [["index", "mid", "display_name"], *([str(i), "m", f"class, {i}"] for i in range(527))]
    with (shelf / LABELS_FILE).open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    names = find_embedder("panns-cnn14-32k", weights=shelf).class_names
    assert (len(names), names[526]) == (527, "class, 526")
    for text, why in (
        ("index,display_name\n0,Speech\n", "names 1 classes"),
        ("a,b\n1,2\n", "no list"),
    ):
        (shelf / LABELS_FILE).write_text(text)
        with pytest.raises(CheckpointError, match=why):
            audioset_names(shelf)


def test_what_is_missing_is_said_with_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no embedder 'vgg'; there are corpus-ssl, .*encodec-48k"):
        find_embedder("vgg")
    with pytest.raises(ConfigError, match=r"Cnn14_8k_mAP=0\.416\.pth .* in .*Zenodo.*WEFT_WEIGHTS"):
        find_embedder("panns-cnn14-8k", weights=tmp_path)
    monkeypatch.delenv(registry.WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="nowhere, as WEFT_WEIGHTS names no folder"):
        find_embedder("clap-audio")


def test_shipped_embedders_need_no_weights_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = {False: make_vggish(), True: make_passt()}
    monkeypatch.setattr(corpus_ssl, "load", lambda *, witness: stand_in[witness])
    assert find_embedder("corpus-ssl") is stand_in[False]
    assert find_embedder("corpus-ssl-witness") is stand_in[True]


def test_names_are_never_shared_and_listing_them_imports_no_torch() -> None:
    names = [a.entry.name for a in available()]
    assert len(set(names)) == len(names)
    code = (
        "import sys; from weft.metrics.embedders.registry import available; available();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
