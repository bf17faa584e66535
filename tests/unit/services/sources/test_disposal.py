"""What becomes of a source once S3 has it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.core.types import (
    AfterUpload,
    Compression,
    State,
    WriterTest,
)
from shipper.ports import PortError
from tests.machines.world import WATCH, World

RAW = replace(WATCH, compression=Compression.NONE)


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
    world.store.facts(first.key, b"theirs")
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
    states = [State.SUPERSEDED, State.DONE, State.DONE]
    assert [row.state for row in world.rows()] == states
    assert world.files.paths() == []
    assert sorted(world.contents()) == [b"other bytes, and more of them\n", b"second\n"]
