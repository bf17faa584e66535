"""The journal's file: how it is opened, and the one SQLite connection that all threads share.

What is durable: a transaction is on disk when it returns (WAL, ``synchronous=FULL``), so a power
cut costs nothing that was returned.

A file that cannot serve is set aside, and an empty one takes its place. Only the holder of the
state directory's lock may do that. It is said before the file is moved: whoever dies in between
says it twice, and never loses a journal without a word.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, Protocol, Self
from urllib.parse import quote

from shipper.core.failures import hint_for
from shipper.core.hints import OTHER_USER
from shipper.core.types import Shipment, ShipmentId
from shipper.journal.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, shipment_from_row
from shipper.journal.statements import CORRECT_DUE, SUPERSEDE_UNREADABLE
from shipper.ports import PortError

IN_MEMORY = ":memory:"
BUSY_SECONDS = 2.0
"""How long to wait for another process that writes, such as ``shipper retry``."""
_CORRUPT = ("corrupt", "JournalCorrupt", "it was corrupt")
_HEADLESS = ("corrupt", "JournalCorrupt", "it was gone or empty, and its WAL was not")
_OUTDATED = ("outdated", "JournalTooOld", "a development version of shipper wrote it")
HINT_UNUSABLE = "restart shipper: it sets the file aside and begins a new journal"
_HINT_NO_JOURNAL = "has `shipper run` or `shipper ship` run here?"


class Run(Protocol):
    """Executes a statement within a transaction."""

    def __call__(self, statement: str, parameters: Sequence[object], /) -> sqlite3.Cursor: ...


SetAside = Callable[[str, str], None]
"""Told the new name of an unusable file, and why it is moved there."""


class _Unusable(Exception):
    """The file cannot serve as the journal."""

    def __init__(self, kind: str, code: str, because: str) -> None:
        super().__init__(because)
        self.kind = kind
        self.code = code
        self.because = because


class Database:
    """One SQLite file; ``_lock`` guards the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.text_factory = _text
        self._connection = connection
        self._lock = threading.RLock()
        self.enters = True
        """Whether what manifests are to tell of is noted; see ``journal.manifests``."""

    @classmethod
    def open(cls, path: str, *, now: float, set_aside: SetAside | None) -> Self:
        """Open or create the file; see ``Journal.open``."""
        try:
            try:
                return cls(_opened(path, now, set_aside))
            except _Unusable as error:
                if set_aside is None:
                    raise PortError(error.code, path, HINT_UNUSABLE) from error
                return cls(_opened(path, now, None))
        except (sqlite3.OperationalError, OSError) as error:
            raise _unwritable(f"{path}: {error}") from error

    @classmethod
    def open_read_only(cls, path: str) -> Self:
        """Open an existing file to look at it; see ``Journal.open_read_only``."""
        try:
            return cls(_opened_read_only(path))
        except _Unusable as error:
            raise PortError(error.code, path, HINT_UNUSABLE) from error
        except sqlite3.OperationalError as error:
            hint = _HINT_NO_JOURNAL if is_absent(path) else OTHER_USER
            raise PortError("NoJournal", f"{path}: {error}", hint) from error
        except sqlite3.Error as error:
            raise PortError("JournalCorrupt", path, HINT_UNUSABLE) from error

    @classmethod
    def in_memory(cls) -> Self:
        """An empty database that is never on disk."""
        return cls(_opened(IN_MEMORY, 0.0, None))

    def close(self) -> None:
        """The WAL is folded into the file."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Run]:
        """Run statements, all or none (``JournalUnwritable``); then they are on disk."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection.execute
                    self._connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.OperationalError):
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise _unwritable(str(error)) from error

    def query(self, statement: str, *parameters: object) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as error:
                raise _unwritable(str(error)) from error

    def shipments(
        self, statement: str, *parameters: object, but: Container[ShipmentId] = ()
    ) -> list[Shipment]:
        """The rows as values, without those whose ids are in ``but``."""

        def found() -> list[Shipment]:
            rows = self.query(statement, *parameters)
            return [shipment_from_row(row) for row in rows if row[0] not in but]

        try:
            return found()
        except ValueError:  # somebody has written into the file
            self.query(SUPERSEDE_UNREADABLE)
            return found()


