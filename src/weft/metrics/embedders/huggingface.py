"""Folders of weights in the layout of the transformers library: checked, and loaded in silence."""

import contextlib
import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weft.errors import CheckpointError, MissingDependencyError
from weft.foreign import convert, digest_of, read_state_dict

WEIGHTS_FILE = "model.safetensors"
"""The file of weights in a folder; `PICKLE_FILE` is converted where it is not there."""
PICKLE_FILE = "pytorch_model.bin"
"""The same as a pickle."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
"""Files that decide how texts become tokens."""
_SETTINGS_FILES = ("config.json", "preprocessor_config.json")
_LARGEST_NUMBER = 10**8


def import_transformers() -> Any:
    """Return the transformers library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        with quiet_imports():
            import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "CLAP and EnCodec need the package transformers: pip install 'weft[published]'"
        ) from error
    return transformers


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide warnings of a library whose advice is not for our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, log lines and progress bars of transformers, and put its settings back."""
    import_transformers()
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)
    logging.disable_progress_bar()
    try:
        with quiet_imports():
            yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


def folder_digest(folder: Path) -> str:
    """Return the digest of what decides a model's output: weights, settings, tokenizer.

    Other files of the folder, such as its card, do not count. A folder without weights, such as a
    tokenizer's, has a digest too.
    """
    has_weights = (folder / WEIGHTS_FILE).is_file()
    names = (WEIGHTS_FILE if has_weights else PICKLE_FILE, *_SETTINGS_FILES, *TOKENIZER_FILES)
    parts = [f"{n}:{digest_of(folder / n)}" for n in names if (folder / n).is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def load_model(folder: Path, *, kind: str, class_name: str) -> Any:
    """Load a model from a folder, without network and without code from the folder.

    Args:
        folder: with ``config.json`` and `WEIGHTS_FILE` or `PICKLE_FILE`.
        kind: the ``model_type`` that ``config.json`` must name.
        class_name: class of transformers.

    Returns:
        The model, float32, ready to be used.

    Raises:
        CheckpointError: a file is missing, damaged, of another kind, or does not fit the settings.
        MissingDependencyError: transformers is not installed.
    """
    transformers = import_transformers()
    _check_settings(folder, kind)
    with contextlib.ExitStack() as stack:
        source = folder
        if (folder / WEIGHTS_FILE).is_file():
            read_state_dict(folder / WEIGHTS_FILE)  # for its checks: the library reads again
        else:
            source = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-")))
            shutil.copy(folder / "config.json", source)
            convert(folder / PICKLE_FILE, source / WEIGHTS_FILE)
        stack.enter_context(quiet())
        try:
            model, report = getattr(transformers, class_name).from_pretrained(
                str(source), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # the library raises whatever it came upon
            raise CheckpointError(
                f"{folder} cannot be loaded as {class_name}: {_first_line(error)}"
            ) from error
    for trouble in ("missing_keys", "mismatched_keys"):
        if report[trouble]:
            raise CheckpointError(
                f"{folder} does not fit {class_name}: {trouble.replace('_', ' ')} such as "
                f"{sorted(map(str, report[trouble]))[0]}"
            )
    return model.float().eval()


def load_part(folder: Path, class_name: str) -> Any:
    """Load what accompanies a model, such as a tokenizer or a front end, from its folder.

    Raises:
        CheckpointError: its files are missing or damaged.
    """
    transformers = import_transformers()
    with quiet():
        try:
            return getattr(transformers, class_name).from_pretrained(
                str(folder), local_files_only=True
            )
        except Exception as error:  # the library raises whatever it came upon
            raise CheckpointError(
                f"{folder} holds no usable {class_name}: {_first_line(error)}"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _check_settings(folder: Path, kind: str) -> None:
    """Refuse settings of another kind, or that no such model can have, before they are used."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    told = settings.get("model_type") if isinstance(settings, dict) else None
    if told != kind:
        raise CheckpointError(f"{path} describes a model of type {told!r}, not {kind!r}")
    largest = max(_numbers(settings), default=0)
    if largest > _LARGEST_NUMBER:
        raise CheckpointError(f"{path} holds the impossible size {largest:g}")


def _numbers(tree: Any) -> Iterator[float]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _numbers(item)
    elif isinstance(tree, (int, float)):
        yield abs(tree)
