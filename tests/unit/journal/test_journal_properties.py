"""A journal after any history tells what was written, and what people ask of it."""

import contextlib
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shipper.core.lifecycle import (
    ACKNOWLEDGED_CODE,
    FINISHED,
    FORGOTTEN,
    TABLE,
    UNSHIPPED,
    AttemptFailed,
    CheckFailed,
    CheckRetried,
    DuplicateFound,
    Event,
    ImpossibleEvent,
    LossAcknowledged,
    ObjectChecked,
    ObjectStored,
    Rejected,
    RemovalWanted,
    RestFound,
    Retried,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
    UploadLost,
    UploadOpened,
    WriteIntended,
    advance,
)
from shipper.core.types import (
    Compression,
    ETag,
    ObjectKey,
    Receipt,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Total,
    UploadId,
    WatchName,
)
from shipper.journal.journal import Journal
from tests.fakes.claims import claim
from tests.fakes.examples import promise

NOW = 1000.0
AT = st.integers(0, 40).map(float)
TEXT = st.text(max_size=4)
UPLOADS = st.text(min_size=1, max_size=4).map(UploadId)
ETAGS = TEXT.map(ETag)
NUMBERS = st.integers(1, 6)
PLACES = ("", "disk", "mount")
WATCHES = st.sampled_from([WatchName("app"), WatchName("web")])
EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    UploadOpened: st.builds(UploadOpened, UPLOADS, st.integers(1, 9)),
    WriteIntended: st.builds(WriteIntended, st.just(ETag("e")), st.integers(0, 9), TEXT),
    LossAcknowledged: st.builds(LossAcknowledged),
    UploadLost: st.builds(UploadLost, TEXT),
    ObjectStored: st.builds(ObjectStored, ETAGS, st.integers(0, 2**40), TEXT),
    ObjectChecked: st.builds(ObjectChecked, AT),
    CheckFailed: st.builds(CheckFailed, TEXT, AT),
    SourceDisposed: st.builds(SourceDisposed, AT),
    SourceVanished: st.builds(SourceVanished, AT),
    SourceChanged: st.builds(SourceChanged, AT),
    DuplicateFound: st.builds(DuplicateFound, TEXT, AT),
    RestFound: st.builds(
        RestFound,
        TEXT,
        NUMBERS,
        NUMBERS,
        TEXT,
        st.uuids().map(str).map(ObjectKey),
        st.sampled_from(Compression),
    ),
    Rejected: st.builds(Rejected, TEXT, TEXT),
    AttemptFailed: st.builds(AttemptFailed, TEXT, TEXT, AT, st.booleans()),
    Retried: st.builds(Retried, AT),
    CheckRetried: st.builds(CheckRetried, AT),
    RemovalWanted: st.builds(RemovalWanted, AT),
}


