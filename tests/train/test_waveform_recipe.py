"""Training models of samples: the loss, the check, and whole runs of both kinds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_waveform import FOLDED, NUM, OCTAVES, RATE
from weft import zoo
from weft.audio.audio import Audio
from weft.audio.levels import level_db
from weft.data.manifest import write_manifest
from weft.errors import ConfigError
from weft.rng import Rng
from weft.sampling.waveform_model import ProcessConfig, read_waveform_model
from weft.train.config import LoopConfig
from weft.train.recipes import cqt, waveform
from weft.train.recipes.waveform import WaveformRecipe
from weft.train.recipes.waveform_check import TIMES, denoising_errors, normalise, spread
from weft.train.recipes.waveform_module import WaveformModule
from weft.train.registry import make_recipe
from weft.train.run import train

SECONDS = 4.5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of tones that come and go."""
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "music"
    folder.mkdir()
    time = np.arange(round(SECONDS * RATE)) / RATE
    rows = []
    for i, split in enumerate(("train", "train", "valid")):
        rng = np.random.default_rng(i)
        tone = np.sin(2 * np.pi * (200 + 90 * i) * time) * (1 + np.sin(4 * time))
        sound = 0.1 * tone + 0.01 * rng.standard_normal(len(time))
        Audio.from_samples(sound[None], RATE).write(folder / f"{i}.wav")
        rows.append({"file": f"{i}.wav", "split": split, "licence": "CC0-1.0", "author": "nobody"})
    write_manifest(folder, rows)
    return root


def _recipe(corpus: Path, kind: str = "waveform") -> WaveformRecipe:
    presets = waveform.PRESETS if kind == "waveform" else cqt.PRESETS
    network = FOLDED if kind == "waveform" else OCTAVES
    config = replace(
        presets["debug"][0], network=network, sample_rate=RATE, corpora={"music": 1.0}, num_gaps=1
    )
    return WaveformRecipe(config, root=corpus)


@pytest.mark.parametrize("kind", ["waveform", "cqt"])
def test_a_run_writes_a_model_that_fills_and_its_card(
    kind: str, corpus: Path, tmp_path: Path
) -> None:
    recipe = _recipe(corpus, kind)
    loop = LoopConfig(steps=3, batch_size=2, learning_rate=1e-3, log_every=1, precision="float32")
    result = train(recipe, loop, tmp_path / "run", cache=tmp_path / "cache", device="cpu")
    assert result.reason == "done"
    wanted = {f"loss_at_{time:g}" for time in TIMES} | {
        "loss",
        "gap_lsd",
        "gap_level_db",
        "lpc_gap_lsd",
        "lpc_gap_level_db",
    }
    assert {*result.figures} == wanted
    assert result.model is not None
    model = read_waveform_model(result.model)
    assert model.config == recipe.config.to_model()
    assert zoo.describe(result.model).name == f"weft-{kind}"
    card = (result.model / "README.md").read_text()
    assert "linear prediction" in card
    assert "CC0-1.0" in card
    facts = json.loads((result.model / "model.json").read_text())["facts"]
    assert facts["steps"] == 3
    assert {*facts["valid_loss"]} == {f"{time:g}" for time in TIMES}


