"""A log that was restored or unpacked is the same log; one that is only equal to it is another."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from shipper.core.types import AfterUpload, RelativePath, State, WatchName
from shipper.ports import PortError
from tests.machines.world import WATCH, World

BODY = b"a line of a log\n" * 5000
PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gz": lambda raw: gzip.compress(raw, mtime=0),
    b"zst": zstandard.ZstdCompressor().compress,
    b"lz4": lz4.frame.compress,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A log that was shipped, and then deleted."""
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.delete(b"app.log.1")
    return world


def put(world: World, name: bytes, body: bytes, mtime_ns: int | None = None) -> State:
    """A file appears with this mtime, and all is done that is to be done; what became of it."""
    world.files.write(name, body)
    world.files.touch(name, mtime_ns)
    world.run(rounds=1)
    return world.row(name).state


def mtime_of(world: World) -> int:
    return world.rows()[0].mtime_ns


# Restored: cp -p.


@pytest.mark.parametrize("name", [b"app.log.1", b"app.log.7", b"app.log-20261123"])
def test_a_restored_log_makes_no_second_object(world: World, name: bytes) -> None:
    assert put(world, name, BODY, mtime_of(world)) is State.DUPLICATE
    assert world.contents() == [BODY]
    row = world.row(name)
    assert row.detail == world.rows()[0].key
    assert row.raw_sha256 == world.rows()[0].raw_sha256
    assert row.raw_crc32 == world.rows()[0].raw_crc32


def test_a_copy_outlives_an_original_that_was_written_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.write(b"app.log.1", b"other bytes\n")
    assert put(world, b"app.log.7", BODY, mtime_of(world)) is State.DUPLICATE
    assert sorted(world.contents()) == sorted([BODY, b"other bytes\n"])


