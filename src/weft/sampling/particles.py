"""Particles: several fills of one sequence that are weighed as they grow, and drawn anew by weight.

Tokens have no gradients. What is wanted of a fill is told instead by a cost of whole sequences: the
sampler's distribution is tilted by ``exp(-cost)``. Costs on the way are those of previews, in which
what is still masked is drawn from the network's posterior as it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from weft.errors import ConfigError, DivergenceError, ShapeError
from weft.process.masked import MaskedProcess
from weft.process.orders import hitting_fractions, most_confident, random_order, reveal_counts
from weft.process.sequence import EncodedCanvas
from weft.sampling.draws import draw_columns, sharpen
from weft.sampling.steps_masked import MaskedSamplerConfig, PredictFn

CostFn: TypeAlias = Callable[[Int[Tensor, "p l"]], Float[Tensor, " p"]]
"""From whole sequences of tokens to what each costs: minus the logarithm of its weight."""


@final
@dataclass(frozen=True, kw_only=True)
class ParticleConfig:
    """How many particles, and how often they are weighed."""

    num_particles: int = 8
    """Fills that grow side by side, in [1, 1024]; 1 ignores the cost."""
    num_previews: int = 6
    """How often they are weighed before the end, in [0, 10000]; never more often than the network
    is called. 0: at the end only."""
    least_share: float = 0.5
    """They are drawn anew when their effective number falls below this share of them, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_particles <= 1024 or not 0 <= self.num_previews <= 10_000:
            raise ConfigError(
                "num_particles must be in [1, 1024] and num_previews in [0, 10000], got "
                f"{self.num_particles} and {self.num_previews}"
            )
        if not 0 <= self.least_share <= 1:
            raise ConfigError(f"least_share must be in [0, 1], got {self.least_share}")


@final
@dataclass(frozen=True, kw_only=True)
class Particles:
    """Filled sequences and their weights: together they stand for the tilted distribution."""

    tokens: Int[Tensor, "p l"]
    """In [0, k); known tokens are as given."""
    weights: Float64[np.ndarray, " p"]
    """Add up to 1."""
    costs: Float64[np.ndarray, " p"]
    """Of the sequences."""
    log_probs: Float[Tensor, "p l"]
    """Log probability that the network gave each chosen token; 0 where known."""
    num_calls: int
    """How often the network was called."""
    num_resampled: int
    """How often particles were drawn anew."""

    def draw(self, rng: np.random.Generator) -> int:
        """Return the index of one particle, drawn by weight."""
        return int(systematic(self.weights, 1, float(rng.random()))[0])


