import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles.markov_chain import MarkovChain, make_chain, noise_floor, total_variation
from weft.errors import CheckpointError, ConfigError, ShapeError
from weft.process.masked import MaskedProcess
from weft.process.sequence import EncodedCanvas
from weft.rng import Rng
from weft.sampling.draws import sharpen
from weft.sampling.steps_masked import (
    LAST_TIME,
    FilledTokens,
    MaskedSamplerConfig,
    PredictFn,
    analytic_probs,
    euler_probs,
    fill_tokens,
)

K = 3
CHAIN = make_chain(K, seed=3)
PROCESS = MaskedProcess(codebook_size=K)
GAP = torch.tensor([0, K, K, K, 1, 2])
NUM_DRAWS = 4000

Sampler = MaskedSamplerConfig


def canvas_of(tokens: Tensor, valid: Tensor | None = None) -> EncodedCanvas:
    """Take the absorbing state as unknown."""
    known = tokens != K
    return EncodedCanvas(
        x=tokens, known=known, valid=torch.ones_like(known) if valid is None else valid
    )


def streams(number: int, seed: int = 0) -> list[np.random.Generator]:
    return [Rng(seed).stream(i) for i in range(number)]


def fill_many(
    config: MaskedSamplerConfig,
    *,
    tokens: Tensor = GAP,
    num_draws: int = NUM_DRAWS,
    predict_fn: PredictFn | None = None,
    seed: int = 0,
) -> FilledTokens:
    return fill_tokens(
        canvas_of(tokens.repeat(num_draws, 1)),
        predict_fn or CHAIN.make_predict_fn(),
        PROCESS,
        config,
        streams(1, seed) * num_draws,  # one after the other, from one stream: draws are independent
    )


def distance(law: Tensor, config: MaskedSamplerConfig, tokens: Tensor = GAP, **options) -> float:
    """Return how far draws are from a law of the gap, in total variation."""
    filled = fill_many(config, tokens=tokens, **options).tokens
    assert bool((filled == tokens)[:, tokens != K].all())
    return total_variation(CHAIN.indices(tokens, filled), law)


