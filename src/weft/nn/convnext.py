"""ConvNeXt over frames: a depthwise convolution and a two-layer network, added to their input."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError

KERNEL = 7
"""Frames that a depthwise convolution spans."""


@final
class ConvNextBlock(nn.Module):
    """One block. It reaches 3 frames to each side and keeps the width.

    Source: Liu et al. 2022, A ConvNet for the 2020s, with one axis in place of two. Differs: GELU's
        tanh form, which is a third faster on CPUs; nothing is dropped.
    """

    def __init__(self, width: int, hidden_width: int, *, layer_scale: float = 0.1) -> None:
        """Make the block.

        Args:
            width: features of a frame, >= 1.
            hidden_width: inside the two-layer network, >= 1.
            layer_scale: what the block's change is multiplied by at first, > 0.
        """
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.inner = nn.Linear(width, hidden_width)
        self.outer = nn.Linear(hidden_width, width)
        self.scale = nn.Parameter(layer_scale * torch.ones(width))

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the updated frames; the sum is taken in the precision of ``x``."""
        mixed = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # b l d
        hidden = nn.functional.gelu(self.inner(self.norm(mixed)), approximate="tanh")
        updated: Tensor = x + self.scale * self.outer(hidden)
        return updated


@final
class ConvNextStack(nn.Module):
    """Blocks one after the other, between two linear layers that change the width.

    Nothing is normalised on the way from end to end, so a sound's level passes.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, width: int, hidden_width: int, num_layers: int
    ) -> None:
        """Make the blocks.

        Raises:
            ConfigError: a size is out of range.
        """
        super().__init__()
        for name, value, largest in (
            ("num_inputs", num_inputs, 1 << 18),
            ("num_outputs", num_outputs, 1 << 18),
            ("width", width, 8192),
            ("hidden_width", hidden_width, 1 << 16),
            ("num_layers", num_layers, 64),
        ):
            if not 1 <= value <= largest:
                raise ConfigError(f"{name} must be in [1, {largest}], got {value}")
        self.embed = nn.Linear(num_inputs, width)
        self.blocks = nn.ModuleList(
            ConvNextBlock(width, hidden_width, layer_scale=1 / num_layers)
            for _ in range(num_layers)
        )
        self.out = nn.Linear(width, num_outputs)

    @property
    def reach_frames(self) -> int:
        """Frames on each side of a frame that change what comes out there."""
        return len(self.blocks) * (KERNEL // 2)

    def forward(self, x: Float[Tensor, "b l i"]) -> Float[Tensor, "b l o"]:
        """Return frames of ``num_outputs`` features."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        frames: Tensor = self.out(x)
        return frames
