"""Claims and due times."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shipper.core.lifecycle import (
    AttemptFailed,
    ObjectChecked,
)
from shipper.core.types import (
    ShipmentId,
    State,
    Total,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.journal.queue import Sizes
from tests.fakes.claims import claim
from tests.fakes.examples import promise
from tests.fakes.journals import CHECKED, DONE, FINISHED, NOW, OPENED, STORED, WAYS, add, receipt


def reopened(journal: Journal, path: str) -> Journal:
    journal.close()
    return Journal.open(path, now=NOW)


def test_the_oldest_due_is_claimed_first_and_by_one_only(journal: Journal) -> None:
    late, early = add(journal, 1, at=NOW), add(journal, 2, at=NOW - 9)
    same = add(journal, 3, at=NOW)
    claims = [claim(journal.queue, NOW) for _ in range(4)]
    assert claims == [early, late, same, None]


def test_what_is_claimed_is_told_as_it_is_now_until_it_is_sent(journal: Journal) -> None:
    small, large = add(journal, 1, at=NOW), add(journal, 2, OPENED, at=NOW)
    add(journal, 3, STORED, at=NOW)
    add(journal, 4, at=NOW + 9)
    assert journal.queue.claims() == []
    while claim(journal.queue, NOW):
        pass
    assert {one.id for one in journal.queue.claims()} == {small.id, large.id}
    sizes = [one.raw_bytes for one in journal.queue.claims()]
    assert sizes == sorted(sizes, reverse=True)
    journal.receive(large, receipt(1))
    received = journal.figures.received_bytes([small, large])
    assert received == {large.id: receipt(1).raw_end - receipt(1).raw_start}
    journal.queue.release(large.id)
    assert journal.queue.claims() == [small]


def test_every_other_claim_is_of_a_source_to_be_removed(journal: Journal) -> None:
    """Thousands of uploads may be waiting; the disk is not to stay full until they are sent."""
    uploads = [add(journal, n, at=NOW - 9) for n in range(1, 5)]
    late = add(journal, 5, STORED, ObjectChecked(NOW - 1), at=NOW - 9)
    oldest = add(journal, 6, STORED, ObjectChecked(NOW - 2), at=NOW - 9)
    add(journal, 7, STORED, ObjectChecked(NOW + 1), at=NOW - 9)
    claims = [claim(journal.queue, NOW) for _ in range(7)]
    assert claims == [oldest, uploads[0], late, *uploads[1:], None]


def test_a_worker_for_small_ones_claims_those_and_no_others(journal: Journal) -> None:
    """What is stored already counts with its whole file, which may be read before its removal."""
    waits = add(journal, 1, at=NOW - 9)
    raw_bytes = waits.raw_bytes
    assert (waits.raw_start, waits.raw_end) == (0, raw_bytes)
    small = Sizes(are_small=True, small_bytes=raw_bytes)
    smaller = Sizes(are_small=True, small_bytes=raw_bytes - 1)
    assert claim(journal.queue, NOW, smaller) is None
    assert journal.queue.next_due_at(smaller) is None
    assert journal.queue.next_due_at(small) == NOW - 9
    stored = add(journal, 2, STORED, ObjectChecked(NOW), at=NOW)
    assert claim(journal.queue, NOW, smaller) is None
    assert claim(journal.queue, NOW, replace(small, are_small=False)) is None
    assert {claim(journal.queue, NOW, small), claim(journal.queue, NOW, small)} == {waits, stored}


def test_others_claim_what_is_larger_and_what_takes_long_to_compare(journal: Journal) -> None:
    row = add(journal, 1, at=NOW - 9)
    others = Sizes(are_small=False, small_bytes=row.raw_bytes)
    assert claim(journal.queue, NOW, others) is None
    waits = journal.record(row, AttemptFailed("DuplicateUndecided", "", NOW, counts=False))
    assert claim(journal.queue, NOW, replace(others, are_small=True)) is None
    assert claim(journal.queue, NOW, others) == waits


def test_nothing_is_claimed_before_it_is_due(journal: Journal) -> None:
    row = add(journal, 1, AttemptFailed("SlowDown", "", NOW + 20))
    assert claim(journal.queue, NOW + 19.9) is None
    assert claim(journal.queue, NOW + 20) == row


@pytest.mark.parametrize("state", [*FINISHED, State.PARKED])
def test_a_shipment_without_work_is_never_claimed(journal: Journal, state: State) -> None:
    add(journal, 1, *WAYS[state])
    assert claim(journal.queue, NOW * 1000) is None
    assert journal.queue.next_due_at() is None


def test_a_released_shipment_is_claimed_again_when_its_row_says_so(journal: Journal) -> None:
    row = add(journal)
    assert claim(journal.queue, NOW) == row
    failed = journal.record(row, AttemptFailed("SlowDown", "", NOW + 5))
    journal.queue.release(row.id)
    journal.queue.release(row.id)
    assert claim(journal.queue, NOW) is None
    assert claim(journal.queue, NOW + 5) == failed


def test_a_claim_dies_with_the_process(journal: Journal, path: str) -> None:
    row = add(journal)
    assert claim(journal.queue, NOW) == row
    again = reopened(journal, path)
    assert claim(again.queue, NOW) == row
    again.close()


def test_what_is_next_due_does_not_count_what_is_claimed(journal: Journal) -> None:
    add(journal, 1, at=NOW)
    add(journal, 2, at=NOW + 7)
    assert journal.queue.next_due_at() == NOW
    claimed = claim(journal.queue, NOW)
    assert journal.queue.next_due_at() == NOW + 7
    claim(journal.queue, NOW + 7)
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
        while row := claim(journal.queue, NOW):
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
    done = Total(WatchName("app"), State.DONE, shipments, 100 * shipments, 9 * shipments)
    assert journal.figures.totals() == [done]


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


def test_one_shipment_is_claimed_whether_it_is_due_or_not(journal: Journal) -> None:
    row = add(journal, 1, at=NOW + 99)
    assert journal.queue.claim_one(row.id) == row
    assert journal.queue.claim_one(row.id) is None
    assert journal.queue.claim_one(ShipmentId(99)) is None
    journal.queue.release(row.id)
    assert journal.queue.claim_one(row.id) == row


def test_an_urgent_claim_prefers_the_small_then_the_old_and_live_files_last(
    journal: Journal,
) -> None:
    promises = [
        promise(1, is_live=True, raw_end=1),
        promise(2, raw_end=90),
        promise(3, raw_end=9),
        promise(4, raw_end=9),
    ]
    live, large, old, new = journal.promise(promises, now=NOW)
    removable = add(journal, 5, STORED, CHECKED)
    claims = [claim(journal.queue, NOW, is_urgent=True) for _ in range(5)]
    assert claims == [old, new, large, live, removable]


def test_what_waits_for_its_next_attempt_is_made_due_and_what_waits_for_removal_is_not(
    journal: Journal,
) -> None:
    failed = add(journal, 1, AttemptFailed("SlowDown", "", NOW + 60))
    removable = add(journal, 2, STORED, ObjectChecked(NOW + 600))
    assert journal.queue.make_due(NOW) == 1
    assert journal.shipment(failed.id) == replace(failed, due_at=NOW)
    assert journal.shipment(removable.id) == removable


@pytest.mark.parametrize("code", ["WriterUnproven", "SourceInUse"])
def test_a_removal_that_was_refused_is_tried_again_when_everything_is_made_due(
    journal: Journal, code: str
) -> None:
    """As at a start: the operator may have allowed it since, and an hour is long."""
    refused = AttemptFailed(code, "", NOW + 3600, counts=False)
    waiting = add(journal, 1, STORED, ObjectChecked(NOW), refused)
    assert journal.queue.make_due(NOW) == 1
    assert journal.shipment(waiting.id) == replace(waiting, due_at=NOW)


def test_what_failed_is_queued_by_its_age_again(journal: Journal) -> None:
    failed = add(journal, 1, AttemptFailed("SlowDown", "", NOW + 60), at=NOW - 9)
    waiting = add(journal, 2, at=NOW + 5)
    journal.queue.requeue(NOW)
    assert journal.shipment(failed.id) == replace(failed, due_at=NOW - 9)
    assert journal.shipment(waiting.id) == waiting


def test_a_hold_of_which_nothing_is_due_changes_nothing(journal: Journal) -> None:
    row = add(journal, 1)
    journal.queue.hold(
        ["no such piece"],
        now=NOW,
        until=NOW + 60,
        trial_at=NOW + 1,
        code="AccessDenied",
        detail="held, for keys like these are refused",
    )
    assert journal.unfinished(9) == [row]
