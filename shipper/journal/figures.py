"""What reports ask of the journal: how much there is of what, and one example of it."""

import json
from collections.abc import Iterable

from shipper.core.types import Shipment, ShipmentId, State, Total, WatchName
from shipper.journal import statements as sql
from shipper.journal.database import Database
from shipper.journal.schema import shipment_from_row


class Figures:
    """Counts, ages and examples; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lost_files(self) -> dict[WatchName, int]:
        """How many of them each watch has, where there are any."""
        return dict(self._database.query(sql.SELECT_LOST_FILES))

    def oldest_unshipped(self) -> Shipment | None:
        """The oldest shipment that S3 has not acknowledged, parked or not."""
        found = self._first(sql.SELECT_OLDEST) + self._first(sql.SELECT_OLDEST_PARKED)
        return min(found, key=lambda one: one.promised_at, default=None)

    def unsent_since(self) -> dict[WatchName, float]:
        """Since when the oldest byte of each watch waits that is promised and not in S3."""
        return dict(self._database.query(sql.SELECT_UNSENT_SINCE))

    def received_bytes(self, shipments: Iterable[Shipment]) -> dict[ShipmentId, int]:
        """How many raw bytes of each S3 has in parts, where it has any."""
        ids = json.dumps([one.id for one in shipments])
        return dict(self._database.query(sql.SELECT_RECEIVED, ids))

    def failing(self, attempts: int, destination: str = "") -> tuple[int, Shipment] | None:
        """How many shipments have failed so often and are due again, and the newest of them."""
        such = destination, attempts
        files = self._database.query(sql.SELECT_FAILING_FILES, *such)[0][0]
        return next(((files, one) for one in self._first(sql.SELECT_FAILING, *such)), None)

    def failed_files(self) -> dict[tuple[str, WatchName], int]:
        """How many unshipped files failed when they were last tried, by code and watch."""
        rows = self._database.query(sql.SELECT_FAILED_FILES)
        return {(code, watch): files for code, watch, files in rows}

    def failed(self, code: str) -> list[Shipment]:
        """One of those with this code, if any."""
        return self._database.shipments(sql.SELECT_FAILED, code)

    def _first(self, statement: str, *parameters: object) -> list[Shipment]:
        """The row that has the statement's minimum or maximum, if any."""
        rows = self._database.query(statement, *parameters)
        return [shipment_from_row(row) for row in rows if row[0] is not None]

    def last_success_at(self, destination: str | None = None) -> float | None:
        """When a shipment was last DONE; of a destination, if it is among the newest of all."""
        row = (
            self._database.query(sql.SELECT_LAST_SUCCESS)[0]
            if destination is None
            else self._database.query(sql.SELECT_LAST_SUCCESS_OF, destination)[0]
        )
        return None if row[0] is None else float(row[0])

    def newest_sizes(self, limit: int) -> dict[WatchName, list[int]]:
        """By watch, the stored sizes of the newest finished objects: so many of all together."""
        sizes: dict[WatchName, list[int]] = {}
        for watch, stored_bytes in self._database.query(sql.SELECT_SIZES, limit):
            sizes.setdefault(watch, []).append(stored_bytes)
        return sizes

    def newest(self) -> dict[WatchName, float]:
        """When the newest log of each watch was promised that is in S3 or on its way there."""
        return {watch: at for watch, at in self._database.query(sql.SELECT_NEWEST) if at}

    def totals(self) -> list[Total]:
        rows = self._database.query(sql.SELECT_TOTALS)
        states = State._value2member_map_
        return [
            Total(watch, State(state), *numbers)
            for watch, state, *numbers in rows
            if state in states
        ]
