"""The journal: promises, what is known of files, events, whose it is, and totals."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Barrier

import pytest

from shipper.core.identity import InodeSummary
from shipper.core.lifecycle import (
    AttemptFailed,
    CheckFailed,
    DuplicateFound,
    Event,
    ImpossibleEvent,
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
    ObjectKey,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    Total,
    UploadId,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.journal.statements import ALIKE_FOUND
from shipper.ports import PortError
from tests.fakes.examples import A_PROMISE, promise, shipment
from tests.fakes.journals import CHECKED, DONE, FINISHED, NOW, OPENED, STORED, WAYS, add, receipt

APP = WatchName("app")
SECOND = 1_764_000_000 * 10**9
COPY = shipment(id=ShipmentId(99), path=RelativePath(b"app.log-20261123.gz"))


def ids(shipments: list[Shipment]) -> list[int]:
    return [shipment.id for shipment in shipments]


def reopened(journal: Journal, path: str) -> Journal:
    journal.close()
    return Journal.open(path, now=NOW)


# Promises.


def test_a_promise_is_a_ready_shipment_that_is_due_at_once(journal: Journal) -> None:
    (row,) = journal.promise([A_PROMISE], now=NOW)
    promised = replace(A_PROMISE, since_at=NOW)
    assert row == Shipment(
        id=row.id,
        promised_at=NOW,
        due_at=NOW,
        **{name: getattr(promised, name) for name in type(promised).__dataclass_fields__},
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
        counted = {total.state: total.files for total in journal.figures.totals()}
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
    assert journal.alike(copy) == expected


def test_a_moved_file_is_found_under_its_new_name_only(journal: Journal) -> None:
    first, second = add(journal, 1), add(journal, 2)
    moved = RelativePath(b"old/elsewhere.log.9")
    journal.moved([(first.id, moved)])
    assert journal.at_path(APP, moved) == [replace(first, path=moved)]
    assert journal.at_path(APP, first.path) == []
    assert journal.at_path(APP, second.path) == [second]
    copy = shipment(id=ShipmentId(99), path=RelativePath(b"elsewhere.log.9.gz"))
    assert journal.alike(copy)


def test_all_that_was_seen_under_one_name_is_found_oldest_first(journal: Journal) -> None:
    name = RelativePath(b"app.log.1")
    gone, present = add(journal, 1, SourceVanished(NOW)), add(journal, 2)
    journal.moved([(present.id, name)])
    assert ids(journal.at_path(APP, name)) == [gone.id, present.id]


def test_a_touched_file_has_its_new_mtime(journal: Journal) -> None:
    row, other = add(journal, 1), add(journal, 2)
    journal.touched([(row.id, 42, 0)])
    assert journal.shipment(row.id) == replace(row, mtime_ns=42)
    assert journal.shipment(other.id) == other


def test_a_file_with_other_bytes_is_not_the_source_any_more(journal: Journal) -> None:
    row, other = add(journal, 1), add(journal, 2)
    journal.disown(row.id)
    assert journal.shipment(row.id) == replace(row, tail_digest="", mtime_ns=0)
    assert journal.shipment(other.id) == other


def test_live_segments_are_found_until_a_copy_of_them_is(journal: Journal) -> None:
    rotated, live, newer = journal.promise(
        [promise(1), promise(2, is_live=True), promise(3, is_live=True)], now=NOW
    )
    stem = b"app.log"
    assert journal.open_logs.of(APP, stem) == [newer, live]
    assert journal.open_logs.of(WatchName("web"), stem) == []
    journal.record(rotated, DuplicateFound(live.key, NOW))
    assert journal.open_logs.of(APP, stem) == [newer]


def test_the_summary_of_an_inode_tells_a_whole_finished_file_from_all_else(
    journal: Journal,
) -> None:
    assert journal.inode_summary(APP, 1) == InodeSummary(is_unknown=True)
    row = add(journal, 1)
    assert journal.inode_summary(APP, 1) == InodeSummary()
    journal.record(row, *DONE)
    assert journal.inode_summary(APP, 1) == InodeSummary(
        finished=(row.raw_end, row.mtime_ns, row.ctime_ns)
    )
    journal.promise([promise(9, file_id=row.file_id)], now=NOW)
    assert journal.inode_summary(APP, 1) == InodeSummary()


def test_a_live_file_that_is_finished_may_have_been_rotated_since(journal: Journal) -> None:
    (row,) = journal.promise([promise(1, is_live=True)], now=NOW)
    journal.record(row, *DONE)
    assert journal.inode_summary(APP, 1) == InodeSummary()


def test_what_s3_has_in_part_or_unverified_is_under_way(journal: Journal) -> None:
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    states = (State.UPLOADING, State.UPLOADED)
    assert journal.under_way() == [row for row in rows if row.state in states]


def test_what_may_be_alike_has_the_stem_and_the_second(journal: Journal) -> None:
    rows = journal.promise(
        [
            promise(1, mtime_ns=SECOND),
            promise(2, mtime_ns=SECOND + 10**9 - 1),
            promise(3, mtime_ns=SECOND + 10**9),
            promise(4, mtime_ns=1),
            promise(5, path=RelativePath(b"web.log.1")),
            promise(6, watch=WatchName("other")),
        ],
        now=NOW,
    )
    assert journal.alike(COPY) == [rows[1], rows[0]]
    assert journal.alike(rows[0]) == [rows[1]]


def test_of_other_directories_only_the_same_mtime_is_alike(journal: Journal) -> None:
    """A thousand logs of one name may be rotated within one second."""
    rows = journal.promise(
        [
            promise(n, path=RelativePath(b"%d/app.log.1" % n), mtime_ns=SECOND + n)
            for n in range(1, 1001)
        ],
        now=NOW,
    )
    copy = shipment(
        id=ShipmentId(9999), path=RelativePath(b"7/app.log.1.zst"), mtime_ns=SECOND + 900
    )
    assert journal.alike(copy) == [rows[899], rows[6]]


def test_only_so_many_are_found_newest_first(journal: Journal) -> None:
    rows = journal.promise([promise(n) for n in range(1, 200)], now=NOW)
    found = journal.alike(COPY)
    assert found == rows[: -ALIKE_FOUND - 1 : -1]


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
    assert journal.origin.adopt("i-1") is False
    assert journal.origin.instance_id() == "i-1"
    assert journal.origin.adopt("i-1") is False
    assert [journal.shipment(row.id) for row in rows] == rows


def test_a_clone_keeps_what_is_finished_and_begins_the_rest_anew(journal: Journal) -> None:
    journal.origin.adopt("i-1")
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    uploading = next(row for row in rows if row.state is State.UPLOADING)
    journal.receive(uploading, receipt(1))
    assert journal.origin.adopt("i-2") is True
    assert journal.origin.instance_id() == "i-2"
    kept = [row for row in rows if journal.shipment(row.id)]
    assert [row.state for row in kept] == FINISHED
    assert journal.receipts(uploading) == []
    assert {total.state for total in journal.figures.totals()} == set(FINISHED)
    assert journal.origin.adopt("i-2") is False


def test_everything_survives_closing_and_opening(journal: Journal, path: str) -> None:
    journal.origin.adopt("i-1")
    rows = [add(journal, n, *events) for n, events in enumerate(WAYS.values())]
    journal.receive(rows[1], receipt(1))
    totals = journal.figures.totals()
    again = reopened(journal, path)
    assert [again.shipment(row.id) for row in rows] == rows
    assert again.receipts(rows[1]) == [receipt(1)]
    assert (again.figures.totals(), again.origin.instance_id()) == (totals, "i-1")
    again.close()


# Brought back by an operator.


def test_what_is_parked_is_brought_back_to_where_it_was(journal: Journal) -> None:
    unsent, stored, other = (
        add(journal, 1, Rejected("SourceUnreadable", "EACCES")),
        add(journal, 2, STORED, Rejected("ChecksumMismatch", "")),
        add(journal, 3),
    )
    (back,) = journal.bring_back(NOW + 5, stored.id)
    assert (back.id, back.state, back.due_at) == (stored.id, State.UPLOADED, NOW + 5)
    assert journal.bring_back(NOW + 5, other.id) == []
    (back,) = journal.bring_back(NOW + 6)
    assert (back.id, back.state, back.due_at) == (unsent.id, State.READY, NOW + 6)
    assert journal.shipment(other.id) == other


def test_two_retries_at_once_bring_back_everything_once(journal: Journal, path: str) -> None:
    parked = [add(journal, n, Rejected("SourceUnreadable", "EACCES")) for n in range(200)]
    with closing(Journal.open(path, now=NOW)) as other, ThreadPoolExecutor(2) as pool:
        barrier = Barrier(2)

        def retry(one: Journal) -> list[Shipment]:
            barrier.wait()
            return one.bring_back(NOW)

        first, second = pool.map(retry, [journal, other])
    assert sorted(ids([*first, *second])) == ids(parked)
    assert journal.parked(1) == []


# For people.


def test_an_empty_journal_has_nothing_to_tell(journal: Journal) -> None:
    assert journal.figures.totals() == []
    assert (journal.figures.oldest_unshipped(), journal.figures.last_success_at()) == (None, None)
    assert journal.figures.failing(0) is None
    assert (journal.unfinished(9), journal.parked(9)) == ([], [])
    assert journal.shipment(1) is None


def test_lists_for_people_end_at_their_limit(journal: Journal) -> None:
    rows = journal.promise([promise(n) for n in range(6)], now=NOW)
    parked = [journal.record(row, Rejected("KeyTooLong", "")) for row in rows[:3]]
    assert journal.unfinished(2) == rows[3:5]
    assert journal.parked(2) == parked[:2]


def test_what_fails_again_and_again_is_counted_and_the_newest_is_told(journal: Journal) -> None:
    rows = journal.promise([promise(n) for n in range(3)], now=NOW)
    [last] = journal.promise([promise(3)], now=NOW + 1)
    failed = AttemptFailed("Http403", "", NOW + 60)
    *_, newest = [journal.record(row, failed, failed, failed) for row in (*rows[:2], last)]
    assert journal.figures.failing(3) == (3, newest)
    assert journal.figures.failing(4) is None


def test_totals_are_by_watch_and_state(journal: Journal) -> None:
    web = WatchName("web")
    app, *_ = journal.promise([promise(1), promise(2, watch=web), promise(3, watch=web)], now=NOW)
    journal.record(app, ObjectStored(ETag("e"), 9, "sha"))
    assert journal.figures.totals() == [
        Total(WatchName("app"), State.UPLOADED, 1, 100, 9),
        Total(web, State.READY, 2, 200, 0),
    ]


def test_a_held_row_gets_the_key_of_the_instance_and_the_others_begin_anew(
    journal: Journal,
) -> None:
    journal.origin.adopt("i-1")
    kept, other = journal.promise([promise(1), promise(2)], now=0.0)
    journal.origin.adopt(
        "i-2", key_of=lambda row: ObjectKey("mine") if row.id == kept.id else None
    )
    assert journal.shipment(other.id) is None
    found = journal.shipment(kept.id)
    assert found is not None
    assert found.key == "mine"
    with pytest.raises(PortError, match="InstanceChanged"):
        journal.promise([promise(3)], now=0.0, instance_id="i-1")


@pytest.mark.parametrize(
    ("generation", "place", "is_finished", "is_known"),
    [
        ("g1", "disk", True, False),
        ("g2", "disk", True, True),
        ("b1.5", "disk", True, True),  # told in another way, so they cannot be compared
        ("", "disk", True, True),
        ("g1", "another disk", True, True),
        ("g1", "disk", False, True),
    ],
)
def test_a_finished_row_stands_for_no_file_once_its_inode_number_was_used_again(
    journal: Journal, generation: str, place: str, is_finished: bool, is_known: bool
) -> None:
    earlier = promise(1, file_id=FileId(7, 4, "head", generation), place=place)
    (row,) = journal.promise([earlier], now=1.0)
    if is_finished:
        row = journal.record(row, DuplicateFound("key", 1.0))
    later = promise(2, file_id=FileId(7, 4, "another", "g2"), place="disk")
    (new,) = journal.promise([later], now=2.0)
    assert journal.known(row.watch, 7) == ([row, new] if is_known else [new])
    assert {*ids(journal.segments(row))} == {row.id, new.id}
    forgotten = journal.forget(row.watch, {"disk": {7}, "another disk": {7}}, finished_before=9.0)
    assert forgotten == (not is_known)
