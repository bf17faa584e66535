"""Uploads that were given up are aborted if the role may, and nobody else's ever is."""

from pathlib import Path

import pytest

from shipper.core.lifecycle import (
    AttemptFailed,
    Event,
    ObjectStored,
    Rejected,
    SourceChanged,
    SourceVanished,
    UploadLost,
    UploadOpened,
)
from shipper.core.types import ETag, UploadId
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.services.sending.abandoned_uploads import (
    MOST_ATTEMPTS,
    ROUND_SECONDS,
    AbandonedUploads,
)
from tests.fakes.examples import promise
from tests.machines.world import World

UNREACHABLE = PortError("Unreachable", "no route")
DENIED = PortError("AccessDenied", status=403)
GONE = PortError("NoSuchUpload", status=404)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sweeper(world: World) -> AbandonedUploads:
    return AbandonedUploads(
        journal=world.journal, store=world.store, clock=world.clock, log=world.log
    )


def give_up(world: World, number: int) -> UploadId:
    """An upload that S3 knows and the journal has given up."""
    (row,) = world.journal.promise([promise(number)], now=world.clock.now())
    upload_id = world.store.create_upload(row.key, metadata={}).upload_id
    opened = world.journal.record(row, UploadOpened(upload_id, 1))
    world.journal.record(opened, UploadLost("UploadExpired"))
    return upload_id


def aborts(world: World) -> int:
    return world.store.operations().count("AbortMultipartUpload")


@pytest.mark.parametrize(
    ("event", "is_left"),
    [
        (UploadLost("InvalidPart"), True),
        (SourceVanished(2.0), True),
        (SourceChanged(2.0), True),
        (Rejected("KeyTaken", "", "another-key"), True),
        (AttemptFailed("SlowDown", "", 3.0), False),
        (ObjectStored(ETag("e"), 9, "sha", 3), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_ends_without_an_object_leaves_an_orphan(
    tmp_path: Path, event: Event, is_left: bool
) -> None:
    journal = Journal.open(str(tmp_path / "journal.db"), now=1.0)
    (row,) = journal.promise([promise()], now=1.0)
    journal.record(journal.record(row, UploadOpened(UploadId("ours"), 1)), event)
    found = [
        (abandoned.upload_id, abandoned.key) for abandoned in journal.abandoned_uploads.listed()
    ]
    assert found == ([(UploadId("ours"), row.key)] if is_left else [])


def test_an_orphan_is_aborted_once_and_forgotten(world: World) -> None:
    upload_id = give_up(world, 1)
    abandoned_uploads = sweeper(world)
    abandoned_uploads.sweep()
    abandoned_uploads.sweep()
    assert world.store.aborted == [upload_id]
    assert aborts(world) == 1
    assert world.journal.abandoned_uploads.listed() == []


@pytest.mark.parametrize(("refusal", "lines"), [(DENIED, 1), (GONE, 0)], ids=["denied", "gone"])
def test_what_is_refused_is_not_asked_again(world: World, refusal: PortError, lines: int) -> None:
    give_up(world, 1)
    world.store.fail_next("AbortMultipartUpload", refusal)
    sweeper(world).sweep()
    assert world.journal.abandoned_uploads.listed() == []
    assert [line["code"] for line in world.log.of("upload.orphaned")] == [refusal.code] * lines


def test_what_fails_for_want_of_a_network_comes_round_in_an_hour(world: World) -> None:
    abandoned_uploads = sweeper(world)
    abandoned_uploads.sweep()
    upload_id = give_up(world, 1)
    world.store.fail_next("AbortMultipartUpload", UNREACHABLE)
    for _ in range(3):
        abandoned_uploads.sweep()
    assert (aborts(world), world.store.aborted) == (1, [])
    world.clock.advance(seconds=ROUND_SECONDS)
    abandoned_uploads.sweep()
    assert (aborts(world), world.store.aborted) == (2, [upload_id])


def test_a_restart_tries_at_once_what_an_earlier_life_could_not(world: World) -> None:
    upload_id = give_up(world, 1)
    world.store.outage = UNREACHABLE
    sweeper(world).sweep()
    world.store.outage = None
    world.restart()
    world.carry()
    assert world.store.aborted == [upload_id]


def test_one_failure_ends_the_round(world: World) -> None:
    for number in range(5):
        give_up(world, number)
    world.store.outage = UNREACHABLE
    abandoned_uploads = sweeper(world)
    abandoned_uploads.sweep()
    assert aborts(world) == 1


def test_the_attempts_are_bounded_over_all_lives(world: World) -> None:
    give_up(world, 1)
    world.store.outage = UNREACHABLE
    for _ in range(MOST_ATTEMPTS + 10):
        sweeper(world).sweep()
    assert aborts(world) == MOST_ATTEMPTS
    assert world.journal.abandoned_uploads.listed() == []
    assert len(world.log.of("upload.orphaned")) == 1


def test_two_workers_do_not_abort_the_same(world: World) -> None:
    other, begun = sweeper(world), list[str]()
    other.sweep()
    for number in (1, 2):
        give_up(world, number)

    def meanwhile(name: str) -> None:
        if name == "AbortMultipartUpload.before" and not begun:
            begun.append(name)
            other.sweep()

    world.store.effect = meanwhile
    sweeper(world).sweep()
    assert aborts(world) == 2
    assert len(world.store.aborted) == 2


def test_a_copied_disk_never_aborts_the_uploads_of_the_original(world: World) -> None:
    world.journal.adopt("i-mother")
    give_up(world, 1)
    (row,) = world.journal.promise([promise(2)], now=world.clock.now())
    upload_id = world.store.create_upload(row.key, metadata={}).upload_id
    world.journal.record(row, UploadOpened(upload_id, 1))
    assert world.journal.adopt("i-daughter")
    world.restart()
    world.carry()
    assert aborts(world) == 0
    assert len(world.store.unfinished_uploads()) == 2


def test_an_upload_that_never_reached_the_journal_is_nobodys(world: World) -> None:
    world.store.create_upload(world.journal.promise([promise()], now=0.0)[0].key, metadata={})
    sweeper(world).sweep()
    assert aborts(world) == 0


def test_an_upload_whose_log_vanished_is_aborted_by_the_worker_that_noticed(world: World) -> None:
    upload_id = give_up(world, 1)
    world.carry()
    assert world.store.aborted == [upload_id]
