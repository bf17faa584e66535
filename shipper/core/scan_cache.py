"""What a scan passes over: names that it does not select, and files with nothing left to do.

Such a file that has not changed costs a scan one ``stat``. Each scan keeps only the entries
that it has met again, so the memory is bounded by what is on disk: about 200 bytes for a name.
"""

from collections.abc import Iterable

from shipper.core.left_alone import LeftAlone
from shipper.core.shifting import Shifts
from shipper.core.types import FileStat, RelativePath

NOT_SELECTED = -1
OLD = -10
Entries = dict[str, int]
"""By name: ``NOT_SELECTED``, -2 less its likelihood for a file that is left alone, the
fingerprint of a file with nothing left to do, or ``OLD`` less that of one that is too old."""


def fingerprint(device: int, inode: int, size_bytes: int, mtime_ns: int, ctime_ns: int) -> int:
    """Of a file as it is, never negative; two are equal by chance once in 2**60.

    An mtime can be set to that of the inode's last file, a ctime cannot.
    """
    return abs(hash((device, inode, size_bytes, mtime_ns, ctime_ns)))


class ScanCache:
    """The entries of one watch, for the thread that scans it. Nothing outlives the process."""

    def __init__(self, shifting: Iterable[bytes] = ()) -> None:
        self.shifts = Shifts(shifting)
        self._before: dict[bytes, Entries] = {}
        self._now: dict[bytes, Entries] = {}
        self._old_since = 0.0
        self.left_alone = LeftAlone()
        """What this scan has met that is neither rotated, live nor excluded."""
        self.directories: list[bytes] = []
        """What the watch's pattern matches, with a slash at the end; empty without a pattern."""

    def begin(self) -> None:
        """Begin a scan; the next one forgets what it does not meet."""
        self._before, self._now = self._now, {}
        self.left_alone = LeftAlone()
        self.directories = []
        self.shifts.begin()

    def enter(self, directory: bytes) -> tuple[Entries, Entries]:
        """What the last scan left of ``directory`` ("" or "a/b/"), and what this one keeps."""
        return self._before.get(directory, {}), self._now.setdefault(directory, {})

    def leave_alone(self, directory: bytes, name: str, likely: int) -> int:
        """Count a file that is left alone; its mark."""
        self.left_alone.add(likely, directory, name)
        return NOT_SELECTED - 1 - likely

    def meet(self, directory: bytes, name: str, mark: int) -> None:
        """Count an entry that is as it was when it got its mark."""
        if mark <= OLD:
            self.left_alone.older += 1
        elif mark < NOT_SELECTED:
            self.left_alone.add(NOT_SELECTED - 1 - mark, directory, name)

    def add(
        self, path: RelativePath, stat: FileStat, *, old_after_seconds: float | None = None
    ) -> None:
        """Pass over this file from now on, which may have been too old at so great an age."""
        above, slash, name = path.rpartition(b"/")
        entry = fingerprint(stat.device, stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
        if old_after_seconds is not None:
            entry = OLD - entry
            self.left_alone.older += 1
            self._old_since = max(self._old_since, stat.mtime_ns / 1e9 + old_after_seconds)
        self._now.setdefault(above + slash, {})[name.decode("utf-8", "surrogateescape")] = entry

    def doubt_old(self, at: float) -> None:
        """Look anew at what was too old, if the clock was set back behind that."""
        if at < self._old_since:
            self._old_since = 0.0
            for entries in self._now.values():
                for name in [name for name, mark in entries.items() if mark <= OLD]:
                    del entries[name]

    def __len__(self) -> int:
        return sum(map(len, self._now.values()))
