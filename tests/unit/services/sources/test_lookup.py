"""A promised file is found wherever it is, and what cannot be decided stays undecided."""

from pathlib import Path

import pytest

from shipper.core.types import FileKind, RelativePath, Watch
from shipper.ports import PortError, Source
from tests.fakes.files import FakeFiles
from tests.machines.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A promised file that nobody holds open, under another name than the journal knows."""
    world = World(tmp_path)
    world.files.write(b"app.log.1", b"hello\n")
    world.discover()
    world.held.close()
    world.files.rename(b"app.log.1", b"app.log.2")
    return world


def code_of_opening(world: World) -> str:
    with (
        pytest.raises(PortError) as raised,
        world.lookup.source(world.rows()[0], world.watch),
    ):
        raise AssertionError("it was opened")
    return raised.value.code


def test_a_file_that_moves_while_it_is_looked_for_is_not_called_gone(world: World) -> None:
    world.lookup._files = MovesBeforeOpen(world.files)
    assert code_of_opening(world) == "Unreadable"


def test_a_moved_file_that_may_not_be_opened_says_so(world: World) -> None:
    world.files.deny(b"app.log.2")
    assert code_of_opening(world) == "SourceUnreadable"


def test_an_inode_that_is_used_again_elsewhere_is_not_the_source(world: World) -> None:
    world.files.write(b"app.log.2", b"other bytes under the same inode\n")
    assert code_of_opening(world) == "SourceVanished"
    assert world.files.open_sources == 0


def test_an_inode_that_became_a_symbolic_link_is_not_the_source(world: World) -> None:
    world.files._reuses_inodes = True
    inode = world.rows()[0].file_id.inode
    world.files.delete(b"app.log.2")
    assert world.files.write(b"other.log.1", kind=FileKind.SYMLINK).inode == inode
    assert code_of_opening(world) == "SourceVanished"


def test_nothing_stays_open_where_the_new_name_cannot_be_written_down(world: World) -> None:
    world.journal.effect = refuse
    assert code_of_opening(world) == "JournalUnwritable"
    assert world.files.open_sources == 0


@pytest.mark.parametrize("name", [b"app.log.1", b"app.log.2"])
def test_nothing_stays_open_that_cannot_be_read(world: World, name: bytes) -> None:
    world.files.rename(b"app.log.2", name)
    world.files.fail_reads(name, PortError("Unreadable"))
    assert code_of_opening(world) == "Unreadable"
    assert world.files.open_sources == 0


def refuse(name: str) -> None:
    """A journal's disk that is full."""
    raise PortError("JournalUnwritable", name)


class MovesBeforeOpen:
    """Files whose entries are gone by the time somebody opens them."""

    def __init__(self, files: FakeFiles) -> None:
        self._files = files
        self.scan = files.scan
        self.remove = files.remove
        self.archive = files.archive
        self.place = files.place
        self.space = files.space

    def open(self, watch: Watch, path: RelativePath) -> Source:
        if path == b"app.log.2":
            self._files.rename(path, b"app.log.3")
        return self._files.open(watch, path)
