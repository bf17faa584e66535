"""Do ETags tell anything here? They are MD5 but under KMS, and a bucket may encrypt by default.

So it is learned from the first write (older objects may have been written in other days); until
then an object of the right size with another ETag is neither ours nor another's.
"""

from collections.abc import Iterable

from shipper.core.checksums import single_etag
from shipper.core.types import ListedObject, Shipment
from shipper.ports import ObjectStore, PortError

UNDECIDED_ATTEMPTS = 5
"""So often an object of the right size is looked at again before it is called another's."""


class ETags:
    """What is known of the bucket's ETags, shared by whoever compares; one field, set once."""

    def __init__(self, store: ObjectStore) -> None:
        self._are_md5: bool | None = None if store.etag_is_md5 else False
        """None until a write has told."""

    def learn(self, etag: str, body: memoryview) -> None:
        """Take what S3 answered to a write of ``body``."""
        if self._are_md5 is None:
            self._are_md5 = etag == single_etag(body)

    def agree(self, found: ListedObject, size_bytes: int, computed: Iterable[str]) -> bool:
        """Whether the object is the one of this size and one of these ETags.

        Where ETags tell nothing, its key and its size must.
        """
        if found.size_bytes != size_bytes:
            return False
        return self._are_md5 is False or (found.etag != "" and found.etag in computed)

    def require_decided(self, shipment: Shipment) -> None:
        """An object is as long as ours and has another ETag: does that mean anything?

        Raises:
            PortError: ``ObjectUndecided``; nothing was written yet that told, and it has not been
                waited for often enough.
        """
        if self._are_md5 is None and shipment.attempts < UNDECIDED_ATTEMPTS:
            raise PortError("ObjectUndecided", "waits for a write that tells what ETags are here")
