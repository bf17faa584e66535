"""What an audit reads of the journal: everything, in pages.

Each page is a query of its own. One long read would keep SQLite from folding the WAL into the file
for as long as the audit lasts, while a daemon goes on writing. So a row may change between two
pages, and whoever finds something strange about one reads it again.

The order of the keys is that of their bytes (``BINARY``): the index that makes them unique.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any, Self

from shipper.core.audit import Row, Segment
from shipper.journal.database import HINT_UNUSABLE, Database
from shipper.journal.manifests import JOURNAL_BEGAN_AT
from shipper.journal.schema import unsigned
from shipper.ports import PortError

PAGE = 1000
_ROW = ", ".join(Row._fields)
_SEGMENT = ", ".join(Segment._fields)
SELECT_BY_KEY = f"SELECT {_ROW} FROM shipments WHERE key > ? ORDER BY key LIMIT ?"  # noqa: S608  (constants)
SELECT_AT_KEY = f"SELECT {_ROW} FROM shipments WHERE key = ?"  # noqa: S608  (constants)
SELECT_NUMBER = f"SELECT {_ROW} FROM shipments WHERE id = ?"  # noqa: S608  (constants)
SELECT_OF_INODES = f"""
SELECT {_SEGMENT} FROM shipments WHERE stands = 1 AND (watch, inode, id) > (?, ?, ?)
ORDER BY watch, inode, id LIMIT ?
"""  # noqa: S608  (constants)
SELECT_BEGAN = "SELECT value FROM meta WHERE name = ?"
SELECT_FIRST = "SELECT promised_at FROM shipments WHERE id = (SELECT min(id) FROM shipments)"
COUNT = "SELECT count(*) FROM shipments"
"""Reads the smallest index once: 20 ms for a million rows."""
_LOWEST = -(2**63)


class Review:
    """A connection of its own, read-only; the daemon may be writing meanwhile.

    Raises:
        PortError: ``JournalUnwritable`` where it is locked for long; ``JournalCorrupt``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: str) -> Self:
        """As ``Journal.open_read_only``."""
        return cls(Database.open_read_only(path))

    def close(self) -> None:
        self._database.close()

    def by_key(self) -> Iterator[Row]:
        """Every row, in the order of the keys."""
        after = ""
        while rows := self._rows(SELECT_BY_KEY, after, PAGE):
            yield from rows
            after = rows[-1].key

    def of_inodes(self) -> Iterator[Segment]:
        """Every row that stands for its file, those of one inode together."""
        after: tuple[object, ...] = ("", _LOWEST, 0)
        while found := self._query(SELECT_OF_INODES, *after, PAGE):
            for row in found:
                segment = Segment(*row)
                yield segment._replace(inode=unsigned(segment.inode))
            last = Segment(*found[-1])
            after = last.watch, last.inode, last.id

    def at_key(self, key: str) -> Row | None:
        return next(iter(self._rows(SELECT_AT_KEY, key)), None)

    def again(self, row: Row) -> Row | None:
        """The row as it is now."""
        return next(iter(self._rows(SELECT_NUMBER, row.id)), None)

    def begins_at(self) -> float | None:
        """Since when it is kept without a gap: what was shipped before, it may not know.

        An older version did not note that: then it is when the oldest row was promised, and None
        where there is none.
        """
        found = self._query(SELECT_BEGAN, JOURNAL_BEGAN_AT) or self._query(SELECT_FIRST)
        return float(found[0][0]) if found else None

    def count(self) -> int:
        return int(self._query(COUNT)[0][0])

    def _rows(self, statement: str, *parameters: object) -> list[Row]:
        return [Row(*row) for row in self._query(statement, *parameters)]

    def _query(self, statement: str, *parameters: object) -> list[Any]:
        try:
            return self._database.query(statement, *parameters)
        except sqlite3.DatabaseError as error:
            raise PortError("JournalCorrupt", str(error), HINT_UNUSABLE) from error