class History(RuleBasedStateMachine):
    """A journal, and beside it what ought to be in it."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.path = f"{self._directory.name}/journal.db"
        self._open()
        self.rows: dict[ShipmentId, Shipment] = {}
        self.receipts: dict[ShipmentId, dict[int, Receipt]] = defaultdict(dict)
        self.claimed: set[ShipmentId] = set()
        self.claims = 0
        self.instance_id = ""
        self.dropped: list[Shipment] = []
        """Finished rows that are no more; the totals go on counting them."""

    def teardown(self) -> None:
        self.journal.close()
        self._directory.cleanup()

    @rule(numbers=st.lists(NUMBERS, max_size=4), watch=WATCHES, size=st.integers(0, 99), at=AT)
    def promise(self, numbers: list[int], watch: WatchName, size: int, at: float) -> None:
        promises = [
            promise(n, watch=watch, raw_start=n, raw_end=n + size, place=PLACES[n % 3])
            for n in numbers
        ]
        keys = {each.key for each in promises}
        before = dict(self.rows)
        self._forget(row for row in before.values() if row.key in keys and row.state in FORGOTTEN)
        taken = {row.key for row in self.rows.values()}
        added = self.journal.promise(promises, now=at)
        assert [row.key for row in added] == [
            key for key in dict.fromkeys(each.key for each in promises) if key not in taken
        ]
        assert all((row.state, row.due_at) == (State.READY, at) for row in added)
        self.rows |= {row.id: row for row in added}

    @rule(at=AT)
    def claim(self, at: float) -> None:
        free = [row for row in self._due() if row.id not in self.claimed]
        assert self.journal.queue.next_due_at() == (free[0].due_at if free else None)
        due = [row for row in free if row.due_at is not None and row.due_at <= at]
        claimed = claim(self.journal.queue, at)
        self.claims += 1
        removable = [row for row in due if row.state is State.VERIFIED] if self.claims % 2 else []
        assert claimed == next(iter(removable + due), None)
        self.claimed |= {claimed.id} if claimed else set()

    @rule(data=st.data())
    @precondition(lambda self: self.claimed)
    def release(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.claimed)))
        self.journal.queue.release(number)
        self.claimed.remove(number)

    @rule(data=st.data())
    @precondition(lambda self: self.rows)
    def record(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from([*self.rows.values()]))
        events: list[Event] = []
        after = row
        for _ in range(data.draw(st.integers(1, 3))):
            possible = [event for (state, event) in TABLE if state is after.state]
            if possible:
                events.append(data.draw(st.sampled_from(possible).flatmap(EVENTS.__getitem__)))
                after = advance(after, events[-1])
        untold = "SELECT 1 FROM unlisted WHERE shipment = ?"
        is_again = any(isinstance(event, Retried | CheckRetried) for event in events)
        if is_again and self.journal._database.query(untold, row.id):
            after = reduce(advance, events, replace(row, listed=""))
        assert self.journal.record(row, *events) == after
        self.rows[row.id] = after
        if after.due_at is None or after.upload_id != row.upload_id:
            self.receipts.pop(row.id, None)

    @rule(data=st.data())
    @precondition(lambda self: self.rows)
    def record_what_is_impossible(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from([*self.rows.values()]))
        impossible = [event for event in EVENTS if (row.state, event) not in TABLE]
        event = data.draw(st.sampled_from(impossible).flatmap(EVENTS.__getitem__))
        with pytest.raises(ImpossibleEvent):
            self.journal.record(row, event)

    @rule(data=st.data(), number=st.integers(1, 3), size=st.integers(1, 9))
    def receive(self, data: st.DataObject, number: int, size: int) -> None:
        uploading = [row for row in self.rows.values() if row.state is State.UPLOADING]
        if uploading:
            row = data.draw(st.sampled_from(uploading))
            receipt = Receipt(number, 0, size, size, ETag("e"), "checksum")
            self.journal.receive(row, receipt)
            self.receipts[row.id][number] = receipt

    @rule(data=st.data(), path=st.binary(min_size=1, max_size=9), mtime_ns=st.integers(0, 2**60))
    @precondition(lambda self: self.rows)
    def look(self, data: st.DataObject, path: bytes, mtime_ns: int) -> None:
        row = data.draw(st.sampled_from([*self.rows.values()]))
        self.journal.moved([(row.id, RelativePath(path))])
        self.journal.touched([(row.id, mtime_ns, 0)])
        self.rows[row.id] = replace(row, path=RelativePath(path), mtime_ns=mtime_ns)

    @rule(seconds=st.integers(-40, 40), latest_at=AT)
    def set_the_clock(self, seconds: int, latest_at: float) -> None:
        self.journal.queue.rebase(float(seconds))
        self.journal.queue.clamp(latest_at)
        for row in self._due():
            assert row.due_at is not None
            self.rows[row.id] = replace(row, due_at=min(row.due_at + seconds, latest_at))

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self._open()
        self.claimed.clear()
        self.claims = 0

    @rule(instance_id=st.sampled_from(["i-1", "i-2"]))
    def adopt(self, instance_id: str) -> None:
        is_clone = self.instance_id not in ("", instance_id)
        assert self.journal.origin.adopt(instance_id) is is_clone
        self.instance_id = instance_id
        if is_clone:
            # The daemon adopts before it claims: nobody is at work on what is dropped.
            self.reopen()
            kept = {number for number, row in self.rows.items() if row.state in FINISHED}
            self._forget(row for row in [*self.rows.values()] if row.id not in kept)
            lost = {row.id: advance(row, LossAcknowledged()) for row in self._lost()}
            self.rows |= lost

    def _lost(self) -> list[Shipment]:
        lost = [row for row in self.rows.values() if _is_lost(row)]
        return sorted(lost, key=lambda row: (row.watch, row.id))

    @rule(number=st.none() | NUMBERS)
    def acknowledge(self, number: int | None) -> None:
        expected = [
            advance(row, LossAcknowledged()) for row in self._lost() if number in (None, row.id)
        ]
        assert self.journal.acknowledge(number) == expected
        self.rows |= {row.id: row for row in expected}

    def _open(self) -> None:
        """Without fsync, which would take most of the time and is tested below."""
        self.journal = Journal.open(self.path, now=NOW)
        self.journal._database._connection.execute("PRAGMA synchronous = OFF")

    def _forget(self, rows: Iterator[Shipment]) -> None:
        for row in list(rows):
            del self.rows[row.id]
            self.receipts.pop(row.id, None)
            if row.state in FINISHED:
                self.dropped.append(row)

    def _due(self) -> list[Shipment]:
        due = [(row.due_at, row.id) for row in self.rows.values() if row.due_at is not None]
        return [self.rows[number] for _, number in sorted(due)]

    @invariant()
    def every_row_is_what_was_returned(self) -> None:
        assert [self.journal.shipment(number) for number in self.rows] == [*self.rows.values()]
        for row in self.rows.values():
            expected = sorted(self.receipts.get(row.id, {}).items())
            assert self.journal.receipts(row) == [receipt for _, receipt in expected]
        assert self.journal.origin.instance_id() == self.instance_id

    @rule(
        watch=WATCHES,
        standing=st.dictionaries(st.sampled_from(PLACES[1:]), st.sets(NUMBERS)),
        finished_before=AT,
        away=st.sampled_from([(), *PLACES]),
    )
    def forget(
        self,
        watch: WatchName,
        standing: dict[str, set[int]],
        finished_before: float,
        away: tuple[str, ...] | str,
    ) -> None:
        away = (away,) if isinstance(away, str) else away
        anywhere = set().union(*standing.values())
        stand = {place: standing.get(place, anywhere) for place in PLACES}
        last = self.journal.figures.last_success_at()
        latest = finished_before if last is None else min(last, finished_before)
        old = [
            row
            for row in self.rows.values()
            if row.watch == watch
            and row.place not in away
            and row.file_id.inode not in stand[row.place]
            and row.finished_at is not None
            and row.finished_at < latest
            and not _is_lost(row)
        ]
        forgotten = self.journal.forget(
            watch, standing, finished_before=finished_before, away=away
        )
        assert forgotten == len(old)
        self._forget(iter(old))

    @invariant()
    def totals_count_every_row_there_is_and_every_finished_one_there_was(self) -> None:
        counted: dict[tuple[WatchName, State], list[Shipment]] = defaultdict(list)
        for row in [*self.rows.values(), *self.dropped]:
            counted[row.watch, row.state].append(row)
        expected = [
            Total(
                watch,
                state,
                len(rows),
                sum(row.raw_bytes for row in rows),
                sum(row.stored_bytes for row in rows),
            )
            for (watch, state), rows in counted.items()
        ]
        assert sorted(self.journal.figures.totals(), key=str) == sorted(expected, key=str)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            abandoned_uploads = connection.execute(
                "SELECT * FROM receipts WHERE shipment NOT IN (SELECT id FROM shipments)"
            ).fetchall()
            (rows,) = connection.execute("SELECT count(*) FROM shipments").fetchone()
        assert abandoned_uploads == []
        assert rows == len(self.rows)

    @invariant()
    def people_see_what_is_left(self) -> None:
        rows = self.rows.values()
        parked = sorted(row.id for row in rows if row.state is State.PARKED)
        promised = [row.promised_at for row in rows if row.state in UNSHIPPED]
        failing = [
            row
            for row in rows
            if row.state in UNSHIPPED and row.due_at is not None and row.attempts >= 2
        ]
        found = self.journal.figures.failing(2)
        done = [row.finished_at for row in rows if row.state is State.DONE]
        assert self.journal.unfinished(99) == self._due()
        assert self.journal.lost(99) == self._lost()
        assert self.journal.figures.lost_files() == Counter(row.watch for row in self._lost())
        assert [row.id for row in self.journal.parked(99)] == parked
        oldest = self.journal.figures.oldest_unshipped()
        assert (oldest and oldest.promised_at) == min(promised, default=None)
        assert (found[0] if found else 0) == len(failing)
        assert found is None or found[1] in failing
        assert self.journal.figures.last_success_at() == max(
            (at for at in done if at is not None), default=None
        )


def _is_lost(row: Shipment) -> bool:
    return row.state is State.GONE and row.code != ACKNOWLEDGED_CODE


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
