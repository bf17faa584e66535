"""``make bench``: shipper beside the others, on the same logs, in turn, in one run.

Everything is sent over TLS to a sink on this machine. Absolute figures belong to the machine; the
ratios travel. A round runs every contestant of every work once, in an order that ``--seed`` gives
again; medians are of all rounds. ``--quick`` is smaller and runs one round; ``--only WORD`` keeps
the works and contestants with the word in their name (``daemon`` for what an idle one costs);
``--json FILE`` writes every run. Rounds end when ``--minutes`` are over.

At the end come runs of shipper with timers, which tell the CPU of its stages and count nowhere
else, what a real daemon costs, and what must be reached.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shipper.demo.children import clean_environment
from shipper.mock.imds import MockImds
from tests.fakes.servers import moto_server
from tests.machines.instance import facts
from tests.performance import certificates, contestants, daemon, goals, logs, stages, table
from tests.performance.contestants import Contestant, InstanceFacts
from tests.performance.goals import DaemonFigures
from tests.performance.measuring import Failed, cost_of, cpu_seconds_of, machine_cpu_seconds
from tests.performance.table import Run
from tests.performance.works import ONE_PACKED, SMALL, SMALL_FAR, Work, works

TIMED = ("shipper, nothing to ship", "shipper", "shipper, zstd")
TIMED_QUICKLY = (SMALL, SMALL_FAR, ONE_PACKED)
_TLS = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = sink
[sink]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


class Sink:
    """The server that swallows, as a child; ``pids`` are those of its processes that serve."""

    def __init__(self, child: "subprocess.Popen[str]", bundle: Path) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._asked, self._told = child.stdin, child.stdout
        port, *self.pids = map(int, self._told.readline().split())
        self.url, self.bundle = f"https://127.0.0.1:{port}", bundle

    def report(self) -> tuple[dict[str, int], int]:
        """Requests and stored bytes since the last time."""
        found = self._ask("report")
        return found["requests"], found["stored_bytes"]

    def move_away(self, seconds: float) -> None:
        """Let every answer take so long from now on."""
        self._ask(f"away {seconds}")

    def cpu_seconds(self) -> list[float]:
        """Of each process so far."""
        return [cpu_seconds_of(pid) for pid in self.pids]

    def _ask(self, command: str) -> Any:
        print(command, file=self._asked, flush=True)
        return json.loads(self._told.readline())


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
    try:
        yield Sink(child, bundle)
    finally:
        child.communicate()


class Bench:
    """Runs contestants in turn and keeps what they cost."""

    def __init__(self, root: Path, sink: Sink, imds: MockImds) -> None:
        self._root = root
        self._sink = sink
        self._imds = imds
        self._number = 0
        self.runs: list[Run] = []
        self.stages: dict[tuple[str, str], dict[str, Any]] = {}
        self.left_out: dict[str, str] = {}

    def make_logs(self, work: Work, of: bytes) -> Path:
        """So many logs of this size, made once; they stay in the page cache where they fit."""
        directory = self._root / f"{work.files}-of-{work.size_bytes}"
        if not directory.exists():
            directory.mkdir()
            for number in range(work.files):
                with (directory / f"app-{number:05}.log.1").open("wb") as file:
                    file.writelines(logs.body(of, work.size_bytes, number))
        return directory

    def run(self, work: Work, contestant: Contestant, directory: Path) -> None:
        """One run, or the reason why there was none."""
        if missing := contestants.missing(contestant):
            self.left_out[contestant.name] = f"not here: {', '.join(missing)}"
            return
        with self._surroundings(directory) as around:
            command = contestant.command(around)
            self._sink.move_away(work.away_seconds)
            self._sink.report()
            before, all_before = self._sink.cpu_seconds(), machine_cpu_seconds()
            try:
                cost = cost_of(command, contestants.environment(around))
            except Failed as failure:
                self.left_out[f"{work.name}: {contestant.name}"] = f"failed: {failure}"
                return
        all_spent = machine_cpu_seconds() - all_before
        spent = [now - then for now, then in zip(self._sink.cpu_seconds(), before, strict=True)]
        requests, stored_bytes = self._sink.report()
        self.runs.append(
            Run(
                work.name,
                contestant.name,
                work.files,
                work.away_seconds,
                cost,
                requests,
                stored_bytes,
                sum(spent),
                max(spent),
                max(0.0, all_spent - cost.cpu_seconds - sum(spent)),
            )
        )

    def time_stages(self, work: Work, contestant: Contestant, directory: Path) -> None:
        """A run with timers, which counts nowhere else."""
        with self._surroundings(directory) as around:
            file = around.state / "stages.json"
            command = contestants.with_timers(contestant.command(around), file)
            self._sink.move_away(work.away_seconds)
            try:
                cost_of(command, contestants.environment(around))
            except Failed as failure:
                self.left_out[f"{work.name}: {contestant.name}, stages"] = f"failed: {failure}"
                return
            self.stages[work.name, contestant.name] = json.loads(file.read_text())

    @contextmanager
    def _surroundings(self, directory: Path) -> Iterator[InstanceFacts]:
        self._number += 1
        state = self._root / f"run-{self._number}"
        state.mkdir()
        bucket, url = f"bucket-{self._number}", self._sink.url
        try:
            yield InstanceFacts(directory, state, url, bucket, self._imds.url, self._sink.bundle)
        finally:
            shutil.rmtree(state)


def main() -> None:
    """Compare, print the table, the stages, the goals, and who was left out."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
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
    figures = None
    if not options.only or any(word in "daemon" for word in options.only):
        with tempfile.TemporaryDirectory() as directory, moto_server() as moto:
            print("daemon", file=sys.stderr)
            figures = daemon.measured(Path(directory), moto, is_quick=options.quick)
    print("\n".join(lines(bench, figures)))
    seconds = time.monotonic() - began
    print(f"{len(bench.runs)} runs in {seconds:.0f} s, seed {options.seed}")
    if options.json:
        options.json.write_text(json.dumps(document(bench, figures, options.seed), indent=1))


