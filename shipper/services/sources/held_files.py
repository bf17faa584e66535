"""What keeps promised files from vanishing while they wait: a clone of each, else its descriptor.

A rotator that deletes its oldest file during an outage then deletes a name and no bytes. So many
files are held (``files``, descriptors and clones together): those with the oldest mtime, for a
rotator deletes these first. An older file takes the place of the newest one that still has a
name; what has lost its name is never displaced, only let go by ``services.held_budget``.

Whatever is lent stays open until it is given back, even when it is dropped meanwhile: a number
that is closed under a reader would become another file's.
"""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shipper.core.holding import LastCopy, age_of
from shipper.core.types import Shipment, ShipmentId
from shipper.journal.journal import Journal
from shipper.ports import PortError, Source
from shipper.services.sources.cloning import Cloning

HELD_FILES = 256


@dataclass(slots=True)
class _Holding:
    """A held file; without a source, it is a clone."""

    shipment: Shipment
    source: Source | None
    borrowers: int = 0
    is_dropped: bool = False

    def is_of(self, shipment: Shipment) -> bool:
        """Numbers are used again when a journal is adopted; files are not."""
        mine = self.shipment
        return (mine.file_id, mine.raw_start, mine.raw_end, mine.tail_digest) == (
            shipment.file_id,
            shipment.raw_start,
            shipment.raw_end,
            shipment.tail_digest,
        )


