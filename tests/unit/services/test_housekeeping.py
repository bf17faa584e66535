"""Due times that survive a wall clock that jumps."""

from dataclasses import replace
from pathlib import Path

from shipper.core.lifecycle import (
    AttemptFailed,
    DuplicateFound,
    ObjectChecked,
    ObjectStored,
    SourceVanished,
)
from shipper.core.types import ETag, ObjectKey, State, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import PortError
from shipper.services.expectations import expected_logs, note_expected
from shipper.services.housekeeping import Housekeeping
from tests.fakes.clock import FakeClock
from tests.fakes.examples import promise
from tests.machines.world import World


def housekeeping_of(world: World, *watches: Watch) -> Housekeeping:
    return Housekeeping(
        watches=watches,
        files=world.files,
        journal=world.journal,
        held=world.held,
        held_budget=world.held_budget,
        clock=world.clock,
        longest_wait_seconds=600,
        roots=world.roots,
        bugs=world.bugs,
        log=world.log,
    )


def due_in(journal: Journal, clock: FakeClock) -> float:
    due_at = journal.queue.next_due_at()
    assert due_at is not None
    return due_at - clock.now()


def test_a_clock_that_is_set_moves_every_due_time_with_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    clock, log, journal = world.clock, world.log, world.journal
    (row,) = journal.promise([promise()], now=clock.now())
    journal.record(row, AttemptFailed("SlowDown", "", clock.now() + 100))
    housekeeping = housekeeping_of(world)
    housekeeping.step()
    for jump in (-86_400.0, 3_000.0):
        clock.set_wall(clock.now() + jump)
        housekeeping.step()
        assert round(due_in(journal, clock)) == 100
    assert [round(record["seconds"]) for record in log.of("clock.jumped")] == [-86_400, 3_000]


def test_time_that_passes_and_small_corrections_are_no_jump(tmp_path: Path) -> None:
    world = World(tmp_path)
    clock, log, housekeeping = world.clock, world.log, housekeeping_of(world)
    housekeeping.step()
    clock.advance(hours=5)
    clock.suspend(3600)
    clock.set_wall(clock.now() + 1.0)
    housekeeping.step()
    assert log.records == []


def test_a_due_time_from_a_wrong_clock_before_the_start_is_brought_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.journal.promise([promise()], now=world.clock.now() + 10 * 365 * 86_400)
    housekeeping_of(world).step()
    assert due_in(world.journal, world.clock) == 600


def test_a_descriptor_taken_up_just_as_its_shipment_finished_is_closed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"done\n")
    world.run(rounds=1)
    world.files.write(b"app.log.2", b"waits\n")
    world.discover()
    done, waits = world.rows()
    world.held.keep(done, world.files.open(world.watch, done.path))
    housekeeping_of(world).step()
    assert world.held.shipments() == [waits.id]
    assert world.files.open_sources == 1


def test_a_journal_that_cannot_be_written_does_not_end_the_janitor(tmp_path: Path) -> None:
    world = World(tmp_path)
    clock, log, journal = world.clock, world.log, world.journal
    housekeeping = housekeeping_of(world)
    housekeeping.step()
    clock.set_wall(clock.now() + 1000)
    journal.effect = full_disk
    housekeeping.step()
    assert log.records == []
    journal.effect = lambda name: None
    housekeeping.step()
    assert [round(record["seconds"]) for record in log.of("clock.jumped")] == [1000]


def full_disk(_: str) -> None:
    raise PortError("JournalUnwritable", "database or disk is full")


def test_what_waits_for_an_attempt_is_hastened_and_what_waits_for_its_removal_is_not(
    tmp_path: Path,
) -> None:
    now = 1000.0
    journal = Journal.open(str(tmp_path / "j"), now=now)
    waiting, verified = journal.promise([promise(1), promise(2)], now=now)
    journal.record(waiting, AttemptFailed("SlowDown", "", now + 300))
    journal.record(verified, ObjectStored(ETag("e"), 9, "sha"), ObjectChecked(now + 600))
    assert journal.queue.make_due(now + 1) == 1
    assert [row.due_at for row in journal.unfinished(9)] == [now + 1, now + 600]
    assert journal.queue.make_due(now + 1) == 0


def test_what_was_finished_a_month_ago_and_stands_no_more_is_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(1, 4):
        world.files.write(b"app.log.%d" % number, b"line %d\n" % number)
    world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.rename(b"app.log.2", b"old/app.log.9")
    world.clock.advance(hours=24 * 31)
    world.files.write(b"app.log.4", b"line 4\n")
    world.run(rounds=1)
    housekeeping = housekeeping_of(world, world.watch)
    for _ in range(3):
        housekeeping.step()
        world.clock.advance(hours=1)
    assert sorted(row.path for row in world.rows()) == [b"app.log.2", b"app.log.3", b"app.log.4"]
    (pruned,) = world.log.of("journal.pruned")
    assert pruned["rows"] == 1
    assert sum(total.files for total in world.journal.figures.totals()) == 4