@dataclass
class Recorder:
    """A network that keeps what it was asked; its posterior is uniform, or the chain's."""

    chain: MarkovChain | None = None
    tokens: list[Tensor] = field(default_factory=list)
    total_noise: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)

    def __call__(self, tokens: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
        assert rows is not None
        self.tokens.append(tokens.clone())
        self.total_noise.append(total_noise.double())
        self.rows.append(rows)
        assert not torch.is_grad_enabled()
        if self.chain is not None:
            return self.chain.make_predict_fn()(tokens, total_noise, rows)
        return torch.full((*rows.shape, K), -np.log(K))


# The joint law of draws. The floor is the distance that exact draws of the same number have from
# their own law: mean .014, 99.9 % quantile .028 for the gap of three tokens. Broken samplers: all
# tokens in one call .48, two calls .17, known tokens forgotten .91, what is revealed not seen .47.


@pytest.mark.parametrize(
    "config",
    [
        Sampler(),
        Sampler(order="confidence"),
        Sampler(noise="schedule"),
        Sampler(steps=3),
        Sampler(steps=500),
    ],
)
def test_first_hitting_draws_from_the_joint_posterior(config: MaskedSamplerConfig) -> None:
    law = CHAIN.posterior(GAP)
    assert noise_floor(law, NUM_DRAWS)[1] < 0.029
    assert distance(law, config) < noise_floor(law, NUM_DRAWS)[1]  # measured .010 to .020


@pytest.mark.parametrize("tokens", [[K, K, 1, 0], [2, K, K], [K, K, K, K], [K, 1, K, 2, K]])
def test_gaps_at_the_ends_several_gaps_and_nothing_known(tokens: list[int]) -> None:
    law = CHAIN.posterior(torch.tensor(tokens))
    assert distance(law, Sampler(), torch.tensor(tokens)) < noise_floor(law, NUM_DRAWS)[1]


@pytest.mark.parametrize(("steps", "sizes", "bias"), [(2, [1, 2], 0.1671), (1, [3], 0.4765)])
def test_tokens_of_one_call_are_drawn_independently_the_larger_rounds_last(
    steps: int, sizes: list[int], bias: float
) -> None:
    posterior, law = CHAIN.posterior(GAP), CHAIN.law_of_sizes(GAP, sizes)
    floor = noise_floor(law, NUM_DRAWS)[1]
    assert float((law - posterior).abs().sum() / 2) == pytest.approx(bias, abs=1e-4)
    assert distance(law, Sampler(steps=steps)) < floor
    assert distance(posterior, Sampler(steps=steps)) > 3 * floor  # so a sampler like that is seen


@pytest.mark.parametrize("kind", ["analytic", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_grids_draw_from_the_exact_law_of_their_steps(kind: str, steps: int) -> None:
    # With log-linear noise a token is revealed in each step with the same probability, dt. Tokens
    # of one step are independent. A grid read one step late reveals dt / (t - dt) in place of
    # dt / t of what is left, so everything one step too early: .23 away at two steps, .04 at four.
    shares = [*[(1 - LAST_TIME) / steps] * steps, LAST_TIME]
    law = CHAIN.law_of_times(GAP, shares)
    floor = noise_floor(law, NUM_DRAWS)[1]
    config = Sampler(kind=kind, steps=steps, noise="schedule")
    assert distance(law, config) < floor
    if steps < 4:
        assert distance(CHAIN.posterior(GAP), config) > 3 * floor


@pytest.mark.parametrize("kind", ["analytic", "euler"])
def test_grids_of_more_steps_come_nearer_to_the_posterior(kind: str) -> None:
    law = CHAIN.posterior(GAP)
    bias = [float((CHAIN.law_of_times(GAP, [1 / n] * n) - law).abs().sum() / 2) for n in (4, 16)]
    assert bias == pytest.approx([0.123, 0.031], abs=1e-3)
    found = distance(law, Sampler(kind=kind, steps=16), num_draws=1500)
    assert found < noise_floor(law, 1500)[1] + bias[1]


def test_the_bounds_see_broken_networks_and_settings() -> None:
    ideal = CHAIN.make_predict_fn()

    def forgets_known(tokens: Tensor, total_noise: Tensor, rows: Tensor) -> Tensor:
        return ideal(torch.full_like(tokens, K), total_noise, rows)

    def looks_beside(tokens: Tensor, total_noise: Tensor, rows: Tensor) -> Tensor:
        return ideal(tokens, total_noise, rows - 1)

    def sees_nothing_revealed(tokens: Tensor, total_noise: Tensor, rows: Tensor) -> Tensor:
        return ideal(GAP.expand_as(tokens), total_noise, rows)

    law = CHAIN.posterior(GAP)
    floor = noise_floor(law, NUM_DRAWS)[1]
    for broken in (forgets_known, looks_beside, sees_nothing_revealed):
        assert distance(law, Sampler(), predict_fn=broken) > 3 * floor
    for config in (Sampler(temperature=0.6), Sampler(temperature=1.8), Sampler(top_p=0.7)):
        assert distance(law, config) > 3 * floor


@pytest.mark.parametrize("kind", ["first-hitting", "analytic", "euler"])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.6, 1.0), (1.0, 0.8), (1.5, 0.9)])
def test_temperature_and_nucleus_act_on_the_posterior(
    kind: str, temperature: float, top_p: float
) -> None:
    tokens = torch.tensor([1, K, 2])
    law = CHAIN.marginals(tokens[None])[:, 1]
    law = sharpen(law.log(), temperature=temperature, top_p=top_p).exp()[0]
    assert float(law.max()) < 0.9
    config = Sampler(kind=kind, steps=2, temperature=temperature, top_p=top_p)
    assert distance(law, config, tokens, num_draws=4000) < noise_floor(law, 4000)[1]


def test_temperature_zero_takes_the_most_probable_symbol() -> None:
    tokens = torch.tensor([0, K, 1])
    best = int(CHAIN.marginals(tokens[None])[0, 1].argmax())
    for kind in ("first-hitting", "analytic", "euler"):
        config = Sampler(kind=kind, steps=2, temperature=0.0)
        assert set(fill_many(config, tokens=tokens, num_draws=50).tokens[:, 1].tolist()) == {best}


# What the network is asked.


def test_the_noise_told_is_that_of_the_share_of_masked_tokens() -> None:
    network = Recorder()
    valid = torch.tensor([[True] * 8 + [False] * 4])
    tokens = torch.tensor([[0, K, K, 1, 1, K, 2, 0, K, K, K, K]])
    fill_tokens(canvas_of(tokens, valid), network, PROCESS, Sampler(), streams(1))
    told = -torch.expm1(-torch.cat(network.total_noise))
    assert torch.allclose(told, torch.tensor([3 / 8, 2 / 8, 1 / 8]).double(), atol=1e-6)


