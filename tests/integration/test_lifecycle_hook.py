"""The Auto Scaling group, told over real HTTP: what is sent, and what refusals become."""

import time
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from shipper.core.types import RoleCredentials
from shipper.edges.autoscaling import GROUP_TAG, AutoScalingHook
from shipper.ports import PortError
from tests.fakes.clock import FakeClock
from tests.fakes.metadata import FakeMetadata
from tests.fakes.punctual import Punctual
from tests.fakes.servers import Answer, ScriptedServer, http_answer

CREDENTIALS = RoleCredentials("AKHOOK", "hook-secret", "hook-session", expires_at=4e9)


def answer(operation: str) -> bytes:
    body = (
        f'<{operation}Response xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
        f"<{operation}Result/><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    )
    return http_answer(200, body, Content_Type="text/xml", x_amzn_RequestId="r-1")


def refusal(code: str, status: int) -> bytes:
    body = (
        '<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error>'
        f"<Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
        "<RequestId>r-1</RequestId></ErrorResponse>"
    )
    return http_answer(status, body, Content_Type="text/xml", x_amzn_RequestId="r-1")


def hook(
    server: ScriptedServer, metadata: FakeMetadata, group: str = "web", **changes: Any
) -> AutoScalingHook:
    given: dict[str, Any] = {"credentials": lambda: CREDENTIALS, "clock": FakeClock()} | changes
    return AutoScalingHook(
        hook="drain",
        group=group,
        metadata=metadata,
        endpoint_url=server.url,
        **given,
    )


@pytest.fixture
def metadata() -> FakeMetadata:
    return FakeMetadata(FakeClock())


def test_the_group_hears_heartbeats_and_the_end(metadata: FakeMetadata) -> None:
    script = [answer("RecordLifecycleActionHeartbeat"), answer("CompleteLifecycleAction")]
    with ScriptedServer(*script) as server:
        told = hook(server, metadata)
        told.extend()
        told.complete()
        forms = [parse_qs(request.body.decode()) for request in server.requests]
        signed = server.requests[0].headers
    assert [form["Action"] for form in forms] == [
        ["RecordLifecycleActionHeartbeat"],
        ["CompleteLifecycleAction"],
    ]
    for form in forms:
        assert form["LifecycleHookName"] == ["drain"]
        assert form["AutoScalingGroupName"] == ["web"]
        assert form["InstanceId"] == ["i-1"]
    assert forms[1]["LifecycleActionResult"] == ["CONTINUE"]
    assert "AKHOOK" in signed["authorization"]
    assert "/eu-central-1/autoscaling/" in signed["authorization"]
    assert signed["x-amz-security-token"] == "hook-session"
    assert metadata.asked == 1


@pytest.mark.parametrize("hours", [-26.0, 26.0])
def test_a_wrong_clock_costs_one_call_and_the_next_is_signed_with_awss_time(
    metadata: FakeMetadata, hours: float
) -> None:
    clock = FakeClock(time.time() + 3600 * hours)
    aws = Punctual(lambda: answer("CompleteLifecycleAction"), lambda code: refusal(code, 403))
    with ScriptedServer(otherwise=aws.answer) as server:
        told = hook(server, metadata, clock=clock)
        with pytest.raises(PortError, match="SignatureDoesNotMatch"):
            told.complete()
        told.complete()
        told.complete()
        clock.set_wall(time.time() - 3600 * hours)
        told.complete()
    assert aws.refused == 1
    assert len(server.requests) == 4


@pytest.mark.parametrize("hours", [-26.0, 26.0])
def test_what_the_metadata_service_told_of_the_time_is_signed_with_at_once(
    metadata: FakeMetadata, hours: float
) -> None:
    clock, role = FakeClock(time.time() + 3600 * hours), CREDENTIALS
    role = replace(role, skew_seconds=-3600 * hours)
    aws = Punctual(lambda: answer("CompleteLifecycleAction"), lambda code: refusal(code, 403))
    with ScriptedServer(otherwise=aws.answer) as server:
        hook(server, metadata, clock=clock, credentials=lambda: role).complete()
    assert aws.refused == 0


def test_the_group_is_the_one_of_the_instances_tag(metadata: FakeMetadata) -> None:
    metadata.texts[GROUP_TAG] = "web-asg"
    with ScriptedServer(answer("CompleteLifecycleAction")) as server:
        hook(server, metadata, group="").complete()
        [request] = server.requests
    assert parse_qs(request.body.decode())["AutoScalingGroupName"] == ["web-asg"]


def test_without_a_group_nobody_is_told(metadata: FakeMetadata) -> None:
    with ScriptedServer() as server:
        with pytest.raises(PortError, match="LifecycleUnknown") as refused:
            hook(server, metadata, group="").complete()
        assert server.requests == []
    assert "termination.autoscaling_group" in refused.value.hint


@pytest.mark.parametrize(
    ("script", "code", "hint"),
    [
        (refusal("AccessDenied", 403), "AccessDenied", "autoscaling:CompleteLifecycleAction"),
        (refusal("ValidationError", 400), "LifecycleUnknown", "termination.lifecycle_hook"),
        (refusal("ServiceUnavailable", 503), "ServiceUnavailable", ""),
        (http_answer(200, "<html>Log in</html>"), "NotS3", "proxy"),
        (Answer.CLOSE, "Unreachable", "no connection"),
    ],
)
def test_a_refusal_says_what_mends_it(
    metadata: FakeMetadata, script: bytes | Answer, code: str, hint: str
) -> None:
    with ScriptedServer(script) as server, pytest.raises(PortError) as refused:
        hook(server, metadata).extend()
    assert refused.value.code == code
    assert hint in refused.value.hint
