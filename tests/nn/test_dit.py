"""The transformer over latents, and its attention by distance."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

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
