"""The journal as a queue and as a memory: promises, claims, events, whose it is."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import (
    AttemptFailed,
    CheckFailed,
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
    FileId,
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
from tests.fakes.examples import A_PROMISE, promise, shipment

APP = WatchName("app")
NOW = 1000.0
OPENED = UploadOpened(UploadId("u1"), 5)
STORED = ObjectStored(ETag("e"), 9, "sha", 3)
CHECKED = ObjectChecked(NOW)
DONE = (STORED, CHECKED, SourceDisposed(NOW + 5))
WAYS: dict[State, tuple[Event, ...]] = {
    State.READY: (),
    State.UPLOADING: (OPENED,),
    State.UPLOADED: (OPENED, STORED),
    State.VERIFIED: (STORED, CHECKED),
    State.DONE: DONE,
    State.GONE: (SourceVanished(NOW),),
    State.SUPERSEDED: (OPENED, SourceChanged(NOW)),
    State.PARKED: (Rejected("SourceUnreadable", "EACCES"),),
    State.DUPLICATE: (DuplicateFound("logs/twin.zst", NOW),),
}
FINISHED = [State.DONE, State.GONE, State.SUPERSEDED, State.DUPLICATE]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def journal(path: str) -> Iterator[Journal]:
    journal = Journal.open(path, now=NOW)
    yield journal
    journal.close()


def reopened(journal: Journal, path: str) -> Journal:
    journal.close()
    return Journal.open(path, now=NOW)


def add(journal: Journal, number: int = 1, *events: Event, at: float = NOW) -> Shipment:
    """The n-th promise, and what happened to it."""
    (shipment,) = journal.promise([promise(number)], now=at)
    return journal.record(shipment, *events) if events else shipment


def receipt(number: int, etag: str = "e") -> Receipt:
    return Receipt(number, (number - 1) * 10, number * 10, 7, ETag(etag), f"checksum{number}")


def ids(shipments: list[Shipment]) -> list[int]:
    return [shipment.id for shipment in shipments]


# Promises.


def test_a_promise_is_a_ready_shipment_that_is_due_at_once(journal: Journal) -> None:
    (row,) = journal.promise([A_PROMISE], now=NOW)
    assert row == Shipment(
        id=row.id,
        promised_at=NOW,
        due_at=NOW,
        **{name: getattr(A_PROMISE, name) for name in type(A_PROMISE).__dataclass_fields__},
    )
    assert journal.shipment(row.id) == row


def test_only_the_new_of_many_promises_are_returned(journal: Journal) -> None:
    first = add(journal, 1)
    again = journal.promise([promise(1), promise(2), promise(2), promise(3)], now=NOW + 1)
    assert [row.key for row in again] == ["logs/2.zst", "logs/3.zst"]
    assert journal.shipment(first.id) == first


@pytest.mark.parametrize("state", list(State))
def test_a_key_is_promised_anew_only_when_its_source_vanished_or_changed(
    journal: Journal, state: State
) -> None:
    before = add(journal, 1, *WAYS[state])
    assert before.state is state
    again = journal.promise([promise(1)], now=NOW + 9)
    if state in (State.GONE, State.SUPERSEDED):
        assert [(row.state, row.promised_at) for row in again] == [(State.READY, NOW + 9)]
        counted = {total.state: total.files for total in journal.totals()}
        assert counted == {state: 1, State.READY: 1}  # what vanished once has vanished once
    else:
        assert again == []
        assert journal.shipment(before.id) == before


def test_an_inode_of_all_64_bits_is_kept(journal: Journal) -> None:
    inodes = [2**63 - 1, 2**63, 2**64 - 1]
    for inode in inodes:
        journal.promise([promise(inode, file_id=FileId(inode, 4, "head"))], now=NOW)
    assert [row.file_id.inode for row in journal.unfinished(9)] == inodes
    assert [len(journal.known(APP, inode)) for inode in inodes] == [1, 1, 1]


def test_paths_are_any_bytes(journal: Journal) -> None:
    odd = RelativePath(b"caf\xe9/\n'\xff.log.1")
    journal.promise([promise(path=odd)], now=NOW)
    assert [row.path for row in journal.at_path(APP, odd)] == [odd]


# What is known of files.


def test_a_file_is_known_by_its_inode_oldest_first(journal: Journal) -> None:
    rows = [add(journal, n) for n in (1, 2, 3)]
    same = journal.promise([promise(4, file_id=rows[0].file_id)], now=NOW - 1)
    journal.promise([promise(5, file_id=rows[0].file_id, watch=WatchName("other"))], now=NOW)
    assert journal.known(APP, 1) == [rows[0], *same]
    assert journal.known(APP, 99) == []


@pytest.mark.parametrize("state", list(State))
def test_what_vanished_or_changed_is_no_knowledge(journal: Journal, state: State) -> None:
    row = add(journal, 1, *WAYS[state])
    expected = [] if state in (State.GONE, State.SUPERSEDED) else [row]
    assert journal.known(APP, 1) == expected
    copy = shipment(id=ShipmentId(99), path=RelativePath(b"app.log.7.gz"))
    assert journal.alike(copy, content_size=None) == expected


def test_a_moved_file_is_found_under_its_new_name_only(journal: Journal) -> None:
    first, second = add(journal, 1), add(journal, 2)
    moved = RelativePath(b"old/elsewhere.log.9")
    journal.moved([(first.id, moved)])
    assert journal.at_path(APP, moved) == [replace(first, path=moved)]
    assert journal.at_path(APP, first.path) == []
    assert journal.at_path(APP, second.path) == [second]
    copy = shipment(id=ShipmentId(99), path=RelativePath(b"elsewhere.log.9.gz"))
    assert journal.alike(copy, content_size=None)


def test_all_that_was_seen_under_one_name_is_found_oldest_first(journal: Journal) -> None:
    name = RelativePath(b"app.log.1")
    gone, present = add(journal, 1, SourceVanished(NOW)), add(journal, 2)
    journal.moved([(present.id, name)])
    assert ids(journal.at_path(APP, name)) == [gone.id, present.id]


def test_a_touched_file_has_its_new_mtime(journal: Journal) -> None:
    row, other = add(journal, 1), add(journal, 2)
    journal.touched(row.id, 42)
    assert journal.shipment(row.id) == replace(row, mtime_ns=42)
    assert journal.shipment(other.id) == other


# The queue.


def test_the_oldest_due_is_claimed_first_and_by_one_only(journal: Journal) -> None:
    late, early = add(journal, 1, at=NOW), add(journal, 2, at=NOW - 9)
    same = add(journal, 3, at=NOW)
    claims = [journal.queue.claim(NOW) for _ in range(4)]
    assert claims == [early, late, same, None]


def test_every_other_claim_is_of_a_source_to_be_removed(journal: Journal) -> None:
    """Thousands of uploads may be waiting; the disk is not to stay full until they are sent."""
    uploads = [add(journal, n, at=NOW - 9) for n in range(1, 5)]
    late = add(journal, 5, STORED, ObjectChecked(NOW - 1), at=NOW - 9)
    oldest = add(journal, 6, STORED, ObjectChecked(NOW - 2), at=NOW - 9)
    add(journal, 7, STORED, ObjectChecked(NOW + 1), at=NOW - 9)
    claims = [journal.queue.claim(NOW) for _ in range(7)]
    assert claims == [oldest, uploads[0], late, *uploads[1:], None]


def test_a_worker_for_small_ones_claims_what_sends_no_more_than_that(journal: Journal) -> None:
    """What is stored already is as small as the least: it only has to be looked at."""
    add(journal, 1, at=NOW - 9)
    raw_bytes = shipment().raw_bytes
    assert journal.queue.claim(NOW, raw_bytes - 1) is None
    assert journal.queue.next_due_at(raw_bytes - 1) is None
    assert journal.queue.next_due_at(raw_bytes) == NOW - 9
    stored = add(journal, 2, STORED, at=NOW)
    assert journal.queue.next_due_at(0) == NOW
    assert journal.queue.claim(NOW, 0) == stored
    assert journal.queue.claim(NOW, raw_bytes) is not None


def test_nothing_is_claimed_before_it_is_due(journal: Journal) -> None:
    row = add(journal, 1, AttemptFailed("SlowDown", "", NOW + 20))
    assert journal.queue.claim(NOW + 19.9) is None
    assert journal.queue.claim(NOW + 20) == row


@pytest.mark.parametrize("state", [*FINISHED, State.PARKED])
def test_a_shipment_without_work_is_never_claimed(journal: Journal, state: State) -> None:
    add(journal, 1, *WAYS[state])
    assert journal.queue.claim(NOW * 1000) is None
    assert journal.queue.next_due_at() is None


def test_a_released_shipment_is_claimed_again_when_its_row_says_so(journal: Journal) -> None:
    row = add(journal)
    assert journal.queue.claim(NOW) == row
    failed = journal.record(row, AttemptFailed("SlowDown", "", NOW + 5))
    journal.queue.release(row.id)
    journal.queue.release(row.id)
    assert journal.queue.claim(NOW) is None
    assert journal.queue.claim(NOW + 5) == failed


def test_a_claim_dies_with_the_process(journal: Journal, path: str) -> None:
    row = add(journal)
    assert journal.queue.claim(NOW) == row
    again = reopened(journal, path)
    assert again.queue.claim(NOW) == row
    again.close()


def test_what_is_next_due_does_not_count_what_is_claimed(journal: Journal) -> None:
    add(journal, 1, at=NOW)
    add(journal, 2, at=NOW + 7)
    assert journal.queue.next_due_at() == NOW
    claimed = journal.queue.claim(NOW)
    assert journal.queue.next_due_at() == NOW + 7
    journal.queue.claim(NOW + 7)
    assert journal.queue.next_due_at() is None
    assert claimed is not None
    journal.queue.release(claimed.id)
    assert journal.queue.next_due_at() == NOW


def test_many_threads_claim_each_shipment_once(journal: Journal) -> None:
    threads, shipments = 4, 40
    journal.promise([promise(n) for n in range(shipments)], now=NOW)
    start = threading.Barrier(threads)

    def work() -> list[int]:
        claimed: list[int] = []
        start.wait()
        while row := journal.queue.claim(NOW):
            claimed.append(row.id)
            row = journal.record(row, OPENED)
            journal.receive(row, receipt(1))
            journal.record(row, *DONE)
            journal.queue.release(row.id)
        return claimed

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work) for _ in range(threads)]
    claimed = [number for future in futures for number in future.result()]
    assert sorted(claimed) == list(range(1, shipments + 1))
    assert journal.totals() == [Total(APP, State.DONE, shipments, 100 * shipments, 9 * shipments)]


def test_due_times_follow_a_clock_that_was_set(journal: Journal) -> None:
    first, second, done = add(journal, 1), add(journal, 2, at=NOW + 60), add(journal, 3, *DONE)
    journal.queue.rebase(-500.0)
    assert [row.due_at for row in journal.unfinished(9)] == [NOW - 500, NOW - 440]
    journal.queue.rebase(500.0)
    assert journal.unfinished(9) == [first, second]
    assert journal.shipment(done.id) == done


def test_due_times_that_are_too_far_are_brought_back(journal: Journal) -> None:
    near, far, done = add(journal, 1), add(journal, 2, at=NOW * 9), add(journal, 3, *DONE)
    journal.queue.clamp(NOW + 300)
    assert journal.unfinished(9) == [near, replace(far, due_at=NOW + 300)]
    assert journal.shipment(done.id) == done


# Events.


@pytest.mark.parametrize("state", list(State))
def test_an_event_is_recorded_as_the_lifecycle_says(journal: Journal, state: State) -> None:
    row = expected = add(journal)
    for event in WAYS[state]:
        expected = advance(expected, event)
    assert journal.record(row, *WAYS[state]) == expected
    assert journal.shipment(row.id) == expected
    assert expected.state is state


def test_an_impossible_event_changes_nothing_nor_do_those_before_it(journal: Journal) -> None:
    row = add(journal)
    with pytest.raises(ImpossibleEvent):
        journal.record(row, OPENED, SourceDisposed(NOW))
    assert journal.shipment(row.id) == row


def test_a_shipment_that_somebody_else_advanced_is_not_advanced_again(journal: Journal) -> None:
    row = add(journal)
    opened = journal.record(row, OPENED)
    with pytest.raises(AssertionError, match="no longer READY"):
        journal.record(row, STORED)
    assert journal.shipment(row.id) == opened


def test_a_rejected_shipment_may_take_a_key_that_is_forgotten(journal: Journal) -> None:
    """The same log collides twice when its first shipment vanished under its second key."""
    taken = Rejected("KeyTaken", "theirs", "logs/1.2.zst")
    add(journal, 1, taken, Retried(NOW), SourceVanished(NOW))
    again = add(journal, 1, taken)
    assert again.key == "logs/1.2.zst"
    assert journal.parked(9) == [again]


def test_receipts_come_by_number_and_a_repeated_part_replaces_its_own(journal: Journal) -> None:
    row, other = add(journal, 1, OPENED), add(journal, 2, OPENED)
    for number in (3, 1, 2):
        journal.receive(row, receipt(number))
    journal.receive(other, receipt(1, "theirs"))
    journal.receive(row, receipt(1, "again"))
    assert journal.receipts(row) == [receipt(1, "again"), receipt(2), receipt(3)]
    assert journal.receipts(other) == [receipt(1, "theirs")]


@pytest.mark.parametrize(
    "events",
    [
        (UploadLost("NoSuchUpload"),),
        (UploadLost("NoSuchUpload"), UploadOpened(UploadId("u2"), 5)),
        (STORED, CheckFailed("absent", NOW)),
        (STORED, CHECKED, SourceDisposed(NOW)),
        (SourceVanished(NOW),),
        (SourceChanged(NOW),),
        (Rejected("KeyTaken", ""), Retried(NOW)),
    ],
    ids=str,
)
def test_receipts_end_with_their_upload(journal: Journal, events: tuple[Event, ...]) -> None:
    row, other = add(journal, 1, OPENED), add(journal, 2, OPENED)
    journal.receive(row, receipt(1))
    journal.receive(other, receipt(1))
    after = journal.record(row, *events)
    assert journal.receipts(after) == []
    assert journal.receipts(other) == [receipt(1)]


def test_receipts_stay_while_their_upload_is_tried_again(journal: Journal) -> None:
    row = add(journal, 1, OPENED)
    journal.receive(row, receipt(1))
    after = journal.record(row, AttemptFailed("SlowDown", "", NOW + 5))
    assert journal.receipts(after) == [receipt(1)]


# The instance.


def test_a_journal_belongs_to_nobody_until_it_is_adopted(journal: Journal) -> None:
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    assert journal.origin.instance_id() == ""
    assert journal.adopt("i-1") is False
    assert journal.origin.instance_id() == "i-1"
    assert journal.adopt("i-1") is False
    assert [journal.shipment(row.id) for row in rows] == rows


def test_a_clone_keeps_what_is_finished_and_begins_the_rest_anew(journal: Journal) -> None:
    journal.adopt("i-1")
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    uploading = next(row for row in rows if row.state is State.UPLOADING)
    journal.receive(uploading, receipt(1))
    assert journal.adopt("i-2") is True
    assert journal.origin.instance_id() == "i-2"
    kept = [row for row in rows if journal.shipment(row.id)]
    assert [row.state for row in kept] == FINISHED
    assert journal.receipts(uploading) == []
    assert {total.state for total in journal.totals()} == set(FINISHED)
    assert journal.adopt("i-2") is False


def test_everything_survives_closing_and_opening(journal: Journal, path: str) -> None:
    journal.adopt("i-1")
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    journal.receive(rows[1], receipt(1))
    totals = journal.totals()
    again = reopened(journal, path)
    assert [again.shipment(row.id) for row in rows] == rows
    assert again.receipts(rows[1]) == [receipt(1)]
    assert (again.totals(), again.origin.instance_id(), again.set_aside) == (totals, "i-1", "")
    again.close()


def test_what_is_given_back_is_read_again(journal: Journal) -> None:
    row = add(journal, 1)

    def read_bytes() -> int:
        with open("/proc/thread-self/io", "rb") as counters:
            return int(counters.readline().split()[1])

    def cost() -> int:
        before = read_bytes()
        assert journal.shipment(row.id) == row
        return read_bytes() - before

    cost()
    warm = cost()
    assert cost() == warm
    journal.give_back()
    assert cost() >= warm + 4096
    assert cost() == warm
