"""Who has a file open for writing, asked of the kernel and of /proc."""

import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.core.types import RelativePath, Watch, WatchName, WriterTest
from shipper.edges.files import open_writers as writers
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.open_writers import Writer, Writers
from shipper.ports import Source
from tests.machines.machine import public_directory, unprivileged, writing_child


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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_a_lease_a_writer_is_open_or_unknown(logs: Path) -> None:
    """Nobody may take a lease on root's file, and may not look at root's descriptors."""
    (logs / "app.log.1").write_bytes(b"x")
    source = opened(logs, "app.log.1")
    with unprivileged():
        assert source.writer() is WriterTest.UNKNOWN
    source.close()


def refused(descriptor: int) -> bool:
    """As by a server that grants no delegation: nfs4_add_lease answers EAGAIN."""
    return False


NFS, FUSE = 0x6969, 0x65735546


def test_a_file_on_efs_without_a_writer_here_is_unknown_and_not_open(logs: Path) -> None:
    """No kernel here serves NFS: its two answers are given in its place."""
    log = logs / "app.log.1"
    log.write_bytes(b"x")
    with log.open("rb") as file:
        told = writers.writer_test(file.fileno(), type_of=lambda _: NFS, lease=refused)
        assert told is WriterTest.UNKNOWN
        with writing_child(log):
            told = writers.writer_test(file.fileno(), type_of=lambda _: NFS, lease=refused)
            assert told is WriterTest.OPEN, "/proc shows a writer of this machine"


def test_that_a_lease_is_not_ours_to_take_lets_proc_speak_for_local_files_only(
    logs: Path,
) -> None:
    (logs / "app.log.1").write_bytes(b"x")

    def denied(descriptor: int) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with (logs / "app.log.1").open("rb") as file:
        local = writers.writer_test(file.fileno(), lease=denied)
        shared = writers.writer_test(file.fileno(), type_of=lambda _: NFS, lease=denied)
    assert local in (WriterTest.NONE_BY_PROC, WriterTest.UNKNOWN), "root sees all, in no container"
    assert shared is WriterTest.UNKNOWN


def test_the_kernel_tells_the_file_system_of_a_descriptor(logs: Path) -> None:
    with open("/proc/self/maps", "rb") as file:
        assert writers.file_system_of(file.fileno()) == 0x9FA0
    with pytest.raises(OSError, match="Bad file descriptor"):
        writers.file_system_of(1_000_000)


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
        (self.top / f"{pid}" / "maps").write_text("55d0-55d1 r-xp 00000000 fe:00 7 /bin/cat\n")
        (self.top / f"{pid}" / "comm").write_text(f"daemon-{pid}\n")
        (self.top / f"{pid}" / "fdinfo").mkdir()
        (self.top / f"{pid}" / "fd" / "3").symlink_to(path)
        (self.top / f"{pid}" / "fdinfo" / "3").write_text(f"pos:\t0\nflags:\t0{flags:o}\n")

    def maps(self, pid: int, path: Path, access: str, device: int) -> None:
        line = f"7f00-7f01 {access} 00000000 {os.major(device):x}:{os.minor(device):x} "
        with open(self.top / f"{pid}" / "maps", "a", encoding="utf-8") as lines:
            lines.write(f"{line}{path.stat().st_ino}   {path}\n")

    def tells_of(self, path: Path, namespace: int | None = None) -> WriterTest:
        return writers.by_proc(path.stat(), str(self.top), namespace or self.namespace)

    def shows(self, path: Path, most: int = 16) -> Writers:
        return writers.writers_of(path.stat(), str(self.top), self.namespace, most=most)


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


