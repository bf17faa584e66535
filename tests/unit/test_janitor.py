"""Due times that survive a wall clock that jumps."""

from pathlib import Path

from shipper.core.lifecycle import AttemptFailed, ObjectChecked, ObjectStored
from shipper.core.types import ETag
from shipper.journal import Journal
from shipper.ports import PortError
from shipper.services.held import Held
from shipper.services.janitor import Janitor
from tests.fakes.clock import FakeClock
from tests.fakes.examples import promise
from tests.fakes.log import RecordingLog
from tests.fakes.world import FusedJournal, World


def due_in(journal: Journal, clock: FakeClock) -> float:
    due_at = journal.next_due_at()
    assert due_at is not None
    return due_at - clock.now()


def test_a_clock_that_is_set_moves_every_due_time_with_it(tmp_path: Path) -> None:
    clock, log = FakeClock(), RecordingLog()
    journal = Journal.open(str(tmp_path / "j"), now=clock.now())
    (row,) = journal.promise([promise()], now=clock.now())
    journal.record(row, AttemptFailed("SlowDown", "", clock.now() + 100))
    janitor = Janitor(journal=journal, held=Held(), clock=clock, longest_wait_seconds=600, log=log)
    janitor.step()
    for jump in (-86_400.0, 3_000.0):
        clock.set_wall(clock.now() + jump)
        janitor.step()
        assert round(due_in(journal, clock)) == 100
    assert [round(record["seconds"]) for record in log.of("clock.jumped")] == [-86_400, 3_000]


def test_time_that_passes_and_small_corrections_are_no_jump(tmp_path: Path) -> None:
    clock, log = FakeClock(), RecordingLog()
    journal = Journal.open(str(tmp_path / "j"), now=clock.now())
    janitor = Janitor(journal=journal, held=Held(), clock=clock, longest_wait_seconds=600, log=log)
    janitor.step()
    clock.advance(hours=5)
    clock.suspend(3600)
    clock.set_wall(clock.now() + 1.0)
    janitor.step()
    assert log.records == []


def test_a_due_time_from_a_wrong_clock_before_the_start_is_brought_back(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = Journal.open(str(tmp_path / "j"), now=clock.now())
    journal.promise([promise()], now=clock.now() + 10 * 365 * 86_400)
    Janitor(
        journal=journal, held=Held(), clock=clock, longest_wait_seconds=600, log=RecordingLog()
    ).step()
    assert due_in(journal, clock) == 600


def test_a_descriptor_taken_up_just_as_its_shipment_finished_is_closed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"done\n")
    world.run(rounds=1)
    world.files.write(b"app.log.2", b"waits\n")
    world.discover()
    done, waits = world.rows()
    world.held.keep(done.id, world.files.open(world.watch, done.path))
    janitor = Janitor(
        journal=world.journal,
        held=world.held,
        clock=world.clock,
        longest_wait_seconds=600,
        log=world.log,
    )
    janitor.step()
    assert world.held.shipments() == [waits.id]
    assert world.files.open_sources == 1


def test_a_journal_that_cannot_be_written_does_not_end_the_janitor(tmp_path: Path) -> None:
    clock, log = FakeClock(), RecordingLog()
    journal = FusedJournal.open(str(tmp_path / "j"), now=clock.now())
    janitor = Janitor(journal=journal, held=Held(), clock=clock, longest_wait_seconds=600, log=log)
    janitor.step()
    clock.set_wall(clock.now() + 1000)
    journal.effect = full_disk
    janitor.step()
    assert log.records == []
    del journal.effect
    janitor.step()
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
    journal.record(verified, ObjectStored(ETag("e"), 9, "sha", 3), ObjectChecked(now + 600))
    assert journal.hasten(now + 1) == 1
    assert [row.due_at for row in journal.unfinished(9)] == [now + 1, now + 600]
    assert journal.hasten(now + 1) == 0
