"""S3: one request per call, and no success that is not one.

Botocore's retries and its search for a bucket's region are off: a redirect without a region made
it send a request 82 times. A body is neither copied nor buffered. Over https it is hashed for the
signature only if ``sign_payloads`` asks for it, because the checksum header covers it. Over http
it always is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import unquote_plus, urlencode

from shipper.core.archived import ArchivedObject
from shipper.core.destinations import WRITTEN_AS, Destination
from shipper.core.types import (
    NO_WATCH,
    ChecksumAlgorithm,
    ETag,
    ListedObject,
    NewUpload,
    ObjectKey,
    Receipt,
    RoleCredentials,
    StoredObject,
    UploadId,
    WatchName,
)
from shipper.edges.clock import SystemClock
from shipper.edges.http_client.body import Body, Content
from shipper.edges.http_client.engine import Engine
from shipper.edges.http_client.environment import ca_bundle
from shipper.edges.http_client.transfer import Answer, Limits, Throttle
from shipper.edges.s3.checksum_fields import ChecksumFields
from shipper.edges.s3.errors import (
    FAILURES,
    etag_of,
    failures_as_port_errors,
    not_s3,
    require_request_id,
)
from shipper.edges.s3.models import lean_loader
from shipper.edges.s3.operations import Operations
from shipper.edges.s3.session import client_for, hear
from shipper.edges.s3.signer import Signer
from shipper.edges.server_time import ServerTime
from shipper.ports import PortError

OPERATIONS = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "CreateSession",  # botocore's own, for directory buckets
        "ListObjectsV2",
        "PutObject",
        "UploadPart",
    }
)


_ANOTHERS = frozenset({"NotS3", "ChecksumMismatch"})
"""Of an answer that may be another request's: all that follow on its connection would be, too."""
T = TypeVar("T")


