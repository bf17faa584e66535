"""Was this write ours? Told by what was journalled before it went out, and by one listing.

The answer to our own write may have been lost, or the process that waited for it, or the journal
that remembered it. Keys are deterministic, so the object is then there, with the size and the ETag
that were intended. Anything else under the key is never overwritten.

ETags are computed here. What S3 answers only tells whether its ETags can be compared with them.
"""

from typing import Any

from shipper.core.checksums import etag_of_pieces, single_etag
from shipper.core.destinations import etags_are_md5
from shipper.core.failures import Verdict, judge
from shipper.core.intents import Likeness, likeness
from shipper.core.lifecycle import ObjectStored, WriteIntended
from shipper.core.replay import Replay
from shipper.core.types import ETag, ListedObject, Shipment, StoredObject
from shipper.journal.journal import Journal
from shipper.ports import ObjectStore, PortError
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.tasks import recorded

UNDECIDED_ATTEMPTS = 5
"""So often an object of the right size is looked at again before it is called another's."""
UNDER_WAY_SECONDS = 30.0
"""S3 may still be storing what it was sent when nobody waits for the answer any more."""
_UNDER_WAY = "WriteUndecided"


class LostAnswers:
    """Remembers writes before they go out, and recovers them by listing.

    Safe to share between threads.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        journal: Journal,
        retry_policy: RetryPolicy,
        is_signed: bool,
        log: Any,
    ) -> None:
        self._store = store
        self._journal = journal
        self._retry_policy = retry_policy
        self._log = log
        known = journal.origin.answers()
        told = known.get("etags_are_md5")
        self._told: dict[str, bool] = told if isinstance(told, dict) else {}
        """By encryption, whether ETags are MD5s. A write has told, in this life or an earlier
        one."""
        self._differed: set[str] = set()
        self._is_vouched_for: bool | None = is_signed or known.get("is_vouched_for")
        """Whether the server checks bodies: it has echoed a checksum, or every body is signed.
        None until a write has told."""

    def etag_of(self, shipment: Shipment, body: memoryview | Replay) -> ETag:
        """The ETag that S3 computes; empty where it computes another."""
        if not etags_are_md5(self._store.encryption(shipment.watch)):
            return ETag("")
        return etag_of_pieces(body.pieces()) if isinstance(body, Replay) else single_etag(body)

    async def intend(self, shipment: Shipment, intent: WriteIntended) -> Shipment:
        """Have it on disk before it is sent that this write may take effect."""
        if self._journal_has(shipment, intent):
            return shipment
        return await recorded(shipment, intent)

    def learn(self, shipment: Shipment, etag: str, own: str, *, is_echoed: bool) -> None:
        """Learn from S3's answer to a write whether ETags are MD5s here. ``own`` is that MD5.

        The journal has it before the write is recorded: after a restart no other write may come.
        """
        before = self._told, self._is_vouched_for
        self._is_vouched_for = self._is_vouched_for or is_echoed
        if own:
            is_md5 = self._compared(shipment, etag, own, is_echoed=is_echoed)
            if is_md5 is not None:
                self._told = self._told | {self._store.encryption(shipment.watch): is_md5}
        if before != (self._told, self._is_vouched_for):
            self._journal.origin.remember_answers(
                {"etags_are_md5": self._told, "is_vouched_for": self._is_vouched_for or None}
            )

    def _compared(
        self, shipment: Shipment, etag: str, own: str, *, is_echoed: bool
    ) -> bool | None:
        """One ETag that differs, without a checksum, may as well belong to damaged bytes."""
        known = self._are_md5(shipment)
        if etag == own:
            return True
        if is_echoed or len(etag) != len(own):
            return False
        if known is None:
            encryption = self._store.encryption(shipment.watch)
            known = False if encryption in self._differed else None
            self._differed.add(encryption)
        return known

    def _are_md5(self, shipment: Shipment) -> bool | None:
        """Whether the ETags of its watch's objects are MD5s; None where nothing has told."""
        encryption = self._store.encryption(shipment.watch)
        return self._told.get(encryption) if etags_are_md5(encryption) else False

    def require_intact(self, shipment: Shipment, etag: str, own: str, *, is_echoed: bool) -> None:
        """Require that nothing says a part was stored otherwise than it was sent.

        Raises:
            PortError: ``ChecksumMismatch``.
        """
        is_told = is_echoed or not own or self._are_md5(shipment) is False
        if not is_told and etag != own:
            raise PortError("ChecksumMismatch", f"ETag {own} was sent, {etag} came back")

    async def require_free(self, shipment: Shipment) -> None:
        """Look before a write where S3 does not: without conditions, it would replace the object.

        Raises:
            PortError: ``PreconditionFailed``; something is there.
        """
        if not self._store.is_conditional and await self._found(shipment) is not None:
            raise PortError("PreconditionFailed", "the listing shows an object there", status=412)

    def compare(self, shipment: Shipment, found: ListedObject) -> Likeness:
        """How the object compares with what was to be written."""
        return likeness(shipment.intents, found, self._are_md5(shipment))

    def is_proven(self, shipment: Shipment, it_is: Likeness) -> bool:
        """Whether something other than S3's own word shows that it stored what was sent.

        Raises:
            PortError: ``ObjectUndecided``; no write has told yet whether anything can.
        """
        is_told = self._is_vouched_for is not None or shipment.attempts >= UNDECIDED_ATTEMPTS
        is_told = is_told or shipment.code == "ObjectUnproven"  # retried: it has waited before
        if it_is is not Likeness.SAME and not is_told:
            raise PortError("ObjectUndecided", "waits for a write that tells what S3 checks here")
        return it_is is Likeness.SAME or self._is_vouched_for is True

    async def recovered(self, shipment: Shipment, error: PortError) -> tuple[StoredObject, int]:
        """The object that was to be written, if it is there, and its size.

        Raises:
            PortError: ``error`` itself when it does not mean that the object may be there;
                ``KeyTaken``; ``ObjectUndecided`` while nothing has told what ETags mean here;
                ``UploadExpired`` or ``OperationAborted`` when nothing is there.
        """
        if judge(error.code, error.status) is not Verdict.CHECK_STORE:
            raise error
        found = await self._found(shipment)
        if found is None:
            is_upload_lost = error.code == "NoSuchUpload"
            code = "UploadExpired" if is_upload_lost else "OperationAborted"
            raise PortError(code, error.detail, error.hint) from error
        if self._is_ours(shipment, found):
            self._log.info("answer.recovered", key=shipment.key, code=error.code)
            return StoredObject(found.etag, confirmed=False), found.size_bytes
        detail = f"{found.size_bytes} bytes with ETag {found.etag or 'unknown'} are there"
        raise PortError("KeyTaken", detail) from error

    async def stored(self, shipment: Shipment) -> ObjectStored | None:
        """What S3 has of a shipment whose source is lost: a write of it may have arrived.

        Raises:
            PortError: S3's; ``ObjectUndecided``; ``WriteUndecided``, the first time that nothing
                is there.
        """
        if not shipment.intents:
            return None
        found = await self._found(shipment)
        if found is None and shipment.code != _UNDER_WAY:
            detail = "its file is lost, and S3 may still be storing what it was sent"
            raise PortError(_UNDER_WAY, detail, retry_after=UNDER_WAY_SECONDS)
        if found is None or not self._is_ours(shipment, found):
            return None
        self._log.info("answer.recovered", key=shipment.key, code="SourceVanished")
        return ObjectStored(found.etag, found.size_bytes, shipment.raw_sha256)

    def _is_ours(self, shipment: Shipment, found: ListedObject) -> bool:
        it_is = self.compare(shipment, found)
        if it_is is Likeness.UNDECIDED and shipment.attempts < UNDECIDED_ATTEMPTS:
            raise PortError("ObjectUndecided", "waits for a write that tells what ETags are here")
        return it_is in (Likeness.SAME, Likeness.SAME_SIZE)

    async def _found(self, shipment: Shipment) -> ListedObject | None:
        return await self._retry_policy(lambda: self._store.find(shipment.key))

    @staticmethod
    def _journal_has(shipment: Shipment, intent: WriteIntended) -> bool:
        newest = f"{intent.etag}:{intent.stored_bytes}"
        return shipment.raw_sha256 == intent.raw_sha256 and shipment.intents.split()[:1] == [
            newest
        ]
