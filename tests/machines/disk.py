"""The services on a real disk, watched by a ledger: what they remove must be in the bucket."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, cast

from shipper.core.disk_space import DiskSpace
from shipper.core.identity import digest, tail_range
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.scan_cache import ScanCache
from shipper.core.types import Entry, FileStat, RelativePath, Shipment, State, Watch
from shipper.edges.files.directory_files import DirectoryFiles, renameat2
from shipper.edges.files.open_file import FileSource, stat_from_status
from shipper.ports import PortError, Selects, Source
from tests.fakes.files import FakeFiles
from tests.machines.ledger import HeldRange, Ledger
from tests.machines.world import World

EVERY_ROW = 1000


class WitnessedFiles:
    """``DirectoryFiles``; ``effect`` is called around every removal, ``witness`` before it.

    Files whose inode is in ``denied`` may not be read, which nobody can take from root. ``born``
    says when they were created: the kernel goes by another clock than the machine.
    """

    def __init__(self, witness: Callable[[int, int], None]) -> None:
        self._files = DirectoryFiles(rename=self._rename)
        self._witness = witness
        self.denied: set[int] = set()
        self.born: Mapping[int, int] = {}
        self.order = Random(0)
        self.effect: Callable[[str], None] = lambda name: None

    def scan(
        self,
        watch: Watch,
        selects: Selects,
        scan_cache: ScanCache | None = None,
    ) -> Iterator[Entry | PortError]:
        """As ``DirectoryFiles``, in an order that does not depend on the file system."""
        found = list(self._files.scan(watch, selects, scan_cache))
        entries = sorted(
            (one for one in found if isinstance(one, Entry)), key=lambda entry: entry.path
        )
        self.order.shuffle(entries)
        yield from (one for one in found if isinstance(one, PortError))
        yield from entries

    def place(self, watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        """As ``DirectoryFiles``."""
        return self._files.place(watch, path, begins)

    def space(self, watch: Watch, directory: bytes = b"") -> DiskSpace:
        """As ``DirectoryFiles``."""
        return self._files.space(watch, directory)

    def stat(self, path: Path) -> FileStat:
        """What the services see of a file."""
        return stat_from_status(path.lstat())

    def open(self, watch: Watch, path: RelativePath) -> Source:
        """As ``DirectoryFiles``, but for what is denied, and with the machine's birth times."""
        source = cast(FileSource, self._files.open(watch, path))
        found = source.stat()
        if found.inode in self.denied:
            source.close()
            raise PortError("SourceUnreadable", "denied")
        source._told = found.generation, self.born.get(found.inode, found.born_ns)
        return source

    def _rename(self, directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
        """Setting aside, moving and giving back are effects within a removal."""
        self.effect("before rename")
        renameat2(directory, name, new_directory, new_name)
        self.effect("after rename")

    def remove(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """As ``DirectoryFiles``."""
        self.effect("before remove")
        removed = self._files.remove(watch, path, self._witnessed(is_same))
        self.effect("after remove")
        return removed

    def archive(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """As ``DirectoryFiles``."""
        self.effect("before archive")
        archived = self._files.archive(watch, path, self._witnessed(is_same))
        self.effect("after archive")
        return archived

    def _witnessed(self, is_same: Callable[[Source], bool]) -> Callable[[Source], bool]:
        def is_same_and_stored(source: Source) -> bool:
            if not is_same(source):
                return False
            self._witness(source.stat().inode, source.stat().size_bytes)
            return True

        return is_same_and_stored


class DiskWorld(World):
    """A ``World`` whose log directory is real. Its parent holds nothing but the world."""

    def __init__(self, top: Path, *, watch: Watch, ledger: Ledger, **store: Any) -> None:
        self.ledger = ledger
        self.disk = WitnessedFiles(self._require_stored)
        super().__init__(top / "state", watch=watch, **store)

    def start(self, fuse: Callable[[str], None] = lambda name: None) -> None:
        """Begin a life."""
        self.files = cast(FakeFiles, self.disk)  # the services use it as ports.Files
        super().start(fuse)
        self.journal.queue.make_due(self.clock.now())  # as app.state does

    def arm(self, fuse: Callable[[str], None] = lambda name: None) -> None:
        """From now on every effect is told to ``fuse``."""
        self.journal.effect = self.store.effect = self.disk.effect = fuse

    def fill_journal(self, *, is_full: bool) -> None:
        """Let the journal grow by no page any more, or as it needs."""
        pages = self._pragma("page_count") if is_full else 2**30
        self._pragma(f"max_page_count = {pages}")

    def lock_journal(self, *, is_locked: bool) -> None:
        """Refuse every write to the journal."""
        self._pragma(f"query_only = {int(is_locked)}")

    def observe(self) -> None:
        """Enter what is new in the bucket."""
        self.ledger.observe(self.store.objects(), self.store.metadata)

    def held_ranges(self) -> Iterator[HeldRange]:
        """What the held descriptors lead to, and is still what was promised of it."""
        for shipment_id in self.held.shipments():
            row = self.journal.shipment(shipment_id)
            assert row is not None
            if row.state in UNSHIPPED and self.is_as_promised(row):
                yield row.file_id.inode, row.raw_start, row.raw_end

    def is_as_promised(self, row: Shipment) -> bool:
        """Whether the inode still has the bytes."""
        start, length = tail_range(row.raw_end)
        raw = self.ledger.body(row.file_id.inode).raw()
        return digest(raw[start : start + length]) == row.tail_digest

    def retry_parked(self) -> None:
        """What ``shipper retry --all`` does."""
        now = self.clock.now()
        self.journal.bring_back(now)
        self.journal.queue.make_due(now)

    def row_of(self, key: str) -> Shipment | None:
        """The shipment with this key."""
        found = self.journal._database.query("SELECT id FROM shipments WHERE key = ?", key)
        return self.journal.shipment(found[0][0]) if found else None

    def unheld(self) -> list[Shipment]:
        """Shipments that wait without a descriptor."""
        waiting = [
            row
            for row in self.journal.unfinished(EVERY_ROW)
            if row.state in (State.READY, State.UPLOADING)
        ]
        return [row for row in waiting if not self.held.has(row)]

    def descriptors(self, directory: Path) -> list[str]:
        """What this process has open below a directory."""
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue  # it was the listing's own
            if target.startswith(f"{directory}/"):
                found.append(target)
        return found

    def _require_stored(self, inode: int, size_bytes: int) -> None:
        self.observe()
        self.ledger.require_stored(inode, size_bytes)

    def _pragma(self, statement: str) -> int:
        found = self.journal._database._connection.execute(f"PRAGMA {statement}").fetchone()
        return int(found[0]) if found else 0


def regular_inodes(*tops: str) -> set[int]:
    """Of every regular file below these directories."""
    found: set[int] = set()
    for top in tops:
        for directory, _, names in os.walk(top):
            stats = [os.lstat(os.path.join(directory, name)) for name in names]
            found |= {one.st_ino for one in stats if stat.S_ISREG(one.st_mode)}
    return found
