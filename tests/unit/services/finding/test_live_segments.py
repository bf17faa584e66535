"""Live files as segments, at an age or a size; and the rest of them, however they are rotated."""

import bz2
import gzip
import itertools
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from shipper.core.destinations import Destination
from shipper.core.scan_cache import ScanCache
from shipper.core.types import (
    AfterUpload,
    Compression,
    State,
    Watch,
    WatchName,
    WriterTest,
)
from shipper.ports import PortError
from tests.fakes.store import FakeStore
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, decoded, random_log

LIVE = replace(WATCH, live_interval_seconds=300.0, compression=Compression.NONE)


def lines(name: str, count: int = 100) -> bytes:
    return b"".join(b"%s %d\n" % (name.encode(), number) for number in range(count))


A, B, C, D = (lines(name) for name in "abcd")


def world_of(tmp_path: Path, watch: Watch = LIVE) -> World:
    """A log that is written to, and was just seen."""
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log", A)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    world.look()
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_of(tmp_path)


def pass_time(world: World, minutes: float = 6) -> None:
    """Let so much time pass, with a scan every half minute, and send what is due."""
    for _ in range(int(minutes * 2)):
        world.clock.advance(seconds=30)
        world.look()
        world.carry()


def write(world: World, *bodies: bytes) -> None:
    """Append each, and ship it as a segment."""
    for body in bodies:
        world.files.append(b"app.log", body)
        pass_time(world)


def stored(world: World) -> int:
    return sum(map(len, world.contents()))


def sent(world: World) -> bytes:
    """The log, as a reader puts it together from the objects' ranges."""
    whole = b""
    facts = [(world.store.metadata(key), key, body) for key, body in world.store.objects().items()]
    for told, key, body in sorted(facts, key=lambda each: int(each[0]["raw-start"])):
        assert int(told["raw-start"]) == len(whole)
        whole += decoded(key, body)
        assert int(told["raw-end"]) == len(whole)
    return whole


# When a segment is due.


def test_a_live_file_goes_once_its_oldest_byte_is_as_old_as_the_interval(world: World) -> None:
    world.clock.advance(seconds=299)
    world.look()
    world.carry()
    assert world.contents() == []
    world.clock.advance(seconds=1)
    world.look()
    world.carry()
    assert world.contents() == [A]
    assert world.rows()[0].sealed_because == "live: its bytes were old enough, or enough"


def test_discovery_wakes_when_it_is_due_and_not_before(world: World) -> None:
    world.clock.advance(seconds=290)
    assert world.look() == pytest.approx(10.0)
    world.clock.advance(seconds=10)
    assert world.look() == pytest.approx(30.0), "the interval of scans"
    assert len(world.rows()) == 1


def test_without_the_keys_nothing_is_shipped_and_nothing_waited_for(tmp_path: Path) -> None:
    world = world_of(tmp_path, WATCH)
    pass_time(world, minutes=60)
    assert world.rows() == []
    assert world.live.ship_due() == float("inf")


def test_only_whole_lines_go_and_the_rest_with_the_next_segment(world: World) -> None:
    world.files.append(b"app.log", b"half a li")
    pass_time(world)
    assert world.contents() == [A]
    write(world, b"ne\n" + B)
    assert sent(world) == A + b"half a line\n" + B


def test_a_clock_that_is_set_back_holds_no_segment_up(world: World) -> None:
    write(world, B)
    world.files.append(b"app.log", C)
    world.look()
    world.clock.set_wall(world.clock.now() - 86_400)
    pass_time(world, 7)
    assert sent(world) == A + B + C


# Since when the oldest byte waits.


def age(world: World) -> float:
    """In minutes; 0 where nothing waits."""
    now = world.clock.now()
    return (now - world.live.logs.oldest_at.get(world.watch.name, now)) / 60


def test_half_a_line_is_as_old_as_it_is_and_not_as_the_segment_before_it(world: World) -> None:
    pass_time(world)
    world.files.append(b"app.log", B + b"half a line")
    world.look()
    pass_time(world, 8)
    assert sent(world) == A + B
    assert 8 <= age(world) <= 8.5


