"""S3, through the botocore client: one request per call, and no success that is not one.

Botocore's retries and its search for a bucket's region are off: a redirect without a region made
it send a request 82 times.

A body is neither copied nor buffered. Over https it is hashed for the signature only if
``sign_payloads`` asks for it, because the checksum header covers it. Over http it always is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

from botocore import xform_name
from botocore.utils import percent_encode_sequence

from shipper.core.replay import Replay
from shipper.core.types import (
    ChecksumAlgorithm,
    Destination,
    ETag,
    ListedObject,
    NewUpload,
    ObjectKey,
    Receipt,
    RoleCredentials,
    StoredObject,
    UploadId,
)
from shipper.edges.clock import SystemClock
from shipper.edges.s3.checksum_fields import ChecksumFields
from shipper.edges.s3.errors import etag_of, failures_as_port_errors, not_s3, require_request_id
from shipper.edges.s3.fast_writes import DirectWrites
from shipper.edges.s3.models import lean_loader
from shipper.edges.s3.session import client_for, lent, listen
from shipper.edges.s3.upload_body import Body
from shipper.edges.server_time import ServerTime
from shipper.ports import PortError

CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 60.0
SMALL_BODY_BYTES = 1024**2
"""A larger body waits for ``100 Continue``, so that a denied request is answered, not cut off."""
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

Content = bytes | bytearray | memoryview | Replay
_NOTHING: Mapping[str, Any] = {}


class S3Store:
    """``ports.ObjectStore``. Safe to share between threads; nothing is sent before the first call.

    ``credentials`` is called before every signature and must not block. ``failures`` translates
    those of an operation, as ``edges.s3.errors`` has it. ``is_direct`` sends bodies by
    ``edges.s3.fast_writes``; everything else goes through botocore's client. ``throttle`` is
    called with the size of every piece of a body and blocks until it may go out. Both timeouts are
    for a connection and for an answer.
    """

    def __init__(
        self,
        *,
        destination: Destination,
        region: str,
        credentials: Callable[[], RoleCredentials],
        algorithm: ChecksumAlgorithm,
        max_connections: int,
        failures: Callable[[str], AbstractContextManager[None]] = failures_as_port_errors,
        timeouts_seconds: tuple[float, float] = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
        server_time: ServerTime | None = None,
        is_direct: bool = True,
        throttle: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        self._destination = destination
        self._checksums = ChecksumFields(algorithm)
        self._translated = failures
        self._throttle = throttle
        self._bucket: dict[str, Any] = {"Bucket": destination.bucket}
        if destination.expected_bucket_owner:
            self._bucket["ExpectedBucketOwner"] = destination.expected_bucket_owner
        self._condition = {"IfNoneMatch": "*"} if destination.conditional_writes else {}
        self._attributes = _object_attributes(destination)
        time = server_time or ServerTime(SystemClock())
        try:
            with failures_as_port_errors("CreateClient"):
                self._client = _client(
                    destination,
                    region,
                    credentials,
                    connections=max_connections,
                    timeouts=timeouts_seconds,
                    server_time=time,
                )
        except PortError as error:
            hint = "correct destination.region or destination.endpoint_url"
            raise PortError("BadDestination", error.detail, hint) from error
        self._direct = None
        if is_direct:
            self._direct = DirectWrites(
                self._client,
                lent(credentials),
                now=lambda: time.now(credentials().skew_seconds),
                heard=partial(listen, time),
            )

    def close(self) -> None:
        self._client.close()

    @property
    def algorithm(self) -> ChecksumAlgorithm:
        return self._checksums.algorithm

    @property
    def etag_is_md5(self) -> bool:
        return not self._destination.server_side_encryption.startswith("aws:kms")

    @property
    def is_conditional(self) -> bool:
        return self._destination.conditional_writes

    def put(
        self, key: ObjectKey, body: Content, *, checksum: str, metadata: dict[str, str]
    ) -> StoredObject:
        common = {**self._bucket, **self._attributes, **self._condition}
        with self._failures("PutObject"):
            etag, echoed = self._written(
                "PutObject", common, key, body, checksum=checksum, metadata=metadata
            )
        return StoredObject(etag, confirmed=bool(echoed))

    def create_upload(self, key: ObjectKey, *, metadata: dict[str, str]) -> NewUpload:
        with self._answer(
            "CreateMultipartUpload",
            Key=key,
            Metadata=metadata,
            **self._attributes,
            **self._checksums.of_upload(),
        ) as answer:
            upload_id = answer.get("UploadId", "")
            if not upload_id:
                raise not_s3("CreateMultipartUpload", "the answer holds no upload id")
            aborted = answer.get("AbortDate")
            abort_at = None if aborted is None else aborted.timestamp()
        return NewUpload(UploadId(upload_id), abort_at)

    def upload_part(
        self, key: ObjectKey, upload_id: UploadId, number: int, body: Content, *, checksum: str
    ) -> tuple[str, str]:
        part = {"PartNumber": number, "UploadId": upload_id}
        with self._failures("UploadPart"):
            return self._written(
                "UploadPart", self._bucket, key, body, checksum=checksum, part=part
            )

    def complete_upload(
        self, key: ObjectKey, upload_id: UploadId, receipts: Sequence[Receipt], *, checksum: str
    ) -> StoredObject:
        """As the port says. Some compatible servers leave the ETag out: then it is empty, and
        nothing is confirmed.
        """
        with self._answer(
            "CompleteMultipartUpload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [self._checksums.of_part(each) for each in receipts]},
            MpuObjectSize=sum(receipt.stored_bytes for receipt in receipts),
            **self._condition,
            **self._checksums.of_whole(checksum),
        ) as answer:
            if "ETag" not in answer and "Key" not in answer:
                raise not_s3("CompleteMultipartUpload", "the answer names no object")
            echoed = self._checksums.echoed("CompleteMultipartUpload", answer, checksum)
        return StoredObject(etag_of(answer), confirmed=bool(etag_of(answer) and echoed))

    def find(self, key: ObjectKey) -> ListedObject | None:
        return next((found for found in self.page(key, limit=1) if found.key == key), None)

    def page(self, prefix: str, *, limit: int) -> list[ListedObject]:
        with self._answer("ListObjectsV2", Prefix=prefix, MaxKeys=limit) as answer:
            if "Name" not in answer:
                raise not_s3("ListObjectsV2", "the answer is no listing")
            return [_listed(each) for each in answer.get("Contents", ())]

    def abort_upload(self, key: ObjectKey, upload_id: UploadId) -> None:
        with self._answer("AbortMultipartUpload", Key=key, UploadId=upload_id):
            pass

    def probe(self) -> None:
        self.page(self._destination.prefix, limit=1)

    @contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        """Name the expected owner where it may be what S3 denies: S3 does not say so itself."""
        try:
            with self._translated(operation):
                yield
        except PortError as error:
            owner = self._destination.expected_bucket_owner
            if owner and error.code == "AccessDenied" and "authorized" not in error.detail:
                error.hint += (
                    f"; or the bucket does not belong to {owner}, which "
                    "destination.expected_bucket_owner demands"
                )
            raise

    @contextmanager
    def _answer(self, operation: str, **parameters: Any) -> Iterator[Mapping[str, Any]]:
        """S3's answer; what is wrong with it, or with reading it, is a ``PortError``."""
        with self._failures(operation):
            answer = self._called(operation, {**self._bucket, **parameters})
            require_request_id(operation, answer)
            yield answer

    def _called(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
        return answer

    def _written(
        self,
        operation: str,
        common: Mapping[str, Any],
        key: str,
        body: Content,
        *,
        checksum: str,
        metadata: Mapping[str, str] = _NOTHING,
        part: Mapping[str, Any] = _NOTHING,
    ) -> tuple[ETag, str]:
        """Write a body by ``fast_writes`` or botocore's whole pipeline: the ETag, without which a
        write is not believed, and the echoed checksum.

        ``part`` is what stands in the query, in the order in which botocore writes it.
        """
        answer = None
        if self._direct is not None:
            headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
            answer = self._direct.send(
                operation,
                common,
                key=key,
                body=self._body(body),
                query=f"?{percent_encode_sequence(_wired(part))}" if part else "",
                headers=headers | self._checksums.headers_of_body(checksum),
            )
        if answer is None:
            asked = {**common, **part, **self._checksums.of_body(checksum)}
            asked |= {"Key": key, "Body": self._body(body)}
            answer = self._called(operation, asked | ({"Metadata": metadata} if metadata else {}))
        require_request_id(operation, answer)
        etag = etag_of(answer)
        if not etag:
            raise not_s3(operation, "the answer holds no ETag")
        return etag, self._checksums.echoed(operation, answer, checksum)

    def _body(self, body: Content) -> Any:
        """What botocore is given for a body; of ``bytes`` it would make a file of any size."""
        if len(body) > SMALL_BODY_BYTES:
            return Body(body, self._throttle)
        self._throttle(len(body))
        return body if isinstance(body, bytearray) else bytearray(bytes(body))


def _listed(entry: Mapping[str, Any]) -> ListedObject:
    key, size_bytes = entry.get("Key"), entry.get("Size")
    if not isinstance(key, str) or not isinstance(size_bytes, int) or size_bytes < 0:
        raise not_s3("ListObjectsV2", "an entry without key or size")
    return ListedObject(ObjectKey(key), size_bytes, etag_of(entry))


def _wired(part: Mapping[str, Any]) -> dict[str, Any]:
    """Botocore's ``PartNumber`` is ``partNumber`` on the wire."""
    return {f"{name[0].lower()}{name[1:]}": value for name, value in part.items()}


def _object_attributes(destination: Destination) -> dict[str, Any]:
    """What is asked for every new object; what is not configured is not sent."""
    wanted = {
        "ContentType": "application/octet-stream",
        "ServerSideEncryption": destination.server_side_encryption,
        "SSEKMSKeyId": destination.kms_key_id,
        "BucketKeyEnabled": destination.bucket_key_enabled,
        "ACL": destination.acl,
        "StorageClass": destination.storage_class,
        "Tagging": urlencode(destination.tags),
    }
    return {name: value for name, value in wanted.items() if value}


def _client(
    destination: Destination,
    region: str,
    credentials: Callable[[], RoleCredentials],
    *,
    connections: int,
    timeouts: tuple[float, float],
    server_time: ServerTime,
) -> Any:
    is_plain = destination.endpoint_url.lower().startswith("http:")
    client = client_for(
        "s3",
        credentials,
        region=region,
        endpoint_url=destination.endpoint_url,
        models=lean_loader("s3", OPERATIONS),
        server_time=server_time,
        connect_timeout=timeouts[0],
        read_timeout=timeouts[1],
        max_pool_connections=connections,
        tcp_keepalive=True,
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
    client.meta.events.register("before-call.s3", _forbid_redirects)
    client.meta.events.register("before-send.s3", _write_in_pieces)
    return client


def _forbid_redirects(context: dict[str, Any], **_: Any) -> None:
    """Tell botocore that it has followed a redirect already: it follows only one."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _write_in_pieces(request: Any, **_: Any) -> None:
    """Let urllib3 take a large body from an iterator, once it has been signed."""
    if isinstance(request.body, Body):
        request.body = request.body.pieces()
