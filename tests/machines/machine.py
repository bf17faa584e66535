"""The machine around shipper: directories, users and programs of a test's own."""

import gc
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NOBODY = 65534


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that other users may enter, which is not so below pytest's ``tmp_path``."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def descriptors_open() -> int:
    """How many files, directories and pipes this process has open.

    Sockets are not counted: those of other tests' servers come and go meanwhile. What other tests
    forgot is closed first, so that it does not go meanwhile.
    """
    gc.collect()
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed by now, as the listing's own is
            found += not os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return found


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody whom file permissions stop. Import nothing while it lasts."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def privileged() -> Iterator[None]:
    """Within ``unprivileged``, as oneself for a moment."""
    effective = os.geteuid()
    os.seteuid(os.getuid())
    try:
        yield
    finally:
        os.seteuid(effective)


@contextmanager
def writing_child(path: Path) -> Iterator[None]:
    """Another process that has the file open for writing."""
    program = (
        "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        yield
        child.communicate()


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """As if the process might open so many files and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (number for number in range(soft) if not os.path.exists(f"/proc/self/fd/{number}"))
    for _ in range(count):
        next(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