def test_descriptors_that_are_listed_but_may_not_be_looked_at_prove_nothing(logs: Path) -> None:
    """CAP_DAC_READ_SEARCH lists every process's descriptors, and may follow none of them."""
    log, shut = logs / "app.log.1", logs / "shut"
    log.touch()
    shut.mkdir()
    (shut / "socket").touch()
    proc = Proc(logs / "proc")
    proc.runs(1, log, os.O_RDONLY)
    proc.runs(20, shut / "socket", os.O_WRONLY)
    assert proc.tells_of(log) is WriterTest.NONE_BY_PROC
    shut.chmod(0)
    with unprivileged():
        assert proc.tells_of(log) is WriterTest.UNKNOWN
    shut.chmod(0o700)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs two users and setpriv"
)
def test_a_daemon_that_may_read_all_but_take_no_lease_seals_nothing_that_is_written(
    logs: Path,
) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    program = (
        "import os, sys; from shipper.edges.files.open_writers import writer_test;"
        "print(writer_test(os.open(sys.argv[1], os.O_RDONLY)).name)"
    )
    capabilities = "-all,+dac_read_search"
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command += [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    command += [sys.executable, "-c", program, str(logs / "app.log.1")]
    with writing_child(logs / "app.log.1"):
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout.strip() in ("OPEN", "UNKNOWN")


def test_the_real_proc_shows_our_own_writer(logs: Path) -> None:
    log = logs / "app.log.1"
    with open(log, "wb"):
        assert writers.by_proc(log.stat()) is WriterTest.OPEN
        [writer] = writers.writers_of(log.stat()).seen
    assert writer.pid == os.getpid()
    assert writer.command == Path("/proc/self/comm").read_text(encoding="utf-8").strip()


def test_writers_are_named_by_pid_and_command_and_no_more_than_asked_for(logs: Path) -> None:
    log = logs / "app.log.1"
    log.touch()
    proc = Proc(logs / "proc")
    proc.runs(1, log, os.O_RDONLY)
    proc.runs(30, log, os.O_WRONLY)
    proc.runs(4, log, os.O_RDWR)
    (logs / "proc" / "30" / "comm").write_bytes(b"a \x1b[31m\xff\n")
    (logs / "proc" / "4" / "comm").unlink()
    seen = proc.shows(log).seen
    assert seen == (Writer(4, "?"), Writer(30, "a %1B[31m%FF"))
    assert proc.shows(log).is_complete
    assert proc.shows(log, most=1) == Writers((Writer(4, "?"),), is_complete=False)


def test_a_shared_writable_mapping_is_a_writer_and_a_private_one_is_not(logs: Path) -> None:
    log = logs / "app.log.1"
    log.touch()
    proc = Proc(logs / "proc")
    proc.runs(1, logs / "other", os.O_RDONLY)
    proc.maps(1, log, "rw-p", log.stat().st_dev)
    proc.maps(1, log, "r--s", log.stat().st_dev)
    assert proc.tells_of(log) is WriterTest.NONE_BY_PROC
    proc.maps(1, log, "rw-s", log.stat().st_dev)
    assert proc.tells_of(log) is WriterTest.OPEN


def test_a_mapping_on_a_file_system_with_several_devices_is_known_by_its_name(logs: Path) -> None:
    log = logs / "app.log.1"
    log.touch()
    proc = Proc(logs / "proc")
    proc.runs(1, logs / "other", os.O_RDONLY)
    proc.maps(1, log, "rw-s", os.makedev(77, 7))
    assert proc.tells_of(log) is WriterTest.NONE_BY_PROC, "an inode of another file system"
    (logs / "proc" / "1" / "root").symlink_to("/")
    assert proc.tells_of(log) is WriterTest.OPEN


@pytest.mark.parametrize("way", ["mapped", "sent"])
def test_a_writer_without_a_descriptor_is_noticed(logs: Path, way: str) -> None:
    """What counts is the open file: mapped, or on its way through a socket."""
    (logs / "app.log.1").write_bytes(b"x" * 4096)
    source = opened(logs, "app.log.1")
    with contextlib.ExitStack() as kept:
        with open(logs / "app.log.1", "r+b") as file:
            if way == "mapped":
                kept.callback(mapped(file.fileno(), 4096))
            else:
                one, other = socket.socketpair()
                kept.enter_context(one)
                kept.enter_context(other)
                socket.send_fds(one, [b"x"], [file.fileno()])
        assert source.writer() is WriterTest.OPEN
        if way == "mapped":
            assert writers.by_proc((logs / "app.log.1").stat()) is WriterTest.OPEN
    assert source.writer() is WriterTest.NONE
    source.close()


def mapped(descriptor: int, length: int) -> Callable[[], None]:
    """A shared writable mapping (``mmap`` keeps a descriptor of its own); what ends it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    access = mmap.PROT_READ | mmap.PROT_WRITE
    address = libc.mmap(None, length, access, mmap.MAP_SHARED, descriptor, 0)
    return lambda: libc.munmap(address, length)
