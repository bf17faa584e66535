"""The long run with credentials that live twenty seconds, against a server that checks it.

moto keeps no session token's expiry, so a proxy in front of it does: the keys of a request must be
ones that its STS gave to the metadata service, and alive. ``SHIPPER_SOAK_SECONDS`` shortens it.
"""

import http.client
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from shipper.core.types import RoleCredentials
from shipper.mock.facts import Facts, Issued
from shipper.mock.imds import MockImds
from shipper.mock.sts import ANYBODY, StsSource
from tests.fakes.instance import Instance, facts
from tests.fakes.servers import Moto, moto_server
from tests.fakes.world import MIB, decoded, random_log

SOAK_SECONDS = float(os.environ.get("SHIPPER_SOAK_SECONDS", "300"))
LIFE_SECONDS = 20.0
FILE_EVERY_SECONDS = 0.5
BIG_EVERY = 40
BIG_BYTES = 12 * MIB
BUCKET = "soak-credentials"
_EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


class Checking:
    """moto, behind a proxy that refuses keys past their life; ``_lock`` guards what it counts."""

    def __init__(self, moto: Moto) -> None:
        self.until: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.keys_used: set[str] = set()
        self.backend = urlsplit(moto.url).netloc
        self._sts = StsSource(moto.url)
        self._lock = threading.Lock()
        handler = type("_Bound", (_Handler,), {"checking": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def moto(self) -> Moto:
        """The server as others see it."""
        return Moto(f"http://127.0.0.1:{self._server.server_address[1]}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def issue(self, given: Facts, now: float) -> Issued:
        """Keys from moto's STS, and a note of when they end."""
        issued = self._sts(given, now)
        with self._lock:
            self.until[issued.keys.access_key_id] = issued.expires_at
        return issued

    def admits(self, authorization: str, what: str) -> bool:
        """Are these keys known and alive? Counts the request."""
        key = authorization.partition("Credential=")[2].partition("/")[0]
        if key == ANYBODY.access_key_id:
            return True  # the test itself
        with self._lock:
            is_alive = time.time() < self.until.get(key, 0.0)
            self.keys_used.add(key)
            self.counts[what if is_alive else "refused"] += 1
        return is_alive


class _Handler(BaseHTTPRequestHandler):
    checking: Checking
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        what = f"{self.command} part" if "partNumber=" in self.path else self.command
        if not self.checking.admits(self.headers.get("authorization", ""), what):
            self._answer(400, {"x-amz-request-id": "r-1"}, _EXPIRED)
            return
        connection = http.client.HTTPConnection(self.checking.backend, timeout=30)
        try:
            sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, sent)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        self._answer(answer.status, headers, found)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is counted."""


@pytest.fixture
def checking() -> Iterator[Checking]:
    with moto_server() as moto, Checking(moto) as made:
        made.moto.create_bucket(BUCKET)
        yield made


@pytest.fixture
def machine(tmp_path: Path, checking: Checking) -> Iterator[Instance]:
    given = facts(lifetime_seconds=LIFE_SECONDS)
    with MockImds(given, source=checking.issue) as imds:
        more = '[uploads]\npart_size = "5MiB"\n'
        one = Instance(tmp_path / "instance", checking.moto, imds, bucket=BUCKET, more=more)
        yield one
        one.end()


def test_the_server_takes_keys_while_they_live_and_refuses_them_from_then_on(
    checking: Checking,
) -> None:
    issued = checking.issue(facts(lifetime_seconds=LIFE_SECONDS), time.time())
    assert 10 < issued.expires_at - time.time() <= LIFE_SECONDS + 1
    keys = issued.keys
    role = RoleCredentials(
        keys.access_key_id, keys.secret_access_key, keys.session_token, issued.expires_at
    )
    client = checking.moto.client_as("s3", role)
    client.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    checking.until[keys.access_key_id] = time.time()
    with pytest.raises(ClientError, match="ExpiredToken"):
        client.put_object(Bucket=BUCKET, Key="b", Body=b"b")
    assert checking.counts == {"PUT": 1, "refused": 1}
    assert checking.moto.keys(BUCKET) == ["a"]


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_no_request_is_refused_for_credentials_that_live_twenty_seconds(
    machine: Instance, checking: Checking, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies: list[bytes] = []
    started = time.monotonic()
    machine.start()
    while time.monotonic() - started < SOAK_SECONDS:
        number = len(bodies)
        is_big = number % BIG_EVERY == BIG_EVERY - 1
        bodies.append(random_log(number, BIG_BYTES) if is_big else b"line %d\n" % number * 500)
        machine.write(f"app-{number}.log.1", bodies[-1])
        until = started + len(bodies) * FILE_EVERY_SECONDS
        machine.wait_for(lambda until=until: time.monotonic() > until, "the next file")  # type: ignore[misc]
    machine.wait_until_shipped(len(bodies))
    assert machine.stop() == 0

    failed = machine.events("attempt.failed")
    with capsys.disabled():
        print(
            f"\n{len(bodies)} files in {time.monotonic() - started:.0f} s; {len(checking.until)} "
            f"keys issued, {len(checking.keys_used)} used; requests {dict(checking.counts)}; "
            f"{len(failed)} attempts failed"
        )
    assert checking.counts["refused"] == 0
    assert failed == []
    assert len(checking.keys_used) >= SOAK_SECONDS / LIFE_SECONDS
    assert machine.files("GONE", "PARKED", "SUPERSEDED") == 0
    assert not machine.events("credentials.not_refreshed")
    client = checking.moto.client("s3")
    keys = checking.moto.keys(BUCKET)
    found = [decoded(k, client.get_object(Bucket=BUCKET, Key=k)["Body"].read()) for k in keys]
    assert sorted(found) == sorted(bodies)
