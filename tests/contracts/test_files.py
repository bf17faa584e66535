"""What ``ports.Files`` promises: of the fake, and of the real thing with and without renameat2."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pytest

from shipper.core.scan_cache import ScanCache
from shipper.core.types import (
    Entry,
    FileStat,
    RelativePath,
    Watch,
    WatchName,
    WriterTest,
)
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.open_file import stat_from_status
from shipper.ports import Files, PortError, Source
from tests.fakes.files import FakeFiles


class Tree(Protocol):
    """What other programs do below the watch's directory."""

    def write(self, path: bytes, body: bytes = b"") -> FileStat: ...
    def append(self, path: bytes, body: bytes) -> None: ...
    def rename(self, path: bytes, to: bytes) -> None: ...
    def link(self, path: bytes, to: bytes) -> None: ...
    def delete(self, path: bytes) -> None: ...
    def body(self, path: bytes) -> bytes: ...
    def paths(self, directory: str | None = None) -> list[bytes]: ...
    def set_writer(self, path: bytes, writer: WriterTest) -> None: ...


@dataclass
class RealTree:
    """``FakeFiles``'s side of the programs, on a real directory."""

    top: Path
    writers: list[int] = field(default_factory=list)

    def write(self, path: bytes, body: bytes = b"") -> FileStat:
        facts = self._at(path)
        os.makedirs(os.path.dirname(facts), exist_ok=True)
        with open(facts, "wb") as file:
            file.write(body)
        return stat_from_status(os.stat(facts))

    def append(self, path: bytes, body: bytes) -> None:
        with open(self._at(path), "ab") as file:
            file.write(body)

    def rename(self, path: bytes, to: bytes) -> None:
        os.makedirs(os.path.dirname(self._at(to)), exist_ok=True)
        os.rename(self._at(path), self._at(to))

    def link(self, path: bytes, to: bytes) -> None:
        os.makedirs(os.path.dirname(self._at(to)), exist_ok=True)
        os.link(self._at(path), self._at(to))

    def delete(self, path: bytes) -> None:
        os.unlink(self._at(path))

    def body(self, path: bytes) -> bytes:
        with open(self._at(path), "rb") as file:
            return file.read()

    def paths(self, directory: str | None = None) -> list[bytes]:
        top = os.fsencode(self.top if directory is None else directory)
        return sorted(
            os.path.relpath(os.path.join(above, name), top)
            for above, _, names in os.walk(top)
            for name in names
        )

    def set_writer(self, path: bytes, writer: WriterTest) -> None:
        assert writer is WriterTest.OPEN
        self.writers.append(os.open(self._at(path), os.O_WRONLY))

    def close(self) -> None:
        while self.writers:
            os.close(self.writers.pop())

    def _at(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.top), path)


@dataclass
class World:
    files: Files
    tree: Tree
    watch: Watch

    def scanned(self, watch: Watch | None = None) -> dict[bytes, Entry]:
        """Everything that a scan yields; there must be no error in it."""
        found: dict[bytes, Entry] = {}
        for entry in self.files.scan(watch or self.watch, lambda path, _: True):
            assert isinstance(entry, Entry)
            found[entry.path] = entry
        return found

    def open(self, path: bytes) -> Source:
        return self.files.open(self.watch, RelativePath(path))

    def remove(self, path: bytes, is_same: Callable[[Source], bool] = lambda source: True) -> bool:
        return self.files.remove(self.watch, RelativePath(path), is_same)

    def archive(
        self, path: bytes, is_same: Callable[[Source], bool] = lambda source: True
    ) -> bool:
        return self.files.archive(self.watch, RelativePath(path), is_same)

    def archived(self) -> list[bytes]:
        return self.tree.paths(self.watch.archive_directory)


