"""What S3Store sends: to whom, signed by whom, with which headers, and at what cost in memory."""

import datetime
import hashlib
import io
import ipaddress
import os
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.concurrency import PIECE_BYTES
from shipper.core.destinations import Destination
from shipper.core.replay import Replay
from shipper.core.types import (
    NO_WATCH,
    ChecksumAlgorithm,
    ETag,
    ObjectKey,
    Receipt,
    RoleCredentials,
    UploadId,
    WatchName,
)
from shipper.edges.http_client import transfer
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.transfer import Limits
from shipper.edges.s3.store import S3Store
from shipper.edges.server_time import ServerTime
from shipper.ports import PortError
from tests.fakes.clock import FakeClock
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import REGION, Moto, Request, ScriptedServer, http_answer
from tests.fakes.sigv4 import is_well_signed
from tests.fakes.store import checksum_of

MIB = 1024**2
KEY = ObjectKey("logs/access.log.zst")
UPLOAD = UploadId("upload-1")
BODY = b"a line\n"
CHECKSUM = checksum_of(BODY, ChecksumAlgorithm.CRC32)
STORED = http_answer(200, ETag='"e"', x_amz_request_id="R")


def store_at(url: str, *, bucket: str = "bucket", wanted: Any = None, **options: Any) -> S3Store:
    """A store in front of ``url``; ``wanted`` are fields of its destination."""
    fields: dict[str, Any] = {"endpoint_url": url, "addressing_style": "path"}
    return s3_store(destination=Destination(bucket, **(fields | (wanted or {}))), **options)


def put(store: S3Store, key: str = KEY, body: bytes = BODY) -> None:
    checksum = checksum_of(body, store.algorithm)
    store.put(ObjectKey(key), body, checksum=checksum, metadata={}).result()


def send(store: S3Store, key: ObjectKey, *bodies: bytes | bytearray | memoryview) -> None:
    """Create, send the parts, complete; without a checksum of the whole."""
    upload_id, receipts = store.create_upload(key, metadata={}).result().upload_id, []
    for number, body in enumerate(bodies, 1):
        checksum = checksum_of(body, store.algorithm)
        etag, _ = store.upload_part(key, upload_id, number, body, checksum=checksum).result()
        receipts.append(Receipt(number, 0, 0, len(body), ETag(etag), checksum))
    store.complete_upload(key, upload_id, receipts, checksum="").result()


@pytest.mark.parametrize("is_conditional", [True, False])
def test_what_is_configured_is_sent(is_conditional: bool) -> None:
    with ScriptedServer(STORED) as server:
        wanted = {
            "conditional_writes": is_conditional,
            "expected_bucket_owner": "123456789012",
            "tags": (("team", "web & api"), ("cost", "1+1")),
        }
        store = store_at(server.url, wanted=wanted)
        put(store)
    headers = server.requests[0].headers
    assert ("if-none-match" in headers) is store.is_conditional is is_conditional
    assert headers["x-amz-expected-bucket-owner"] == "123456789012"
    assert headers["x-amz-tagging"] == "team=web+%26+api&cost=1%2B1"
    assert headers["x-amz-checksum-crc32"] == CHECKSUM
    assert headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
    assert "transfer-encoding" not in headers
    assert "shipper/" in headers["user-agent"]


