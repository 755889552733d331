"""Training on tokens: losses, likelihoods of gaps, and from recordings to a model's folder."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from weft.data.manifest import write_manifest
from weft.errors import ConfigError, ShapeError
from weft.losses.masked import masked_cross_entropy
from weft.losses.score_entropy import dwdse
from weft.nn.token_dit import TokenDitConfig
from weft.process.spans import SpanConfig
from weft.rng import Rng
from weft.sampling.token_model import read_token_model
from weft.train.recipes import tokens
from weft.train.recipes.tokens import TokensConfig, TokensRecipe, make
from weft.train.recipes.tokens_baselines import TokenCounts
from weft.train.recipes.tokens_codec import RANDOM_CODEC, find_codec
from weft.train.recipes.tokens_data import EncodeConfig
from weft.train.recipes.tokens_gaps import num_gap_tokens, score_gaps
from weft.train.recipes.tokens_module import ObjectiveConfig, TokensModule, draw_times

RATE = 16000
TINY = TokenDitConfig(
    codebook_size=6, width=16, num_layers=1, num_heads=2, cond_dim=8, dropout=0.0, num_frames=24
)
SUBS = ObjectiveConfig()


def _module(
    objective: ObjectiveConfig = SUBS, network: TokenDitConfig = TINY, seed: int = 0
) -> TokensModule:
    """Return a module whose last layer is not zero, as it is at the start of training."""
    torch.manual_seed(seed)
    table = torch.randn(network.codebook_size, 3)
    module = TokensModule(network, objective, SpanConfig(), table)
    with torch.no_grad():
        for parameter in module.network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
    return module


def _batch(num_items: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    valid = torch.arange(24) < torch.tensor([24, 24, 20, 7])[:num_items, None]
    drawn = torch.randint(6, (num_items, 24), generator=generator)
    return {"tokens": torch.where(valid, drawn, 0), "valid": valid}


def _losses(module: TokensModule, seed: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return dict(module(_batch(), objective="loss", step=0, generator=generator))


def _state(module: TokensModule, seed: int = 5) -> tuple[dict[str, Tensor], object]:
    """Return what a step of this seed corrupts."""
    generator = torch.Generator().manual_seed(seed)
    batch = _batch()
    t = draw_times(4, module.config, generator)
    state = module.process.corrupt(batch["tokens"], t, generator=generator, valid=batch["valid"])
    return batch, state


def test_the_loss_is_the_mean_of_cross_entropies_over_valid_tokens() -> None:
    """Deviation: published code sums over the window."""
    module = _module()
    batch, state = _state(module)
    raw = module.network(state.tokens, state.total_noise, valid=batch["valid"])
    log_probs = torch.log_softmax(raw[..., :-1], dim=2)
    total = masked_cross_entropy(log_probs, batch["tokens"], state.masked, state.t)
    found = _losses(module)
    assert torch.allclose(found["loss"], total.sum() / batch["valid"].sum(), atol=1e-5)
    nll = -log_probs.gather(2, batch["tokens"][:, :, None])[:, :, 0][state.masked]
    assert torch.allclose(found["cross_entropy"], nll.mean(), atol=1e-5)
    hits = (log_probs.argmax(dim=2) == batch["tokens"])[state.masked]
    assert torch.allclose(found["accuracy"], hits.float().mean())
    assert not state.masked[~batch["valid"]].any()


def test_the_published_objective_is_the_score_entropy() -> None:
    module = _module(ObjectiveConfig(objective="dwdse"))
    batch, state = _state(module)
    raw = module.network(state.tokens, state.total_noise, valid=batch["valid"])
    log_score = module.head.log_score(raw, state.tokens, state.total_noise)
    total = dwdse(log_score, state.tokens, batch["tokens"], state.total_noise, state.noise_rate)
    found = _losses(module)["loss"]
    assert torch.allclose(found, total.sum() / batch["valid"].sum(), rtol=1e-4)
    assert module.head.prediction == "log_score"
    assert _module().head.prediction == "logits"


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "subs"},
        {"objective": "subs", "derivative_orders": (1, 2)},
        {"objective": "dwdse"},
        {"objective": "dwdse", "derivative_kind": "aidd"},
    ],
)
def test_derivatives_add_their_weight_of_the_loss(change: dict[str, object]) -> None:
    config = ObjectiveConfig(derivative_weight=10.0, **change)  # type: ignore[arg-type]
    module = _module(config)
    found = _losses(module)
    share = 10.0 * 4 / int(_batch()["valid"].sum())
    assert torch.allclose(found["loss"], found["fit"] + share * found["derivative"], rtol=1e-5)
    plain = _losses(_module(replace(config, derivative_weight=0.0)))
    assert torch.allclose(found["fit"], plain["loss"], rtol=1e-5)
    assert found["derivative"] > 0
    found["loss"].backward()
    assert module.table.grad is None
    assert not module.table.requires_grad
    assert "table" not in module.state_dict()


def test_times_of_a_batch_are_spread_evenly_unless_asked_otherwise() -> None:
    """Deviation: published times are drawn independently."""
    assert ObjectiveConfig().times == "stratified"
    for seed in range(20):
        t = draw_times(16, SUBS, torch.Generator().manual_seed(seed))
        assert torch.equal(((t - 1e-3) / (1 - 1e-3) * 16).floor(), torch.arange(16.0))
    uniform = ObjectiveConfig(times="uniform")
    t = draw_times(16, uniform, torch.Generator().manual_seed(0))
    assert len(set((t * 16).floor().tolist())) < 14
    assert float(t.min()) >= 1e-3


def test_all_draws_of_a_step_come_from_its_generator() -> None:
    module = _module().train()
    torch.manual_seed(1)
    first = _losses(module)
    torch.manual_seed(2)
    second = _losses(module)
    assert torch.equal(first["loss"], second["loss"])
    assert not torch.equal(first["loss"], _losses(module, seed=6)["loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_time": 0.0}, "min_time"),
        ({"derivative_weight": -1.0}, "derivative_weight"),
        ({"derivative_orders": (3,)}, "derivative_orders"),
        ({"derivative_weight": 1.0, "derivative_kind": "aidd"}, "objective=dwdse"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**change)  # type: ignore[arg-type]


class Chain:
    """A Markov chain of three symbols, and the exact posterior of what is hidden."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.first = rng.dirichlet(np.ones(3))
        self.follow = rng.dirichlet(np.ones(3), size=3)
        self.told: list[float] = []

    def probability(self, tokens: tuple[int, ...]) -> float:
        steps = [self.follow[a, b] for a, b in itertools.pairwise(tokens)]
        return float(self.first[tokens[0]] * np.prod(steps))

    def predict(self, state: Tensor, total_noise: Tensor, rows: Tensor | None) -> Tensor:
        assert rows is not None
        self.told += total_noise.tolist()
        found = torch.zeros(*rows.shape, 3)
        for i, seen in enumerate(state.tolist()):
            choices = [range(3) if symbol == 3 else [symbol] for symbol in seen]
            for whole in itertools.product(*choices):
                for j, row in enumerate(rows[i].tolist()):
                    found[i, j, whole[row]] += self.probability(whole)
        return (found / found.sum(dim=2, keepdim=True)).log()


