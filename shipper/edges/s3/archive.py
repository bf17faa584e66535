"""One bucket, read with the credentials of whoever reads.

Credentials and region are found as boto3 finds them: environment, profile, SSO, assumed role,
container. Only the role of an EC2 instance is left out: it is the daemon's, which may not read.
Botocore retries by itself, and follows S3 to the bucket's region.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Self

from botocore import exceptions as foreign
from botocore.config import Config
from botocore.session import Session

from shipper import __version__
from shipper.core.archived import READER_HINTS, ArchivedObject, restore_command
from shipper.core.destinations import Destination
from shipper.core.escapes import escaped
from shipper.core.types import ETag, ObjectKey
from shipper.edges.s3.errors import (
    FAILURES,
    etag_of,
    not_s3,
    port_error_from,
    require_request_id,
)
from shipper.ports import PortError

PIECE_BYTES = 1024 * 1024
ATTEMPTS = 5
"""Of a request; and of a body's next byte, each a request that is tried as often."""
_DEFAULT_REGION = "us-east-1"
"""Where no region is known, S3 is asked here, and names the bucket's own."""
_CREATE = "CreateClient"
"""Nobody answers yet: what fails is of the reader's settings."""
_CODES = {"Http404": "NoSuchKey", "Http403": "AccessDenied", "PreconditionFailed": "Changed"}
"""Of answers to HEAD, which have no body, and to a condition of ours."""
_NO_CREDENTIALS = (
    foreign.NoCredentialsError,
    foreign.PartialCredentialsError,
    foreign.CredentialRetrievalError,
    foreign.SSOError,
    foreign.TokenRetrievalError,
    foreign.NoAuthTokenError,
    foreign.LoginError,
)
_BROKEN = (
    foreign.ConnectionError,
    foreign.HTTPClientError,
    foreign.IncompleteReadError,
    foreign.ResponseStreamingError,
)


class BucketArchive:
    """``ports.Archive``. Safe to share between threads; nothing is asked before the first call.

    Of the destination, only what says where the bucket is is read.
    """

    def __init__(
        self, destination: Destination, *, profile: str = "", connections: int = 8
    ) -> None:
        self._bucket = destination.bucket
        self._named = {"Bucket": destination.bucket}
        if destination.expected_bucket_owner:
            self._named["ExpectedBucketOwner"] = destination.expected_bucket_owner
        with self._failures(_CREATE):
            self._client = _client(destination, profile, connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def listed(self, prefix: str, *, after: str = "") -> Iterator[ArchivedObject]:
        after_key = {"StartAfter": after} if after else {}
        for page in self._pages(Prefix=prefix, **after_key):
            for entry in page.get("Contents", ()):
                yield ArchivedObject(
                    ObjectKey(entry["Key"]),
                    entry["Size"],
                    etag_of(entry),
                    entry["LastModified"].timestamp(),
                    entry.get("StorageClass", "STANDARD"),
                )

    def directories(self, prefix: str) -> Iterator[str]:
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"]

    def read(self, key: ObjectKey, *, start: int = 0) -> Iterator[bytes]:
        etag, failed = ETag(""), 0
        while answer := self._opened(key, start, etag):
            etag = etag_of(answer)
            try:
                with closing(answer["Body"]) as body:
                    while piece := body.read(PIECE_BYTES):
                        start, failed = start + len(piece), 0
                        yield piece
                return
            except (*FAILURES, OSError) as error:
                failed += 1
                is_broken = isinstance(error, (*_BROKEN, OSError))
                if failed == ATTEMPTS or not is_broken or not etag:
                    raise self._failure(error, "GetObject", key) from None

    def metadata(self, key: ObjectKey) -> Mapping[str, str]:
        metadata: dict[str, str] = self._asked("HeadObject", key, Key=key).get("Metadata", {})
        return metadata

    def _pages(self, **asked: str) -> Iterator[dict[str, Any]]:
        while True:
            page = self._asked("ListObjectsV2", **asked)
            if "KeyCount" not in page and "Name" not in page:
                raise self._explained(not_s3("ListObjectsV2", "the answer is no listing"))
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _opened(self, key: ObjectKey, start: int, etag: ETag) -> dict[str, Any] | None:
        """The answer with the body; None where the object ends before ``start``."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        wanted |= {"IfMatch": f'"{etag}"'} if etag else {}
        try:
            answer = self._asked("GetObject", key, Key=key, **wanted)
        except PortError as error:
            if error.code != "InvalidRange":
                raise
            return None
        if start and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            answer["Body"].close()
            raise self._explained(not_s3("GetObject", "the answer is not the range asked for"))
        return answer

    def _asked(self, operation: str, about: str = "", /, **parameters: str) -> dict[str, Any]:
        method = {
            "ListObjectsV2": "list_objects_v2",
            "GetObject": "get_object",
            "HeadObject": "head_object",
        }[operation]
        with self._failures(operation, about):
            answer: dict[str, Any] = getattr(self._client, method)(**self._named, **parameters)
            require_request_id(operation, answer)
            return answer

    @contextmanager
    def _failures(self, operation: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except (*FAILURES, OSError) as error:
            raise self._failure(error, operation, key) from None

    def _failure(self, error: Exception, operation: str, key: str) -> PortError:
        found = self._explained(_port_error(error, operation))
        if key:
            found.detail = escaped(f"{key}: {found.detail}")
        if found.code == "InvalidObjectState":
            told: Mapping[str, Any] = getattr(error, "response", {}).get("Error", {})
            tier = str(told.get("StorageClass", ""))
            found.hint = f"`{restore_command(self._bucket, key, tier)}` restores it, within hours"
        return found

    def _explained(self, found: PortError) -> PortError:
        """With a hint for who reads; the usual ones are for the daemon's operator."""
        code = _CODES.get(found.code, found.code)
        return PortError(code, found.detail, READER_HINTS.get(code, ""), status=found.status)


def _port_error(error: Exception, operation: str) -> PortError:
    match error:
        case foreign.ProfileNotFound():
            code = "NoProfile"
        case foreign.ReadTimeoutError() | foreign.ConnectTimeoutError():
            code = "Timeout"
        case foreign.FlexibleChecksumError():
            code = "ChecksumMismatch"
        case _ if isinstance(error, _NO_CREDENTIALS):
            code = "NoCredentials"
        case OSError() if error.filename is not None:  # of the reader's settings: a token's file
            code = "InvalidRequest"
        case _ if isinstance(error, (*_BROKEN, OSError)):
            code = "Unreachable"
        case ValueError() | foreign.NoRegionError() if operation == _CREATE:
            code = "InvalidRequest"
        case _:
            return port_error_from(error, operation)
    return PortError(code, f"{operation}: {error}")


def _client(destination: Destination, profile: str, connections: int) -> Any:
    session = Session(profile=profile or None)
    session.get_component("credential_provider").remove("iam-role")
    style = destination.addressing_style
    if style == "auto" and destination.endpoint_url:
        style = "path"
    client: Any = session.create_client(
        "s3",
        region_name=destination.region or session.get_config_variable("region") or _DEFAULT_REGION,
        endpoint_url=destination.endpoint_url or None,
        config=Config(
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            user_agent_extra=f"shipper/{__version__}",
            max_pool_connections=connections,
            connect_timeout=10,
            use_fips_endpoint=destination.use_fips_endpoint or None,
            use_dualstack_endpoint=destination.use_dualstack_endpoint or None,
            s3={"addressing_style": style},
        ),
    )
    return client
