"""The directories that a watch's pattern matches, as one scan finds them.

No link is followed here, as nowhere below a watch: whoever owns a directory may put one into it. A
name that is no glob is opened as such, so what stands beside it is not listed. What is wrong with
one directory is that one's trouble.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shipper.core.globs import glob_pattern, is_wild
from shipper.core.scan_cache import ScanCache
from shipper.core.types import RelativePath, Watch
from shipper.edges.files.links import BELOW, below, opened
from shipper.edges.files.open_file import ABSENT, scan_error
from shipper.edges.files.roots import Place, place_of
from shipper.ports import PortError

BETWEEN_ENTRIES = 256
"""After so many entries a scan asks whether it is to go on."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A directory, open; whoever gets it closes it."""

    directory: int
    path: bytes
    """Below the watch, with a slash at its end."""
    outer: Place | None


@dataclass(frozen=True, slots=True)
class Expansion:
    watch: Watch
    archive: os.stat_result | None
    scan_cache: ScanCache
    between: Callable[[], None]

    def matched(self, directory: int) -> Iterator[Matched | PortError]:
        """Every directory that matches, below the watch's, which is open and gets closed."""
        names = self.watch.pattern.split("/")[:-1]
        yield from self._below(Matched(directory, b"", None), names)

    def _below(self, found: Matched, names: Sequence[str]) -> Iterator[Matched | PortError]:
        if not names:
            self.scan_cache.directories.append(found.path)
            yield found
            return
        with opened(found.directory) as directory:
            try:
                place = place_of(directory, found.path[:-1], found.outer)
                candidates = self._candidates(directory, names[0])
            except OSError as error:
                yield scan_error(self.watch, found.path, error)
                return
            for name in candidates:
                path = found.path + name + b"/"
                try:
                    entered = self._entered(directory, name, path)
                except OSError as error:
                    yield scan_error(self.watch, path, error)
                    continue
                if entered is not None:
                    yield from self._below(Matched(entered, path, place), names[1:])

    def _candidates(self, directory: int, name: str) -> list[bytes]:
        """What may be a directory, or a link to one, and matches."""
        if not is_wild(name):
            return [os.fsencode(name)]
        pattern, found = glob_pattern(f"{name}/"), []
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if not number % BETWEEN_ENTRIES:
                    self.between()
                if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
                    found.append(os.fsencode(entry.name))
        return [each for each in found if pattern.fullmatch(each + b"/")]

    def _entered(self, directory: int, name: bytes, path: bytes) -> int | None:
        """The directory, open; None for what is none, for a link, and for the archive."""
        try:
            entered = os.open(name, BELOW, dir_fd=directory)
        except OSError as error:
            if error.errno not in (*ABSENT, errno.ELOOP):
                raise
            self._note_link(directory, name, path)
            return None
        if self.archive is not None and os.path.samestat(os.fstat(entered), self.archive):
            os.close(entered)
            return None
        return entered

    def _note_link(self, directory: int, name: bytes, path: bytes) -> None:
        """Count a link to a directory, unless that one matches, too."""
        with suppress(OSError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=directory).st_mode):
                return
            real = os.path.realpath(b"/proc/self/fd/%d/%b" % (directory, name))
            inside = below(self.watch.directory, real)
            globs = self.watch.pattern.split("/")[: path.count(b"/")]
            matches = glob_pattern("".join(f"{each}/" for each in globs)).fullmatch
            if inside is None or not matches(inside + b"/"):
                self.scan_cache.left_alone.add_link(RelativePath(path[:-1]))