def lines(bench: Bench, figures: DaemonFigures | None) -> Iterator[str]:
    """All that is told to people."""
    found = table.rows(bench.runs)
    yield from table.lines(found)
    yield "\nbeyond a start with nothing to ship"
    yield from table.beyond_start(found)
    yield "\nCPU seconds by stage, in a run of its own"
    for which, timed in bench.stages.items():
        measured = found[which].cpu_seconds if which in found else 0.0
        yield f"  {', '.join(which)}: {stages.told(timed['seconds'], measured)}"
        if timed["missing"]:
            yield f"    no such function: {', '.join(timed['missing'])}"
    yield ""
    yield from (goal.line for goal in goals.goals(found, bench.runs, figures))
    for name, why in bench.left_out.items():
        yield f"left out: {name}: {why}"


def document(bench: Bench, figures: DaemonFigures | None, seed: int) -> dict[str, Any]:
    """The same for programs, and every run."""
    found = table.rows(bench.runs)
    return {
        "seed": seed,
        "medians": table.medians(found),
        "stages": {", ".join(which): timed for which, timed in bench.stages.items()},
        "goals": [
            asdict(goal) | {"is_reached": goal.is_reached}
            for goal in goals.goals(found, bench.runs, figures)
        ],
        "runs": [asdict(run) for run in bench.runs],
        "left_out": bench.left_out,
    }


Todo = Sequence[tuple[Work, Path, Sequence[Contestant]]]
"""Works, where their logs are, and who is wanted."""


def compare(bench: Bench, options: argparse.Namespace, began: float) -> None:
    """Round after round, until there are enough or time is over; then shipper's stages."""
    of, until = logs.sample(), began + options.minutes * 60
    todo = [
        (work, bench.make_logs(work, of), by)
        for work in works(options.quick)
        if (by := [each for each in work.by if _is_wanted(options, work, each)])
    ]
    print(f"seed {options.seed}", file=sys.stderr)
    order = random.Random(options.seed)
    for number in range(options.rounds or (1 if options.quick else 5)):
        if not go_round(bench, todo, number, order, until if number else float("inf")):
            break
    ran = {(run.work, run.name) for run in bench.runs}
    for work, place, by in todo:
        if options.quick and work.name not in TIMED_QUICKLY:
            continue
        for contestant in by:
            if contestant.name in TIMED and (work.name, contestant.name) in ran:
                print(f"stages: {work.name}: {contestant.name}", file=sys.stderr)
                bench.time_stages(work, contestant, place)


def go_round(bench: Bench, todo: Todo, number: int, order: random.Random, until: float) -> bool:
    """Each work once, by its contestants in another order each time; False when time is over."""
    for work, place, by in todo:
        for contestant in order.sample(by, len(by)):
            if time.monotonic() > until:
                print(f"time is over in round {number + 1}", file=sys.stderr)
                return False
            if number % contestant.every == 0:
                print(f"round {number + 1}: {work.name}: {contestant.name}", file=sys.stderr)
                bench.run(work, contestant, place)
    return True


def _is_wanted(options: argparse.Namespace, work: Work, contestant: Contestant) -> bool:
    """By ``--only``; a quick comparison leaves the slow ones out."""
    if options.quick and contestant.every > 1:
        return False
    full = f"{work.name}: {contestant.name}"
    return not options.only or any(word in full for word in options.only)


if __name__ == "__main__":
    main()
