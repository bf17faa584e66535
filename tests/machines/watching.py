"""Watchers on real directories, and what they nudge."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shipper.edges.files.watcher import MountTable, Root, Watcher
from tests.fakes.log import RecordingLog

WAIT_SECONDS = 20.0


def comes_true(question: Callable[[], bool]) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not question():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


class Nudges:
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0

    def nudge(self) -> None:
        self.count += 1

    def come_after(self, act: Callable[[], object]) -> bool:
        """Whether one comes because of ``act``."""
        before = self.count
        act()
        return comes_true(lambda: self.count > before)


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
