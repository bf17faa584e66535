"""What a scan passes over, and that it never passes over anything that is not as it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.scan_cache import ScanCache, fingerprint
from shipper.core.types import RelativePath, State
from shipper.ports import PortError
from tests.fakes.examples import stat
from tests.machines.world import WATCH, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A machine on which a hundred logs were shipped, and scanned since."""
    world = World(tmp_path)
    for number in range(100):
        world.files.write(b"app.log.%d" % number, b"line %d\n" % number)
    world.run(rounds=3)
    return world


def remembered(world: World) -> int:
    return len(world.discovery._scan_cache[world.watch.name])


def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that scans ask of the journal from now on."""
    questions: list[str] = []
    query = world.journal._database.query

    def note(statement: str, *parameters: object) -> object:
        questions.append(statement)
        return query(statement, *parameters)

    monkeypatch.setattr(world.journal._database, "query", note)
    return questions


def test_a_scan_in_which_nothing_changed_asks_and_opens_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, opens = asked(world, monkeypatch), world.files.opens
    world.discovery.step()
    assert questions == []
    assert world.files.opens == opens
    assert remembered(world) == 100


def test_only_what_changed_is_asked_about(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(world, monkeypatch)
    world.files.rename(b"app.log.7", b"app.log.200")
    world.discovery.step()
    asked_once = len(questions)
    assert asked_once == 2  # for its newest shipment, and as that has another ctime, for all
    world.discovery.step()
    assert len(questions) == asked_once + 1  # its ctime is remembered by now
    world.discovery.step()
    assert len(questions) == asked_once + 1


def test_a_familiar_file_that_grows_is_continued(world: World) -> None:
    world.files.append(b"app.log.7", b"a late line\n")
    world.run(rounds=2)
    assert [row.raw_start for row in world.rows()].count(7) == 1
    assert b"a late line\n" in world.contents()


def test_another_file_under_a_familiar_name_is_shipped(world: World) -> None:
    mtime_ns = world.rows()[7].mtime_ns
    world.files.delete(b"app.log.7")
    world.files.write(b"app.log.7", b"line X\n")
    world.files.touch(b"app.log.7", mtime_ns)
    world.run(rounds=2)
    assert b"line X\n" in world.contents()


def test_what_stands_no_more_is_not_remembered(world: World) -> None:
    for number in range(90):
        world.files.delete(b"app.log.%d" % number)
    world.discovery.step()
    assert remembered(world) == 10


def test_what_could_not_be_looked_at_is_looked_at_closely_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.files.fail_scan(b"", PortError("DirectoryUnreadable"))
    world.discovery.step()
    assert remembered(world) == 0
    world.files.fail_scan(b"")
    questions = asked(world, monkeypatch)
    world.discovery.step()
    assert len(questions) == 100
    assert len(world.rows(State.DONE)) == 100


def test_a_fingerprint_tells_device_inode_size_and_times_apart() -> None:
    ways = {
        fingerprint(*one)
        for one in [(1,) * 5, *((1,) * at + (9,) + (1,) * (4 - at) for at in range(5))]
    }
    assert len(ways) == 6


def test_names_that_are_not_utf_8_are_remembered_as_the_system_gives_them() -> None:
    scan_cache = ScanCache()
    scan_cache.add(RelativePath(b"sub/caf\xe9.log.1"), stat())
    scan_cache.begin()
    before, now = scan_cache.enter(b"sub/")
    assert [*before] == ["caf\udce9.log.1"]
    assert now == {}


def test_what_was_too_old_is_looked_at_anew_once_the_clock_was_set_back_behind_that(
    tmp_path: Path,
) -> None:
    """As after a boot with a clock that is years ahead."""
    world = World(tmp_path, watch=replace(WATCH, ignore_older_seconds=86_400.0))
    world.files.write(b"app.log.1", b"of now\n")
    world.clock.set_wall(world.clock.now() + 10 * 86_400)
    world.run(rounds=3)
    world.discovery.step()
    assert world.contents() == []
    assert world.discovery.left_alone[WATCH.name].older == 1
    assert remembered(world) == 1
    world.clock.set_wall(world.clock.now() - 10 * 86_400)
    world.run(rounds=3)
    assert world.contents() == [b"of now\n"]
    assert world.discovery.left_alone[WATCH.name].older == 0
