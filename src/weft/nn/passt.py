"""PaSST: a transformer on patches of a log-mel spectrogram, trained to tag AudioSet."""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PATCH = 16
"""Side of a patch, in spectra and in mel bands."""
STRIDE = 10
"""Distance of patches, in spectra and in mel bands."""
NUM_MELS = 128
"""Mel bands of the front end."""
NUM_FRAMES = 998
"""Spectra that the positions along time are made for: ten seconds."""


@final
class PatchEmbed(nn.Module):
    """Overlapping patches as vectors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, kernel_size=PATCH, stride=STRIDE)

    def forward(self, x: Float[Tensor, "b 1 m l"]) -> Float[Tensor, "b d f t"]:
        patches: Tensor = self.proj(x)
        return patches


@final
class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        b, l, d = x.shape
        query, key, value = (
            self.qkv(x).reshape(b, l, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        )  # each b h l d/h
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, l, d))
        return out


@final
class Mlp(nn.Module):
    """Two dense layers, position by position."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


@final
class Block(nn.Module):
    """One layer of the transformer, normalised first."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@final
class PaSST(nn.Module):
    """Patch transformer with a class token and a distillation token; nothing is dropped.

    Names of tensors are those of the authors' checkpoints. Patchout, which drops patches, is for
    training only and is not here.

    Source: Koutini et al., "Efficient training of audio transformers with patchout" (2022),
    kkoutini/PaSST and hear21passt.
    """

    def __init__(
        self, *, dim: int = 768, depth: int = 12, num_heads: int = 12, num_classes: int = 527
    ) -> None:
        """Make the network, with weights that are not trained.

        Args:
            dim: length of a vector; the published network has 768.
            depth: layers; published 12.
            num_heads: published 12; divides ``dim``.
            num_classes: published 527.
        """
        super().__init__()
        rows, columns = NUM_MELS // STRIDE, NUM_FRAMES // STRIDE
        self.patch_embed = PatchEmbed(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, dim))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, dim, rows, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, dim, 1, columns))
        self.blocks = nn.Sequential(*[Block(dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))
        # Unused when tagging, yet part of the published checkpoint.
        self.head_dist = nn.Linear(dim, num_classes)

    def forward(
        self, log_mel: Float[Tensor, "b 1 m l"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return vectors and logits of 16 to 1005 spectra of 128 bands.

        The vector is the mean of the two tokens; fewer spectra than ten seconds use the first
        positions along time.
        """
        x = self.patch_embed(log_mel)
        x = x + self.time_new_pos_embed[..., : x.shape[-1]] + self.freq_new_pos_embed
        x = x.flatten(2).transpose(1, 2)  # b l d
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        x = torch.cat([tokens.expand(len(x), -1, -1), x], dim=1)
        vectors = self.norm(self.blocks(x))[:, :2].mean(dim=1)
        return vectors, self.head(vectors)