def test_the_likelihood_of_a_gap_is_that_of_an_exact_posterior() -> None:
    chain = Chain()
    sequences = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (3, 6)))
    found = score_gaps(chain.predict, sequences, 3, 3)
    assert (found.start, found.stop) == (1, 4)
    for i, row in enumerate(sequences.tolist()):
        whole = sum(
            chain.probability((row[0], *gap, row[4], row[5]))
            for gap in itertools.product(range(3), repeat=3)
        )
        exact = -np.log(chain.probability(tuple(row)) / whole)
        assert found.any_order_nll[i].sum() == pytest.approx(exact, rel=1e-4)
        hidden = torch.tensor([[row[0], 3, 3, 3, row[4], row[5]]])
        at_once = chain.predict(hidden, torch.zeros(1), torch.tensor([[1, 2, 3]]))[0]
        assert found.nll[i] == pytest.approx(
            [-float(at_once[j, row[1 + j]]) for j in range(3)], rel=1e-4
        )
        hits = at_once.argmax(dim=1) == torch.tensor(row[1:4])
        assert found.is_hit[i].tolist() == hits.double().tolist()
    shares = 1 - np.exp(-np.array(chain.told[: 3 * 4]).reshape(4, 3)[:, 0])
    assert shares == pytest.approx([1 / 2, 1 / 2, 1 / 3, 1 / 6])
    with pytest.raises(ShapeError, match="does not fit"):
        score_gaps(chain.predict, sequences, 5, 3)