def test_the_noise_told_is_capped_where_training_ends() -> None:
    for noise in ("ratio", "schedule"):
        for kind in ("first-hitting", "analytic"):
            network = Recorder()
            config = Sampler(kind=kind, noise=noise, steps=4)
            fill_many(config, tokens=torch.tensor([K] * 4), num_draws=8, predict_fn=network)
            most = PROCESS.schedule.total_noise(torch.ones(1).double()).item()
            assert torch.cat(network.total_noise).max() <= most + 1e-5
            if noise == "ratio" or kind == "analytic":
                assert network.total_noise[0].tolist() == pytest.approx([most] * 8, rel=1e-6)


def test_hitting_times_told_are_those_of_the_process() -> None:
    # The hits of three tokens are three uniform numbers, falling: means 3/4, 2/4, 1/4.
    network = Recorder()
    fill_many(Sampler(noise="schedule"), num_draws=4000, predict_fn=network)
    times = torch.stack([PROCESS.schedule.time_at(n) for n in network.total_noise], dim=1)
    assert bool((times.diff(dim=1) < 0).all())
    spread = np.sqrt(3 / 80 / 4000)
    assert np.allclose(times.mean(dim=0), [3 / 4, 2 / 4, 1 / 4], atol=4 * spread)
    # Two of four tokens a call: the network is told of the first of them, 4/5 and then 2/5.
    network = Recorder()
    config = Sampler(noise="schedule", steps=2)
    fill_many(config, tokens=torch.tensor([K] * 4), predict_fn=network)
    times = torch.stack([PROCESS.schedule.time_at(n) for n in network.total_noise], dim=1)
    assert np.allclose(times.mean(dim=0), [4 / 5, 2 / 5], atol=4 * np.sqrt(1 / 25 / 4000))


@pytest.mark.parametrize("kind", ["analytic", "euler"])
def test_grids_run_linearly_from_one_to_their_last_time(kind: str) -> None:
    network = Recorder()
    tokens = torch.full((1000,), K)
    fill_many(
        Sampler(kind=kind, steps=5, noise="schedule"),
        tokens=tokens,
        num_draws=20,
        predict_fn=network,
    )
    grid = np.linspace(1, LAST_TIME, 6)
    for call, told in enumerate(network.total_noise):
        time = PROCESS.schedule.time_at(told)
        assert np.allclose(time, grid[call], atol=1e-5)
        left = float((network.tokens[call] == K).double().mean())
        # At time t the share t of the tokens is left: the law that an off-by-one in time breaks.
        assert left == pytest.approx(grid[call], abs=4 * np.sqrt(0.25 / 20_000) + 1e-9)
    assert len(network.total_noise) >= 5


def test_the_network_is_asked_for_the_rows_that_matter() -> None:
    for config, sizes in (
        (Sampler(), [1, 1, 1]),
        (Sampler(steps=2), [1, 2]),
        (Sampler(order="confidence"), [3, 2, 1]),
    ):
        network = Recorder(CHAIN)
        fill_many(config, num_draws=4, predict_fn=network)
        assert [r.shape[1] for r in network.rows] == sizes
        for tokens, rows in zip(network.tokens, network.rows, strict=True):
            assert bool((tokens.gather(1, rows) == K).all())
    network = Recorder(CHAIN)
    fill_many(Sampler(kind="analytic", steps=20), num_draws=4, predict_fn=network)
    for tokens, rows in zip(network.tokens, network.rows, strict=True):
        for i in range(len(tokens)):
            assert sorted(set(rows[i].tolist())) == (tokens[i] == K).nonzero()[:, 0].tolist()


def test_confidence_reveals_where_the_best_symbol_is_most_probable() -> None:
    network = Recorder(CHAIN)
    fill_many(Sampler(order="confidence"), num_draws=30, predict_fn=network)
    for now, then in zip(network.tokens[:-1], network.tokens[1:], strict=True):
        best = CHAIN.marginals(now).amax(dim=2).masked_fill(now != K, -1)
        changed = (now != then).nonzero()
        assert changed[:, 0].tolist() == list(range(30))
        assert changed[:, 1].tolist() == best.argmax(dim=1).tolist()


