"""Checkpoints in the layouts that others publish, made from the parity fixtures."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from weft import foreign
from weft.errors import CheckpointError

PARITY = Path(__file__).parent / "parity"


def codec_state() -> dict[str, Tensor]:
    """Published names, weight normalisation unfolded, the dead decoder included."""
    return load_file(PARITY / "wavtokenizer" / "state.safetensors")


def network_state() -> dict[str, Tensor]:
    """Published names and the rotary table."""
    return load_file(PARITY / "sedd" / "state.safetensors")


def network_config() -> dict[str, Any]:
    """Settings as the release has them, and the order of its parameters."""
    found: dict[str, Any] = json.loads((PARITY / "sedd" / "config.json").read_text())
    return found


def codec_checkpoint(state: dict[str, Tensor] | None = None) -> dict[str, object]:
    """A checkpoint of Lightning: with discriminators, an optimiser and the state of its loops."""
    critics = {"multiperioddisc.discriminators.0.convs.0.bias": torch.zeros(3)}
    return {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": {**(codec_state() if state is None else state), **critics},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "hyper_parameters": {"sample_rate": 24000, "initial_learning_rate": 2e-4},
    }


def network_checkpoint(
    state: dict[str, Tensor] | None = None, *, raw_shift: float = 0.25
) -> dict[str, object]:
    """A checkpoint of AIDD: averages are a list; the weights beside them differ by a shift."""
    state = network_state() if state is None else state
    order = network_config()["parameter_order"]
    return {
        "optimizer": {"state": {}, "param_groups": []},
        "model": {k: v if k not in order else v + raw_shift for k, v in state.items()},
        "ema": {
            "decay": 0.9999,
            "num_updates": 1000,
            "shadow_params": [state[name] for name in order],
        },
        "step": 1000,
    }


def small_codebook(num_codes: int) -> dict[str, Tensor]:
    """The codec with the first codes alone, so that it has as many as the network has symbols."""
    book = "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
    state = codec_state()
    for name in ("embed", "embed_avg", "cluster_size"):
        state[book + name] = state[book + name][:num_codes].clone()
    return state


def read_here(path: Path, out: Path, request: list[str], timeout_s: float) -> None:
    """Read a pickle in this process, as the process apart does: for tests of what comes after."""
    try:
        foreign._unpickle(path, out, request)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from error
