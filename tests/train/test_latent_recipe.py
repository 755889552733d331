"""Training a latent model: drafts, streams, windows, the loss, and a whole run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from weft.audio.audio import Audio
from weft.data.cache import FeatureCache
from weft.data.manifest import write_manifest
from weft.errors import ConfigError
from weft.process.gaussian import GaussianProcess
from weft.rng import Rng
from weft.sampling.latent_condition import make_condition, num_condition
from weft.sampling.latent_settings import LatentSampling
from weft.sampling.steps_gaussian import GaussianSamplerConfig
from weft.train.config import LoopConfig
from weft.train.recipes.latent import LatentRecipe, make
from weft.train.recipes.latent_check import baselines, fill_latents, measure_latents
from weft.train.recipes.latent_config import PRESETS, LatentConfig
from weft.train.recipes.latent_data import LatentStream, encode_long, hole_of
from weft.train.recipes.latent_drafts import DraftConfig, draw_gaps, open_drafts
from weft.train.recipes.latent_memory import Memory, cut, measure_memory, nearest_distances
from weft.train.recipes.latent_module import LatentModule, LatentObjectiveConfig
from weft.train.recipes.latent_windows import LatentWindows, MaskShares
from weft.train.run import train

RATE = 44100


def _sound(seed: int) -> np.ndarray:
    """A bar of chords, played four times, and a softer, later second channel."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(2.0 * RATE)) / RATE
    bar = np.zeros(len(time))
    for start in np.arange(0, 2.0, 0.5):
        for hz in 110 * 2 ** (rng.integers(0, 36, 3) / 12):
            after = np.maximum(time - start, 0)
            bar += 0.1 * (time >= start) * np.exp(-6 * after) * np.sin(2 * np.pi * hz * after)
    sound = np.tile(bar, 4) + 0.001 * rng.standard_normal(4 * len(bar))
    return np.stack([sound, 0.5 * np.roll(sound, 40)])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "music"
    folder.mkdir()
    rows = []
    for i, split in enumerate(("train", "valid")):
        Audio.from_samples(_sound(i), RATE).write(folder / f"{i}.wav")
        rows.append({"file": f"{i}.wav", "split": split, "licence": "CC0-1.0", "author": "nobody"})
    write_manifest(folder, rows)
    return root


def _config() -> LatentConfig:
    config = PRESETS["debug"][0]
    drafts = replace(config.drafts, num_gaps={"music": 6}, num_valid_gaps=2)
    return replace(config, corpora={"music": 1.0}, drafts=drafts)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def opened(corpus: Path, cache: Path) -> LatentRecipe:
    recipe = LatentRecipe(_config(), root=corpus)
    recipe.prepare(cache)
    recipe.open(cache)
    return recipe


@pytest.fixture(scope="module")
def streams(opened: LatentRecipe) -> list[LatentStream]:
    return opened.opened.windows._streams


def test_gaps_begin_with_frames_inside_the_recording(opened: LatentRecipe) -> None:
    entry = opened.opened.valid_samples.entries[0]
    config = DraftConfig()
    gaps = draw_gaps(entry, 50, RATE, config)
    assert (gaps[:, 0] % 512 == 0).all()
    assert gaps[:, 0].min() >= RATE - 512
    assert gaps.sum(axis=1).max() <= entry.num_samples
    assert gaps[:, 1].min() >= 0.04 * RATE - 1
    assert gaps[:, 1].max() <= RATE + 1
    assert np.median(gaps[:, 1]) == pytest.approx(0.2 * RATE, rel=0.5)


def test_a_repeated_bar_is_found_and_sure(opened: LatentRecipe, cache: Path) -> None:
    opened_gaps = open_drafts(
        opened.opened.valid_samples,
        FeatureCache(cache / "features"),
        opened.config.drafts,
        is_valid=True,
    )
    sound = opened.opened.valid_samples.read(0)
    for gap in opened_gaps[0]:
        truth = sound[:, gap.start : gap.stop]
        error = np.square(gap.drafts[0] - truth).sum() / np.square(truth).sum()
        assert error < 0.05
        assert gap.confidences[0] > 0.6
        assert list(gap.confidences) == sorted(gap.confidences, reverse=True)


