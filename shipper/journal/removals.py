"""The files that S3 has and that may go before their time: those that wait for ``delete_after``,
and those that were kept."""

import json
from collections.abc import Iterable

from shipper.core.disk_space import Removable
from shipper.core.types import Shipment, ShipmentId, WatchName
from shipper.journal import statements as sql
from shipper.journal.database import Database


class Removals:
    """A part of the journal, in the same file; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def oldest(self, watch: WatchName, place: str, most: int) -> list[Removable]:
        """The oldest of a place, due or not, without those whose removal failed."""
        rows = self._database.query(sql.SELECT_WAITING, watch, place, most)
        return [Removable(*row) for row in rows]

    def wanted(self, watch: WatchName, place: str, most: int) -> list[Removable]:
        """The oldest kept files of a place that are to go after all."""
        rows = self._database.query(sql.SELECT_WANTED, watch, place, most)
        return [Removable(*row) for row in rows]

    def kept(
        self, watch: WatchName, place: str, after: tuple[int, int], most: int
    ) -> list[Shipment]:
        """The oldest kept files of a place behind this mtime and id, there or not."""
        return self._database.shipments(sql.SELECT_KEPT, watch, place, *after, most)

    def hasten(self, shipment_ids: Iterable[ShipmentId], now: float) -> None:
        """Make them due now."""
        with self._database.transaction() as run:
            run(sql.UPDATE_EARLY, (now, json.dumps([*shipment_ids]), now))
