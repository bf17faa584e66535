"""While another file system stands in a watch, what is absent proves nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, State, Watch
from shipper.ports import PortError
from tests.machines.world import WATCH, World

DELETING = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=600.0)


def world_with(tmp_path: Path, watch: Watch = WATCH) -> World:
    """A promised log that nobody holds open."""
    world = World(tmp_path, watch=watch, held_files=0)
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    return world


def states(world: World) -> list[State]:
    return [row.state for row in world.rows()]


def test_a_promised_log_waits_while_its_file_system_is_away_and_is_shipped_when_it_is_back(
    tmp_path: Path,
) -> None:
    world = world_with(tmp_path)
    world.files.mount("the empty mount point")
    world.restart()
    world.run(rounds=5)
    (row,) = world.rows()
    assert (row.state, row.code, row.attempts) == (State.READY, "OtherFileSystem", 0)
    assert list(world.roots.others) == [world.watch.name]
    assert len(world.log.of("watch.replaced")) == 1
    world.files.mount("disk")
    world.run(rounds=3)
    assert states(world) == [State.DONE]
    assert world.contents() == [b"hello\n"]
    assert world.roots.others == {}


def test_another_log_under_the_same_inode_there_does_not_supersede_it(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    inode = world.rows()[0].file_id.inode
    world.files.mount("another disk")
    world.files._next_inode = inode - 1
    assert world.files.write(b"app.log.1", b"other bytes\n").inode == inode
    world.run(rounds=4)
    assert states(world) == [State.READY, State.DONE]
    assert world.contents() == [b"other bytes\n"]


def test_a_removal_waits_while_its_file_system_is_away(tmp_path: Path) -> None:
    world = world_with(tmp_path, DELETING)
    world.carry()
    world.files.mount("the empty mount point")
    world.clock.advance(minutes=20)
    world.run(rounds=3)
    (row,) = world.rows()
    assert (row.state, row.code) == (State.VERIFIED, "OtherFileSystem")
    world.files.mount("disk")
    world.run(rounds=3)
    assert world.files.paths() == []
    assert states(world) == [State.DONE]


@pytest.mark.parametrize("change", [0, 1, 2, 3])
def test_a_mount_that_comes_while_a_source_is_looked_for_makes_nothing_gone(
    tmp_path: Path, change: int
) -> None:
    world = world_with(tmp_path)
    world.discover()
    world.files.mount("the empty mount point")
    asked = [0]
    place = world.files.place

    def turning(watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        asked[0] += 1
        if asked[0] == change:
            world.files.mount("disk")
        return place(watch, path, begins)

    world.files.place = turning  # type: ignore[method-assign]
    world.carry()
    assert states(world)[0] in (State.READY, State.DONE)


def test_nothing_is_forgotten_while_another_file_system_stands_there(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    world.carry()
    world.files.write(b"app.log.2", b"the last success stays in any case\n")
    world.clock.advance(hours=1)
    world.run(rounds=2)
    world.files.mount("the empty mount point")
    world.discover()
    world.clock.advance(hours=24 * 60)
    world.housekeeping.step()
    assert len(world.rows()) == 2
    assert [record["rows"] for record in world.log.of("journal.pruned")] == [0]


def test_a_directory_that_was_made_anew_ships_at_once_and_is_the_watchs_own_from_then_on(
    tmp_path: Path,
) -> None:
    world = world_with(tmp_path)
    world.carry()
    world.files.mount("made anew")
    world.clock.advance(minutes=1)
    world.discover()
    assert list(world.roots.others) == [world.watch.name]
    world.files.write(b"app.log.1", b"anew\n")
    world.run(rounds=3)
    assert world.contents() == [b"hello\n", b"anew\n"]
    assert world.roots.others == {}
    world.restart()
    world.discover()
    assert world.roots.others == {}


def test_what_is_left_of_the_old_directory_waits_for_an_operator(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    world.files.mount("made anew")
    world.clock.advance(minutes=1)
    world.files.write(b"app.log.1", b"anew\n")
    world.run(rounds=5)
    assert states(world) == [State.READY, State.DONE]
    assert list(world.roots.others) == [world.watch.name]
    world.journal.places.forget(WATCH.name, "disk at ")
    world.run(rounds=3)
    assert states(world) == [State.GONE, State.DONE]
    assert world.roots.others == {}


def test_a_log_that_is_gone_from_where_it_was_is_gone(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    world.files.delete(b"app.log.1")
    world.carry()
    assert states(world) == [State.GONE]


def test_a_directory_that_cannot_be_reached_proves_nothing_either(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    world.files.mount("the empty mount point")

    def away(watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        raise PortError("NotFound", watch.directory)

    world.files.place = away  # type: ignore[method-assign]
    world.run(rounds=2)
    assert states(world) == [State.READY]
    assert world.roots.others == {}


@pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
def test_a_file_that_stands_again_after_its_removal_is_removed_again(
    tmp_path: Path, after: AfterUpload
) -> None:
    watch = replace(DELETING, after_upload=after, archive_directory="/archive")
    world = world_with(tmp_path, watch)
    node = world.files._nodes[b"/logs/app.log.1"]
    world.carry()
    world.clock.advance(minutes=11)
    world.run(rounds=2)
    assert world.files.paths() == []
    world.files._nodes = {b"/logs/app.log.1": node}
    node.links = 1
    world.restart()
    world.run(rounds=3)
    assert world.files.paths() == []
    assert states(world) == [State.DONE]
    assert world.contents() == [b"hello\n"]


def test_a_file_that_was_kept_is_not_removed_because_removal_was_configured_later(
    tmp_path: Path,
) -> None:
    world = world_with(tmp_path)
    world.carry()
    world.watch = DELETING
    world.restart()
    world.clock.advance(hours=48)
    world.run(rounds=3)
    assert world.files.paths() == [b"app.log.1"]


def test_what_was_absent_while_another_directory_stood_there_is_not_gone(tmp_path: Path) -> None:
    world = world_with(tmp_path, DELETING)
    world.carry()
    (row,) = world.rows(State.VERIFIED)
    world.files.delete(row.path)
    place, asked = world.files.place(DELETING), iter(["another"])
    world.files.place = lambda *where: next(asked, place)  # type: ignore[method-assign]
    with pytest.raises(PortError, match="OtherFileSystem"):
        world.disposal.dispose(row, DELETING)


def test_a_directory_that_never_had_a_shipment_may_be_made_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run(rounds=1)
    world.files.mount("made anew")
    world.run(rounds=1)
    assert world.roots.others == {}
    assert world.journal.places.of(WATCH.name) == []


BELOW = b"data/"


def nested_world(tmp_path: Path, watch: Watch = WATCH) -> World:
    """A promised log on a file system that is mounted below the watch."""
    world = World(tmp_path, watch=watch, held_files=0)
    world.files.mount("nested", at=BELOW)
    world.files.write(b"data/app.log.1", b"hello\n")
    world.discover()
    return world


@pytest.mark.parametrize("instead", ["", "another"])
def test_a_log_below_waits_while_its_file_system_is_not_mounted(
    tmp_path: Path, instead: str
) -> None:
    world = nested_world(tmp_path)
    world.files.mount(instead, at=BELOW)
    world.files.write(b"app.log.1", b"the watch's own\n")
    world.restart()
    world.run(rounds=5)
    assert [(row.state, row.code) for row in world.rows()] == [
        (State.READY, "OtherFileSystem"),
        (State.DONE, ""),
    ]
    assert world.roots.others == {WATCH.name: ("nested at data",)}
    (told,) = world.log.of("watch.replaced")
    assert str(told["detail"]).startswith("/logs/data: another file system than before")
    world.files.mount("nested", at=BELOW)
    world.clock.advance(minutes=2)
    world.run(rounds=3)
    assert states(world) == [State.DONE, State.DONE]
    assert world.roots.others == {}


def test_a_log_that_a_late_mount_covers_waits_until_it_is_seen_again(tmp_path: Path) -> None:
    world = World(tmp_path, held_files=0)
    world.files.write(b"data/app.log.1", b"before the mount\n")
    world.discover()
    world.files.mount("nested", at=BELOW)
    world.run(rounds=3)
    assert states(world) == [State.READY]
    world.files.mount("", at=BELOW)
    world.clock.advance(minutes=2)
    world.run(rounds=3)
    assert world.contents() == [b"before the mount\n"]


def test_a_log_below_that_is_gone_from_its_file_system_is_gone(tmp_path: Path) -> None:
    world = nested_world(tmp_path)
    world.files.delete(b"data/app.log.1")
    world.run(rounds=2)
    assert states(world) == [State.GONE]


def test_a_removal_below_waits_while_its_file_system_is_away(tmp_path: Path) -> None:
    world = nested_world(tmp_path, DELETING)
    world.carry()
    world.files.mount("", at=BELOW)
    world.clock.advance(minutes=20)
    world.run(rounds=3)
    assert states(world) == [State.VERIFIED]
    world.files.mount("nested", at=BELOW)
    world.clock.advance(minutes=2)
    world.run(rounds=3)
    assert world.files.paths() == []
    assert states(world) == [State.DONE]


def test_nothing_below_is_forgotten_while_its_file_system_is_away(tmp_path: Path) -> None:
    world = nested_world(tmp_path)
    world.files.write(b"app.log.1", b"to be forgotten\n")
    world.run(rounds=3)
    world.files.delete(b"app.log.1")
    world.files.mount("", at=BELOW)
    world.clock.advance(minutes=5)
    world.files.write(b"app.log.2", b"the last success stays in any case\n")
    world.run(rounds=3)
    world.clock.advance(hours=24 * 60)
    world.housekeeping.step()
    assert [row.path for row in world.rows()] == [b"data/app.log.1", b"app.log.2"]


def test_what_stands_below_is_the_watchs_own_once_a_log_found_there_was_shipped(
    tmp_path: Path,
) -> None:
    world = nested_world(tmp_path)
    world.run(rounds=2)
    world.files.mount("another", at=BELOW)
    world.files.write(b"app.log.1", b"elsewhere in the watch\n")
    world.run(rounds=3)
    assert world.roots.others == {WATCH.name: ("nested at data",)}
    world.files.write(b"data/app.log.1", b"there\n")
    world.run(rounds=3)
    assert world.roots.others == {}


def test_a_row_outlives_that_of_the_same_inode_number_on_another_file_system(
    tmp_path: Path,
) -> None:
    """The newer row, and the file that stands, are the other file system's."""
    world = nested_world(tmp_path)
    world.run(rounds=2)
    inode = world.rows()[0].file_id.inode
    world.files._next_inode = inode - 1
    assert world.files.write(b"app.log.1", b"same number\n").inode == inode
    world.files._nodes[b"/logs/app.log.1"].device = 1
    world.clock.advance(minutes=1)
    world.run(rounds=2)
    world.files.write(b"app.log.2", b"the last success stays in any case\n")
    world.clock.advance(minutes=1)
    world.run(rounds=3)
    assert states(world) == [State.DONE] * 3
    world.clock.advance(hours=24 * 60)
    world.housekeeping.step()
    assert len(world.rows()) == 3
    world.files.delete(b"app.log.1")
    world.clock.advance(hours=25)
    world.housekeeping.step()
    assert [row.path for row in world.rows()] == [b"data/app.log.1", b"app.log.2"]
    world.restart()
    world.run(rounds=3)
    assert len(world.contents()) == 3
