"""What the journal knows about itself: its instance, and the settings of its uploads."""

import json
from collections.abc import Mapping
from typing import Any

from shipper.core.types import UploadSettings
from shipper.journal.database import Database

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

SELECT_STARTS = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'starts'"


class Origin:
    """A part of the journal, in the same file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def instance_id(self) -> str:
        """The instance that last adopted the journal; empty when none did."""
        rows = self._database.query(SELECT_META, "instance_id")
        return str(rows[0][0]) if rows else ""

    def facts(self) -> Mapping[str, Any]:
        """What that instance said of itself; empty where nothing is known."""
        rows = self._database.query(SELECT_META, "facts")
        return dict(json.loads(rows[0][0])) if rows else {}

    def settings(self) -> UploadSettings | None:
        """The settings with which the last uploads were begun; None before the first."""
        query = self._database.query
        bucket, digest = (query(SELECT_META, name) for name in ("bucket", "terms"))
        return UploadSettings(bucket[0][0], digest[0][0]) if bucket and digest else None

    def starts(self) -> int:
        """How many starts it knows of; 0 for a new one."""
        rows = self._database.query(SELECT_STARTS)
        return int(rows[0][0]) if rows else 0

    def count_start(self, known: int) -> int:
        """Count one more than the journal or ``known`` says; the new number."""
        starts = max(self.starts(), known) + 1
        with self._database.transaction() as run:
            run(INSERT_META, ("starts", str(starts)))
        return starts

    def probe(self) -> None:
        """Write one row, whose value means nothing.

        Raises:
            PortError: ``JournalUnwritable``.
        """
        with self._database.transaction() as run:
            run(INSERT_META, ("probe", ""))

    def begin(self, settings: UploadSettings) -> None:
        with self._database.transaction() as run:
            run(INSERT_META, ("bucket", settings.bucket))
            run(INSERT_META, ("terms", settings.digest))
