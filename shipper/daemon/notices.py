"""What reaches the main thread: notices of other threads, and signals as numbers.

Signals are blocked in every thread but the main one, and there while it does not wait for a
notice. So each is either in the queue or pending, and none is lost when the program is replaced.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import FrameType

from shipper.daemon.workers import Notice

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Notices:
    """A queue. ``put`` may be called from any thread, the rest belongs to the main thread."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Notice] = SimpleQueue()
        self.put = self._queue.put

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over; to be entered before any other thread is there."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            for number in SIGNALS:
                signal.signal(number, self._signalled)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def next(self, timeout_seconds: float) -> Notice | None:
        """The next one; None when there is none for so long. Signals are let in meanwhile."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            return self._queue.get(timeout=timeout_seconds)
        except Empty:
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def left_over(self) -> list[Notice]:
        """All that nobody has taken, without letting signals in."""
        found: list[Notice] = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self._queue.get_nowait())
        return found

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._queue.put(number)


def make_pending(notices: list[Notice]) -> None:
    """Send this process the signals among the notices again. They are blocked, so they wait."""
    for notice in notices:
        if isinstance(notice, int):
            os.kill(os.getpid(), notice)
