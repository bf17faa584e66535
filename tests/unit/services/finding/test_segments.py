"""A log that grows, is cut or replaced after it was shipped."""

from pathlib import Path

import pytest

from shipper.core.types import State
from tests.machines.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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
