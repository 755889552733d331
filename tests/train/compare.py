"""Saying how two runs differ, down to the last bit."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def differences(one: Path, other: Path) -> list[str]:
    """Return what the last checkpoints, logs and models of two runs do not have in common."""
    first, second = (sorted((run / "checkpoints").glob("step-*"))[-1] for run in (one, other))
    found = [] if first.name == second.name else [f"{first.name} and {second.name}"]
    found += _tensors(_load(first), _load(second))
    found += _tensors(_load(one / "model"), _load(other / "model"), "model ")
    states = [json.loads((folder / "state.json").read_text()) for folder in (first, second)]
    for state in states:
        state["counters"].pop("seconds")
    found += [f"{part} of the state" for part in ("counters", "facts") if _differ(*states, part)]
    if _lines(one) != _lines(other):
        found.append("log")
    return found


def _load(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def _tensors(
    one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], what: str = ""
) -> list[str]:
    assert one
    missing = sorted({*one} ^ {*other})
    return [
        what + name
        for name in one
        if name in missing
        or one[name].dtype != other[name].dtype
        or not torch.equal(one[name], other[name])
    ] + missing


def _differ(one: Any, other: Any, part: str) -> bool:
    return bool(one[part] != other[part])


def _lines(run: Path) -> list[dict[str, Any]]:
    """Return the log without times; draws and ids of every step are part of its means."""
    lines = [json.loads(text) for text in (run / "log.jsonl").read_text().splitlines()]
    assert lines
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
