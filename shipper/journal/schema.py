"""The journal's file: its tables, how it is opened, and how a row becomes a ``Shipment``.

A row's columns are exactly the fields of ``core.types.Shipment``, and ``stem``, by which the
copies of one log are found. Triggers keep ``totals``, so that a status costs the same with ten
rows and with ten million. A change of the schema adds a step to ``_STEPS`` and never edits one.
"""

import contextlib
import os
import sqlite3
from typing import Any
from urllib.parse import quote

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
from shipper.ports import PortError

IN_MEMORY = ":memory:"
BUSY_SECONDS = 2.0
"""Another writer is `shipper retry`, for a moment. Whoever asks for the status waits as long."""

_FIRST = """
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
    finished_at REAL
) STRICT;
CREATE INDEX shipments_due ON shipments (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX shipments_parked ON shipments (id) WHERE state = 'PARKED';
CREATE INDEX shipments_finished ON shipments (finished_at) WHERE state = 'DONE';
CREATE INDEX shipments_inode ON shipments (watch, inode);
CREATE INDEX shipments_stem ON shipments (watch, stem);
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
CREATE TRIGGER shipments_removed AFTER DELETE ON shipments BEGIN
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

_COUNT_WHAT_IS_FORGOTTEN = """
DROP TRIGGER shipments_removed;
CREATE TRIGGER shipments_removed AFTER DELETE ON shipments WHEN old.finished_at IS NULL BEGIN
    UPDATE totals SET files = files - 1, raw_bytes = raw_bytes - (old.raw_end - old.raw_start),
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE watch = old.watch AND state = old.state;
END;
"""
"""Totals of finished shipments only grow: they are counters, and rows are dropped in the end."""

_FIND_WHAT_IS_TO_BE_REMOVED = """
CREATE INDEX shipments_removable ON shipments (due_at, id) WHERE state = 'VERIFIED';
"""

_FIND_WHAT_IS_ALIKE = """
DROP INDEX shipments_stem;
CREATE INDEX shipments_stem ON shipments (watch, stem, mtime_ns);
"""
"""A copy of a log has its mtime: asked for at every shipment, and answered by the index."""

_FIND_WHAT_IS_UNDER_WAY = """
CREATE INDEX shipments_under_way ON shipments (id) WHERE state IN ('UPLOADING', 'UPLOADED');
"""

_REMEMBER_WHEN_UPLOADS_LAPSE = """
ALTER TABLE shipments ADD COLUMN abort_at REAL;
"""

_TELL_LIVE_FILES = """
ALTER TABLE shipments ADD COLUMN is_live INTEGER NOT NULL DEFAULT 0;
CREATE INDEX shipments_live ON shipments (watch, stem) WHERE is_live = 1;
"""

_STEPS = (
    _FIRST,
    _COUNT_WHAT_IS_FORGOTTEN,
    _FIND_WHAT_IS_TO_BE_REMOVED,
    _FIND_WHAT_IS_ALIKE,
    _FIND_WHAT_IS_UNDER_WAY,
    _REMEMBER_WHEN_UPLOADS_LAPSE,
    _TELL_LIVE_FILES,
)
SCHEMA_VERSION = len(_STEPS)

COLUMNS = (
    "id, watch, path, inode, head_length, head_digest, raw_start, raw_end, mtime_ns, tail_digest,"
    " key, compression, sealed_because, promised_at, state, due_at, attempts, upload_id,"
    " part_size, etag, stored_bytes, raw_sha256, raw_crc32, code, detail, finished_at,"
    " abort_at, is_live"
)


class Corrupt(Exception):
    """The file is no journal that can be trusted."""


def opened_read_only(path: str) -> sqlite3.Connection:
    """A connection for looking at a journal of the present schema.

    Raises:
        sqlite3.Error: there is none, or it is no journal.
        PortError: ``JournalTooNew``, ``JournalTooOld``.
    """
    uri = f"file://{quote(os.fsencode(os.path.abspath(path)))}?mode=ro"
    with contextlib.ExitStack() as on_failure:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        on_failure.callback(connection.close)
        connection.execute("SELECT count(*) FROM totals").fetchone()
        require_present(connection, path)
        on_failure.pop_all()
    return connection


def is_absent(path: str) -> bool:
    """Whether there is surely no such file; who may not search its directory cannot tell."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def opened(path: str, *, aside: str = "") -> sqlite3.Connection:
    """A connection to a journal of the present schema; a new one is begun if need be.

    Raises:
        Corrupt: it is; it and its WAL are now called ``aside``, where that was given.
        sqlite3.OperationalError, OSError: it cannot be opened or written.
    """
    was_closed = not os.path.exists(f"{path}-wal")
    with contextlib.ExitStack() as on_failure:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
        )
        on_failure.callback(connection.close)
        try:
            _prepare(connection, path, was_closed)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            # Before the close, which would remove the WAL, or fold it into the wreck.
            if aside:
                _set_aside(path, aside)
            raise Corrupt from error
        on_failure.pop_all()
    return connection


def _prepare(connection: sqlite3.Connection, path: str, was_closed: bool) -> None:
    version = known_version(connection, path)
    if path != IN_MEMORY:
        os.chmod(path, 0o600)  # before there is a WAL, which is made with the mode of the file
        # SQLite reads a last page that was cut short as if zeros followed. Only a WAL may hold
        # the whole of it; closing folds the WAL in.
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        if was_closed and os.path.getsize(path) % page_size:
            raise sqlite3.DatabaseError("the last page is cut short")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check failed")
    for number, step in enumerate(_STEPS[version:], version + 1):
        connection.executescript(f"BEGIN; {step} PRAGMA user_version = {number}; COMMIT;")


def known_version(connection: sqlite3.Connection, path: str) -> int:
    """The schema that the journal has, which is the present one or an earlier.

    Raises:
        PortError: ``JournalTooNew``.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise PortError(
            "JournalTooNew",
            f"{path} has schema {version}, this shipper knows {SCHEMA_VERSION}",
            "install the newer shipper again",
        )
    return version


def require_present(connection: sqlite3.Connection, path: str) -> None:
    """Whether the journal can be looked at as it is; only who may write brings it up to date.

    Raises:
        PortError: ``JournalTooNew``, ``JournalTooOld``.
    """
    version = known_version(connection, path)
    if version < SCHEMA_VERSION:
        raise PortError(
            "JournalTooOld",
            f"{path} has schema {version}, this shipper knows {SCHEMA_VERSION}",
            "an older shipper wrote it, and may still run: restart it",
        )


def _set_aside(path: str, aside: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.replace(path + suffix, aside + suffix)


def signed(inode: int) -> int:
    """The inode as SQLite keeps it: some file systems use all 64 bits, SQLite's have a sign."""
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
    """The shipment that the row of ``promise_row`` is."""
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
    """Which log it is, the second of its mtime, and its place: where its copies are looked for."""
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
