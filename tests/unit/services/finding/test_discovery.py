"""What is found, what waits, what is refused, what is promised."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shipper.core.lifecycle import Rejected
from shipper.core.types import (
    AfterUpload,
    Compression,
    FileKind,
    RelativePath,
    Shipment,
    State,
    WriterTest,
)
from shipper.ports import PortError, Source
from shipper.services.finding.candidate import Decision
from shipper.services.finding.candidates import look_key
from tests.machines.world import WATCH, World, random_log

RAW = replace(WATCH, compression=Compression.NONE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_quiet_rotated_log_is_promised_and_its_descriptor_held(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    (row,) = world.rows(State.READY)
    assert (row.path, row.raw_start, row.raw_end) == (b"app.log.1", 0, 6)
    assert "quiet" in row.sealed_because
    assert world.held.has(row)


def test_nothing_is_promised_before_it_has_been_quiet_for_the_settle_time(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    assert world.discovery.step() <= WATCH.settle_seconds
    world.clock.advance(seconds=WATCH.settle_seconds - 0.1)
    world.discovery.step()
    assert world.rows() == []
    assert world.discovery.waiting_files == 1


def test_a_log_that_grows_starts_its_quiet_time_anew(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.discovery.step()
    world.clock.advance(seconds=4)
    world.files.append(b"app.log.1", b"more\n")
    world.discovery.step()
    world.clock.advance(seconds=4)
    world.discovery.step()
    assert world.rows() == []


def test_a_rename_between_two_looks_keeps_the_quiet_time_running(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.discovery.step()
    world.clock.advance(seconds=4)
    world.files.rename(b"app.log.1", b"app.log.2")
    world.discovery.step()
    world.clock.advance(seconds=1)
    world.discovery.step()
    assert [row.path for row in world.rows()] == [b"app.log.2"]


def test_a_log_with_a_writer_waits_however_quiet_it_is(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    for _ in range(5):
        world.discover()
    assert world.rows() == []
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.discover()
    assert len(world.rows()) == 1


def test_live_logs_and_strange_names_are_left_alone(world: World) -> None:
    for name in (b"app.log", b"notes", b"app.log.swp"):
        world.files.write(name, b"x")
    world.discover()
    assert world.rows() == []


def test_a_known_unchanged_file_is_not_opened_again(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.run(rounds=1)
    opened = world.files.opens
    for _ in range(3):
        world.discover()
    assert world.files.opens == opened


def test_a_live_log_that_could_be_read_is_not_opened_again_until_it_changes(world: World) -> None:
    world.files.write(b"app.log", b"hello\n")
    world.discover()
    opened = world.files.opens
    world.discover()
    assert world.files.opens == opened
    world.files.deny(b"app.log")
    world.files.touch(b"app.log")  # its ctime: a chmod sets it, too
    world.discover()
    assert [one.problem and one.problem.code for one in world.discovery.problems] == [
        "SourceUnreadable"
    ]


def test_a_live_log_is_shipped_once_its_date_is_over(world: World) -> None:
    name = f"app.log.{datetime.fromtimestamp(world.clock.now(), UTC):%Y-%m-%d}.log".encode()
    world.files.write(name, b"hello\n")
    for _ in range(3):
        world.discover()
    assert world.rows() == []
    world.clock.advance(hours=60)
    world.discover()
    world.discover()
    assert [row.path for row in world.rows()] == [name]


def test_a_touch_changes_nothing(world: World) -> None:
    world.files.write(b"app.log.1", b"hello\n")
    world.run(rounds=1)
    world.clock.advance(seconds=100)
    world.files.touch(b"app.log.1")
    world.run(rounds=2)
    assert len(world.rows()) == 1
    opened = world.files.opens
    world.discover()
    assert world.files.opens == opened


def test_a_shift_of_names_makes_no_second_object(world: World) -> None:
    world.files.write(b"app.log.1", b"one\n")
    world.run(rounds=1)
    for number in range(1, 5):
        world.files.rename(b"app.log.%d" % number, b"app.log.%d" % (number + 1))
        world.run(rounds=1)
    assert world.contents() == [b"one\n"]


def test_an_unfinished_shipment_follows_its_file(world: World) -> None:
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.rename(b"app.log.1", b"app.log.2")
    world.discover()
    assert world.row(b"app.log.2").state is State.READY


def test_an_inode_that_is_used_again_is_another_log(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files._reuses_inodes = True
    world.files.write(b"app.log.1", b"one\n")
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.write(b"app.log.1", b"two\n")
    world.run(rounds=1)
    first, second = world.rows(State.DONE)
    assert first.file_id.inode == second.file_id.inode
    assert sorted(world.contents()) == [b"one\n", b"two\n"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(FileKind.SYMLINK, "NotRegular"), (FileKind.OTHER, "NotRegular")],
)
def test_what_is_no_regular_file_is_refused_and_shown_once(
    world: World, kind: FileKind, code: str
) -> None:
    world.files.write(b"app.log.1", b"x", kind=kind)
    world.files.write(b"app.log.2", b"good\n")
    world.run(rounds=3)
    assert [candidate.problem.code for candidate in world.discovery.problems] == [code]  # type: ignore[union-attr]
    assert len(world.log.of("candidate.refused")) == 1
    assert world.contents() == [b"good\n"]


def test_a_hard_link_is_refused_unless_the_watch_allows_it(tmp_path: Path) -> None:
    strict, trusting = (
        World(tmp_path / "a"),
        World(tmp_path / "b", watch=replace(WATCH, follow_hard_links=True)),
    )
    for world in (strict, trusting):
        world.files.write(b"app.log.1", b"x")
        world.files.link(b"app.log.1", b"elsewhere")
        world.run(rounds=1)
    assert strict.contents() == []
    assert trusting.contents() == [b"x"]


def test_an_unreadable_file_stops_nothing_else_and_is_shipped_once_it_is_readable(
    world: World,
) -> None:
    world.files.write(b"app.log.1", b"secret\n")
    world.files.write(b"app.log.2", b"good\n")
    world.files.deny(b"app.log.1")
    world.run(rounds=1)
    assert world.contents() == [b"good\n"]
    (problem,) = world.discovery.problems
    assert problem.decision is Decision.REFUSED
    world.files.deny(b"app.log.1", is_denied=False)
    world.run(rounds=1)
    assert len(world.contents()) == 2
    assert world.discovery.problems == ()


def test_an_unreadable_directory_is_a_problem_and_nothing_is_concluded_from_it(
    world: World,
) -> None:
    world.files.write(b"app.log.1", b"one\n")
    world.discover()
    world.files.fail_scan(b"", PortError("DirectoryUnreadable", "EACCES"))
    world.held.drop(world.rows()[0].id)
    world.files.rename(b"app.log.1", b"app.log.2")
    world.carry()
    (row,) = world.rows()
    assert (row.state, row.code) == (State.READY, "Unreadable")
    world.files.fail_scan(b"")
    world.run(rounds=2)
    assert world.contents() == [b"one\n"]


def test_an_empty_file_is_counted_and_makes_no_object(world: World) -> None:
    world.files.write(b"app.log.1", b"")
    world.run(rounds=2)
    assert world.discovery.empty_files == 1
    assert world.rows() == []
    assert world.files.paths() == [b"app.log.1"]


def test_an_empty_file_is_removed_like_the_others_once_it_is_old_enough(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, after_upload=AfterUpload.DELETE))
    world.files.write(b"app.log.1", b"")
    world.files.write(b"app.log.2", b"")
    world.files.set_writer(b"app.log.2", WriterTest.OPEN)
    world.discover()
    assert len(world.files.paths()) == 2
    world.clock.advance(minutes=11)
    world.discover()
    assert world.files.paths() == [b"app.log.2"]
    assert world.log.of("file.removed")


def test_an_empty_file_that_may_have_a_writer_stays_and_is_said_once(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE)
    world = World(tmp_path, watch=watch)
    world.files.write(b"app.log.1", b"")
    world.files.set_writer(b"app.log.1", WriterTest.UNKNOWN)
    world.discover()
    opens = world.files.opens
    for _ in range(300):
        world.clock.advance(minutes=1)
        world.discovery.step()
    assert world.files.paths() == [b"app.log.1"]
    assert world.discovery.unremoved_files == 1
    (told,) = world.log.of("file.not_removed")
    assert told["code"] == "WriterUnproven"
    assert world.files.opens - opens == 5, "once an hour, for it may read every descriptor"
    world.watch = replace(watch, after_upload_unproven=True)
    world.restart()
    world.discover()
    world.clock.advance(minutes=11)
    world.discover()
    assert world.files.paths() == []


def test_an_empty_file_that_cannot_be_removed_is_said_and_stops_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, after_upload=AfterUpload.DELETE))
    world.files.write(b"app.log.1", b"")
    world.discover()
    world.files.deny(b"app.log.1")
    world.clock.advance(minutes=11)
    world.discover()
    assert world.log.of("file.not_removed")[0]["code"] == "SourceUnreadable"


def test_nothing_is_promised_before_the_instance_is_known(world: World) -> None:
    world.facts = None
    world.files.write(b"app.log.1", b"x")
    world.discover()
    assert world.rows() == []
    assert world.discovery.waiting_files == 1


def test_a_key_that_s3_would_not_take_is_a_problem(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"\xff" * 400 + b".log.1", b"x")
    world.discover()
    assert world.rows() == []  # 3 bytes of key for every such byte of the name
    (problem,) = world.discovery.problems
    assert problem.problem is not None
    assert problem.problem.code == "KeyTooLong"


def test_files_that_events_did_not_announce_are_counted(world: World) -> None:
    world.discovery.step()
    world.files.write(b"app.log.1", b"x")
    world.discover()
    assert world.discovery.found_by_scan == 1
    world.files.write(b"app.log.2", b"y")
    world.discovery.is_nudged = True
    world.discovery.step()
    world.clock.advance(seconds=5)
    world.discovery.is_nudged = True
    world.discovery.step()
    assert world.discovery.found_by_scan == 1


def test_a_backlog_is_promised_in_batches_and_held_within_the_budget(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(600):
        world.files.write(b"app.log.%d" % number, b"line %d\n" % number)
    world.discover()
    assert len(world.rows(State.READY)) == 600
    assert world.files.open_sources == 256
    world.run(rounds=2)
    assert len(world.contents()) == 600
    assert world.files.open_sources == 0


def test_a_file_that_vanishes_between_look_and_open_is_no_problem(world: World) -> None:
    world.files.write(b"app.log.1", b"x")
    world.discovery.step()
    world.clock.advance(seconds=5)
    entries = list(world.files.scan(world.watch, lambda path, _: True))
    world.files.delete(b"app.log.1")
    before = world.discovery._looks[look_key(world.watch, entries[0].stat)]  # type: ignore[union-attr]
    candidate = world.candidates.decide(world.watch, entries[0], before)  # type: ignore[arg-type]
    assert candidate.decision is Decision.WAITING


def test_a_file_that_changes_between_look_and_open_waits(world: World) -> None:
    world.files.write(b"app.log.1", b"x")
    world.discovery.step()
    world.clock.advance(seconds=5)
    (entry,) = world.files.scan(world.watch, lambda path, _: True)
    world.files.append(b"app.log.1", b"y")
    before = world.discovery._looks[look_key(world.watch, entry.stat)]  # type: ignore[union-attr]
    candidate = world.candidates.decide(world.watch, entry, before)  # type: ignore[arg-type]
    assert candidate.because == "changed between look and open"


def test_a_plan_tells_of_every_candidate_and_changes_nothing(world: World) -> None:
    world.files.write(b"app.log.1", b"shipped\n")
    world.run(rounds=1)
    world.files.write(b"app.log.2", b"new\n")
    world.files.write(b"app.log.3", b"")
    world.files.write(b"app.log.4", b"busy")
    world.files.set_writer(b"app.log.4", WriterTest.OPEN)
    plan = {candidate.path: candidate for candidate in world.candidates.plan([world.watch])}
    decisions = {path: candidate.decision for path, candidate in plan.items()}
    assert decisions == {
        b"app.log.1": Decision.SHIPPED,
        b"app.log.2": Decision.NEW,
        b"app.log.3": Decision.EMPTY,
        b"app.log.4": Decision.WAITING,
    }
    planned = plan[RelativePath(b"app.log.2")].promise
    assert planned is not None
    assert len(world.rows()) == 1
    assert world.files.open_sources == 0
    world.run(rounds=1)
    assert world.row(b"app.log.2").key == planned.key


def test_the_same_file_gets_the_same_key_when_the_journal_was_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"one\n")
    world.run(rounds=1)
    world.stop()
    (tmp_path / "journal.db").unlink()
    world.start()
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]
    assert [row.state for row in world.rows()] == [State.DONE]


def test_a_full_journal_disk_is_said_once_and_what_was_found_is_found_again(world: World) -> None:
    world.files.write(b"app.log.1", b"waits for the disk\n")

    def full_disk(_: str) -> None:
        raise PortError("JournalUnwritable", "database or disk is full")

    world.journal.effect = full_disk
    for _ in range(3):
        world.discover()
    assert world.discovery.trouble is not None
    assert len(world.log.of("journal.unwritable")) == 1
    assert world.files.open_sources == 0
    world.journal.effect = lambda name: None
    world.run(rounds=2)
    assert world.discovery.trouble is None
    assert world.contents() == [b"waits for the disk\n"]


def test_an_unreadable_directory_is_shown_and_hides_nothing_else(world: World) -> None:
    world.files.write(b"open/app.log.1", b"one\n")
    world.files.write(b"shut/app.log.1", b"two\n")
    world.files.fail_scan(b"shut", PortError("DirectoryUnreadable", "EACCES"))
    world.run(rounds=1)
    assert world.contents() == [b"one\n"]
    [problem] = world.discovery.problems
    assert problem.problem is not None
    assert problem.problem.code == "DirectoryUnreadable"


def test_a_file_seen_under_two_names_in_one_scan_is_promised_once(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, follow_hard_links=True))
    world.files.write(b"app.log.1", b"renamed while it was scanned\n")
    world.files.link(b"app.log.1", b"app.log.2")
    world.discover()
    assert len(world.rows()) == 1
    assert world.files.open_sources == 1


def test_a_parked_file_is_left_alone_and_shown_in_the_plan(world: World) -> None:
    world.files.write(b"app.log.1", b"parked\n")
    world.discover()
    world.journal.record(world.rows()[0], Rejected("SourceUnreadable", "EACCES"))
    world.run(rounds=2)
    assert [row.state for row in world.rows()] == [State.PARKED]
    [candidate] = world.candidates.plan([world.watch])
    assert candidate.decision is Decision.PARKED


def test_a_scan_comes_sooner_while_something_gives_no_events(world: World) -> None:
    assert world.discovery.step() == 30.0
    world.discovery.has_unwatched = True
    assert world.discovery.step() == 10.0
    world.discovery.has_unwatched = False
    assert world.discovery.step() == 30.0


def test_how_long_a_file_has_waited_to_be_sealed_is_known_whatever_it_does(world: World) -> None:
    world.files.write(b"app.log.1", b"x")
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    for hour in range(3):
        world.files.append(b"app.log.1", b"late %d" % hour)
        world.discovery.step()
        world.clock.advance(hours=1)
    world.files.rename(b"app.log.1", b"app.log.2")
    world.discovery.step()
    assert world.discovery.oldest_waiting_seconds == 3 * 3600
    world.files.set_writer(b"app.log.2", WriterTest.NONE)
    world.clock.advance(seconds=5)
    world.discovery.step()
    assert (world.discovery.waiting_files, world.discovery.oldest_waiting_seconds) == (0, 0.0)


def test_a_plan_tells_of_a_directory_that_cannot_be_looked_into(world: World) -> None:
    world.files.write(b"app.log.1", b"new\n")
    world.files.fail_scan(b"sub", PortError("DirectoryUnreadable"))
    plan = [candidate.decision for candidate in world.candidates.plan([world.watch])]
    assert sorted(plan, key=str) == [Decision.NEW, Decision.REFUSED]


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


def test_two_file_systems_below_one_watch_with_one_inode_ship_each_log_once(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, watch=RAW)
    one, two = b"on the one\n" * 500, b"on the other\n" * 700
    world.files.mount("another", at=b"mnt/")
    world.files.write(b"app.log.1", one)
    world.files.write(b"mnt/app.log.1", two)
    nodes = list(world.files._nodes.values())
    nodes[1].inode, nodes[1].device = nodes[0].inode, 1
    world.run(rounds=2)
    for _ in range(2):
        world.clock.advance(hours=1)
        world.files.append(b"app.log.1", b"more\n")
        world.files.append(b"mnt/app.log.1", b"more there\n")
        world.run(rounds=2)
    assert sorted(world.contents()) == sorted(
        [one, two, b"more\n", b"more there\n", b"more\n", b"more there\n"]
    )
    world.discover()
    assert world.discovery.waiting_files == 0


def test_a_scan_that_fails_closes_nothing_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.files.write(b"a.log.1", random_log(1, 5000))
    world.clock.advance(seconds=1)
    world.files.write(b"b.log.1", random_log(2, 5000))
    keep, kept = world.held.keep, []

    def fails_second(shipment: Shipment, source: Source) -> None:
        kept.append(shipment)
        if len(kept) == 2:
            raise PortError("JournalUnwritable")
        keep(shipment, source)

    monkeypatch.setattr(world.held, "keep", fails_second)
    world.discover()
    world.run()
    assert len(world.contents()) == 2


def test_a_file_that_grew_after_it_was_shipped_is_continued_by_a_segment(world: World) -> None:
    world.files.write(b"app.log.1", b"first\n")
    world.run(rounds=1)
    world.files.append(b"app.log.1", b"second\n")
    world.run(rounds=1)
    first, second = world.rows(State.DONE)
    assert (second.raw_start, second.raw_end) == (first.raw_end, 13)
    assert ".at6" in second.key
    assert sorted(world.contents()) == [b"first\n", b"second\n"]


def test_a_shorter_file_under_the_same_inode_is_a_new_log(world: World) -> None:
    world.files.write(b"app.log.1", b"first and long\n")
    world.run(rounds=1)
    world.clock.advance(seconds=1)
    world.files.write(b"app.log.1", b"new\n")
    world.run(rounds=1)
    assert sorted(world.contents()) == [b"first and long\n", b"new\n"]


def test_a_log_cut_and_written_anew_below_the_same_head_is_one_new_log_and_grows(
    world: World,
) -> None:
    head = b"a long header that never changes\n" * 200
    world.files.write(b"app.log.1", head + b"old\n" * 5000)
    world.run(rounds=1)
    world.files.write(b"app.log.1", head + b"new\n" * 100)
    world.run(rounds=1)
    opened = world.files.opens
    world.discover()
    assert world.files.opens == opened, "known again: one stat"
    for _ in range(2):
        world.clock.advance(hours=1)
        world.files.append(b"app.log.1", b"more\n" * 5000)
        world.run(rounds=1)
    ranges = [(row.raw_start, row.raw_end) for row in world.rows()]
    cut = len(head) + 400
    assert ranges == [
        (0, len(head) + 20_000),
        (0, cut),
        (cut, cut + 25_000),
        (cut + 25_000, cut + 50_000),
    ]


def test_a_log_whose_second_segment_was_replaced_is_a_new_log(world: World) -> None:
    world.files.write(b"app.log.1", b"one\n" * 3000)
    world.run(rounds=1)
    world.files.append(b"app.log.1", b"two\n" * 3000)
    world.run(rounds=1)
    world.files.write(b"app.log.1", b"one\n" * 3000 + b"new\n" * 4000)
    world.run(rounds=1)
    ranges = [(row.raw_start, row.raw_end) for row in world.rows()]
    assert ranges == [(0, 12_000), (12_000, 24_000), (0, 28_000)]


def test_todays_dated_log_that_is_opened_once_a_minute_makes_no_object(world: World) -> None:
    today = datetime.fromtimestamp(world.clock.now(), UTC)
    name = f"laravel-{today:%Y-%m-%d}.log".encode()
    for _ in range(3):
        world.files.write(name, b"a line\n")
        world.discover()
        world.clock.advance(minutes=1)
    assert world.rows() == []
    world.clock.advance(hours=48)
    world.discover()
    world.discover()
    assert [row.path for row in world.rows()] == [name]


def test_a_program_that_holds_todays_log_open_is_not_late(world: World) -> None:
    today = datetime.fromtimestamp(world.clock.now(), UTC)
    for name, is_late in ((f"app.log.{today:%Y-%m-%d}", False), ("app.log.1", True)):
        world.files.write(name.encode(), b"a line\n")
        world.files.set_writer(name.encode(), WriterTest.OPEN)
        world.discover()
        world.clock.advance(hours=2)
        world.discover()
        assert bool(world.discovery.oldest_waiting_seconds) is is_late


def test_keys_of_an_instance_that_is_no_longer_this_one_are_not_promised(world: World) -> None:
    world.files.write(b"app.log.1", b"a line\n")
    world.journal.origin.adopt("i-another")
    world.discover()
    assert world.rows() == []
    assert world.discovery.trouble is None


def test_rotated_names_that_include_keeps_out_are_said_once(tmp_path: Path) -> None:
    world = World(tmp_path, watch=replace(WATCH, include=("nginx*",)))
    world.files.write(b"app.log.1", b"a line\n")
    world.discover()
    world.discover()
    (line,) = world.log.of("files.left_alone")
    assert line["such_as"] == ["app.log.1"]
