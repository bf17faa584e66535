"""The janitor: keeps what is due from depending on a wall clock that jumps.

``due_at`` is wall time because it must survive a reboot. When the clock is set, every due time
moves with it; when it was set while nobody watched, no due time stays further off than any wait
could be.
"""

from typing import Any

from shipper.core.schedule import LONGEST_RETRY_SECONDS
from shipper.journal import Journal
from shipper.ports import Clock

STEP_SECONDS = 10.0
JUMP_SECONDS = 2.0
"""Smaller corrections are the time daemon's slewing."""


class Janitor:
    """Watches the wall clock against the one that cannot be set."""

    def __init__(
        self, *, journal: Journal, clock: Clock, longest_wait_seconds: float, log: Any
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._longest_wait_seconds = max(longest_wait_seconds, LONGEST_RETRY_SECONDS)
        self._log = log
        self._offset: float | None = None

    def step(self) -> float:
        """Look at the clocks; the seconds to wait before the next look."""
        now, offset = self._clock.now(), self._clock.now() - self._clock.boottime()
        if self._offset is None:
            self._journal.clamp(now + self._longest_wait_seconds)
        elif abs(offset - self._offset) > JUMP_SECONDS:
            seconds = offset - self._offset
            self._journal.rebase(seconds)
            self._log.warning("clock.jumped", seconds=round(seconds, 3))
        self._offset = offset
        return STEP_SECONDS
