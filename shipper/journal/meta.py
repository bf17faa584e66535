"""What the journal knows about itself: its instance, and the settings of its uploads."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from shipper.core.destinations import UploadSettings
from shipper.core.types import ObjectKey, Shipment, State
from shipper.journal import statements as sql
from shipper.journal.database import Database, Run
from shipper.journal.open_logs import mark_before
from shipper.journal.schema import shipment_from_row

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

_EXPECTED = "expected "
DELETE_EXPECTED = "DELETE FROM meta WHERE name GLOB 'expected *'"
DELETE_META = "DELETE FROM meta WHERE name = ?"

SELECT_STARTS = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'starts'"


class Origin:
    """A part of the journal, in the same file.

    ``answers`` and ``settings`` are those of one destination.
    """

    def __init__(self, database: Database, destination: str = "") -> None:
        self._database = database
        self._of = f" {destination}" if destination else ""

    def of(self, destination: str) -> "Origin":
        """The same, with what is known of another destination."""
        return Origin(self._database, destination)

    def instance_id(self) -> str:
        """The instance that last adopted the journal; empty when none did."""
        rows = self._database.query(SELECT_META, "instance_id")
        return str(rows[0][0]) if rows else ""

    def facts(self) -> Mapping[str, Any]:
        """What that instance said of itself; empty where nothing is known."""
        return self._document("facts")

    def answers(self) -> Mapping[str, Any]:
        """What S3's answers to writes have told of the destination; empty before the first."""
        return self._document(f"answers{self._of}")

    def remember_answers(self, told: Mapping[str, Any]) -> None:
        with self._database.transaction() as run:
            run(INSERT_META, (f"answers{self._of}", json.dumps(told)))

    def _document(self, name: str) -> Mapping[str, Any]:
        """A JSON object; empty where there is none, or something else."""
        rows, found = self._database.query(SELECT_META, name), None
        with suppress(ValueError):
            found = json.loads(rows[0][0]) if rows else None
        return found if isinstance(found, dict) else {}

    def adopt(
        self,
        instance_id: str,
        *,
        facts: Mapping[str, Any] | None = None,
        key_of: Callable[[Shipment], ObjectKey | None] = lambda shipment: None,
    ) -> bool:
        """Bind the journal to this instance; True when it came from another one, with an image.

        Finished shipments stay, so that their files are known. Unfinished ones are dropped and
        begin anew under this instance's keys; but one that is READY and for which ``key_of`` has
        a key gets that. ``facts`` are what the instance said of itself.
        """
        with self._database.transaction() as run:
            row = run(SELECT_META, ("instance_id",)).fetchone()
            is_clone = row is not None and row[0] != instance_id
            if is_clone:
                run(sql.ADD_ALL_GAPS, ())  # its own manifests tell, but of a disk that moved
                _rekey(run, key_of)
                run(sql.ACKNOWLEDGE_ALL, ())  # what the image's machine lost is not ours
                run(sql.FORGET_NEWEST, ())  # nor are the logs that it had
                run(sql.DELETE_ALL_UNLISTED, ())
                run(DELETE_EXPECTED, ())
            run(INSERT_META, ("instance_id", instance_id))
            run(INSERT_META, ("facts", json.dumps(facts or {})))
        return is_clone

    def settings(self) -> UploadSettings | None:
        """The settings with which the last uploads were begun; None before the first."""
        known = self._document(f"settings{self._of}")
        bucket, digests = known.get("bucket"), known.get("digests")
        is_known = isinstance(bucket, str) and isinstance(digests, dict)
        return UploadSettings(str(bucket), digests or {}) if is_known else None

    def shifting(self, watch: str) -> set[bytes]:
        """The series of numbered logs of the watch that were seen to shift."""
        rows = self._database.query(SELECT_META, f"shifting {watch}")
        return {os.fsencode(series) for series in json.loads(rows[0][0])} if rows else set()

    def remember_shifting(self, watch: str, shifting: set[bytes]) -> None:
        value = json.dumps([os.fsdecode(series) for series in sorted(shifting)])
        with self._database.transaction() as run:
            run(INSERT_META, (f"shifting {watch}", value))

    def expected_since(self, watch: str) -> float | None:
        """When the watch was first expected to ship something; None where that is not noted."""
        rows = self._database.query(SELECT_META, f"{_EXPECTED}{watch}")
        return float(rows[0][0]) if rows else None

    def expect(self, watch: str, since: float) -> None:
        """Expect something of the watch from then on; no log of it was found later."""
        with self._database.transaction() as run:
            run(sql.CORRECT_NEWEST, (since, watch, since))
            run(INSERT_META, (f"{_EXPECTED}{watch}", str(since)))

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

    def moved_at(self) -> float:
        """When the destination's bucket became another one; 0 where it never did."""
        rows = self._database.query(SELECT_META, f"moved{self._of}")
        return float(rows[0][0]) if rows else 0.0

    def begin(self, settings: UploadSettings, now: float = 0.0) -> None:
        """Note the settings; what another destination has told is forgotten."""
        before = self.settings()
        with self._database.transaction() as run:
            if before is not None and before.bucket != settings.bucket:
                run(INSERT_META, (f"moved{self._of}", str(now)))
            run(INSERT_META, (f"answers{self._of}", "{}"))
            run(INSERT_META, (f"settings{self._of}", json.dumps(asdict(settings))))


def _rekey(run: Run, key_of: Callable[[Shipment], ObjectKey | None]) -> None:
    """Drop what is unfinished, but for what gets another key that nothing has yet."""
    names = run(sql.SELECT_DESTINATIONS, ()).fetchall()
    unfinished = [row for (name,) in names for row in run(sql.SELECT_OPEN, (name, sql.ALL))]
    for row in unfinished + run(sql.SELECT_PARKED, (sql.ALL,)).fetchall():
        shipment = shipment_from_row(row)
        is_like_promised = shipment.state is State.READY and not shipment.copy_of
        key = key_of(shipment) if is_like_promised else None
        if key is not None:
            run(sql.DELETE_FORGOTTEN, (key,))
        if key is None or not run(sql.UPDATE_OR_IGNORE_KEY, (key, shipment.id)).rowcount:
            run(sql.DELETE_ONE, (shipment.id,))
            mark_before(run, shipment, is_open=True)
