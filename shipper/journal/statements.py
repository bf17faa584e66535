"""The journal's SQL: one statement per constant, parameters bound.

None of them reads or sorts all shipments: ``tests/unit/journal/test_statements.py`` asks SQLite
for the plan of each.
"""

from shipper.core.failures import REMOVAL_WAITS_CODES
from shipper.core.lifecycle import ACKNOWLEDGED, UNSHIPPED
from shipper.core.refusals import HELD, HELD_AGAIN
from shipper.core.types import Compression, State
from shipper.journal.schema import COLUMNS, PROMISE_COLUMNS, STATE_COLUMNS

ALIKE_FOUND = 100
URGENT_ROWS = 5000
"""Sort so many due shipments for a drain at a time, which takes a few milliseconds."""
OPEN_FOUND = 1000
"""Logs of one stem that are being shipped live, as those of so many containers."""
ALL = -1
"""No limit, for SQLite."""

SELECTED = ", ".join(COLUMNS)
SELECT = f"SELECT {SELECTED} FROM shipments"  # noqa: S608  (constants)
_FITS = (
    "(? IS NULL OR (max(raw_end, decoded_end)"
    " - iif(state IN ('READY', 'UPLOADING'), raw_start, 0) <= ?"
    " AND code <> 'DuplicateUndecided') = ?)"
)
"""As ``Sizes.parameters``. Before a file is removed, the whole of it may have to be read."""
_IS_ONLY_HELD = (
    f"(substr(detail, 1, {len(HELD)}) = '{HELD}'"
    f" AND substr(detail, -{len(HELD_AGAIN)}) <> '{HELD_AGAIN}')"
)
"""Others like it were refused, and it was not tried."""
SELECT_ONE = f"{SELECT} WHERE id = ?"
SELECT_CLAIMED = f"""
{SELECT} WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('READY', 'UPLOADING')
"""  # noqa: S608  (constants)
SELECT_RECEIVED = """
SELECT shipment, sum(raw_end - raw_start) FROM receipts
WHERE shipment IN (SELECT value FROM json_each(?)) GROUP BY shipment
"""
_IS_DUE = "destination = ? AND due_at <= ?"
SELECT_DUE = f"{SELECT} WHERE {_IS_DUE} AND {_FITS} ORDER BY due_at, id LIMIT ?"
SELECT_UNTRIED = f"""
{SELECT} WHERE {_IS_DUE} AND {_FITS} AND state IN ('READY', 'UPLOADING')
    AND (code = '' OR {_IS_ONLY_HELD})
ORDER BY due_at DESC, id DESC LIMIT ?
"""
SELECT_REMOVABLE = f"""
{SELECT} WHERE state = 'VERIFIED' AND {_IS_DUE} AND {_FITS} ORDER BY due_at, id LIMIT ?
"""
SELECT_WAITING = """
SELECT mtime_ns, id, raw_end, due_at FROM shipments
WHERE watch = ? AND place = ? AND state = 'VERIFIED'
    AND code IN ('', 'CheckFailed', 'RemovalWanted')
ORDER BY mtime_ns, id LIMIT ?
"""
"""Without those whose removal failed, which have due times of their own."""
SELECT_KEPT = f"""
{SELECT} WHERE watch = ? AND place = ? AND state = 'DONE' AND code = '' AND is_live = 0
    AND (mtime_ns, id) > (?, ?)
ORDER BY mtime_ns, id LIMIT ?
"""
SELECT_WANTED = """
SELECT mtime_ns, id, raw_end, due_at FROM shipments
WHERE watch = ? AND place = ? AND code = 'RemovalWanted' ORDER BY mtime_ns, id LIMIT ?
"""
UPDATE_EARLY = """
UPDATE shipments SET due_at = ?
WHERE id IN (SELECT value FROM json_each(?)) AND state = 'VERIFIED' AND due_at > ?
"""
SELECT_URGENT = f"""
SELECT {SELECTED} FROM (
    {SELECT} WHERE {_IS_DUE} AND state IN ('READY', 'UPLOADING') AND {_FITS}
    ORDER BY due_at, id LIMIT {URGENT_ROWS}
) ORDER BY is_live, raw_end - raw_start, due_at, id LIMIT ?
"""  # noqa: S608  (constants)
SELECT_BY_INODE = (
    f"{SELECT} WHERE watch = ? AND inode = ? AND stands = 1"
    " AND state NOT IN ('GONE', 'SUPERSEDED') AND tail_digest <> '' ORDER BY id"
)
"""Without those that were disowned."""
SELECT_LAST_OF_INODE = (
    SELECT_BY_INODE.replace("ORDER BY", "AND (? = '' OR place IN ('', ?)) ORDER BY")
    + " DESC LIMIT 1"
)
SELECT_INODE_SUMMARY = """
SELECT raw_start, raw_end, mtime_ns, ctime_ns, state, is_live, code, id, is_open FROM shipments
WHERE watch = ? AND inode = ? AND stands = 1 AND state NOT IN ('GONE', 'SUPERSEDED')
    AND tail_digest <> ''
ORDER BY id DESC LIMIT 1
"""
_IS_KNOWN = "state NOT IN ('GONE', 'SUPERSEDED')"
_IS_ALIKE = """state NOT IN ('GONE', 'SUPERSEDED')
    AND (mtime_ns = ? OR substr(path, 1, ?) = ?)"""
