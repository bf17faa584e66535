"""What the engine makes of connections and answers, over real sockets and byte for byte."""

import errno
import gc
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import get_cert_path

from shipper.core.replay import Replay
from shipper.core.types import ETag, ObjectKey, RoleCredentials, StoredObject, UploadId
from shipper.edges.http_client.body import Body
from shipper.edges.http_client.engine import Engine
from shipper.edges.http_client.transfer import (
    MOST_INTERIM,
    SMALL_BODY_BYTES,
    Answer,
    Limits,
    Request,
    Throttle,
    exchange,
)
from shipper.edges.s3.store import S3Store
from shipper.ports import PortError, Stopping
from tests.fakes.authority import Authority
from tests.fakes.servers import Answer as Instead
from tests.fakes.servers import ScriptedServer, http_answer, kept_open
from tests.fakes.trickling import TricklingServer
from tests.faults.test_endless_answers import ENDLESS
from tests.integration.test_store_answers import (
    CHECKSUM,
    GREETING,
    KEY,
    OPERATIONS,
    error_answer,
    put,
    store_at,
)
from tests.machines.waiting import wait_for

GOOD = http_answer(200, x_amz_request_id="R", ETag='"e"', x_amz_checksum_crc32=CHECKSUM)
KEPT = kept_open(GOOD)
OTHER = KEPT.replace(b'"e"', b'"another"')
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
STORED = StoredObject(ETag("e"), confirmed=True)
LARGE = bytes(SMALL_BODY_BYTES + 1)
CHUNKED = (
    b"HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\nx-amz-request-id: R\r\n\r\n"
    b"22\r\n<Error><Code>SlowDown</Code></Erro\r\n2\r\nr>\r\n0\r\nx-amz-request-id: T\r\n\r\n"
)


def put_large(store: S3Store) -> tuple[str, str]:
    return store.upload_part(ObjectKey("key"), UploadId("u"), 1, LARGE, checksum=CHECKSUM).result()


# Answers.


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
        KEPT.replace(b"\r\n", b"\n"),
        KEPT.replace(b"x-amz-request-id", b"HTTP/x: y\r\nx-amz-request-id"),
        KEPT.replace(b"x-amz-request-id", b"HTTP/1.1: 503 no\r\nx-amz-request-id"),
        KEPT.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"0\r\nHTTP/1.1 503 : no\r\n\r\n",
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
        "LF",
        "HTTP/x",
        "HTTP/1.1:",
        "HTTP/1.1 503 in a trailer",
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
    assert server.requests[1].headers["content-length"] == "7"
    assert "expect" not in server.requests[1].headers
    assert "accept" not in server.requests[1].headers


def test_an_answer_in_chunks_is_read_to_its_end() -> None:
    with ScriptedServer(GREETING, CHUNKED, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="SlowDown") as raised:
            put(store)
        assert put(store) == STORED
    assert "request id R)" in raised.value.detail, "a trailer is no header"


