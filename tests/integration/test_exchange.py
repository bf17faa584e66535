"""Small writes over a connection that stands: the answers that are read in another way."""

from typing import Any

import pytest
from botocore.httpsession import URLLib3Session
from shipper.edges.s3.exchange import Exchange

from shipper.core.types import ETag, RoleCredentials, StoredObject
from shipper.edges.s3.store import S3Store
from shipper.ports import PortError
from tests.fakes.servers import ScriptedServer, http_answer, kept_open
from tests.integration import test_store_answers
from tests.integration.test_store_answers import CHECKSUM, GREETING, put

GOOD = http_answer(200, x_amz_request_id="R", ETag='"e"', x_amz_checksum_crc32=CHECKSUM)
KEPT = kept_open(GOOD)
STORED = StoredObject(ETag("e"), confirmed=True)
CHUNKED = (
    b"HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\nx-amz-request-id: R\r\n\r\n"
    b"22\r\n<Error><Code>SlowDown</Code></Erro\r\n2\r\nr>\r\n0\r\n\r\n"
)


def store_at(url: str, **options: Any) -> S3Store:
    """One that takes the short way, whatever way the tests of another module took last."""
    return test_store_answers.store_at(url, is_direct=True, **options)


@pytest.mark.parametrize(
    "answer",
    [
        KEPT,
        GOOD,
        KEPT.replace(b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + KEPT,
        KEPT.replace(b"Content-Length: 0", b"content-length:0"),
        KEPT.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        KEPT.replace(b"x-amz-request-id: R", b"X-Folded: a\r\n b\r\nx-amz-request-id: R"),
        KEPT.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=[
        "kept",
        "closed",
        "100 first",
        "103",
        "lower case",
        "chunked",
        "folded",
        "HTTP/1.0",
    ],
)
def test_a_good_answer_is_understood_however_it_is_written(answer: bytes) -> None:
    with ScriptedServer(GREETING, answer, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        assert put(store) == STORED
        assert put(store) == STORED
    assert [request.method for request in server.requests] == ["GET", "PUT", "PUT"]
    assert server.requests[1].body == b"a line\n"
    assert server.requests[1].headers["host"] == server.requests[0].headers["host"]
    assert "expect" not in server.requests[1].headers


def test_an_answer_in_chunks_is_read_to_its_end() -> None:
    with ScriptedServer(GREETING, CHUNKED, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="SlowDown"):
            put(store)
        assert put(store) == STORED


def test_what_nobody_asked_for_is_not_taken_for_the_next_answer() -> None:
    doubled = KEPT + KEPT.replace(b'"e"', b'"another"')
    with ScriptedServer(GREETING, doubled, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        assert put(store) == STORED
        assert put(store) == STORED
    assert len(server.requests) == 3


def test_a_connection_that_was_closed_meanwhile_is_not_written_to() -> None:
    with ScriptedServer(GREETING) as server:
        store = store_at(server.url)
        store.probe()
    with pytest.raises(PortError, match="Could not connect"):
        put(store)


def test_more_writers_than_connections_get_theirs() -> None:
    with ScriptedServer(KEPT, KEPT) as server:
        store = store_at(server.url, max_connections=1)
        assert put(store) == STORED
        assert put(store) == STORED
    assert len(server.requests) == 2


def test_interim_answers_without_end_are_no_answer() -> None:
    with ScriptedServer(GREETING, b"HTTP/1.1 102 Processing\r\n\r\n" * 9 + KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="Unreachable"):
            put(store)


def test_the_host_is_written_as_it_is_signed() -> None:
    """Not as the endpoint was configured: servers take the signature of another name for wrong."""
    with ScriptedServer(GREETING, KEPT) as server:
        store = store_at(server.url.replace("127.0.0.1", "LocalHost"))
        store.probe()
        assert put(store) == STORED
    assert server.requests[1].headers["host"] == server.requests[0].headers["host"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_port_that_a_scheme_has_anyway_is_not_written(scheme: str) -> None:
    port = {"http": 80, "https": 443}[scheme]
    exchange = Exchange(URLLib3Session(), f"{scheme}://s3.test:{port}/bucket/template")
    assert exchange._host.startswith("Host: s3.test\r\n")


def test_a_token_that_cannot_stand_in_a_header_is_refused_and_writes_none() -> None:
    tokens = ["token", "token\r\nx-injected: yes"]
    with ScriptedServer(GREETING, KEPT) as server:
        store = store_at(
            server.url,
            credentials=lambda: RoleCredentials("AKOURS", "secret", tokens[0], expires_at=0.0),
        )
        store.probe()
        del tokens[0]
        with pytest.raises(PortError, match="Invalid header value"):
            put(store)
    assert len(server.requests) == 1
