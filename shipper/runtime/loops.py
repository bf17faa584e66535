"""Loops: a thread around a ``step() -> seconds to wait``, with a heartbeat.

A loop beats when a step is over, when ``progress`` is called on the step's behalf in whatever
thread, and while it waits. A step that hangs does not beat: it is a stall, which
``daemon.daemon`` shows to systemd's watchdog.
"""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from shipper.core.object_keys import InstanceFacts
from shipper.ports import Stopping

LONGEST_WAIT_SECONDS = 30.0
"""A loop beats at least this often. Most loops also step this often, and so act on what another
process changed in the journal."""


@dataclass(slots=True)
class Nudges:
    """Whom the services wake. The daemon enters its loops once they exist."""

    discovery: Callable[[], None] = lambda: None
    carriers: Callable[[], None] = lambda: None
    credentials: Callable[[], None] = lambda: None
    look: Callable[[], None] = lambda: None
    """Wakes discovery even while it rests after a long scan: live files cannot wait."""
    draining: Callable[[], None] = lambda: None
    refreshed: Callable[[], None] = lambda: None
    known: Callable[[InstanceFacts], None] = lambda facts: None


@dataclass(frozen=True, slots=True)
class Died:
    """A loop ended with an exception: a bug of ours."""

    loop: str
    error: BaseException


class Loop(threading.Thread):
    """A thread around a step, which runs at least every ``longest_wait_seconds``.

    ``rest`` gives the seconds during which ``nudge`` does not end the wait; ``nudge_now`` does.
    A step may end the loop with ``Stopping``; else ``finish`` is called when it is to stop.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        *,
        stopping: threading.Event,
        died: Callable[[Died], None],
        rest: Callable[[], float] = lambda: 0.0,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._finish = finish
        self._stopping = stopping
        self._died = died
        self._rest = rest
        self._longest_wait_seconds = longest_wait_seconds
        self._nudged = threading.Event()
        self._nudged_now = threading.Event()
        self.beaten_at = time.monotonic()

    def nudge(self) -> None:
        """End the present wait, or the next one."""
        self._nudged.set()

    def nudge_now(self) -> None:
        """End the wait even while the loop rests; who stops the loop must call this."""
        self._nudged_now.set()
        self.nudge()

    def beat(self) -> None:
        """Note that the loop makes progress, also within a long step."""
        self.beaten_at = time.monotonic()

    def run(self) -> None:
        try:
            _LOOP.set(self)
            while not self._stopping.is_set():
                self._nudged.clear()
                self._nudged_now.clear()
                wait = min(self._step(), self._longest_wait_seconds)
                self.beat()
                rest = min(wait, self._rest())
                # A nudge that came with the stop may have been cleared before the step.
                if not self._stopping.is_set() and not wait_beating(self._nudged_now, rest):
                    wait_beating(self._nudged, wait - rest)
            self._finish()
        except Stopping:
            return
        except BaseException as error:  # noqa: BLE001  (a loop's top)
            self._died(Died(self.name, error))


_LOOP: ContextVar[Loop] = ContextVar("loop")
"""The loop whose step this is, also in a thread that runs in a copy of its context."""


def progress() -> None:
    """Beat for the loop whose step this is; nothing outside of a step."""
    loop = _LOOP.get(None)
    if loop is not None:
        loop.beat()


def progress_or_stop(stopping: threading.Event) -> None:
    """As ``progress``, in the midst of a long step."""
    progress()
    if stopping.is_set():
        raise Stopping


def wait_beating(event: threading.Event, seconds: float) -> bool:
    """Wait for the event, beating meanwhile; whether it came."""
    while seconds > LONGEST_WAIT_SECONDS:
        if event.wait(LONGEST_WAIT_SECONDS):
            return True
        seconds -= LONGEST_WAIT_SECONDS
        progress()
    return event.wait(seconds)
