"""An S3 server that is slow, or lies, when a test says so: a proxy before moto, on loopback."""

import http.client
import re
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.fakes.servers import Moto

HELD_AT_MOST_SECONDS = 60.0
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, slots=True)
class Lie:
    """The answer to the next request whose method and target match the ``request``, a pattern.

    ``is_carried_out`` says whether moto gets the request nevertheless.
    """

    request: str
    status: int
    body: bytes
    is_carried_out: bool = False


class SlowStore:
    """The proxy. ``_lock`` guards the lies.

    Between ``hold`` and ``let_go`` the second half of every body stays in the client's hands;
    ``is_holding`` is set as soon as there is one.
    """

    def __init__(self, moto: Moto) -> None:
        self.backend = urlsplit(moto.url).netloc
        self.is_holding = threading.Event()
        self.told: list[Lie] = []
        """What was lied."""
        self._lies: list[Lie] = []
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        handler = type("_Bound", (_Handler,), {"store": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def moto(self) -> Moto:
        """The server as others see it."""
        return Moto(f"http://127.0.0.1:{self._server.server_address[1]}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.let_go()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hold(self) -> None:
        """From now on no body comes through whole."""
        self.is_holding.clear()
        self._flows.clear()

    def let_go(self) -> None:
        """Let what is held come through, and all that follows."""
        self._flows.set()

    def lie(self, *lies: Lie) -> None:
        """Answer so, each once."""
        with self._lock:
            self._lies.extend(lies)

    def wait_while_held(self) -> None:
        """Called within a body."""
        if not self._flows.is_set():
            self.is_holding.set()
            self._flows.wait(HELD_AT_MOST_SECONDS)

    def lie_to(self, method: str, target: str) -> Lie | None:
        """What to answer instead of the truth, if anything."""
        with self._lock:
            for lie in self._lies:
                if re.match(lie.request, f"{method} {target}"):
                    self._lies.remove(lie)
                    self.told.append(lie)
                    return lie
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    store: SlowStore
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self._body(length)
        if len(body) < length:  # S3 stores no part of a body; moto would
            self.close_connection = True
            return
        lie = self.store.lie_to(self.command, self.path)
        if lie is None:
            self._answer(*self._forward(body))
            return
        if lie.is_carried_out:
            self._forward(body)
        self._answer(lie.status, {"x-amz-request-id": "r-1", "x-amz-id-2": "i-1"}, lie.body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _body(self, length: int) -> bytes:
        first = self.rfile.read(length // 2)
        if length:
            self.store.wait_while_held()
        return first + self.rfile.read(length - len(first))

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.store.backend, timeout=30)
        try:
            sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, sent)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        return answer.status, headers, found

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is in the bucket."""
