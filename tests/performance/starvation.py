"""``python -m tests.performance.starvation [ROUNDS [NAMING ...]]``: what denied logs cost others.

A real daemon, and a bucket over HTTP that answers after a while, as over a network. The time is
from the first good log that is promised to the last that is shipped, because when a scan comes is
chance; medians of the rounds. Denied logs come just before the good ones, or some seconds before.
The ratio is to none denied.
How the logs are called decides what shipper can learn from a refusal: see ``NAMINGS``.
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median

from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto, Request, ScriptedServer, http_answer, kept_open
from tests.machines.instance import Instance, facts

GOOD = 100
DENIED = (0, 1, 5, 50, 300)
AWAY_SECONDS = 0.05
BEFORE_SECONDS = 5.0
MOST = 1.5
KEY = 'key = "{prefix}{watch}/{directory}/{stem}.{digest}{segment}{extension}"\n'


def hashed(name: str, number: int) -> str:
    """Eight digits that tell nothing."""
    return hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:8]


NAMINGS: dict[str, Callable[[str, int], str]] = {
    "alike": lambda name, number: f"{name}-{number:03}.log.1",
    "hashed": lambda name, number: f"{hashed(name, number)}-{name}-{number:03}.log.1",
    "interleaved": lambda name, number: f"{number:03}{name}.log.1",
    "suffix": lambda name, number: f"{hashed(name, number)}.{name}.log.1",
    "directory": lambda name, number: f"{number % 7}/{name}/{number:03}.log.1",
    "scattered": lambda name, number: f"{hashed(name, number)}.log.1",
}
"""``scattered`` has nothing in common: only one request per log can tell."""
_SCATTERED = tuple(hashed("denied", number) for number in range(max(DENIED)))
_ERROR = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_ID = {"x-amz-request-id": "BENCH0000000000"}


def main() -> None:
    """Measure each number of denied logs in each naming, and compare it with none."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    head = f"{'naming':>12} {'denied':>7} {'come before':>12} {'seconds':>8} {'ratio':>6}"
    print(f"{head} {'in vain':>8}")
    with tempfile.TemporaryDirectory() as directory:
        for naming in sys.argv[2:] or NAMINGS:
            for before_seconds in (0.0, BEFORE_SECONDS):
                compare(Path(directory), naming, before_seconds, rounds)


def compare(directory: Path, naming: str, before_seconds: float, rounds: int) -> None:
    """Print a row for each number of denied logs."""
    alone = 0.0
    for denied in DENIED:
        runs = [measured(directory, naming, denied, before_seconds) for _ in range(rounds)]
        seconds, vain = (median(figures) for figures in zip(*runs, strict=True))
        alone = alone or seconds
        verdict = "reached" if seconds / alone <= MOST else "NOT REACHED"
        row = f"{naming:>12} {denied:>7} {before_seconds:>10.0f} s {seconds:>8.2f}"
        row = f"{row} {seconds / alone:>6.2f} {vain:>8.0f}"
        print(f"{row}  (at most {MOST}): {verdict}", flush=True)


def measured(root: Path, naming: str, denied: int, before_seconds: float) -> tuple[float, int]:
    """Seconds until all good logs are shipped, and how often a denied one was sent meanwhile."""
    imds = MockImds(facts()).start()
    with ScriptedServer(otherwise=answer, keeps_bodies=False) as bucket:
        machine = Instance(root / f"{time.monotonic_ns()}", Moto(bucket.url), imds)
        text = machine.config.read_text()
        machine.config.write_text(text.replace("[destination]\n", f"[destination]\n{KEY}"))
        try:
            machine.start()
            machine.wait_for(lambda: machine.events("daemon.ready"), "the daemon to be ready")
            write(machine, naming, "denied", denied)
            time.sleep(before_seconds)
            before = in_vain(bucket)
            write(machine, naming, "good", GOOD)
            machine.wait_until_shipped(GOOD, seconds=60)
            return sending_seconds(machine, denied), in_vain(bucket) - before
        finally:
            machine.end()
            imds.stop()


def sending_seconds(machine: Instance, denied: int) -> float:
    """From the log: denied logs are promised first, and never finished."""
    promised = sorted(event["timestamp"] for event in machine.events("shipment.promised"))
    finished = max(event["timestamp"] for event in machine.events("shipment.finished"))
    began = datetime.fromisoformat(promised[denied])
    return (datetime.fromisoformat(finished) - began).total_seconds()


def write(machine: Instance, naming: str, name: str, files: int) -> None:
    """Rotated logs, no two alike."""
    for number in range(files):
        machine.write(NAMINGS[naming](name, number), f"{name} {number}\n".encode() * 100)


def answer(request: Request) -> bytes:
    """What the bucket says, after a while: the role may write all but denied logs."""
    time.sleep(AWAY_SECONDS)
    if request.method == "PUT" and is_denied(request):
        return kept_open(http_answer(403, _ERROR, **_ID))
    echoed = {n: v for n, v in request.headers.items() if n.startswith("x-amz-checksum-")}
    body = "" if request.method == "PUT" else "<ListBucketResult/>"
    return kept_open(http_answer(200, body, ETag=f'"{0:032x}"', **_ID, **echoed))


def is_denied(request: Request) -> bool:
    """By its name, or because it is one of those that are."""
    return "denied" in request.target or any(one in request.target for one in _SCATTERED)


def in_vain(bucket: ScriptedServer) -> int:
    """How many requests were refused so far."""
    return sum(is_denied(request) for request in list(bucket.requests))


if __name__ == "__main__":
    main()
