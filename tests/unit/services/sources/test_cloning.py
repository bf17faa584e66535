"""Clones in place of descriptors: they survive a restart, and are never trusted blindly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.holding import clone_name
from shipper.core.types import AfterUpload, RelativePath, ShipmentId, State, WatchName
from shipper.ports import PortError, Source
from shipper.services.sources.cloning import RESERVED_BYTES
from tests.machines.world import MIB, WATCH, World, random_log


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, clone_held=True)


def promised(world: World, body: bytes = b"one\n") -> None:
    world.files.write(b"app.log.1", body)
    world.discover()


def test_a_clone_takes_the_place_of_the_descriptor(world: World) -> None:
    promised(world)
    assert world.files.open_sources == 0
    assert world.held.counts() == (0, 1)
    assert world.clones.names() == [clone_name(world.rows()[0])]
    world.carry()
    assert world.contents() == [b"one\n"]
    assert world.clones.names() == []


@pytest.mark.parametrize("lives", [1, 3])
def test_a_restart_loses_nothing_that_was_deleted_meanwhile(world: World, lives: int) -> None:
    promised(world, random_log(1, 11 * MIB))
    body = world.files.body(b"app.log.1")
    world.store.fail_next("UploadPart", PortError("Timeout"))
    world.carry()
    world.files.delete(b"app.log.1")
    for _ in range(lives):
        world.restart()
        world.discovery.step()
    world.run(rounds=1)
    assert world.contents() == [body]
    assert world.store.operations().count("CreateMultipartUpload") == 1
    assert world.clones.names() == []


def test_clones_of_an_earlier_life_are_used_when_no_more_are_wanted(world: World) -> None:
    promised(world)
    world.files.delete(b"app.log.1")
    world.clone_held = False
    world.restart()
    promised(world, b"two\n")
    assert world.held.counts() == (1, 1)
    world.carry()
    assert sorted(world.contents()) == [b"one\n", b"two\n"]


def test_a_file_that_was_rewritten_after_its_promise_is_shipped_as_promised(world: World) -> None:
    promised(world)
    world.clock.advance(seconds=9)
    world.files.write(b"app.log.1", b"rewritten\n")
    world.run(rounds=2)
    assert sorted(world.contents()) == [b"one\n", b"rewritten\n"]
    assert {row.state for row in world.rows()} == {State.DONE}


def test_a_file_that_grows_has_a_clone_for_each_segment(world: World) -> None:
    promised(world)
    world.files.append(b"app.log.1", b"two\n")
    world.discover()
    assert world.held.counts() == (0, 2)
    world.files.delete(b"app.log.1")
    world.run(rounds=2)
    assert sorted(world.contents()) == [b"one\n", b"two\n"]


def changed_between(world: World, change: Callable[[], object]) -> None:
    """Promise a file that changes between the promise and the clone."""
    make = world.clones.make

    def late(name: str, source: Source, is_same: Callable[[Source], bool]) -> bool:
        change()
        return make(name, source, is_same)

    world.clones.make = late  # type: ignore[method-assign]  # somebody writes just then
    promised(world)
    world.clones.make = make  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("body", "shipped"),
    [
        (b"two\n", [b"two\n"]),
        (b"one\ntwo\n", [b"one\n", b"two\n"]),
        (b"o", [b"o"]),
        (b"one\n", [b"one\n"]),
    ],
)
def test_a_file_that_changes_between_promise_and_clone_is_not_cloned(
    world: World, body: bytes, shipped: list[bytes]
) -> None:
    """Even when it reads the same: what was written in the middle would not show."""

    def write() -> None:
        world.clock.advance(seconds=1)
        world.files.write(b"app.log.1", body)

    changed_between(world, write)
    assert world.clones.names() == []
    assert world.held.counts() == (1, 0)
    world.run(rounds=3)
    assert sorted(world.contents()) == shipped


def test_where_there_are_no_reflinks_descriptors_do_and_one_line_says_so(world: World) -> None:
    world.clones.refusal = PortError("CloneUnsupported", "EXDEV", "one file system")
    for number in range(5):
        world.files.write(b"app.log.%d" % number, b"%d\n" % number)
    world.discover()
    world.discovery.step()
    assert world.held.counts() == (5, 0)
    assert world.clones.asked == 1
    assert world.log.of("clone.refused") == [
        {
            "watch": WATCH.name,
            "code": "CloneUnsupported",
            "detail": "EXDEV",
            "hint": "one file system",
        }
    ]


def test_a_clone_that_fails_for_another_reason_is_tried_for_the_next_file(world: World) -> None:
    world.clones.refusal = PortError("CloneFailed", "quota")
    promised(world)
    for number in (2, 3):
        world.files.rename(b"app.log.1", b"app.log.%d" % number)
        world.clones.refusal = PortError("CloneFailed", "quota") if number == 2 else None
        promised(world, b"%d\n" % number)
    assert world.held.counts() == (2, 1)
    assert len(world.log.of("clone.refused")) == 1


def test_no_clone_is_made_while_the_state_directory_is_nearly_full(world: World) -> None:
    world.clones.free = RESERVED_BYTES - 1
    promised(world)
    assert world.held.counts() == (1, 0)
    assert world.clones.asked == 0


def test_a_state_directory_that_fills_up_gets_the_newest_clones_back(world: World) -> None:
    world.files.write(b"app.log.1", b"a" * 1000)
    world.clock.advance(seconds=1)
    world.files.write(b"app.log.2", b"b" * 1000)
    world.discover()
    for path in world.files.paths():
        world.files.delete(path)
    world.clones.free = RESERVED_BYTES - 1
    world.housekeeping.step()
    assert [row.path for row in world.rows(State.GONE)] == [b"app.log.2"]
    world.clones.free = RESERVED_BYTES
    world.carry()
    assert world.contents() == [b"a" * 1000]


def test_a_clone_that_shares_nothing_though_its_original_stands_costs_no_shipment(
    tmp_path: Path,
) -> None:
    """As after a defragmentation."""
    world = World(tmp_path, clone_held=True, held_bytes=0)
    promised(world)
    world.clones.spoil(clone_name(world.rows()[0]))
    world.housekeeping.step()
    assert world.held.shipments() == []
    assert "held.let_go" not in world.log.events
    world.carry()
    assert world.contents() == [b"one\n"]


def test_a_clone_that_is_not_what_was_promised_is_never_sent(world: World) -> None:
    promised(world)
    world.clones.spoil(clone_name(world.rows()[0]))
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.rows()[0].state is State.GONE
    assert world.contents() == []
    assert world.clones.names() == []


@pytest.mark.parametrize("has_reader", [False, True])
def test_a_newer_clone_makes_room_unless_its_original_is_gone(
    tmp_path: Path, has_reader: bool
) -> None:
    """Also while somebody has the deleted original open, so that no block is the clone's alone."""
    world = World(tmp_path, clone_held=True, held_files=1)
    world.store.outage = PortError("Unreachable")
    reader: Source | None = None
    for number, age in ((1, 5), (2, 3), (3, 1)):
        path = b"app.log.%d" % number
        world.files.write(path, b"%d\n" % number)
        world.files.touch(path, 10**18 + age)
        world.discover()
        if number == 2:
            assert world.clones.names() == [clone_name(world.row(path))]
            reader = world.files.open(WATCH, RelativePath(path)) if has_reader else None
            world.files.delete(path)
    assert world.clones.names() == [clone_name(world.row(b"app.log.2"))]
    assert (reader is not None) is has_reader


