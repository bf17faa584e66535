"""Where uploads go, and what S3 fixes when one is begun.

Encryption, storage class, ACL, tags and checksum of a multipart upload are those of its Create,
and its id means something in its own bucket only. An upload that was begun on other terms than
today's is not continued: it would end up as what the operator no longer wants, or nowhere.
"""

import hashlib
from dataclasses import dataclass

from shipper.core.types import ChecksumAlgorithm, Destination


@dataclass(frozen=True, slots=True)
class Terms:
    """``bucket`` is its whole address; ``digest`` of all that a Create settles for good."""

    bucket: str
    digest: str


def terms_of(destination: Destination, algorithm: ChecksumAlgorithm) -> Terms:
    """The terms on which an upload is begun now; ``algorithm`` is the one in use."""
    bucket = f"{destination.endpoint_url}/{destination.bucket}"
    settled = (
        bucket,
        algorithm.value,
        destination.storage_class,
        destination.server_side_encryption,
        destination.kms_key_id,
        destination.bucket_key_enabled,
        destination.acl,
        tuple(sorted(destination.tags)),
    )
    return Terms(bucket, hashlib.sha256(repr(settled).encode()).hexdigest())
