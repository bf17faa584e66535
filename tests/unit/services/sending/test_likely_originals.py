"""Of which log a file is the copy, where several are alike: one log has one copy."""

import gzip
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import UploadOpened
from shipper.core.types import AfterUpload, Compression, State, UploadId, WriterTest
from shipper.ports import PortError
from tests.machines.world import WATCH, World

LIVE = replace(WATCH, live_interval_seconds=300.0, compression=Compression.NONE)
DELETING = replace(LIVE, after_upload=AfterUpload.DELETE, delete_after_seconds=60.0)


def lines(name: str, count: int = 100) -> bytes:
    return b"".join(b"%s %d\n" % (name.encode(), number) for number in range(count))


A, B = lines("a"), lines("b")
HEADER = lines("header", 1000)


def begin(world: World, body: bytes) -> None:
    """A log that is written to, and was just seen."""
    world.files.write(b"app.log", body)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    world.look()


def pass_time(world: World, minutes: float = 6) -> None:
    """Let so much time pass, with a scan every half minute, and send what is due."""
    for _ in range(int(minutes * 2)):
        world.clock.advance(seconds=30)
        world.look()
        world.carry()


def mtime_of(world: World, name: bytes = b"app.log") -> int:
    return next(row.mtime_ns for row in world.rows() if row.path == name)


def pack(world: World, name: bytes, body: bytes, mtime_ns: int | None = None) -> None:
    """What a compressor leaves of the log, which goes."""
    world.files.write(name, gzip.compress(body, mtime=0))
    if mtime_ns is not None:
        world.files.touch(name, mtime_ns)


def test_what_a_file_is_a_whole_copy_of_comes_before_what_it_only_begins_as(
    tmp_path: Path,
) -> None:
    """Two logs begin alike; the first was deleted, and the rest of the second waits for S3."""
    world = World(tmp_path, watch=LIVE)
    begin(world, HEADER)
    pass_time(world)
    world.files.delete(b"app.log")
    pass_time(world)
    begin(world, HEADER)
    pass_time(world)
    world.files.append(b"app.log", B)
    world.clock.advance(seconds=1)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.store.outage = PortError("Unreachable")
    pass_time(world, minutes=2)
    pack(world, b"app.log.1.gz", HEADER + B, mtime_of(world, b"app.log.1"))
    world.files.delete(b"app.log.1")
    pass_time(world, minutes=1)
    assert world.row(b"app.log.1.gz").code == "DuplicateUndecided"
    world.store.outage = None
    pass_time(world, minutes=20)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    assert sorted(world.contents()) == sorted([HEADER, HEADER, B])


def test_a_log_has_one_copy_and_an_equal_log_is_shipped(tmp_path: Path) -> None:
    """The archive of a second, equal log is found first, and is taken for that of the first."""
    world = World(tmp_path, watch=DELETING)
    begin(world, A)
    pass_time(world)
    pack(world, b"app.log.2.gz", A, mtime_of(world))
    world.files.deny(b"app.log.2.gz")
    world.files.delete(b"app.log")
    world.clock.advance(seconds=60)
    pack(world, b"app.log.1.gz", A)
    pass_time(world, minutes=2)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    world.files.deny(b"app.log.2.gz", is_denied=False)
    pass_time(world, minutes=30)
    assert world.files.paths() == []
    assert sorted(map(gunzipped, world.contents())) == [A, A]


def test_the_archive_of_a_log_is_not_that_of_an_equal_one_of_the_same_second(
    tmp_path: Path,
) -> None:
    """The first log has the second itself for its mtime, to which a compressor may cut it."""
    world = World(tmp_path)
    for name in (b"app.log.2", b"app.log.1"):
        world.files.write(name, A)
        world.clock.advance(seconds=0.5)
    world.run(rounds=1)
    for name, packed in ((b"app.log.2", b"app.log.3.gz"), (b"app.log.1", b"app.log.2.gz")):
        pack(world, packed, A, mtime_of(world, name))
        world.files.delete(name)
    world.run(rounds=2)
    assert mtime_of(world, b"app.log.2") % 10**9 == 0
    assert world.row(b"app.log.3.gz").copy_of == world.row(b"app.log.2").key
    assert world.row(b"app.log.2.gz").copy_of == world.row(b"app.log.1").key


def test_what_is_no_whole_copy_of_a_log_may_still_begin_as_it(tmp_path: Path) -> None:
    """The log was written to while its segment was sent; what came next was promised in vain."""
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    world.clock.advance(seconds=301)
    world.look()
    world.clock.advance(seconds=3)
    world.files.append(b"app.log", B)
    world.carry()
    world.store.outage = PortError("Unreachable")
    pass_time(world, minutes=12)
    assert world.rows()[-1].state is State.READY
    world.clock.advance(seconds=2)
    pack(world, b"app.log.1.gz", A + B, mtime_of(world))
    world.files.delete(b"app.log")
    world.restart()
    pass_time(world, minutes=2)
    world.store.outage = None
    pass_time(world, minutes=40)
    assert sorted(world.contents()) == [A, B]


