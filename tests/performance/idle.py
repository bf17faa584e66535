"""``python -m tests.performance.idle``: what a daemon costs that has nothing to do.

Memory step by step, as imports and the wiring of the services add to it; then a real daemon that
watches 100 directories: start to READY, resident memory, and CPU by the scheduler's count; and
what stays resident of some minutes of work. In an environment without the developers' tools:
structlog loads rich where it is (3 MiB), and shipper needs none.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shipper.demo.children import Child
from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, moto_server
from tests.machines.instance import Instance, facts
from tests.performance import logs
from tests.performance.measuring import cpu_seconds_of, memory_of

DIRECTORIES = 100
LIVE = ("access.log", "error.log", "app.log", "audit.log", "jobs.log")
SECONDS = 45.0
REST_SECONDS = 10.0
"""What follows a start and a shipment, before the daemon counts as idle."""
GIVEN_BACK_SECONDS = 75.0
"""What is free is given back once a minute."""
WORK_SECONDS = 300.0
WORK = ((12, 24 * 1024**2), (300, 100 * 1024))
"""Logs of a round of work: how many of which size."""
ROUNDS = 3
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
            "from shipper.core.types import Destination\n"
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
        print("\n".join(daemon(Path(directory), moto)))


def composition() -> list[tuple[str, int]]:
    """Resident bytes after each step, in a process of its own."""
    program = _PROGRAM + "".join(f"{code}\ntold({what!r})\n" for what, code in STEPS)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [(what, int(resident)) for what, resident in rows]


def daemon(root: Path, moto: Moto) -> list[str]:
    """A real one with the default scan interval."""
    moto.create_bucket("idle")
    imds = MockImds(facts()).start()
    machine = Instance(root / "idle", moto, imds, bucket="idle")
    for number in range(DIRECTORIES):
        for name in LIVE:
            machine.write(f"d{number:03}/{name}", b"live\n")
    text = machine.config.read_text().replace('interval = "1s"', 'interval = "30s"')
    machine.config.write_text(text.replace('level = "debug"', 'level = "info"'))
    try:
        ready_seconds = ready(machine)
        assert machine.daemon is not None
        pid = machine.daemon.process.pid
        first = memory_of(pid)[0]
        machine.write("d000/app.log.1", b"warm\n")
        machine.wait_until_shipped(1)
        time.sleep(REST_SECONDS)
        spent = cpu_seconds_of(pid)
        time.sleep(SECONDS)
        spent = cpu_seconds_of(pid) - spent
        resident, high = memory_of(pid)
        work(machine)
        time.sleep(GIVEN_BACK_SECONDS)
        worked, highest = memory_of(pid)
    finally:
        machine.end()
        imds.stop()
    percent = 100 * spent / SECONDS
    return [
        f"start to READY: {ready_seconds:.2f} s (at most 1): {_verdict(ready_seconds <= 1)}",
        (
            f"resident when READY {first / MIB:.1f} MiB, after a shipment and {SECONDS:.0f} s "
            f"{resident / MIB:.1f} MiB, high-water mark {high / MIB:.1f} MiB "
            f"(at most 60 MB): {_verdict(resident <= 60_000_000)}"
        ),
        (
            f"resident after {ROUNDS * sum(files for files, _ in WORK)} shipments more and "
            f"{GIVEN_BACK_SECONDS:.0f} s {worked / MIB:.1f} MiB, high-water mark "
            f"{highest / MIB:.1f} MiB (at most 60 MB): {_verdict(worked <= 60_000_000)}"
        ),
        (
            f"idle CPU with {DIRECTORIES} watched directories: {percent:.3f} % of a core "
            f"(at most 0.1): {_verdict(percent <= 0.1)}"
        ),
    ]


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


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "NOT REACHED"


if __name__ == "__main__":
    main()
