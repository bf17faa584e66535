"""Half an hour of nights on a file system that uses inode numbers again at once.

Real logrotate, a writer, kills at random moments, requests that fail, answers that are lost, and
credentials that expire every minute; and two jobs whose logs only the kernel can tell apart: their
output is the same every night, and one of them sets the same mtime.
"""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.mock.imds import MockImds
from tests.fakes.proxy import Proxy, Refusal, Seen
from tests.fakes.servers import Moto
from tests.machines.instance import BUCKET, Instance, facts
from tests.machines.mounted import mounted
from tests.machines.rotation import TABLE, Cell, Rotating
from tests.machines.settling import Settling

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
CELLS = (
    Cell("create", "nocompress"),
    Cell("create", "compress"),
    Cell("create", "delaycompress", encoding="zstd"),
    Cell("create", "delaycompress", "dateext", encoding="gzip"),
    Cell("copytruncate", "delaycompress"),
    Cell("copytruncate", "compress", "dateext", "olddir"),
)
JOBS = ("constant", "stamped")
OUTPUT = b"backup started\nbackup finished: 0 errors\n"
STAMP_NS = 1_700_000_000 * 10**9
UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>no</Message></Error>"


class Weather:
    """What goes wrong on the way: one request in ten, and every 30 s nothing passes for 3 s."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.refused = self.lost = 0

    def refuse(self, seen: Seen) -> Refusal | None:
        if self._random.random() < 0.05 or time.monotonic() % 30 < 3:
            self.refused += 1
            return 503, {"x-amz-request-id": "R"}, UNAVAILABLE
        return None

    def loses(self, seen: Seen) -> bool:
        is_lost = not seen.is_listing and self._random.random() < 0.05
        self.lost += is_lost
        return is_lost


class Jobs:
    """Scheduled jobs that overwrite their log, with logrotate before each run."""

    def __init__(self, directory: Path, logrotate: str) -> None:
        self.directory = directory
        self._command = [logrotate, "-f", "-s", str(directory / "state")]
        self.nights = 0
        self._configuration = directory / "logrotate.conf"
        for job in JOBS:
            (directory / job).mkdir(parents=True)
        self._configuration.write_text(
            "".join(
                f"{directory}/{job}/job.log {{\n rotate 2\n create 0644\n missingok\n}}\n"
                for job in JOBS
            )
        )
        self._configuration.chmod(0o600)

    def watches(self) -> str:
        return "".join(
            f'[[watch]]\nname = "{job}"\nsettle = "200ms"\ndirectory = "{self.directory / job}"\n'
            for job in JOBS
        )

    def run(self) -> None:
        """One night of every job."""
        for job in JOBS:
            log = self.directory / job / "job.log"
            log.write_bytes(OUTPUT)
            if job == "stamped":
                os.utime(log, ns=(STAMP_NS, STAMP_NS))
        subprocess.run([*self._command, str(self._configuration)], check=True)
        self.nights += 1

    def files(self) -> list[tuple[str, Path]]:
        return [
            (job, path) for job in JOBS for path in (self.directory / job).glob("job.log.[0-9]")
        ]


@pytest.fixture
def top(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path) as found:
        found.chmod(0o755)
        yield found


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("top", ["ext4", "xfs"], indirect=True)
def test_nights_with_used_inodes_kills_and_faults_lose_and_double_no_log(
    top: Path, tmp_path: Path, own_moto: Moto, logrotate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, weather = random.Random(top.name), Weather(12)
    jobs = Jobs(top / "jobs", logrotate)
    rotating = Rotating(top / "rotating", logrotate, CELLS)
    own_moto.create_bucket(BUCKET)
    more = rotating.watches() + jobs.watches()
    kills = rotations = 0
    with (
        MockImds(facts(lifetime_seconds=60.0)) as imds,
        Proxy(own_moto, weather.refuse, weather.loses) as proxy,
    ):
        machine = Instance(tmp_path / "instance", proxy.moto, imds, more=more)
        settle = Settling(machine, lambda: [*rotating.files(), *jobs.files()]).wait
        try:
            machine.start()
            until = time.monotonic() + SECONDS
            with rotating:
                while time.monotonic() < until:
                    jobs.run()
                    running = rotating.begin()
                    for _ in range(rng.randint(0, 2)):
                        pause(machine, rng.uniform(0.0, 1.5))
                        machine.kill()
                        machine.start()
                        kills += 1
                    rotating.finish(running)
                    settle()
                    rotations += 1
                rotating.end_writing()
                rotating.rotate()
                settle()
            assert machine.stop() == 0
        finally:
            machine.end()
        objects = own_moto.objects(BUCKET)
        duplicates = machine.files("DUPLICATE")
        gone = machine.files("GONE", "SUPERSEDED", "PARKED")
    by_job = {job: [key for key in objects if f"/{job}/" in key] for job in JOBS}
    rest = {k: v for k, v in objects.items() if not any(k in by_job[job] for job in JOBS)}
    account = rotating.account(rest)
    with capsys.disabled():
        print("", TABLE, account.row(top.name, duplicates, kills), sep="\n")
        print(f"{jobs.nights} nights of each job: {[len(by_job[job]) for job in JOBS]} objects")
        print(f"{weather.refused} requests refused, {weather.lost} answers lost, {gone} gone")
    assert account.wrong == ()
    assert account.logs == account.objects == (rotations + 1) * account.cells
    assert [len(by_job[job]) for job in JOBS] == [jobs.nights] * len(JOBS)
    assert gone == 0


def pause(machine: Instance, seconds: float) -> None:
    """For so long, or until the daemon ends by itself."""
    until = time.monotonic() + seconds
    machine.wait_for(lambda: time.monotonic() > until, "a random moment")
