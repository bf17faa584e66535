"""A disk that fills up loses what S3 has, the oldest first, and nothing else."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.disk_space import IDLE_SECONDS, Marks
from shipper.core.types import (
    AfterUpload,
    Compression,
    RelativePath,
    State,
    Watch,
    WatchName,
    WriterTest,
)
from shipper.ports import Files, PortError
from shipper.services.sources import high_water, kept_files
from shipper.services.sources.high_water import HighWater
from tests.machines.world import WATCH, World

CAPACITY = 1000
BODY = 100
DAY = 86_400.0


def world_of(
    tmp_path: Path,
    after_upload: AfterUpload = AfterUpload.DELETE,
    exclude: tuple[str, ...] = (),
) -> World:
    """A disk with room for ten logs."""
    watch = replace(
        WATCH,
        compression=Compression.NONE,
        after_upload=after_upload,
        exclude=exclude,
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
            reserve=self,
            hastened=lambda: self.woken.append("carriers"),
            look=lambda: self.woken.append("discovery"),
            scans=lambda: world.discovery.scans,
            log=world.log,
        )
        self.step = self.high_water.step
        self.has_reserve = False

    def keep(self) -> None:
        """The reserve is there."""
        self.has_reserve = True

    def give_up(self) -> bool:
        """The reserve is gone."""
        had, self.has_reserve = self.has_reserve, False
        return had


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
    keeping.discover()
    looking, calls = Looking(keeping), len(keeping.store.calls)
    looking.step()
    looking.step()
    assert looking.woken == ["carriers"], "what is wanted already is counted"
    keeping.carry()
    assert keeping.files.paths() == LOGS[4:]
    listed = [call.operation for call in keeping.store.calls[calls:]]
    assert listed == ["ListObjectsV2"] * 4
    assert {row.code for row in keeping.rows()} == {"SourceRemoved", ""}


def test_a_kept_file_that_was_renamed_goes_where_the_kernel_tells_no_generation(
    tmp_path: Path,
) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    world.disposal.removes_kept = True
    world.files.has_generations = False
    put_kept(world, *LOGS)
    world.files.rename(LOGS[0], b"0.log.2")
    world.discover()
    Looking(world).step()
    world.carry()
    assert world.files.paths() == LOGS[4:]


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


def put_kept(world: World, *names: bytes) -> None:
    """Logs that S3 has and that are kept."""
    put(world, *names)
    world.discover()
    world.carry()


def test_a_kept_file_of_two_names_stays_and_the_others_go(keeping: World) -> None:
    keeping.files.link(LOGS[0], b"again")
    looking = Looking(keeping)
    looking.step()
    keeping.carry()
    assert keeping.files.paths() == [LOGS[0], *LOGS[6:], b"again"]
    assert keeping.bugs.count == 0


def test_kept_files_with_the_same_inode_number_on_two_disks_both_go(tmp_path: Path) -> None:
    world, paths = world_of(tmp_path, AfterUpload.KEEP), (b"t1/a.log.1", b"t2/a.log.1")
    world.disposal.removes_kept = True
    for number, path in enumerate(paths, 1):
        world.files.mount(f"disk{number}", path[:3])
        put(world, path)
        world.files._node(path).device = number
        world.files.capacity_bytes[f"disk{number}"] = BODY + 10
    world.files._node(paths[1]).inode = world.files._node(paths[0]).inode
    world.discover()
    world.carry()
    assert len(world.rows(State.DONE)) == 2
    looking = Looking(world)
    looking.step()
    world.carry()
    assert world.files.paths() == []


def test_what_was_wanted_stays_once_the_disk_has_room_again(keeping: World) -> None:
    keeping.store.outage = PortError("Unreachable")
    looking = Looking(keeping)
    looking.step()
    assert {row.code for row in keeping.rows(State.UPLOADED)} == {"RemovalWanted"}
    keeping.files.capacity_bytes["disk"] = 10 * CAPACITY
    looking.step()
    keeping.store.outage = None
    keeping.carry()
    assert keeping.files.paths() == LOGS
    assert {row.state for row in keeping.rows()} == {State.DONE}


@pytest.mark.parametrize("name", [b"evidence/saved.bin", b"evidence/0.log.1"])
def test_a_kept_file_that_the_watch_selects_no_more_stays(tmp_path: Path, name: bytes) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP, exclude=("evidence/**",))
    world.disposal.removes_kept = True
    put_kept(world, *LOGS)
    world.files.rename(LOGS[0], name)
    world.discover()
    Looking(world).step()
    world.carry()
    assert name in world.files.paths()
    assert len(world.files.paths()) == 5


def test_a_kept_file_that_is_renamed_once_it_is_wanted_stays_as_long_as_nobody_finds_it(
    keeping: World,
) -> None:
    looking = Looking(keeping)
    looking.step()
    keeping.files.rename(LOGS[0], b"saved.bin")
    keeping.carry()
    assert keeping.files.paths() == [*LOGS[4:], b"saved.bin"]
    assert keeping.rows()[0].code == ""


def test_a_kept_file_that_is_rotated_on_once_it_is_wanted_goes_under_its_new_name(
    keeping: World,
) -> None:
    Looking(keeping).step()
    keeping.files.rename(LOGS[0], b"0.log.2")
    keeping.carry()
    assert keeping.files.paths() == LOGS[4:]
    assert keeping.rows()[0].code == "SourceRemoved"


def test_a_name_that_is_excluded_since_it_was_shipped_stays(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    world.disposal.removes_kept = True
    put_kept(world, *LOGS)
    looking = Looking(world)
    looking.high_water.watches = [replace(world.watch, exclude=("0*", "1*"))]
    looking.step()
    world.carry()
    assert world.files.paths() == [*LOGS[:2], *LOGS[6:]]


def test_many_kept_files_are_looked_at_in_turns_and_again_after_a_growing_pause(
    keeping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_files, "ROWS", 4)
    opened: list[bytes] = []

    def look(files: Files, watch: Watch, path: RelativePath) -> None:
        opened.append(path)

    monkeypatch.setattr(kept_files, "stat_at", look)
    looking = Looking(keeping)
    at_a_time = []
    for _ in range(200):
        looking.step()
        at_a_time.append(len(opened))
        opened.clear()
        keeping.clock.advance(seconds=1)
    assert at_a_time[:3] == [8, 8, 2]  # each for its name and for what it is
    assert looking.woken == ["discovery"], "a scan is asked for once all were looked at"
    busy = [second for second, files in enumerate(at_a_time) if files]
    assert busy == [
        *range(6),
        *range(7, 10),
        *range(13, 16),
        *range(23, 26),
        *range(41, 44),
        *range(75, 78),
        *range(141, 144),
    ]


def test_kept_files_go_after_what_a_whole_scan_would_remove(tmp_path: Path) -> None:
    world = world_of(tmp_path, AfterUpload.KEEP)
    world.disposal.removes_kept = True
    put_kept(world, *LOGS)
    looking, deleting = Looking(world), replace(world.watch, name=WatchName("copies"))
    deleting = replace(deleting, after_upload=AfterUpload.DELETE)
    looking.high_water.watches = [world.watch, deleting]
    looking.step()
    assert looking.woken == ["discovery", "discovery"]
    world.discovery.step()
    looking.step()
    assert looking.woken[2:] == ["discovery"], "that scan may have begun before"
    world.discovery.step()
    looking.step()
    assert looking.woken[3:] == ["carriers"]
    world.carry()
    assert world.files.paths() == LOGS[4:]


def test_no_scan_is_asked_for_while_what_waits_for_its_removal_is_enough(world: World) -> None:
    world.disposal.removes_kept = True
    looking = Looking(world)
    looking.step()
    assert looking.woken == ["carriers"]


def test_a_bug_of_one_disk_is_an_ailment_and_the_others_are_looked_at(
    keeping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("shipment 1 is no longer DONE")

    monkeypatch.setattr(kept_files.KeptFiles, "want", fail)
    looking = Looking(keeping)
    looking.step()
    [disk] = looking.high_water.disks
    assert disk.problem is not None
    assert "shipment 1 is no longer DONE" in disk.detail
    assert "report it" in disk.hint
    keeping.clock.advance(seconds=6)
    looking.step()
    [filled] = keeping.log.of("disk.filled")
    assert "90.0 % full; 0 bytes in 0 files wait for S3; Bug" in filled["detail"]


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


def test_the_base_of_a_pattern_is_judged_only_if_logs_are_on_its_disk(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.files.mount("tenant", b"t1/")
    world.files.write(b"something else", b"x" * 950)
    put(world, b"t1/a.log.1")
    world.files._node(b"t1/a.log.1").device = 1
    world.discover()
    world.carry()
    looking = Looking(world)
    looking.high_water.watches = [replace(world.watch, pattern="*/")]
    assert looking.step() == IDLE_SECONDS
    assert [disk.directory for disk in looking.high_water.disks] == ["/logs/t1"]


def test_a_directory_that_cannot_be_reached_and_a_journal_that_cannot_be_written_wait(
    world: World,
) -> None:
    looking = Looking(world)

    def refuse(name: str) -> None:
        raise PortError("JournalUnwritable", name)

    looking.has_reserve = True
    world.journal.effect = refuse
    looking.step()
    assert looking.woken == []
    assert not looking.has_reserve, "the next look may write"
    world.journal.effect = lambda name: None
    world.files.fail_scan(b"", PortError("DirectoryUnreadable"))
    assert looking.step() == IDLE_SECONDS
    assert looking.high_water.disks == ()
    world.files.fail_scan(b"")
    looking.step()
    assert looking.woken == ["carriers"]


def test_a_journal_that_has_no_room_is_said_and_gets_few_rows_and_the_reserve(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(high_water, "FEW_ROWS", 2)
    world.files.capacity_bytes["disk"] = 10 * CAPACITY
    looking = Looking(world)
    looking.step()
    assert looking.has_reserve
    world.files.capacity_bytes["disk"] = CAPACITY

    def refuse(name: str) -> None:
        raise PortError("JournalUnwritable", "database or disk is full", "free space")

    world.journal.effect = refuse
    looking.step()
    [disk] = looking.high_water.disks
    assert not looking.has_reserve
    assert not disk.is_filled
    assert disk.detail.endswith("JournalUnwritable: database or disk is full")
    world.clock.advance(seconds=6)
    looking.step()
    [filled] = world.log.of("disk.filled")
    assert filled["hint"] == "free space"
    world.journal.effect = lambda name: None
    looking.step()
    world.carry()
    assert world.files.paths() == LOGS[2:]
    looking.step()
    world.carry()
    assert world.files.paths() == LOGS[4:]
    assert not looking.has_reserve
    looking.step()
    assert looking.has_reserve
    assert looking.high_water.disks[0].problem is None


def test_a_look_that_fails_as_a_whole_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking(world)

    def refuse() -> None:
        raise PortError("JournalUnwritable", "disk I/O error")

    monkeypatch.setattr(world.journal.figures, "totals", refuse)
    looking.step()
    assert looking.high_water.problem is not None
    monkeypatch.undo()
    looking.step()
    assert looking.high_water.problem is None


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
