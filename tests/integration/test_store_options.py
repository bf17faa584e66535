"""Every option of ``[destination]``, seen on the wire at the real hosts.

The hosts are behind a proxy on loopback that has a certificate for each; every request that
arrives is verified by a signature that is computed anew.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipper.core.destinations import Destination
from shipper.core.types import (
    ChecksumAlgorithm,
    ETag,
    ObjectKey,
    Receipt,
    RoleCredentials,
    UploadId,
)
from shipper.edges.s3.store import S3Store
from shipper.edges.server_time import ServerTime
from shipper.ports import PortError
from tests.fakes.authority import Authority, answer_of_s3
from tests.fakes.clock import FakeClock
from tests.fakes.punctual import Punctual
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import Request, ScriptedServer, http_answer
from tests.fakes.sigv4 import UNSIGNED, is_well_signed, scope_of
from tests.fakes.store import checksum_of

KEY = ObjectKey("logs/access.log.zst")
UPLOAD = UploadId("upload-1")
BODY = b"a line\n"
SECRET = "the secret"
RECEIPT = Receipt(1, 0, 7, len(BODY), ETag("e"), "")
Bucket = Callable[..., S3Store]
OPERATIONS: dict[str, Callable[[S3Store], object]] = {
    "PutObject": lambda store: store.put(
        KEY, BODY, checksum=checksum_of(BODY, store.algorithm), metadata={"raw-start": "0"}
    ).result(),
    "CreateMultipartUpload": lambda store: store.create_upload(
        KEY, metadata={"raw-start": "0"}
    ).result(),
    "UploadPart": lambda store: store.upload_part(
        KEY, UPLOAD, 1, BODY, checksum=checksum_of(BODY, store.algorithm)
    ).result(),
    "CompleteMultipartUpload": lambda store: store.complete_upload(
        KEY, UPLOAD, [RECEIPT], checksum=""
    ).result(),
    "ListObjectsV2": lambda store: store.find(KEY).result(),
    "AbortMultipartUpload": lambda store: store.abort_upload(KEY, UPLOAD),
}
BEGINNINGS = ("PutObject", "CreateMultipartUpload")
BODIES = ("PutObject", "UploadPart")
COMMITS = ("PutObject", "CompleteMultipartUpload")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def aws(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """All of AWS, behind an explicit proxy that asks for a password."""
    with ScriptedServer(otherwise=answer_of_s3, tunnels=authority.context) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url.replace("//", "//user:pass@"))
        for name in ("NO_PROXY", "no_proxy", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
        yield server


@pytest.fixture
def bucket() -> Bucket:
    """Makes a store on real hosts."""

    def made(bucket: str = "my-logs", *, region: str = "eu-west-1", **fields: Any) -> S3Store:
        credentials = fields.pop("credentials", None) or (
            lambda: RoleCredentials("AKOURS", SECRET, "token", expires_at=0.0)
        )
        server_time = fields.pop("server_time", None)
        algorithm = fields.get("checksum", ChecksumAlgorithm.CRC32)
        return s3_store(
            destination=Destination(bucket, **fields),
            region=region,
            credentials=credentials,
            algorithm=algorithm,
            server_time=server_time,
        )

    return made


def asked(server: ScriptedServer) -> list[Request]:
    """What came out of the tunnels, every one of it well signed."""
    found = [each for each in server.requests if each.method != "CONNECT"]
    assert all(is_well_signed(each, SECRET) for each in found)
    return found


def headers_by_operation(server: ScriptedServer, store: S3Store) -> dict[str, dict[str, str]]:
    for call in OPERATIONS.values():
        call(store)
    return {name: each.headers for name, each in zip(OPERATIONS, asked(server), strict=True)}


SSE = "x-amz-server-side-encryption"
KMS_KEY = f"{SSE}-aws-kms-key-id"
BUCKET_KEY = f"{SSE}-bucket-key-enabled"
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
Row = tuple[dict[str, Any], dict[str, str], tuple[str, ...]]
OPTIONS: dict[str, Row] = {
    "AES256": ({"server_side_encryption": "AES256"}, {SSE: "AES256"}, BEGINNINGS),
    "kms": ({"server_side_encryption": "aws:kms"}, {SSE: "aws:kms"}, BEGINNINGS),
    "kms with a key": (
        {"server_side_encryption": "aws:kms", "kms_key_id": ARN},
        {SSE: "aws:kms", KMS_KEY: ARN},
        BEGINNINGS,
    ),
    "dsse": ({"server_side_encryption": "aws:kms:dsse"}, {SSE: "aws:kms:dsse"}, BEGINNINGS),
    "dsse with a key": (
        {"server_side_encryption": "aws:kms:dsse", "kms_key_id": ARN},
        {SSE: "aws:kms:dsse", KMS_KEY: ARN},
        BEGINNINGS,
    ),
    "bucket key": (
        {"server_side_encryption": "aws:kms", "bucket_key_enabled": True},
        {SSE: "aws:kms", BUCKET_KEY: "true"},
        BEGINNINGS,
    ),
    "storage class": (
        {"storage_class": "STANDARD_IA"},
        {"x-amz-storage-class": "STANDARD_IA"},
        BEGINNINGS,
    ),
    "ACL": (
        {"acl": "bucket-owner-full-control"},
        {"x-amz-acl": "bucket-owner-full-control"},
        BEGINNINGS,
    ),
    "tags": (
        {"tags": (("team", "web & api"), ("cost", "1+1"), ("caf\u00e9", "\u00fc"))},
        {"x-amz-tagging": "team=web+%26+api&cost=1%2B1&caf%C3%A9=%C3%BC"},
        BEGINNINGS,
    ),
    "owner": (
        {"expected_bucket_owner": "123456789012"},
        {"x-amz-expected-bucket-owner": "123456789012"},
        tuple(OPERATIONS),
    ),
    "conditions": ({}, {"if-none-match": "*"}, COMMITS),
    "no conditions": ({"conditional_writes": False}, {}, ()),
    "unsigned payloads": ({}, {"x-amz-content-sha256": UNSIGNED}, BODIES),
    "type": ({}, {"content-type": "application/octet-stream"}, BEGINNINGS),
    "metadata": ({}, {"x-amz-meta-raw-start": "0"}, BEGINNINGS),
}
NAMED = {name for _, wanted, _ in OPTIONS.values() for name in wanted} - {
    "content-type",  # botocore gives a body of XML a type
    "x-amz-content-sha256",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_sent_with_the_operations_it_belongs_to(
    bucket: Bucket, aws: ScriptedServer, name: str
) -> None:
    fields, wanted, operations = OPTIONS[name]
    found = headers_by_operation(aws, bucket(**fields))
    for operation, headers in found.items():
        for header, value in wanted.items():
            if operation in operations:
                assert headers[header] == value, operation
            elif header in NAMED:
                assert header not in headers, operation


def test_what_is_not_configured_is_not_sent(bucket: Bucket, aws: ScriptedServer) -> None:
    always = {"if-none-match", "x-amz-meta-raw-start"}
    for headers in headers_by_operation(aws, bucket()).values():
        assert not NAMED & headers.keys() - always


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_the_checksum_is_sent_as_it_was_chosen(
    bucket: Bucket, aws: ScriptedServer, algorithm: ChecksumAlgorithm
) -> None:
    found = headers_by_operation(aws, bucket(checksum=algorithm))
    sent = {
        operation: {name: value for name, value in headers.items() if "checksum" in name}
        for operation, headers in found.items()
    }
    if algorithm is ChecksumAlgorithm.NONE:
        assert not any(sent.values())
        return
    if algorithm is ChecksumAlgorithm.MD5:
        assert not any(sent.values())
        for operation in BODIES:
            assert found[operation]["content-md5"] == checksum_of(BODY, algorithm)
        return
    for operation in BODIES:
        assert sent[operation][f"x-amz-checksum-{algorithm}"] == checksum_of(BODY, algorithm)
    kind = "COMPOSITE" if algorithm is ChecksumAlgorithm.SHA256 else "FULL_OBJECT"
    assert sent["CreateMultipartUpload"] == {
        "x-amz-checksum-algorithm": algorithm.name,
        "x-amz-checksum-type": kind,
    }
    assert not any("trailer" in each for headers in found.values() for each in headers)


def test_payloads_are_signed_on_demand(bucket: Bucket, aws: ScriptedServer) -> None:
    found = headers_by_operation(aws, bucket(sign_payloads=True))
    assert UNSIGNED not in {headers["x-amz-content-sha256"] for headers in found.values()}


ACCESS_POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/logs"
AP_HOST = "logs-123456789012.s3-accesspoint"
HOSTS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "plain": ("b-1", "eu-west-1", {}, "b-1.s3.eu-west-1.amazonaws.com", ""),
    "us-east-1": ("b-1", "us-east-1", {}, "b-1.s3.us-east-1.amazonaws.com", ""),
    "virtual": (
        "b-1",
        "eu-west-1",
        {"addressing_style": "virtual"},
        "b-1.s3.eu-west-1.amazonaws.com",
        "",
    ),
    "path": (
        "b-1",
        "eu-west-1",
        {"addressing_style": "path"},
        "s3.eu-west-1.amazonaws.com",
        "/b-1",
    ),
    "dots": ("my.logs", "eu-west-1", {}, "s3.eu-west-1.amazonaws.com", "/my.logs"),
    "bucket like the template": (
        "template",
        "eu-west-1",
        {"addressing_style": "path"},
        "s3.eu-west-1.amazonaws.com",
        "/template",
    ),
    "FIPS": (
        "b-1",
        "us-east-1",
        {"use_fips_endpoint": True},
        "b-1.s3-fips.us-east-1.amazonaws.com",
        "",
    ),
    "dualstack": (
        "b-1",
        "eu-west-1",
        {"use_dualstack_endpoint": True},
        "b-1.s3.dualstack.eu-west-1.amazonaws.com",
        "",
    ),
    "FIPS and dualstack": (
        "b-1",
        "us-gov-west-1",
        {"use_fips_endpoint": True, "use_dualstack_endpoint": True},
        "b-1.s3-fips.dualstack.us-gov-west-1.amazonaws.com",
        "",
    ),
    "GovCloud": ("b-1", "us-gov-west-1", {}, "b-1.s3.us-gov-west-1.amazonaws.com", ""),
    "GovCloud FIPS": (
        "b-1",
        "us-gov-east-1",
        {"use_fips_endpoint": True},
        "b-1.s3-fips.us-gov-east-1.amazonaws.com",
        "",
    ),
    "China": ("b-1", "cn-north-1", {}, "b-1.s3.cn-north-1.amazonaws.com.cn", ""),
    "China dualstack": (
        "b-1",
        "cn-north-1",
        {"use_dualstack_endpoint": True},
        "b-1.s3.dualstack.cn-north-1.amazonaws.com.cn",
        "",
    ),
    "access point": (
        ACCESS_POINT,
        "us-west-2",
        {},
        f"{AP_HOST}.us-west-2.amazonaws.com",
        "",
    ),
    "access point FIPS": (
        ACCESS_POINT,
        "us-west-2",
        {"use_fips_endpoint": True},
        f"{AP_HOST}-fips.us-west-2.amazonaws.com",
        "",
    ),
    "endpoint with a path": (
        "b-1",
        "eu-west-1",
        {"endpoint_url": "https://minio.internal:9000/s3/x", "addressing_style": "path"},
        "minio.internal:9000",
        "/s3/x/b-1",
    ),
    "endpoint of a VPC": (
        "b-1",
        "eu-west-1",
        {"endpoint_url": "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"},
        "bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com",
        "/b-1",
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_requests_go_to_the_host_that_is_configured(
    bucket: Bucket, aws: ScriptedServer, name: str
) -> None:
    called, region, fields, host, path = HOSTS[name]
    store = bucket(called, region=region, **fields)
    for call in OPERATIONS.values():
        call(store)
    for operation, each in zip(OPERATIONS, asked(aws), strict=True):
        assert each.headers["host"] == host, operation
        assert scope_of(each).split("/")[1:] == [region, "s3", "aws4_request"]
        target = each.target.partition("?")[0]
        assert target in (
            (path or "/", f"{path}/") if operation == "ListObjectsV2" else (f"{path}/{KEY}",)
        )
    opened = {each.target for each in aws.requests if each.method == "CONNECT"}
    assert opened == {host if ":" in host else f"{host}:443"}


KEYS = (
    "logs/percent%41%0A%",
    "logs/plus+and space",
    "logs/caf\u00e9 \U0001f4dc",
    "logs/quote\"'&<>;=@:,!*()~",
    "logs/a//b",
    "logs/template/template?template=1#x",
    "logs/.hidden/a.b..c/d.",
)


@pytest.mark.parametrize("key", KEYS)
def test_odd_keys_are_signed_as_they_are_sent(
    bucket: Bucket, aws: ScriptedServer, key: str
) -> None:
    store = bucket()
    store.put(ObjectKey(key), BODY, checksum="", metadata={"source-path": "/a  b/%C3%A9"}).result()
    store.upload_part(ObjectKey(key), UploadId("a+b/c=&d"), 7, BODY, checksum="").result()
    targets = [each.target for each in asked(aws)]
    assert targets[1] == f"{targets[0]}?partNumber=7&uploadId=a%2Bb%2Fc%3D%26d"


def test_credentials_that_rotate_are_seen_by_the_next_signature(
    bucket: Bucket, aws: ScriptedServer
) -> None:
    now = [RoleCredentials("AK1", "one", "t1", 0.0)]
    store = bucket(credentials=lambda: now[-1])
    for number in (2, 3):
        OPERATIONS["UploadPart"](store)
        now.append(RoleCredentials(f"AK{number}", f"secret {number}", f"t{number}", 0.0))
    OPERATIONS["UploadPart"](store)
    sent = [each for each in aws.requests if each.method == "PUT"]
    assert [each.headers["x-amz-security-token"] for each in sent] == ["t1", "t2", "t3"]
    secrets = ["one", "secret 2", "secret 3"]
    assert all(is_well_signed(each, secret) for each, secret in zip(sent, secrets, strict=True))


def test_a_signature_with_another_secret_is_noticed(bucket: Bucket, aws: ScriptedServer) -> None:
    OPERATIONS["PutObject"](bucket())
    (sent,) = asked(aws)
    assert not is_well_signed(sent, "another secret")


# Proxies and certificates.


def test_the_proxy_is_told_its_password_and_s3_is_not(bucket: Bucket, aws: ScriptedServer) -> None:
    headers = headers_by_operation(aws, bucket())
    opened = [each for each in aws.requests if each.method == "CONNECT"]
    assert {each.headers["proxy-authorization"] for each in opened} == {"Basic dXNlcjpwYXNz"}
    assert not any("proxy-authorization" in each for each in headers.values())


def test_what_needs_no_proxy_goes_around_it(
    bucket: Bucket, aws: ScriptedServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tls = authority.context("127.0.0.1")
    with ScriptedServer(otherwise=answer_of_s3, tls=tls) as server:
        store = bucket(endpoint_url=server.url, addressing_style="path")
        for call in OPERATIONS.values():
            call(store)
    assert len(asked(server)) == len(OPERATIONS)
    assert aws.requests == []


def test_plain_http_has_a_proxy_of_its_own(
    bucket: Bucket, aws: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(otherwise=answer_of_s3) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        OPERATIONS["PutObject"](
            bucket(endpoint_url="http://minio.internal", addressing_style="path")
        )
    (sent,) = server.requests
    assert sent.target == f"http://minio.internal/my-logs/{KEY}"
    assert sent.headers["x-amz-content-sha256"] != UNSIGNED
    assert aws.requests == []


@pytest.mark.parametrize("url", ["http://minio.internal:80", "https://minio.internal:443"])
def test_the_port_that_a_scheme_has_anyway_is_not_written(
    bucket: Bucket, aws: ScriptedServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", aws.url)
    OPERATIONS["PutObject"](bucket(endpoint_url=url, addressing_style="path"))
    assert aws.requests[-1].method == "PUT"
    assert aws.requests[-1].headers["host"] == "minio.internal"


def test_a_ca_that_is_not_known_is_an_error_that_says_so(
    bucket: Bucket, aws: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(Authority(tmp_path, "another CA").bundle))
    store = bucket()
    for call in OPERATIONS.values():
        with pytest.raises(PortError, match="Unreachable") as caught:
            call(store)
        assert "AWS_CA_BUNDLE" in caught.value.hint
        assert "pass@" not in repr(caught.value)


# What only botocore can do, or refuse.


@pytest.mark.parametrize("name", ["acl", "storage_class"])
def test_what_cannot_stand_in_a_header_is_refused(
    bucket: Bucket, aws: ScriptedServer, name: str
) -> None:
    codes = set()
    for fields in ({name: "b\u00fccher"}, {name: "\u65e5\u672c"}):
        try:
            OPERATIONS["PutObject"](bucket(**fields))
        except PortError as error:
            codes.add(error.code)
    assert codes <= {"InvalidRequest", "NotS3"}


def test_metadata_that_is_not_ascii_is_refused_before_it_is_sent(
    bucket: Bucket, aws: ScriptedServer
) -> None:
    with pytest.raises(PortError, match="InvalidRequest"):
        bucket().put(KEY, BODY, checksum="", metadata={"source-path": "/caf\u00e9"}).result()
    assert aws.requests == []


MOVED = (
    "<Error><Code>{}</Code><Message>elsewhere</Message>"
    "<Endpoint>b-1.s3.eu-north-1.amazonaws.com</Endpoint></Error>"
)


@pytest.mark.parametrize(
    ("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect")]
)
@pytest.mark.parametrize("operation", BODIES)
def test_a_redirect_is_told_and_not_followed(
    bucket: Bucket,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    operation: str,
) -> None:
    answer = http_answer(
        status,
        MOVED.format(code),
        Location="https://b-1.s3.eu-north-1.amazonaws.com/",
        x_amz_bucket_region="eu-north-1",
        x_amz_request_id="R",
    )
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tls, is_told = authority.context("127.0.0.1"), pytest.raises(PortError, match=code)
    with ScriptedServer(answer, tls=tls) as server, is_told as caught:
        OPERATIONS[operation](bucket(endpoint_url=server.url, addressing_style="path"))
    assert "eu-north-1" in caught.value.detail
    assert len(server.requests) == 1


def test_a_multi_region_access_point_is_left_to_botocore(
    bucket: Bucket, aws: ScriptedServer
) -> None:
    """It signs for all regions, with another algorithm."""
    pytest.importorskip("awscrt")
    called = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
    OPERATIONS["PutObject"](bucket(called))
    sent = [each for each in aws.requests if each.method == "PUT"]
    assert [each.headers["host"] for each in sent] == [
        "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com"
    ]
    assert sent[0].headers["authorization"].startswith("AWS4-ECDSA-P256-SHA256 ")
    assert sent[0].headers["x-amz-region-set"] == "*"


@pytest.mark.parametrize("hours", [-26.0, 26.0])
def test_a_wrong_clock_is_corrected_for_a_multi_region_access_point_too(
    bucket: Bucket, aws: ScriptedServer, hours: float
) -> None:
    """On a clock that is ahead or behind; only ``awscrt`` signs for it."""
    pytest.importorskip("awscrt")
    called = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
    told = {"x_amz_request_id": "R"}
    refusal = "<Error><Code>{}</Code><Message>no</Message></Error>"
    s3 = Punctual(
        lambda: http_answer(200, ETag='"e"', **told),
        lambda code: http_answer(403, refusal.format(code), **told),
    )
    aws._otherwise = s3.answer
    store = bucket(called, server_time=ServerTime(FakeClock(time.time() + 3600 * hours)))
    with pytest.raises(PortError, match="SignatureDoesNotMatch"):
        OPERATIONS["PutObject"](store)
    for operation in BODIES:
        OPERATIONS[operation](store)
    sent = [each for each in aws.requests if each.method == "PUT"]
    assert sent[-1].headers["authorization"].startswith("AWS4-ECDSA-P256-SHA256 ")
    assert s3.refused == 1


SESSION = (
    "<CreateSessionResult><Credentials><AccessKeyId>AKSESSION</AccessKeyId>"
    "<SecretAccessKey>session secret</SecretAccessKey><SessionToken>st</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"
)


def test_a_directory_bucket_is_left_to_botocore(
    bucket: Bucket, authority: Authority, aws: ScriptedServer
) -> None:
    """S3 Express signs with a session's credentials, which botocore asks for."""

    def answer(request: Request) -> bytes:
        is_session = request.target.partition("?")[2].startswith("session")
        return (
            http_answer(200, SESSION, x_amz_request_id="R")
            if is_session
            else answer_of_s3(request)
        )

    aws._otherwise = answer
    store = bucket("logs--euw1-az1--x-s3")
    for _ in range(2):
        OPERATIONS["PutObject"](store)
    sent = [each for each in aws.requests if each.method == "PUT"]
    assert len(sent) == 2
    for each in sent:
        assert each.headers["x-amz-s3session-token"] == "st"
        assert each.headers["host"] == (
            "logs--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com"
        )
        assert is_well_signed(each, "session secret")


def test_threads_that_ask_botocore_are_not_stopped_by_one_that_finds_out(
    bucket: Bucket, aws: ScriptedServer
) -> None:
    """Each walks the pipeline for itself, and the walk of one ends the request of no other."""
    pytest.importorskip("awscrt")
    called = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
    store, failed = bucket(called), []

    def put() -> None:
        try:
            OPERATIONS["PutObject"](store)
        except BaseException as error:  # noqa: BLE001  (told by the test's thread)
            failed.append(error)

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
