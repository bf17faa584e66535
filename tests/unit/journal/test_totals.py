"""What people ask of the journal, after any history; and what their questions cost."""

import contextlib
import os
import re
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shipper.core.lifecycle import (
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
    ObjectChecked,
    ObjectStored,
    Rejected,
    Retried,
    SourceChanged,
    SourceDisposed,
    SourceVanished,
    UploadLost,
    UploadOpened,
    advance,
)
from shipper.core.types import (
    ETag,
    Receipt,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Total,
    UploadId,
    WatchName,
)
from shipper.journal import statements as journal_statements
from shipper.journal.journal import Journal
from tests.fakes.examples import promise

NOW = 1000.0
AT = st.integers(0, 40).map(float)
TEXT = st.text(max_size=4)
UPLOADS = st.text(min_size=1, max_size=4).map(UploadId)
ETAGS = TEXT.map(ETag)
NUMBERS = st.integers(1, 6)
WATCHES = st.sampled_from([WatchName("app"), WatchName("web")])
EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    UploadOpened: st.builds(UploadOpened, UPLOADS, st.integers(1, 9)),
    UploadLost: st.builds(UploadLost, TEXT),
    ObjectStored: st.builds(ObjectStored, ETAGS, st.integers(0, 2**40), TEXT, st.integers(0, 9)),
    ObjectChecked: st.builds(ObjectChecked, AT),
    CheckFailed: st.builds(CheckFailed, TEXT, AT),
    SourceDisposed: st.builds(SourceDisposed, AT),
    SourceVanished: st.builds(SourceVanished, AT),
    SourceChanged: st.builds(SourceChanged, AT),
    DuplicateFound: st.builds(DuplicateFound, TEXT, AT),
    Rejected: st.builds(Rejected, TEXT, TEXT),
    AttemptFailed: st.builds(AttemptFailed, TEXT, TEXT, AT, st.booleans()),
    Retried: st.builds(Retried, AT),
    CheckRetried: st.builds(CheckRetried, AT),
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
        promises = [promise(n, watch=watch, raw_start=n, raw_end=n + size) for n in numbers]
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
        claimed = self.journal.queue.claim(at)
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
        self.journal.touched(row.id, mtime_ns)
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
        assert self.journal.set_aside == ""
        self.claimed.clear()
        self.claims = 0

    @rule(instance_id=st.sampled_from(["i-1", "i-2"]))
    def adopt(self, instance_id: str) -> None:
        is_clone = self.instance_id not in ("", instance_id)
        assert self.journal.adopt(instance_id) is is_clone
        self.instance_id = instance_id
        if is_clone:
            # The daemon adopts before it claims: nobody is at work on what is dropped.
            self.reopen()
            kept = {number for number, row in self.rows.items() if row.state in FINISHED}
            self._forget(row for row in [*self.rows.values()] if row.id not in kept)

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

    @rule(watch=WATCHES, standing=st.sets(NUMBERS), finished_before=AT)
    def forget(self, watch: WatchName, standing: set[int], finished_before: float) -> None:
        last = self.journal.last_success_at()
        latest = finished_before if last is None else min(last, finished_before)
        old = [
            row
            for row in self.rows.values()
            if row.watch == watch
            and row.file_id.inode not in standing
            and row.finished_at is not None
            and row.finished_at < latest
        ]
        forgotten = self.journal.forget(watch, standing, finished_before=finished_before)
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
        assert sorted(self.journal.totals(), key=str) == sorted(expected, key=str)
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
        done = [row.finished_at for row in rows if row.state is State.DONE]
        assert self.journal.unfinished(99) == self._due()
        assert [row.id for row in self.journal.parked(99)] == parked
        assert self.journal.oldest_unshipped_at() == min(promised, default=None)
        assert self.journal.last_success_at() == max(
            (at for at in done if at is not None), default=None
        )


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(str(tmp_path / "journal.db"), now=NOW)
    yield journal
    journal.close()


def test_an_empty_journal_has_nothing_to_tell(journal: Journal) -> None:
    assert journal.totals() == []
    assert (journal.oldest_unshipped_at(), journal.last_success_at()) == (None, None)
    assert (journal.unfinished(9), journal.parked(9)) == ([], [])
    assert journal.shipment(1) is None


def test_lists_for_people_end_at_their_limit(journal: Journal) -> None:
    rows = journal.promise([promise(n) for n in range(6)], now=NOW)
    parked = [journal.record(row, Rejected("KeyTooLong", "")) for row in rows[:3]]
    assert journal.unfinished(2) == rows[3:5]
    assert journal.parked(2) == parked[:2]


def test_totals_are_by_watch_and_state(journal: Journal) -> None:
    web = WatchName("web")
    app, *_ = journal.promise([promise(1), promise(2, watch=web), promise(3, watch=web)], now=NOW)
    journal.record(app, ObjectStored(ETag("e"), 9, "sha", 3))
    assert journal.totals() == [
        Total(WatchName("app"), State.UPLOADED, 1, 100, 9),
        Total(web, State.READY, 2, 200, 0),
    ]


def test_a_journal_in_memory_is_never_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Journal.in_memory(now=1000.0)) as journal:
        rows = journal.promise([promise()], now=NOW)
        assert [journal.queue.claim(NOW)] == rows
    assert os.listdir(tmp_path) == []


def test_the_daemon_and_a_command_may_write_at_once(journal: Journal, tmp_path: Path) -> None:
    def write(writer: Journal, first: int) -> None:
        for number in range(first, first + 50):
            writer.adopt("i-1")
            writer.promise([promise(number)], now=NOW)

    with (
        contextlib.closing(Journal.open(str(tmp_path / "journal.db"), now=NOW)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        for future in [pool.submit(write, journal, 0), pool.submit(write, other, 50)]:
            future.result()
    assert [total.files for total in journal.totals()] == [100]


def test_a_write_is_synced_before_it_returns(journal: Journal) -> None:
    """No test can cut the power; SQLite's word for it is FULL (2), which syncs every commit."""
    settled = [
        journal._database._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS
    ]
    assert settled == ["wal", 2, 1]


STATEMENTS = sorted(
    name
    for name in vars(journal_statements)
    if re.match("(SELECT|UPDATE|DELETE|CLAMP)", name)
    # a prefix; once in a clone's life; sorts no more than URGENT_ROWS
    and name not in ("SELECT", "DELETE_UNFINISHED", "SELECT_URGENT")
)
PRAGMAS = ["journal_mode", "synchronous", "foreign_keys"]
WHOLE = re.compile(
    r"SCAN shipments(?! USING (COVERING )?INDEX"
    r" shipments_(due|removable|parked|finished|under_way|live))"
)


def plan(journal: Journal, statement: str) -> list[str]:
    question = f"EXPLAIN QUERY PLAN {statement}"
    rows = journal._database._connection.execute(question, (0,) * statement.count("?")).fetchall()
    return [row[3] for row in rows]


def test_a_plan_without_an_index_is_recognised(journal: Journal) -> None:
    assert any(WHOLE.match(step) for step in plan(journal, journal_statements.SELECT))
    assert {"SELECT_DUE", "SELECT_BY_INODE", "SELECT_OPEN", "SELECT_TOTALS"} < {*STATEMENTS}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_or_sorts_all_shipments(journal: Journal, name: str) -> None:
    steps = plan(journal, getattr(journal_statements, name))
    assert steps
    assert [step for step in steps if WHOLE.match(step) or "TEMP B-TREE" in step] == []
