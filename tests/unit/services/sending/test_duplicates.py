"""The compressed copy of a shipped log makes no second object, and only proof counts."""

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.core.types import AfterUpload, State, WriterTest
from shipper.ports import PortError
from shipper.services.sending.duplicates import PROOFS
from tests.machines.world import WATCH, World, random_log

BODY = b"a line of a log\n" * 5000
SAME = b"job done, nothing to do\n" * 50
DAY_NS = 86_400 * 10**9


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def compress(world: World, body: bytes = BODY, *, name: bytes = b"app.log.2.gz") -> None:
    """What logrotate does: the copy gets the original's mtime, and the original goes."""
    mtime_ns = next(iter(world.files.scan(world.watch, lambda path, _: True))).stat.mtime_ns  # type: ignore[union-attr]
    encoders: dict[bytes, Callable[[bytes], bytes]] = {
        b"gz": gzip.compress,
        b"xz": lzma.compress,
        b"bz2": bz2.compress,
        b"zst": zstandard.ZstdCompressor().compress,
    }
    world.files.write(name, encoders[name.rpartition(b".")[2]](body))
    world.files.touch(name, mtime_ns)
    world.files.delete(b"app.log.1")


@pytest.mark.parametrize("extension", [b"gz", b"xz", b"bz2", b"zst"])
def test_a_compressed_copy_makes_no_second_object(world: World, extension: bytes) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, name=b"app.log.2." + extension)
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.2." + extension).state is State.DUPLICATE


def test_other_content_with_the_same_name_is_shipped_as_it_is(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY[:-1] + b"!")
    world.run(rounds=1)
    assert sorted(world.contents()) == sorted([BODY, BODY[:-1] + b"!"])


