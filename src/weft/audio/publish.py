"""Publishing files: whole under their final name, or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.audio.handle import shown
from weft.errors import OutputError, WeftError

_REASONS = {
    errno.ENOSPC: "the disk is full; free space there, or write to another directory",
    errno.EDQUOT: "your disk quota is used up; free space, or write to another directory",
    errno.EFBIG: "the file is larger than the file system or a limit of the system allows",
    errno.EROFS: "the file system is read-only; write to another directory",
    errno.EACCES: "no permission to write there; write to another directory",
    errno.EPERM: "no permission to write there; write to another directory",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def publish(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, the file there gets its final name.

    The temporary file lies in the same directory and is empty at first; write to it, do not replace
    it. When the block raises anything, it is removed and nothing else has changed. A process that
    is killed leaves at most a hidden file ``.weft-…``. A symbolic link is written through, and a
    file that is replaced hands its permissions on.

    Args:
        path: the final name.
        overwrite: whether a file of that name is replaced. Without, a file that appears while the
            block runs is left alone, too.

    Raises:
        OutputError: the name is taken, or the file cannot be written; nothing was left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with publish(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("all or nothing")
        ...     Path(folder, "a.txt").read_text()
        'all or nothing'
    """
    target = Path(os.path.realpath(path))
    mode = _check_target(target, shown(path), overwrite)
    temporary = target.parent / f".weft-{secrets.token_hex(8)}{target.suffix[:16]}"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _output_error(error, shown(path)) from None
    try:
        yield temporary
        if mode is not None:
            os.chmod(temporary, mode)
        _synchronise(temporary)
        _rename(temporary, target, overwrite)
    except FileExistsError:
        raise OutputError(_taken(shown(path))) from None
    except OSError as error:
        if isinstance(error, WeftError):
            raise
        raise _output_error(error, shown(path)) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    with contextlib.suppress(OSError):
        _synchronise(target.parent)


def check_output(path: str | Path, *, overwrite: bool = False) -> None:
    """Find out early whether `publish` would refuse ``path``, without touching anything.

    Raises:
        OutputError: the name is taken, or its directory is missing or cannot be written.
    """
    target = Path(os.path.realpath(path))
    _check_target(target, shown(path), overwrite)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{shown(path)}: {_REASONS[errno.EACCES]}")


def _check_target(target: Path, name: str, overwrite: bool) -> int | None:
    """Return the permissions of the file that is to be replaced, None if there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise OutputError(
                f"{name}: there is no directory {shown(target.parent)}; create it first"
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: cannot be written: {error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{name}: is a directory; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{name}: is not a regular file; name a file, and copy it there after")
    if not overwrite:
        raise OutputError(_taken(name))
    if not os.access(target, os.W_OK):
        raise OutputError(f"{name}: is write-protected; choose another name, or unprotect it")
    return stat.S_IMODE(status.st_mode)


def _taken(name: str) -> str:
    return f"{name}: already exists and was left as it is; choose another name, or allow overwrite"


def _rename(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # fails if the name is taken, whoever took it and whenever
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name, then replace the claim
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, target)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _output_error(error: OSError, name: str) -> OutputError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"{name}: not written: {reason}; nothing was left under that name")
