"""Clones in a directory of ours: FICLONE, and FIEMAP to tell what they keep from being free.

A clone is made without a name, compared, and only then linked (O_TMPFILE, linkat(2)): whoever
dies before leaves nothing, whoever dies after leaves the whole. Clone and directory are fsynced,
so a power cut costs nothing that ``make`` returned. Cloning needs one file system that knows how
(XFS, btrfs, bcachefs; across mounts of the same one since Linux 5.18).

What a clone keeps is told by its extents: one that is shared is somebody else's, too. The first of
them speak for all while they are shared, for a log is cloned as a whole; so a clone of a log that
is still there costs one question, however many extents it has.
https://docs.kernel.org/filesystems/fiemap.html, ioctl_ficlone(2)
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator

from shipper.edges.files.open_file import BLOCK_BYTES, FileSource, port_error
from shipper.ports import Source

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

Clone = Callable[[int, int], None]
"""From descriptor to descriptor; ``OSError`` where there are no reflinks."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_UNSUPPORTED = (
    errno.EXDEV,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EISDIR,  # O_TMPFILE, where it is not known
)
_HINT = "state_directory must be on the log's file system, and that one with reflinks"

_FICLONE = 0x40049409
_FIEMAP = 0xC020660B
_REQUEST = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_MAPPED_AT = 20
_ALL = 2**64 - 1
_LAST = 0x1
_SHARED = 0x2000
_EXTENTS = 64


def ficlone(source: int, target: int) -> None:
    """Make the target's content the source's, without copying a block."""
    fcntl.ioctl(target, _FICLONE, source)


class DirectoryClones:
    """``ports.Clones`` in one directory, which is made when it is first needed."""

    def __init__(self, directory: str, *, clone: Clone = ficlone) -> None:
        self._directory = directory
        self._clone = clone

    def make(self, name: str, source: Source, is_same: Callable[[Source], bool]) -> bool:
        """Clone the file that ``source`` has open, if ``is_same`` holds for the clone.

        Raises:
            PortError: ``CloneUnsupported``, ``CloneFailed``.
        """
        assert isinstance(source, FileSource)  # on one machine there are no others
        try:
            with self._opened() as directory:
                descriptor = os.open(".", _UNNAMED, FILE_MODE, dir_fd=directory)
                clone = FileSource(descriptor, f"a clone in {self._directory}")
                with contextlib.closing(clone):
                    self._clone(source.fileno(), descriptor)
                    os.utime(descriptor, ns=_times(os.fstat(source.fileno())))
                    if not is_same(clone):
                        return False
                    _link(descriptor, name, directory)
                    os.fsync(descriptor)
                os.fsync(directory)
        except OSError as error:
            is_unsupported = error.errno in _UNSUPPORTED
            code, hint = ("CloneUnsupported", _HINT) if is_unsupported else ("CloneFailed", "")
            raise port_error(code, self._directory, error, hint) from error
        return True

    def open(self, name: str) -> Source | None:
        """The clone; None when there is none.

        Raises:
            PortError: ``Unreadable``.
        """
        path = os.path.join(self._directory, name)
        try:
            return FileSource(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise port_error("Unreadable", path, error) from error

    def names(self) -> list[str]:
        """Every name in use, in order.

        Raises:
            PortError: ``StateUnwritable``.
        """
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise port_error("StateUnwritable", self._directory, error) from error

    def own_bytes(self, name: str) -> int:
        """The disk that the clone shares with no other file; 0 for no clone, too.

        Raises:
            PortError: ``Unreadable``.
        """
        source = self.open(name)
        if source is None:
            return 0
        assert isinstance(source, FileSource)
        with contextlib.closing(source):
            try:
                return _own_bytes(source.fileno())
            except OSError as error:
                if error.errno in _UNSUPPORTED:
                    return source.status().st_blocks * BLOCK_BYTES
                raise port_error("Unreadable", self._directory, error) from error

    def remove(self, name: str) -> None:
        """Remove the clone; idempotent. After a power cut it may be back.

        Raises:
            PortError: ``StateUnwritable``.
        """
        try:
            os.unlink(os.path.join(self._directory, name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise port_error("StateUnwritable", self._directory, error) from error

    def free_bytes(self) -> int:
        """What is free on the file system of the clones.

        Raises:
            PortError: ``Unreadable``.
        """
        try:
            found = os.statvfs(os.path.dirname(self._directory))
        except OSError as error:
            raise port_error("Unreadable", self._directory, error) from error
        return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The directory, made and on disk where it was missing."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, DIRECTORY_MODE)
            _sync(os.path.dirname(self._directory))
        directory = os.open(self._directory, _DIRECTORY)
        try:
            yield directory
        finally:
            os.close(directory)


def _sync(directory: str) -> None:
    descriptor = os.open(directory, _DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_atime_ns, status.st_mtime_ns


def _link(descriptor: int, name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=directory, follow_symlinks=True)


def _own_bytes(descriptor: int) -> int:
    own = at = 0
    while True:
        extents = _extents(descriptor, at)
        own += sum(length for _, length, flags in extents if not flags & _SHARED)
        if not extents or not own or extents[-1][2] & _LAST:
            return own
        at = extents[-1][0] + extents[-1][1]


def _extents(descriptor: int, at: int) -> list[tuple[int, int, int]]:
    """The next extents as (offset, length, flags)."""
    request = bytearray(_REQUEST.pack(at, _ALL - at, 0, 0, _EXTENTS, 0))
    request += bytes(_EXTENT.size * _EXTENTS)
    fcntl.ioctl(descriptor, _FIEMAP, request)
    (mapped,) = struct.unpack_from("=L", request, _MAPPED_AT)
    found = (_EXTENT.unpack_from(request, _REQUEST.size + _EXTENT.size * n) for n in range(mapped))
    return [(offset, length, flags) for offset, _, length, _, _, flags, *_ in found]
