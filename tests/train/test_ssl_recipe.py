"""Self-supervised training, from recordings to an embedder's folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weft.data.manifest import write_manifest
from weft.errors import ConfigError
from weft.metrics.embedders.corpus_ssl import load_folder
from weft.nn.ssl_encoder import SslEncoderConfig
from weft.rng import Rng
from weft.train.recipes import ssl
from weft.train.recipes.ssl import CollapseError, SslConfig, SslRecipe, make
from weft.train.recipes.ssl_damage import DamageConfig, damage
from weft.train.recipes.ssl_module import ObjectiveConfig, SslModule
from weft.train.recipes.ssl_probe import LabelledClips, fit_head

RATE = 16000
LABELS = ("hat", "bd", "glass_spin")


def _sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """Return 2.5 s that differ by label: hiss, thumps, or a high tone."""
    t = np.arange(int(2.5 * RATE)) / RATE
    if label == "hat":
        return 0.2 * rng.standard_normal(len(t))
    if label == "bd":
        return 0.8 * np.sin(2 * np.pi * rng.uniform(40, 60) * t) * np.exp(-8 * (t % 0.5))
    return 0.3 * np.sin(2 * np.pi * rng.uniform(2000, 4000) * t)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three kinds of sound, four recordings of each in train and two in valid."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpora") / "sounds"
    folder.mkdir()
    rows = []
    for number, label in enumerate(LABELS * 6):
        rng = Rng(1).stream(number)
        soundfile.write(folder / f"{number}.wav", _sound(label, rng), RATE, subtype="PCM_16")
        split = "train" if number < 12 else "valid"
        rows.append(
            {
                "file": f"{number}.wav",
                "label": label,
                "split": split,
                "licence": "CC-BY-4.0",
                "author": "A. Maker",
                "title": f"sound {number}",
                "duration_s": 2.5,
            }
        )
    write_manifest(folder, rows)
    return folder.parent


TINY = SslConfig(
    encoder=SslEncoderConfig(width=16, num_layers=2, num_heads=2),
    objective=ObjectiveConfig(teacher_ramp=5),
    corpora={"sounds": 1.0},
    crop_s=1.0,
    clip_s=1.0,
    num_pieces=2,
    min_effective_rank=1.0,
)


@pytest.fixture
def recipe(root: Path, tmp_path: Path) -> SslRecipe:
    made = SslRecipe(TINY, root=root)
    made.prepare(tmp_path / "cache")
    made.open(tmp_path / "cache")
    return made


def _module(config: SslConfig = TINY) -> SslModule:
    torch.manual_seed(0)
    return SslModule(config.encoder, config.objective)


def _batch(size: int = 4, seconds: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {"samples": 0.1 * torch.randn(size, round(RATE * seconds), generator=generator)}


def _losses(module: SslModule, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return dict(module(_batch(), objective="loss", step=0, generator=generator))


def test_a_few_steps_export_an_embedder_that_knows_the_classes(
    recipe: SslRecipe, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = recipe.build()
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=4e-3)
    history = []
    for step in range(24):
        rows = [recipe.example(i % recipe.num_examples, Rng(0).child(step, i)) for i in range(4)]
        batch = {"samples": torch.stack([row["samples"] for row in rows])}
        generator = torch.Generator().manual_seed(step)
        losses = module(batch, objective="loss", step=step, generator=generator)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        recipe.after_step(module, step)
        line = {name: float(value.detach()) for name, value in losses.items()}
        history.append({"step": step + 1, "seconds": float(step), **line})
    first, last = (np.mean([line["mel"] for line in part]) for part in (history[:6], history[-6:]))
    assert last < 0.7 * first  # measured 0.32 of it
    module.eval()
    figures = recipe.validate(module)
    assert figures["accuracy"] > 0.999  # hiss, thumps and tones are easy to tell apart
    folder = tmp_path / "model"
    folder.mkdir()
    recipe.export(module, folder, history)
    embedder = load_folder(folder)
    for label in LABELS:
        logits = embedder.embed(_sound(label, Rng(9).stream())[None], RATE).logits
        assert logits is not None
        name = embedder.class_names[int(logits.argmax())]
        assert name == {"hat": "hi-hat", "bd": "bass drum", "glass_spin": "glass"}[label]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "A. Maker, CC-BY-4.0, from an unnamed source (sound 0; sound 1;" in card
    assert "sound 12" not in card  # of the valid split
    assert "| hi-hat | 4 | 2 |" in card
    assert "| 24 | " in card  # last line of the curve
    assert embedder.digest in card
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert settings["training"]["steps"] == 24
    assert settings["training"]["settings"]["corpora"] == {"sounds": 1.0}


def test_examples_are_functions_of_index_and_rng(recipe: SslRecipe) -> None:
    first, second = (recipe.example(2, Rng(0).child(7))["samples"] for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (RATE,)
    assert not torch.equal(first, recipe.example(2, Rng(0).child(8))["samples"])


def test_a_collapsed_encoder_stops_the_run(recipe: SslRecipe) -> None:
    module = _module().eval()
    with torch.no_grad():
        for block in module.student.blocks:
            for parameter in block.parameters():
                parameter.zero_()
        module.student.stem_norm.weight.zero_()
    with pytest.raises(CollapseError, match="collapsed"):
        recipe.validate(module)


def test_too_few_dimensions_are_a_collapse(root: Path, tmp_path: Path) -> None:
    strict = SslRecipe(replace(TINY, min_effective_rank=15.9), root=root)
    strict.prepare(tmp_path)
    strict.open(tmp_path)
    with pytest.raises(CollapseError, match=r"at least 15\.9"):
        strict.validate(_module().eval())


def test_gradients_reach_the_student_but_not_the_teacher() -> None:
    module = _module()
    _losses(module)["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in module.teacher.parameters())
    for name, parameter in module.student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_teacher_follows_the_student_by_its_decay() -> None:
    module = _module()
    with torch.no_grad():
        module.student.hidden.fill_(1.0)
        module.teacher.hidden.fill_(0.0)
    module.update_teacher(0)
    start = TINY.objective.teacher_start
    assert torch.allclose(module.teacher.hidden, torch.tensor(1 - start))
    assert TINY.objective.teacher_decay(5) == TINY.objective.teacher_end
    assert TINY.objective.teacher_decay(10**6) == TINY.objective.teacher_end


def test_a_step_of_the_recipe_moves_the_teacher(recipe: SslRecipe) -> None:
    module = recipe.build()
    assert isinstance(module, SslModule)
    with torch.no_grad():
        module.student.hidden += 1.0
    before = module.teacher.hidden.clone()
    recipe.after_step(module, 0)
    assert float((module.teacher.hidden - before).min()) > 0


def test_targets_keep_what_is_the_same_all_through_a_clip() -> None:
    """Deviation from data2vec: a metric must hear level and colour."""
    assert SslConfig().objective.standardise_over == "batch"
    as_published = replace(TINY.objective, standardise_over="clip")
    ours = _losses(_module())["frames"]
    theirs = _losses(_module(replace(TINY, objective=as_published)))["frames"]
    assert not torch.isclose(ours, theirs)


def test_all_draws_of_a_step_come_from_its_generator() -> None:
    config = replace(TINY, objective=replace(TINY.objective, clip_weight=0.5))
    module = _module(config)
    torch.manual_seed(1)
    first = _losses(module)
    torch.manual_seed(2)
    second = _losses(module)
    other = _losses(module, seed=6)
    assert "clip" in first
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert not torch.equal(first["frames"], other["frames"])
    assert not torch.equal(first["clip"], other["clip"])


def test_the_second_view_of_one_clip_alone_is_a_change_of_level() -> None:
    config = replace(TINY, objective=replace(TINY.objective, mix_largest=0.0))
    module = _module(config)
    mel = module.mel(_batch()["samples"])
    view = module._second_view(mel, torch.Generator().manual_seed(0))
    shift_db = (view - mel) * module.mel.config.scale_db
    assert torch.allclose(shift_db, shift_db[:, :1, :1].expand_as(shift_db), atol=1e-2)
    assert float(shift_db.abs().max()) <= config.objective.gain_range_db + 1e-2
    assert float(shift_db.abs().max()) > 0.5


def test_weights_switch_terms_off() -> None:
    objective = replace(TINY.objective, mel_weight=0.0, variance_weight=0.0, covariance_weight=0.0)
    losses = _losses(_module(replace(TINY, objective=objective)))
    assert torch.equal(losses["loss"], losses["frames"])


@pytest.mark.parametrize("preset", ["debug", "small", "base"])
def test_presets_build_and_describe_themselves(preset: str) -> None:
    made, loop = make(preset, {}, ())
    assert json.loads(json.dumps(made.to_config()))["corpora"] == ssl.CORPORA
    assert loop.steps > loop.warmup_steps
    with torch.device("meta"):
        module = SslModule(made.config.encoder, made.config.objective)
    assert sum(p.numel() for p in module.parameters()) > 0


def test_overrides_reach_the_parts_and_unknown_ones_are_refused() -> None:
    made, _ = make("debug", {"mel_weight": "0", "width": "24", "crop_s": "1.5"}, ("music", "x=y"))
    assert made.config.objective.mel_weight == 0
    assert made.config.encoder.width == 24
    assert made.config.crop_s == 1.5
    assert made.config.corpora == {"music": ssl.CORPORA["music"], "x=y": 0.25}
    with pytest.raises(ConfigError, match="no setting colour"):
        make("debug", {"colour": "red"}, ())
    with pytest.raises(ConfigError, match="no single value"):
        make("debug", {"objective": "x"}, ())
    with pytest.raises(ConfigError, match="no preset"):
        make("huge", {}, ())


def test_speech_is_never_trained_on() -> None:
    assert "speech" not in ssl.CORPORA
    assert all("speech" not in config.corpora for config, _ in ssl.PRESETS.values())


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (
            0,
            lambda x, y: (
                np.abs(np.fft.rfft(y))[-2000:].sum() < np.abs(np.fft.rfft(x))[-2000:].sum()
            ),
        ),
        (1, lambda x, y: np.std(y) > np.std(x)),
        (2, lambda x, y: np.abs(y).max() < np.abs(x).max()),
        (3, lambda x, y: np.count_nonzero(y) < np.count_nonzero(x)),
    ],
)
def test_each_kind_of_damage_does_what_it_says(kind: int, check: object) -> None:
    assert callable(check)
    x = (0.2 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    config = DamageConfig(probability=1.0, snr_db=(0.0, 3.0))
    seeds = (s for s in range(200) if _kind_of(s) == kind)
    for _ in range(5):
        y = damage(x, RATE, config, np.random.default_rng(next(seeds)))
        assert y.dtype == np.float32
        assert check(x, y)


def _kind_of(seed: int) -> int:
    rng = np.random.default_rng(seed)
    rng.random()
    return int(rng.integers(4))


def test_no_damage_where_none_is_wanted() -> None:
    x = np.ones(100, np.float32)
    config = DamageConfig(probability=0.0)
    assert damage(x, RATE, config, np.random.default_rng(0)) is x


def test_the_head_is_that_of_penalised_regression() -> None:
    """The gradient of the penalised likelihood vanishes at the solution."""
    rng = np.random.default_rng(0)
    classes = torch.from_numpy(rng.integers(0, 3, 90))
    x = torch.from_numpy(rng.standard_normal((90, 4)) + 1.5 * np.eye(4)[classes.numpy()])
    clips = LabelledClips(statistics=x.float(), classes=classes, weights=torch.ones(90))
    result = fit_head(clips, clips, ("a", "b", "c"), penalties=(0.01,))
    scale = x.std(dim=0)
    weight = (result.head.weight.double() * scale).requires_grad_()
    bias = (
        result.head.bias.double() + result.head.weight.double() @ x.mean(dim=0)
    ).requires_grad_()
    standard = (x - x.mean(dim=0)) / scale
    loss = torch.nn.functional.cross_entropy(standard @ weight.T + bias, classes)
    (loss + 0.01 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-4
    assert float(bias.grad.abs().max()) < 1e-4
    assert result.accuracy > 0.7


def test_the_penalty_of_the_best_valid_likelihood_is_taken() -> None:
    rng = np.random.default_rng(0)
    classes = torch.from_numpy(rng.integers(0, 2, 30))
    noise = torch.from_numpy(rng.standard_normal((30, 40))).float()
    train = LabelledClips(statistics=noise, classes=classes, weights=torch.ones(30))
    valid = LabelledClips(statistics=-noise, classes=classes, weights=torch.ones(30))
    assert fit_head(train, valid, ("a", "b"), penalties=(0.001, 10.0)).penalty == 10.0
    with pytest.raises(ConfigError, match="needs train and valid clips"):
        fit_head(train, valid, ("a", "b"), penalties=())