def fill_with_particles(
    canvas: EncodedCanvas,
    predict_fn: PredictFn,
    process: MaskedProcess,
    sampler: MaskedSamplerConfig,
    cost_fn: CostFn,
    *,
    particles: ParticleConfig,
    rng: np.random.Generator,
) -> Particles:
    """Fill one sequence several times, towards low costs.

    All particles reveal the same positions in the same order, drawn once. With every cost 0 each of
    them is a plain fill. As their number grows, their weighted mean of anything goes to its mean
    under ``p(tokens) exp(-cost)``, where ``p`` is what the sampler draws from.

    Args:
        canvas: one sequence of tokens without padding.
        predict_fn: the network; called once a reveal, for all particles together.
        process: what it was trained on.
        sampler: of kind "first-hitting".
        cost_fn: what is wanted; finite.
        particles: how many.
        rng: all draws come from it.

    Raises:
        ConfigError: the sampler is of another kind.
        ShapeError: the canvas holds more or other than one sequence of tokens, or costs are not one
            a particle.
        DivergenceError: a cost is NaN or infinite.

    Source: Singhal et al. 2025, Feynman-Kac steering, with the "difference" potential. Differs: the
    clean sequence of a preview is drawn once a particle, in the places still masked independently.
    """
    _check(canvas, sampler)
    unknown = np.flatnonzero(canvas.unknown[0].cpu().numpy())
    cloud = _Cloud(canvas, process, cost_fn, particles, rng)
    if not len(unknown):
        return cloud.result()
    counts = reveal_counts(len(unknown), sampler.steps or len(unknown))
    places = np.linspace(0, len(counts), particles.num_previews + 2)[1:-1].astype(int)
    previews = {*places.tolist()} - {0}  # at first they are all alike
    order = random_order(unknown, rng) if sampler.order == "random" else unknown
    most = float(process.schedule.masked_fraction(torch.ones(1).double()))
    fraction = most
    for call, count in enumerate(counts.tolist()):
        left = len(order)
        told = left / canvas.x.shape[1]
        if sampler.noise == "schedule":
            hits = hitting_fractions(fraction, left, count, rng)
            told, fraction = float(hits[0]), float(hits[-1])
        is_previewed = call in previews and particles.num_particles > 1
        rows = order if is_previewed or sampler.order == "confidence" else order[:count]
        total_noise = -np.log1p(-min(told, most))
        log_probs = cloud.predict(predict_fn, rows, total_noise)
        if sampler.order == "confidence":
            order, log_probs = _confident_first(order, log_probs, count)
            if not is_previewed:
                log_probs = log_probs[:, :count]
        sharp = sharpen(
            log_probs.flatten(0, 1), temperature=sampler.temperature, top_p=sampler.top_p
        ).unflatten(0, log_probs.shape[:2])
        if is_previewed:  # of what came before this call, whose tokens are then drawn by survivors
            parents = cloud.weigh(cloud.preview(order, sharp))
            sharp, log_probs = sharp[parents], log_probs[parents]
        cloud.reveal(order[:count], sharp[:, :count], log_probs[:, :count])
        order = order[count:]
    cloud.weigh(cloud.tokens, is_end=True)
    return cloud.result()


def systematic(
    weights: Float64[np.ndarray, " p"], num: int, uniform: float
) -> Int[np.ndarray, " m"]:
    """Return ``num`` indices, each drawn as often as its weight says, to within one.

    Args:
        weights: add up to 1.
        num: how many.
        uniform: one draw, in [0, 1).

    Example:
        >>> systematic(np.array([0.5, 0.0, 0.5]), 4, 0.3).tolist()
        [0, 0, 2, 2]
    """
    points = (np.arange(num) + uniform) / num
    edges = np.cumsum(weights) / np.sum(weights)
    last = int(np.flatnonzero(weights)[-1])
    return np.minimum(np.searchsorted(edges, points, side="right"), last)


