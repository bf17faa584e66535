"""A bell for watchers on real directories."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shipper.edges.files.mounts import MountTable
from shipper.edges.files.watcher import Root, Watcher
from tests.fakes.log import RecordingLog
from tests.machines.waiting import comes_true

RING_SECONDS = 30.0


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
        return comes_true(lambda: self.nudges > before, RING_SECONDS)


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
