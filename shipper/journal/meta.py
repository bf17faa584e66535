"""What the journal knows about itself: its instance, and the terms of its uploads."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from shipper.core.types import Terms

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


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

    def instance_id(self) -> str:
        """The instance that last adopted the journal; empty when none did."""
        row = self._query(SELECT_META, "instance_id")
        return str(row[0][0]) if row else ""

    def terms(self) -> Terms | None:
        """The terms on which the last uploads were begun; None before the first."""
        bucket, digest = (self._query(SELECT_META, name) for name in ("bucket", "terms"))
        return Terms(bucket[0][0], digest[0][0]) if bucket and digest else None

    def begin(self, terms: Terms) -> None:
        """Remember on which terms uploads are begun."""
        with self._transaction() as run:
            run(INSERT_META, ("bucket", terms.bucket))
            run(INSERT_META, ("terms", terms.digest))