def test_what_came_since_the_scan_before_is_no_older_though_a_line_is_left(world: World) -> None:
    pass_time(world)
    world.files.append(b"app.log", B)
    world.look()
    pass_time(world, 4)
    world.files.append(b"app.log", C + b"half a line")
    pass_time(world, 1.5)
    assert sent(world) == A + B + C
    assert age(world) <= 2


def test_the_copy_of_a_log_that_went_is_as_old_as_what_was_left_of_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, replace(LIVE, live_interval_seconds=3600.0))
    pass_time(world, 62)
    world.files.append(b"app.log", B)
    wrote_at = world.clock.now()
    world.look()
    pass_time(world, 50)
    world.store.outage = PortError("Unreachable")
    rotate(world, "compressed")
    pass_time(world, 2)
    since = world.journal.figures.unsent_since()[world.watch.name]
    assert wrote_at - 60 <= since <= wrote_at
    pass_time(world, 70)
    world.files.write(b"app.log.2.gz", gzip.compress(C, mtime=0))
    pass_time(world, 2)
    [row] = [row for row in world.rows() if row.path == b"app.log.2.gz"]
    assert world.clock.now() - row.since_at < 200, "a log's age is not its next archive's"


def test_a_shipped_log_that_gets_its_live_name_back_waits_for_nothing(world: World) -> None:
    world.files.set_writer(b"app.log", WriterTest.NONE)
    world.files.rename(b"app.log", b"app.log.1")
    pass_time(world, 2)
    assert world.contents() == [A]
    world.files.rename(b"app.log.1", b"app.log")
    pass_time(world, 1)
    assert age(world) == 0
    world.files.rename(b"app.log", b"app.log.1")
    pass_time(world, 1)
    world.files.touch(b"app.log.1", world.rows()[0].mtime_ns + 10**9)
    world.files.rename(b"app.log.1", b"app.log")
    pass_time(world)
    assert age(world) == 0
    assert world.contents() == [A]


def test_enough_bytes_go_before_they_are_old(tmp_path: Path) -> None:
    world = world_of(tmp_path, replace(LIVE, live_interval_seconds=0.0, live_bytes=len(A) + 1))
    pass_time(world, minutes=60)
    assert world.contents() == []
    world.files.append(b"app.log", B)
    world.look()
    world.carry()
    assert world.contents() == [A + B]
    world.files.append(b"app.log", C + D)
    world.look()
    assert len(world.rows()) == 1, "no log gets segments more often than every 30 s"
    world.clock.advance(seconds=30)
    world.look()
    assert len(world.rows()) == 2


def test_a_restart_goes_by_the_last_segments_promise(world: World) -> None:
    pass_time(world)
    world.files.append(b"app.log", B)
    world.clock.advance(seconds=240)
    world.restart()
    world.look()
    assert len(world.rows()) == 2, "5 minutes are over since the first, and B may be as old"


def test_what_waits_to_be_sent_gets_no_second_segment(world: World) -> None:
    world.store.outage = PortError("Unreachable")
    for body in (B, C):
        world.files.append(b"app.log", body)
        pass_time(world)
    assert [row.state for row in world.rows()] == [State.READY]
    world.store.outage = None
    pass_time(world, minutes=15)
    assert sent(world) == A + B + C
    assert len(world.rows()) == 2


def test_a_log_of_two_watches_goes_for_the_one_that_ships_its_rotations(world: World) -> None:
    pass_time(world)
    other = replace(LIVE, name=WatchName("other"), include=("web.log.*",))
    for watches in ([other, world.watch], [world.watch, other]):
        world.restart()
        world.discovery._watches = world.live._watches = watches
        world.discovery._scan_cache[other.name] = ScanCache()
        write(world, B)
        assert {*world.live.logs.oldest_at} <= {world.watch.name}
    assert sent(world) == A + B + B


