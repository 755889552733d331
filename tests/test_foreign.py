"""Reading other people's weights: what is read, what is refused, and that nothing is run."""

import argparse
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from weft import foreign
from weft.errors import CheckpointError, OutputError
from weft.folders import CACHE_VARIABLE
from weft.foreign import convert, digest_of, fit, read_state_dict


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the reader in this process: what it accepts does not depend on where it runs."""

    def unpickle(path: Path, out: Path, request: list[str], timeout_s: float) -> None:
        try:
            foreign._unpickle(path, out, request)
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read as weights: {error}") from error

    monkeypatch.setattr(foreign, "_unpickle_apart", unpickle)


class Runs:
    """A pickle of this calls a function when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.arange(3)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[k], other[k]) for k in one)


def training_state() -> dict[str, object]:
    """What training code of others leaves in its checkpoints."""
    return {
        "iteration": 600000,
        "model": WEIGHTS,
        "sampler": {"order": np.random.default_rng(1).permutation(9), "best": np.float64(0.431)},
        "settings": argparse.Namespace(rate=1e-3, folder=Path("somewhere")),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older format"])
def test_a_checkpoint_with_the_objects_of_its_training_code_gives_its_tensors(
    tmp_path: Path, zipped: bool
) -> None:
    path = tmp_path / "a.pth"
    torch.save(training_state(), path, _use_new_zipfile_serialization=zipped)
    assert equal(read_state_dict(path), WEIGHTS)


def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    torch.save({"model": WEIGHTS, "x": Runs(os.system, f"touch {trace}")}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights: .*system"):
        read_state_dict(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file was harmless, so that the test showed nothing"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("function", [eval, exec, open, subprocess.call, getattr, __import__])
def test_other_functions_in_a_pickle_are_refused_too(
    tmp_path: Path, function: Callable[..., object]
) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    torch.save({"model": WEIGHTS, "x": Runs(function, f"open({str(trace)!r}, 'w')")}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.usefixtures("here")
def test_code_of_packages_that_checkpoints_may_name_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace.npy"
    torch.save({"model": WEIGHTS, "x": Runs(np.save, str(trace), np.zeros(2))}, path)
    assert equal(read_state_dict(path), WEIGHTS)
    assert not trace.exists()


def test_a_reader_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(WEIGHTS, path)
    with pytest.raises(CheckpointError, match="not be read within 0.01 s"):
        read_state_dict(path, timeout_s=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound memory differently")
def test_the_reader_cannot_take_all_memory() -> None:
    code = "from weft.foreign import _limit; _limit(0, 60); bytearray(3 * 2**30)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in run.stderr


def damaged(path: Path) -> dict[str, bytes]:
    whole = path.read_bytes()
    letters = io.BytesIO()
    with zipfile.ZipFile(letters, "w") as archive:
        archive.writestr("a/data.pkl", b"nonsense")
    return {
        "empty": b"",
        "cut off": whole[: len(whole) // 2],
        "text": b"<html>404</html>" * 9,
        "zip of nonsense": letters.getvalue(),
        "pickle of a list": pickle.dumps([1, 2], protocol=2),
    }


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "kind", ["empty", "cut off", "text", "zip of nonsense", "pickle of a list"]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    whole = tmp_path / "whole.pth"
    if suffix == ".pth":
        torch.save(WEIGHTS, whole)
    else:
        save_file(WEIGHTS, whole)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(damaged(whole)[kind])
    with pytest.raises(CheckpointError, match=r"a\.(pth|safetensors)"):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    state = {"fine": torch.ones(3), "bad": torch.tensor([1.0, value])}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    with pytest.raises(CheckpointError, match="'bad' holds NaN or infinite"):
        read_state_dict(path)
    assert not list(tmp_path.glob("cache/**/*.safetensors"))


@pytest.mark.usefixtures("here")
def test_a_tensor_that_claims_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"huge": torch.zeros(1).expand(10**6, 10**6)}, path)
    with pytest.raises(CheckpointError, match="'huge' claims"):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["a\nb", "\x00", "x" * 600])
def test_impossible_names_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pth"
    torch.save({name: torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="impossible name"):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
def test_select_says_which_dictionary_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    tree = {"model": WEIGHTS, "ema": {"shadow": {"w": torch.ones(2)}}, "step": torch.tensor(3)}
    torch.save(tree, path)
    assert equal(read_state_dict(path), WEIGHTS)
    assert equal(read_state_dict(path, select=["ema/shadow"]), {"w": torch.ones(2)})
    assert equal(read_state_dict(path, select=[""]), {"step": torch.tensor(3)})
    with pytest.raises(CheckpointError, match="no tensors under .*'ema', 'model', 'step'"):
        read_state_dict(path, select=["generator"])


@pytest.mark.usefixtures("here")
def test_tensors_of_a_list_are_named_by_their_index(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    shadow = [torch.full((2,), float(i)) for i in range(12)]
    torch.save({"ema": {"decay": 0.9, "shadow_params": shadow}}, path)
    found = read_state_dict(path, select=["ema/shadow_params"])
    assert equal(found, {str(i): value for i, value in enumerate(shadow)})


@pytest.mark.usefixtures("here")
def test_places_joined_by_plus_are_taken_together_except_those_that_are_missing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pth"
    one, two = torch.ones(2), torch.zeros(3)
    torch.save({"model": {"w": one}, "ema": {"shadow_params": [two]}}, path)
    both = read_state_dict(path, select=["model+ema/shadow_params+other"])
    assert equal(both, {"model:w": one, "ema/shadow_params:0": two})
    assert equal(read_state_dict(path, select=["other+neither", "model"]), {"w": one})


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_not_wanted_is_neither_read_nor_checked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    state = {"head.w": torch.ones(2), "critic.w": torch.tensor([float("nan")])}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    assert equal(read_state_dict(path, keep=["head.", "tail."]), {"head.w": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"'critic.w' holds NaN"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match=r"no tensors? whose name.* tail\."):
        read_state_dict(path, keep=["tail."])


def test_the_error_says_what_the_reader_did_not_allow(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"x": Runs(os.getcwd)}, path)
    with pytest.raises(Exception, match="Weights only load failed") as caught:
        foreign._unpickle(path, tmp_path / "out", [""])
    said = foreign._reason(str(caught.value))
    assert "getcwd" in said
    assert "Weights only" not in said
    assert foreign._reason("advice\nWeightsUnpickler error:\n\nonly this. More.") == "only this"
    assert foreign._reason("1.5 is odd. So") == "1.5 is odd. So"


@pytest.mark.usefixtures("here")
def test_a_tensor_without_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"empty": torch.empty(3, device="meta")}, path)
    with pytest.raises(CheckpointError, match="'empty' is no plain tensor"):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
def test_a_pickle_that_unpacks_to_far_more_than_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"N0" * 2**20 + b".")
    monkeypatch.setattr(foreign, "_MAX_PICKLE_BYTES", 2**20)
    with pytest.raises(CheckpointError, match="its pickle unpacks to 2 MiB"):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
def test_a_conversion_is_kept_by_content_and_made_again_where_the_kept_one_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    torch.save(WEIGHTS, path)
    read_state_dict(path)
    (kept,) = tmp_path.glob("cache/weights/*")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert equal(read_state_dict(path), WEIGHTS)
    monkeypatch.setattr(foreign, "_unpickle_apart", None)
    assert equal(read_state_dict(path), WEIGHTS)
    torch.save({"other": torch.ones(1)}, path)
    with pytest.raises(TypeError):
        read_state_dict(path)


@pytest.mark.usefixtures("here")
def test_weights_are_read_where_no_cache_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    torch.save(WEIGHTS, tmp_path / "a.pth")
    assert equal(read_state_dict(tmp_path / "a.pth"), WEIGHTS)


@pytest.mark.usefixtures("here")
def test_convert_writes_a_whole_file_or_none(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    out = tmp_path / "new" / "out.safetensors"
    convert(tmp_path / "a.pth", out)
    assert equal(read_state_dict(out), WEIGHTS)
    with safe_open(out, "pt") as written:
        assert written.metadata() == {"format": "pt"}, "transformers refuses files without"
    convert(out, tmp_path / "again.safetensors")
    assert equal(read_state_dict(tmp_path / "again.safetensors"), WEIGHTS)
    (tmp_path / "bad.pth").write_bytes(b"bad")
    with pytest.raises(CheckpointError):
        convert(tmp_path / "bad.pth", out)
    assert equal(read_state_dict(out), WEIGHTS)
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    with pytest.raises(OutputError, match="cannot write"):
        convert(tmp_path / "a.pth", tmp_path / "a.pth" / "x.safetensors")


def test_what_is_no_file_of_weights_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(CheckpointError, match="by its ending; weights end with"):
        read_state_dict(tmp_path / "a.txt")
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="a folder, not a file"):
        read_state_dict(tmp_path)
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    monkeypatch.setattr(foreign, "MAX_BYTES", 10)
    with pytest.raises(CheckpointError, match="are not read"):
        read_state_dict(tmp_path / "a.safetensors")


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert digest_of(tmp_path / "a").startswith("6b86b273")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        digest_of(tmp_path / "none")


def test_fit_takes_all_tensors_or_none() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    told = Path("w.pth")
    state = {k: v + 1 for k, v in network.state_dict().items()}
    fewer = {k: v for k, v in state.items() if k != "0.bias"}
    with pytest.raises(CheckpointError, match=r"w\.pth lacks 1 tensors, such as '0.bias'"):
        fit(fewer, network, told=told)
    with pytest.raises(CheckpointError, match="holds, beyond this network, 1 .*'more'"):
        fit(state | {"more": torch.ones(1)}, network, told=told)
    with pytest.raises(CheckpointError, match=r"'0.bias' has the shape \(4,\), and .*\(3,\)"):
        fit(state | {"0.bias": torch.ones(4)}, network, told=told)
    del state["1.num_batches_tracked"]
    fit(
        {f"old.{k}": v for k, v in state.items()} | {"head": torch.ones(1)},
        network,
        told=told,
        rename=lambda name: name.removeprefix("old.") if name.startswith("old.") else None,
    )
    assert all(torch.equal(network.state_dict()[k], v) for k, v in state.items())
