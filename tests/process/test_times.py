"""Times at which a Gaussian process is trained."""

import pytest
import torch

from weft.errors import ConfigError
from weft.process.times import TimeKind, draw_times


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["uniform", "stratified", "logit-normal"])
def test_times_are_in_their_range_and_a_function_of_the_generator(kind: TimeKind) -> None:
    times = draw_times(5000, kind, generator())
    assert (times.shape, times.dtype) == ((5000,), torch.float32)
    assert 0 <= float(times.min()) < 0.01 + 0.05 * (kind == "logit-normal")
    assert 0.94 < float(times.max()) <= 1
    assert torch.equal(times, draw_times(5000, kind, generator()))
    assert not torch.equal(times, draw_times(5000, kind, generator(1)))
    assert float(times.mean()) == pytest.approx(0.5, abs=0.02)


def test_each_part_has_one_time_in_an_order_that_means_nothing() -> None:
    draws = torch.stack([draw_times(8, "stratified", generator(i)) for i in range(300)])
    parts = (draws * 8).floor()
    assert torch.equal(parts.sort(dim=1).values, torch.arange(8.0).expand(300, 8))
    # The mean of 300 uniform places has the deviation 0.13.
    assert float((parts.mean(dim=0) - 3.5).abs().max()) < 0.6
    inside = draws * 8 - parts
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.03)


def test_the_logit_is_normal() -> None:
    logit = torch.logit(draw_times(20_000, "logit-normal", generator(), mean=-0.5, std=0.8))
    assert float(logit.mean()) == pytest.approx(-0.5, abs=0.02)
    assert float(logit.std()) == pytest.approx(0.8, abs=0.02)


def test_no_items_have_no_times() -> None:
    assert draw_times(0, "stratified", generator()).shape == (0,)


@pytest.mark.parametrize(("num", "std"), [(-1, 1.0), (1, 0.0), (1, float("nan"))])
def test_laws_that_are_none_are_refused(num: int, std: float) -> None:
    with pytest.raises(ConfigError, match="times need"):
        draw_times(num, "logit-normal", generator(), std=std)
