"""Live files: shipped up to a line's end, or to the last byte; and continued, not repeated."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.lifecycle import SourceChanged
from shipper.core.types import AfterUpload, Compression, FileKind, State, WatchName, WriterTest
from shipper.ports import PortError
from shipper.services.finding import live_files as live
from tests.machines.world import MIB, WATCH, Crash, Fuse, World, decoded, random_log

LINES = b"".join(b"line %d\n" % number for number in range(2000))
MORE = b"".join(b"more %d\n" % number for number in range(500))
NEW = b"".join(b"new %d\n" % number for number in range(1500))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A log that is written to."""
    world = World(tmp_path)
    world.files.write(b"app.log", LINES)
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    return world


def ship_live(world: World, *, whole: bool = False) -> None:
    world.go_live(whole=whole)
    world.carry()


def segments(world: World, *paths: bytes) -> list[tuple[int, int, str]]:
    """What is in S3 of these files, by where it begins."""
    return [
        (row.raw_start, row.raw_end, row.state.value)
        for row in world.rows()
        if row.path in paths and row.state is not State.SUPERSEDED
    ]


def joined(world: World) -> bytes:
    """The objects in the order in which they follow one another."""
    rows = sorted(world.rows(State.DONE), key=lambda row: row.raw_start)
    return b"".join(decoded(row.key, world.store.objects()[row.key]) for row in rows)


def stored(world: World) -> int:
    """How many raw bytes were stored, however often."""
    return sum(len(one) for one in world.contents())


def copy_and_truncate(world: World, rest: bytes = b"") -> None:
    """What logrotate's copytruncate does; ``rest`` is what is written next."""
    world.files.write(b"app.log.1", world.files.body(b"app.log"))
    world.files.write(b"app.log", rest)


# What is shipped.


def test_a_live_file_is_not_shipped_before_anybody_asks(world: World) -> None:
    world.run(rounds=1)
    assert world.store.objects() == {}


def test_it_is_shipped_up_to_its_last_line_though_its_writer_has_it_open(world: World) -> None:
    world.files.append(b"app.log", b"half a li")
    ship_live(world)
    assert world.contents() == [LINES]
    assert world.log.of("live.promised") == [{"files": 1, "raw_bytes": len(LINES), "whole": False}]


def test_at_the_very_end_half_a_line_goes_too(world: World) -> None:
    world.files.append(b"app.log", b"half a li")
    ship_live(world, whole=True)
    assert world.contents() == [LINES + b"half a li"]


def test_without_a_whole_line_there_is_nothing_to_ship_yet(world: World) -> None:
    world.files.write(b"app.log", b"half a li")
    ship_live(world)
    assert world.rows() == []
    world.files.append(b"app.log", b"ne\nand")
    ship_live(world)
    assert world.contents() == [b"half a line\n"]


@pytest.mark.parametrize("tail", [3 * live._PIECE_BYTES // 2, live.LONGEST_LINE_BYTES + 5])
def test_what_has_no_lines_is_no_text_and_is_cut_anywhere(world: World, tail: int) -> None:
    long = LINES + b"x" * tail
    world.files.write(b"app.log", long)
    ship_live(world)
    assert world.contents() == [LINES if tail < live.LONGEST_LINE_BYTES else long]


def test_empty_compressed_linked_and_strange_files_are_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, live=("*",)))
    world.files.write(b"empty.log")
    world.files.write(b"old.gz", gzip.compress(b"x", mtime=0))
    world.files.write(b"one.log", b"linked\n")
    world.files.link(b"one.log", b"two.log")
    world.files.write(b"link.log", b"x\n", kind=FileKind.SYMLINK)
    world.files.write(b"same.log", b"x\n", kind=FileKind.ALIAS)
    world.files.write(b"below.log", b"x\n", kind=FileKind.LINKED_DIRECTORY)
    ship_live(world, whole=True)
    assert world.rows() == []
    assert len(world.live.refused) == 3
    world.discovery.step()
    found = {code: one.files for (_, code), one in world.discovery.refusals.items()}
    assert found == {"HardLinked": 2, "NotRegular": 1}