def _songs(num: int, rng: np.random.Generator) -> np.ndarray:
    """Return sequences 0 x 0 x 0 x, with another x in each.

    The bigram has forgotten x after every 0; only what stands further away tells it.
    """
    own = rng.integers(1, 4, (num, 1))
    phase = rng.integers(0, 2, (num, 1))
    return np.where((np.arange(24) + phase) % 2 == 0, 0, own)


def test_a_small_network_learns_a_language_that_bigrams_do_not_know() -> None:
    rng = np.random.default_rng(0)
    network = replace(TINY, codebook_size=4, width=32, num_layers=2, is_time_conditioned=False)
    torch.manual_seed(0)
    module = TokensModule(network, SUBS, SpanConfig(min_gap=2, max_gap=12), torch.randn(4, 3))
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for step in range(160):
        clean = torch.from_numpy(_songs(32, rng))
        batch = {"tokens": clean, "valid": torch.ones_like(clean, dtype=torch.bool)}
        generator = torch.Generator().manual_seed(step)
        losses = module(batch, objective="loss", step=step, generator=generator)
        optimiser.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
    module.eval()
    valid = _songs(64, rng)
    with torch.no_grad():
        found = score_gaps(
            lambda x, noise, rows: module.log_probs(x, noise, rows=rows),
            torch.from_numpy(valid),
            6,
            4,
        )
    bigram = TokenCounts(list(_songs(200, rng)), 4).gap_nll(valid, found.start, found.stop) / 6
    assert bigram.mean() > 0.3
    assert found.any_order_nll.mean() < 0.3 * bigram.mean()  # measured 0.053 and 0.549
    assert found.is_hit.mean() > 0.8


def _sound(kind: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    if kind == 0:
        return 0.2 * rng.standard_normal(len(t))
    tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * t)
    return 0.4 * tone * (1 + np.sin(2 * np.pi * 3 * t)) / 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of six train and three valid recordings, one of each too short for a crop."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpora") / "sounds"
    folder.mkdir()
    rows = []
    for number in range(9):
        seconds = 0.3 if number in (5, 8) else 3.0
        sound = _sound(number % 2, Rng(1).stream(number), seconds)
        soundfile.write(folder / f"{number}.wav", sound, RATE, subtype="PCM_16")
        rows.append(
            {
                "file": f"{number}.wav",
                "split": "train" if number < 6 else "valid",
                "licence": "CC-BY-4.0",
                "author": "A. Maker",
                "title": f"sound {number}",
                "duration_s": seconds,
            }
        )
    write_manifest(folder, rows)
    return folder.parent


CONFIG = TokensConfig(
    network=replace(TINY, num_frames=50),
    encode=EncodeConfig(num_versions=2),
    corpora={"sounds": 1.0},
    num_valid=6,
    gap_ms=(100.0, 200.0),
    encode_device="cpu",
)


@pytest.fixture(scope="module")
def cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    TokensRecipe(CONFIG, root=root).prepare(folder)
    return folder