@pytest.mark.parametrize("is_later", [False, True])
def test_two_live_logs_with_one_inode_number_on_two_file_systems_are_both_shipped(
    tmp_path: Path, *, is_later: bool
) -> None:
    """The first file of a fresh volume has the inode number of another fresh volume's first."""
    world = World(tmp_path, watch=LIVE)
    world.files.mount("one", b"a")
    world.files.mount("two", b"b")
    world.files.write(b"a/app.log", A)
    world.files.set_writer(b"a/app.log", WriterTest.OPEN)
    if is_later:
        world.look()
        pass_time(world)
    world.files.write(b"b/app.log", B)
    world.files.have_inode_of(b"a/app.log", b"b/app.log")
    world.files.set_writer(b"b/app.log", WriterTest.OPEN)
    world.look()
    for body in (C, D):
        pass_time(world)
        world.files.append(b"a/app.log", body)
        pass_time(world, 0.5)
        world.files.append(b"b/app.log", body)
    pass_time(world, 12)
    assert sorted(world.contents()) == sorted([A, B, C, C, D, D])
    for path in (b"a/app.log", b"b/app.log"):
        world.files.set_writer(path, WriterTest.NONE)
        world.files.rename(path, path + b".1")
    pass_time(world)
    assert stored(world) == len(A + B + C + C + D + D)


def test_a_file_that_cannot_be_opened_is_refused_and_holds_up_no_other(world: World) -> None:
    world.files.write(b"web.log", B)
    world.look()
    world.files.deny(b"web.log")
    pass_time(world)
    assert world.contents() == [A]


# Rotated.


def rotate(world: World, how: str, rest: bytes = b"", new: bytes = D) -> None:
    """As rotators do; ``rest`` was written since the last segment, ``new`` is written then."""
    files = world.files
    files.append(b"app.log", rest)
    files.set_writer(b"app.log", WriterTest.NONE)
    written, mtime_ns = files.body(b"app.log"), files._node(b"app.log").mtime_ns
    world.clock.advance(seconds=2)
    if how.startswith("copied"):
        files.write(b"app.log.1", written)
    else:
        files.rename(b"app.log", b"app.log.1")
    files.write(b"app.log", new)
    if "compressed" in how:
        packers: dict[str, Callable[[bytes], bytes]] = {
            ".gz": lambda body: gzip.compress(body, mtime=0),
            ".zst": zstandard.compress,
            ".xz": lzma.compress,
            ".bz2": bz2.compress,
        }
        extension = how.partition(" as ")[2] or ".gz"
        packed = b"app.log.1" + extension.encode()
        files.write(packed, packers[extension](written))
        files.touch(packed, mtime_ns)
        files.delete(b"app.log.1")


WAYS = (
    "renamed",
    "copied",
    "renamed and compressed",
    "copied and compressed",
    "renamed and compressed as .zst",
    "copied and compressed as .xz",
    "renamed and compressed as .bz2",
)


def settle(world: World, minutes: float = 4) -> None:
    """Ship what is rotated, while the new live log is too young for a segment."""
    pass_time(world, minutes)


@pytest.mark.parametrize("rest", [b"", C, C + b"torn"], ids=["nothing", "more", "torn"])
@pytest.mark.parametrize("how", WAYS)
def test_only_the_rest_is_sent_however_it_is_rotated(
    tmp_path: Path, how: str, rest: bytes
) -> None:
    world = world_of(tmp_path)
    write(world, b"", B)
    rotate(world, how, rest)
    settle(world)
    assert sent(world) == A + B + rest
    assert world.rows(State.GONE, State.PARKED, State.SUPERSEDED) == []
    pass_time(world)
    assert stored(world) == len(A + B + rest + D), "the new log is its own"


@pytest.mark.parametrize("how", WAYS)
def test_only_the_rest_is_sent_though_the_last_segment_still_waits(
    tmp_path: Path, how: str
) -> None:
    """S3 is away when the log is rotated, and what was promised of it was not sent."""
    world = world_of(tmp_path)
    write(world, b"")
    world.store.outage = PortError("Unreachable")
    write(world, B)
    assert world.rows()[-1].state is State.READY
    rotate(world, how, C)
    settle(world, minutes=2)
    world.store.outage = None
    settle(world)
    pass_time(world, minutes=20)
    assert stored(world) == len(A + B + C + D)
    assert world.rows(State.GONE, State.PARKED) == []


