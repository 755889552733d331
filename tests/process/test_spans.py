"""Which tokens are masked together: statistics, and exact distributions on short sequences."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weft.errors import ConfigError, ShapeError
from weft.process.schedules import LogLinearNoise
from weft.process.spans import SpanConfig, SpanKind, draw_masked

SEDD = Path(__file__).parents[1] / "parity" / "sedd"
SCHEDULE = LogLinearNoise()
KINDS: tuple[SpanKind, ...] = ("independent", "published", "gaps")
GAP_TIME = 22 / 300 / 0.999
"""When 22 of 300 tokens are masked, as in a gap of 300 ms of a window of 4 s."""


def draw(
    kind: SpanKind, t: float, num_items: int, num_frames: int, *, seed: int = 0, **fields: float
) -> Tensor:
    return draw_masked(
        num_items,
        num_frames,
        torch.full((num_items,), t),
        schedule=SCHEDULE,
        config=SpanConfig(kind=kind, **fields),  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(seed),
    )


def runs_of(row: np.ndarray) -> np.ndarray:
    """Lengths of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def runs(masked: Tensor) -> np.ndarray:
    return np.concatenate([runs_of(row) for row in masked.numpy()])


def circular_runs(row: np.ndarray, *, of: bool = True) -> np.ndarray:
    """Runs of masked, or of unmasked frames of a circle that holds both."""
    state = row == of
    return runs_of(np.roll(state, -int(np.flatnonzero(~state)[0])))


def frequencies(masked: Tensor) -> np.ndarray:
    """How often each of the 2 ** l masks was drawn."""
    weights = 1 << torch.arange(masked.shape[1])
    counts = torch.bincount((masked * weights).sum(dim=1), minlength=1 << masked.shape[1])
    return (counts / len(masked)).numpy()


def code(positions: tuple[int, ...]) -> int:
    return sum(1 << position for position in positions)


# The published kind


@pytest.mark.parametrize("row", range(5))
def test_published_spans_have_the_statistics_of_the_released_sampler(row: int) -> None:
    reference = np.load(SEDD / "reference.npz")
    t, _, _, budget, mean, std, least, _, run, _, num_runs = reference["span_stats"][row]
    masked = draw("published", float(t), 1500, 300)
    share = masked.float().mean(dim=1).numpy()
    assert share.mean() == pytest.approx(mean, abs=4e-4)
    assert share.std() == pytest.approx(std, rel=0.15)
    assert share.min() == pytest.approx(least, abs=1e-6)
    assert share.min() == pytest.approx(budget, abs=1e-6)
    assert runs(masked).mean() == pytest.approx(run, rel=0.03)
    assert len(runs(masked)) / len(masked) == pytest.approx(num_runs, rel=0.03)
    rate = masked.float().mean(dim=0).numpy()
    assert abs(rate - reference["span_position_rate"][row]).max() < 0.12
    # The fixture's deviation of one position is 0.025 at most, of both ends' mean 0.018.
    ends = reference["span_position_rate"][row][[0, -1]].mean()
    assert rate[[0, -1]].mean() == pytest.approx(ends, abs=0.055)


