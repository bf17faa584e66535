"""Who has a file open for writing: the kernel's own word, else what /proc shows.

A read lease (fcntl(2), F_SETLEASE) is refused while anyone has the file open for writing, in
whatever container. It is the file's owner's, or needs CAP_LEASE. Where it is denied, /proc answers
as well if every process of the machine can be seen in it, which takes root or CAP_SYS_PTRACE. Of
file systems that others write to, too, ``core.leases`` says what an answer is worth; there, and on
those without leases, /proc can say that a writer exists, never that none does.

The lease is refused, too, while the file is only mapped (MAP_SHARED, the descriptor closed) or on
its way through a Unix socket (ext4, XFS, Btrfs, tmpfs; Linux 6.18). Overlayfs grants one beside a
writable mapping without a descriptor, for its mappings hold the layer's file.

/proc shows descriptors and mappings; it shows neither what is on its way, nor the descriptors of a
thread that shares none with its process, nor on every kernel the mappings of overlayfs.
"""

import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from shipper.core.leases import is_shared, writer_from_lease
from shipper.core.object_keys import printable
from shipper.core.types import WriterTest

FIRST_NAMESPACE = 0xEFFFFFFC
"""Inode of the machine's first PID namespace (PID_NS_INIT_INO), which sees every process."""

_DENIED = (errno.EACCES, errno.EPERM)
_LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS_BYTES = 512
"""More than the structure has on any machine."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that has a file open for writing."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class Writers:
    seen: tuple[Writer, ...]
    is_complete: bool
    """Every process of the machine was looked at."""


def file_system_of(descriptor: int) -> int:
    """The type's number (statfs(2), ``f_type``) of the file system that an open file is on.

    Asked of the descriptor and not of the mount table: a descriptor that systemd kept may be of a
    mount that this process does not see.
    """
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    if _LIBC.fstatfs(descriptor, status):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(status).value & 0xFFFFFFFF


def is_lease_granted(descriptor: int) -> bool:
    """Take a lease and give it back: a writer that comes meanwhile waits for microseconds.

    Breaking a lease is signalled by SIGIO, which would end the process; SIGURG is ignored.
    ``OSError`` says that no lease can be had here.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def writer_test(
    descriptor: int,
    *,
    type_of: Callable[[int], int] = file_system_of,
    lease: Callable[[int], bool] = is_lease_granted,
) -> WriterTest:
    """Whether a process has the open file open for writing, too.

    The questions to the kernel can be given, for file systems that a machine cannot mount.
    """
    file_system = type_of(descriptor)
    is_local = not is_shared(file_system)
    try:
        told = writer_from_lease(file_system, is_granted=lease(descriptor))
    except OSError as error:
        told, is_local = WriterTest.UNKNOWN, is_local and error.errno in _DENIED
    if told is not WriterTest.UNKNOWN:
        return told
    seen = by_proc(os.fstat(descriptor))
    return seen if is_local or seen is WriterTest.OPEN else WriterTest.UNKNOWN


def by_proc(
    file: os.stat_result, proc: str = "/proc", first_namespace: int = FIRST_NAMESPACE
) -> WriterTest:
    """Whether a process is seen to have the file open for writing; UNKNOWN if not all were."""
    found = writers_of(file, proc, first_namespace, most=1)
    if found.seen:
        return WriterTest.OPEN
    return WriterTest.NONE_BY_PROC if found.is_complete else WriterTest.UNKNOWN


def writers_of(
    file: os.stat_result,
    proc: str = "/proc",
    first_namespace: int = FIRST_NAMESPACE,
    *,
    most: int = 16,
) -> Writers:
    """The first ``most`` processes seen to have the file open for writing, or mapped so.

    Reads every descriptor and mapping of the machine.
    """
    try:
        pids = [name for name in os.listdir(proc) if name.isdecimal()]
        namespace = os.stat(f"{proc}/self/ns/pid").st_ino
    except OSError:
        return Writers((), is_complete=False)
    is_complete = namespace == first_namespace and "1" in pids  # hidepid= hides root's from others
    seen: list[Writer] = []
    for pid in sorted(pids, key=int):
        try:
            if not _has_open(f"{proc}/{pid}", file) and not _has_mapped(f"{proc}/{pid}", file):
                continue
        except PermissionError:
            is_complete = False
            continue
        except OSError:
            continue  # it has ended
        seen.append(Writer(int(pid), _command(f"{proc}/{pid}")))
        if len(seen) == most:
            return Writers(tuple(seen), is_complete=False)
    return Writers(tuple(seen), is_complete)


def _has_open(process: str, file: os.stat_result) -> bool:
    """Whether it has a descriptor that writes to the file. Where its descriptors may not be read
    (``PermissionError``), some may be listed all the same.
    """
    with os.scandir(f"{process}/fd") as numbers:
        return any(_writes(process, number.name, file) for number in numbers)


def _writes(process: str, number: str, file: os.stat_result) -> bool:
    try:
        found = os.stat(f"{process}/fd/{number}")
        if not os.path.samestat(found, file):
            return False
        with open(f"{process}/fdinfo/{number}", "rb") as lines:
            flags = next(line.split()[1] for line in lines if line.startswith(b"flags:"))
    except PermissionError:
        raise
    except (OSError, StopIteration):
        return False  # closed meanwhile
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _has_mapped(process: str, file: os.stat_result) -> bool:
    inode = b"%d" % file.st_ino
    with open(f"{process}/maps", "rb") as lines:
        for line in lines:
            _, access, _, device, number, *path = line.rstrip(b"\n").split(None, 5)
            is_shared = access[1:2] == b"w" and access[3:4] == b"s"
            if is_shared and number == inode and _is_on(process, device, path, file):
                return True
    return False


def _is_on(process: str, device: bytes, path: list[bytes], file: os.stat_result) -> bool:
    """Whether the mapping is of this file and not of one with its inode number elsewhere.

    The device is another than ``stat`` says where a file system has several, as Btrfs does.
    """
    major, minor = (int(number, 16) for number in device.split(b":"))
    if os.makedev(major, minor) == file.st_dev:
        return True
    try:
        return os.path.samestat(os.stat(os.fsencode(f"{process}/root") + b"".join(path)), file)
    except OSError:
        return False


def _command(process: str) -> str:
    try:
        with open(f"{process}/comm", "rb") as name:
            return printable(name.read(64).rstrip(b"\n"))
    except OSError:
        return "?"  # it has ended
