"""One open file, read through one descriptor; and what its failures are called."""

import contextlib
import errno
import os
import stat as stat_module
from collections.abc import Iterator

from shipper.core import hints
from shipper.core.object_keys import printable
from shipper.core.types import FileKind, FileStat, RelativePath, Watch, WriterTest
from shipper.edges.files import open_writers as writers
from shipper.edges.files.statx import generation, statx
from shipper.ports import PortError

_HINTS = {
    errno.EMFILE: "raise the daemon's limit of open files (LimitNOFILE=)",
    errno.ENFILE: "raise the machine's limit of open files (fs.file-max)",
    errno.EIO: "the disk answers with errors: look at the kernel's log",
    errno.ELOOP: "let root own the links that lead to the directory",
    errno.ENOSPC: "free space on the archive's file system",
}
_KINDS = {
    stat_module.S_IFREG: FileKind.REGULAR,
    stat_module.S_IFDIR: FileKind.DIRECTORY,
    stat_module.S_IFLNK: FileKind.SYMLINK,
}
_HOLE_BYTES = 256 * 1024
"""A shorter read is not worth asking for holes."""
_FURTHEST_NS = 9_223_372_036 * 10**9 - 1
"""Within the last whole second that fits into the journal's integers, in 2262."""


class FileSource:
    """``ports.Source`` around one descriptor, which it owns."""

    def __init__(self, descriptor: int, label: str) -> None:
        self._descriptor = descriptor
        self._failures = _Failures(label)
        self._told: tuple[str, int] | None = None

    def stat(self) -> FileStat:
        found = self.status()
        if self._told is None:
            self._told = _told_of(self._descriptor)
        return stat_from_status(found, *self._told)

    def status(self) -> os.stat_result:
        """``fstat`` as the system gives it."""
        with self._failures:
            return os.fstat(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        with self._failures:
            if length >= _HOLE_BYTES and (hole := self._hole(offset, length)):
                return bytes(hole)
            while length > 0 and (piece := os.pread(self._descriptor, length, offset)):
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        filled = 0
        with self._failures:
            if len(buffer) >= _HOLE_BYTES and (hole := self._hole(offset, len(buffer))):
                buffer[:hole] = bytes(hole)
                return hole
            while filled < len(buffer) and (
                found := os.preadv(self._descriptor, [buffer[filled:]], offset + filled)
            ):
                filled += found
        return filled

    def _hole(self, offset: int, length: int) -> int:
        """How many of the bytes are there, if all of them are in a hole; else 0.

        Nothing is read of a hole, neither from the disk nor into the page cache.
        """
        left = os.fstat(self._descriptor).st_size - offset
        if left <= 0:
            return 0
        try:
            data_at = os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a file system that knows no holes
                return 0
            data_at = offset + length
        return min(length, left) if data_at >= offset + min(length, left) else 0

    def writer(self) -> WriterTest:
        with self._failures:
            return writers.writer_test(self._descriptor)

    def unlinked_bytes(self) -> int:
        status = self.status()
        return 0 if status.st_nlink else status.st_blocks * 512  # whatever the file system's

    def fileno(self) -> int:
        """The descriptor; it stays the source's."""
        return self._descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Failures:
    """Within it an ``OSError`` is a ``PortError``. A generator would cost more than the call."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise port_error("Unreadable", self._label, error) from error


def _told_of(descriptor: int) -> tuple[str, int]:
    """What changes when the inode number is used again, and when the file was created.

    ext4 and XFS keep a number for the first. Elsewhere it is the birth time; empty where the
    kernel tells neither.
    """
    number, born = generation(descriptor), statx(descriptor).born
    return f"g{number}" if number else born and f"b{born}", int(born.replace(".", "") or 0)


def stat_from_status(found: os.stat_result, generation: str = "", born_ns: int = 0) -> FileStat:
    """What shipper asks of ``stat``."""
    return FileStat(
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=clamped(found.st_mtime_ns),
        ctime_ns=clamped(found.st_ctime_ns),
        link_count=found.st_nlink,
        kind=_KINDS.get(stat_module.S_IFMT(found.st_mode), FileKind.OTHER),
        device=found.st_dev,
        generation=generation,
        born_ns=born_ns,
    )


def clamped(nanoseconds: int) -> int:
    """Whoever owns a file may date it to the year 2300."""
    return max(-_FURTHEST_NS, min(nanoseconds, _FURTHEST_NS))


def port_error(code: str, label: str, error: OSError, hint: str = "") -> PortError:
    """The error with the system's own words; ``hint`` has a default where the errno has one."""
    return PortError(code, f"{label}: {error.strerror}", hint or _HINTS.get(error.errno or 0, ""))


DENIED = (errno.EACCES, errno.EPERM)
ABSENT = (errno.ENOENT, errno.ENOTDIR)
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108  (named, not used)
"""Below these the unit shows the daemon nothing (ProtectHome=, PrivateTmp=)."""

_ELSEWHERE = "CrossDevice", hints.OTHER_FILE_SYSTEM
_NO_PERMISSION = "RemoveDenied", hints.NO_PERMISSION
_IN_THE_WAY = "RemoveDenied", "something that is no directory is in archive_directory"
_REMOVAL = {
    errno.ENOENT: ("NotFound", ""),
    errno.EXDEV: _ELSEWHERE,
    **dict.fromkeys((*DENIED, errno.EROFS), _NO_PERMISSION),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _IN_THE_WAY),
    errno.ELOOP: ("RemoveDenied", ""),
}
_OPENING = {
    **dict.fromkeys(ABSENT, ("NotFound", "")),
    **dict.fromkeys((errno.ELOOP, errno.ENXIO, errno.EISDIR), ("NotRegular", "")),
    **dict.fromkeys(DENIED, ("SourceUnreadable", "give the daemon read permission on the file")),
}


@contextlib.contextmanager
def removing(watch: Watch, path: RelativePath) -> Iterator[None]:
    """Translate what goes wrong while an entry is removed or moved."""
    try:
        yield
    except OSError as error:
        code, hint = _REMOVAL.get(error.errno or 0, ("Unreadable", ""))
        raise port_error(code, label(watch, path), error, hint) from error


def label(watch: Watch, path: bytes) -> str:
    """The path for people."""
    return printable(os.path.join(os.fsencode(watch.directory), path)).rstrip("/")


def scan_error(watch: Watch, path: bytes, error: OSError) -> PortError:
    """Why a directory could not be looked into."""
    code, hint = "DirectoryUnreadable", ""
    if error.errno == errno.ENOTDIR:
        code, hint = "NotFound", "a file is in its place: name the directory that holds the logs"
    elif error.errno in ABSENT:
        code, hint = "NotFound", "create it, or correct the watch's directory"
        if watch.directory.startswith(HIDDEN):
            hint += "; if it is there, the unit hides it: "
            hint += "home.conf in /usr/share/doc/shipper/examples"
    elif error.errno in DENIED:
        hint = "give the daemon read and search permission on the directory"
    return port_error(code, label(watch, path), error, hint)


def file_error(watch: Watch, path: bytes, error: OSError) -> PortError:
    """Why a file could not be opened."""
    code, hint = _OPENING.get(error.errno or 0, ("Unreadable", ""))
    return port_error(code, label(watch, path), error, hint)