def test_a_restored_log_in_segments_makes_no_second_object(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.append(b"app.log.1", b"more\n")
    world.run(rounds=1)
    mtime_ns = world.rows()[1].mtime_ns
    world.files.delete(b"app.log.1")
    assert put(world, b"app.log.2", BODY + b"more\n", mtime_ns) is State.DUPLICATE
    assert len(world.contents()) == 2


def test_a_restored_log_beside_its_renamed_original_makes_no_second_object(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.rename(b"app.log.1", b"app.log.2")
    assert put(world, b"app.log.1", BODY, mtime_of(world)) is State.DUPLICATE


@pytest.mark.parametrize("packed", [b"gz", b"zip"])
def test_a_restored_compressed_log_makes_no_second_object(tmp_path: Path, packed: bytes) -> None:
    world = World(tmp_path)
    name, body = b"app.log.1." + packed, PACKERS[b"gz"](BODY)
    put(world, name, body)
    world.files.delete(name)
    assert put(world, name, body, mtime_of(world)) is State.DUPLICATE
    assert len(world.store.objects()) == 1


def test_a_restored_log_that_grows_goes_on_as_a_segment(tmp_path: Path) -> None:
    """And is deleted in the end: every byte of both segments is known to be in S3."""
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=0.0)
    world = World(tmp_path, watch=watch)
    put(world, b"app.log.1", BODY)
    assert world.files.paths() == []
    world.files.write(b"app.log.1", BODY)
    world.files.touch(b"app.log.1", mtime_of(world))
    world.discover()
    world.carry()
    assert world.row(b"app.log.1").state is State.DUPLICATE
    world.files.append(b"app.log.1", b"more\n")
    world.run(rounds=3)
    assert sorted(world.contents()) == sorted([BODY, b"more\n"])
    assert world.files.paths() == []


def test_a_restored_log_waits_for_its_original_to_be_shipped(tmp_path: Path) -> None:
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown", retry_after=60.0))
    world.carry()
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.2", BODY)
    world.files.touch(b"app.log.2", stat.mtime_ns)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2").code == "TwinUndecided"
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.2").state is State.DUPLICATE


# Equal to the last byte, and two logs.


@pytest.mark.parametrize("name", [b"web.log.1", b"old/app.log.1", b"app.log.1.zip"])
def test_an_equal_file_of_another_log_is_shipped(world: World, name: bytes) -> None:
    assert put(world, name, BODY, mtime_of(world)) is State.DONE
    assert world.contents() == [BODY, BODY]


@pytest.mark.parametrize("off_ns", [1, -1, 10**9, 3600 * 10**9])
def test_an_equal_file_of_another_time_is_shipped(world: World, off_ns: int) -> None:
    """The same second is not enough."""
    assert put(world, b"app.log.1", BODY, mtime_of(world) + off_ns) is State.DONE
    assert world.contents() == [BODY, BODY]


def test_other_bytes_with_the_same_name_and_time_are_shipped(world: World) -> None:
    """Head, tail, length and mtime are those of the original."""
    body = BODY[:40_000] + b"!" + BODY[40_001:]
    assert put(world, b"app.log.1", body, mtime_of(world)) is State.DONE
    assert sorted(world.contents()) == sorted([BODY, body])


def test_equal_rotations_that_are_found_together_are_both_shipped(tmp_path: Path) -> None:
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1", BODY)
    world.files.write(b"app.log.2", BODY)
    world.files.touch(b"app.log.2", stat.mtime_ns)
    world.run(rounds=1)
    assert world.contents() == [BODY, BODY]


def test_an_equal_file_beside_its_original_is_shipped(tmp_path: Path) -> None:
    """Both stand, each in its place: two rotations, for all that can be known."""
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    assert put(world, b"app.log.2", BODY, mtime_of(world)) is State.DONE


def test_an_equal_file_whose_original_may_not_be_looked_at_is_shipped(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.deny(b"app.log.1")
    assert put(world, b"app.log.2", BODY, mtime_of(world)) is State.DONE


def test_an_original_that_cannot_be_read_now_is_looked_at_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1", BODY)
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    assert put(world, b"app.log.2", BODY, mtime_of(world)) is State.READY
    assert world.row(b"app.log.2").code == "Unreadable"


def test_equal_files_of_two_watches_are_both_shipped(tmp_path: Path) -> None:
    first = World(tmp_path)
    put(first, b"app.log.1", BODY)
    first.stop()
    second = World(tmp_path, watch=replace(WATCH, name=WatchName("other")))
    assert put(second, b"app.log.1", BODY, mtime_of(second)) is State.DONE
    assert second.contents() == [BODY]


def test_a_copy_of_what_was_never_shipped_is_shipped(tmp_path: Path) -> None:
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1", BODY)
    world.discover()
    world.restart()
    world.files.delete(b"app.log.1")
    world.run(rounds=1)
    assert world.rows(State.GONE)
    assert put(world, b"app.log.2", BODY, stat.mtime_ns) is State.DONE
    assert world.contents() == [BODY]


# Unpacked: the compressed file was shipped first.


def packed_world(tmp_path: Path, extension: bytes = b"gz", body: bytes = BODY) -> World:
    world = World(tmp_path)
    put(world, b"app.log.1." + extension, PACKERS[extension](body))
    return world


@pytest.mark.parametrize("extension", sorted(PACKERS))
def test_an_unpacked_log_makes_no_second_object(tmp_path: Path, extension: bytes) -> None:
    world = packed_world(tmp_path, extension)
    second = mtime_of(world) // 10**9 * 10**9
    assert put(world, b"app.log.1", BODY, second) is State.DUPLICATE
    assert len(world.store.objects()) == 1
    row = world.row(b"app.log.1")
    assert (row.detail, bool(row.raw_sha256)) == (world.rows()[0].key, True)


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"more\n", BODY[:-1] + b"!", b"x" * 9])
def test_other_bytes_beside_a_compressed_log_are_shipped(tmp_path: Path, body: bytes) -> None:
    world = packed_world(tmp_path)
    assert put(world, b"app.log.1", body, mtime_of(world)) is State.DONE
    assert len(world.store.objects()) == 2


def test_an_unpacked_log_of_another_second_is_shipped(tmp_path: Path) -> None:
    world = packed_world(tmp_path)
    assert put(world, b"app.log.1", BODY, mtime_of(world) + 10**9) is State.DONE


def test_without_the_compressed_file_there_is_no_proof(tmp_path: Path) -> None:
    world = packed_world(tmp_path)
    world.files.delete(b"app.log.1.gz")
    assert put(world, b"app.log.1", BODY, mtime_of(world)) is State.DONE


