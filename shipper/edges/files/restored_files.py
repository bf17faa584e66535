"""Files that are given back from the archive: below one directory, never over another file.

Names come from a bucket, where others may write. So every directory is opened by descriptor,
without following a link, and no component may lead elsewhere. A file is written under a hidden
name beside its own and gets its own by ``link(2)``, which replaces nothing, after its bytes are on
disk. What a run that ended early has left there is gone on with.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, Self

from shipper.core.object_keys import printable
from shipper.ports import PortError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CODES = {
    errno.ENOSPC: ("DiskFull", "make room and fetch again: it goes on where it ended"),
    errno.EDQUOT: ("DiskFull", "make room and fetch again: it goes on where it ended"),
    errno.ENAMETOOLONG: ("NameTooLong", "no file system here takes so long a name"),
    errno.ELOOP: ("PathRefused", "a symbolic link stands there, and is not followed"),
    errno.ENOTDIR: ("PathRefused", "something stands there that is no directory"),
}
READ_BYTES = 1024 * 1024


class RestoreDirectory:
    """The directory that everything is written below; it is made if it is missing.

    Raises:
        PortError: of every method here: ``PathRefused``, ``NameTooLong``, ``DiskFull``,
            ``Unwritable``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with _errors(path):
            os.makedirs(path, exist_ok=True)
            self._descriptor = os.open(path, _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)

    def place(self, parts: Sequence[bytes]) -> "RestoredFile":
        """The place of a file, whose directories are made; ``parts`` hold no slash and no dots."""
        label = os.path.join(self._path, *(printable(part) for part in parts))
        with _errors(label), ExitStack() as stack:
            above = self._descriptor
            for part in parts[:-1]:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=above)
                above = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
                stack.callback(os.close, above)
            return RestoredFile(os.dup(above), parts[-1], label)


class RestoredFile:
    """A file that is or will be there. ``label`` is its path, for people."""

    def __init__(self, directory: int, name: bytes, label: str) -> None:
        self._directory = directory
        self._name = name
        self.label = label
        self._hidden = b""
        self._file: BinaryIO | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        os.close(self._directory)

    def existing(self) -> os.stat_result | None:
        """What stands under its name."""
        with _errors(self.label), suppress(FileNotFoundError):
            return os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        return None

    def content(self) -> Iterator[bytes]:
        """Of the regular file under its name."""
        with _errors(self.label), self._opened(self._name, os.O_RDONLY) as file:
            while piece := file.read(READ_BYTES):
                yield piece

    def begin(self, mark: str) -> int:
        """Begin to write it, or go on where an earlier run with the same ``mark`` ended; the
        bytes that are there.

        Raises:
            PortError: ``InUse``: another run writes it now.
        """
        self._hidden = b"." + self._name[:200] + f".{mark}.partial".encode()
        with _errors(self.label):
            self._file = self._opened(self._hidden, os.O_RDWR | os.O_CREAT)
            found = os.fstat(self._file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise PortError("PathRefused", f"{self.label}: its partial file is none of ours")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                there = os.stat(self._hidden, dir_fd=self._directory, follow_symlinks=False)
            except (BlockingIOError, FileNotFoundError):
                there = None
            # Another fetch may have finished it before it was locked: then it is a log, whole.
            if there is None or not os.path.samestat(there, found):
                raise PortError("InUse", f"{self.label}: another fetch writes it")
            return os.fstat(self._file.fileno()).st_size

    def begun(self, start: int, length: int) -> Iterator[bytes]:
        """Bytes that were written."""
        with _errors(self.label):
            while piece := os.pread(self._fd, min(length, READ_BYTES), start):
                start, length = start + len(piece), length - len(piece)
                yield piece

    def cut(self, length: int) -> None:
        """Keep so many bytes; what is written next comes behind them."""
        with _errors(self.label):
            os.ftruncate(self._fd, length)
            os.lseek(self._fd, length, os.SEEK_SET)

    def write(self, piece: bytes) -> None:
        with _errors(self.label):
            view = memoryview(piece)
            while view:
                view = view[os.write(self._fd, view) :]

    def finish(self, mtime_ns: int) -> None:
        """Have its bytes on disk, and give it its mtime and its name.

        Raises:
            PortError: ``Taken``: another file has the name.
        """
        here = self._directory
        with _errors(self.label):
            os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            os.fsync(self._fd)
            try:
                os.link(self._hidden, self._name, src_dir_fd=here, dst_dir_fd=here)
            except FileExistsError:
                raise taken(self.label) from None
            os.unlink(self._hidden, dir_fd=here)
            os.fsync(here)

    @property
    def _fd(self) -> int:
        assert self._file is not None
        return self._file.fileno()

    def _opened(self, name: bytes, flags: int) -> BinaryIO:
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o666, dir_fd=self._directory)
        return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb", buffering=0)


def taken(label: str) -> PortError:
    return PortError(
        "Taken", f"{label}: another file stands there", "move it away, or fetch into another DIR"
    )


@contextmanager
def _errors(label: str) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        code, hint = _CODES.get(number or 0, ("Unwritable", ""))
        words = os.strerror(number) if number else str(error)
        raise PortError(code, f"{label}: {words}", hint) from error
