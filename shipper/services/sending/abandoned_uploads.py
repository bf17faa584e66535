"""Aborts the uploads that were given up, as far as the role may: least privilege needs it not.

A new one is tried at once, by whoever gave it up. What then fails for want of a network comes
round once an hour, and at every start, ``MOST_ATTEMPTS`` times in all; what S3 refuses does not.
The bucket's lifecycle rule is the end of whatever stays.
"""

import threading
from typing import Any

from shipper.core.failures import Verdict, judge
from shipper.journal.journal import Journal
from shipper.journal.meta import AbandonedUpload
from shipper.ports import Clock, ObjectStore, PortError

ROUND_SECONDS = 3600.0
MOST_ATTEMPTS = 72
"""Three days of rounds; the lifecycle rule that the README recommends takes over after seven."""

_REFUSALS = frozenset({Verdict.HOLD, Verdict.CHECK_STORE})
"""It may not be aborted, or there is no such upload."""


class AbandonedUploads:
    """Several workers may share one; ``_lock`` guards ``_round_at``."""

    def __init__(self, *, journal: Journal, store: ObjectStore, clock: Clock, log: Any) -> None:
        self._journal = journal
        self._store = store
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._round_at = clock.monotonic()

    def sweep(self) -> None:
        """Abort what is new, and once in a round all that is left, until S3 cannot be reached.

        Raises:
            PortError: ``JournalUnwritable``.
        """
        for abandoned in self._journal.abandoned_uploads.listed(is_new=not self._is_round_due()):
            if self._journal.abandoned_uploads.begin(abandoned) and not self._is_settled(
                abandoned
            ):
                break

    def _is_round_due(self) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            is_due = now >= self._round_at
            self._round_at = now + ROUND_SECONDS if is_due else self._round_at
        return is_due

    def _is_settled(self, abandoned: AbandonedUpload) -> bool:
        """Try once; whether there is nothing more to try."""
        try:
            self._store.abort_upload(abandoned.key, abandoned.upload_id)
        except PortError as error:
            is_refused = judge(error.code, error.status) in _REFUSALS
            if not is_refused and abandoned.attempts + 1 < MOST_ATTEMPTS:
                return False
            if error.code != "NoSuchUpload":
                self._log.debug("upload.orphaned", key=abandoned.key, code=error.code)
        self._journal.abandoned_uploads.drop(abandoned)
        return True