def test_the_environment_and_the_shared_files_have_no_influence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config", "credentials"):
        (tmp_path / name).write_text("this is [ no configuration")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKTHEIRS",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "AWS_SESSION_TOKEN": "theirs",
        "AWS_PROFILE": "nobody",
        "AWS_DEFAULT_PROFILE": "nobody",
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_DEFAULTS_MODE": "mobile",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "adaptive",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
        "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "legacy",
    }.items():
        monkeypatch.setenv(name, value)
    with ScriptedServer(STORED) as server:
        put(store_at(server.url))
    authorization = server.requests[0].headers["authorization"]
    assert "Credential=AKOURS/" in authorization
    assert f"/{REGION}/s3/aws4_request" in authorization
    assert server.requests[0].headers["x-amz-security-token"] == "our-token"


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, "https://s3.us-east-1.amazonaws.com"),
        ({"use_fips_endpoint": True}, "https://s3-fips.us-east-1.amazonaws.com"),
        ({"use_dualstack_endpoint": True}, "https://s3.dualstack.us-east-1.amazonaws.com"),
    ],
)
def test_without_an_endpoint_it_is_the_regional_one_of_aws(
    options: dict[str, Any], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is loopback and refuses, so nothing leaves; its error names where it was bound."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    store = store_at("", wanted=options)
    with pytest.raises(PortError, match="Unreachable") as caught:
        store.probe()
    assert "hunter2" not in repr(caught.value)


def test_every_signature_asks_for_the_credentials_of_the_moment() -> None:
    current = [RoleCredentials("AK1", "s", "t1", 0.0)]
    with ScriptedServer(STORED, STORED) as server:
        store = store_at(server.url, credentials=lambda: current[-1])
        put(store)
        current.append(RoleCredentials("AK2", "s", "t2", 0.0))
        put(store)
    assert [each.headers["x-amz-security-token"] for each in server.requests] == ["t1", "t2"]


def test_without_credentials_nothing_is_sent() -> None:
    def none_yet() -> RoleCredentials:
        raise PortError("CredentialsUnavailable", "none yet", "attach a role")

    unavailable = pytest.raises(PortError, match="CredentialsUnavailable")
    with ScriptedServer() as server:
        store = store_at(server.url, credentials=none_yet)
        future = store.put(KEY, BODY, checksum="", metadata={})
        with unavailable as caught:
            future.result()
    assert caught.value.hint == "attach a role"
    assert server.requests == []


@pytest.mark.parametrize("is_signed", [True, False])
def test_over_tls_the_payload_is_signed_only_on_demand(
    is_signed: bool, tls: ssl.SSLContext
) -> None:
    with ScriptedServer(STORED, tls=tls) as server:
        put(store_at(server.url, wanted={"sign_payloads": is_signed}))
    digest = server.requests[0].headers["x-amz-content-sha256"]
    assert (digest == "UNSIGNED-PAYLOAD") is not is_signed


def test_an_unknown_certificate_is_unreachable_and_says_tls(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with (
        ScriptedServer(tls=tls) as server,
        pytest.raises(PortError, match="Unreachable") as caught,
    ):
        store_at(server.url).probe()
    assert "TLS" in caught.value.hint


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A context for 127.0.0.1 whose certificate AWS_CA_BUNDLE makes known."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "scripted")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    return context


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_part_is_not_copied(has_tls: bool, tls: ssl.SSLContext) -> None:
    body = bytearray(16 * MIB)
    checksum = checksum_of(body, ChecksumAlgorithm.CRC32)
    context = tls if has_tls else None
    with ScriptedServer(STORED, STORED, tls=context, keeps_bodies=False) as server:
        store = store_at(server.url)
        store.upload_part(KEY, UPLOAD, 1, body, checksum=checksum).result()
        tracemalloc.start()
        try:
            store.upload_part(KEY, UPLOAD, 1, body, checksum=checksum).result()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 4 * MIB


def test_a_body_that_is_made_anew_is_signed_and_sent_as_it_is_made() -> None:
    """Over http it is made twice: for the signature, and as it is sent."""
    begun = list[int]()

    def pieces() -> Iterator[bytes]:
        begun.append(1)
        return (bytes([number]) * MIB for number in range(16))

    with ScriptedServer(STORED) as server:
        body = Replay(16 * MIB, pieces)
        store_at(server.url).upload_part(KEY, UPLOAD, 1, body, checksum="").result()
    assert len(begun) == 2
    (sent,) = server.requests
    assert sent.body == b"".join(pieces())
    assert is_well_signed(sent, "secret")


@given(st.binary(), st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 9))))
def test_a_large_body_reads_like_a_file(body: bytes, steps: list[tuple[int, int]]) -> None:
    """Which of these a signer uses depends on whether botocore found the CRT."""
    ours, file = Body(body), io.BytesIO(body)
    for whence, number in steps:
        offset = min(max(0, number), len(body)) if whence == os.SEEK_SET else 0
        assert ours.seek(offset, whence) == file.seek(offset, whence)
        assert bytes(ours.read(number)) == file.read(number)
        assert ours.tell() == file.tell()


