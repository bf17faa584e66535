"""An S3 bucket in memory, with S3's rules, S3's codes, and failures on demand.

It verifies what S3 verifies: checksums, part sizes and order, the size of the whole, the
condition that the key is free. Operations are named as in S3's API.
"""

import base64
import hashlib
import itertools
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar, assert_never

from awscrt.checksums import crc64nvme

from shipper.core.checksums import multipart_etag, single_etag
from shipper.core.object_keys import MAX_KEY_BYTES
from shipper.core.parts import MAX_PARTS, MIN_PART_BYTES
from shipper.core.replay import Replay
from shipper.core.types import (
    NO_WATCH,
    ChecksumAlgorithm,
    ETag,
    ListedObject,
    NewUpload,
    ObjectKey,
    Receipt,
    StoredObject,
    UploadId,
    WatchName,
)
from shipper.ports import PortError

P = ParamSpec("P")
T = TypeVar("T")


def _answered(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Future[T]]:
    """A method whose answer is a future, over at once; whatever is no ``PortError`` gets out."""

    def begin(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(method(self, *args, **kwargs))
        except PortError as error:
            future.set_exception(error)
        return future

    return begin


@dataclass(frozen=True, slots=True)
class Call:
    """One request that reached the store, whatever came of it. ``part`` is 0 but for parts."""

    operation: str
    key: str
    part: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class _Object:
    body: bytes
    etag: ETag
    metadata: dict[str, str]


@dataclass(slots=True)
class _Upload:
    key: ObjectKey
    metadata: dict[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    """Number to body and checksum."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: PortError
    after_effect: bool


class FakeStore:
    """An ``ObjectStore``; safe to share between threads. ``_lock`` guards what it holds.

    ``effect`` is called with ``PutObject.before`` and ``PutObject.after`` (and so on) around
    every side effect, outside the lock; what it raises gets out, a ``PortError`` by the future
    where there is one. With ``repeats_complete`` a Complete that was answered before is answered
    again, as AWS does; without, the upload is gone.
    """

    def __init__(
        self,
        *,
        algorithm: ChecksumAlgorithm = ChecksumAlgorithm.CRC32,
        etag_is_md5: bool = True,
        conditional_writes: bool = True,
        echoes_checksums: bool = True,
        repeats_complete: bool = True,
        smallest_part_bytes: int = MIN_PART_BYTES,
        effect: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.calls: list[Call] = []
        self.aborted: list[UploadId] = []
        self.outage: PortError | None = None
        """While set, every call fails with it and has no effect."""
        self.abort_at: float | None = None
        """When a lifecycle rule aborts the uploads begun now, as Create's answer says."""
        self.demands_condition = False
        """Whether the bucket's policy denies a write that may replace an object."""
        self.effect = effect
        self._algorithm = algorithm
        self._etag_is_md5 = etag_is_md5
        self._conditional_writes = conditional_writes
        self._echoes_checksums = echoes_checksums
        self._repeats_complete = repeats_complete
        self._smallest_part_bytes = smallest_part_bytes
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _Upload] = {}
        self._completed: dict[str, StoredObject] = {}
        self._failures: defaultdict[str, deque[_Failure]] = defaultdict(deque)
        self._numbers = itertools.count(1)

    # What a test does to the bucket and sees in it.

    def fail_next(self, operation: str, error: PortError, *, after_effect: bool = False) -> None:
        """Fail the next such call; one after the other when called again.

        With ``after_effect`` it is the answer that gets lost: the effect has happened.
        """
        with self._lock:
            self._failures[operation].append(_Failure(error, after_effect))

    def objects(self) -> dict[str, bytes]:
        """Every object's bytes by key."""
        with self._lock:
            return {key: found.body for key, found in self._objects.items()}

    def metadata(self, key: str) -> dict[str, str]:
        """An object's metadata."""
        with self._lock:
            return dict(self._objects[key].metadata)

    def place(self, key: str, body: bytes) -> ETag:
        """Put somebody else's object there, over whatever is."""
        with self._lock:
            self._objects[key] = _Object(body, self._etag_of(body), {})
            return self._objects[key].etag

    def remove(self, key: str) -> None:
        """Delete an object behind shipper's back."""
        with self._lock:
            del self._objects[key]

    def unfinished_uploads(self) -> list[UploadId]:
        """Uploads that were begun and neither completed nor aborted."""
        with self._lock:
            return [UploadId(upload_id) for upload_id in self._uploads]

    def lose_uploads(self) -> None:
        """Do what a lifecycle rule does: abort every unfinished upload."""
        with self._lock:
            self._uploads.clear()

    def operations(self) -> list[str]:
        """The operations called, in order."""
        with self._lock:
            return [call.operation for call in self.calls]

    # The port.

    @property
    def algorithm(self) -> ChecksumAlgorithm:
        return self._algorithm

    @property
    def etag_is_md5(self) -> bool:
        return self._etag_is_md5

    def encryption(self, watch: WatchName) -> str:
        return "" if self.etag_is_md5 else "aws:kms"

    @property
    def is_conditional(self) -> bool:
        return self._conditional_writes

    @_answered
    def put(
        self,
        key: ObjectKey,
        body: bytes | bytearray | memoryview | Replay,
        *,
        checksum: str,
        metadata: dict[str, str],
        watch: WatchName = NO_WATCH,
        overwrites: bool = False,
    ) -> StoredObject:
        with self._effective(Call("PutObject", key, size_bytes=len(body))):
            if overwrites and self.demands_condition:
                raise PortError("AccessDenied", "by the bucket's policy", status=403)
            if not overwrites:
                self._require_free(key)
            self._require_checksum(body, checksum)
            kept = bytes(body)
            self._objects[key] = _Object(kept, self._etag_of(kept), dict(metadata))
            etag = self._objects[key].etag
        return StoredObject(etag, confirmed=bool(self._echo(checksum)))

    @_answered
    def create_upload(
        self, key: ObjectKey, *, metadata: dict[str, str], watch: WatchName = NO_WATCH
    ) -> NewUpload:
        with self._effective(Call("CreateMultipartUpload", key)):
            if len(key.encode()) > MAX_KEY_BYTES:
                raise PortError("KeyTooLongError", status=400)
            upload_id = UploadId(f"upload-{next(self._numbers)}")
            self._uploads[upload_id] = _Upload(key, dict(metadata))
        return NewUpload(upload_id, self.abort_at)

    @_answered
    def upload_part(
        self,
        key: ObjectKey,
        upload_id: UploadId,
        number: int,
        body: bytes | bytearray | memoryview | Replay,
        *,
        checksum: str,
    ) -> tuple[str, str]:
        with self._effective(Call("UploadPart", key, number, len(body))):
            if not 1 <= number <= MAX_PARTS:
                raise PortError("InvalidArgument", f"part number {number}", status=400)
            upload = self._upload(key, upload_id)
            self._require_checksum(body, checksum)
            kept = bytes(body)
            upload.parts[number] = kept, checksum
        return self._etag_of(kept), self._echo(checksum)

    @_answered
    def complete_upload(
        self, key: ObjectKey, upload_id: UploadId, receipts: Sequence[Receipt], *, checksum: str
    ) -> StoredObject:
        with self._effective(Call("CompleteMultipartUpload", key)):
            if self._repeats_complete and upload_id in self._completed:
                return self._completed[upload_id]
            upload = self._upload(key, upload_id)
            self._require_free(key)
            body = self._joined(upload, receipts)
            self._require_checksum(body, checksum)
            etag = self._etag_of(body)
            if self._etag_is_md5:
                etag = multipart_etag(receipt.etag for receipt in receipts)
            del self._uploads[upload_id]
            self._objects[key] = _Object(body, etag, upload.metadata)
            answer = StoredObject(etag, confirmed=bool(self._echo(checksum)))
            self._completed[upload_id] = answer
        return answer

    @_answered
    def find(self, key: ObjectKey) -> ListedObject | None:
        with self._asked(Call("ListObjectsV2", key)):
            found = self._objects.get(key)
        return ListedObject(key, len(found.body), found.etag) if found else None

    def page(self, prefix: str, *, limit: int) -> list[ListedObject]:
        with self._asked(Call("ListObjectsV2", prefix)):
            keys = sorted(key for key in self._objects if key.startswith(prefix))[:limit]
            found = [(ObjectKey(key), self._objects[key]) for key in keys]
        return [ListedObject(key, len(one.body), one.etag) for key, one in found]

    def abort_upload(self, key: ObjectKey, upload_id: UploadId) -> None:
        with self._effective(Call("AbortMultipartUpload", key)):
            self._upload(key, upload_id)
            del self._uploads[upload_id]
            self.aborted.append(upload_id)

    def probe(self) -> None:
        with self._asked(Call("ListObjectsV2", "")):
            pass

    # How a call runs.

    @contextmanager
    def _effective(self, call: Call) -> Iterator[None]:
        self.effect(f"{call.operation}.before")
        with self._asked(call):
            yield
        self.effect(f"{call.operation}.after")

    @contextmanager
    def _asked(self, call: Call) -> Iterator[None]:
        with self._lock:
            self.calls.append(call)
            if self.outage is not None:
                raise self.outage
            waiting = self._failures[call.operation]
            failure = waiting.popleft() if waiting else None
            if failure is not None and not failure.after_effect:
                raise failure.error
            yield
            if failure is not None:
                raise failure.error

    # S3's rules.

    def _require_free(self, key: str) -> None:
        if len(key.encode()) > MAX_KEY_BYTES:
            raise PortError("KeyTooLongError", status=400)
        if self._conditional_writes and key in self._objects:
            raise PortError("PreconditionFailed", "the key is taken", status=412)

    def _upload(self, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise PortError("NoSuchUpload", status=404)
        return upload

    def _joined(self, upload: _Upload, receipts: Sequence[Receipt]) -> bytes:
        numbers = [receipt.number for receipt in receipts]
        if numbers != sorted(set(numbers)):
            raise PortError("InvalidPartOrder", status=400)
        bodies = []
        for receipt in receipts:
            body, checksum = upload.parts.get(receipt.number, (b"", ""))
            is_known = receipt.number in upload.parts and receipt.etag == self._etag_of(body)
            if not is_known or receipt.checksum not in ("", checksum):
                raise PortError("InvalidPart", f"part {receipt.number}", status=400)
            bodies.append(body)
        if not bodies:
            raise PortError("MalformedXML", "no parts", status=400)
        if any(len(body) < self._smallest_part_bytes for body in bodies[:-1]):
            raise PortError("EntityTooSmall", status=400)
        if sum(map(len, bodies)) != sum(receipt.stored_bytes for receipt in receipts):
            raise PortError("InvalidRequest", "x-amz-mp-object-size is wrong", status=400)
        return b"".join(bodies)

    def _require_checksum(
        self, body: bytes | bytearray | memoryview | Replay, checksum: str
    ) -> None:
        if checksum and checksum != checksum_of(body, self._algorithm):
            raise PortError("BadDigest", "the checksum did not match", status=400)

    def _etag_of(self, body: bytes) -> ETag:
        if self._etag_is_md5:
            return single_etag(body)
        return ETag("kms" + hashlib.sha256(body).hexdigest()[:29])

    def _echo(self, checksum: str) -> str:
        return checksum if self._echoes_checksums else ""


def checksum_of(
    body: bytes | bytearray | memoryview | Replay, algorithm: ChecksumAlgorithm
) -> str:
    """The base64 value S3 expects for ``body``; empty for ``NONE``."""
    body = bytes(body)
    match algorithm:
        case ChecksumAlgorithm.CRC64NVME:
            digest: bytes = crc64nvme(bytes(body)).to_bytes(8, "big")
        case ChecksumAlgorithm.CRC32:
            digest = zlib.crc32(body).to_bytes(4, "big")
        case ChecksumAlgorithm.SHA256:
            digest = hashlib.sha256(body).digest()
        case ChecksumAlgorithm.MD5:
            digest = hashlib.md5(body, usedforsecurity=False).digest()
        case ChecksumAlgorithm.NONE:
            digest = b""
        case _:
            assert_never(algorithm)
    return base64.b64encode(digest).decode()
