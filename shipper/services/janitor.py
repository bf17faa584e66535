"""The janitor: keeps due times from depending on a wall clock that jumps, and descriptors few.

``due_at`` is wall time because it must survive a reboot. When the clock is set, every due time
moves with it; when it was set while nobody watched, no due time stays further off than any wait
could be. A descriptor that was taken up just as its shipment finished is closed here.
"""

from typing import Any

from shipper.core.schedule import LONGEST_RETRY_SECONDS
from shipper.journal import Journal
from shipper.ports import Clock, PortError
from shipper.services.held import Held

STEP_SECONDS = 10.0
JUMP_SECONDS = 2.0
"""Smaller corrections are the time daemon's slewing."""


class Janitor:
    """Watches the wall clock against the one that cannot be set, and what is held for nothing."""

    def __init__(
        self, *, journal: Journal, held: Held, clock: Clock, longest_wait_seconds: float, log: Any
    ) -> None:
        self._journal = journal
        self._held = held
        self._clock = clock
        self._longest_wait_seconds = max(longest_wait_seconds, LONGEST_RETRY_SECONDS)
        self._log = log
        self._offset: float | None = None

    def step(self) -> float:
        """Look once; the seconds to wait before the next look."""
        try:
            self._keep_due_times()
            self._close_what_is_held_for_nothing()
        except PortError:
            pass  # the journal's disk is full, which discovery says; this comes round again
        return STEP_SECONDS

    def _keep_due_times(self) -> None:
        now, offset = self._clock.now(), self._clock.now() - self._clock.boottime()
        if self._offset is not None and abs(offset - self._offset) > JUMP_SECONDS:
            seconds = offset - self._offset
            self._journal.rebase(seconds)
            self._log.warning("clock.jumped", seconds=round(seconds, 3))
        # Always, for what was written between the jump and this look has moved too far.
        self._journal.clamp(now + self._longest_wait_seconds)
        self._offset = offset

    def _close_what_is_held_for_nothing(self) -> None:
        for shipment_id in self._held.shipments():
            shipment = self._journal.shipment(shipment_id)
            if shipment is None or shipment.due_at is None:
                self._held.drop(shipment_id)
