"""One AssumeRole hop, against moto's STS: a bucket that only another role may write."""

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shipper.core.backoff import CredentialsState
from shipper.core.object_keys import InstanceFacts
from shipper.core.types import RoleCredentials
from shipper.edges.sts import AssumedRole
from shipper.ports import PortError
from shipper.services.credentials import CredentialKeeper
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.punctual import Punctual
from tests.fakes.servers import ACCOUNT_ID, REGION, Moto, ScriptedServer, http_answer, moto_server
from tests.machines.instance import Instance, keys_of

Make = Callable[..., Instance]
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/writer"
BASE = RoleCredentials("AKBASE", "base-secret", "base-session", expires_at=4e9)
HERE = InstanceFacts(prefix="", instance_id="i-1", region=REGION)


def assumed(url: str, **changes: Any) -> AssumedRole:
    options: dict[str, Any] = {
        "role_arn": ROLE,
        "external_id": "",
        "facts": lambda: HERE,
        "base": lambda: BASE,
        "refused": lambda: None,
        "clock": FakeClock(),
        "endpoint_url": url,
    }
    return AssumedRole(**(options | changes))


def refusal(code: str, status: int = 403) -> bytes:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
        f"<Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
        "<RequestId>r-1</RequestId></ErrorResponse>"
    )
    return http_answer(status, body, Content_Type="text/xml", x_amzn_RequestId="r-1")


def test_the_role_is_assumed_with_the_instances_credentials_and_named_after_it(
    own_moto: Moto,
) -> None:
    found = assumed(own_moto.url, external_id="a-secret-word").credentials()
    assert found.access_key_id.startswith("ASIA")
    assert (found.role, found.account_id) == (ROLE, ACCOUNT_ID)
    assert found.expires_at > found.issued_at > 0
    who = own_moto.client_as("sts", found).get_caller_identity()
    assert who["Arn"].endswith("assumed-role/writer/i-1")


ASSUMED = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    "<Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
    "<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>"
)


def taken() -> bytes:
    return http_answer(200, ASSUMED, Content_Type="text/xml", x_amzn_RequestId="r-1")


@pytest.mark.parametrize("hours", [-26.0, 26.0])
def test_a_wrong_clock_costs_one_request_and_the_next_is_signed_with_awss_time(
    hours: float,
) -> None:
    clock, aws = FakeClock(time.time() + 3600 * hours), Punctual(taken, refusal)
    with ScriptedServer(otherwise=aws.answer) as server:
        role = assumed(server.url, clock=clock)
        with pytest.raises(PortError, match="SignatureDoesNotMatch"):
            role.credentials()
        found = role.credentials()
        clock.set_wall(time.time() - 3600 * hours)
        role.credentials()
    assert found.access_key_id == "ASIAX"
    assert found.skew_seconds == pytest.approx(-3600 * hours, abs=60)
    assert aws.refused == 1


@pytest.mark.parametrize("hours", [-26.0, 26.0])
def test_a_role_is_assumed_at_once_where_the_metadata_service_told_the_time(hours: float) -> None:
    clock, aws = FakeClock(time.time() + 3600 * hours), Punctual(taken, refusal)
    base = replace(BASE, skew_seconds=-3600 * hours)
    with ScriptedServer(otherwise=aws.answer) as server:
        assumed(server.url, clock=clock, base=lambda: base).credentials()
    assert aws.refused == 0


def test_what_is_asked_for_is_an_hour_with_the_external_id() -> None:
    with ScriptedServer(refusal("AccessDenied")) as server:
        with pytest.raises(PortError):
            assumed(server.url, external_id="a-word").credentials()
        [request] = server.requests
    assert b"DurationSeconds=3600" in request.body
    assert b"ExternalId=a-word" in request.body
    assert "AKBASE" in request.headers["authorization"]


@pytest.mark.parametrize("code", ["AccessDenied", "ValidationError"])
def test_a_refusal_says_what_both_roles_need(code: str) -> None:
    with (
        ScriptedServer(refusal(code)) as server,
        pytest.raises(PortError, match="AssumeRoleDenied") as raised,
    ):
        assumed(server.url).credentials()
    assert "sts:AssumeRole" in raised.value.hint
    assert ROLE in raised.value.hint


def test_credentials_that_sts_does_not_take_are_refreshed() -> None:
    refused = []
    with (
        ScriptedServer(refusal("ExpiredToken", 400)) as server,
        pytest.raises(PortError, match="ExpiredToken"),
    ):
        assumed(server.url, refused=lambda: refused.append(1)).credentials()
    assert refused == [1]


