"""The journal as the queue: who claims which shipment next, and when shipments fall due.

A claim lives in memory only, so a process that died has claimed nothing. ``due_at`` is wall time,
because it must survive a reboot; ``rebase`` moves it when the wall clock was set. The due time of
one shipment changes with its state, in ``Journal.record``.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from shipper.core.types import Shipment, ShipmentId
from shipper.journal import statements as sql
from shipper.journal.database import Database


@dataclass(frozen=True, slots=True)
class Sizes:
    """Which shipments a worker takes: the small ones, all others, or any (None).

    A small one has no more than ``small_bytes`` to send, or to read before its removal, and no
    long comparison before that.
    """

    are_small: bool | None
    small_bytes: int = 0

    @property
    def parameters(self) -> tuple[object, ...]:
        return self.are_small, self.small_bytes, self.are_small


ANY_SIZE = Sizes(None)


@dataclass(slots=True)
class _Claims:
    """What is claimed, by destination; ``lock`` guards it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    of: defaultdict[str, set[ShipmentId]] = field(default_factory=lambda: defaultdict(set))


class Queue:
    """The queue of one destination, but where a method says otherwise.

    So the backlog of one that is down costs the claims of another nothing.
    """

    def __init__(
        self, database: Database, destination: str = "", claims: _Claims | None = None
    ) -> None:
        self._database = database
        self._destination = destination
        self._all_claims = claims or _Claims()
        self._lock = self._all_claims.lock
        self._claimed = self._all_claims.of[destination]
        self._claims = 0

    def of(self, destination: str) -> "Queue":
        """The queue of another destination; what is claimed is known to all of them."""
        return Queue(self._database, destination, self._all_claims)

    def claim(
        self,
        now: float,
        sizes: Sizes = ANY_SIZE,
        most: int = 1,
        *,
        is_urgent: bool = False,
        is_trial: bool = False,
    ) -> list[Shipment]:
        """Claim the next shipments that are due, free and of these sizes, at most so many.

        Every other claim prefers shipments whose source is to be removed. Otherwise a backlog of
        uploads would keep the disk full, or a backlog of removals would hold up the uploads.
        ``is_urgent`` prefers what is to be sent: small before large, then old before new, and
        live files last. ``is_trial`` prefers the newest that never failed: what fails again and
        again would keep the gate shut for what would pass.
        """
        with self._lock:
            self._claims += 1
            fitting = (self._destination, now, *sizes.parameters)
            found = list[Shipment]()
            if is_trial:
                found = self._free(most, sql.SELECT_UNTRIED, *fitting)
            elif is_urgent:
                found = self._free(most, sql.SELECT_URGENT, *fitting)
            elif self._claims % 2:
                found = self._free(most, sql.SELECT_REMOVABLE, *fitting)
            if len(found) < most:
                due = self._free(most, sql.SELECT_DUE, *fitting)
                found += [one for one in due if one.id not in {each.id for each in found}]
            del found[most:]
            self._claimed.update(one.id for one in found)
            return found

    def _free(self, most: int, statement: str, *parameters: object) -> list[Shipment]:
        limit = len(self._claimed) + most
        return self._database.shipments(statement, *parameters, limit, but=self._claimed)[:most]

    def claim_one(self, shipment_id: ShipmentId) -> Shipment | None:
        """Claim this shipment, due or not; None when it is claimed already or is not there.

        It may be of any destination.
        """
        with self._lock:
            if any(shipment_id in claimed for claimed in self._all_claims.of.values()):
                return None
            found = self._database.shipments(sql.SELECT_ONE, shipment_id)
            for shipment in found:
                self._all_claims.of[shipment.destination].add(shipment.id)
            return found[0] if found else None

    def claims(self) -> list[Shipment]:
        """What is claimed, of any destination, and not sent yet: as it is now, largest first."""
        with self._lock:
            every = self._all_claims.of.values()
            claimed = json.dumps([one for each in every for one in each])
        found = self._database.shipments(sql.SELECT_CLAIMED, claimed)
        return sorted(found, key=lambda one: one.raw_bytes, reverse=True)

    def release(self, shipment_id: ShipmentId) -> None:
        """Give a claim back, of whatever destination; idempotent."""
        with self._lock:
            for claimed in self._all_claims.of.values():
                claimed.discard(shipment_id)

    def next_due_at(self, sizes: Sizes = ANY_SIZE) -> float | None:
        """When ``claim`` will find something; None when it never will."""
        with self._lock:
            most = len(self._claimed) + 1
            fitting = (self._destination, *sizes.parameters)
            rows = self._database.query(sql.SELECT_NEXT_DUE, *fitting, most)
            return next((due for number, due in rows if number not in self._claimed), None)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is claimed, and nothing is due."""
        due_at = self.next_due_at()
        with self._lock:
            return not self._claimed and (due_at is None or due_at > now)

    def hold(
        self,
        pieces: Iterable[str],
        *,
        now: float,
        until: float,
        trial_at: float,
        code: str,
        detail: str,
    ) -> None:
        """Put off what is due of the keys that contain all pieces; one is due at ``trial_at``.

        That is one that was only held, if any: less is known about it than about one that was
        refused, and it may pass. ``detail`` begins with ``HELD``.
        """
        held = json.dumps([*pieces])
        with self._database.transaction() as run:
            run(sql.UPDATE_HELD, (until, code, detail, code, self._destination, now, held))
            for is_any in (False, True):
                trial = (trial_at, self._destination, trial_at, held, is_any)
                if run(sql.UPDATE_ON_TRIAL, trial).rowcount:
                    break

    def take_up(self, pieces: Iterable[str], mark: str, now: float) -> None:
        """Make due what was put off of these keys, where its detail begins with ``mark``.

        With a mark the newest go first: those that were promised together are often alike, and
        the one that passed was the newest.
        """
        held = json.dumps([*pieces])
        with self._database.transaction() as run:
            due = (now, -1e-6 if mark else 0.0, self._destination, now)
            run(sql.UPDATE_LIFTED, (*due, held, len(mark), mark))

    def rebase(self, seconds: float) -> None:
        """Move every due time, of all destinations, by what the wall clock was set by."""
        with self._database.transaction() as run:
            run(sql.UPDATE_DUE, (seconds,))

    def clamp(self, latest_at: float) -> None:
        """Bring every later due time back to ``latest_at``, of all destinations: no wait of ours
        is longer."""
        with self._database.transaction() as run:
            run(sql.CLAMP_DUE, (latest_at, latest_at))

    def make_due(self, now: float) -> int:
        """Make due every shipment of any destination that waits for an attempt; how many."""
        with self._database.transaction() as run:
            return run(sql.MAKE_DUE, (now, now)).rowcount

    def take_out(self, shipment_id: ShipmentId) -> None:
        """Never claim it again in this life: the last resort where it cannot even be parked."""
        with self._database.transaction() as run:
            run(sql.TAKE_OUT, (shipment_id,))

    def requeue(self, now: float, refused: Iterable[str] = (), seconds: int = 60) -> None:
        """Give every shipment that failed its old place: the longest promised goes first.

        Those that failed with one of the codes in ``refused`` are due within ``seconds``: all at
        once they would delay the others.
        """
        with self._database.transaction() as run:
            codes = json.dumps([*refused])
            run(sql.REQUEUE, (codes, now, seconds, now, self._destination))
