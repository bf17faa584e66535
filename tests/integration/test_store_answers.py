"""What S3Store makes of everything that may come back, over real sockets and byte for byte.

Each request is answered once by a script; a second one would show, because they are counted.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore import exceptions as foreign
from botocore.parsers import ResponseParserError

from shipper.core.failures import Verdict, judge
from shipper.core.types import (
    ChecksumAlgorithm,
    ETag,
    NewUpload,
    ObjectKey,
    Receipt,
    RoleCredentials,
    StoredObject,
    UploadId,
)
from shipper.edges.http_client.transfer import Limits
from shipper.edges.s3.errors import failures_as_port_errors, port_error_from
from shipper.edges.s3.store import S3Store
from shipper.ports import PortError
from shipper.runtime.logs import Redactor
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import Answer, ScriptedServer, http_answer, kept_open
from tests.fakes.store import checksum_of

MIB = 1024**2
KEY = ObjectKey("logs/access.log.zst")
UPLOAD = UploadId("upload-1")
BODY = b"a line\n"
CHECKSUM = checksum_of(BODY, ChecksumAlgorithm.CRC32)
RECEIPT = Receipt(1, 0, 7, 7, ETag("0" * 32), CHECKSUM)
SECRETS = ("the-secret-key", "the-session-token")
S3_HEADERS = {"x_amz_request_id": "REQ1", "Content_Type": "application/xml"}
GREETING = kept_open(
    http_answer(200, "<ListBucketResult><Name>bucket</Name></ListBucketResult>", **S3_HEADERS)
)
PORTAL = "<html><head><title>Log in</title></head><body><p>Welcome<br></body></html>"
XHTML_PORTAL = "<html><head><title>Log in</title></head><body><p>Welcome</p></body></html>"


STANDS = [False]


@pytest.fixture(params=["new", "standing"], autouse=True)
def connection(request: pytest.FixtureRequest) -> None:
    """A request over a connection that stands already ends as the first one does."""
    STANDS[0] = request.param == "standing"


def store_at(url: str, **options: Any) -> S3Store:
    role = RoleCredentials("AKOURS", *SECRETS, expires_at=0.0)
    return s3_store(url, **({"credentials": lambda: role} | options))


def error_answer(code: str, message: str = "", status: int = 400, **headers: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return http_answer(status, body, **(S3_HEADERS | headers))


def completed(etag: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>\n   \n
        <CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Location>x</Location><Bucket>bucket</Bucket><Key>{KEY}</Key><ETag>{etag}</ETag>
        <ChecksumCRC32>{CHECKSUM}</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>
        </CompleteMultipartUploadResult>"""


def put(store: S3Store) -> StoredObject:
    return store.put(KEY, BODY, checksum=CHECKSUM, metadata={}).result()


def complete(store: S3Store) -> StoredObject:
    return store.complete_upload(KEY, UPLOAD, [RECEIPT], checksum=CHECKSUM).result()


OPERATIONS: dict[str, Callable[[S3Store], object]] = {
    "PutObject": put,
    "CreateMultipartUpload": lambda store: store.create_upload(KEY, metadata={}).result(),
    "UploadPart": lambda store: store.upload_part(
        KEY, UPLOAD, 1, BODY, checksum=CHECKSUM
    ).result(),
    "CompleteMultipartUpload": complete,
    "ListObjectsV2": lambda store: store.find(KEY).result(),
    "AbortMultipartUpload": lambda store: store.abort_upload(KEY, UPLOAD),
}

each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def failure(
    operation: str, answer: bytes | Answer, **options: Any
) -> tuple[PortError, ScriptedServer]:
    """The error of one request that is answered like this, after one request and no more."""
    counted: list[tuple[str, str]] = []
    before = [GREETING] if STANDS[0] else []
    redactor = Redactor()
    for secret in SECRETS:
        redactor.learn(secret)
    counting = partial(
        failures_as_port_errors,
        count=lambda *each: counted.append(each),
        redact=redactor.text,
    )
    with ScriptedServer(*before, answer) as server:
        store = store_at(server.url, failures=counting, **options)
        if before:
            store.probe()
        counted.clear()
        with pytest.raises(PortError) as caught:
            OPERATIONS[operation](store)
    assert len(server.requests) == len(before) + 1
    assert counted == [(operation, caught.value.code)]
    assert not any(secret in repr(caught.value) for secret in SECRETS)
    return caught.value, server


