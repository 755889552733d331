"""A Markov chain whose posteriors are known: what an ideal network of tokens would put out.

Unknown tokens hold the absorbing state, index ``k``. Everything is float64 and exact: marginals by
forward-backward, joint posteriors and the laws of samplers by enumeration. The chain starts in its
stationary distribution and is in general not reversible.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial, prod

import numpy as np
import torch
from torch import Tensor

Rounds = Sequence[Sequence[int]]
"""Positions in the order of their reveal; those of one round are drawn independently."""


@dataclass(frozen=True)
class MarkovChain:
    """First order, over ``k`` symbols."""

    initial: Tensor  # k
    transition: Tensor  # k k: from row to column

    @property
    def num_symbols(self) -> int:
        return len(self.initial)

    def sample(self, num_items: int, num_frames: int, rng: np.random.Generator) -> Tensor:
        """Draw sequences ``b l``."""
        steps = self.transition.cumsum(dim=1)
        tokens = [_invert(self.initial.cumsum(dim=0).expand(num_items, -1), rng)]
        for _ in range(num_frames - 1):
            tokens.append(_invert(steps[tokens[-1]], rng))
        return torch.stack(tokens, dim=1)

    def marginals(self, tokens: Tensor) -> Tensor:
        """Return ``p(x_i | known tokens)`` as ``b l k``; tokens are in [0, k], k is unknown."""
        k = self.num_symbols
        seen = torch.nn.functional.one_hot(tokens, k + 1)[..., :k].double()
        seen = torch.where((tokens == k)[..., None], 1.0, seen)  # b l k
        forward = torch.empty_like(seen)
        backward = torch.ones_like(seen)
        now = self.initial.expand(len(tokens), k)
        for i in range(tokens.shape[1]):
            now = now @ self.transition if i else now
            now = now * seen[:, i]
            now = now / now.sum(dim=1, keepdim=True)
            forward[:, i] = now
        now = backward[:, -1]
        for i in range(tokens.shape[1] - 2, -1, -1):
            now = (now * seen[:, i + 1]) @ self.transition.T
            now = now / now.sum(dim=1, keepdim=True)
            backward[:, i] = now
        joint = forward * backward
        return joint / joint.sum(dim=2, keepdim=True)

    def log_joint(self, tokens: Tensor) -> Tensor:
        """Return the log probability of sequences ``b l`` without unknown tokens, as ``b``."""
        moves = self.transition[tokens[:, :-1], tokens[:, 1:]].log().sum(dim=1)
        return self.initial[tokens[:, 0]].log() + moves

    def posterior(self, tokens: Tensor) -> Tensor:
        """Return the joint posterior of the g unknown tokens of one sequence ``l``, as ``k^g``.

        The outcome ``(y_1 … y_g)``, in the order of positions, has the index whose digits in base
        ``k`` these are.
        """
        return self.log_joint(self.completions(tokens)).softmax(dim=0)

    def completions(self, tokens: Tensor) -> Tensor:
        """Return all sequences that agree with the known tokens of ``l``, in order of index."""
        unknown = (tokens == self.num_symbols).nonzero()[:, 0]
        outcomes = torch.tensor(
            list(product(range(self.num_symbols), repeat=len(unknown))), dtype=torch.long
        )
        filled = tokens.repeat(len(outcomes), 1)
        filled[:, unknown] = outcomes
        return filled

    def indices(self, tokens: Tensor, filled: Tensor) -> Tensor:
        """Return which outcome of ``posterior(tokens)`` each of the filled sequences ``b l`` is."""
        unknown = (tokens == self.num_symbols).nonzero()[:, 0]
        powers = self.num_symbols ** torch.arange(len(unknown) - 1, -1, -1)
        return (filled[:, unknown] * powers).sum(dim=1)

    def law_of_rounds(self, tokens: Tensor, rounds: Rounds) -> Tensor:
        """Return the law ``k^g`` of drawing each round independently from the marginals."""
        filled = self.completions(tokens)
        state = tokens.repeat(len(filled), 1)
        law = torch.ones(len(filled), dtype=torch.float64)
        for positions in rounds:
            marginals = self.marginals(state)
            for i in positions:
                law = law * marginals[torch.arange(len(filled)), i, filled[:, i]]
            state[:, list(positions)] = filled[:, list(positions)]
        return law

    def law_of_sizes(self, tokens: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the law ``k^g`` of revealing so many tokens a round, in uniformly random order."""
        unknown = (tokens == self.num_symbols).nonzero()[:, 0].tolist()
        all_rounds = list(_deal(unknown, sizes))
        return torch.stack([self.law_of_rounds(tokens, r) for r in all_rounds]).mean(dim=0)

    def law_of_times(self, tokens: Tensor, shares: Sequence[float]) -> Tensor:
        """Return the law ``k^g`` where each token picks its round independently.

        Args:
            tokens: of one sequence, ``l``.
            shares: probability of each round; they sum to 1.
        """
        unknown = (tokens == self.num_symbols).nonzero()[:, 0].tolist()
        found: dict[tuple[tuple[int, ...], ...], float] = {}
        for choice in product(range(len(shares)), repeat=len(unknown)):
            rounds = tuple(
                tuple(i for i, c in zip(unknown, choice, strict=True) if c == r)
                for r in range(len(shares))
            )
            rounds = tuple(r for r in rounds if r)
            found[rounds] = found.get(rounds, 0.0) + prod(shares[c] for c in choice)
        return torch.stack([p * self.law_of_rounds(tokens, r) for r, p in found.items()]).sum(dim=0)

    def make_predict_fn(self) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """Return the ideal network: it needs no noise level."""

        def predict(tokens: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
            log_probs = self.marginals(tokens).log()  # b l k
            if rows is None:
                return log_probs
            return log_probs.gather(1, rows[..., None].expand(-1, -1, self.num_symbols))

        return predict


def make_chain(num_symbols: int, *, seed: int = 0, sharpness: float = 2.0) -> MarkovChain:
    """Draw a chain; the sharper, the more a symbol says about its neighbours."""
    noise = np.random.default_rng(seed).standard_normal((num_symbols, num_symbols))
    transition = torch.from_numpy(sharpness * noise).softmax(dim=1)
    initial = torch.full((num_symbols,), 1 / num_symbols, dtype=torch.float64)
    initial = initial @ torch.linalg.matrix_power(transition, 4096)
    return MarkovChain(initial / initial.sum(), transition)


def total_variation(indices: Tensor, law: Tensor) -> float:
    """Return the distance in [0, 1] of the empirical law of draws to a law."""
    share = torch.bincount(indices, minlength=len(law)).double() / len(indices)
    return float((share - law).abs().sum() / 2)


def noise_floor(law: Tensor, num_draws: int, *, num_repeats: int = 400) -> tuple[float, float]:
    """Return mean and 99.9 % quantile of the distance that exact draws have from their own law.

    The quantile is that of a normal distribution of the same mean and spread.
    """
    rng = np.random.default_rng(0)
    counts = rng.multinomial(num_draws, law.numpy(), size=num_repeats)
    found = np.abs(counts / num_draws - law.numpy()).sum(axis=1) / 2
    return float(found.mean()), float(found.mean() + 3.1 * found.std())


def _invert(cumulative: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw one symbol for each row of cumulative probabilities ``b k``."""
    draws = torch.from_numpy(rng.random(len(cumulative)))[:, None]
    return (cumulative <= draws).sum(dim=1).clamp_max(cumulative.shape[1] - 1)


def _deal(positions: Sequence[int], sizes: Sequence[int]) -> Iterator[Rounds]:
    """Yield every split of positions into rounds of these sizes; all are equally likely."""
    assert sum(sizes) == len(positions)
    seen: set[tuple[tuple[int, ...], ...]] = set()
    labels = [r for r, size in enumerate(sizes) for _ in range(size)]
    for choice in product(range(len(sizes)), repeat=len(positions)):
        if sorted(choice) != labels:
            continue
        seen.add(
            tuple(
                tuple(i for i, c in zip(positions, choice, strict=True) if c == r)
                for r in range(len(sizes))
            )
        )
    assert len(seen) == factorial(len(positions)) / prod(factorial(s) for s in sizes)
    yield from sorted(seen)
