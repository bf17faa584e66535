"""How much is sent at once, for one destination, and how fast, for the whole daemon.

Every request to S3 takes a slot, so a refusal slows down all workers of its destination.
``Bandwidth`` is handed out in pieces, first come first served: a small file waits for one piece
of a large one.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from shipper.core.concurrency import Concurrency, begun, passed, slowed
from shipper.core.failures import is_strained
from shipper.ports import Clock, PortError
from shipper.services.sending.tasks import Turn, answer_of

T = TypeVar("T")


class ConcurrencyLimiter:
    """Bounds the requests under way. ``_lock`` guards all fields."""

    def __init__(self, *, most: int, clock: Clock, log: Any) -> None:
        self.most = most
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._concurrency = begun(most)
        self._under_way = 0
        self._is_refused = False
        self._waiting: deque[Turn] = deque()

    @property
    def allowed(self) -> int:
        with self._lock:
            return self._concurrency.allowed

    @property
    def under_way(self) -> int:
        with self._lock:
            return self._under_way

    async def request(self, begin: Callable[[], Future[T]], *, is_small: bool = False) -> T:
        """Begin a request when it is its turn, and learn from the outcome.

        What small ones take tells whether there are too many.
        """
        if (turn := self._turn()) is not None:
            await answer_of(turn)
        began = self._clock.monotonic()
        learned: Callable[[Concurrency], Concurrency] = _unchanged
        refusal = ""
        try:
            answer = await answer_of(begin())
            now = self._clock.monotonic()
            learned = partial(
                passed, now=now, seconds=now - began if is_small else None, is_used=self._is_used()
            )
        except PortError as error:
            if is_strained(error.code, error.status):
                learned, refusal = partial(slowed, now=self._clock.monotonic()), error.code
            raise
        finally:
            self._end(learned, refusal)
        return answer

    def _is_used(self) -> bool:
        """Whether more would be under way if more were allowed; claims come in batches."""
        with self._lock:
            return 2 * self._under_way > self._concurrency.allowed

    def _turn(self) -> Turn | None:
        """None if there is no need to wait."""
        with self._lock:
            if self._under_way < self._concurrency.allowed and not self._waiting:
                self._under_way += 1
                return None
            self._waiting.append(turn := Turn())
            return turn

    def _begin_next(self) -> None:
        """Say so outside of the lock: whoever waits goes on in this very call."""
        with self._lock:
            free = max(0, self._concurrency.allowed - self._under_way)
            turns = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            self._under_way += len(turns)
        for turn in turns:
            turn.set_result(None)

    def _end(self, learned: Callable[[Concurrency], Concurrency], refusal: str) -> None:
        """``refusal`` is the code of what lets the limit sink; none where answers came late."""
        with self._lock:
            before, was_refused = self._concurrency, self._is_refused
            self._concurrency = after = learned(before)
            self._under_way -= 1
            is_full = after.allowed == after.most
            self._is_refused = bool(refusal) or (was_refused and not is_full)
        self._begin_next()
        if after.allowed < before.allowed:
            log = self._log.warning if refusal else self._log.debug
            log("requests.reduced", requests_at_once=after.allowed, code=refusal or "Late")
        elif was_refused and is_full:
            self._log.info("requests.restored", requests_at_once=after.allowed)


def _unchanged(concurrency: Concurrency) -> Concurrency:
    return concurrency


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