@each_operation
@pytest.mark.parametrize("body", ["", PORTAL, XHTML_PORTAL], ids=["empty", "html", "xhtml"])
def test_a_200_that_is_not_from_s3_is_no_success(operation: str, body: str) -> None:
    answer = http_answer(200, body, Content_Type="text/html", ETag='"portal"')
    error, _ = failure(operation, answer)
    assert error.code == "NotS3"
    assert "portal" in error.hint


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"AbortMultipartUpload"}))
def test_an_empty_200_is_no_success_even_with_a_request_id(operation: str) -> None:
    error, _ = failure(operation, http_answer(200, **S3_HEADERS))
    assert error.code == "NotS3"


@each_operation
def test_an_error_inside_a_200_is_that_error(operation: str) -> None:
    error, _ = failure(operation, error_answer("SlowDown", "Reduce your rate", 200))
    assert error.code == "SlowDown"
    assert "Reduce your rate" in error.detail


@each_operation
@pytest.mark.parametrize("region", [{}, {"x_amz_bucket_region": "eu-west-1"}])
def test_a_redirect_is_not_followed(operation: str, region: dict[str, str]) -> None:
    answer = http_answer(301, Location="http://127.0.0.1:1/", x_amz_request_id="R", **region)
    error, _ = failure(operation, answer)
    assert error.code == "PermanentRedirect"
    assert "destination.region" in error.hint
    assert ("eu-west-1" in error.detail) is bool(region)


@pytest.mark.parametrize(
    ("code", "status"), [("PermanentRedirect", 301), ("AuthorizationHeaderMalformed", 400)]
)
def test_the_region_of_the_bucket_is_told(code: str, status: int) -> None:
    body = f"<Error><Code>{code}</Code><Message>m</Message><Region>eu-west-1</Region></Error>"
    error, _ = failure("PutObject", http_answer(status, body, **S3_HEADERS))
    assert error.code == code
    assert error.detail == "PutObject: m (bucket region eu-west-1, request id REQ1)"


@each_operation
@pytest.mark.parametrize(
    ("answer", "code"),
    [(Answer.RESET, "Unreachable"), (Answer.CLOSE, "Unreachable"), (Answer.NEVER, "Timeout")],
)
def test_a_connection_without_an_answer_is_not_repeated(
    operation: str, answer: Answer, code: str
) -> None:
    seconds = 0.2 if answer is Answer.NEVER else 60.0
    error, _ = failure(operation, answer, limits=Limits(stall_seconds=seconds))
    assert error.code == code
    assert "VPC endpoint" in error.hint


def test_half_an_answer_is_asked_for_again() -> None:
    whole = http_answer(200, completed('"e-1"'), **S3_HEADERS)
    error, _ = failure("CompleteMultipartUpload", whole[:-200])
    assert judge(error.code, error.status) is Verdict.RETRY


def test_nobody_listening_is_unreachable() -> None:
    with ScriptedServer() as server:
        url = server.url
    with pytest.raises(PortError, match="Unreachable"):
        store_at(url).probe()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (412, "PreconditionFailed"),
        (409, "ConditionalRequestConflict"),
        (404, "NoSuchUpload"),
        (400, "BadDigest"),
        (400, "ExpiredToken"),
        (403, "RequestTimeTooSkewed"),
        (500, "InternalError"),
        (503, "SlowDown"),
    ],
)
def test_an_error_of_s3_keeps_its_code_and_status(status: int, code: str) -> None:
    error, _ = failure("CompleteMultipartUpload", error_answer(code, "why", status))
    assert (error.code, error.status) == (code, status)
    assert error.detail.startswith("CompleteMultipartUpload: why")


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("0.5", 0.5, 0.5),
        ("999999999", 300.0, 300.0),
        ("-3", 0.0, 0.0),
        ("soon", 0.0, 0.0),
        ("nan", 0.0, 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0, 300.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, 0.0),
    ],
)
def test_the_wait_that_s3_asks_for_is_handed_on(header: str, least: float, most: float) -> None:
    error, _ = failure("PutObject", error_answer("SlowDown", status=503, Retry_After=header))
    assert least <= error.retry_after <= most


def test_a_denied_key_of_kms_shows_what_is_missing() -> None:
    message = "User: x is not authorized to perform: kms:GenerateDataKey on resource: key/1"
    error, _ = failure("PutObject", error_answer("AccessDenied", message, 403))
    assert "kms:GenerateDataKey" in error.detail
    assert "kms:Decrypt" in error.hint


