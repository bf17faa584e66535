"""What a scan need not tell again: names it does not select, and files that are finished with.

A hundred thousand shipped files must cost a scan one ``stat`` each and nothing more, so the scan
itself passes over an entry that is as it was when its caller was done with it. What is remembered
is bounded by what stands on disk: every scan keeps only what it has met again, and whatever it
could not look at is met as new the next time. Nothing here outlives the process.

A name's mark is ``NOT_SELECTED`` or the file's fingerprint; both are plain integers in one dict
per directory, about 200 bytes for each name.
"""

from shipper.core.types import FileStat, RelativePath

NOT_SELECTED = -1
"""No fingerprint: Python's ``hash`` never gives -1."""

Marks = dict[str, int]


def fingerprint(device: int, inode: int, size_bytes: int, mtime_ns: int) -> int:
    """What tells that the entry still leads to the same file, and that it was not written to.

    Two different files have one fingerprint with a chance of 2**-61.
    """
    return hash((device, inode, size_bytes, mtime_ns))


class ScanCache:
    """The marks of one watch, for the thread that scans it."""

    def __init__(self) -> None:
        self._before: dict[bytes, Marks] = {}
        self._now: dict[bytes, Marks] = {}

    def begin(self) -> None:
        """A scan begins: what is not met in it is forgotten by the next one."""
        self._before, self._now = self._now, {}

    def enter(self, directory: bytes) -> tuple[Marks, Marks]:
        """The marks that the last scan left in a directory, and those that this one keeps.

        ``directory`` is relative to the watch and ends with a slash, or is empty.
        """
        return self._before.get(directory, {}), self._now.setdefault(directory, {})

    def add(self, path: RelativePath, stat: FileStat) -> None:
        """The scan under way has told of this file, and its caller is finished with it."""
        above, slash, name = path.rpartition(b"/")
        mark = fingerprint(stat.device, stat.inode, stat.size_bytes, stat.mtime_ns)
        self._now.setdefault(above + slash, {})[name.decode("utf-8", "surrogateescape")] = mark

    def __len__(self) -> int:
        """How many names are remembered."""
        return sum(map(len, self._now.values()))