def test_what_nobody_asked_for_is_not_taken_for_the_next_answer() -> None:
    with ScriptedServer(GREETING, KEPT + OTHER, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        assert put(store) == STORED
        assert put(store) == STORED
    assert len(server.requests) == 3


def test_a_large_body_that_is_confirmed_before_it_is_sent_is_not_believed() -> None:
    with ScriptedServer(KEPT, KEPT, refuses_early=True) as server:
        store = store_at(server.url)
        with pytest.raises(PortError, match="answered before its body was sent"):
            put_large(store)
        assert put(store) == STORED
    assert server.connections == 2


ANOTHERS = {
    "CreateMultipartUpload": "<R><Key>another</Key><UploadId>u</UploadId></R>",
    "CompleteMultipartUpload": '<R><Key>another</Key><ETag>"e"</ETag></R>',
    "ListObjectsV2": "<R><Name>bucket</Name><Prefix>another</Prefix></R>",
}


@pytest.mark.parametrize("operation", ANOTHERS)
def test_an_answer_that_names_another_key_is_refused_and_no_connection_used_again(
    operation: str,
) -> None:
    answer = http_answer(200, ANOTHERS[operation], x_amz_request_id="R")
    with ScriptedServer(GREETING, kept_open(answer), KEPT, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="the answer is of another") as raised:
            OPERATIONS[operation](store)
        assert raised.value.code == "NotS3"
        assert put(store) == put(store) == STORED
    assert server.connections == 2


@pytest.mark.parametrize("prefix", ["logs/access.log.zst", "logs%2Faccess.log.zst"])
def test_a_listing_names_its_prefix_as_it_is_or_encoded(prefix: str) -> None:
    listing = f"<R><Name>b</Name><Prefix>{prefix}</Prefix><EncodingType>url</EncodingType></R>"
    with ScriptedServer(http_answer(200, listing, x_amz_request_id="R")) as server:
        assert store_at(server.url).find(KEY).result() is None


def test_after_a_checksum_of_another_body_no_connection_is_used_again() -> None:
    another = KEPT.replace(CHECKSUM.encode(), b"AAAAAA==")
    with ScriptedServer(GREETING, another, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="ChecksumMismatch"):
            put(store)
        assert put(store) == STORED
    assert server.connections == 2


def test_interim_answers_are_passed_over() -> None:
    with ScriptedServer(HINTS + GREETING, HINTS + KEPT, 2 * HINTS + OTHER, HINTS + KEPT) as server:
        store = store_at(server.url)
        store.probe()
        assert put(store) == STORED
        assert put(store) == StoredObject(ETag("another"), confirmed=True)
        assert put_large(store) == ("e", CHECKSUM)


def test_interim_answers_without_end_are_no_answer() -> None:
    with ScriptedServer(GREETING, MOST_INTERIM * HINTS + KEPT, KEPT) as server:
        store = store_at(server.url)
        store.probe()
        with pytest.raises(PortError, match="Unreachable"):
            put(store)
        assert put(store) == STORED


@pytest.mark.parametrize("answer", ENDLESS)
def test_an_answer_without_end_keeps_nobody(answer: str) -> None:
    """Each goes on for as long as its client stays: one deadline and one size hold it whole."""
    limits = Limits(stall_seconds=20.0, answer_seconds=0.5, answer_bytes=128 * 1024)
    with TricklingServer(ENDLESS[answer]) as server:
        store = store_at(server.url, limits=limits)
        with pytest.raises(PortError) as caught:
            store.probe()
    assert caught.value.code in ("Timeout", "Unreachable")
    assert server.connections == 1


@pytest.mark.parametrize("cut", [b"ETag", b'"e"', b"x-amz-checksum", b"\r\n\r\n"])
def test_half_a_head_is_no_answer(cut: bytes) -> None:
    """libcurl takes it for one."""
    with (
        ScriptedServer(Cut(KEPT[: KEPT.index(cut) + 2])) as server,
        pytest.raises(PortError, match="Unreachable"),
    ):
        put(store_at(server.url))


@pytest.mark.parametrize("missing", [1, 5, 20, 80])
def test_a_body_in_chunks_that_breaks_off_is_no_answer(missing: int) -> None:
    with (
        ScriptedServer(Cut(CHUNKED[:-missing])) as server,
        pytest.raises(PortError, match="Unreachable"),
    ):
        put(store_at(server.url))


def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    with (
        ScriptedServer(http_answer(200, "x" * 100_000, x_amz_request_id="R")) as server,
        pytest.raises(PortError, match="the answer is too long"),
    ):
        store_at(server.url, limits=Limits(answer_bytes=1024)).probe()


# Requests, each of which is sent once.


def test_a_body_that_is_refused_without_a_look_is_not_sent_without_being_asked_for() -> None:
    """libcurl by itself would send the request again without Expect after a 417."""
    refused = http_answer(417, x_amz_request_id="R")
    with (
        ScriptedServer(refused, KEPT, refuses_early=True) as server,
        pytest.raises(PortError, match="Http417"),
    ):
        put_large(store_at(server.url))
    assert len(server.requests) == 1


def test_a_connection_that_was_closed_meanwhile_is_not_written_to() -> None:
    """libcurl itself looks for those once a second."""
    with ScriptedServer(Cut(GREETING), KEPT) as server:
        store = store_at(server.url)
        store.probe()
        server._threads[-1].join()  # which closes the connection
        assert put(store) == STORED
    assert server.connections == 2


def test_one_thread_asks_for_much_before_the_first_answer() -> None:
    arrived = threading.Barrier(3, timeout=30.0)

    def answer(_: object) -> bytes:
        arrived.wait()
        return KEPT

    with ScriptedServer(otherwise=answer) as server:
        store, key = store_at(server.url), ObjectKey("key")
        put = store.put(key, b"a", checksum=CHECKSUM, metadata={})
        part = store.upload_part(key, UploadId("u"), 1, b"a", checksum=CHECKSUM)
        found = store.find(key)
        assert put.result() == STORED
        assert part.result() == ("e", CHECKSUM)
        with pytest.raises(PortError, match="NotS3: ListObjectsV2: the answer is no listing"):
            found.result()


def test_a_refused_body_is_let_go_of_while_the_refusal_is_kept() -> None:
    class Buffer(bytearray):
        """One that can be watched."""

    content = Buffer(300_000)
    watched = weakref.ref(content)
    gc.disable()
    try:
        with ScriptedServer(error_answer("AccessDenied", status=403)) as server:
            future = store_at(server.url).put(KEY, content, checksum="", metadata={})
            del content
            refusal = future.exception()
            assert isinstance(refusal, PortError)
            assert refusal.code == "AccessDenied"
            wait_for(lambda: watched() is None, "the body to be let go")
    finally:
        gc.enable()


def test_more_writers_than_kept_connections_get_theirs() -> None:
    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        store, found = store_at(server.url, max_connections=1), list[StoredObject]()
        threads = [threading.Thread(target=lambda: found.append(put(store))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [STORED] * 8


@pytest.mark.parametrize(
    "cut", [b"HTTP/1.1 100", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 100 Continue\r\nA: b"]
)
def test_a_connection_that_ends_within_the_continue_is_an_error(cut: bytes) -> None:
    with (
        ScriptedServer(Cut(cut), refuses_early=True) as server,
        pytest.raises(PortError, match="Unreachable"),
    ):
        put_large(store_at(server.url))


class Cut(bytes):
    """An answer after which the connection is closed."""

    def __contains__(self, other: object) -> bool:
        return other == b"Connection: close"


def test_nothing_follows_a_body_that_was_refused() -> None:
    """The server may still wait for it, and take the next request for its beginning."""
    refused = kept_open(error_answer("SlowDown", status=503))
    with ScriptedServer(refused, KEPT, refuses_early=True) as server:
        store = store_at(server.url)
        with pytest.raises(PortError, match="SlowDown"):
            put_large(store)
        assert put(store) == STORED
    assert server.connections == 2


def test_a_connection_is_used_again_after_an_error() -> None:
    refused = kept_open(error_answer("SlowDown", status=503))
    with ScriptedServer(refused, GREETING, refused, KEPT) as server:
        store = store_at(server.url)
        for question in (put, S3Store.probe, put, put):
            try:
                question(store)
            except PortError as error:
                assert error.code == "SlowDown"  # noqa: PT017  (two of them)
    assert len(server.requests) == 4
    assert server.connections == 1


def test_the_host_is_written_as_it_is_signed() -> None:
    """Not as the endpoint was configured: servers take the signature of another name for wrong."""
    with ScriptedServer(KEPT) as server:
        store = store_at(server.url.replace("127.0.0.1", "LocalHost"))
        assert put(store) == STORED
        host = server.url.replace("http://127.0.0.1", "localhost")
    assert server.requests[0].headers["host"] == host


def test_a_token_that_cannot_stand_in_a_header_is_refused_and_writes_none() -> None:
    tokens = ["token", "token\r\nx-injected: yes"]
    with ScriptedServer(GREETING, KEPT) as server:
        store = store_at(
            server.url,
            credentials=lambda: RoleCredentials("AKOURS", "secret", tokens[0], expires_at=0.0),
        )
        store.probe()
        del tokens[0]
        with pytest.raises(PortError, match="Invalid header value") as raised:
            put(store)
    assert "injected" not in repr(raised.value)
    assert len(server.requests) == 1


def test_nothing_is_taken_from_where_libcurl_would_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login theirs password theirs\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    baked = KEPT.replace(b"Content-Length", b"Set-Cookie: a=b\r\nContent-Length")
    with ScriptedServer(baked, KEPT) as server:
        store = store_at(server.url)
        assert put(store) == STORED
        assert put(store) == STORED
    assert server.connections == 1
    for asked in server.requests:
        assert "cookie" not in asked.headers
        assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKOURS/")


# The engine itself.


@pytest.fixture
def engine() -> Iterator[Callable[..., Engine]]:
    """Makes engines, and closes them."""
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        usual: dict[str, Any] = {
            "connections": 4,
            "ca_bundle": get_cert_path(True),
            "limits": Limits(),
            "throttle": lambda size_bytes: lambda: 0.0,
        }
        made.append(Engine(**(usual | options)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def request_to(url: str, content: Any = b"", **headers: str) -> Request:
    return Request("PutObject", "PUT", f"{url}/bucket/key", headers, Body(content))


def outcome(future: Future[Answer]) -> object:
    """The answer's status, or what was raised instead."""
    error = future.exception(timeout=30)
    return future.result().status if error is None else error


def test_one_thread_has_many_requests_in_flight(engine: Callable[..., Engine]) -> None:
    """Nobody is answered before all of them are there."""
    together = threading.Barrier(32)

    def answer(_: object) -> bytes:
        together.wait(timeout=30)
        return KEPT

    with ScriptedServer(otherwise=answer) as server:
        running = engine()
        before = set(threading.enumerate())
        futures = [running.submit(request_to(server.url, b"abc")) for _ in range(32)]
        assert [outcome(future) for future in futures] == [200] * 32
        names = {each.name for each in set(threading.enumerate()) - before}
        assert not [name for name in names if not name.startswith("Thread-")], "but the server's"
    assert {each.body for each in server.requests} == {b"abc"}


def test_headers_are_sent_and_read_as_they_are(engine: Callable[..., Engine]) -> None:
    twice = GOOD.replace(b"x-amz-request-id: R", b"x-a: b\r\nX-A:  c \r\nx-empty:")
    with ScriptedServer(twice) as server:
        odd = {"x-amz-meta-empty": "", "x-amz-meta-blank": "  ", "x-amz-meta-a": "a: b"}
        asked = request_to(server.url, b"abc", **odd)
        answer = engine().submit(asked).result(timeout=30)
    assert answer.headers["x-a"] == "b, c"
    assert answer.headers["x-empty"] == ""
    assert server.requests[0].headers["x-amz-meta-empty"] == ""
    assert server.requests[0].headers["x-amz-meta-blank"] == ""
    assert server.requests[0].headers["x-amz-meta-a"] == "a: b"


def test_what_is_under_way_when_the_engine_is_closed_fails(engine: Callable[..., Engine]) -> None:
    with ScriptedServer(Instead.NEVER) as server:
        running = engine()
        future = running.submit(request_to(server.url))
        wait_for(lambda: server.requests, "the request")
        running.close()
        assert "it was closed" in str(outcome(future))
        assert "it is closed" in str(outcome(running.submit(request_to(server.url))))
        running.close()


@pytest.mark.parametrize("error", [Stopping(), PortError("Unreadable", "EIO")])
def test_what_a_body_raises_is_raised_where_its_answer_is_waited_for(
    engine: Callable[..., Engine], error: Exception
) -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes(1000)
        raise error

    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        running = engine()
        broken = running.submit(request_to(server.url, Replay(3_000_000, pieces)))
        assert outcome(broken) is error
        assert outcome(running.submit(request_to(server.url, b"abc"))) == 200
    assert len(server.requests) == 1, "the body that broke off never came whole"


def test_a_body_that_has_become_shorter_is_no_answer(engine: Callable[..., Engine]) -> None:
    with ScriptedServer(KEPT) as server:
        short = Replay(3_000_000, lambda: iter([bytes(1000)]))
        error = outcome(engine().submit(request_to(server.url, short)))
    assert isinstance(error, PortError)
    assert "ends" in error.detail
    assert server.requests == []


def test_a_body_is_let_go_of_once_it_is_sent(engine: Callable[..., Engine]) -> None:
    class Buffer(bytearray):
        """One that can be watched."""

    content = Buffer(300_000)
    watched = weakref.ref(content)
    gc.disable()
    try:
        with ScriptedServer(KEPT) as server:
            running = engine()
            future = running.submit(request_to(server.url, content))
            del content
            assert outcome(future) == 200
            wait_for(lambda: watched() is None, "the body to be let go")
    finally:
        gc.enable()


def test_bandwidth_is_asked_for_in_the_context_of_who_sends(
    engine: Callable[..., Engine],
) -> None:
    """Whoever waits for the answer beats with every piece."""
    sender, asked = ContextVar("sender", default=""), list[tuple[str, int]]()

    def throttle(size_bytes: int) -> Callable[[], float]:
        asked.append((sender.get(), size_bytes))
        return lambda: 0.0

    with ScriptedServer(KEPT) as server:
        sender.set("us")
        assert outcome(engine(throttle=throttle).submit(request_to(server.url, b"abc"))) == 200
    assert asked == [("us", 3)]


def test_bodies_that_wait_for_bandwidth_go_on_at_once_when_they_may(
    engine: Callable[..., Engine],
) -> None:
    """A daemon that stops waits for no bandwidth."""
    held, is_stopping = threading.Event(), threading.Event()

    def throttle(_: int) -> Callable[[], float]:
        def left() -> float:
            held.set()
            return 0.0 if is_stopping.is_set() else 3600.0

        return left

    with ScriptedServer(KEPT) as server:
        future = engine(throttle=throttle).submit(request_to(server.url, b"abc"))
        assert held.wait(30)
        is_stopping.set()
        assert outcome(future) == 200


def test_a_bug_ends_what_is_under_way_and_nothing_else(engine: Callable[..., Engine]) -> None:
    bug, calls = ZeroDivisionError(), iter([1.0])

    def throttle(_: int) -> Callable[[], float]:
        def left() -> float:
            if (seconds := next(calls, None)) is None:
                raise bug
            return seconds

        return left if len(server.requests) == 0 else lambda: 0.0

    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        running = engine(throttle=throttle)
        silent = running.submit(Request("ListObjectsV2", "GET", server.url, {}, Body(b"")))
        assert outcome(silent) == 200
        server.requests.clear()
        assert outcome(running.submit(request_to(server.url, b"abc"))) is bug
        server.requests.append(silent)  # type: ignore[arg-type]  # so that the throttle is well
        assert outcome(running.submit(request_to(server.url, b"abc"))) == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_cannot_go_on_answers_everybody(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens an epoll of its own after a bug, for which there may be no descriptor."""
    bug = ZeroDivisionError()

    def left() -> float:
        if not server.requests:
            server.requests.append(silent)  # type: ignore[arg-type]  # so that it is called twice
            return 1.0
        monkeypatch.setattr("shipper.edges.http_client.engine.select.epoll", refused)
        raise bug

    def refused() -> None:
        raise OSError(errno.EMFILE, "no descriptors")

    silent = object()
    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        running = engine(throttle=lambda size_bytes: left)
        assert outcome(running.submit(request_to(server.url, b"abc"))) is bug
        for _ in range(2):
            assert "it is closed" in str(outcome(running.submit(request_to(server.url))))


def holding() -> tuple[threading.Event, threading.Event, Throttle]:
    """A throttle that holds the engine's thread from its first body on, until it is free."""
    held, is_free = threading.Event(), threading.Event()

    def throttle(_: int) -> Callable[[], float]:
        held.set()
        is_free.wait(30)
        return lambda: 0.0

    return held, is_free, throttle


def test_who_closes_does_not_wait_for_ever(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name is being resolved, libcurl may not come back for long."""
    monkeypatch.setattr("shipper.edges.http_client.engine.CLOSE_SECONDS", 0.05)
    held, is_free, throttle = holding()
    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        running = engine(throttle=throttle)
        future = running.submit(request_to(server.url, b"abc"))
        assert held.wait(30)
        running.close()
        assert not future.done()
        is_free.set()
        outcome(future)


def test_a_bug_in_an_answer_is_told_whoever_waits_for_it() -> None:
    """Here one in telling that libcurl cannot make anything of a URL."""
    with pytest.raises(PortError, match=r"no sense in it: ValueError"):
        exchange(request_to("http://[::1"), Limits())


def test_a_request_that_cannot_be_begun_fails_alone(engine: Callable[..., Engine]) -> None:
    with ScriptedServer(KEPT) as server:
        running = engine()
        assert isinstance(outcome(running.submit(request_to("http://\udcff"))), UnicodeError)
        assert isinstance(outcome(running.submit(request_to("ftp://127.0.0.1"))), PortError)
        assert outcome(running.submit(request_to(server.url))) == 200


def test_a_request_that_nobody_waits_for_any_more_is_not_begun(
    engine: Callable[..., Engine],
) -> None:
    held, is_free, throttle = holding()
    with ScriptedServer(otherwise=lambda request: KEPT) as server:
        running = engine(throttle=throttle)
        first = running.submit(request_to(server.url, b"abc"))
        assert held.wait(30)  # the engine's thread is kept
        second = running.submit(request_to(server.url, b"def"))
        assert second.cancel()
        is_free.set()
        assert outcome(first) == 200
        assert outcome(running.submit(request_to(server.url, b"ghi"))) == 200
    assert [each.body for each in server.requests] == [b"abc", b"ghi"]


def test_an_engine_that_rests_closes_its_connections_and_opens_others(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.edges.http_client.engine.IDLE_SECONDS", 0.05)
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(KEPT)
            if connection.recv(65536) == b"":
                ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = engine()
        for _ in range(2):
            future = running.submit(request_to(url, b"abc"))
            serve(listener.accept()[0])
            assert ended.is_set()
            assert outcome(future) == 200
            ended.clear()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("stray", [OTHER, b""], ids=["an answer", "the end"])
def test_a_connection_to_which_something_came_meanwhile_is_not_used_again(
    engine: Callable[..., Engine], tmp_path: Path, scheme: str, stray: bytes
) -> None:
    authority = Authority(tmp_path)

    def accepted(listener: socket.socket) -> socket.socket:
        connection, _ = listener.accept()
        connection.settimeout(30)
        if scheme == "https":
            connection = authority.context("127.0.0.1").wrap_socket(connection, server_side=True)
        connection.recv(65536)
        return connection

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        running = engine(ca_bundle=str(authority.bundle))
        first = running.submit(request_to(url))
        with accepted(listener) as desynchronised:
            desynchronised.sendall(KEPT)
            assert outcome(first) == 200
            if stray:
                desynchronised.sendall(stray)
            else:
                desynchronised.shutdown(socket.SHUT_WR)
            second = running.submit(request_to(url))
            with accepted(listener) as other:
                other.sendall(KEPT)
                assert second.result(timeout=30).headers["etag"] == '"e"'
            with suppress(ConnectionError):
                assert desynchronised.recv(65536) == b"", "nothing was sent over it"


def test_a_proxy_whose_refusal_has_no_end_keeps_nobody(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """libcurl reads it without coming back."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ScriptedServer(KEPT) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        running = engine()
        refused = running.submit(request_to("https://s3.test", b"abc"))
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 99999999999\r\n\r\n")
            with pytest.raises(ConnectionError):
                connection.sendall(bytes(64 * 1024**2))
        assert "it answers HTTP 407" in str(outcome(refused))
        assert outcome(running.submit(request_to(server.url))) == 200


@pytest.mark.parametrize("way", ["TLS", "a tunnel"])
def test_who_never_says_a_word_is_not_connected_to(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It accepts connections, and so much can be sent to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if way == "a tunnel":
            monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
            for name in ("NO_PROXY", "no_proxy", "https_proxy"):
                monkeypatch.delenv(name, raising=False)
        running = engine(limits=Limits(connect_seconds=0.3))
        host = address if way == "TLS" else "s3.test"
        error = outcome(running.submit(request_to(f"https://{host}", b"abc")))
    assert isinstance(error, PortError)
    assert error.code == "Timeout"


def test_a_name_that_is_not_resolved_leads_to_dns(engine: Callable[..., Engine]) -> None:
    """No name has a label of 64 letters, so nobody is asked."""
    url = f"https://{64 * 's'}.test"
    error = outcome(engine().submit(request_to(url)))
    assert isinstance(error, PortError)
    assert error.detail == f"PutObject: no connection to {url}: the name is not resolved"
    assert "DNS" in error.hint


def test_ipv6_is_spoken(engine: Callable[..., Engine]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(GOOD)

        thread = threading.Thread(target=serve)
        thread.start()
        assert put(store_at(f"http://[::1]:{port}")) == STORED
        thread.join()
