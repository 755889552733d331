"""Particles: fills that are weighed as they grow, against the tilted law of a known chain."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from tests.oracles.markov_chain import MarkovChain
from torch import Tensor

from weft.errors import ConfigError, DivergenceError, ShapeError
from weft.process.masked import MaskedProcess
from weft.process.sequence import EncodedCanvas
from weft.sampling.particles import ParticleConfig, Particles, fill_with_particles, systematic
from weft.sampling.steps_masked import MaskedSamplerConfig

PROCESS = MaskedProcess(codebook_size=2)
CHAIN = MarkovChain(
    initial=torch.tensor([0.6, 0.4]).double(),
    transition=torch.tensor([[0.8, 0.2], [0.3, 0.7]]).double(),
)
KNOWN = torch.tensor([0, 2, 2, 2, 2, 2, 2, 0])  # 2: unknown
TILT = 1.5


def _canvas(tokens: Tensor = KNOWN) -> EncodedCanvas:
    known = (tokens != 2)[None]
    return EncodedCanvas(
        x=torch.where(tokens == 2, 0, tokens)[None], known=known, valid=torch.ones_like(known)
    )


def _predict(tokens: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
    found = CHAIN.marginals(tokens).clamp_min(1e-30).log()
    if rows is None:
        return found
    return found.gather(1, rows[..., None].expand(-1, -1, 2))


def _cost(tokens: Tensor) -> Tensor:
    """Ones are wanted: each zero costs."""
    return TILT * (tokens == 0).sum(dim=1).double()


def _truth() -> tuple[float, float]:
    """Return the mean number of ones under the tilted law, and under the chain's own."""
    all_of_them = CHAIN.completions(KNOWN)
    plain = CHAIN.posterior(KNOWN)
    tilted = plain * torch.exp(-_cost(all_of_them))
    ones = (all_of_them == 1).sum(dim=1).double()
    return float((tilted * ones).sum() / tilted.sum()), float((plain * ones).sum())


def _fill(
    seed: int,
    num: int,
    *,
    cost=_cost,
    sampler: MaskedSamplerConfig | None = None,
    **changes: object,
) -> Particles:
    return fill_with_particles(
        _canvas(),
        _predict,
        PROCESS,
        sampler or MaskedSamplerConfig(),
        cost,
        particles=ParticleConfig(num_particles=num, **changes),  # type: ignore[arg-type]
        rng=np.random.default_rng(seed),
    )


def _mean_ones(found: Particles) -> float:
    ones = (found.tokens == 1).sum(dim=1).double().numpy()
    return float((found.weights * ones).sum())


def _estimates(num: int, num_runs: int, **changes: object) -> np.ndarray:
    return np.array([_mean_ones(_fill(seed, num, **changes)) for seed in range(num_runs)])


def test_the_estimate_nears_the_tilted_law_with_the_number_of_particles() -> None:
    tilted, plain = _truth()
    assert tilted - plain > 2.0  # measured: 5.22 and 1.62 of 6
    few, some, many = (np.abs(_estimates(num, 24) - tilted).mean() for num in (2, 16, 128))
    assert few > 2 * some > 3 * many
    # Measured: 2.6, 0.53 and 0.22. Unweighted ones stay at the plain law, 3.6 away.
    assert many < 0.3


def test_without_a_cost_particles_are_plain_fills() -> None:
    _, plain = _truth()
    found = _estimates(32, 24, cost=lambda tokens: torch.zeros(len(tokens)))
    assert found.mean() == pytest.approx(plain, abs=0.35)
    assert _fill(0, 8, cost=lambda tokens: torch.zeros(len(tokens))).num_resampled == 0


def test_previews_help() -> None:
    """With few particles, weights at the end alone have little to choose from."""
    tilted, _ = _truth()
    at_end = np.abs(_estimates(8, 40, num_previews=0) - tilted).mean()
    on_the_way = np.abs(_estimates(8, 40, num_previews=6) - tilted).mean()
    assert on_the_way < 0.8 * at_end  # measured: 0.57 and 1.36


@pytest.mark.parametrize(
    "sampler",
    [
        MaskedSamplerConfig(noise="schedule"),
        MaskedSamplerConfig(order="confidence"),
        MaskedSamplerConfig(temperature=0.999, top_p=0.9999),
    ],
)
def test_other_orders_and_noises_go_to_the_same_law(sampler: MaskedSamplerConfig) -> None:
    tilted, _ = _truth()
    assert np.abs(_estimates(64, 12, sampler=sampler) - tilted).mean() < 0.5


def test_a_drawn_particle_follows_the_weights() -> None:
    tilted, _ = _truth()
    ones = []
    for seed in range(60):
        found = _fill(seed, 48)
        row = found.tokens[found.draw(np.random.default_rng(1000 + seed))]
        ones.append(int((row == 1).sum()))
    assert np.mean(ones) == pytest.approx(tilted, abs=0.5)


def test_equal_seeds_give_equal_particles() -> None:
    first, again, other = _fill(3, 8), _fill(3, 8), _fill(4, 8)
    assert torch.equal(first.tokens, again.tokens)
    assert np.array_equal(first.weights, again.weights)
    assert not torch.equal(first.tokens, other.tokens)


def test_known_tokens_stay_and_calls_are_counted() -> None:
    found = _fill(0, 8)
    assert bool((found.tokens[:, [0, -1]] == 0).all())
    assert int(found.tokens.max()) <= 1
    assert found.num_calls == 6
    assert _fill(0, 8, sampler=MaskedSamplerConfig(steps=3)).num_calls == 3
    assert found.weights.sum() == pytest.approx(1)
    assert bool((found.log_probs[:, [0, -1]] == 0).all())
    assert bool((found.log_probs[:, 1:-1] < 0).all())


def test_costs_are_those_of_the_sequences() -> None:
    found = _fill(5, 8)
    assert np.allclose(found.costs, _cost(found.tokens).numpy())


def test_nothing_unknown_calls_nothing() -> None:
    tokens = torch.tensor([0, 1, 1])
    found = fill_with_particles(
        _canvas(tokens),
        _predict,
        PROCESS,
        MaskedSamplerConfig(),
        _cost,
        particles=ParticleConfig(num_particles=2),
        rng=np.random.default_rng(0),
    )
    assert found.tokens.tolist() == [[0, 1, 1]] * 2
    assert found.num_calls == 0


def test_systematic_draws_are_within_one_of_their_share() -> None:
    weights = np.array([0.05, 0.0, 0.7, 0.25])
    for uniform in np.linspace(0, 1, 50, endpoint=False):
        counts = np.bincount(systematic(weights, 10, uniform), minlength=4)
        assert (np.abs(counts - 10 * weights) < 1).all()
        assert counts[1] == 0


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ConfigError, match="first-hitting"):
        _fill(0, 2, sampler=MaskedSamplerConfig(kind="euler"))
    with pytest.raises(DivergenceError, match="NaN"):
        _fill(0, 2, cost=lambda tokens: torch.full((len(tokens),), torch.nan))
    with pytest.raises((ShapeError, TypeCheckError)):
        _fill(0, 2, cost=lambda tokens: torch.zeros(1))
    with pytest.raises(ConfigError, match="num_particles"):
        ParticleConfig(num_particles=0)
    with pytest.raises(ConfigError, match="least_share"):
        ParticleConfig(least_share=2.0)
