"""Where a journal comes from: when it was begun, what the bucket held for it then, and which.

A journal that replaces a lost one knows nothing of what its predecessor shipped; by these facts
it knows that it might not know. What it knows of a bucket is of the one it last sent to.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from shipper.core.terms import Terms

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
DELETE_EMPTINESS = "DELETE FROM meta WHERE name GLOB 'empty:*'"
UPDATE_BIRTH = "UPDATE meta SET value = CAST(value AS REAL) + ? WHERE name = 'born_at'"


class Run(Protocol):
    """Executes a statement within a transaction."""

    def __call__(self, statement: str, parameters: Sequence[object], /) -> sqlite3.Cursor: ...


class Origin:
    """A part of the journal, in the same file and behind the same lock."""

    def __init__(
        self,
        *,
        query: Callable[..., list[Any]],
        transaction: Callable[[], AbstractContextManager[Run]],
    ) -> None:
        self._query = query
        self._transaction = transaction

    def born_at(self) -> float | None:
        """When the file was begun, by the wall clock; None in files older than this fact."""
        return next((float(value) for (value,) in self._query(SELECT_META, "born_at")), None)

    def instance_id(self) -> str:
        """The instance that last adopted the journal; empty when none did."""
        row = self._query(SELECT_META, "instance_id")
        return str(row[0][0]) if row else ""

    def was_empty(self, prefix: str) -> bool:
        """Whether the bucket is known to have held nothing there that the journal has not."""
        return bool(self._query(SELECT_META, _emptiness(prefix)))

    def found_empty(self, prefix: str) -> None:
        """Remember that before the first shipment the bucket held nothing below ``prefix``."""
        with self._transaction() as run:
            run(INSERT_META, (_emptiness(prefix), "yes"))

    def terms(self) -> Terms | None:
        """The terms on which the last uploads were begun; None before the first."""
        bucket, digest = (self._query(SELECT_META, name) for name in ("bucket", "terms"))
        return Terms(bucket[0][0], digest[0][0]) if bucket and digest else None

    def begin(self, terms: Terms) -> None:
        """Remember on which terms uploads are begun, and forget what another bucket held."""
        before = self.terms()
        with self._transaction() as run:
            if before is not None and before.bucket != terms.bucket:
                run(DELETE_EMPTINESS, ())
            run(INSERT_META, ("bucket", terms.bucket))
            run(INSERT_META, ("terms", terms.digest))


def _emptiness(prefix: str) -> str:
    return f"empty:{prefix}"
