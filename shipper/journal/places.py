"""The file systems that the shipments' files were found on, as ``ports.Files.place`` has them."""

from shipper.core.types import WatchName
from shipper.journal.database import Database

SELECT_PLACES = """
WITH RECURSIVE found (place) AS (
    SELECT (SELECT min(place) FROM shipments WHERE watch = ? AND place > '')
    UNION ALL
    SELECT (SELECT min(place) FROM shipments WHERE watch = ? AND place > found.place)
    FROM found WHERE found.place IS NOT NULL
) SELECT place FROM found WHERE place IS NOT NULL
"""
"""As many steps as there are places, however many shipments each has."""
SELECT_LEFT = """
SELECT 1 FROM shipments
WHERE due_at IS NOT NULL AND state <> 'VERIFIED' AND +watch = ? AND +place = ?
UNION ALL
SELECT 1 FROM shipments WHERE state = 'PARKED' AND +watch = ? AND +place = ? LIMIT 1
"""
SELECT_SHIPPED = """
SELECT 1 FROM shipments
WHERE watch = ? AND place = ? AND +state = 'DONE' AND substr(path, 1, ?) = ? LIMIT 1
"""
UPDATE_PLACE = "UPDATE shipments SET place = '' WHERE watch = ? AND place = ?"


class Places:
    """A part of the journal, in the same file. Asks it once where nothing is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[WatchName, dict[str, None]] = {}

    def of(self, watch: WatchName, *, anew: bool = False) -> list[str]:
        """Those of the watch's shipments, finished ones included.

        Not ``anew`` there may be some that another process had forgotten meanwhile.
        """
        if anew or watch not in self._found:
            rows = self._database.query(SELECT_PLACES, watch, watch)
            self._found[watch] = {str(row[0]): None for row in rows}
        return list(self._found[watch])

    def found(self, watch: WatchName, place: str) -> None:
        """Note that a promise has this place."""
        if place and watch in self._found:
            self._found[watch][place] = None

    def is_left(self, watch: WatchName, place: str) -> bool:
        """Whether one of its shipments is not in S3 yet."""
        return bool(self._database.query(SELECT_LEFT, watch, place, watch, place))

    def has_shipped(self, watch: WatchName, place: str, directory: bytes) -> bool:
        """Whether a log that was found there below ``directory`` ("" or "a/b/") is DONE."""
        query = self._database.query
        return bool(query(SELECT_SHIPPED, watch, place, len(directory), directory))

    def forget(self, watch: WatchName, place: str) -> None:
        """Have whatever stands there now be where its shipments' files are, or are missing."""
        with self._database.transaction() as run:
            run(UPDATE_PLACE, (watch, place))
