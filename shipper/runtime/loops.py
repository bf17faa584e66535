"""Loops: a thread around a ``step() -> seconds to wait``, with a heart that beats.

It beats when a step is over, when bytes flow on the step's behalf in whatever thread
(``progress``), and while the loop waits. It does not beat because time passes within a step: a
step that hangs is a stall, which ``app.daemon`` shows to the watchdog.
"""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from shipper.core.object_keys import InstanceFacts
from shipper.ports import Stopping

LONGEST_WAIT_SECONDS = 30.0
"""A loop beats at least this often, which is how its thread is known to be alive; and most come
round then, so that what another process changed in the journal is acted on."""


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
    """A thread around a step. ``rest`` is how long a ring may not end the wait; ``nudge_now`` may,
    and must where the loop is to stop.

    It steps at least every ``longest_wait_seconds``. A step may end the loop with ``Stopping``.
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
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
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
        """As ``nudge``, for what cannot wait until the loop has rested."""
        self._nudged_now.set()
        self.nudge()

    def beat(self) -> None:
        """The loop makes progress (within a long step, too)."""
        self.beaten_at = time.monotonic()

    def run(self) -> None:
        """Step and wait until the daemon stops."""
        try:
            _LOOP.set(self)
            while not self._stopping.is_set():
                self._nudged.clear()
                self._nudged_now.clear()
                wait = min(self._step(), self._longest_wait_seconds)
                self.beat()
                rest = min(wait, self._rest())
                # Asked first: who roused it to stop may have been heard before the step.
                if not self._stopping.is_set() and not wait_beating(self._nudged_now, rest):
                    wait_beating(self._nudged, wait - rest)
        except Stopping:
            return
        except BaseException as error:  # noqa: BLE001  (a loop's top)
            self._died(Died(self.name, error))


_LOOP: ContextVar[Loop] = ContextVar("loop")
"""Whose step it is, also in a thread that works for it (in a copy of its context)."""


def progress() -> None:
    """The shipment in the hands of the loop whose step this is moves."""
    loop = _LOOP.get(None)
    if loop is not None:
        loop.beat()


def wait_beating(event: threading.Event, seconds: float) -> bool:
    """Wait for the event, with the heart beating; whether it came. So a wait is no stall."""
    while seconds > LONGEST_WAIT_SECONDS:
        if event.wait(LONGEST_WAIT_SECONDS):
            return True
        seconds -= LONGEST_WAIT_SECONDS
        progress()
    return event.wait(seconds)
