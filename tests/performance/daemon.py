"""``python -m tests.performance.daemon``: what a real daemon costs, idle, at work and after it.

Memory step by step, as imports and the wiring of the services add to it. Then a daemon that
watches 100 directories: start to READY, resident memory, CPU by the scheduler's count, the peak of
some minutes of work, and what stays resident of them. Then how long a rotated log takes into the
bucket.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from shipper.demo.children import Child
from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, moto_server
from tests.machines.instance import SETTLE_SECONDS, Instance, facts
from tests.performance import logs
from tests.performance.goals import DaemonFigures, daemon_goals
from tests.performance.measuring import cpu_seconds_of, memory_of

DIRECTORIES = 100
LIVE = ("access.log", "error.log", "app.log", "audit.log", "jobs.log")
SECONDS = 45.0
REST_SECONDS = 30.0
"""What follows a start and a shipment, before the daemon counts as idle."""
GIVEN_BACK_SECONDS = 75.0
"""What is free is given back once a minute, so that memory counts after so long."""
WORK_SECONDS = 300.0
WORK = ((12, 24 * 1024**2), (300, 100 * 1024))
"""Logs of a round of work: how many of which size."""
ROUNDS = 3
STARTS = 5
START_SECONDS = 30.0
MIB = 1024**2
STEPS = (
    ("sqlite3", "import sqlite3"),
    ("structlog", "import structlog"),
    ("zstandard, zlib-ng", "import zstandard, zlib_ng.zlib_ng"),
    ("watchdog", "import watchdog.observers"),
    ("configuration", "import shipper.config.load"),
    ("Prometheus's client", "import prometheus_client"),
    ("the daemon's modules", "import shipper.daemon.daemon"),
    ("the AWS runtime's checksums", "import awscrt.checksums"),
    ("libcurl", "import pycurl"),
    ("botocore's modules", "import shipper.edges.s3.store"),
    (
        "an S3 client",
        (
            "from shipper.core.destinations import Destination\n"
            "from shipper.edges.s3.store import client_of\n"
            "c = client_of(Destination('b'), 'us-east-1', lambda: None, None)"
        ),
    ),
    ("less what is given back", "from shipper.edges.memory import give_back; give_back()"),
)
_PROGRAM = """
import resource
def told(what):
    with open("/proc/self/statm") as statm:
        print(what, int(statm.read().split()[1]) * resource.getpagesize(), sep="\\t", flush=True)
told("Python")
"""


def main() -> None:
    """All of it."""
    before = 0
    for what, resident in composition():
        print(f"{what:<32}{resident / MIB:>8.1f} MiB {(resident - before) / MIB:>+8.1f}")
        before = resident
    with tempfile.TemporaryDirectory() as directory, moto_server() as moto:
        figures = measured(Path(directory), moto)
        for goal in daemon_goals(figures):
            print(goal.line)
        taken = latency(Path(directory), moto)
        print(f"rotation to acknowledged object, 1 MB, beyond settle: {taken}")


def composition() -> list[tuple[str, int]]:
    """Resident bytes after each step, in a process of its own."""
    program = _PROGRAM + "".join(f"{code}\ntold({what!r})\n" for what, code in STEPS)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [(what, int(resident)) for what, resident in rows]


def measured(root: Path, moto: Moto, *, is_quick: bool = False) -> DaemonFigures:
    """Of one with the default scan interval. A quick measurement is shorter, and without work."""
    seconds, rest, starts = (8.0, 3.0, 3) if is_quick else (SECONDS, REST_SECONDS, STARTS)
    times = []
    for number in range(starts - 1):
        with instance(root, moto, f"start-{number}") as machine:
            times.append(ready(machine))
    with instance(root, moto, "idle") as machine:
        times.append(ready(machine))
        assert machine.daemon is not None
        pid = machine.daemon.process.pid
        machine.write("d000/app.log.1", b"warm\n")
        machine.wait_until_shipped(1)
        time.sleep(rest)
        spent = cpu_seconds_of(pid)
        time.sleep(seconds)
        percent = 100 * (cpu_seconds_of(pid) - spent) / seconds
        if is_quick:
            return DaemonFigures(median(times), percent)
        resident, _ = memory_of(pid)
        work(machine)
        time.sleep(GIVEN_BACK_SECONDS)
        return DaemonFigures(median(times), percent, resident, *memory_of(pid))


@contextmanager
def instance(root: Path, moto: Moto, name: str) -> Iterator[Instance]:
    """A fresh machine with many directories, and a bucket of its own."""
    moto.create_bucket(name)
    imds = MockImds(facts()).start()
    machine = Instance(root / name, moto, imds, bucket=name)
    for number in range(DIRECTORIES):
        for live in LIVE:
            machine.write(f"d{number:03}/{live}", b"live\n")
    text = machine.config.read_text().replace('interval = "1s"', 'interval = "30s"')
    machine.config.write_text(text.replace('level = "debug"', 'level = "info"'))
    try:
        yield machine
    finally:
        machine.end()
        imds.stop()


def latency(root: Path, moto: Moto) -> str:
    """How long after its rename a 1 MB log is in the bucket, without the settle time."""
    of, taken = logs.sample(), []
    with instance(root, moto, "latency") as machine:
        machine.start()
        for number in range(ROUNDS):
            live = machine.write("app.log", b"".join(logs.body(of, 1_000_000, number)))
            began = time.monotonic()
            live.rename(machine.logs / f"app.log.{number + 1}")
            machine.wait_until_shipped(number + 1)
            taken.append(time.monotonic() - began - SETTLE_SECONDS)
    return f"median {median(taken):.2f} s, longest {max(taken):.2f} s"


def work(machine: Instance) -> None:
    """Ship logs of some size, so that every buffer and every thread was used."""
    of, shipped = logs.sample(), machine.files("DONE")
    for number in range(ROUNDS):
        for files, size_bytes in WORK:
            for which in range(files):
                name = f"d{which % DIRECTORIES:03}/work-{number}-{size_bytes}-{which}.log.1"
                machine.write(name, b"".join(logs.body(of, size_bytes, which)))
            shipped += files
        machine.wait_until_shipped(shipped, WORK_SECONDS)


def ready(machine: Instance) -> float:
    """Start the daemon; how long until it told systemd's socket that it is ready."""
    path = str(machine.directory / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(START_SECONDS)
        machine.more_environment = {"NOTIFY_SOCKET": path, "PYTHONDONTWRITEBYTECODE": ""}
        arguments = ["shipper", "run", "--config", str(machine.config)]
        output = str(machine.directory / "daemon-1.log")
        began = time.monotonic()
        machine.daemon = Child(arguments, output, environment=machine.environment)
        while b"READY=1" not in listener.recv(4096):
            pass
        seconds = time.monotonic() - began
    os.unlink(path)
    return seconds


if __name__ == "__main__":
    main()
