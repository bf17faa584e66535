"""One scan of a directory and of those below it, entry by entry."""

import contextlib
import errno
import os
import stat as stat_module
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shipper.core.left_alone import likelihood
from shipper.core.roles import is_excluded
from shipper.core.scan_cache import NOT_SELECTED, OLD, Entries, ScanCache, fingerprint
from shipper.core.shifting import numbered
from shipper.core.siblings import NO_SIBLINGS, Listed, Siblings
from shipper.core.types import Entry, FileKind, FileStat, RelativePath, Watch
from shipper.edges.files.expansion import BETWEEN_ENTRIES
from shipper.edges.files.links import (
    BELOW,
    DIRECTORY,
    below,
    opened,
)
from shipper.edges.files.open_file import (
    ABSENT,
    clamped,
    scan_error,
    stat_from_status,
)
from shipper.edges.files.roots import Place, place_of
from shipper.edges.files.statx import statx
from shipper.ports import PortError, Selects

DEEPEST = 64
"""A scan holds two descriptors per level. What lies deeper is reported and not entered."""


@dataclass(frozen=True, slots=True)
class Scan:
    watch: Watch
    selects: Selects
    archive: os.stat_result | None
    scan_cache: ScanCache
    between: Callable[[], None]
    counts: bool
    """Whether anybody asks what is left alone."""

    def entries(
        self, directory: int, above: bytes, levels: int, outer: Place | None = None
    ) -> Iterator[Entry | PortError]:
        """The entries of one open directory, and of those below it; closes the descriptor."""
        before, now = self.scan_cache.enter(above)
        known = self.scan_cache.shifts.known
        siblings = Siblings(
            lambda: listed(directory),
            lambda series: above + series in known,
            lambda name: mtime_ns(name, directory),
        )
        try:
            with opened(directory), os.scandir(directory) as found:
                place = place_of(directory, above[:-1], outer)
                for number, entry in enumerate(found):
                    if not number % BETWEEN_ENTRIES:
                        self.between()
                    mark = before.get(entry.name)
                    if mark is not None and _is_cached(entry, mark):
                        now[entry.name] = mark
                        self.scan_cache.meet(above, entry.name, mark)
                        continue
                    path = RelativePath(above + os.fsencode(entry.name))
                    seen = self._seen(directory, entry, path, levels, siblings, kept=now)
                    if isinstance(seen, int):
                        yield from self.entries(seen, path + b"/", levels - 1, place)
                    elif seen is not None:
                        yield (
                            seen if isinstance(seen, PortError) else Entry(path, seen, place.text)
                        )
        except OSError as error:
            if not above or error.errno not in ABSENT:
                yield scan_error(self.watch, above, error)

    def _seen(
        self,
        directory: int,
        entry: os.DirEntry[str],
        path: RelativePath,
        levels: int,
        siblings: Siblings,
        *,
        kept: Entries,
    ) -> FileStat | PortError | int | None:
        """What a scan says of an entry; an ``int`` is a subdirectory, open."""
        try:
            if entry.is_dir(follow_symlinks=False):
                return self._entered(directory, entry.name, levels)
            kind = self._kind_of_link(directory, entry, path, siblings)
            self._see(directory, entry, path)
            is_selected = self.selects(path, siblings)
            if not is_selected:
                mark = self._unselected(entry, path, siblings)
                if is_selected is False and kind is not FileKind.LINKED_DIRECTORY:
                    kept[entry.name] = mark
                return None
            stat = stat_from_status(entry.stat(follow_symlinks=False))
            return stat if kind is None else replace(stat, kind=kind)
        except OSError as error:
            has_vanished = error.errno in (*ABSENT, errno.ELOOP)
            return None if has_vanished else scan_error(self.watch, path, error)

    def _see(self, directory: int, entry: os.DirEntry[str], path: RelativePath) -> None:
        """Note which file has a numbered name, where the kernel can tell."""
        name = os.fsencode(entry.name)
        if numbered(name) is not None and (status := statx(directory, name)).born:
            file = (status.inode, status.born)
            self.scan_cache.shifts.see(path.removesuffix(name), name, file)

    def _unselected(self, entry: os.DirEntry[str], path: RelativePath, siblings: Siblings) -> int:
        """The mark of a name that is not selected."""
        is_file = entry.is_file(follow_symlinks=False)
        likely = likelihood(self.watch, path, siblings) if is_file and self.counts else None
        if likely is None:
            return NOT_SELECTED
        return self.scan_cache.leave_alone(
            path.removesuffix(os.fsencode(entry.name)), entry.name, likely
        )

    def _kind_of_link(
        self, directory: int, entry: os.DirEntry[str], path: RelativePath, siblings: Siblings
    ) -> FileKind | None:
        """The kind of a symbolic link, which is left alone if it leads to another directory."""
        if not entry.is_symlink():
            return None
        kind = kind_of_link(self.watch, self.selects, directory, path, siblings)
        is_left = kind is FileKind.LINKED_DIRECTORY and self.watch.recursive
        is_left = is_left and not is_excluded(self.watch, path)
        if is_left and below(self.watch.directory, _real(directory, path)) is None:
            self.scan_cache.left_alone.add_link(path)
        return kind

    def _entered(self, directory: int, name: str, levels: int) -> int | None:
        """The subdirectory, open; None when it is not part of the watch."""
        if not self.watch.recursive:
            return None
        entered = os.open(name, BELOW, dir_fd=directory)
        if self.archive is not None and os.path.samestat(os.fstat(entered), self.archive):
            os.close(entered)
            return None
        if not levels:
            os.close(entered)
            raise OSError(errno.ENAMETOOLONG, f"more than {DEEPEST} directories deep")
        return entered


