"""What a command costs: wall, CPU of all its processes, and their memory.

CPU is what the kernel gives to whoever waits for the command: user and system time of it and of
all descendants that were waited for (wait4(2)). Memory is sampled from ``/proc`` meanwhile: the
high-water mark of the largest process, and the largest sum of what all held at one time.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

SAMPLE_SECONDS = 0.05
LONGEST_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run of one command."""

    wall_seconds: float
    cpu_seconds: float
    largest_bytes: int
    together_bytes: int


class Failed(Exception):
    """The command did not end with 0; what it said."""


def cost_of(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run the command to its end.

    Raises:
        Failed: it ended with something else than 0, or took longer than ``LONGEST_SECONDS``.
    """
    began = time.monotonic()
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stderr is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(child.stderr.read()))  # type: ignore[union-attr]  # asserted above
    reader.start()
    largest = together = 0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > LONGEST_SECONDS:
            os.killpg(child.pid, signal.SIGKILL)  # its session is its own
        now = [memory_of(one) for one in _family(child.pid)]
        largest = max([largest, *(high for _, high in now)])
        together = max(together, sum(resident for resident, _ in now))
        time.sleep(SAMPLE_SECONDS)
    wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    child.stderr.close()
    if wall > LONGEST_SECONDS:
        raise Failed(f"ended after {LONGEST_SECONDS:.0f} s")
    if child.returncode:
        raise Failed(b"".join(said).decode(errors="replace")[-400:])
    return Cost(wall, usage.ru_utime + usage.ru_stime, largest, together)


def cpu_seconds_of(pid: int) -> float:
    """Seconds on a core so far, of all threads, those that have ended too.

    The clock's number is what clock_getcpuclockid(3) makes of a process id on Linux.
    """
    return time.clock_gettime((~pid << 3) | 2)


def machine_cpu_seconds() -> float:
    """Of everything on this machine so far, in ticks; what a hypervisor took counts, too."""
    with open("/proc/stat", encoding="ascii") as lines:
        user, nice, system, _, _, irq, softirq, stolen, *_ = map(int, next(lines).split()[1:])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                for child in children.read().split():
                    yield from _family(int(child))


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes now, and their high-water mark; zeros of a process that is gone."""
    found = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]
