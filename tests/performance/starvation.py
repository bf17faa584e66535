"""``python -m tests.performance.starvation [ROUNDS]``: what denied logs cost those beside them.

A real daemon, and a bucket over HTTP that answers after a while, as over a network. The time is
from the first good log to the last row that says shipped, without settle; medians of the rounds.
Denied logs come just before the good ones, or some seconds before. The ratio is to none denied.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, Request, ScriptedServer, http_answer, kept_open
from tests.machines.instance import SETTLE_SECONDS, Instance, facts

GOOD = 100
DENIED = (0, 1, 5, 50, 300)
AWAY_SECONDS = 0.05
BEFORE_SECONDS = 5.0
MOST = 1.5
_ERROR = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_ID = {"x-amz-request-id": "BENCH0000000000"}


def main() -> None:
    """Measure each number of denied logs, and compare it with none."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    print(f"{'denied':>7} {'come before':>12} {'seconds':>8} {'ratio':>6} {'in vain':>8}")
    with tempfile.TemporaryDirectory() as directory:
        for before_seconds in (0.0, BEFORE_SECONDS):
            alone = 0.0
            for denied in DENIED:
                runs = [measured(Path(directory), denied, before_seconds) for _ in range(rounds)]
                seconds, vain = (median(figures) for figures in zip(*runs, strict=True))
                alone = alone or seconds
                ratio = seconds / alone
                verdict = "reached" if ratio <= MOST else "NOT REACHED"
                row = f"{denied:>7} {before_seconds:>10.0f} s {seconds:>8.2f} {ratio:>6.2f}"
                print(f"{row} {vain:>8.0f}  (at most {MOST}): {verdict}", flush=True)


def measured(root: Path, denied: int, before_seconds: float) -> tuple[float, int]:
    """Seconds until all good logs are shipped, and how often a denied one was sent meanwhile."""
    imds = MockImds(facts()).start()
    with ScriptedServer(otherwise=answer, keeps_bodies=False) as bucket:
        machine = Instance(root / f"{time.monotonic_ns()}", Moto(bucket.url), imds)
        try:
            machine.start()
            machine.wait_for(lambda: machine.events("daemon.ready"), "the daemon to be ready")
            write(machine, "denied", denied)
            time.sleep(before_seconds)
            before = in_vain(bucket)
            began = time.monotonic()
            write(machine, "good", GOOD)
            machine.wait_until_shipped(GOOD, seconds=600)
            return time.monotonic() - began - SETTLE_SECONDS, in_vain(bucket) - before
        finally:
            machine.end()
            imds.stop()


def write(machine: Instance, name: str, files: int) -> None:
    """Rotated logs, no two alike."""
    for number in range(files):
        machine.write(f"{name}-{number:03}.log.1", f"{name} {number}\n".encode() * 100)


def answer(request: Request) -> bytes:
    """What the bucket says, after a while: the role may write all but denied logs."""
    time.sleep(AWAY_SECONDS)
    if request.method == "PUT" and "denied" in request.target:
        return kept_open(http_answer(403, _ERROR, **_ID))
    echoed = {n: v for n, v in request.headers.items() if n.startswith("x-amz-checksum-")}
    body = "" if request.method == "PUT" else "<ListBucketResult/>"
    return kept_open(http_answer(200, body, ETag=f'"{0:032x}"', **_ID, **echoed))


def in_vain(bucket: ScriptedServer) -> int:
    """How many requests were refused so far."""
    return sum("denied" in request.target for request in list(bucket.requests))


if __name__ == "__main__":
    main()
