"""Keeps the descriptors of promised files while they wait, so that a deleted log is not lost.

A rotator that deletes its oldest file during an outage then deletes a name and no bytes. At most
``files`` are held: those with the oldest mtime, because a rotator deletes these first. An older
file takes the place of the newest one that still has a name. A file without a name is never
displaced; only ``held_budget`` lets it go.

The descriptor store has each held descriptor too, and gives it back at the next start.
"""

import hashlib
import re
import threading
from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from shipper.core.lifecycle import UNCHECKED
from shipper.core.types import Shipment, ShipmentId, State
from shipper.journal.journal import Journal
from shipper.ports import DescriptorStore, PortError, Source
from shipper.services.bugs import Bugs
from shipper.services.sources.matching import matches

HELD_FILES = 256
_STORED_NAME = re.compile(r"shipment-([0-9]{1,18})-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LastCopy:
    """A file that has lost its last name, and the disk that it takes until it is let go."""

    shipment_id: ShipmentId
    mtime_ns: int
    size_bytes: int


def needs_source(shipment: Shipment) -> bool:
    """Whether the shipment's bytes may still have to be read.

    An UPLOADED object is not verified yet: the file may have to be sent again. A parked one that
    S3 has acknowledged waits for its removal only.
    """
    is_parked_unsent = shipment.state is State.PARKED and shipment.etag is None
    return shipment.state in UNCHECKED or is_parked_unsent


def age_of(shipment: Shipment) -> tuple[int, ShipmentId]:
    """The order in which a rotator deletes files: the smaller, the sooner."""
    return shipment.mtime_ns, shipment.id


def affordable_files(wanted: int, *, limit: int, reserved: int) -> int:
    """How many descriptors may be held under a limit of open files; a negative one is none."""
    return wanted if limit < 0 else max(0, min(wanted, limit - reserved))


def stored_name(shipment: Shipment) -> str:
    """The name of the shipment's descriptor in the descriptor store.

    A number is used again after a journal was lost; the digest tells its shipments apart. Nothing
    in the name changes while the shipment waits.
    """
    digest = hashlib.sha256(repr(_identity(shipment)).encode()).hexdigest()[:16]
    return f"shipment-{shipment.id}-{digest}"


def _identity(shipment: Shipment) -> tuple[object, ...]:
    return (
        shipment.watch,
        shipment.file_id.inode,
        shipment.file_id.head_length,
        shipment.file_id.head_digest,
        shipment.raw_start,
        shipment.raw_end,
        shipment.tail_digest,
    )


def _shipment_named(name: str, journal: Journal) -> Shipment | None:
    found = _STORED_NAME.fullmatch(name)
    shipment = journal.shipment(ShipmentId(int(found[1]))) if found else None
    return shipment if shipment is not None and stored_name(shipment) == name else None


@dataclass(slots=True)
class _Holding:
    shipment: Shipment
    source: Source
    borrowers: int = 0
    is_dropped: bool = False

    def is_of(self, shipment: Shipment) -> bool:
        """Whether it is this shipment's file: a number alone may be used again."""
        return _identity(self.shipment) == _identity(shipment)


class HeldFiles:
    """Held files by shipment; ``_lock`` guards the tables, never a read.

    ``keep`` and ``restore`` belong to one thread, everything else to any. A source that is lent
    stays open until it is given back, even when it is dropped meanwhile: the number of a closed
    descriptor may become another file's under the reader.
    """

    def __init__(self, *, store: DescriptorStore, bugs: Bugs, files: int = HELD_FILES) -> None:
        self._store = store
        self._bugs = bugs
        self._files = files
        self._lock = threading.Lock()
        self._holdings: dict[ShipmentId, _Holding] = {}
        self._named: list[tuple[int, ShipmentId]] = []
        """Those that had a name when last asked, the oldest first."""
        self.unlinked_bytes = 0
        """What was held of files without a name when it was last measured."""

    def restore(self, journal: Journal, log: Any) -> None:
        """Hold what the descriptor store kept of an earlier start; close what nobody waits for.

        A file is held even beyond ``files``, because it may have lost its name. One that meets a
        bug stays in the store: it may be the last copy.
        """
        for name, source in self._store.kept():
            self._bugs.contained(
                partial(self._restore, name, source, journal, log),
                lambda problem: None,
                descriptor=name,
            )

    def _restore(self, name: str, source: Source, journal: Journal, log: Any) -> None:
        shipment = _shipment_named(name, journal)
        code = self._refusal(shipment, source)
        if shipment is not None and not code:
            self._add(_Holding(shipment, source))
            return
        if code != "Settled":
            _say_unclaimed(name, code, source, log)
        source.close()
        self._store.remove(name)

    def _refusal(self, shipment: Shipment | None, source: Source) -> str:
        """Why a stored descriptor is not held again; empty when it is."""
        if shipment is None:
            return "JournalLost"
        if not needs_source(shipment):
            return "Settled"
        try:
            is_it = self._bugs.contained(
                partial(matches, source, shipment), lambda problem: True, shipment=shipment.id
            )
        except PortError:
            is_it = True  # whoever reads it for the shipment finds out, as after a bug
        return "" if is_it else "SourceChanged"

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
        """Take the source over; it is closed when there is no place for it."""
        if not self._has_place(shipment):
            source.close()
            return
        name = stored_name(shipment)
        with ExitStack() as on_failure:
            on_failure.callback(self._store.remove, name)
            self._store.put(name, source)  # first: a drop that follows removes it
            self._add(_Holding(shipment, source))
            on_failure.pop_all()

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

    def shipments(self) -> list[ShipmentId]:
        """Whose files are held."""
        with self._lock:
            return list(self._holdings)

    def last_copies(self) -> list[LastCopy]:
        """What would be lost if it were let go. Asks the file system about everything held."""
        with self._lock:
            holdings = list(self._holdings.values())
        copies = []
        for holding in holdings:
            size_bytes = self._bugs.contained(
                partial(self._last_bytes, holding),
                lambda problem: 0,
                shipment=holding.shipment.id,
            )
            if size_bytes:
                mtime_ns, shipment_id = age_of(holding.shipment)
                copies.append(LastCopy(shipment_id, mtime_ns, size_bytes))
        self.unlinked_bytes = sum(copy.size_bytes for copy in copies)
        return copies

    def drop(self, shipment_id: ShipmentId) -> None:
        """Close it, now or when it is given back; idempotent. The descriptor store forgets it."""
        with self._lock:
            holding = self._holdings.pop(shipment_id, None)
            if holding is None:
                return
            self._forget_name(holding)
            holding.is_dropped = True
            is_lent = holding.borrowers > 0
        self._store.remove(stored_name(holding.shipment))
        if not is_lent:
            holding.source.close()

    def close(self) -> None:
        """Close every descriptor; nobody may be at work. The descriptor store keeps its own."""
        with self._lock:
            holdings = list(self._holdings.values())
            self._holdings.clear()
            self._named.clear()
        for holding in holdings:
            holding.source.close()

    def _has_place(self, shipment: Shipment) -> bool:
        """Whether there is one, if need be that of the newest file that still has a name."""
        if self.has(shipment):
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
        if is_over:
            holding.source.close()

    def _last_bytes(self, holding: _Holding) -> int:
        try:
            with self.lend(holding.shipment) as source:
                return source.unlinked_bytes() if source is not None else 0
        except PortError:
            return 0

    def _is_last(self, holding: _Holding) -> bool:
        """Whether the file has lost its name; what cannot be told is not risked."""
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


def _say_unclaimed(name: str, code: str, source: Source, log: Any) -> None:
    hint = "the file had no name any more: what of it was not shipped is lost"
    try:
        stat = source.stat()
        links, size_bytes = stat.link_count, stat.size_bytes
    except PortError as error:  # a network's file that its server has forgotten, for one
        links = size_bytes = 0
        hint = f"whether the file still had a name cannot be told: {error}"
    if not links:
        log.error("held.unclaimed", name=name, code=code, size_bytes=size_bytes, hint=hint)
