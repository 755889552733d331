"""The embedder that comes with the package."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from weft.audio.resample import resample
from weft.audio.synth import harmonic_tones
from weft.errors import AudioFormatError, CheckpointError, ConfigError
from weft.metrics.embedders import corpus_ssl
from weft.metrics.embedders.corpus_ssl import (
    CorpusSsl,
    Head,
    WindowConfig,
    clip_statistics,
    load,
    load_folder,
    save_folder,
)
from weft.metrics.frechet import Gaussian, frechet_distance
from weft.nn.ssl_encoder import SslEncoder, SslEncoderConfig

RATE = 16000
SHIPPED = Path(corpus_ssl.__file__).resolve().parents[2] / "weights"


def _tiny(seed: int = 0) -> CorpusSsl:
    torch.manual_seed(seed)
    encoder = SslEncoder(SslEncoderConfig(width=16, num_layers=2, num_heads=2))
    head = Head(
        weight=torch.randn(3, 32), bias=torch.tensor([0.5, 0.0, -0.5]), class_names=("a", "b", "c")
    )
    return CorpusSsl(encoder, head=head)


def _noise(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((channels, round(seconds * rate)))


def _clips() -> list[np.ndarray]:
    """Return clips of 4 s: chords, a melody, thumps and hiss, at several pitches and levels."""
    t = np.arange(4 * RATE) / RATE
    clips = []
    for number in range(3):
        rng = np.random.default_rng(number)
        base = 110 * 2 ** rng.uniform(0, 2)
        chord = harmonic_tones([base, base * 1.26, base * 1.5], 4.0, RATE, seed=number)[0]
        steps = base * 2 ** (rng.integers(0, 12, 20) / 12)
        melody = signal.sawtooth(2 * np.pi * np.cumsum(np.repeat(steps, len(t) // 20)) / RATE)
        thumps = np.sin(2 * np.pi * 70 * t) * np.exp(-12 * (t % rng.uniform(0.3, 0.6)))
        hiss = rng.standard_normal(len(t)) * (0.3 + np.abs(np.sin(2 * np.pi * 0.7 * t)))
        for sound, peak in ((chord, 0.4), (melody, 0.3), (thumps, 0.7), (hiss, 0.2)):
            level = peak * rng.uniform(0.6, 1.0) / np.abs(sound).max()
            clips.append((level * sound + 1e-4 * rng.standard_normal(len(t)))[None])
    return clips


def _low_pass(x: np.ndarray, cutoff_hz: float) -> np.ndarray:
    sections = signal.butter(8, cutoff_hz, fs=RATE, output="sos")
    return signal.sosfiltfilt(sections, x, axis=-1)


def _noisy(x: np.ndarray, snr_db: float) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(x.shape)
    return x + noise * np.sqrt(np.mean(x**2)) * 10 ** (-snr_db / 20)


def _gappy(x: np.ndarray, share: float) -> np.ndarray:
    blocks = x.shape[1] // 1600
    damaged = x.copy()
    for block in np.random.default_rng(2).permutation(blocks)[: round(share * blocks)]:
        damaged[:, block * 1600 : (block + 1) * 1600] = 0
    return damaged


def _clipped(x: np.ndarray, drive_db: float) -> np.ndarray:
    peak = np.abs(x).max() * 10 ** (-drive_db / 20)
    return np.clip(x, -peak, peak)


def _detuned(x: np.ndarray, cents: float) -> np.ndarray:
    ratio = 2 ** (cents / 1200)
    return resample(x, round(RATE * 10 * ratio), RATE * 10)


DAMAGE: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "noise": (_noisy, (40, 30, 20, 10, 0)),
    "low-pass": (_low_pass, (6000, 4000, 2500, 1500, 800)),
    "gaps": (_gappy, (0.05, 0.1, 0.2, 0.4, 0.6)),
    "clipping": (_clipped, (6, 12, 18, 24, 30)),
    "detune": (_detuned, (25, 50, 100, 200, 400)),
}


def _set(embedder: CorpusSsl, clips: list[np.ndarray]) -> Gaussian:
    return Gaussian.from_vectors(np.concatenate([embedder.embed(x, RATE).vectors for x in clips]))


@pytest.mark.parametrize("witness", [False, True], ids=["default", "witness"])
def test_damaged_sound_is_farther_the_more_it_is_damaged(witness: bool) -> None:
    embedder = load(witness=witness)
    clips = _clips()
    clean = _set(embedder, clips)
    assert frechet_distance(clean, _set(embedder, clips)) == pytest.approx(0, abs=1e-6)
    for kind, (damage_fn, levels) in DAMAGE.items():
        distances = [
            frechet_distance(clean, _set(embedder, [damage_fn(x, level) for x in clips]))
            for level in levels
        ]
        rising = all(low < high for low, high in zip([0, *distances], distances, strict=False))
        assert rising, (kind, distances)


def test_the_witness_is_another_network_of_the_same_size() -> None:
    one, other = load(), load(witness=True)
    assert (one.name, other.name) == ("corpus-ssl", "corpus-ssl-witness")
    assert one.digest != other.digest
    assert one.num_dims == other.num_dims == 192
    assert one.class_names == other.class_names
    first, second = (e.embed(_noise(2), RATE).vectors for e in (one, other))
    assert np.abs(first - second).max() > 0.5


def test_shipped_classes_tell_kinds_of_sound_apart() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(round(0.2 * RATE)) / RATE
    hat = rng.standard_normal(len(t)) * np.exp(-60 * t)
    bright = signal.sosfilt(signal.butter(4, 5000, "highpass", fs=RATE, output="sos"), hat)
    thump = np.sin(2 * np.pi * 55 * t) * np.exp(-10 * t)
    named = {}
    for name, sound in (("hi-hat", bright), ("bass drum", thump)):
        logits = load().embed(0.5 * sound[None] / np.abs(sound).max(), RATE).logits
        assert logits is not None
        order = np.argsort(-logits)[:5]
        named[name] = [load().class_names[i] for i in order]
    assert "hi-hat" in named["hi-hat"], named
    assert "bass drum" in named["bass drum"], named


def test_shipped_folders_hold_a_card_with_data_and_limits() -> None:
    for name in ("corpus-ssl", "corpus-ssl-witness"):
        card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
        assert card.startswith(f"# {name}\n")
        assert load(witness=name.endswith("witness")).digest in card
        for heading in ("## Training", "## Class head", "## Data", "## Limits", "## Attribution"):
            assert heading in card
        assert "| speech |" not in card
        assert (SHIPPED / name / "model.safetensors").stat().st_size < 5e6


def test_shipped_features_have_not_collapsed() -> None:
    for name in ("corpus-ssl", "corpus-ssl-witness"):
        settings = json.loads((SHIPPED / name / "model.json").read_text(encoding="utf-8"))
        found = settings["training"]["valid"]
        assert found["effective_rank"] > 30
        assert found["feature_std"] > 0.3
        assert found["accuracy"] > 0.3  # guessing evenly would give 0.026


def test_no_torch_comes_with_the_metrics() -> None:
    code = "import sys, weft.metrics, weft.metrics.embedders; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0.01, 1), (1.0, 1), (1.2, 2), (1.48, 2), (5.0, 10), (9.0, 18)]
)
def test_windows_cover_the_clip(seconds: float, windows: int) -> None:
    embedder = _tiny()
    found = embedder.embed(_noise(seconds), RATE)
    assert found.vectors.shape == (windows, 16)
    assert found.vectors.dtype == np.float64
    assert np.isfinite(found.vectors).all()


def test_vectors_are_means_of_windows_and_the_last_ends_with_the_clip() -> None:
    embedder = _tiny()
    frames = embedder.frames(_noise(2.0), RATE)
    vectors = embedder.embed(_noise(2.0), RATE).vectors
    assert len(frames) == 50
    for vector, start in zip(vectors, (0, 12, 24, 25), strict=True):
        np.testing.assert_allclose(vector, frames[start : start + 25].mean(dim=0), atol=1e-6)


def test_logits_are_the_head_over_mean_and_deviation() -> None:
    embedder = _tiny()
    frames = embedder.frames(_noise(3.0), RATE)
    assert embedder.head is not None
    statistics = torch.cat([frames.mean(dim=0), frames.std(dim=0, correction=0)])
    expected = embedder.head.weight @ statistics + embedder.head.bias
    assert torch.equal(statistics, clip_statistics(frames))
    np.testing.assert_allclose(embedder.embed(_noise(3.0), RATE).logits, expected, atol=1e-5)
    without = CorpusSsl(embedder.encoder)
    assert without.embed(_noise(1.0), RATE).logits is None
    assert without.class_names == ()


def test_pieces_of_a_long_clip_are_encoded_on_their_own() -> None:
    embedder = _tiny()
    samples = _noise(8.0)
    whole = embedder.frames(samples, RATE)
    changed = samples.copy()
    changed[:, 5 * RATE :] = 0
    assert torch.equal(embedder.frames(changed, RATE)[:100], whole[:100])
    assert not torch.equal(embedder.frames(changed, RATE)[100:], whole[100:])


def test_samples_of_a_piece_are_those_of_the_clip() -> None:
    """A clip of one piece gives what the network gives for its log-mel frames."""
    embedder = _tiny()
    samples = _noise(2.0)
    mel = embedder._mel(torch.from_numpy(samples).float())[:, :, :200]
    with torch.no_grad():
        expected = embedder.encoder.features(mel)[0]
    assert torch.allclose(embedder.frames(samples, RATE), expected, atol=1e-5)


def test_the_level_is_heard() -> None:
    embedder = _tiny()
    loud, quiet = (embedder.embed(g * _noise(1.0), RATE).vectors for g in (1.0, 0.1))
    assert np.abs(loud - quiet).max() > 0.1


def test_channels_are_averaged_and_rates_resampled() -> None:
    embedder = _tiny()
    stereo = _noise(2.0, 44100, channels=2)
    mono = stereo.mean(axis=0, keepdims=True)
    found = embedder.embed(stereo, 44100).vectors
    assert np.array_equal(found, embedder.embed(mono, 44100).vectors)
    assert np.array_equal(found, embedder.embed(resample(mono, 44100, RATE), RATE).vectors)
    assert embedder.sample_rate == RATE


def test_vectors_do_not_depend_on_the_number_of_threads() -> None:
    embedder = load()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(embedder.embed(_noise(5.0), RATE).vectors)
            assert np.array_equal(found[-1], embedder.embed(_noise(5.0), RATE).vectors)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 0)), np.array([[0.0, np.nan]]), np.full((2, 9), np.inf)]
)
def test_what_is_no_sound_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(AudioFormatError):
        _tiny().embed(bad, RATE)


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    embedder = _tiny()
    written = save_folder(tmp_path, embedder, training={"steps": 3})
    again = load_folder(tmp_path)
    samples = _noise(2.0)
    assert again.digest == written.digest
    assert again.class_names == ("a", "b", "c")
    assert np.array_equal(again.embed(samples, RATE).vectors, written.embed(samples, RATE).vectors)
    np.testing.assert_allclose(
        again.embed(samples, RATE).vectors, embedder.embed(samples, RATE).vectors, atol=5e-3
    )


def test_the_digest_changes_with_weights_and_settings() -> None:
    one = _tiny()
    assert one.digest == _tiny().digest
    assert one.digest != _tiny(seed=1).digest
    window = WindowConfig(num_hop=5)
    assert one.digest != CorpusSsl(one.encoder, head=one.head, window=window).digest
    assert one.digest != CorpusSsl(one.encoder).digest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "vae"),
        ("encoder", {"width": 16}),
        ("window", {"num_hop": 0}),
        ("class_names", [1, 2, 3]),
        ("class_names", ["a", "b"]),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, key: str, value: object) -> None:
    save_folder(tmp_path, _tiny())
    path = tmp_path / "model.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings[key] = value
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError):
        load_folder(tmp_path)


def test_large_sizes_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    save_folder(tmp_path, _tiny())
    path = tmp_path / "model.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["encoder"]["width"] = 10**9
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError, match="width must be in"):
        load_folder(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load_folder(tmp_path / "nowhere")
    save_folder(tmp_path, _tiny())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] + bytes(100))
    with pytest.raises(CheckpointError, match="damaged"):
        load_folder(tmp_path)


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="a row and a bias for each class"):
        Head(weight=torch.zeros(2, 4), bias=torch.zeros(2), class_names=("a",))
    head = Head(weight=torch.zeros(1, 4), bias=torch.zeros(1), class_names=("a",))
    with pytest.raises(ConfigError, match="the head sees 4 numbers"):
        CorpusSsl(_tiny().encoder, head=head)
    with pytest.raises(ConfigError, match="num_hop"):
        WindowConfig(num_hop=30)
    with pytest.raises(ConfigError, match="num_piece"):
        WindowConfig(num_piece=402)
