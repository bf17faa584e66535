"""When shipments fall due, moved for many of them at once: by the clock, an operator, or the gate.

One shipment's due time changes with its state, in ``Journal.record``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from shipper.journal import statements as sql
from shipper.journal.meta import Run


class Due:
    """A part of the journal, in the same file and behind the same lock."""

    def __init__(self, *, transaction: Callable[[], AbstractContextManager[Run]]) -> None:
        self._transaction = transaction

    def rebase(self, seconds: float) -> None:
        """Move every due time: the wall clock was set by so much (< 0: back)."""
        with self._transaction() as run:
            run(sql.UPDATE_DUE, (seconds,))

    def clamp(self, latest_at: float) -> None:
        """Bring due times that no wait of ours could have set back to ``latest_at``."""
        with self._transaction() as run:
            run(sql.CLAMP_DUE, (latest_at, latest_at))

    def make_due(self, now: float) -> int:
        """Make due what waits for its next attempt (not for its removal); how many did."""
        with self._transaction() as run:
            return run(sql.MAKE_DUE, (now, now)).rowcount

    def requeue(self, now: float) -> None:
        """Let all that failed take its old place in the queue: what waited longest goes first."""
        with self._transaction() as run:
            run(sql.REQUEUE, (now,))
