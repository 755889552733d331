"""Folders of published weights: found, checked, and loaded by the package they are written for.

Nothing of a folder is run: settings are JSON, weights are safetensors, and classes come from closed
tables. Pickles are refused. What settings claim is compared with what the file of weights holds
before memory is taken for it.
"""

import contextlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import torch
from torch import nn

from weft.errors import CheckpointError, MissingDependencyError
from weft.foreign import SUFFIXES, read_state_dict

Package: TypeAlias = Literal["diffusers", "transformers"]

CONFIG_FILE = "config.json"
WEIGHTS_FILES: Mapping[Package, str] = {
    "diffusers": "diffusion_pytorch_model.safetensors",
    "transformers": "model.safetensors",
}
"""What each package calls the file of weights."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""Names of models on the hub: OWNER/NAME."""
_MAX_CONFIG_BYTES = 1_000_000
_MAX_NUMBER = 10**8
_MAX_LIST = 64
_MAX_DEPTH = 256
_COUNTS = ("layers_per_block", "num_residual_layers", "num_lstm_layers", "n_codebooks")
_HINT = "get the folder again from where its authors publish it"


@final
@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """One network of a published codec."""

    folder: str
    """Where a whole pipeline keeps it; empty if it is published alone."""
    package: Package
    """That it is written for."""
    class_name: str
    """Of that package."""
    told: tuple[str, ...]
    """What its settings may call it: ``_class_name`` or ``model_type``, as the package has it."""

    @property
    def weights_file(self) -> str:
        """Name of its file of weights."""
        return WEIGHTS_FILES[self.package]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings: the packages' advice is not for our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def find_class(package: Package, name: str) -> Any:
    """Return a class of a package, which is imported now.

    Raises:
        MissingDependencyError: it is not installed, or does not have the class.
    """
    try:
        with quiet():
            if package == "diffusers":
                import diffusers as found
            else:
                import transformers as found
            return getattr(found, name)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise MissingDependencyError(
            f"this codec needs {name} of the package {package}: pip install 'weft[published]'"
        ) from error


@contextlib.contextmanager
def silent(package: Package) -> Iterator[None]:
    """Hide warnings, log lines and progress bars of a package, and put its settings back."""
    if package == "diffusers":
        from diffusers.utils import logging
    else:
        from transformers.utils import logging
    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)
    logging.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


def find_on_hub(
    name: str,
    patterns: Sequence[str],
    *,
    revision: str | None,
    allow_download: bool,
    cache: Path | None,
) -> Path:
    """Return the folder of a model of the hub, in the hub's cache.

    Args:
        name: as `HUB_ID` says.
        patterns: the files that are wanted.
        revision: a branch, tag or commit; the main branch unless given.
        allow_download: whether the network may be used for what the cache lacks.
        cache: the hub's cache; the usual one unless given.

    Raises:
        CheckpointError: it is not there, or cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            folder = snapshot_download(
                name,
                revision=revision,
                allow_patterns=[*patterns],
                local_files_only=not allow_download,
                cache_dir=cache,
            )
    except Exception as error:  # whatever goes wrong between here and there
        reason = _first_line(error)
        if not allow_download:
            reason = (
                "it is not in the cache; download it with allow_download=True, or give a folder"
            )
        raise CheckpointError(f"{name} cannot be had from the hub: {reason}") from error
    return Path(folder)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` of a folder says, its numbers within bounds.

    Raises:
        CheckpointError: there is none, it is damaged, or has a size that no such model can have.
    """
    path = folder / CONFIG_FILE
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_CONFIG_BYTES + 1)
        settings = json.loads(text) if len(text) <= _MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} is no object of JSON of at most {_MAX_CONFIG_BYTES} bytes")
    for key, value in settings.items():
        limit = _MAX_DEPTH if key in _COUNTS else _MAX_NUMBER
        largest = max(_numbers(path, value), default=0.0)
        if not largest <= limit:
            raise CheckpointError(f"{path}: {key} has the impossible size {largest:g}")
    return settings


