"""What a reader of the bucket finds in it."""

from dataclasses import dataclass

from shipper.core.types import ETag, ObjectKey


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object as a listing shows it; ``modified_at`` is S3's clock."""

    key: ObjectKey
    size_bytes: int
    etag: ETag
    modified_at: float
    storage_class: str = "STANDARD"