def test_a_recording_gives_its_mean_and_its_difference(streams: list[LatentStream]) -> None:
    assert {stream.name for stream in streams} == {"mid", "side"}
    assert all(len(stream.latents) == -(-8 * RATE // 512) for stream in streams)
    assert all(stream.gaps for stream in streams)


def test_latents_of_pieces_are_those_of_the_whole(opened: LatentRecipe) -> None:
    codec = opened.opened.codec
    signal = opened.opened.valid_samples.read(0)[0]
    whole, pieces = encode_long(codec, signal, 600.0), encode_long(codec, signal, 1.0)
    assert np.abs(whole.astype(np.float32) - pieces.astype(np.float32)).max() < 0.01


def test_a_draft_as_good_as_the_truth_has_its_latents(streams: list[LatentStream]) -> None:
    for stream in streams:
        for gap in stream.gaps:
            assert (gap.first, gap.stop) == hole_of(gap.place, 512, 2)
            truth = stream.latents[gap.first : gap.stop].astype(np.float32)
            error = np.square(gap.drafts[0].astype(np.float32) - truth).mean()
            assert error < 0.3 * np.square(truth).mean()


def _windows(streams: list[LatentStream], **changes: object) -> LatentWindows:
    settings: dict[str, object] = {
        "num_frames": 64,
        "weights": {"music": 1.0},
        "shares": MaskShares(single=1.0, several=0.0, continuation=0.0, everything=0.0),
        "draft_dropout": 0.0,
        "wrong_drafts": 0.0,
    }
    return LatentWindows(streams, **{**settings, **changes})  # type: ignore[arg-type]


def test_drafts_stand_in_gaps_and_nowhere_else(streams: list[LatentStream]) -> None:
    windows = _windows(streams)
    for seed in range(30):
        window = windows.draw(np.random.default_rng(seed))
        assert not window.known.all()
        assert ((window.confidence > 0) == ~window.known).all()
        assert (window.draft[window.known] == 0).all()
        assert np.abs(window.draft[~window.known]).max() > 0


def test_drafts_are_withheld_and_wrong_as_often_as_told(streams: list[LatentStream]) -> None:
    withheld = [
        _windows(streams, draft_dropout=0.4).draw(np.random.default_rng(i)).confidence.max() == 0
        for i in range(400)
    ]
    assert np.mean(withheld) == pytest.approx(0.4, abs=0.08)

    def errors(wrong: float) -> list[float]:
        found = []
        for i in range(100):
            w = _windows(streams, wrong_drafts=wrong).draw(np.random.default_rng(i))
            found.append(float(np.square(w.draft - w.latents)[~w.known].mean()))
        return found

    assert np.median(errors(1.0)) > 2 * np.median(errors(0.0))


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("several", 2, 4), ("continuation", 1, 1), ("everything", 1, 1)]
)
def test_masks_are_of_their_kind(
    streams: list[LatentStream], kind: str, least: int, most: int
) -> None:
    shares = {"single": 0.0, "several": 0.0, "continuation": 0.0, "everything": 0.0, kind: 1.0}
    windows = _windows(streams, shares=MaskShares(**shares))
    counts, ends = [], []
    for seed in range(60):
        known = windows.draw(np.random.default_rng(seed)).known
        unknown = np.concatenate([[0], (~known).astype(int)])
        counts.append(int((np.diff(unknown) == 1).sum()))
        ends.append(not known[0] or not known[-1])
        if kind == "everything":
            assert not known.any()
    assert max(counts) <= most
    assert max(counts) >= least
    if kind == "continuation":
        assert all(ends)


def test_shares_must_add_up() -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        MaskShares(single=0.5)


def _batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    known = torch.ones(4, 20, dtype=torch.bool)
    known[:, 5:12] = False
    confidence = torch.zeros(4, 20)
    confidence[:2, 5:12] = 0.7
    return {
        "latents": torch.randn(4, 20, 16, generator=generator),
        "known": known,
        "draft": torch.randn(4, 20, 16, generator=generator),
        "confidence": confidence,
    }


def test_the_condition_tells_nothing_of_what_is_unknown() -> None:
    batch = _batch()
    other = dict(batch)
    other["latents"] = torch.where(batch["known"][..., None], batch["latents"], 99.0)
    other["draft"] = torch.where((batch["confidence"] > 0)[..., None], batch["draft"], 99.0)
    first, second = (
        make_condition(b["latents"], b["known"], b["draft"], b["confidence"])
        for b in (batch, other)
    )
    assert torch.equal(first, second)
    assert first.shape[2] == num_condition(16)
    assert torch.equal(first[..., 16] > 0, batch["known"])
    assert float(make_condition(batch["latents"], batch["known"])[..., 17:].abs().max()) == 0


def _module(**changes: object) -> LatentModule:
    torch.manual_seed(0)
    objective = LatentObjectiveConfig(**changes)  # type: ignore[arg-type]
    module = LatentModule(PRESETS["debug"][0].network, GaussianProcess(), objective)
    for parameter in module.parameters():  # the network starts from zeros
        torch.nn.init.normal_(parameter, std=0.1)
    return module.train()


def test_known_frames_count_as_little_as_told() -> None:
    batch = _batch()
    noise = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(1))
    t = torch.full((4,), 0.5)
    free = torch.zeros(4, dtype=torch.bool)
    module = _module(known_weight=0.0)
    whole = module.losses(batch, t, noise, free)["loss"]
    raw = module.network(
        module.process.corrupt(batch["latents"], t, noise=noise),
        t,
        condition=make_condition(
            batch["latents"], batch["known"], batch["draft"], batch["confidence"]
        ),
    )
    error = (raw - module.process.target(batch["latents"], noise, t)).square().mean(dim=2)
    assert torch.allclose(whole, error[:, 5:12].mean(), rtol=1e-4)


