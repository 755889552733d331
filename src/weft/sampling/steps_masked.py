"""Samplers of the absorbing process: masked tokens are replaced by symbols, call by call.

The network sees sequences without padding, whose known tokens are as given and whose unknown ones
hold the absorbing state until they are revealed; nothing else is ever written. It is asked for the
posterior of the clean token at those positions that a call can reveal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.heads.categorical import log_probs_to_log_score
from weft.process.masked import MaskedProcess
from weft.process.orders import (
    OrderKind,
    hitting_fractions,
    most_confident,
    random_order,
    reveal_counts,
)
from weft.process.sequence import EncodedCanvas
from weft.sampling.draws import draw_columns, sharpen

PredictFn: TypeAlias = Callable[
    [Int[Tensor, "b l"], Float[Tensor, " b"], Int[Tensor, "b m"] | None], Float[Tensor, "b m k"]
]
"""``(tokens, total_noise, rows) -> log_probs``: the posterior of the clean tokens at ``rows``, or
everywhere (``b l k``) where rows is None. Tokens are in [0, k], k is the absorbing state; none is
padding. Rows of an item may repeat, where another item of the call has more."""

SamplerKind: TypeAlias = Literal["first-hitting", "analytic", "euler"]
NoiseKind: TypeAlias = Literal["ratio", "schedule"]

LAST_TIME = 1e-5
"""Where the time grid of the published samplers ends and their last step removes all noise."""

DEFAULT_STEPS = {"analytic": 1024, "euler": 128}


@final
@dataclass(frozen=True, kw_only=True)
class MaskedSamplerConfig:
    """How masked tokens are filled.

    Source: SEDD, algorithm 2 (``analytic``: Tweedie; ``euler``), as AIDD (seed 000) uses them: with
    ``noise="schedule"`` and no temperature. ``first-hitting``: Zheng et al. 2024.
    """

    kind: SamplerKind = "first-hitting"
    """``first-hitting`` jumps from one reveal to the next; the others walk a grid of times."""
    steps: int | None = None
    """Network calls at most, in [1, 100000]. ``first-hitting``: fewer than unknown tokens reveal
    several a call; None is one a token. ``analytic`` and ``euler``: steps of the grid, to which one
    last step is added; None is 1024 and 128, as published."""
    temperature: float = 1.0
    """Divides the posterior's logarithms, in [0, 100]; 0 takes the most probable symbol."""
    top_p: float = 1.0
    """Draw from the most probable symbols that reach this probability together, in (0, 1]."""
    order: OrderKind = "random"
    """``confidence`` is for ``first-hitting`` only: in the others, time decides."""
    noise: NoiseKind = "ratio"
    """What noise the network is told: that of the share of tokens which are masked, or that of the
    process's time, which starts at t = 1 however few tokens are unknown (published)."""

    def __post_init__(self) -> None:
        for name, kinds in (("kind", SamplerKind), ("order", OrderKind), ("noise", NoiseKind)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"{name} must be one of {get_args(kinds)}, got {getattr(self, name)!r}"
                )
        if self.steps is not None and not 1 <= self.steps <= 100_000:
            raise ConfigError(f"steps must be None or in [1, 100000], got {self.steps}")
        if not 0 <= self.temperature <= 100:
            raise ConfigError(f"temperature must be in [0, 100], got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.order == "confidence" and self.kind != "first-hitting":
            raise ConfigError(
                f'order="confidence" does not go with kind={self.kind!r}, which reveals tokens by '
                'time; use kind="first-hitting" or order="random"'
            )


@final
@dataclass(frozen=True, kw_only=True)
class FilledTokens:
    """A canvas without unknown tokens, and what filling it took."""

    tokens: Int[Tensor, "b l"]
    """In [0, k) wherever the canvas is valid; known tokens and padding are as given."""
    num_calls: int
    """How often the network was called."""
    log_probs: Float[Tensor, "b l"]
    """Log probability that the network gave each chosen token when it was revealed, before
    temperature and top_p; 0 elsewhere."""


def fill_tokens(
    canvas: EncodedCanvas,
    predict_fn: PredictFn,
    process: MaskedProcess,
    config: MaskedSamplerConfig,
    rng: Sequence[np.random.Generator],
) -> FilledTokens:
    """Draw the unknown tokens of a canvas.

    What an item draws depends on its generator and on itself, not on other items: an item that is
    done leaves the calls, and only items of equal valid length share a call, so that the network
    never sees padding. Without unknown tokens there is no call.

    Args:
        canvas: tokens; what stands at unknown positions is not read.
        predict_fn: the network, on the canvas' device; it is called without gradients.
        process: what the network was trained on.
        config: how to fill.
        rng: one generator an item, from which all its draws come.

    Raises:
        ShapeError: the canvas holds no tokens, the generators do not fit its items, the valid
            positions of an item do not lie together, or the network's output has another shape.
        ConfigError: a known token is outside the codebook.
        CheckpointError: the network gave no probabilities, but NaN or infinity.
    """
    _check(canvas, process, rng)
    valid, unknown = canvas.valid.cpu().numpy(), canvas.unknown.cpu().numpy()
    tokens = canvas.x.cpu().numpy().astype(np.int64)
    log_probs = np.zeros(tokens.shape)
    lengths = valid.sum(axis=1) * unknown.any(axis=1)  # 0 where there is nothing to do
    num_calls = 0
    for length in np.unique(lengths[lengths > 0]):
        items = np.flatnonzero(lengths == length)
        place = items[:, None], valid[items].argmax(axis=1)[:, None] + np.arange(length)
        masked = _Masked(
            tokens=np.where(unknown[place], process.absorbing, tokens[place]),
            predict_fn=predict_fn,
            process=process,
            config=config,
            rng=[rng[int(i)] for i in items],
            device=canvas.x.device,
        )
        if config.kind == "first-hitting":
            _fill_by_hits(masked)
        else:
            _fill_by_steps(masked)
        tokens[place], log_probs[place] = masked.tokens, masked.log_probs
        num_calls += masked.num_calls
    return FilledTokens(
        tokens=torch.from_numpy(tokens).to(canvas.x.device),
        num_calls=num_calls,
        log_probs=torch.from_numpy(log_probs).float().to(canvas.x.device),
    )


def analytic_probs(
    log_score: Float[Tensor, "b l v"],
    tokens: Int[Tensor, "b l"],
    noise_step: Float[Tensor, " b"],
) -> Float[Tensor, "b l v"]:
    """Return the weights of the states that one step back in time leads to (Tweedie).

    Exact for one token if the score is. Weights sum to 1; those of a score that no sequence has may
    be negative. For the noise that is left altogether, the columns of the real symbols are the
    published denoiser.

    Args:
        log_score: at the start of the step; of the absorbing process, own state 0.
        tokens: in [0, k].
        noise_step: by how much the cumulative noise falls, >= 0.

    Source: SEDD, theorem 4.2 and appendix C.1 ("absorb"): a staggered score times a column of the
    transition matrix. Here the product is written out: a masked token goes to y with
    ``score(y) (exp(noise_step) - 1)``, and visible ones stay.
    """
    score = log_score[..., :-1].exp()
    reveal = score * torch.expm1(noise_step)[:, None, None]
    return _jump(reveal, tokens)


def euler_probs(
    log_score: Float[Tensor, "b l v"],
    tokens: Int[Tensor, "b l"],
    noise_rate: Float[Tensor, " b"],
    time_step: float,
) -> Float[Tensor, "b l v"]:
    """Return the weights of the states that one Euler step back in time leads to.

    Args:
        log_score: at the start of the step; of the absorbing process, own state 0.
        tokens: in [0, k].
        noise_rate: at the start of the step.
        time_step: how far back, in (0, t].

    Source: SEDD, equation 17 ("Euler"), for the absorbing process.
    """
    score = log_score[..., :-1].exp()
    return _jump(score * (time_step * noise_rate)[:, None, None], tokens)


def _jump(reveal: Float[Tensor, "b l k"], tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
    """Return the weights of all states, given those of the symbols a masked token may go to."""
    num_symbols = reveal.shape[-1]
    stay = 1 - reveal.sum(dim=-1, keepdim=True)
    jump = torch.cat([reveal, stay], dim=-1)
    still = torch.nn.functional.one_hot(tokens.long(), num_symbols + 1).to(reveal.dtype)
    return torch.where((tokens == num_symbols)[..., None], jump, still)


@final
class _Masked:
    """Sequences of one length while they are filled.

    Lists of rows hold positions, one array an item of the call; what belongs to them is flat.
    """

    def __init__(
        self,
        *,
        tokens: Int[np.ndarray, "b l"],
        predict_fn: PredictFn,
        process: MaskedProcess,
        config: MaskedSamplerConfig,
        rng: Sequence[np.random.Generator],
        device: torch.device,
    ) -> None:
        self.tokens = tokens
        self.log_probs = np.zeros(tokens.shape)
        self.predict_fn = predict_fn
        self.process = process
        self.config = config
        self.rng = rng
        self.device = device
        self.num_calls = 0
        self.left = list(np.split(*_row_major(tokens == process.absorbing)))
        self.most = float(process.schedule.masked_fraction(torch.ones(1).double()))

    def items(self) -> list[int]:
        """Return the items that still hold masked tokens."""
        return [i for i, left in enumerate(self.left) if len(left)]

    def ratio(self, items: list[int]) -> Float[np.ndarray, " a"]:
        """Return the share of masked tokens."""
        return np.array([len(self.left[i]) for i in items]) / self.tokens.shape[1]

    def predict(
        self, items: list[int], rows: list[np.ndarray], masked_fraction: Float[np.ndarray, " a"]
    ) -> Float[Tensor, "r k"]:
        """Call the network for these items and return its posterior at their rows."""
        sizes = np.array([len(r) for r in rows])
        wanted = np.arange(sizes.max()) < sizes[:, None]
        padded = np.zeros(wanted.shape, np.int64)
        padded[wanted] = np.concatenate(rows)
        padded = np.where(wanted, padded, padded[:, :1])
        # In an absorbing process the masked fraction is 1 - exp(-total_noise), at any schedule.
        total_noise = -np.log1p(-np.minimum(masked_fraction, self.most))
        with torch.no_grad():
            found = self.predict_fn(
                torch.from_numpy(self.tokens[items]).to(self.device),
                torch.from_numpy(total_noise).float().to(self.device),
                torch.from_numpy(padded).to(self.device),
            )
        self.num_calls += 1
        needed = (*padded.shape, self.process.codebook_size)
        if tuple(found.shape) != needed:
            raise ShapeError(
                f"the network's posterior has the shape {tuple(found.shape)}, needed is {needed}: "
                "items, rows and symbols of the codebook, without the absorbing state"
            )
        found = found.cpu()
        flat = found.flatten(0, 1) if wanted.all() else found[torch.from_numpy(wanted)]
        return torch.log_softmax(flat.double(), dim=1)

    def sharpen(self, log_probs: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
        """Apply temperature and nucleus to the network's posterior."""
        if self.config.temperature == 1 and self.config.top_p == 1:
            return log_probs
        return sharpen(log_probs, temperature=self.config.temperature, top_p=self.config.top_p)

    def reveal(
        self,
        items: list[int],
        rows: list[np.ndarray],
        weights: Float[Tensor, "r v"],
        log_probs: Float[Tensor, "r k"],
    ) -> None:
        """Draw at all rows and write what is a symbol; the absorbing state stays."""
        uniforms = np.concatenate(
            [self.rng[i].random(len(r)) for i, r in zip(items, rows, strict=True)]
        )
        drawn = draw_columns(weights, torch.from_numpy(uniforms))
        is_real = drawn < self.process.absorbing
        chosen = log_probs.gather(1, drawn.clamp_max(self.process.absorbing - 1)[:, None])[:, 0]
        where = np.repeat(items, [len(r) for r in rows]), np.concatenate(rows)
        self.tokens[where] = drawn.numpy()
        self.log_probs[where] = torch.where(is_real, chosen, 0.0).numpy()
        for i in items:
            left = self.left[i]
            self.left[i] = left[self.tokens[i, left] == self.process.absorbing]


def _fill_by_hits(masked: _Masked) -> None:
    """Reveal one token a call, or several, whatever the times at which this happens."""
    config, is_random = masked.config, masked.config.order == "random"
    numbers = [len(left) for left in masked.left]
    plans = {n: reveal_counts(n, config.steps or n) for n in set(numbers)}
    orders = [
        random_order(left, rng) if is_random else left
        for left, rng in zip(masked.left, masked.rng, strict=True)
    ]
    fractions = np.full(len(numbers), masked.most)  # of the process, where it is told
    call = 0
    while items := masked.items():
        counts = [int(plans[numbers[i]][call]) for i in items]
        told = masked.ratio(items)
        if config.noise == "schedule":
            hits = [
                hitting_fractions(float(fractions[i]), len(masked.left[i]), c, masked.rng[i])
                for i, c in zip(items, counts, strict=True)
            ]
            told = np.array([h[0] for h in hits])
            fractions[items] = [h[-1] for h in hits]
        if is_random:
            rows = [
                orders[i][-len(masked.left[i]) :][:c] for i, c in zip(items, counts, strict=True)
            ]
            log_probs = masked.predict(items, rows, told)
        else:
            rows = [masked.left[i] for i in items]
            rows, log_probs = _pick(rows, masked.predict(items, rows, told), counts)
        masked.reveal(items, rows, masked.sharpen(log_probs).exp(), log_probs)
        call += 1


def _pick(
    rows: list[np.ndarray], log_probs: Float[Tensor, "r k"], counts: list[int]
) -> tuple[list[np.ndarray], Float[Tensor, "s k"]]:
    """Return the most confident rows of each item and what was predicted there."""
    confidence = log_probs.amax(dim=1).numpy()
    starts = np.cumsum([0, *map(len, rows)])
    picked = [
        most_confident(confidence[a:b], c)
        for a, b, c in zip(starts[:-1], starts[1:], counts, strict=True)
    ]
    flat = np.concatenate([a + p for a, p in zip(starts[:-1], picked, strict=True)])
    return [r[p] for r, p in zip(rows, picked, strict=True)], log_probs[torch.from_numpy(flat)]


def _fill_by_steps(masked: _Masked) -> None:
    """Walk times from 1 to `LAST_TIME` in equal steps; then one step to the clean end."""
    config, schedule = masked.config, masked.process.schedule
    steps = config.steps or DEFAULT_STEPS[config.kind]
    times = torch.linspace(1, LAST_TIME, steps + 1, dtype=torch.float64)
    noise = schedule.total_noise(times)
    for step in range(steps + 1):
        items = masked.items()
        if not items:
            return
        rows = [masked.left[i] for i in items]
        told = masked.ratio(items)
        if config.noise == "schedule":
            told = np.full(len(items), float(schedule.masked_fraction(times[step])))
        log_probs = masked.predict(items, rows, told)
        state = torch.full((1, len(log_probs)), masked.process.absorbing)
        now = noise[step : step + 1]
        log_score = log_probs_to_log_score(masked.sharpen(log_probs)[None], state, now)
        if step == steps:
            weights = analytic_probs(log_score, state, now)[..., :-1]
        elif config.kind == "analytic":
            weights = analytic_probs(log_score, state, now - noise[step + 1])
        else:
            rate = schedule.noise_rate(times[step : step + 1])
            weights = euler_probs(log_score, state, rate, (1 - LAST_TIME) / steps)
        masked.reveal(items, rows, weights[0], log_probs)


def _row_major(chosen: Bool[np.ndarray, "b l"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of all chosen places, row by row, and where rows but the first start."""
    return np.nonzero(chosen)[1], np.cumsum(chosen.sum(axis=1))[:-1]


def _check(
    canvas: EncodedCanvas, process: MaskedProcess, rng: Sequence[np.random.Generator]
) -> None:
    """Refuse what cannot be filled, before any work."""
    if canvas.x.ndim != 2 or canvas.x.is_floating_point():
        raise ShapeError(
            f"a canvas of tokens is needed, got {canvas.x.dtype} of shape {tuple(canvas.x.shape)}; "
            "continuous latents need a model of another kind"
        )
    if len(rng) != len(canvas.x):
        raise ShapeError(f"{len(rng)} generators for {len(canvas.x)} items; give one an item")
    known = canvas.x[canvas.known & canvas.valid]
    if bool(((known < 0) | (known >= process.codebook_size)).any()):
        raise ConfigError(
            f"known tokens must be in [0, {process.codebook_size}), got {int(known.min())} to "
            f"{int(known.max())}; mark those that the model has no symbol for as unknown, or use "
            "the codec that the model was trained with"
        )
    starts = canvas.valid[:, 1:] & ~canvas.valid[:, :-1]
    if bool((starts.sum(dim=1) + canvas.valid[:, :1].sum(dim=1) > 1).any()):
        raise ShapeError(
            "the valid positions of an item must lie together, with padding before or after them"
        )
