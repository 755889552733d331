"""The transformer that sees noisy latents and says what they were made of."""

from dataclasses import dataclass
from typing import Final, Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from weft.errors import ConfigError, ShapeError
from weft.nn.attention import attend_relative
from weft.nn.layers import rotate
from weft.nn.token_dit import noise_waves

_NUM_WAVES: Final = 256
_TIME_SCALE: Final = 1000.0
"""Waves turn once in t = 2 pi / 1000 at the fastest, as for networks that are told a step."""


@final
@dataclass(frozen=True, kw_only=True)
class DitConfig:
    """Size and form of the network."""

    num_features: int = 64
    """Features of a frame, in and out, in [1, 4096]."""
    num_condition: int = 0
    """Features of a frame's condition, in [0, 16384]."""
    width: int = 1536
    """Features of a frame inside, in [2, 8192]; ``num_heads`` parts."""
    num_layers: int = 32
    """Transformer blocks, in [1, 128]."""
    num_heads: int = 24
    """Attention heads, in [1, 128]; the paper does not state theirs."""
    expansion: int = 4
    """Width of a block's inner layer over ``width``, in [1, 16]."""
    positions: Literal["relative", "rotary"] = "relative"
    """How attention knows of distances: a learned vector each, or turned pairs of features."""
    max_distance: int = 128
    """Longest distance with a vector of its own, in frames, in [1, 8192]; not for "rotary"."""
    modulation: Literal["shared", "block"] = "shared"
    """Whether blocks share what time makes of scales, offsets and gates, or each makes its own."""
    has_qk_norm: bool = False
    """Whether queries and keys are scaled to a length that is learned."""

    def __post_init__(self) -> None:
        bounds = {
            "num_features": (1, 4096),
            "num_condition": (0, 16384),
            "width": (2, 8192),
            "num_layers": (1, 128),
            "num_heads": (1, 128),
            "expansion": (1, 16),
            "max_distance": (1, 8192),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(
                    f"{name} must be a whole number in [{low}, {high}], got {value!r}"
                )
        if self.width % (2 * self.num_heads):
            raise ConfigError(
                f"num_heads must divide width into even parts, got {self.num_heads} heads of "
                f"{self.width} features"
            )
        choices = {"positions": ("relative", "rotary"), "modulation": ("shared", "block")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.has_qk_norm, bool):
            raise ConfigError(f"has_qk_norm must be true or false, got {self.has_qk_norm!r}")


PAPER: Final = DitConfig()
"""The paper's: 32 blocks of 1536 features, 64 features a frame, no condition."""

SMALL: Final = DitConfig(
    num_condition=130, width=320, num_layers=6, num_heads=5, expansion=3, positions="rotary"
)
"""Runs on a laptop; the condition is known latents, draft, and a number each that says how far
they count."""


@final
class Dit(nn.Module):
    """Transformer over latents, modulated by time.

    Before training every block returns its input, and the network zeros.

    Source: the paper's latent model (seed 001, appendix B.1): DiT (Peebles and Xie 2023) with
    the relative positions of Shaw et al. 2018; modulation "block" is the adaLN-Zero of DiT,
    "shared" the adaLN-single of PixArt-alpha (Chen et al. 2023), section 2.3, which alone comes
    near the paper's count. Differs: an offset of a block starts at zero, not at random.
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        self.input = nn.Linear(config.num_features + config.num_condition, config.width)
        self.time = nn.Sequential(
            nn.Linear(_NUM_WAVES, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
        )
        is_shared = config.modulation == "shared"
        self.modulation = _zero(nn.Linear(config.width, 6 * config.width)) if is_shared else None
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.output_modulation = _zero(nn.Linear(config.width, 2 * config.width))
        self.output = _zero(nn.Linear(config.width, config.num_features))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        t: Float[Tensor, "b"],
        *,
        condition: Float[Tensor, "b l e"] | None = None,
        valid: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Return the raw output, which a process turns into an estimate of clean latents.

        Args:
            x: noisy latents of unit variance, of any length from 1.
            t: time in [0, 1], one an item; 1 is noise.
            condition: what is known of each frame; None is the same as zeros.
            valid: frames that are not padding; only these are attended to. None means all.

        Returns:
            As many numbers as ``x`` has, in float32 at least; zeros at padding.

        Raises:
            ShapeError: sizes of the arguments do not fit together.
        """
        self._check(x, t, condition, valid)
        dtype = self.output.weight.dtype
        waves = noise_waves(_TIME_SCALE * t).to(dtype)
        time = self.time(waves)
        shared = None if self.modulation is None else self.modulation(time)
        hidden = self._enter(x.to(dtype), None if condition is None else condition.to(dtype))
        attend = None
        if valid is not None:  # An item that is all padding attends to itself: no NaN comes out.
            attend = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None]  # b 1 1 l
        for block in self.blocks:
            hidden = block(hidden, time if shared is None else shared, attend)
        shift, scale = self.output_modulation(time).chunk(2, dim=1)
        raw: Tensor = self.output(_modulated_norm(hidden, shift, scale))
        raw = raw.to(torch.promote_types(x.dtype, torch.float32))
        return raw if valid is None else raw.masked_fill(~valid[..., None], 0.0)

    def _enter(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is not None:
            whole: Tensor = self.input(torch.cat([x, condition], dim=-1))
            return whole
        weight = self.input.weight[:, : self.config.num_features]
        return functional.linear(x, weight, self.input.bias)

    def _check(self, x: Tensor, t: Tensor, condition: Tensor | None, valid: Tensor | None) -> None:
        """Refuse sizes that broadcasting would hide."""
        if x.ndim != 3 or 0 in x.shape or x.shape[2] != self.config.num_features:
            raise ShapeError(
                f"x must be items by frames by {self.config.num_features} features, one each at "
                f"least, got {tuple(x.shape)}"
            )
        if t.shape != x.shape[:1]:
            raise ShapeError(
                f"t must hold one number for each of {x.shape[0]} items, got {tuple(t.shape)}"
            )
        wanted = (*x.shape[:2], self.config.num_condition)
        if condition is not None and tuple(condition.shape) != wanted:
            raise ShapeError(f"condition must be of shape {wanted}, got {tuple(condition.shape)}")
        if valid is not None and valid.shape != x.shape[:2]:
            raise ShapeError(
                f"valid must be of shape {tuple(x.shape[:2])}, got {tuple(valid.shape)}"
            )


@final
class _Block(nn.Module):
    """Attention of all frames to all frames, and a two-layer network; time gates both."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width, inner = config.width, config.expansion * config.width
        head_width = width // config.num_heads
        self.num_heads = config.num_heads
        is_shared = config.modulation == "shared"
        self.offset = nn.Parameter(torch.zeros(6 * width)) if is_shared else None
        self.modulation = None if is_shared else _zero(nn.Linear(width, 6 * width))
        self.attention_input = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.query_scale = nn.Parameter(torch.ones(head_width)) if config.has_qk_norm else None
        self.key_scale = nn.Parameter(torch.ones(head_width)) if config.has_qk_norm else None
        is_relative = config.positions == "relative"
        self.distances = (
            nn.Parameter(torch.randn(2 * config.max_distance + 1, head_width) * head_width**-0.5)
            if is_relative
            else None
        )
        # On CPUs this takes a third of the time of the form with a hyperbolic tangent.
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        time: Float[Tensor, "b e"],
        attend: Bool[Tensor, "b 1 1 l"] | None,
    ) -> Float[Tensor, "b l d"]:
        """Return the frames after this block; ``time`` is what all blocks share, if they do."""
        parts = time if self.modulation is None else self.modulation(time)
        if self.offset is not None:
            parts = parts + self.offset
        shift1, scale1, gate1, shift2, scale2, gate2 = parts.chunk(6, dim=1)
        gathered = self._attend(_modulated_norm(x, shift1, scale1), attend)
        x = torch.addcmul(x, gate1[:, None], gathered)
        updated = self._update(_modulated_norm(x, shift2, scale2))
        return torch.addcmul(x, gate2[:, None], updated)

    def _update(self, x: Tensor) -> Tensor:
        updated: Tensor
        if _is_faster_packed(x, self.mlp):
            updated = self.mlp(x.to_mkldnn()).to_dense()
        else:
            updated = self.mlp(x)
        return updated

    def _attend(self, x: Tensor, attend: Tensor | None) -> Tensor:
        b, l, d = x.shape
        queries, keys, values = (
            part.transpose(1, 2)  # b h l e
            for part in self.attention_input(x).view(b, l, 3, self.num_heads, -1).unbind(2)
        )
        if self.query_scale is not None and self.key_scale is not None:
            queries, keys = _scaled(queries, self.query_scale), _scaled(keys, self.key_scale)
        if self.distances is not None:
            gathered = attend_relative(queries, keys, values, self.distances, attend)
        else:
            gathered = functional.scaled_dot_product_attention(
                rotate(queries), rotate(keys), values, attn_mask=attend
            )
        merged: Tensor = self.attention_output(gathered.transpose(1, 2).reshape(b, l, d))
        return merged


def _modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer normalisation, then the scale and offset ``b d`` that time gives."""
    normal = functional.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift[:, None], normal, 1 + scale[:, None])


def _is_faster_packed(x: Tensor, mlp: nn.Module) -> bool:
    """Whether oneDNN is to run the two-layer network: float32 on a CPU, with frozen weights.

    It takes 0.85 of the time of the other kernel there, 0.8 with the way back. Its tensors are
    opaque to compilers; and what trains does so by the plain kernels.
    """
    weight = next(mlp.parameters())
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (weight.requires_grad and torch.is_grad_enabled())
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Return vectors of the length that ``scale`` gives, under autocast of the type of ``x``."""
    return functional.rms_norm(x, scale.shape, scale.to(x.dtype))


def _zero(linear: nn.Linear) -> nn.Linear:
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear
