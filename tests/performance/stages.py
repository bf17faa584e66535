"""``python -m tests.performance.stages FILE ARGUMENTS``: shipper, and which stage takes its CPU.

Runs ``shipper ARGUMENTS`` with timers around the functions that begin a stage, and writes the CPU
seconds of each stage as JSON. A timer is the thread's own CPU clock, so what waits costs nothing,
and a stage within another is not counted twice. This is a run of its own: timers cost CPU, too,
some microseconds for each file. How much is told beside the stages.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from importlib import import_module
from inspect import isgeneratorfunction
from pathlib import Path
from types import FunctionType
from typing import Any

START, SCAN, SEND, CARRY, OTHER = "start", "scan and promise", "send", "carry", "other"
JOURNAL = "journal"
STAGES: Mapping[str, tuple[str, ...]] = {
    SCAN: ("services.finding.discovery:Discovery.step",),
    JOURNAL: ("journal.journal:Journal", "journal.queue:Queue"),
    "open and read": (
        "edges.files.directory_files:DirectoryFiles",
        "edges.files.open_file:FileSource",
    ),
    "hash": (
        "services.sources.reading:SegmentReader.digest",
        "services.sources.reading:SegmentReader.digest_piece",
        "edges.encoder:_RunningCrc",
        "edges.encoder:_RunningDigest",
        "services.sending.lost_answers:LostAnswers.etag_of",
    ),
    "compress": ("edges.encoder:FrameEncoder.frame",),
    "duplicates": ("services.sending.duplicates:Duplicates.found",),
    "sign": ("edges.s3.operations:Operations.signed",),
    "parse": ("edges.s3.operations:Operations.parsed",),
    SEND: ("edges.http_client.engine:Engine.submit",),
}
"""Below ``shipper``: a method, or a class for all its public methods."""
SEND_THREAD = "s3"
"""The thread that runs libcurl."""
ORDER = (START, *STAGES, CARRY, OTHER)


class Thread:
    """One thread's stages; ``stack`` holds those that are begun."""

    def __init__(self, stage: str) -> None:
        self.stack = [stage]
        self.spent: Counter[str] = Counter()
        self._at = 0  # a thread's clock begins with it

    def settle(self) -> None:
        """Charge what was spent since the last time to the stage that is on."""
        now = time.thread_time_ns()
        self.spent[self.stack[-1]] += now - self._at
        self._at = now

    def begin(self, stage: str) -> None:
        """Until ``end``, this stage is on."""
        self.settle()
        self.stack.append(stage)

    def end(self) -> None:
        """The stage before is on again."""
        self.settle()
        self.stack.pop()


class Timers:
    """Of all threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[Thread] = []

    def thread(self) -> Thread:
        """The calling thread's. The main thread starts until it scans, and then carries."""
        found: Thread | None = getattr(self._local, "thread", None)
        if found is None:
            thread = threading.current_thread()
            is_main = thread is threading.main_thread()
            stage = START if is_main else SEND if thread.name == SEND_THREAD else CARRY
            found = self._local.thread = Thread(stage)
            self._threads.append(found)
        return found

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a timer. A scan is one stage, but for the journal's share."""

        def is_on(thread: Thread) -> bool:
            return thread.stack[-1] == stage or (thread.stack[-1] == SCAN and stage != JOURNAL)

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            thread = self.thread()
            if stage == SCAN and thread.stack == [START]:
                thread.settle()
                thread.stack = [OTHER]
            if is_on(thread):
                return function(*arguments, **named)
            thread.begin(stage)
            try:
                return function(*arguments, **named)
            finally:
                thread.end()

        @wraps(function)
        def iterate(*arguments: Any, **named: Any) -> Iterator[Any]:
            iterator = function(*arguments, **named)
            step = self.timed(stage, lambda: next(iterator, self))
            try:
                while (item := step()) is not self:
                    yield item
            finally:
                iterator.close()

        return iterate if isgeneratorfunction(function) else call

    def install(self) -> list[str]:
        """Put timers around all stages; the names that are not there (any more)."""
        self.thread()
        run, missing = threading.Thread.run, []

        def run_and_settle(self_: threading.Thread) -> None:
            try:
                run(self_)
            finally:
                self.thread().settle()

        threading.Thread.run = run_and_settle  # type: ignore[assignment,method-assign]  # in this process
        for stage, names in STAGES.items():
            for name in names:
                methods = methods_of(name)
                if not methods:
                    missing.append(name)
                for owner, method in methods:
                    setattr(owner, method, self.timed(stage, vars(owner)[method]))
        return missing

    def seconds(self) -> dict[str, float]:
        """By stage; what threads have that are not at their end is in no stage."""
        self.thread().settle()
        spent = sum((thread.spent for thread in self._threads), Counter[str]())
        return {stage: spent[stage] / 1e9 for stage in ORDER if spent[stage]}


def methods_of(name: str) -> list[tuple[type, str]]:
    """Where the methods are that the name in ``STAGES`` stands for; empty for none."""
    module, _, names = name.partition(":")
    owner, _, method = names.partition(".")
    try:
        found = getattr(import_module(f"shipper.{module}"), owner)
    except (ImportError, AttributeError):
        return []
    return [
        (found, one)
        for one, value in vars(found).items()
        if isinstance(value, FunctionType)
        and (one == method if method else not one.startswith("_"))
    ]


def told(seconds: Mapping[str, float], measured_seconds: float) -> str:
    """One line of it, with what the timers cost."""
    total = sum(seconds.values())
    shares = ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
    return f"{total:.2f} s CPU with timers, {measured_seconds:.2f} s without: {shares}"


def main() -> None:
    """Run shipper; its exit code."""
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    timers = Timers()
    missing = timers.install()
    from shipper.cli.main import main as shipper

    code = shipper(arguments)
    seconds = timers.seconds()
    seconds[OTHER] = seconds.get(OTHER, 0.0) + time.process_time() - sum(seconds.values())
    file.write_text(json.dumps({"seconds": seconds, "missing": missing}))
    sys.exit(code)


if __name__ == "__main__":
    main()
