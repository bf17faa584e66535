"""The journal: what shipper has promised, in one SQLite file.

The journal is also the queue. A worker claims the next due shipment from it, so a backlog costs
disk and no memory, and a restart after a crash is not a special case: it is the first ``claim``.

A method that writes returns after its transaction is on disk. How a row may change is decided by
``core.lifecycle.advance`` alone.
"""

import itertools
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import astuple, replace
from typing import Self

from shipper.core.identity import InodeSummary
from shipper.core.lifecycle import (
    AWAY,
    CheckRetried,
    Event,
    LossAcknowledged,
    Retried,
)
from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import (
    Promise,
    Receipt,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    WatchName,
)
from shipper.journal import statements as sql
from shipper.journal.database import Database, SetAside
from shipper.journal.figures import Figures
from shipper.journal.manifests import Manifests
from shipper.journal.meta import INSERT_META, SELECT_META, Origin
from shipper.journal.open_logs import OpenLogs, is_there
from shipper.journal.places import Places
from shipper.journal.queue import Queue
from shipper.journal.removals import Removals
from shipper.journal.rows import promised, recorded
from shipper.journal.schema import (
    shipment_from_row,
    signed,
    unsigned,
)
from shipper.ports import PortError

PAGE = 1000


class Journal:
    """Shipments, their receipts and their totals; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.queue = Queue(database)
        self.origin = Origin(database)
        self.open_logs = OpenLogs(database)
        self.places = Places(database)
        self.removals = Removals(database)
        self.figures = Figures(database)
        self.manifests = Manifests(database)

    def of(self, destination: str) -> Self:
        """The same journal, with that destination's queue, and what is known of it."""
        view = copy(self)
        view.queue, view.origin = self.queue.of(destination), self.origin.of(destination)
        view.manifests = self.manifests.of(destination)
        return view

    def assign(self, watches: dict[WatchName, str]) -> None:
        """Give what is not shipped to the destinations that the watches name now.

        What belongs to no watch of today goes to the first, where it is told. What is finished
        stays, and is given to the destination of its watch if its file is to go after all.
        """
        names = [*watches.values()]
        is_known = self._database.query(SELECT_META, "destinations") == [(json.dumps(watches),)]
        if is_known and {*self._open_destinations()} <= {*names}:
            return
        with self._database.transaction() as run:
            for watch, name in watches.items():
                run(sql.ASSIGN, (name, watch, name))
            run(sql.ASSIGN_STRAYS, (min(names), json.dumps(names)))
            run(INSERT_META, ("destinations", json.dumps(watches)))

    @classmethod
    def open(cls, path: str, *, now: float, set_aside: SetAside | None = None) -> Self:
        """Open or create the journal. An unusable file is set aside, and a new one begun.

        ``set_aside`` is called before that. Pass None without the state directory's lock: the
        file may be in use. A row that is no shipment is superseded: its file is found anew.

        Raises:
            PortError: ``JournalUnwritable``, ``JournalTooNew`` after a downgrade; without
                ``set_aside`` also ``JournalCorrupt``, ``JournalTooOld``.
        """
        return cls(Database.open(path, now=now, set_aside=set_aside))

    @classmethod
    def open_read_only(cls, path: str) -> Self:
        """Open an existing journal to look at it, also while a daemon writes to it.

        Raises:
            PortError: ``NoJournal``; there is none, or it may not be read. ``JournalCorrupt``,
                ``JournalTooNew``, ``JournalTooOld``.
        """
        return cls(Database.open_read_only(path))

    @classmethod
    def in_memory(cls) -> Self:
        """An empty journal that is never on disk, for looking where no daemon has run."""
        return cls(Database.in_memory())

    def close(self) -> None:
        self._database.close()

    def give_back(self) -> None:
        """Free the pages that SQLite keeps in memory; later queries read them again."""
        self._database.query(sql.SHRINK)

    def promise(
        self,
        promises: Sequence[Promise],
        *,
        now: float,
        due_at: float | None = None,
        instance_id: str = "",
    ) -> list[Shipment]:
        """Write READY shipments, all or none, and return those that are new; idempotent.

        A key that is promised already is left as it is, unless its source vanished or changed.
        Where its file has been disowned, other bytes of that file get another key.

        Raises:
            PortError: ``InstanceChanged``; the keys are those of ``instance_id``, and the journal
                is not.
        """
        added: list[Shipment] = []
        due_at = now if due_at is None else due_at
        with self._database.transaction() as run:
            owner = run(SELECT_META, ("instance_id",)).fetchone()
            if instance_id and owner is not None and owner[0] != instance_id:
                raise PortError("InstanceChanged", f"it is not {instance_id}")
            for promise in promises:
                since_at = min(promise.since_at or now, now)
                shipment = promised(run, replace(promise, since_at=since_at), now, due_at)
                added.extend([shipment] if shipment is not None else [])
        for shipment in added:
            self.places.found(shipment.watch, shipment.place)
        return added

    def known(self, watch: WatchName, inode: int) -> list[Shipment]:
        """The shipments of all files that have had this inode, oldest first."""
        return self._database.shipments(sql.SELECT_BY_INODE, watch, signed(inode))

    def segments(self, shipment: Shipment) -> list[Shipment]:
        """As ``known``, also once another file has the inode, as far as the stem is the same."""
        stem, inode = stem_and_extension(shipment.path).stem, shipment.file_id.inode
        found = self._database.shipments(sql.SELECT_OF_FILE, shipment.watch, stem, signed(inode))
        return [*self.known(shipment.watch, inode), *found]

    def newest(self, watch: WatchName, inode: int, place: str) -> Shipment | None:
        """The last of ``known`` that may be of this place, at the same cost however many there
        are: file systems below one watch have the same inode numbers."""
        facts = watch, signed(inode), place, place
        found = self._database.shipments(sql.SELECT_LAST_OF_INODE, *facts)
        return found[0] if found else None

    def inode_summary(self, watch: WatchName, inode: int) -> InodeSummary:
        """What most files need instead of ``known``, in one query that builds no shipments."""
        rows = self._database.query(sql.SELECT_INODE_SUMMARY, watch, signed(inode))
        if not rows:
            return InodeSummary(is_unknown=True)
        raw_start, raw_end, mtime_ns, ctime_ns, state, is_live, code = rows[0][:7]
        # What was live and is rotated since, or stands again, may be due for removal.
        is_whole = state == State.DONE and raw_start == 0 and not is_live and code not in AWAY
        return InodeSummary(
            finished=(raw_end, mtime_ns, ctime_ns) if is_whole else None,
            newest=rows[0] if raw_start else (),
            newest_id=rows[0][7] if raw_start else 0,
        )

    def alike(self, shipment: Shipment) -> list[Shipment]:
        """Other shipments of the same stem that may have the same content, newest first.

        Their mtime is within the same second; and they are of the same directory, or have exactly
        the same mtime.
        """
        log = (shipment.watch, stem_and_extension(shipment.path).stem)
        second = shipment.mtime_ns // 10**9 * 10**9
        directory = shipment.path.removesuffix(shipment.path.rpartition(b"/")[2])
        facts = (shipment.mtime_ns, len(directory), directory)
        found = self._database.shipments(
            sql.SELECT_SAME_SECOND, *log, second, second + 10**9 - 1, *facts
        )
        others = (row for row in found if row.id != shipment.id)
        return sorted(others, key=lambda row: row.id, reverse=True)

    def at_path(self, watch: WatchName, path: RelativePath) -> list[Shipment]:
        """The shipments whose source was last seen under this path, oldest first."""
        found = self._database.shipments(
            sql.SELECT_BY_PATH, watch, stem_and_extension(path).stem, path
        )
        return sorted(found, key=lambda row: row.id)

    def moved(self, moves: Iterable[tuple[ShipmentId, RelativePath]]) -> None:
        self._write_each(
            sql.UPDATE_PATH, ((path, stem_and_extension(path).stem, row) for row, path in moves)
        )

    def touched(self, touches: Iterable[tuple[ShipmentId, int, int]]) -> None:
        """Remember new mtimes and ctimes of unchanged bytes, so that they are not read again."""
        self._write_each(sql.UPDATE_TIMES, ((*times, row) for row, *times in touches))

    def sealed(self, found: Iterable[tuple[Shipment, Sequence[Event]]]) -> None:
        """Remember that all of a rotated file was compared: its last segment, as the file is now,
        is of no live log any more. The events follow in the same transaction."""
        with self._database.transaction() as run:
            for row, events in found:
                stem = stem_and_extension(row.path).stem
                run(sql.UPDATE_SEALED, (row.path, stem, row.mtime_ns, row.ctime_ns, row.id))
                if events:
                    recorded(run, row, *events, enters=self._database.enters)

    def cut(self, last: Shipment) -> None:
        """Note that the live file that ended with ``last`` was emptied: what is finished of it is
        no part of it any more."""
        file = signed(last.file_id.inode), last.place, last.file_id.generation
        self._write_each(sql.UPDATE_CUT, [(last.watch, *file)])

    def disown(self, *shipment_ids: ShipmentId) -> None:
        """Note that the file is not the source of these shipments, if any, any more."""
        if shipment_ids:
            self._write_each(sql.DISOWN, ((shipment_id,) for shipment_id in shipment_ids))

    def _write_each(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        with self._database.transaction() as run:
            for row in rows:
                run(statement, row)

    def record(self, shipment: Shipment, *events: Event) -> Shipment:
        """Advance the shipment by the events, in one transaction, and return it as it is now.

        Raises:
            ImpossibleEvent, PortError: ``JournalUnwritable``; nothing was changed.
        """
        return self.record_all([(shipment, events)])[0]

    def record_all(self, entries: Iterable[tuple[Shipment, Iterable[Event]]]) -> list[Shipment]:
        """As ``record``, of several shipments: all of it or nothing."""
        with self._database.transaction() as run:
            enters = self._database.enters
            return [recorded(run, row, *events, enters=enters) for row, events in entries]

    def bring_back(self, now: float, shipment_id: int | None = None) -> list[Shipment]:
        """Retry every parked shipment, or that one, parked or lost.

        What another process brings back meanwhile is left out.

        Raises:
            PortError: ``JournalUnwritable``; nothing was changed.
        """
        with self._database.transaction() as run:
            every = (sql.SELECT_PARKED, (sql.ALL,))
            wanted = every if shipment_id is None else (sql.SELECT_ONE, (shipment_id,))
            return [
                recorded(run, row, Retried(now) if row.etag is None else CheckRetried(now))
                for row in map(shipment_from_row, run(*wanted).fetchall())
                if row.state in (State.PARKED, State.GONE)
            ]

    def acknowledge(self, shipment_id: int | None = None) -> list[Shipment]:
        """Note that an operator knows of every lost log, or of that one; those that were new.

        Raises:
            PortError: ``JournalUnwritable``; nothing was changed.
        """
        with self._database.transaction() as run:
            return [
                recorded(run, row, LossAcknowledged())
                for row in map(shipment_from_row, run(sql.SELECT_LOST, (sql.ALL,)).fetchall())
                if shipment_id is None or row.id == ShipmentId(shipment_id)
            ]

    def under_way(self) -> list[Shipment]:
        """The shipments that S3 has in part, or whole and unverified."""
        return self._database.shipments(sql.SELECT_UNDER_WAY)

    def receive(self, shipment: Shipment, receipt: Receipt) -> None:
        """Write the receipt of a part S3 accepted; a repeated part replaces its receipt."""
        self._write_each(sql.INSERT_RECEIPT, [(shipment.id, *astuple(receipt))])

    def receipts(self, shipment: Shipment) -> list[Receipt]:
        """The receipts of the shipment's present upload, by part number."""
        return [Receipt(*row) for row in self._database.query(sql.SELECT_RECEIPTS, shipment.id)]

    def forget(
        self,
        watch: WatchName,
        standing: Mapping[str, Container[int]],
        *,
        finished_before: float,
        away: Container[str] = (),
    ) -> int:
        """Drop rows that finished before then and whose file is not ``standing``; how many.

        Its inodes are by place, and the rows of places that are ``away`` stay. An inode that a
        newer row of the place has in another generation stands for that row's file only.
        In pages, so that others do not wait long. The totals keep counting them, and the row of
        the last success stays. What no manifest has told of by then is counted.
        """
        forgotten, last = 0, 0
        if (success_at := self.figures.last_success_at()) is not None:
            finished_before = min(finished_before, success_at)
        such = watch, finished_before, PAGE
        while rows := self._database.query(sql.SELECT_OLD, last, *such):
            last = rows[-1][0]
            gone = [
                number
                for number, place, inode, stands in rows
                if place not in away
                and not (stands and is_there(unsigned(inode), place, standing))
            ]
            with self._database.transaction() as run:
                ids = json.dumps(gone)
                run(sql.ADD_GAPS_OF, (ids,))
                run(sql.DELETE_THESE, (ids,))
            forgotten += len(gone)
        return forgotten

    def shipment(self, shipment_id: int) -> Shipment | None:
        found = self._database.shipments(sql.SELECT_ONE, shipment_id)
        return found[0] if found else None

    def unfinished(self, limit: int) -> list[Shipment]:
        """The first ``limit`` shipments on which work is left, in the order they fall due."""
        names = self._open_destinations()
        found = [self._database.shipments(sql.SELECT_OPEN, name, limit) for name in names]
        return sorted(itertools.chain(*found), key=_due_order)[: limit if limit >= 0 else None]

    def _open_destinations(self) -> list[str]:
        return [name for (name,) in self._database.query(sql.SELECT_DESTINATIONS)]

    def parked(self, limit: int) -> list[Shipment]:
        return self._database.shipments(sql.SELECT_PARKED, limit)

    def lost(self, limit: int) -> list[Shipment]:
        """The shipments whose bytes are in no file and not in S3, until it is acknowledged."""
        return self._database.shipments(sql.SELECT_LOST, limit)


def _due_order(shipment: Shipment) -> tuple[float, int]:
    return shipment.due_at or 0.0, shipment.id
