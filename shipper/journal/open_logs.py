"""The logs that were shipped live and may have a copy, or get another segment.

``is_open`` marks the last segment of each. What has a copy is known from the copy alone, so it
has none any more once that is dropped. A rotator's new name may have another stem, so it is the
inode that tells which log goes on.
"""

from collections.abc import Container, Mapping

from shipper.core.types import Promise, Shipment, WatchName
from shipper.journal import statements as sql
from shipper.journal.database import Database, Run
from shipper.journal.schema import signed, unsigned


class OpenLogs:
    """A part of the journal, in the same file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, watch: WatchName, stem: bytes) -> list[Shipment]:
        """The last segment of each that has no copy, newest first."""
        return self._database.shipments(sql.SELECT_OPEN_LOGS, watch, stem)

    def copies_of(self, key: str) -> list[Shipment]:
        """The files that were found to be copies of the log whose last segment has that key."""
        return self._database.shipments(sql.SELECT_COPIES, key)

    def are_any(self, watch: WatchName, finished_before: float) -> bool:
        """Whether any was sent before then, and nothing waits that may be its copy."""
        return bool(self._database.query(sql.SELECT_OPEN_LONG, watch, finished_before))

    def close_missing(
        self,
        watch: WatchName,
        standing: Mapping[str, Container[int]],
        *,
        finished_before: float,
        away: Container[str],
        missed: Container[int],
    ) -> set[int]:
        """Close those that were ``missed`` before and are nowhere now either; the missing ones.

        What was emptied is nowhere. ``standing`` and ``away`` are as in ``Journal.forget``.
        """
        missing = {
            number
            for number, place, inode, stands in self._database.query(
                sql.SELECT_OPEN_LONG, watch, finished_before
            )
            if place not in away and not (stands and is_there(unsigned(inode), place, standing))
        }
        with self._database.transaction() as run:
            for number in missing:
                if number in missed:
                    run(sql.UPDATE_CLOSED, (number,))
        return missing


def mark_before(run: Run, segment: Promise | Shipment, *, is_open: bool) -> None:
    """Note that the log goes on in this segment; or ends before it again, where that is open."""
    if segment.raw_start:
        inode, generation = signed(segment.file_id.inode), segment.file_id.generation
        file = (segment.watch, inode, segment.raw_start, generation, generation[:1] or "-")
        run(sql.UPDATE_OPEN, (is_open, *file))


def is_there(inode: int, place: str, standing: Mapping[str, Container[int]]) -> bool:
    """Where the place is not told apart now, a file of any other may be this one."""
    inodes = [standing[place]] if place in standing else standing.values()
    return any(inode in each for each in inodes)