def test_published_spans_are_those_of_a_chain_over_sets() -> None:
    num_frames, longest, p0, t = 5, 3, 0.4, 0.62
    config = SpanConfig(kind="published", p0=p0, alpha=0.7, max_span=longest)
    noise = float(SCHEDULE.total_noise(torch.tensor([t])))
    p = p0 / (1 + 0.7 * noise)
    budget = math.floor(0.999 * t * num_frames)
    spans: dict[int, float] = {}
    for length in range(1, longest + 1):
        chance = p * (1 - p) ** (length - 1) if length < longest else (1 - p) ** (longest - 1)
        for start in range(num_frames - length + 1):
            spans[code(tuple(range(start, start + length)))] = chance / (num_frames - length + 1)
    reached = {0: 1.0}
    exact = np.zeros(1 << num_frames)
    for _ in range(200):
        following: dict[int, float] = {}
        for state, chance in reached.items():
            for span, weight in spans.items():
                new = state | span
                if new.bit_count() >= budget:
                    exact[new] += chance * weight
                else:
                    following[new] = following.get(new, 0.0) + chance * weight
        reached = following
    assert exact.sum() == pytest.approx(1)
    num_items = 60000
    masked = draw_masked(
        num_items, num_frames, torch.full((num_items,), t), schedule=SCHEDULE, config=config,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    # Measured 0.003 to 0.0065 (five seeds). Without the cap 0.59, without growth 0.12.
    assert 0.5 * abs(frequencies(masked) - exact).sum() < 0.009


def test_published_spans_fit_sequences_shorter_than_a_span() -> None:
    masked = draw("published", 0.9, 500, 5, p0=0.05)
    assert (masked.sum(dim=1) >= 4).all()
    assert draw("published", 1.0, 50, 1).sum() == 0  # the budget of one frame is 0
    valid = torch.zeros(300, 40, dtype=torch.bool)
    valid[:, :6] = True  # spans must fit what is valid, not the batch's length
    padded = draw_masked(
        300, 40, torch.full((300,), 0.7), schedule=SCHEDULE, valid=valid,
        config=SpanConfig(kind="published", p0=0.05), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert (padded[:, :6].sum(dim=1) >= 4).all()
    assert not padded[:, 6:].any()


def test_published_spans_of_length_one_are_possible() -> None:
    # p = 1 without growth: every span is one token, so there is nothing to overshoot.
    masked = draw("published", 0.5, 400, 40, p0=1.0, alpha=0.0)
    assert (masked.sum(dim=1) == 19).all()


# Gaps


@pytest.mark.parametrize("t", [0.002, GAP_TIME, 0.5, 0.95, 1.0])
def test_gaps_mask_exactly_the_scheduled_share_on_average(t: float) -> None:
    masked = draw("gaps", t, 4000, 300)
    wanted = 0.999 * t * 300
    counts = masked.sum(dim=1).double()
    low, high = math.floor(wanted + 1e-4), math.ceil(wanted - 1e-4)
    assert set(counts.int().tolist()) <= {low, high}
    # Of two neighbouring numbers the standard deviation is 0.5 at most, so this is 4 of the mean.
    assert float(counts.mean()) == pytest.approx(wanted, abs=4 * 0.5 / math.sqrt(4000))


@pytest.mark.parametrize("t", [GAP_TIME, 0.5, 0.95])
def test_gaps_reach_every_position_equally_often(t: float) -> None:
    num_items = 6000
    rate = draw("gaps", t, num_items, 60).double().mean(dim=0)
    wanted = 0.999 * t
    deviation = math.sqrt(wanted * (1 - wanted) / num_items)
    assert float((rate - wanted).abs().max()) < 4.5 * deviation
    ends = torch.cat([rate[:3], rate[-3:]])  # published spans: 0.41 and 0.78 at t 0.5 and 0.95
    assert float(ends.mean()) == pytest.approx(wanted, abs=3.5 * deviation)


def test_fresh_gaps_are_whole_spans() -> None:
    masked = draw("gaps", GAP_TIME, 3000, 300, fresh_share=1.0).numpy()
    assert set(masked.sum(axis=1).tolist()) <= {21, 22}
    num_spans = np.array([len(circular_runs(row)) for row in masked])
    # One span where the first length reaches the region: log(61 / 22) / log(61 / 3) = 0.34, and
    # some that touch by chance (0.004 for each further one).
    assert (num_spans == 1).mean() == pytest.approx(0.345, abs=0.035)
    assert num_spans.max() <= 8
    lengths = np.concatenate([circular_runs(row) for row in masked])
    short = sum((circular_runs(row) < 3).sum() for row in masked)
    assert short <= len(masked)  # only the span that was cut
    assert lengths.mean() > 8  # measured 10.8; published spans have 1.4


def test_known_stretches_between_gaps_are_of_any_length() -> None:
    masked = draw("gaps", GAP_TIME, 6000, 300, fresh_share=1.0).numpy()
    longest = [circular_runs(row, of=False).max() for row in masked if len(circular_runs(row)) == 2]
    # The larger part of 278 frames that are cut at a uniform place is 3/4 of them on average.
    assert len(longest) > 1000
    assert np.mean(longest) == pytest.approx(0.75 * 278, abs=6)


def test_gaps_are_the_states_of_a_sampler_that_fills_one_gap() -> None:
    num_frames, num_masked = 6, 2
    t = num_masked / num_frames / 0.999
    # A fill of r frames has each number of masked frames 1 .. r once, all subsets equally likely;
    # sizes have the weights 1 / (r + 1). So says the sampler; `draw_masked` starts from the number.
    exact = np.zeros(1 << num_frames)
    for size in range(num_masked, num_frames + 1):
        weight = 1 / (size + 1) / size / num_frames / math.comb(size, num_masked)
        for start in range(num_frames):
            arc = [(start + i) % num_frames for i in range(size)]
            for subset in itertools.combinations(arc, num_masked):
                exact[code(subset)] += weight
    exact /= exact.sum()
    masked = draw(
        "gaps", t, 60000, num_frames, min_gap=num_frames, max_gap=num_frames, fresh_share=0.0
    )
    found = frequencies(masked[masked.sum(dim=1) == num_masked])
    # Measured 0.003 to 0.0065 (five seeds), which is what sampling gives. Regions that have not
    # been filled: 0.24; tokens one by one: 0.35.
    assert 0.5 * abs(found - exact).sum() < 0.011


def test_fresh_share_adds_whole_gaps() -> None:
    some = draw("gaps", GAP_TIME, 2000, 300, min_gap=60, max_gap=60).numpy()
    whole = np.mean([len(circular_runs(row)) == 1 for row in some])
    # 0.25, and 1 / 23 of the others, whose region is just as large as what is masked; a region of
    # one frame more adds 2 / 23 of its share of 1 / 24.
    assert whole == pytest.approx(0.25 + 0.75 / 23, abs=0.04)


def test_long_regions_have_long_gaps() -> None:
    masked = draw("gaps", 0.5, 1000, 300, fresh_share=1.0).numpy()
    longest = np.array([circular_runs(row).max() for row in masked])
    assert (longest > 60).mean() > 0.5  # max_gap holds for small regions only


# All kinds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [0.1, 0.6])
def test_the_share_holds_for_valid_frames_wherever_they_are(kind: SpanKind, t: float) -> None:
    valid = torch.zeros(900, 50, dtype=torch.bool)
    valid[:300, :40] = True
    valid[300:600, 7:27] = True
    valid[600:, ::2] = True
    masked = draw_masked(
        900, 50, torch.full((900,), t), schedule=SCHEDULE, config=SpanConfig(kind=kind),
        generator=torch.Generator().manual_seed(0), valid=valid,
    )  # fmt: skip
    assert not (masked & ~valid).any()
    for part in range(3):
        rows = slice(300 * part, 300 * part + 300)
        length = int(valid[rows][0].sum())
        share = float(masked[rows].sum()) / float(valid[rows].sum())
        slack = 1.5 / length if kind == "published" else 0.0  # rounds down, overshoots
        assert share == pytest.approx(0.999 * t, abs=slack + 0.03)


def test_gaps_look_the_same_behind_padding() -> None:
    valid = torch.zeros(400, 100, dtype=torch.bool)
    valid[:, 30:90] = True
    options = {"schedule": SCHEDULE, "config": SpanConfig(fresh_share=1.0)}
    masked = draw_masked(
        400, 100, torch.full((400,), 0.2), valid=valid,
        generator=torch.Generator().manual_seed(0), **options,
    )  # fmt: skip
    inside = masked[:, 30:90].numpy()
    assert np.mean([len(circular_runs(row)) for row in inside]) < 2.5
    assert abs(inside.mean(axis=0) - 0.2).max() < 0.09


@pytest.mark.parametrize("kind", KINDS)
def test_items_have_their_own_times(kind: SpanKind) -> None:
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).repeat(40)
    masked = draw_masked(
        200, 100, t, schedule=SCHEDULE, config=SpanConfig(kind=kind),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    share = masked.float().mean(dim=1).reshape(40, 5).mean(dim=0)
    assert torch.allclose(share, 0.999 * t[:5], atol=0.035)
    assert not masked[::5].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides(kind: SpanKind) -> None:
    first, again, other = (draw(kind, 0.3, 8, 100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_single_tokens_are_independent() -> None:
    masked = draw("independent", 0.4, 20000, 4)
    p = 0.999 * 0.4
    exact = [p ** i.bit_count() * (1 - p) ** (4 - i.bit_count()) for i in range(16)]
    assert 0.5 * abs(frequencies(masked) - np.array(exact)).sum() < 0.02


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    num_frames=st.integers(1, 40),
    num_valid=st.integers(0, 40),
    t=st.floats(0, 1, width=32),
    seed=st.integers(0, 1 << 30),
    spans=st.tuples(st.integers(1, 50), st.integers(1, 9), st.integers(0, 50)),
)
def test_any_length_time_and_setting_works(
    kind: SpanKind, num_frames: int, num_valid: int, t: float, seed: int, spans: tuple[int, ...]
) -> None:
    valid = torch.zeros(2, num_frames, dtype=torch.bool)
    valid[0] = True
    valid[1, : min(num_valid, num_frames)] = True
    masked = draw_masked(
        2, num_frames, torch.tensor([t, t]), schedule=SCHEDULE,
        config=SpanConfig(
            kind=kind, max_span=spans[0], min_gap=spans[1], max_gap=spans[1] + spans[2]
        ),
        generator=torch.Generator().manual_seed(seed), valid=valid,
    )  # fmt: skip
    assert not (masked & ~valid).any()
    for count, length in zip(masked.sum(dim=1), valid.sum(dim=1), strict=True):
        wanted = 0.999 * t * int(length)
        if kind == "gaps":
            assert wanted - 1.001 < count < wanted + 1.001
        elif kind == "published":
            assert math.floor(wanted - 1e-3) <= count <= max(wanted + spans[0] - 1, 0) + 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"p0": 0.0}, "p0 must be in"),
        ({"p0": 1.1}, "p0 must be in"),
        ({"alpha": -1.0}, "alpha must be in"),
        ({"max_span": 0}, "max_span must be in"),
        ({"min_gap": 0}, "min_gap must be in"),
        ({"max_gap": 2}, r"max_gap must be in \[3, 65536\] frames, got 2"),
        ({"max_gap": 65537}, "max_gap must be in"),
        ({"fresh_share": 1.5}, "fresh_share must be in"),
        ({"fresh_share": float("nan")}, "fresh_share must be in"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpanConfig(**fields)  # type: ignore[arg-type]


def test_kinds_that_do_not_exist_are_refused() -> None:
    config = object.__new__(SpanConfig)  # the type hook would be first otherwise
    object.__setattr__(config, "kind", "holes")
    with pytest.raises(ConfigError, match="kind must be one of .*, got 'holes'"):
        config.__post_init__()


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_times_out_of_range_are_refused(t: float) -> None:
    with pytest.raises(ConfigError, match="times must be in"):
        draw("gaps", t, 2, 10)


def test_sizes_that_do_not_fit_are_refused() -> None:
    options = {
        "schedule": SCHEDULE, "config": SpanConfig(), "generator": torch.Generator()
    }  # fmt: skip
    with pytest.raises(ConfigError, match="num_items and num_frames must be at least 1"):
        draw_masked(0, 10, torch.zeros(0), **options)
    with pytest.raises(ShapeError, match="t has 3 times for 2 items"):
        draw_masked(2, 10, torch.zeros(3), **options)
    with pytest.raises(ShapeError, match="valid has the shape"):
        draw_masked(2, 10, torch.zeros(2), valid=torch.ones(2, 9, dtype=torch.bool), **options)
