"""A lost journal costs bandwidth and no second object: 412, one listing, the ETag."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import Retried
from shipper.core.types import AfterUpload, Compression, Shipment, State
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, random_log

SMALL = b"a line\n" * 1000
LARGE = random_log(5, 15 * MIB)
TEXT = b"".join(b"%d: what happened then was this\n" % n for n in range(60_000))
RAW = replace(WATCH, compression=Compression.NONE)


def shipped(world: World, *bodies: bytes) -> World:
    """Everything is in S3, and the journal forgets it."""
    for number, body in enumerate(bodies):
        world.files.write(b"app-%d.log.1" % number, body)
    world.run(rounds=1)
    assert {row.state for row in world.rows()} == {State.DONE}
    world.lose_journal()
    world.store.calls.clear()
    world.log.records.clear()
    return world


def retried(world: World) -> Shipment:
    (parked,) = world.rows(State.PARKED)
    world.journal.record(parked, Retried(world.clock.now()))
    world.carry()
    return world.rows()[0]


@pytest.mark.parametrize("is_md5", [True, False])
@pytest.mark.parametrize("compression", list(Compression))
def test_what_s3_has_is_sent_again_and_found_there(
    tmp_path: Path, compression: Compression, is_md5: bool
) -> None:
    watch = replace(WATCH, compression=compression)
    world = shipped(World(tmp_path, watch=watch, etag_is_md5=is_md5), SMALL, LARGE, b"x")
    before = world.store.objects()
    world.run(rounds=1)
    assert world.store.objects() == before
    assert world.store.unfinished_uploads() == []
    assert [row.state for row in world.rows()] == [State.DONE] * 3
    assert len(world.log.of("answer.recovered")) == 3
    operations = world.store.operations()
    assert (operations.count("PutObject"), operations.count("CompleteMultipartUpload")) == (2, 1)
    assert world.is_empty_handed()
    world.store.calls.clear()
    world.run(rounds=1)
    assert world.store.operations() == []


def test_what_s3_has_is_deleted_here_only_after_another_look(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", SMALL)
    world.discover()
    world.carry()
    world.lose_journal()
    world.store.calls.clear()
    world.discover()
    world.carry()
    assert world.store.operations() == ["PutObject", "ListObjectsV2", "ListObjectsV2"]
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(hours=1)
    world.carry()
    assert world.files.paths() == []
    assert world.contents() == [SMALL]


# A server that knows no conditions.


def test_where_conditions_are_ignored_a_listing_finds_what_is_there(tmp_path: Path) -> None:
    world = shipped(World(tmp_path, conditional_writes=False), SMALL, LARGE)
    before = world.store.objects()
    world.run(rounds=1)
    assert world.store.objects() == before
    assert [row.state for row in world.rows()] == [State.DONE] * 2
    assert len(world.log.of("answer.recovered")) == 2
    assert world.store.unfinished_uploads() == []
    operations = world.store.operations()
    assert {"PutObject", "CompleteMultipartUpload"}.isdisjoint(operations)


def test_where_conditions_are_ignored_each_write_costs_one_listing(tmp_path: Path) -> None:
    world = World(tmp_path, conditional_writes=False)
    for number, body in enumerate([SMALL, LARGE]):
        world.files.write(b"app-%d.log.1" % number, body)
    world.run(rounds=1)
    assert world.store.operations().count("ListObjectsV2") == 2
    assert len(world.store.objects()) == 2


@pytest.mark.parametrize("body", [random_log(3, 40_000), LARGE], ids=["small", "large"])
def test_where_conditions_are_ignored_other_bytes_under_the_key_stay(
    tmp_path: Path, body: bytes
) -> None:
    """A crash left zeros in the middle of the log, and took the journal."""
    world = World(tmp_path, watch=RAW, conditional_writes=False)
    stat = world.files.write(b"app.log.1", body)
    world.run(rounds=1)
    middle = len(body) // 2
    world.files.write(b"app.log.1", body[:middle] + bytes(200) + body[middle + 200 :])
    world.files.touch(b"app.log.1", stat.mtime_ns)
    world.lose_journal()
    world.run(rounds=10)
    (parked,) = world.rows()
    assert (parked.state, parked.code) == (State.PARKED, "KeyTaken")
    assert world.contents() == [body]
    assert retried(world).state is State.DONE
    assert len(world.contents()) == 2


def test_what_s3_does_not_have_is_sent(tmp_path: Path) -> None:
    world = shipped(World(tmp_path), SMALL)
    world.files.write(b"app-1.log.1", LARGE)
    world.run(rounds=1)
    assert sorted(world.contents()) == sorted([SMALL, LARGE])


def test_the_copy_compressed_since_is_a_second_object(tmp_path: Path) -> None:
    """What it is a copy of was known to the lost journal only."""
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1", SMALL)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    packed = gzip.compress(SMALL, mtime=0)
    world.files.write(b"app.log.2.gz", packed)
    world.files.touch(b"app.log.2.gz", stat.mtime_ns)
    world.lose_journal()
    world.run(rounds=1)
    assert world.contents() == [SMALL, SMALL]
    assert packed in world.store.objects().values()


# Settings that have changed since.


def at_level(world: World, level: int) -> None:
    world.watch = replace(world.watch, compression_level=level)
    world.restart()


def with_part_size(world: World, mib: int) -> None:
    world.part_size_bytes = mib * MIB
    world.restart()


CHANGES: list[tuple[bytes, Callable[[World], None], Callable[[World], None]]] = [
    (TEXT, lambda world: at_level(world, 4), lambda world: at_level(world, 2)),
    (LARGE, lambda world: with_part_size(world, 10), lambda world: with_part_size(world, 5)),
]


@pytest.mark.parametrize(("body", "before", "since"), CHANGES, ids=["level", "part size"])
def test_an_object_made_otherwise_is_never_overwritten_and_a_retry_takes_another_key(
    tmp_path: Path,
    body: bytes,
    before: Callable[[World], None],
    since: Callable[[World], None],
) -> None:
    world = World(tmp_path)
    before(world)
    shipped(world, body)
    objects = world.store.objects()
    since(world)
    world.run(rounds=1)
    (parked,) = world.rows()
    assert (parked.state, parked.code) == (State.PARKED, "KeyTaken")
    assert world.store.objects() == objects
    assert world.store.unfinished_uploads() == []
    assert "compression_level or part_size" in str(world.log.of("shipment.parked")[0]["hint"])
    assert retried(world).state is State.DONE
    after = world.store.objects()
    assert objects.items() <= after.items()
    assert after.keys() == {*objects, parked.key}


def test_another_object_under_the_key_is_never_taken_for_ours(tmp_path: Path) -> None:
    world = shipped(World(tmp_path, watch=RAW), SMALL)
    (key,) = world.store.objects()
    world.store.place(key, SMALL.upper())
    world.run(rounds=10)
    (row,) = world.rows()
    assert (row.state, row.code) == (State.PARKED, "KeyTaken")
    assert world.store.objects() == {key: SMALL.upper()}
    assert "7000 bytes with ETag" in row.detail


# ETags that tell nothing: SSE-KMS.


def test_where_etags_tell_nothing_another_length_is_another_object(tmp_path: Path) -> None:
    world = shipped(World(tmp_path, watch=RAW, etag_is_md5=False), SMALL)
    (key,) = world.store.objects()
    world.store.place(key, SMALL + b"!")
    world.run(rounds=1)
    assert [row.code for row in world.rows()] == ["KeyTaken"]


@pytest.fixture
def default_kms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The bucket encrypts with KMS by its own default, which nobody has told shipper."""
    world = shipped(World(tmp_path, etag_is_md5=False), SMALL)
    monkeypatch.setattr(type(world.store), "etag_is_md5", property(lambda store: True))
    world.restart()
    world.discover()
    world.carry()
    assert [row.code for row in world.rows()] == ["ObjectUndecided"]
    return world


