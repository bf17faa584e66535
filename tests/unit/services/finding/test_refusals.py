"""What should be in S3 and is not, in numbers."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shipper.core.lifecycle import AttemptFailed, ObjectStored, Rejected
from shipper.core.types import ETag, FileKind, RelativePath, WriterTest
from shipper.ports import PortError
from shipper.services.finding.candidate import Candidate, Decision
from shipper.services.finding.refusals import CODES_TOLD, OTHER, Refusals, count
from tests.machines.world import WATCH, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def counted(world: World) -> dict[str, int]:
    return {code: one.files for (_, code), one in world.discovery.refusals.items()}


def test_every_file_is_counted_however_many_there_are(world: World) -> None:
    for number in range(150):
        world.files.write(b"link%d.log.1" % number, kind=FileKind.SYMLINK)
        world.files.write(b"app%d.log.1" % number, b"x%d" % number)
        world.files.deny(b"app%d.log.1" % number)
    world.files.write(b"good.log.1", b"good\n")
    world.run(rounds=2)
    assert counted(world) == {"NotRegular": 150, "SourceUnreadable": 150}
    assert len(world.discovery.problems) == 100
    for number in range(150):
        world.files.deny(b"app%d.log.1" % number, is_denied=False)
        world.files.delete(b"link%d.log.1" % number)
    world.run(rounds=2)
    assert counted(world) == {}


def test_what_is_parked_counts_by_its_code_until_s3_has_it(world: World) -> None:
    for name in (b"a.log.1", b"b.log.1"):
        world.files.write(name, name)
    world.discover()
    first, second = world.rows()
    world.journal.record(first, Rejected("KeyTooLong", "1,025 bytes"))
    stored = ObjectStored(ETag("e"), 1, "")
    world.journal.record(second, stored, Rejected("RemoveDenied", "EPERM"))
    world.discovery.step()
    assert counted(world) == {"KeyTooLong": 1}


def test_what_is_not_sealed_counts_only_once_it_is_late(world: World) -> None:
    world.files.write(b"app.log.1", b"x")
    world.files.set_writer(b"app.log.1", WriterTest.OPEN)
    world.discover()
    assert counted(world) == {}
    world.clock.advance(hours=1, seconds=1)
    world.discovery.step()
    assert counted(world) == {"NotSealed": 1}
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.run(rounds=1)
    assert counted(world) == {}


def test_what_is_not_sent_for_an_hour_counts_by_why_it_failed_last(world: World) -> None:
    world.files.write(b"app.log.1", b"x")
    world.files.write(b"young.log.1", b"y")
    world.discover()
    for row in world.rows():
        failed = AttemptFailed("InternalError", "", world.clock.now() + 300.0, counts=True)
        world.journal.record(row, failed)
    world.discovery.step()
    assert counted(world) == {}
    world.clock.advance(hours=1, seconds=1)
    world.files.write(b"new.log.1", b"z")
    world.discover()
    assert counted(world) == {"InternalError": 2}
    world.clock.advance(hours=1)
    world.carry()
    world.discovery.step()
    assert counted(world) == {}


def test_todays_log_that_its_program_holds_open_is_not_late(world: World) -> None:
    today = datetime.fromtimestamp(world.clock.now(), UTC)
    name = f"app.log-{today:%Y%m%d}".encode()
    world.files.write(name, b"x")
    world.files.set_writer(name, WriterTest.OPEN)
    world.discover()
    world.clock.advance(hours=1, seconds=1)
    world.discovery.step()
    assert (counted(world), world.discovery.waiting_files) == ({}, 1)
    world.clock.advance(hours=48)
    world.discovery.step()
    assert counted(world) == {"NotSealed": 1}


def test_the_codes_of_a_watch_are_bounded_and_no_file_is_left_out() -> None:
    refusals: Refusals = {}
    for number in range(3 * CODES_TOLD):
        problem = PortError(f"Code{number}", "")
        path = RelativePath(b"app.log.1")
        count(refusals, Candidate(WATCH, path, Decision.REFUSED, problem=problem), 0.0, 0.0)
    assert len(refusals) == CODES_TOLD + 1
    assert refusals[WATCH.name, OTHER].files == 2 * CODES_TOLD
