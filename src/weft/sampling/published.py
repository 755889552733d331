"""Published layouts: reading weights that others released, and comparing them with what we build.

Nothing but the tensors themselves is believed: sizes come from their shapes, and every shape is
compared with what a network of these sizes needs before memory is taken for one. A settings file
that comes with the weights is compared with that and can only contradict it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor

from weft.checkpoint import MAX_CONFIG_BYTES, TensorFacts
from weft.errors import CheckpointError, ConfigError, MissingDependencyError
from weft.foreign import convert

Layout: TypeAlias = Literal["wavtokenizer", "aidd"]
"""Whose weights."""
_TIMEOUT_S = 1200.0
CODEC_PARTS = ("feature_extractor.", "backbone.", "head.")
AVERAGES = "ema/shadow_params"
HINT = "get the file again from where its authors publish it, or say another --kind"


def read_tensors_of(
    path: Path, scratch: Path, *, layout: Layout | None
) -> tuple[Layout, dict[str, Tensor]]:
    """Read a published file without running what is in it, and see whose weights it holds.

    Args:
        path: ``.ckpt``, ``.pth`` or another ending of `weft.foreign.SUFFIXES`.
        scratch: existing folder for an intermediate file of the same size.
        layout: whose weights they are. None: told from the ending and the names; a ``.ckpt`` is
            taken for WavTokenizer's.

    Returns:
        The layout, and finite tensors by the names that the file gives them; for AIDD these begin
        with ``model:`` and ``ema/shadow_params:`` where the file holds both.

    Raises:
        CheckpointError: the file is damaged, hostile, or holds other weights.
    """
    passing = scratch / "published.safetensors"
    if layout == "wavtokenizer" or (layout is None and path.suffix.lower() == ".ckpt"):
        state = convert(
            path, passing, select=("state_dict", ""), keep=CODEC_PARTS, timeout_s=_TIMEOUT_S
        )
        return "wavtokenizer", state
    select = (f"model+{AVERAGES}", "state_dict", "")
    state = convert(path, passing, select=select, timeout_s=_TIMEOUT_S)
    names = [name.removeprefix("model:") for name in state]
    if any(name.startswith(f"{AVERAGES}:") or name == "vocab_embed.embedding" for name in names):
        return "aidd", state
    if layout is None and any(name.startswith(CODEC_PARTS[0]) for name in names):
        kept = {k.removeprefix("model:"): v for k, v in state.items()}
        return "wavtokenizer", {k: v for k, v in kept.items() if k.startswith(CODEC_PARTS)}
    raise CheckpointError(
        f"{path} holds weights that are neither WavTokenizer's nor AIDD's: {len(names)} tensors, "
        f"such as {min(names)[:200]!r}; {HINT}"
    )


def read_settings(path: Path) -> Mapping[str, Any]:
    """Return a settings file, YAML or JSON, as plain values.

    Raises:
        CheckpointError: it cannot be read, or is no mapping.
        MissingDependencyError: it is YAML, and PyYAML is not installed.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_CONFIG_BYTES:,} bytes of settings")
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else _from_yaml(path, text)
    except OSError as error:
        raise CheckpointError(f"cannot read settings {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"settings {path} are damaged: {error}") from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"settings {path} must be a mapping of names, got {found!r:.80}")
    return found


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors name the file, and be errors of a checkpoint."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def find_tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a tensor that must be there."""
    if name not in state:
        raise CheckpointError(f"it lacks {name!r}; {HINT}")
    return state[name]


def shape_of(state: Mapping[str, Tensor], name: str, num_axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor that tells sizes."""
    shape = tuple(find_tensor(state, name).shape)
    if len(shape) != num_axes or 0 in shape:
        raise CheckpointError(f"{name!r} has the shape {shape}, {num_axes} axes were expected")
    return shape


def count_parts(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow a prefix in the names; which they are is checked later."""
    pattern = re.compile(rf"{re.escape(prefix)}(\d{{1,6}})\.")
    return len({m[1] for name in state if (m := pattern.match(name))})


def check_numbers(state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no floating numbers."""
    for name, tensor in state.items():
        if not tensor.is_floating_point() and not name.endswith(".inited"):
            raise CheckpointError(f"{name[:200]!r} holds {tensor.dtype}, no floating numbers")


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Refuse what is finite in the file but not in single precision, or once it was folded."""
    for name, tensor in state.items():
        if not bool(tensor.float().isfinite().all()):
            raise CheckpointError(
                f"{name[:200]!r} holds NaN or infinity in single precision; {HINT}"
            )


def check_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, TensorFacts]) -> None:
    """Refuse tensors that are missing, unknown, or of another shape; no memory was taken yet."""
    for names, trouble in (
        (sorted({*wanted} - {*state}), "lacks"),
        (sorted({*state} - {*wanted}), "holds, beyond a network of these sizes,"),
    ):
        if names:
            count = f"{len(names)} tensors, such as " if len(names) > 1 else ""
            raise CheckpointError(f"it {trouble} {count}{names[0][:200]!r}; {HINT}")
    for name, facts in wanted.items():
        if tuple(state[name].shape) != facts.shape:
            raise CheckpointError(
                f"{name!r} has the shape {tuple(state[name].shape)}, and the other tensors ask for "
                f"{facts.shape}; {HINT}"
            )


def _from_yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is YAML, which needs PyYAML: pip install pyyaml, or give the settings as JSON"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def find_setting(settings: Mapping[str, Any], place: str) -> Any:
    """Return a setting, None where there is none; ``init_args`` is passed through.

    The settings of Lightning name classes beside their arguments. The names are not used: they
    differ between files of the same weights, and nothing that a file names is imported.
    """
    node: Any = settings
    for key in place.split("/"):
        if isinstance(node, Mapping) and "init_args" in node and key not in node:
            node = node["init_args"]
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def compare_settings(settings: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Refuse settings that contradict the tensors."""
    told = {place: find_setting(settings, place) for place in claims}
    if all(value is None for value in told.values()):
        raise CheckpointError(
            "the settings hold nothing that describes it; looked for "
            + ", ".join(place.replace("/", ".") for place in claims)
        )
    for place, expected in claims.items():
        if told[place] is not None and told[place] != expected:
            raise CheckpointError(
                f"the settings say {place.replace('/', '.')} = {told[place]!r:.80}, and the "
                f"tensors {expected!r}: they belong to other weights"
            )
