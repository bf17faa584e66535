"""A bell for watchers on real directories, and patience."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shipper.edges.files.watcher import MountTable, Root, Watcher
from tests.fakes.log import RecordingLog

PATIENCE_SECONDS = 20.0


def comes_true(question: Callable[[], bool]) -> bool:
    """Whether it becomes true before patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not question():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


class Bell:
    """Counts its rings."""

    def __init__(self) -> None:
        self.nudges = 0

    def nudge(self) -> None:
        self.nudges += 1

    def rings_after(self, act: Callable[[], object]) -> bool:
        """Whether it rings because of ``act``."""
        before = self.nudges
        act()
        return comes_true(lambda: self.nudges > before)


@contextmanager
def watching(
    roots: Sequence[Root], nudge: Callable[[], None], table: MountTable | None = None
) -> Iterator[tuple[Watcher, RecordingLog]]:
    """A started watcher, and what it logs."""
    log = RecordingLog()
    watcher = Watcher(roots, nudge=nudge, log=log, table=table)
    watcher.start()
    try:
        yield watcher, log
    finally:
        watcher.stop()


def reasons(watcher: Watcher) -> dict[str, str]:
    """The code of what gives no events, by watch."""
    return {name: one.code for name, one in watcher.unwatched.items()}
