import subprocess
import sys

import numpy as np
import pytest

import weft
from weft import zoo
from weft.audio.audio import Audio
from weft.canvas.windows import context_samples, read_window
from weft.errors import CheckpointError
from weft.rng import Rng


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