def test_items_that_are_done_leave_the_calls() -> None:
    tokens = torch.tensor([[0, K, K, K, 1], [0, 1, K, 2, 1], [0, 1, 1, 1, 1], [K, K, 0, 1, 0]])
    network = Recorder()
    filled = fill_tokens(canvas_of(tokens), network, PROCESS, Sampler(), streams(4))
    assert [len(t) for t in network.tokens] == [3, 2, 1]
    assert filled.num_calls == 3


def test_a_canvas_without_unknown_tokens_makes_no_call() -> None:
    def fails(*arguments: object) -> Tensor:
        raise AssertionError

    for tokens in (torch.tensor([[0, 1, 2]]), torch.zeros(0, 4, dtype=torch.long)):
        filled = fill_tokens(canvas_of(tokens), fails, PROCESS, Sampler(), streams(len(tokens)))
        assert filled.num_calls == 0
        assert torch.equal(filled.tokens, tokens)
        assert not bool(filled.log_probs.any())


def test_what_stands_at_unknown_positions_is_not_read() -> None:
    known = torch.tensor([[True, False, False, True]])
    results = [
        fill_tokens(
            EncodedCanvas(x=torch.tensor(x), known=known, valid=torch.ones_like(known)),
            CHAIN.make_predict_fn(),
            PROCESS,
            Sampler(),
            streams(1),
        ).tokens
        for x in ([[0, K, K, 1]], [[0, -7, 99, 1]])
    ]
    assert torch.equal(*results)


def test_a_network_that_writes_into_its_input_changes_nothing() -> None:
    ideal = CHAIN.make_predict_fn()

    def scribbles(tokens: Tensor, total_noise: Tensor, rows: Tensor) -> Tensor:
        found = ideal(tokens, total_noise, rows)
        tokens.fill_(0)
        return found

    for kind in ("first-hitting", "analytic"):
        config = Sampler(kind=kind, steps=8)
        expected = fill_many(config, num_draws=50).tokens
        assert torch.equal(fill_many(config, num_draws=50, predict_fn=scribbles).tokens, expected)


def test_log_probs_are_those_of_the_chosen_tokens_before_temperature() -> None:
    # One token a call, so their sum is the log posterior of the whole gap.
    for config in (
        Sampler(temperature=0.5),
        Sampler(order="confidence"),
        Sampler(kind="euler", steps=40),
    ):
        filled = fill_many(config, num_draws=20)
        assert not bool(filled.log_probs[:, GAP != K].any())
        assert bool((filled.log_probs[:, GAP == K] < 0).all())
        if config.kind == "first-hitting":
            law = CHAIN.posterior(GAP)[CHAIN.indices(GAP, filled.tokens)].log()
            assert torch.allclose(filled.log_probs.sum(dim=1).double(), law, atol=1e-5)


# Batches.


@st.composite
def canvases(draw: st.DrawFn) -> EncodedCanvas:
    """Draw batches of sequences of any valid length, with padding before or after them."""
    num_items, num_frames = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    tokens = torch.from_numpy(rng.integers(0, K, (num_items, num_frames)))
    valid = torch.ones(num_items, num_frames, dtype=torch.bool)
    for i in range(num_items):
        first, last = sorted(rng.integers(0, num_frames + 1, 2))
        if rng.random() < 0.7:
            valid[i, :first], valid[i, last:] = False, False
    tokens[~valid] = 99
    known = torch.from_numpy(rng.random((num_items, num_frames)) < rng.random())
    return EncodedCanvas(x=tokens, known=known, valid=valid)


configs = st.sampled_from(
    [
        Sampler(),
        Sampler(steps=2, top_p=0.9),
        Sampler(order="confidence", noise="schedule"),
        Sampler(noise="schedule", steps=3),
        Sampler(kind="analytic", steps=6),
        Sampler(kind="euler", steps=5, noise="schedule", temperature=0.7),
    ]
)


def subset(canvas: EncodedCanvas, items: list[int]) -> EncodedCanvas:
    return EncodedCanvas(x=canvas.x[items], known=canvas.known[items], valid=canvas.valid[items])