def test_the_servers_time_is_told_when_the_clock_is_wrong() -> None:
    told = "<ServerTime>2026-11-24T04:00:00Z</ServerTime>"
    body = f"<Error><Code>RequestTimeTooSkewed</Code>{told}</Error>"
    error, _ = failure("PutObject", http_answer(403, body, **S3_HEADERS))
    assert "server time 2026-11-24T04:00:00Z" in error.detail
    assert "clock" in error.hint


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (403, {"x_amz_request_id": "R"}, "Http403"),
        (405, {"x_amz_request_id": "R"}, "Http405"),
        (403, {}, "NotS3"),
        (407, {}, "NotS3"),
        (502, {}, "NotS3"),
        (502, {"x_amz_request_id": "R"}, "Http502"),
        (503, {"x_amz_request_id": "R"}, "ServiceUnavailable"),
    ],
)
@pytest.mark.parametrize("body", ["", PORTAL, XHTML_PORTAL], ids=["empty", "html", "xhtml"])
def test_an_error_without_a_code_is_named_by_its_status(
    status: int, headers: dict[str, str], code: str, body: str
) -> None:
    error, _ = failure("PutObject", http_answer(status, body, **headers))
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
@pytest.mark.parametrize(
    "body",
    [
        "",
        "<Error/>",
        "<Error><Code/><Message/></Error>",
        "<Error><Code></Code><Message></Message></Error>",
        "<Error><Code> \n</Code></Error>",
        "<Error><Message>no</Message></Error>",
        "<Error><Code>InvalidTag</Code><Mess",
        "<?xml version='1.0'?><Error><Code>Acc",
        "<Error><Code>403 Forbidden</Code></Error>",
        '{"Code": "AccessDenied"}',
        "\x00",
    ],
)
def test_an_empty_or_truncated_refusal_holds_nothing_and_blames_no_setting(
    status: int, body: str
) -> None:
    error, _ = failure("PutObject", http_answer(status, body, **S3_HEADERS))
    assert (error.code, error.status) == (f"Http{status}", status)
    assert judge(error.code, error.status) is Verdict.RETRY
    assert "None" not in error.detail
    assert "destination" not in error.hint


@pytest.mark.parametrize("message", ["<Message></Message>", "<Message/>", ""])
def test_a_refusal_without_words_is_told_by_its_status(message: str) -> None:
    body = f"<Error><Code>AccessDenied</Code>{message}</Error>"
    error, _ = failure("PutObject", http_answer(403, body, **S3_HEADERS))
    assert error.code == "AccessDenied"
    assert error.detail.startswith("PutObject: HTTP 403 Forbidden without a message (")


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_a_write_without_an_etag_is_no_success(operation: str) -> None:
    answer = http_answer(200, x_amz_request_id="R", x_amz_checksum_crc32=CHECKSUM)
    error, _ = failure(operation, answer)
    assert error.code == "NotS3"


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_another_checksum_than_was_sent_is_no_success(operation: str) -> None:
    answer = http_answer(200, x_amz_request_id="R", ETag='"e"', x_amz_checksum_crc32="AAAAAA==")
    error, _ = failure(operation, answer)
    assert error.code == "ChecksumMismatch"


def test_a_checksum_that_is_not_echoed_confirms_nothing() -> None:
    answer = http_answer(200, x_amz_request_id="R", ETag='"e"')
    with ScriptedServer(answer, answer) as server:
        store = store_at(server.url)
        assert put(store) == StoredObject(ETag("e"), confirmed=False)
        assert store.upload_part(KEY, UPLOAD, 1, BODY, checksum=CHECKSUM).result() == ("e", "")


@pytest.mark.parametrize(
    ("etag", "stored"),
    [
        ('"e-1"', StoredObject(ETag("e-1"), confirmed=True)),
        ("", StoredObject(ETag(""), confirmed=False)),
    ],
)
def test_a_completion_is_confirmed_by_etag_and_checksum(etag: str, stored: StoredObject) -> None:
    with ScriptedServer(http_answer(200, completed(etag), **S3_HEADERS)) as server:
        assert complete(store_at(server.url)) == stored
    assert server.requests[0].headers["x-amz-mp-object-size"] == "7"
    assert server.requests[0].headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert server.requests[0].headers["if-none-match"] == "*"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            foreign.CredentialRetrievalError(provider="p", error_msg="m"),
            "CredentialsUnavailable",
        ),
        (ResponseParserError("no xml"), "NotS3"),
        (foreign.ParamValidationError(report="r\n" * 9999), "InvalidRequest"),
    ],
)
def test_every_foreign_error_has_a_code(error: Exception, code: str) -> None:
    translated = port_error_from(error, "PutObject")
    assert translated.code == code
    assert "hunter2" not in translated.detail
    assert len(translated.detail) < 700
    assert "\n" not in translated.detail


