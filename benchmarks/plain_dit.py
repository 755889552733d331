"""Plain versions of the published network and its sampler, the references of `aidd.py`.

Written line by line after descriptions of the published code, without any saving: every step of
the block on its own, the output of all positions, one forward a step whether anything changed or
not. Numbers agree with those of the published code (tests/benchmarks/test_aidd.py). Not part of
the package; dropout is left out, as nothing here trains.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainNorm(nn.Module):
    """Layer normalisation without offset."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x.float(), x.shape[-1:]) * self.weight


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift


def rotate_half(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


class PlainBlock(nn.Module):
    """Attention and a two-layer network, modulated and gated by the condition."""

    def __init__(self, width: int, num_heads: int, cond_dim: int, expansion: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = PlainNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = PlainNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(expansion * width, width),
        )
        self.adaLN_modulation = nn.Linear(cond_dim, 6 * width)

    def forward(self, x: Tensor, condition: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        b, l, d = x.shape
        parts = self.adaLN_modulation(condition)[:, None].chunk(6, dim=2)
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = parts
        skip = x
        x = modulate(self.norm1(x), shift_msa, scale_msa)
        q, k, v = self.attn_qkv(x).view(b, l, 3, self.num_heads, -1).unbind(2)  # b l h e
        q = q * cosine + rotate_half(q) * sine
        k = k * cosine + rotate_half(k) * sine
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        x = functional.scaled_dot_product_attention(q, k, v)
        x = self.attn_out(x.transpose(1, 2).reshape(b, l, d))
        x = gate_msa * x + skip
        return gate_mlp * self.mlp(modulate(self.norm2(x), shift_mlp, scale_mlp)) + x


class PlainOutput(nn.Module):
    """The last normalisation and a number for every symbol."""

    def __init__(self, width: int, num_states: int, cond_dim: int) -> None:
        super().__init__()
        self.norm_final = PlainNorm(width)
        self.linear = nn.Linear(width, num_states)
        self.adaLN_modulation = nn.Linear(cond_dim, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, dim=2)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class PlainDit(nn.Module):
    """The published network; names of the parameters are the published ones."""

    def __init__(
        self, num_states: int, width: int, num_layers: int, num_heads: int, cond_dim: int
    ) -> None:
        super().__init__()
        self.vocab_embed = nn.ParameterDict({"embedding": torch.zeros(num_states, width)})
        self.sigma_map = nn.ModuleDict(
            {
                "mlp": nn.Sequential(
                    nn.Linear(256, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim)
                )
            }
        )
        self.blocks = nn.ModuleList(
            PlainBlock(width, num_heads, cond_dim) for _ in range(num_layers)
        )
        self.output_layer = PlainOutput(width, num_states, cond_dim)

    def forward(self, tokens: Tensor, total_noise: Tensor) -> Tensor:
        """Return the raw output, ``b l v``."""
        x = self.vocab_embed["embedding"][tokens]
        rates = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angles = total_noise[:, None].float() * rates
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        condition = functional.silu(self.sigma_map["mlp"](waves))
        cosine, sine = self.tables(tokens.shape[1])
        for block in self.blocks:
            x = block(x, condition, cosine, sine)
        return self.output_layer(x, condition)

    def tables(self, num_frames: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines ``l 1 e`` of rotary positions."""
        first = self.blocks[0]
        width = first.attn_out.weight.shape[0] // first.num_heads
        rates = 1 / 10000 ** (torch.arange(0, width, 2) / width)
        angles = torch.arange(num_frames)[:, None] * rates
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        return angles.cos(), angles.sin()


def log_score(raw: Tensor, tokens: Tensor, total_noise: Tensor) -> Tensor:
    """Return the raw output less what scales it by the noise; 0 at the own symbol."""
    small = torch.where(total_noise < 0.5, torch.expm1(total_noise), total_noise.exp() - 1)
    raw = raw - small.log()[:, None, None] - math.log(raw.shape[-1] - 1)
    return torch.scatter(raw, -1, tokens[..., None], torch.zeros_like(raw[..., :1]))


def staggered(score: Tensor, change: Tensor) -> Tensor:
    """Return the score after the noise fell by ``change``."""
    extra = (1 - change.exp())[:, None] * score.sum(dim=-1)
    score = score * change.exp()[:, None, None]
    score[..., -1] += extra
    return score


def transposed_transition(tokens: Tensor, change: Tensor, num_states: int) -> Tensor:
    """Return how likely each symbol becomes that of ``tokens`` when the noise rises."""
    stays = (-change).exp()[:, None, None]
    moved = torch.where((tokens == num_states - 1)[..., None], 1 - stays, 0.0)
    return stays * functional.one_hot(tokens, num_states) + moved


def draw(weights: Tensor) -> Tensor:
    exponential = 1e-10 - (torch.rand_like(weights) + 1e-10).log()
    return (weights / exponential).argmax(dim=-1)


def total_noise_at(t: Tensor) -> Tensor:
    return -torch.log1p(-(1 - 1e-3) * t)


@torch.no_grad()
def analytic_sampler(
    network: PlainDit, tokens: Tensor, known: Tensor, num_steps: int, *, num_run: int | None = None
) -> Tensor:
    """Return tokens whose unknown ones are drawn by the published sampler.

    Args:
        network: gives the raw output.
        tokens: ``b l``; those that are not known are ignored.
        known: ``b l``, True where a token is kept.
        num_steps: steps from t = 1 to 1e-5; the last forward, which removes what noise is left,
            comes on top.
        num_run: stop after so many steps, to time them; None runs all, and the last forward.
    """
    num_states = network.output_layer.linear.weight.shape[0]
    x = torch.full_like(tokens, num_states - 1)
    times = torch.linspace(1, 1e-5, num_steps + 1)
    step = (1 - 1e-5) / num_steps
    for i in range(num_steps if num_run is None else num_run):
        x = torch.where(known, tokens, x)
        t = times[i].expand(len(x))
        noise = total_noise_at(t)
        change = noise - total_noise_at(t - step)
        score = log_score(network(x, noise), x, noise).exp()
        x = draw(staggered(score, change) * transposed_transition(x, change, num_states))
    if num_run is None:
        x = torch.where(known, tokens, x)
        noise = total_noise_at(times[-1].expand(len(x)))
        score = log_score(network(x, noise), x, noise).exp()
        weights = staggered(score, noise) * transposed_transition(x, noise, num_states)
        x = draw(weights[..., :-1])
    return torch.where(known, tokens, x)
