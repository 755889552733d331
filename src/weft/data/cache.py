"""Caches: recordings decoded once, and what was computed from them, keyed by content.

A key is made from the bytes of a file and from all settings, never from its name or its folder: a
file that was replaced is decoded again, and two runs that want the same samples share them. Files
are complete or absent: each is written under another name, synced and renamed, so that a killed
run loses the file in hand and several processes may fill one cache at a time.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, final

import numpy as np

from weft.errors import AudioFormatError, ConfigError, OutputError

Digest = str
"""Hexadecimal digits of a hash."""

_PARTIAL = ".partial-"
_PARTIAL_LIFE_S = 3600.0
_STAMP_AGE_S = 2.0
_BLOCK_BYTES = 1 << 20


def settings_digest(settings: Mapping[str, Any]) -> Digest:
    """Return the digest of settings, independent of their order.

    Args:
        settings: anything that JSON can hold.

    Raises:
        ConfigError: JSON cannot hold them.

    Example:
        >>> settings_digest({"a": 1, "b": 2.0}) == settings_digest({"b": 2.0, "a": 1})
        True
    """
    try:
        text = json.dumps(settings, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings of a cache must be JSON: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@final
class FileDigests:
    """Digests of files, computed once for as long as a file stays as it is.

    A digest is reused while path, size, inode and both times of the file are as they were. A file
    changed within the last two seconds is always read again: a clock may be too coarse to tell a
    second change from the first.
    """

    def __init__(self, folder: Path) -> None:
        """Keep digests below a folder, which is made when it is needed."""
        self.folder = folder

    def digest(self, path: Path) -> Digest:
        """Return the digest of a file's bytes.

        Raises:
            AudioFormatError: the file cannot be read.
        """
        try:
            status = path.stat()
            name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
            stamp = self.folder / name[:2] / f"{name}.json"
            state = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            known = _read_json(stamp)
            if known.get("state") == state and isinstance(known.get("digest"), str):
                return str(known["digest"])
            digest = _hash(path)
        except OSError as error:
            raise AudioFormatError(f"cannot read {path}: {error.strerror or error}") from error
        if time.time() - max(status.st_mtime, status.st_ctime) > _STAMP_AGE_S:
            text = json.dumps({"state": state, "digest": digest})
            # In a folder that cannot be written the file is read again next time, no worse.
            with suppress(OutputError), atomic_file(stamp) as handle:
                handle.write(text.encode())
        return digest


@final
class FeatureCache:
    """Arrays by what they were computed from and by what computed them.

    Safe for concurrent writers: a reader sees a whole entry or none, and the last writer wins.
    """

    def __init__(self, folder: Path) -> None:
        """Keep arrays below a folder, which is made when it is needed."""
        self.folder = folder

    def get(self, source: Digest, maker: Digest) -> dict[str, np.ndarray] | None:
        """Return arrays by name, or None where there are none or their file is damaged.

        Args:
            source: digest of the file, and of the part of it, that they come from.
            maker: digest of weights and settings that made them.

        Raises:
            ConfigError: a digest is not hexadecimal digits.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self._path(source, maker)
        try:
            return load(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            return None  # damaged, so it is made again

    def put(self, source: Digest, maker: Digest, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays, replacing what was there.

        Raises:
            ConfigError: a digest is not hexadecimal digits, there is no array, or one holds objects
                or texts.
            OutputError: they cannot be written.
        """
        from safetensors.numpy import save

        path = self._path(source, maker)
        if not arrays:
            raise ConfigError("a cache entry needs at least one array")
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise ConfigError(f"the array {name!r} must hold numbers, got {array.dtype}")
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        with atomic_file(path) as handle:
            handle.write(content)

    def get_or_make(
        self, source: Digest, maker: Digest, make_fn: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Return arrays by name, computing and keeping them where there are none."""
        arrays = self.get(source, maker)
        if arrays is None:
            arrays = dict(make_fn())
            self.put(source, maker, arrays)
        return arrays

    def _path(self, source: Digest, maker: Digest) -> Path:
        for digest in (source, maker):
            if not 8 <= len(digest) <= 128 or set(digest) - set("0123456789abcdef"):
                raise ConfigError(f"a digest is 8 to 128 hexadecimal digits, got {digest!r}")
        return self.folder / maker / source[:2] / f"{source}.safetensors"


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when it is complete, and not at all after an error.

    Args:
        path: of the file; its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=_PARTIAL, delete=False) as f:
            temporary = Path(f.name)
            yield f.file
            f.flush()
            os.fsync(f.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free space there or choose another "
            "folder for the cache"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> int:
    """Remove what killed runs left behind and nobody wrote to for an hour; return how many."""
    num_removed = 0
    for path in folder.rglob(f"{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > _PARTIAL_LIFE_S:
                path.unlink()
                num_removed += 1
        except OSError:
            continue  # another process was faster, or it is not ours to remove
    return num_removed


def _hash(path: Path) -> Digest:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:32]


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is none or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