@settings(max_examples=20)
@given(canvases(), configs, st.integers(0, 5))
def test_an_item_draws_the_same_whatever_the_batch(
    canvas: EncodedCanvas, config: MaskedSamplerConfig, split: int
) -> None:
    chain = CHAIN.make_predict_fn()

    def predict_fn(tokens: Tensor, total_noise: Tensor, rows: Tensor) -> Tensor:
        # Depends on the noise as well, so that what an item is told counts.
        return torch.log_softmax(chain(tokens, total_noise, rows) * total_noise[:, None, None], -1)

    def fill(items: list[int]) -> FilledTokens:
        rng = [Rng(3).stream(i) for i in items]
        return fill_tokens(subset(canvas, items), predict_fn, PROCESS, config, rng)

    together = fill(list(range(len(canvas.x))))
    for items in (list(range(len(canvas.x)))[::-1], [min(split, len(canvas.x) - 1)]):
        apart = fill(items)
        assert torch.equal(apart.tokens, together.tokens[items])
        assert torch.allclose(apart.log_probs, together.log_probs[items], atol=1e-6)


@settings(max_examples=25)
@given(canvases(), configs)
def test_known_tokens_and_padding_stay_and_calls_are_at_most_the_unknown_tokens(
    canvas: EncodedCanvas, config: MaskedSamplerConfig
) -> None:
    network = Recorder(CHAIN)
    filled = fill_tokens(canvas, network, PROCESS, config, streams(len(canvas.x)))
    kept = canvas.known | ~canvas.valid
    assert torch.equal(filled.tokens[kept], canvas.x[kept])
    assert bool(((filled.tokens >= 0) & (filled.tokens < K))[canvas.valid].all())
    assert filled.num_calls == len(network.tokens)
    if config.kind == "first-hitting":
        assert filled.num_calls <= int(canvas.unknown.sum())
    lengths = set(canvas.valid.sum(dim=1).tolist())
    assert filled.num_calls <= len(lengths) * (10 if config.steps is None else config.steps + 1)


@settings(max_examples=15)
@given(configs, st.integers(1, 6), st.integers(0, 1000))
def test_a_shifted_canvas_gives_shifted_tokens(
    config: MaskedSamplerConfig, shift: int, seed: int
) -> None:
    tokens = torch.tensor([[1, 0, 2, K, K, K, 1, 2, 0, 0, 1, 2, 2, 0]])
    moved = torch.roll(tokens, shift, dims=1)  # the gap keeps its neighbours
    results = [
        fill_tokens(canvas_of(x), CHAIN.make_predict_fn(), PROCESS, config, streams(1, seed)).tokens
        for x in (tokens, moved)
    ]
    assert torch.equal(torch.roll(results[0], shift, dims=1), results[1])


def test_padding_never_reaches_the_network() -> None:
    tokens = torch.tensor([[99, 0, K, 1, 99], [0, K, 1, K, 2], [99, 99, 1, K, 0]])
    valid = tokens != 99
    network = Recorder(CHAIN)
    filled = fill_tokens(canvas_of(tokens, valid), network, PROCESS, Sampler(), streams(3))
    assert sorted(tuple(t.shape) for t in network.tokens) == [(1, 5), (1, 5), (2, 3)]
    assert filled.num_calls == 3


# One step against the published code, and against its closed form.

FIXTURE = Path(__file__).parents[1] / "parity" / "sedd"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    with np.load(FIXTURE / "reference.npz") as arrays:
        names = [
            n for n in arrays if n.startswith(("step", "analytic", "denoise", "euler", "ideal"))
        ]
        found = {n: torch.from_numpy(arrays[n]).double() for n in names}
        return found | {"x": torch.from_numpy(arrays["x"])}


@pytest.mark.parametrize("prefix", ["", "ideal_"])
def test_one_step_has_the_published_weights(published: dict[str, Tensor], prefix: str) -> None:
    # Tolerance: the fixture is in 32 bits and its scores reach 10.
    schedule, tokens = PROCESS.schedule, published["x"]
    t = published[f"{prefix}t" if prefix else "step_t"][:, 0]
    dt = float(published[f"{prefix}dt" if prefix else "step_dt"])
    log_score = published[f"{prefix}score" if prefix else "step_score"].log()
    noise = schedule.total_noise(t)
    found = {
        "analytic_probs": analytic_probs(log_score, tokens, noise - schedule.total_noise(t - dt)),
        "denoise_probs": analytic_probs(log_score, tokens, noise)[..., :-1],
        "euler_probs": euler_probs(log_score, tokens, schedule.noise_rate(t), dt),
    }
    for name, value in found.items():
        expected = published[prefix + name]
        scale = 1 + float(expected.abs().max())
        assert torch.allclose(value, expected, atol=2e-5 * scale, rtol=1e-4), name
    if not prefix:
        factors = published["analytic_staggered"] * published["analytic_transp_transition"]
        assert torch.allclose(found["analytic_probs"], factors, atol=2e-4, rtol=1e-4)


