"""How much is sent at once and how fast, for the whole daemon.

Every request to S3 takes a slot, so a refusal slows down all workers. ``Bandwidth`` is handed out
in pieces, first come first served: a small file waits for one piece of a large one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from shipper.core.concurrency import Concurrency, passed, slowed, widened
from shipper.core.failures import TOO_MANY_CODES
from shipper.ports import Clock, PortError

MEANWHILE_SECONDS = 10.0


class ConcurrencyLimiter:
    """Bounds the requests under way; ``meanwhile`` is called while one waits for its slot.

    ``_changed`` guards all fields and is never held over the network.
    """

    def __init__(
        self, *, most: int, clock: Clock, log: Any, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        self._meanwhile = meanwhile
        self._clock = clock
        self._log = log
        self._changed = threading.Condition()
        self._concurrency = Concurrency(most, most)
        self._under_way = 0

    @property
    def allowed(self) -> int:
        with self._changed:
            return self._concurrency.allowed

    def widen(self, factor: int) -> None:
        """Multiply the bound: at once, or slowly if S3 has asked to slow down."""
        with self._changed:
            self._concurrency = widened(self._concurrency, factor)
            self._changed.notify_all()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot, and learn from the outcome."""
        with self._changed:
            while self._under_way >= self._concurrency.allowed:
                self._changed.wait(MEANWHILE_SECONDS)
                self._meanwhile()
            self._under_way += 1
        learned: Callable[[Concurrency], Concurrency] | None = None
        try:
            yield
            learned = passed
        except PortError as error:
            if error.code in TOO_MANY_CODES:
                learned = partial(slowed, now=self._clock.monotonic())
            raise
        finally:
            self._end(learned)

    def _end(self, learned: Callable[[Concurrency], Concurrency] | None) -> None:
        with self._changed:
            before = self._concurrency
            self._concurrency = after = learned(before) if learned else before
            self._under_way -= 1
            self._changed.notify_all()
        if after.allowed < before.allowed:
            self._log.warning("pace.slowed", requests_at_once=after.allowed)
        elif after.allowed == after.most > before.allowed:
            self._log.info("pace.recovered", requests_at_once=after.allowed)


class Bandwidth:
    """So many bytes a second at most; ``_lock`` guards ``_free_at``."""

    def __init__(self, bytes_per_second: float, *, clock: Clock) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> Callable[[], float]:
        """Ask for so many bytes. They may go out after all that were asked for before.

        Never blocks. What is returned gives the seconds until then; not above 0 when it has come.
        """
        with self._lock:
            begins_at = max(self._clock.monotonic(), self._free_at)
            self._free_at = begins_at + size_bytes / self._bytes_per_second
        return lambda: begins_at - self._clock.monotonic()