def test_nothing_is_forgotten_while_a_directory_cannot_be_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in (1, 2):
        world.files.write(b"app.log.%d" % number, b"line %d\n" % number)
        world.run(rounds=1)
    world.files.delete(b"app.log.1")
    world.files.fail_scan(b"sub", PortError("DirectoryUnreadable"))
    housekeeping = housekeeping_of(world, world.watch)
    world.clock.advance(hours=24 * 31)
    housekeeping.step()
    assert len(world.rows()) == 2
    world.files.fail_scan(b"sub")
    world.clock.advance(hours=24)
    housekeeping.step()
    assert [row.path for row in world.rows()] == [b"app.log.2"]


def test_the_last_success_is_never_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"line\n")
    world.run(rounds=1)
    finished_at = world.journal.figures.last_success_at()
    world.files.delete(b"app.log.1")
    housekeeping = housekeeping_of(world, world.watch)
    world.clock.advance(hours=24 * 365)
    housekeeping.step()
    assert world.journal.figures.last_success_at() == finished_at is not None


DAILY = Watch("/logs", WatchName("app"), expect_every_seconds=86_400.0)


def overdue(world: World) -> float:
    now = world.clock.now()
    return expected_logs([DAILY], world.journal, now)[DAILY.name].overdue_seconds(now)


def test_a_log_is_overdue_from_the_first_start_on_or_from_the_newest_log(tmp_path: Path) -> None:
    world = World(tmp_path)
    housekeeping = housekeeping_of(world, DAILY)
    assert overdue(world) == 0
    housekeeping.step()
    world.clock.advance(seconds=86_400 + 60)
    housekeeping.step()
    assert overdue(world) == 60
    world.files.write(b"app.log.1", b"a line\n")
    world.discovery.step()
    world.clock.advance(seconds=10)
    world.discovery.step()
    assert overdue(world) == 0, "it is found; what keeps it from S3 is said elsewhere"
    world.run(rounds=3)
    world.clock.advance(seconds=3 * 86_400)
    [row] = world.rows()
    assert overdue(world) == world.clock.now() - row.promised_at - 86_400


def test_a_clock_that_was_ahead_once_delays_an_overdue_log_by_no_more_than_one_period(
    tmp_path: Path,
) -> None:
    """A boot before NTP: the first start, and a log, at a time of ten years later."""
    world = World(tmp_path)
    housekeeping, set_right = housekeeping_of(world, DAILY), world.clock.now()
    world.clock.set_wall(set_right + 10 * 365 * 86_400)
    housekeeping.step()
    world.files.write(b"app.log.1", b"a line\n")
    world.discovery.step()
    world.clock.advance(seconds=10)
    world.discovery.step()
    assert world.rows(State.READY)
    world.clock.set_wall(set_right)
    housekeeping.step()
    world.run(rounds=3)
    assert world.rows(State.DONE)
    housekeeping.step()
    world.clock.set_wall(set_right + 86_400 + 60)
    assert overdue(world) == 60
    assert world.journal.origin.expected_since(DAILY.name) == set_right


def test_copies_and_what_came_to_nothing_are_no_logs_that_came(tmp_path: Path) -> None:
    world, now = World(tmp_path), 1_000.0
    for at, event in ((1, SourceVanished(now)), (2, DuplicateFound("k", now))):
        one = replace(promise(), key=ObjectKey(f"k{at}"), raw_end=at + 1)
        (row,) = world.journal.promise([one], now=now + at)
        assert world.journal.figures.newest() == {row.watch: now + at}
        world.journal.record(row, event)
        assert world.journal.figures.newest() == {}


def test_what_another_machine_shipped_does_not_count_on_a_clone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.journal.origin.adopt("i-1")
    note_expected([DAILY], world.journal, 5.0)
    note_expected([DAILY], world.journal, 7.0)
    world.files.write(b"app.log.1", b"a line\n")
    world.run(rounds=3)
    assert world.journal.origin.expected_since(DAILY.name) == 5.0
    assert world.journal.figures.newest()
    world.journal.origin.adopt("i-2")
    assert world.journal.origin.expected_since(DAILY.name) is None
    assert world.journal.figures.newest() == {}


def test_without_the_key_the_journal_is_not_asked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.journal.close()
    assert expected_logs([replace(DAILY, expect_every_seconds=0.0)], world.journal, 0.0) == {}
