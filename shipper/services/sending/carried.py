"""The shipment in a worker's hands, always as its row is now."""

from dataclasses import dataclass
from typing import Any

from shipper.core.lifecycle import Event, abandoned_upload_of
from shipper.core.types import Shipment
from shipper.journal.journal import Journal
from shipper.ports import ObjectStore
from shipper.services.sending.abandoned_uploads import abort
from shipper.services.sending.tasks import recorded


@dataclass
class Carried:
    """A claimed shipment, for one task."""

    shipment: Shipment
    journal: Journal
    store: ObjectStore
    log: Any
    is_brief: bool
    """Its worker is for what takes a moment."""
    is_looked_at: bool = False
    """S3 has listed it in this attempt."""

    def is_due(self, now: float) -> bool:
        """Whether there is something to do at wall time ``now``."""
        return self.shipment.due_at is not None and self.shipment.due_at <= now

    async def record(self, *events: Event) -> None:
        """Advance the row; an upload that is given up by that is aborted at once."""
        before, self.shipment = self.shipment, await recorded(self.shipment, *events)
        abandoned = abandoned_upload_of(before, self.shipment)
        if abandoned is not None:
            abort(self.store, before.key, abandoned, log=self.log)

    def reload(self) -> None:
        """Read the row again."""
        self.shipment = self.journal.shipment(self.shipment.id) or self.shipment
