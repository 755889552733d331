import numpy as np
import pytest
import torch

from weft.errors import CheckpointError
from weft.sampling.draws import draw_columns, sharpen


def test_columns_are_drawn_in_proportion_to_weights() -> None:
    weights = torch.tensor([3.0, 0.0, 1.0, 0.0], dtype=torch.float64).expand(40_000, -1)
    drawn = draw_columns(weights, torch.from_numpy(np.random.default_rng(0).random(40_000)))
    counts = torch.bincount(drawn, minlength=4)
    assert counts[1] == counts[3] == 0
    assert abs(int(counts[0]) - 30_000) < 4 * np.sqrt(40_000 * 0.75 * 0.25)


def test_the_largest_uniform_number_never_draws_a_column_without_weight() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.0], [0.3, 1e-300, 0.0]], dtype=torch.float64)
    largest = torch.full((2,), 1 - 2.0**-53, dtype=torch.float64)
    assert draw_columns(weights, largest).tolist() in ([1, 0], [1, 1])
    assert draw_columns(weights.flip(1), torch.zeros(2).double()).tolist() == [1, 1]


def test_rounding_errors_below_zero_are_never_drawn() -> None:
    weights = torch.tensor([[0.5, 0.5, -1e-17]], dtype=torch.float64).expand(1000, -1)
    drawn = draw_columns(weights, torch.linspace(0, 1 - 1e-9, 1000).double())
    assert set(drawn.tolist()) == {0, 1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_weights_that_are_no_probabilities_are_refused(bad: float) -> None:
    weights = torch.tensor([[1.0, 1.0], [bad, bad]], dtype=torch.float64)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        draw_columns(weights, torch.zeros(2).double())


def test_temperature_divides_logarithms_and_small_ones_do_not_overflow() -> None:
    log_probs = torch.tensor([[0.5, 0.3, 0.2]]).double().log()
    half = sharpen(log_probs, temperature=0.5, top_p=1.0).exp()
    assert torch.allclose(half, torch.tensor([[0.25, 0.09, 0.04]]).double() / 0.38)
    for temperature in (0.0, 1e-300):
        sure = sharpen(log_probs, temperature=temperature, top_p=1.0).exp()
        assert sure.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.1, [0, 1, 0, 0]),
        (0.39, [0, 1, 0, 0]),
        (0.41, [0, 4 / 7, 0, 3 / 7]),
        (0.69, [0, 4 / 7, 0, 3 / 7]),
        (0.9, [2 / 9, 4 / 9, 0, 3 / 9]),
        (0.95, [0.2, 0.4, 0.1, 0.3]),
    ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(
    top_p: float, expected: list[float]
) -> None:
    log_probs = torch.tensor([[0.2, 0.4, 0.1, 0.3]]).double().log()
    found = sharpen(log_probs, temperature=1.0, top_p=top_p).exp()
    assert torch.allclose(found, torch.tensor([expected]).double())


def test_the_nucleus_applies_after_the_temperature() -> None:
    log_probs = torch.tensor([[0.5, 0.3, 0.2]]).double().log()
    # At temperature 0.5 the first two hold 0.34 / 0.38 = 0.89.
    assert sharpen(log_probs, temperature=0.5, top_p=0.85)[0, 2] == -torch.inf
    assert sharpen(log_probs, temperature=2.0, top_p=0.85)[0, 2] > -torch.inf


def test_equal_symbols_at_the_edge_of_the_nucleus_are_cut_by_index() -> None:
    found = sharpen(torch.zeros(1, 4).double(), temperature=1.0, top_p=0.5).exp()
    assert found.tolist() == [[0.5, 0.5, 0, 0]]
