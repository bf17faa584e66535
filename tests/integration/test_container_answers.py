"""What ContainerMetadata makes of every token, refusal and oddity, over real HTTP."""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shipper.edges.http_client.transfer import Limits, exchange
from shipper.edges.imds.answers import SECRETS
from shipper.edges.imds.asking import BACKOFF, BODY_BYTES, REQUESTS_A_MINUTE
from shipper.edges.imds.container import ContainerMetadata, Place, place_from
from shipper.mock.facts import CONTAINER, TASK, Facts
from shipper.mock.imds import MockImds
from shipper.ports import PortError
from shipper.runtime.logs import Redactor
from tests.fakes.clock import FakeClock
from tests.fakes.servers import Answer, ScriptedServer, http_answer

SECRET, SESSION, WORD = "the-secret-access-key", "the-session-token", "the-authorization-word"
GOOD: dict[str, Any] = {
    "AccessKeyId": "AK",
    "SecretAccessKey": SECRET,
    "Token": SESSION,
    "Expiration": "2030-01-01T00:00:00Z",
    "RoleArn": "arn:aws:iam::123456789012:role/path/logs",
}
Ask = Callable[..., ContainerMetadata]


@pytest.fixture(scope="module")
def service() -> Iterator[MockImds]:
    with MockImds(is_container=True) as running:
        yield running


@pytest.fixture
def ask(service: MockImds) -> Ask:
    """Makes one that asks the mock, or the URL that is given; ``pauses`` are not waited."""
    service.facts, service.fault = Facts(authorization=WORD), lambda method, path: None
    service.requests.clear()
    service.rotate()

    def make(place: Place | None = None, **options: Any) -> ContainerMetadata:
        options = {"wait": lambda seconds: False} | options
        found = place or place_from(service.container_environment)
        return ContainerMetadata(found, FakeClock(), **options)

    return make


def failure(metadata: ContainerMetadata) -> PortError:
    with pytest.raises(PortError) as caught:
        metadata.credentials()
    for secret in (SECRET, SESSION, WORD, "/v2/credentials"):
        assert secret not in repr(caught.value)
    return caught.value


def answered(*answers: bytes | Answer) -> ScriptedServer:
    return ScriptedServer(*answers)


def at(server: ScriptedServer, **more: str) -> Place:
    return Place(f"{server.url}/v2/credentials/1", f"{server.url}/v4/1", **more)


def with_members(**members: Any) -> bytes:
    document = {**GOOD, **members}
    return http_answer(200, json.dumps({k: v for k, v in document.items() if v is not ...}))


def test_role_and_account_come_from_the_role_arn(ask: Ask) -> None:
    with answered(with_members()) as server:
        found = ask(at(server)).credentials()
    assert (found.role, found.account_id, found.access_key_id) == ("logs", "123456789012", "AK")
    assert found.expires_at == 1_893_456_000.0


@pytest.mark.parametrize("arn", [..., "", "arn:aws:iam::1:user/x", 7])
def test_where_no_role_is_told_the_account_of_pod_identity_is_enough(ask: Ask, arn: Any) -> None:
    with answered(with_members(RoleArn=arn, AccountId="210987654321")) as server:
        found = ask(at(server)).credentials()
    assert (found.role, found.account_id) == ("", "210987654321")


def test_the_token_goes_to_the_credentials_alone(ask: Ask) -> None:
    task = {"TaskARN": "arn:aws-cn:ecs:cn-north-1:123456789012:task/0a1b"}
    with answered(with_members(), http_answer(200, json.dumps(task))) as server:
        metadata = ask(at(server, token=WORD))
        metadata.credentials()
        found = metadata.instance()
        first, second = server.requests
    assert (first.method, first.target) == ("GET", "/v2/credentials/1")
    assert first.headers["authorization"] == WORD
    assert (second.method, second.target) == ("GET", "/v4/1/task")
    assert "authorization" not in second.headers
    assert (found.instance_id, found.region, found.availability_zone) == ("0a1b", "cn-north-1", "")


def test_without_a_token_none_is_sent(ask: Ask) -> None:
    with answered(with_members()) as server:
        ask(at(server)).credentials()
        assert "authorization" not in server.requests[0].headers


