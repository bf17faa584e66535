"""The entries of manifests, sorted by key with a bounded amount of memory.

They come in the order of their verification, and a listing comes in byte order. So they go into a
temporary SQLite database, which has no name, and is gone with the process. SQLite sorts what does
not fit into ``CACHE_KIB`` in files beside it, all below ``SQLITE_TMPDIR`` or ``TMPDIR``.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from shipper.core.chains import sent_at
from shipper.core.manifests import LossEntry, ObjectEntry
from shipper.ports import PortError

CACHE_KIB = 16 * 1024
_BATCH = 1000
_CREATE = """
CREATE TABLE entries (
    key BLOB NOT NULL,      -- UTF-8: blobs are compared byte by byte, as S3 lists
    instance INTEGER NOT NULL,
    size INTEGER NOT NULL,  -- -1: of a loss
    etag TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    compression TEXT NOT NULL,
    sent_at REAL NOT NULL,
    raw_bytes INTEGER NOT NULL
) STRICT
"""
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SORTED = "SELECT * FROM entries ORDER BY key"
_LOSS_SIZE = -1
_Row = tuple[bytes, int, int, str, str, str, float, int]


@dataclass(frozen=True, slots=True)
class Spilled:
    """What is remembered of an entry; ``instance`` is the caller's number."""

    key: str
    instance: int
    size: int
    etag: str
    sha256: str
    compression: str
    sent_at: float
    """0 where it is not known."""
    raw_bytes: int

    @property
    def is_loss(self) -> bool:
        return self.size == _LOSS_SIZE


class EntrySpill:
    """Filled, and then read once. For one thread."""

    def __init__(self) -> None:
        self._batch: list[_Row] = []
        with _failures():
            self._database = sqlite3.connect("", isolation_level=None)
            for pragma in (
                f"cache_size = -{CACHE_KIB}",
                "journal_mode = OFF",
                "synchronous = OFF",
                "temp_store = FILE",
            ):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute(_CREATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._database.close()

    def add(self, instance: int, entry: ObjectEntry | LossEntry) -> None:
        """Remember one that ``core.chains`` has no ``entry_problem`` with."""
        row: _Row = (entry.key.encode(), instance, _LOSS_SIZE, "", "", "", 0.0, 0)
        if isinstance(entry, ObjectEntry):
            what = entry.size, entry.etag, entry.sha256, entry.compression
            row = (*row[:2], *what, sent_at(entry), entry.raw_end - entry.raw_start)
        self._batch.append(row)
        if len(self._batch) == _BATCH:
            self._flush()

    def sorted(self) -> Iterator[Spilled]:
        """In byte order of the keys."""
        self._flush()
        with _failures():
            rows: Iterable[_Row] = self._database.execute(_SORTED)
            for row in rows:
                yield Spilled(row[0].decode(), *row[1:])

    def _flush(self) -> None:
        with _failures():
            self._database.execute("BEGIN")
            self._database.executemany(_INSERT, self._batch)
            self._database.execute("COMMIT")
        self._batch.clear()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        hint = "set TMPDIR to a directory with room: some 400 bytes for each object"
        raise PortError("NoTemporarySpace", f"sorting the entries: {error}", hint) from error
