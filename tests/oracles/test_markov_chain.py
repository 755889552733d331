import numpy as np
import pytest
import torch

from oracles.markov_chain import make_chain, noise_floor, total_variation


@pytest.mark.parametrize("tokens", [[0, 3, 3, 1], [3, 3, 2, 3], [3, 3, 3], [1, 2, 0], [3, 0, 3, 3]])
def test_marginals_are_those_of_the_joint_posterior(tokens: list[int]) -> None:
    chain, state = make_chain(3), torch.tensor(tokens)
    weights = chain.posterior(state)
    one_hot = torch.nn.functional.one_hot(chain.completions(state), 3).double()
    expected = (weights[:, None, None] * one_hot).sum(dim=0)
    found = chain.marginals(state[None])[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_marginals_of_a_batch_are_those_of_its_items() -> None:
    chain = make_chain(4)
    state = torch.randint(0, 5, (20, 9), generator=torch.Generator().manual_seed(0))
    together = chain.marginals(state)
    for i in range(20):
        assert torch.allclose(together[i], chain.marginals(state[i : i + 1])[0], atol=1e-12)


def test_the_initial_distribution_is_stationary_and_sequences_follow_it() -> None:
    chain = make_chain(3)
    assert torch.allclose(chain.initial @ chain.transition, chain.initial, atol=1e-12)
    tokens = chain.sample(20_000, 6, np.random.default_rng(0))
    law = chain.posterior(torch.full((6,), 3))
    assert torch.isclose(law.sum(), torch.tensor(1.0).double())
    found = total_variation(chain.indices(torch.full((6,), 3), tokens), law)
    assert found < noise_floor(law, 20_000)[1]


def test_one_token_a_round_gives_the_joint_posterior_in_any_order() -> None:
    chain, state = make_chain(3), torch.tensor([1, 3, 3, 3, 0])
    law = chain.posterior(state)
    for order in ([1, 2, 3], [3, 1, 2], [2, 3, 1]):
        assert torch.allclose(chain.law_of_rounds(state, [[i] for i in order]), law, atol=1e-12)
    assert torch.allclose(chain.law_of_sizes(state, [1, 1, 1]), law, atol=1e-12)


def test_laws_of_times_lie_between_all_at_once_and_one_by_one() -> None:
    chain, state = make_chain(3), torch.tensor([1, 3, 3, 3, 0])
    together = chain.law_of_sizes(state, [3])
    assert torch.allclose(chain.law_of_times(state, [1.0]), together, atol=1e-12)
    fine = chain.law_of_times(state, [1 / 16] * 16)
    posterior = chain.posterior(state)
    assert (fine - posterior).abs().sum() < 0.2 * (together - posterior).abs().sum()
