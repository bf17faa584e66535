"""What every ``Metadata`` does: the fake in memory, ImdsMetadata in front of the mocked IMDS, and
of what is not the instance's alone, ContainerMetadata in front of the mocked container endpoint.

How the real one gets there, and what it makes of odder answers, is in
``tests/integration/test_metadata_answers.py``.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import pytest

from shipper.core.types import Instance
from shipper.edges.clock import SystemClock
from shipper.edges.http_client.transfer import Limits, exchange
from shipper.edges.imds.client import TOKEN_HEADER, ImdsMetadata
from shipper.edges.imds.container import ContainerMetadata, place_from
from shipper.mock.facts import CONTAINER
from shipper.mock.imds import Facts, MockImds
from shipper.ports import Metadata, PortError
from tests.fakes.clock import FakeClock
from tests.fakes.metadata import FakeMetadata
from tests.fakes.servers import Answer, ScriptedServer

LIFE = timedelta(hours=6)
FOUND = Instance("i-1", "123456789012", "eu-central-1", "eu-central-1a")
PATH = "meta-data/spot/instance-action"
PATIENT = Limits(connect_seconds=20.0, answer_seconds=20.0)
NO_ANSWER = Limits(answer_seconds=0.05)

QUESTIONS = {
    "instance": lambda metadata: metadata.instance(),
    "credentials": lambda metadata: metadata.credentials(),
    "get": lambda metadata: metadata.get(PATH),
    "peek": lambda metadata: metadata.peek(PATH),
}
EVERY_QUESTION_FAILS_WITH = (
    "Unreachable",
    "HopLimit",
    "MetadataDisabled",
    "NotImdsV2",
    "BadAnswer",
)

each_question = pytest.mark.parametrize("question", QUESTIONS)


class Bench(Protocol):
    """A metadata service, and the hands that change what it says."""

    metadata: Metadata

    def now(self) -> float:
        """The time by which expiries are to be judged."""

    def say(self, path: str, text: str) -> None:
        """Answer a path with a text."""

    def pass_half_life(self) -> None:
        """A little more than half of the credentials' life is over."""

    def hand_out_expired(self) -> None:
        """The service itself has nothing better than what expired."""

    def break_with(self, code: str) -> None:
        """Fail in the way that has this code."""

    def mend(self) -> None:
        """Undo ``break_with``."""


class FakeBench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fake = FakeMetadata(self.clock, life=LIFE)
        self.metadata: Metadata = self.fake

    def now(self) -> float:
        return self.clock.now()

    def say(self, path: str, text: str) -> None:
        self.fake.texts[path] = text

    def pass_half_life(self) -> None:
        self.clock.advance(seconds=LIFE.total_seconds() / 2 + 1)

    def hand_out_expired(self) -> None:
        self.fake.credentials()
        self.fake.is_stuck = True
        self.clock.advance(seconds=LIFE.total_seconds() + 1)

    def break_with(self, code: str) -> None:
        self.fake.fail_with(code)

    def mend(self) -> None:
        self.fake.recover()


