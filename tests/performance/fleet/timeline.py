"""Time that leaps from event to event."""

import heapq
import itertools
from collections.abc import Callable

from tests.fakes.clock import START_AT


class Timeline:
    """``ports.Clock`` and what happens when, by seconds since the beginning."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return START_AT + self.seconds

    def monotonic(self) -> float:
        return 1e6 + self.seconds

    def boottime(self) -> float:
        return 1e6 + self.seconds

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (max(seconds, self.seconds), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        self.at(self.seconds + seconds, event)

    def run(self, until: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let happen what happens until then, or until it is over."""
        while self._events and self._events[0][0] <= until and not is_over():
            self.seconds, _, event = heapq.heappop(self._events)
            event()
