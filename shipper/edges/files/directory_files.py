"""Log directories, by descriptor: every open is relative to a directory and follows no links.

A log directory may belong to someone who must not be able to make a privileged daemon read,
remove or place anything elsewhere. So below the watch's directory no component may be a symbolic
link, only regular files are opened, and a FIFO is never waited for. The same goes for an archive
inside the watch. The watch's directory itself, and an archive outside of it, are the operator's
choice and may be reached through links (``links``).

Removal. Linux cannot unlink a name on condition that it leads to a certain file, and a rotator may
shift names in between. So the entry is set aside first: renamed, in its own directory, to a name
that nobody else uses. It is checked there, while the file is open, so that its inode cannot become
another file's. It gets its name back when it is another file, may be open for writing, or was
written to since the check began. This order matters: once no name leads a new writer to the file
and no old one is left, its size and mtime are final. A crash in between leaves the name of
``set_aside``, which a scan takes for the original one. Where the entry cannot be set aside (no
renameat2(2) with RENAME_NOREPLACE, name too long, disk full), it must lead to the file in the
system call before.

Archiving is a rename that refuses to overwrite. Where the file system has none, a second name is
linked and the first one unlinked; after a crash in between, the next try only unlinks the first.
Every directory that was changed is fsynced before the call returns.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from shipper.core.disk_space import DiskSpace
from shipper.core.failures import hint_for
from shipper.core.object_keys import printable
from shipper.core.rotated_names import original, set_aside
from shipper.core.scan_cache import ScanCache
from shipper.core.sealing import removal_refusal
from shipper.core.types import Entry, RelativePath, Watch
from shipper.edges.files.expansion import Expansion
from shipper.edges.files.links import (
    archive_of,
    archive_parent,
    descended,
    opened,
    reached,
)
from shipper.edges.files.open_file import (
    FileSource,
    file_error,
    label,
    removing,
    scan_error,
)
from shipper.edges.files.roots import place_below, space_of
from shipper.edges.files.scan import DEEPEST, Scan
from shipper.ports import PortError, Selects, Source

MOST_NAMESAKES = 100_000
"""So many numbers are tried in an archive, where others may take each in time."""

Rename = Callable[[int, bytes, int, bytes], None]
"""From directory and name to directory and name; ``FileExistsError`` rather than replacing."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_SUCH_RENAME = (errno.ENOSYS, errno.EINVAL)
_LIBC = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE = 1


