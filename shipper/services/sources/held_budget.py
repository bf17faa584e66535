"""Limits the disk that is taken only by held files without a name.

A held file that still has a name costs nothing. A deleted one costs disk that looks free and is
not. What exceeds the budget is let go, the newest first, because the oldest are sent first. Each
is a loud GONE at once, so that nobody learns of it at the end of an outage.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from shipper.core.lifecycle import UNSENT
from shipper.core.object_keys import printable
from shipper.core.types import Shipment, State, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Clock, PortError
from shipper.services.bugs import Bugs
from shipper.services.sources.canonical_line import tell_vanished
from shipper.services.sources.held_files import HeldFiles, LastCopy
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.losses import Losses

HINT = "raise uploads.held_bytes, or let the rotator keep more"


def beyond_budget(copies: Iterable[LastCopy], budget_bytes: int) -> list[LastCopy]:
    """What has to be let go: whatever does not fit, counted from the oldest.

    A file that is too large leaves its room to newer ones that are not.
    """
    left, beyond = budget_bytes, []
    for copy in sorted(copies, key=lambda copy: (copy.mtime_ns, copy.shipment_id)):
        if copy.size_bytes > left:
            beyond.append(copy)
        else:
            left -= copy.size_bytes
    return beyond


class HeldBudget:
    """Keeps what is held within the budget. ``enforce`` belongs to one thread."""

    def __init__(
        self,
        *,
        held: HeldFiles,
        journal: Journal,
        lookup: SourceLookup,
        losses: Losses,
        watches: Mapping[WatchName, Watch],
        clock: Clock,
        budget_bytes: int,
        bugs: Bugs,
        log: Any,
    ) -> None:
        self._held = held
        self._journal = journal
        self._lookup = lookup
        self._losses = losses
        self._watches = watches
        self._clock = clock
        self._budget_bytes = budget_bytes
        self._bugs = bugs
        self._log = log

    def enforce(self) -> None:
        """Measure once, and let go of what is too much.

        Raises:
            PortError: ``JournalUnwritable``; what was let go is found to be gone later.
        """
        for copy in beyond_budget(self._held.last_copies(), self._budget_bytes):
            self._bugs.contained(
                partial(self._let_go, copy), lambda problem: None, shipment=copy.shipment_id
            )

    def _let_go(self, copy: LastCopy) -> None:
        """Skip a file that a worker is reading. The next pass measures it again."""
        shipment = self._journal.queue.claim_one(copy.shipment_id)
        if shipment is None:
            return
        try:
            self._held.drop(shipment.id)  # first: it must be possible while the disk is full
            code = self._trouble(shipment)
            if not code:
                return
            self._log.error(
                "held.let_go",
                shipment=shipment.id,
                watch=shipment.watch,
                path=printable(shipment.path),
                held_bytes=copy.size_bytes,
                code=code,
                hint=HINT,
            )
            is_unsent = code == "SourceVanished" and shipment.state in UNSENT
            if is_unsent and not shipment.intents:  # else S3 is asked first, by whoever claims it
                self._end(shipment)
        finally:
            self._journal.queue.release(shipment.id)

    def _end(self, shipment: Shipment) -> None:
        watch, error = self._watches.get(shipment.watch), PortError("SourceVanished")
        event, now = self._losses.event(shipment, watch, error), self._clock.now()
        ended = self._journal.record(shipment, event)
        if ended.state is State.GONE:
            tell_vanished(self._log, ended, now)

    def _trouble(self, shipment: Shipment) -> str:
        """Why the file cannot be opened now; empty when it can, so that nothing was lost."""
        watch = self._watches.get(shipment.watch)
        if watch is None:
            return "WatchRemoved"
        try:
            with self._lookup.source(shipment, watch):
                return ""
        except PortError as error:
            return error.code
