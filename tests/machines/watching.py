"""Watchers on real directories, and what they nudge."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shipper.edges.files.watcher import MountTable, Root, Watcher
from tests.fakes.log import RecordingLog
from tests.machines.waiting import comes_true

NUDGE_SECONDS = 30.0


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
        return comes_true(lambda: self.count > before, NUDGE_SECONDS)


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
