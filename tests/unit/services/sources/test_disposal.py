"""What becomes of a source once S3 has it."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.failures import hint_for
from shipper.core.lifecycle import CheckRetried
from shipper.core.types import (
    AfterUpload,
    Compression,
    Entry,
    ObjectKey,
    State,
    WriterTest,
)
from shipper.ports import PortError
from tests.machines.world import WATCH, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)
DELETING = replace(RAW, after_upload=AfterUpload.DELETE)
DELETING_LATER = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=600.0)


def put(world: World, body: bytes = b"hello\n") -> None:
    world.files.write(b"app.log.1", body)
    world.discover()


def deleting(tmp_path: Path, **store: Any) -> World:
    return World(tmp_path, watch=replace(RAW, after_upload=AfterUpload.DELETE), **store)


def test_nothing_is_deleted_before_s3_was_asked_and_the_delay_is_over(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world)
    world.carry()
    assert world.store.operations() == ["PutObject", "ListObjectsV2"]
    assert world.rows()[0].state is State.VERIFIED
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(minutes=10)
    world.carry()
    assert world.files.paths() == []
    assert world.rows()[0].state is State.DONE


def test_where_the_removal_follows_at_once_one_listing_is_made(tmp_path: Path) -> None:
    watch = replace(RAW, after_upload=AfterUpload.DELETE, delete_after_seconds=0.0)
    world = World(tmp_path, watch=watch)
    put(world)
    world.carry()
    assert world.files.paths() == []
    assert world.store.operations() == ["PutObject", "ListObjectsV2"]


@pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
def test_what_s3_has_no_more_when_the_delay_is_over_is_sent_again_and_stays_until_it_is_there(
    tmp_path: Path, after: AfterUpload
) -> None:
    watch = replace(DELETING, after_upload=after, archive_directory="/archive")
    world = World(tmp_path, watch=watch)
    put(world)
    world.carry()
    world.store.remove(world.rows()[0].key)
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    assert world.log.of("object.mismatched")
    world.clock.advance(minutes=1)
    world.carry()
    assert world.contents() == [b"hello\n"]
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(minutes=11)
    world.carry()
    assert b"app.log.1" not in world.files.paths()
    assert world.rows()[0].state is State.DONE


def test_what_s3_has_no_more_for_the_second_time_waits_for_an_operator(tmp_path: Path) -> None:
    """Somebody takes the objects away: each would be sent again for ever."""
    world = World(tmp_path, watch=DELETING)
    put(world)
    for _ in range(6):
        world.carry()
        if world.store.objects():
            world.store.remove(world.rows()[0].key)
        world.clock.advance(minutes=11)
    row = world.rows()[0]
    assert (row.state, row.code) == (State.PARKED, "ObjectMissing")
    assert world.store.operations().count("PutObject") == 2
    assert world.files.paths() == [b"app.log.1"]


def test_another_object_in_its_place_is_not_overwritten_and_no_reason_for_a_removal(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=DELETING)
    put(world)
    world.carry()
    key = world.rows()[0].key
    world.store.remove(key)
    world.store.put(key, b"another's", checksum="", metadata={}).result()
    for _ in range(2):
        world.clock.advance(minutes=11)
        world.carry()
    assert sorted(world.contents()) == [b"another's", b"hello\n"]
    assert world.files.paths() == [b"app.log.1"]


def test_nothing_is_removed_while_s3_cannot_be_asked(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    put(world)
    world.carry()
    world.store.outage = PortError("Unreachable")
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    world.store.outage = None
    world.run(rounds=2)
    assert world.files.paths() == []


def test_a_log_of_which_s3_has_the_first_segment_no_more_is_not_removed(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    put(world, b"one\n")
    world.carry()
    world.files.append(b"app.log.1", b"two\n")
    world.clock.advance(minutes=11)
    world.carry()
    world.discover()
    world.carry()
    first, second = sorted(world.rows(), key=lambda row: row.raw_start)
    assert (first.state, second.state) == (State.DONE, State.VERIFIED)
    world.store.remove(first.key)
    world.clock.advance(minutes=11)
    world.carry()
    parked = max(world.rows(), key=lambda row: row.raw_start)
    assert (parked.state, parked.code) == (State.PARKED, "ObjectMissing")
    assert first.key in parked.detail
    assert world.files.paths() == [b"app.log.1"]


def test_an_object_that_is_missing_at_the_check_is_sent_again(tmp_path: Path) -> None:
    world = deleting(tmp_path, echoes_checksums=False)
    put(world)
    world.store.effect = lambda name: (
        world.store.remove(world.rows()[0].key)
        if name == "PutObject.after" and world.store.operations().count("PutObject") == 1
        else None
    )
    world.run(rounds=2)
    assert world.contents() == [b"hello\n"]
    assert world.log.of("object.mismatched")


def test_a_file_with_a_writer_is_not_deleted(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world)
    world.carry()
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    assert world.rows()[0].code == "SourceInUse"
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.clock.advance(minutes=1)
    world.carry()
    assert world.files.paths() == []


@pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
def test_a_file_of_which_nobody_can_tell_the_writers_stays_and_says_which_setting_removes_it(
    tmp_path: Path, after: AfterUpload
) -> None:
    watch = replace(RAW, after_upload=after, archive_directory="/archive")
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", b"hello\n")
    world.files.set_writer(b"app.log.1", WriterTest.UNKNOWN)
    for _ in range(20):
        world.run(rounds=1)
    assert world.files.paths() == [b"app.log.1"]
    row = world.rows()[0]
    assert (row.state, row.code, row.attempts) == (State.VERIFIED, "WriterUnproven", 0)
    assert "after_upload_unproven = true" in hint_for(row.code)
    assert world.discovery.unremoved_files == 1
    assert world.log.of("attempt.failed") == []
    world.watch = replace(watch, after_upload_unproven=True)
    world.restart()
    world.clock.advance(hours=1)
    world.carry()
    assert world.files.paths() == []
    world.discover()
    assert world.discovery.unremoved_files == 0


def test_a_file_that_grew_is_kept_until_its_growth_is_shipped(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world, b"one\n")
    world.carry()
    world.files.append(b"app.log.1", b"two\n")
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    world.run(rounds=2)
    assert world.files.paths() == []
    assert sorted(world.contents()) == [b"one\n", b"two\n"]


def test_a_file_is_not_deleted_while_an_earlier_segment_is_not_in_s3(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world, b"one\n")
    first = world.row(b"app.log.1")
    world.store.place(first.key, b"theirs")
    world.carry()
    assert world.row(b"app.log.1").state is State.PARKED
    world.files.append(b"app.log.1", b"two\n")
    world.run(rounds=2)
    assert world.files.paths() == [b"app.log.1"]
    assert world.row(b"app.log.1").code == "SegmentPending"


def test_a_renamed_file_is_deleted_under_its_new_name(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world)
    world.carry()
    world.files.rename(b"app.log.1", b"app.log.2")
    world.files.write(b"app.log.1", b"the next one\n")
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    assert world.files.body(b"app.log.1") == b"the next one\n"


def test_a_file_that_somebody_else_deleted_is_done(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    put(world)
    world.carry()
    world.files.delete(b"app.log.1")
    world.clock.advance(minutes=11)
    world.carry()
    assert world.rows()[0].state is State.DONE


def test_a_removal_that_is_denied_is_parked_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = deleting(tmp_path)
    put(world)
    world.carry()
    world.files.deny(b"app.log.1")
    world.clock.advance(minutes=11)
    world.carry()
    assert world.rows()[0].state is State.PARKED
    assert world.log.of("shipment.parked")[0]["hint"]


def test_a_file_whose_inode_belongs_to_another_by_now_is_done(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    world.files._reuses_inodes = True
    put(world)
    world.carry()
    world.files.delete(b"app.log.1")
    world.clock.advance(seconds=9)
    world.files.write(b"app.log.1", b"another log\n")
    world.run(rounds=2)
    assert [row.state for row in world.rows()] == [State.DONE, State.DONE]
    assert sorted(world.contents()) == [b"another log\n", b"hello\n"]
    assert world.files.paths() == []


def test_a_segment_of_a_file_that_was_written_anew_does_not_wait_for_the_others(
    tmp_path: Path,
) -> None:
    """Its first segment came to nothing, and never will come to anything."""
    world = deleting(tmp_path)
    put(world, b"first\n")
    world.held.close()
    for _ in range(2):
        world.store.fail_next("PutObject", PortError("InternalError"))
    world.carry()
    world.files.append(b"app.log.1", b"second\n")
    world.discover()
    world.carry()
    assert [row.state for row in world.rows()] == [State.READY, State.VERIFIED]

    world.files.write(b"app.log.1", b"other bytes, and more of them\n")
    world.run()
    states = [State.GONE, State.DONE, State.DONE]
    assert [row.state for row in world.rows()] == states
    assert world.files.paths() == []
    assert sorted(world.contents()) == [b"other bytes, and more of them\n", b"second\n"]


def rewritten(body: bytes) -> bytes:
    """As long, with the same first and last bytes, and another middle."""
    return body[:8000] + b"X" * 4000 + body[12000:]


def test_a_file_rewritten_in_its_middle_is_not_deleted_but_shipped_again(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    body = random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()
    world.clock.advance(seconds=30)
    rewritten = body[:10_000] + b"precious" + body[10_008:]
    world.files.write(b"app.log.1", rewritten)
    world.run(rounds=4)
    assert sorted(world.contents()) == sorted([body, rewritten])
    assert world.files.paths() == []


def test_a_file_that_was_only_touched_is_deleted_after_a_proof(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    world.files.write(b"app.log.1", b"the same bytes\n")
    world.discover()
    world.carry()
    world.clock.advance(seconds=30)
    world.files.touch(b"app.log.1")
    world.run(rounds=2)
    assert world.files.paths() == []
    assert len(world.contents()) == 1


def test_an_object_that_is_moved_away_on_arrival_is_sent_twice_and_then_parked(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=DELETING)
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    find = world.store.find

    def move_away(key: ObjectKey) -> Any:
        world.store._objects.pop(key, None)
        return find(key)

    world.store.find = move_away  # type: ignore[method-assign]  # a consumer
    world.carry()
    assert world.store.operations().count("PutObject") == 1
    world.run(rounds=6)
    assert world.store.operations().count("PutObject") == 2
    (row,) = world.rows()
    assert (row.state, row.code) == (State.PARKED, "ObjectMissing")
    assert world.files.paths() == [b"app.log.1"]


def test_a_source_that_moves_while_it_is_looked_for_is_removed_later(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    world.files.write(b"app.log.1", b"x\n")
    world.discover()
    world.carry()
    world.files.rename(b"app.log.1", b"app.log.2")
    scan = world.files.scan

    def shift(*arguments: Any) -> Iterator[Entry | PortError]:
        found = list(scan(*arguments))
        if world.files.paths() == [b"app.log.2"]:
            world.files.rename(b"app.log.2", b"app.log.3")
        return iter(found)

    world.files.scan = shift  # type: ignore[method-assign, assignment]  # a rotator at work
    world.clock.advance(minutes=11)
    world.carry()
    assert world.rows()[0].state is State.VERIFIED
    world.clock.advance(minutes=2)
    world.carry()
    assert world.files.paths() == []


def test_a_parked_older_file_of_the_same_inode_blocks_no_removal(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    world.files._reuses_inodes = True
    world.files.write(b"app.log.1", b"x\n")
    world.discover()
    world.store.put(world.rows()[0].key, b"other body", checksum="", metadata={}).result()
    world.carry()
    assert world.rows()[0].state is State.PARKED
    world.files.delete(b"app.log.1")
    world.clock.advance(seconds=9)
    world.files.write(b"app.log.1", b"another log\n")
    world.run(rounds=4)
    assert world.files.paths() == []


def test_a_log_whose_removal_is_denied_still_has_its_twin_recognised(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    body = b"a line\n" * 5000
    status = world.files.write(b"app.log.1", body)
    remove = world.files.remove

    def denied(*_: object) -> bool:
        raise PortError("RemoveDenied", "not writable")

    world.files.remove = denied  # type: ignore[method-assign, assignment]  # a missing permission
    world.run(rounds=1)
    world.files.write(b"app.log.1.gz", gzip.compress(body))
    world.files.touch(b"app.log.1.gz", status.mtime_ns)
    world.run(rounds=2)
    assert len(world.contents()) == 1
    world.files.remove = remove  # type: ignore[method-assign]
    (parked,) = world.rows(State.PARKED)
    world.journal.record(parked, CheckRetried(world.clock.now()))
    world.run(rounds=2)
    assert world.row(b"app.log.1").state is State.DONE
    assert b"app.log.1" not in world.files.paths()
    assert len(world.contents()) == 1


def test_a_log_cut_and_written_anew_to_its_first_length_ends_no_loop(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING_LATER)
    world.files.write(b"app.log.1", random_log(1, 5000))
    world.discover()
    world.carry()
    world.clock.advance(seconds=60)
    world.files.append(b"app.log.1", random_log(2, 4000))
    world.discover()
    world.carry()
    world.clock.advance(seconds=60)
    world.files.write(b"app.log.1", random_log(3, 5000))
    world.discover()
    world.carry()
    world.clock.advance(minutes=15)
    world.carry()
    assert random_log(3, 5000) in world.contents()
    assert world.rows(State.READY) == world.rows(State.VERIFIED) == []


def test_what_was_rewritten_while_its_removal_was_parked_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, body = World(tmp_path, watch=DELETING_LATER), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()

    def denied(*_: Any) -> bool:
        raise PortError("RemoveDenied")

    with monkeypatch.context() as patch:
        patch.setattr(world.files, "remove", denied)
        world.clock.advance(minutes=15)
        world.carry()
        parked = world.row(b"app.log.1")
        assert parked.state is State.PARKED
        world.files.write(b"app.log.1", rewritten(body))
        world.discover()
        world.discover()
    world.journal.record(parked, CheckRetried(world.clock.now()))
    world.run()
    assert rewritten(body) in world.contents() or world.files.paths() == [b"app.log.1"]


def test_a_disowned_log_dated_1970_is_shipped(tmp_path: Path) -> None:
    world, body = World(tmp_path, watch=DELETING_LATER), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    world.carry()
    world.files.write(b"app.log.1", rewritten(body))
    world.files.touch(b"app.log.1", 0)
    world.clock.advance(minutes=15)
    world.carry()
    world.run()
    assert rewritten(body) in world.contents()
