"""``python -m tests.performance.daemon``: what it costs, beside the bare work in the same minute.

Absolute figures belong to the machine; the ratios travel.
"""

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipper.core.parts import FRAME_BYTES
from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, moto_server
from tests.machines.instance import SETTLE_SECONDS, Instance, facts
from tests.performance import signing

BIG_BYTES = 300_000_000
MB = 1_000_000
ROUNDS = 5


def main() -> None:
    """Run every measurement."""
    with tempfile.TemporaryDirectory() as directory, moto_server() as moto:
        root = Path(directory)
        print(f"rotation to acknowledged object, 1 MB, beyond settle: {latency(root, moto)}")
        print(f"memory while a {BIG_BYTES // MB} MB log is shipped: {memory(root, moto)}")
        print(f"CPU to ship {BIG_BYTES // MB} MB, beside the bare work: {cpu(root, moto)}")
        print(f"scan when nothing is new: {scan(root, moto)}")
    signing.main()


@contextmanager
def instance(root: Path, moto: Moto, name: str, more: str = "") -> Iterator[Instance]:
    """A fresh machine with a bucket of its own."""
    moto.create_bucket(name)
    imds = MockImds(facts()).start()
    machine = Instance(root / name, moto, imds, bucket=name, more=more)
    try:
        yield machine
    finally:
        machine.end()
        imds.stop()


def log_of(size_bytes: int, seed: int) -> Iterator[bytes]:
    """Lines that compress about as logs do."""
    rng = random.Random(seed)
    words = [rng.randbytes(4).hex() for _ in range(4000)]
    while size_bytes > 0:
        block = "".join(
            f"2026-11-24T10:{n % 60:02}:00Z app[{n % 9}]: {' '.join(rng.choices(words, k=8))}\n"
            for n in range(8000)
        ).encode()[:size_bytes]
        size_bytes -= len(block)
        yield block


def latency(root: Path, moto: Moto) -> str:
    """How long after its rename a 1 MB log is in the bucket, without the settle time."""
    taken = []
    with instance(root, moto, "latency") as machine:
        machine.start()
        for number in range(ROUNDS):
            live = machine.write("app.log", b"".join(log_of(MB, number)))
            started = time.monotonic()
            live.rename(machine.logs / f"app.log.{number + 1}")
            machine.wait_until_shipped(number + 1)
            taken.append(time.monotonic() - started - SETTLE_SECONDS)
    return f"median {sorted(taken)[ROUNDS // 2]:.2f} s, longest {max(taken):.2f} s"


def memory(root: Path, moto: Moto) -> str:
    """Resident size idle, and its peak during one big file."""
    with instance(root, moto, "memory") as machine:
        daemon = machine.start()
        machine.write("app.log.1", b"warm\n")
        machine.wait_until_shipped(1)
        idle = resident(daemon.process.pid, "VmRSS")
        write_big(machine)
        machine.wait_until_shipped(2)
        peak = resident(daemon.process.pid, "VmHWM")
    return f"idle {idle} MB, peak {peak} MB, {peak - idle} MB above idle"


def cpu(root: Path, moto: Moto) -> str:
    """CPU seconds of ``shipper ship`` against reading, hashing and compressing the same bytes."""
    with instance(root, moto, "cpu", '[uploads]\npart_size = "16MiB"\n') as machine:
        path = write_big(machine)
        floor = min(bare_work(path) for _ in range(3))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        machine.run("ship")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shipped = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{shipped:.2f} s, bare {floor:.2f} s: {shipped / floor:.2f} times, start included"


def scan(root: Path, moto: Moto) -> str:
    """How long a scan takes when nothing is new."""
    with instance(root, moto, "scan", "[uploads]\nconcurrent_files = 16\n") as machine:
        for number in range(3000):
            machine.write(f"d{number % 100}/app-{number}.log.1", b"%d\n" % number)
        machine.start()
        machine.wait_until_shipped(3000, seconds=300)
        scans = (machine.status() or {})["scan"]["scans"]
        machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > scans + 1, "a scan")
        seconds = (machine.status() or {})["scan"]["seconds"]
    return f"{seconds * 1000:.0f} ms for 3,000"


def write_big(machine: Instance) -> Path:
    """A rotated log of BIG_BYTES."""
    live = machine.logs / "big.log"
    with live.open("wb") as file:
        for block in log_of(BIG_BYTES, 1):
            file.write(block)
    return live.rename(machine.logs / "big.log.1")


def bare_work(path: Path) -> float:
    """CPU seconds of what no shipper can do without: read, SHA-256, CRC-32, zstd level 1."""
    code = (
        "import hashlib, sys, zlib, zstandard\n"
        "c = zstandard.ZstdCompressor(level=1); h = hashlib.sha256(); n = 0\n"
        "with open(sys.argv[1], 'rb') as f:\n"
        f"    while b := f.read({FRAME_BYTES}):\n"
        "        h.update(b); n = zlib.crc32(c.compress(b), n)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def resident(pid: int, field: str) -> int:
    """A field of /proc/PID/status, in MB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024 // MB


if __name__ == "__main__":
    main()