def test_a_large_body_arrives_whole_through_a_slow_network() -> None:
    """It takes longer than a connection may."""
    body = bytes(range(256)) * 16 * 1024
    with ScriptedServer(STORED, slow_seconds=0.15) as server:
        store = store_at(server.url, limits=Limits(connect_seconds=3.0))
        started = time.monotonic()
        store.put(KEY, body, checksum="", metadata={}).result()
        seconds = time.monotonic() - started
    assert server.requests[0].body == body
    assert seconds > 3.0


def test_who_takes_a_large_body_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single write is in time; the clock of the whole body is not."""
    monkeypatch.setattr(transfer, "longest_body_seconds", lambda size_bytes: 0.2)
    with (
        ScriptedServer(STORED, slow_seconds=0.05) as server,
        pytest.raises(PortError, match="Timeout") as raised,
    ):
        store_at(server.url).put(KEY, bytes(16 * MIB), checksum="", metadata={}).result()
    assert "bytes were sent when the time was up" in raised.value.detail


def test_what_the_throttle_waits_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "longest_body_seconds", lambda size_bytes: 1.5)
    body, asked = bytes(range(256)) * 8 * 1024, list[int]()

    def throttle(size_bytes: int) -> Callable[[], float]:
        asked.append(size_bytes)
        until = time.monotonic() + 0.3
        return lambda: until - time.monotonic()

    with ScriptedServer(STORED) as server:
        store = store_at(server.url, throttle=throttle, limits=Limits(stall_seconds=0.2))
        started = time.monotonic()
        store.put(KEY, body, checksum="", metadata={}).result()
        seconds = time.monotonic() - started
    assert seconds > 2.0, "nothing was waited for"
    assert server.requests[0].body == body
    assert sum(asked) == len(body)
    assert max(asked) <= PIECE_BYTES


def test_a_large_body_is_not_sent_to_who_refuses_it() -> None:
    denied = http_answer(403, "<Error><Code>AccessDenied</Code></Error>", x_amz_request_id="R")
    is_denied = pytest.raises(PortError, match="AccessDenied")
    with ScriptedServer(denied, refuses_early=True) as server, is_denied:
        store_at(server.url).put(KEY, bytes(8 * MIB), checksum="", metadata={}).result()
    assert server.requests[0].body == b""


@pytest.fixture
def moto(own_moto: Moto) -> Moto:
    """A moto of this module's own, because enforcing concerns everybody who talks to it."""
    own_moto.create_bucket("guarded")
    return own_moto


def guarded(moto: Moto, credentials: RoleCredentials) -> S3Store:
    return store_at(moto.url, bucket="guarded", credentials=lambda: credentials)


def test_two_permissions_are_enough_for_everything_but_an_abort(moto: Moto) -> None:
    store = guarded(moto, moto.assume("writer"))
    with moto.enforcing():
        store.probe()
        for key in ("logs/plus+and space", "logs/caf\u00e9%41", "logs/quote\"'&<>;=@:,!*()~"):
            put(store, key)
            assert store.find(ObjectKey(key)).result() is not None
        send(store, KEY, bytearray(5 * MIB), b"the end\n")
        upload_id = (
            store.create_upload(ObjectKey("abandoned"), metadata={"source-path": "/a b"})
            .result()
            .upload_id
        )
        with pytest.raises(PortError, match="AccessDenied"):
            store.abort_upload(ObjectKey("abandoned"), upload_id)
    assert len(moto.read("guarded", KEY)) == 5 * MIB + 8