def test_a_log_that_was_deleted_without_an_archive_gets_no_later_one(tmp_path: Path) -> None:
    """The next day's log is equal, is archived before it is found, and is no copy of it."""
    world = World(tmp_path, watch=DELETING)
    begin(world, A)
    pass_time(world)
    world.files.delete(b"app.log")
    for _ in range(3):
        world.clock.advance(hours=1)
        world.look()
        world.housekeeping.step()
    pack(world, b"app.log.1.gz", A)
    pass_time(world, minutes=30)
    assert world.files.paths() == []
    assert sorted(map(gunzipped, world.contents())) == [A, A]


def test_the_archive_of_a_log_is_its_copy_also_when_it_waits_for_hours(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    pass_time(world)
    pack(world, b"app.log.1.gz", A + B)
    world.files.delete(b"app.log")
    world.store.outage = PortError("Unreachable")
    for _ in range(3):
        world.look()
        world.clock.advance(hours=1)
        world.housekeeping.step()
    world.store.outage = None
    pass_time(world, minutes=30)
    assert sorted(world.contents()) == [A, B]


def test_a_quiet_log_that_stands_for_hours_still_gets_its_archive(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    pass_time(world)
    for _ in range(3):
        world.clock.advance(hours=1)
        world.look()
        world.housekeeping.step()
    pack(world, b"app.log.1.gz", A + B)
    world.files.delete(b"app.log")
    pass_time(world, minutes=30)
    assert sorted(world.contents()) == [A, B]


def test_an_archive_that_cannot_be_read_for_a_while_is_still_a_copy(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    pass_time(world)
    world.files.write(b"app.log.1.xz", lzma.compress(A + B))
    world.files.delete(b"app.log")
    world.discover()
    row, duplicates = world.row(b"app.log.1.xz"), world.carrier.services.duplicates
    with world.held.lend(row) as source:
        assert source is not None
        world.files.fail_reads(b"app.log.1.xz", PortError("Unreadable", "EIO"))
        with (
            pytest.raises(PortError, match="Unreadable"),
            duplicates.found(row, source, world.watch, is_brief=False),
        ):
            raise AssertionError("it was read")
    world.files.fail_reads(b"app.log.1.xz", None)
    pass_time(world, minutes=30)
    assert sorted(world.contents()) == [A, B]


def test_a_log_is_not_closed_while_not_all_directories_can_be_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    pass_time(world)
    world.files.delete(b"app.log")
    world.files.fail_scan(b"sub", PortError("DirectoryUnreadable"))
    for _ in range(3):
        world.clock.advance(hours=1)
        world.housekeeping.step()
    assert len(world.journal.open_logs.of(world.watch.name, b"app.log")) == 1


def test_a_log_whose_rotated_name_has_another_stem_gets_no_later_archive(tmp_path: Path) -> None:
    """It goes on in a segment of the new name."""
    world = World(tmp_path, watch=replace(LIVE, include=("*.old", "*.gz")))
    begin(world, HEADER)
    pass_time(world)
    world.files.append(b"app.log", A)
    world.files.rename(b"app.log", b"night-1-app.old")
    world.files.set_writer(b"night-1-app.old", WriterTest.NONE)
    pass_time(world, minutes=3)
    world.files.delete(b"night-1-app.old")
    pack(world, b"app.log.1.gz", HEADER + B)
    pass_time(world, minutes=10)
    assert sorted(map(gunzipped, world.contents())) == sorted([HEADER, A, HEADER + B])


def test_a_log_of_another_stem_is_open_again_once_its_rest_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(LIVE, include=("*.old", "*.gz")))
    begin(world, A)
    pass_time(world)
    world.files.append(b"app.log", B)
    world.files.rename(b"app.log", b"night-1-app.old")
    world.files.set_writer(b"night-1-app.old", WriterTest.NONE)
    world.store.outage = PortError("Unreachable")
    pass_time(world, minutes=3)
    assert world.journal.open_logs.of(world.watch.name, b"app.log") == []
    world.files.delete(b"night-1-app.old")
    world.restart()
    world.store.outage = None
    pass_time(world)
    (last,) = world.journal.open_logs.of(world.watch.name, b"app.log")
    assert last.raw_end == len(A)


def test_the_rest_of_a_copy_is_sent_alone_by_a_clone_of_the_machine(tmp_path: Path) -> None:
    """The clone drops what waits; so the log has no copy any more."""
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    world.journal.origin.adopt("i-1")
    pass_time(world)
    pack(world, b"app.log.1.gz", A + B)
    world.files.delete(b"app.log")
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown"))
    world.carry()
    assert world.row(b"app.log.1.gz").copy_of
    assert world.facts is not None
    world.facts = replace(world.facts, instance_id="i-2")
    world.restart()
    assert world.journal.origin.adopt("i-2", key_of=world.key_of)
    pass_time(world, minutes=10)
    assert sorted(world.contents()) == [A, B]


def test_a_clone_that_drops_a_segment_knows_where_the_log_ends(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    begin(world, A)
    world.journal.origin.adopt("i-1")
    pass_time(world)
    world.files.append(b"app.log", B)
    world.store.outage = PortError("Unreachable")
    pass_time(world)
    (first, second) = world.rows()
    world.journal.record(second, UploadOpened(UploadId("u"), 1))
    open_logs = world.journal.open_logs
    assert [row.id for row in open_logs.of(first.watch, b"app.log")] == [second.id]
    world.journal.origin.adopt("i-2")
    assert [row.id for row in open_logs.of(first.watch, b"app.log")] == [first.id]


def gunzipped(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
