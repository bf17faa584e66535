"""A bucket in memory, as a reader sees it, with failures on demand."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shipper.core.archived import ArchivedObject
from shipper.core.types import ETag, ObjectKey
from shipper.ports import PortError


@dataclass(slots=True)
class Kept:
    body: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    modified_at: float = 0.0
    storage_class: str = "STANDARD"


class FakeArchive:
    """``ports.Archive``. ``asked`` has every call that S3 would have been asked.

    ``errors`` are raised where their key is read. An object that is in ``GLACIER`` or
    ``DEEP_ARCHIVE`` must be restored first. A page of a listing has ``page`` keys.
    """

    def __init__(self, objects: Mapping[str, Kept | bytes] | None = None) -> None:
        self.objects = {
            key: kept if isinstance(kept, Kept) else Kept(kept)
            for key, kept in (objects or {}).items()
        }
        self.errors: dict[str, PortError] = {}
        self.asked: list[tuple[str, str]] = []
        self.page = 1000

    def put(self, key: str, body: bytes, **metadata: str) -> None:
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        self.objects[key] = Kept(body, named)

    def listed(self, prefix: str, *, after: str = "") -> Iterator[ArchivedObject]:
        keys = [key for key in self.objects if key.startswith(prefix) and _order(key, after)]
        for number, key in enumerate(sorted(keys, key=str.encode)):
            if number % self.page == 0:
                self.asked.append(("list", prefix))
            kept = self.objects[key]
            etag = ETag(hashlib.md5(kept.body).hexdigest())
            yield ArchivedObject(
                ObjectKey(key), len(kept.body), etag, kept.modified_at, kept.storage_class
            )
        if not keys:
            self.asked.append(("list", prefix))

    def directories(self, prefix: str) -> Iterator[str]:
        self.asked.append(("directories", prefix))
        below = {
            prefix + key[len(prefix) :].partition("/")[0] + "/"
            for key in self.objects
            if key.startswith(prefix) and "/" in key[len(prefix) :]
        }
        yield from sorted(below, key=str.encode)

    def read(self, key: ObjectKey, *, start: int = 0) -> Iterator[bytes]:
        self.asked.append(("read", key))
        kept = self._kept(key)
        if kept.storage_class in ("GLACIER", "DEEP_ARCHIVE"):
            raise PortError("InvalidObjectState", key, "aws s3api restore-object")
        body = kept.body
        for at in range(start, len(body), 1024 * 1024):
            yield body[at : at + 1024 * 1024]

    def metadata(self, key: ObjectKey) -> Mapping[str, str]:
        self.asked.append(("metadata", key))
        return self._kept(key).metadata

    def _kept(self, key: ObjectKey) -> Kept:
        if key in self.errors:
            raise self.errors[key]
        if key not in self.objects:
            raise PortError("NoSuchKey", key, status=404)
        return self.objects[key]


def _order(key: str, after: str) -> bool:
    return key.encode() > after.encode()
