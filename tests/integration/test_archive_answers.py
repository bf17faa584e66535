"""What a reader of a bucket is told when something is wrong, and what is tried again."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shipper.core.destinations import Destination
from shipper.core.types import ObjectKey
from shipper.edges.s3.archive import ATTEMPTS, BucketArchive
from shipper.ports import PortError
from tests.fakes.servers import Answer, Moto, ScriptedServer, http_answer

KEY = ObjectKey("logs/a.log")
ID = {"x_amz_request_id": "R-1"}
Opened = Callable[..., BucketArchive]
ROLE = "role_arn = arn:aws:iam::123456789012:role/reader"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Opened]:
    """Archives of somebody whose credentials come from the environment; no wait is long."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", _no_wait)
    with ExitStack() as stack:

        def opened(url: str = "", **options: Any) -> BucketArchive:
            where = Destination(options.pop("bucket", "bucket"), endpoint_url=url)
            return stack.enter_context(BucketArchive(where, **options))

        yield opened


def _no_wait(self: object, context: object) -> float:
    return 0.0


@pytest.fixture
def server() -> Iterator[Callable[..., ScriptedServer]]:
    with ExitStack() as stack:

        def start(*script: bytes | Answer, **options: Any) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(*script, **options))

        yield start


Start = Callable[..., ScriptedServer]


def error(status: int, code: str, more: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>"
    return http_answer(status, body, **ID)


def cut_short(body: bytes, sent: int, status: int = 200) -> bytes:
    whole = http_answer(status, body.decode(), ETag='"e1"', **ID)
    return whole[: len(whole) - len(body) + sent]


def test_who_has_no_credentials_is_told_to_sign_in_and_the_instance_is_not_asked(
    opened: Opened, server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    instance, bucket = server(), server()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url)

    with pytest.raises(PortError, match="NoCredentials") as caught:
        list(opened(bucket.url).listed("logs/"))

    assert "aws sso login" in caught.value.hint
    assert instance.requests == bucket.requests == []


def test_a_profile_that_does_not_exist_is_named(opened: Opened) -> None:
    with pytest.raises(PortError, match=r"NoProfile.*nobody"):
        opened(profile="nobody")


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("credential_process = /bin/echo hello", "Expecting value"),
        ("credential_process = /no/such/program", "/no/such/program"),
        (f"{ROLE}\nweb_identity_token_file = /no/such/token", "/no/such/token"),
        (f"{ROLE}\nsource_profile = gone", '"gone"'),
        ("] [broken", "Unable to parse config file"),
        ("region = x y", "x y"),
    ],
)
def test_settings_that_cannot_be_used_are_no_trouble_of_the_network(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str, said: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile odd]\n{profile}\n")
    with pytest.raises(PortError, match="InvalidRequest") as caught:
        list(opened("http://127.0.0.1:1", profile="odd").listed(""))
    assert said in caught.value.detail
    assert "~/.aws/config" in caught.value.hint


@pytest.mark.parametrize("url", ["foo", "http://[::1"])
def test_an_endpoint_that_is_none_is_said(opened: Opened, url: str) -> None:
    with pytest.raises(PortError, match="InvalidRequest") as caught:
        opened(url)
    assert "--endpoint-url" in caught.value.hint


def test_an_sso_session_that_was_not_begun_says_how_to_begin_it(
    opened: Opened, server: Start, tmp_path: Path
) -> None:
    lines = (
        "[profile reader]",
        "sso_start_url = https://example.awsapps.com/start",
        "sso_region = us-east-1",
        "sso_account_id = 123456789012",
        "sso_role_name = Reader",
    )
    (tmp_path / "config").write_text("\n".join(lines))

    with pytest.raises(PortError, match="NoCredentials") as caught:
        list(opened(server().url, profile="reader").listed(""))
    assert "aws sso login" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (error(403, "AccessDenied"), "AccessDenied", "shipper iam reader"),
        (error(404, "NoSuchBucket"), "NoSuchBucket", "--bucket"),
        (error(400, "ExpiredToken"), "ExpiredToken", "aws sso login"),
        (error(403, "InvalidAccessKeyId"), "InvalidAccessKeyId", "--profile"),
        (error(418, "IAmATeapot"), "IAmATeapot", ""),
        (http_answer(200, "<html>sign in here</html>"), "NotS3", "captive portal"),
        (http_answer(200, "<ListBucketResult/>"), "NotS3", "captive portal"),
        (http_answer(200, "<Other/>", **ID), "NotS3", "captive portal"),
    ],
)
def test_what_s3_refuses_is_said_with_what_a_reader_can_do(
    opened: Opened, server: Start, answer: bytes, code: str, hint: str
) -> None:
    one = server(otherwise=lambda request: answer)

    with pytest.raises(PortError, match=code) as caught:
        list(opened(one.url).listed("logs/"))

    assert hint in caught.value.hint
    assert "destination." not in caught.value.hint


