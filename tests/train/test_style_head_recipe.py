"""Training a head that hears style in latents: pieces, the loss, and a whole run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weft.audio.audio import Audio
from weft.codecs.vae import Vae
from weft.data.manifest import write_manifest
from weft.errors import ConfigError
from weft.rng import Rng
from weft.sampling.style_embedder import pool
from weft.sampling.style_head import read_style_head
from weft.train.config import LoopConfig
from weft.train.recipes.style_head import StyleHeadRecipe, make
from weft.train.recipes.style_head_config import PRESETS, StyleHeadTraining
from weft.train.recipes.style_head_data import Piece, PieceConfig, weights_of
from weft.train.recipes.style_head_module import StyleObjectiveConfig, estimate
from weft.train.registry import find_recipe
from weft.train.run import train

RATE = 44100


def _sound(seed: int) -> np.ndarray:
    """Chords, or hiss with pulses."""
    rng = np.random.default_rng(seed)
    time = np.arange(4 * RATE) / RATE
    if seed % 2:
        return 0.1 * rng.standard_normal((1, len(time))) * (np.sin(20 * time) > 0.8)
    hz = 110 * 2 ** (rng.integers(0, 36, 3) / 12)
    return 0.1 * np.sin(2 * np.pi * hz[:, None] * time).sum(axis=0, keepdims=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "music"
    folder.mkdir()
    rows = []
    sounds = [_sound(0), _sound(1), np.zeros((1, RATE)), _sound(2), _sound(3)]
    for i, sound in enumerate(sounds):
        Audio.from_samples(sound, RATE).write(folder / f"{i}.wav")
        split = "train" if i < 3 else "valid"
        rows.append({"file": f"{i}.wav", "split": split, "licence": "CC0-1.0", "author": "nobody"})
    write_manifest(folder, rows)
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _tones(self: Vae, latents: torch.Tensor) -> torch.Tensor:
    """Decode to a tone for each feature: random weights would make one noise of all latents."""
    hop = self.hop_length
    time = torch.arange(latents.shape[1] * hop) / self.sample_rate
    hz = 100 * 1.35 ** torch.arange(latents.shape[2])
    loud = latents.clamp(-4, 4).exp().repeat_interleave(hop, dim=1)  # b n d
    return (loud * torch.sin(2 * torch.pi * hz * time[:, None])).sum(dim=2)[:, None]


@pytest.fixture(scope="module")
def recipe(corpus: Path, cache: Path) -> StyleHeadRecipe:
    config = replace(PRESETS["debug"][0], corpora={"music": 1.0})
    recipe = StyleHeadRecipe(config, root=corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vae, "decode", _tones)
        recipe.prepare(cache)
    recipe.open(cache)
    return recipe


def test_pieces_are_those_in_which_something_is_heard(recipe: StyleHeadRecipe) -> None:
    # Two of each recording, none of the silent one.
    assert recipe.num_examples == 4
    assert sum(len(batch["latents"]) for batch in recipe.validation()) == 4


def test_examples_count_a_part_of_a_piece(recipe: StyleHeadRecipe) -> None:
    for seed in range(8):
        example = recipe.example(0, Rng(seed))
        assert example["latents"].shape == (173, 16)
        assert example["features"].shape == (50, 192)
        counted = float(example["head_weights"].sum())
        assert 0.1 * 173 <= counted <= 173
        # The same part, in frames of the embedder.
        assert float(example["frame_weights"].sum()) == pytest.approx(counted, rel=0.02)
        ours = float((example["head_weights"] * torch.arange(44)).sum()) / counted * 4 * 512 / RATE
        theirs = float((example["frame_weights"] * torch.arange(50)).sum()) / counted / 25
        assert ours == pytest.approx(theirs, abs=0.05)
    again = recipe.example(0, Rng(3))
    assert torch.equal(again["head_weights"], recipe.example(0, Rng(3))["head_weights"])


def test_an_estimate_out_of_noise_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 4, 4000, 8, generator=generator).unbind()
    time = torch.tensor([0.0, 0.3, 0.6, 1.0])
    found = estimate(clean, time, noise)
    assert torch.allclose(found[0], clean[0])
    assert float(found[3].abs().max()) < 1e-6
    for row in (1, 2):  # no other scale of it is nearer to the clean one
        errors = [
            float((scale * found[row] - clean[row]).square().mean()) for scale in (0.9, 1, 1.1)
        ]
        assert errors[1] == min(errors)


def test_a_run_learns_and_is_read_again(
    recipe: StyleHeadRecipe, cache: Path, tmp_path: Path
) -> None:
    loop = LoopConfig(steps=25, batch_size=4, learning_rate=1e-2, ema_decay=0.5, log_every=1)
    ended = train(recipe, loop, run=tmp_path / "run", cache=cache)
    assert ended.model is not None
    head = read_style_head(ended.model)
    assert head.config.num_features == 16
    assert head.config.embedder
    figures = recipe.validate(_module(recipe, head))
    before = recipe.validate(recipe.build().eval())
    # Of two sounds nothing general is learned, but what sounds have in common is.
    assert figures["explained_mean"] > before["explained_mean"] / 3  # measured: -2.4 and -51
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.3 * losses[0]  # measured: 0.17 and 1.95
    card = (ended.model / "README.md").read_text()
    assert "nobody" in card
    assert f"{figures['cosine']:.2f}" in card
    items = recipe.items(_module(recipe, head))["distance"]
    assert len(items) == 4
    assert len({item.key for item in items}) == 4


def _module(recipe: StyleHeadRecipe, head: torch.nn.Module) -> torch.nn.Module:
    module = recipe.build().eval()
    module.head = head
    return module


def test_the_error_of_the_truth_is_nothing(recipe: StyleHeadRecipe) -> None:
    """The three parts of the loss compare the same frames."""
    (batch,) = recipe.validation()
    module = recipe.build().eval()
    true = torch.nn.functional.interpolate(
        batch["features"].float().transpose(1, 2), size=44, mode="linear", align_corners=False
    ).transpose(1, 2)

    class Knowing(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return true

    module.head = Knowing()
    losses = module(batch, objective="loss", step=0, generator=torch.Generator().manual_seed(0))
    assert float(losses["frames"]) < 1e-10
    spread = pool(batch["features"].float()).mean.var(dim=0).mean()
    assert float(losses["mean"]) < 0.01 * float(spread)


def test_corpora_have_their_shares() -> None:
    def piece(corpus: str) -> Piece:
        return Piece(
            corpus=corpus,
            recording="a",
            start=0,
            num_frames=1,
            latents=np.zeros((1, 1), np.float16),
            features=np.zeros((1, 1), np.float16),
        )

    weights = weights_of([piece("a"), piece("b"), piece("b")], {"a": 0.6, "b": 0.2})
    assert weights.tolist() == pytest.approx([0.75, 0.125, 0.125])
    with pytest.raises(ConfigError, match="no recording"):
        weights_of([], {"a": 1.0})


def test_settings_are_checked_and_presets_listed() -> None:
    for preset in find_recipe("style-head").presets:
        made, _ = make(preset, {}, ())
        assert made.name == "style-head"
    made, _ = make("small", {"width": "32", "noisy_share": "0.1", "num_pieces": "9"}, ("piano",))
    assert made.config.head.width == 32
    assert made.config.objective.noisy_share == 0.1
    assert made.config.corpora == {"piano": 0.2}
    with pytest.raises(ConfigError, match="no setting"):
        make("small", {"colour": "1"}, ())
    with pytest.raises(ConfigError, match="max_time"):
        StyleObjectiveConfig(max_time=1.0)
    with pytest.raises(ConfigError, match="piece_s"):
        PieceConfig(piece_s=0.1)
    with pytest.raises(ConfigError, match="shares > 0"):
        StyleHeadTraining(corpora={})
