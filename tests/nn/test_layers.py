"""Layers that several networks share."""

import pytest
import torch

from weft.errors import ConfigError
from weft.nn.layers import SelfAttention, TransformerBlock, rotate


def test_rotated_products_depend_on_the_distance_of_frames_only() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 16)
    queries, keys = rotate(query.expand(1, 1, 40, 16)), rotate(key.expand(1, 1, 40, 16))
    products = (queries @ keys.transpose(2, 3))[0, 0]
    for distance in (1, 7):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4)
    assert not torch.allclose(products.diagonal(1)[0], products.diagonal(7)[0], atol=1e-2)


def test_rotation_keeps_lengths_and_leaves_the_first_frame() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8)
    turned = rotate(x)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_attention_is_that_of_torch_where_positions_are_equal() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, 2)
    x = torch.randn(1, 1, 16)  # one frame: its position turns query and key alike
    values = attention.inputs(x).chunk(3, dim=-1)[2]
    assert torch.allclose(attention(x), attention.output(values), atol=1e-6)


def test_attention_matches_the_fused_kernel() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, 2)
    x = torch.randn(3, 11, 16)
    queries, keys, values = (
        part.view(3, 11, 2, 8).transpose(1, 2) for part in attention.inputs(x).chunk(3, dim=-1)
    )
    fused = torch.nn.functional.scaled_dot_product_attention(rotate(queries), rotate(keys), values)
    expected = attention.output(fused.transpose(1, 2).reshape(3, 11, 16))
    assert torch.allclose(attention(x), expected, atol=1e-5)


def test_a_block_adds_to_its_input() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(16, 2)
    for parameter in (*block.attention.output.parameters(), *block.mlp[2].parameters()):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 5, 16)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("width", "heads"), [(15, 2), (6, 2)])
def test_widths_that_heads_cannot_share_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ConfigError, match=f"width={width}"):
        SelfAttention(width, heads)
