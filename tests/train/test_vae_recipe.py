"""Training a VAE: losses, levels, the frozen encoder, the gate, and a whole run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.codecs.vae import read_vae
from weft.data.manifest import write_manifest
from weft.errors import ConfigError
from weft.train.config import LoopConfig
from weft.train.recipes.codec_check import Distances
from weft.train.recipes.vae import PRESETS, VaeRecipe, make
from weft.train.recipes.vae_check import gate_by_corpus, round_trip
from weft.train.recipes.vae_module import VaeModule
from weft.train.run import train

RATE = 44100


def _sound(seed: int, seconds: float = 4.5) -> np.ndarray:
    """Chords of decaying partials, one every half second, the second channel softer and later."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.001 * rng.standard_normal(len(time))
    for start in np.arange(0, seconds, 0.5):
        for hz in 110 * 2 ** (rng.integers(0, 36, 3) / 12):
            after = np.maximum(time - start, 0)
            sound += 0.1 * (time >= start) * np.exp(-6 * after) * np.sin(2 * np.pi * hz * after)
    return np.stack([sound, 0.5 * np.roll(sound, 40)])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "music"
    folder.mkdir()
    rows = []
    for i, split in enumerate(("train", "train", "valid")):
        Audio.from_samples(_sound(i), RATE).write(folder / f"{i}.wav")
        rows.append({"file": f"{i}.wav", "split": split, "licence": "CC0-1.0", "author": "nobody"})
    write_manifest(folder, rows)
    return root


