"""The transformer over latents, and its attention by distance."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weft.errors import ConfigError, ShapeError
from weft.nn.attention import attend_relative, relative_scores
from weft.nn.dit import PAPER, SMALL, Dit, DitConfig

TINY = DitConfig(
    num_features=6, num_condition=3, width=32, num_layers=2, num_heads=4, max_distance=5
)
KINDS = [
    replace(TINY, positions=positions, modulation=modulation, has_qk_norm=has_qk_norm)
    for positions, modulation, has_qk_norm in (
        ("relative", "shared", False),
        ("relative", "block", True),
        ("rotary", "shared", True),
        ("rotary", "block", False),
    )
]
over_kinds = pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.positions}-{c.modulation}")


def random_network(config: DitConfig, seed: int = 0) -> Dit:
    """A network none of whose parameters is zero."""
    torch.manual_seed(seed)
    network = Dit(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def random_input(b: int = 3, l: int = 17, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(b, l, TINY.num_features, generator=generator)
    condition = torch.randn(b, l, TINY.num_condition, generator=generator)
    return x, torch.rand(b, generator=generator), condition


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@over_kinds
def test_an_untrained_block_returns_its_input_and_the_network_zeros(config: DitConfig) -> None:
    torch.manual_seed(0)
    network = Dit(config)
    x, t, condition = random_input()
    seen: list[Tensor] = []
    network.blocks[0].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    network.blocks[-1].register_forward_hook(lambda _m, _inputs, output: seen.append(output))
    assert not network(x, t, condition=condition).any()
    assert torch.equal(seen[0], seen[1])
    assert seen[0].std() > 0.1


def test_scores_by_distance_are_those_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    for reach in (1, 3, 40):
        table = torch.randn(2 * reach + 1, 4, generator=generator, dtype=torch.float64)
        for num_keys, first, num_queries in ((1, 0, 1), (7, 0, 7), (60, 20, 9), (60, 59, 1)):
            queries = torch.randn(2, 3, num_queries, 4, generator=generator, dtype=torch.float64)
            at = torch.arange(first, first + num_queries)
            distance = (torch.arange(num_keys) - at[:, None]).clamp(-reach, reach)
            expected = torch.einsum("bhie,ije->bhij", queries, table[distance + reach])
            scores = relative_scores(queries, table, num_keys=num_keys, first=first)
            torch.testing.assert_close(scores, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("l", [1, 130, 300])
def test_attention_by_distance_is_that_written_out(l: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 3, l, 4, generator=generator, dtype=torch.float64)
    table = torch.randn(81, 4, generator=generator, dtype=torch.float64)
    attend = torch.rand(2, 1, 1, l, generator=generator) < 0.7
    attend[..., 0] = True
    at = torch.arange(l)
    vectors = table[(at - at[:, None]).clamp(-40, 40) + 40]
    scores = queries @ keys.transpose(2, 3) + torch.einsum("bhie,ije->bhij", queries, vectors)
    for given in (None, attend):
        hidden = scores if given is None else scores.masked_fill(~given, -torch.inf)
        expected = (hidden / 2).softmax(dim=-1) @ values
        found = attend_relative(queries, keys, values, table, given)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_sizes_are_those_that_the_docs_state() -> None:
    with torch.device("meta"):
        assert count(Dit(PAPER)) == 929_073_728
        assert count(Dit(PAPER).blocks) == 32 * (12 * 1536**2 + 15 * 1536 + 257 * 64)
        assert count(Dit(replace(PAPER, modulation="block"))) == 1_367_893_568
        assert count(Dit(SMALL)) == 7_260_544
        assert count(Dit(SMALL).blocks) == 6_170_880


@over_kinds
def test_no_condition_is_a_condition_of_zeros(config: DitConfig) -> None:
    network = random_network(config)
    x, t, condition = random_input()
    with torch.no_grad():
        plain = network(x, t)
        zeros = network(x, t, condition=torch.zeros_like(condition))
        torch.testing.assert_close(plain, zeros, atol=1e-5, rtol=1e-5)
        assert (network(x, t, condition=condition) - plain).abs().max() > 0.1


@over_kinds
def test_padding_changes_no_other_frame_and_comes_back_as_zeros(config: DitConfig) -> None:
    network = random_network(config)
    x, t, condition = random_input()
    valid = torch.ones(3, 17, dtype=torch.bool)
    valid[1, 12:] = False
    valid[2] = False
    with torch.no_grad():
        padded = network(x, t, condition=condition, valid=valid)
        alone = network(x[1:2, :12], t[1:2], condition=condition[1:2, :12])
        whole = network(x, t, condition=condition)
    torch.testing.assert_close(padded[1:2, :12], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(padded[0], whole[0], atol=1e-4, rtol=1e-4)
    assert (whole[1, :12] - alone[0]).abs().max() > 1e-2
    assert not padded[1, 12:].any()
    assert not padded[2].any()


@over_kinds
def test_only_distances_of_frames_count(config: DitConfig) -> None:
    """What stands in the middle of silence gives the same wherever it stands."""
    network = random_network(config)
    x, t, _ = random_input(l=40)
    early, late = torch.zeros(2, 3, 40, TINY.num_features)
    early[:, 14:20], late[:, 17:23] = x[:, :6], x[:, :6]
    valid = torch.zeros(2, 3, 40, dtype=torch.bool)
    valid[0, :, 8:26], valid[1, :, 11:29] = True, True
    with torch.no_grad():
        first = network(early, t, valid=valid[0])[:, 8:26]
        second = network(late, t, valid=valid[1])[:, 11:29]
        swapped = network(early.flip(1), t, valid=valid[0].flip(1)).flip(1)[:, 8:26]
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    assert (first - swapped).abs().max() > 1e-3  # left is not right


def test_time_changes_what_comes_out_and_modulation_is_shared_or_not() -> None:
    x, t, _ = random_input()
    for config in KINDS:
        network = random_network(config)
        with torch.no_grad():
            assert (network(x, t) - network(x, (t + 0.003) % 1)).abs().max() > 1e-3
        per_block = [
            name for name, _ in network.blocks[0].named_parameters() if "modulation" in name
        ]
        assert bool(per_block) == (config.modulation == "block")
        assert (network.modulation is None) == (config.modulation == "block")


def test_gradients_through_frozen_weights_are_those_of_training_ones() -> None:
    """Frozen weights take another kernel on CPUs."""
    network = random_network(replace(TINY, positions="rotary"))
    x, t, condition = random_input()
    found = []
    for is_training in (True, False):
        network.requires_grad_(is_training)
        noisy = x.clone().requires_grad_()
        raw = network(noisy, t, condition=condition)
        raw.square().sum().backward()
        assert noisy.grad is not None
        found.append((raw.detach(), noisy.grad))
    for trained, frozen in zip(*found, strict=True):
        torch.testing.assert_close(trained, frozen, atol=1e-3, rtol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(x, t, condition=condition), found[0][0], rtol=1e-4, atol=1e-4
        )


def test_every_parameter_learns() -> None:
    for config in KINDS:
        network = random_network(config)
        x, t, condition = random_input()
        network(x, t, condition=condition).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@over_kinds
def test_half_precision_inside_gives_float32(config: DitConfig) -> None:
    network = random_network(config)
    x, t, condition = random_input()
    valid = torch.ones(3, 17, dtype=torch.bool)
    with torch.no_grad():
        exact = network(x, t, condition=condition, valid=valid)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = network(x, t, condition=condition, valid=valid)
        cast = network.bfloat16()(x, t, condition=condition, valid=valid)
    for found in (near, cast):
        assert found.dtype == torch.float32
        assert (found - exact).abs().max() < 0.1 * exact.abs().max()


def test_sizes_that_do_not_fit_are_refused() -> None:
    """Asked of what `forward` asks first: with types checked, annotations are in the way."""
    network = Dit(TINY)
    x, t, condition = random_input()
    valid = torch.ones(3, 16, dtype=torch.bool)
    network._check(x, t, condition, None)
    with pytest.raises(ShapeError, match="6 features"):
        network(x[..., :5], t)
    with pytest.raises(ShapeError, match="condition must be of shape"):
        network(x, t, condition=condition[..., :2])
    with pytest.raises(ShapeError, match="one number for each of 3"):
        network._check(x, t[:1], None, None)
    with pytest.raises(ShapeError, match="condition must be of shape"):
        network._check(x, t, condition[:, :1], None)
    with pytest.raises(ShapeError, match="valid must be of shape"):
        network._check(x, t, None, valid)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30}, "num_heads must divide width into even parts, got 4 heads of 30"),
        ({"num_layers": 0}, r"num_layers must be a whole number in \[1, 128\], got 0"),
        ({"num_condition": -1}, r"num_condition .* \[0, 16384\], got -1"),
        ({"max_distance": True}, "max_distance must be a whole number"),
        ({"positions": "none"}, "positions must be one of relative, rotary, got 'none'"),
        ({"modulation": "all"}, "modulation must be one of shared, block, got 'all'"),
        ({"has_qk_norm": 1}, "has_qk_norm must be true or false, got 1"),
    ],
)
def test_configs_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    config = replace(TINY)
    for name, value in changes.items():  # Not by `replace`, where types are checked first.
        object.__setattr__(config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.__post_init__()
