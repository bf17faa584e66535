"""The budget of held bytes: what shipper may keep of files that have lost their last name.

Such bytes are disk that looks free and is not; a file that still has a name costs nothing. So the
bytes of those that have none are measured. What is beyond the budget is let go, the newest first,
and is a loud GONE at once: nobody should learn of it at the end of an outage.
"""

from collections.abc import Mapping
from typing import Any

from shipper.core.holding import LastCopy, beyond_budget
from shipper.core.lifecycle import SourceVanished
from shipper.core.object_keys import printable
from shipper.core.types import Shipment, State, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Clock, PortError
from shipper.services.sources.canonical_line import tell_vanished
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup

HINT = "raise uploads.held_bytes, free space in the state directory, or let the rotator keep more"


class HeldBudget:
    """Keeps what is held within the budget. ``enforce`` belongs to one thread."""

    def __init__(
        self,
        *,
        held: HeldFiles,
        journal: Journal,
        lookup: SourceLookup,
        watches: Mapping[WatchName, Watch],
        clock: Clock,
        budget_bytes: int,
        log: Any,
    ) -> None:
        self._held = held
        self._journal = journal
        self._lookup = lookup
        self._watches = watches
        self._clock = clock
        self._budget_bytes = budget_bytes
        self._log = log

    def enforce(self) -> None:
        """Measure once, and let go of what is too much.

        Raises:
            PortError: ``JournalUnwritable``; what was let go is found to be gone later.
        """
        for copy in beyond_budget(
            self._held.last_copies(),
            budget_bytes=self._budget_bytes,
            lacking_bytes=self._held.lacking_bytes(),
        ):
            self._let_go(copy)

    def _let_go(self, copy: LastCopy) -> None:
        """Nothing that a worker reads: it comes round again, or is shipped meanwhile."""
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
            if code == "SourceVanished" and shipment.state in (State.READY, State.UPLOADING):
                gone = self._journal.record(shipment, SourceVanished(self._clock.now()))
                tell_vanished(self._log, gone, self._clock.now())
        finally:
            self._journal.queue.release(shipment.id)

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