def test_preparation_tells_how_far_it_is(root: Path, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    TokensRecipe(CONFIG, root=root).prepare(cache, lambda *facts: told.append(facts))
    assert ("encoding recordings, train", 1, 6) in told
    assert ("encoding recordings, train", 6, 6) in told
    assert any(what.startswith("decoding") for what, _, _ in told)


@pytest.fixture
def recipe(root: Path, cache: Path) -> TokensRecipe:
    made = TokensRecipe(CONFIG, root=root)
    made.open(cache)
    return made


def _train(recipe: TokensRecipe, num_steps: int) -> tuple[TokensModule, list[dict[str, float]]]:
    torch.manual_seed(0)
    module = recipe.build()
    assert isinstance(module, TokensModule)
    optimiser = torch.optim.AdamW(module.parameters(), lr=4e-3)
    history = []
    for step in range(num_steps):
        rows = [recipe.example(i % recipe.num_examples, Rng(0).child(step, i)) for i in range(8)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        generator = torch.Generator().manual_seed(step)
        losses = module(batch, objective="loss", step=step, generator=generator)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        line = {name: float(value.detach()) for name, value in losses.items()}
        history.append({"step": step + 1, "learning_rate": 4e-3, "seconds": 60.0, **line})
    return module.eval(), history


def test_a_few_steps_export_a_model_that_can_be_read(recipe: TokensRecipe, tmp_path: Path) -> None:
    module, history = _train(recipe, 12)
    assert history[-1]["loss"] < 0.97 * history[0]["loss"]
    figures = recipe.validate(module)
    assert figures == recipe.validate(module)  # the same corruption every time
    assert figures["uniform_nll"] == pytest.approx(np.log(64))
    for gap in ("100ms", "200ms"):
        assert 0 < figures[f"any_order_nll_{gap}"] < figures["uniform_nll"]
        assert np.isfinite(figures[f"bigram_nll_{gap}"])
    recipe.export(module, tmp_path, history)
    found = read_token_model(tmp_path)
    assert found.config.prediction == "logits"
    assert found.network.config == module.network.config
    half = module.network.vocab_embed.embedding.half().float()
    assert torch.equal(found.network.vocab_embed.embedding, half)
    codes = recipe.opened.valid[:1]
    assert torch.equal(found.codec.embed(codes), recipe.opened.codec.embed(codes))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "A. Maker, CC-BY-4.0, from an unnamed source (sound 0; sound 1;" in card
    assert "sound 6" not in card  # of the valid split
    assert "| sounds | 6 | 0.00 | CC-BY-4.0 |" in card
    assert "\n| 12 | " in card  # last line of the curve
    assert f"| 100 ms | {figures['any_order_nll_100ms']:.3f} | " in card
    assert recipe.opened.codec_digest in card
    assert "random weights" in card
    facts = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["facts"]
    assert facts["steps"] == 12
    assert facts["settings"]["corpora"] == {"sounds": 1.0}
    assert facts["valid"]["log_mel_db_200ms"] > 0


def test_items_of_two_networks_are_pairs(recipe: TokensRecipe) -> None:
    modules = [_module(network=replace(CONFIG.network, codebook_size=64), seed=i) for i in (0, 1)]
    first, second = (recipe.items(module.eval()) for module in modules)
    names = {
        f"{name}_{gap}"
        for name in ("nll", "any_order_nll", "log_mel_db")
        for gap in ("100ms", "200ms")
    }
    assert set(first) == names
    for name in names:
        keys = [item.key for item in first[name]]
        assert keys == [item.key for item in second[name]]
        assert len(set(keys)) == len(keys) == len(recipe.opened.valid)
        assert {key[0] for key in keys} <= {"sounds/6.wav", "sounds/7.wav"}
        assert [i.value for i in first[name]] != [i.value for i in second[name]]
        assert [i.value for i in first[name]] == [i.value for i in recipe.items(modules[0])[name]]
    nll = recipe.validate(modules[0])["nll_200ms"]
    assert np.mean([item.value for item in first["nll_200ms"]]) == pytest.approx(nll)


def test_examples_are_functions_of_index_and_rng(recipe: TokensRecipe) -> None:
    first, second = (recipe.example(2, Rng(0).child(7)) for _ in range(2))
    assert torch.equal(first["tokens"], second["tokens"])
    assert first["tokens"].shape == first["valid"].shape == (50,)
    others = [recipe.example(2, Rng(0).child(8 + i))["tokens"] for i in range(4)]
    assert any(not torch.equal(first["tokens"], other) for other in others)
    short = [recipe.example(i, Rng(0).child(i)) for i in range(recipe.num_examples)]
    assert any(not example["valid"].all() for example in short)


def test_a_codec_is_known_by_what_it_is_not_by_where_it_lies(
    recipe: TokensRecipe, root: Path, cache: Path, tmp_path: Path
) -> None:
    folder = next((cache / "codecs").iterdir())
    shutil.copytree(folder, tmp_path / "elsewhere")
    configs = []
    for place in (folder, tmp_path / "elsewhere"):
        made = TokensRecipe(replace(CONFIG, codec=str(place)), root=root)
        made.open(cache)  # the tokens are there already
        configs.append(made.to_config())
        assert torch.equal(made.opened.valid, recipe.opened.valid)
    assert configs[0] == configs[1]
    assert configs[0]["codec"] == recipe.opened.codec_digest
    assert configs[0]["network"]["codebook_size"] == 64
    with pytest.raises(ConfigError, match="neither a folder"):
        find_codec("no-such-codec")


def test_windows_longer_than_every_recording_are_refused(root: Path, cache: Path) -> None:
    long = replace(CONFIG, network=replace(CONFIG.network, num_frames=400))
    with pytest.raises(ConfigError, match=r"400 tokens \(8.0 s\); lower num_frames"):
        TokensRecipe(long, root=root).open(cache)


def test_what_is_not_open_gives_nothing() -> None:
    with pytest.raises(ConfigError, match="must be opened"):
        _ = TokensRecipe(CONFIG).num_examples


@pytest.mark.parametrize(("gap_ms", "expected"), [(1.0, 1), (20.0, 1), (21.0, 2), (300.0, 15)])
def test_a_gap_has_every_token_it_touches(
    recipe: TokensRecipe, gap_ms: float, expected: int
) -> None:
    assert RANDOM_CODEC.encoder.hop_length == 320  # 20 ms
    assert num_gap_tokens(gap_ms, recipe.opened.codec) == expected


@pytest.mark.parametrize("preset", ["debug", "small", "base"])
def test_presets_build_and_describe_themselves(preset: str) -> None:
    made, loop = make(preset, {}, ())
    settings = json.loads(json.dumps(made.to_config()))
    assert set(settings["corpora"]) <= set(tokens.CORPORA)
    assert "speech" not in settings["corpora"]
    assert loop.steps > loop.warmup_steps
    with torch.device("meta"):
        module = TokensModule(
            made.config.network, made.config.objective, made.config.spans, torch.empty(4096, 8)
        )
    assert sum(p.numel() for p in module.parameters()) > 0


def test_the_base_preset_is_the_papers_network() -> None:
    made, loop = make("base", {}, ())
    with torch.device("meta"):
        network = TokensModule(
            replace(made.config.network, codebook_size=4095),
            made.config.objective,
            made.config.spans,
            torch.empty(4095, 8),
        )
    assert sum(p.numel() for p in network.parameters()) == 98_676_224
    assert (loop.batch_size, loop.ema_decay) == (128, 0.9999)


def test_overrides_reach_the_parts_and_unknown_ones_are_refused() -> None:
    texts = {
        "objective": "dwdse",
        "kind": "published",
        "p0": "0.6",
        "width": "32",
        "num_versions": "3",
        "codec": "some/folder",
        "derivative_orders": "1,2",
        "gap_ms": "375,750",
    }
    made, _ = make("debug", texts, ("music", "x=y"))
    config = made.config
    assert config.objective.objective == "dwdse"
    assert (config.spans.kind, config.spans.p0) == ("published", 0.6)
    assert config.network.width == 32
    assert config.encode.num_versions == 3
    assert config.codec == "some/folder"
    assert config.objective.derivative_orders == (1, 2)
    assert config.gap_ms == (375.0, 750.0)
    assert config.corpora == {"music": tokens.CORPORA["music"], "x=y": 0.25}
    with pytest.raises(ConfigError, match="no setting colour"):
        make("debug", {"colour": "red"}, ())
    with pytest.raises(ConfigError, match="no single value"):
        make("debug", {"spans": "x"}, ())
    with pytest.raises(ConfigError, match="codebook_size is the codec's"):
        make("debug", {"codebook_size": "10"}, ())
    with pytest.raises(ConfigError, match="no preset"):
        make("huge", {}, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpora": {}}, "corpora"),
        ({"num_valid": 0}, "num_valid"),
        ({"gap_ms": ()}, "gap_ms"),
        ({"encode_device": "tpu"}, "encode_device"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokensConfig(**change)  # type: ignore[arg-type]
