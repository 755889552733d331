"""Open files: random access to bytes, and a file object for libraries."""

import io
import os
import stat
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO, final

from weft.errors import AudioFormatError, OutputError


def shown(path: Path | str) -> str:
    r"""Return a path for a message, with control characters and undecodable bytes escaped.

    Example:
        >>> shown(Path("a\nb.wav"))
        'a\\nb.wav'
    """
    text = str(path)
    return text if text.isprintable() else repr(text)[1:-1]


@final
class FileHandle:
    """A file opened for reading, by descriptor.

    The file stays readable when its name is replaced by another file, and it is closed when the
    handle is no longer used.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``."""
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._close = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def open(cls, path: Path) -> "FileHandle":
        """Open a regular, non-empty file.

        Raises:
            AudioFormatError: there is no such file, or it is a directory, empty or unreadable.
        """
        name = shown(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise AudioFormatError(f"{name}: there is no such file; check the path") from None
        except PermissionError:
            raise AudioFormatError(f"{name}: no permission to read it") from None
        except (OSError, ValueError) as error:
            raise AudioFormatError(f"{name}: cannot be opened: {error}") from None
        handle = cls(descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise AudioFormatError(
                f"{name}: is a directory; name a file in it, or treat each of its files in turn"
            )
        if not stat.S_ISREG(mode):
            raise AudioFormatError(
                f"{name}: is not a regular file; save the sound to a file first and name that"
            )
        if handle.size == 0:
            raise AudioFormatError(f"{name}: the file is empty (0 bytes); copy or export it again")
        return handle

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return up to ``num_bytes`` from ``offset`` on; fewer only at the end of the file."""
        num_bytes = max(min(num_bytes, self.size - offset), 0)
        parts = []
        while num_bytes:
            part = os.pread(self.descriptor, num_bytes, offset)
            if not part:
                break
            parts.append(part)
            offset, num_bytes = offset + len(part), num_bytes - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@final
class PatchedFile(io.RawIOBase):
    """A read-only file object over a handle, some bytes of which read as others."""

    def __init__(self, handle: FileHandle, offset: int = 0, replacement: bytes = b"") -> None:
        """Let ``replacement`` stand for the bytes from ``offset`` on."""
        self._handle = handle
        self._offset = offset
        self._replacement = replacement
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._handle.size}
        self._position = max(base[whence] + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``; an unreadable file ends there."""
        try:
            content = self._handle.read_at(self._position, len(buffer))
        except OSError:  # a library in C has called: to it, an unreadable file ends here
            return 0
        first = max(self._offset, self._position)
        last = min(self._offset + len(self._replacement), self._position + len(content))
        if first < last:
            changed = bytearray(content)
            changed[first - self._position : last - self._position] = self._replacement[
                first - self._offset : last - self._offset
            ]
            content = bytes(changed)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def scratch_file() -> BinaryIO:
    """Return a temporary file without a name: it is gone with the process, however that ends.

    Raises:
        OutputError: the temporary directory cannot be written.
    """
    try:
        return tempfile.TemporaryFile(prefix=".weft-")
    except OSError as error:
        raise scratch_error(error) from None


def scratch_error(error: OSError) -> OutputError:
    """Return the error for a temporary directory that cannot take decoded samples."""
    return OutputError(
        f"{tempfile.gettempdir()}: cannot hold the decoded samples: {error.strerror or error}; "
        "free space there, or name another directory in the environment variable TMPDIR"
    )
