"""A disk that fills up loses what S3 has, the oldest first, and nothing else."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.disk_space import IDLE_SECONDS, Marks
from shipper.core.types import AfterUpload, Compression, State, WriterTest
from shipper.ports import PortError
from shipper.services.sources.high_water import HighWater
from tests.machines.world import WATCH, World

CAPACITY = 1000
BODY = 100
DAY = 86_400.0


def world_of(tmp_path: Path, after_upload: AfterUpload = AfterUpload.DELETE) -> World:
    """A disk with room for ten logs."""
    watch = replace(
        WATCH,
        compression=Compression.NONE,
        after_upload=after_upload,
        delete_after_seconds=DAY,
        archive_directory="/logs/old" if after_upload is AfterUpload.ARCHIVE else "",
    )
    world = World(tmp_path, watch=watch)
    world.files.capacity_bytes["disk"] = CAPACITY
    return world


class Looking:
    """A ``HighWater`` and who it woke."""

    def __init__(self, world: World) -> None:
        self.woken: list[str] = []
        self.high_water = HighWater(
            watches=[world.watch],
            marks=Marks(0.8, 0.6),
            files=world.files,
            journal=world.journal,
            disposal=world.disposal,
            clock=world.clock,
            bugs=world.bugs,
            hastened=lambda: self.woken.append("carriers"),
            look=lambda: self.woken.append("discovery"),
            scans=lambda: world.discovery.scans,
            log=world.log,
        )
        self.step = self.high_water.step


def put(world: World, *names: bytes) -> None:
    """Logs, each newer than the one before."""
    for name in names:
        world.files.write(name, (name * BODY)[:BODY])
        world.clock.advance(seconds=1)


LOGS = [b"%d.log.1" % number for number in range(9)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nine tenths are full of logs that S3 has."""
    world = world_of(tmp_path)
    put(world, *LOGS)
    world.discover()
    world.carry()
    assert len(world.rows(State.VERIFIED)) == 9
    return world


def test_the_oldest_go_until_the_disk_is_below_its_low_water(world: World) -> None:
    looking = Looking(world)
    assert looking.step() == 1.0
    assert looking.woken == ["carriers"]
    looking.step()
    assert looking.woken == ["carriers"], "what is due already is counted"
    world.carry()
    assert world.files.paths() == LOGS[4:]
    assert looking.step() == IDLE_SECONDS
    assert world.log.events[-1] == "disk.low_water_reached"
    assert world.log.of("disk.high_water_passed")[0]["used_percent"] == 90.0
    assert looking.high_water.disks[0].directory == "/logs"


def test_a_disk_between_its_marks_that_was_not_above_them_is_left_alone(world: World) -> None:
    world.files.capacity_bytes["disk"] = 1200
    looking = Looking(world)
    assert looking.step() == 2.0
    assert looking.woken == []


def test_what_s3_does_not_list_any_more_stays_and_is_sent_again(world: World) -> None:
    world.store._objects.clear()
    Looking(world).step()
    world.carry()
    assert world.files.paths() == LOGS
    assert len(world.rows(State.READY)) == 4


def test_what_somebody_writes_to_is_passed_over(world: World) -> None:
    world.files.set_writer(LOGS[0], WriterTest.OPEN)
    looking = Looking(world)
    for _ in range(2):
        looking.step()
        world.carry()
    assert world.files.paths() == [LOGS[0], *LOGS[5:]]


def test_what_changed_since_stays(world: World) -> None:
    world.files.append(LOGS[0], b"")
    world.files.write(LOGS[1], b"other" * 20)
    looking = Looking(world)
    for _ in range(2):
        looking.step()
        world.carry()
    assert LOGS[1] in world.files.paths()


def test_an_archive_frees_nothing_and_nothing_goes_there_early(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.ARCHIVE)
    put(world, *LOGS)
    world.discover()
    world.carry()
    Looking(world).step()
    world.carry()
    assert world.files.paths() == LOGS


