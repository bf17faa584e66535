"""A promised file is found wherever it is, and what cannot be decided stays undecided."""

from pathlib import Path

import pytest

from shipper.core.types import RelativePath, Watch
from shipper.ports import PortError, Source
from tests.fakes.files import FakeFiles
from tests.fakes.world import World


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
        world.sourcing.source(world.rows()[0], world.watch),
    ):
        raise AssertionError("it was opened")
    return raised.value.code


def test_a_file_that_moves_while_it_is_looked_for_is_not_called_gone(world: World) -> None:
    world.sourcing._files = MovesBeforeOpen(world.files)
    assert code_of_opening(world) == "Unreadable"


def test_a_moved_file_that_may_not_be_opened_says_so(world: World) -> None:
    world.files.deny(b"app.log.2")
    assert code_of_opening(world) == "SourceUnreadable"


def test_an_inode_that_is_used_again_elsewhere_is_not_the_source(world: World) -> None:
    world.files.write(b"app.log.2", b"other bytes under the same inode\n")
    assert code_of_opening(world) == "SourceVanished"
    assert world.files.open_sources == 0


class MovesBeforeOpen:
    """Files whose entries are gone by the time somebody opens them."""

    def __init__(self, files: FakeFiles) -> None:
        self._files = files
        self.scan = files.scan
        self.remove = files.remove
        self.archive = files.archive

    def open(self, watch: Watch, path: RelativePath) -> Source:
        if path == b"app.log.2":
            self._files.rename(path, b"app.log.3")
        return self._files.open(watch, path)
