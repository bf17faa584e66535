"""Due times that survive a wall clock that jumps."""

from pathlib import Path

from shipper.core.lifecycle import AttemptFailed
from shipper.journal import Journal
from shipper.services.janitor import Janitor
from tests.fakes.clock import FakeClock
from tests.fakes.examples import promise
from tests.fakes.log import RecordingLog


def due_in(journal: Journal, clock: FakeClock) -> float:
    due_at = journal.next_due_at()
    assert due_at is not None
    return due_at - clock.now()


def test_a_clock_that_is_set_moves_every_due_time_with_it(tmp_path: Path) -> None:
    clock, log = FakeClock(), RecordingLog()
    journal = Journal.open(str(tmp_path / "j"), now=clock.now())
    (row,) = journal.promise([promise()], now=clock.now())
    journal.record(row, AttemptFailed("SlowDown", "", clock.now() + 100))
    janitor = Janitor(journal=journal, clock=clock, longest_wait_seconds=600, log=log)
    janitor.step()
    for jump in (-86_400.0, 3_000.0):
        clock.set_wall(clock.now() + jump)
        janitor.step()
        assert round(due_in(journal, clock)) == 100
    assert [round(record["seconds"]) for record in log.of("clock.jumped")] == [-86_400, 3_000]


def test_time_that_passes_and_small_corrections_are_no_jump(tmp_path: Path) -> None:
    clock, log = FakeClock(), RecordingLog()
    journal = Journal.open(str(tmp_path / "j"), now=clock.now())
    janitor = Janitor(journal=journal, clock=clock, longest_wait_seconds=600, log=log)
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
    Janitor(journal=journal, clock=clock, longest_wait_seconds=600, log=RecordingLog()).step()
    assert due_in(journal, clock) == 600
