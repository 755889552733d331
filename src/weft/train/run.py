"""A run: its folder, from the first step to the exported model."""

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from weft.checkpoint import load_into, read_config, write_model
from weft.errors import CheckpointError, ConfigError, OutputError
from weft.train.config import LoopConfig
from weft.train.log import TrainingLog
from weft.train.loop import Loop, Watcher
from weft.train.recipe import Recipe, Tell, silence
from weft.train.saving import checkpoints
from weft.train.stopping import Stop, Why
from weft.train.world import World, join_world
from weft.version import __version__

SCHEMA = "weft.train/1"
CONFIG_FILE = "config.json"
MODEL_FOLDER = "model"
AVERAGED_FOLDER = "averaged"
AVERAGED_KIND = "averaged weights"


@final
@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a session of training ended."""

    folder: Path
    """Of the run."""
    step: int
    """Steps done."""
    steps: int
    """Steps of the whole run."""
    reason: Why
    """done, or what stopped it."""
    figures: Mapping[str, float]
    """Of the last validation; empty where there was none."""
    model: Path | None
    """Folder of the exported model."""
    notes: tuple[str, ...]
    """What whoever started it should know."""
    is_first: bool
    """Whether this is the process that reports."""


def train(
    recipe: Recipe,
    config: LoopConfig,
    run: Path,
    *,
    cache: Path,
    is_resumed: bool = False,
    max_minutes: float | None = None,
    device: str = "auto",
    shard_mib: int | None = None,
    watch: Watcher | None = None,
    tell: Tell = silence,
) -> RunResult:
    """Train a recipe, in this process or in all those that ``torchrun`` started.

    Args:
        recipe: what to train.
        config: of the loop.
        run: folder of the run: ``config.json``, ``log.jsonl``, ``checkpoints``, ``model``.
        cache: folder for what the recipe prepares; shared by runs.
        is_resumed: go on from the last checkpoint there, if there is one.
        max_minutes: of this session; the run stops with a checkpoint and goes on with
            ``is_resumed``.
        device: auto, cpu or cuda.
        shard_mib: also write the averaged weights in 16 bits into ``averaged``, in files of at most
            so many MiB, for machines from which only small files return.
        watch: called after every step.
        tell: called while the recipe prepares what it needs.

    Returns:
        How it ended. A model is exported at the last step and where time was up.

    Raises:
        ConfigError: the run there was begun with other settings.
        OutputError: there is a run already, or it cannot be written.
        CheckpointError: no checkpoint of the run can be used.
        DivergenceError: too many steps in a row gave no finite gradient.
    """
    stop = Stop(max_minutes)
    if shard_mib is not None and not 1 <= shard_mib <= 1_000_000:
        raise ConfigError(f"--shard-mib must be in [1, 1000000], got {shard_mib}")
    with stop.on_signals(), join_world(device) as world:
        is_begun = _check_folder(run, is_resumed=is_resumed)
        world.wait()  # before one process writes what another still looks at
        if world.is_first:
            recipe.prepare(_make(cache), tell)
        world.wait()
        recipe.open(cache)
        with closing(Loop(recipe, config, world, run)) as loop:
            notes = _compare(loop, is_begun=is_begun)
            log = TrainingLog(run, step=loop.state.counters.step, is_written=world.is_first)
            notes += [log.note] if log.note else []
            try:
                stop.begin()
                reason = loop.train(log, stop, watch)
                figures = loop.validate(log) if reason in ("done", "time") else {}
            finally:
                log.close()
            model = None
            if reason in ("done", "time"):
                model = run / MODEL_FOLDER
                if world.is_first:
                    export(loop, log, model)
                    if shard_mib is not None:
                        write_averaged(loop, log, run / AVERAGED_FOLDER, shard_mib=shard_mib)
                world.wait()
            return RunResult(
                folder=run,
                step=loop.state.counters.step,
                steps=config.steps,
                reason=reason,
                figures=figures,
                model=model,
                notes=tuple(notes),
                is_first=world.is_first,
            )


def export(loop: Loop, log: TrainingLog, folder: Path) -> None:
    """Write the model with averaged weights; the folder is complete or what it was before."""
    module = loop.state.averaged_module()
    partial = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    loop.recipe.export(module.cpu(), _make(partial), log.lines)
    module.to(loop.world.device)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def write_averaged(loop: Loop, log: TrainingLog, folder: Path, *, shard_mib: int) -> None:
    """Write the averaged weights in 16 bits, in small files, with all that `export_averaged` needs.

    Args:
        loop: in training.
        log: of the run.
        folder: is replaced.
        shard_mib: largest file, in MiB, >= 1.
    """
    shutil.rmtree(folder, ignore_errors=True)
    write_model(
        _make(folder),
        config={
            "kind": AVERAGED_KIND,
            "run": _config(loop),
            "step": loop.state.counters.step,
            "history": log.lines,
        },
        tensors=loop.state.averaged_module().state_dict(),
        dtype=torch.float16,
        shard_bytes=shard_mib * 2**20,
    )


def export_averaged(
    recipe: Recipe, config: LoopConfig, folder: Path, run: Path, *, cache: Path
) -> RunResult:
    """Export the model of weights that were trained elsewhere, without training.

    Args:
        recipe: what was trained, with the settings it was trained with.
        config: of the loop it was trained in.
        folder: what `write_averaged` wrote.
        run: folder that gets ``model``.
        cache: folder for what the recipe prepares.

    Raises:
        ConfigError: the weights were trained with other settings.
        CheckpointError: they are damaged.
    """
    found = read_config(folder)
    if found["kind"] != AVERAGED_KIND:
        raise CheckpointError(f"{folder} holds a model {found['kind']!r}, no averaged weights")
    recipe.prepare(_make(cache))
    recipe.open(cache)
    loop = Loop(recipe, config, World(), _make(run))
    _check_settings(loop, _config(loop), found["run"], done=found["step"])
    load_into(loop.state.module, folder)
    loop.state.average(0.0)
    log = TrainingLog(run, step=0, is_written=False)
    log.lines.extend(found["history"])
    figures = loop.validate(log)
    export(loop, log, run / MODEL_FOLDER)
    return RunResult(
        folder=run,
        step=found["step"],
        steps=config.steps,
        reason="done",
        figures=figures,
        model=run / MODEL_FOLDER,
        notes=(),
        is_first=True,
    )


def _check_folder(run: Path, *, is_resumed: bool) -> bool:
    """Say whether there is a run to go on with."""
    is_begun = (run / CONFIG_FILE).is_file()
    if is_begun and not is_resumed:
        raise OutputError(
            f"there is a run in {run} already; --resume goes on with it, --out names another"
        )
    if not is_begun and run.exists() and any(run.iterdir()):
        raise OutputError(f"{run} holds something that is no run; name another folder with --out")
    return is_begun


def _compare(loop: Loop, *, is_begun: bool) -> list[str]:
    """Resume the run, or begin it; return notes.

    Raises:
        ConfigError: the run was begun with other settings.
    """
    path = loop.run / CONFIG_FILE
    ours = _config(loop)
    notes: list[str] = []
    if is_begun:
        theirs = _read_config(path)
        steps = [int(p.name.split("-")[1]) for p in checkpoints(loop.run / "checkpoints")]
        _check_settings(loop, ours, theirs, done=max(steps, default=0))
        notes += loop.resume()
        before, now = theirs["environment"], ours["environment"]
        changed = [f"{k} was {before.get(k)}, is {now[k]}" for k in now if before.get(k) != now[k]]
        if changed and loop.state.counters.step:
            notes.append(
                "the run goes on, but not to the same bits as without a stop: " + ", ".join(changed)
            )
    loop.world.wait()  # until all have read what is now replaced
    if loop.world.is_first:
        _make(loop.run)
        text = json.dumps(ours, indent=1, allow_nan=False) + "\n"
        partial = path.with_name(f".writing-{CONFIG_FILE}")
        partial.write_text(text, encoding="utf-8")
        partial.rename(path)
    loop.world.wait()
    return notes


def _config(loop: Loop) -> dict[str, Any]:
    """Return what a run is, as JSON."""
    return {
        "schema": SCHEMA,
        "weft": __version__,
        "recipe": loop.recipe.name,
        "settings": json.loads(json.dumps(loop.recipe.to_config(), allow_nan=False)),
        "loop": json.loads(json.dumps(loop.config.to_config())),
        "environment": _environment(loop),
    }


def _check_settings(loop: Loop, ours: dict[str, Any], theirs: dict[str, Any], *, done: int) -> None:
    other = loop.config.differences(theirs["loop"], done=done)
    if ours["recipe"] != theirs["recipe"]:
        other.append(f"recipe was {theirs['recipe']}, now {ours['recipe']}")
    other += _differences(theirs["settings"], ours["settings"])
    if other:
        raise ConfigError(
            f"the run in {loop.run} was begun with other settings: {'; '.join(other)}. Repeat "
            "those, or begin another run with --out"
        )


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Name the settings that differ, those inside of others by a path with dots."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            text
            for key in sorted({*before, *now})
            for text in _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{name} was {before}, now {now}"]


def _environment(loop: Loop) -> dict[str, Any]:
    """Return what decides on the last bits beside settings."""
    device = loop.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "torch": torch.__version__,
        "device": name,
        "precision": loop.precision,
        "processes": loop.world.size,
        "threads": torch.get_num_threads(),
    }


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_ours = found["schema"] == SCHEMA and isinstance(found["settings"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}; begin another run") from error
    if not is_ours:
        raise CheckpointError(f"{path} has the schema {found['schema']}, wanted {SCHEMA}")
    return found


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error}") from error
    return folder
