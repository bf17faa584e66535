"""What happens to a shipment, whatever the world answers."""

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.lifecycle import Retried
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Compression,
    Entry,
    ETag,
    Receipt,
    State,
    WatchName,
)
from shipper.ports import PortError
from shipper.services.sending.carried import Carried
from tests.fakes.tasks import run
from tests.machines.world import MIB, WATCH, World, random_log

LARGE = random_log(7, 11 * MIB)
RAW = replace(WATCH, compression=Compression.NONE)
DELETING = replace(RAW, after_upload=AfterUpload.DELETE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, watch=RAW)


def put(world: World, body: bytes = b"hello\n", name: bytes = b"app.log.1") -> None:
    world.files.write(name, body)
    world.discover()


def test_a_small_file_is_one_conditional_put_and_one_transaction_to_done(world: World) -> None:
    put(world)
    world.carry()
    assert world.store.operations() == ["PutObject"]
    (row,) = world.rows()
    assert row.state is State.DONE
    assert row.stored_bytes == 6
    assert world.files.open_sources == 0


def test_the_object_tells_where_it_came_from(world: World) -> None:
    put(world, name=b"caf\xe9.log.1")
    world.carry()
    ((key, _),) = world.store.objects().items()
    metadata = world.store.metadata(key)
    assert metadata["source-path"] == "/logs/caf%E9.log.1"
    assert (metadata["raw-start"], metadata["raw-end"]) == ("0", "6")
    assert metadata["instance-id"] == "i-1"
    assert all(value.isascii() for value in metadata.values())


def test_a_large_file_goes_up_in_parts(world: World) -> None:
    put(world, LARGE)
    world.carry()
    assert world.contents() == [LARGE]
    assert world.store.operations().count("UploadPart") >= 2
    assert world.store.unfinished_uploads() == []
    assert world.is_empty_handed()


@pytest.mark.parametrize("compression", list(Compression))
def test_every_compression_gives_back_the_file(tmp_path: Path, compression: Compression) -> None:
    world = World(tmp_path, watch=replace(WATCH, compression=compression))
    body = b"a line of a log\n" * 400_000 + LARGE
    put(world, body)
    world.carry()
    assert world.contents() == [body]


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
@pytest.mark.parametrize("body", [b"small\n", LARGE], ids=["small", "large"])
def test_every_checksum_is_accepted(
    tmp_path: Path, algorithm: ChecksumAlgorithm, body: bytes
) -> None:
    world = World(tmp_path, watch=RAW, algorithm=algorithm)
    put(world, body)
    world.run(rounds=1)
    assert world.contents() == [body]
    assert [row.state for row in world.rows()] == [State.DONE]


@pytest.mark.parametrize("body", [b"small\n", LARGE], ids=["small", "large"])
def test_a_server_that_echoes_no_checksum_is_asked_by_listing(tmp_path: Path, body: bytes) -> None:
    world = World(tmp_path, watch=RAW, echoes_checksums=False)
    put(world, body)
    world.carry()
    assert world.store.operations()[-1] == "ListObjectsV2"
    assert [row.state for row in world.rows()] == [State.DONE]


# Lost answers.


def test_an_abort_that_is_not_allowed_is_harmless(world: World) -> None:
    put(world, LARGE)
    world.store.fail_next("CompleteMultipartUpload", PortError("InvalidPart", status=400))
    world.store.fail_next("AbortMultipartUpload", PortError("AccessDenied", status=403))
    world.run(rounds=2)
    assert world.contents() == [LARGE]
    assert world.log.of("upload.orphaned")


# Failures.


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "Timeout", "NotS3", "BadDigest"])
def test_what_passes_is_retried_later_without_end(world: World, code: str) -> None:
    put(world)
    for _ in range(30):
        world.store.fail_next("PutObject", PortError(code, status=503))
    waits = []
    while not world.store.objects():
        world.carry()
        (row,) = world.rows()
        assert row.state in (State.READY, State.DONE)
        if row.due_at is not None:
            waits.append(row.due_at - world.clock.now())
            world.clock.advance(seconds=waits[-1])
    assert len(waits) == 30
    assert max(waits) <= 300
    assert waits[0] < 10


def test_a_server_that_asks_for_patience_gets_it(world: World) -> None:
    put(world)
    world.store.fail_next("PutObject", PortError("SlowDown", retry_after=120.0))
    world.carry()
    (row,) = world.rows()
    assert row.due_at == pytest.approx(world.clock.now() + 120)


