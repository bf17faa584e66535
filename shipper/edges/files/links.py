"""Reaching a directory: which symbolic links may lead the daemon where.

There may be links on the way to a watch's directory, or to an archive outside of it. Whoever owns
a directory on the way could put one there that turns a privileged daemon on ``/root``. So a link
of root or of the daemon's own user may lead anywhere; any other only to a directory of the link's
own owner. (systemd's CHASE_SAFE does the same, https://systemd.io/TEMPORARY_DIRECTORIES/.)

Below a watch's directory, and below an archive, no link is followed at all.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence

from shipper.core.types import RelativePath, Watch

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
BELOW = DIRECTORY | os.O_NOFOLLOW

ARCHIVE_MODE = 0o750
MOST_LINKS = 40
"""As many as the kernel follows on one way (path_resolution(7))."""

_PASSED = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIBC = ctypes.CDLL(None, use_errno=True)
_OPENAT2, _AT_FDCWD = 437, -100
_WITHOUT_LINKS = struct.pack("=QQQ", DIRECTORY, 0, 0x04)
"""``struct open_how`` of linux/openat2.h, with RESOLVE_NO_SYMLINKS (Linux 5.6)."""


def reached(path: str, *, is_made: bool = False) -> int:
    """The directory of an absolute path, open; ``is_made``: what is missing of it is made.

    Raises:
        OSError: also ELOOP, for a link that may not lead there.
    """
    name = os.fsencode(path)
    if not is_made:
        descriptor = int(_LIBC.syscall(_OPENAT2, _AT_FDCWD, name, _WITHOUT_LINKS, 24))
        if descriptor >= 0:  # a tenth of what the way costs, and most ways have no link
            return descriptor
        # Passing through a directory mounts nothing there, and this does.
        os.close(os.open(path, DIRECTORY))
    way = _Way()
    try:
        way.go(name, is_made=is_made)
        way.require_allowed()
        return os.open(".", DIRECTORY, dir_fd=way.directory)
    finally:
        os.close(way.directory)


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """The descriptor, which is closed afterwards."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def descended(directory: int, parts: Sequence[bytes], *, is_made: bool = False) -> int:
    """The directory ``parts`` below the given one, which is closed; ``is_made``: where missing."""
    for part in parts:
        with opened(directory) as outer:
            if is_made:
                _make(part, outer)
            directory = os.open(part, BELOW, dir_fd=outer)
    return directory


def below(directory: str, path: bytes) -> RelativePath | None:
    """The rest of a real path below the directory; empty for the directory itself."""
    top = os.path.realpath(os.fsencode(directory)).rstrip(b"/")
    if path == (top or b"/"):
        return RelativePath(b"")
    inside = path.removeprefix(top + b"/")
    return RelativePath(inside) if inside != path else None


def archive_of(watch: Watch) -> os.stat_result | None:
    """What the watch's archive directory is now; None where there is none."""
    if not watch.archive_directory:
        return None
    try:
        with opened(_archive(watch)) as directory:
            return os.fstat(directory)
    except OSError:
        return None


def archive_parent(watch: Watch, path: RelativePath) -> int:
    """The directory that the file moves into, open; made where it is missing."""
    *parts, _ = path.split(b"/")
    return descended(_archive(watch, is_made=True), parts, is_made=True)


def _archive(watch: Watch, *, is_made: bool = False) -> int:
    inside = os.path.relpath(watch.archive_directory, watch.directory)
    if inside.split("/")[0] == "..":
        return reached(watch.archive_directory, is_made=is_made)
    parts = [os.fsencode(part) for part in inside.split("/") if part != "."]
    return descended(reached(watch.directory), parts, is_made=is_made)


class _Way:
    """A walk from the root; ``directory`` is how far it got, open."""

    def __init__(self) -> None:
        self.directory = os.open("/", _PASSED)
        self._strangers: set[int] = set()
        self._links = 0

    def go(self, path: bytes, *, is_made: bool) -> None:
        parts = path.split(b"/")[::-1]
        while parts:
            part = parts.pop()
            if part in (b"", b"."):
                continue
            if is_made:
                self._make(part)
            below = os.open(part, _PASSED, dir_fd=self.directory)
            status = os.fstat(below)
            if stat.S_ISLNK(status.st_mode):
                parts += self._target(below, status.st_uid).split(b"/")[::-1]
            else:
                self._step(below)

    def require_allowed(self) -> None:
        owner = os.fstat(self.directory).st_uid
        self._require(owner, f"leads to a directory of user {owner}")

    def _require(self, owner: int, otherwise: str) -> None:
        for stranger in self._strangers - {owner}:
            raise OSError(errno.ELOOP, f"a link of user {stranger} {otherwise}")

    def _make(self, part: bytes) -> None:
        """A new directory belongs to the daemon's user, so no stranger's link may lead there."""
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(part, _PASSED, dir_fd=self.directory))
            return
        self._require(os.geteuid(), "leads to where a directory is missing")
        _make(part, self.directory)

    def _target(self, link: int, owner: int) -> bytes:
        """Where the open link leads; an absolute one begins at the root again."""
        with opened(link):
            target = os.readlink(b"", dir_fd=link)
        self._strangers |= {owner} - {0, os.geteuid()}
        self._links += 1
        if self._links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith(b"/"):
            self._step(os.open("/", _PASSED))
        return target

    def _step(self, directory: int) -> None:
        os.close(self.directory)
        self.directory = directory


def _make(name: bytes, directory: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, ARCHIVE_MODE, dir_fd=directory)
        with opened(os.open(".", DIRECTORY, dir_fd=directory)) as outer:
            os.fsync(outer)  # a descriptor that was only passed through cannot be synced
