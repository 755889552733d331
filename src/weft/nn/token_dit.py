"""The transformer that sees tokens, some of them hidden, and scores every symbol."""

import math
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from weft.errors import ConfigError, ShapeError

_NUM_WAVES: Final = 256
_BASE: Final = 10000.0
_PUBLISHED_TABLE: Final = "rotary_emb.inv_freq"


@final
@dataclass(frozen=True, kw_only=True)
class TokenDitConfig:
    """Size of the network; defaults are those of AIDD ("small") with the whole codebook."""

    codebook_size: int = 4096
    """Real symbols, in [1, 65536]; the absorbing state is one more."""
    width: int = 768
    """Features of a token, in [2, 4096]; ``num_heads`` parts of an even number of features."""
    num_layers: int = 12
    """Transformer blocks, in [1, 64]."""
    num_heads: int = 12
    """Attention heads, in [1, 128]."""
    cond_dim: int = 128
    """Features of the conditioning vector, in [1, 4096]."""
    expansion: int = 4
    """Width of a block's inner layer over ``width``, in [1, 16]."""
    dropout: float = 0.1
    """Probability with which training drops a feature or an attention weight, in [0, 1)."""
    is_time_conditioned: bool = True
    """Whether it is told the total noise; if not, it takes every input for total noise 0."""
    num_frames: int = 300
    """Length of the sequences it is trained at, in [1, 65536]; it takes others as well."""

    def __post_init__(self) -> None:
        bounds = {
            "codebook_size": (1, 65536),
            "width": (2, 4096),
            "num_layers": (1, 64),
            "num_heads": (1, 128),
            "cond_dim": (1, 4096),
            "expansion": (1, 16),
            "num_frames": (1, 65536),
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
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")


@final
class TokenDit(nn.Module):
    """Transformer over tokens, modulated by the total noise.

    Names, shapes and order of the parameters are those of the published code, so that published
    weights fit. Its table of rotary rates, `rotary_emb.inv_freq`, is not a parameter; where it
    stands in a state that is loaded it must hold the rates that are used here, and is dropped.

    Source: AIDD (seed 000), "small", after SEDD (Lou et al. 2024), DDiT. Without
    ``is_time_conditioned`` the conditioning vector is a learned constant, that of total noise 0,
    as in MDLM (Sahoo et al. 2024).
    """

    def __init__(self, config: TokenDitConfig) -> None:
        super().__init__()
        self.config = config
        num_states = config.codebook_size + 1
        self.vocab_embed = _Table(num_states, config.width)
        self.sigma_map = _NoiseMap(config.cond_dim)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.output_layer = _OutputLayer(config.width, num_states, config.cond_dim)
        self.register_load_state_dict_pre_hook(_drop_table)

    @property
    def num_frames(self) -> int:
        """Length it was trained at; a longer sequence is taken, but nothing is promised for it."""
        return self.config.num_frames

    def forward(
        self,
        tokens: Int[Tensor, "b l"],
        total_noise: Float[Tensor, "b"],
        *,
        valid: Bool[Tensor, "b l"] | None = None,
        rows: Int[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b r v"]:
        """Return the raw output, which `weft.heads.categorical` turns into probabilities.

        Args:
            tokens: symbols in [0, k]; k is the absorbing state.
            total_noise: >= 0, one an item.
            valid: frames that are not padding; only these are attended to. None means all.
            rows: frames whose output is wanted, in [0, l), in any order. Nothing is spent on the
                others in the last block and the output layer.

        Returns:
            One row for each of ``rows``, of each frame if None; ``v`` is ``k + 1``. Rows of
            padding mean nothing.

        Raises:
            ShapeError: sizes of the arguments do not fit together.
        """
        _check(tokens, total_noise, valid, rows)
        if not self.config.is_time_conditioned:
            total_noise = torch.zeros_like(total_noise)
        condition = functional.silu(self.sigma_map(total_noise))
        x = self.vocab_embed(tokens)
        head_width = self.config.width // self.config.num_heads
        cosine, sine = rotary_tables(tokens.shape[1], head_width, tokens.device)
        turn = cosine, _signed(sine)
        attend = None
        if valid is not None:  # An item that is all padding attends to itself: no NaN comes out.
            attend = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None]  # b 1 1 l
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            x = block(x, condition, turn, attend, rows if i == last else None)
        raw: Tensor = self.output_layer(x, condition)
        return raw


def published_order(config: TokenDitConfig) -> list[str]:
    """Return the names of the parameters in the order in which published averages list them.

    A published checkpoint keeps the moving average of its weights as a list without names.
    """
    with torch.device("meta"):
        return [name for name, _ in TokenDit(config).named_parameters()]


def rotary_tables(
    num_frames: int, head_width: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "l e"], Float[Tensor, "l e"]]:
    """Return cosines and sines of the angles by which positions turn pairs of features.

    Not kept between calls: at 300 frames they cost 0.01 % of the network.

    Args:
        num_frames: positions, >= 1.
        head_width: features of a head, even; feature ``i`` is paired with ``i + e / 2``.
        device: where they are made.

    Source: RoFormer, equation 34; halves instead of neighbours are paired.
    """
    rates = _rotary_rates(head_width, device)
    angles = torch.arange(num_frames, device=device, dtype=torch.float32)[:, None] * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def _rotary_rates(head_width: int, device: torch.device | str) -> Tensor:
    exponents = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    return 1.0 / _BASE**exponents


def _turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs of features; ``sine`` is negative for the first of a pair (`_signed`).

    One array is made, not five: at batch 16 that takes 0.4 of the time.
    """
    turned = x.roll(x.shape[-1] // 2, dims=-1).mul_(sine.to(x.dtype))
    return turned.addcmul_(x, cosine.to(x.dtype))


def _signed(sine: Tensor) -> Tensor:
    first, second = sine.chunk(2, dim=-1)
    return torch.cat([-first, second], dim=-1)


def _take(x: Tensor, rows: Tensor) -> Tensor:
    """Return the frames ``rows`` of ``b l d`` as ``b m d``."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))


@final
class _Table(nn.Module):
    """One vector a symbol, the absorbing state's last."""

    def __init__(self, num_states: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_states, width))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        return functional.embedding(tokens, self.embedding)