def test_consistent_scores_reveal_at_the_rate_of_the_process(published: dict[str, Tensor]) -> None:
    tokens, p = published["x"], published["ideal_p"]
    config = json.loads((FIXTURE / "config.json").read_text())
    is_masked = tokens == config["mask_index"]
    t, dt = published["ideal_t"][:, 0], float(published["ideal_dt"])
    before, after = (PROCESS.schedule.masked_fraction(time) for time in (t, t - dt))
    log_score = published["ideal_score"].log()
    step = PROCESS.schedule.total_noise(t) - PROCESS.schedule.total_noise(t - dt)
    found = analytic_probs(log_score, tokens, step)[is_masked]
    share = ((before - after) / before)[:, None].expand_as(tokens)[is_masked][:, None]
    assert torch.allclose(found[:, :-1], p[is_masked] * share, atol=1e-6)
    assert torch.allclose(found[:, -1:], 1 - share, atol=1e-6)


# What is refused.


def check_refused(
    error: type[Exception], words: str, canvas: EncodedCanvas, **options: object
) -> None:
    rng = options.get("rng", streams(len(canvas.x)))
    predict_fn = options.get("predict_fn", CHAIN.make_predict_fn())
    with pytest.raises(error, match=words):
        fill_tokens(canvas, predict_fn, PROCESS, Sampler(), rng)


@pytest.mark.parametrize("bad", [-1, K, K + 1])
def test_known_tokens_outside_the_codebook_are_refused(bad: int) -> None:
    known = torch.tensor([[True, False, True]])
    canvas = EncodedCanvas(x=torch.tensor([[bad, 0, 1]]), known=known, valid=torch.ones_like(known))
    check_refused(ConfigError, r"known tokens must be in \[0, 3\)", canvas)
    padded = EncodedCanvas(x=canvas.x, known=known, valid=torch.tensor([[False, True, True]]))
    fill_tokens(padded, CHAIN.make_predict_fn(), PROCESS, Sampler(), streams(1))


def test_canvases_and_networks_that_do_not_fit_are_refused() -> None:
    canvas = canvas_of(torch.tensor([[0, K, 1]]))
    latents = EncodedCanvas(x=torch.zeros(1, 3, 4), known=canvas.known, valid=canvas.valid)
    check_refused(ShapeError, "canvas of tokens", latents)
    check_refused(ShapeError, "2 generators for 1 items", canvas, rng=streams(2))
    torn = EncodedCanvas(x=canvas.x, known=canvas.known, valid=torch.tensor([[True, False, True]]))
    check_refused(ShapeError, "must lie together", torn)

    def network(columns: int, value: float) -> Callable[..., Tensor]:
        return lambda tokens, noise, rows: torch.full((*rows.shape, columns), value)

    check_refused(ShapeError, "without the absorbing state", canvas, predict_fn=network(K + 1, 0.0))
    for value in (float("nan"), float("-inf"), float("inf")):
        check_refused(CheckpointError, "NaN or infinity", canvas, predict_fn=network(K, value))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "ancestral"}, "kind must be one of"),
        ({"order": "left"}, "order must be one of"),
        ({"noise": "real"}, "noise must be one of"),
        ({"steps": 0}, "steps must be None or in"),
        ({"steps": 100_001}, "steps must be None or in"),
        ({"temperature": -0.1}, "temperature must be in"),
        ({"temperature": float("nan")}, "temperature must be in"),
        ({"top_p": 0.0}, "top_p must be in"),
        ({"top_p": 1.1}, "top_p must be in"),
        ({"kind": "euler", "order": "confidence"}, "does not go with kind='euler'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], words: str) -> None:
    # The type hook of the tests refuses wrong literals before the class can.
    with pytest.raises((ConfigError, TypeError)) as caught:
        Sampler(**settings)
    assert isinstance(caught.value, TypeError) or words in str(caught.value)
