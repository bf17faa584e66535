"""Who has a file open for writing: the kernel's own word, else what /proc shows.

A read lease (fcntl(2), F_SETLEASE) is refused while anyone has the file open for writing, in
whatever container that process lives. It needs the file's owner or CAP_LEASE. Where it is denied,
/proc is as good an answer on one condition: that every process of the machine can be seen in it.
File systems without leases are those that other machines write to, so there /proc can say that a
writer exists and never that none does.
"""

import errno
import fcntl
import os
import signal

from shipper.core.types import WriterTest

FIRST_NAMESPACE = 0xEFFFFFFC
"""Inode of the machine's first PID namespace (PID_NS_INIT_INO in linux/nsfs.h); the others see
less than all processes."""

_DENIED = (errno.EACCES, errno.EPERM)


def tested(descriptor: int) -> WriterTest:
    """Whether a process has the open file open for writing, too.

    Raises:
        OSError: the descriptor is closed.
    """
    file = os.fstat(descriptor)
    try:
        return _by_lease(descriptor)
    except OSError as error:
        seen = by_proc(file)
        is_local = error.errno in _DENIED
        return seen if is_local or seen is WriterTest.OPEN else WriterTest.UNKNOWN


def _by_lease(descriptor: int) -> WriterTest:
    """A lease is given back at once: a writer that comes meanwhile waits for microseconds.

    Breaking a lease is signalled, and SIGIO would end the process: SIGURG is ignored by default.

    Raises:
        OSError: no lease can be had here.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return WriterTest.OPEN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return WriterTest.NONE


def by_proc(
    file: os.stat_result, proc: str = "/proc", first_namespace: int = FIRST_NAMESPACE
) -> WriterTest:
    """Whether a process is seen that has the file open for writing.

    UNKNOWN when not all processes of the machine could be looked at. A writable mapping whose
    descriptor was closed is not seen.
    """
    try:
        pids = [name for name in os.listdir(proc) if name.isdecimal()]
        namespace = os.stat(f"{proc}/self/ns/pid").st_ino
    except OSError:
        return WriterTest.UNKNOWN
    is_complete = namespace == first_namespace and "1" in pids  # hidepid= hides root's from others
    for pid in pids:
        try:
            numbers = os.listdir(f"{proc}/{pid}/fd")
        except PermissionError:
            is_complete = False
            continue
        except OSError:
            continue  # it has ended
        if any(_writes(f"{proc}/{pid}", number, file) for number in numbers):
            return WriterTest.OPEN
    return WriterTest.NONE_BY_PROC if is_complete else WriterTest.UNKNOWN


def _writes(process: str, number: str, file: os.stat_result) -> bool:
    try:
        found = os.stat(f"{process}/fd/{number}")
        if not os.path.samestat(found, file):
            return False
        with open(f"{process}/fdinfo/{number}", "rb") as lines:
            flags = next(line.split()[1] for line in lines if line.startswith(b"flags:"))
    except (OSError, StopIteration):
        return False  # closed meanwhile
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
