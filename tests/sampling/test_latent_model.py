import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_latents import VAE, make_dit, make_vae
from weft import zoo
from weft.audio.audio import Audio
from weft.codecs.vae import write_vae
from weft.errors import CheckpointError, ConfigError
from weft.process.gaussian import FlowSchedule, GaussianProcess, TableSchedule
from weft.sampling.latent_filler import LatentFiller
from weft.sampling.latent_model import LatentModelConfig, read_latent_model, write_latent_model
from weft.sampling.latent_settings import LatentFillerConfig, LatentSampling
from weft.sampling.model_facts import describe_folder, verify_folder
from weft.sampling.steps_gaussian import GaussianSamplerConfig

NETWORK = make_dit(8, spread=0.1)
MODEL = LatentModelConfig(
    codec=VAE,
    network=NETWORK.config,
    process=GaussianProcess(schedule=FlowSchedule(), prediction="flow"),
    sampling=LatentSampling(sampler=GaussianSamplerConfig(kind="euler", steps=3)),
    guided=LatentSampling(sampler=GaussianSamplerConfig(steps=4)),
    free=LatentSampling(sampler=GaussianSamplerConfig(steps=6), gains=((0.5, 1.1), (0.875, 1.25))),
    filler=LatentFillerConfig(detail_range=(0.2, 0.7), guard=3, num_candidates=1, piece_ms=1200.0),
    name="tiny",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_latent_model(tmp_path, config=MODEL, codec=make_vae(), network=NETWORK)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``model.json``."""
    path = folder / "model.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_a_model_comes_back_as_it_was_written(folder: Path) -> None:
    model = read_latent_model(folder)
    assert model.config == MODEL
    for module, written in ((model.codec, make_vae()), (model.network, NETWORK)):
        for name, value in written.state_dict().items():
            wanted = value.half().float() if value.is_floating_point() else value
            assert torch.equal(module.state_dict()[name], wanted), name
        assert not module.training
        assert not any(value.requires_grad for value in module.parameters())
    filler = model.to_filler()
    assert filler.name == "tiny"
    assert filler.config == MODEL.filler
    assert filler.sampling == MODEL.sampling
    assert filler.process == MODEL.process
    guided = model.to_filler(config=replace(MODEL.filler, mode="guided"), name="other")
    assert guided.sampling == guided.free == MODEL.guided
    assert filler.free == MODEL.free
    assert filler.pulled == MODEL.guided
    assert guided.name == "other"


def test_no_matrix_is_drawn_that_is_to_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Tensor.uniform_

    def refuse(values: torch.Tensor, *bounds: float, **named: Any) -> torch.Tensor:
        assert values.ndim < 2, "a matrix was drawn"
        return draw(values, *bounds, **named)

    monkeypatch.setattr(torch.Tensor, "uniform_", refuse)
    model = read_latent_model(folder)
    assert all(bool(value.isfinite().all()) for value in model.network.parameters())


def test_a_table_of_noise_comes_back(tmp_path: Path) -> None:
    process = GaussianProcess(schedule=TableSchedule(num_steps=77, betas="cosine"))
    config = replace(MODEL, process=process)
    assert LatentModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_folder_is_a_model_like_any_other_and_has_a_guided_variant(
    folder: Path, chord: Audio
) -> None:
    model = zoo.load(folder)
    assert model.name == "tiny"
    guided = zoo.load(f"{folder}:guided")
    assert guided.name == guided.filler.name == "tiny:guided"
    assert isinstance(guided.filler, LatentFiller)
    assert isinstance(model.filler, LatentFiller)
    assert guided.filler.network is model.filler.network
    assert guided.filler.config.mode == "guided"
    assert (model.filler.piece_ms, guided.filler.piece_ms) == (1200.0, 2000.0)
    assert zoo.load(f"{folder}:guided").filler is guided.filler
    assert zoo.digest_of(f"{folder}:guided") == zoo.digest_of(folder)
    assert "guided by gradients" in zoo.describe(Path(f"{folder}:guided")).summary
    with pytest.raises(CheckpointError, match="no model and no folder is called 'lpc:guided'"):
        zoo.load("lpc:guided")


def test_only_latent_models_have_a_guided_variant(folder: Path) -> None:
    edit(folder, lambda found: found.update(kind="tokens"))
    with pytest.raises(CheckpointError, match="':guided' is for 'latent'"):
        zoo.describe(f"{folder}:guided")


def test_facts_need_no_weights_and_checks_run_all_parts(folder: Path, tmp_path: Path) -> None:
    facts = describe_folder(folder)
    model = read_latent_model(folder)
    filler = model.to_filler()
    assert facts.num_parameters == filler.num_parameters
    assert facts.sample_rate == 8000
    assert facts.frame_rate == 100
    assert "1 blocks of 16" in facts.sizes["network"]
    checks = verify_folder(folder)
    assert checks[-1] == "a gap of 50 ms in noise: filled, finite sound"
    codec = tmp_path / "codec"
    codec.mkdir()
    write_vae(codec, make_vae())
    assert describe_folder(codec).num_parameters == sum(p.numel() for p in make_vae().parameters())
    assert len(verify_folder(codec)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(kind="tokens"), "its kind is 'tokens'"),
        (lambda m: m["codec"].update(kind="dac"), "codec is of kind 'dac'; known are: vae"),
        (lambda m: m["codec"]["spectral"].update(num_channels=2), "must take one channel"),
        (lambda m: m.pop("network"), "network must be an object"),
        (lambda m: m["network"].update(width="wide"), "network.width must be a whole number"),
        (lambda m: m["network"].update(num_features=9), "not made for each other"),
        (lambda m: m["network"].update(num_condition=3), "num_condition must be one of"),
        (lambda m: m["network"].update(num_condition=0), "can only be guided"),
        (lambda m: m["network"].update(has_qk_norm=1), "has_qk_norm must be true or false"),
        (lambda m: m["network"].update(import_path="os"), "unknown setting 'import_path'"),
        (lambda m: m["process"].update(variance="learned-range"), "two outputs a feature"),
        (lambda m: m["process"].update(prediction="noise"), "noise"),
        (lambda m: m["process"].update(prediction=3), "must be texts"),
        (lambda m: m["process"].update(beta=3), "unknown setting 'beta'"),
        (lambda m: m["process"]["schedule"].update(kind="sine"), "its schedule is 'sine'"),
        (lambda m: m["process"].update(schedule={"kind": "table", "num_steps": 10**9}), "num_step"),
        (lambda m: m["sampling"]["sampler"].update(kind="guess"), "guess"),
        (lambda m: m["guided"]["guidance"].update(consistency="some"), "some"),
        (lambda m: m["free"].update(gains=[[0.5, "much"]]), "free.gains must be a number"),
        (lambda m: m["free"].update(gains=[[0.5]]), "gains"),
        (lambda m: m["free"].update(gains=[0.5]), "free.gains must be"),
        (lambda m: m["filler"].update(guard=99), "guard"),
        (lambda m: m["filler"].update(detail_range=[0.7, 0.2]), "detail_range"),
        (lambda m: m["card"].update(name="../x"), "name must be"),
        (lambda m: m.pop("card"), "card must be an object"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message):
        read_latent_model(folder)


def test_a_model_of_other_sizes_than_its_settings_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="network was built from other settings"):
        write_latent_model(
            tmp_path, config=MODEL, codec=make_vae(), network=make_dit(8, is_told=False)
        )
    assert not list(tmp_path.iterdir())


def test_a_model_that_would_fill_the_memory_is_refused_before_it_does(folder: Path) -> None:
    edit(
        folder,
        lambda found: found["network"].update(width=8192, num_layers=128, num_heads=2),
    )
    with pytest.raises(
        CheckpointError, match=r"describes more than [\d,]+ weights, its files hold fewer"
    ):
        read_latent_model(folder)
