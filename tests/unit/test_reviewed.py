"""Ways to lose, double or mix a log that a reviewer found, each of them closed."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.lifecycle import CheckRetried, Retried
from shipper.core.types import AfterUpload, Compression, Entry, ObjectKey, State
from shipper.ports import PortError
from tests.machines.world import MIB, WATCH, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)
DELETING = replace(RAW, after_upload=AfterUpload.DELETE)
LARGE = random_log(7, 11 * MIB)


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
    assert world.rows(State.GONE)
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


@pytest.fixture
def kms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket that encrypts with KMS by its own default; the configuration does not say so."""
    world = World(tmp_path, watch=RAW, etag_is_md5=False)
    monkeypatch.setattr(type(world.store), "etag_is_md5", property(lambda store: True))
    world.restart()
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    world.store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
    world.carry()
    return world


def test_a_lost_answer_of_a_bucket_with_kms_by_default_makes_no_second_object(kms: World) -> None:
    kms.clock.advance(minutes=1)
    kms.carry()
    assert kms.rows()[0].code == "ObjectUndecided"
    kms.files.write(b"app.log.2", b"another\n")
    kms.run(rounds=2)
    assert [row.state for row in kms.rows()] == [State.DONE, State.DONE]
    assert len(kms.contents()) == 2


def test_an_object_that_nothing_can_tell_about_is_parked_at_last(kms: World) -> None:
    kms.run(rounds=10)
    (row,) = kms.rows()
    assert (row.state, row.code) == (State.PARKED, "KeyTaken")


def test_a_log_whose_removal_is_denied_still_has_its_twin_recognised(tmp_path: Path) -> None:
    world = World(tmp_path, watch=DELETING)
    body = b"a line\n" * 5000
    status = world.files.write(b"app.log.1", body)
    remove = world.files.remove

    def denied(*_: object) -> bool:
        raise PortError("RemoveDenied", "not writable")

    world.files.remove = denied  # type: ignore[method-assign, assignment]  # a missing permission
    world.run(rounds=1)
    world.files.write(b"app.log.2.gz", gzip.compress(body))
    world.files.touch(b"app.log.2.gz", status.mtime_ns)
    world.run(rounds=2)
    assert len(world.contents()) == 1
    world.files.remove = remove  # type: ignore[method-assign]
    (parked,) = world.rows(State.PARKED)
    world.journal.record(parked, CheckRetried(world.clock.now()))
    world.run(rounds=2)
    assert world.row(b"app.log.1").state is State.DONE
    assert b"app.log.1" not in world.files.paths()
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


def test_what_is_written_between_a_jump_of_the_clock_and_the_next_look_is_due_in_time(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=RAW)
    housekeeping = world.housekeeping
    housekeeping.step()
    world.files.write(b"app.log.1", b"x\n")
    world.discovery.step()
    world.clock.advance(seconds=5)
    world.clock.set_wall(world.clock.now() + 365 * 86_400)
    world.discovery.step()
    housekeeping.step()
    world.clock.advance(minutes=10)
    world.carry()
    assert world.contents() == [b"x\n"]


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
    world.store.put(world.rows()[0].key, b"other body", checksum="", metadata={})
    world.carry()
    assert world.rows()[0].state is State.PARKED
    world.files.delete(b"app.log.1")
    world.clock.advance(seconds=9)
    world.files.write(b"app.log.1", b"another log\n")
    world.run(rounds=4)
    assert world.files.paths() == []


def test_a_key_that_is_taken_again_and_again_parks_again_and_again(tmp_path: Path) -> None:
    world = World(tmp_path, watch=RAW)
    world.files.write(b"app.log.1", b"x\n")
    world.discover()
    world.store.put(world.rows()[0].key, b"other body", checksum="", metadata={})
    world.carry()
    world.held.close()
    world.files.rename(b"app.log.1", b"/elsewhere")
    world.journal.record(world.rows()[0], Retried(world.clock.now()))
    world.carry()
    assert world.rows()[0].state is State.GONE
    world.files.rename(b"/elsewhere", b"app.log.1")
    world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.PARKED]


def test_two_file_systems_below_one_watch_with_one_inode_ship_each_log_once(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=RAW)
    one, two = b"on the one\n" * 500, b"on the other\n" * 700
    world.files.write(b"app.log.1", one)
    world.files.write(b"mnt/app.log.1", two)
    nodes = list(world.files._nodes.values())
    nodes[1].inode, nodes[1].device = nodes[0].inode, 1
    world.run(rounds=2)
    for _ in range(2):
        world.files.append(b"app.log.1", b"more\n")
        world.files.append(b"mnt/app.log.1", b"more there\n")
        world.run(rounds=2)
    assert sorted(world.contents()) == sorted(
        [one, two, b"more\n", b"more there\n", b"more\n", b"more there\n"]
    )
    world.discover()
    assert world.discovery.waiting_files == 0
