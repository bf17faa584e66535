"""Each destination has a queue of its own in the one journal."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.destinations import UploadSettings
from shipper.core.lifecycle import (
    AttemptFailed,
    ObjectChecked,
    ObjectStored,
    Rejected,
    RemovalWanted,
    SourceDisposed,
)
from shipper.core.types import ETag, Shipment, State, WatchName
from shipper.journal.journal import Journal
from tests.fakes.examples import A_PROMISE, promise
from tests.fakes.journals import NOW

AUDIT = "audit"


def add(journal: Journal, number: int, destination: str = "", watch: str = "") -> Shipment:
    changes = {"watch": WatchName(watch)} if watch else {}
    (row,) = journal.promise([promise(number, destination=destination, **changes)], now=NOW)
    return row


def test_a_claim_is_of_one_destination(journal: Journal) -> None:
    here, there = add(journal, 1), add(journal, 2, AUDIT)
    assert there.destination == AUDIT
    audit = journal.of(AUDIT)
    assert journal.queue.claim(NOW, most=10) == [here]
    assert audit.queue.claim(NOW, most=10) == [there]
    assert journal.queue.claim(NOW) == audit.queue.claim(NOW) == []
    assert not audit.queue.is_idle(NOW)
    audit.queue.release(there.id)
    assert audit.queue.claim(NOW) == [there]


def test_whoever_claims_one_by_its_number_claims_it_from_its_destination(
    journal: Journal,
) -> None:
    there, audit = add(journal, 1, AUDIT), journal.of(AUDIT)
    assert journal.queue.claim_one(there.id) == there
    assert audit.queue.claim(NOW) == []
    assert audit.queue.claim_one(there.id) is None
    journal.queue.release(there.id)
    assert audit.queue.claim_one(there.id) == there
    assert journal.queue.claim_one(there.id) is None


def test_when_something_falls_due_is_told_of_one_destination(journal: Journal) -> None:
    add(journal, 1, AUDIT)
    assert (journal.queue.next_due_at(), journal.of(AUDIT).queue.next_due_at()) == (None, NOW)
    assert journal.queue.is_idle(NOW)


def test_holds_and_what_follows_are_of_one_destination(journal: Journal) -> None:
    add(journal, 1)
    add(journal, 2, AUDIT)
    audit = journal.of(AUDIT)
    held = {"now": NOW, "until": NOW + 600, "trial_at": NOW + 300, "code": "AccessDenied"}
    audit.queue.hold((), **held, detail="held")  # type: ignore[arg-type]  # of each its own type
    assert journal.queue.next_due_at() == NOW
    assert audit.queue.next_due_at() == NOW + 300
    journal.queue.take_up((), "", NOW + 1)
    journal.queue.requeue(NOW + 1)
    assert audit.queue.next_due_at() == NOW + 300
    audit.queue.requeue(NOW + 1)
    assert audit.queue.next_due_at() == NOW


def test_a_clock_that_is_set_and_a_retry_of_all_concern_all_destinations(
    journal: Journal,
) -> None:
    for number, name in ((1, ""), (2, AUDIT), (3, "zone")):
        journal.record(add(journal, number, name), AttemptFailed("X", "", NOW + 5000))
    queues = [journal.of(name).queue for name in ("", AUDIT, "zone")]
    journal.queue.rebase(10)
    assert [one.next_due_at() for one in queues] == [NOW + 5010] * 3
    journal.queue.clamp(NOW + 60)
    assert [one.next_due_at() for one in queues] == [NOW + 60] * 3
    assert journal.queue.make_due(NOW) == 3
    assert [one.next_due_at() for one in queues] == [NOW] * 3


def test_the_unfinished_come_in_the_order_they_fall_due_wherever_they_go(
    journal: Journal,
) -> None:
    for number, name in ((1, AUDIT), (2, ""), (3, AUDIT), (4, "")):
        row = add(journal, number, name)
        journal.record(row, AttemptFailed("X", "", NOW + number))
    assert [row.id for row in journal.unfinished(3)] == [1, 2, 3]
    assert [row.id for row in journal.unfinished(-1)] == [1, 2, 3, 4]


def test_what_is_not_shipped_goes_where_its_watch_goes_now(journal: Journal) -> None:
    web, old = WatchName("web"), WatchName("old")
    add(journal, 1, "", web)
    parked = journal.record(add(journal, 2, "", web), Rejected("X", ""))
    stray = add(journal, 3, "gone", old)
    kept = add(journal, 4, "", A_PROMISE.watch)
    journal.assign({web: AUDIT, A_PROMISE.watch: ""})

    def places() -> list[str]:
        rows = [journal.shipment(number) for number in (1, parked.id, stray.id, kept.id)]
        return [row.destination for row in rows if row is not None]

    assert places() == [AUDIT, AUDIT, "", ""]
    add(journal, 5, "", web)
    journal.assign({web: AUDIT, A_PROMISE.watch: ""})  # as before: nothing is looked at
    assert [row.id for row in journal.of(AUDIT).queue.claim(NOW, most=9)] == [1]
    assert parked.state is State.PARKED


def test_what_stays_under_a_destination_that_is_gone_is_taken_from_it_at_the_next_start(
    journal: Journal,
) -> None:
    journal.assign({A_PROMISE.watch: ""})
    stray = add(journal, 1, "gone")
    journal.assign({A_PROMISE.watch: ""})
    assert journal.queue.claim(NOW) == [replace(stray, destination="")]


@pytest.mark.parametrize(
    ("watches", "goes_to"), [({A_PROMISE.watch: AUDIT}, AUDIT), ({WatchName("web"): ""}, "zone")]
)
def test_a_kept_file_that_is_to_go_is_asked_for_where_its_watch_goes_now(
    journal: Journal, watches: dict[WatchName, str], goes_to: str
) -> None:
    kept = done(journal, 1, "zone", NOW, 10)
    journal.assign(watches)
    wanted = journal.record(kept, RemovalWanted(NOW))
    assert (wanted.destination, wanted.state) == (goes_to, State.UPLOADED)
    assert journal.of(goes_to).queue.claim(NOW) == [wanted]


def test_what_is_known_of_a_destination_is_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.db")
    journal = Journal.open(path, now=NOW)
    settings = UploadSettings("bucket", {WatchName("web"): "digest"})
    journal.of(AUDIT).origin.begin(settings)
    journal.of(AUDIT).origin.remember_answers({"a": 1})
    journal.close()
    journal = Journal.open(path, now=NOW)
    assert journal.of(AUDIT).origin.settings() == settings
    assert journal.of(AUDIT).origin.answers() == {"a": 1}
    assert (journal.origin.settings(), journal.origin.answers()) == (None, {})
    journal.close()


@pytest.mark.parametrize("backlog", [0, 3000])
def test_a_backlog_of_another_destination_is_not_read_for_a_claim(
    journal: Journal, backlog: int
) -> None:
    journal.promise([promise(n, destination=AUDIT) for n in range(10, 10 + backlog)], now=NOW)
    add(journal, 1)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = journal._database._connection
    connection.set_progress_handler(count, 100)
    assert len(journal.queue.claim(NOW, most=10)) == 1
    assert journal.queue.next_due_at() is None
    connection.set_progress_handler(None, 0)
    assert steps <= 20


def done(journal: Journal, number: int, destination: str, at: float, size: int) -> Shipment:
    row = add(journal, number, destination)
    stored = ObjectStored(ETag("e"), size, "digest")
    return journal.record(row, stored, ObjectChecked(at), SourceDisposed(at))


def test_when_something_last_arrived_is_told_of_each_destination(journal: Journal) -> None:
    done(journal, 1, "", NOW + 1, 10)
    done(journal, 2, AUDIT, NOW + 2, 20)
    figures = journal.figures
    assert figures.last_success_at() == NOW + 2
    assert figures.last_success_at("") == NOW + 1
    assert figures.last_success_at(AUDIT) == NOW + 2
    assert figures.last_success_at("zone") is None


def test_the_sizes_of_the_newest_objects_come_by_watch(journal: Journal) -> None:
    for number in range(1, 5):
        done(journal, number, "", NOW + number, number * 10)
    assert journal.figures.newest_sizes(3) == {A_PROMISE.watch: [40, 30, 20]}
    assert journal.figures.newest_sizes(0) == {}
