"""Wants kept files removed, the oldest first, as the journal's index has them.

A look goes through the next ``ROWS`` rows. It passes over a row whose path names another file by
now (a scan has the journal follow a rename), or a name that the watch's globs leave out. Once all
rows were looked at, a pause follows until the oldest are looked at again. It doubles while nothing
is found, so that many files that nobody may remove cost little.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from shipper.core.disk_space import Excess, oldest_within
from shipper.core.identity import is_file_of
from shipper.core.lifecycle import RemovalWanted
from shipper.core.roles import may_be_rotated
from shipper.core.siblings import Siblings
from shipper.core.types import Entry, RelativePath, Shipment, ShipmentId, Watch
from shipper.journal.journal import Journal
from shipper.ports import Clock, Files
from shipper.services.sources.matching import stat_at

ROWS = 200
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
_BEGINNING = (-(2**63), 0)


@dataclass(kw_only=True, slots=True)
class KeptFiles:
    """Those of one full disk, for one thread."""

    files: Files
    journal: Journal
    clock: Clock
    hastened: Callable[[], None]
    """Called when others are wanted."""
    is_looking: bool = field(default=True, init=False)
    """Not all of them have been looked at once."""
    _after: tuple[int, int] = field(default=_BEGINNING, init=False)
    """The mtime and id of the last row that was looked at."""
    _again_at: float | None = field(default=None, init=False)
    """When to begin with the oldest again, once all were looked at; monotonic."""
    _pause_seconds: float = field(default=FIRST_PAUSE_SECONDS, init=False)

    def want(
        self, places: Sequence[tuple[Watch, str]], excess: Excess, most: int
    ) -> tuple[list[ShipmentId], Excess]:
        """Want so many removed as the excess asks for, of which ``most`` are new; those that go,
        and what they leave of it.

        Raises:
            PortError: ``JournalUnwritable``; none is wanted that was not.
        """
        wanted = self.journal.removals.wanted
        before = (wanted(watch.name, place, ROWS) for watch, place in places)
        chosen, excess = oldest_within(heapq.merge(*before), excess)
        going = [one.id for one in chosen]
        if excess:
            more, excess = self._want_more(places, excess, most)
            going += more
        return going, excess

    def _want_more(
        self, places: Sequence[tuple[Watch, str]], excess: Excess, most: int
    ) -> tuple[list[ShipmentId], Excess]:
        page = self._page(places)
        found, after = list[Shipment](), self._after
        names = self._names(page)
        for row, watch in page:
            if not excess or len(found) == most:
                break
            after = row.mtime_ns, row.id
            path = names.get((row.watch, row.place, row.file_id.inode), row.path)
            if self._is_there(row, watch, path):
                excess = excess.without(row.raw_end)
                found.append(row)
        if found:
            now = self.clock.now()
            self.journal.record_all((row, [RemovalWanted(now)]) for row in found)
            self.hastened()
            self._again_at, self._pause_seconds = None, FIRST_PAUSE_SECONDS
        self._after = after
        if len(page) < ROWS and self._again_at is None:
            self.is_looking = False
            self._again_at = self.clock.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        return [row.id for row in found], excess

    def _page(self, places: Sequence[tuple[Watch, str]]) -> list[tuple[Shipment, Watch]]:
        if self._again_at is not None and self.clock.monotonic() >= self._again_at:
            self._after, self._again_at = _BEGINNING, None
        kept, after = self.journal.removals.kept, self._after
        rows = (
            [(row, watch) for row in kept(watch.name, place, after, ROWS)]
            for watch, place in places
        )
        oldest = heapq.merge(*rows, key=lambda one: (one[0].mtime_ns, one[0].id))
        return [*islice(oldest, ROWS)]

    def _names(
        self, page: Sequence[tuple[Shipment, Watch]]
    ) -> dict[tuple[str, str, int], RelativePath]:
        """What those are called now whose names have changed: a rotator may be at it, faster than
        scans have the journal follow. Of the others, nothing or the same."""
        moved: dict[str, Watch] = {}
        wanted = set[tuple[str, str, int]]()
        for row, watch in page:
            stat = stat_at(self.files, watch, row.path)
            if stat is None or not is_file_of(row, stat):
                moved[watch.name] = watch
                wanted.add((row.watch, row.place, row.file_id.inode))
        return {
            key: entry.path
            for watch in moved.values()
            for entry in self.files.scan(watch, partial(_selects, watch))
            if isinstance(entry, Entry)
            and (key := (watch.name, entry.place, entry.stat.inode)) in wanted
        }

    def _is_there(self, row: Shipment, watch: Watch, path: RelativePath) -> bool:
        """Whether the file has this name and no other, and still is as it was shipped."""
        if not may_be_rotated(watch, path):
            return False
        stat = stat_at(self.files, watch, path)
        return (
            stat is not None
            and is_file_of(row, stat)
            and (stat.size_bytes, stat.mtime_ns) == (row.raw_end, row.mtime_ns)
            and stat.link_count == 1
        )


def _selects(watch: Watch, path: RelativePath, _: Siblings) -> bool:
    return may_be_rotated(watch, path)
