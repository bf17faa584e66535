"""A real process keeps a rotated log open while the real daemon runs."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fakes.here import Here
from tests.fakes.instance import SETTLE_SECONDS, Instance

Make = Callable[..., Instance]
LONG_SETTLE_SECONDS = 5.0
"""Also how long the daemon would wait before it asks again about a file with a writer."""
AT_ONCE_SECONDS = 4.0

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


def test_a_log_is_shipped_at_once_when_the_last_of_its_writers_has_let_go_of_it(
    instance: Make, here: Here
) -> None:
    """By its events: the next scan would be much later, and a mapping counts like a descriptor."""
    machine = instance()
    text = machine.config.read_text().replace(f'"{SETTLE_SECONDS}s"', f'"{LONG_SETTLE_SECONDS}s"')
    machine.config.write_text(text.replace('interval = "1s"', 'interval = "1h"'))
    logs = [machine.write("descriptor.log.1", b"d" * 4096), machine.write("mapping.log.1", b"m")]
    with held(logs[0], "descriptor") as first, held(logs[1], "mapping") as second:
        machine.start()
        machine.wait_for(lambda: machine.events("daemon.ready"), "the first looks")
        machine.wait_for(lambda: machine.events("instance.identified"), "the ring after them")
        calm_at = time.monotonic() + LONG_SETTLE_SECONDS / 2
        machine.wait_for(lambda: time.monotonic() > calm_at, "whatever rings at the start")
        before = scans(machine)
        machine.wait_for(lambda: scans(machine) > before, "the writers to be asked about")
        for log, child in zip(logs, (first, second), strict=True):
            text = here.run(machine, "explain", str(log))
            assert "no: open for writing; waits until it is closed" in text
            assert f"writers     pid {child.pid} (python" in text
        for shipped, child in enumerate((first, second)):
            assert machine.files("DONE") == shipped
            closed_at = time.monotonic()
            child.communicate()
            machine.wait_until_shipped(shipped + 1)
            assert time.monotonic() - closed_at < AT_ONCE_SECONDS
    assert sorted(machine.contents()) == [b"d" * 4096, b"m"]
    [promised, _] = machine.events("shipment.promised")
    assert promised["sealed_because"].endswith("no writer (read lease granted)")


def scans(machine: Instance) -> int:
    """How often the running daemon has scanned."""
    status = machine.status()
    return 0 if status is None else int(status["scan"]["scans"])
