"""Whether the daemon is done with every rotated file that stands there."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from shipper.core.identity import untouched
from shipper.core.types import FileKind, FileStat, State, WatchName
from tests.machines.instance import Instance

_SETTLED = {State.DONE, State.DUPLICATE}


class Settling:
    """Asks the journal about the ``files`` (watch and path), of each until it is shipped.

    It only ends a wait: what was shipped is judged by what is in the bucket.
    """

    def __init__(self, machine: Instance, files: Callable[[], Iterable[tuple[str, Path]]]) -> None:
        self._machine = machine
        self._files = files
        self._shipped: set[tuple[str, FileStat]] = set()

    def wait(self) -> None:
        """Wait until each file is in the bucket, or is known to be the copy of one that is."""
        self._machine.wait_for(self._is_over, "every rotated file to be shipped")

    def _is_over(self) -> bool:
        asked = [(watch, _stat(path)) for watch, path in self._files()]
        with self._machine.journal() as journal:
            for watch, stat in asked:
                if journal is None or (watch, stat) in self._shipped:
                    continue
                rows = journal.known(WatchName(watch), stat.inode)
                known = untouched(rows, stat)
                is_over = all(row.finished_at is not None for row in rows)
                if known is not None and known.state in _SETTLED and is_over:
                    self._shipped.add((watch, stat))
        return self._shipped.issuperset(asked)


def _stat(path: Path) -> FileStat:
    found = os.stat(path)
    return FileStat(
        kind=FileKind.REGULAR,
        device=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        link_count=found.st_nlink,
    )
