"""Who has a file open for writing, asked of the kernel and of /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.core.types import RelativePath, Watch, WatchName, WriterTest
from shipper.edges import writers
from shipper.edges.files import DirectoryFiles
from shipper.ports import Source
from tests.fakes.machine import public_directory, unprivileged, writing_child


@pytest.fixture
def logs() -> Iterator[Path]:
    with public_directory() as top:
        yield top


def opened(directory: Path, name: str) -> Source:
    watch = Watch(name=WatchName("app"), directory=str(directory))
    return DirectoryFiles().open(watch, RelativePath(os.fsencode(name)))


def test_a_writer_in_another_process_is_noticed_until_it_closes(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    source = opened(logs, "app.log.1")
    with writing_child(logs / "app.log.1"):
        assert source.writer() is WriterTest.OPEN
    assert source.writer() is WriterTest.NONE
    source.close()


def test_the_writer_test_leaves_no_lease_behind(logs: Path) -> None:
    """A writer that does not wait would be turned away by one."""
    (logs / "app.log.1").write_bytes(b"x")
    source = opened(logs, "app.log.1")
    assert source.writer() is WriterTest.NONE
    os.close(os.open(logs / "app.log.1", os.O_WRONLY | os.O_NONBLOCK))
    source.close()


def test_other_readers_are_not_writers(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    with open(logs / "app.log.1", "rb"):
        source = opened(logs, "app.log.1")
        assert source.writer() is WriterTest.NONE
        source.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_without_a_lease_a_writer_is_open_or_unknown(logs: Path) -> None:
    """Nobody may take a lease on root's file, and may not look at root's descriptors."""
    (logs / "app.log.1").write_bytes(b"x")
    source = opened(logs, "app.log.1")
    with unprivileged():
        assert source.writer() is WriterTest.UNKNOWN
    source.close()


class Proc:
    """A /proc with as many processes as a test needs."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "self" / "ns").mkdir(parents=True)
        (top / "self" / "ns" / "pid").touch()
        self.namespace = (top / "self" / "ns" / "pid").stat().st_ino
        (top / "meminfo").touch()

    def runs(self, pid: int, path: Path, flags: int) -> None:
        (self.top / f"{pid}" / "fd").mkdir(parents=True)
        (self.top / f"{pid}" / "fdinfo").mkdir()
        (self.top / f"{pid}" / "fd" / "3").symlink_to(path)
        (self.top / f"{pid}" / "fdinfo" / "3").write_text(f"pos:\t0\nflags:\t0{flags:o}\n")

    def tells_of(self, path: Path, namespace: int | None = None) -> WriterTest:
        return writers.by_proc(path.stat(), str(self.top), namespace or self.namespace)


def test_proc_tells_writers_from_readers_and_from_other_files(logs: Path) -> None:
    log, other = logs / "app.log.1", logs / "other"
    log.touch()
    other.touch()
    proc = Proc(logs / "proc")
    proc.runs(1, log, os.O_RDONLY)
    proc.runs(20, other, os.O_WRONLY)
    (logs / "proc" / "21").mkdir()
    (logs / "proc" / "20" / "fd" / "4").symlink_to(logs / "closed meanwhile")
    assert proc.tells_of(log) is WriterTest.NONE_BY_PROC
    proc.runs(30, log, os.O_WRONLY | os.O_APPEND)
    assert proc.tells_of(log) is WriterTest.OPEN


def test_proc_that_does_not_show_every_process_proves_nothing(logs: Path) -> None:
    log = logs / "app.log.1"
    log.touch()
    proc = Proc(logs / "proc")
    assert proc.tells_of(log) is WriterTest.UNKNOWN, "process 1 is hidden: hidepid="
    proc.runs(1, log, os.O_RDONLY)
    assert proc.tells_of(log) is WriterTest.NONE_BY_PROC
    assert proc.tells_of(log, namespace=1) is WriterTest.UNKNOWN, "a container"
    (logs / "proc" / "1" / "fd").chmod(0)
    with unprivileged():
        assert proc.tells_of(log) is WriterTest.UNKNOWN, "not ours to look at"
    (logs / "proc" / "1" / "fd").chmod(0o700)
    assert writers.by_proc(log.stat(), str(logs / "nothing")) is WriterTest.UNKNOWN


def test_the_real_proc_shows_our_own_writer(logs: Path) -> None:
    log = logs / "app.log.1"
    with open(log, "wb"):
        assert writers.by_proc(log.stat()) is WriterTest.OPEN