def test_a_clone_whose_original_cannot_be_found_is_not_displaced(tmp_path: Path) -> None:
    """Under the name that the last scan saw; the next one sees it under another."""
    world = World(tmp_path, clone_held=True, held_files=1)
    world.store.outage = PortError("Unreachable")
    promised(world)
    row = world.rows()[0]
    assert world.held._is_named(row)
    for unknown in (replace(row, watch=WatchName("gone")), replace(row, id=ShipmentId(99))):
        assert not world.held._is_named(unknown)
    world.files.rename(b"app.log.1", b"app.log.2")
    assert not world.held._is_named(row)
    world.files.write(b"app.log.1", b"other\n")
    assert not world.held._is_named(row)


def test_a_clone_of_a_finished_shipment_is_removed_at_the_next_start(world: World) -> None:
    promised(world)
    row = world.rows()[0]
    kept = world.clones._kept[clone_name(row)]
    world.carry()
    world.clones._kept[clone_name(row)] = kept
    world.restart()
    assert world.clones.names() == []
    assert world.held.shipments() == []


def test_a_clone_that_the_journal_does_not_know_is_kept_and_told_of(world: World) -> None:
    promised(world)
    kept = world.clones._kept[clone_name(world.rows()[0])]
    for name in ("1-of-another-journal", "77-0123456789abcdef", "lost+found"):
        world.clones._kept[name] = kept
    world.restart()
    assert [fields["name"] for fields in world.log.of("clone.unknown")] == [
        "1-of-another-journal",
        "77-0123456789abcdef",
        "lost+found",
    ]
    assert len(world.clones.names()) == 4


def test_a_clone_that_was_removed_by_hand_is_missed_like_a_file(world: World) -> None:
    promised(world)
    row = world.rows()[0]
    world.clones.remove(clone_name(row))
    assert world.held.open_clone(row) is None
    world.files.delete(b"app.log.1")
    world.carry()
    assert world.rows()[0].state is State.GONE


def test_clones_that_cannot_be_asked_about_are_neither_counted_nor_let_go(world: World) -> None:
    promised(world)
    world.files.delete(b"app.log.1")
    world.clones.trouble = PortError("Unreadable", "EIO")
    world.housekeeping.step()
    assert world.held.unlinked_bytes == 0
    assert world.held.counts() == (0, 1)
    world.held.drop(ShipmentId(1))
    world.clones.trouble = None
    assert len(world.clones.names()) == 1
    world.restart()
    world.carry()
    assert world.contents() == [b"one\n"]


def test_a_clone_is_no_reason_to_remove_anything(tmp_path: Path) -> None:
    watch = replace(WATCH, after_upload=AfterUpload.DELETE)
    world = World(tmp_path, watch=watch, clone_held=True)
    promised(world)
    world.clock.advance(seconds=9)
    world.files.write(b"app.log.1", b"new\n")
    world.carry()
    world.clock.advance(minutes=11)
    world.carry()
    assert world.files.paths() == [b"app.log.1"]
    assert world.contents() == [b"one\n"]
    world.run(rounds=2)
    assert sorted(world.contents()) == [b"new\n", b"one\n"]
    assert world.files.paths() == []
