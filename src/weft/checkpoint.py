"""Checkpoints: weights as safetensors, checked before use.

A model is a folder: ``model.json`` says what it is and holds the digest of every file with weights;
``model.safetensors``, or shards of it, hold the weights. The file format cannot hold code, but it
lets through what would only show later: NaN, names given twice, tensors of other shapes. So weights
are read against a table of what the config's network needs, and nothing is read that is larger.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor, nn

from weft.audio.publish import publish
from weft.errors import CheckpointError, OutputError

CONFIG_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
SCHEMA = "weft.model/1"
MAX_CONFIG_BYTES = 1_000_000
"""No config is longer; read before anything of it is believed."""

_HEADER_BYTES_PER_TENSOR = 1024
_STORED_AS = (torch.float16, torch.bfloat16, torch.float32)
_FILE_NAME = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_PIECE = "::"


@final
@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """What a tensor must be to be used."""

    shape: tuple[int, ...]
    """Exactly this."""
    dtype: torch.dtype
    """As it is used; floating tensors may be stored in 16 bits."""

    @property
    def num_bytes(self) -> int:
        """Largest size in a file."""
        return math.prod(self.shape) * self.dtype.itemsize


def table_of(module: nn.Module) -> dict[str, TensorFacts]:
    """Return what a module's weights must be.

    Args:
        module: may be on the ``meta`` device, so that a table is there before any memory is taken.
    """
    return {
        name: TensorFacts(shape=tuple(value.shape), dtype=value.dtype)
        for name, value in module.state_dict().items()
    }


def write_model(
    folder: Path,
    *,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    shard_bytes: int | None = None,
) -> str:
    """Write a model; ``model.json`` comes last, so that a folder that has it is whole.

    Args:
        folder: exists; a model that is there is replaced.
        config: JSON with the ``kind`` of the model.
        tensors: weights by name, on any device; may share memory.
        dtype: to store floating tensors in, float16 for models that are passed on; unchanged unless
            given.
        shard_bytes: largest file, >= 4096; a tensor that is larger is cut into pieces.

    Returns:
        The digest of the model, see `digest_of`.

    Raises:
        CheckpointError: a weight is NaN or infinite, perhaps only in ``dtype``; nothing is written.
        OutputError: it cannot be written.
    """
    stored = {name: _to_stored(name, tensors[name], dtype) for name in sorted(tensors)}
    texts = [format_tensors(part) for part in _shards(stored, shard_bytes)]
    num = len(texts)
    names = [WEIGHTS_FILE] if num == 1 else [_shard_name(i, num) for i in range(1, num + 1)]
    digests = {
        name: hashlib.sha256(text).hexdigest() for name, text in zip(names, texts, strict=True)
    }
    header = {"schema": SCHEMA, **config, "weights": digests}
    text = json.dumps(header, indent=1, allow_nan=False) + "\n"
    if not isinstance(config.get("kind"), str) or {"schema", "weights"} & {*config}:
        raise CheckpointError("the config of a model has a kind, and neither schema nor weights")
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    for name, weights in zip(names, texts, strict=True):
        _write(folder / name, weights)
    _write(folder / CONFIG_FILE, text.encode())
    return digest_of(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``model.json`` says; its numbers are not checked here.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = folder / CONFIG_FILE
    text = _read(path, MAX_CONFIG_BYTES)
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    is_model = isinstance(found, dict) and isinstance(found.get("kind"), str)
    if not is_model or found.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} is no model of Weft: wanted schema {SCHEMA!r} and a kind")
    weights = found.get("weights")
    if not isinstance(weights, dict) or not all(_FILE_NAME.fullmatch(name) for name in weights):
        raise CheckpointError(f"{path} must name its files of weights, each {WEIGHTS_FILE} or part")
    return found


def read_tensors(folder: Path, table: Mapping[str, TensorFacts]) -> dict[str, Tensor]:
    """Return the weights of a model, each as the table has it.

    Args:
        folder: of the model.
        table: what is expected, neither more nor less.

    Returns:
        Tensors on the CPU; floating ones that are stored in 16 bits are widened.

    Raises:
        CheckpointError: a file is missing, damaged, or larger than the table allows, a tensor is
            missing, unknown, of another shape or type, or not finite.
    """
    digests = read_config(folder)["weights"]
    limit = sum(facts.num_bytes for facts in table.values())
    limit += _HEADER_BYTES_PER_TENSOR * (len(table) + 8)
    found: dict[str, Tensor] = {}
    for name, digest in digests.items():
        path = folder / name
        text = _read(path, limit)
        if hashlib.sha256(text).hexdigest() != digest:
            raise CheckpointError(f"{path} is damaged: its digest is not that of {CONFIG_FILE}")
        part = _parse(path, text)
        if twice := sorted({*part} & {*found}):
            raise CheckpointError(f"{path} holds {twice[0]!r}, which another file holds already")
        found |= part
    joined = _join(folder, found, table)
    return {name: _to_used(folder, name, joined[name], facts) for name, facts in table.items()}


def load_into(module: nn.Module, folder: Path) -> None:
    """Read a model's weights into a module that was built from its config.

    Raises:
        CheckpointError: they do not fit, see `read_tensors`.
    """
    module.load_state_dict(read_tensors(folder, table_of(module)), assign=False)


def digest_of(folder: Path) -> str:
    """Return what tells a model from every other: the SHA-256 of ``model.json``.

    That file holds the digests of the weights, so nothing of a model can change without it.
    """
    return hashlib.sha256(_read(folder / CONFIG_FILE, MAX_CONFIG_BYTES)).hexdigest()


def _to_stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    kept = value.detach().cpu()
    if dtype is not None and kept.is_floating_point():
        kept = kept.to(dtype)
    if _PIECE in name:
        raise CheckpointError(f"a tensor cannot be called {name!r}: {_PIECE!r} marks pieces")
    if kept.is_floating_point() and not bool(kept.isfinite().all()):
        raise CheckpointError(
            f"{name} holds NaN or infinity"
            + ("" if dtype is None else f" in {dtype}")
            + "; the model was not written"
        )
    return kept.clone().contiguous()  # tied weights share memory, which the format refuses


def _shards(tensors: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """Part tensors into files, filled in order; cut what is larger than a file."""
    if limit is None:
        return [dict(tensors)]
    if limit < 4096:
        raise CheckpointError(f"shards must be allowed at least 4096 bytes, got {limit}")
    room = limit - 8 - 2
    shards: list[dict[str, Tensor]] = [{}]
    left = room
    for name, value in _pieces(tensors, limit // 2):
        size = value.numel() * value.element_size() + 128 + 6 * len(name.encode())
        if size > left and shards[-1]:
            shards.append({})
            left = room
        shards[-1][name] = value
        left -= size
    return shards


def _pieces(tensors: Mapping[str, Tensor], limit: int) -> Iterable[tuple[str, Tensor]]:
    for name, value in tensors.items():
        if value.numel() * value.element_size() <= limit:
            yield name, value
            continue
        for i, piece in enumerate(value.flatten().split(limit // value.element_size())):
            yield f"{name}{_PIECE}{i:05d}", piece.clone()


def _join(
    folder: Path, found: Mapping[str, Tensor], table: Mapping[str, TensorFacts]
) -> dict[str, Tensor]:
    """Put pieces together again, and see that the names are those of the table."""
    pieces: dict[str, list[Tensor]] = {}
    for key in sorted(found):
        pieces.setdefault(key.partition(_PIECE)[0], []).append(found[key])
    if other := sorted({*pieces} ^ {*table}):
        side = "lacks" if other[0] in table else "holds another network: it has"
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise CheckpointError(f"{folder}: the model {side} {other[0]!r}{more}")
    joined: dict[str, Tensor] = {}
    for name, parts in pieces.items():
        shape = table[name].shape
        if name in found:
            joined[name] = found[name]
            continue
        if sum(part.numel() for part in parts) != math.prod(shape):
            raise CheckpointError(f"{folder}: pieces of {name!r} do not make up {shape}")
        joined[name] = torch.cat([part.flatten() for part in parts]).reshape(shape)
    return joined


def _to_used(folder: Path, name: str, value: Tensor, facts: TensorFacts) -> Tensor:
    is_narrow = facts.dtype in _STORED_AS and value.dtype in _STORED_AS
    if tuple(value.shape) != facts.shape or not (value.dtype == facts.dtype or is_narrow):
        raise CheckpointError(
            f"{folder}: {name!r} is {value.dtype} {tuple(value.shape)}, wanted {facts.dtype} "
            f"{facts.shape}"
        )
    used = value.to(facts.dtype)  # widened first: half precision is slow to look through
    if used.is_floating_point() and not bool(used.isfinite().all()):
        raise CheckpointError(f"{folder}: {name!r} holds NaN or infinity")
    return used


def _parse(path: Path, text: bytes) -> dict[str, Tensor]:
    """Read a file of tensors whose names are given once each."""
    try:
        (length,) = struct.unpack("<Q", text[:8])
        if length > len(text) - 8:
            raise ValueError("the header is longer than the file")
        json.loads(text[8 : 8 + length], object_pairs_hook=_once)
        return dict(parse_tensors(text))
    except (SafetensorError, ValueError, KeyError, struct.error, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _read(path: Path, limit: int) -> bytes:
    """Return a file, unless it is larger than it can be."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise CheckpointError(f"{path} has {size:,} bytes; more than {limit:,} cannot be right")
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; a model is a folder with {CONFIG_FILE}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _write(path: Path, data: bytes) -> None:
    with publish(path, overwrite=True) as partial:
        try:
            partial.write_bytes(data)
        except OSError as error:
            raise OutputError(f"{path}: not written: {error}") from error


def _shard_name(i: int, num: int) -> str:
    return f"model-{i:05d}-of-{num:05d}.safetensors"