@pytest.fixture(scope="module")
def opened(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> WaveformRecipe:
    recipe = _recipe(corpus)
    cache = tmp_path_factory.mktemp("cache")
    recipe.prepare(cache)
    recipe.open(cache)
    return recipe


def test_examples_have_the_wanted_levels_and_depend_on_their_rng_alone(
    opened: WaveformRecipe,
) -> None:
    found = [opened.example(i, Rng(3, (i,)))["samples"] for i in range(4)]
    again = opened.example(2, Rng(3, (2,)))["samples"]
    assert torch.equal(found[2], again)
    levels = [level_db(sample.double().numpy()) for sample in found]
    assert all(sample.shape == (NUM, 1) for sample in found)
    assert all(-3.01 <= level <= 3.01 for level in levels)
    assert max(levels) - min(levels) > 0.1


def _module() -> WaveformModule:
    torch.manual_seed(0)
    return WaveformModule(FOLDED, ProcessConfig())


def test_the_loss_is_the_mean_squared_error_of_v() -> None:
    module = _module()
    samples, noise = torch.randn(3, NUM, 1), torch.randn(3, NUM, 1)
    t = torch.tensor([0.0, 0.5, 1.0])
    with torch.no_grad():  # the network begins with 0
        found = module.errors(samples, t, noise)
    root = 0.5**0.5
    wanted = torch.stack([noise[0], root * (noise[1] - samples[1]), -samples[2]])
    torch.testing.assert_close(found, wanted.square().mean(dim=(1, 2)))


def test_the_loss_follows_its_generator_and_falls() -> None:
    module = _module()
    time = torch.arange(NUM) / RATE
    batch = {"samples": 1.4 * torch.sin(2 * torch.pi * 300 * time)[None, :, None].repeat(4, 1, 1)}
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        generator = torch.Generator().manual_seed(step)
        loss = module(batch, objective="loss", step=step, generator=generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])  # 0.75 when it was written
    with torch.no_grad():
        one, other = (
            module(batch, objective="loss", step=0, generator=torch.Generator().manual_seed(5))
            for _ in range(2)
        )
    assert torch.equal(one["loss"], other["loss"])


def test_denoising_errors_are_the_same_each_time(opened: WaveformRecipe) -> None:
    module = _module().eval()
    first, second = (denoising_errors(module, opened.crops) for _ in range(2))
    assert tuple(first) == TIMES
    for time in TIMES:
        assert np.array_equal(first[time], second[time])
        assert first[time].mean() == pytest.approx(1.0, abs=0.15)  # of a network that says 0


def test_items_have_one_key_each(opened: WaveformRecipe) -> None:
    items = opened.items(_module().eval())
    assert {*items} == {f"loss_at_{time:g}" for time in TIMES} | {"gap_lsd"}
    for found in items.values():
        assert len({item.key for item in found}) == len(found) > 0


def test_normalising_and_spreading() -> None:
    sound = np.random.default_rng(0).standard_normal((1, 500)).astype(np.float32) * 0.01
    assert level_db(normalise(sound, -3.0).astype(np.float64)) == pytest.approx(-3.0, abs=1e-4)
    assert normalise(sound, 0.0).dtype == np.float32
    assert spread(100, 3) == [16, 50, 83]
    assert spread(0, 3) == []


@pytest.mark.parametrize("recipe", ["waveform", "cqt"])
@pytest.mark.parametrize("preset", ["debug", "small", "base"])
def test_presets_can_be_made_and_serialised(recipe: str, preset: str) -> None:
    found, loop = make_recipe(recipe, preset, {"steps": "7000", "num_gaps": "3"}, ("music",))
    assert loop.steps == 7000
    assert found.name == recipe
    settings = json.loads(json.dumps(found.to_config(), allow_nan=False))
    assert settings["num_gaps"] == 3
    assert settings["corpora"] == {"music": 0.4}


@pytest.mark.parametrize(
    ("recipe", "size"), [(waveform, 2_029_312), (cqt, 2_140_916)], ids=["waveform", "cqt"]
)
def test_small_networks_are_small(recipe: object, size: int) -> None:
    config = recipe.PRESETS["small"][0]  # type: ignore[attr-defined]
    with torch.device("meta"):
        module = WaveformModule(config.network, config.process)
    assert sum(value.numel() for value in module.parameters()) == size


def test_settings_reach_the_parts() -> None:
    found, _ = make_recipe("cqt", "debug", {"attention_width": "16", "edge_samples": "7"}, ())
    settings = found.to_config()
    assert settings["network"]["attention_width"] == 16
    assert settings["filler"]["edge_samples"] == 7
    with pytest.raises(ConfigError, match="network is no single value"):
        make_recipe("cqt", "debug", {"network": "x"}, ())
    with pytest.raises(ConfigError, match="has no setting depth"):
        make_recipe("waveform", "debug", {"depth": "3"}, ())
    with pytest.raises(ConfigError, match="level_db must be two levels"):
        make_recipe("waveform", "debug", {"level_db": "3,-3"}, ())
