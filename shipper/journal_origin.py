"""Where a journal comes from: when it was begun, and what the bucket held for it then.

A journal that replaces a lost one knows nothing of what its predecessor shipped; by these facts
it knows that it might not know.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
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

    def was_empty(self, prefix: str) -> bool:
        """Whether the bucket is known to have held nothing there that the journal has not."""
        return bool(self._query(SELECT_META, _emptiness(prefix)))

    def found_empty(self, prefix: str) -> None:
        """Remember that before the first shipment the bucket held nothing below ``prefix``."""
        with self._transaction() as run:
            run(INSERT_META, (_emptiness(prefix), "yes"))


def _emptiness(prefix: str) -> str:
    return f"empty:{prefix}"
