"""The mocked metadata service: as strict as IMDSv2, and understood by botocore itself.

Credentials live by the machine's clock, which no test can move: the tests change the life
instead, so that its half lies before or behind what is left.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.utils import InstanceMetadataFetcher

from shipper.cli.main import main
from shipper.demo.children import Child, start_imds
from shipper.edges.clock import SystemClock
from shipper.edges.imds.client import ImdsMetadata
from shipper.mock.imds import EXTENDED, LEGACY, TOKEN_HEADER, TTL_HEADER, Facts, Keys, MockImds
from tests.machines.asker import Asker

IDENTITY = "/latest/dynamic/instance-identity/document"
INFO = "/latest/meta-data/iam/info"
TAGS = "/latest/meta-data/tags/instance/"
OURS = ["--access-key-id", "AKOURS", "--secret-access-key", "ours", "--session-token", "session"]
LIFE = 21600.0
HUGE = pytest.param("9" * 5000, id="huge")


@pytest.fixture(scope="module")
def server() -> Iterator[MockImds]:
    """One for all, because its end takes half a second."""
    with MockImds() as running:
        yield running


@pytest.fixture
def service(server: MockImds) -> MockImds:
    """As if it had just been started."""
    server.facts = Facts(lifetime_seconds=LIFE)
    server.fault = lambda method, path: None
    server.forget_tokens()
    server.rotate()
    server.requests.clear()
    server.issued.clear()
    return server


@pytest.fixture
def asker(service: MockImds) -> Asker:
    return Asker(service.url)


@pytest.mark.parametrize("path", [LEGACY, EXTENDED, IDENTITY, INFO, "/", "/latest/nothing"])
@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "unknown"}])
def test_no_path_is_answered_without_a_token_it_gave(
    asker: Asker, path: str, headers: dict[str, str]
) -> None:
    answered = asker.ask("GET", path, **headers)
    assert (answered.status, answered.body) == (401, "Unauthorized")


def test_a_token_opens_every_path_and_its_life_is_told(asker: Asker) -> None:
    given = asker.token("300")
    assert (given.status, given.headers[TTL_HEADER]) == (200, "300")
    answered = asker.ask("GET", IDENTITY, **{TOKEN_HEADER: given.body})
    assert answered.status == 200
    assert 290 <= int(answered.headers[TTL_HEADER]) <= 300


def test_an_expired_token_is_like_an_unknown_one(service: MockImds, asker: Asker) -> None:
    token = asker.token("1").body
    service.tokens[token] -= 1.0
    assert asker.ask("GET", IDENTITY, **{TOKEN_HEADER: token}).status == 401


def test_forgotten_tokens_are_unknown_and_new_ones_are_not(
    service: MockImds, asker: Asker
) -> None:
    token = asker.token().body
    service.forget_tokens()
    assert asker.ask("GET", IDENTITY, **{TOKEN_HEADER: token}).status == 401
    assert asker.get(IDENTITY).status == 200


@pytest.mark.parametrize("ttl", ["1", "21600"])
def test_a_token_may_live_from_a_second_to_six_hours(asker: Asker, ttl: str) -> None:
    assert asker.token(ttl).status == 200


@pytest.mark.parametrize(
    "ttl", ["", "0", "21601", "-1", "+5", "1.5", "six", "1 1", "\u00b2", HUGE]
)
def test_any_other_life_is_a_bad_request(service: MockImds, asker: Asker, ttl: str) -> None:
    answered = asker.token(ttl)
    assert answered.status == 400
    assert TTL_HEADER not in answered.headers
    assert service.tokens == {}


def test_a_life_must_be_given(asker: Asker) -> None:
    assert asker.ask("PUT", "/latest/api/token").status == 400


def test_a_forwarded_request_gets_no_token(service: MockImds, asker: Asker) -> None:
    assert asker.token(x_forwarded_for="10.0.0.1").status == 403
    assert service.tokens == {}


def test_only_the_token_can_be_put(asker: Asker) -> None:
    assert asker.ask("PUT", IDENTITY, **{TTL_HEADER: "60"}).status == 405


def test_requests_are_counted_with_and_without_a_token(service: MockImds, asker: Asker) -> None:
    asker.ask("GET", INFO)
    asker.get(INFO)
    asker.get(INFO)
    assert service.requests == {
        ("GET", INFO, False): 1,
        ("GET", INFO, True): 2,
        ("PUT", "/latest/api/token", False): 2,
    }


def test_a_fault_comes_before_everything_else(service: MockImds, asker: Asker) -> None:
    service.fault = lambda method, path: (307, "/elsewhere") if path == INFO else None
    answered = asker.ask("GET", INFO)
    assert (answered.status, answered.headers["location"]) == (307, "/elsewhere")
    assert asker.get(IDENTITY).status == 200


def test_the_identity_document_tells_the_facts(service: MockImds, asker: Asker) -> None:
    service.facts = Facts(instance_id="i-9", account_id="9", region="eu-north-1")
    found = asker.get(IDENTITY).document
    told = [found[name] for name in ("instanceId", "accountId", "region", "availabilityZone")]
    assert told == ["i-9", "9", "eu-north-1", "eu-north-1a"]
    service.facts.availability_zone = "eu-north-1-hel-1a"
    assert asker.get(IDENTITY).document["availabilityZone"] == "eu-north-1-hel-1a"


def test_the_role_is_listed_and_described_on_both_paths(asker: Asker) -> None:
    assert (asker.get(LEGACY).body, asker.get(EXTENDED).body) == ("shipper", "shipper")
    legacy, extended = (asker.get(path + "shipper").document for path in (LEGACY, EXTENDED))
    assert (legacy["Code"], legacy["Type"]) == ("Success", "AWS-HMAC")
    for document in (legacy, extended):
        assert datetime.fromisoformat(document.pop("LastUpdated")).tzinfo is not None
    assert extended == legacy | {"AccountId": "123456789012"}


def test_a_service_without_the_extended_path_still_has_the_other(
    service: MockImds, asker: Asker
) -> None:
    service.facts.has_extended = False
    assert asker.get(EXTENDED).status == 404
    assert asker.get(EXTENDED + "shipper").status == 404
    assert asker.get(LEGACY + "shipper").status == 200


def test_another_role_is_not_found_and_a_quoted_name_is_the_same(
    service: MockImds, asker: Asker
) -> None:
    service.facts.role = "log+ship@web"
    assert asker.get(LEGACY + "shipper").status == 404
    assert asker.get(LEGACY + "log%2Bship%40web").status == 200


def test_without_a_role_there_is_no_profile_either(service: MockImds, asker: Asker) -> None:
    assert asker.get(INFO).document["InstanceProfileArn"].endswith(":instance-profile/shipper")
    service.facts.role = ""
    paths = [INFO, LEGACY, EXTENDED, LEGACY + "shipper"]
    assert [asker.get(path).status for path in paths] == [404] * 4


def test_a_role_document_may_be_given_as_it_is(service: MockImds, asker: Asker) -> None:
    service.facts.role_document = {"Code": "AssumeRoleUnauthorizedAccess"}
    answered = asker.get(LEGACY + "shipper")
    assert (answered.status, answered.document) == (200, service.facts.role_document)
    assert service.issued == []


def test_tags_are_there_when_they_are_set(service: MockImds, asker: Asker) -> None:
    assert asker.get(TAGS + "Name").status == 404
    service.facts.tags = {"Name": "web 1", "cost+center": "42"}
    assert asker.get(TAGS + "Name").body == "web 1"
    assert asker.get(TAGS + "cost%2Bcenter").body == "42"


def test_more_paths_may_be_given(service: MockImds, asker: Asker) -> None:
    path = "/latest/meta-data/spot/instance-action"
    assert asker.get(path).status == 404
    service.facts.extra[path] = '{"action": "stop"}'
    assert (asker.get(path).status, asker.get(path).body) == (200, '{"action": "stop"}')


def test_credentials_live_as_long_as_they_are_told_to(service: MockImds, asker: Asker) -> None:
    service.facts.lifetime_seconds = 90.0
    before = time.time()
    answered = asker.get(LEGACY + "shipper")
    assert before + 89.9 <= answered.expires_at <= time.time() + 90.1
    assert datetime.fromisoformat(answered.document["Expiration"]).tzinfo == UTC


def test_credentials_are_new_once_half_of_their_life_is_over(
    service: MockImds, asker: Asker
) -> None:
    old = asker.get(LEGACY + "shipper")
    service.facts.clock_offset_seconds = 0.4 * LIFE
    same = asker.get(LEGACY + "shipper")
    assert same.document["Token"] == old.document["Token"]
    assert same.expires_at == old.expires_at

    service.facts.clock_offset_seconds = 0.6 * LIFE
    new = asker.get(EXTENDED + "shipper")
    assert old.expires_at > time.time()
    assert new.expires_at > old.expires_at
    members = ("AccessKeyId", "SecretAccessKey", "Token")
    assert all(new.document[name] != old.document[name] for name in members)
    assert [keys.session_token for keys in service.issued] == [
        old.document["Token"],
        new.document["Token"],
    ]


def test_rotation_can_be_forced(service: MockImds, asker: Asker) -> None:
    old = asker.get(LEGACY + "shipper").document["Token"]
    service.rotate()
    assert asker.get(LEGACY + "shipper").document["Token"] != old


def test_given_keys_are_handed_out_always_and_not_shown(service: MockImds, asker: Asker) -> None:
    service.facts.keys = Keys("AKGIVEN", "given-secret", "given-session")
    for _ in range(2):
        document = asker.get(LEGACY + "shipper").document
        assert document["AccessKeyId"] == "AKGIVEN"
        assert (document["SecretAccessKey"], document["Token"]) == (
            "given-secret",
            "given-session",
        )
        service.rotate()
    assert "given-se" not in repr(service.facts)


def test_botocore_understands_it(service: MockImds, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    fetcher = InstanceMetadataFetcher(timeout=10, base_url=service.url, env={})
    found = fetcher.retrieve_iam_role_credentials()
    (issued,) = service.issued
    assert found["role_name"] == "shipper"
    assert (found["access_key"], found["secret_key"], found["token"]) == (
        issued.access_key_id,
        issued.secret_access_key,
        issued.session_token,
    )
    expires_at = datetime.fromisoformat(found["expiry_time"]).timestamp()
    assert expires_at == pytest.approx(time.time() + LIFE, abs=60)
    assert all(had_token for method, _, had_token in service.requests if method == "GET")


@contextmanager
def program(directory: Path, *options: str) -> Iterator[tuple[Child, str]]:
    """``shipper mock-imds`` as a child process, and its URL."""
    child, url = start_imds(str(directory), *options)
    try:
        yield child, url
    finally:
        child.kill()


def test_the_program_answers_with_what_it_was_told_and_ends_at_sigterm(tmp_path: Path) -> None:
    options = ["--role", "web", "--instance-id", "i-9", "--region", "eu-north-1", *OURS]
    options += ["--account-id", "9", "--lifetime", "10m", "--tag", "Name=a=b", "--tag", "Empty="]
    with program(tmp_path, *options) as (child, url):
        assert url.startswith("http://127.0.0.1:")
        metadata = ImdsMetadata(url, SystemClock())
        assert metadata.instance().instance_id == "i-9"
        assert metadata.instance().availability_zone == "eu-north-1a"
        found = metadata.credentials()
        assert (found.role, found.account_id, found.access_key_id) == ("web", "9", "AKOURS")
        assert (found.secret_access_key, found.session_token) == ("ours", "session")
        assert found.expires_at == pytest.approx(time.time() + 600, abs=60)
        assert metadata.get("meta-data/tags/instance/Name") == "a=b"
        assert metadata.get("meta-data/tags/instance/Empty") == ""
        assert child.stop() == 0
    assert child.lines()[0] == f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={url}"
    assert not any("ours" in line for line in child.lines())


def test_the_program_makes_keys_up_when_it_is_given_none(tmp_path: Path) -> None:
    with program(tmp_path) as (_, url):
        found = ImdsMetadata(url, SystemClock()).credentials()
    assert found.access_key_id.startswith("ASIA")
    assert found.expires_at == pytest.approx(time.time() + LIFE, abs=60)


def test_the_program_listens_on_loopback_when_no_host_is_named(tmp_path: Path) -> None:
    with program(tmp_path, "--listen", ":0") as (_, url):
        assert url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "options",
    [
        ["--listen", "127.0.0.1:port"],
        ["--listen", "127.0.0.1:0", "--lifetime", "soon"],
        ["--listen", "127.0.0.1:0", "--tag", "Name"],
    ],
)
def test_an_option_that_makes_no_sense_is_explained(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mock-imds", *options]) == 1
    said = capsys.readouterr().err
    assert "BadOption" in said
    assert "hint: --listen 127.0.0.1:1338" in said


def test_a_port_that_is_taken_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["mock-imds", "--listen", f"127.0.0.1:{port}"]) == 1
    assert "Address already in use" in capsys.readouterr().err