SELECT_SAME_SECOND = f"""
{SELECT} WHERE watch = ? AND stem = ? AND mtime_ns BETWEEN ? AND ? AND {_IS_ALIKE}
ORDER BY mtime_ns DESC LIMIT {ALIKE_FOUND}
"""
SELECT_OPEN_LOGS = f"""
{SELECT} WHERE watch = ? AND stem = ? AND is_open = 1 AND {_IS_KNOWN} AND NOT EXISTS (
    SELECT 1 FROM shipments AS copy
    WHERE copy.copy_of = shipments.key AND copy.copy_of <> '' AND copy.{_IS_KNOWN}
)
ORDER BY id DESC LIMIT {OPEN_FOUND}
"""  # noqa: S608  (constants)
SELECT_COPIES = f"{SELECT} WHERE copy_of = ? AND copy_of <> '' AND {_IS_KNOWN}"
SELECT_OF_FILE = (
    f"{SELECT} WHERE watch = ? AND stem = ? AND inode = ? AND state NOT IN ('GONE', 'SUPERSEDED')"
)
SELECT_BY_PATH = f"{SELECT} WHERE watch = ? AND stem = ? AND path = ?"
SELECT_DESTINATIONS = """
WITH RECURSIVE destinations (name) AS (
    SELECT min(destination) FROM shipments WHERE due_at IS NOT NULL
    UNION ALL SELECT (
        SELECT min(destination) FROM shipments WHERE due_at IS NOT NULL AND destination > name
    ) FROM destinations WHERE name IS NOT NULL
) SELECT name FROM destinations WHERE name IS NOT NULL
"""
"""Those of the open shipments, without reading all of these."""
SELECT_OPEN = f"{SELECT} WHERE destination = ? AND due_at IS NOT NULL ORDER BY due_at, id LIMIT ?"
SELECT_PARKED = f"{SELECT} WHERE state = 'PARKED' ORDER BY id LIMIT ?"
_IS_LOST = "state = 'GONE' AND code <> 'LossAcknowledged'"
SELECT_LOST = f"{SELECT} WHERE {_IS_LOST} ORDER BY watch, id LIMIT ?"
SELECT_LOST_FILES = f"""
SELECT watch, count(*) FROM shipments WHERE {_IS_LOST} GROUP BY watch
"""  # noqa: S608  (constants)
ACKNOWLEDGE_ALL = f"""
UPDATE shipments SET code = 'LossAcknowledged', detail = code || ': ' || detail WHERE {_IS_LOST}
"""  # noqa: S608  (constants)
SELECT_UNDER_WAY = f"{SELECT} WHERE state IN ('UPLOADING', 'UPLOADED') ORDER BY id"
SELECT_NEXT_DUE = f"""
SELECT id, due_at FROM shipments WHERE destination = ? AND due_at IS NOT NULL AND {_FITS}
ORDER BY due_at, id LIMIT ?
"""  # noqa: S608  (constants)
_OLDEST = SELECT.replace("promised_at", "min(promised_at)")
"""One row without a sort, of nulls where there is none: beside a minimum, SQLite takes the other
columns from its row (https://sqlite.org/lang_select.html#bareagg)."""
_NEWEST = SELECT.replace("promised_at", "max(promised_at)")
_IS_UNSENT = "due_at IS NOT NULL AND state IN ('READY', 'UPLOADING')"
SELECT_OLDEST = f"{_OLDEST} WHERE {_IS_UNSENT}"
SELECT_OLDEST_PARKED = f"{_OLDEST} WHERE state = 'PARKED'"
_IS_FAILING = f"destination = ? AND {_IS_UNSENT} AND attempts >= ?"
SELECT_FAILING = f"{_NEWEST} WHERE {_IS_FAILING}"
SELECT_FAILING_FILES = f"SELECT count(*) FROM shipments WHERE {_IS_FAILING}"  # noqa: S608  (constants)
_IS_FAILED = "code <> '' AND state IN ('READY', 'UPLOADING')"
SELECT_FAILED_FILES = f"""
SELECT code, watch, count(*) FROM shipments WHERE {_IS_FAILED} GROUP BY code, watch
"""  # noqa: S608  (constants)
SELECT_FAILED = f"{SELECT} WHERE {_IS_FAILED} AND code = ? LIMIT 1"
SELECT_UNSENT_SINCE = """
SELECT watch, min(since_at) FROM shipments
WHERE state IN ('READY', 'UPLOADING', 'PARKED') GROUP BY watch
"""
SELECT_LAST_SUCCESS = "SELECT max(finished_at) FROM shipments WHERE state = 'DONE'"
SELECT_LAST_SUCCESS_OF = """
SELECT max(finished_at) FROM (
    SELECT destination, finished_at FROM shipments WHERE state = 'DONE'
    ORDER BY finished_at DESC LIMIT 1000
) WHERE destination = ?
"""
SELECT_TOTALS = "SELECT watch, state, files, raw_bytes, stored_bytes FROM totals WHERE files > 0"
SELECT_NEWEST = f"""
SELECT watch, max(newest_at) FROM totals
WHERE state IN ({", ".join(f"'{state}'" for state in sorted(ACKNOWLEDGED))})
    OR state IN ({", ".join(f"'{state}'" for state in sorted(UNSHIPPED))}) AND files > 0
GROUP BY watch
"""  # noqa: S608  (constants)
"""When the newest log of each watch was found, but for copies and for what came to nothing."""
CORRECT_NEWEST = "UPDATE totals SET newest_at = ? WHERE watch = ? AND newest_at > ?"
"""For what was found while the clock was ahead."""
FORGET_NEWEST = "UPDATE totals SET newest_at = 0"
SELECT_RECEIPTS = """
SELECT number, raw_start, raw_end, stored_bytes, etag, checksum
FROM receipts WHERE shipment = ? ORDER BY number
"""
INSERT = f"""
INSERT INTO shipments ({", ".join(PROMISE_COLUMNS)})
VALUES ({", ".join("?" * len(PROMISE_COLUMNS))})
"""  # noqa: S608  (constants)
UPDATE = f"""
UPDATE shipments SET {", ".join(f"{column} = ?" for column in STATE_COLUMNS)}
WHERE id = ? AND state = ?
"""  # noqa: S608  (constants)
UPDATE_KEY = "UPDATE shipments SET key = ?, compression = ? WHERE id = ?"
"""Not a part of ``UPDATE``, for which SQLite would write the index of keys every time."""
SELECT_TAIL_OF_KEY = "SELECT tail_digest FROM shipments WHERE key = ?"
DELETE_FORGOTTEN = "DELETE FROM shipments WHERE key = ? AND state IN ('GONE', 'SUPERSEDED')"
UPDATE_OR_IGNORE_KEY = "UPDATE OR IGNORE shipments SET key = ?, listed = '' WHERE id = ?"
DELETE_RECEIPTS = "DELETE FROM receipts WHERE shipment = ?"
INSERT_RECEIPT = "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)"
UPDATE_OTHER_GENERATIONS = """
UPDATE shipments SET stands = 0
WHERE watch = ? AND inode = ? AND stands = 1 AND place = ? AND finished_at IS NOT NULL
    AND generation <> ? AND substr(generation, 1, 1) = ?
"""
"""Where the kernel tells both in the same way; see ``core.identity``."""
UPDATE_PATH = "UPDATE shipments SET path = ?, stem = ? WHERE id = ?"
UPDATE_TIMES = "UPDATE shipments SET mtime_ns = ?, ctime_ns = ? WHERE id = ?"
UPDATE_SEALED = """
UPDATE shipments SET path = ?, stem = ?, mtime_ns = ?, ctime_ns = ?, is_open = 0, is_live = 0
WHERE id = ?
"""
UPDATE_OPEN = f"""
UPDATE shipments SET is_open = ? WHERE id = (
    SELECT max(id) FROM shipments WHERE watch = ? AND inode = ? AND raw_end = ? AND is_live = 1
        AND (generation = ? OR substr(generation, 1, 1) <> ?) AND {_IS_KNOWN}
)
"""  # noqa: S608  (constants)
"""Of the last segment that ends there and may be of this file; see ``core.identity``."""
SELECT_OPEN_LONG = """
SELECT id, place, inode, stands FROM shipments
WHERE watch = ? AND is_open = 1 AND finished_at < ? AND NOT EXISTS (
    SELECT 1 FROM shipments AS waiting
    WHERE waiting.watch = shipments.watch AND waiting.stem = shipments.stem
        AND waiting.state IN ('READY', 'UPLOADING')
)
"""
UPDATE_CLOSED = "UPDATE shipments SET is_open = 0 WHERE id = ?"
UPDATE_CUT = """
UPDATE shipments SET stands = 0
WHERE watch = ? AND inode = ? AND stands = 1 AND place = ? AND generation = ? AND is_live = 1
    AND finished_at IS NOT NULL
"""
DISOWN = "UPDATE shipments SET tail_digest = '', mtime_ns = 0 WHERE id = ?"
UPDATE_DUE = "UPDATE shipments SET due_at = due_at + ? WHERE due_at IS NOT NULL"
_OF_ANY = f"destination IN ({SELECT_DESTINATIONS})"
MAKE_DUE = f"""
UPDATE shipments SET due_at = ?
WHERE {_OF_ANY} AND due_at > ? AND (state IN ('READY', 'UPLOADING', 'UPLOADED')
    OR state = 'VERIFIED' AND code IN ({", ".join(f"'{code}'" for code in REMOVAL_WAITS_CODES)}))
"""  # noqa: S608  (constants)
REQUEUE = """
UPDATE shipments SET due_at = CASE WHEN code IN (SELECT value FROM json_each(?))
    THEN min(due_at, ? + id % ?) ELSE min(promised_at, ?) END
WHERE destination = ? AND due_at IS NOT NULL AND due_at > promised_at AND code <> ''
    AND state IN ('READY', 'UPLOADING')
"""
TAKE_OUT = "UPDATE shipments SET due_at = NULL WHERE id = ?"
SUPERSEDE_UNREADABLE = f"""
UPDATE shipments SET state = 'SUPERSEDED', compression = 'none', due_at = NULL, code = 'Bug',
    finished_at = coalesce(finished_at, promised_at)
WHERE state NOT IN ({", ".join(f"'{each}'" for each in State)})
    OR compression NOT IN ({", ".join(f"'{each}'" for each in Compression)})
"""  # noqa: S608  (constants)
_IS_OPEN = "state IN ('READY', 'UPLOADING', 'UPLOADED', 'VERIFIED')"
CORRECT_DUE = f"""
UPDATE shipments SET due_at = CASE WHEN {_IS_OPEN} THEN promised_at END
WHERE (due_at IS NULL) = ({_IS_OPEN})
"""  # noqa: S608  (constants)
"""What is to be done is due, and nothing else; somebody may have written into the file."""
_IS_HELD = """state IN ('READY', 'UPLOADING') AND NOT EXISTS (
    SELECT 1 FROM json_each(?) AS piece WHERE instr(shipments.key, piece.value) = 0
)"""
UPDATE_HELD = f"""
UPDATE shipments SET due_at = ?, code = ?,
    detail = ? || CASE WHEN code = ? AND NOT {_IS_ONLY_HELD} THEN '{HELD_AGAIN}' ELSE '' END
WHERE {_IS_DUE} AND {_IS_HELD}
"""  # noqa: S608  (constants)
UPDATE_ON_TRIAL = f"""
UPDATE shipments SET due_at = ? WHERE id = (
    SELECT id FROM shipments
    WHERE destination = ? AND due_at > ? AND {_IS_HELD} AND ({_IS_ONLY_HELD} OR ?)
    ORDER BY due_at DESC, id DESC LIMIT 1
)
"""  # noqa: S608  (constants)
UPDATE_LIFTED = f"""
UPDATE shipments SET due_at = ? + id * ?
WHERE destination = ? AND due_at > ? AND {_IS_HELD} AND code <> '' AND substr(detail, 1, ?) = ?
"""  # noqa: S608  (constants)
CLAMP_DUE = f"UPDATE shipments SET due_at = ? WHERE {_OF_ANY} AND due_at > ?"  # noqa: S608  (constants)
ASSIGN = """
UPDATE shipments SET destination = ?
WHERE watch = ? AND destination <> ? AND (due_at IS NOT NULL OR state IN ('PARKED', 'GONE'))
"""
ASSIGN_STRAYS = """
UPDATE shipments SET destination = ?
WHERE destination NOT IN (SELECT value FROM json_each(?))
    AND (due_at IS NOT NULL OR state IN ('PARKED', 'GONE'))
"""
"""Only where the configuration has changed, because these read all rows."""
ASSIGN_ONE = """
UPDATE shipments SET destination = coalesce((
    SELECT today.value FROM meta, json_each(meta.value) AS today
    WHERE meta.name = 'destinations' AND today.key = shipments.watch
), destination) WHERE id = ? RETURNING destination
"""
"""Of a shipment that was finished when its watch got another destination."""
SELECT_SIZES = """
SELECT watch, stored_bytes FROM shipments WHERE state = 'DONE' ORDER BY finished_at DESC LIMIT ?
"""
SHRINK = "PRAGMA shrink_memory"
SELECT_OLD = """
SELECT id, place, inode, stands FROM shipments
WHERE id > ? AND +watch = ? AND finished_at < ?
    AND NOT (state = 'GONE' AND code <> 'LossAcknowledged') ORDER BY id LIMIT ?
"""  # the plus keeps the planner in the order of ids
DELETE_ONE = "DELETE FROM shipments WHERE id = ?"
INSERT_UNLISTED = "INSERT OR REPLACE INTO unlisted VALUES (?, ?)"
DELETE_UNLISTED = "DELETE FROM unlisted WHERE shipment = ? RETURNING destination"
DELETE_ALL_UNLISTED = "DELETE FROM unlisted"
DELETE_UNLISTED_OF = "DELETE FROM unlisted WHERE destination = ?"
UPDATE_UNLISTED_NAME = "UPDATE unlisted SET destination = ? WHERE destination = ?"
UPDATE_MANIFEST_NAME = "UPDATE manifests SET destination = ? WHERE destination = ?"
ADD_GAP = """
UPDATE meta SET value = json_set(value, '$.gap', coalesce(value ->> '$.gap', 0) + ?)
WHERE name = ? AND json_valid(value)
"""
ADD_GAPS_OF = """
UPDATE meta SET value = json_set(value, '$.gap', coalesce(value ->> '$.gap', 0) + missed.files)
FROM (SELECT destination, count(*) AS files FROM unlisted
    WHERE shipment IN (SELECT value FROM json_each(?)) GROUP BY destination) AS missed
WHERE meta.name = 'chain of ' || missed.destination AND json_valid(value)
"""
DELETE_THESE = "DELETE FROM shipments WHERE id IN (SELECT value FROM json_each(?))"
INSERT_ALL_UNLISTED = """
INSERT OR IGNORE INTO unlisted SELECT id, destination FROM shipments
WHERE listed <> '' AND state <> 'READY'
    AND (finished_at IS NULL OR max(last_sent_at, finished_at) >= ?)
"""
"""Once, when manifests are switched on again: it reads all rows."""
ADD_ALL_GAPS = """
UPDATE meta SET value = json_set(value, '$.gap', coalesce(value ->> '$.gap', 0)
    + (SELECT count(*) FROM unlisted WHERE name = 'chain of ' || destination))
WHERE name GLOB 'chain of *' AND json_valid(value)
"""
DELETE_UNLISTED_UP_TO = "DELETE FROM unlisted WHERE destination = ? AND shipment <= ?"
DELETE_UNLISTED_OBJECTS = """
DELETE FROM unlisted WHERE destination = ?
    AND (SELECT listed FROM shipments WHERE id = unlisted.shipment) = 'object'
"""
SELECT_UNLISTED_FILES = "SELECT count(*) FROM unlisted WHERE destination = ?"


