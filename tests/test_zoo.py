import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weft
from tiny_tokens import CODEC, make_codec, make_network
from weft import zoo
from weft.audio.audio import Audio
from weft.canvas.windows import context_samples, read_window
from weft.errors import CheckpointError
from weft.evaluate.solvers import load_from_zoo
from weft.rng import Rng
from weft.sampling.token_model import TokenModelConfig, write_token_model


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_fills_a_gap_and_leaves_the_rest(name: str, chord: Audio) -> None:
    result = weft.inpaint(chord, [(1.0, 1.03)], model=name, seed=1)
    filled = result.best.samples
    outside = np.ones(chord.num_samples, dtype=bool)
    outside[16000:16480] = False
    assert np.array_equal(filled[:, outside], chord.samples[:, outside])
    assert np.isfinite(filled).all()
    assert 0 <= result.gaps[0].takes[0].confidence <= 1
    assert name in ("auto", result.gaps[0].takes[0].model)


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_repeats_itself(name: str, chord: Audio) -> None:
    runs = [weft.inpaint(chord, [(1.0, 1.03)], model=name, seed=5).best for _ in range(2)]
    assert np.array_equal(runs[0].samples, runs[1].samples)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name != "silence"])
def test_no_second_fade_is_laid_over_a_fill_that_joins(name: str, chord: Audio) -> None:
    model = zoo.load(name)
    gap = weft.canvas.Region(start=16000, stop=16480)
    context = context_samples(model.filler, gap, chord.sample_rate, num_channels=2)
    window = read_window(chord, gap, [], context)
    proposed = model.filler.fill([window], num_takes=1, rng=Rng(1))[0][0]
    filled = weft.inpaint(chord, [gap], model=model, seed=1).best.read(gap.start, gap.stop)
    assert np.array_equal(filled, proposed.samples)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(CheckpointError, match="did you mean 'similarity'"):
        zoo.load("similarty")


def test_every_card_says_what_a_model_is_good_for() -> None:
    for name in zoo.names():
        card = zoo.describe(name)
        assert card.name == name
        assert card.summary
        assert card.good_for


def test_listing_models_imports_no_numerical_package() -> None:
    code = (
        "import sys, weft.zoo; weft.zoo.names(); "
        "print([m for m in ('numpy', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_filling_imports_no_torch() -> None:
    code = (
        "import sys, numpy as np, weft; "
        "a = weft.Audio.from_samples(np.sin(np.arange(9000) * 0.1), 9000); "
        "weft.inpaint(a, [(0.5, 0.55)]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small token model with random weights."""
    network = make_network(CODEC.quantiser.codebook_size)
    config = TokenModelConfig(codec=CODEC, network=network.config, name="mine", good_for="tests")
    write_token_model(tmp_path, config=config, codec=make_codec(), network=network)
    return tmp_path


def test_a_folder_is_a_model_like_any_other(folder: Path, chord: Audio) -> None:
    model = zoo.load(folder)
    assert model.name == model.filler.name == "mine"
    assert zoo.describe(str(folder)).good_for == "tests"
    result = weft.inpaint(chord, [(1.0, 1.02)], model=str(folder))
    assert result.gaps[0].takes[0].model == "mine"
    assert result.proof.is_identical


def test_weights_are_read_once_until_the_model_changes(folder: Path) -> None:
    first = zoo.load(folder).filler
    assert zoo.load(str(folder)).filler is first
    network = make_network(CODEC.quantiser.codebook_size, spread=1.0)
    config = TokenModelConfig(codec=CODEC, network=network.config, name="mine")
    write_token_model(folder, config=config, codec=make_codec(), network=network)
    assert zoo.load(folder).filler is not first


def test_folders_are_described_without_a_numerical_package(folder: Path) -> None:
    code = (
        f"import sys, weft.zoo; print(weft.zoo.describe({str(folder)!r}).name, "
        "[m for m in ('numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mine []"


def test_trained_models_have_a_name_where_their_weights_are_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = tmp_path_factory.mktemp("weights")
    monkeypatch.setattr(zoo, "_SHIPPED", weights)
    assert "weft-tokens" not in zoo.names()
    with pytest.raises(CheckpointError, match="no model and no folder is called 'weft-tokens'"):
        zoo.load("weft-tokens")
    (weights / "weft-tokens").symlink_to(folder)
    assert zoo.names()[-1] == "weft-tokens"
    assert zoo.load("weft-tokens").name == "mine"
    (folder / "model.json").write_text("{")
    assert zoo.load("lpc").name == "lpc"  # a damaged model is no reason to refuse the others
    with pytest.raises(CheckpointError, match="damaged"):
        zoo.load("weft-tokens")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"kind": ["tokens"]}', "which fills no gaps"),
        ('{"kind": "corpus-ssl"}', "kind 'corpus-ssl', which fills no gaps; kinds that do: tokens"),
        ('{"kind": "tokens"}', "its card"),
        (
            '{"kind": "tokens", "card": {"name": 3, "summary": "", "good_for": "", "sources": []}}',
            "must hold texts",
        ),
        ('{"kind": "tokens", "more": "' + "x" * 1_000_001 + '"}', "larger than"),
    ],
)
def test_folders_that_are_no_models_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        zoo.describe(folder)


def test_a_folder_that_is_not_there_is_answered_with_what_a_model_is() -> None:
    with pytest.raises(CheckpointError, match="a name from 'weft models list' or a folder"):
        zoo.load("runs/none")


def test_experiments_learn_size_and_codec_of_a_model(folder: Path, chord: Audio) -> None:
    solver = load_from_zoo(str(folder))
    assert solver.num_parameters == zoo.load(folder).filler.num_parameters > 1000
    assert solver.round_trip is not None
    start = Audio.from_samples(chord.read(0, 4001), chord.sample_rate)
    decoded = solver.round_trip(start)
    assert decoded.sample_rate == chord.sample_rate
    assert decoded.samples.shape == (2, 4001)
    assert not np.array_equal(decoded.samples, start.samples)
    classical = load_from_zoo("silence")
    assert classical.num_parameters == 0
    assert classical.round_trip is None


def test_only_trained_models_have_a_digest(folder: Path) -> None:
    text = (folder / "model.json").read_bytes()
    assert zoo.digest_of(folder) == zoo.digest_of(str(folder)) == hashlib.sha256(text).hexdigest()
    assert zoo.digest_of("lpc") is None
