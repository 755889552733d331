"""Layers that several networks share."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weft.errors import ConfigError


def rotate(x: Float[Tensor, "b h l e"], base: float = 10000.0) -> Float[Tensor, "b h l e"]:
    """Turn pairs of features by angles that grow with the frame's position.

    Products of two frames then depend on their distance only, and any length works.

    Args:
        x: queries or keys; ``e`` is even, feature ``i`` is paired with ``i + e / 2``.
        base: slowest angles are ``1 / base`` radians a frame.

    Source: RoFormer, equation 34; halves instead of neighbours are paired.
    """
    half = x.shape[-1] // 2
    rate = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)[:, None] * rate
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)  # l e/2
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


@final
class SelfAttention(nn.Module):
    """Attention of all frames to all frames, with rotary positions."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads or width // num_heads % 2:
            raise ConfigError(
                f"width must be a multiple of num_heads, and a head's width even, got {width=} and "
                f"{num_heads=}"
            )
        self.num_heads = num_heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return what each frame gathers from all frames."""
        b, l, d = x.shape
        queries, keys, values = (
            part.view(b, l, self.num_heads, -1).transpose(1, 2)  # b h l e
            for part in self.inputs(x).chunk(3, dim=-1)
        )
        # Written out, because the fused kernel of CPUs takes three times as long at 100 frames.
        products = rotate(queries) @ rotate(keys).transpose(2, 3)  # b h l l
        weights = (products * (d // self.num_heads) ** -0.5).softmax(dim=-1).to(values.dtype)
        gathered = weights @ values
        merged: Tensor = self.output(gathered.transpose(1, 2).reshape(b, l, d))
        return merged


@final
class TransformerBlock(nn.Module):
    """Attention and a two-layer network, each normalised before and added to its input."""

    def __init__(self, width: int, num_heads: int, *, expansion: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the frames after this block."""
        x = x + self.attention(self.attention_norm(x))
        updated: Tensor = x + self.mlp(self.mlp_norm(x))
        return updated