def test_kept_means_kept(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    put(world, *LOGS)
    world.discover()
    world.carry()
    looking = Looking(world)
    for _ in range(3):
        looking.step()
        world.discover()
        world.carry()
    assert world.files.paths() == LOGS
    assert looking.woken == ["discovery"]
    [filled] = world.log.of("disk.filled")
    assert "0 bytes in 0 files wait for S3" in filled["detail"]


@pytest.fixture
def keeping(tmp_path: Path) -> World:
    """As ``world``, with files that are kept but on a full disk."""
    world = world_of(tmp_path, AfterUpload.KEEP)
    world.disposal.removes_kept = True
    put(world, *LOGS)
    world.discover()
    world.carry()
    assert len(world.rows(State.DONE)) == 9
    return world


def test_kept_files_go_where_that_is_asked_for_once_s3_has_listed_them_again(
    keeping: World,
) -> None:
    keeping.files.rename(LOGS[0], b"0.log.2")
    looking, calls = Looking(keeping), len(keeping.store.calls)
    looking.step()
    looking.step()
    assert looking.woken == ["carriers"], "what is wanted already is counted"
    keeping.carry()
    assert keeping.files.paths() == LOGS[4:]
    listed = [call.operation for call in keeping.store.calls[calls:]]
    assert listed == ["ListObjectsV2"] * 4
    assert {row.code for row in keeping.rows()} == {"SourceRemoved", ""}


def test_a_kept_file_that_s3_has_lost_is_sent_again_and_stays(keeping: World) -> None:
    keeping.store._objects.clear()
    Looking(keeping).step()
    keeping.carry()
    assert keeping.files.paths() == LOGS
    assert len(keeping.rows(State.READY)) == 4


def test_a_kept_file_that_cannot_be_removed_now_is_kept_and_wanted_again(keeping: World) -> None:
    keeping.store.outage = PortError("Unreachable")
    looking = Looking(keeping)
    looking.step()
    keeping.carry()
    keeping.store.outage = None
    keeping.clock.advance(minutes=15)
    keeping.carry()
    assert keeping.files.paths() == LOGS
    assert len(keeping.rows(State.DONE)) == 9
    looking.step()
    keeping.carry()
    assert keeping.files.paths() == LOGS[4:]


def test_a_kept_file_that_changed_or_is_no_log_stays(keeping: World) -> None:
    keeping.files.touch(LOGS[0], keeping.rows()[0].mtime_ns - 10**9)
    keeping.files.write(b"notes.txt", b"x" * 50)
    keeping.files.touch(b"notes.txt", 1)  # the oldest
    Looking(keeping).step()
    keeping.carry()
    assert keeping.files.paths() == sorted([LOGS[0], *LOGS[5:], b"notes.txt"])


def test_kept_files_stay_where_that_is_asked_for_no_more(keeping: World) -> None:
    Looking(keeping).step()
    keeping.disposal.removes_kept = False
    keeping.carry()
    assert keeping.files.paths() == LOGS
    assert len(keeping.rows(State.DONE)) == 9


def test_copies_go_early_as_far_as_it_takes_and_empty_files_do_not(world: World) -> None:
    for row in world.rows():
        world.files.delete(row.path)
    bodies = [(name * BODY)[:BODY] for name in LOGS]
    for name, body, row in zip(LOGS, bodies, world.rows(), strict=True):
        world.files.write(name + b".gz", gzip.compress(body))
        world.files.touch(name + b".gz", row.mtime_ns)
    world.files.write(b"empty.log.1")
    world.discover()
    world.carry()
    copies = [path for path in world.files.paths() if path.endswith(b".gz")]
    taken = sum(len(world.files.body(path)) for path in copies)
    assert len(world.rows(State.DUPLICATE)) == len(copies) == 9
    world.files.capacity_bytes["disk"] = round(taken / 0.9)
    looking = Looking(world)
    for _ in LOGS:  # whose rows are the oldest that wait
        looking.step()
        world.carry()
    looking.step()
    assert "discovery" in looking.woken
    world.discovery.step()
    left = [path for path in world.files.paths() if path.endswith(b".gz")]
    assert len(left) in (5, 6)
    assert b"empty.log.1" in world.files.paths()
    looking.step()
    assert world.log.events[-1] == "disk.low_water_reached"
    assert not world.disposal.excess


def test_one_alarm_says_how_much_waits_once_a_scan_found_nothing_else(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.store.outage = PortError("Unreachable")
    put(world, *LOGS)
    world.discover()
    world.carry()
    looking = Looking(world)
    looking.step()
    assert not looking.high_water.disks[0].is_filled
    for _ in range(3):
        assert not looking.high_water.disks[0].is_filled
        world.discovery.step()
        world.clock.advance(seconds=2)
        looking.step()
    [disk] = looking.high_water.disks
    assert disk.is_filled
    [filled] = world.log.of("disk.filled")
    assert filled["unshipped_bytes"] == disk.unshipped_bytes == 9 * BODY
    assert "90.0 % full; 900 bytes in 9 files wait for S3" in filled["detail"]
    assert "shipper status" in filled["hint"]
    assert world.files.paths() == LOGS
    world.store.outage = None
    world.run(rounds=1)
    looking.step()
    world.carry()
    looking.step()
    assert not looking.high_water.disks[0].is_filled
    assert world.files.paths() == LOGS[4:]
    assert len(world.log.of("disk.filled")) == 1


def test_each_file_system_below_a_watch_is_judged_by_itself(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.files.mount("other", b"sub/")
    put(world, b"a.log.1", *(b"sub/" + name for name in LOGS))
    for path in (b"sub/" + name for name in LOGS):
        world.files._node(path).device = 1
    world.files.capacity_bytes["other"] = CAPACITY
    world.discover()
    world.carry()
    looking = Looking(world)
    looking.step()
    assert [disk.directory for disk in looking.high_water.disks] == ["/logs", "/logs/sub"]
    world.carry()
    assert world.files.paths() == [b"a.log.1", *(b"sub/" + name for name in LOGS[4:])]
    world.files.mount("", b"sub/")
    looking.step()
    assert [disk.directory for disk in looking.high_water.disks] == ["/logs"]


def test_a_directory_that_cannot_be_reached_and_a_journal_that_cannot_be_written_wait(
    world: World,
) -> None:
    looking = Looking(world)

    def refuse(name: str) -> None:
        raise PortError("JournalUnwritable", name)

    world.journal.effect = refuse
    looking.step()
    assert looking.woken == []
    world.journal.effect = lambda name: None
    world.files.fail_scan(b"", PortError("DirectoryUnreadable"))
    assert looking.step() == IDLE_SECONDS
    assert looking.high_water.disks == ()
    world.files.fail_scan(b"")
    looking.step()
    assert looking.woken == ["carriers"]


def test_what_cannot_be_removed_while_s3_is_away_is_no_room_either(world: World) -> None:
    world.gate.shut(PortError("NoSuchBucket"), generation=world.gate.generation())
    looking = Looking(world)
    for _ in range(4):
        looking.step()
        world.carry()
        world.discovery.step()
        world.clock.advance(seconds=2)
    assert looking.high_water.disks[0].is_filled
    assert "discovery" not in looking.woken
    assert world.files.paths() == LOGS
