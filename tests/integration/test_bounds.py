"""What a real daemon takes of the machine, whatever it has to send: memory and descriptors.

S3 is the benchmark's sink, over TLS. Logs that do not compress are the worst: each of their bytes
is held until it is sent. The high-water mark is the kernel's own (VmHWM in proc(5)).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from shipper.mock.imds import MockImds
from shipper.services.finding.discovery import BATCH
from tests.fakes.servers import Moto
from tests.machines.instance import Instance, facts
from tests.performance.__main__ import Sink, sink_in
from tests.performance.measuring import memory_of

MIB = 1024**2
SLACK_BYTES = 20_000_000
"""Beside ``memory_limit``, over what an idle daemon takes."""
HELD_FILES = 64
CONCURRENT = 4
DESCRIPTORS = HELD_FILES + BATCH + 2 * (CONCURRENT + 1) + CONCURRENT * CONCURRENT + 16
"""Over those of an idle daemon: what waits and is held, a batch that is being promised, what is
read and its connection, the parts' connections, and what a scan or a question takes for a moment.
"""
BLOCK = Random(1).randbytes(16 * MIB)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    directory = tmp_path / "sink"
    directory.mkdir()
    with sink_in(directory) as sink:
        yield sink


def watched(logs: Path, compression: str) -> str:
    directory = logs.parent / compression
    directory.mkdir(parents=True)
    return (
        f'[[watch]]\nname = "{compression}"\ndirectory = "{directory}"\n'
        f'settle = "0.3s"\ncompression = "{compression}"\n'
    )


@pytest.fixture
def machine(tmp_path: Path, sink: Sink, request: pytest.FixtureRequest) -> Iterator[Instance]:
    imds = MockImds(facts()).start()
    root = tmp_path / "machine"
    watches = "".join(watched(root / "logs", each) for each in ("none", "gzip"))
    more = (
        f"{watches}[uploads]\nmemory_limit = '{request.param // MIB}MiB'\n"
        f"held_files = {HELD_FILES}\nconcurrent_files = {CONCURRENT}\n"
        f"concurrent_parts = {CONCURRENT}\n"
    )
    machine = Instance(root, Moto(sink.url), imds, more=more)
    machine.more_environment = {"AWS_CA_BUNDLE": str(sink.bundle)}
    try:
        yield machine
    finally:
        machine.end()
        imds.stop()


def put(path: Path, size_bytes: int) -> None:
    """A rotated log of which no frame compresses."""
    with path.open("wb") as file:
        for at in range(0, size_bytes, len(BLOCK)):
            file.write(BLOCK[: size_bytes - at])


def put_sparse(path: Path, size_bytes: int) -> None:
    """One that takes no disk: sent as it is, its zeros take as much memory as any bytes."""
    with path.open("wb") as file:
        file.truncate(size_bytes)


class Watched:
    """A running daemon's high-water marks, from an idle moment on."""

    def __init__(self, machine: Instance) -> None:
        assert machine.daemon is not None
        self._pid = machine.daemon.process.pid
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self.idle_bytes = memory_of(self._pid)[0]
        self.idle_descriptors = self.descriptors = self._open()

    def look(self) -> bool:
        """Count what is open now; False, so that it can be waited with."""
        self.descriptors = max(self.descriptors, self._open())
        return False

    def over_idle(self) -> tuple[int, int]:
        """Bytes and descriptors, at most."""
        high = memory_of(self._pid)[1]
        return high - self.idle_bytes, self.descriptors - self.idle_descriptors

    def _open(self) -> int:
        return len(os.listdir(f"/proc/{self._pid}/fd"))


@pytest.mark.parametrize(
    ("machine", "largest", "waiting"),
    [
        pytest.param(128 * MIB, 48 * MIB, 300, id="small", marks=pytest.mark.system),
        pytest.param(24 * MIB, 48 * MIB, 100, id="too little for one part of 16 MiB"),
        pytest.param(
            128 * MIB,
            5 * 10**9,
            1000,
            id="5GB",
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(900),
            ],
        ),
    ],
    indirect=["machine"],
)
def test_a_daemon_keeps_within_its_limits_whatever_it_has_to_send(
    machine: Instance, largest: int, waiting: int
) -> None:
    limit = int(machine.config.read_text().partition("memory_limit = '")[2].partition("M")[0])
    machine.start()
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > 1, "an idle daemon")
    seen = Watched(machine)
    sizes = [0, 1, 100_000, 5 * MIB + 1, largest // 4, largest]
    for compression in ("zstd", "gzip", "none"):
        directory = {"zstd": machine.logs}.get(compression, machine.directory / compression)
        for number, size in enumerate(sizes, 1):
            fill = put_sparse if compression == "none" else put
            fill(directory / f"big.log.{number}", size)
    for number in range(waiting):
        machine.write(f"small-{number}.log.1", b"%d\n" % number)
    files = waiting + 3 * (len(sizes) - 1)  # an empty one is not shipped
    machine.wait_for(
        lambda: seen.look() or machine.files("DONE") >= files, f"{files} files", seconds=800
    )
    memory, descriptors = seen.over_idle()
    print(f"over {seen.idle_bytes / 1e6:.0f} MB: {memory / 1e6:.0f} MB, {descriptors} open")
    assert memory <= limit * MIB + SLACK_BYTES
    assert descriptors <= DESCRIPTORS
