"""What becomes of uploads under way when the configuration changes where or how they go.

Keys are fixed by their promises and stay. What S3 acknowledged and nobody verified is looked for
in the bucket of today: it is there, or it is sent there. So is what was verified, and is asked for
once more before its file goes. An upload that was begun with other settings is begun anew. So is
one of a watch that has another destination now.
"""

from functools import partial
from typing import Any

from shipper.core.destinations import UploadSettings, shown
from shipper.core.lifecycle import CheckRetried, UploadLost
from shipper.core.types import ObjectKey, Shipment, State, UploadId
from shipper.journal.journal import Journal
from shipper.ports import Clock
from shipper.services.bugs import Bugs


def move(
    journal: Journal,
    destination: str,
    settings: UploadSettings,
    *,
    clock: Clock,
    bugs: Bugs,
    log: Any,
) -> list[tuple[ObjectKey, UploadId]]:
    """Bring what is under way to the ``destination``, before anything is sent there.

    It has what the watches of ``settings`` ship, also what was begun at another destination. The
    journal is its own. Returns the uploads that are to be aborted. S3 is not asked here, because
    this belongs to the main thread. The journal remembers the settings last, so a process that
    dies in between does it again.

    Raises:
        PortError: ``JournalUnwritable``.
    """
    before = journal.origin.settings()
    is_same = before is None or before.bucket == settings.bucket
    moved = [
        row
        for row in journal.under_way()
        if row.watch in settings.digests
        and not _is_as_begun(row, destination, before, settings)
        and bugs.contained(
            partial(_is_moved, journal, row, row.destination != destination or not is_same, clock),
            lambda problem: False,
            shipment=row.id,
        )
    ]
    if moved or before not in (None, settings):
        name = shown(destination)
        facts: dict[str, Any] = {"bucket": settings.bucket, "shipments": len(moved)}
        log.warning("destination.changed", destination=name, **facts)
    if before != settings:
        journal.origin.begin(settings, clock.now())
    here = [row for row in moved if is_same and row.destination == destination]
    return [(row.key, row.upload_id) for row in here if row.upload_id]


def _is_as_begun(
    row: Shipment, destination: str, before: UploadSettings | None, now: UploadSettings
) -> bool:
    digests = now.digests if before is None else before.digests
    return row.destination == destination and digests.get(row.watch) == now.digests[row.watch]


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