def test_a_role_that_may_not_write_is_denied_with_a_hint(moto: Moto) -> None:
    store = guarded(moto, moto.assume("reader", ("s3:ListBucket",)))
    with moto.enforcing():
        store.probe()
        with pytest.raises(PortError, match="AccessDenied") as caught:
            put(store, "denied", bytes(3 * MIB))
    assert "s3:PutObject" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"session_token": "wrong"}, "InvalidToken"),
        ({"access_key_id": "ASIAWRONG"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_told_apart(moto: Moto, change: dict[str, Any], code: str) -> None:
    good = moto.assume("writer")
    with moto.enforcing(), pytest.raises(PortError, match=code) as caught:
        guarded(moto, replace(good, **change)).probe()
    assert good.secret_access_key not in repr(caught.value)
    assert good.session_token not in repr(caught.value)


def test_a_missing_bucket_is_named_with_a_hint(moto: Moto) -> None:
    with pytest.raises(PortError, match="NoSuchBucket") as caught:
        store_at(moto.url, bucket="never-created").probe()
    assert "destination.bucket" in caught.value.hint


def test_what_is_configured_is_found_on_every_object(moto: Moto) -> None:
    bucket = "configured"
    moto.create_bucket(bucket)
    wanted = {
        "storage_class": "STANDARD_IA",
        "server_side_encryption": "aws:kms",
        "kms_key_id": "alias/logs",
        "acl": "bucket-owner-full-control",
        "tags": (("team", "web api"), ("cost", "a/b")),
    }
    store = store_at(moto.url, bucket=bucket, wanted=wanted)
    put(store, "one")
    send(store, ObjectKey("many"), BODY)

    assert store.encryption(NO_WATCH) == "aws:kms"
    for key in ("one", "many"):
        found = moto.attributes(bucket, key)
        assert found["StorageClass"] == "STANDARD_IA"
        assert found["ServerSideEncryption"] == "aws:kms"
        assert found["SSEKMSKeyId"] == "alias/logs"
        assert found["ContentType"] == "application/octet-stream"
        tags = moto.client("s3").get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "web api", "cost": "a/b"}


class Strict:
    """S3, which takes only what is signed within 15 minutes of its own time."""

    def __init__(self) -> None:
        self.refused = 0

    def answer(self, request: Request) -> bytes:
        assert is_well_signed(request, "secret")
        asked = datetime.datetime.strptime(
            request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z"
        )
        skew = asked.timestamp() - time.time()
        said = {"x_amz_request_id": "R", "Date": formatdate(usegmt=True)}
        if abs(skew) > 900:
            self.refused += 1
            body = "<Error><Code>RequestTimeTooSkewed</Code><Message>no</Message></Error>"
            return http_answer(403, body, **said)
        if request.method == "GET":
            return http_answer(200, "<ListBucketResult><Name>b</Name></ListBucketResult>", **said)
        if request.target.endswith("?uploads"):
            xml = "<R><UploadId>u</UploadId></R>"
            return http_answer(200, xml, **said)
        if request.method == "POST":
            return http_answer(200, "<R><ETag>e</ETag></R>", **said)
        return http_answer(200, ETag='"e"', **said)


@pytest.mark.parametrize("hours", [-26.0, -0.5, 0.5, 26.0])
def test_a_wrong_clock_costs_one_request_and_no_operation(hours: float) -> None:
    """Ahead and behind, for every operation, and when the clock is set again meanwhile."""
    strict, clock = Strict(), FakeClock(time.time() + 3600 * hours)
    with ScriptedServer(otherwise=strict.answer) as server:
        store = store_at(server.url, server_time=ServerTime(clock))
        with pytest.raises(PortError, match="RequestTimeTooSkewed"):
            put(store)
        put(store)
        send(store, KEY, BODY, BODY)
        store.find(KEY).result()
        clock.set_wall(time.time() - 3600 * hours)
        put(store)
        store.probe()
    assert strict.refused == 1
    assert len(server.requests) == 9


def test_the_clock_of_the_metadata_service_is_known_before_the_first_request() -> None:
    strict, clock = Strict(), FakeClock(time.time() - 7200)
    role = RoleCredentials("AKOURS", "secret", "our-token", expires_at=0.0, skew_seconds=7200.0)
    with ScriptedServer(otherwise=strict.answer) as server:
        store = store_at(server.url, server_time=ServerTime(clock), credentials=lambda: role)
        put(store)
        store.probe()
    assert strict.refused == 0


def test_an_expected_owner_is_named_where_s3_denies_without_a_reason() -> None:
    body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    denied = http_answer(403, body, x_amz_request_id="R")
    with ScriptedServer(denied, denied) as server:
        for owner in ("123456789012", ""):
            store = store_at(server.url, wanted={"expected_bucket_owner": owner})
            with pytest.raises(PortError) as refused:
                put(store)
            assert ("expected_bucket_owner" in refused.value.hint) is bool(owner)
            assert owner in refused.value.hint


def test_an_md5_is_confirmed_by_the_etag() -> None:
    md5 = ChecksumAlgorithm.MD5
    etag = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    other = http_answer(200, ETag='"kms"', x_amz_request_id="R")
    same = http_answer(200, ETag=f'"{etag}"', x_amz_request_id="R")
    with ScriptedServer(same, other) as server:
        store = store_at(server.url, algorithm=md5)
        checksum = checksum_of(BODY, md5)
        found = [
            store.put(KEY, BODY, checksum=checksum, metadata={}).result().confirmed
            for _ in range(2)
        ]
    assert found == [True, False]
    assert {each.headers["content-md5"] for each in server.requests} == {checksum}


CREATED = http_answer(
    200,
    "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key>"
    "<UploadId>u-1</UploadId></InitiateMultipartUploadResult>",
    x_amz_request_id="r-1",
    x_amz_id_2="i-1",
)


def test_each_watch_has_its_settings_in_the_request_and_the_lock_counts_from_the_write() -> None:
    destination = {"content_encoding": "auto", "storage_class": "STANDARD_IA"}
    lock: dict[str, Any] = {
        "object_lock_mode": "COMPLIANCE",
        "object_lock_retain_seconds": 400 * 86_400.0,
    }
    web = WatchName("web")
    with ScriptedServer(STORED, CREATED, CREATED) as server:
        store = store_at(
            server.url,
            wanted=destination,
            watches={web: Destination("bucket", content_encoding="zstd", **lock)},
        )
        checksum = checksum_of(BODY, store.algorithm)
        about: dict[str, Any] = {"metadata": {}, "watch": web}
        store.put(ObjectKey(KEY), BODY, checksum=checksum, **about).result()
        store.create_upload(ObjectKey("k"), **about).result()
        store.create_upload(ObjectKey("k"), metadata={}).result()
    for request in server.requests[:2]:
        assert request.headers["x-amz-object-lock-mode"] == "COMPLIANCE"
        until = datetime.datetime.fromisoformat(
            request.headers["x-amz-object-lock-retain-until-date"]
        )
        assert abs(until.timestamp() - time.time() - 400 * 86_400) < 120
        assert request.headers["content-encoding"] == "zstd"
        assert "x-amz-storage-class" not in request.headers
        assert any("checksum" in name for name in request.headers)
    plain = server.requests[2].headers
    assert plain["x-amz-storage-class"] == "STANDARD_IA"
    assert not {"content-encoding", "x-amz-object-lock-mode"} & set(plain)


def test_an_encoding_that_only_begins_like_the_word_for_none_is_sent_whole() -> None:
    with ScriptedServer(CREATED) as server:
        store = store_at(server.url, wanted={"content_encoding": "autobr"})
        store.create_upload(ObjectKey("k"), metadata={}).result()
    assert server.requests[0].headers["content-encoding"] == "autobr"
