"""A real process keeps a rotated log open while the real daemon runs."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.machines.here import Here
from tests.machines.instance import Instance

Make = Callable[..., Instance]
HOLDS = """
import ctypes, mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "mapping":
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    call(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
    os.close(descriptor)
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path, by: str) -> Iterator[subprocess.Popen[bytes]]:
    """The file is kept open for writing by another process, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path), by], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        yield child
        child.communicate()


def test_a_log_is_shipped_when_the_last_of_its_writers_has_let_go_of_it(
    instance: Make, here: Here
) -> None:
    """A mapping counts like a descriptor; nothing rings for either, and the file is asked about
    again all the same."""
    machine = instance()
    logs = [machine.write("descriptor.log.1", b"d" * 4096), machine.write("mapping.log.1", b"m")]
    with held(logs[0], "descriptor") as first, held(logs[1], "mapping") as second:
        machine.start()
        machine.wait_for(lambda: scans(machine) > 3, "the writers to be asked about")
        for log, child in zip(logs, (first, second), strict=True):
            text = here.run(machine, "explain", str(log))
            assert "no: open for writing; waits until it is closed" in text
            assert f"writers     pid {child.pid} (python" in text
        for shipped, child in enumerate((first, second)):
            assert machine.files("DONE") == shipped
            child.communicate()
            machine.wait_until_shipped(shipped + 1)
    assert sorted(machine.contents()) == [b"d" * 4096, b"m"]
    [promised, _] = machine.events("shipment.promised")
    assert promised["sealed_because"].endswith("no writer (read lease granted)")


def scans(machine: Instance) -> int:
    """How often the running daemon has scanned."""
    status = machine.status()
    return 0 if status is None else int(status["scan"]["scans"])
