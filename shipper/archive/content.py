"""The content of objects, compared with what their manifests say."""

import hashlib

from shipper.archive.stored_manifests import Decode
from shipper.core.archived import ArchivedObject
from shipper.core.findings import Code, Finding
from shipper.core.types import Compression
from shipper.ports import Archive, PortError

_EXTENSIONS = {Compression.ZSTD: ".zst", Compression.GZIP: ".gz", Compression.NONE: ""}
_RESTORE_FIRST = ("GLACIER", "DEEP_ARCHIVE")
_OF_ONE_OBJECT = frozenset({"Undecodable", "Changed", "ChecksumMismatch", "AccessDenied"})
"""What is said of the object; whatever else S3 says ends the audit."""


def is_readable(stored: ArchivedObject) -> bool:
    """Whether it can be fetched without being restored first, as far as a listing tells."""
    return stored.storage_class not in _RESTORE_FIRST


def compared(
    archive: Archive,
    stored: ArchivedObject,
    *,
    instance: str,
    sha256: str,
    raw_bytes: int,
    compression: str,
    decode: Decode,
) -> Finding | int | None:
    """What is wrong, or the bytes that were read; None if it must be restored first.

    Decodes what shipper compressed. A log that the host's own rotation compressed is compared as
    it lies, for those bytes are what was read there.
    """
    digest, size_bytes = hashlib.sha256(), 0
    try:
        pieces = archive.read(stored.key)
        for piece in decode(pieces, _EXTENSIONS[Compression(compression)]):
            digest.update(piece)
            size_bytes += len(piece)
            if size_bytes > raw_bytes:
                detail = f"it has more than the {raw_bytes:,} raw bytes that its manifest says"
                return Finding(Code.ALTERED_CONTENT, instance, stored.key, detail)
    except PortError as error:
        if error.code == "InvalidObjectState":
            return None
        if error.code == "NoSuchKey":
            gone = "it was removed during the audit"
            return Finding(Code.MISSING_OBJECT, instance, stored.key, gone)
        if error.code in _OF_ONE_OBJECT or error.code.startswith("KMS."):
            return Finding(Code.UNREADABLE_CONTENT, instance, stored.key, str(error))
        raise
    if digest.hexdigest() == sha256:
        return size_bytes
    detail = f"its {size_bytes:,} raw bytes have another SHA-256 than its manifest says"
    return Finding(Code.ALTERED_CONTENT, instance, stored.key, detail)