def test_a_compressed_file_that_changed_since_proves_nothing(tmp_path: Path) -> None:
    """Level 0 leaves the content the same, but these are not the bytes that S3 has."""
    world = World(tmp_path)
    body = gzip.compress(BODY, compresslevel=0, mtime=0)
    put(world, b"app.log.1.gz", body)
    mtime_ns = mtime_of(world)
    changed = body[:5000] + bytes([body[5000] ^ 1]) + body[5001:]
    world.files.write(b"app.log.1.gz", changed)
    world.files.touch(b"app.log.1.gz", mtime_ns)
    assert put(world, b"app.log.1", BODY, mtime_ns) is State.DONE


def test_a_damaged_compressed_file_proves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, b"app.log.1.gz", gzip.compress(BODY, mtime=0)[:-9])
    assert put(world, b"app.log.1", BODY, mtime_of(world)) is State.DONE


def test_an_unreadable_compressed_file_is_tried_again(tmp_path: Path) -> None:
    world = packed_world(tmp_path)
    world.files.write(b"app.log.1", BODY)
    world.files.touch(b"app.log.1", mtime_of(world))
    world.discover()
    world.files.fail_reads(b"app.log.1.gz", PortError("Unreadable", "EIO"))
    world.carry()
    assert (world.row(b"app.log.1").state, world.row(b"app.log.1").code) == (
        State.READY,
        "Unreadable",
    )
    world.files.fail_reads(b"app.log.1.gz", None)
    world.run(rounds=1)
    assert world.row(b"app.log.1").state is State.DUPLICATE


def test_an_unpacked_log_waits_while_the_compressed_one_is_on_its_way(tmp_path: Path) -> None:
    """It was begun when its original could not be read; two workers, at the same time."""
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1.gz", PACKERS[b"gz"](BODY))
    world.discover()

    def meanwhile(name: str) -> None:
        if name == "PutObject.before":
            world.store.effect = lambda name: None
            world.files.write(b"app.log.1", BODY)
            world.files.touch(b"app.log.1", stat.mtime_ns)
            world.discover()
            world.carry()
            assert world.row(b"app.log.1").code == "TwinUndecided"

    world.store.effect = meanwhile
    world.carry()
    world.run(rounds=1)
    assert world.row(b"app.log.1").state is State.DUPLICATE
    assert len(world.store.objects()) == 1


def test_a_compressed_log_waits_for_its_plain_one_and_never_both(tmp_path: Path) -> None:
    world = World(tmp_path)
    stat = world.files.write(b"app.log.1.gz", PACKERS[b"gz"](BODY))
    world.discover()
    world.store.outage = PortError("SlowDown")
    world.carry()
    world.files.write(b"app.log.1", BODY)
    world.files.touch(b"app.log.1", stat.mtime_ns)
    world.discover()
    world.carry()
    world.store.outage = None
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE


@pytest.mark.parametrize("code", ["SourceUnreadable", "Unreadable"])
def test_a_compressed_log_whose_plain_one_cannot_be_read(tmp_path: Path, code: str) -> None:
    """One that may not be read is not waited for; one that cannot be read now is."""
    world = World(tmp_path)
    world.files.write(b"app.log.1", BODY)
    world.files.write(b"app.log.1.gz", PACKERS[b"gz"](BODY[:9]))
    world.discover()
    if code == "SourceUnreadable":
        world.files.deny(b"app.log.1")
    else:
        world.files.fail_reads(b"app.log.1", PortError(code, "EIO"))
    world.carry()
    row = world.row(b"app.log.1.gz")
    assert (row.state, row.code) == (
        (State.DONE, "") if code == "SourceUnreadable" else (State.READY, code)
    )


def test_a_name_that_leads_to_no_known_file_is_known_as_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", BODY)
    path = RelativePath(b"app.log.1")
    assert world.lookup.known_at(world.watch, RelativePath(b"nothing")) is None
    assert world.lookup.known_at(world.watch, path) is None
    world.run(rounds=1)
    assert world.lookup.known_at(world.watch, path) == world.rows()[0]
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "EIO"))
    with pytest.raises(PortError, match="Unreadable"):
        world.lookup.known_at(world.watch, path)
    assert world.files.open_sources == 0
