"""How the mocked metadata service breaks when it is told to, and whom it refuses."""

import http.client
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from shipper.edges.clock import SystemClock
from shipper.edges.http_client.transfer import Limits, exchange
from shipper.edges.imds.client import ImdsMetadata
from shipper.mock.imds import LEGACY, TOKEN_HEADER, TTL_HEADER, MockImds
from shipper.mock.protocol import HUGE_BYTES, is_host_allowed
from shipper.ports import PortError
from tests.machines.asker import Asker
from tests.machines.waiting import wait_for

IDENTITY = "/latest/dynamic/instance-identity/document"
INFO = "/latest/meta-data/iam/info"
TOKEN = "/latest/api/token"
SHORT = partial(exchange, limits=Limits(answer_seconds=1.5))


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def service(lines: list[dict[str, Any]]) -> Iterator[MockImds]:
    with MockImds(log=lines.append) as running:
        yield running


@pytest.fixture
def asker(service: MockImds) -> Asker:
    return Asker(service.url)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_status_is_answered_as_often_as_it_was_told(
    service: MockImds, asker: Asker, status: int
) -> None:
    service.faults.set(f"GET {INFO} {status} x2")
    assert [asker.get(INFO).status for _ in range(3)] == [status, status, 200]


def test_a_redirect_leads_to_where_a_client_must_not_go(service: MockImds, asker: Asker) -> None:
    service.faults.set("GET 302")
    answered = asker.get(IDENTITY)
    assert (answered.status, answered.headers["location"]) == (302, "/elsewhere")


def test_an_empty_answer_is_a_200(service: MockImds, asker: Asker) -> None:
    service.faults.set(f"GET {INFO} empty")
    answered = asker.get(INFO)
    assert (answered.status, answered.body) == (200, "")


def test_a_malformed_answer_is_neither_json_nor_a_token(service: MockImds, asker: Asker) -> None:
    service.faults.set("malformed")
    for answered in (asker.token(), asker.ask("GET", INFO)):
        assert answered.status == 200
        with pytest.raises(ValueError, match="Expecting value"):
            answered.document  # noqa: B018  (reading it is what fails)
        assert " " in answered.body
    assert service.tokens == {}


def test_a_huge_answer_is_a_megabyte(service: MockImds, asker: Asker) -> None:
    service.faults.set("GET huge")
    assert len(asker.get(INFO).body) == HUGE_BYTES


def test_a_truncated_answer_is_the_right_one_cut_in_its_middle(
    service: MockImds, asker: Asker
) -> None:
    whole = asker.get(IDENTITY).body
    service.faults.set("GET truncated")
    with pytest.raises(http.client.IncompleteRead) as caught:
        asker.get(IDENTITY)
    assert caught.value.partial == whole.encode()[: len(whole) // 2]


def test_a_truncated_refusal_is_still_a_refusal(service: MockImds, asker: Asker) -> None:
    service.faults.set("truncated")
    with pytest.raises(http.client.IncompleteRead) as caught:
        asker.ask("GET", IDENTITY)
    assert caught.value.partial == b"Unauth"


def test_a_reset_is_a_reset(service: MockImds, asker: Asker) -> None:
    service.faults.set("GET reset")
    token = asker.token().body
    with pytest.raises(ConnectionResetError):
        asker.ask("GET", INFO, **{TOKEN_HEADER: token})


def test_a_connection_may_be_closed_without_a_word(service: MockImds, asker: Asker) -> None:
    service.faults.set("GET close")
    token = asker.token().body
    with pytest.raises(http.client.RemoteDisconnected):
        asker.ask("GET", INFO, **{TOKEN_HEADER: token})


def metadata_of(service: MockImds) -> ImdsMetadata:
    return ImdsMetadata(
        service.url,
        SystemClock(),
        wait=lambda seconds: True,
        send=SHORT,
        is_in_container=lambda: True,
    )


def test_a_token_that_is_never_given_looks_like_the_hop_limit_to_the_client(
    service: MockImds,
) -> None:
    service.faults.set("no-token-answer x1")
    metadata = metadata_of(service)
    with pytest.raises(PortError, match="HopLimit"):
        metadata.credentials()
    assert metadata.credentials().role == "shipper"


def test_who_is_kept_waiting_is_let_go_when_the_service_stops(service: MockImds) -> None:
    service.faults.set("hang")
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with socket.create_connection((host, int(port)), timeout=20) as gone:
            gone.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: sum(service.asked().values()) == 2, "both requests to arrive")
        service.stop()
        assert kept.recv(1) == b""


def test_a_client_that_goes_away_in_the_middle_of_an_answer_is_not_worth_a_word(
    service: MockImds, asker: Asker, capsys: pytest.CaptureFixture[str]
) -> None:
    service.faults.set("huge x1")
    others = threading.enumerate()
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1) == b"H"
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name and thread not in others:
            thread.join(20)
            assert not thread.is_alive()
    assert asker.token().status == 200
    assert capsys.readouterr().err == ""


