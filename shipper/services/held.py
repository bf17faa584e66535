"""Descriptors of promised files, kept open while they wait.

A rotator that deletes its oldest file during an outage then deletes a name and no bytes. The
budget bounds what that may cost: open descriptors, and disk that looks free but is not.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shipper.core.types import ShipmentId
from shipper.ports import PortError, Source

HELD_FILES = 256
HELD_BYTES = 8 * 1024**3


class Held:
    """Open sources by shipment; ``_lock`` guards the table, never a read."""

    def __init__(self, *, files: int = HELD_FILES, total_bytes: int = HELD_BYTES) -> None:
        self._files = files
        self._bytes = total_bytes
        self._lock = threading.Lock()
        self._sources: dict[ShipmentId, tuple[Source, int]] = {}

    def has(self, shipment_id: ShipmentId) -> bool:
        """Whether the shipment's source is held."""
        with self._lock:
            return shipment_id in self._sources

    def has_room(self, size_bytes: int) -> bool:
        """Whether a source of that size would be kept."""
        with self._lock:
            return self._has_room(size_bytes)

    def keep(self, shipment_id: ShipmentId, source: Source) -> None:
        """Take the source over, or close it when the budget is spent or one is held already."""
        size_bytes = _size_of(source)
        with self._lock:
            if shipment_id not in self._sources and self._has_room(size_bytes):
                self._sources[shipment_id] = (source, size_bytes)
                return
        source.close()

    @contextmanager
    def lend(self, shipment_id: ShipmentId) -> Iterator[Source | None]:
        """The held source for the time of a ``with``, or None. One borrower at a time."""
        with self._lock:
            source, _ = self._sources.get(shipment_id, (None, 0))
        yield source

    def shipments(self) -> list[ShipmentId]:
        """Whose sources are held."""
        with self._lock:
            return list(self._sources)

    def drop(self, shipment_id: ShipmentId) -> None:
        """Close and forget it; idempotent."""
        with self._lock:
            source, _ = self._sources.pop(shipment_id, (None, 0))
        if source is not None:
            source.close()

    def close(self) -> None:
        """Close everything."""
        for shipment_id in self.shipments():
            self.drop(shipment_id)

    def _has_room(self, size_bytes: int) -> bool:
        held = sum(size for _, size in self._sources.values())
        return len(self._sources) < self._files and held + size_bytes <= self._bytes


def _size_of(source: Source) -> int:
    try:
        return source.stat().size_bytes
    except PortError:
        return 0
