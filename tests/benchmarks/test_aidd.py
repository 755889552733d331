"""The references of the benchmark give the published numbers, and the benchmark runs."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
SEDD = ROOT / "tests" / "parity" / "sedd"


@pytest.fixture(scope="module")
def plain_dit() -> ModuleType:
    path = ROOT / "benchmarks" / "plain_dit.py"
    spec = importlib.util.spec_from_file_location("plain_dit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    with np.load(SEDD / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted.to(found.dtype), atol=2e-4, rtol=1e-4)


def plain_network(plain_dit: ModuleType) -> torch.nn.Module:
    config = json.loads((SEDD / "config.json").read_text())
    sizes = (config["model"][name] for name in ("hidden_size", "n_blocks", "n_heads", "cond_dim"))
    network = plain_dit.PlainDit(config["tokens"] + 1, *sizes).eval()
    state = load_file(SEDD / "state.safetensors")
    state.pop("rotary_emb.inv_freq")
    network.load_state_dict(state)
    return network


def test_the_plain_network_gives_the_published_scores(
    plain_dit: ModuleType, reference: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        raw = plain_network(plain_dit)(reference["x"], reference["sigma"])
    close(raw, reference["raw_logits"])
    log_score = plain_dit.log_score(raw, reference["x"], reference["sigma"])
    close(log_score, reference["log_score"])


def test_the_plain_steps_are_the_published_ones(
    plain_dit: ModuleType, reference: dict[str, Tensor]
) -> None:
    score, x, t = reference["step_score"], reference["x"], reference["step_t"][:, 0]
    noise = plain_dit.total_noise_at(t)
    change = noise - plain_dit.total_noise_at(t - float(reference["step_dt"]))
    stages = plain_dit.staggered(score, change)
    moves = plain_dit.transposed_transition(x, change, score.shape[-1])
    close(stages, reference["analytic_staggered"])
    close(moves, reference["analytic_transp_transition"])
    close(stages * moves, reference["analytic_probs"])
    last = plain_dit.staggered(score, noise) * plain_dit.transposed_transition(
        x, noise, score.shape[-1]
    )
    close(last[..., :-1], reference["denoise_probs"])


def test_the_plain_sampler_fills_what_is_unknown(
    plain_dit: ModuleType, reference: dict[str, Tensor]
) -> None:
    torch.manual_seed(0)
    tokens = reference["x0"]
    known = torch.rand(tokens.shape) < 0.5
    filled = plain_dit.analytic_sampler(plain_network(plain_dit), tokens, known, 8)
    assert torch.equal(filled[known], tokens[known])
    assert filled.min() >= 0
    assert filled.max() < 63


def test_the_benchmark_runs_and_prints_a_table_of_each_part() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "aidd.py"), "--quick"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\| gap \(s\)", done.stdout, flags=re.MULTILINE)) == 2
    assert re.search(r"^\| 0.3 \| 300 \| 1 \|", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^\| published \| 1025 \| 2 \|", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^\| first-hitting \| 23 \| 23 \|", done.stdout, flags=re.MULTILINE)
    assert "seed 0" in done.stdout
    assert "x86_64" in done.stdout or "arm64" in done.stdout or "aarch64" in done.stdout
