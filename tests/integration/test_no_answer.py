"""Where a request gets no answer, the cause is told, with what to look at, and no secret."""

import os
import socket
from pathlib import Path

import pytest

from shipper import __version__
from shipper.ports import PortError
from tests.fakes.authority import Authority
from tests.fakes.servers import Answer, ScriptedServer, http_answer
from tests.fakes.trickling import TricklingServer
from tests.integration.test_store_answers import put, store_at

PASSWORD = "s3cr3t"
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


@pytest.mark.parametrize("status", [403, 407, 417, 502])
def test_the_status_with_which_a_proxy_refuses_a_tunnel_is_told_and_none_of_its_words(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http_answer(status, PASSWORD).replace(b"Scripted", f"no: {PASSWORD}".encode())
    with ScriptedServer(answer) as server:
        error = through(server.url, HTTPS, monkeypatch)
    assert f"it answers HTTP {status}" in error.detail
    assert server.requests[0].headers["user-agent"] == f"shipper/{__version__}"
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


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with ScriptedServer(tls=Authority(tmp_path).context("127.0.0.1")) as server:
        error = failure_at(server.url)
    assert f"no trusted certificates can be read from {bundle}" in error.detail


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