def test_a_bug_of_the_service_is_not_kept_secret(
    service: MockImds, asker: Asker, capsys: pytest.CaptureFixture[str]
) -> None:
    service.fault = lambda method, path: (1 // 0, "")
    with pytest.raises(http.client.RemoteDisconnected):
        asker.token()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_service_can_be_stopped_before_it_began() -> None:
    service = MockImds()
    service.stop()
    with pytest.raises(ConnectionRefusedError):
        Asker(service.url).token()


def test_a_fault_comes_before_every_check(service: MockImds, asker: Asker) -> None:
    service.faults.set("404")
    assert asker.ask("GET", INFO).status == asker.ask("PATCH", INFO).status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_other_methods_are_not_allowed(asker: Asker, method: str) -> None:
    assert asker.ask(method, IDENTITY).status == 405


def test_the_head_of_a_refusal_has_no_body(asker: Asker) -> None:
    answered = asker.ask("HEAD", IDENTITY)
    assert (answered.status, answered.body) == (405, "")


def test_a_token_cannot_be_read(asker: Asker) -> None:
    assert asker.get(TOKEN).status == 405


def test_a_body_that_nobody_asked_for_is_not_taken_for_the_next_request(
    service: MockImds,
) -> None:
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=10)
    try:
        headers = {TTL_HEADER: "60"}
        connection.request("PUT", TOKEN, b"GET /smuggled HTTP/1.1\r\n\r\n", headers)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        answer.read()
    finally:
        connection.close()
    assert list(service.asked()) == [("PUT", TOKEN, False)]


HOSTS = [
    *[(host, True) for host in ("127.0.0.1", "127.0.0.1:1338", "localhost", "LocalHost:80")],
    *[(host, True) for host in ("[::1]:1338", "[fd00:ec2::254]", "169.254.169.254")],
    *[(host, False) for host in ("rebound.example.org", "localhost.example.org:80", "", "::x")],
    *[(host, False) for host in ("127.0.0.1.example.org", "127.0.0.1@evil", "127.0.0.1:80:80")],
]


@pytest.mark.parametrize(("host", "is_allowed"), HOSTS)
def test_a_host_is_an_address_or_localhost(host: str, is_allowed: bool) -> None:
    assert is_host_allowed(host) is is_allowed


def test_a_request_for_another_host_is_refused(service: MockImds, asker: Asker) -> None:
    assert asker.token(Host="rebound.example.org").status == 403
    assert service.tokens == {}


def test_an_open_service_does_not_look_at_the_host(lines: list[dict[str, Any]]) -> None:
    with MockImds(host="0.0.0.0", is_open=True) as service:
        port = service.url.rpartition(":")[2]
        assert Asker(f"http://127.0.0.1:{port}").token(Host="imds.example.org").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", ""])
def test_only_an_open_service_listens_where_others_reach_it(host: str) -> None:
    with pytest.raises(ValueError, match="--unsafe-listen"):
        MockImds(host=host)


def has_ipv6() -> bool:
    """Can a port of this machine's be had at ::1?"""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_it_speaks_ipv6_or_says_that_the_machine_does_not() -> None:
    if not has_ipv6():
        with pytest.raises(OSError, match="address"):
            MockImds(host="::1")
        return
    with MockImds(host="::1") as service:
        assert service.url.startswith("http://[::1]:")
        assert metadata_of(service).credentials().role == "shipper"


def test_every_request_is_one_line_that_tells_no_secret(
    service: MockImds, asker: Asker, lines: list[dict[str, Any]]
) -> None:
    service.faults.set(f"GET {INFO} reset x1")
    token = asker.token().body
    known = {TOKEN_HEADER: token}
    asker.ask("GET", LEGACY + "shipper", **known)
    with pytest.raises(ConnectionResetError):
        asker.ask("GET", INFO + "?token=hush", **known)
    asker.ask("GET", IDENTITY, **known)
    asker.ask("GET", IDENTITY, **{TOKEN_HEADER: "unknown"})
    asker.ask("GET", IDENTITY, Host="rebound.example.org")
    told = [(line["method"], line["path"], line["status"], line["token"]) for line in lines]
    assert told == [
        ("PUT", TOKEN, 200, "none"),
        ("GET", LEGACY + "shipper", 200, "valid"),
        ("GET", INFO, 0, "valid"),
        ("GET", IDENTITY, 200, "valid"),
        ("GET", IDENTITY, 401, "unknown"),
        ("GET", IDENTITY, 403, "none"),
    ]
    assert [line.get("fault") for line in lines] == [
        *[None, None, f"GET {INFO} reset x1", None, None, "host"]
    ]
    (keys,) = service.issued
    secrets = (token, keys.secret_access_key, keys.session_token, "hush")
    assert not [secret for secret in secrets if secret in repr(lines)]
