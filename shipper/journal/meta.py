"""Where a journal comes from: when it was begun, what the bucket held for it then, and which.

A journal that replaces a lost one knows nothing of what its predecessor shipped; by these facts
it knows that it might not know. What it knows of a bucket is of the one it last sent to.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from shipper.core.types import ObjectKey, Terms, UploadId
from shipper.journal.database import Run

SELECT_META = "SELECT value FROM meta WHERE name = ?"
INSERT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
DELETE_EMPTINESS = "DELETE FROM meta WHERE name GLOB 'empty:*'"
UPDATE_BIRTH = "UPDATE meta SET value = CAST(value AS REAL) + ? WHERE name = 'born_at'"


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


INSERT_ABANDONED_UPLOAD = "INSERT OR IGNORE INTO abandoned_uploads VALUES (?, ?, 0)"
DELETE_ABANDONED_UPLOADS = "DELETE FROM abandoned_uploads"
SELECT_NEW_ABANDONED_UPLOADS = (
    "SELECT upload_id, key, attempts FROM abandoned_uploads WHERE attempts = 0"
)
SELECT_ABANDONED_UPLOADS = "SELECT upload_id, key, attempts FROM abandoned_uploads"
COUNT_ATTEMPT = "UPDATE abandoned_uploads SET attempts = ? WHERE upload_id = ? AND attempts = ?"
DELETE_ABANDONED_UPLOAD = "DELETE FROM abandoned_uploads WHERE upload_id = ?"


@dataclass(frozen=True, slots=True)
class AbandonedUpload:
    """An upload to abort; ``attempts`` that were begun, over all lives of the process."""

    upload_id: UploadId
    key: ObjectKey
    attempts: int


class AbandonedUploads:
    """A part of the journal, in the same file and behind the same lock."""

    def __init__(
        self,
        *,
        query: Callable[..., list[Any]],
        transaction: Callable[[], AbstractContextManager[Run]],
    ) -> None:
        self._query = query
        self._transaction = transaction

    def listed(self, *, is_new: bool = False) -> list[AbandonedUpload]:
        """All of them, or those that nobody has tried to abort yet."""
        rows = self._query(SELECT_NEW_ABANDONED_UPLOADS if is_new else SELECT_ABANDONED_UPLOADS)
        return [
            AbandonedUpload(UploadId(number), ObjectKey(key), tried) for number, key, tried in rows
        ]

    def begin(self, abandoned: AbandonedUpload) -> bool:
        """Count an attempt before it is made; False when somebody else has begun this one."""
        with self._transaction() as run:
            tried = abandoned.attempts
            return run(COUNT_ATTEMPT, (tried + 1, abandoned.upload_id, tried)).rowcount == 1

    def drop(self, abandoned: AbandonedUpload) -> None:
        """It is aborted, or never will be."""
        with self._transaction() as run:
            run(DELETE_ABANDONED_UPLOAD, (abandoned.upload_id,))

    def forget(self) -> None:
        """They are in a bucket that is not this one any more."""
        with self._transaction() as run:
            run(DELETE_ABANDONED_UPLOADS, ())