def kind_of_link(
    watch: Watch, selects: Selects, directory: int, path: RelativePath, siblings: Siblings
) -> FileKind:
    """LINKED_DIRECTORY, ALIAS or SYMLINK, by what the link in the open directory leads to."""
    above, _, name = path.rpartition(b"/")
    try:
        mode = os.stat(name, dir_fd=directory).st_mode
    except OSError as error:
        is_loose = error.errno in (*ABSENT, errno.ELOOP)
        return FileKind.ALIAS if is_loose else FileKind.SYMLINK
    if stat_module.S_ISDIR(mode):
        return FileKind.LINKED_DIRECTORY
    if not stat_module.S_ISREG(mode):
        return FileKind.ALIAS
    inside = below(watch.directory, _real(directory, path))
    if inside is None:
        return FileKind.SYMLINK
    is_beside = inside.rpartition(b"/")[0] == above
    is_log = selects(inside, siblings if is_beside else NO_SIBLINGS)
    return FileKind.ALIAS if is_log else FileKind.SYMLINK


def _real(directory: int, path: RelativePath) -> bytes:
    """Where a link of the open directory leads."""
    return os.path.realpath(b"/proc/self/fd/%d/%b" % (directory, path.rpartition(b"/")[2]))


def listed(directory: int) -> Iterator[Listed]:
    """The names in an open directory; none of what cannot be listed."""
    # A scan may be under way, and descriptors that were duplicated share their position.
    with (
        contextlib.suppress(OSError),
        opened(os.open(".", DIRECTORY, dir_fd=directory)) as again,
        os.scandir(again) as found,
    ):
        for entry in found:
            yield Listed(os.fsencode(entry.name), entry.is_symlink())


def mtime_ns(name: bytes, directory: int | None = None) -> int | None:
    """When a file was last written to; None where that is not told."""
    with contextlib.suppress(OSError):
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
    return None


def _is_cached(entry: os.DirEntry[str], mark: int) -> bool:
    """Whether the entry is as it was when it was marked; never of a directory."""
    try:
        if OLD < mark <= NOT_SELECTED:
            return not entry.is_dir(follow_symlinks=False)
        found = entry.stat(follow_symlinks=False)
    except OSError:  # whoever looks closer tells why
        return False
    times = clamped(found.st_mtime_ns), clamped(found.st_ctime_ns)
    now = fingerprint(found.st_dev, found.st_ino, found.st_size, *times)
    return now in (mark, OLD - mark)
