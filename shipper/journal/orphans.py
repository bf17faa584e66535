"""Uploads that were begun here and given up: S3 keeps their parts until somebody aborts them.

Only ids that this journal wrote are in the list. What another instance wrote, of whose disk this
one's is a copy, is not aborted: ``Journal.adopt`` forgets it. An upload whose id never reached the
journal (the process died between S3's answer and the record) is nobody's to find; the bucket's
lifecycle rule removes it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from shipper.core.types import ObjectKey, UploadId
from shipper.journal.meta import Run

INSERT_ORPHAN = "INSERT OR IGNORE INTO orphans VALUES (?, ?, 0)"
DELETE_ORPHANS = "DELETE FROM orphans"
SELECT_NEW_ORPHANS = "SELECT upload_id, key, attempts FROM orphans WHERE attempts = 0"
SELECT_ORPHANS = "SELECT upload_id, key, attempts FROM orphans"
COUNT_ATTEMPT = "UPDATE orphans SET attempts = ? WHERE upload_id = ? AND attempts = ?"
DELETE_ORPHAN = "DELETE FROM orphans WHERE upload_id = ?"


@dataclass(frozen=True, slots=True)
class Orphan:
    """An upload to abort; ``attempts`` that were begun, over all lives of the process."""

    upload_id: UploadId
    key: ObjectKey
    attempts: int


class Orphans:
    """A part of the journal, in the same file and behind the same lock."""

    def __init__(
        self,
        *,
        query: Callable[..., list[Any]],
        transaction: Callable[[], AbstractContextManager[Run]],
    ) -> None:
        self._query = query
        self._transaction = transaction

    def listed(self, *, is_new: bool = False) -> list[Orphan]:
        """All of them, or those that nobody has tried to abort yet."""
        rows = self._query(SELECT_NEW_ORPHANS if is_new else SELECT_ORPHANS)
        return [Orphan(UploadId(number), ObjectKey(key), tried) for number, key, tried in rows]

    def begin(self, orphan: Orphan) -> bool:
        """Count an attempt before it is made; False when somebody else has begun this one."""
        with self._transaction() as run:
            tried = orphan.attempts
            return run(COUNT_ATTEMPT, (tried + 1, orphan.upload_id, tried)).rowcount == 1

    def drop(self, orphan: Orphan) -> None:
        """It is aborted, or never will be."""
        with self._transaction() as run:
            run(DELETE_ORPHAN, (orphan.upload_id,))

    def forget(self) -> None:
        """They are in a bucket that is not this one any more."""
        with self._transaction() as run:
            run(DELETE_ORPHANS, ())
