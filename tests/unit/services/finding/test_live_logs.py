"""Since when a live log holds bytes that no segment has."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import FileKind, State, WriterTest
from tests.machines.world import WATCH, World

LINE = b"a line\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A log, and a daemon that has met it empty."""
    world = World(tmp_path, watch=replace(WATCH, live_interval_seconds=300.0))
    world.files.write(b"app.log")
    world.look()
    return world


def age(world: World) -> float | None:
    """Of the oldest byte that is in no segment."""
    at = world.live.logs.oldest_at.get(world.watch.name)
    return None if at is None else world.clock.now() - at


def test_nothing_waits_in_an_empty_log(world: World) -> None:
    assert age(world) is None
    world.clock.advance(hours=5)
    world.look()
    assert age(world) is None


def test_a_byte_is_no_older_than_the_scan_before_the_one_that_met_it(world: World) -> None:
    world.clock.advance(hours=5)
    world.look()
    world.clock.advance(seconds=10)
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=20)
    world.look()
    assert age(world) == pytest.approx(30)
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=30)
    world.look()
    assert age(world) == pytest.approx(60), "the oldest counts"


def test_after_a_start_it_counts_from_the_last_segment_else_from_the_birth(world: World) -> None:
    world.clock.advance(seconds=30)
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=70)
    world.restart()
    world.look()
    assert age(world) == pytest.approx(100), "since its birth"
    world.clock.advance(seconds=300)
    world.look()
    world.carry()
    assert age(world) is None
    world.clock.advance(seconds=40)
    world.restart()
    world.look()
    assert age(world) is None, "all of it is in a segment"
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=5)
    world.restart()
    world.look()
    assert age(world) == pytest.approx(45), "since the last segment"


def test_a_log_that_was_cut_while_nobody_looked_begins_anew(world: World) -> None:
    world.files.append(b"app.log", 10 * LINE)
    for _ in range(2):
        world.clock.advance(seconds=300)
        world.look()
        world.carry()
    world.files.write(b"app.log", LINE)
    world.clock.advance(seconds=20)
    world.restart()
    world.look()
    [row] = world.rows(State.READY)
    assert (row.raw_start, row.raw_end) == (0, len(LINE)), "it is due at once"


def test_of_another_generation_nothing_is_known(world: World) -> None:
    world.files._reuses_inodes = True
    world.files.append(b"app.log", LINE)
    for _ in range(2):
        world.clock.advance(seconds=300)
        world.look()
        world.carry()
    world.files.delete(b"app.log")
    world.files.write(b"app.log", 3 * LINE)
    world.restart()
    world.look()
    [log] = world.live.logs.of(world.watch)
    assert (log.end, log.left_bytes) == (0, 3 * len(LINE))


def test_what_is_renamed_waits_on_until_it_is_promised_and_the_row_says_since_when(
    world: World,
) -> None:
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=100)
    world.look()
    world.files.set_writer(b"app.log", WriterTest.OPEN)
    world.files.rename(b"app.log", b"app.log.1")
    world.files.write(b"app.log")
    world.clock.advance(seconds=50)
    world.look()
    world.clock.advance(seconds=50)
    world.look()
    assert age(world) == pytest.approx(200)
    world.files.set_writer(b"app.log.1", WriterTest.NONE)
    world.clock.advance(seconds=20)
    world.look()
    world.clock.advance(seconds=20)
    world.look()
    assert age(world) is None
    assert len(world.rows(State.READY)) == 1
    since = world.journal.figures.unsent_since()[world.watch.name]
    assert world.clock.now() - since == pytest.approx(240)
    world.carry()
    assert world.journal.figures.unsent_since() == {}


def test_a_log_that_is_gone_waits_no_more(world: World) -> None:
    world.files.append(b"app.log", LINE)
    world.clock.advance(seconds=100)
    world.look()
    assert age(world) is not None
    world.files.delete(b"app.log")
    world.look()
    assert age(world) is None


def test_what_cannot_be_opened_counts_from_the_scan_that_met_it(world: World) -> None:
    world.files.write(b"web.log", LINE)
    world.files.deny(b"web.log")
    world.files.write(b"link.log", LINE, kind=FileKind.SYMLINK)
    world.clock.advance(seconds=10)
    world.look()
    assert age(world) == 0
    assert len(world.live.logs.of(world.watch)) == 2
