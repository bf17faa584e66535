"""What keeps a file from being shipped, as its entry and an open tell."""

from pathlib import Path

import pytest

from shipper.core.types import Entry, FileKind, RelativePath
from shipper.services.finding.obstacles import obstacle
from tests.machines.world import WATCH, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def code(world: World, name: bytes, *, is_live: bool = False) -> str:
    found = world.files.scan(WATCH, lambda path, _: path == name)
    [entry] = [one for one in found if isinstance(one, Entry)]
    problem = obstacle(world.files, world.journal, WATCH, entry, is_live=is_live)
    return "" if problem is None else problem.code


def test_a_file_that_can_be_opened_meets_none(world: World) -> None:
    world.files.write(b"app.log.1", b"one\n")
    assert code(world, b"app.log.1") == ""
    world.files.deny(b"app.log.1")
    assert code(world, b"app.log.1") == "SourceUnreadable"


@pytest.mark.parametrize(
    ("kind", "rotated", "live"),
    [
        (FileKind.SYMLINK, "NotRegular", "NotRegular"),
        (FileKind.OTHER, "NotRegular", "NotRegular"),
        (FileKind.ALIAS, "NotRegular", ""),
        (FileKind.LINKED_DIRECTORY, "NotRegular", ""),
    ],
)
def test_a_live_name_without_bytes_of_its_own_is_no_loss(
    world: World, kind: FileKind, rotated: str, live: str
) -> None:
    world.files.write(b"app.log", kind=kind)
    assert (code(world, b"app.log"), code(world, b"app.log", is_live=True)) == (rotated, live)


def test_a_linked_file_meets_one_unless_it_is_empty_or_s3_has_it(world: World) -> None:
    world.files.write(b"app.log.1", b"one\n")
    world.files.link(b"app.log.1", b"other")
    assert code(world, b"app.log.1") == "HardLinked"
    world.files.write(b"app.log.1", b"")
    assert code(world, b"app.log.1") == ""
    world.files.delete(b"other")
    world.files.write(b"app.log.1", b"two\n")
    world.run(rounds=2)
    world.files.link(b"app.log.1", b"other")
    world.discovery.step()
    assert code(world, b"app.log.1") == ""
    assert world.discovery.refusals == {}


def test_what_has_vanished_meets_none(world: World) -> None:
    stat = world.files.write(b"app.log.1", b"one\n")
    world.files.delete(b"app.log.1")
    entry = Entry(RelativePath(b"app.log.1"), stat)
    assert obstacle(world.files, world.journal, WATCH, entry) is None