def test_a_token_file_counts_before_the_variable_and_is_read_again_each_time(
    ask: Ask, service: MockImds, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(WORD)
    environment = service.container_environment
    environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "another"
    environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(file)
    metadata = ask(place_from(environment))
    metadata.credentials()
    service.facts.authorization = "the-next-word"
    assert failure(metadata).code == "ContainerRefused"
    file.write_text("the-next-word")
    metadata.credentials()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "no token"),
        (b"word\n", "no token"),
        (b"wo\r\nrd", "no token"),
        (b" word", "no token"),
        ("w\u00f6rd".encode(), "no ASCII"),
        (b"x" * (16 * 1024 + 1), "no token"),
    ],
)
def test_a_token_file_without_a_usable_token_is_said_and_nothing_is_asked(
    ask: Ask, service: MockImds, tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    place = Place(service.url + CONTAINER, token_file=str(file))
    error = failure(ask(place))
    assert error.code == "BadAuthorization"
    assert says in error.detail
    assert str(file) in error.detail
    assert not content or content.decode() not in error.detail
    assert service.asked() == {}


@pytest.mark.parametrize(
    ("place", "status"),
    [({"token": ""}, 401), ({"token": "wrong"}, 403), ({"credentials_url": "/other"}, 404)],
)
def test_the_strict_mock_refuses_what_is_not_right(
    ask: Ask, service: MockImds, place: dict[str, str], status: int
) -> None:
    url = service.url + place.get("credentials_url", CONTAINER)
    error = failure(ask(Place(url, token=place.get("token", WORD))))
    assert (error.code, error.status) == ("ContainerRefused", status)
    assert "authorization token" in error.hint
    assert service.requests.total() == 1, "a refusal is not repeated at once"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "HEAD"])
def test_the_strict_mock_knows_one_method_and_no_path_of_imds(
    service: MockImds, method: str
) -> None:
    host = service.url.removeprefix("http://")
    for path, status in ((CONTAINER, 405), (TASK, 405)):
        connection = http.client.HTTPConnection(host)
        connection.request(method, path, headers={"Authorization": WORD})
        assert connection.getresponse().status == status
        connection.close()
    connection = http.client.HTTPConnection(host)
    connection.request("GET", "/latest/meta-data/")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            '{"code": "InvalidIdInRequest", "message": "ID not found"}',
            "InvalidIdInRequest: ID not",
        ),
        ('{"code": "X", "message": "\\u001b[1m line\\nline"}', "X: "),
        ("[x]: (ResourceNotFoundException): no association", "ResourceNotFoundException"),
        ("[1]", "[1]"),
        ("", "HTTP 400"),
        ("x" * 5000, "xxx"),
    ],
)
def test_a_refusal_is_told_in_the_endpoints_own_words_and_in_one_line(
    ask: Ask, body: str, says: str
) -> None:
    with answered(http_answer(400, body)) as server:
        error = failure(ask(at(server)))
    assert error.code == "ContainerRefused"
    assert says in error.detail
    assert "\n" not in error.detail
    assert "\x1b" not in error.detail
    assert len(error.detail) < 700


def test_a_refusal_that_repeats_the_token_is_told_without_it(ask: Ask) -> None:
    redactor = Redactor()
    said = json.dumps({"code": "AccessDenied", "message": f"token {WORD} is unknown"})
    with answered(http_answer(403, said)) as server:
        options = {"learn": redactor.learn, "redact": redactor.text}
        error = failure(ask(at(server, token=WORD), **options))
    assert "token [redacted] is unknown" in error.detail
    assert redactor.text("at /v2/credentials/1") == "at [redacted]"


def test_the_path_is_redacted_after_every_renewal(ask: Ask) -> None:
    redactor, path = Redactor(), "/v2/credentials/7f3c9a1e-55d0-4b6f-9f0a-1c2d3e4f5a6b"
    said = f"no credentials for {path}, {path.rpartition('/')[2]}"
    renewals = Redactor.KEPT // len(SECRETS) + 1
    answers = [
        with_members(**{name: f"{name}-{number}-{'x' * 30}" for name in SECRETS})
        for number in range(renewals)
    ]
    clock = FakeClock()
    with answered(*answers, http_answer(400, said)) as server:
        place = Place(server.url + path)
        metadata = ContainerMetadata(place, clock, learn=redactor.learn, redact=redactor.text)
        for _ in range(renewals):
            metadata.credentials()
            clock.advance(seconds=60)
        detail = failure(metadata).detail
    assert detail == "HTTP 400: no credentials for [redacted], [redacted]"


