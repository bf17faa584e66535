"""Numbered logs: shipped once their series was seen to shift, and never before."""

from pathlib import Path

import pytest

from shipper.core.types import State, WriterTest
from tests.machines.world import World


def rotate(world: World, series: bytes, body: bytes, most: int = 3) -> None:
    """As java.util.logging does, and write on under number 0."""
    world.clock.advance(minutes=1)
    names = {path for path in world.files.paths() if path.startswith(series)}
    for number in range(most, 0, -1):
        if series + b"%d.log" % (number - 1) in names:
            world.files.rename(series + b"%d.log" % (number - 1), series + b"%d.log" % number)
    world.files.write(series + b"0.log", body)


@pytest.mark.parametrize("series", [b"app", b"app.", b"app-", b"sub/app0."])
def test_a_series_that_shifts_is_shipped_without_a_setting_but_for_its_live_log(
    tmp_path: Path, series: bytes
) -> None:
    world = World(tmp_path)
    bodies = [b"%d\n" % number for number in range(6)]
    for body in bodies:
        rotate(world, series, body)
        world.run(rounds=2)
    assert sorted(world.contents()) == bodies[:-1]
    world.restart()
    rotate(world, series, b"6\n")
    world.run(rounds=2)
    assert sorted(world.contents()) == bodies
    assert {row.state for row in world.rows()} == {State.DONE}


def test_what_was_rotated_while_no_daemon_ran_is_shipped_at_its_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    for body in (b"0\n", b"1\n"):
        rotate(world, b"app", body, most=1)
        world.run(rounds=2)
    rotate(world, b"app", b"2\n", most=1)
    world.restart()
    world.discover()
    world.discover()
    world.carry()
    assert sorted(world.contents()) == [b"0\n", b"1\n"]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("has_generations", [True, False])
def test_fixed_numbers_are_no_series_though_inode_numbers_are_used_again(
    tmp_path: Path, order: tuple[int, int], has_generations: bool
) -> None:
    """Two processes begin anew: each file may get the inode number of the other's last one."""
    world = World(tmp_path)
    world.files._reuses_inodes = True
    world.files.has_generations = has_generations
    inodes: set[tuple[bytes, int]] = set()
    for life in range(4):
        for number in order:
            name = b"worker-%d.log" % number
            stat = world.files.write(name, b"life %d of %d\n" % (life, number))
            inodes.add((name, stat.inode))
        world.run(rounds=2)
        for number in (1, 2):
            world.files.delete(b"worker-%d.log" % number)
    assert len(inodes) > 2 or order == (2, 1), "inode numbers changed places"
    assert world.contents() == []


def test_a_rotated_log_that_is_still_written_to_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    for body in (b"0\n", b"1\n"):
        rotate(world, b"app", body)
        world.files.set_writer(b"app0.log", WriterTest.OPEN)
        world.run(rounds=2)
    assert world.contents() == []
    world.files.set_writer(b"app1.log", WriterTest.NONE)
    world.run(rounds=2)
    assert world.contents() == [b"0\n"]