def test_the_next_write_tells_that_etags_mean_nothing(default_kms: World) -> None:
    default_kms.files.write(b"app.log.1", b"new\n")
    default_kms.run(rounds=2)
    assert [row.state for row in default_kms.rows()] == [State.DONE, State.DONE]
    assert len(default_kms.store.objects()) == 2


def test_without_a_write_it_is_parked_until_an_operator_tells(default_kms: World) -> None:
    default_kms.run(rounds=10)
    assert [row.code for row in default_kms.rows()] == ["KeyTaken"]
    assert "destination.server_side_encryption" in str(
        default_kms.log.of("shipment.parked")[0]["hint"]
    )


def test_a_large_file_learns_from_its_own_parts_what_etags_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = shipped(World(tmp_path, etag_is_md5=False), LARGE)
    monkeypatch.setattr(type(world.store), "etag_is_md5", property(lambda store: True))
    world.restart()
    world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.DONE]
    assert len(world.store.objects()) == 1


# What may happen meanwhile.


def test_every_crash_point_recovers(tmp_path: Path) -> None:
    for n in range(1, 99):
        world = shipped(World(tmp_path / str(n)), SMALL, LARGE)
        before = world.store.objects()
        fuse = Fuse(at=n)
        world.restart(fuse)
        try:
            world.run(rounds=1)
        except Crash:
            world.restart()
            world.run(rounds=1)
        assert world.store.objects() == before, fuse.burnt_at
        assert [row.state for row in world.rows()] == [State.DONE] * 2, fuse.burnt_at
        world.stop()
        if not fuse.burnt_at:
            assert n > 10
            return
    raise AssertionError("unreachable")
