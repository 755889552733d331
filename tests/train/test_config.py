"""Settings of the loop, order of examples."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import ConfigError
from weft.train.config import LoopConfig, set_fields, split_fields
from weft.train.order import Order


def make(**changes: Any) -> LoopConfig:
    return LoopConfig(**{"steps": 100, "batch_size": 4, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be in [1, 2^31), got 0"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"accumulation": 3}, "accumulation must divide batch_size, got 3 and 4"),
        ({"learning_rate": 0.0}, "learning_rate must be in (0, 1], got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers in [0, 1)"),
        ({"weight_decay": -0.1}, "weight_decay must be in [0, 1]"),
        ({"warmup_steps": 101}, "warmup_steps must be at most steps, got 101 of 100"),
        ({"decay_fraction": 1.5}, "decay_fraction must be"),
        ({"clip_norm": 0.0}, "clip_norm must be > 0"),
        ({"ema_decay": 1.0}, "ema_decay must be in [0, 1)"),
        ({"seed": -1}, "seed must be"),
        ({"log_every": 0}, "log_every must be"),
        ({"save_every": 0}, "save_every must be"),
        ({"validate_every": -1}, "validate_every must be"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be"),
        ({"max_bad_steps": 0}, "max_bad_steps must be"),
        ({"num_workers": 300}, "num_workers must be"),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_bound(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    assert words in str(caught.value)


def test_wsd_rises_stays_and_falls_over_the_last_fifth() -> None:
    config = make(learning_rate=1.0, warmup_steps=10)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert set(rates[10:81]) == {1.0}
    assert rates[80:] == pytest.approx([(100 - i) / 20 for i in range(80, 100)])


def test_cosine_falls_from_the_end_of_warm_up_to_almost_nothing() -> None:
    config = make(learning_rate=1.0, warmup_steps=20, schedule="cosine")
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[20] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert all(a >= b for a, b in itertools.pairwise(rates[20:]))


def test_constant_stays() -> None:
    config = make(learning_rate=0.1, schedule="constant")
    assert {config.learning_rate_at(step) for step in range(100)} == {0.1}
    assert make(decay_fraction=0.0, learning_rate=0.1).learning_rate_at(99) == 0.1


@given(st.sampled_from(["wsd", "cosine", "constant"]), st.integers(1, 400), st.data())
def test_every_rate_is_above_nothing_and_at_most_the_height(
    schedule: str, steps: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, steps))
    config = make(steps=steps, warmup_steps=warmup, schedule=schedule, learning_rate=0.5)
    rates = [config.learning_rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 0.5 for rate in rates)


def test_no_averaging_is_possible() -> None:
    assert make(ema_decay=0.0).ema_decay_at(10**6) == 0.0


def test_texts_become_fields_of_their_types() -> None:
    config, rest = set_fields(make(), {"schedule": "cosine", "clip_norm": "inf", "other": "1"})
    assert (config.schedule, config.clip_norm, rest) == ("cosine", math.inf, {"other": "1"})
    assert split_fields(LoopConfig, {"seed": "1", "width": "2"}) == ({"seed": "1"}, {"width": "2"})


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"steps": "many"}, "steps must be a whole number, got 'many'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"schedule": "step"}, "schedule must be one of wsd, cosine, constant, got 'step'"),
        ({"betas": "0.9"}, "betas must be 2 values with commas"),
        ({"steps": "0"}, "steps must be in"),
    ],
)
def test_texts_that_are_no_values_are_refused(texts: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        set_fields(make(), texts)


@given(
    num_examples=st.integers(1, 40),
    parts=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_every_epoch_is_a_permutation_however_it_is_shared(
    num_examples: int, parts: tuple[int, int, int], seed: int
) -> None:
    world_size, accumulation, each = parts
    batch_size = world_size * accumulation * each
    steps = range(-(-2 * num_examples // batch_size))

    def drawn(size: int, micro: int) -> list[tuple[int, int]]:
        found = []
        for step in steps:
            for rank in range(size):
                order = Order(
                    seed=seed, num_examples=num_examples, batch_size=batch_size,
                    accumulation=micro, rank=rank, world_size=size,
                )  # fmt: skip
                tickets = order.tickets(step)
                assert len(tickets) == micro
                assert {len(part) for part in tickets} == {batch_size // size // micro}
                found += [(t.epoch, t.index) for part in tickets for t in part]
        return found

    alone = drawn(1, 1)
    assert drawn(world_size, accumulation) == alone
    for epoch in range(2):
        own = [index for e, index in alone if e == epoch]
        assert sorted(own) == list(range(num_examples))


def test_epochs_and_seeds_give_other_orders_and_other_draws() -> None:
    def first(seed: int, step: int) -> tuple[list[int], float]:
        order = Order(seed=seed, num_examples=50, batch_size=50)
        tickets = sorted(order.tickets(step)[0], key=lambda t: t.index)
        drawn = float(tickets[0].rng.stream(0).standard_normal())
        return [t.index for t in order.tickets(step)[0]], drawn

    cases = [first(0, 0), first(0, 1), first(1, 0)]
    assert len({tuple(indices) for indices, _ in cases}) == 3
    assert len({draw for _, draw in cases}) == 3
    assert first(0, 1) == cases[1]


def test_orders_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 6 for 2 times 2"):
        Order(seed=0, num_examples=5, batch_size=6, accumulation=2, world_size=2)
    with pytest.raises(ConfigError, match="no examples"):
        Order(seed=0, num_examples=0, batch_size=6)
