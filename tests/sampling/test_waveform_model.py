"""Models of samples as folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiny_waveform import FOLDED, OCTAVES, RATE, make_network, make_window
from weft import zoo
from weft.errors import CheckpointError, ConfigError
from weft.process.gaussian import CosineSchedule, FlowSchedule
from weft.rng import Rng
from weft.sampling.guidance import GuidanceConfig
from weft.sampling.model_facts import describe_folder, verify_folder
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.sampling.waveform_model import (
    ProcessConfig,
    WaveformModelConfig,
    read_waveform_model,
    write_waveform_model,
)
from weft.sampling.waveform_settings import WaveformFillerConfig


def _config(network: Any) -> WaveformModelConfig:
    return WaveformModelConfig(
        network=network,
        sample_rate=RATE,
        sampler=GaussianSamplerConfig(kind="heun", steps=2, first_time=0.999),
        guidance=GuidanceConfig(step_size=1.0, normalisation="dps", consistency="x0"),
        filler=WaveformFillerConfig(edge_samples=20),
        name="tiny",
        sources=("somebody 2023",),
    )


@pytest.mark.parametrize("network", [FOLDED, OCTAVES], ids=["waveform", "cqt"])
def test_a_model_comes_back_as_it_was_written(network: Any, tmp_path: Path) -> None:
    config, trained = _config(network), make_network(network)
    write_waveform_model(tmp_path, config=config, network=trained, dtype=None, facts={"steps": 3})
    found = read_waveform_model(tmp_path)
    assert found.config == config
    for name, value in trained.state_dict().items():
        assert torch.equal(value, found.network.state_dict()[name]), name
    filler = found.to_filler()
    assert (filler.sampler, filler.guidance, filler.config) == (
        config.sampler,
        config.guidance,
        config.filler,
    )
    window = make_window()
    ours = zoo.load(tmp_path).filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    theirs = filler.fill([window], num_takes=1, rng=Rng(0))[0][0]
    assert np.array_equal(ours.samples, theirs.samples)
    assert zoo.describe(tmp_path).sources == ("somebody 2023",)


def test_the_process_of_a_model_is_built() -> None:
    assert isinstance(ProcessConfig().build().schedule, CosineSchedule)
    other = ProcessConfig(schedule="flow", prediction="flow").build()
    assert isinstance(other.schedule, FlowSchedule)
    assert other.prediction == "flow"


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        (None, "sample_rate", 12.5, "sample_rate must be a whole number"),
        (None, "sample_rate", 1, "sample_rate must be in"),
        ("network", "width", 10**9, "width must be in"),
        ("network", "width", "wide", "network.width must be a whole number"),
        ("network", "depth", 3, "unknown setting 'depth'"),
        ("sampler", "steps", 0, "steps must be in"),
        ("card", "name", "a/b", "name must be at most"),
        (None, "network", [], "network must be an object"),
    ],
)
def test_damaged_settings_are_refused(
    part: str | None, key: str, value: Any, message: str, tmp_path: Path
) -> None:
    write_waveform_model(tmp_path, config=_config(FOLDED), network=make_network())
    path = tmp_path / "model.json"
    settings = json.loads(path.read_text())
    (settings if part is None else settings[part])[key] = value
    path.write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=message):
        read_waveform_model(tmp_path)


def test_a_network_of_other_settings_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="built from other settings"):
        write_waveform_model(tmp_path, config=_config(OCTAVES), network=make_network(FOLDED))


@pytest.mark.parametrize("network", [FOLDED, OCTAVES], ids=["waveform", "cqt"])
def test_facts_need_no_weights_and_a_check_fills_a_gap(network: Any, tmp_path: Path) -> None:
    trained = make_network(network)
    write_waveform_model(tmp_path, config=_config(network), network=trained)
    facts = describe_folder(tmp_path)
    assert facts.num_parameters == sum(p.numel() for p in trained.parameters())
    assert facts.sample_rate == RATE
    assert verify_folder(tmp_path)[-1] == "a gap of 50 ms in noise: filled, finite sound"