def told_kind(settings: Mapping[str, Any]) -> str | None:
    """Return what settings call their model."""
    told = settings.get("_class_name", settings.get("model_type"))
    return told if isinstance(told, str) else None


def folder_of(root: Path, part: ModelPart) -> Path:
    """Return where a folder keeps a part: in the place of a pipeline, or the folder itself."""
    inner = root / part.folder
    return root if not (inner / CONFIG_FILE).is_file() and (root / CONFIG_FILE).is_file() else inner


def load_model(folder: Path, part: ModelPart) -> nn.Module:
    """Load a network from a folder, without network and without code from the folder.

    Returns:
        The network in float32 on the CPU, in eval mode, without gradients of its weights.

    Raises:
        CheckpointError: a file is missing, damaged, a pickle, of another model, or the weights do
            not fit the settings.
        MissingDependencyError: its package is not installed.
    """
    settings = read_settings(folder)
    if told_kind(settings) not in part.told:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} describes {told_kind(settings)!r}, not {part.told[0]!r}"
        )
    network = find_class(part.package, part.class_name)
    num_stored = _count_weights(folder, part)
    options = {"low_cpu_mem_usage": False} if part.package == "diffusers" else {}
    try:
        with silent(part.package), torch.random.fork_rng(devices=[]):
            num_wanted = _count_wanted(network, folder, part)
            if num_wanted <= num_stored:
                model, report = network.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                    **options,
                )
    except Exception as error:  # the packages raise whatever they come upon
        raise CheckpointError(
            f"{folder} cannot be loaded as {part.class_name}: {_first_line(error)}"
        ) from error
    if num_wanted > num_stored:
        raise CheckpointError(
            f"{folder} is damaged: {CONFIG_FILE} describes {num_wanted} numbers and "
            f"{part.weights_file} holds {num_stored}; {_HINT}"
        )
    for trouble in ("missing_keys", "mismatched_keys"):
        if report[trouble]:
            raise CheckpointError(
                f"{folder} does not fit {part.class_name}: {trouble.replace('_', ' ')} such as "
                f"{sorted(map(str, report[trouble]))[0][:200]}"
            )
    loaded: nn.Module = model.float().eval().requires_grad_(False)
    return loaded


def _count_weights(folder: Path, part: ModelPart) -> int:
    """Return how many numbers the file of weights holds, all of them finite."""
    path = folder / part.weights_file
    if path.is_file():
        return sum(tensor.numel() for tensor in read_state_dict(path).values())
    pickles = [*folder.glob("*")] if folder.is_dir() else []
    pickles = sorted(p for p in pickles if p.suffix in SUFFIXES and p.suffix != ".safetensors")
    if not pickles:
        raise CheckpointError(
            f"{folder} holds no {part.weights_file}; {_HINT}, or, if it is of the hub's cache, "
            "let the rest be downloaded with allow_download=True"
        )
    raise CheckpointError(
        f"{folder} holds its weights as a pickle, {pickles[0].name}, which can run code and is not "
        f"read here. Take the model's safetensors revision from the hub (revision='refs/pr/NUMBER' "
        f"if it is a proposal there), or make {part.weights_file} of it with weft.foreign.convert, "
        "which `weft models convert` uses for Weft's own kinds"
    )


def _count_wanted(network: Any, folder: Path, part: ModelPart) -> int:
    """Return how many numbers the settings ask for; no memory is taken for them."""
    with torch.device("meta"):
        if part.package == "diffusers":
            model = network.from_config(network.load_config(str(folder), local_files_only=True))
        else:
            config = network.config_class.from_pretrained(str(folder), local_files_only=True)
            model = network(config)
    return sum(tensor.numel() for tensor in model.state_dict().values())


def _numbers(path: Path, tree: Any) -> Iterator[float]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        if len(tree) > _MAX_LIST:
            raise CheckpointError(f"{path} has a list of {len(tree)}, more than {_MAX_LIST}")
        for item in tree:
            yield from _numbers(path, item)
    elif isinstance(tree, (int, float)):
        yield abs(float(tree)) if abs(tree) <= _MAX_NUMBER else float("inf")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
