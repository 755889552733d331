"""One step of the loop, beside the same step written out by hand."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from train.tiny import TinyRecipe, make_config
from weft.errors import ConfigError
from weft.rng import Rng
from weft.train.config import LoopConfig
from weft.train.loop import Loop, _wrap
from weft.train.order import step_seed
from weft.train.prefetch import batches, collate
from weft.train.recipe import Batch, Losses, Objective, Recipe, Tell, silence
from weft.train.state import TrainState
from weft.train.world import World, bfloat16_gains, find_device


class Line(nn.Module):
    """Least squares whose noise comes from the generator, and what it was computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.seen: list[torch.dtype] = []

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        guess = self.inner(batch["x"])
        self.seen.append(guess.dtype)
        noise = torch.randn((), generator=generator)
        return {"loss": (self.norm(guess.float()) - batch["y"] - 0.0 * noise).square().mean()}


class LineRecipe(Recipe):
    name = "line"
    num_examples = 12

    def to_config(self) -> dict[str, Any]:
        return {}

    def prepare(self, cache: Path, tell: Tell = silence) -> None:
        pass

    def open(self, cache: Path) -> None:
        pass

    def example(self, index: int, rng: Rng) -> Batch:
        x = torch.from_numpy(Rng(0).stream(index).standard_normal(3)).float()
        return {"x": x, "y": x[:2] ** 2}

    def build(self) -> nn.Module:
        return Line()

    def validate(self, module: nn.Module) -> dict[str, float]:
        return {}

    def export(self, module: nn.Module, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        pass


def make_loop(folder: Path, recipe: Recipe | None = None, **changes: Any) -> Loop:
    settings: dict[str, Any] = {
        "steps": 40, "batch_size": 6, "learning_rate": 0.03, "weight_decay": 0.2,
        "clip_norm": 1.6, "ema_decay": 0.8, "precision": "float32", "warmup_steps": 4,
    }  # fmt: skip
    if isinstance(recipe, TinyRecipe):
        recipe.prepare(folder)
        recipe.open(folder)
    return Loop(recipe or LineRecipe(), LoopConfig(**{**settings, **changes}), World(), folder)


def run_steps(loop: Loop, num_steps: int) -> Iterator[list[Batch]]:
    """Yield the batches of each step, and do the step when the next is asked for."""
    for parts in batches(loop.order, loop._example, first=0, last=num_steps, num_workers=0):
        yield parts
        loop.step(parts)


def test_steps_are_those_of_adamw_with_clipping_and_averaging_by_hand(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    module: Any = copy.deepcopy(loop.state.module)
    vectors = [module.inner.bias, module.norm.weight, module.norm.bias]
    optimiser = torch.optim.AdamW(
        [
            {"params": [module.inner.weight], "weight_decay": 0.2},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=False,
    )
    averages = [p.detach().clone() for p in module.parameters()]
    clipped = 0
    for step, (batch,) in enumerate(run_steps(loop, 12)):
        for group in optimiser.param_groups:
            group["lr"] = 0.03 * min(1, (step + 1) / 4)
        optimiser.zero_grad()
        ((module.norm(module.inner(batch["x"])) - batch["y"]) ** 2).mean().backward()
        norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
        clipped += bool(norm > 1.6)
        for p in module.parameters():
            p.grad *= min(1.0, 1.6 / float(norm))
        optimiser.step()
        decay = min(0.8, (1 + step) / (10 + step))
        averages = [
            decay * a + (1 - decay) * p.detach()
            for a, p in zip(averages, module.parameters(), strict=True)
        ]
    assert 0 < clipped < 12  # both sides of the limit were seen
    for ours, wanted in zip(loop.state.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    averaged = loop.state.averaged_module()
    for ours, mean in zip(averaged.parameters(), averages, strict=True):
        torch.testing.assert_close(ours, mean, rtol=1e-4, atol=1e-5)


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = make_loop(tmp_path), make_loop(tmp_path, accumulation=3)
    for loop in (whole, parts):
        for _ in run_steps(loop, 8):
            pass
    for one, other in zip(
        whole.state.module.parameters(), parts.state.module.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_each_objective_moves_its_own_parameters_only(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, TinyRecipe(is_adversarial=True), batch_size=9)
    module: Any = loop.state.module
    parts = next(run_steps(loop, 1))
    loop._generator.manual_seed(0)
    for objective, others in zip(loop.state.objectives, (module.critic, module.net), strict=True):
        before = copy.deepcopy(others.state_dict())
        own_before = [p.detach().clone() for p in objective.parameters]
        loop._descend(objective, parts)
        moved = dict(others.named_parameters())
        assert all(torch.equal(before[name], moved[name]) for name in moved), objective.name
        assert all(p.grad is None for p in module.parameters())
        pairs = zip(own_before, objective.parameters, strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)
    assert all(p.requires_grad for p in [*module.net.parameters(), *module.critic.parameters()])
    assert not any(p.requires_grad for p in module.teacher.parameters())


def test_figures_of_several_objectives_carry_their_names(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, TinyRecipe(is_adversarial=True), batch_size=9)
    for _ in run_steps(loop, 2):
        pass
    means = loop.state.counters.take_means()
    assert {"net/loss", "net/gradient_norm", "critic/loss", "critic/gradient_norm"} <= {*means}
    assert loop.state.counters.take_means() == {}


def test_a_bad_step_changes_neither_weights_nor_averages_nor_teacher(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, TinyRecipe(bad_steps=(2,)), batch_size=9)
    before: dict[str, torch.Tensor] = {}
    for step, _ in enumerate(run_steps(loop, 4)):
        now = {k: v.clone() for k, v in loop.state.tensors().items() if "running" not in k}
        same = [k for k, v in now.items() if k in before and torch.equal(v, before[k])]
        if step == 3:  # the step before was the bad one
            assert {*now} - {*same} == {"module.net.1.num_batches_tracked"}
        elif step > 0:
            assert "module.net.0.weight" not in same
            assert "module.teacher.weight" not in same
        before = now
    assert (loop.state.counters.num_bad, loop.state.counters.num_bad_in_row) == (1, 0)


def test_bfloat16_computes_in_16_bits_and_keeps_weights_in_32(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, precision="bfloat16")
    for _ in run_steps(loop, 2):
        pass
    module: Any = loop.state.module
    assert set(module.seen) == {torch.bfloat16}
    assert {v.dtype for v in loop.state.tensors().values()} == {torch.float32}


def test_the_first_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = make_loop(tmp_path).state.tensors()
    torch.manual_seed(2)
    same = make_loop(tmp_path).state.tensors()
    other = make_loop(tmp_path, seed=5).state.tensors()
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["module.inner.weight"], other["module.inner.weight"])


def test_noise_differs_by_step_and_process() -> None:
    seeds = {step_seed(0, step, rank) for step in range(20) for rank in range(4)}
    assert len(seeds) == 80
    assert step_seed(0, 3, 1) == step_seed(0, 3, 1) != step_seed(1, 3, 1)


def test_gradients_keep_their_groups_so_that_sums_keep_their_order(tmp_path: Path) -> None:
    # By itself DDP regroups after its first step. With three processes a resumed run then ends
    # with other bits; to see that takes three processes, so here it is asked what it did.
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        loop = make_loop(tmp_path)
        wrapped = _wrap(loop.state.module, loop.world)
        loop._module = wrapped
        for _ in run_steps(loop, 4):
            pass
        facts: Any = wrapped._get_ddp_logging_data()
        assert facts["iteration"] >= 3
        assert not facts["has_rebuilt_buckets"]
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ((), "need names"),
        (("a", "a"), "each another one"),
        (("empty",), "'empty' has no parameters"),
        (("strange",), "'strange' has a parameter that is not in the module"),
    ],
)
def test_objectives_that_cannot_be_trained_are_refused(
    objectives: tuple[str, ...], words: str
) -> None:
    module = nn.Linear(2, 2)
    parameters = {"empty": [], "strange": [nn.Parameter(torch.zeros(2))]}
    found = [Objective(name=n, parameters=parameters.get(n, [module.weight])) for n in objectives]
    with pytest.raises(ConfigError, match=words):
        TrainState(module, found, make_config())


def test_unknown_and_missing_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be auto, cpu or cuda, got 'tpu'"):
        find_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds none"):
            find_device("cuda")
        assert find_device("auto").type == "cpu"
    assert bfloat16_gains(torch.device("cpu")) in (True, False)


def test_examples_that_do_not_stack_are_refused_by_name() -> None:
    with pytest.raises(Exception, match=r"x torch.float32 \(3,\), one x torch.float32 \(4,\)"):
        collate([{"x": torch.zeros(3)}, {"x": torch.zeros(4)}])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_an_example_reaches_the_loop(tmp_path: Path, num_workers: int) -> None:
    loop = make_loop(tmp_path)

    def fail(ticket: object) -> Batch:
        raise ConfigError("broken example")

    source = batches(loop.order, fail, first=0, last=3, num_workers=num_workers)
    with pytest.raises(ConfigError, match="broken example"):
        next(source)