def test_a_file_that_cannot_be_opened_keeps_no_other_from_being_shipped(world: World) -> None:
    world.files.write(b"secret.log", b"unreadable\n")
    world.files.deny(b"secret.log")
    world.files.fail_scan(b"below", PortError("Unreadable", "below"))
    ship_live(world)
    assert world.contents() == [LINES]
    assert [one["code"] for one in world.log.of("live.refused")] == ["SourceUnreadable"]
    assert len(world.live.refused) == 2
    world.files.fail_scan(b"below")
    world.discovery.step()
    assert [str(one.problem) for one in world.discovery.problems] == [
        "SourceUnreadable: Permission denied"
    ]
    world.candidates.takes_live = False
    world.discovery.step()
    assert world.discovery.problems == ()


def test_a_pass_waits_for_the_instance_and_for_the_journal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.live.step()
    facts, world.facts = world.facts, None
    world.go_live()
    assert world.live.wanted is False
    world.facts = facts
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise PortError("JournalUnwritable")

        patch.setattr(world.journal, "promise", full)
        world.live.step()
    assert world.live.wanted is False
    world.live.step()
    assert world.live.wanted is None
    assert world.live.promised == 1


def test_a_pass_that_is_asked_for_meanwhile_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promise = world.journal.promise

    def asked_meanwhile(*args: object, **options: object) -> object:
        world.live.wanted = True
        return promise(*args, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(world.journal, "promise", asked_meanwhile)
    world.go_live()
    assert world.live.wanted is True


def test_what_was_not_begun_since_the_last_pass_waits_for_the_last_one(world: World) -> None:
    world.go_live()
    world.files.append(b"app.log", MORE)
    world.go_live()
    assert len(world.rows()) == 1
    world.go_live(whole=True)
    world.carry()
    assert joined(world) == LINES + MORE
    assert len(world.rows()) == 2


def test_rotated_files_with_a_writer_go_at_the_very_end_only(world: World) -> None:
    world.files.write(b"app.log.1", NEW)
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    world.discover()
    ship_live(world)
    assert world.contents() == [LINES]
    ship_live(world, whole=True)
    assert sorted(world.contents()) == sorted([LINES, NEW])


@pytest.mark.parametrize("order", [0, 1])
def test_of_two_watches_that_know_a_live_file_the_one_of_its_rotations_ships_it(
    world: World, order: int
) -> None:
    owner = replace(WATCH, name=WatchName("owner"), include=("app.log.*",))
    other = replace(WATCH, name=WatchName("other"), include=("web.log.*",))
    world.live._watches = [owner, other] if order else [other, owner]
    world.go_live()
    assert [row.watch for row in world.rows()] == ["owner"]


@pytest.mark.parametrize("compression", Compression)
def test_an_upload_of_a_live_file_that_has_grown_since_goes_on(
    tmp_path: Path, compression: Compression
) -> None:
    world = World(tmp_path, watch=replace(WATCH, compression=compression))
    body = random_log(3, 11 * MIB) + b"\n"
    world.files.write(b"app.log", body)
    world.go_live()
    world.store.fail_next("UploadPart", PortError("Timeout"))
    world.carry()
    assert len(world.journal.receipts(world.rows()[0])) == 1
    world.clock.advance(minutes=10)
    world.files.append(b"app.log", b"written meanwhile\n")
    world.restart()
    world.carry()
    assert world.contents() == [body]
    assert world.store.operations().count("CreateMultipartUpload") == 1
    assert world.store.operations().count("UploadPart") == 3, "none twice but the failed"


MIDDLE = 11 * MIB
FIRST, SECOND = (LINES + random_log(seed, MIDDLE) + LINES for seed in (4, 5))
"""They begin and end alike, and their parts differ."""


def cut_and_write_anew(world: World) -> None:
    """copytruncate; and the next log grows beyond the first one's end."""
    world.clock.advance(minutes=1)
    copy_and_truncate(world, SECOND + MORE)


def test_no_object_is_one_logs_beginning_and_anothers_end(tmp_path: Path) -> None:
    """The upload of a live log was cut short, and goes on when the log is another one."""
    world = World(tmp_path)
    world.files.write(b"app.log", FIRST)
    world.go_live(whole=True)
    parts = itertools.count(1)

    def effect(name: str) -> None:
        if name == "UploadPart.before" and next(parts) == 2:
            raise PortError("ServiceUnavailable", status=503)

    world.store.effect = effect
    world.carrier.step()
    assert len(world.journal.receipts(world.rows()[0])) == 1
    cut_and_write_anew(world)
    world.run(rounds=2)
    ship_live(world, whole=True)
    world.files.rename(b"app.log", b"app.log.2")
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([FIRST, SECOND, MORE])


def test_a_live_log_that_is_cut_and_regrown_while_it_is_read_is_not_mixed(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log", FIRST)
    world.go_live(whole=True)
    effects = iter(["UploadPart.before"])

    def effect(name: str) -> None:
        if name == "UploadPart.before" and next(effects, None):
            cut_and_write_anew(world)

    world.store.effect = effect
    world.carry()
    assert world.contents() == []
    world.run(rounds=2)
    assert FIRST in world.contents()


def test_a_live_log_that_only_grows_while_it_is_read_is_sent_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log", FIRST)
    world.go_live(whole=True)

    def effect(name: str) -> None:
        if name == "UploadPart.before":
            world.clock.advance(seconds=1)
            world.files.append(b"app.log", MORE)

    world.store.effect = effect
    world.carry()
    assert world.contents() == [FIRST]
    assert world.store.operations().count("CreateMultipartUpload") == 1


def test_a_segment_that_came_to_nothing_leaves_no_hole(world: World) -> None:
    world.go_live()
    world.files.append(b"app.log", MORE)
    world.go_live(whole=True)
    world.journal.record(world.rows()[0], SourceChanged(world.clock.now()))
    world.carry()
    ship_live(world)
    assert joined(world) == LINES + MORE
    assert segments(world, b"app.log")[-1][:2] == (0, len(LINES))


def test_a_touch_is_nothing_new(world: World) -> None:
    ship_live(world)
    world.clock.advance(seconds=60)
    world.files.touch(b"app.log")
    ship_live(world)
    ship_live(world, whole=True)
    assert world.contents() == [LINES]


# What comes after.


def test_a_log_that_is_renamed_goes_on_where_it_was_left(world: World) -> None:
    world.files.append(b"app.log", b"half a li")
    ship_live(world)
    world.files.append(b"app.log", b"ne\n" + MORE)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.files.write(b"app.log", NEW)
    world.run(rounds=2)
    assert joined(world) == LINES + b"half a line\n" + MORE


def test_a_log_that_is_renamed_while_it_waits_goes_on_too(world: World) -> None:
    world.go_live()
    world.files.append(b"app.log", MORE)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.run(rounds=2)
    assert joined(world) == LINES + MORE


def test_several_segments_are_one_log(world: World) -> None:
    ship_live(world)
    for number in range(3):
        world.clock.advance(seconds=30)
        world.files.append(b"app.log", b"round %d\n" % number)
        ship_live(world)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.run(rounds=2)
    ordered = sorted(world.rows(), key=lambda row: row.raw_start)
    bodies = [world.store.objects()[row.key] for row in ordered]
    assert len(bodies) == 4
    assert stored(world) == len(world.files.body(b"app.log.1"))
    assert [row.raw_end for row in ordered[:-1]] == [row.raw_start for row in ordered[1:]]


@pytest.mark.parametrize("rest", [b"", MORE])
def test_a_copy_of_it_is_shipped_from_where_it_was_left(world: World, rest: bytes) -> None:
    ship_live(world)
    world.files.append(b"app.log", rest)
    copy_and_truncate(world, NEW)
    world.run(rounds=3)
    assert joined(world) == LINES + rest
    [first, *others] = [row for row in world.rows() if row.path == b"app.log.1"]
    assert (first.state, first.detail) == (State.DUPLICATE, world.rows()[0].key)
    assert [(row.raw_start, row.state) for row in others] == (
        [(len(LINES), State.DONE)] if rest else []
    )


def test_a_copy_of_several_segments_is_shipped_from_where_the_last_was_left(world: World) -> None:
    ship_live(world)
    world.files.append(b"app.log", MORE)
    world.clock.advance(seconds=30)
    ship_live(world)
    world.files.append(b"app.log", NEW)
    copy_and_truncate(world)
    world.run(rounds=3)
    assert stored(world) == len(LINES + MORE + NEW)


def test_a_copy_that_is_not_sealed_at_the_very_end_goes_with_its_rest(world: World) -> None:
    ship_live(world)
    world.files.append(b"app.log", MORE)
    copy_and_truncate(world, NEW)
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    ship_live(world, whole=True)
    assert stored(world) == len(LINES + MORE + NEW)
    first, rest = [row for row in world.rows() if row.path == b"app.log.1"]
    assert (first.state, rest.raw_start) == (State.DUPLICATE, len(LINES))


def test_a_copy_of_what_was_never_sent_is_shipped_whole(world: World) -> None:
    world.go_live()
    copy_and_truncate(world, NEW)
    world.run(rounds=3)
    assert world.contents() == [LINES]
    assert world.rows()[0].state is State.SUPERSEDED


def test_a_live_file_that_was_cut_and_written_anew_is_another_log(world: World) -> None:
    ship_live(world)
    world.files.write(b"app.log", NEW)
    ship_live(world)
    world.files.append(b"app.log", MORE)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.run(rounds=2)
    assert stored(world) == len(LINES + NEW + MORE)
    assert segments(world, b"app.log.1")[-1][0] == len(NEW)


def test_two_logs_that_begin_alike_are_both_shipped_whole(world: World) -> None:
    """The first was renamed: it is a rotated log itself, and nothing was copied of it."""
    ship_live(world)
    world.files.rename(b"app.log", b"app.log.2")
    world.files.set_writer(b"app.log.2", WriterTest.NONE)
    world.clock.advance(minutes=1)
    world.files.write(b"app.log", LINES + MORE)
    world.files.rename(b"app.log", b"app.log.1")
    world.run(rounds=3)
    assert stored(world) == len(LINES + LINES + MORE)


def test_an_equal_log_that_got_the_inode_of_a_renamed_one_is_no_copy(tmp_path: Path) -> None:
    """Shipped live once; then every night says the same, and ext4 gives the number away again."""
    world = World(tmp_path)
    world.files._reuses_inodes = True
    world.files.write(b"app.log", LINES)
    ship_live(world, whole=True)
    for _ in range(4):
        world.clock.advance(hours=24)
        if b"app.log.1" in world.files.paths():
            world.files.delete(b"app.log.1")
        world.files.rename(b"app.log", b"app.log.1")
        world.files.write(b"app.log")
        world.run(rounds=1)
        world.files.append(b"app.log", LINES)
    assert world.contents() == [LINES] * 4


def test_logs_that_begin_as_one_that_was_live_come_in_one_object_each(world: World) -> None:
    ship_live(world)
    world.files.set_writer(b"app.log", WriterTest.NONE)
    for night in range(4):
        world.clock.advance(hours=24)
        world.files.append(b"app.log", b"night %d\n" % night)
        world.files.rename(b"app.log", b"app.log.%d" % (night + 1))
        world.files.write(b"app.log", LINES)
        world.run(rounds=1)
    assert len(world.contents()) == 5, "the first night's end is a segment of its own"
    assert stored(world) == 4 * len(LINES + b"night 0\n")


def test_where_no_generation_is_told_a_copy_is_a_log_of_its_own(world: World) -> None:
    world.files.has_generations = False
    world.files.write(b"web.log", LINES)
    ship_live(world)
    world.files.write(b"web.log.1", LINES)
    world.files.write(b"web.log")
    world.run(rounds=2)
    assert [row.state for row in world.rows() if row.path == b"web.log.1"] == [State.DONE]


def test_of_two_copies_that_begin_alike_only_the_first_is_one(world: World) -> None:
    ship_live(world)
    copy_and_truncate(world, LINES)
    world.run(rounds=2)
    world.files.rename(b"app.log.1", b"app.log.2")
    copy_and_truncate(world, LINES)
    world.run(rounds=2)
    assert stored(world) == 2 * len(LINES)


def test_a_log_that_only_begins_as_the_live_one_ends_up_whole_in_two_objects(world: World) -> None:
    """Head and tail of 4 KiB are the same, what is between is not: the proof says so."""
    ship_live(world)
    other = LINES[:4096] + bytes(len(LINES) - 8192) + LINES[-4096:]
    world.files.write(b"app.log.1", other + MORE)
    world.run(rounds=3)
    assert stored(world) == len(LINES + other + MORE)


def test_the_compressed_copy_of_a_log_that_came_in_segments_is_its_twin(world: World) -> None:
    ship_live(world)
    world.files.append(b"app.log", MORE)
    copy_and_truncate(world)
    world.run(rounds=3)
    mtime_ns = world.row(b"app.log.1").mtime_ns
    packed = gzip.compress(world.files.body(b"app.log.1"), mtime=0)
    world.files.write(b"app.log.1.gz", packed)
    world.files.touch(b"app.log.1.gz", mtime_ns)
    world.files.delete(b"app.log.1")
    world.run(rounds=2)
    assert world.row(b"app.log.1.gz").state is State.DUPLICATE
    assert stored(world) == len(LINES + MORE)


# What becomes of the file.


def deleting(tmp_path: Path, **changes: object) -> World:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE, **changes)  # type: ignore[arg-type]
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log", LINES)
    return world


def test_a_live_file_is_never_removed_by_whatever_the_watch_does(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    ship_live(world, whole=True)
    world.run(rounds=2)
    assert world.files.paths() == [b"app.log"]
    assert world.rows()[0].state is State.DONE


def test_an_unconfirmed_live_segment_is_checked_and_its_file_kept(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    world.store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
    ship_live(world)
    world.clock.advance(minutes=20)
    world.carry()
    assert world.store.operations().count("PutObject") == 2, "the first answer was lost"
    assert world.rows()[0].state is State.DONE
    assert world.files.paths() == [b"app.log"]


@pytest.mark.parametrize("rest", [b"", MORE])
def test_once_it_is_rotated_it_is_removed_as_the_watch_asks(tmp_path: Path, rest: bytes) -> None:
    world = deleting(tmp_path)
    ship_live(world)
    if rest:
        world.files.append(b"app.log", rest)
    world.files.rename(b"app.log", b"app.log.1")
    world.run(rounds=3)
    assert world.files.paths() == []
    assert joined(world) == LINES + rest


def test_what_was_changed_since_it_was_live_is_shipped_as_a_log_of_its_own(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    world.files.append(b"app.log", MORE)
    ship_live(world)
    world.files.append(b"app.log", NEW)
    world.clock.advance(seconds=30)
    ship_live(world)
    body = bytearray(world.files.body(b"app.log"))
    body[len(LINES) // 2 : len(LINES) // 2 + 4] = b"XXXX"
    mtime_ns = world.rows()[-1].mtime_ns
    world.files.write(b"app.log", bytes(body))
    world.files.touch(b"app.log", mtime_ns)
    world.files.rename(b"app.log", b"app.log.1")
    world.run(rounds=3)
    assert bytes(body) in world.contents()
    assert world.files.paths() == []


# The order of a drain.


def test_when_it_is_urgent_the_small_go_first_and_live_files_last(world: World) -> None:
    world.files.write(b"huge.log.1", random_log(4, 300_000))
    world.files.write(b"middle.log.1", random_log(5, 200_000))
    world.files.write(b"small.log.1", b"small\n")
    world.discover()
    world.go_live()
    world.is_urgent = True
    world.carry()
    sent = [call.key for call in world.store.calls if call.operation == "PutObject"]
    stems = [key.split("/")[-1].split(".")[0] for key in sent]
    assert stems == ["small", "middle", "huge", "app"]


# Crashes.


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_no_byte_is_lost_or_sent_twice_whatever_the_crash_point(tmp_path: Path, how: str) -> None:
    """Two passes and a rotation, dying at every effect; the life after it goes on as usual."""
    watch = replace(WATCH, compression=Compression.NONE)
    for n in itertools.count(1):
        world = World(tmp_path / str(n), watch=watch)
        world.files.write(b"app.log", LINES + b"half")
        fuse = Fuse(at=n)
        world.restart(fuse)
        for act in (0, 1, 2):
            try:
                drain(world, how, act)
            except Crash:
                world.restart()
                drain(world, how, act)
        world.run(rounds=3)
        everything = LINES + b"half of it\n" + MORE
        ordered = [row for row in world.rows(State.DONE) if row.path != b"app.log" or row.is_live]
        ordered.sort(key=lambda row: row.raw_start)
        assert b"".join(world.store.objects()[row.key] for row in ordered) == everything, n
        assert stored(world) == len(everything), fuse.burnt_at
        world.stop()
        assert world.files.open_sources == 0
        if not fuse.burnt_at:
            assert n > 8
            return


def drain(world: World, how: str, act: int) -> None:
    match act:
        case 0:
            ship_live(world)
        case 1:
            if not world.files.body(b"app.log").endswith(MORE):
                world.files.append(b"app.log", b" of it\n" + MORE)
            world.clock.advance(seconds=30)
            ship_live(world, whole=True)
        case _:
            if b"app.log.1" not in world.files.paths():
                if how == "renamed":
                    world.files.rename(b"app.log", b"app.log.1")
                else:
                    copy_and_truncate(world)
            world.run(rounds=1)


def test_nothing_of_it_is_removed_that_no_listing_has_shown(tmp_path: Path) -> None:
    world = deleting(tmp_path)
    ship_live(world)
    [key] = world.store.objects()
    world.files.rename(b"app.log", b"app.log.1")
    world.run(rounds=3)
    assert world.files.paths() == []
    assert "ListObjectsV2" in world.store.operations()
    assert world.rows()[0].key == key


@pytest.mark.parametrize("is_early", [False, True], ids=["delete_after", "high_water"])
def test_what_came_whole_while_it_was_live_is_listed_again_before_it_goes(
    tmp_path: Path, *, is_early: bool
) -> None:
    world = deleting(tmp_path, delete_after_seconds=3600.0)
    ship_live(world)
    world.files.rename(b"app.log", b"app.log.1")
    world.run(rounds=2)
    assert world.files.paths() == [b"app.log.1"]
    [key] = world.store.objects()
    world.store.remove(key)
    if is_early:
        waiting = world.journal.removals.oldest(world.watch.name, "", 10)
        world.journal.removals.hasten([one.id for one in waiting], world.clock.now())
    else:
        world.clock.advance(hours=1)
    world.carry()
    assert world.files.paths() == [b"app.log.1"], "S3 has nothing of it"
    world.run(rounds=3)
    assert world.contents() == [LINES]
    world.clock.advance(hours=1)
    world.run(rounds=1)
    assert world.files.paths() == []


def test_what_stands_again_after_it_was_away_is_listed_again_before_it_goes(
    tmp_path: Path,
) -> None:
    world = deleting(tmp_path)
    world.files.rename(b"app.log", b"app.log.1")
    world.discover()
    world.carry()
    world.files.rename(b"app.log.1", b"/backup/app.log.1")
    world.clock.advance(hours=1)
    world.carry()
    assert [row.code for row in world.rows()] == ["SourceVanished"]
    [key] = world.store.objects()
    world.store.remove(key)
    world.files.rename(b"/backup/app.log.1", b"app.log.1")
    world.discover()
    world.carry()
    assert world.files.paths() == [b"app.log.1"], "S3 has nothing of it"
    world.run(rounds=3)
    assert world.contents() == [LINES]
    world.clock.advance(hours=1)
    world.run(rounds=1)
    assert world.files.paths() == []


def test_a_live_file_that_s3_has_may_get_a_second_name(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, live=("*",)))
    world.files.write(b"one.log", b"a line\n")
    ship_live(world, whole=True)
    world.files.link(b"one.log", b"/backup/one.log")
    ship_live(world, whole=True)
    assert world.live.refused == set()
    assert world.contents() == [b"a line\n"]
