"""ConvNeXt over frames."""

import pytest
import torch

from weft.errors import ConfigError
from weft.nn.convnext import ConvNextBlock, ConvNextStack


def test_a_frame_reaches_as_far_as_it_says() -> None:
    torch.manual_seed(0)
    stack = ConvNextStack(3, 2, width=8, hidden_width=16, num_layers=2).double()
    x = torch.randn(1, 40, 3, dtype=torch.float64)
    other = x.clone()
    other[0, 20] += 1
    changed = (stack(x) != stack(other)).any(dim=2)[0].nonzero()[:, 0].tolist()
    assert changed == list(range(20 - stack.reach_frames, 21 + stack.reach_frames))
    assert stack.reach_frames == 6


def test_a_block_without_scale_returns_its_input() -> None:
    block = ConvNextBlock(8, 16, layer_scale=1.0)
    torch.nn.init.zeros_(block.scale)
    x = torch.randn(2, 5, 8)
    assert torch.equal(block(x), x)


def test_a_frame_does_not_depend_on_other_items() -> None:
    torch.manual_seed(0)
    stack = ConvNextStack(3, 2, width=8, hidden_width=16, num_layers=1)
    x = torch.randn(3, 9, 3)
    torch.testing.assert_close(stack(x)[1:2], stack(x[1:2]))


@pytest.mark.parametrize("name", ["num_inputs", "num_outputs", "width", "hidden_width"])
def test_sizes_are_checked_before_memory_is_taken(name: str) -> None:
    sizes = {"num_inputs": 2, "num_outputs": 2, "width": 8, "hidden_width": 8, "num_layers": 1}
    with pytest.raises(ConfigError, match=name):
        ConvNextStack(
            **{**sizes, name: 1 << 40}  # type: ignore[arg-type]
        )
