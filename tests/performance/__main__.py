"""``make bench``: shipper beside the others, on the same logs, in turn, in one run.

Everything is sent over TLS to a sink on this machine. Absolute figures belong to the machine; the
ratios travel. A round runs every contestant of every work once; medians are of all rounds.
``--quick`` is smaller and runs one round; ``--only WORD`` keeps the works and contestants with
the word in their name; ``--json FILE`` writes every run. Rounds end when ``--minutes`` are over.
"""

import argparse
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shipper.demo.children import clean_environment
from shipper.mock.imds import MockImds
from tests.machines.instance import facts
from tests.performance import certificates, contestants, logs, table
from tests.performance.contestants import Contestant, InstanceFacts
from tests.performance.measuring import Failed, cost_of, cpu_seconds_of
from tests.performance.table import Run

MIB = 1024**2
_TLS = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = sink
[sink]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


@dataclass(frozen=True, slots=True)
class Work:
    """Some logs, and who is to send them."""

    name: str
    files: int
    size_bytes: int
    by: Sequence[Contestant]
    away_seconds: float = 0.0
    """How long the sink takes for an answer, as a network would."""


def works(is_quick: bool) -> list[Work]:
    """What is done in a round."""
    one, many, small = (256, 8, 300) if is_quick else (2048, 64, 2000)
    kib = 1024
    return [
        Work("nothing", 0, 0, (contestants.START,)),
        Work(table.ONE, 1, one * MIB, contestants.PLAIN_FILE),
        Work(table.ONE_PACKED, 1, one * MIB, contestants.PACKED_FILE),
        Work(table.MANY, many, 32 * MIB, contestants.PLAIN_FILES),
        Work(table.MANY_PACKED, many, 32 * MIB, contestants.PACKED_FILES),
        Work(table.SMALL, small, 100 * kib, contestants.PLAIN_FILES),
        Work(table.SMALL_PACKED, small, 100 * kib, contestants.PACKED_FILES),
        Work(table.SMALL_AWAY, small, 100 * kib, contestants.AWAY_FILES, away_seconds=0.01),
    ]


@dataclass(frozen=True, slots=True)
class Sink:
    """The server that swallows, as a child."""

    pid: int
    url: str
    bundle: Path

    def report(self) -> tuple[dict[str, int], int]:
        """Requests and stored bytes since the last time."""
        found = json.loads(self._asked("report"))
        return found["requests"], found["stored_bytes"]

    def move_away(self, seconds: float) -> None:
        """Let every answer take so long from now on."""
        self._asked(f"away/{seconds}")

    def _asked(self, target: str) -> bytes:
        trusted = ssl.create_default_context(cafile=str(self.bundle))
        with urllib.request.urlopen(f"{self.url}/-/{target}", context=trusted) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def sink_in(directory: Path) -> Iterator[Sink]:
    """A sink from its first answer to its end."""
    bundle, served = certificates.make(directory)
    (directory / "openssl.cnf").write_text(_TLS)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.performance.sink", str(served)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=contestants.ROOT,
        env=clean_environment() | {"OPENSSL_CONF": str(directory / "openssl.cnf")},
    )
    assert child.stdout is not None
    try:
        yield Sink(child.pid, f"https://127.0.0.1:{int(child.stdout.readline())}", bundle)
    finally:
        child.communicate()


class Bench:
    """Runs contestants in turn and keeps what they cost."""

    def __init__(self, root: Path, sink: Sink, imds: MockImds) -> None:
        self._root = root
        self._sink = sink
        self._imds = imds
        self.runs: list[Run] = []
        self.left_out: dict[str, str] = {}

    def make_logs(self, work: Work, of: bytes) -> Path:
        """The work's logs, made once; they stay in the page cache where they fit."""
        directory = self._root / work.name.replace(" ", "-")
        directory.mkdir(exist_ok=True)
        for number in range(work.files):
            path = directory / f"app-{number:04}.log.1"
            if not path.exists():
                with path.open("wb") as file:
                    file.writelines(logs.body(of, work.size_bytes, number))
        return directory

    def run(self, work: Work, contestant: Contestant, directory: Path) -> None:
        """One run, or the reason why there was none."""
        if missing := contestants.missing(contestant):
            self.left_out[contestant.name] = f"not here: {', '.join(missing)}"
            return
        number = len(self.runs)
        state = self._root / f"run-{number}"
        state.mkdir()
        facts = InstanceFacts(
            directory, state, self._sink.url, f"bucket-{number}", self._imds.url, self._sink.bundle
        )
        command, before = contestant.command(facts), cpu_seconds_of(self._sink.pid)
        self._sink.move_away(work.away_seconds)
        try:
            cost = cost_of(command, contestants.environment(facts))
        except Failed as failure:
            self.left_out[f"{work.name}: {contestant.name}"] = f"failed: {failure}"
            return
        finally:
            shutil.rmtree(state)
            requests, stored_bytes = self._sink.report()
        sink_cpu = cpu_seconds_of(self._sink.pid) - before
        self.runs.append(Run(work.name, contestant.name, cost, requests, stored_bytes, sink_cpu))


def main() -> None:
    """Compare, print the table, the ratios, and who was left out."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    contestants.install()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, sink_in(Path(directory)) as sink:
        imds = MockImds(facts()).start()
        bench = Bench(Path(directory), sink, imds)
        try:
            compare(bench, options, began)
        finally:
            imds.stop()
    seconds = time.monotonic() - began
    print("\n".join(table.lines(bench.runs, bench.left_out)))
    print(f"{len(bench.runs)} runs in {seconds:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(table.document(bench.runs, bench.left_out), indent=1))


def compare(bench: Bench, options: argparse.Namespace, began: float) -> None:
    """Round after round, until there are enough or time is over."""
    of = logs.sample()
    todo = [
        (work, [each for each in work.by if _is_wanted(options.only, work, each)])
        for work in works(options.quick)
    ]
    places = {work.name: bench.make_logs(work, of) for work, by in todo if by}
    until = began + options.minutes * 60
    for number in range(options.rounds or (1 if options.quick else 5)):
        for work, by in todo:
            for contestant in by[:: 1 if number % 2 else -1]:
                if number and time.monotonic() > until:
                    print(f"time is over in round {number + 1}", file=sys.stderr)
                    return
                if number % contestant.every == 0:
                    print(f"round {number + 1}: {work.name}: {contestant.name}", file=sys.stderr)
                    bench.run(work, contestant, places[work.name])


def _is_wanted(words: Sequence[str], work: Work, contestant: Contestant) -> bool:
    return not words or any(word in f"{work.name}: {contestant.name}" for word in words)


if __name__ == "__main__":
    main()