@pytest.mark.parametrize(
    "fields",
    [
        "<LastModified>yesterday</LastModified><Size>7</Size>",
        "<LastModified>2026-11-24T10:00:00Z</LastModified><Size>many</Size>",
        "<LastModified></LastModified><Size></Size>",
    ],
)
def test_a_listing_with_a_field_that_makes_no_sense_is_not_s3s(fields: str) -> None:
    listing = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
        f"<Contents><Key>{KEY}</Key><ETag>e</ETag>{fields}</Contents></ListBucketResult>"
    )
    with (
        ScriptedServer(http_answer(200, listing, **S3_HEADERS)) as server,
        pytest.raises(PortError, match="NotS3"),
    ):
        store_at(server.url).find(KEY).result()


def test_a_retry_after_beyond_all_time_is_none() -> None:
    far = "Mon, 01 Jan 2024 00:00:00 +99999999999999"
    with (
        ScriptedServer(error_answer("SlowDown", status=503, Retry_After=far)) as server,
        pytest.raises(PortError, match="SlowDown") as raised,
    ):
        put(store_at(server.url))
    assert raised.value.retry_after == 0.0


def test_a_client_that_cannot_be_made_names_the_region_and_the_endpoint() -> None:
    with pytest.raises(PortError, match="BadDestination") as raised:
        store_at("http://127.0.0.1:9", region="no region/at all")
    assert "destination.region" in raised.value.hint


@pytest.mark.parametrize(
    ("headers", "abort_at"),
    [
        ({}, None),
        ({"x_amz_abort_date": "Wed, 02 Dec 2026 00:00:00 GMT"}, 1796169600.0),
    ],
    ids=["no-rule", "rule"],
)
def test_when_a_rule_may_abort_the_upload_is_taken_from_the_answer(
    headers: dict[str, str], abort_at: float | None
) -> None:
    body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    with ScriptedServer(http_answer(200, body, **S3_HEADERS, **headers)) as server:
        new = store_at(server.url).create_upload(KEY, metadata={}).result()
    assert new == NewUpload(UploadId("u"), abort_at)


ENTRY = "<Key>logs/access.log.zst</Key>"


@pytest.mark.parametrize(
    "contents",
    [
        "<Contents/>",
        "<Contents><Size>7</Size></Contents>",
        f"<Contents>{ENTRY}</Contents>",
        f"<Contents>{ENTRY}<Size/></Contents>",
        f"<Contents>{ENTRY}<Size>seven</Size></Contents>",
        f"<Contents>{ENTRY}<Size>-7</Size></Contents>",
        f"<Contents>{ENTRY}<Size>7</Size><Size>8</Size></Contents>",
        f"<Contents>{ENTRY}{ENTRY}<Size>7</Size></Contents>",
        f"<Contents>{ENTRY}<Size>7</Size><LastModified>the day before</LastModified></Contents>",
    ],
)
def test_a_listing_whose_entry_makes_no_sense_is_no_answer_of_s3s(contents: str) -> None:
    page = f"<ListBucketResult><Name>bucket</Name>{contents}</ListBucketResult>"
    with ScriptedServer(http_answer(200, page, **S3_HEADERS)) as server:
        store = store_at(server.url)
        try:
            found = store.find(KEY).result()
        except PortError as error:
            assert error.code == "NotS3"  # noqa: PT017  (some of them are read nonetheless)
        else:
            assert "LastModified" in contents
            assert found is not None
            assert found.size_bytes == 7


@pytest.mark.parametrize(
    ("etag", "read"), [("<ETag/>", ""), ("<ETag>&quot;</ETag>", ""), ("<ETag>x</ETag>", "x")]
)
def test_a_listing_with_a_broken_etag_tells_what_it_can(etag: str, read: str) -> None:
    entry = f"<Contents>{ENTRY}<Size>7</Size>{etag}</Contents>"
    page = f"<ListBucketResult><Name>bucket</Name>{entry}</ListBucketResult>"
    with ScriptedServer(http_answer(200, page, **S3_HEADERS)) as server:
        found = store_at(server.url).find(KEY).result()
    assert found is not None
    assert found.etag == read