def _time(at: str) -> str:
    return f"coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {at}, 'unixepoch'), '')"


_ENTRY = """'key', key, 'watch', watch, 'inode', json(format('%u', inode)),
    'generation', generation,
    'raw_start', iif(decoded_end, decoded_start, raw_start),
    'raw_end', iif(decoded_end, decoded_end, raw_end), 'mtime_ns', mtime_ns"""
SELECT_UNLISTED = f"""
SELECT id, watch, path, iif(listed = 'object',
    json_object({_ENTRY}, 'size', stored_bytes, 'etag', coalesce(etag, ''), 'checksum', checksum,
        'sha256', raw_sha256, 'compression', compression, 'sealed', sealed_because,
        'first_sent', {_time("nullif(first_sent_at, 0)")},
        'last_sent', {_time("nullif(last_sent_at, 0)")}),
    json_object({_ENTRY}, 'loss', listed,
        'at', coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', finished_at, 'unixepoch'), ?),
        'code', code, 'detail', detail))
FROM unlisted CROSS JOIN shipments ON id = shipment
WHERE unlisted.destination = ? ORDER BY shipment LIMIT ?
"""  # noqa: S608  (constants)
"""The entries of a manifest but for their paths, which SQLite cannot percent-encode."""
SELECT_MANIFEST = """
SELECT number, sha256, until_at, because, entries, head_bytes, body FROM manifests
WHERE destination = ?
"""
INSERT_MANIFEST = "INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
DELETE_MANIFEST = "DELETE FROM manifests WHERE destination = ?"
