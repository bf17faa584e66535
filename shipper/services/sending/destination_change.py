"""What becomes of uploads under way when the configuration changes where or how they go.

Keys are fixed by their promises and stay. What was verified was verified in the bucket it was sent
to, and may be disposed of. What S3 acknowledged and nobody verified is looked for in the bucket of
today: it is there, or it is sent there. An upload that was begun with other settings is begun
anew.
"""

from functools import partial
from typing import Any

from shipper.core.lifecycle import CheckRetried, UploadLost
from shipper.core.types import ObjectKey, Shipment, State, UploadId, UploadSettings
from shipper.journal.journal import Journal
from shipper.ports import Clock
from shipper.services.bugs import Bugs


def move(
    journal: Journal, settings: UploadSettings, *, clock: Clock, bugs: Bugs, log: Any
) -> list[tuple[ObjectKey, UploadId]]:
    """Bring what is under way to ``settings``, before anything is sent with them.

    Returns the uploads that are to be aborted. S3 is not asked here, because this belongs to the
    main thread. The journal remembers the settings last, so a process that dies in between does it
    again.

    Raises:
        PortError: ``JournalUnwritable``.
    """
    before = journal.origin.settings()
    abandoned: list[tuple[ObjectKey, UploadId]] = []
    if before == settings:
        return abandoned
    if before is not None:
        is_elsewhere = before.bucket != settings.bucket
        moved = [
            row
            for row in journal.under_way()
            if bugs.contained(
                partial(_is_moved, journal, row, is_elsewhere, clock),
                lambda problem: False,
                shipment=row.id,
            )
        ]
        log.warning("destination.changed", bucket=settings.bucket, shipments=len(moved))
        abandoned = [
            (row.key, row.upload_id) for row in moved if row.upload_id and not is_elsewhere
        ]
    journal.origin.begin(settings)
    return abandoned


def _is_moved(journal: Journal, shipment: Shipment, is_elsewhere: bool, clock: Clock) -> bool:
    """Skip what a worker has: S3 knows no upload of another bucket, and that shows by itself."""
    is_acknowledged = shipment.state is State.UPLOADED
    if (is_acknowledged and not is_elsewhere) or journal.queue.claim_one(shipment.id) is None:
        return False
    try:
        event = CheckRetried(clock.now()) if is_acknowledged else UploadLost("DestinationChanged")
        journal.record(shipment, event)
    finally:
        journal.queue.release(shipment.id)
    return True
