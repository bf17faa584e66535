"""What is sent to S3 is, byte for byte, what botocore's own pipeline would send."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore import xform_name
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.core.destinations import Destination
from shipper.core.types import RoleCredentials
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.transfer import Request
from shipper.edges.s3.operations import Operations
from shipper.edges.s3.session import request_of
from shipper.edges.s3.signer import Signer
from shipper.edges.s3.store import client_of
from shipper.edges.server_time import ServerTime
from tests.fakes.clock import FakeClock

UPLOAD = {"Key": "a b/ä", "UploadId": "a+b/c=&d"}
PART = {"PartNumber": 1, "ETag": '"e"', "ChecksumCRC32": "AAAAAA=="}
REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "AbortMultipartUpload": UPLOAD,
    "CompleteMultipartUpload": UPLOAD
    | {"MultipartUpload": {"Parts": [PART]}, "IfNoneMatch": "*", "MpuObjectSize": 7}
    | {"ChecksumCRC64NVME": "AAAAAAAAAAA=", "ChecksumType": "FULL_OBJECT"},
    "CreateMultipartUpload": {"Key": "k", "Metadata": {"a": "b", "A-b": "two  spaces"}}
    | {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/a", "BucketKeyEnabled": True}
    | {"Tagging": "a=b&c=d%20e", "StorageClass": "STANDARD_IA", "ACL": "private"},
    "ListObjectsV2": {"Prefix": "a b/~&=+ä", "MaxKeys": 1, "EncodingType": "url"}
    | {"ExpectedBucketOwner": "123456789012"},
    "PutObject": {
        "Key": "k",
        "Body": b"x",
        "Metadata": {},
        "ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA==",
    },
    "UploadPart": UPLOAD
    | {"PartNumber": 1, "Body": b"", "ChecksumAlgorithm": "CRC32", "ChecksumCRC32": "AAAAAA=="},
}
PLACES: Mapping[str, Mapping[str, Any]] = {
    "virtual host": {},
    "path": {"addressing_style": "path"},
    "dots": {"bucket": "logs.example.com"},
    "FIPS": {"use_fips_endpoint": True},
    "dualstack": {"use_dualstack_endpoint": True},
    "signed payloads": {"sign_payloads": True},
    "a server of one's own": {"endpoint_url": "http://[::1]:9000/s3"},
    "a server's usual port": {"endpoint_url": "https://S3.example.com:443"},
    "an access point": {"bucket": "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs"},
    "outposts": {
        "bucket": "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/logs"
    },
}
OF_BOTOCORE = {"amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "host"}
ROLES = [
    RoleCredentials("AK1", "secret", "session", 4e9),
    RoleCredentials("AK2", "another", "", 4e9),
]


class Caught(Exception):
    """Instead of sending."""


class Both:
    """Our way and botocore's, for one destination and at one moment."""

    def __init__(self, place: Mapping[str, Any], role: RoleCredentials) -> None:
        fields: dict[str, Any] = {"bucket": "logs", **place}
        destination = Destination(**fields)
        time = ServerTime(FakeClock())
        self.bucket = destination.bucket
        self.client = client_of(destination, "eu-west-1", lambda: role, time)
        hashes = self.client.meta.config.s3["payload_signing_enabled"]
        self.ours = Operations(self.client, Signer(lambda: role, time.now, hashes=hashes))

    def told(self, operation: str, wanted: Mapping[str, Any]) -> tuple[Any, Any]:
        ours, botocores = (
            {"Bucket": self.bucket}
            | {name: Body(it) if name == "Body" else it for name, it in wanted.items()}
            for _ in range(2)
        )
        return (
            content(self.ours.signed(operation, ours)),
            content(self.by_botocore(operation, botocores)),
        )

    def by_botocore(self, operation: str, parameters: Mapping[str, Any]) -> Request:
        caught: list[Request] = []

        def catch(request: Any, **_: Any) -> None:
            caught.append(request_of(operation, request))
            raise Caught

        self.client.meta.events.register_first("before-send", catch)
        try:
            with pytest.raises(Caught):
                getattr(self.client, xform_name(operation))(**parameters)
        finally:
            self.client.meta.events.unregister("before-send", catch)
        return caught[0]


def content(request: Request) -> tuple[Any, ...]:
    headers = {name.lower(): text for name, text in request.headers.items()}
    kept = {name: text for name, text in headers.items() if name not in OF_BOTOCORE}
    if kept["authorization"].startswith("AWS4-ECDSA"):  # no two such signatures are equal
        kept["authorization"] = kept["authorization"].partition("Signature=")[0]
    return request.method, request.url, kept, bytes(request.body.read())


@pytest.mark.parametrize("role", ROLES, ids=["a session", "no session"])
@pytest.mark.parametrize("place", PLACES)
def test_a_request_is_botocores(place: str, role: RoleCredentials) -> None:
    if place == "outposts":
        pytest.importorskip("awscrt")
    both = Both(PLACES[place], role)
    for operation, wanted in REQUESTS.items():
        ours, botocores = both.told(operation, wanted)
        assert ours == botocores


@pytest.fixture(scope="module")
def usual() -> Both:
    return Both({}, ROLES[0])


texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)
names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)


@settings(max_examples=200)
@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    metadata=st.dictionaries(names, texts, max_size=4),
    upload_id=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])),
)
def test_odd_keys_and_values_are_written_as_botocore_writes_them(
    usual: Both, key: str, metadata: dict[str, str], upload_id: str
) -> None:
    requests: dict[str, dict[str, Any]] = {
        "PutObject": {"Key": key, "Body": b"x", "Metadata": metadata},
        "UploadPart": {"Key": key, "Body": b"x", "UploadId": upload_id, "PartNumber": 7},
        "ListObjectsV2": {"Prefix": key, "EncodingType": "url", "MaxKeys": 1},
    }
    for operation, wanted in requests.items():
        ours, botocores = usual.told(operation, wanted)
        assert ours == botocores
