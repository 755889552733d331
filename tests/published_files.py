"""Checkpoints in the layouts that others publish, made from the parity fixtures."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

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