@final
class _NoiseMap(nn.Module):
    """Waves of the total noise, then two linear layers."""

    def __init__(self, cond_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_NUM_WAVES, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim)
        )

    def forward(self, total_noise: Float[Tensor, "b"]) -> Float[Tensor, "b e"]:
        waves = noise_waves(total_noise).to(next(self.mlp.parameters()).dtype)
        mapped: Tensor = self.mlp(waves)
        return mapped


def noise_waves(total_noise: Float[Tensor, "b"]) -> Float[Tensor, "b 256"]:
    """Return cosines, then sines, of the total noise at 128 rates from 1 down to 1 / 10000.

    The total noise is not scaled, unlike the steps of other diffusion models.
    """
    half = _NUM_WAVES // 2
    exponents = torch.arange(half, device=total_noise.device, dtype=torch.float32) / half
    angles = total_noise.float()[:, None] * torch.exp(-math.log(_BASE) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


@final
class _ModulatedNorm(nn.Module):
    """Layer normalisation without offset, then the condition's scale and offset."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(
        self, x: Float[Tensor, "b l d"], shift: Float[Tensor, "b d"], scale: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b l d"]:
        normal = functional.layer_norm(x, self.weight.shape, self.weight)
        return torch.addcmul(shift[:, None], normal, 1 + scale[:, None])


@final
class _Block(nn.Module):
    """Attention of all frames to all frames, and a two-layer network; the condition gates both."""

    def __init__(self, config: TokenDitConfig) -> None:
        super().__init__()
        width, inner = config.width, config.expansion * config.width
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.norm1 = _ModulatedNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = _ModulatedNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width)
        )
        self.adaLN_modulation = _zero(nn.Linear(config.cond_dim, 6 * width))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        condition: Float[Tensor, "b e"],
        turn: tuple[Tensor, Tensor],
        attend: Bool[Tensor, "b 1 1 l"] | None,
        rows: Int[Tensor, "b m"] | None,
    ) -> Float[Tensor, "b r d"]:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, 1)
        normal = self.norm1(x, shift1, scale1)
        gathered = self.attn_out(self._attend(normal, turn, attend, rows))
        skip = x if rows is None else _take(x, rows)
        x = torch.addcmul(skip, gate1[:, None], self._drop(gathered))
        updated = self.mlp(self.norm2(x, shift2, scale2))
        return torch.addcmul(x, gate2[:, None], self._drop(updated))

    def _attend(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        rows: Tensor | None,
    ) -> Tensor:
        """Return what the frames, or ``rows`` of them, gather from all frames."""
        b, l, d = x.shape
        heads = (self.num_heads, d // self.num_heads)
        cosine, sine = (table[:, None] for table in turn)  # l 1 e
        if rows is None:
            inputs = self.attn_qkv(x).view(b, l, 3, *heads)
            turned = _turn(inputs[:, :, :2], cosine[:, None], sine[:, None])
            queries, keys, values = turned[:, :, 0], turned[:, :, 1], inputs[:, :, 2]
        else:
            weight = self.attn_qkv.weight
            queries = functional.linear(_take(x, rows), weight[:d]).view(b, -1, *heads)
            queries = _turn(queries, cosine[rows], sine[rows])
            inputs = functional.linear(x, weight[d:]).view(b, l, 2, *heads)
            keys, values = _turn(inputs[:, :, 0], cosine, sine), inputs[:, :, 1]
        # The fused kernel of CPUs takes 0.8 of the written-out time at 300 frames, 0.4 at 1500.
        gathered = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),  # b h l e
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=attend,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return gathered.transpose(1, 2).reshape(b, -1, d)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


@final
class _OutputLayer(nn.Module):
    """A score for every symbol, all zero before training."""

    def __init__(self, width: int, num_states: int, cond_dim: int) -> None:
        super().__init__()
        self.norm_final = _ModulatedNorm(width)
        self.linear = _zero(nn.Linear(width, num_states))
        self.adaLN_modulation = _zero(nn.Linear(cond_dim, 2 * width))

    def forward(
        self, x: Float[Tensor, "b l d"], condition: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b l v"]:
        shift, scale = self.adaLN_modulation(condition).chunk(2, 1)
        raw: Tensor = self.linear(self.norm_final(x, shift, scale))
        return raw


def _zero(linear: nn.Linear) -> nn.Linear:
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear


def _drop_table(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Take the published table of rotary rates out of a state, if it holds the rates of here."""
    table = state.pop(prefix + _PUBLISHED_TABLE, None)
    if table is None or not isinstance(module, TokenDit):
        return
    width = module.config.width // module.config.num_heads
    rates = _rotary_rates(width, table.device)
    if table.shape != rates.shape or not torch.allclose(table.float(), rates, rtol=1e-3, atol=0):
        errors: list[str] = rest[-1]
        errors.append(
            f"{prefix}{_PUBLISHED_TABLE} does not hold the rotary rates of heads of {width} "
            f"features and base {_BASE:g}; these weights are of another network."
        )


def _check(tokens: Tensor, total_noise: Tensor, valid: Tensor | None, rows: Tensor | None) -> None:
    """Refuse sizes that broadcasting would hide."""
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ShapeError(f"tokens must be items by frames, one each at least, got {tokens.shape}")
    if total_noise.shape != tokens.shape[:1]:
        raise ShapeError(
            f"total_noise must hold one number for each of {tokens.shape[0]} items, got "
            f"{tuple(total_noise.shape)}"
        )
    if valid is not None and valid.shape != tokens.shape:
        raise ShapeError(
            f"valid must be of the tokens' shape {tuple(tokens.shape)}, got {tuple(valid.shape)}"
        )
    if rows is not None and (rows.ndim != 2 or rows.shape[0] != tokens.shape[0]):
        raise ShapeError(
            f"rows must be lists of frames, one for each of {tokens.shape[0]} items, got "
            f"{tuple(rows.shape)}"
        )
