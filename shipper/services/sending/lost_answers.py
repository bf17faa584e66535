"""Was this write ours? Asked when S3 refuses a write because the key is taken or the upload gone.

The answer to our own write may have been lost, or the journal that remembered it. Keys are
deterministic, so the object is then there, and is as long as what was sent, with the same ETag.
Anything else under the key is never overwritten.
"""

from typing import Any

from shipper.core.checksums import single_etag
from shipper.core.failures import Verdict, judge
from shipper.core.replay import Replay
from shipper.core.types import ListedObject, Shipment, StoredObject
from shipper.ports import ObjectStore, PortError
from shipper.services.sending.retry import RetryPolicy

UNDECIDED_ATTEMPTS = 5
"""So often an object of the right size is looked at again before it is called another's."""


class LostAnswers:
    """Recovers lost answers by listing; safe to share between threads."""

    def __init__(self, *, store: ObjectStore, retry_policy: RetryPolicy, log: Any) -> None:
        self._store = store
        self._retry_policy = retry_policy
        self._log = log
        self._etags_are_md5: bool | None = None if store.etag_is_md5 else False
        """None until a write has told."""

    def learn(self, etag: str, body: memoryview | Replay) -> None:
        """Learn from S3's answer to a write of ``body`` whether ETags are MD5s here."""
        if self._etags_are_md5 is None and not isinstance(body, Replay):
            self._etags_are_md5 = etag == single_etag(body)

    def require_free(self, shipment: Shipment) -> None:
        """Look before a write where S3 does not: without conditions, it would replace the object.

        Raises:
            PortError: ``PreconditionFailed``; something is there.
        """
        if not self._store.is_conditional and self._found(shipment) is not None:
            raise PortError("PreconditionFailed", "the listing shows an object there", status=412)

    def _found(self, shipment: Shipment) -> ListedObject | None:
        return self._retry_policy(lambda: self._store.find(shipment.key))

    def recovered(
        self, shipment: Shipment, size_bytes: int, etag: str, error: PortError
    ) -> StoredObject:
        """The object that was to be written, if it is there; ``etag`` is what it must have.

        Where ETags tell nothing (SSE-KMS), key and size decide.

        Raises:
            PortError: ``error`` itself when it does not mean that the object may be there;
                ``KeyTaken``; ``ObjectUndecided`` while nothing has told what ETags mean here;
                ``UploadExpired`` or ``OperationAborted`` when nothing is there.
        """
        if judge(error.code, error.status) is not Verdict.CHECK_STORE:
            raise error
        found = self._found(shipment)
        if found is None:
            is_upload_lost = error.code == "NoSuchUpload"
            code = "UploadExpired" if is_upload_lost else "OperationAborted"
            raise PortError(code, error.detail, error.hint) from error
        is_as_long = found.size_bytes == size_bytes
        is_equal = self._etags_are_md5 is False or (found.etag != "" and found.etag == etag)
        if is_as_long and is_equal:
            self._log.info("answer.recovered", key=shipment.key, code=error.code)
            return StoredObject(found.etag, confirmed=False)
        is_undecided = self._etags_are_md5 is None and shipment.attempts < UNDECIDED_ATTEMPTS
        if is_as_long and is_undecided:
            raise PortError("ObjectUndecided", "waits for a write that tells what ETags are here")
        detail = f"{found.size_bytes} bytes with ETag {found.etag or 'unknown'} are there"
        raise PortError("KeyTaken", detail) from error
