"""``python -m tests.performance.busy_log``: what busy live logs cost a daemon.

The daemon is a real one with the default scan interval, and has nothing to ship. Its CPU is what
the kernel's scheduler counted for it, in nanoseconds, so that a few seconds show a hundredth of a
percent.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, moto_server
from tests.machines.instance import Instance, facts
from tests.performance.measuring import cpu_seconds_of

SECONDS = 15.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Case:
    """What ``tests.performance.writer`` does meanwhile; the rate is for all files together."""

    text: str
    mode: str = "hold"
    files: int = 1
    rate: float = 0.0


CASES = (
    Case("idle"),
    Case("1 file, held open", "hold", 1, 50_000),
    Case("8 files, held open", "hold", 8, 50_000),
    Case("1 file, opened for each line", "reopen", 1, 5_000),
    Case("8 files, opened for each line", "reopen", 8, 5_000),
    Case("a lock file made and removed", "lock", 1, 1_000),
)


def main() -> None:
    """Measure every case, one after the other, on one daemon each."""
    print(f"{'case':<32} {'times/s':>8} {'CPU %':>7} {'scans':>6}")
    with tempfile.TemporaryDirectory() as directory, moto_server() as moto:
        for number, case in enumerate(CASES):
            print(measured(Path(directory), moto, f"busy-{number}", case), flush=True)


def measured(root: Path, moto: Moto, bucket: str, case: Case) -> str:
    """One line of the table."""
    moto.create_bucket(bucket)
    imds = MockImds(facts()).start()
    machine = Instance(root / bucket, moto, imds, bucket=bucket)
    text = machine.config.read_text().replace('interval = "1s"', 'interval = "30s"')
    machine.config.write_text(text.replace('level = "debug"', 'level = "info"'))
    try:
        pid = machine.start().process.pid
        machine.wait_for(lambda: machine.events("daemon.ready"), "the daemon to be ready")
        written(machine, case, 1.0)  # what new names cost is not counted
        scans, spent = scans_of(machine), cpu_seconds_of(pid)
        rate = written(machine, case, SECONDS)
        spent, scans = cpu_seconds_of(pid) - spent, scans_of(machine) - scans
    finally:
        machine.end()
        imds.stop()
    return f"{case.text:<32} {rate:>8.0f} {100 * spent / SECONDS:>7.2f} {scans:>6}"


def written(machine: Instance, case: Case, seconds: float) -> float:
    """Write for so long in another process; how many times a second it did."""
    arguments = [case.mode, str(machine.logs), str(case.files), str(case.rate), str(seconds)]
    command = [sys.executable, "-m", "tests.performance.writer", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def scans_of(machine: Instance) -> int:
    """Scans so far."""
    scans: int = (machine.status() or {})["scan"]["scans"]
    return scans


if __name__ == "__main__":
    main()