@pytest.mark.parametrize(("in_flight", "at_first"), [(0, 1), (64, 5)])
@pytest.mark.parametrize("code", ["NoSuchBucket", "AllAccessDisabled"])
def test_what_would_fail_for_all_shuts_the_gate_and_costs_no_attempt(
    world: World, code: str, in_flight: int, at_first: int
) -> None:
    world.in_flight = in_flight
    for number in range(5):
        world.files.write(b"app.log.%d" % number, b"%d\n" % number)
    world.discover()
    world.store.outage = PortError(code, "no", status=403)
    world.carry()
    assert world.store.operations() == ["PutObject"] * at_first
    shut = world.gate.reason()
    assert shut is not None
    assert shut.code == code
    assert [row.attempts for row in world.rows()] == [0] * 5
    assert len(world.log.of("gate.shut")) == 1
    world.clock.advance(minutes=1)
    world.carry()
    assert world.store.operations() == ["PutObject"] * (at_first + 1)
    world.store.outage = None
    world.clock.advance(minutes=1)
    world.carry()
    world.clock.advance(minutes=1)
    world.carry()
    assert world.gate.reason() is None
    assert len(world.contents()) == 5


def test_expired_credentials_shut_the_gate_until_there_are_others(world: World) -> None:
    put(world, LARGE)
    world.store.fail_next("UploadPart", PortError("ExpiredToken", status=400))
    world.carry()
    assert world.refreshes == 1
    (row,) = world.rows()
    assert (row.state, row.attempts) == (State.UPLOADING, 0)
    world.carry()
    assert world.store.operations().count("CompleteMultipartUpload") == 0
    world.generation += 1
    world.carry()
    assert world.contents() == [LARGE]


def test_a_full_journal_disk_shuts_the_gate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world)

    def full(name: str) -> None:
        raise PortError("JournalUnwritable", "disk full")

    world.journal.effect = full
    world.carry()
    shut = world.gate.reason()
    assert shut is not None
    assert shut.code == "JournalUnwritable"
    world.journal.effect = lambda name: None
    for _ in range(2):
        world.clock.advance(minutes=15)
        world.carry()
    assert world.contents() == [b"hello\n"]
    assert world.rows()[0].state is State.DONE


def test_a_watch_that_was_configured_away_parks_its_shipments(world: World) -> None:
    put(world)
    world.carrier.watches = world.small.carrier.watches = {WatchName("other"): RAW}
    world.carry()
    assert world.rows()[0].code == "WatchRemoved"
    assert world.log.of("shipment.parked")[0]["hint"]


def test_stopping_leaves_an_upload_where_it_is(world: World) -> None:
    put(world, LARGE)
    world.store.effect = lambda name: (
        world.stopping.set() if name.startswith("UploadPart") else None
    )
    world.carrier.step()
    (row,) = world.rows()
    assert row.state is State.UPLOADING
    assert world.log.of("shipment.interrupted")
    sent = world.store.operations().count("UploadPart")
    world.stopping.clear()
    world.restart()
    world.run(rounds=1)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("UploadPart") == sent + 1


# The source.


def test_a_deleted_source_is_shipped_from_the_held_descriptor(world: World) -> None:
    put(world)
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.contents() == [b"hello\n"]


def test_a_source_that_is_gone_for_good_is_counted_and_loud(world: World) -> None:
    put(world)
    world.files.delete(b"app.log.1")
    world.restart()
    world.carry()
    assert [row.state for row in world.rows()] == [State.GONE]
    assert [level for level, event, _ in world.log.records if event == "source.vanished"] == [
        "error"
    ]


def test_a_source_that_moved_is_found_by_its_inode(world: World) -> None:
    put(world)
    world.files.rename(b"app.log.1", b"deep/elsewhere")
    world.restart()
    world.carry()
    assert world.contents() == [b"hello\n"]


def test_another_file_under_the_name_is_not_mistaken_for_the_source(world: World) -> None:
    put(world)
    world.files.rename(b"app.log.1", b"app.log.2")
    world.files.write(b"app.log.1", b"impostor\n")
    world.restart()
    world.carry()
    assert world.contents() == [b"hello\n"]


@pytest.mark.parametrize("is_held", [True, False])
def test_a_source_that_was_rewritten_is_lost_and_what_it_holds_is_discovered_anew(
    world: World, is_held: bool
) -> None:
    put(world)
    world.clock.advance(seconds=1)
    world.files.write(b"app.log.1", b"other\n")
    if not is_held:
        world.restart()
    world.carry()
    assert [row.state for row in world.rows()] == [State.GONE]
    (line,) = world.log.of("source.vanished")
    assert (line["path"], line["code"]) == ("app.log.1", "SourceChanged")
    assert "shipper acknowledge" in str(line["hint"])
    world.run(rounds=1)
    assert world.contents() == [b"other\n"]


