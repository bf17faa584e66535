"""One host's journal: rows in memory, and the claims of ``journal.queue`` on them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shipper.core.lifecycle import Event, advance
from shipper.core.types import Shipment, ShipmentId, State
from shipper.journal.queue import ANY_SIZE, Sizes

UNSENT = (State.READY, State.UPLOADING)


class Rows:
    """``Journal`` and its ``Queue``, as far as a carrier of small files asks them.

    Nothing is refused here for good, so ``hold`` and ``take_up`` are never called.
    """

    def __init__(self) -> None:
        self._open: dict[ShipmentId, Shipment] = {}
        self._claimed: set[ShipmentId] = set()

    @property
    def queue(self) -> "Rows":
        return self

    @property
    def count(self) -> int:
        """How many are not over."""
        return len(self._open)

    def promise(self, shipment: Shipment) -> None:
        self._open[shipment.id] = shipment

    # The journal.

    def shipment(self, number: ShipmentId) -> Shipment | None:
        return self._open.get(number)

    def record(self, shipment: Shipment, *events: Event) -> Shipment:
        for event in events:
            shipment = advance(shipment, event)
        if shipment.due_at is None:
            self._open.pop(shipment.id, None)
        else:
            self._open[shipment.id] = shipment
        return shipment

    def record_all(self, entries: Iterable[tuple[Shipment, Sequence[Event]]]) -> list[Shipment]:
        return [self.record(shipment, *events) for shipment, events in entries]

    # Its queue.

    def claim(
        self,
        now: float,
        sizes: Sizes = ANY_SIZE,
        most: int = 1,
        *,
        is_urgent: bool = False,
        is_trial: bool = False,
    ) -> list[Shipment]:
        due = [
            row
            for row in self._open.values()
            if row.due_at is not None and row.due_at <= now and row.id not in self._claimed
        ]
        due.sort(key=lambda row: (row.due_at, row.id))
        if is_trial:
            untried = [row for row in due if row.state in UNSENT and not row.code]
            due = untried[::-1] + due
        found = due[:most]
        self._claimed.update(row.id for row in found)
        return found

    def release(self, number: ShipmentId) -> None:
        self._claimed.discard(number)

    def next_due_at(self, sizes: Sizes = ANY_SIZE) -> float | None:
        free = (row.due_at for row in self._open.values() if row.id not in self._claimed)
        return min((due_at for due_at in free if due_at is not None), default=None)

    def is_idle(self, now: float) -> bool:
        due_at = self.next_due_at()
        return not self._claimed and (due_at is None or due_at > now)

    def requeue(self, now: float) -> None:
        """As ``statements.REQUEUE``, where nothing is refused for good."""
        for row in self._open.values():
            due_at = row.due_at or 0.0
            if row.code and row.state in UNSENT and due_at > row.promised_at:
                self._open[row.id] = replace(row, due_at=min(row.promised_at, now))