def test_a_copy_of_a_log_in_segments_is_recognised(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.append(b"app.log.1", b"more\n")
    world.run(rounds=1)
    compress(world, BODY + b"more\n")
    world.run(rounds=1)
    assert len(world.contents()) == 2
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_a_copy_is_recognised_though_another_log_has_the_inode_of_the_segments(
    world: World,
) -> None:
    """A file that is unlinked gives its inode number to the next one that is created."""
    world.files._reuses_inodes = True
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.append(b"app.log.1", b"more\n")
    world.run(rounds=1)
    inode = world.rows()[0].file_id.inode
    compress(world, BODY + b"more\n")
    assert world.files.write(b"web.log.1", SAME).inode == inode
    world.run(rounds=1)
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE
    assert len(world.contents()) == 3


def test_a_copy_with_more_in_it_than_was_shipped_is_no_twin(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY + b"unshipped\n", name=b"app.log.2.xz")
    world.run(rounds=1)
    assert len(world.contents()) == 2
    (archive,) = (body for key, body in world.store.objects().items() if key.endswith(".xz"))
    assert lzma.decompress(archive) == BODY + b"unshipped\n"


def test_a_copy_with_less_in_it_is_no_twin(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, BODY[:100], name=b"app.log.2.xz")
    world.run(rounds=1)
    assert len(world.contents()) == 2


def test_a_copy_waits_for_its_original_to_be_shipped(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown", retry_after=60.0))
    world.carry()
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").code == "DuplicateUndecided"
    assert world.row(b"app.log.2.gz").attempts == 0
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_a_copy_of_a_log_that_was_lost_is_shipped_itself(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.discover()
    compress(world)
    world.restart()
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert sorted(row.state for row in world.rows()) == [State.DONE, State.SUPERSEDED]
    assert world.log.of("source.vanished") == []
    assert [line["by"] for line in world.log.of("source.superseded")] == ["app.log.2.gz"]


def test_what_cannot_be_decoded_is_shipped_as_it_is_with_one_warning(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    damaged = bytearray(gzip.compress(BODY))
    damaged[40] ^= 0xFF
    world.files.write(b"app.log.1.gz", bytes(damaged))
    world.files.touch(b"app.log.1.gz", world.rows()[0].mtime_ns)
    world.store.outage = PortError("SlowDown")
    world.run(rounds=3)
    world.store.outage = None
    world.run(rounds=1)
    assert bytes(damaged) in world.store.objects().values()
    (warning,) = world.log.of("archive.undecodable")
    assert (warning["path"], warning["shipment"]) == ("app.log.1.gz", 2)


def test_what_a_killed_compressor_leaves_is_shipped(world: World) -> None:
    """Its trailer is missing and its mtime is another."""
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.clock.advance(hours=1)
    world.files.write(b"app.log.1.gz", gzip.compress(BODY)[:-20])
    world.run(rounds=1)
    assert len(world.rows(State.DONE)) == 2


def test_a_copy_of_many_members_is_recognised_by_its_mtime(world: World) -> None:
    """The trailer is that of the last member only."""
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    stat = next(iter(world.files.scan(world.watch, lambda path, _: True))).stat  # type: ignore[union-attr]
    world.files.write(b"app.log.2.gz", gzip.compress(BODY[:1000]) + gzip.compress(BODY[1000:]))
    world.files.touch(b"app.log.2.gz", stat.mtime_ns)
    world.files.delete(b"app.log.1")
    world.run(rounds=1)
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_a_copy_of_an_object_that_went_missing_is_shipped(tmp_path: Path) -> None:
    """PARKED after two looks that found nothing: its digest is known, its bytes are nowhere."""
    watch = replace(WATCH, after_upload=AfterUpload.DELETE)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.store.effect = lambda name: (
        world.store.remove(world.rows()[0].key) if name == "PutObject.after" else None
    )
    world.run(rounds=3)
    assert (world.rows()[0].state, world.rows()[0].code) == (State.PARKED, "ObjectMissing")
    world.store.effect = lambda name: None
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").state is State.VERIFIED
    assert world.contents() == [BODY]


def test_a_copy_of_a_log_whose_removal_failed_is_recognised(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.ARCHIVE, archive_directory="/logs")
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    assert (world.rows()[0].state, world.rows()[0].code) == (State.PARKED, "RemoveDenied")
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE


def test_equal_logs_of_two_directories_are_both_shipped(world: World) -> None:
    world.files.write(b"a/app.log.1", BODY)
    world.run(rounds=1)
    world.files.write(b"b/app.log.1.gz", gzip.compress(BODY))
    world.run(rounds=1)
    assert world.contents() == [BODY, BODY]


def test_a_copy_that_was_moved_is_recognised_by_its_whole_mtime(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, name=b"archive/app.log.1.gz")
    world.run(rounds=1)
    assert world.contents() == [BODY]


def test_a_growing_copy_waits_for_its_compressor(world: World) -> None:
    """Both stand while logrotate compresses; the copy has a writer, and then the old mtime."""
    stat = world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    body = gzip.compress(BODY)
    world.files.write(b"app.log.1.gz", body[:20])
    world.files.set_writer(b"app.log.1.gz", WriterTest.OPEN)
    world.run(rounds=1)
    world.files.append(b"app.log.1.gz", body[20:])
    world.run(rounds=1)
    assert len(world.rows()) == 1
    world.files.set_writer(b"app.log.1.gz", WriterTest.NONE)
    world.files.touch(b"app.log.1.gz", stat.mtime_ns)
    world.files.delete(b"app.log.1")
    world.run(rounds=1)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE


def test_both_found_at_once_make_one_object(world: World) -> None:
    """The daemon was down while its host was: logrotate died between the copy and the unlink."""
    stat = world.files.write(b"app.log.1.gz", gzip.compress(BODY))
    world.files.write(b"app.log.1", BODY)
    world.files.touch(b"app.log.1", stat.mtime_ns)
    world.run(rounds=2)
    assert world.contents() == [BODY]
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE


@pytest.mark.parametrize("held_files", [0, 1])
@pytest.mark.parametrize(
    "names", [(b"app.log.1", b"app.log.1.gz"), (b"app.log.1.gz", b"app.log.1")]
)
def test_both_make_one_object_though_they_were_renamed_since(
    tmp_path: Path, names: tuple[bytes, bytes], held_files: int
) -> None:
    """No scan has told the new names when they are carried, and the first may be held."""
    world = World(tmp_path, held_files=held_files)
    bodies = {b"app.log.1": BODY, b"app.log.1.gz": gzip.compress(BODY)}
    mtime_ns = world.files.write(b"app.log.1", BODY).mtime_ns
    world.files.delete(b"app.log.1")
    for name in names:
        world.files.write(name, bodies[name])
        world.files.touch(name, mtime_ns)
        world.discover()
    for name in names:
        world.files.rename(name, name.replace(b"1", b"2"))
    for _ in range(3):
        world.carry()
        world.clock.advance(minutes=1)
    assert world.contents() == [BODY]


def test_no_more_than_so_many_originals_are_tried(world: World) -> None:
    originals = [BODY[:-2] + b"%d\n" % number for number in range(PROOFS + 1)]
    for number, body in enumerate(originals, start=1):
        world.files.write(b"app.log.%d" % number, body)
    world.run(rounds=1)
    mtime_ns = world.rows()[0].mtime_ns
    world.files.write(b"app.log.10.xz", lzma.compress(originals[0]))
    world.files.touch(b"app.log.10.xz", mtime_ns)
    world.run(rounds=1)
    assert world.row(b"app.log.10.xz").state is State.DONE


@pytest.mark.parametrize("body", [b"", b"short", gzip.compress(b"other", mtime=0)])
def test_a_gz_that_cannot_be_the_twin_is_not_read_as_one(world: World, body: bytes) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.write(b"app.log.2.gz", body)
    world.run(rounds=1)
    assert len(world.rows()) == (2 if body else 1)


def test_an_unreadable_copy_is_tried_again(world: World) -> None:
    world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    compress(world, name=b"app.log.2.xz")
    world.discover()
    row = world.row(b"app.log.2.xz")
    with world.held.lend(row) as source:
        assert source is not None
        decoder = world.carrier.services.duplicates.encoder
        world.files.fail_reads(b"app.log.2.xz", PortError("Unreadable", "EIO"))
        with pytest.raises(PortError, match="Unreadable"):
            list(decoder.decoded(source, ".xz", limit_bytes=10**6))
        duplicates = world.carrier.services.duplicates
        with (
            pytest.raises(PortError, match="Unreadable"),
            duplicates.found(row, source, world.watch, is_brief=False),
        ):
            raise AssertionError("it was read")
    world.files.fail_reads(b"app.log.2.xz", None)
    world.run(rounds=1)
    assert world.row(b"app.log.2.xz").state is State.DUPLICATE


def test_a_proven_twin_is_deleted_like_its_original(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.carry()
    compress(world)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE
    world.discover()
    assert world.files.paths() == [b"app.log.2.gz"]
    world.clock.advance(hours=2)
    world.discover()
    assert world.files.paths() == []


def test_a_twin_that_was_rewritten_just_before_its_removal_stays(tmp_path: Path) -> None:
    """In its middle: nothing but the mtime tells."""
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", random_log(1, 50_000))
    world.discover()
    world.carry()
    compress(world, random_log(1, 50_000))
    world.discover()
    world.carry()
    assert world.row(b"app.log.2.gz").state is State.DUPLICATE
    world.clock.advance(hours=2)
    remove = world.disposal.remove

    def remove_late(*args: Any) -> bool:
        body = world.files.body(b"app.log.2.gz")
        world.clock.advance(seconds=1)
        world.files.write(b"app.log.2.gz", body[:20_000] + b"!" + body[20_001:])
        return remove(*args)

    world.disposal.remove = remove_late  # type: ignore[method-assign, assignment]  # somebody is faster
    world.discovery.step()
    assert world.files.paths() == [b"app.log.2.gz"]


def test_a_second_log_that_reuses_the_inode_does_not_confuse_the_chain(world: World) -> None:
    world.files._reuses_inodes = True
    for body in (BODY, BODY[::-1]):
        world.files.write(b"app.log.1", body)
        world.run(rounds=1)
        if body is BODY:
            world.files.delete(b"app.log.1")
    compress(world, BODY[::-1])
    world.run(rounds=1)
    assert len(world.contents()) == 2


def test_a_log_and_its_copy_under_other_names_make_one_object_and_two_copies_two(
    world: World,
) -> None:
    """What was restored (``cp -p``) or unpacked again is a log of its own."""
    stat = world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    for name in (b"app.log.7", b"app.log.8"):
        world.files.write(name, BODY)
        world.files.touch(name, stat.mtime_ns)
    world.run(rounds=1)
    assert world.contents() == [BODY] * 3


@pytest.mark.parametrize("extension", [b"zip", b"lz4"])
def test_a_compressed_file_that_is_not_decoded_here_is_shipped_as_it_is(
    world: World, extension: bytes
) -> None:
    stat = world.files.write(b"app.log.1", BODY)
    world.run(rounds=1)
    world.files.write(b"app.log.1." + extension, b"packed")
    world.files.touch(b"app.log.1." + extension, stat.mtime_ns)
    world.run(rounds=1)
    assert world.row(b"app.log.1." + extension).state is State.DONE


@pytest.mark.parametrize("code", ["SourceUnreadable", "Unreadable"])
def test_a_compressed_log_whose_plain_one_cannot_be_read(tmp_path: Path, code: str) -> None:
    """One that may not be read is not waited for; one that cannot be read now is, for a while."""
    world = World(tmp_path)
    world.files.write(b"app.log.1", BODY)
    world.files.write(b"app.log.1.gz", gzip.compress(BODY[:9], mtime=0))
    world.discover()
    if code == "SourceUnreadable":
        world.files.deny(b"app.log.1")
    else:
        world.files.fail_reads(b"app.log.1", PortError(code, "EIO"))
    world.carry()  # both at the same time, so the archive waits for what becomes of the log
    world.clock.advance(minutes=1)
    world.carry()
    row = world.row(b"app.log.1.gz")
    assert (row.state, row.code) == (
        (State.DONE, "") if code == "SourceUnreadable" else (State.READY, "DuplicateUndecided")
    )
    world.run(rounds=10)
    assert world.row(b"app.log.1.gz").state is State.DONE


def test_a_copy_of_a_copy_names_the_object_that_is_there(world: World) -> None:
    """Shipped live, copied by copytruncate, compressed by the rotator."""
    world.files.write(b"app.log", BODY)
    world.go_live()
    world.carry()
    world.files.write(b"app.log.1", BODY)
    world.files.write(b"app.log", b"")
    world.run()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.1.gz", gzip.compress(BODY, mtime=0))
    world.files.touch(b"app.log.1.gz", mtime_ns)
    world.run()
    copies = world.rows(State.DUPLICATE)
    assert len(copies) == 2
    assert {row.detail for row in copies} == set(world.store.objects())


def test_a_file_that_is_older_than_a_live_log_is_shipped_though_it_got_the_same_bytes_later(
    world: World,
) -> None:
    """copytruncate makes its copy of a log after the log."""
    world.files.write(b"app.log.1", SAME)
    world.clock.advance(seconds=1)
    world.files.write(b"app.log", SAME + b"the end\n")
    world.go_live()
    world.carry()
    world.clock.advance(seconds=1)
    world.files.append(b"app.log.1", b"the end\n")
    world.run(rounds=2)
    assert world.contents() == [SAME + b"the end\n"] * 2


def test_what_differs_from_the_live_log_in_its_middle_is_shipped(world: World) -> None:
    """Its size, beginning and end are the same."""
    world.files.write(b"app.log", BODY)
    world.go_live()
    world.carry()
    world.files.write(b"app.log.1", other := BODY[:9_999] + b"!" + BODY[10_000:])
    world.files.write(b"app.log", b"")
    world.run()
    assert world.row(b"app.log.1").state is State.DONE
    assert sorted(world.contents()) == sorted([BODY, other])


def test_the_archive_of_an_equal_log_of_another_day_is_shipped(tmp_path: Path) -> None:
    """Day one was shipped plain; then nobody ran for two rotations that compressed."""
    world = World(tmp_path)
    world.files.write(b"job.log.1", b"backup done\n")
    world.run()
    first_ns = world.row(b"job.log.1").mtime_ns
    world.clock.advance(hours=24)
    world.files.delete(b"job.log.1")
    for name, mtime_ns in ((b"job.log.3.gz", first_ns), (b"job.log.2.gz", first_ns + DAY_NS)):
        world.files.write(name, gzip.compress(b"backup done\n", mtime=0))
        world.files.touch(name, mtime_ns)
    world.restart()
    world.run()
    assert len(world.contents()) == 2


def archive(world: World, name: bytes, mtime_ns: int, body: bytes = SAME, told: int = 0) -> None:
    """What a rotator leaves; ``told`` is the mtime in gzip's header."""
    world.files.write(name, gzip.compress(body, mtime=told))
    world.files.touch(name, mtime_ns)


@pytest.mark.parametrize("after_upload", [AfterUpload.KEEP, AfterUpload.DELETE])
@pytest.mark.parametrize("becomes", ["kept", "removed", "unlinked", "shifted"])
def test_once_compress_is_turned_on_equal_logs_of_later_nights_are_all_shipped(
    tmp_path: Path, after_upload: AfterUpload, becomes: str
) -> None:
    """The first was rotated plain. It may stand, or be gone with or without an archive."""
    watch = replace(WATCH, after_upload=after_upload, delete_after_seconds=60.0)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log-20261101", SAME)
    world.run(rounds=1)
    if becomes == "unlinked" and after_upload is AfterUpload.KEEP:
        world.files.delete(b"app.log-20261101")
    if becomes == "shifted" and after_upload is AfterUpload.KEEP:
        world.files.rename(b"app.log-20261101", b"app.log.1")
    for night in range(2, 8):
        world.clock.advance(hours=24)
        now_ns = int(world.clock.now()) * 10**9 + night
        archive(world, b"app.log-2026110%d.gz" % night, now_ns)
        world.run(rounds=1)
    assert world.contents() == [SAME] * 7


def test_an_archive_with_a_new_mtime_is_recognised_by_the_one_in_its_header(world: World) -> None:
    """``gzip -c app.log.1 > app.log.1.gz``."""
    world.files.write(b"app.log.1", SAME)
    world.run(rounds=1)
    world.clock.advance(hours=1)
    second, now_ns = world.rows()[0].mtime_ns // 10**9, int(world.clock.now()) * 10**9
    world.files.delete(b"app.log.1")
    archive(world, b"app.log.1.gz", now_ns, told=second)
    archive(world, b"app.log.2.gz", now_ns + 1, told=second + 1)
    world.run(rounds=1)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    assert world.row(b"app.log.2.gz").state is State.DONE


def test_a_log_has_one_archive_however_alike_another_is(world: World) -> None:
    """Equal logs whose mtimes are equal, too, as on a file system that keeps whole seconds."""
    world.files.write(b"app.log.1", SAME)
    world.run(rounds=1)
    mtime_ns = world.rows()[0].mtime_ns
    world.files.delete(b"app.log.1")
    archive(world, b"app.log.2.gz", mtime_ns)
    world.discover()
    world.carry()
    for name in (b"app.log.3.gz", b"app.log.4.xz", b"old/app.log.5.gz"):
        packed = lzma.compress(SAME) if name.endswith(b"xz") else gzip.compress(SAME, mtime=0)
        world.files.write(name, packed)
        world.files.touch(name, mtime_ns)
        world.run(rounds=1)
    assert len(world.rows(State.DUPLICATE)) == 1
    assert len(world.contents()) == 4


def test_a_log_gets_its_archive_though_that_of_another_log_asked_first(world: World) -> None:
    """Two logs of one moment. The first was never seen, and its archive waits for the second."""
    world.store.outage = PortError("SlowDown")
    stat = world.files.write(b"app.log.1", SAME)
    archive(world, b"app.log.2.gz", stat.mtime_ns + 2, BODY)
    world.discover()
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.row(b"app.log.2.gz").code == "DuplicateUndecided"
    archive(world, b"app.log.1.gz", stat.mtime_ns)
    world.discover()
    world.store.outage = None
    world.run()
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    assert sorted(world.contents()) == sorted([BODY, SAME])


def test_an_archive_is_recognised_while_another_log_of_its_moment_waits(world: World) -> None:
    """That one may be denied for as long as it likes."""
    stat = world.files.write(b"app.log.1", SAME)
    world.run(rounds=1)
    world.files.write(b"app.log.2", BODY)
    world.files.touch(b"app.log.2", stat.mtime_ns + 2)
    world.discover()
    world.store.fail_next("PutObject", PortError("AccessDenied"))
    world.carry()
    for name in (b"app.log.1", b"app.log.2"):
        world.files.delete(name)
    archive(world, b"app.log.3.gz", stat.mtime_ns)
    world.discover()
    world.carry()
    assert world.row(b"app.log.2").state is State.READY
    assert world.row(b"app.log.3.gz").state is State.DUPLICATE


class Meanwhile:
    """Lets another worker carry at some of the moments of what a worker does, and so on."""

    def __init__(self, world: World, is_time: Callable[[int], bool]) -> None:
        self._world = world
        self._is_time = is_time
        self.moments = 0
        proofs = world.carrier.services.duplicates.proofs
        tick = proofs.tick

        def ticked() -> None:
            self()
            tick()

        proofs.tick = ticked
        world.journal.effect = world.files.effect = world.store.effect = self

    def __call__(self, name: str = "a piece is read") -> None:
        self.moments += 1
        if self._is_time(self.moments):
            self._world.carry_meanwhile()


def archives_of_one_moment(world: World, bodies: Sequence[bytes], gaps_ns: Sequence[int]) -> None:
    """Logs that were shipped, whose mtimes are so far apart; their archives are due."""
    mtime_ns, times = 0, {}
    for number, (body, gap_ns) in enumerate(zip(bodies, gaps_ns, strict=True)):
        name = b"app.log.%d" % number
        written_ns = world.files.write(name, body).mtime_ns
        times[name] = mtime_ns = (mtime_ns or written_ns) + gap_ns
        world.files.touch(name, mtime_ns)
    world.run(rounds=1)
    for name, body in zip(times, bodies, strict=True):
        world.files.delete(name)
        archive(world, name + b".gz", times[name], body)
    world.discover()


@pytest.mark.parametrize("bodies", [(SAME, BODY), (BODY, SAME), (SAME, SAME)])
def test_two_archives_that_are_carried_at_once_are_of_two_logs(
    tmp_path: Path, bodies: tuple[bytes, bytes]
) -> None:
    """At whatever moment of the one the other comes."""
    at, moments = 0, 1
    while at < moments:
        at += 1
        world = World(tmp_path / str(at))
        archives_of_one_moment(world, bodies, (0, 2))
        meanwhile = Meanwhile(world, at.__eq__)
        world.run()
        moments = meanwhile.moments
        assert sorted(world.contents()) == sorted(bodies), at
        assert len({row.detail for row in world.rows(State.DUPLICATE)}) == 2, at
    assert at > 5


@settings(max_examples=50, deadline=None)
@given(
    bodies=st.lists(st.sampled_from((SAME, BODY, BODY[1:])), min_size=2, max_size=5),
    unseen=st.sampled_from((b"", SAME)),
    gaps_ns=st.lists(st.sampled_from((0, 0, 2, 300)), min_size=5, max_size=5),
    moments=st.sets(st.integers(1, 100), max_size=20),
)
def test_archives_that_are_carried_at_once_are_each_of_another_log(
    bodies: list[bytes], unseen: bytes, gaps_ns: list[int], moments: set[int]
) -> None:
    """And that of a log that nobody has seen is shipped."""
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        archives_of_one_moment(world, bodies, gaps_ns[: len(bodies)])
        if unseen:
            archive(world, b"app.log.9.gz", world.rows()[0].mtime_ns, unseen)
            world.discover()
        Meanwhile(world, moments.__contains__)
        world.run()
        assert sorted(world.contents()) == sorted([*bodies, *filter(None, [unseen])])
        world.stop()


@pytest.mark.parametrize("is_live", [False, True], ids=["archives", "copytruncate's"])
def test_of_two_files_that_are_carried_at_once_one_is_a_logs_copy(
    tmp_path: Path, is_live: bool
) -> None:
    """The other is that of an equal log."""
    at, moments = 0, 1
    while at < moments:
        at += 1
        world = World(tmp_path / str(at))
        log = b"app.log" if is_live else b"app.log.1"
        stat = world.files.write(log, SAME)
        world.go_live()
        world.run(rounds=1)
        if is_live:
            world.files.write(log, b"")
        else:
            world.files.delete(log)
        for name in (b"app.log.2", b"app.log.3"):
            if is_live:
                world.files.write(name, SAME)
                world.files.touch(name, stat.mtime_ns)
            else:
                archive(world, name + b".gz", stat.mtime_ns)
        world.discover()
        meanwhile = Meanwhile(world, at.__eq__)
        world.run()
        moments = meanwhile.moments
        assert len(world.rows(State.DUPLICATE)) == 1, at
        assert world.contents() == [SAME] * 2, at
    assert at > 5


@pytest.mark.parametrize("name", [b"app.log.2.gz", b"tenant/app.log.1.gz"])
def test_while_a_log_stands_the_archive_of_another_name_is_not_its_copy(
    world: World, name: bytes
) -> None:
    """Two jobs may write the same within one tick of the kernel's clock."""
    world.files.write(b"app.log.1", SAME)
    world.run(rounds=1)
    archive(world, name, world.rows()[0].mtime_ns)
    world.run(rounds=1)
    assert world.contents() == [SAME] * 2
    archive(world, b"app.log.1.gz", world.rows()[0].mtime_ns)
    world.run(rounds=1)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE, "it stands beside it"


@pytest.mark.parametrize("is_late", [False, True])
def test_a_long_log_that_java_compresses_makes_one_object(world: World, is_late: bool) -> None:
    """The archive gets a mtime of its own. It was begun before the log was found to be quiet."""
    world.files.write(b"app-2026-11-01.log", BODY)
    world.clock.advance(seconds=1)
    packed = gzip.compress(BODY, mtime=0)
    if not is_late:
        world.files.write(b"app-2026-11-01.log.gz", packed[:100])
        world.files.set_writer(b"app-2026-11-01.log.gz", WriterTest.OPEN)
    world.run(rounds=1)
    assert world.row(b"app-2026-11-01.log").state is State.DONE
    world.files.write(b"app-2026-11-01.log.gz", packed)
    world.files.set_writer(b"app-2026-11-01.log.gz", WriterTest.NONE)
    world.files.delete(b"app-2026-11-01.log")
    world.run(rounds=1)
    archive = world.row(b"app-2026-11-01.log.gz")
    assert archive.state is (State.DONE if is_late else State.DUPLICATE)


def test_what_was_made_beside_a_log_that_still_stands_is_another_logs(world: World) -> None:
    """Both were there before the daemon: an old ``.1``, and the archive of last night."""
    world.files.write(b"app.log.1", SAME)
    world.clock.advance(hours=24)
    world.files.write(b"app.log.1.gz", gzip.compress(SAME, mtime=0))
    world.run(rounds=1)
    assert world.contents() == [SAME] * 2


def test_a_leftover_beside_it_takes_no_later_archive_for_its_own(world: World) -> None:
    """A rotator that compresses into ``.1.gz`` at once never touches an old ``.1`` again."""
    world.files.write(b"app.log.1", SAME)
    world.run(rounds=1)
    for night in range(1, 4):
        world.clock.advance(hours=24)
        if night > 1:
            world.files.rename(b"app.log.1.gz", b"app.log.%d.gz" % night)
        archive(world, b"app.log.1.gz", int(world.clock.now()) * 10**9)
        world.run(rounds=1)
    assert world.contents() == [SAME] * 4


def test_the_archive_of_a_copy_is_a_duplicate_of_what_is_there(tmp_path: Path) -> None:
    """``cp -p`` makes a log of its own; the archive of either is the copy of one of them."""
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.run()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    for name, copy in ((b"app.log.1", body), (b"app.log.1.gz", gzip.compress(body, mtime=0))):
        world.files.delete(b"app.log.1")
        world.files.write(name, copy)
        world.files.touch(name, mtime_ns)
        world.run()
    assert len(world.store.objects()) == 2
    (archive,) = world.rows(State.DUPLICATE)
    assert archive.detail in world.store.objects()


def test_a_good_archive_is_shipped_though_its_log_can_never_be_read(tmp_path: Path) -> None:
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.discover()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "Input/output error"))
    world.files.write(b"app.log.1.gz", gzip.compress(body, mtime=0))
    world.files.touch(b"app.log.1.gz", mtime_ns)
    for _ in range(20):
        world.run()
    assert world.contents() == [body]
    assert [key.endswith(".gz") for key in world.store.objects()] == [True]


def test_a_restored_log_is_shipped_though_the_first_can_never_be_read(tmp_path: Path) -> None:
    world, body = World(tmp_path), random_log(1, 20_000)
    world.files.write(b"app.log.1", body)
    world.run()
    mtime_ns = world.row(b"app.log.1").mtime_ns
    world.files.fail_reads(b"app.log.1", PortError("Unreadable", "Input/output error"))
    world.files.write(b"app.log.2", body)
    world.files.touch(b"app.log.2", mtime_ns)
    for _ in range(20):
        world.run()
    assert world.contents() == [body, body]
