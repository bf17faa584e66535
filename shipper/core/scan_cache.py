"""What a scan passes over: names that it does not select, and files with nothing left to do.

Such a file that has not changed costs a scan one ``stat``. Each scan keeps only the entries
that it has met again, so the memory is bounded by what is on disk: about 200 bytes for a name.
"""

from collections.abc import Iterable

from shipper.core.left_alone import LeftAlone
from shipper.core.shifting import Shifts
from shipper.core.types import FileStat, RelativePath

NOT_SELECTED = -1
Entries = dict[str, int]
"""By name: ``NOT_SELECTED``, -2 less its likelihood for a file that is left alone, or the
fingerprint of a file with nothing left to do."""


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
        self.left_alone = LeftAlone()
        """What this scan has met that is neither rotated, live nor excluded."""

    def begin(self) -> None:
        """Begin a scan; the next one forgets what it does not meet."""
        self._before, self._now = self._now, {}
        self.left_alone = LeftAlone()
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
        if mark < NOT_SELECTED:
            self.left_alone.add(NOT_SELECTED - 1 - mark, directory, name)

    def add(self, path: RelativePath, stat: FileStat) -> None:
        """Pass over this file from now on."""
        above, slash, name = path.rpartition(b"/")
        entry = fingerprint(stat.device, stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
        self._now.setdefault(above + slash, {})[name.decode("utf-8", "surrogateescape")] = entry

    def has(self, path: RelativePath) -> bool:
        """Whether this scan has met the file, and passes over it."""
        above, slash, name = path.rpartition(b"/")
        return name.decode("utf-8", "surrogateescape") in self._now.get(above + slash, ())

    def __len__(self) -> int:
        return sum(map(len, self._now.values()))