class ImdsBench:
    """``silent`` is a service that reads a request and never says a word."""

    def __init__(self, service: MockImds, silent: ScriptedServer) -> None:
        self.service = service
        self.silent = silent
        self.good = self._metadata_at(service.url)
        self.metadata: Metadata = self.good

    def _metadata_at(self, url: str) -> Metadata:
        limits = NO_ANSWER if url == self.silent.url else PATIENT
        return ImdsMetadata(
            url,
            SystemClock(),
            wait=lambda seconds: False,
            send=partial(exchange, limits=limits),
            is_in_container=lambda: True,
        )

    def now(self) -> float:
        return time.time()

    def say(self, path: str, text: str) -> None:
        self.service.facts.extra[f"/latest/{path}"] = text

    def pass_half_life(self) -> None:
        self.service.facts.clock_offset_seconds = LIFE.total_seconds() / 2 + 60

    def hand_out_expired(self) -> None:
        self.service.facts.role_document = {
            "Code": "Success",
            "AccessKeyId": "AK1",
            "SecretAccessKey": "secret-1",
            "Token": "session-1",
            "Expiration": "2020-01-01T00:00:00Z",
        }

    def break_with(self, code: str) -> None:
        self.service.forget_tokens()
        match code:
            case "HopLimit":
                self.metadata = self._metadata_at(self.silent.url)
            case "NoProfile":
                self.service.facts.role = ""
            case "RoleUnusable":
                self.service.facts.role_document = {"Code": "AssumeRoleUnauthorizedAccess"}
            case _:
                statuses = {"Unreachable": 503, "MetadataDisabled": 403, "NotImdsV2": 404}
                answer = statuses.get(code, 400), ""
                self.service.fault = lambda method, path: answer if method == "PUT" else None

    def mend(self) -> None:
        self.metadata = self.good
        self.service.facts = facts()
        self.service.fault = lambda method, path: None


def facts(**more: Any) -> Facts:
    return Facts(
        **more,
        instance_id=FOUND.instance_id,
        account_id=FOUND.account_id,
        region=FOUND.region,
        availability_zone=FOUND.availability_zone,
        lifetime_seconds=LIFE.total_seconds(),
    )


@pytest.fixture(scope="module")
def server() -> Iterator[MockImds]:
    """One for all, because its end takes half a second."""
    with MockImds() as running:
        yield running


@pytest.fixture
def imds_bench(server: MockImds) -> Iterator[ImdsBench]:
    server.requests.clear()
    server.rotate()
    with ScriptedServer(*[Answer.NEVER] * 4) as silent:
        made = ImdsBench(server, silent)
        made.mend()
        yield made
    gets = [had_token for method, _, had_token in server.requests if method == "GET"]
    gets += [TOKEN_HEADER in asked.headers for asked in silent.requests if asked.method == "GET"]
    assert all(gets), "a GET without a metadata token"


class ContainerBench(ImdsBench):
    """The same service, as a container sees it."""

    def _metadata_at(self, url: str) -> Metadata:
        environment = self.service.container_environment
        return ContainerMetadata(
            place_from(environment), SystemClock(), wait=lambda seconds: False
        )

    def break_with(self, code: str) -> None:
        statuses = {"Unreachable": 503, "ContainerRefused": 400}
        answer = statuses[code], ""
        self.service.fault = lambda method, path: answer

    def mend(self) -> None:
        self.service.facts = facts(authorization="the-authorization")
        self.service.fault = lambda method, path: None
        self.metadata = self._metadata_at(self.service.url)


@pytest.fixture(scope="module")
def container_server() -> Iterator[MockImds]:
    with MockImds(is_container=True) as running:
        yield running


@pytest.fixture
def container_bench(container_server: MockImds) -> Iterator[ContainerBench]:
    container_server.requests.clear()
    container_server.rotate()
    with ScriptedServer() as silent:
        made = ContainerBench(container_server, silent)
        made.mend()
        yield made
    asked = [(method, path) for method, path, had_token in container_server.requests if had_token]
    assert {("GET", CONTAINER)} >= set(asked), "the authorization token went elsewhere"


@pytest.fixture(params=["fake", "imds", "container"])
def source_bench(request: pytest.FixtureRequest) -> Bench:
    """Whatever gives credentials."""
    if request.param == "fake":
        return FakeBench()
    made: ImdsBench = request.getfixturevalue(f"{request.param}_bench")
    return made


