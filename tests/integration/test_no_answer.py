"""Where a request gets no answer, the cause is told, with what to look at, and no secret."""

import errno
import os
import socket
import ssl
from pathlib import Path

import pytest
from botocore import exceptions as foreign
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError, ProtocolError, ProxyError

from shipper.edges.answer_limits import OutOfBounds
from shipper.edges.s3.errors import port_error_from
from shipper.ports import PortError
from tests.fakes.authority import Authority
from tests.fakes.servers import Answer, ScriptedServer, http_answer
from tests.fakes.trickling import TricklingServer
from tests.integration.test_store_answers import put, store_at

PASSWORD = "s3cr3t"
WANTS_USER = "it answers HTTP 407 Proxy Authentication Required"
HTTP, HTTPS = "http://s3.example.internal:9000", "https://s3.example.internal:9000"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)


def failure_at(url: str) -> PortError:
    with pytest.raises(PortError) as caught:
        put(store_at(url))
    assert PASSWORD not in repr(caught.value)
    assert PASSWORD[:3] not in repr(caught.value)
    assert "access.log" not in caught.value.detail  # the row says the key
    return caught.value


def through(proxy: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> PortError:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    return failure_at(endpoint)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@pytest.mark.parametrize("endpoint", [HTTP, HTTPS])
def test_a_proxy_that_is_down_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    error = through(f"http://bob:{PASSWORD}@127.0.0.1:{port}", endpoint, monkeypatch)
    words = f"no connection through the proxy http://127.0.0.1:{port}: Connection refused"
    assert (error.code, error.detail) == ("Unreachable", f"PutObject: {words}")
    assert "HTTPS_PROXY" in error.hint
    assert "NO_PROXY" in error.hint


@pytest.mark.parametrize("status", [403, 407, 502])
def test_the_status_with_which_a_proxy_refuses_a_tunnel_is_told_and_none_of_its_words(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http_answer(status, PASSWORD).replace(b"Scripted", f"no: {PASSWORD}".encode())
    with ScriptedServer(answer) as server:
        error = through(server.url, HTTPS, monkeypatch)
    assert f"it answers HTTP {status}" in error.detail
    assert "NO_PROXY" in error.hint
    assert ("USER:PASSWORD@" in error.hint) is (status == 407)


@pytest.mark.parametrize(
    "body", ["", "<html><body>Log in</body></html>", "<Error><Code/></Error>"]
)
def test_a_proxy_that_wants_a_password_without_a_tunnel_is_told_as_that(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(http_answer(407, body)) as server:
        error = through(server.url, HTTP, monkeypatch)
    assert (error.code, error.status) == ("NotS3", 407)
    assert "HTTP 407 Proxy Authentication Required" in error.detail
    assert "USER:PASSWORD@" in error.hint


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://bob:{PASSWORD}/x@127.0.0.1:9",
        f"http://bob:{PASSWORD}#x@127.0.0.1:9",
        f"http://bob:{PASSWORD}?x@127.0.0.1:9",
        f"http://[{PASSWORD}",
        f"http://127.0.0.1:{PASSWORD}",
    ],
)
@pytest.mark.parametrize("endpoint", [HTTP, HTTPS])
def test_a_proxys_url_that_is_none_is_not_repeated(
    endpoint: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = through(proxy, endpoint, monkeypatch)
    assert (error.code, error.detail) == ("Unreachable", "PutObject: the proxy's URL is malformed")
    assert "HTTPS_PROXY" in error.hint


def test_nobody_listening_is_told_as_that() -> None:
    port = free_port()
    error = failure_at(f"http://127.0.0.1:{port}")
    assert (
        error.detail == f"PutObject: no connection to http://127.0.0.1:{port}: Connection refused"
    )
    assert "nothing listens" in error.hint


def test_a_certificate_that_nobody_trusts_leads_to_the_bundle(tmp_path: Path) -> None:
    with ScriptedServer(tls=Authority(tmp_path).context("127.0.0.1")) as server:
        error = failure_at(server.url)
    assert "no TLS with https://127.0.0.1:" in error.detail
    assert "the certificate is not trusted: " in error.detail
    assert "AWS_CA_BUNDLE" in error.hint


def test_who_speaks_no_tls_is_told_as_that() -> None:
    with TricklingServer(lambda: [http_answer(400)]) as server:
        url = server.url.replace("http:", "https:")
        error = failure_at(url)
    assert error.detail == f"PutObject: no TLS with {url}: wrong version number"
    assert "AWS_CA_BUNDLE" in error.hint


def test_a_connection_that_breaks_off_says_how() -> None:
    with ScriptedServer(Answer.RESET) as server:
        url = server.url
        error = failure_at(url)
    assert error.detail == f"PutObject: no whole answer from {url}: Connection reset by peer"


def within(cause: Exception) -> NewConnectionError:
    made = NewConnectionError(HTTPConnection("h"), f"of {PASSWORD}")
    made.__cause__ = cause
    return made


def no_tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL] {PASSWORD}")
    error.reason = reason
    return error


def untrusted(reason: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL] {PASSWORD}")
    error.verify_message = reason
    return error


@pytest.mark.parametrize(
    ("error", "code", "detail", "hint"),
    [
        (
            foreign.EndpointConnectionError(
                endpoint_url=HTTPS, error=within(OSError(errno.EHOSTUNREACH, PASSWORD))
            ),
            "Unreachable",
            f"no connection to {HTTPS}: No route to host",
            "route table",
        ),
        (
            foreign.EndpointConnectionError(
                endpoint_url=HTTPS, error=within(OSError(errno.ENETUNREACH, PASSWORD))
            ),
            "Unreachable",
            f"no connection to {HTTPS}: Network is unreachable",
            "route table",
        ),
        (
            foreign.ConnectTimeoutError(endpoint_url=f"{HTTPS}/bucket/{PASSWORD}"),
            "Timeout",
            f"no connection to {HTTPS}: timed out",
            "security groups",
        ),
        (
            foreign.ReadTimeoutError(endpoint_url=f"{HTTPS}/bucket/{PASSWORD}"),
            "Timeout",
            f"no whole answer from {HTTPS}: timed out",
            "security groups",
        ),
        (
            foreign.ProxyConnectionError(
                proxy_url=f"http://b:{PASSWORD}@p:1", error=ProxyError(PASSWORD, TimeoutError())
            ),
            "Timeout",
            "no connection through the proxy http://p:1: timed out",
            "HTTPS_PROXY",
        ),
        (
            foreign.ConnectionClosedError(endpoint_url=HTTPS, error=ProtocolError(PASSWORD)),
            "Unreachable",
            f"no whole answer from {HTTPS}",
            "security groups",
        ),
        (
            foreign.HTTPClientError(error=RuntimeError(PASSWORD)),
            "Unreachable",
            "no whole answer",
            "security groups",
        ),
        (
            foreign.SSLError(endpoint_url=HTTPS, error=ssl.SSLError(1, PASSWORD)),
            "Unreachable",
            f"no TLS with {HTTPS}: broken off",
            "AWS_CA_BUNDLE",
        ),
        (
            foreign.SSLError(endpoint_url=HTTPS, error=no_tls("WRONG_VERSION_NUMBER")),
            "Unreachable",
            f"no TLS with {HTTPS}: WRONG_VERSION_NUMBER",
            "AWS_CA_BUNDLE",
        ),
        (
            foreign.SSLError(endpoint_url=HTTPS, error=untrusted("self-signed certificate")),
            "Unreachable",
            f"no TLS with {HTTPS}: the certificate is not trusted: self-signed certificate",
            "AWS_CA_BUNDLE",
        ),
        (
            foreign.EndpointConnectionError(
                endpoint_url=HTTPS, error=within(socket.gaierror(socket.EAI_NONAME, "unknown"))
            ),
            "Unreachable",
            f"no connection to {HTTPS}: the name is not resolved: unknown",
            "DNS",
        ),
        (
            foreign.ProxyConnectionError(
                proxy_url=f"http://b:{PASSWORD}@p:1",
                error=OSError(f"Tunnel connection failed: 407 {PASSWORD}"),
            ),
            "Unreachable",
            f"no connection through the proxy http://p:1: {WANTS_USER}",
            "wants a user",
        ),
        (
            foreign.ConnectionClosedError(endpoint_url=HTTPS, error=OutOfBounds("too long")),
            "Unreachable",
            f"no whole answer from {HTTPS}: too long",
            "security groups",
        ),
        (
            foreign.HTTPClientError(error=ValueError(f"http://{PASSWORD}")),
            "Unreachable",
            "the proxy's URL is malformed",
            "HTTPS_PROXY",
        ),
        (
            foreign.ProxyConnectionError(proxy_url="http://[::1"),
            "Unreachable",
            "no connection through the proxy",
            "HTTPS_PROXY",
        ),
    ],
)
def test_each_cause_has_its_own_words(error: Exception, code: str, detail: str, hint: str) -> None:
    told = port_error_from(error, "PutObject")
    assert (told.code, told.detail.rstrip()) == (code, f"PutObject: {detail}")
    assert hint in told.hint
    assert PASSWORD not in repr(told)
