"""The journal's tables, and how a row becomes a ``Shipment``.

A row has exactly the fields of ``core.types.Shipment``, and ``stem``, by which the copies of one
log are found. Triggers keep ``totals``, so a status costs the same with ten rows and with ten
million.
"""

from typing import Any

from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import (
    Compression,
    ETag,
    FileId,
    ObjectKey,
    Promise,
    RelativePath,
    Shipment,
    ShipmentId,
    State,
    UploadId,
    WatchName,
)

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53484950
"""``SHIP`` in the file's header, beside the version: development versions did not write it."""

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE shipments (
    id INTEGER PRIMARY KEY,
    watch TEXT NOT NULL,
    path BLOB NOT NULL,
    stem BLOB NOT NULL,
    inode INTEGER NOT NULL,
    head_length INTEGER NOT NULL,
    head_digest TEXT NOT NULL,
    raw_start INTEGER NOT NULL,
    raw_end INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    tail_digest TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    compression TEXT NOT NULL,
    sealed_because TEXT NOT NULL,
    promised_at REAL NOT NULL,
    state TEXT NOT NULL,
    due_at REAL,
    attempts INTEGER NOT NULL,
    upload_id TEXT,
    part_size INTEGER NOT NULL,
    etag TEXT,
    stored_bytes INTEGER NOT NULL,
    raw_sha256 TEXT NOT NULL,
    raw_crc32 INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    finished_at REAL,
    abort_at REAL,
    is_live INTEGER NOT NULL
) STRICT;
CREATE INDEX shipments_due ON shipments (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX shipments_parked ON shipments (id) WHERE state = 'PARKED';
CREATE INDEX shipments_finished ON shipments (finished_at) WHERE state = 'DONE';
CREATE INDEX shipments_inode ON shipments (watch, inode);
CREATE INDEX shipments_stem ON shipments (watch, stem, mtime_ns);
CREATE INDEX shipments_removable ON shipments (due_at, id) WHERE state = 'VERIFIED';
CREATE INDEX shipments_under_way ON shipments (id) WHERE state IN ('UPLOADING', 'UPLOADED');
CREATE INDEX shipments_live ON shipments (watch, stem) WHERE is_live = 1;
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
CREATE TABLE totals (
    watch TEXT NOT NULL,
    state TEXT NOT NULL,
    files INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    PRIMARY KEY (watch, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER shipments_added AFTER INSERT ON shipments BEGIN
    INSERT INTO totals VALUES (new.watch, new.state, 1, new.raw_end - new.raw_start, 0)
    ON CONFLICT DO UPDATE SET files = files + 1, raw_bytes = raw_bytes + excluded.raw_bytes;
END;
-- A finished shipment stays counted when its row is dropped: such totals are counters.
CREATE TRIGGER shipments_removed AFTER DELETE ON shipments WHEN old.finished_at IS NULL BEGIN
    UPDATE totals SET files = files - 1, raw_bytes = raw_bytes - (old.raw_end - old.raw_start),
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE watch = old.watch AND state = old.state;
END;
CREATE TRIGGER shipments_advanced AFTER UPDATE OF state, stored_bytes ON shipments BEGIN
    UPDATE totals SET files = files - 1, raw_bytes = raw_bytes - (old.raw_end - old.raw_start),
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE watch = old.watch AND state = old.state;
    INSERT INTO totals
    VALUES (new.watch, new.state, 1, new.raw_end - new.raw_start, new.stored_bytes)
    ON CONFLICT DO UPDATE SET files = files + 1, raw_bytes = raw_bytes + excluded.raw_bytes,
        stored_bytes = stored_bytes + excluded.stored_bytes;
END;
"""
"""A change of it needs another ``SCHEMA_VERSION``, and a migration once a version is released."""

COLUMNS = (
    "id, watch, path, inode, head_length, head_digest, raw_start, raw_end, mtime_ns, tail_digest,"
    " key, compression, sealed_because, promised_at, state, due_at, attempts, upload_id,"
    " part_size, etag, stored_bytes, raw_sha256, raw_crc32, code, detail, finished_at,"
    " abort_at, is_live"
)


def signed(inode: int) -> int:
    """The inode as SQLite keeps it: signed, while some file systems use all 64 bits."""
    return inode - 2**64 if inode >= 2**63 else inode


def unsigned(inode: int) -> int:
    """The inode that ``signed`` was given."""
    return inode % 2**64


def promise_row(promise: Promise, now: float, due_at: float) -> tuple[object, ...]:
    """The columns of a new shipment, in the order of the journal's INSERT."""
    return (
        promise.watch,
        promise.path,
        stem_and_extension(promise.path).stem,
        signed(promise.file_id.inode),
        promise.file_id.head_length,
        promise.file_id.head_digest,
        promise.raw_start,
        promise.raw_end,
        promise.mtime_ns,
        promise.tail_digest,
        promise.key,
        promise.compression,
        promise.sealed_because,
        now,
        due_at,
        promise.is_live,
    )


def promised_shipment(
    shipment_id: ShipmentId, promise: Promise, now: float, due_at: float
) -> Shipment:
    """The shipment in a row that ``promise_row`` made."""
    return Shipment(
        id=shipment_id,
        watch=promise.watch,
        path=promise.path,
        file_id=promise.file_id,
        raw_start=promise.raw_start,
        raw_end=promise.raw_end,
        mtime_ns=promise.mtime_ns,
        tail_digest=promise.tail_digest,
        key=promise.key,
        compression=promise.compression,
        sealed_because=promise.sealed_because,
        promised_at=now,
        due_at=due_at,
        is_live=promise.is_live,
    )


def alike_row(
    shipment: Shipment,
) -> tuple[tuple[str, bytes], tuple[int, int], tuple[int, int, bytes]]:
    """What ``alike`` searches by: the log, the second of its mtime, and its mtime or directory."""
    second = shipment.mtime_ns // 10**9 * 10**9
    directory = shipment.path.removesuffix(shipment.path.rpartition(b"/")[2])
    return (
        (shipment.watch, stem_and_extension(shipment.path).stem),
        (second, second + 10**9 - 1),
        (shipment.mtime_ns, len(directory), directory),
    )


def state_row(shipment: Shipment) -> tuple[object, ...]:
    """The columns that events change, in the order of the journal's UPDATE."""
    return (
        shipment.state,
        shipment.due_at,
        shipment.attempts,
        shipment.upload_id,
        shipment.part_size,
        shipment.etag,
        shipment.stored_bytes,
        shipment.raw_sha256,
        shipment.raw_crc32,
        shipment.code,
        shipment.detail,
        shipment.finished_at,
        shipment.abort_at,
    )


def shipment_from_row(row: Any) -> Shipment:
    """A row of ``COLUMNS`` as a value."""
    return Shipment(
        id=ShipmentId(row[0]),
        watch=WatchName(row[1]),
        path=RelativePath(row[2]),
        file_id=FileId(unsigned(row[3]), row[4], row[5]),
        raw_start=row[6],
        raw_end=row[7],
        mtime_ns=row[8],
        tail_digest=row[9],
        key=ObjectKey(row[10]),
        compression=Compression(row[11]),
        sealed_because=row[12],
        promised_at=row[13],
        state=State(row[14]),
        due_at=row[15],
        attempts=row[16],
        upload_id=UploadId(row[17]) if row[17] is not None else None,
        part_size=row[18],
        etag=ETag(row[19]) if row[19] is not None else None,
        stored_bytes=row[20],
        raw_sha256=row[21],
        raw_crc32=row[22],
        code=row[23],
        detail=row[24],
        finished_at=row[25],
        abort_at=row[26],
        is_live=bool(row[27]),
    )
