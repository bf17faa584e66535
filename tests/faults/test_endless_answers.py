"""A server that answers without end keeps nobody: one deadline and one size hold a whole answer.

Each server goes on for as long as its client stays, so a client without such a bound would never
come back.
"""

import gzip
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random

import pytest

from shipper.core.object_keys import InstanceFacts
from shipper.core.types import RoleCredentials
from shipper.edges.autoscaling import AutoScalingHook
from shipper.edges.http_client.transfer import Limits, exchange
from shipper.edges.imds.asking import BACKOFF
from shipper.edges.imds.client import ImdsMetadata
from shipper.edges.sts import AssumedRole
from shipper.ports import PortError
from tests.fakes.clock import FakeClock
from tests.fakes.metadata import FakeMetadata
from tests.fakes.trickling import TricklingServer

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 1000000000\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(50_000_000))
LIMITS = Limits(stall_seconds=20.0, answer_seconds=0.5, answer_bytes=128 * 1024)


def after(start: bytes, *again: bytes) -> Callable[[], Iterator[bytes]]:
    """A beginning, and then these pieces for ever."""
    return lambda: itertools.chain([start], itertools.cycle(again))


ENDLESS: dict[str, Callable[[], Iterable[bytes]]] = {
    "a status line": after(b"HTTP/1.1 200 ", b"O"),
    "a header, byte by byte": after(OK + b"X-Slow: ", b"x"),
    "headers": after(OK, b"X-More: yes\r\n"),
    "a folded header": after(OK + b"X-Folded: a\r\n", b" more\r\n"),
    "100 Continue": after(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue with headers": after(b"HTTP/1.1 100 Continue\r\n", b"X-More: yes\r\n"),
    "103 Early Hints": after(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "a body": after(OK + LENGTH, b"x"),
    "a body without a length": after(OK + b"\r\n", b"x"),
    "whitespace": after(OK + LENGTH, b" \n"),
    "a chunk's size": after(CHUNKED, b"0"),
    "a chunk's extension": after(CHUNKED + b"1;", b"x"),
    "chunks": after(CHUNKED, b"1\r\nx\r\n"),
    "trailers": after(CHUNKED + b"0\r\n", b"X-More: yes\r\n"),
    "a gzip header": after(
        OK + b"Content-Encoding: gzip\r\n" + LENGTH + b"\x1f\x8b\x08\x08\0\0\0\0\0\0", b"n"
    ),
    "gzip members": after(OK + b"Content-Encoding: gzip\r\n" + LENGTH, gzip.compress(b"")),
    "a bomb": after(OK + b"Content-Encoding: gzip\r\n" + LENGTH, BOMB[:1000]),
    "a status of a refusal": after(b"HTTP/1.1 500 Slow\r\n" + LENGTH, b"<"),
}

each_answer = pytest.mark.parametrize("answer", ENDLESS)


@each_answer
def test_the_metadata_client_comes_back_from_an_answer_without_end(answer: str) -> None:
    with TricklingServer(ENDLESS[answer]) as server:
        metadata = ImdsMetadata(
            server.url,
            FakeClock(),
            wait=lambda seconds: False,
            send=partial(exchange, limits=LIMITS),
            rng=Random(0),
        )
        with pytest.raises(PortError) as caught:
            metadata.credentials()
    assert caught.value.code in ("Unreachable", "BadAnswer")
    assert server.connections <= BACKOFF.attempts


@each_answer
def test_sts_is_left_when_it_answers_without_end(answer: str) -> None:
    clock = FakeClock()
    with TricklingServer(ENDLESS[answer]) as server:
        source = AssumedRole(
            role_arn="arn:aws:iam::123456789012:role/other",
            external_id="",
            facts=lambda: InstanceFacts(prefix="", instance_id="i-1", region="us-east-1"),
            base=lambda: RoleCredentials("AK", "a-secret", "a-session", clock.now() + 3600),
            refused=lambda: None,
            clock=clock,
            endpoint_url=server.url,
            limits=LIMITS,
        )
        with pytest.raises(PortError) as caught:
            source.credentials()
    assert caught.value.code in ("Timeout", "Unreachable", "NotSts", "NotS3", "InternalError")
    assert server.connections == 1


@each_answer
def test_the_auto_scaling_service_is_left_when_it_answers_without_end(answer: str) -> None:
    clock = FakeClock()
    with TricklingServer(ENDLESS[answer]) as server:
        hook = AutoScalingHook(
            hook="drain",
            group="web",
            metadata=FakeMetadata(clock),
            credentials=lambda: RoleCredentials("AK", "a-secret", "a-session", clock.now() + 3600),
            clock=clock,
            endpoint_url=server.url,
            limits=LIMITS,
        )
        with pytest.raises(PortError) as caught:
            hook.complete()
    assert caught.value.code in ("Timeout", "Unreachable", "NotS3", "InternalError")
    assert server.connections == 1
