"""The journal's tables, and how a row becomes a ``Shipment``.

A row has the fields of ``core.types.Shipment``, and ``stem``, by which the copies of one log are
found. It no longer ``stands`` for a file once its inode number was used again. Triggers keep
``totals``, so a status costs the same however many rows there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import Compression, FileId, Promise, Shipment, ShipmentId, State

SCHEMA_VERSION = 4
APPLICATION_ID = 0x53484950
"""``SHIP`` in the file's header, beside the version: development versions did not write it."""

_OLD_BYTES = (
    "iif(old.decoded_end, old.decoded_end - old.decoded_start, old.raw_end - old.raw_start)"
)
_NEW_BYTES = _OLD_BYTES.replace("old.", "new.")
SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE shipments (
    id INTEGER PRIMARY KEY,
    watch TEXT NOT NULL,
    path BLOB NOT NULL,
    stem BLOB NOT NULL,
    inode INTEGER NOT NULL,
    head_length INTEGER NOT NULL,
    head_digest TEXT NOT NULL,
    generation TEXT NOT NULL,
    raw_start INTEGER NOT NULL,
    raw_end INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    tail_digest TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    compression TEXT NOT NULL,
    sealed_because TEXT NOT NULL,
    promised_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'READY',
    due_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    upload_id TEXT,
    part_size INTEGER NOT NULL DEFAULT 0,
    etag TEXT,
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    raw_sha256 TEXT NOT NULL DEFAULT '',
    intents TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    finished_at REAL,
    abort_at REAL,
    is_live INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    place TEXT NOT NULL,
    since_at REAL NOT NULL,
    is_open INTEGER NOT NULL DEFAULT 0,
    copy_of TEXT NOT NULL DEFAULT '',
    decoded_start INTEGER NOT NULL DEFAULT 0,
    decoded_end INTEGER NOT NULL DEFAULT 0,
    file_sha256 TEXT NOT NULL DEFAULT '',
    destination TEXT NOT NULL,
    checksum TEXT NOT NULL DEFAULT '',
    first_sent_at REAL NOT NULL DEFAULT 0,
    last_sent_at REAL NOT NULL DEFAULT 0,
    listed TEXT NOT NULL DEFAULT '',
    stands INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX shipments_due ON shipments (destination, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX shipments_parked ON shipments (id) WHERE state = 'PARKED';
CREATE INDEX shipments_finished ON shipments (finished_at) WHERE state = 'DONE';
CREATE INDEX shipments_inode ON shipments (watch, inode) WHERE stands = 1;
CREATE INDEX shipments_place ON shipments (watch, place);
CREATE INDEX shipments_stem ON shipments (watch, stem, mtime_ns);
CREATE INDEX shipments_removable ON shipments (destination, due_at, id) WHERE state = 'VERIFIED';
CREATE INDEX shipments_waiting ON shipments (watch, place, mtime_ns)
    WHERE state = 'VERIFIED' AND code IN ('', 'CheckFailed', 'RemovalWanted');
CREATE INDEX shipments_kept ON shipments (watch, place, mtime_ns)
    WHERE state = 'DONE' AND code = '' AND is_live = 0;
CREATE INDEX shipments_wanted ON shipments (watch, place, mtime_ns)
    WHERE code = 'RemovalWanted';
CREATE INDEX shipments_under_way ON shipments (id) WHERE state IN ('UPLOADING', 'UPLOADED');
CREATE INDEX shipments_lost ON shipments (watch, id)
    WHERE state = 'GONE' AND code <> 'LossAcknowledged';
CREATE INDEX shipments_failed ON shipments (code, watch)
    WHERE code <> '' AND state IN ('READY', 'UPLOADING');
CREATE INDEX shipments_open ON shipments (watch, stem) WHERE is_open = 1;
CREATE INDEX shipments_live ON shipments (watch, inode, raw_end) WHERE is_live = 1;
CREATE INDEX shipments_copies ON shipments (copy_of) WHERE copy_of <> '';
CREATE INDEX shipments_unsent ON shipments (watch, since_at)
    WHERE state IN ('READY', 'UPLOADING', 'PARKED');
CREATE TABLE receipts (
    shipment INTEGER NOT NULL REFERENCES shipments (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    raw_start INTEGER NOT NULL,
    raw_end INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (shipment, number)
) STRICT, WITHOUT ROWID;
-- What the next manifests are to say; see journal/manifests.py.
CREATE TABLE unlisted (
    shipment INTEGER PRIMARY KEY REFERENCES shipments (id) ON DELETE CASCADE,
    destination TEXT NOT NULL
) STRICT;
-- The manifest of each destination that is to be sent, if any.
CREATE TABLE manifests (
    destination TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    until_at REAL NOT NULL,
    because TEXT NOT NULL,
    entries INTEGER NOT NULL,
    head_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    watch TEXT NOT NULL,
    state TEXT NOT NULL,
    files INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    newest_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (watch, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER shipments_added AFTER INSERT ON shipments BEGIN
    INSERT INTO totals
    VALUES (new.watch, new.state, 1, {_NEW_BYTES}, 0, new.promised_at)
    ON CONFLICT DO UPDATE SET files = files + 1, raw_bytes = raw_bytes + excluded.raw_bytes,
        newest_at = max(newest_at, excluded.newest_at);
END;
-- A finished shipment stays counted when its row is dropped: such totals are counters.
CREATE TRIGGER shipments_removed AFTER DELETE ON shipments WHEN old.finished_at IS NULL BEGIN
    UPDATE totals SET files = files - 1, raw_bytes = raw_bytes - {_OLD_BYTES},
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE watch = old.watch AND state = old.state;
END;
CREATE TRIGGER shipments_advanced AFTER UPDATE OF state, stored_bytes, decoded_end ON shipments
WHEN old.state <> new.state OR old.stored_bytes <> new.stored_bytes
    OR old.decoded_end <> new.decoded_end BEGIN
    UPDATE totals SET files = files - 1, raw_bytes = raw_bytes - {_OLD_BYTES},
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE watch = old.watch AND state = old.state;
    INSERT INTO totals
    SELECT new.watch, new.state, 1, {_NEW_BYTES}, new.stored_bytes,
        min(new.promised_at, newest_at)  -- which may have been corrected
    FROM totals WHERE watch = old.watch AND state = old.state
    ON CONFLICT DO UPDATE SET files = files + 1, raw_bytes = raw_bytes + excluded.raw_bytes,
        stored_bytes = stored_bytes + excluded.stored_bytes,
        newest_at = max(newest_at, excluded.newest_at);
END;
"""  # noqa: S608  (constants)
"""A change of it needs another ``SCHEMA_VERSION``, and a migration once a version is released."""


def _columns(value: type[Promise | Shipment]) -> tuple[str, ...]:
    names = " ".join(field.name for field in fields(value))
    return tuple(names.replace("file_id", "inode head_length head_digest generation").split())


COLUMNS = _columns(Shipment)
PROMISE_COLUMNS = (*_columns(Promise), "stem", "promised_at", "due_at", "is_open")
STATE_COLUMNS = tuple(
    name for name in COLUMNS if name not in (*_columns(Promise), "id", "promised_at", "is_open")
)
"""What events change, beside the key and the compression."""
_PROMISE = tuple(field.name for field in fields(Promise))
_PROMISED = attrgetter(*_PROMISE)
_SHIPMENT = [field.name for field in fields(Shipment)]
_FILE_ID = _SHIPMENT.index("file_id")
_KINDS: dict[int, Callable[[Any], object]] = {
    _SHIPMENT.index("compression"): Compression,
    _SHIPMENT.index("state"): State,
    _SHIPMENT.index("is_live"): bool,
    _SHIPMENT.index("is_open"): bool,
}
"""What SQLite keeps in another type, by its place in ``Shipment``."""


def signed(inode: int) -> int:
    """The inode as SQLite keeps it: signed, while some file systems use all 64 bits."""
    return inode - 2**64 if inode >= 2**63 else inode


def unsigned(inode: int) -> int:
    return inode % 2**64


def promise_row(promise: Promise, now: float, due_at: float) -> tuple[object, ...]:
    """The values of ``PROMISE_COLUMNS`` for a new shipment."""
    watch, path, file_id, *others = _PROMISED(promise)
    identity = (signed(file_id.inode), file_id.head_length, file_id.head_digest)
    stem = stem_and_extension(path).stem
    is_open = promise.is_live
    return (watch, path, *identity, file_id.generation, *others, stem, now, due_at, is_open)


def promised_shipment(
    shipment_id: ShipmentId, promise: Promise, now: float, due_at: float
) -> Shipment:
    """The shipment in a row that ``promise_row`` made."""
    promised = dict(zip(_PROMISE, _PROMISED(promise), strict=True))
    is_open = promise.is_live
    return Shipment(id=shipment_id, promised_at=now, due_at=due_at, is_open=is_open, **promised)


def shipment_from_row(row: Sequence[Any]) -> Shipment:
    """A row of ``COLUMNS`` as a value."""
    values = list(row)
    values[_FILE_ID : _FILE_ID + 4] = [FileId(unsigned(row[_FILE_ID]), *row[_FILE_ID + 1 :][:3])]
    for at, kind in _KINDS.items():
        values[at] = kind(values[at])
    return Shipment(*values)