def _text(raw: bytes) -> str:
    """Text that is no UTF-8 is that of a row, and no reason to stop."""
    return raw.decode(errors="replace")


def is_unusable(error: Exception) -> bool:
    """Whether it is the journal's, and not that of a row which does not fit into it."""
    is_of_row = isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
    return isinstance(error, sqlite3.DatabaseError) and not is_of_row


def is_absent(path: str) -> bool:
    """Whether there is surely no such file; False where the directory may not be searched."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def hand_over(path: str) -> None:
    """Give the file to the owner of its directory, as far as this process may.

    What root made, the daemon could not open. A link itself is given, never what it leads to:
    the owner of the directory may have put it there.
    """
    owner = os.stat(os.path.dirname(path) or ".")
    with contextlib.suppress(OSError):
        os.lchown(path, owner.st_uid, owner.st_gid)


def _opened_read_only(path: str) -> sqlite3.Connection:
    uri = f"file://{quote(os.fsencode(os.path.abspath(path)))}?mode=ro"
    with contextlib.ExitStack() as on_failure:
        _require_head(path)
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        on_failure.callback(connection.close)
        if not _has_tables(connection, path):
            raise PortError("NoJournal", f"{path}: it is empty", _HINT_NO_JOURNAL)
        on_failure.pop_all()
    return connection


def _opened(path: str, now: float, set_aside: SetAside | None) -> sqlite3.Connection:
    """A connection to a journal of the present schema, which is created in an empty file."""
    was_closed = not os.path.exists(f"{path}-wal")
    with contextlib.ExitStack() as on_failure:
        try:
            _require_head(path)
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            on_failure.callback(connection.close)
            _prepare(connection, path, was_closed)
        except _Unusable as error:
            # Closing the connection removes the WAL or folds it into the file, so rename first.
            if set_aside is not None:
                _move(path, f"{path}.{error.kind}-{int(now)}", error.because, set_aside)
            raise
        on_failure.pop_all()
    return connection


def _move(path: str, aside: str, because: str, set_aside: SetAside) -> None:
    """Move the main file first: a WAL that is left alone is found at the next start.

    A main file that is left alone might look sound, as it was before the WAL.
    """
    set_aside(aside, because)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.replace(path + suffix, aside + suffix)


def _require_head(path: str) -> None:
    """Refuse a WAL without its main file, which SQLite would delete without a word.

    No crash leaves that: SQLite writes the main file's first page before it begins a WAL.
    """
    if not _size(path) and _size(f"{path}-wal"):
        raise _Unusable(*_HEADLESS)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _prepare(connection: sqlite3.Connection, path: str, was_closed: bool) -> None:
    try:
        has_tables = _has_tables(connection, path)
        if path != IN_MEMORY:
            # Before there is a WAL, which gets the mode and the owner of the file.
            os.chmod(path, 0o600)
            hand_over(path)
            # SQLite reads a last page that was cut short as if zeros followed. Only a WAL may
            # hold the whole of it; closing folds the WAL in.
            page_size = connection.execute("PRAGMA page_size").fetchone()[0]
            if was_closed and os.path.getsize(path) % page_size:
                raise _Unusable(*_CORRUPT)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise _Unusable(*_CORRUPT)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise _Unusable(*_CORRUPT) from error
    if has_tables:
        connection.execute(SUPERSEDE_UNREADABLE)
        connection.execute(CORRECT_DUE)
    else:
        identity = f"PRAGMA application_id = {APPLICATION_ID};"
        version = f"PRAGMA user_version = {SCHEMA_VERSION};"
        connection.executescript(f"BEGIN; {SCHEMA} {identity} {version} COMMIT;")


def _has_tables(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file has the tables of the present schema; False when it is empty.

    Raises:
        _Unusable: a development version wrote it.
        PortError: ``JournalTooNew``.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not (application_id or version or tables):
        return False
    if application_id != APPLICATION_ID or version < SCHEMA_VERSION:
        raise _Unusable(*_OUTDATED)
    if version > SCHEMA_VERSION:
        raise PortError(
            "JournalTooNew",
            f"{path} has schema {version}, this shipper knows {SCHEMA_VERSION}",
            "install the newer shipper again",
        )
    return True


def _unwritable(detail: str) -> PortError:
    return PortError("JournalUnwritable", detail, hint_for("JournalUnwritable", detail))
