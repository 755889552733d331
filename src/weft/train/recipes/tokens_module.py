"""What training on tokens optimises: a network that says which tokens were masked."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, final, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.heads.categorical import CategoricalHead
from weft.losses.derivative import Order, aidd_derivative_loss, derivative_loss
from weft.losses.masked import masked_cross_entropy
from weft.losses.score_entropy import dwdse
from weft.nn.token_dit import TokenDit, TokenDitConfig
from weft.process.masked import Corrupted, MaskedProcess
from weft.process.spans import SpanConfig
from weft.train.recipe import Batch, Losses

ObjectiveKind: TypeAlias = Literal["subs", "dwdse"]
TimeKind: TypeAlias = Literal["stratified", "uniform"]
DerivativeKind: TypeAlias = Literal["corrected", "aidd"]


@final
@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What the network is asked for."""

    objective: ObjectiveKind = "subs"
    """subs: cross-entropy at masked tokens, weighted by 1 / t; the network puts out logits.
    dwdse: denoising score entropy, as published; the network puts out log-scores. Both have the
    same optimum; the first is normalised by construction and has less variance."""
    times: TimeKind = "stratified"
    """stratified: each item of a batch of b draws t from its own b-th of the range. uniform:
    independently, as published."""
    min_time: float = 1e-3
    """Smallest t that is drawn, in [1e-5, 0.5]; the published one."""
    derivative_weight: float = 0.0
    """Weight of the derivative regularisation, >= 0, against a loss summed over the window. The
    published 200 to 800 come to 67 to 267 here, where the table has unit spread (corrected)."""
    derivative_orders: tuple[int, ...] = (1,)
    """Which differences of neighbours' embeddings: 1, 2, or both."""
    derivative_kind: DerivativeKind = "corrected"
    """corrected: expected embedding over the real symbols of the codec's frozen codebook, the true
    one at visible tokens. aidd: as released, in the network's own table; dwdse only."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, kinds in (
            ("objective", ObjectiveKind),
            ("times", TimeKind),
            ("derivative_kind", DerivativeKind),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}"
                )
        if not 1e-5 <= self.min_time <= 0.5:
            raise ConfigError(f"min_time must be in [1e-5, 0.5], got {self.min_time}")
        if not self.derivative_weight >= 0:
            raise ConfigError(f"derivative_weight must be >= 0, got {self.derivative_weight}")
        if tuple(self.derivative_orders) not in ((1,), (2,), (1, 2)):
            raise ConfigError(
                f"derivative_orders must be 1, 2 or 1,2, got {self.derivative_orders}"
            )
        is_released = self.derivative_kind == "aidd" and self.derivative_weight > 0
        if is_released and (self.objective != "dwdse" or tuple(self.derivative_orders) != (1,)):
            raise ConfigError(
                "derivative_kind aidd is made of log-scores and of first differences: set "
                "objective=dwdse and derivative_orders=1, or derivative_kind=corrected"
            )


@final
class TokensModule(nn.Module):
    """The network and its losses.

    Losses are means over the valid tokens of the batch, in nats: published code sums them over the
    window. For AdamW that is the same but for the clipping of gradients, and a mean can be compared
    between lengths.
    """

    def __init__(
        self,
        network: TokenDitConfig,
        objective: ObjectiveConfig,
        spans: SpanConfig,
        table: Float[Tensor, "k d"],
    ) -> None:
        """Build the network.

        Args:
            network: its sizes; ``codebook_size`` is k.
            objective: what it is asked for.
            spans: which tokens are masked together.
            table: what the codec's tokens stand for; it stays as it is.
        """
        super().__init__()
        self.config = objective
        self.network = TokenDit(network)
        self.process = MaskedProcess(codebook_size=network.codebook_size, spans=spans)
        self.head = CategoricalHead(
            codebook_size=network.codebook_size,
            prediction="logits" if objective.objective == "subs" else "log_score",
        )
        self.table: Tensor
        self.register_buffer("table", table.detach().clone(), persistent=False)

    def forward(
        self, batch: Batch, *, objective: str, step: int, generator: torch.Generator
    ) -> Losses:
        """Return the losses of a step; the batch holds ``tokens`` and ``valid``, each ``b l``."""
        tokens, valid = batch["tokens"], batch["valid"]
        t = draw_times(len(tokens), self.config, generator).to(tokens.device)
        state = self.process.corrupt(tokens, t, generator=generator, valid=valid)
        num_valid = valid.sum().clamp_min(1)
        if self.config.objective == "subs" and not self.config.derivative_weight:
            return self._of_masked(tokens, valid, state)
        raw = self.network(state.tokens, state.total_noise, valid=valid)
        log_probs = self.head.log_probs(raw, state.total_noise)
        if self.config.objective == "subs":
            total = masked_cross_entropy(log_probs, tokens, state.masked, state.t)
        else:
            log_score = self.head.log_score(raw, state.tokens, state.total_noise)
            total = dwdse(log_score, state.tokens, tokens, state.total_noise, state.noise_rate)
        losses = {"loss": total.sum() / num_valid, **_figures(log_probs, tokens, state.masked)}
        if self.config.derivative_weight:
            if self.config.derivative_kind == "aidd":
                learned = self.network.vocab_embed.embedding
                penalty = aidd_derivative_loss(log_score, state.tokens, tokens, learned)
            else:
                orders = cast("tuple[Order, ...]", self.config.derivative_orders)
                penalty = derivative_loss(
                    log_probs, tokens, state.masked, self.table, order=orders, valid=valid
                ).mean()
            # Published: an item's loss is summed over the window, the penalty is a mean over it.
            share = self.config.derivative_weight * len(tokens) / num_valid
            losses |= {"fit": losses["loss"].detach(), "derivative": penalty.detach()}
            losses["loss"] = losses["loss"] + share * penalty
        return losses

    def log_probs(
        self,
        tokens: Int[Tensor, "b l"],
        total_noise: Float[Tensor, " b"],
        *,
        valid: Bool[Tensor, "b l"] | None = None,
        rows: Int[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b _ k"]:
        """Return the posterior of the clean tokens, at some frames or at all."""
        raw = self.network(tokens, total_noise, valid=valid, rows=rows)
        return self.head.log_probs(raw, total_noise)

    def _of_masked(
        self, tokens: Int[Tensor, "b l"], valid: Bool[Tensor, "b l"], state: Corrupted
    ) -> Losses:
        """Return the losses of ``subs`` from masked frames alone: others have none.

        The output layer and the softmax over thousands of symbols are much of a small network's
        work, and on average half of the frames are masked.
        """
        num_rows = max(1, int(state.masked.sum(dim=1).max()))
        rows = state.masked.int().argsort(dim=1, descending=True, stable=True)[:, :num_rows]
        clean, masked = tokens.gather(1, rows), state.masked.gather(1, rows)
        log_probs = self.log_probs(state.tokens, state.total_noise, valid=valid, rows=rows)
        total = masked_cross_entropy(log_probs, clean, masked, state.t)
        num_valid = valid.sum().clamp_min(1)
        return {"loss": total.sum() / num_valid, **_figures(log_probs, clean, masked)}


def draw_times(
    num_items: int, config: ObjectiveConfig, generator: torch.Generator
) -> Float[Tensor, " b"]:
    """Return a time for each item of a batch, in [min_time, 1), on the generator's device."""
    u = torch.rand(num_items, generator=generator, device=generator.device)
    if config.times == "stratified":
        u = (torch.arange(num_items, device=u.device) + u) / num_items
    return config.min_time + (1 - config.min_time) * u


@torch.no_grad()
def _figures(
    log_probs: Float[Tensor, "b m k"], clean: Int[Tensor, "b m"], masked: Bool[Tensor, "b m"]
) -> dict[str, Tensor]:
    """Return cross-entropy and accuracy per masked token."""
    count = masked.sum().clamp_min(1)
    true = log_probs.gather(2, clean[:, :, None])[:, :, 0]
    hits = (log_probs.argmax(dim=2) == clean) & masked
    return {
        "cross_entropy": -(true * masked).sum() / count,
        "accuracy": hits.sum() / count,
    }