def renameat2(directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
    """renameat2(2) with RENAME_NOREPLACE; ``OSError`` with ENOSYS where libc has none."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(directory, name, new_directory, new_name, _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class DirectoryFiles:
    """``ports.Files`` on the real file system; safe to share between threads.

    ``between`` is called now and then in a scan; what it raises ends the scan.
    """

    def __init__(
        self, *, rename: Rename = renameat2, between: Callable[[], None] = lambda: None
    ) -> None:
        self._rename = rename
        self._between = between

    def scan(
        self,
        watch: Watch,
        selects: Selects,
        scan_cache: ScanCache | None = None,
    ) -> Iterator[Entry | PortError]:
        """As the port says. The archive is not entered, and what vanishes meanwhile is no error.

        Codes: ``NotFound`` (of the watch's directory), ``DirectoryUnreadable``.
        """
        try:
            root = reached(watch.directory)
        except OSError as error:
            yield scan_error(watch, b"", error)
            return
        counts = scan_cache is not None
        scan_cache = ScanCache() if scan_cache is None else scan_cache
        scan_cache.begin()
        archive = archive_of(watch)
        scan = Scan(watch, selects, archive, scan_cache, self._between, counts)
        if not watch.pattern:
            yield from scan.entries(root, b"", DEEPEST)
            return
        for found in Expansion(watch, archive, scan_cache, self._between).matched(root):
            if isinstance(found, PortError):
                yield found
            else:
                yield from scan.entries(found.directory, found.path, DEEPEST, found.outer)

    def place(self, watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        try:
            parts = list(takewhile(_is_name, path.split(b"/")[:-1]))
            return place_below(reached(watch.directory), parts, begins.rstrip(b"/")).text
        except OSError as error:
            raise scan_error(watch, b"", error) from error

    def space(self, watch: Watch, directory: bytes = b"") -> DiskSpace:
        try:
            below = descended(reached(watch.directory), directory.split(b"/")[:-1])
            with opened(below):
                return space_of(below)
        except OSError as error:
            raise scan_error(watch, directory, error) from error

    def open(self, watch: Watch, path: RelativePath) -> Source:
        with _parent(watch, path) as (directory, name):
            return _opened(watch, path, directory, name)

    def remove(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        with _confirmed(watch, path, is_same) as place:
            if place is None:
                return False
            with removing(watch, path), self._aside(watch, place) as aside:
                if aside is None:
                    return False
                os.unlink(aside.name, dir_fd=aside.directory)
                os.fsync(aside.directory)
            return True

    def archive(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        with _confirmed(watch, path, is_same) as place:
            if place is None:
                return False
            with removing(watch, path), opened(archive_parent(watch, path)) as archive:
                if os.path.samestat(os.fstat(archive), os.fstat(place.directory)):
                    raise PortError(
                        "RemoveDenied",
                        f"{label(watch, path)}: it is in the archive directory already",
                        "archive_directory must be another directory than the watch's",
                    )
                with self._aside(watch, place) as aside:
                    if aside is None:
                        return False
                    self._move(aside, archive)
                os.fsync(archive)
                os.fsync(place.directory)
            return True

    @contextlib.contextmanager
    def _aside(self, watch: Watch, place: "_Place") -> Iterator["_Place | None"]:
        """The file, set aside; None when the name is another file's by now.

        It gets its name back when what follows fails.

        Raises:
            PortError: ``Unreadable``, ``SourceInUse``, ``WriterUnproven``; it is being written
                to, or may be.
        """
        aside = replace(place, name=set_aside(place.name))
        if not _leads_to(place):
            yield None
            return
        if aside.name != place.name:
            try:
                self._rename(place.directory, place.name, aside.directory, aside.name)
            except FileExistsError as error:
                name = printable(aside.name)
                raise PortError("Unreadable", f"{name} is in the way", "remove it") from error
            except OSError:
                aside = place
        if not _leads_to(aside):
            self._put_back(place, aside)
            yield None
            return
        try:
            _require_unwritten(watch, aside)
            yield aside
        except BaseException:
            self._put_back(place, aside)
            raise

    def _put_back(self, place: "_Place", aside: "_Place") -> None:
        """Undo ``_aside``; where that fails, the next scan finds the file."""
        if aside.name != place.name:
            with contextlib.suppress(OSError):
                self._rename(aside.directory, aside.name, place.directory, place.name)

    def _move(self, place: "_Place", archive: int) -> None:
        """Give the file its name in the archive, numbered where that name is another file's."""
        first = original(RelativePath(place.name))
        for number in range(MOST_NAMESAKES):
            name = first + (b".%d" % number if number else b"")
            wanted = replace(place, directory=archive, name=name)
            try:
                self._rename_or_link(place, wanted)
            except FileExistsError:
                if not _leads_to(wanted):
                    continue
                os.unlink(place.name, dir_fd=place.directory)
            return
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _rename_or_link(self, place: "_Place", wanted: "_Place") -> None:
        try:
            self._rename(place.directory, place.name, wanted.directory, wanted.name)
        except OSError as error:
            if error.errno not in _NO_SUCH_RENAME:
                raise
            os.link(
                place.name,
                wanted.name,
                src_dir_fd=place.directory,
                dst_dir_fd=wanted.directory,
                follow_symlinks=False,
            )
            os.unlink(place.name, dir_fd=place.directory)


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry: ``name`` in the open ``directory``, for the confirmed ``file``, which is open."""

    directory: int
    name: bytes
    file: os.stat_result
    """As it was before it was confirmed."""
    source: FileSource


@contextlib.contextmanager
def _parent(watch: Watch, path: RelativePath) -> Iterator[tuple[int, bytes]]:
    """The open directory that holds the path's last component, and that component."""
    *above, name = path.split(b"/")
    if not all(map(_is_name, (*above, name))):
        raise PortError("NotRegular", f"{label(watch, path)}: not a path below the watch")
    try:
        directory = descended(reached(watch.directory), above)
    except OSError as error:
        raise file_error(watch, path, error) from error
    with opened(directory):
        yield directory, name


def _is_name(part: bytes) -> bool:
    return part not in (b"", b".", b"..") and 0 not in part


def _leads_to(place: _Place) -> bool:
    try:
        found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, place.file)


def _require_unwritten(watch: Watch, place: _Place) -> None:
    _require_no_writer(watch, place.source)
    now = place.source.status()
    if (now.st_size, now.st_mtime_ns) != (place.file.st_size, place.file.st_mtime_ns):
        name = printable(original(RelativePath(place.name)))
        raise PortError("Unreadable", f"{name}: written to while it was being removed")


def _require_no_writer(watch: Watch, source: FileSource) -> None:
    writer = source.writer()
    code = removal_refusal(writer, is_unproven_enough=watch.after_upload_unproven)
    if code:
        raise PortError(code, writer.value, hint_for(code))


def _opened(watch: Watch, path: RelativePath, directory: int, name: bytes) -> FileSource:
    try:
        try:
            descriptor = os.open(name, _FILE | os.O_NOATIME, dir_fd=directory)
        except PermissionError:  # only the owner may leave the access time alone
            descriptor = os.open(name, _FILE, dir_fd=directory)
    except OSError as error:
        raise file_error(watch, path, error) from error
    source = FileSource(descriptor, label(watch, path))
    if not stat.S_ISREG(source.status().st_mode):
        source.close()
        raise PortError("NotRegular", f"{label(watch, path)}: not a regular file")
    return source


@contextlib.contextmanager
def _confirmed(
    watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]
) -> Iterator[_Place | None]:
    """The entry, if ``is_same`` accepts the file it led to, and nobody writes to it; else None."""
    with (
        _parent(watch, path) as (directory, name),
        contextlib.closing(_opened(watch, path, directory, name)) as source,
    ):
        before, place = source.status(), None
        if is_same(source):
            _require_no_writer(watch, source)  # before its name changes for nothing
            place = _Place(directory, name, before, source)
        yield place