def test_a_token_file_that_is_a_pipe_or_a_directory_is_refused_at_once(
    ask: Ask, service: MockImds, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, tmp_path):
        error = failure(ask(Place(service.url + CONTAINER, token_file=str(file))))
        assert error.code == "BadAuthorization"
        assert error.detail == f"{file}: it is no regular file"
    assert service.asked() == {}


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(200, ""),
        http_answer(200, "<html>Log in</html>"),
        http_answer(200, "[]"),
        http_answer(200, "\u00fc").replace("\u00fc".encode(), b"\xfc\xfc"),
        http_answer(200, "[" * 60000),
        http_answer(200, "x" * (BODY_BYTES + 1)),
        with_members(AccessKeyId=...),
        with_members(SecretAccessKey=7),
        with_members(Token=None),
        with_members(Token="a b"),
        with_members(Token=f"{SESSION}\n"),
        with_members(Expiration=...),
        with_members(Expiration="soon"),
        with_members(Expiration=1893456000),
        with_members(Expiration="10000-01-01T00:00:00Z"),
        with_members(AccountId="../x"),
    ],
    ids=range(16),
)
def test_nonsense_is_no_credentials_and_leads_to_the_address(ask: Ask, answer: bytes) -> None:
    with answered(*[answer] * BACKOFF.attempts) as server:
        error = failure(ask(at(server)))
    assert error.code == "BadAnswer"
    assert "container credentials endpoint" in error.hint


def test_empty_keys_are_the_helpers_way_to_say_that_it_has_none(ask: Ask) -> None:
    empty = with_members(AccessKeyId="", SecretAccessKey="", Token="")
    with answered(empty) as server:
        error = failure(ask(at(server)))
    assert error.code == "NotIssued"
    assert "aws_signing_helper serve" in error.hint


@pytest.mark.parametrize(
    "broken",
    [http_answer(500), http_answer(429), Answer.RESET, Answer.CLOSE, Answer.NEVER],
    ids=["500", "429", "reset", "close", "never"],
)
def test_an_endpoint_in_trouble_is_asked_a_few_times_and_may_answer_last(
    ask: Ask, broken: bytes | Answer
) -> None:
    impatient = partial(exchange, limits=Limits(answer_seconds=0.2))
    options = {} if broken is not Answer.NEVER else {"send": impatient}
    with answered(*[broken] * (BACKOFF.attempts - 1), with_members()) as server:
        assert ask(at(server), **options).credentials().role == "logs"
    with answered(*[broken] * BACKOFF.attempts) as server:
        error = failure(ask(at(server), **options))
    assert error.code == "Unreachable"
    assert "mock-imds --container" in error.hint


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(ask: Ask, status: int) -> None:
    with answered() as elsewhere, answered(http_answer(status, Location=elsewhere.url)) as server:
        error = failure(ask(at(server, token=WORD)))
        assert (error.code, error.status) == ("ContainerRefused", status)
        assert elsewhere.requests == []


def test_proxies_of_the_environment_are_not_used(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answered() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        ask().credentials()
        ask().instance()
        assert proxy.requests == []


@pytest.mark.parametrize(
    "task",
    [
        http_answer(404),
        http_answer(200, "{}"),
        http_answer(200, '{"TaskARN": "arn:aws:ecs:eu-west-1:1:task/x"}'),
        http_answer(200, '{"TaskARN": "arn:aws:ecs:eu-west-1:123456789012:service/x/y"}'),
        http_answer(
            200,
            '{"TaskARN": "arn:aws:ecs:eu-west-1:123456789012:task/c/x", "AvailabilityZone": "/"}',
        ),
        http_answer(200, "no"),
    ],
    ids=range(6),
)
def test_a_task_that_does_not_say_who_it_is_gets_no_name(ask: Ask, task: bytes) -> None:
    with answered(*[task] * BACKOFF.attempts) as server, pytest.raises(PortError) as caught:
        ask(at(server)).instance()
    assert caught.value.code == "BadAnswer"


def test_the_skew_is_told_by_the_answers_date(ask: Ask, service: MockImds) -> None:
    service.facts.clock_offset_seconds = 7200.0
    clock = FakeClock(time.time())
    place = place_from(service.container_environment)
    found = ContainerMetadata(place, clock, wait=lambda seconds: False).credentials()
    assert found.skew_seconds == pytest.approx(7200, abs=60)


def test_the_endpoint_is_never_asked_more_than_60_times_in_any_minute(
    ask: Ask, service: MockImds
) -> None:
    metadata = ask()
    for _ in range(REQUESTS_A_MINUTE):
        metadata.credentials()
    assert failure(metadata).code == "TooOften"
    assert service.requests.total() == REQUESTS_A_MINUTE


@pytest.mark.parametrize("profile", ["detached", "no-role", "deleted", "trust-broken"])
def test_a_task_whose_role_went_away_says_so(ask: Ask, service: MockImds, profile: Any) -> None:
    service.facts.profile = profile
    assert "InvalidIdInRequest" in failure(ask()).detail


def test_a_scenario_may_replace_any_answer(ask: Ask, service: MockImds) -> None:
    service.facts.role_document = {**GOOD, "AccessKeyId": "AKOTHER"}
    assert ask().credentials().access_key_id == "AKOTHER"
    service.facts.extra[CONTAINER] = "no JSON"
    assert failure(ask()).code == "BadAnswer"