def test_nothing_is_asked_before_the_instance_is_known_or_has_credentials() -> None:
    def none_yet() -> RoleCredentials:
        raise PortError("CredentialsUnavailable", "none yet")

    with ScriptedServer() as server:
        with pytest.raises(PortError, match="not identified"):
            assumed(server.url, facts=lambda: None).credentials()
        with pytest.raises(PortError, match="none yet"):
            assumed(server.url, base=none_yet).credentials()
        assert server.requests == []


def test_a_keeper_keeps_an_assumed_role_by_the_same_rules() -> None:
    clock = FakeClock()
    with moto_server() as own:
        source = assumed(own.url, clock=clock)
        keeper = CredentialKeeper(source=source, clock=clock, rng=Random(0), log=RecordingLog())
        keeper.step()
        first = keeper.current()
        assert keeper.state().role == ROLE
    clock.advance(minutes=50)
    keeper.step()
    assert keeper.current() == first
    assert keeper.state().code == "Unreachable"


def test_the_daemon_ships_with_the_assumed_role_where_its_own_may_not(
    instance: Make, own_moto: Moto
) -> None:
    own_role = own_moto.assume("instance", ("sts:AssumeRole",))
    own_moto.assume("writer", ("s3:PutObject", "s3:ListBucket"))
    machine = instance(moto=own_moto, facts={"keys": keys_of(own_role)})
    text = machine.config.read_text().replace("[[watch]]", f'role_arn = "{ROLE}"\n[[watch]]')
    machine.config.write_text(text)
    machine.more_environment["AWS_ENDPOINT_URL_STS"] = own_moto.url
    machine.write("app.log.1", b"across accounts\n")
    with own_moto.enforcing():
        machine.start()
        machine.wait_until_shipped(1)
        status = machine.status()
        assert status is not None
        assert status["credentials"]["source"] == f"STS, for {ROLE}"
        assert CredentialsState(status["credentials"]["state"]) is CredentialsState.FRESH
        assert "ok    bucket" in machine.run("check")
        assert machine.stop() == 0
    assert machine.contents() == [b"across accounts\n"]
    assert own_role.secret_access_key not in machine.log_text()


def test_the_first_line_says_why_the_role_cannot_be_assumed_as_soon_as_that_is_known(
    instance: Make,
) -> None:
    """The gate was shut while the instance was not identified yet, and is tried in a minute."""
    machine = instance()
    text = machine.config.read_text().replace("[[watch]]", f'role_arn = "{ROLE}"\n[[watch]]')
    machine.config.write_text(text)
    machine.write("app.log.1", b"not yet\n")
    with ScriptedServer(otherwise=lambda request: refusal("AccessDenied")) as sts:
        machine.more_environment["AWS_ENDPOINT_URL_STS"] = sts.url
        machine.start()
        machine.wait_for(lambda: machine.events("gate.shut"), "the shut gate")
        machine.wait_for(lambda: '"AssumeRoleDenied"' in machine.log_text(), "the refusal")
        said = machine.ask("/healthz").splitlines()[0]
        status = machine.status()
        assert "AssumeRoleDenied" in machine.run(
            "explain", str(machine.logs / "app.log.1"), code=1
        )
    assert "nothing is sent: CredentialsUnavailable: AssumeRoleDenied: " in said
    assert "needs sts:AssumeRole" in said
    assert status is not None
    assert "AssumeRoleDenied" in status["gate"]["detail"]


def test_the_secrets_of_an_assumed_role_are_in_no_repr(own_moto: Moto) -> None:
    found = assumed(own_moto.url).credentials()
    assert found.secret_access_key not in repr(replace(found, role="x"))


EMPTY = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    "{}</AssumeRoleResult></AssumeRoleResponse>"
)


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>Please log in</body></html>",
        EMPTY.format(""),
        EMPTY.format("<Credentials><AccessKeyId>AK</AccessKeyId></Credentials>"),
        EMPTY.format(
            "<Credentials><AccessKeyId></AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            "<SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>"
            "</Credentials>"
        ),
    ],
    ids=["portal", "nothing", "cut", "empty key id"],
)
@pytest.mark.parametrize("headers", [{}, {"x_amzn_RequestId": "r"}], ids=["no id", "id"])
def test_a_200_that_is_not_stss_is_a_failure_and_no_bug(
    body: str, headers: dict[str, str]
) -> None:
    with (
        ScriptedServer(http_answer(200, body, Content_Type="text/xml", **headers)) as server,
        pytest.raises(PortError) as raised,
    ):
        assumed(server.url).credentials()
    assert raised.value.code in ("NotSts", "NotS3")


def test_a_refusal_lets_the_instances_own_credentials_be_refreshed() -> None:
    refused = []
    with ScriptedServer(refusal("AccessDenied")) as server, pytest.raises(PortError):
        assumed(server.url, refused=lambda: refused.append(1)).credentials()
    assert refused == [1]