class HeldFiles:
    """Held files by shipment; ``_lock`` guards the tables, never a read.

    ``keep`` and ``restore`` belong to one thread, everything else to any.
    """

    def __init__(
        self,
        *,
        cloning: Cloning,
        is_named: Callable[[Shipment], bool],
        files: int = HELD_FILES,
    ) -> None:
        self._cloning = cloning
        self._is_named = is_named
        self._files = files
        self._lock = threading.Lock()
        self._holdings: dict[ShipmentId, _Holding] = {}
        self._named: list[tuple[int, ShipmentId]] = []
        """Those that had a name when last asked, the oldest first."""
        self.unlinked_bytes = 0
        """What was held of files without a name when it was last measured."""

    def change(
        self, *, cloning: Cloning, is_named: Callable[[Shipment], bool], files: int
    ) -> None:
        """Go on by another configuration. What is held stays; nobody else may be at work."""
        self._cloning, self._is_named, self._files = cloning, is_named, files

    def restore(self, journal: Journal) -> None:
        """Take up the clones that an earlier life left.

        Raises:
            PortError: ``StateUnwritable``.
        """
        for shipment in self._cloning.waiting(journal):
            self._add(_Holding(shipment, None))

    def has(self, shipment: Shipment) -> bool:
        """Whether the shipment's file is held."""
        with self._lock:
            return self._holding(shipment) is not None

    def wants(self, shipment: Shipment) -> bool:
        """Whether ``keep`` may find a place for the shipment's file."""
        with self._lock:
            if self._holding(shipment) is not None:
                return False
            newest = self._named[-1] if self._named else None
            return self._has_room() or (newest is not None and age_of(shipment) < newest)

    def keep(self, shipment: Shipment, source: Source) -> None:
        """Take the source over; it is closed when a clone or an older file takes its place."""
        if not self._has_place(shipment):
            source.close()
        elif self._cloning.make(shipment, source):
            source.close()
            self._add(_Holding(shipment, None))
        else:
            self._add(_Holding(shipment, source))

    @contextmanager
    def lend(self, shipment: Shipment) -> Iterator[Source | None]:
        """The held descriptor for the time of a ``with``, or None."""
        with self._lock:
            holding = self._holding(shipment)
            if holding is not None:
                holding.borrowers += 1
        try:
            yield holding.source if holding is not None else None
        finally:
            if holding is not None:
                self._take_back(holding)

    def open_clone(self, shipment: Shipment) -> Source | None:
        """The shipment's clone, if there is one that holds what was promised; to be closed.

        Raises:
            PortError: ``Unreadable``.
        """
        with self._lock:
            holding = self._holding(shipment)
        is_clone = holding is not None and holding.source is None
        return self._cloning.open(shipment) if is_clone else None

    def shipments(self) -> list[ShipmentId]:
        """Whose files are held."""
        with self._lock:
            return list(self._holdings)

    def counts(self) -> tuple[int, int]:
        """How many descriptors and how many clones."""
        with self._lock:
            clones = sum(holding.source is None for holding in self._holdings.values())
            return len(self._holdings) - clones, clones

    def last_copies(self) -> list[LastCopy]:
        """What would be lost if it were let go. Asks the file system about everything held."""
        with self._lock:
            holdings = list(self._holdings.values())
        copies = []
        for holding in holdings:
            size_bytes = self._last_bytes(holding)
            if size_bytes:
                mtime_ns, shipment_id = age_of(holding.shipment)
                copies.append(LastCopy(shipment_id, mtime_ns, size_bytes, holding.source is None))
        self.unlinked_bytes = sum(copy.size_bytes for copy in copies)
        return copies

    def lacking_bytes(self) -> int:
        """By how much the file system of the clones is short of free space."""
        return self._cloning.lacking_bytes()

    def drop(self, shipment_id: ShipmentId) -> None:
        """Close or remove it, now or when it is given back; idempotent."""
        with self._lock:
            holding = self._holdings.pop(shipment_id, None)
            if holding is None:
                return
            self._forget_name(holding)
            holding.is_dropped = True
            is_lent = holding.borrowers > 0
        if holding.source is None:
            self._cloning.remove(holding.shipment)
        elif not is_lent:
            holding.source.close()

    def close(self) -> None:
        """Close every descriptor. Clones stay: they are for the next life."""
        with self._lock:
            cloned = [one for one, holding in self._holdings.items() if holding.source is None]
            for shipment_id in cloned:
                self._forget_name(self._holdings.pop(shipment_id))
        for shipment_id in self.shipments():
            self.drop(shipment_id)

    def _has_place(self, shipment: Shipment) -> bool:
        """Whether there is one, if need be that of the newest file that still has a name."""
        with self._lock:
            is_held = self._holding(shipment) is not None
        if is_held:
            return False
        self.drop(shipment.id)  # another file's, under a number that is used again
        while True:
            with self._lock:
                if self._has_room():
                    return True
                if not self._named or self._named[-1] <= age_of(shipment):
                    return False
                newest = self._holdings[self._named[-1][1]]
            if self._is_last(newest):
                with self._lock:
                    self._forget_name(newest)
            else:
                self.drop(newest.shipment.id)

    def _add(self, holding: _Holding) -> None:
        with self._lock:
            self._holdings[holding.shipment.id] = holding
            insort(self._named, age_of(holding.shipment))

    def _take_back(self, holding: _Holding) -> None:
        with self._lock:
            holding.borrowers -= 1
            is_over = holding.is_dropped and not holding.borrowers
        if is_over and holding.source is not None:
            holding.source.close()

    def _last_bytes(self, holding: _Holding) -> int:
        if holding.source is None:
            return self._cloning.own_bytes(holding.shipment)
        try:
            with self.lend(holding.shipment) as source:
                return source.unlinked_bytes() if source is not None else 0
        except PortError:
            return 0

    def _is_last(self, holding: _Holding) -> bool:
        """Whether the file has lost its name; what cannot be told is not risked."""
        if holding.source is None:  # which blocks are shared does not tell: a reader may linger
            return not self._is_named(holding.shipment)
        try:
            with self.lend(holding.shipment) as source:
                return source is not None and source.stat().link_count == 0
        except PortError:
            return True

    # With the lock held.

    def _holding(self, shipment: Shipment) -> _Holding | None:
        holding = self._holdings.get(shipment.id)
        return holding if holding is not None and holding.is_of(shipment) else None

    def _has_room(self) -> bool:
        return len(self._holdings) < self._files

    def _forget_name(self, holding: _Holding) -> None:
        age = age_of(holding.shipment)
        at = bisect_left(self._named, age)
        if at < len(self._named) and self._named[at] == age:
            del self._named[at]