@pytest.mark.parametrize("body", [b"hello\n", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("change", ["shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_never_acknowledged(
    world: World, body: bytes, change: str
) -> None:
    put(world, body)
    changed = body[: len(body) // 2] if change == "shrink" else body[::-1]
    part_cutter = world.carrier.services.sender.part_cutter
    checksum = part_cutter.checksum

    class ChangedWhenRead:
        """The checksum of the first part."""

        def __init__(self) -> None:
            part_cutter.checksum = checksum
            self._checksum = checksum()
            self.add = self._checksum.add

        def value(self) -> str:
            world.clock.advance(seconds=1)
            world.files.write(b"app.log.1", changed)
            return self._checksum.value()

    part_cutter.checksum = ChangedWhenRead
    world.carrier.step()
    assert world.contents() == []
    world.run(rounds=2)
    assert world.contents() == [changed]
    assert world.store.unfinished_uploads() == []


def test_an_upload_of_a_file_that_was_touched_since_is_begun_anew(world: World) -> None:
    put(world, LARGE)
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    world.clock.advance(minutes=1)
    world.files.touch(b"app.log.1")
    world.run(rounds=2)
    assert world.contents() == [LARGE]
    assert world.store.operations().count("CreateMultipartUpload") == 2


def test_an_upload_begun_with_another_checksum_is_begun_anew(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    put(world, LARGE)
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    world.store._algorithm = ChecksumAlgorithm.SHA256
    world.restart()
    world.run(rounds=2)
    assert world.contents() == [LARGE]


def test_an_unreadable_source_is_parked_and_a_retry_brings_it_back(world: World) -> None:
    put(world)
    world.restart()
    world.files.deny(b"app.log.1")
    world.carry()
    (parked,) = world.rows(State.PARKED)
    assert parked.code == "SourceUnreadable"
    world.files.deny(b"app.log.1", is_denied=False)
    world.journal.record(parked, Retried(world.clock.now()))
    world.carry()
    assert world.contents() == [b"hello\n"]


def test_a_disk_that_fails_to_read_is_tried_again(world: World) -> None:
    put(world)
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    world.carry()
    assert world.rows()[0].code == "Unreadable"
    world.files.fail_reads(b"app.log.1", None)
    world.run(rounds=1)
    assert world.contents() == [b"hello\n"]


def test_idle_workers_wait_for_the_next_due_shipment(world: World) -> None:
    assert world.carrier.step() == 60.0
    put(world)
    world.store.fail_next("PutObject", PortError("SlowDown", retry_after=20.0))
    world.carrier.step()
    assert world.carrier.step() == pytest.approx(20.0, abs=0.1)


def test_a_journal_that_cannot_even_be_read_shuts_the_gate(world: World) -> None:
    put(world)
    world.journal.close()
    world.journal._database._connection = sqlite3.connect(":memory:")  # a file without its tables
    assert world.carrier.step() > 0
    shut = world.gate.reason()
    assert shut is not None
    assert shut.code == "JournalUnwritable"


def with_two_segments_waiting(world: World) -> bytes:
    one, two = random_log(1, 10_000), random_log(2, 20_000)
    world.files.write(b"app.log.1", one)
    world.store.outage = PortError("Unreachable")
    world.discover()
    world.carry()
    world.files.append(b"app.log.1", two)
    world.discover()
    world.carry()
    world.store.outage = None
    world.clock.advance(minutes=10)
    return one + two


def in_order(world: World) -> bytes:
    """The segments' objects, one after the other."""
    rows = sorted(world.rows(State.DONE), key=lambda row: row.raw_start)
    return b"".join(world.store.objects()[row.key] for row in rows)


def test_a_segment_that_was_superseded_leaves_no_hole(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    whole = with_two_segments_waiting(world)
    source = world.held._holdings[world.rows()[0].id].source
    assert source is not None
    read = source.read

    def touch_and_read(offset: int, length: int) -> bytes:
        if length > 4096:
            source.read = read  # type: ignore[method-assign]  # once is enough
            world.files.touch(b"app.log.1")
        return read(offset, length)

    source.read = touch_and_read  # type: ignore[method-assign]  # somebody touches it just then
    world.run(rounds=6)
    assert in_order(world) == whole
    assert world.files.paths() == []


def test_a_segment_whose_name_a_scan_missed_leaves_no_hole(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    whole = with_two_segments_waiting(world)
    world.held.close()
    world.files.rename(b"app.log.1", b"app.log.2")
    scan = world.files.scan

    def miss(*_: Any) -> Iterator[Entry | PortError]:
        world.files.scan = scan  # type: ignore[method-assign]  # once
        return iter(())

    world.files.scan = miss  # type: ignore[method-assign, assignment]  # as a rename during a scan does
    world.carry()
    assert not world.rows(State.GONE)
    world.run(rounds=6)
    assert in_order(world) == whole
    assert world.files.paths() == []


def test_a_file_written_anew_and_longer_while_it_is_read_is_never_mixed(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    longer = random_log(9, 12 * MIB)
    world.files.write(b"app.log.1", LARGE)
    world.discover()

    def effect(name: str) -> None:
        if name == "CreateMultipartUpload.after":
            world.store.effect = lambda name: None
            world.clock.advance(seconds=1)
            world.files.write(b"app.log.1", longer)

    world.store.effect = effect
    world.run(rounds=3)
    assert world.contents() == [longer]


def test_an_upload_that_vanished_between_two_parts_is_begun_anew(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("UploadPart", PortError("Timeout"))
    world.carry()
    (row,) = world.rows(State.UPLOADING)
    assert row.upload_id is not None
    world.store.abort_upload(row.key, row.upload_id)  # as the bucket's lifecycle rule does
    world.run(rounds=2)
    assert world.contents() == [LARGE]


def test_a_file_touched_after_its_promise_resumes_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.clock.advance(seconds=1)
    world.files.touch(b"app.log.1")
    for _ in range(2):
        world.store.fail_next("UploadPart", PortError("Timeout"))
        world.carry()
        world.clock.advance(minutes=10)
    world.carry()
    assert world.contents() == [LARGE]
    assert world.store.operations().count("CreateMultipartUpload") == 1


def test_a_long_resume_shows_signs_of_life_and_hears_of_a_stop(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", random_log(3, 24 * MIB))
    world.discover()
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    before = world.signs_of_life
    world.clock.advance(minutes=10)
    world.stopping.set()
    world.carrier.step()
    assert world.signs_of_life == before + 1
    assert world.rows()[0].state is State.UPLOADING
    world.stopping.clear()
    world.carry()
    assert world.signs_of_life >= before + 6
    assert len(world.contents()) == 1


def test_a_key_that_is_taken_again_and_again_parks_again_and_again(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", b"x\n")
    world.discover()
    world.store.put(world.rows()[0].key, b"other body", checksum="", metadata={}).result()
    world.carry()
    world.held.close()
    world.files.rename(b"app.log.1", b"/elsewhere")
    world.journal.record(world.rows()[0], Retried(world.clock.now()))
    world.carry()
    assert world.rows()[0].state is State.GONE
    world.files.rename(b"/elsewhere", b"app.log.1")
    world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.PARKED]


def test_receipts_of_another_checksum_begin_the_upload_anew(tmp_path: Path) -> None:
    world, body = World(tmp_path, watch=replace(WATCH, compression=Compression.NONE)), LARGE
    world.files.write(b"app.log.1", body)
    world.discover()
    for _ in range(2):
        world.store.fail_next("UploadPart", PortError("Timeout"))
    world.carry()
    (row,) = world.rows(State.UPLOADING)
    world.journal.receive(row, Receipt(1, 0, 5 * 1024**2, 5 * 1024**2, ETag("e"), "A" * 44))
    world.run(rounds=3)
    assert world.contents() == [body]
    assert world.store.operations().count("CreateMultipartUpload") == 2


def test_what_ended_meanwhile_is_not_set_aside(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"hello\n")
    world.run(rounds=1)
    (row,) = world.rows(State.DONE)
    carried = Carried(row, world.journal, world.store, world.log, is_brief=False)
    run(world.carrier.failed_attempts.set_aside(carried, PortError("Bug")))
    assert world.rows() == [row]


@pytest.mark.parametrize("writes", [0, 1], ids=["the intent", "the failure of the write"])
@pytest.mark.parametrize("in_flight", [0, 64])
def test_a_journal_that_cannot_be_written_any_more_shuts_the_gate_and_gives_claims_back(
    world: World, in_flight: int, writes: int
) -> None:
    world.in_flight = in_flight
    put(world)
    world.store.fail_next("PutObject", PortError("Timeout"))
    left = itertools.repeat(None, writes)

    def full(name: str) -> None:
        if name == "before journal" and next(left, "none") == "none":
            raise PortError("JournalUnwritable", "disk full")

    world.journal.effect = full
    world.carry()
    shut = world.gate.reason()
    assert shut is not None
    assert shut.code == "JournalUnwritable"
    assert world.contents() == []
    world.journal.effect = lambda name: None
    for _ in range(2):
        world.clock.advance(minutes=15)
        world.carry()
    assert world.contents() == [b"hello\n"]
