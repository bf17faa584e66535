"""Our signer says what botocore's own says."""

import datetime
from collections.abc import Mapping
from typing import Any

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.core.types import RoleCredentials
from shipper.edges.http_client.body import Body
from shipper.edges.s3.signer import Signer

NOW = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC)
ADDRESS = "https://logs-bucket.s3.eu-central-1.amazonaws.com"
names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@pytest.fixture(scope="module", autouse=True)
def one_moment() -> Any:
    """Signatures of one moment can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
        yield


def signed_by_botocore(headers: Mapping[str, str], target: str, *, hashes: bool) -> dict[str, str]:
    """The headers after signing."""
    request = AWSRequest("PUT", ADDRESS + target, headers, bytearray(b"a line\n"))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": hashes})
    credentials = ReadOnlyCredentials("ASIAEXAMPLE", "secret", "session")
    S3SigV4Auth(credentials, "s3", "eu-central-1").add_auth(request)
    return dict(request.headers.items())


@given(
    headers=st.dictionaries(names, values, max_size=8),
    target=st.sampled_from(
        ["/app.log.1.zst", "/a%20b", "/a?partNumber=1&uploadId=x", "/?list-type=2", "/a?uploads"]
    ),
    hashes=st.booleans(),
)
@example(headers={"x-amz-meta-a": "1", "x-amz-meta-a-b": "2"}, target="/a", hashes=True)
@example(headers={"User-Agent": "not signed", "Expect": "100-continue"}, target="/a", hashes=False)
@example(headers={"x-amz-meta-a": "  two   spaces  "}, target="/a", hashes=False)
def test_it_signs_as_botocore_does(headers: dict[str, str], target: str, hashes: bool) -> None:
    headers = {name: text for name, text in headers.items() if name.lower() != "host"}
    headers["Host"] = ADDRESS.removeprefix("https://")
    if len({name.lower() for name in headers}) == len(headers):
        role = RoleCredentials("ASIAEXAMPLE", "secret", "session", 0.0)
        signer, ours = Signer(lambda: role, lambda _: NOW.timestamp(), hashes=hashes), {**headers}
        body = Body(b"a line\n")
        signer.sign("PUT", target, ours, body, region="eu-central-1", service="s3")
        assert ours == signed_by_botocore(headers, target, hashes=hashes)
        assert bytes(body.read()) == b"a line\n"


def test_another_secret_or_day_is_another_signature() -> None:
    """Keys that were derived are kept."""
    secret, days = ["one"], [0.0]
    signer = Signer(
        lambda: RoleCredentials("AK", secret[0], "", 0.0), lambda _: days[0], hashes=False
    )

    def signature() -> str:
        headers = {"Host": "h"}
        signer.sign("GET", "/", headers, Body(b""), region="r", service="s3")
        return headers["Authorization"]

    first = signature()
    secret[0] = "another"
    second = signature()
    days[0] = 86400.0
    third = signature()
    secret[0], days[0] = "one", 0.0
    assert signature() == first
    assert len({first, second, third}) == 3
