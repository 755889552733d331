"""Training a codec: losses, the codebook's start, gaps, the check, and a whole run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from weft.audio.audio import Audio
from weft.codecs.wavtokenizer import read_codec
from weft.data.manifest import write_manifest
from weft.data.samples import CacheConfig
from weft.errors import ConfigError, ShapeError
from weft.train.config import LoopConfig
from weft.train.recipes.codec import CORPORA, PRESETS, CodecRecipe, make
from weft.train.recipes.codec_adversary import AdversarialConfig, Adversary
from weft.train.recipes.codec_card import CODEC, LINEAR, passes_gate
from weft.train.recipes.codec_check import (
    Distances,
    find_places,
    linear_prediction,
    round_trip,
)
from weft.train.recipes.codec_module import CodecModule
from weft.train.run import train

SECONDS = 4.5


def _sound(seed: int) -> np.ndarray:
    """Chords of decaying partials, one every half second."""
    rate = 24000
    rng = np.random.default_rng(seed)
    time = np.arange(round(SECONDS * rate)) / rate
    sound = 0.001 * rng.standard_normal(len(time))
    for start in np.arange(0, SECONDS, 0.5):
        for hz in 110 * 2 ** (rng.integers(0, 36, 3) / 12):
            after = np.maximum(time - start, 0)
            sound += 0.1 * (time >= start) * np.exp(-6 * after) * np.sin(2 * np.pi * hz * after)
    return sound[None]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "music"
    folder.mkdir()
    rows = []
    for i, split in enumerate(("train", "train", "valid", "test")):
        name = f"{i}.wav"
        Audio.from_samples(_sound(i), 24000).write(folder / name)
        rows.append({"file": name, "split": split, "licence": "CC0-1.0", "author": "nobody"})
    write_manifest(folder, rows)
    return root


def _recipe(corpus: Path, **changes: object) -> CodecRecipe:
    config = replace(PRESETS["debug"][0], corpora={"music": 1.0}, **changes)  # type: ignore[arg-type]
    return CodecRecipe(config, root=corpus)


@pytest.fixture(scope="module")
def opened(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> CodecRecipe:
    recipe = _recipe(corpus)
    cache = tmp_path_factory.mktemp("cache")
    recipe.prepare(cache)
    recipe.open(cache)
    return recipe


def _module(**changes: object) -> CodecModule:
    torch.manual_seed(0)
    config = PRESETS["debug"][0]
    return CodecModule(config.codec, replace(config.objective, **changes)).train()  # type: ignore[arg-type]


def _batch() -> dict[str, Tensor]:
    sound = np.stack([_sound(i)[0, 12000:24000] for i in range(3)])
    return {"samples": torch.from_numpy(sound).float()}


def _losses(module: CodecModule, *, step: int, objective: str = "generator") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return dict(module(_batch(), objective=objective, step=step, generator=generator))


def test_the_codebook_starts_from_the_frames_before() -> None:
    module = _module(adversarial_from=-1)
    assert "commitment" not in _losses(module, step=9)
    seen = module.first[: int(module.num_seen)].clone()
    assert len(seen) == 3 * 38
    assert not bool(module.codec.quantiser.is_started)
    _losses(module, step=10)
    assert bool(module.codec.quantiser.is_started)
    distance = torch.cdist(seen, module.codec.quantiser.codebook).amin(dim=1).mean()
    spread = (seen - seen.mean(dim=0)).norm(dim=1).mean()
    assert float(distance) < 0.5 * float(spread)


def test_first_frames_are_kept_in_a_ring() -> None:
    module = _module(adversarial_from=-1, num_first_frames=200)
    for _ in range(3):
        _losses(module, step=0)
    assert int(module.num_seen) == 3 * 114
    assert bool((module.first.abs().sum(dim=1) > 0).all())


def test_moving_counts_start_as_frames_of_one_step() -> None:
    module = _module(adversarial_from=-1)
    for step in (8, 9, 10):
        _losses(module, step=step)
    total = float(module.codec.quantiser.counts.sum())
    assert 0.5 * 114 < total < 2 * 114


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    module = _module(
        adversarial_from=-1, mel_weight=2.0, stft_weight=3.0, commitment_weight=5.0, quantise_from=0
    )
    found = _losses(module, step=0)
    expected = 2 * found["mel"] + 3 * found["stft"] + 5 * found["commitment"]
    assert torch.allclose(found["loss"], expected)


def test_discriminators_are_heard_from_their_step() -> None:
    module = _module(adversarial_from=20, quantise_from=0)
    assert "adversarial" not in _losses(module, step=19)
    assert float(_losses(module, step=19, objective="discriminator")["loss"].detach()) == 0
    later = _losses(module, step=20)
    parts = 45 * later["mel"] + later["commitment"] + later["adversarial"] + later["matching"]
    assert torch.allclose(later["loss"], parts)
    assert set(_losses(module, step=20, objective="discriminator")) == {
        "loss", "periods", "resolutions", "dac_periods", "bands",
    }  # fmt: skip


def test_a_discriminators_step_moves_neither_codec_nor_codebook() -> None:
    module = _module(adversarial_from=0, quantise_from=0)
    _losses(module, step=0)
    before = module.codec.quantiser.codebook.clone()
    _losses(module, step=1, objective="discriminator")["loss"].backward()
    assert torch.equal(module.codec.quantiser.codebook, before)
    assert all(parameter.grad is None for parameter in module.codec.parameters())
    assert module.adversary is not None
    assert any(parameter.grad is not None for parameter in module.adversary.parameters())


def test_every_discriminator_learns(opened: CodecRecipe) -> None:
    module = _module(adversarial_from=0)
    generator, discriminator = opened.objectives(module)
    assert {*map(id, generator.parameters)} == {*map(id, module.codec.parameters())}
    assert module.adversary is not None
    assert {*map(id, discriminator.parameters)} == {*map(id, module.adversary.parameters())}


def test_discriminators_of_dac_can_be_left_out() -> None:
    adversary = Adversary(replace(AdversarialConfig().scaled(4), has_dac=False))
    x = _batch()["samples"]
    assert set(adversary.discriminator_losses(x, x)) == {"loss", "periods", "resolutions"}
    with pytest.raises(ShapeError):
        adversary.generator_losses(x[:, :10], x[:, :10])


def test_only_a_stretch_of_some_crops_is_quantised() -> None:
    module = _module(adversarial_from=-1, gap_probability=0.5, gap_frames=(8, 20))
    kept = module._draw_kept(2000, 38, torch.Generator().manual_seed(0))
    has_gap = kept.any(dim=1)
    assert float(has_gap.float().mean()) == pytest.approx(0.5, abs=0.05)
    num_quantised = (~kept[has_gap]).sum(dim=1)
    assert int(num_quantised.min()) == 8
    assert int(num_quantised.max()) == 20
    # One stretch each: what is quantised begins once.
    begins = (~kept[has_gap]).long().diff(dim=1, prepend=torch.zeros(len(num_quantised), 1).long())
    assert bool(((begins == 1).sum(dim=1) == 1).all())
    assert bool((~kept[~has_gap]).all())


def test_kept_frames_are_decoded_from_the_encoders_own_features() -> None:
    module = _module(adversarial_from=-1, gap_probability=1.0, gap_frames=(8, 8), quantise_from=0)
    features = torch.randn(4, 38, 32)
    generator = torch.Generator().manual_seed(0)
    mixed, _ = module._quantise(features, generator)
    kept = module._draw_kept(4, 38, torch.Generator().manual_seed(0))
    assert torch.equal(mixed[kept], features[kept])
    embedded = module.codec.embed(module.codec.quantiser.encode(features))
    assert torch.allclose(mixed[~kept], embedded[~kept], atol=1e-6)


def test_places_are_where_there_is_sound(corpus: Path, opened: CodecRecipe) -> None:
    (place,) = opened.places
    assert place.samples.shape == (1, 96000)
    assert (place.gap.start, place.gap.stop) == (44400, 51600)
    quiet = replace(opened._crops.valid.entries[0], scale=1e-6)
    cache = type(opened._crops.valid)(CacheConfig(sample_rate=24000), [quiet])
    assert find_places(cache, 1) == []


def test_the_round_trip_is_of_the_gap_alone(opened: CodecRecipe) -> None:
    codec = _module().codec.eval()
    (place,) = opened.places
    with torch.no_grad():
        found = round_trip(codec, [place], is_all_quantised=False)
        changed = place.samples.copy()
        changed[:, :2000] = 0
        other = round_trip(codec, [replace(place, samples=changed)], is_all_quantised=False)
    assert found.lsd[0] > 0.1
    assert other.lsd[0] == pytest.approx(found.lsd[0], rel=0.2)


def test_items_are_the_round_trip_of_each_place(opened: CodecRecipe) -> None:
    module = _module().eval()
    with torch.no_grad():
        items = opened.items(module)
        found = round_trip(module.codec, opened.places, is_all_quantised=True)
    assert [item.value for item in items["gap_lsd"]] == list(found.lsd)
    assert [item.value for item in items["gap_snr_db"]] == list(found.snr_db)
    assert items["gap_lsd"][0].key == ("music/2.wav", 6000)


def test_linear_prediction_is_measured_as_the_codec_is(opened: CodecRecipe) -> None:
    found = linear_prediction(opened.places, 24000)
    assert 0.1 < found.lsd[0] < 6
    assert found.snr_db[0] < 20


@pytest.mark.parametrize(("ours", "expected"), [(1.0, True), (3.0, False)])
def test_the_gate_compares_with_linear_prediction(ours: float, expected: bool) -> None:
    def made(value: float) -> Distances:
        return Distances(lsd=np.full(3, value), snr_db=np.zeros(3))

    assert passes_gate({CODEC: made(ours), LINEAR: made(2.0)}) is expected


@pytest.mark.filterwarnings("ignore:.*flash attention.*")
def test_a_whole_run_writes_a_codec_and_its_card(corpus: Path, tmp_path: Path) -> None:
    recipe = _recipe(corpus, crop_s=0.2)
    loop = LoopConfig(
        steps=22, batch_size=2, learning_rate=1e-3, ema_decay=0.9, precision="float32", log_every=4
    )
    result = train(recipe, loop, tmp_path / "run", cache=tmp_path / "cache")
    assert {"gap_lsd", "lpc_gap_lsd", "code_perplexity"} <= {*result.figures}
    codec = read_codec(tmp_path / "run" / "model")
    assert codec.codebook_size == 64
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for words in ("75 tokens a second", "linear prediction", "CC0", "nobody", "music, LSD"):
        assert words in card
    log = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-2]["discriminator/loss"] > 0
    assert log[0]["generator/mel"] > log[-2]["generator/mel"]


def test_settings_of_the_parts_can_be_told() -> None:
    recipe, loop = make(
        "small", {"codebook_size": "4096", "mel_weight": "2", "crop_s": "2"}, ["music"]
    )
    assert recipe.config.codec.quantiser.codebook_size == 4096
    assert recipe.config.objective.mel_weight == 2
    assert recipe.config.crop_s == 2
    assert {*recipe.config.corpora} == {"music"}
    assert loop.steps == PRESETS["small"][1].steps
    assert {*PRESETS["base"][0].corpora} == {*CORPORA}
    with pytest.raises(ConfigError, match="no setting nonsense"):
        make("small", {"nonsense": "1"}, [])
    with pytest.raises(ConfigError, match="objective is no single value"):
        make("small", {"objective": "1"}, [])


def test_the_frame_rate_is_a_setting() -> None:
    codec = make("small", {"tokens_per_s": "40"}, [])[0].config.codec
    assert codec.encoder.hop_length == codec.decoder.hop_length == 600
    assert codec.decoder.n_fft == 2400
    assert codec.sample_rate / codec.encoder.hop_length == 40
    with pytest.raises(ConfigError, match="tokens_per_s must be 75 or 40"):
        make("small", {"tokens_per_s": "50"}, [])


def test_the_base_size_is_the_papers() -> None:
    config = PRESETS["base"][0]
    with torch.device("meta"):
        module = CodecModule(config.codec, config.objective)
    assert sum(p.numel() for p in module.codec.parameters()) == 71_747_442
    assert config.objective.mel_weight == 45
    assert config.objective.commitment_weight == 1000