def test_free_items_are_given_nothing_and_are_all_unknown() -> None:
    batch, module = _batch(), _module()
    noise = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(1))
    t, free = torch.full((4,), 0.5), torch.ones(4, dtype=torch.bool)
    found = module.losses(batch, t, noise, free)
    other = {**batch, "known": torch.zeros_like(batch["known"]), "draft": 7 * batch["draft"]}
    assert torch.allclose(found["loss"], module.losses(other, t, noise, free)["loss"])
    assert float(found["drafted"].detach()) == float(found["plain"].detach()) == 0
    assert torch.allclose(found["free"], found["loss"])


def test_conditions_are_dropped_as_often_as_told() -> None:
    module = _module(condition_dropout=1.0)
    generator = torch.Generator().manual_seed(0)
    found = module(_batch(), objective="loss", step=0, generator=generator)
    assert float(found["free"].detach()) > 0
    assert float(found["plain"].detach()) == 0
    found = module.eval()(_batch(), objective="loss", step=0, generator=generator)
    assert float(found["free"].detach()) == 0


def test_what_is_measured_is_the_round_trip_when_the_truth_is_filled_in(
    opened: LatentRecipe,
) -> None:
    codec, gaps = opened.opened.codec, opened.gaps
    found, _ = measure_latents(codec, gaps, np.stack([gap.latents for gap in gaps]))
    base = baselines(codec, gaps)
    np.testing.assert_allclose(found.lsd, base["round_trip"].lsd)
    assert base["draft"].lsd.mean() < base["lpc"].lsd.mean()


def test_fills_keep_what_is_known_and_depend_on_drafts(opened: LatentRecipe) -> None:
    module = _module().eval()
    gaps = opened.gaps
    drafted = fill_latents(module, gaps, has_drafts=True)
    plain = fill_latents(module, gaps, has_drafts=False)
    for i, gap in enumerate(gaps):
        np.testing.assert_allclose(drafted[i][gap.known], gap.latents[gap.known], atol=1e-5)
        assert np.abs(drafted[i] - plain[i])[~gap.known].max() > 1e-4


def test_what_was_trained_on_is_recognised(streams: list[LatentStream]) -> None:
    latents = streams[0].latents[100:148].astype(np.float32)[None]
    assert nearest_distances(cut(latents), streams).max() < 1e-3
    rng = np.random.default_rng(0)
    near = latents + 0.1 * rng.standard_normal(latents.shape).astype(np.float32)
    np.testing.assert_allclose(nearest_distances(cut(near), streams), 0.1, rtol=0.1)
    memory = Memory(made=np.array([0.01, 0.5]), unseen=np.linspace(0.2, 1.0, 200))
    assert memory.share_nearer == 0.5


def test_what_is_made_of_nothing_is_compared(
    opened: LatentRecipe, streams: list[LatentStream]
) -> None:
    unseen = np.stack([gap.latents for gap in opened.gaps])
    sampling = LatentSampling(sampler=GaussianSamplerConfig(steps=3))
    found = measure_memory(_module().eval(), streams, unseen, sampling=sampling, num_made=2)
    assert found.made.shape == (10,)
    assert found.unseen.shape == (len(unseen) * 5,)
    assert found.made.min() > 0.05


def test_a_codec_of_other_frames_is_refused(corpus: Path, cache: Path) -> None:
    config = _config()
    wrong = replace(config, network=replace(config.network, num_features=8))
    with pytest.raises(ConfigError, match="num_features=16"):
        LatentRecipe(wrong, root=corpus).prepare(cache)
    odd = replace(config, drafts=replace(config.drafts, frame_samples=500))
    with pytest.raises(ConfigError, match="multiple of the codec's 512"):
        LatentRecipe(odd, root=corpus).prepare(cache)


def test_a_whole_run_writes_a_model_and_its_card(corpus: Path, cache: Path, tmp_path: Path) -> None:
    loop = LoopConfig(
        steps=12, batch_size=2, learning_rate=1e-3, ema_decay=0.9, precision="float32", log_every=4
    )
    recipe = LatentRecipe(_config(), root=corpus)
    result = train(recipe, loop, tmp_path / "run", cache=cache)
    assert {"gap_lsd_drafted", "gap_lsd_plain", "gap_lsd_draft", "loss_plain"} <= {*result.figures}
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for words in ("similarity, the best draft", "CC0", "nobody", "60 % of the time"):
        assert words in card


def test_examples_depend_on_their_number_alone(opened: LatentRecipe) -> None:
    first, again, other = (opened.example(0, Rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["latents"], other["latents"])


def test_settings_can_be_told() -> None:
    recipe, _ = make("small", {"draft_dropout": "0.2", "width": "64", "num_heads": "2"}, ["music"])
    assert recipe.config.draft_dropout == 0.2
    assert recipe.config.network.width == 64