@final
class _Cloud:
    """Particles while they grow."""

    def __init__(
        self,
        canvas: EncodedCanvas,
        process: MaskedProcess,
        cost_fn: CostFn,
        config: ParticleConfig,
        rng: np.random.Generator,
    ) -> None:
        tokens = torch.where(canvas.known[0], canvas.x[0], process.absorbing)
        self.tokens = tokens.expand(config.num_particles, -1).clone()
        self.process, self.cost_fn, self.config, self.rng = process, cost_fn, config, rng
        self.log_weights = np.zeros(config.num_particles)
        self.costs = np.zeros(config.num_particles)
        self.log_probs = torch.zeros(self.tokens.shape, device=self.tokens.device)
        self.num_calls = self.num_resampled = 0

    def predict(
        self, predict_fn: PredictFn, rows: Int[np.ndarray, " m"], total_noise: float
    ) -> Float64[Tensor, "p m k"]:
        """Return the network's posterior at these rows."""
        device, num = self.tokens.device, len(self.tokens)
        where = torch.from_numpy(rows).to(device).expand(num, -1)
        with torch.no_grad():
            found = predict_fn(self.tokens, torch.full((num,), total_noise, device=device), where)
        self.num_calls += 1
        needed = (num, len(rows), self.process.codebook_size)
        if tuple(found.shape) != needed:
            raise ShapeError(
                f"the network's posterior has the shape {tuple(found.shape)}, needed is {needed}: "
                "particles, rows and symbols of the codebook, without the absorbing state"
            )
        return torch.log_softmax(found.cpu().double(), dim=2)

    def preview(
        self, rows: Int[np.ndarray, " m"], log_probs: Float64[Tensor, "p m k"]
    ) -> Int[Tensor, "p l"]:
        """Return whole sequences: the masked rows are drawn, but not kept."""
        tokens = self.tokens.clone()
        tokens[:, torch.from_numpy(rows)] = self._draw(log_probs)
        return tokens

    def reveal(
        self,
        rows: Int[np.ndarray, " c"],
        sharp: Float64[Tensor, "p c k"],
        log_probs: Float64[Tensor, "p c k"],
    ) -> None:
        """Draw at these rows, and keep it."""
        drawn, where = self._draw(sharp), torch.from_numpy(rows)
        self.tokens[:, where] = drawn
        chosen = log_probs.gather(2, drawn.cpu()[..., None])[..., 0]
        self.log_probs[:, where] = chosen.to(self.log_probs)

    def _draw(self, log_probs: Float64[Tensor, "p c k"]) -> Int[Tensor, "p c"]:
        uniforms = torch.from_numpy(self.rng.random(log_probs.shape[:2]).reshape(-1))
        drawn = draw_columns(log_probs.flatten(0, 1).exp(), uniforms)
        return drawn.unflatten(0, log_probs.shape[:2]).to(self.tokens)

    def weigh(self, whole: Int[Tensor, "p l"], *, is_end: bool = False) -> Int[np.ndarray, " p"]:
        """Weigh particles by what their costs have changed; return from which each now descends."""
        found = self.cost_fn(whole)
        num = len(self.tokens)
        if tuple(found.shape) != (num,):
            raise ShapeError(
                f"costs have the shape {tuple(found.shape)}, needed is one a particle: ({num},)"
            )
        costs = found.detach().cpu().double().numpy()
        if not np.isfinite(costs).all():
            raise DivergenceError("the cost of a particle is NaN or infinite; is a fill silent?")
        self.log_weights -= costs - self.costs
        self.costs = costs
        parents = np.arange(num)
        weights = self.weights
        if not is_end and 1 / np.square(weights).sum() < self.config.least_share * num:
            parents = systematic(weights, num, float(self.rng.random()))
            self.tokens, self.log_probs = self.tokens[parents], self.log_probs[parents]
            self.costs, self.log_weights = self.costs[parents], np.zeros(num)
            self.num_resampled += 1
        return parents

    @property
    def weights(self) -> Float64[np.ndarray, " p"]:
        """What each particle stands for."""
        weights = np.exp(self.log_weights - self.log_weights.max())
        return np.asarray(weights / weights.sum())

    def result(self) -> Particles:
        return Particles(
            tokens=self.tokens,
            weights=self.weights,
            costs=self.costs,
            log_probs=self.log_probs,
            num_calls=self.num_calls,
            num_resampled=self.num_resampled,
        )


def _confident_first(
    order: Int[np.ndarray, " m"], log_probs: Float64[Tensor, "p m k"], count: int
) -> tuple[Int[np.ndarray, " m"], Float64[Tensor, "p m k"]]:
    """Put the positions first at which the particles are most confident, on average."""
    best = most_confident(log_probs.amax(dim=2).mean(dim=0).numpy(), count)
    places = np.concatenate([best, np.setdiff1d(np.arange(len(order)), best)])
    return order[places], log_probs[:, torch.from_numpy(places)]


def _check(canvas: EncodedCanvas, sampler: MaskedSamplerConfig) -> None:
    if canvas.x.ndim != 2 or canvas.x.is_floating_point() or len(canvas.x) != 1:
        raise ShapeError(
            f"particles fill one sequence of tokens, got {canvas.x.dtype} of shape "
            f"{tuple(canvas.x.shape)}"
        )
    if not bool(canvas.valid.all()):
        raise ShapeError("particles fill a sequence without padding; cut it off")
    if sampler.kind != "first-hitting":
        raise ConfigError(
            f"particles grow token by token: they need the sampler 'first-hitting', not "
            f"{sampler.kind!r}; choose it, or leave the style out"
        )