@pytest.fixture(scope="module")
def opened(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> VaeRecipe:
    recipe = VaeRecipe(replace(PRESETS["debug"][0], corpora={"music": 1.0}), root=corpus)
    cache = tmp_path_factory.mktemp("cache")
    recipe.prepare(cache)
    recipe.open(cache)
    return recipe


def _module(**changes: object) -> VaeModule:
    torch.manual_seed(0)
    config = PRESETS["debug"][0]
    return VaeModule(config.codec, replace(config.objective, **changes)).train()  # type: ignore[arg-type]


def _batch() -> dict[str, Tensor]:
    sound = np.stack([_sound(i, 0.5)[:1, :8192] for i in range(3)])
    return {"samples": torch.from_numpy(sound).float()}


def _losses(module: VaeModule, *, step: int = 0, objective: str = "generator") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return dict(module(_batch(), objective=objective, step=step, generator=generator))


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    module = _module(
        stft_weight=2.0, l1_weight=3.0, l2_weight=5.0, kl_weight=0.25, adversarial_from=-1
    )
    found = _losses(module)
    expected = 2 * found["stft"] + 3 * found["l1"] + 5 * found["l2"] + 0.25 * found["kl"]
    assert torch.allclose(found["loss"], expected)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    module = _module(adversarial_from=-1)
    mean, log_variance = module.vae.posterior(_batch()["samples"])
    ours = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    exact = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(_losses(module)["kl"], exact.sum(dim=2).mean(), rtol=1e-4)


def test_soft_sound_counts_as_much_as_loud() -> None:
    module = _module(adversarial_from=-1)
    sound = _batch()["samples"]
    for gain in (1.0, 0.4):
        found = module._distances(gain * 0.9 * sound, gain * sound)
        level = float((sound.abs().mean(2) / sound.square().mean(2).sqrt()).mean())
        assert float(found["l1"]) == pytest.approx(0.1 * level, rel=0.01)
        assert float(found["l2"]) == pytest.approx(0.01, rel=0.01)


def test_the_encoder_is_frozen_when_discriminators_are_heard() -> None:
    module = _module(adversarial_from=20)
    _losses(module, step=19)["loss"].backward()
    own = [p.grad for p in module.vae.encoder.parameters() if p.grad is not None]
    assert any(float(grad.abs().max()) > 0 for grad in own)
    assert "adversarial" not in _losses(module, step=19)
    module.zero_grad()
    before = module.vae.latent_mean.clone()
    later = _losses(module, step=20)
    later["loss"].backward()
    assert "adversarial" in later
    assert all(float(p.grad.abs().max()) == 0 for p in module.vae.encoder.parameters())  # type: ignore[union-attr]
    assert any(float(p.grad.abs().max()) > 0 for p in module.vae.decoder.parameters())  # type: ignore[union-attr]
    assert torch.equal(module.vae.latent_mean, before)


def test_discriminators_move_no_codec() -> None:
    module = _module(adversarial_from=0)
    _losses(module, objective="discriminator")["loss"].backward()
    assert all(parameter.grad is None for parameter in module.vae.parameters())


def test_crops_have_levels_that_fillers_give(opened: VaeRecipe) -> None:
    from weft.rng import Rng

    low, high = opened.config.level_range_db
    levels = []
    for i in range(40):
        example = opened.example(i % opened.num_examples, Rng(i))["samples"]
        assert example.shape == (1, round(0.5 * RATE))
        levels.append(level_db(example.numpy().astype(np.float64)))
    assert low - 0.1 <= min(levels)
    assert max(levels) <= high + 0.1
    assert max(levels) - min(levels) > 10


def test_some_crops_are_the_difference_of_the_channels(opened: VaeRecipe) -> None:
    recipe = VaeRecipe(replace(opened.config, side_share=1.0, level_range_db=(-20.0, -20.0)))
    sound = _sound(0, 0.5)
    signal = recipe._one_signal(sound, np.random.default_rng(0))
    side = sound[:1] - sound[1:]
    assert np.corrcoef(signal[0], side[0])[0, 1] == pytest.approx(1.0)
    alike = recipe._one_signal(np.stack([sound[0], sound[0]]), np.random.default_rng(0))
    assert np.corrcoef(alike[0], sound[0])[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("snr_db", "lsd", "expected"), [(12.5, 1.1, True), (11.0, 1.1, False), (12.5, 1.3, False)]
)
def test_the_gate_asks_each_corpus_for_waves_and_spectra(
    opened: VaeRecipe, snr_db: float, lsd: float, expected: bool
) -> None:
    (place,) = opened.places
    places = [place, replace(place, corpus="other")]
    found = Distances(lsd=np.array([lsd, 0.5]), snr_db=np.array([snr_db, 20.0]))
    assert gate_by_corpus(found, places) == {"music": expected, "other": True}


def test_the_round_trip_is_of_the_gap(opened: VaeRecipe) -> None:
    vae = _module().vae.eval()
    (place,) = opened.places
    changed = place.samples.copy()
    changed[:, :2000] = 0
    found = round_trip(vae, [place, replace(place, samples=changed)])
    assert found.lsd[0] == pytest.approx(found.lsd[1], rel=0.05)


def test_a_whole_run_writes_a_codec_and_its_card(corpus: Path, tmp_path: Path) -> None:
    config = replace(PRESETS["debug"][0], corpora={"music": 1.0}, crop_s=0.2)
    loop = LoopConfig(
        steps=24, batch_size=2, learning_rate=1e-3, ema_decay=0.9, precision="float32", log_every=4
    )
    recipe = VaeRecipe(config, root=corpus)
    result = train(recipe, loop, tmp_path / "run", cache=tmp_path / "cache")
    assert {"gap_lsd", "gap_snr_db", "lpc_gap_lsd"} == {*result.figures}
    vae = read_vae(tmp_path / "run" / "model")
    assert vae.hop_length == 512
    assert not torch.equal(vae.latent_variance, torch.ones(16))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for words in ("86.13 vectors", "linear prediction", "CC0", "nobody", "NOT passed"):
        assert words in card


def test_settings_can_be_told() -> None:
    recipe, _ = make("small", {"kl_weight": "0.001", "crop_s": "2"}, ["music"])
    assert recipe.config.objective.kl_weight == 0.001
    assert recipe.config.crop_s == 2
    with pytest.raises(ConfigError, match="codec is no single value"):
        make("small", {"codec": "x"}, [])
    assert PRESETS["base"][0].codec.front == "strided"
