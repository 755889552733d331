"""Checkpoints of a run: complete under their name or not there, the same for one process and many.

``step-00000500/`` holds safetensors files that ``torch.distributed.checkpoint`` writes, each
process its part, and ``state.json``, written last, with the counters and the digest of every file.
No pickle: foreign checkpoints cannot run code, and every tool that knows safetensors can read them.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from weft.errors import CheckpointError, OutputError
from weft.train.state import Counters, TrainState, not_finite
from weft.train.world import World

SCHEMA = "weft.train.checkpoint/1"
STATE_FILE = "state.json"
_NAME = re.compile(r"step-(\d{8,})")


def save(
    state: TrainState, folder: Path, *, world: World, facts: Mapping[str, Any], keep: int
) -> Path:
    """Write a checkpoint of the state as it is; all processes call this.

    Args:
        state: what to save.
        folder: of the run's checkpoints.
        world: the processes.
        facts: JSON to keep beside, such as the number of examples; compared by `load`.
        keep: checkpoints that stay; older ones are removed after this one is complete.

    Returns:
        The folder of the checkpoint.

    Raises:
        CheckpointError: a tensor of the state is not finite; nothing was written.
        OutputError: it cannot be written.
    """
    tensors = state.tensors()
    if bad := not_finite(tensors):
        raise CheckpointError(
            f"not saved at step {state.counters.step}: {bad[0]} and {len(bad) - 1} more hold NaN "
            "or infinity; the last checkpoint is untouched. Lower the learning rate"
        )
    final = folder / f"step-{state.counters.step:08d}"
    partial = folder / f".writing-{final.name}"
    try:
        if world.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        world.wait()
        _write_tensors(tensors, partial)
        world.wait()
        if world.is_first:
            _finish(state.counters, partial, final, facts)
            for old in checkpoints(folder)[:-keep]:
                shutil.rmtree(old, ignore_errors=True)
        world.wait()
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write the checkpoint {final}: {error}") from error
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(
        (path for path in found if (path / STATE_FILE).is_file()),
        key=lambda path: int(path.name.removeprefix("step-")),
    )


def load(state: TrainState, checkpoint: Path, *, facts: Mapping[str, Any]) -> None:
    """Make the state that of a checkpoint; all processes call this.

    Args:
        state: of the same module and objectives.
        checkpoint: a folder that `save` returned.
        facts: must be those that were saved.

    Raises:
        CheckpointError: the checkpoint is damaged, or is of something else.
    """
    header = check(checkpoint)
    if other := sorted(
        k for k in {*facts, *header["facts"]} if facts.get(k) != header["facts"].get(k)
    ):
        raise CheckpointError(
            f"{checkpoint} cannot be gone on with: "
            + ", ".join(f"{k} was {header['facts'].get(k)}, now {facts.get(k)}" for k in other)
        )
    tensors = state.tensors()
    reader = dcp.HuggingFaceStorageReader(str(checkpoint))
    try:
        _check_table(tensors, reader.read_metadata().state_dict_metadata, checkpoint)
        with _quiet():
            dcp.load(dict(tensors), storage_reader=reader)
        counters = Counters(**header["counters"])
    except CheckpointError:
        raise
    except (CheckpointException, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{checkpoint} cannot be read: {error}") from error
    state.counters = counters


def check(checkpoint: Path) -> dict[str, Any]:
    """Return what `STATE_FILE` says, after comparing every file with its digest.

    Raises:
        CheckpointError: something is missing or damaged.
    """
    path = checkpoint / STATE_FILE
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, str] = header["files"]
        is_ours = header["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or missing: {error}") from error
    if not is_ours:
        raise CheckpointError(f"{path} has the schema {header['schema']}, wanted {SCHEMA}")
    there = {file.name for file in checkpoint.iterdir()} - {STATE_FILE}
    if there != set(files):
        raise CheckpointError(
            f"{checkpoint} should hold {', '.join(sorted(files))}; there are "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    for name, digest in files.items():
        if _digest(checkpoint / name) != digest:
            raise CheckpointError(f"{checkpoint / name} is damaged: its digest is another")
    return header


def _check_table(tensors: Mapping[str, Tensor], there: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose names, shapes or types are not those of the state."""
    if other := sorted({*tensors} ^ {*there}):
        side = "lacks" if other[0] in tensors else "holds another network: it has"
        raise CheckpointError(f"{path} {side} {other[0]} and {len(other) - 1} more tensors")
    for name, value in tensors.items():
        found = there[name]
        if value.shape != found.size or value.dtype != found.properties.dtype:
            raise CheckpointError(
                f"{path}: {name} is {found.properties.dtype} {tuple(found.size)}, wanted "
                f"{value.dtype} {tuple(value.shape)}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing about there being only one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path) -> None:
    # Copies, because tensors that share memory (tied weights) are refused by the file format.
    copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    copies = {name: value.contiguous() for name, value in copies.items()}
    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    # What processes have in common the first one writes: running statistics are not quite the same
    # in all of them, and it is the first one's that DDP hands to the others.
    planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
    try:
        with _quiet():
            dcp.save(copies, storage_writer=writer, planner=planner)
    except CheckpointException as error:  # no Exception of Python's, and holds one for each process
        causes = [str(failure[0]) for failure in error.failures.values()]
        raise OutputError(f"cannot write in {folder}: {'; '.join(causes)}") from error


def _finish(counters: Counters, partial: Path, final: Path, facts: Mapping[str, Any]) -> None:
    """Write the header, and give the folder its name."""
    for path in sorted(partial.iterdir()):
        _synchronise(path)
    header = {
        "schema": SCHEMA,
        "counters": asdict(counters),
        "facts": dict(facts),
        "files": {path.name: _digest(path) for path in sorted(partial.iterdir())},
    }
    text = json.dumps(header, indent=1, allow_nan=False)
    (partial / STATE_FILE).write_text(text + "\n", encoding="utf-8")
    _synchronise(partial / STATE_FILE)
    _synchronise(partial)
    if final.exists():  # of a run that was stopped at this very step
        shutil.rmtree(final)
    partial.rename(final)
    _synchronise(final.parent)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
