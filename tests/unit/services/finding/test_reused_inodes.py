"""An inode number that is used again, and changed files: what is proven, and what not."""

from pathlib import Path

import pytest

from shipper.core.types import HEAD_BYTES
from shipper.journal.journal import Journal
from tests.machines.world import World

BODY = b"status=OK\n" * 2000
MIDDLE = len(BODY) // 2
BAD = BODY[:MIDDLE] + b"status=BAD" + BODY[MIDDLE + 10 :]
LOG = b"app.log.1"
assert len(BODY) == len(BAD)
assert MIDDLE > HEAD_BYTES


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.files._reuses_inodes = True
    world.files.write(LOG, BODY)
    world.run(rounds=2)
    assert world.contents() == [BODY]
    return world


def use_inode_again(world: World, body: bytes, *, is_mtime_kept: bool = False) -> None:
    row = world.row(LOG)
    world.files.delete(LOG)
    world.clock.advance(seconds=30)
    stat = world.files.write(LOG, body)
    assert stat.inode == row.file_id.inode
    if is_mtime_kept:
        world.files.touch(LOG, row.mtime_ns)


@pytest.mark.parametrize("is_mtime_kept", [False, True])
@pytest.mark.parametrize("body", [BODY, BAD, BODY + b"more", BAD + b"more"])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_next_file_of_an_inode_is_shipped_whole_whatever_it_contains(
    world: World, body: bytes, is_mtime_kept: bool, restarts: bool
) -> None:
    use_inode_again(world, body, is_mtime_kept=is_mtime_kept)
    if restarts:
        world.restart()
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, body])
    assert world.files.open_sources == 0


@pytest.mark.parametrize("body", [BAD, BAD + b"more"])
@pytest.mark.parametrize("is_mtime_kept", [False, True])
def test_where_no_generation_is_known_other_bytes_are_shipped(
    tmp_path: Path, body: bytes, is_mtime_kept: bool
) -> None:
    world = World(tmp_path)
    world.files._reuses_inodes, world.files.has_generations = True, False
    world.files.write(LOG, BODY)
    world.run(rounds=2)
    use_inode_again(world, body, is_mtime_kept=is_mtime_kept)
    world.run(rounds=2)
    world.restart()
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, body])


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_log_that_was_changed_in_its_middle_is_shipped_anew(world: World, more: bytes) -> None:
    world.files.write(LOG, BAD + more)
    world.clock.advance(seconds=30)
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, BAD + more])
    world.files.append(LOG, b"growth")
    world.run(rounds=2)
    assert sorted(world.contents()) == sorted([BODY, BAD + more, b"growth"])


def test_a_touched_log_is_proven_once_and_not_shipped_again(world: World) -> None:
    world.clock.advance(seconds=30)
    world.files.touch(LOG)
    world.run(rounds=2)
    opens = world.files.opens
    world.run(rounds=2)
    assert world.files.opens == opens
    assert world.contents() == [BODY]


def test_a_renamed_log_is_opened_once_also_after_a_restart(world: World) -> None:
    opens = world.files.opens
    world.files.rename(LOG, b"app.log.2")
    world.run(rounds=2)
    assert world.files.opens == opens + 1
    world.restart()
    world.run(rounds=1)
    assert world.files.opens == opens + 1
    assert world.contents() == [BODY]


def test_the_rows_of_a_generation_that_is_gone_are_forgotten(world: World) -> None:
    use_inode_again(world, BAD)
    world.run(rounds=2)
    inode = world.row(LOG).file_id.inode
    now = world.clock.now() + 1
    journal: Journal = world.journal
    assert journal.forget(world.watch.name, {"disk at ": {inode}}, finished_before=now) == 1
    (left,) = world.rows()
    assert left.file_id.generation == "g2"