@pytest.fixture(params=["fake", "imds"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "fake":
        return FakeBench()
    made: ImdsBench = request.getfixturevalue("imds_bench")
    return made


def test_the_instance_is_the_one_of_the_identity_document_or_the_task(source_bench: Bench) -> None:
    assert source_bench.metadata.instance() == FOUND


def test_the_credentials_are_complete_and_last(source_bench: Bench) -> None:
    found = source_bench.metadata.credentials()
    assert found.access_key_id
    assert found.secret_access_key
    assert found.session_token
    assert found.role == "shipper"
    assert found.account_id == FOUND.account_id
    assert found.expires_at - source_bench.now() == pytest.approx(LIFE.total_seconds(), abs=60)


def test_the_secrets_are_not_shown(source_bench: Bench) -> None:
    found = source_bench.metadata.credentials()
    assert found.access_key_id in repr(found)
    assert found.secret_access_key not in repr(found)
    assert found.session_token not in repr(found)


def test_the_credentials_stay_the_same_for_the_first_half_of_their_life(
    source_bench: Bench,
) -> None:
    assert source_bench.metadata.credentials() == source_bench.metadata.credentials()


def test_new_credentials_come_while_the_old_ones_still_hold(source_bench: Bench) -> None:
    old = source_bench.metadata.credentials()
    source_bench.pass_half_life()
    new = source_bench.metadata.credentials()
    assert old.expires_at > source_bench.now()
    assert new.expires_at > old.expires_at
    assert new.access_key_id != old.access_key_id
    assert new.secret_access_key != old.secret_access_key
    assert new.session_token != old.session_token


def test_credentials_that_look_expired_are_handed_on(source_bench: Bench) -> None:
    source_bench.hand_out_expired()
    found = source_bench.metadata.credentials()
    assert found.expires_at < source_bench.now()
    assert (found.access_key_id, found.session_token) == ("AK1", "session-1")


def test_a_path_has_the_text_that_the_service_says_now(bench: Bench) -> None:
    for text in ('{"action": "terminate"}', '{"action": "stop"}'):
        bench.say(PATH, text)
        assert bench.metadata.get(PATH) == text


def test_a_path_that_the_service_does_not_know_is_none(bench: Bench) -> None:
    bench.say(PATH, "something")
    assert bench.metadata.get("meta-data/tags/instance/Name") is None


@each_question
@pytest.mark.parametrize("code", EVERY_QUESTION_FAILS_WITH)
def test_a_broken_service_fails_every_question_with_its_code(
    bench: Bench, question: str, code: str
) -> None:
    bench.break_with(code)
    with pytest.raises(PortError) as caught:
        QUESTIONS[question](bench.metadata)
    assert caught.value.code == code


@pytest.mark.parametrize("code", ["NoProfile", "RoleUnusable"])
def test_an_unusable_role_fails_the_credentials_with_its_code(bench: Bench, code: str) -> None:
    bench.break_with(code)
    with pytest.raises(PortError) as caught:
        bench.metadata.credentials()
    assert caught.value.code == code


@pytest.mark.parametrize("code", [*EVERY_QUESTION_FAILS_WITH, "NoProfile", "RoleUnusable"])
def test_the_same_credentials_are_there_again_when_the_service_is_mended(
    bench: Bench, code: str
) -> None:
    before = bench.metadata.credentials()
    bench.break_with(code)
    with pytest.raises(PortError, match=code):
        bench.metadata.credentials()
    bench.mend()
    assert bench.metadata.credentials() == before
    assert bench.metadata.instance() == FOUND


@pytest.mark.parametrize("code", ["Unreachable", "ContainerRefused"])
def test_the_same_container_credentials_are_there_again_when_the_endpoint_is_mended(
    container_bench: ContainerBench, code: str
) -> None:
    before = container_bench.metadata.credentials()
    container_bench.break_with(code)
    with pytest.raises(PortError, match=code):
        container_bench.metadata.credentials()
    container_bench.mend()
    assert container_bench.metadata.credentials() == before


def test_a_container_has_no_other_metadata_and_nothing_is_asked_for_it(
    container_bench: ContainerBench,
) -> None:
    assert container_bench.metadata.get(PATH) is None
    assert container_bench.metadata.peek(PATH) is None
    assert container_bench.service.asked() == {}