@pytest.mark.parametrize("after_upload", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
@pytest.mark.parametrize("how", WAYS)
def test_it_is_removed_once_all_of_it_is_in_s3(
    tmp_path: Path, how: str, after_upload: AfterUpload
) -> None:
    watch = replace(
        LIVE,
        after_upload=after_upload,
        archive_directory="/logs/archive",
        exclude=("archive/**",),
        delete_after_seconds=60.0,
    )
    world = world_of(tmp_path, watch)
    write(world, b"", B)
    assert world.files.paths() == [b"app.log"]
    rotate(world, how, C)
    settle(world)
    assert sent(world) == A + B + C
    left = [path for path in world.files.paths() if not path.startswith(b"archive")]
    assert left == [b"app.log"]


def test_a_log_with_segments_in_the_destination_of_before_is_removed_all_the_same(
    tmp_path: Path,
) -> None:
    watch = replace(LIVE, after_upload=AfterUpload.DELETE, delete_after_seconds=60.0)
    world = world_of(tmp_path, watch)
    pass_time(world)
    before, world.store = world.store, FakeStore()
    world.watch, world.destination = replace(watch, destination="audit"), Destination("other")
    world.restart()
    rotate(world, "renamed", B, b"")
    settle(world, 10)
    assert len(before.objects()) == 1
    assert world.contents() == [B]
    assert world.files.paths() == [b"app.log"]


def test_a_long_rest_is_a_multipart_upload_that_goes_on_after_a_crash(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    write(world, b"")
    rest = random_log(1, 12 * MIB)
    rotate(world, "renamed and compressed", rest)
    world.discover()
    fuse = Fuse(at=0)
    parts = itertools.count(1)

    def effect(name: str) -> None:
        if name == "UploadPart.before" and next(parts) == 2:
            raise Crash

    world.store.effect = effect
    with pytest.raises(Crash):
        world.carry()
    world.restart(fuse)
    settle(world)
    assert sent(world) == A + rest
    assert world.store.operations().count("CreateMultipartUpload") == 1


def test_the_copy_that_was_touched_while_it_waited_is_compared_again(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    write(world, b"")
    rotate(world, "renamed and compressed", B)
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown"))
    world.carry()
    assert world.row(b"app.log.1.gz").copy_of == world.rows()[0].key
    world.files.touch(b"app.log.1.gz")
    settle(world)
    assert sent(world) == A + B
    world.files.touch(b"app.log.1.gz")
    settle(world)
    assert stored(world) == len(A + B + D)


def test_a_copy_that_was_replaced_while_it_waited_is_another_log(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    write(world, b"")
    rotate(world, "renamed and compressed", B)
    packed = world.files.body(b"app.log.1.gz")
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown"))
    world.carry()
    other = packed[:12] + bytes([packed[12] ^ 1]) + packed[13:]
    world.files.write(b"app.log.1.gz", other)
    settle(world)
    pass_time(world, minutes=10)
    assert other in world.store.objects().values()


def test_a_touched_copy_with_other_bytes_in_its_middle_is_another_log(tmp_path: Path) -> None:
    """It begins and ends as promised; only all of its bytes tell."""
    world = world_of(tmp_path)
    write(world, b"")
    rotate(world, "renamed and compressed", random_log(1, 20_000))
    packed = world.files.body(b"app.log.1.gz")
    world.discover()
    world.store.fail_next("PutObject", PortError("SlowDown"))
    world.carry()
    assert world.row(b"app.log.1.gz").copy_of == world.rows()[0].key
    middle = len(packed) // 2
    other = packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]
    world.files.write(b"app.log.1.gz", other)
    settle(world)
    pass_time(world, minutes=10)
    (lost,) = world.rows(State.GONE)
    assert (lost.code, lost.detail) == (
        "SourceChanged",
        "no longer what was compared with its log",
    )
    assert sorted(world.store.objects().values()) == sorted([A, other, D])


def test_a_rest_that_is_far_longer_than_its_archive_is_left_to_the_other_workers(
    tmp_path: Path,
) -> None:
    """The worker for small files sees how long the content is once it has decoded it."""
    world = world_of(tmp_path)
    write(world, b"")
    rest = b"the same line again\n" * 100_000
    rotate(world, "renamed and compressed as .zst", rest)
    world.discover()
    world.small.step()
    row = world.row(b"app.log.1.zst")
    assert (row.state, row.code) == (State.READY, "DuplicateUndecided")
    assert row.decoded_end == len(A + rest)
    assert world.contents() == [A]
    settle(world)
    assert sent(world) == A + rest


@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_copy_in_another_directory_is_the_logs_only_if_that_was_emptied(
    tmp_path: Path, *, is_emptied: bool
) -> None:
    world = world_of(tmp_path)
    write(world, b"")
    world.files.append(b"app.log", B)
    world.clock.advance(seconds=1)
    world.files.write(b"old/app.log.1", A + B)
    if is_emptied:
        world.files.write(b"app.log", b"")
    settle(world)
    assert sorted(world.contents()) == sorted([A, B] if is_emptied else [A, A + B])


def test_what_only_begins_as_the_log_is_another_log_and_goes_whole(world: World) -> None:
    """Its head is the same, and what follows is not."""
    long = A * 20
    world.files.write(b"app.log", long)
    pass_time(world)
    other = long[:5000] + b"X" + long[5001:] + B
    rotate(world, "renamed", C)
    world.files.write(b"app.log.1.gz", gzip.compress(other, mtime=0))
    world.files.delete(b"app.log.1")
    settle(world)
    assert other in world.contents()


def test_while_the_log_stands_its_archive_waits_and_is_its_copy_then(world: World) -> None:
    """``gzip -k`` on a log that shipper has not sealed."""
    pass_time(world)
    world.files.append(b"app.log", B)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    mtime_ns = world.files._node(b"app.log").mtime_ns
    world.clock.advance(seconds=1)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.write(b"app.log.1.gz", gzip.compress(A + B, mtime=0))
    world.files.touch(b"app.log.1.gz", mtime_ns)
    settle(world, minutes=2)
    assert world.row(b"app.log.1.gz").code == "DuplicateUndecided"
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    settle(world)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    assert sent(world) == A + B


def test_a_backup_of_a_log_that_goes_on_is_a_log_of_its_own(world: World) -> None:
    pass_time(world)
    world.files.write(b"app.log.1.gz", gzip.compress(A, mtime=0))
    world.clock.advance(seconds=1)
    settle(world)
    write(world, B)
    assert stored(world) == len(A + A + B)


def test_a_log_that_was_emptied_begins_anew_and_what_was_shipped_stays(world: World) -> None:
    pass_time(world)
    world.files.write(b"app.log", B[:-9])
    pass_time(world)
    world.files.append(b"app.log", C)
    pass_time(world)
    assert stored(world) == len(A + B[:-9] + C)
    assert len(world.journal.known(world.watch.name, world.rows()[0].file_id.inode)) == 2


def test_other_bytes_of_the_same_length_go_once_there_is_one_more(world: World) -> None:
    pass_time(world)
    world.files.write(b"app.log", B)
    pass_time(world)
    assert world.contents() == [A]
    write(world, C)
    assert sorted(world.contents()) == sorted([A, B + C])


def test_a_log_that_was_cut_and_regrew_beyond_is_told_by_its_last_segment(world: World) -> None:
    pass_time(world)
    world.files.write(b"app.log", B + C)
    pass_time(world)
    assert sorted(world.contents()) == sorted([A, B + C])
    assert world.rows()[0].raw_end < world.rows()[1].raw_end


def test_what_changed_in_an_earlier_segment_is_told_at_the_seal(world: World) -> None:
    write(world, b"", B)
    changed = b"X" + A[1:] + B
    world.files.write(b"app.log", changed)
    rotate(world, "renamed", C)
    settle(world)
    assert changed + C in world.contents()


def test_a_damaged_archive_is_shipped_as_it_is(world: World) -> None:
    pass_time(world)
    rotate(world, "renamed", B)
    world.files.delete(b"app.log.1")
    damaged = gzip.compress(A + B, mtime=0)[:-9]
    world.files.write(b"app.log.1.gz", damaged)
    world.files.write(b"app.log.2.gz", b"no gzip at all")
    settle(world)
    assert {damaged, b"no gzip at all"} <= set(world.store.objects().values())


def test_while_not_every_directory_can_be_read_an_archive_is_a_log_of_its_own(
    world: World,
) -> None:
    pass_time(world)
    rotate(world, "renamed and compressed", B)
    world.files.fail_scan(b"below", PortError("Unreadable", "below"))
    settle(world)
    assert world.files.body(b"app.log.1.gz") in world.store.objects().values()


def test_a_rest_whose_key_would_be_too_long_goes_with_the_whole(tmp_path: Path) -> None:
    world = World(tmp_path, watch=LIVE)
    world.key_template = "x" * 1008 + "/{digest}{segment}{extension}"
    world.restart()
    world.files.write(b"app.log", A)
    world.look()
    pass_time(world)
    rotate(world, "renamed and compressed", C)
    settle(world)
    assert stored(world) > len(A) + 10
    assert world.row(b"app.log.1.gz").copy_of == ""


def test_nothing_is_promised_before_the_instance_is_known_nor_while_the_journal_is_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, world.facts = world.facts, None
    world.clock.advance(seconds=301)
    assert world.live.ship_due() == float("inf")
    world.facts = facts
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise PortError("JournalUnwritable")

        patch.setattr(world.journal, "promise", full)
        world.live.ship_due()
    assert world.rows() == []
    pass_time(world)
    assert world.contents() == [A]


def test_a_log_that_was_rotated_since_the_scan_gets_no_segment(world: World) -> None:
    world.clock.advance(seconds=301)
    world.discovery.step()
    rotate(world, "renamed", b"")
    world.live.ship_due()
    assert world.rows() == []
    settle(world)
    assert world.contents() == [A]


def test_a_long_segment_is_compared_in_several_steps(tmp_path: Path) -> None:
    long = b"".join(b"%099d\n" % number for number in range(30_000))
    world = World(tmp_path, watch=LIVE)
    world.files.write(b"app.log", long)
    world.look()
    pass_time(world)
    world.live._due_proofs._scan_bytes = MIB
    world.files.append(b"app.log", B)
    pass_time(world, minutes=5)
    world.clock.advance(seconds=30)
    world.discovery.step()
    world.live.ship_due()
    assert world.live.is_comparing
    for _ in range(5):
        world.live.ship_due()
    assert not world.live.is_comparing
    world.carry()
    assert sent(world) == long + B


# Crashes.


@pytest.mark.parametrize("how", WAYS[:4])
def test_no_byte_is_lost_or_sent_twice_whatever_the_crash_point(tmp_path: Path, how: str) -> None:
    for n in itertools.count(1):
        world = world_of(tmp_path / str(n))
        fuse = Fuse(at=n)
        world.restart(fuse)
        for act in range(3):
            try:
                _act(world, act, how)
            except Crash:
                world.restart()
                _act(world, act, how)
        settle(world)
        assert sent(world) == A + B + C, fuse.burnt_at
        world.stop()
        assert world.files.open_sources == 0
        if not fuse.burnt_at:
            assert n > 12
            return


def _act(world: World, act: int, how: str) -> None:
    if act == 0:
        pass_time(world)
    elif act == 1:
        if world.files.body(b"app.log") == A:
            world.files.append(b"app.log", B)
        pass_time(world)
    else:
        if world.files.body(b"app.log") == A + B:
            rotate(world, how, C, b"")
        settle(world, minutes=2)


def test_a_live_log_that_is_away_when_it_is_to_be_held_is_promised_all_the_same(
    world: World,
) -> None:
    """Such as between a rename and the name that it gets."""

    class Away:
        """The files, of which none can be opened once something is promised."""

        def __getattr__(self, name: str) -> Any:
            if name == "open" and world.rows():
                raise PortError("NotFound", "it is being renamed")
            return getattr(world.files, name)

    world.live._files = Away()
    world.clock.advance(minutes=6)
    world.look()
    assert [row.raw_end for row in world.rows()] == [len(A)]
    assert world.held.shipments() == []
    world.live._files = world.files
    pass_time(world)
    assert world.contents() == [A]
