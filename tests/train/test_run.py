"""Runs: their folder, what is refused, how they stop."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from train.tiny import NUM_EXAMPLES, TinyRecipe, make_config
from weft.checkpoint import read_config
from weft.errors import CheckpointError, ConfigError, DivergenceError, OutputError
from weft.rng import Rng
from weft.train import loop as loop_module
from weft.train.loop import Progress
from weft.train.recipe import Batch, Tell, silence
from weft.train.run import RunResult, export_averaged, train
from weft.train.saving import check, checkpoints


def run(folder: Path, recipe: TinyRecipe | None = None, **options: Any) -> RunResult:
    changes = options.pop("changes", {})
    return train(
        recipe or TinyRecipe(),
        make_config(**changes),
        folder,
        cache=folder.parent / "cache",
        device="cpu",
        **options,
    )


def test_a_run_leaves_its_settings_log_checkpoints_and_model(tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    assert (result.reason, result.step, result.model) == ("done", 20, tmp_path / "run" / "model")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"] == "tiny"
    assert config["loop"]["steps"] == 20
    assert config["environment"]["precision"] == "float32"
    lines = [json.loads(text) for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["step"] for line in lines if "loss" in line]
    assert losses == [3, 6, 9, 12, 15, 18, 20]
    assert [line["step"] for line in lines if "valid/norm" in line] == [7, 14, 20]
    names = [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == ["step-00000015", "step-00000020"]
    assert json.loads((result.model / "history.json").read_text()) == lines


def test_nothing_in_a_run_is_a_pickle(tmp_path: Path) -> None:
    run(tmp_path / "run")
    kinds = {
        path.suffix for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()
    }
    assert kinds == {".safetensors", ".json"}


def test_torchs_own_generator_is_given_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    run(tmp_path / "run")
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.01}, "learning_rate was 0.02, now 0.01"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"batch_size": 16, "betas": (0.8, 0.9)}, "batch_size was 8, now 16; betas was"),
        ({"steps": 30, "schedule": "cosine"}, "schedule was wsd, now cosine"),
    ],
)
def test_a_run_of_other_settings_is_refused_by_their_names(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=7))
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "run", is_resumed=True, changes=changes)
    # Betas come before batch sizes in the alphabet.
    assert all(part in str(caught.value) for part in words.split("; "))


def test_a_run_of_another_recipe_setting_is_refused_by_its_path(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=7))
    with pytest.raises(ConfigError, match="is_adversarial was False, now True"):
        run(tmp_path / "run", TinyRecipe(is_adversarial=True), is_resumed=True)


def test_settings_that_no_weight_depends_on_may_change(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=7))
    result = run(tmp_path / "run", is_resumed=True, changes={"log_every": 5, "num_workers": 1})
    assert result.step == 20


def test_a_stable_run_may_be_made_longer_and_a_decaying_one_not(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=7))
    assert run(tmp_path / "run", is_resumed=True, changes={"steps": 24}).step == 24
    with pytest.raises(ConfigError, match="steps was 24, now 40"):
        run(tmp_path / "run", is_resumed=True, changes={"steps": 40})


def test_a_run_is_not_begun_over_another_nor_over_other_files(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=2))
    with pytest.raises(OutputError, match="--resume goes on with it"):
        run(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(OutputError, match="holds something that is no run"):
        run(tmp_path / "thesis", is_resumed=True)


def test_data_of_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=2))
    monkeypatch.setattr("train.tiny.NUM_EXAMPLES", NUM_EXAMPLES + 1)
    with pytest.raises(CheckpointError, match="num_examples was 27, now 28"):
        run(tmp_path / "run", is_resumed=True)


def test_a_damaged_last_checkpoint_is_passed_over(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=11))
    last = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    path = next(last.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = run(tmp_path / "run", is_resumed=True)
    assert result.step == 20
    assert "is damaged: its digest is another" in result.notes[0]


def test_without_any_good_checkpoint_the_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=3))
    for path in (tmp_path / "run" / "checkpoints").rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(CheckpointError, match="there are none"):
        run(tmp_path / "run", is_resumed=True)


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=11))
    folder = tmp_path / "run" / "checkpoints"
    (folder / "step-00000012" / "state.json").unlink()
    (folder / ".writing-step-00000014").mkdir()
    assert [path.name for path in checkpoints(folder)] == ["step-00000010"]
    assert run(tmp_path / "run", is_resumed=True).step == 20


def test_checkpoints_of_another_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=3))
    monkeypatch.setattr("train.tiny.WIDTH", 7)
    monkeypatch.setattr(TinyRecipe, "to_config", lambda self: {"width": 6, **self.options})
    with pytest.raises(CheckpointError, match=r"net.0.weight is torch.float32 \(8, 6\), wanted"):
        run(tmp_path / "run", is_resumed=True)


def test_steps_with_nan_are_left_out_and_counted(tmp_path: Path) -> None:
    run(tmp_path / "run", TinyRecipe(bad_steps=(4, 5, 11)))
    counters = check(checkpoints(tmp_path / "run" / "checkpoints")[-1])["counters"]
    assert (counters["step"], counters["num_updates"], counters["num_bad"]) == (20, 17, 3)
    lines = (tmp_path / "run" / "log.jsonl").read_text()
    assert "NaN" not in lines
    assert json.loads(lines.splitlines()[-2])["num_bad"] == 3


def test_too_much_nan_in_a_row_ends_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    bad = tuple(range(7, 20))
    with pytest.raises(DivergenceError, match="4 steps in a row up to step 11"):
        run(tmp_path / "run", TinyRecipe(bad_steps=bad), changes={"max_bad_steps": 4})
    last = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert last.name == "step-00000010"
    assert check(last)["counters"]["num_updates"] == 7


def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: TinyRecipe, module: Any, step: int) -> None:
        if step == 7:
            module.teacher.bias.fill_(float("nan"))

    monkeypatch.setattr(TinyRecipe, "after_step", spoil)
    with pytest.raises(CheckpointError, match="not saved at step 10: module.teacher.bias"):
        run(tmp_path / "run", changes={"max_bad_steps": 20})
    assert [p.name for p in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000005"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_stop_and_handlers_come_back(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    result = run(tmp_path / "run", TinyRecipe(signal_at=6, signal_number=number))
    assert (result.reason, result.step) == (signal.Signals(number).name, 7)
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-00000007"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_preparation_is_interrupted_at_once(
    tmp_path: Path, number: int, expected: type[BaseException]
) -> None:
    class Preparing(TinyRecipe):
        def prepare(self, cache: Path, tell: Tell = silence) -> None:
            signal.raise_signal(number)
            raise AssertionError("went on")

    before = signal.getsignal(number)
    with pytest.raises(expected):
        run(tmp_path / "run", Preparing())
    assert signal.getsignal(number) is before


class SlowRecipe(TinyRecipe):
    def example(self, index: int, rng: Rng) -> Batch:
        time.sleep(0.002)
        return super().example(index, rng)


def test_a_limit_on_time_saves_exports_and_stops_in_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    result = run(tmp_path / "run", SlowRecipe(), max_minutes=0.5 / 60, changes={"steps": 10**6})
    assert time.monotonic() - begun < 5
    assert result.reason == "time"
    assert 1 <= result.step < 300
    assert result.model is not None
    assert (result.model / "model.safetensors").is_file()
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name.endswith(f"{result.step:08d}")


def test_progress_tells_steps_time_left_and_the_last_figures(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run(tmp_path / "run", watch=seen.append)
    assert [progress.step for progress in seen] == list(range(1, 21))
    assert seen[-1].seconds_left == 0
    assert seen[5].seconds_left > 0
    assert "loss" in seen[2].figures
    assert "valid/norm" not in seen[7].figures or "loss" in seen[8].figures


def test_averaged_weights_travel_in_small_files_and_are_exported_elsewhere(tmp_path: Path) -> None:
    there = run(tmp_path / "there", shard_mib=1)
    folder = tmp_path / "there" / "averaged"
    assert read_config(folder)["step"] == 20
    here = export_averaged(
        TinyRecipe(), make_config(), folder, tmp_path / "here", cache=tmp_path / "cache"
    )
    from safetensors.torch import load_file

    assert there.model is not None
    assert here.model is not None
    ours = load_file(here.model / "model.safetensors")
    for name, value in load_file(there.model / "model.safetensors").items():
        assert torch.equal(ours[name], value.half().to(value.dtype)), name
    history = (there.model / "history.json").read_text()
    assert json.loads((here.model / "history.json").read_text())[:-1] == json.loads(history)
    with pytest.raises(ConfigError, match="is_adversarial was False"):
        export_averaged(
            TinyRecipe(is_adversarial=True), make_config(), folder, tmp_path / "x",
            cache=tmp_path / "cache",
        )  # fmt: skip


def test_the_model_has_averaged_weights_not_the_last(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    result = run(tmp_path / "run")
    assert result.model is not None
    model = load_file(result.model / "model.safetensors")
    last = next(checkpoints(tmp_path / "run" / "checkpoints")[-1].glob("*.safetensors"))
    saved = load_file(last)
    assert torch.equal(model["net.0.weight"], saved["averaged.net.0.weight"])
    assert not torch.equal(model["net.0.weight"], saved["module.net.0.weight"])
    assert torch.equal(model["net.1.running_mean"], saved["module.net.1.running_mean"])
    assert torch.equal(model["teacher.bias"], saved["module.teacher.bias"])


def test_curves_go_to_tensorboard(tmp_path: Path) -> None:
    run(tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_run_without_tensorboard_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = run(tmp_path / "run")
    assert result.notes == ("no curves for TensorBoard, only log.jsonl: pip install 'weft[train]'",)


def test_going_on_elsewhere_is_said_not_to_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", TinyRecipe(signal_at=6))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    result = run(tmp_path / "run", is_resumed=True)
    assert any("not to the same bits" in note and "is 77" in note for note in result.notes)


def test_auto_precision_follows_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for gains, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(loop_module, "bfloat16_gains", lambda device, gains=gains: gains)
        run(tmp_path / wanted, changes={"precision": "auto", "steps": 4, "validate_every": 0})
        config = json.loads((tmp_path / wanted / "config.json").read_text())
        assert config["environment"]["precision"] == wanted
        assert config["loop"]["precision"] == "auto"


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed.checkpoint as dcp

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dcp.HuggingFaceStorageWriter, "write_data", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        run(tmp_path / "run")
    assert checkpoints(tmp_path / "run" / "checkpoints") == []


def test_a_validation_stands_in_the_log_once(tmp_path: Path) -> None:
    run(tmp_path / "run", changes={"validate_every": 10})
    run(tmp_path / "run", changes={"validate_every": 10}, is_resumed=True)
    lines = [json.loads(text) for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid/norm" in line] == [10, 20]