def test_a_bucket_in_another_region_is_followed_there(opened: Opened, server: Start) -> None:
    listing = "<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>"
    moved = error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    one = server(moved, http_answer(200, listing, **ID))

    assert list(opened(one.url).listed("logs/")) == []

    scopes = [request.headers["authorization"].split("/")[2] for request in one.requests]
    assert scopes == ["us-east-1", "eu-west-1"]


def test_a_redirect_without_a_region_ends(opened: Opened, server: Start) -> None:
    one = server(otherwise=lambda request: http_answer(301, "", **ID))

    with pytest.raises(PortError, match=r"PermanentRedirect|NotS3"):
        list(opened(one.url).listed("logs/"))


def test_trouble_of_s3_is_tried_again(opened: Opened, server: Start) -> None:
    body = http_answer(200, "body", ETag='"e1"', **ID)
    one = server(error(503, "SlowDown"), error(500, "InternalError"), Answer.RESET, body)

    assert b"".join(opened(one.url).read(KEY)) == b"body"


def test_a_body_that_breaks_off_is_taken_up_where_it_ended_if_it_is_still_the_same(
    opened: Opened, server: Start
) -> None:
    rest = http_answer(206, "6789", ETag='"e1"', **ID)
    one = server(cut_short(b"0123456789", 6), rest)

    assert b"".join(opened(one.url).read(KEY)) == b"0123456789"

    again = one.requests[1].headers
    assert (again["range"], again["if-match"]) == ("bytes=6-", '"e1"')


def test_a_body_that_was_written_again_meanwhile_is_changed(opened: Opened, server: Start) -> None:
    one = server(cut_short(b"0123456789", 6), error(412, "PreconditionFailed"))

    with pytest.raises(PortError, match="Changed"):
        list(opened(one.url).read(KEY))


def test_a_body_that_never_comes_is_given_up(opened: Opened, server: Start) -> None:
    one = server(otherwise=lambda request: cut_short(b"0123456789", 0))

    with pytest.raises(PortError, match=r"Unreachable.*GetObject"):
        list(opened(one.url).read(KEY))
    assert len(one.requests) == ATTEMPTS


def test_a_whole_body_in_place_of_a_range_is_refused(opened: Opened, server: Start) -> None:
    one = server(http_answer(200, "0123456789", ETag='"e1"', **ID))

    with pytest.raises(PortError, match=r"NotS3.*range"):
        list(opened(one.url).read(KEY, start=3))


def test_a_body_that_is_not_what_s3_has_a_checksum_of_is_refused(
    opened: Opened, server: Start
) -> None:
    one = server(http_answer(200, "body", ETag='"e1"', x_amz_checksum_crc32="AAAAAA==", **ID))

    with pytest.raises(PortError, match="ChecksumMismatch"):
        list(opened(one.url).read(KEY))


def test_nobody_there_is_unreachable_and_silence_a_timeout(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PortError, match="Unreachable") as caught:
        list(opened("http://127.0.0.1:9").listed(""))
    assert "--endpoint-url" in caught.value.hint

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", _silence, raising=True)
    with pytest.raises(PortError, match="Timeout"):
        list(opened("http://127.0.0.1:9").listed(""))


def _silence(self: object, request: Any) -> None:
    from botocore.exceptions import ReadTimeoutError

    raise ReadTimeoutError(endpoint_url=request.url)


def test_objects_of_intelligent_tiering_are_restored_without_days(
    opened: Opened, server: Start
) -> None:
    told = "<StorageClass>INTELLIGENT_TIERING</StorageClass>"
    one = server(error(403, "InvalidObjectState", told))

    with pytest.raises(PortError, match=r"InvalidObjectState.*logs/a\.log") as caught:
        list(opened(one.url).read(KEY))
    assert "--restore-request '{}'" in caught.value.hint


def test_a_bucket_s_owner_is_demanded_where_it_is_configured(
    server: Start, opened: Opened
) -> None:
    one = server(http_answer(200, "body", ETag='"e1"', **ID))
    where = Destination("bucket", endpoint_url=one.url, expected_bucket_owner="123456789012")

    with BucketArchive(where) as archive:
        assert list(archive.read(KEY)) == [b"body"]
    assert one.requests[0].headers["x-amz-expected-bucket-owner"] == "123456789012"


def test_a_name_that_no_bucket_has_is_said_before_anything_is_sent(
    opened: Opened, moto: Moto
) -> None:
    with pytest.raises(PortError, match=r"InvalidRequest.*bucket name"):
        list(opened(moto.url, bucket="no/such name").listed(""))