def no_renameat2(directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
    """A file system without RENAME_NOREPLACE."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.fixture(params=["fake", "real", "real, without renameat2"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    top = tmp_path / "logs"
    top.mkdir()
    watch = Watch(
        name=WatchName("app"), directory=str(top), archive_directory=str(tmp_path / "archive")
    )
    if request.param == "fake":
        fake = FakeFiles(SystemClock(), directory=str(top))
        yield World(fake, fake, watch)
        return
    tree = RealTree(top)
    files = DirectoryFiles() if request.param == "real" else DirectoryFiles(rename=no_renameat2)
    yield World(files, tree, watch)
    tree.close()


def test_a_scan_yields_every_entry_with_its_status(world: World) -> None:
    one = world.tree.write(b"app.log.1", b"one")
    two = world.tree.write(b"deep/er/app.log.2", b"twenty")
    place = world.files.place(world.watch, b"deep/er/app.log.2")
    assert world.scanned() == {
        b"app.log.1": Entry(RelativePath(b"app.log.1"), one, place),
        b"deep/er/app.log.2": Entry(RelativePath(b"deep/er/app.log.2"), two, place),
    }


def test_a_scan_yields_only_what_is_selected(world: World) -> None:
    for name in (b"app.log", b"app.log.1", b"sub/app.log.1"):
        world.tree.write(name, b"x")
    selected = list(world.files.scan(world.watch, lambda path, _: path.endswith(b".1")))
    assert {entry.path for entry in selected if isinstance(entry, Entry)} == {
        b"app.log.1",
        b"sub/app.log.1",
    }


def test_a_scan_passes_over_what_is_familiar_for_as_long_as_it_stays_as_it_is(
    world: World,
) -> None:
    scan_cache = ScanCache()

    def scanned() -> set[bytes]:
        found = world.files.scan(world.watch, lambda path, _: path.endswith(b".1"), scan_cache)
        entries = [entry for entry in found if isinstance(entry, Entry)]
        for entry in entries:
            scan_cache.add(entry.path, entry.stat)
        return {entry.path for entry in entries}

    for name in (b"app.log", b"app.log.1", b"caf\xe9.log.1", b"sub/app.log.1"):
        world.tree.write(name, b"x")
    assert scanned() == {b"app.log.1", b"caf\xe9.log.1", b"sub/app.log.1"}
    assert scanned() == scanned() == set()
    world.tree.append(b"app.log.1", b"y")
    assert scanned() == {b"app.log.1"}
    world.tree.rename(b"caf\xe9.log.1", b"sub/app.log.1")
    assert scanned() == {b"sub/app.log.1"}
    world.tree.delete(b"sub/app.log.1")
    world.tree.delete(b"app.log")
    assert scanned() == set()
    world.tree.write(b"app.log/app.1", b"a directory now")
    assert scanned() == {b"app.log/app.1"}


def test_a_watch_that_is_not_recursive_ends_at_its_directory(world: World) -> None:
    world.tree.write(b"app.log.1")
    world.tree.write(b"sub/app.log.1")
    assert set(world.scanned(replace(world.watch, recursive=False))) == {b"app.log.1"}


def test_an_archive_inside_the_watch_is_not_scanned(world: World) -> None:
    inside = replace(world.watch, archive_directory=f"{world.watch.directory}/old")
    world.tree.write(b"app.log.1")
    world.tree.write(b"old/app.log.1")
    assert set(world.scanned(inside)) == {b"app.log.1"}


@pytest.mark.parametrize("name", [b"caf\xe9.log.1", b"two\nlines.log.1", b" .log.1 ", b"%41.1"])
def test_a_name_may_be_any_bytes(world: World, name: bytes) -> None:
    world.tree.write(name, b"body")
    assert set(world.scanned()) == {name}
    source = world.open(name)
    assert source.read(0, 10) == b"body"
    source.close()
    assert world.archive(name)
    assert world.archived() == [name]


def test_reading_is_short_only_at_the_end(world: World) -> None:
    world.tree.write(b"app.log.1", b"0123456789")
    source = world.open(b"app.log.1")
    assert source.read(0, 4) == b"0123"
    assert source.read(4, 100) == b"456789"
    assert source.read(10, 1) == b""
    assert source.read(3, 0) == b""
    source.close()


def test_a_source_stays_the_same_file_when_its_name_goes(world: World) -> None:
    first = world.tree.write(b"app.log.1", b"first")
    source = world.open(b"app.log.1")
    world.tree.rename(b"app.log.1", b"app.log.2")
    world.tree.write(b"app.log.1", b"second")
    world.tree.delete(b"app.log.2")
    assert source.read(0, 10) == b"first"
    assert source.stat().inode == first.inode
    assert source.stat().link_count == 0
    source.close()


def test_a_source_sees_the_file_grow(world: World) -> None:
    world.tree.write(b"app.log.1", b"one")
    source = world.open(b"app.log.1")
    world.tree.append(b"app.log.1", b"two")
    assert source.stat().size_bytes == 6
    assert source.read(3, 3) == b"two"
    source.close()


def test_a_closed_source_is_an_error_and_not_another_file(world: World) -> None:
    world.tree.write(b"app.log.1", b"body")
    source = world.open(b"app.log.1")
    source.close()
    source.close()
    for use in (source.stat, source.writer, lambda: source.read(0, 1)):
        with pytest.raises(PortError, match="Unreadable"):
            use()


def test_what_is_not_there_is_not_found(world: World) -> None:
    world.tree.write(b"app.log", b"x")
    for use in (world.open, world.remove, world.archive):
        for path in (b"app.log.1", b"sub/app.log.1"):
            with pytest.raises(PortError) as caught:
                use(path)
            assert caught.value.code == "NotFound"


@pytest.mark.parametrize(
    "path", [b"../app.log.1", b"a/../app.log.1", b"/etc/passwd", b"", b"a//b"]
)
def test_a_path_out_of_the_watch_is_never_opened(world: World, path: bytes) -> None:
    world.tree.write(b"app.log.1", b"x")
    world.tree.write(b"a/b", b"x")
    with pytest.raises(PortError, match="NotRegular"):
        world.open(path)


def test_a_directory_named_like_a_log_is_descended_and_never_opened(world: World) -> None:
    world.tree.write(b"app.log.1/app.log.2", b"x")
    assert set(world.scanned()) == {b"app.log.1/app.log.2"}
    with pytest.raises(PortError, match="NotRegular"):
        world.open(b"app.log.1")


def test_every_name_of_a_file_counts(world: World) -> None:
    world.tree.write(b"app.log.1", b"x")
    world.tree.link(b"app.log.1", b"other.log.1")
    found = world.scanned()
    assert {entry.stat.link_count for entry in found.values()} == {2}
    assert len({entry.stat.inode for entry in found.values()}) == 1


def test_a_writer_is_noticed(world: World) -> None:
    world.tree.write(b"app.log.1", b"x")
    source = world.open(b"app.log.1")
    assert source.writer() is WriterTest.NONE
    world.tree.set_writer(b"app.log.1", WriterTest.OPEN)
    assert source.writer() is WriterTest.OPEN
    source.close()


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_what_is_the_same_goes(world: World, verb: str) -> None:
    written = world.tree.write(b"sub/app.log.1", b"body")
    asked: list[FileStat] = []

    def is_same(source: Source) -> bool:
        asked.append(source.stat())
        return source.read(0, 10) == b"body"

    assert getattr(world, verb)(b"sub/app.log.1", is_same)
    assert world.tree.paths() == []
    assert [stat.inode for stat in asked] == [written.inode]


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_what_is_not_the_same_stays(world: World, verb: str) -> None:
    world.tree.write(b"app.log.1", b"body")
    assert not getattr(world, verb)(b"app.log.1", lambda source: False)
    assert world.tree.paths() == [b"app.log.1"]
    assert world.archived() == []


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_a_rotation_during_the_check_saves_the_new_file(world: World, verb: str) -> None:
    """amazon-cloudwatch-agent#678: the newly created file was deleted in the old one's place."""
    world.tree.write(b"app.log.1", b"shipped")

    def is_same(source: Source) -> bool:
        world.tree.rename(b"app.log.1", b"app.log.2")
        world.tree.write(b"app.log.1", b"not shipped")
        return True

    assert not getattr(world, verb)(b"app.log.1", is_same)
    assert world.tree.body(b"app.log.1") == b"not shipped"
    assert world.tree.body(b"app.log.2") == b"shipped"


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_what_goes_during_the_check_was_not_removed_here(world: World, verb: str) -> None:
    world.tree.write(b"app.log.1", b"body")

    def is_same(source: Source) -> bool:
        world.tree.delete(b"app.log.1")
        return True

    assert not getattr(world, verb)(b"app.log.1", is_same)


@pytest.mark.parametrize("verb", ["remove", "archive"])
@pytest.mark.parametrize("meanwhile", ["written", "opened"])
def test_a_writer_that_comes_during_the_check_saves_the_file(
    world: World, verb: str, meanwhile: str
) -> None:
    world.tree.write(b"app.log.1", b"shipped")

    def is_same(source: Source) -> bool:
        if meanwhile == "written":
            world.tree.append(b"app.log.1", b", not shipped")
        else:
            world.tree.set_writer(b"app.log.1", WriterTest.OPEN)
        return True

    code = "Unreadable" if meanwhile == "written" else "SourceInUse"
    with pytest.raises(PortError, match=code):
        getattr(world, verb)(b"app.log.1", is_same)
    assert world.tree.paths() == [b"app.log.1"]


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_an_error_during_the_check_removes_nothing(world: World, verb: str) -> None:
    world.tree.write(b"app.log.1", b"body")

    def is_same(source: Source) -> bool:
        raise PortError("Unreadable", "the disk")

    with pytest.raises(PortError, match="the disk"):
        getattr(world, verb)(b"app.log.1", is_same)
    assert world.tree.paths() == [b"app.log.1"]


def test_an_archived_file_keeps_its_path_bytes_and_inode(world: World) -> None:
    before = world.tree.write(b"a/b/app.log.1", b"body")
    assert world.archive(b"a/b/app.log.1")
    assert world.archived() == [b"a/b/app.log.1"]
    moved = replace(world.watch, directory=world.watch.archive_directory, archive_directory="")
    after = world.scanned(moved)[b"a/b/app.log.1"].stat
    assert (after.inode, after.size_bytes, after.mtime_ns) == (before.inode, 4, before.mtime_ns)
    assert after.link_count == 1


def test_archiving_never_overwrites(world: World) -> None:
    for body in (b"first", b"second", b"third"):
        world.tree.write(b"app.log.1", body)
        assert world.archive(b"app.log.1")
    top = os.fsencode(world.watch.archive_directory)
    bodies = {name: world.tree.body(top + b"/" + name) for name in world.archived()}
    assert bodies == {
        b"app.log.1": b"first",
        b"app.log.1.1": b"second",
        b"app.log.1.2": b"third",
    }


def test_an_archiving_that_was_interrupted_is_finished(world: World) -> None:
    """Whoever died between the new name and the old one's removal left both of them."""
    top = os.fsencode(world.watch.archive_directory)
    world.tree.write(b"app.log.1", b"body")
    world.tree.link(b"app.log.1", top + b"/app.log.1")
    assert world.archive(b"app.log.1")
    assert world.tree.paths() == []
    assert world.archived() == [b"app.log.1"]
    assert world.tree.body(top + b"/app.log.1") == b"body"


def test_an_archive_that_is_the_watch_itself_loses_nothing(world: World) -> None:
    world.watch = replace(world.watch, archive_directory=world.watch.directory)
    world.tree.write(b"app.log.1", b"body")
    with pytest.raises(PortError, match="RemoveDenied"):
        world.archive(b"app.log.1")
    assert world.tree.paths() == [b"app.log.1"]


def test_an_archive_may_be_inside_the_watch(world: World) -> None:
    world.watch = replace(world.watch, archive_directory=f"{world.watch.directory}/old/er")
    world.tree.write(b"sub/app.log.1", b"body")
    assert world.archive(b"sub/app.log.1")
    assert world.tree.paths() == [b"old/er/sub/app.log.1"]
    assert world.scanned() == {}


@pytest.mark.parametrize("path", [b"", b"app.log.1", b"gone/app.log.1", b"a\0b/x", b"../x/y"])
def test_a_path_is_on_the_file_system_of_its_deepest_directory_that_is_there(
    world: World, path: bytes
) -> None:
    assert world.files.place(world.watch, path) == world.files.place(world.watch)
    assert world.files.place(world.watch).endswith(" at ")


def test_a_directory_is_on_a_disk_that_is_as_full_as_it_is(world: World) -> None:
    world.tree.write(b"sub/app.log.1", b"hello\n")
    space = world.files.space(world.watch, b"sub/")
    assert space.device == world.scanned()[b"sub/app.log.1"].stat.device
    assert space.used_bytes > 0
    assert space.free_bytes > 0
    assert 0 < space.used_ratio < 1
    assert space.block_bytes > 0


def test_a_directory_that_is_not_there_is_on_no_disk(world: World) -> None:
    with pytest.raises(PortError, match="NotFound"):
        world.files.space(world.watch, b"gone/")
