"""What the journal knows about itself: its instance, and the settings of its uploads."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shipper.core.types import UploadSettings
from shipper.journal.database import Database

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

SELECT_STARTS = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'starts'"
DELETE_META = "DELETE FROM meta WHERE name GLOB ?"
SELECT_LEFT = """
SELECT 1 FROM shipments WHERE due_at IS NOT NULL AND +watch = ? AND +id <= ?
UNION ALL
SELECT 1 FROM shipments WHERE state = 'PARKED' AND +watch = ? AND +id <= ? LIMIT 1
"""
SELECT_ANY = "SELECT 1 FROM shipments WHERE watch = ? LIMIT 1"
SELECT_SINCE = """
SELECT 1 FROM shipments WHERE id > ? AND +watch = ? AND +state = 'DONE' LIMIT 1
"""
SELECT_LAST_ID = "SELECT coalesce(max(id), 0) FROM shipments"
_ROOT = "root of "


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
        return self._document("facts")

    def answers(self) -> Mapping[str, Any]:
        """What S3's answers to writes have told of the destination; empty before the first."""
        return self._document("answers")

    def remember_answers(self, told: Mapping[str, Any]) -> None:
        with self._database.transaction() as run:
            run(INSERT_META, ("answers", json.dumps(told)))

    def _document(self, name: str) -> Mapping[str, Any]:
        """A JSON object; empty where there is none, or something else."""
        rows, found = self._database.query(SELECT_META, name), None
        with suppress(ValueError):
            found = json.loads(rows[0][0]) if rows else None
        return found if isinstance(found, dict) else {}

    def settings(self) -> UploadSettings | None:
        """The settings with which the last uploads were begun; None before the first."""
        query = self._database.query
        bucket, digest = (query(SELECT_META, name) for name in ("bucket", "terms"))
        return UploadSettings(bucket[0][0], digest[0][0]) if bucket and digest else None

    def root(self, watch: str) -> str:
        """The directory that the watch's files were found in; empty where none is remembered."""
        rows = self._database.query(SELECT_META, f"{_ROOT}{watch}")
        return str(rows[0][0]) if rows else ""

    def remember_root(self, watch: str, root: str) -> None:
        with self._database.transaction() as run:
            run(INSERT_META, (f"{_ROOT}{watch}", root))

    def forget_roots(self) -> int:
        """Have each watch's directory be the one that stands there at the next scan; how many."""
        with self._database.transaction() as run:
            return run(DELETE_META, (f"{_ROOT}*",)).rowcount

    def last_id(self) -> int:
        """The newest shipment's; 0 where there is none."""
        return int(self._database.query(SELECT_LAST_ID)[0][0])

    def has_shipments(self, watch: str) -> bool:
        """Whether the watch has any, finished ones included."""
        return bool(self._database.query(SELECT_ANY, watch))

    def is_settled_since(self, watch: str, last_id: int) -> bool:
        """Whether one of the watch's later shipments is DONE, and no earlier one left to do."""
        query = self._database.query
        return not query(SELECT_LEFT, watch, last_id, watch, last_id) and bool(
            query(SELECT_SINCE, last_id, watch)
        )

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
        """Note the settings; what another destination has told is forgotten."""
        with self._database.transaction() as run:
            run(DELETE_META, ("answers",))
            run(INSERT_META, ("bucket", settings.bucket))
            run(INSERT_META, ("terms", settings.digest))