class S3Store:
    """``ports.ObjectStore``. Safe to share between threads; nothing is sent before the first call.

    ``credentials`` is called before every signature and must not block. ``failures`` translates
    those of an operation, as ``edges.s3.errors`` has it. ``throttle`` is the engine's. ``watches``
    has the destination as each watch uses it; objects of any other watch are not written here.
    """

    def __init__(
        self,
        *,
        destination: Destination,
        watches: Mapping[WatchName, Destination] = MappingProxyType({}),
        region: str,
        credentials: Callable[[], RoleCredentials],
        algorithm: ChecksumAlgorithm,
        max_connections: int,
        failures: Callable[[str], AbstractContextManager[None]] = failures_as_port_errors,
        limits: Limits = Limits(),  # noqa: B008  (a constant)
        server_time: ServerTime | None = None,
        throttle: Throttle = lambda size_bytes: lambda: 0.0,
    ) -> None:
        self._destination = destination
        self._checksums = ChecksumFields(algorithm)
        self._failures = failures
        self._bucket: dict[str, Any] = {"Bucket": destination.bucket}
        if destination.expected_bucket_owner:
            self._bucket["ExpectedBucketOwner"] = destination.expected_bucket_owner
        self._condition = {"IfNoneMatch": "*"} if destination.conditional_writes else {}
        self._watches = {NO_WATCH: destination, **watches}
        self._server_time = server_time = server_time or ServerTime(SystemClock())
        try:
            with failures_as_port_errors("CreateClient"):
                client = client_of(destination, region, credentials, server_time)
        except PortError as error:
            hint = "correct destination.region or destination.endpoint_url"
            raise PortError("BadDestination", error.detail, hint) from error
        self._engine = Engine(
            connections=max_connections,
            ca_bundle=ca_bundle(),
            limits=limits,
            throttle=throttle,
        )
        self._operations = Operations(
            client,
            Signer(
                credentials,
                server_time.now,
                hashes=client.meta.config.s3["payload_signing_enabled"],
            ),
        )

    def close(self) -> None:
        """End. What is under way fails."""
        self._engine.close()

    @property
    def algorithm(self) -> ChecksumAlgorithm:
        return self._checksums.algorithm

    def encryption(self, watch: WatchName) -> str:
        return self._watches[watch].server_side_encryption

    @property
    def is_conditional(self) -> bool:
        return self._destination.conditional_writes

    def put(
        self,
        key: ObjectKey,
        body: Content,
        *,
        checksum: str,
        metadata: dict[str, str],
        watch: WatchName = NO_WATCH,
        overwrites: bool = False,
    ) -> Future[StoredObject]:
        def put(answer: Mapping[str, Any]) -> StoredObject:
            etag, echoed = self._written("PutObject", answer, checksum)
            return StoredObject(etag, confirmed=bool(echoed))

        return self._ask(
            "PutObject",
            put,
            Key=key,
            Body=Body(body),
            Metadata=metadata,
            **self._attributes_now(watch),
            **({} if overwrites else self._condition),
            **self._checksums.of_body(checksum),
        )

    def create_upload(
        self, key: ObjectKey, *, metadata: dict[str, str], watch: WatchName = NO_WATCH
    ) -> Future[NewUpload]:
        return self._ask(
            "CreateMultipartUpload",
            _created,
            Key=key,
            Metadata=metadata,
            **self._attributes_now(watch),
            **self._checksums.of_upload(),
        )

    def upload_part(
        self, key: ObjectKey, upload_id: UploadId, number: int, body: Content, *, checksum: str
    ) -> Future[tuple[str, str]]:
        return self._ask(
            "UploadPart",
            lambda answer: self._written("UploadPart", answer, checksum),
            Key=key,
            Body=Body(body),
            PartNumber=number,
            UploadId=upload_id,
            **self._checksums.of_body(checksum),
        )

    def complete_upload(
        self, key: ObjectKey, upload_id: UploadId, receipts: Sequence[Receipt], *, checksum: str
    ) -> Future[StoredObject]:
        """As the port says. Some compatible servers leave the ETag out: then it is empty, and
        nothing is confirmed.
        """

        def completed(answer: Mapping[str, Any]) -> StoredObject:
            if "ETag" not in answer and "Key" not in answer:
                raise not_s3("CompleteMultipartUpload", "the answer names no object")
            echoed = self._checksums.echoed("CompleteMultipartUpload", answer, checksum)
            return StoredObject(etag_of(answer), confirmed=bool(etag_of(answer) and echoed))

        return self._ask(
            "CompleteMultipartUpload",
            completed,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [self._checksums.of_part(each) for each in receipts]},
            MpuObjectSize=sum(receipt.stored_bytes for receipt in receipts),
            **self._condition,
            **self._checksums.of_whole(checksum),
        )

    def find(self, key: ObjectKey) -> Future[ListedObject | None]:
        return self._list(
            key,
            lambda answer: next((each for each in _listed(answer) if each.key == key), None),
            MaxKeys=1,
        )

    def page(self, prefix: str, *, limit: int) -> list[ListedObject]:
        return self._list(prefix, lambda answer: [*_listed(answer)], MaxKeys=limit).result()

    def objects(
        self, prefix: str, *, after: str = ""
    ) -> Future[tuple[list[ArchivedObject], bool]]:
        """The next thousand whose keys begin with ``prefix`` and are greater than ``after``; and
        whether there are more."""
        return self._list(
            prefix,
            lambda answer: (_archived(answer), answer.get("IsTruncated") is True),
            **({"StartAfter": after} if after else {}),
        )

    def _list(
        self, prefix: str, understood: Callable[[Mapping[str, Any]], T], **wanted: Any
    ) -> Future[T]:
        return self._ask("ListObjectsV2", understood, Prefix=prefix, EncodingType="url", **wanted)

    def abort_upload(self, key: ObjectKey, upload_id: UploadId) -> None:
        self._ask("AbortMultipartUpload", lambda _: None, Key=key, UploadId=upload_id).result()

    def probe(self) -> None:
        ours = (NO_WATCH, WRITTEN_AS)
        used = [one for watch, one in self._watches.items() if watch not in ours]
        for prefix in dict.fromkeys(one.prefix for one in used or self._watches.values()):
            self.page(prefix, limit=1)

    def _attributes_now(self, watch: WatchName) -> dict[str, Any]:
        """What a new object is to be; it is retained from now on."""
        settings = self._watches[watch]
        attributes = _object_attributes(settings)
        if not settings.object_lock_retain_seconds:
            return attributes
        until_at = self._server_time.now() + settings.object_lock_retain_seconds
        until = datetime.fromtimestamp(until_at, UTC)
        return attributes | {"ObjectLockRetainUntilDate": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    def _written(
        self, operation: str, answer: Mapping[str, Any], checksum: str
    ) -> tuple[ETag, str]:
        """Of a body: its ETag, without which nothing is believed, and the echoed checksum."""
        if not etag_of(answer):
            raise not_s3(operation, "the answer holds no ETag")
        return etag_of(answer), self._checksums.echoed(operation, answer, checksum)

    def _ask(
        self, operation: str, understood: Callable[[Mapping[str, Any]], T], **parameters: Any
    ) -> Future[T]:
        """S3's answer; what is wrong with it, or with asking, is a ``PortError`` in the future.

        It is understood in the engine's thread, but what fails before it is sent fails here.
        """
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()
        sent: Future[Answer] = Future()
        # Of the body nothing may be left when the future is resolved: its memory is used again.
        names = {name: parameters[name] for name in ("Key", "Prefix") if name in parameters}
        try:
            sent = self._engine.submit(
                self._operations.signed(operation, self._bucket | parameters)
            )
        except FAILURES as error:
            sent.set_exception(error)

        def settle(sent: Future[Answer]) -> None:
            try:
                with self._failures(operation):
                    hear(self._server_time, sent.result().headers)
                    answer = self._operations.parsed(operation, sent.result())
                    require_request_id(operation, answer)
                    _require_ours(operation, answer, names)
                    found = understood(answer)
            except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
                if isinstance(error, PortError):
                    self._name_owner(error)
                    if error.code in _ANOTHERS:
                        self._engine.distrust()
                # The frames behind it, and those of what it came from, hold a whole body.
                error.__traceback__ = error.__context__ = None
                result.set_exception(error)
            else:
                result.set_result(found)

        sent.add_done_callback(settle)
        return result

    def _name_owner(self, error: PortError) -> None:
        """Where the expected owner may be what S3 denies: S3 does not say so itself."""
        owner = self._destination.expected_bucket_owner
        if owner and error.code == "AccessDenied" and "authorized" not in error.detail:
            error.hint += (
                f"; or the bucket does not belong to {owner}, which "
                "destination.expected_bucket_owner demands"
            )


def _require_ours(operation: str, answer: Mapping[str, Any], asked: Mapping[Any, str]) -> None:
    """Refuse an answer that names another key or prefix; compatible servers may name none.

    The bucket is not compared: who asks by an alias is told the bucket behind it.
    """
    for name, wanted in asked.items():
        said = answer.get(name)
        if said is not None and wanted not in (said, unquote_plus(said)):
            raise not_s3(operation, f"the answer is of another {name.lower()}")


def _created(answer: Mapping[str, Any]) -> NewUpload:
    upload_id = answer.get("UploadId", "")
    if not upload_id:
        raise not_s3("CreateMultipartUpload", "the answer holds no upload id")
    aborted = answer.get("AbortDate")
    return NewUpload(UploadId(upload_id), None if aborted is None else aborted.timestamp())


def _listed(answer: Mapping[str, Any]) -> Iterator[ListedObject]:
    if "Name" not in answer:
        raise not_s3("ListObjectsV2", "the answer is no listing")
    decoded = unquote_plus if answer.get("EncodingType") == "url" else str
    for entry in answer.get("Contents", ()):
        key, size_bytes = entry.get("Key"), entry.get("Size")
        if not isinstance(key, str) or not isinstance(size_bytes, int) or size_bytes < 0:
            raise not_s3("ListObjectsV2", "an entry without key or size")
        yield ListedObject(ObjectKey(decoded(key)), size_bytes, etag_of(entry))


def _archived(answer: Mapping[str, Any]) -> list[ArchivedObject]:
    """As ``_listed``, and what else a listing tells. Without a time, it is of no time at all."""
    return [
        ArchivedObject(
            found.key,
            found.size_bytes,
            found.etag,
            modified.timestamp() if (modified := entry.get("LastModified")) else 0.0,
            entry.get("StorageClass") or "STANDARD",
        )
        for found, entry in zip(_listed(answer), answer.get("Contents", ()), strict=True)
    ]


def _object_attributes(destination: Destination) -> dict[str, Any]:
    """What is asked for every new object; what is not configured is not sent."""
    encoding = destination.content_encoding
    wanted = {
        "ContentType": destination.content_type,
        "ContentEncoding": encoding if encoding != "auto" else "",
        "ServerSideEncryption": destination.server_side_encryption,
        "SSEKMSKeyId": destination.kms_key_id,
        "BucketKeyEnabled": destination.bucket_key_enabled,
        "ACL": destination.acl,
        "StorageClass": destination.storage_class,
        "Tagging": urlencode(destination.tags),
        "ObjectLockMode": destination.object_lock_mode,
    }
    return {name: value for name, value in wanted.items() if value}


def client_of(
    destination: Destination,
    region: str,
    credentials: Callable[[], RoleCredentials],
    server_time: ServerTime | None,
) -> Any:
    is_plain = destination.endpoint_url.lower().startswith("http:")
    return client_for(
        "s3",
        credentials,
        region=region,
        endpoint_url=destination.endpoint_url,
        models=lean_loader("s3", OPERATIONS),
        server_time=server_time,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        use_fips_endpoint=destination.use_fips_endpoint,
        use_dualstack_endpoint=destination.use_dualstack_endpoint,
        s3={
            "addressing_style": destination.addressing_style,
            "payload_signing_enabled": destination.sign_payloads or is_plain,
            "us_east_1_regional_endpoint": "regional",
        },
    )
